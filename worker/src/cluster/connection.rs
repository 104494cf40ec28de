//! Clients for one cluster, from a kubeconfig or from inside it.

use std::{path::Path, time::Duration};

use http::{Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, Layer, Service, timeout::TimeoutLayer, util::MapResultLayer};

use super::{Reachability, events::Written};
use crate::clock::Clock;

/// A server that accepts a connection but sends no response header within this time is in trouble. Admission webhooks alone may
/// take up to 30 s (`timeoutSeconds`), and a create that is given up on is one that may or may not have happened.
pub(super) const RESPONSE_HEADER: Duration = Duration::from_secs(35);
/// A connection that is not made within this time never will be.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest silence on a connection: a bit more than a watch may last (200 s), so that a half-open one is noticed.
pub(super) const SILENCE: Duration = Duration::from_secs(215);

/// The namespace of a worker that has no configuration to read it from.
const NAMESPACE: &str = "default";

/// One cluster.
#[derive(Clone)]
pub struct Cluster {
    /// For everything but logs: bounded in time.
    pub(super) api: Client,
    /// For logs: a quiet container may hold back even the response header.
    pub(super) logs: Client,
    pub(super) written: Written,
    url: String,
    namespace: String,
    reachability: Reachability,
    clock: Clock,
}

/// There is no way to the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor the service account of a pod could be used.
    #[error("unable to find out where the cluster is")]
    Configuration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The client could not be made from it.
    #[error("unable to make a client for the cluster")]
    Client(#[source] kube::Error),
}

impl Cluster {
    /// Finds the cluster: `kubeconfig` and `context` if given, otherwise `KUBECONFIG`, `~/.kube/config`, or the service
    /// account of the pod that this runs in.
    pub async fn find(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, ConnectError> {
        fn boxed(error: impl std::error::Error + Send + Sync + 'static) -> ConnectError {
            ConnectError::Configuration(Box::new(error))
        }
        let options = KubeConfigOptions { context: context.map(ToOwned::to_owned), ..KubeConfigOptions::default() };
        let config = match (kubeconfig, context) {
            (Some(path), _) => {
                let kubeconfig = Kubeconfig::read_from(path).map_err(boxed)?;
                Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(boxed)?
            }
            (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(boxed)?,
            (None, None) => Config::infer().await.map_err(boxed)?,
        };
        Self::of(config)
    }

    /// The cluster of that configuration.
    pub fn of(mut config: Config) -> Result<Self, ConnectError> {
        let reachability = Reachability::default();
        let (url, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
        config.connect_timeout = Some(CONNECT);
        // The client's own policy repeats every request, POST too, up to 15 times and without a deadline.
        config.default_retry = false;
        config.read_timeout = None;
        let logs = ClientBuilder::try_from(config.clone()).map_err(ConnectError::Client)?.build();
        config.read_timeout = Some(SILENCE);
        let api = ClientBuilder::try_from(config)
            .map_err(ConnectError::Client)?
            .with_layer(&TimeoutLayer::new(RESPONSE_HEADER))
            .with_layer(&recording(reachability.clone()))
            .build();
        Ok(Self { api, logs, written: Written::default(), url, namespace, reachability, clock: Clock::start() })
    }

    /// The cluster behind a service of its own, without a network: for simulations, which rule the clock as well.
    pub fn over<S, B>(service: S, url: &str, clock: Clock) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let reachability = Reachability::default();
        let bounded = TimeoutLayer::new(RESPONSE_HEADER).layer(service.clone());
        let api = Client::new(recording(reachability.clone()).layer(bounded), NAMESPACE);
        let logs = Client::new(service, NAMESPACE);
        let (url, namespace) = (url.to_owned(), NAMESPACE.to_owned());
        Self { api, logs, written: Written::default(), url, namespace, reachability, clock }
    }

    /// Where its API is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The worker's own namespace: of its pod, or of the kubeconfig's context.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The worker's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Whether the cluster answers.
    pub fn reachability(&self) -> &Reachability {
        &self.reachability
    }
}

/// Records whether there was an answer.
fn recording<T>(
    reachability: Reachability,
) -> MapResultLayer<impl Fn(Result<T, BoxError>) -> Result<T, BoxError> + Clone> {
    MapResultLayer::new(move |result: Result<T, BoxError>| {
        reachability.record(result.is_ok());
        result
    })
}
