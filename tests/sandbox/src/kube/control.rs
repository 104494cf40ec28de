//! The control loop: hands every change to the garbage collector, the Job controller and the node.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    Shared, collector,
    container::Order,
    fields,
    job_controller::JobController,
    kubelet,
    process::until,
    resources::Resource,
    store::{Change, ChangeKind},
};

/// How long a shutdown waits for killed processes to be gone.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// Runs until the gate closes; then every pod's processes are killed.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut news = shared.news.subscribe();
    let mut gate = shared.gate.subscribe();
    let mut jobs = JobController::new(shared.config.job_sync_batch, shared.config.retry_backoff);
    let mut node = Node { shared: shared.clone(), orders: BTreeMap::new(), pods: JoinSet::new() };
    while !gate.borrow_and_update().closed {
        news.mark_unchanged();
        let next = turn(&shared, &mut jobs, &mut node);
        while node.pods.try_join_next().is_some() {}
        tokio::select! {
            biased;
            _ = gate.changed() => {}
            _ = news.changed() => {}
            () = until(next) => {}
        }
    }
    node.kill().await;
}

/// Works off what happened, including what comes of it. The time at which there is something to do again.
fn turn(shared: &Shared, jobs: &mut JobController, node: &mut Node) -> Option<Instant> {
    let mut state = shared.state();
    loop {
        let changes = std::mem::take(&mut state.inbox);
        for change in &changes {
            collector::follow(&mut state, change);
            jobs.follow(&mut state, change);
            node.follow(change);
        }
        let next = jobs.run(&mut state);
        if state.inbox.is_empty() {
            return next;
        }
    }
}

/// The node's pods, by uid.
struct Node {
    shared: Arc<Shared>,
    orders: BTreeMap<String, watch::Sender<Order>>,
    pods: JoinSet<()>,
}

impl Node {
    fn follow(&mut self, change: &Change) {
        if change.key.resource != Resource::pods() {
            return;
        }
        let pod = &change.object;
        let uid = fields::uid(pod);
        if change.kind == ChangeKind::Deleted {
            if let Some(orders) = self.orders.remove(uid) {
                orders.send_replace(Order::Kill);
            }
            self.shared.logs.forget(uid);
        } else if fields::is_going(pod) {
            self.stop(uid, fields::integer(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(0));
        } else if fields::text(pod, "/status/phase") == "Pending" && !self.orders.contains_key(uid) {
            let (sender, receiver) = watch::channel(Order::Run);
            self.orders.insert(uid.to_owned(), sender);
            self.pods.spawn(kubelet::run(self.shared.clone(), change.key.clone(), uid.to_owned(), receiver));
        }
    }

    /// Tells a pod to end; a later call can only bring its end nearer.
    fn stop(&self, uid: &str, grace: i64) {
        let end = Instant::now() + Duration::from_secs(u64::try_from(grace).unwrap_or_default());
        if let Some(orders) = self.orders.get(uid) {
            orders.send_if_modified(|order| {
                let nearer = match *order {
                    Order::Run => true,
                    Order::Stop(at) => end < at,
                    Order::Kill => false,
                };
                if nearer {
                    *order = Order::Stop(end);
                }
                nearer
            });
        }
    }

    async fn kill(mut self) {
        for orders in self.orders.values() {
            orders.send_replace(Order::Kill);
        }
        let all = async { while self.pods.join_next().await.is_some() {} };
        // Whatever is left is aborted, and the reaper kills its processes.
        let _ = timeout(LAST_MOMENTS, all).await;
    }
}
