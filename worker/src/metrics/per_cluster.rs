//! What each cluster has of its own. Where there is one cluster, it goes without a label.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric, counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};
use runjob_core::clusters::{Choice, ClusterName};

use crate::cluster::Reachability;

/// The metrics of one cluster.
#[derive(Debug, Clone)]
pub(super) struct OfCluster {
    pub(super) in_flight: Gauge,
    pub(super) lingering: Gauge,
    pub(super) leading: Gauge,
    pub(super) heartbeat_interval: Gauge<f64, std::sync::atomic::AtomicU64>,
    lost_events: Counter,
    reachable: Reachable,
}

/// Whether it answers, as of now.
#[derive(Debug, Clone)]
struct Reachable(Reachability);

/// One metric of every cluster.
#[derive(Debug)]
struct PerCluster<M>(Choice<M>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    cluster: String,
}

impl OfCluster {
    pub(super) fn new(lost_events: &Counter, reachability: &Reachability) -> Self {
        Self {
            in_flight: Gauge::default(),
            lingering: Gauge::default(),
            leading: Gauge::default(),
            heartbeat_interval: Gauge::default(),
            lost_events: lost_events.clone(),
            reachable: Reachable(reachability.clone()),
        }
    }
}

pub(super) fn register(registry: &mut Registry, clusters: &Choice<OfCluster>) {
    fn each<M>(clusters: &Choice<OfCluster>, metric: impl Fn(&OfCluster) -> M) -> PerCluster<M> {
        PerCluster(clusters.map(|_, own| metric(own)))
    }
    registry.register(
        "in_flight_jobs",
        "Jobs of the group that are watched",
        each(clusters, |own| own.in_flight.clone()),
    );
    registry.register(
        "lingering_jobs",
        "Jobs of the group that are over and do not go: a finalizer, their pods or another controller keeps them",
        each(clusters, |own| own.lingering.clone()),
    );
    registry.register(
        "leading",
        "1 on the worker that acts for the group, 0 on the others",
        each(clusters, |own| own.leading.clone()),
    );
    registry.register(
        "reachable",
        "0 once the Kubernetes API has not answered for ten seconds, 1 otherwise",
        each(clusters, |own| own.reachable.clone()),
    );
    registry.register(
        "lost_events",
        "Events on Jobs that could not be written",
        each(clusters, |own| own.lost_events.clone()),
    );
    registry.register_with_unit(
        "heartbeat_interval",
        "The interval of heartbeats, stretched when there are many tasks or Step Functions throttles",
        Unit::Seconds,
        each(clusters, |own| own.heartbeat_interval.clone()),
    );
}

impl EncodeMetric for Reachable {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.encode_gauge(&i64::from(!self.0.is_lost()))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Reachable {
    const TYPE: MetricType = MetricType::Gauge;
}

impl<M: EncodeMetric + TypedMetric> EncodeMetric for PerCluster<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match &self.0 {
            Choice::Named(clusters) if clusters.len() > 1 => {
                clusters.iter().try_for_each(|(name, metric)| metric.encode(encoder.encode_family(&label(name))?))
            }
            one => match one.all().next() {
                Some(metric) => metric.encode(encoder),
                None => Ok(()),
            },
        }
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

fn label(name: &ClusterName) -> Label {
    Label { cluster: name.to_string() }
}
