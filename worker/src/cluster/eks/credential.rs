//! What a request authenticates with: a token that is kept for some minutes, and made anew before it ends.
//!
//! That AWS credentials cannot be had is not the API server's 401: nothing was sent. It counts as an API that cannot be reached, so
//! tasks stay in Step Functions, and what is under way waits for a quarter of an hour. As a 401 it would be waited for a minute and a
//! half, as long as the API server's own trouble with tokens, and logs would be given up.

use std::{sync::Arc, time::Duration};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use jiff::{SignedDuration, Timestamp};
use runjob_core::budget::shortened;

use super::{
    kept::{Dated, Kept},
    token::{Audience, BearerToken},
};
use crate::{clock::Clock, cluster::MAX_CAUSE, error_chain::chain};

/// How long STS takes a token: 15 minutes from its date, whatever it says itself. One less: clocks differ, and requests take time.
const LIFE: Duration = Duration::from_mins(14);
/// So long before its end, a token is made anew: AWS may be away for as long without anybody noticing.
const EARLY: Duration = Duration::from_mins(4);
/// Credentials are not used this close to their end.
const MARGIN: Duration = Duration::from_secs(10);
/// A token this young is not made anew because of a 401. The next one would be the same, if it is of the same second, and API
/// servers keep the verdict on a token for some seconds: what they refuse then is not the token.
const YOUNG: Duration = Duration::from_secs(5);
/// How long AWS credentials may take to come. The SDK's own cache gives them as long.
pub(super) const CREDENTIALS: Duration = Duration::from_secs(5);

/// What authenticates with one cluster.
#[derive(Debug)]
pub(super) struct Credential {
    provider: SharedCredentialsProvider,
    audience: Audience,
    clock: Clock,
    kept: Kept<BearerToken, NoToken>,
}

/// A token that was used.
pub(super) type Used = Dated<BearerToken>;

/// There is nothing to authenticate with.
#[derive(Debug, Clone, thiserror::Error)]
#[error("unable to get AWS credentials for a token of the EKS cluster {cluster}: {reason}")]
pub(in crate::cluster) struct NoToken {
    cluster: String,
    reason: String,
}

impl Credential {
    pub(super) fn new(provider: SharedCredentialsProvider, audience: Audience, clock: Clock) -> Self {
        Self { provider, audience, clock, kept: Kept::default() }
    }

    /// A token that is good for some time yet.
    pub(super) async fn token(&self) -> Result<Used, NoToken> {
        self.kept.get(self.clock, async || self.signed().await).await
    }

    /// The API server has answered 401 to that token. Gives another one to try with: one that another request has got meanwhile, or
    /// a new one. `None`: there is none that the server might judge in another way.
    pub(super) async fn instead_of(&self, refused: &Used) -> Option<Used> {
        let age = self.clock.wall().duration_since(refused.date);
        if (SignedDuration::ZERO..SignedDuration::try_from(YOUNG).ok()?).contains(&age) {
            return None;
        }
        self.kept.discard(&refused.value);
        self.token().await.ok().filter(|token| token.value != refused.value)
    }

    async fn signed(&self) -> Result<Used, NoToken> {
        let failed = |reason: String| NoToken {
            cluster: self.audience.cluster.to_string(),
            reason: shortened(&reason, MAX_CAUSE),
        };
        // From their source each time, not from a cache: after a 401 they may be the ones that are not good any more.
        let credentials = tokio::time::timeout(CREDENTIALS, self.provider.provide_credentials());
        let credentials = match credentials.await {
            Ok(credentials) => credentials.map_err(|error| failed(chain(&error)))?,
            Err(_) => return Err(failed(format!("none within {} s", CREDENTIALS.as_secs()))),
        };
        let date = self.clock.wall();
        let token = BearerToken::sign(&credentials, &self.audience, date).await;
        let token = token.map_err(|error| failed(chain(&error)))?;
        let expiry = credentials.expiry().and_then(|expiry| Timestamp::try_from(expiry).ok());
        Ok(dated(token, date, expiry))
    }
}

/// How long a token of that date is good for, made with credentials that end then.
fn dated(token: BearerToken, date: Timestamp, expiry: Option<Timestamp>) -> Used {
    let later = |time: Timestamp, by: Duration| time.saturating_add(by).unwrap_or(time);
    let sooner = |time: Timestamp, by: Duration| time.saturating_sub(by).unwrap_or(time);
    let life = later(date, LIFE);
    let end = expiry.map_or(life, |expiry| sooner(expiry, MARGIN).min(life));
    Dated { value: Arc::new(token), date, renew: sooner(end, EARLY), end }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use http::{HeaderMap, header::AUTHORIZATION};

    use super::*;
    use crate::cluster::eks::fixtures::{Provider, Provides, clock_at, credentials, signed_at};

    const NOON: &str = "2026-01-01T12:00:00Z";

    fn a_credential(provider: &Provider) -> Credential {
        let audience = Audience { cluster: "prod".parse().unwrap(), region: "eu-west-1".to_owned() };
        Credential::new(provider.shared(), audience, clock_at(NOON))
    }

    fn lasting() -> Provider {
        Provider::of(credentials("session", None))
    }

    /// Credentials that end so long after noon.
    fn ending_after(time: Duration) -> Provides {
        let noon: Timestamp = NOON.parse().unwrap();
        Provides::These(credentials("session", Some(noon + time)))
    }

    async fn date(credential: &Credential) -> String {
        let token = credential.token().await.unwrap();
        let date = signed_at(&HeaderMap::from_iter([(AUTHORIZATION, token.value.header())]));
        date.strftime("%H:%M").to_string()
    }

    async fn minutes_pass(minutes: u64) {
        tokio::time::advance(Duration::from_mins(minutes)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_for_ten_minutes() {
        let credential = a_credential(&lasting());
        assert_eq!(date(&credential).await, "12:00");
        minutes_pass(9).await;
        assert_eq!(date(&credential).await, "12:00");
        minutes_pass(1).await;
        assert_eq!(date(&credential).await, "12:10");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_outlives_an_outage_of_aws_until_its_fourteenth_minute() {
        let provider = Provider::that([ending_after(Duration::from_hours(1)), Provides::Failure]);
        let credential = a_credential(&provider);
        credential.token().await.unwrap();
        minutes_pass(13).await;
        assert_eq!(date(&credential).await, "12:00");
        minutes_pass(1).await;
        let error = credential.token().await.unwrap_err().to_string();
        assert!(error.contains("EKS cluster prod") && error.contains("the metadata service is away"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_ends_with_the_credentials_that_signed_it() {
        let provider = Provider::that([ending_after(Duration::from_mins(6)), Provides::Failure]);
        let credential = a_credential(&provider);
        credential.token().await.unwrap();
        minutes_pass(5).await;
        assert_eq!(date(&credential).await, "12:00");
        assert_eq!(provider.asked(), 2);
        minutes_pass(1).await;
        assert!(credential.token().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_that_are_about_to_end_are_used_all_the_same() {
        let credential = a_credential(&Provider::that([ending_after(Duration::from_secs(1))]));
        assert_eq!(date(&credential).await, "12:00");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once_for_all_who_used_it() {
        let provider = lasting();
        let credential = a_credential(&provider);
        let refused = credential.token().await.unwrap();
        minutes_pass(1).await;
        let others = join_all((0..5).map(|_| credential.instead_of(&refused))).await;
        assert_eq!(provider.asked(), 2);
        let signed = others.into_iter().map(|other| other.unwrap().value).collect::<Vec<_>>();
        assert!(signed.iter().all(|token| *token != refused.value && *token == signed[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_young_token_is_not_to_blame_for_a_401() {
        let provider = lasting();
        let credential = a_credential(&provider);
        let refused = credential.token().await.unwrap();
        tokio::time::advance(YOUNG / 2).await;
        assert!(credential.instead_of(&refused).await.is_none());
        assert_eq!(credential.token().await.unwrap().value, refused.value);
        tokio::time::advance(YOUNG / 2).await;
        assert!(credential.instead_of(&refused).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn without_other_credentials_there_is_no_other_token() {
        let provider = Provider::that([Provides::These(credentials("session", None)), Provides::Failure]);
        let credential = a_credential(&provider);
        let refused = credential.token().await.unwrap();
        minutes_pass(1).await;
        assert!(credential.instead_of(&refused).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_that_do_not_come_are_not_awaited_for_long() {
        let credential = a_credential(&Provider::that([Provides::Silence]));
        let begun = tokio::time::Instant::now();
        let error = credential.token().await.unwrap_err().to_string();
        assert!(error.contains("none within 5 s") && begun.elapsed() == CREDENTIALS, "{error}");
    }
}
