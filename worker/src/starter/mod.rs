//! Starting what a request asks for, whoever asks: a task that was polled, or an invocation of a function.
//!
//! ```text
//! request ─► admission ─► plan ─► POST Job ─► the watch shows it
//!              │            ├ refused: the task fails
//!              │            ├ the name is taken: by the Job of its key? ─► PATCH it: the task's own
//!              │            └ the name is taken: by a predecessor that nobody waits for? ─► DELETE it, POST
//!              └ call ─► answer
//! ```

mod admission;
mod attach;
mod call;
mod create;
mod line;
mod patience;
mod predecessor;

use std::{sync::Arc, time::Duration};

use runjob_core::{attach::Holder, ledger::Stamp, refusal::PATIENCE, waiter::Waiter};

pub use self::{
    admission::{Admission, read},
    create::Started,
};
use self::{call::Calls, line::Line};
use crate::{
    cluster::Cluster,
    heartbeat::{Heartbeats, Verdict},
    metrics::Metrics,
    sfn::Clients,
};

/// Starts Jobs in one cluster, and sends calls to it.
#[derive(Clone)]
pub struct Starter {
    clients: Clients,
    cluster: Cluster,
    /// Says who still waits.
    heartbeats: Heartbeats,
    metrics: Arc<Metrics>,
    /// Where tasks wait while the API is in trouble.
    line: Line,
    calls: Arc<Calls>,
    /// How long trouble may last, whatever it is.
    patience: Duration,
}

impl Starter {
    /// Starts what is asked of that cluster.
    pub fn new(clients: Clients, cluster: Cluster, heartbeats: Heartbeats, metrics: Arc<Metrics>) -> Self {
        let (line, calls) = (Line::default(), Arc::default());
        Self { clients, cluster, heartbeats, metrics, line, calls, patience: PATIENCE }
    }

    /// The same, for whoever has less time than trouble may last.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { patience: self.patience.min(limit), ..self }
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Whether somebody waits for a Job with that stamp, which is none of the one that asks.
    async fn holder(&self, stamp: &Stamp) -> Holder {
        match &stamp.waiter {
            // Another account's token is not shown to this one.
            Waiter::Task { source, .. } if !self.clients.serve(source) => Holder::Elsewhere,
            Waiter::Task { token, source } => match self.heartbeats.ask(token, source).await {
                Verdict::Alive => Holder::Somebody,
                Verdict::Gone => Holder::Nobody,
                Verdict::Unproven => Holder::Unproven,
                Verdict::Unknown => Holder::Unknown,
            },
            Waiter::Invocation { until, .. } if *until > self.cluster.clock().wall() => Holder::Somebody,
            Waiter::Invocation { .. } | Waiter::Nobody => Holder::Nobody,
        }
    }
}
