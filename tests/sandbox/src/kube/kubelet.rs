//! The node: it takes pods, runs their containers and tells how they fare.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::{join, join_all};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Shared, admission,
    container::{self, Order, Restart},
    delete::{self, Options},
    events::{self, Note},
    fields,
    pods::{ContainerView, PodView, Slot, Stage},
    store::Key,
};

/// The only node's name.
const NODE: &str = "sandbox";

/// A pod that the node runs.
pub(crate) struct PodRun {
    pub(crate) shared: Arc<Shared>,
    pub(crate) uid: String,
    key: Key,
    pod: Arc<Value>,
    view: Mutex<PodView>,
    moved: watch::Sender<()>,
}

/// Runs a pod from its creation to its end.
pub(crate) async fn run(shared: Arc<Shared>, key: Key, uid: String, mut orders: watch::Receiver<Order>) {
    let Some(pod) = bind(&shared, &key, &uid) else { return };
    if let Some((reason, why)) = admission::rejection(&pod) {
        reject(&shared, &key, &pod, reason, &why);
        return;
    }
    let started = shared.state().clock.seconds();
    let view = PodView::new(&pod, started, shared.new_address());
    let startup = shared.config.pod_startup;
    let run = PodRun { shared, uid, key, pod, view: Mutex::new(view), moved: watch::Sender::new(()) };
    run.publish();
    tokio::select! {
        biased;
        _ = orders.wait_for(|order| *order != Order::Run) => {}
        () = sleep(startup) => {}
    }
    run.containers(&orders).await;
    // A pod that is deleted lingers as long as one that ends by itself; only a kill does without.
    tokio::select! {
        biased;
        _ = orders.wait_for(|order| *order == Order::Kill) => {}
        () = sleep(run.shared.config.phase_lag) => {}
    }
    run.finish();
}

/// Puts the pod on the node. `None` if the pod is gone or no node suits it.
fn bind(shared: &Shared, key: &Key, uid: &str) -> Option<Arc<Value>> {
    let mut state = shared.state();
    let pod = state.get(key).filter(|pod| fields::uid(pod) == uid && !fields::is_going(pod))?.clone();
    let now = state.clock.seconds();
    let wanted = fields::map(&pod, "/spec/nodeSelector")
        .is_some_and(|labels| labels.iter().any(|(label, value)| label != "kubernetes.io/os" || value != "linux"));
    if wanted {
        let message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
        let condition = json!({"type": "PodScheduled", "status": "False", "lastProbeTime": null,
            "lastTransitionTime": now, "reason": "Unschedulable", "message": message});
        state.edit(key, |pod| fields::put(pod, &["status", "conditions"], json!([condition])));
        events::record(&mut state, &pod, "default-scheduler", &Note::warning("FailedScheduling", message));
        return None;
    }
    // A pod that names its node has been bound by whoever made it.
    if !fields::text(&pod, "/spec/nodeName").is_empty() {
        return Some(pod);
    }
    let bound = state.edit(key, |pod| fields::put(pod, &["spec", "nodeName"], NODE))?;
    let message = format!("Successfully assigned {}/{} to {NODE}", key.namespace, key.name);
    events::record(&mut state, &bound, "default-scheduler", &Note::normal("Scheduled", message));
    Some(bound)
}

/// The node does not take the pod: it has failed, and nothing of it ever runs.
fn reject(shared: &Shared, key: &Key, pod: &Value, reason: &'static str, why: &str) {
    let mut state = shared.state();
    let now = state.clock.seconds();
    let status = json!({"phase": "Failed", "reason": reason, "message": format!("Pod was rejected: {why}"),
        "startTime": now, "qosClass": "Burstable"});
    state.edit(key, |pod| fields::put(pod, &["status"], status));
    events::record(&mut state, pod, "kubelet", &Note::warning(reason, why));
}

impl PodRun {
    /// Runs the init containers one after another, then the others side by side.
    async fn containers(&self, orders: &watch::Receiver<Order>) {
        let restart = Restart::of(&self.pod);
        let (side_orders, side_receiver) = watch::channel(Order::Run);
        // How many init containers have had their turn.
        let turn = watch::Sender::new(0_usize);
        let (inits, mains) = {
            let view = self.view();
            (view.init.iter().map(|container| container.sidecar).collect::<Vec<_>>(), view.main.len())
        };
        let main = async {
            if self.initialize(&inits, &turn, restart, orders).await {
                let slots = (0..mains).map(Slot::Main);
                join_all(slots.map(|slot| container::run(self, slot, restart, orders.clone()))).await;
            }
            // Sidecars end after the containers that they stand beside.
            side_orders.send_replace(match *orders.borrow() {
                Order::Run => Order::Stop(Instant::now() + self.grace()),
                order => order,
            });
            turn.send_replace(usize::MAX);
        };
        let sidecars = inits.iter().enumerate().filter(|(_, sidecar)| **sidecar).map(|(place, _)| {
            let (mut turn, orders) = (turn.subscribe(), side_receiver.clone());
            async move {
                let _ = turn.wait_for(|turn| *turn > place).await;
                container::run(self, Slot::Init(place), Restart::Always, orders).await
            }
        });
        join(main, join_all(sidecars)).await;
    }

    /// Whether every init container succeeded.
    async fn initialize(
        &self,
        inits: &[bool],
        turn: &watch::Sender<usize>,
        restart: Restart,
        orders: &watch::Receiver<Order>,
    ) -> bool {
        // To restart an init container that succeeded would make no sense.
        let restart = if restart == Restart::Never { Restart::Never } else { Restart::OnFailure };
        for (place, sidecar) in inits.iter().enumerate() {
            turn.send_replace(place + 1);
            if *sidecar {
                self.runs(Slot::Init(place), orders.clone()).await;
            } else if container::run(self, Slot::Init(place), restart, orders.clone()).await != Some(0) {
                return false;
            }
        }
        *orders.borrow() == Order::Run
    }

    /// Waits until a container has started, its startup probe included, or until the pod is told to end.
    async fn runs(&self, slot: Slot, mut orders: watch::Receiver<Order>) {
        let mut moved = self.moved.subscribe();
        while !self.view().container(slot).is_some_and(ContainerView::has_started) {
            tokio::select! {
                biased;
                _ = orders.wait_for(|order| *order != Order::Run) => return,
                _ = moved.changed() => {}
            }
        }
    }

    /// Nothing of the pod runs any more.
    fn finish(&self) {
        {
            let mut view = self.view();
            view.phase = view.verdict();
        }
        self.publish();
        let mut state = self.shared.state();
        let going = state.get(&self.key).is_some_and(|pod| fields::uid(pod) == self.uid && fields::is_going(pod));
        if going {
            // The node confirms: nothing holds the pod now but its finalizers.
            let _ = delete::delete(&mut state, &self.key, &Options::ended());
        }
    }

    /// The pod, the manifest of one of its containers, and how often that was restarted.
    pub(crate) fn container(&self, slot: Slot) -> Option<(Arc<Value>, Value, u32)> {
        let (list, place) = match slot {
            Slot::Init(place) => ("/spec/initContainers", place),
            Slot::Main(place) => ("/spec/containers", place),
        };
        let spec = fields::list(&self.pod, list).get(place)?.clone();
        // A container that ran before starts once more than it was restarted.
        let restarts = self.view().container(slot).map_or(0, |view| view.restarts + u32::from(!view.id.is_empty()));
        Some((self.pod.clone(), spec, restarts))
    }

    /// Changes what is known of a container, and tells.
    pub(crate) fn change(&self, slot: Slot, change: impl FnOnce(&mut ContainerView)) {
        {
            let mut view = self.view();
            if let Some(container) = view.container_mut(slot) {
                change(container);
            }
            let begun = |container: &ContainerView| !matches!(container.stage, Stage::Waiting { .. });
            if view.phase == "Pending" && view.main.iter().any(begun) {
                view.phase = "Running";
            }
        }
        self.publish();
        self.moved.send_replace(());
    }

    /// Tells people.
    pub(crate) fn note(&self, note: &Note) {
        events::record(&mut self.shared.state(), &self.pod, "kubelet", note);
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, PodView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn grace(&self) -> Duration {
        let seconds = fields::integer(&self.pod, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }

    fn publish(&self) {
        let view = self.view();
        let mut state = self.shared.state();
        let now = state.clock.seconds();
        state.edit(&self.key, |pod| {
            if fields::uid(pod) == self.uid {
                let status = view.status(&pod["status"], &now);
                fields::put(pod, &["status"], status);
            }
        });
    }
}
