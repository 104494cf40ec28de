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
const CREDENTIALS: Duration = Duration::from_secs(5);

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
