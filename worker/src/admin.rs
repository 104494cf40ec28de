//! `/live`, `/ready` and `/metrics`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{
    clock::Clock,
    cluster::Reachability,
    heartbeat::Heartbeats,
    metrics::{self, Metrics},
    sfn::Clients,
    tracker::Pulse,
};

/// What the admin endpoint looks at.
#[derive(Clone)]
pub struct Health {
    /// The tracker's signs of life.
    pub pulse: Arc<Pulse>,
    /// Whether deletions are stopped.
    pub heartbeats: Heartbeats,
    /// Whether Step Functions takes polls.
    pub clients: Clients,
    /// Whether the cluster answers.
    pub reachability: Reachability,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The clock of the pulse.
    pub clock: Clock,
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
    if health.pulse.is_beating(health.clock) {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the tracker's loop is stuck\n").into_response()
    }
}

/// Whether this replica does its work: its first lists are complete, the cluster answers, and polls are taken.
async fn ready(State(health): State<Health>) -> Response {
    let unlisted = health.pulse.unlisted();
    if unlisted > 0 {
        let waiting = format!("the first list of Jobs is not complete yet (watches to go: {unlisted})\n");
        return (StatusCode::SERVICE_UNAVAILABLE, waiting).into_response();
    }
    if health.reachability.is_lost() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the Kubernetes API does not answer\n").into_response();
    }
    if health.clients.polls_fail() {
        return (StatusCode::SERVICE_UNAVAILABLE, "Step Functions does not take polls: the log says why\n")
            .into_response();
    }
    if health.heartbeats.deletions_stopped(health.clock.now()).is_some() {
        let stopped = "suspiciously many tasks have died at once, and deletions are stopped: the log says more\n";
        return (StatusCode::SERVICE_UNAVAILABLE, stopped).into_response();
    }
    "ok\n".into_response()
}

async fn text_of_metrics(State(health): State<Health>) -> Response {
    match health.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
