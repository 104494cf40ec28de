//! Clients for one cluster, from a kubeconfig or from inside it.

use std::{error::Error, path::Path, time::Duration};

use http::{Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, DynBody},
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{
    BoxError, Layer, Service,
    timeout::{Timeout, TimeoutLayer},
    util::{BoxService, MapResultLayer},
};

use super::{Reachability, body::Reading, events::Written};
use crate::{clock::Clock, error_chain::sources};

/// A server that accepts a connection but sends no response header within this time is in trouble. Admission webhooks alone may
/// take up to 30 s (`timeoutSeconds`), and a create that is given up on is one that may or may not have happened.
pub(super) const RESPONSE_HEADER: Duration = Duration::from_secs(35);
/// A connection that is not made within this time never will be.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest silence on a connection: a bit more than a watch may last (200 s), so that a half-open one is noticed.
pub(super) const SILENCE: Duration = Duration::from_secs(215);

/// The namespace of a worker that has no configuration to read it from.
pub(super) const NAMESPACE: &str = "default";

/// One cluster.
#[derive(Clone)]
pub struct Cluster {
    /// For everything but logs: bounded in time.
    pub(super) api: Client,
    /// For logs: a quiet container may hold back even the response header.
    pub(super) logs: Client,
    pub(super) written: Written,
    pub(super) reading: Reading,
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
    Configuration(#[source] Box<dyn Error + Send + Sync>),
    /// The client could not be made from it.
    #[error("unable to make a client for the cluster")]
    Client(#[source] kube::Error),
}

/// What a cluster is reached with.
pub(super) struct Clients {
    /// For everything but logs.
    pub(super) api: Client,
    /// For logs.
    pub(super) logs: Client,
}

impl Clients {
    /// The clients for that configuration.
    pub(super) fn of(config: Config) -> Result<Self, ConnectError> {
        let Builders { api, logs } = Builders::of(config)?;
        Ok(Self { api: api.build(), logs: logs.build() })
    }
}

/// The clients of a configuration, to be layered further.
struct Builders {
    api: ClientBuilder<Timeout<GenericService>>,
    logs: ClientBuilder<GenericService>,
}

/// What kube makes of a configuration. It keeps the name to itself.
type GenericService = BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>;

impl Builders {
    fn of(mut config: Config) -> Result<Self, ConnectError> {
        config.connect_timeout = Some(CONNECT);
        // The client's own policy repeats every request, POST too, up to 15 times and without a deadline.
        config.default_retry = false;
        config.read_timeout = None;
        let logs = ClientBuilder::try_from(config.clone()).map_err(ConnectError::Client)?;
        config.read_timeout = Some(SILENCE);
        let api = ClientBuilder::try_from(config).map_err(ConnectError::Client)?;
        Ok(Self { api: api.with_layer(&TimeoutLayer::new(RESPONSE_HEADER)), logs })
    }
}

impl Cluster {
    /// Finds the cluster: `kubeconfig` and `context` if given, otherwise `KUBECONFIG`, `~/.kube/config`, or the service
    /// account of the pod that this runs in.
    pub async fn find(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, ConnectError> {
        fn boxed(error: impl Error + Send + Sync + 'static) -> ConnectError {
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

    /// The cluster whose pod this runs in, by its service account.
    pub fn around() -> Result<Self, ConnectError> {
        Self::of(Config::incluster().map_err(|error| ConnectError::Configuration(Box::new(error)))?)
    }

    /// The cluster of that configuration.
    pub fn of(config: Config) -> Result<Self, ConnectError> {
        let reachability = Reachability::default();
        let (url, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
        let Builders { api, logs } = Builders::of(config)?;
        let api = api.with_layer(&recording(reachability.clone())).build();
        Ok(Self::with(Clients { api, logs: logs.build() }, url, namespace, reachability, Clock::start()))
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
        Self::with(Clients { api, logs }, url.to_owned(), NAMESPACE.to_owned(), reachability, clock)
    }

    /// The cluster behind those clients.
    pub(super) fn with(
        Clients { api, logs }: Clients,
        url: String,
        namespace: String,
        reachability: Reachability,
        clock: Clock,
    ) -> Self {
        let (written, reading) = (Written::default(), Reading::default());
        Self { api, logs, written, reading, url, namespace, reachability, clock }
    }

    /// The same, with another namespace for the worker's own things.
    #[must_use]
    pub fn in_namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..self }
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
pub(super) fn recording<T>(
    reachability: Reachability,
) -> MapResultLayer<impl Fn(Result<T, BoxError>) -> Result<T, BoxError> + Clone> {
    MapResultLayer::new(move |result: Result<T, BoxError>| {
        reachability.record(result.is_ok());
        result
    })
}

/// Whether there is no answer because there was no connection.
pub(super) fn is_connect(error: &(dyn Error + 'static)) -> bool {
    use hyper_util::client::legacy::Error as ClientError;
    sources(error).any(|error| error.downcast_ref().is_some_and(ClientError::is_connect))
}
