//! Clients that are made again when they do not get through any more: from what is written then in the kubeconfig, in the files that
//! it names, and by its plugin.
//!
//! ```text
//!  request ─► is the credential about to end? ─► API server ─► answer
//!                        │                          │
//!                        ▼                          ├─ 401: read again, and once more
//!                   read again                      └─ no answer for a minute: read again
//! ```

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use jiff::Timestamp;
use kube::client::{AuthError, Body};
use tokio::time::Instant;
use tower::BoxError;
use tracing::{info, warn};

use super::{
    connection::{Clients, ConnectError, Purpose, copy},
    source::{Found, Source},
};
use crate::{
    clock::Clock,
    error_chain::{chain, sources},
};

/// So long before its end a credential is made again.
const EARLY: Duration = Duration::from_mins(1);
/// Clients this young are not to blame for a 401: the next ones would be the same.
const YOUNG: Duration = Duration::from_secs(5);
/// How long nothing may get through before the files are read again: an authority or a client certificate may have changed.
const TROUBLE: Duration = Duration::from_mins(1);
/// The pause after the files were read, doubled as long as that does not help: a plugin asks a service of its own.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);
/// A 401 that takes longer is the caller's to repeat: what is begun after this may not end before the caller's own deadline.
const PROMPT: Duration = Duration::from_secs(5);

/// The clients of one cluster.
pub(super) struct Renewed {
    source: Source,
    clock: Clock,
    state: Mutex<State>,
    /// Whose turn it is to read.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    made: Arc<Made>,
    /// Since when nothing has got through.
    trouble: Option<Instant>,
    /// When the files may be read again, and how long to wait after that.
    next: Option<Instant>,
    pause: Duration,
}

/// Clients, and what is known of their credential.
struct Made {
    clients: Clients,
    at: Instant,
    end: Option<Timestamp>,
}

impl Made {
    fn of(Found { config, end }: Found) -> Result<Arc<Self>, ConnectError> {
        Ok(Arc::new(Self { clients: Clients::of(config)?, at: Instant::now(), end }))
    }
}

/// A request could not be authenticated. What went wrong is not shown: the client library's error holds the output of a command.
#[derive(Debug, thiserror::Error)]
#[error("unable to authenticate: the kubeconfig's credentials cannot be had")]
struct NoCredentials;

impl Renewed {
    pub(super) fn new(source: Source, found: Found, clock: Clock) -> Result<Self, ConnectError> {
        let state = State { made: Made::of(found)?, trouble: None, next: None, pause: FIRST_PAUSE };
        Ok(Self { source, clock, state: Mutex::new(state), turn: tokio::sync::Mutex::default() })
    }

    /// Sends a request.
    pub(super) async fn send(&self, purpose: Purpose, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let begun = Instant::now();
        let mut made = self.state().made.clone();
        if made.end.is_some_and(|end| end.saturating_sub(EARLY).unwrap_or(end) <= self.clock.wall()) {
            made = self.instead_of(&made).await.unwrap_or(made);
        }
        let again = copy(&request);
        let response = self.heard(&made, made.clients.of_purpose(purpose).send(request).await).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            self.state().pause = FIRST_PAUSE;
            return Ok(response);
        }
        // It was not carried out, whatever its method.
        match (self.instead_of(&made).await, again) {
            (Some(made), Some(again)) if begun.elapsed() <= PROMPT => {
                self.heard(&made, made.clients.of_purpose(purpose).send(again).await).await
            }
            _ => Ok(response),
        }
    }

    /// Takes note of whether requests get through. If none has for some time, the next ones go by what is written now.
    async fn heard(
        &self,
        made: &Arc<Made>,
        result: Result<Response<Body>, kube::Error>,
    ) -> Result<Response<Body>, BoxError> {
        let is_due = {
            let mut state = self.state();
            if result.is_ok() {
                state.trouble = None;
            }
            result.is_err() && state.trouble.get_or_insert_with(Instant::now).elapsed() >= TROUBLE
        };
        if is_due && self.instead_of(made).await.is_some() {
            self.state().trouble = None;
        }
        result.map_err(|error| {
            let is_secret = sources(&error).any(<dyn Error>::is::<AuthError>);
            if is_secret { NoCredentials.into() } else { error.into() }
        })
    }

    /// Other clients than these, which do not get through: those that another request has made meanwhile, or new ones. `None`: it is
    /// too early for new ones, or there are none to be had.
    async fn instead_of(&self, made: &Arc<Made>) -> Option<Arc<Made>> {
        let _turn = self.turn.lock().await;
        {
            let mut state = self.state();
            if !Arc::ptr_eq(&state.made, made) {
                return Some(state.made.clone());
            }
            if made.at.elapsed() < YOUNG || state.next.is_some_and(|next| Instant::now() < next) {
                return None;
            }
            state.next = Some(Instant::now() + state.pause);
            state.pause = (state.pause * 2).min(LONGEST_PAUSE);
        }
        match self.source.read().await.and_then(Made::of) {
            Ok(made) => {
                info!("what the cluster is reached with was read again");
                self.state().made = made.clone();
                Some(made)
            }
            Err(error) => {
                warn!(error = chain(&error), "what the cluster is reached with cannot be read again");
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use http::{HeaderMap, Method, header::AUTHORIZATION};
    use serde_json::json;

    use super::*;
    use crate::cluster::{
        Cluster,
        eks::fixtures::{
            ONE_AUTHORITY, OTHER_AUTHORITY,
            servers::{Certificate, Server},
        },
        exchange::Ask,
    };

    /// A directory of its own, with a kubeconfig. It goes with this.
    struct Files(PathBuf);

    impl Files {
        fn new(label: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("runjob-renewed-{label}-{}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).unwrap();
        }

        fn kubeconfig(&self, server: &Server, user: &serde_json::Value) {
            let server = format!("https://localhost:{}", server.address().port());
            let cluster = json!({"server": server, "certificate-authority": "ca.pem"});
            let kubeconfig = json!({"current-context": "c",
                "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
            self.write("config", &kubeconfig.to_string());
        }

        async fn cluster(&self) -> Cluster {
            Cluster::find(Some(&self.0.join("config")), None).await.unwrap()
        }

        /// How often the plugin has run.
        fn runs(&self) -> usize {
            fs::read_to_string(self.0.join("runs")).map_or(0, |runs| runs.len())
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A user whose plugin prints the token that stands in a file, without an end.
    fn plugin(files: &Files) -> serde_json::Value {
        let script = "printf x >> runs; echo '{\"status\": {\"token\": \"'$(cat token)'\"}}'";
        let script = format!("cd {}; {script}", files.0.display());
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
            "interactiveMode": "Never"}})
    }

    fn says(status: u16) -> (StatusCode, HeaderMap, String) {
        (StatusCode::from_u16(status).unwrap(), HeaderMap::new(), "{}".to_owned())
    }

    async fn ask(cluster: &Cluster) -> Option<u16> {
        let asked = cluster.exchange(&Ask::new("ask".to_owned(), Method::GET, "/version".to_owned())).await;
        asked.ok().map(|exchanged| exchanged.answer.status)
    }

    fn tokens(server: &Server) -> Vec<String> {
        server.arrived().iter().map(|one| one.headers[AUTHORIZATION].to_str().unwrap().to_owned()).collect()
    }

    async fn pass(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    #[tokio::test]
    async fn after_a_401_the_plugin_runs_again_and_the_request_is_repeated() {
        let files = Files::new("plugin");
        let server = Server::kubernetes_that_takes(Certificate::One, "Bearer second").await;
        files.write("ca.pem", ONE_AUTHORITY);
        files.write("token", "first");
        files.kubeconfig(&server, &plugin(&files));
        let cluster = files.cluster().await;
        files.write("token", "second");
        pass(YOUNG).await;
        assert_eq!(ask(&cluster).await, Some(200));
        assert_eq!(tokens(&server), ["Bearer first", "Bearer second"]);
        assert_eq!((ask(&cluster).await, files.runs()), (Some(200), 2));
    }

    #[tokio::test]
    async fn many_that_are_refused_run_the_plugin_once() {
        let files = Files::new("paced");
        let server = Server::kubernetes(Certificate::One).await;
        server.says(says(401));
        files.write("ca.pem", ONE_AUTHORITY);
        files.write("token", "revoked");
        files.kubeconfig(&server, &plugin(&files));
        let cluster = files.cluster().await;
        pass(YOUNG).await;
        let asked = futures::future::join_all((0..20).map(|_| ask(&cluster))).await;
        assert!(asked.iter().all(|status| *status == Some(401)));
        assert_eq!(files.runs(), 2);
        pass(YOUNG).await;
        assert_eq!((ask(&cluster).await, files.runs()), (Some(401), 2));
        pass(FIRST_PAUSE).await;
        assert_eq!((ask(&cluster).await, files.runs()), (Some(401), 3));
    }

    #[tokio::test]
    async fn a_token_file_that_was_changed_is_read_again_after_a_401() {
        let files = Files::new("token");
        let server = Server::kubernetes_that_takes(Certificate::One, "Bearer second").await;
        files.write("ca.pem", ONE_AUTHORITY);
        files.write("token", "first");
        files.kubeconfig(&server, &json!({"tokenFile": files.0.join("token")}));
        let cluster = files.cluster().await;
        files.write("token", "second");
        pass(YOUNG).await;
        assert_eq!(ask(&cluster).await, Some(200));
    }

    #[tokio::test]
    async fn an_authority_that_was_changed_is_read_again_when_nothing_gets_through() {
        let files = Files::new("authority");
        let server = Server::kubernetes(Certificate::Other).await;
        files.write("ca.pem", ONE_AUTHORITY);
        files.kubeconfig(&server, &json!({"token": "t"}));
        let cluster = files.cluster().await;
        files.write("ca.pem", OTHER_AUTHORITY);
        assert_eq!(ask(&cluster).await, None);
        pass(TROUBLE).await;
        assert_eq!(ask(&cluster).await, None);
        assert_eq!(ask(&cluster).await, Some(200));
    }

    #[tokio::test]
    async fn a_plugin_that_gives_nothing_at_the_start_is_an_error_that_names_it() {
        let files = Files::new("start");
        let server = Server::kubernetes(Certificate::One).await;
        files.write("ca.pem", ONE_AUTHORITY);
        files.kubeconfig(
            &server,
            &json!({"exec": {"command": "false", "apiVersion": "client.authentication.k8s.io/v1"}}),
        );
        let found = Cluster::find(Some(&files.0.join("config")), None).await;
        let error = found.err().unwrap().to_string();
        assert!(error.contains("the exec plugin false failed"), "{error}");
    }
}
