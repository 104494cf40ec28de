//! Clients for one cluster, from a kubeconfig or from inside it.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use http::{Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, DynBody},
};
use tower::{
    BoxError, Layer, Service, service_fn,
    timeout::{Timeout, TimeoutLayer},
    util::{BoxService, MapResultLayer},
};

use super::{
    Reachability, body::Reading, events::Written, plugin::PluginError, renewed::Renewed, source::Source,
    warnings::Warnings,
};
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
    pub(super) warnings: Warnings,
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
    /// The kubeconfig's plugin gives no credential.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A command of the kubeconfig gives no credential. The client library's error is not kept: it shows the command's output.
    #[error("unable to authenticate with the cluster: the kubeconfig's credentials cannot be had")]
    Credentials,
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
    pub(super) fn of_purpose(&self, purpose: Purpose) -> &Client {
        match purpose {
            Purpose::Api => &self.api,
            Purpose::Logs => &self.logs,
        }
    }

    /// The clients for that configuration.
    pub(super) fn of(config: Config) -> Result<Self, ConnectError> {
        let Builders { api, logs } = Builders::of(config)?;
        Ok(Self { api: api.build(), logs: logs.build() })
    }
}

/// Which of a cluster's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Api,
    Logs,
}

/// The same request once more, if its body is at hand.
pub(super) fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
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
        let logs = ClientBuilder::try_from(config.clone()).map_err(not_made)?;
        config.read_timeout = Some(SILENCE);
        let api = ClientBuilder::try_from(config).map_err(not_made)?;
        Ok(Self { api: api.with_layer(&TimeoutLayer::new(RESPONSE_HEADER)), logs })
    }
}

fn not_made(error: kube::Error) -> ConnectError {
    match error {
        kube::Error::Auth(_) => ConnectError::Credentials,
        error => ConnectError::Client(error),
    }
}

impl Cluster {
    /// Finds the cluster: `kubeconfig` and `context` if given, otherwise `KUBECONFIG`, `~/.kube/config`, or the service
    /// account of the pod that this runs in.
    pub async fn find(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, ConnectError> {
        let source = match (kubeconfig, context) {
            (None, None) => Source::Anywhere,
            _ => {
                Source::Kubeconfig { file: kubeconfig.map(ToOwned::to_owned), context: context.map(ToOwned::to_owned) }
            }
        };
        Self::from(source).await
    }

    /// The cluster whose pod this runs in, by its service account.
    pub async fn around() -> Result<Self, ConnectError> {
        Self::from(Source::Pod).await
    }

    async fn from(source: Source) -> Result<Self, ConnectError> {
        let (clock, reachability) = (Clock::start(), Reachability::default());
        let found = source.read().await?;
        let (url, namespace) = (found.config.cluster_url.to_string(), found.config.default_namespace.clone());
        let renewed = Arc::new(Renewed::new(source, found, clock)?);
        let client = |purpose: Purpose| {
            let renewed = renewed.clone();
            service_fn(move |request| {
                let renewed = renewed.clone();
                async move { renewed.send(purpose, request).await }
            })
        };
        let api = recording(reachability.clone()).layer(client(Purpose::Api));
        let clients =
            Clients { api: Client::new(api, &*namespace), logs: Client::new(client(Purpose::Logs), &*namespace) };
        Ok(Self::with(clients, url, namespace, reachability, clock))
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
        Self {
            api,
            logs,
            written: Written::default(),
            warnings: Warnings::default(),
            reading: Reading::default(),
            url,
            namespace,
            reachability,
            clock,
        }
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
