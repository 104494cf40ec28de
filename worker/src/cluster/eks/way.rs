//! The way of a request to an EKS cluster: where it is, a client for that place, a token; and once more with another token, if the
//! API server does not take this one.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use kube::{Client, Config, client::Body};
use tokio::time::Instant;
use tower::BoxError;

use super::{
    credential::{Credential, NoToken, Used},
    describe::{DescribeError, Described},
    location::Location,
};
use crate::cluster::{
    ConnectError,
    connection::{Clients, is_connect},
};

/// A 401 that takes longer is the caller's to repeat: what is begun after this may not end before the caller's own deadline, and then
/// nobody knows whether it was carried out.
const PROMPT: Duration = Duration::from_secs(5);

/// A request could not even be sent.
#[derive(Debug, thiserror::Error)]
pub(in crate::cluster) enum NotSent {
    #[error(transparent)]
    Location(#[from] DescribeError),
    #[error(transparent)]
    Token(#[from] NoToken),
    #[error("unable to make a client for the endpoint of the EKS cluster")]
    Client(#[from] ConnectError),
}

impl NotSent {
    /// Whether that is why there is no answer.
    pub(in crate::cluster) fn caused(error: &(dyn Error + 'static)) -> bool {
        error.is::<Self>()
    }
}

/// Where a cluster is.
#[derive(Debug)]
pub(super) enum Whereabouts {
    /// There, as it was configured.
    Configured(Arc<Location>),
    /// Where EKS says.
    Described(Arc<Described>),
}

impl Whereabouts {
    pub(super) async fn location(&self) -> Result<Arc<Location>, DescribeError> {
        match self {
            Self::Configured(location) => Ok(location.clone()),
            Self::Described(described) => described.location().await,
        }
    }

    fn doubt(&self, location: &Arc<Location>) {
        if let Self::Described(described) = self {
            described.doubt(location);
        }
    }
}

/// Which of a cluster's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Api,
    Logs,
}

/// The way to one cluster.
pub(super) struct Way {
    whereabouts: Whereabouts,
    credential: Credential,
    /// For the place where the cluster was last.
    clients: Mutex<Option<(Arc<Location>, Clients)>>,
}

impl Way {
    pub(super) fn new(whereabouts: Whereabouts, credential: Credential) -> Self {
        Self { whereabouts, credential, clients: Mutex::default() }
    }

    /// Sends a request, whatever it asks for: what is streamed is authenticated by its header, too.
    pub(super) async fn send(&self, purpose: Purpose, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let begun = Instant::now();
        let location = self.whereabouts.location().await.map_err(NotSent::from)?;
        let client = self.client(&location, purpose).map_err(NotSent::from)?;
        let token = self.credential.token().await.map_err(NotSent::from)?;
        let again = copy(&request);
        let response = client.send(signed(request, &token)).await.inspect_err(|error| {
            // The cluster may have been made anew: its name leads nowhere, or to somebody with another certificate.
            if is_connect(error) {
                self.whereabouts.doubt(&location);
            }
        })?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // It was not carried out, whatever its method.
        match (self.credential.instead_of(&token).await, again) {
            (Some(token), Some(again)) if begun.elapsed() <= PROMPT => Ok(client.send(signed(again, &token)).await?),
            _ => Ok(response),
        }
    }

    /// The client for that place. Connections to another one are left to their end.
    fn client(&self, location: &Arc<Location>, purpose: Purpose) -> Result<Client, ConnectError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let clients = match &mut *clients {
            Some((place, clients)) if place == location => clients,
            other => {
                let mut config = Config::new(location.endpoint.uri().clone());
                config.root_cert = Some(location.authority.der());
                &other.insert((location.clone(), Clients::of(config)?)).1
            }
        };
        Ok(match purpose {
            Purpose::Api => clients.api.clone(),
            Purpose::Logs => clients.logs.clone(),
        })
    }
}

fn signed(mut request: Request<Body>, token: &Used) -> Request<Body> {
    request.headers_mut().insert(AUTHORIZATION, token.value.header());
    request
}

/// The same request once more, if its body is at hand.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}
