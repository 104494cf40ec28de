//! The way of a request to an EKS cluster: where it is, a client for that place, a token; and once more with another token, if the
//! API server does not take this one. It ends within the time of any other request.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use kube::{Client, Config, client::Body};
use tokio::time::Instant;
use tower::BoxError;
use tracing::debug;

use super::{
    credential::{Credential, NoToken, Used},
    describe::{DescribeError, Described},
    location::Location,
};
use crate::cluster::{
    ConnectError,
    connection::{Clients, Purpose, copy, is_connect},
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
        debug!("the API server does not take the token");
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
        Ok(clients.of_purpose(purpose).clone())
    }
}

fn signed(mut request: Request<Body>, token: &Used) -> Request<Body> {
    request.headers_mut().insert(AUTHORIZATION, token.value.header());
    request
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::FutureExt;
    use http::{HeaderValue, Method};
    use http_body_util::BodyExt;
    use serde_json::json;
    use tower::service_fn;

    use super::*;
    use crate::cluster::{
        Cluster, Delivery, LogRequest,
        connection::{NAMESPACE, RESPONSE_HEADER},
        eks::{
            credential::CREDENTIALS,
            describe,
            fixtures::{Provider, Provides, clock_at, credentials, presigned, somewhere},
            token::Audience,
        },
        exchange::{Ask, DEADLINE},
    };

    /// An API server that gives these answers, the last of them for ever.
    struct ApiServer {
        answers: Mutex<VecDeque<u16>>,
        takes: Duration,
        seen: Mutex<Vec<Seen>>,
    }

    /// A request as it saw it.
    #[derive(Debug, Clone)]
    struct Seen {
        method: Method,
        authorization: HeaderValue,
        body: Vec<u8>,
    }

    impl ApiServer {
        fn answering(answers: impl IntoIterator<Item = u16>) -> Arc<Self> {
            Self::taking(Duration::ZERO, answers)
        }

        fn taking(takes: Duration, answers: impl IntoIterator<Item = u16>) -> Arc<Self> {
            let answers = Mutex::new(answers.into_iter().collect());
            Arc::new(Self { answers, takes, seen: Mutex::default() })
        }

        async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
            let (head, body) = request.into_parts();
            presigned(&head.headers);
            let body = body.collect().await?.to_bytes().to_vec();
            let authorization = head.headers[AUTHORIZATION].clone();
            self.seen.lock().unwrap().push(Seen { method: head.method, authorization, body });
            tokio::time::sleep(self.takes).await;
            let mut answers = self.answers.lock().unwrap();
            let status = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0] };
            Ok(Response::builder().status(status).body(Body::from(b"{}".to_vec()))?)
        }

        fn seen(&self) -> Vec<Seen> {
            self.seen.lock().unwrap().clone()
        }
    }

    /// The cluster with that API server.
    fn a_cluster(server: &Arc<ApiServer>, provider: &Provider) -> Cluster {
        let clock = clock_at("2026-01-01T12:00:00Z");
        let audience = Audience { cluster: "prod".parse().unwrap(), region: "eu-west-1".to_owned() };
        let location = Arc::new(somewhere());
        let client = || {
            let server = server.clone();
            let service = service_fn(move |request| {
                let server = server.clone();
                async move { server.answer(request).await }
            });
            Client::new(service, NAMESPACE)
        };
        let clients = Clients { api: client(), logs: client() };
        let way = Way {
            whereabouts: Whereabouts::Configured(location.clone()),
            credential: Credential::new(provider.shared(), audience, clock),
            clients: Mutex::new(Some((location, clients))),
        };
        Cluster::by(&Arc::new(way), String::new(), clock)
    }

    fn lasting() -> Provider {
        Provider::of(credentials("session", None))
    }

    fn a_write() -> Ask {
        let ask = Ask::new("create it".to_owned(), Method::POST, "/apis/batch/v1/namespaces/x/jobs".to_owned());
        ask.with_body("application/json", &json!({"kind": "Job"}))
    }

    async fn a_minute_passes() {
        tokio::time::advance(Duration::from_mins(1)).await;
    }

    #[test]
    fn the_whole_way_ends_within_the_time_of_a_request() {
        for before in [describe::ATTEMPT, PROMPT] {
            assert!(before + CREDENTIALS + RESPONSE_HEADER <= DEADLINE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_bears_the_token_and_it_cannot_be_printed() {
        let server = ApiServer::answering([200]);
        let cluster = a_cluster(&server, &lasting());
        cluster.exchange(&a_write()).await.unwrap();
        cluster.log(LogRequest::of_any()).await;
        let [write, log] = server.seen().try_into().unwrap();
        assert_eq!(write.authorization, log.authorization);
        assert!(write.authorization.is_sensitive() && log.authorization.is_sensitive());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_answered_401_is_sent_again_with_another_token() {
        let server = ApiServer::answering([200, 401, 201]);
        let cluster = a_cluster(&server, &lasting());
        cluster.exchange(&a_write()).await.unwrap();
        a_minute_passes().await;
        assert_eq!(cluster.exchange(&a_write()).await.unwrap().answer.status, 201);
        let [_, refused, taken] = server.seen().try_into().unwrap();
        assert_ne!(refused.authorization, taken.authorization);
        assert_eq!((refused.method, &refused.body), (taken.method, &taken.body));
        assert_eq!(taken.body, br#"{"kind":"Job"}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_asked_for_again_with_another_token_too() {
        let server = ApiServer::answering([200, 401, 200]);
        let cluster = a_cluster(&server, &lasting());
        cluster.log(LogRequest::of_any()).await;
        a_minute_passes().await;
        cluster.log(LogRequest::of_any()).await;
        let [_, refused, taken] = server.seen().try_into().unwrap();
        assert_ne!(refused.authorization, taken.authorization);
    }

    #[tokio::test(start_paused = true)]
    async fn a_401_that_stays_is_the_callers_to_bear() {
        let server = ApiServer::answering([401]);
        let cluster = a_cluster(&server, &lasting());
        // The token is as young as can be.
        assert_eq!(cluster.exchange(&a_write()).await.unwrap().answer.status, 401);
        assert_eq!(server.seen().len(), 1);
        a_minute_passes().await;
        assert_eq!(cluster.exchange(&a_write()).await.unwrap().answer.status, 401);
        assert_eq!(server.seen().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_401_that_took_long_is_the_callers_to_repeat_with_another_token() {
        let server = ApiServer::taking(PROMPT + Duration::from_secs(1), [401]);
        let cluster = a_cluster(&server, &lasting());
        for requests in 1..=2 {
            assert_eq!(cluster.exchange(&a_write()).await.unwrap().answer.status, 401);
            assert_eq!(server.seen().len(), requests);
        }
        let [first, second] = server.seen().try_into().unwrap();
        assert_ne!(first.authorization, second.authorization);
    }

    #[tokio::test(start_paused = true)]
    async fn without_credentials_nothing_is_sent_and_the_api_counts_as_away() {
        let server = ApiServer::answering([200]);
        let provider = Provider::that([Provides::Failure, Provides::These(credentials("session", None))]);
        let cluster = a_cluster(&server, &provider);
        let error = cluster.exchange(&a_write()).await.unwrap_err();
        assert_eq!(error.delivery, Delivery::NotSent);
        assert!(
            error.to_string().contains("unable to create it") && error.to_string().contains("AWS credentials"),
            "{error}"
        );
        a_minute_passes().await;
        assert!(cluster.reachability().is_lost() && server.seen().is_empty());
        cluster.exchange(&a_write()).await.unwrap();
        assert!(!cluster.reachability().is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_waits_for_credentials() {
        let server = ApiServer::answering([200]);
        let provider =
            Provider::that([vec![Provides::Failure; 20], vec![Provides::These(credentials("x", None))]].concat());
        let cluster = a_cluster(&server, &provider);
        cluster.log(LogRequest::of_any()).await;
        assert_eq!(server.seen().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_wait_for_the_credentials_leaves_no_request_behind() {
        let server = ApiServer::answering([200]);
        let cluster = a_cluster(&server, &Provider::that([Provides::Silence]));
        assert!(cluster.exchange(&a_write()).now_or_never().is_none());
        a_minute_passes().await;
        assert!(server.seen().is_empty());
    }
}
