//! The bearer token: a request to STS that the API server sends on, to learn from the answer whose signature it is. Making one asks
//! nobody.
//!
//! It is the URL of `GetCallerIdentity`, signed in its query, base64url after a prefix. The signature covers the header
//! `x-k8s-aws-id`, the cluster's name: a token for one cluster is of no use for another.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderValue, Request};
use jiff::Timestamp;

use super::location::EksName;

const PREFIX: &str = "k8s-aws-v1.";
/// The header that names the cluster.
const CLUSTER: &str = "x-k8s-aws-id";
/// `X-Amz-Expires`, as every client of EKS has it. STS takes the URL for 15 minutes all the same.
const EXPIRES: Duration = Duration::from_mins(1);
/// What identifies the caller.
const QUESTION: &str = "/?Action=GetCallerIdentity&Version=2011-06-15";

/// What authenticates with a cluster for a quarter of an hour. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct BearerToken(HeaderValue);

/// There is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignError {
    /// Nobody knows where STS is.
    #[error("there is no STS for the region {0}")]
    Region(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request could not be signed.
    #[error("unable to sign a request to STS")]
    Signing(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Whom a token is for, and where it is looked into.
#[derive(Debug, Clone)]
pub(super) struct Audience {
    pub(super) cluster: EksName,
    pub(super) region: String,
}

impl BearerToken {
    /// A token of that date. It ends a quarter of an hour later, or with the credentials.
    pub(super) async fn sign(
        credentials: &Credentials,
        audience: &Audience,
        date: Timestamp,
    ) -> Result<Self, SignError> {
        fn signing(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SignError {
            SignError::Signing(error.into())
        }
        let url = format!("{}{QUESTION}", sts(&audience.region).await?);
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(EXPIRES);
        let identity = credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&audience.region)
            .name("sts")
            .time(SystemTime::from(date))
            .settings(settings)
            .build()
            .map_err(signing)?
            .into();
        let headers = [(CLUSTER, audience.cluster.as_str())].into_iter();
        let question = SignableRequest::new("GET", &url, headers, SignableBody::Bytes(&[])).map_err(signing)?;
        let (instructions, _) = sign(question, &parameters).map_err(signing)?.into_parts();
        let mut signed = Request::get(&url).body(()).map_err(signing)?;
        instructions.apply_to_request_http1x(&mut signed);
        let token = format!("Bearer {PREFIX}{}", BASE64URL_NOPAD.encode(signed.uri().to_string().as_bytes()));
        let mut header = HeaderValue::try_from(token).map_err(signing)?;
        header.set_sensitive(true);
        Ok(Self(header))
    }

    /// The value of `Authorization`.
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(redacted)")
    }
}

/// Where STS is in a region, whatever its partition. Never a FIPS or dual-stack name, nor one of `AWS_ENDPOINT_URL`: it is the API
/// server that goes there, and it goes to no other.
async fn sts(region: &str) -> Result<String, SignError> {
    let unknown = |error| SignError::Region(region.to_owned(), error);
    let parameters = Params::builder().region(region).use_global_endpoint(false).build();
    let parameters = parameters.map_err(|error| unknown(error.into()))?;
    let endpoint = DefaultResolver::new().resolve_endpoint(&parameters).await.map_err(unknown)?;
    Ok(endpoint.url().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::{HeaderMap, header::AUTHORIZATION};

    use super::*;
    use crate::cluster::eks::fixtures::{credentials, presigned};

    const DATE: &str = "2026-01-02T03:04:05Z";

    async fn a_token(cluster: &str) -> BearerToken {
        let audience = Audience { cluster: cluster.parse().unwrap(), region: "eu-west-1".to_owned() };
        let credentials = credentials("session/token+1==", None);
        BearerToken::sign(&credentials, &audience, DATE.parse().unwrap()).await.unwrap()
    }

    fn query(token: &BearerToken) -> BTreeMap<String, String> {
        presigned(&HeaderMap::from_iter([(AUTHORIZATION, token.header())])).query
    }

    #[tokio::test]
    async fn a_token_is_what_the_aws_cli_makes_of_the_same_credentials() {
        let token = a_token("my-cluster").await;
        let signed = presigned(&HeaderMap::from_iter([(AUTHORIZATION, token.header())]));
        assert_eq!(signed.url, "https://sts.eu-west-1.amazonaws.com/");
        // As botocore 1.43 signs it.
        let expected = [
            ("Action", "GetCallerIdentity"),
            ("Version", "2011-06-15"),
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", "AKIDEXAMPLE/20260102/eu-west-1/sts/aws4_request"),
            ("X-Amz-Date", "20260102T030405Z"),
            ("X-Amz-Expires", "60"),
            ("X-Amz-SignedHeaders", "host;x-k8s-aws-id"),
            ("X-Amz-Security-Token", "session/token+1=="),
            ("X-Amz-Signature", "e00b670342172828ffeb8d166998a9f6a56e5c42ce247cc8eaed6e4ba204b7be"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(signed.query, expected);
    }

    #[tokio::test]
    async fn a_token_for_one_cluster_is_of_no_use_for_another() {
        let [one, other] = [query(&a_token("one").await), query(&a_token("other").await)];
        assert_ne!(one["X-Amz-Signature"], other["X-Amz-Signature"]);
    }

    #[tokio::test]
    async fn a_token_is_never_printed() {
        let token = a_token("my-cluster").await;
        let header = token.header();
        let secret = &header.to_str().unwrap()["Bearer ".len()..];
        let headers = HeaderMap::from_iter([(AUTHORIZATION, token.header())]);
        assert!(!format!("{token:?} {headers:?}").contains(secret));
    }

    #[tokio::test]
    async fn each_partition_has_its_own_host_names() {
        let cases = [
            ("us-east-1", "https://sts.us-east-1.amazonaws.com"),
            ("eu-west-1", "https://sts.eu-west-1.amazonaws.com"),
            ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com"),
            ("us-iso-east-1", "https://sts.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "https://sts.us-isob-east-1.sc2s.sgov.gov"),
            ("eusc-de-east-1", "https://sts.eusc-de-east-1.amazonaws.eu"),
            // A region that this program is older than.
            ("eu-north-9", "https://sts.eu-north-9.amazonaws.com"),
        ];
        for (region, host) in cases {
            assert_eq!(sts(region).await.unwrap(), host);
        }
    }
}
