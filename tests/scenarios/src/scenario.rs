//! A scenario: what is started, what happens meanwhile, what has to come of it. All of it is data; [`crate::play`] plays it.

use std::time::Duration;

use serde_json::json;

use crate::{
    backend::Backend,
    check::Check,
    jobs::{JobRequest, SCRATCH},
    stage::Stage,
    step::{Act, Sight, Step},
};

/// A behaviour of the whole, the same on every backend.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// A sentence that says what holds.
    pub name: &'static str,
    /// Where it cannot run, and why.
    pub(crate) impossible: Vec<(Backend, &'static str)>,
    pub(crate) essential: bool,
    pub(crate) company: Company,
    pub(crate) home: Home,
    pub(crate) rights: Rights,
    pub(crate) clusters: Clusters,
    pub(crate) staff: Staff,
    /// The time of the function's invocations, if there is a function.
    pub(crate) function: Option<Duration>,
    pub(crate) flags: Vec<&'static str>,
    pub(crate) flags_of_first: Vec<&'static str>,
    pub(crate) heartbeat_interval: &'static str,
    pub(crate) before: Vec<Step>,
    pub(crate) start: Start,
    pub(crate) story: Vec<Step>,
    pub(crate) ending: Ending,
    /// How soon after the story it has to come.
    pub(crate) ends_within: Option<Duration>,
    /// What a backend is known to do differently from AWS, and what it does instead.
    pub(crate) differences: Vec<(Backend, &'static str, Ending)>,
    pub(crate) afterwards: Afterwards,
    /// What has to hold for each Job that is left.
    pub(crate) left: Vec<Check>,
}

/// Whether others may run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    SideBySide,
    /// It takes away what others need.
    Alone,
}

/// The namespace that a scenario lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    Own,
    /// `default`, for workflows that name it.
    Default,
}

/// Who works when the execution starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staff {
    AWorker,
    Nobody,
}

/// The clusters that the workers serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clusters {
    /// The backend's, which needs no name.
    One,
    /// It is called `own`, and beside it there is `gone`, which is not there.
    OwnAndGone,
}

/// What the worker's account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// What the documentation asks for, in the scenario's namespace.
    Documented,
    /// The same in every namespace, and the worker serves them all.
    Everywhere,
    /// The same, but it may create nothing.
    NoCreate,
    /// The same, and whatever it likes with `ConfigMaps`, for calls.
    AndConfigMaps,
}

/// What is started.
#[derive(Debug, Clone)]
pub(crate) enum Start {
    /// One activity task: a state machine of a single state.
    Task { request: JobRequest, clocks: Clocks },
    /// A state machine. `{activity}`, `{function}`, `{namespace}` and `{scratch}` stand for the scenario's own.
    Machine { definition: String, input: String },
}

/// The time-outs of a task.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clocks {
    /// `TimeoutSeconds`.
    pub timeout: Option<u32>,
    /// `HeartbeatSeconds`.
    pub heartbeat: Option<u32>,
}

/// How an execution has to end.
#[derive(Debug, Clone)]
pub enum Ending {
    /// `SUCCEEDED`, with an output like this.
    Succeeds(Vec<Check>),
    /// `FAILED`, with this error and a cause like this.
    Fails(&'static str, Vec<Check>),
    /// `ABORTED`.
    Aborted,
}

/// What has to be there in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// That many Jobs, each settled: out of the watch, four annotations left.
    Settled(usize),
    /// No Job and no pod.
    Nothing,
    /// No Job, but that many pods.
    PodsOnly(usize),
    /// That many Jobs that `runjob` never touched.
    Others(usize),
}

/// Begins a scenario. Unless it says otherwise it may run anywhere, beside others, in a namespace of its own, and ends with one
/// settled Job.
pub fn scenario(name: &'static str, request: JobRequest) -> Scenario {
    // As the documentation advises: a lost task comes back, and LocalStack takes heartbeats only where this is set.
    let clocks = Clocks { heartbeat: Some(60), timeout: None };
    Scenario::new(name, Start::Task { request, clocks })
}

/// Begins a scenario of a whole workflow.
pub fn workflow(name: &'static str, definition: impl Into<String>, input: impl Into<String>) -> Scenario {
    Scenario::new(name, Start::Machine { definition: definition.into(), input: input.into() })
}

impl Scenario {
    fn new(name: &'static str, start: Start) -> Self {
        Self {
            name,
            impossible: Vec::new(),
            essential: false,
            company: Company::SideBySide,
            home: Home::Own,
            rights: Rights::Documented,
            clusters: Clusters::One,
            staff: Staff::AWorker,
            function: None,
            flags: Vec::new(),
            flags_of_first: Vec::new(),
            heartbeat_interval: "1s",
            before: Vec::new(),
            start,
            story: Vec::new(),
            ending: Ending::Succeeds(Vec::new()),
            ends_within: None,
            differences: Vec::new(),
            afterwards: Afterwards::Settled(1),
            left: Vec::new(),
        }
    }

    /// It belongs to the small set: the ones to run where a whole run takes too long.
    #[must_use]
    pub fn essential(mut self) -> Self {
        self.essential = true;
        self
    }

    /// It cannot run there, for that reason.
    #[must_use]
    pub fn not_on(mut self, backend: Backend, why: &'static str) -> Self {
        self.impossible.push((backend, why));
        self
    }

    /// It takes away what other scenarios need.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.company = Company::Alone;
        self
    }

    /// It lives in the namespace `default`.
    #[must_use]
    pub fn in_default(mut self) -> Self {
        self.home = Home::Default;
        self
    }

    /// What the worker's account may do.
    #[must_use]
    pub fn rights(mut self, rights: Rights) -> Self {
        self.rights = rights;
        self
    }

    /// The workers serve the backend's cluster under the name `own`, and another one, `gone`, that cannot be reached.
    #[must_use]
    pub fn beside_a_cluster_that_is_gone(mut self) -> Self {
        self.clusters = Clusters::OwnAndGone;
        self
    }

    /// There is the function, too, and its invocations have so much time. It is `{function}` in the machine, and of the workers' group.
    #[must_use]
    pub fn with_function(mut self, timeout: Duration) -> Self {
        self.function = Some(timeout);
        self
    }

    /// There is no worker.
    #[must_use]
    pub fn without_a_worker(mut self) -> Self {
        self.staff = Staff::Nobody;
        self
    }

    /// Flags of all workers.
    #[must_use]
    pub fn flags(mut self, flags: &[&'static str]) -> Self {
        self.flags.extend(flags);
        self
    }

    /// Flags of the worker that is there from the start, and of no other.
    #[must_use]
    pub fn flags_of_first(mut self, flags: &[&'static str]) -> Self {
        self.flags_of_first.extend(flags);
        self
    }

    /// How often the worker beats, if not every second.
    #[must_use]
    pub fn beating_every(mut self, interval: &'static str) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// The task's time-outs.
    #[must_use]
    pub fn clocks(mut self, clocks: Clocks) -> Self {
        if let Start::Task { clocks: own, .. } = &mut self.start {
            *own = clocks;
        }
        self
    }

    /// What is done, and waited for, before the execution starts.
    #[must_use]
    pub fn before(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.before.extend(steps);
        self
    }

    /// What is waited for next.
    #[must_use]
    pub fn until(mut self, sight: Sight) -> Self {
        self.story.push(Step::Until(sight));
        self
    }

    /// What is waited for next, and not longer than that.
    #[must_use]
    pub fn until_within(mut self, time: Duration, sight: Sight) -> Self {
        self.story.push(Step::UntilWithin(time, sight));
        self
    }

    /// What is done next.
    #[must_use]
    pub fn then(mut self, act: Act) -> Self {
        self.story.push(Step::Do(act));
        self
    }

    /// Another execution has to end next, like this: of those that are not looked at yet, the one that was started first.
    #[must_use]
    pub fn until_other_ends(mut self, ending: Ending) -> Self {
        self.story.push(Step::UntilOtherEnds(ending));
        self
    }

    /// It has to succeed, with an output like this.
    #[must_use]
    pub fn succeeds(mut self, checks: impl IntoIterator<Item = Check>) -> Self {
        self.ending = Ending::Succeeds(checks.into_iter().collect());
        self
    }

    /// It has to fail, with this error and a cause like this.
    #[must_use]
    pub fn fails(mut self, error: &'static str, checks: impl IntoIterator<Item = Check>) -> Self {
        self.ending = Ending::Fails(error, checks.into_iter().collect());
        self
    }

    /// It has to be aborted.
    #[must_use]
    pub fn is_aborted(mut self) -> Self {
        self.ending = Ending::Aborted;
        self
    }

    /// It has to end that soon after the last step.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.ends_within = Some(time);
        self
    }

    /// What a backend that is known to differ from AWS does instead.
    #[must_use]
    pub fn differs_on(mut self, backend: Backend, how: &'static str, ending: Ending) -> Self {
        self.differences.push((backend, how, ending));
        self
    }

    /// What has to be there in the end.
    #[must_use]
    pub fn leaves(mut self, afterwards: Afterwards) -> Self {
        self.afterwards = afterwards;
        self
    }

    /// What has to hold for each Job that is left.
    #[must_use]
    pub fn each_left(mut self, checks: impl IntoIterator<Item = Check>) -> Self {
        self.left.extend(checks);
        self
    }

    /// Why it cannot run there. `None`: it can.
    pub fn impossible_on(&self, backend: Backend) -> Option<&'static str> {
        self.impossible.iter().find(|(other, _)| *other == backend).map(|(_, why)| *why)
    }

    /// Whether it belongs to the small set.
    pub fn is_essential(&self) -> bool {
        self.essential
    }

    /// Whether it has to run without others.
    pub fn is_alone(&self) -> bool {
        self.company == Company::Alone
    }

    /// What is known to be different there.
    pub fn known_difference_on(&self, backend: Backend) -> Option<&'static str> {
        self.differences.iter().find(|(other, ..)| *other == backend).map(|(_, how, _)| *how)
    }

    pub(crate) fn ending_on(&self, backend: Backend) -> &Ending {
        self.differences.iter().find(|(other, ..)| *other == backend).map_or(&self.ending, |(.., instead)| instead)
    }
}

impl Start {
    /// The machine and its input.
    pub(crate) fn machine(&self, stage: &Stage) -> (String, String) {
        let Stage { activity, namespace, id, scratch, .. } = stage;
        let fill = |text: &str| {
            let text = text.replace("{activity}", activity).replace("{namespace}", namespace).replace("{function}", id);
            text.replace(SCRATCH, &scratch.to_string_lossy())
        };
        match self {
            Self::Machine { definition, input } => (fill(definition), fill(input)),
            Self::Task { request, clocks } => {
                let mut task = json!({"Type": "Task", "Resource": activity, "End": true});
                let limits = [("TimeoutSeconds", clocks.timeout), ("HeartbeatSeconds", clocks.heartbeat)];
                for (name, seconds) in limits {
                    if let (Some(seconds), Some(task)) = (seconds, task.as_object_mut()) {
                        task.insert(name.to_owned(), seconds.into());
                    }
                }
                let machine = json!({"StartAt": "Task", "States": {"Task": task}});
                (machine.to_string(), fill(&request.clone().in_namespace(namespace).input()))
            }
        }
    }
}
