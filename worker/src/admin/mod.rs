//! `/live`, `/ready` and `/metrics`.

mod connections;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use runjob_core::{clusters::ClusterName, lease::Role};
use tokio::{net::TcpListener, sync::watch};

pub use self::connections::serve;
use crate::{
    clock::Clock,
    cluster::Reachability,
    heartbeat::Heartbeats,
    liveness::Liveness,
    metrics::{self, Metrics},
    sfn::Clients,
    tracker::Pulse,
};

/// What the admin endpoint looks at.
#[derive(Clone)]
pub struct Health {
    /// The loops' signs of life.
    pub liveness: Liveness,
    /// What there is to know of each cluster.
    pub clusters: Vec<ClusterHealth>,
    /// Whether Step Functions takes polls.
    pub clients: Clients,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// What the admin endpoint looks at of one cluster.
#[derive(Clone)]
pub struct ClusterHealth {
    /// What it is called where there are several.
    pub name: Option<ClusterName>,
    /// Whether the first lists are complete.
    pub pulse: Arc<Pulse>,
    /// Whether deletions are stopped.
    pub heartbeats: Heartbeats,
    /// Whether the cluster answers.
    pub reachability: Reachability,
    /// Whether any worker of the group is known to act.
    pub role: watch::Receiver<Role>,
    /// The clock of all that.
    pub clock: Clock,
}

/// Listens there. Where there is no IPv6, every address is every one of IPv4.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let every = address.ip() == Ipv6Addr::UNSPECIFIED;
    match TcpListener::bind(address).await {
        Err(error) if every && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        listener => listener,
    }
}

/// The endpoint's routes.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(text_of_metrics))
        .with_state(health)
}

/// Whether the process is worth keeping. Trouble of AWS or the API server does not count: a restart would not cure it.
async fn live(State(health): State<Health>) -> Response {
    let stuck = health.liveness.stuck();
    answer(if stuck.is_empty() { Answer::Yes } else { Answer::No }, &stuck)
}

/// Whether this replica does its work, in one cluster at least. Whether or not, all that it waits for.
async fn ready(State(health): State<Health>) -> Response {
    let (ready, waits) = health.waits_for();
    answer(ready, &waits)
}

/// Whether all is well enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
}

impl Health {
    fn waits_for(&self) -> (Answer, Vec<String>) {
        let each: Vec<_> = self.clusters.iter().map(ClusterHealth::waits_for).collect();
        let one_is_well = each.iter().any(Vec::is_empty);
        let regions = self.clients.polls_fail();
        let ready = if one_is_well && regions.is_empty() { Answer::Yes } else { Answer::No };
        let regions =
            regions.iter().map(|region| format!("Step Functions does not take polls in {region}: the log says why"));
        (ready, each.into_iter().flatten().chain(regions).collect())
    }
}

impl ClusterHealth {
    fn waits_for(&self) -> Vec<String> {
        let lists = self.pulse.unlisted();
        let mut waits: Vec<String> =
            lists.iter().map(|scope| format!("the first list of Jobs in {scope} is not complete yet")).collect();
        if self.reachability.is_lost() {
            waits.push("the Kubernetes API does not answer".to_owned());
        }
        if *self.role.borrow() == Role::Adrift {
            waits.push(
                "no worker of the group is known to act: the Lease cannot be read or renewed, or its holder does not renew it"
                    .to_owned(),
            );
        }
        if self.heartbeats.deletions_stopped(self.clock.now()).is_some() {
            waits.push(
                "suspiciously many tasks have died at once, and deletions are stopped: the log says more".to_owned(),
            );
        }
        match &self.name {
            Some(name) => waits.into_iter().map(|wait| format!("the cluster {name}: {wait}")).collect(),
            None => waits,
        }
    }
}

/// The answer, and a line for each thing that is not well.
fn answer(answer: Answer, troubles: &[impl ToString]) -> Response {
    let lines: String = troubles.iter().map(|trouble| format!("{}\n", trouble.to_string())).collect();
    match answer {
        Answer::Yes => format!("ok\n{lines}").into_response(),
        Answer::No => (StatusCode::SERVICE_UNAVAILABLE, lines).into_response(),
    }
}

async fn text_of_metrics(State(health): State<Health>) -> Response {
    match health.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_config::{BehaviorVersion, SdkConfig};
    use http_body_util::BodyExt;
    use runjob_core::arn::ActivityArn;
    use tokio::{net::TcpStream, sync::mpsc};

    use super::*;
    use crate::{
        cluster::Scope,
        heartbeat::{Budget, Pace},
    };

    const NAMESPACES: [&str; 2] = ["one", "two"];

    fn an_activity() -> ActivityArn {
        "arn:aws:states:eu-west-1:123456789012:activity:jobs".parse().unwrap()
    }

    /// A worker that has just begun, and watches two namespaces.
    fn a_worker() -> Health {
        let (metrics, clock) = (Arc::new(Metrics::default()), Clock::start());
        let clients =
            Clients::new(&SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build(), &[an_activity()]);
        let beats = Budget::new(Pace { interval: Duration::from_secs(20), rate: 100 });
        let (role, lost) = (watch::channel(Role::Following).1, mpsc::unbounded_channel().0);
        let (heartbeats, _beat) = Heartbeats::new(clients.clone(), metrics.clone(), &beats, clock, role.clone(), lost);
        let liveness = Liveness::default();
        let scopes = NAMESPACES.map(|name| Scope::Namespace(name.to_owned()));
        let pulse = Arc::new(Pulse::new(scopes, liveness.watch_over("the tracker".to_owned())));
        let cluster =
            ClusterHealth { name: None, pulse, heartbeats, reachability: Reachability::default(), role, clock };
        Health { liveness, clusters: vec![cluster], clients, metrics }
    }

    impl Health {
        fn listed(self) -> Self {
            for (cluster, name) in self.clusters.iter().flat_map(|cluster| NAMESPACES.map(|name| (cluster, name))) {
                cluster.pulse.has_listed(&Scope::Namespace(name.to_owned()));
            }
            self
        }

        /// Serves a second cluster as well.
        fn beside(mut self, other: Health) -> Self {
            self.clusters.extend(other.clusters);
            for (cluster, name) in self.clusters.iter_mut().zip(["here", "there"]) {
                cluster.name = Some(name.parse().unwrap());
            }
            self
        }
    }

    async fn text(response: Response) -> (StatusCode, String) {
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_is_alive_whatever_it_waits_for_and_dead_when_a_loop_is_stuck() {
        let health = a_worker();
        let (watch, poller) = (health.liveness.watch_over("the watch".to_owned()), "poller 1".to_owned());
        let poller = health.liveness.watch_over(poller);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(text(live(State(health.clone())).await).await, (StatusCode::OK, "ok\n".to_owned()));
        poller.busy(Duration::from_secs(150));
        watch.busy(Duration::from_secs(450));
        tokio::time::advance(Duration::from_secs(200)).await;
        let dead = "poller 1 is stuck: no sign of life for 200 s, 150 s is the most\n";
        assert_eq!(text(live(State(health)).await).await, (StatusCode::SERVICE_UNAVAILABLE, dead.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_not_ready_says_all_that_it_waits_for() {
        let health = a_worker();
        let _new = health.clients.poll_failed(&an_activity());
        health.clusters[0].reachability.record(false);
        tokio::time::advance(Duration::from_secs(11)).await;
        let (status, waits) = text(ready(State(health.clone())).await).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            waits.lines().collect::<Vec<_>>(),
            [
                "the first list of Jobs in the namespace one is not complete yet",
                "the first list of Jobs in the namespace two is not complete yet",
                "the Kubernetes API does not answer",
                "Step Functions does not take polls in eu-west-1: the log says why",
            ]
        );
        // None of that is worth a restart.
        assert_eq!(live(State(health)).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn every_address_is_every_one_of_both_protocols() {
        let listener = listen("[::]:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
        let error = listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_has_all_that_it_needs_is_ready() {
        let health = a_worker().listed();
        assert_eq!(text(ready(State(health)).await).await, (StatusCode::OK, "ok\n".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_knows_of_nobody_that_acts_is_not_ready() {
        let mut health = a_worker().listed();
        let (role, told) = watch::channel(Role::Following);
        health.clusters[0].role = told;
        assert_eq!(ready(State(health.clone())).await.status(), StatusCode::OK);
        role.send_replace(Role::Adrift);
        let (status, waits) = text(ready(State(health.clone())).await).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(waits.starts_with("no worker of the group is known to act"), "{waits}");
        // A restart would not cure it.
        assert_eq!(live(State(health)).await.status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_clusters_one_is_enough_to_be_ready_and_the_others_are_named() {
        let health = a_worker().listed().beside(a_worker().listed());
        health.clusters[1].reachability.record(false);
        tokio::time::advance(Duration::from_secs(11)).await;
        let waits = "ok\nthe cluster there: the Kubernetes API does not answer\n".to_owned();
        assert_eq!(text(ready(State(health.clone())).await).await, (StatusCode::OK, waits));
        health.clusters[0].reachability.record(false);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(text(ready(State(health)).await).await.0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
