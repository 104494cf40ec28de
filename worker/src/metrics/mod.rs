//! What the worker counts. Names follow Prometheus' conventions; labels have few values.

mod per_cluster;

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use runjob_core::clusters::Choice;

use self::per_cluster::OfCluster;
use crate::{cluster::Reachability, clusters::Served};

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From the end of a Job to its accepted reply: milliseconds as a rule, minutes in an outage.
const COMPLETION_BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

/// How something went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    result: Outcome,
}

/// What was wrong with a Job: the code of its diagnosis.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCode {
    code: &'static str,
}

/// How something went, as a label's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Outcome {
    Task,
    Empty,
    Accepted,
    Succeeded,
    Attached,
    Failed,
    Refused,
    Gone,
    Throttled,
    Error,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let text = match self {
            Self::Task => "task",
            Self::Empty => "empty",
            Self::Accepted => "accepted",
            Self::Succeeded => "succeeded",
            Self::Attached => "attached",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Throttled => "throttled",
            Self::Error => "error",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

/// All metrics of a worker, as one of its clusters sees them: some are that cluster's own.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    polls: Family<By, Counter>,
    creates: Family<By, Counter>,
    replies: Family<By, Counter>,
    heartbeats: Family<By, Counter>,
    deletes: Family<By, Counter>,
    settles: Family<By, Counter>,
    stuck: Family<OfCode, Counter>,
    /// Jobs of the group that are watched.
    pub in_flight: Gauge,
    /// Jobs that are over and do not go.
    pub lingering: Gauge,
    /// Jobs whose stamp cannot be read.
    pub unreadable_stamps: Counter,
    /// Jobs whose activity this worker does not serve.
    pub foreign_jobs: Counter,
    /// Jobs whose stamp was copied from another.
    pub copied_stamps: Counter,
    /// Tokens that were invalid from the first heartbeat on.
    pub untrusted_tokens: Counter,
    /// How often deletions were stopped because too many tasks had died at once.
    pub braked: Counter,
    /// Panics in what is done for one Job or task.
    pub panics: Counter,
    leading: Gauge,
    completion_to_reply: Histogram,
    heartbeat_interval: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&Counter::default(), &Reachability::default())
    }
}

impl Metrics {
    /// All of them at their beginning, where there is one cluster. Events that could not be written are counted where they are.
    pub fn new(lost_events: &Counter, reachability: &Reachability) -> Self {
        let own = OfCluster::new(lost_events, reachability);
        let shared = Self::registered(&Choice::Only(own.clone()));
        shared.seen_by(&own)
    }

    /// Each of these clusters, and the metrics as it sees them.
    pub fn beside(clusters: &Choice<Served>) -> Choice<(Served, Arc<Self>)> {
        let each = clusters.map(|_, served| {
            let own = OfCluster::new(served.cluster.lost_events(), served.cluster.reachability());
            (served.clone(), own)
        });
        let shared = Self::registered(&each.map(|_, (_, own)| own.clone()));
        each.map(|_, (served, own)| (served.clone(), Arc::new(shared.seen_by(own))))
    }

    fn seen_by(&self, own: &OfCluster) -> Self {
        let OfCluster { in_flight, lingering, leading, heartbeat_interval, .. } = own.clone();
        Self { in_flight, lingering, leading, heartbeat_interval, ..self.clone() }
    }

    fn registered(clusters: &Choice<OfCluster>) -> Self {
        let mut registry = Registry::with_prefix("runjob");
        let metrics = Self {
            polls: Family::default(),
            creates: Family::default(),
            replies: Family::default(),
            heartbeats: Family::default(),
            deletes: Family::default(),
            settles: Family::default(),
            stuck: Family::default(),
            in_flight: Gauge::default(),
            lingering: Gauge::default(),
            unreadable_stamps: Counter::default(),
            foreign_jobs: Counter::default(),
            copied_stamps: Counter::default(),
            untrusted_tokens: Counter::default(),
            braked: Counter::default(),
            panics: Counter::default(),
            leading: Gauge::default(),
            completion_to_reply: Histogram::new(COMPLETION_BUCKETS),
            heartbeat_interval: Gauge::default(),
            registry: Arc::default(),
        };
        registry.register("polls", "Polls of activities that were answered", metrics.polls.clone());
        registry.register("creates", "Jobs that were to be created, or to be attached to", metrics.creates.clone());
        registry.register("replies", "Replies to Step Functions", metrics.replies.clone());
        registry.register("heartbeats", "Heartbeats sent", metrics.heartbeats.clone());
        registry.register("deletes", "Deletions of Jobs that nobody waits for", metrics.deletes.clone());
        registry.register("settles", "Patches that take a Job out of the watch", metrics.settles.clone());
        registry.register("stuck_jobs", "Jobs that did not get going, by what was wrong", metrics.stuck.clone());
        registry.register(
            "unreadable_stamps",
            "Jobs of the group whose stamp could not be read",
            metrics.unreadable_stamps.clone(),
        );
        registry.register(
            "foreign_jobs",
            "Jobs of the group whose activity is of another account or region",
            metrics.foreign_jobs.clone(),
        );
        registry.register(
            "copied_stamps",
            "Jobs of the group whose stamp was written for another Job and copied",
            metrics.copied_stamps.clone(),
        );
        registry.register(
            "untrusted_tokens",
            "Tokens that were invalid from the first heartbeat on: is this the right account, region and endpoint?",
            metrics.untrusted_tokens.clone(),
        );
        registry.register(
            "stopped_deletions",
            "How often deletions were stopped because suspiciously many tasks had died at once",
            metrics.braked.clone(),
        );
        registry.register("panics", "Panics in what is done for one Job or task", metrics.panics.clone());
        registry.register_with_unit(
            "completion_to_reply",
            "From the arrival of a Job's final condition to the accepted reply",
            Unit::Seconds,
            metrics.completion_to_reply.clone(),
        );
        per_cluster::register(&mut registry, clusters);
        Self { registry: Arc::new(registry), ..metrics }
    }

    /// A poll was answered.
    pub fn polled(&self, result: Outcome) {
        self.polls.get_or_create(&By { result }).inc();
    }

    /// A Job was created, or was not.
    pub fn created(&self, result: Outcome) {
        self.creates.get_or_create(&By { result }).inc();
    }

    /// A task was answered, or was not.
    pub fn replied(&self, result: Outcome) {
        self.replies.get_or_create(&By { result }).inc();
    }

    /// A heartbeat was answered.
    pub fn beat(&self, result: Outcome) {
        self.heartbeats.get_or_create(&By { result }).inc();
    }

    /// A Job was deleted, or was not.
    pub fn deleted(&self, result: Outcome) {
        self.deletes.get_or_create(&By { result }).inc();
    }

    /// A Job does not get going.
    pub fn stuck(&self, code: &'static str) {
        self.stuck.get_or_create(&OfCode { code }).inc();
    }

    /// A Job was taken out of the watch, or was not.
    pub fn settled(&self, result: Outcome) {
        self.settles.get_or_create(&By { result }).inc();
    }

    /// A finished Job's reply was accepted that long after its end had arrived here.
    pub fn completed(&self, after: Duration) {
        self.completion_to_reply.observe(after.as_secs_f64());
    }

    /// Whether this worker acts for its group.
    pub fn leading(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    /// The interval of heartbeats is that.
    pub fn beating_every(&self, interval: Duration) {
        self.heartbeat_interval.set(interval.as_secs_f64());
    }

    /// All of it, as Prometheus reads it.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let metrics = Metrics::default();
        metrics.replied(Outcome::Succeeded);
        metrics.completed(Duration::from_millis(7));
        let text = metrics.text().unwrap();
        for line in [
            "runjob_replies_total{result=\"succeeded\"} 1",
            "runjob_completion_to_reply_seconds_bucket{le=\"0.01\"} 1",
            "runjob_in_flight_jobs 0",
            "runjob_lost_events_total 0",
            "runjob_reachable 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn each_of_several_clusters_has_its_own_and_the_counters_are_shared() {
        let named = ["a", "b"]
            .map(|name| (name.parse().unwrap(), OfCluster::new(&Counter::default(), &Reachability::default())));
        let each = Choice::Named(named.into());
        let shared = Metrics::registered(&each);
        let metrics: Vec<_> = each.all().map(|own| shared.seen_by(own)).collect();
        metrics[0].replied(Outcome::Succeeded);
        metrics[1].replied(Outcome::Succeeded);
        metrics[1].leading(true);
        let text = metrics[0].text().unwrap();
        for line in [
            "runjob_replies_total{result=\"succeeded\"} 2",
            "runjob_leading{cluster=\"a\"} 0",
            "runjob_leading{cluster=\"b\"} 1",
            "runjob_lost_events_total{cluster=\"b\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert_eq!(text.matches("# TYPE runjob_leading gauge").count(), 1, "{text}");
    }
}
