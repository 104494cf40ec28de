//! The AWS SDK's way to Step Functions: an HTTP client that hands requests to a [`Link`].

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sfn::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_async::{
    rt::sleep::{SharedAsyncSleep, TokioSleep},
    time::{SharedTimeSource, TimeSource},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use runjob::clock::Clock;

use super::link::Link;

/// Nobody resolves it.
const ENDPOINT: &str = "http://states.sandbox";

/// The configuration of an SDK whose requests take the link, and whose clock is the simulation's.
pub(super) fn sdk_config(link: &Link, region: &str, clock: Clock) -> SdkConfig {
    let credentials = Credentials::new("sandbox", "sandbox", None, None, "sandbox");
    let connector = SharedHttpConnector::new(Connector(link.clone()));
    let client: SharedHttpClient = http_client_fn(move |_, _| connector.clone());
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(ENDPOINT)
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(client)
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(SharedTimeSource::new(Time(clock)))
        .build()
}

#[derive(Debug)]
struct Connector(Link);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(exchange(self.0.clone(), request))
    }
}

async fn exchange(link: Link, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let other = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::other(error, None);
    let (head, body) = request.try_into_http1x().map_err(|error| other(error.into()))?.into_parts();
    let body = Bytes::copy_from_slice(body.bytes().unwrap_or_default());
    let answered = link.step_functions(Request::from_parts(head, body)).await;
    let (head, body) = answered.map_err(|error| ConnectorError::io(error.into()))?.into_parts();
    let body = body.collect().await.map_err(|error| ConnectorError::io(error.into()))?.to_bytes();
    HttpResponse::try_from(Response::from_parts(head, SdkBody::from(body))).map_err(|error| other(error.into()))
}

/// The simulation's time of day, for signatures and for whatever else the SDK looks at a clock for.
struct Time(Clock);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

impl TimeSource for Time {
    fn now(&self) -> SystemTime {
        let since_epoch = Duration::try_from(self.0.wall().as_duration()).unwrap_or_default();
        SystemTime::UNIX_EPOCH + since_epoch
    }
}
