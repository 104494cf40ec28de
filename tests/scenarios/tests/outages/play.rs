//! What is played here: tasks with scripted Jobs, workers, and services that are sometimes away.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use runjob_sandbox::{
    kube::{self, Container, OnTerm, Programs, Script, Step},
    memory::{Fate, LinkedWorker, Memory, Outbound, Service, Traffic, simulate},
    sandbox::Config,
    sfn::{BareTask, Clocks, TaskOutcome},
};
use runjob_scenarios::jobs::{JobRequest, a_job};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// Longer than anything here takes: whoever waits that long waits in vain.
pub(crate) const PATIENCE: Duration = Duration::from_hours(2);
/// What the documentation asks for: three times the worker's interval.
pub(crate) const HEARTBEATS: Clocks = Clocks { timeout: None, heartbeat: Some(Duration::from_mins(1)) };

/// The services, and what lies between them and every worker.
pub(crate) struct Play {
    pub(crate) memory: Memory,
    pub(crate) weather: Arc<Weather>,
}

/// What befalls each request at present, by where it goes.
#[derive(Default)]
pub(crate) struct Weather(Mutex<Vec<(Service, Fate)>>);

impl Traffic for Weather {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        let weather = self.0.lock().unwrap();
        let here = weather.iter().find(|(service, _)| *service == request.service);
        here.map_or(Fate::Pass, |(_, fate)| fate.clone())
    }
}

impl Weather {
    /// From now on this befalls every request to that service.
    pub(crate) fn turns(&self, service: Service, fate: Fate) {
        self.clears(service);
        self.0.lock().unwrap().push((service, fate));
    }

    /// Nothing befalls requests to that service any more.
    pub(crate) fn clears(&self, service: Service) {
        self.0.lock().unwrap().retain(|(other, _)| *other != service);
    }
}

/// A cluster whose containers do what they are told.
pub(crate) fn cluster() -> kube::Config {
    kube::Config { programs: Programs::scripted(|container| Some(script(container))), ..kube::Config::default() }
}

/// Plays a story from its beginning to its end.
pub(crate) fn play(story: impl AsyncFnOnce(&Play)) {
    simulate(1, async || {
        let memory = Memory::start(Config { kube: cluster(), ..Config::default() }).unwrap();
        let play = Play { memory, weather: Arc::default() };
        story(&play).await;
        assert_eq!(play.memory.sfn.endpoint().invariant_violations(), [""; 0]);
    })
    .unwrap();
}

/// A Job whose container ends after that time, with that code.
pub(crate) fn lasting(name: &str, time: Duration, code: i32) -> JobRequest {
    a_job(name, "").with_main("command", json!([time.as_secs().to_string(), code.to_string()]))
}

/// What the container was told to do: for how long, with which code it ends, and how long it takes to end once it is asked to.
fn script(container: &Container) -> Script {
    let number = |place: usize| Some(container.command.get(place)?.parse::<u64>().unwrap());
    let [time, code] = [0, 1].map(|place| number(place).unwrap());
    let steps =
        [Step::print("begun\n"), Step::seconds(time), Step::print("done\n"), Step::Exit(i32::try_from(code).unwrap())];
    let script = Script::new(steps);
    match number(2) {
        Some(dying) => {
            script.on_term(OnTerm::Run(vec![Step::seconds(dying), Step::print("last words\n"), Step::Exit(1)]))
        }
        None => script,
    }
}

impl Play {
    /// Starts a worker of that name.
    pub(crate) fn worker(&self, name: &str, flags: &[&str]) -> LinkedWorker {
        self.worker_at(&self.memory, name, flags)
    }

    /// The same, with those services.
    pub(crate) fn worker_at(&self, memory: &Memory, name: &str, flags: &[&str]) -> LinkedWorker {
        memory.worker(name, memory.settings(flags).unwrap(), self.weather.clone())
    }

    /// Schedules a task for a Job.
    pub(crate) fn task(&self, job: &JobRequest, clocks: Clocks) -> BareTask {
        self.memory.sfn.endpoint().bare_task(self.memory.activity(), &job.input(), clocks)
    }

    /// From now on this befalls every request to that service. What it had begun to say breaks off.
    pub(crate) fn outage(&self, service: Service, fate: Fate) {
        self.weather.turns(service, fate);
        if service == Service::Kubernetes {
            self.memory.kube.endpoint().cut_watches();
        }
    }

    /// Nothing befalls requests to that service any more.
    pub(crate) fn clears(&self, service: Service) {
        self.weather.clears(service);
    }

    /// Waits until the containers of so many Jobs run.
    pub(crate) async fn running(&self, jobs: usize) {
        let kube = self.memory.kube.endpoint();
        let ready = |job: &Value| job["status"]["ready"] == json!(1);
        let running = kube
            .wait_for(|kube| (kube.list("jobs", None).iter().filter(|job| ready(job)).count() == jobs).then_some(()));
        timeout(PATIENCE, running).await.unwrap();
    }

    /// Waits until a Job has this condition.
    pub(crate) async fn condition(&self, job: &str, condition: &str) {
        let has = |job: &Value| {
            let conditions = job["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|one| one["type"] == condition && one["status"] == "True")
        };
        let kube = self.memory.kube.endpoint();
        timeout(PATIENCE, kube.wait_for(|kube| kube.get("jobs", "default", job).filter(has))).await.unwrap();
    }

    /// Who holds the Lease.
    pub(crate) fn holder(&self) -> Option<String> {
        let leases = self.memory.kube.endpoint().list("leases.coordination.k8s.io", None);
        let mut holders = leases.iter().filter_map(|lease| lease["spec"]["holderIdentity"].as_str());
        holders.find(|holder| !holder.is_empty()).map(ToOwned::to_owned)
    }

    /// Waits until somebody like this holds the Lease.
    pub(crate) async fn holder_is(&self, wanted: impl Fn(&str) -> bool) {
        let kube = self.memory.kube.endpoint();
        let held = kube.wait_for(|_| self.holder().filter(|holder| wanted(holder)));
        timeout(PATIENCE, held).await.unwrap();
    }

    /// The time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.memory.journal().elapsed()
    }

    /// The time since then.
    pub(crate) fn since(&self, then: Duration) -> Duration {
        self.now().saturating_sub(then)
    }

    /// How many requests of that kind were sent since then.
    pub(crate) fn sent(&self, kind: &str, since: Duration) -> usize {
        self.memory.journal().read(|lines| lines.iter().filter(|line| line.kind == kind && line.at >= since).count())
    }

    /// How many requests went to that service since then.
    pub(crate) fn load(&self, service: Service, since: Duration) -> usize {
        self.memory
            .journal()
            .read(|lines| lines.iter().filter(|line| line.service == service && line.at >= since).count())
    }

    /// Waits until nothing is left to do for any Job.
    pub(crate) async fn settled(&self) {
        let kube = self.memory.kube.endpoint();
        let open = |job: &Value| job["metadata"]["labels"].get("runjob/group").is_some();
        let settled = kube.wait_for(|kube| (!kube.list("jobs", None).iter().any(open)).then_some(()));
        timeout(PATIENCE, settled).await.unwrap();
    }
}

/// What a task was answered with: `done`, or the name of an error.
pub(crate) async fn outcome(task: &BareTask) -> String {
    match timeout(PATIENCE, task.finished()).await.unwrap() {
        TaskOutcome::Succeeded(output) => {
            let output: Value = serde_json::from_str(&output).unwrap();
            assert!(output["logs"].to_string().contains("begun\\ndone\\n"), "{output}");
            "done".to_owned()
        }
        TaskOutcome::Failed { error, .. } => error.unwrap(),
        other => panic!("the task ended otherwise: {other:?}"),
    }
}

pub(crate) const fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

pub(crate) async fn pass(time: Duration) {
    sleep(time).await;
}
