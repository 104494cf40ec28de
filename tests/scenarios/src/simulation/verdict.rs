//! What has to hold at the end of every run, whatever has befallen it. Exceptions are those that the documentation names.

use std::collections::BTreeSet;

use runjob_sandbox::{
    memory::{Fate, Line},
    sfn::{Answer, Overdue, Record, TaskOutcome},
};
use serde_json::Value;

use super::{
    expected::{Ending, Expected},
    functions::{Execution, Form, callbacks},
    stage::{Disturbance, Stage},
    witness::{JobHistory, Milestone, PodHistory, Witness, has_condition, text},
};

/// What stays on a settled Job.
const TRACES: [&str; 4] = ["runjob/owner", "runjob/settled", "runjob/spec-hash", "runjob/v"];

/// Judges a run that has come to rest. `log`: what the workers have logged.
pub fn judge(stage: &Stage, log: &str) -> Vec<String> {
    let (given, executions, witness) = (stage.given(), stage.executions(), stage.witness());
    let mut violations = witness.violations.clone();
    let fates = stage.journal().read(Fates::of);
    let services = stage.step_functions();
    let tasks = given.iter().map(|given| Work {
        waiters: vec![given.token.clone()],
        request: &given.request,
        expected: &given.expected,
        by: By::Worker,
    });
    let states = executions.iter().map(|execution| Work {
        waiters: execution.waiters(services),
        request: &execution.request,
        expected: &execution.expected,
        by: By::Function(execution),
    });
    let judge = Judge { stage, fates, work: tasks.chain(states).collect(), witness: &witness };
    let records = services.records();
    let of_tasks = records.iter().filter(|record| record.execution.is_none());
    let ends = of_tasks.map(|record| record.outcome.clone());
    let ends = ends.chain(executions.iter().map(|execution| execution.outcome(services)));
    for (number, (work, outcome)) in judge.work.iter().zip(ends).enumerate() {
        let wrong = judge.outcome(work, outcome.as_ref());
        violations.extend(wrong.into_iter().map(|what| format!("task {number}: {what}")));
    }
    let answered = records.iter().filter(|record| record.execution.is_none()).chain(callbacks(&records));
    violations.extend(answered.flat_map(|record| judge.answers(record)));
    // A part that a worker cannot be without may panic; then it ends as a whole. Nothing else is a reason.
    if !judge.fates.has(Mark::Panic) {
        violations.extend(stage.failures().into_iter().map(|reason| format!("a worker could not go on: {reason}")));
    }
    violations.extend(judge.jobs());
    violations.extend(judge.owners());
    violations.extend(judge.pods());
    violations.extend(judge.secrets(log));
    violations
}

/// What has befallen requests.
#[derive(Debug, Clone, Default)]
struct Fates {
    marks: BTreeSet<Mark>,
    /// How many requests it was.
    mishaps: usize,
    /// How many of them ended a process.
    crashes: usize,
    /// How many creates arrived when nobody waited for them any more.
    late_creates: usize,
}

/// What has to be known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    /// Something was not as it should be.
    Anything,
    Crash,
    /// A poll may have been answered with a task without its answer having arrived.
    LostPoll,
    /// A watch, or the list before it, was held up or broken: what happened meanwhile may never have been seen.
    LostSight,
    /// Something befell the start of a Job, so that it took longer than it should, or did not come about.
    HinderedStart,
    Panic,
    /// A patch arrived when others had followed it.
    LatePatch,
}

impl Fates {
    fn of(lines: &[Line]) -> Self {
        let mut fates = Self::default();
        for Line { kind, fate, .. } in lines.iter().filter(|line| line.fate != Fate::Pass) {
            fates.mishaps += 1;
            let of_watch = matches!(kind.as_str(), "list jobs" | "watch jobs");
            let mark = match fate {
                Fate::CrashBefore | Fate::CrashAfterApply | Fate::CrashAfterAnswer | Fate::CrashAndArriveLate(_) => {
                    Some(Mark::Crash)
                }
                Fate::CutAfterApply | Fate::CutAndArriveLate(_) | Fate::Delay(_) | Fate::BreakAfter(_)
                    if kind == "GetActivityTask" =>
                {
                    Some(Mark::LostPoll)
                }
                Fate::Panic => Some(Mark::Panic),
                _ => None,
            };
            fates.crashes += usize::from(mark == Some(Mark::Crash));
            fates.marks.extend([Mark::Anything].into_iter().chain(mark).chain(of_watch.then_some(Mark::LostSight)));
            let late = matches!(fate, Fate::CutAndArriveLate(_) | Fate::CrashAndArriveLate(_));
            fates.late_creates += usize::from(late && kind == "create jobs");
            fates.marks.extend((late && kind == "patch jobs").then_some(Mark::LatePatch));
            // A create that may have arrived is looked up.
            let starts = matches!(kind.as_str(), "create jobs" | "get jobs");
            fates.marks.extend(starts.then_some(Mark::HinderedStart));
        }
        fates
    }

    fn has(&self, mark: Mark) -> bool {
        self.marks.contains(&mark)
    }
}

/// A task, or the one state of an execution.
struct Work<'r> {
    /// Its token; or the tokens and invocations of all its attempts.
    waiters: Vec<String>,
    request: &'r Value,
    expected: &'r Expected,
    by: By<'r>,
}

/// Who does it.
#[derive(Clone, Copy)]
enum By<'r> {
    Worker,
    Function(&'r Execution),
}

impl Work<'_> {
    /// Every Job that any of its attempts ever waited for.
    fn jobs<'w>(&self, witness: &'w Witness) -> Vec<(&'w String, &'w JobHistory)> {
        witness.jobs.iter().filter(|(_, job)| job.tokens.iter().any(|one| self.waiters.contains(one))).collect()
    }

    /// Whether nothing stands on its Job of who has had it started.
    fn is_only_started(&self) -> bool {
        self.is_start() && matches!(self.by, By::Function(execution) if execution.form == Form::Waits)
    }

    fn is_start(&self) -> bool {
        self.request.get("Action").is_some_and(|action| action == "runJob")
    }
}

struct Judge<'r> {
    stage: &'r Stage,
    fates: Fates,
    work: Vec<Work<'r>>,
    witness: &'r Witness,
}

impl Judge<'_> {
    fn outcome(&self, work: &Work<'_>, outcome: Option<&TaskOutcome>) -> Vec<String> {
        let Some(outcome) = outcome else { return vec!["it has not ended".to_owned()] };
        let mut wrong = Vec::new();
        let ending = work.expected;
        let fits = ending.undisturbed.iter().any(|ending| ending.is(outcome))
            || (!self.is_calm() && ending.otherwise.iter().any(|ending| ending.is(outcome)))
            || (self.fates.has(Mark::Panic) && Ending::Fails("RunJob.Internal").is(outcome));
        if !fits && !self.may_be_lost(work, outcome) && !self.may_be_late(work, outcome) {
            wrong.push(format!("it ended with {}, expected {ending:?}", shortened(outcome)));
        }
        wrong.extend(self.truth(work, outcome));
        wrong
    }

    /// A task that no Job was ever made for may be lost with the answer to its poll, or with the worker that had it, also if that was told
    /// to end while its Job could not be started; so may one whose Job somebody deleted while no worker that acts was there to see it,
    /// or saw. Its `HeartbeatSeconds` brings that to light.
    fn may_be_lost(&self, work: &Work<'_>, outcome: &TaskOutcome) -> bool {
        if !Ending::TimesOut.is(outcome) && !matches!(outcome, TaskOutcome::TimedOut(_)) {
            return false;
        }
        let jobs = work.jobs(self.witness);
        let seen = |disturbance| self.stage.has_seen(disturbance);
        let crashed = self.fates.has(Mark::Crash) || seen(Disturbance::Crashed);
        if jobs.is_empty() {
            let given_up = seen(Disturbance::Drained) && self.fates.has(Mark::HinderedStart);
            return crashed || given_up || self.fates.has(Mark::LostPoll);
        }
        let absent =
            crashed || seen(Disturbance::Drained) || seen(Disturbance::Hindered) || self.fates.has(Mark::LostSight);
        absent && jobs.iter().all(|(_, job)| job.has(Milestone::Gone) && self.stage.has_deleted(&job.name))
    }

    /// `HeartbeatSeconds` has room for one takeover. A function's time is short, and so is that of a task that only sweeps care for: one
    /// mishap has to fit into it, two need not.
    fn may_be_late(&self, work: &Work<'_>, outcome: &TaskOutcome) -> bool {
        let By::Function(execution) = work.by else {
            let two_crashes = self.fates.mishaps == 2 && self.fates.crashes == 2;
            return two_crashes && *outcome == TaskOutcome::TimedOut(Overdue::Heartbeat);
        };
        let names: &[&str] = match execution.form {
            Form::Waits => &["RunJob.ClusterUnreachable", "EKS.429", "EKS.500", "EKS.503"],
            Form::HandsOver => &["States.Timeout"],
        };
        self.fates.mishaps > 1
            && matches!(outcome, TaskOutcome::Failed { error: Some(error), .. } if names.contains(&error.as_str()))
    }

    /// Whether nothing went wrong.
    fn is_calm(&self) -> bool {
        let seen = |disturbance| self.stage.has_seen(disturbance);
        !self.fates.has(Mark::Anything) && !seen(Disturbance::Crashed) && !seen(Disturbance::Hindered)
    }

    /// What the answer says must be so.
    fn truth(&self, work: &Work<'_>, outcome: &TaskOutcome) -> Vec<String> {
        let runs_a_job = work.request.get("Job").is_some();
        let (body, job) = match outcome {
            TaskOutcome::Succeeded(output) if runs_a_job => {
                let output: Value = serde_json::from_str(output).unwrap_or_default();
                let uid = text(&output, "/metadata/uid");
                let is_own = |job: &&JobHistory| job.tokens.iter().any(|one| work.waiters.contains(one));
                let job = self.witness.jobs.get(&uid).filter(|job| work.is_only_started() || is_own(job));
                let Some(job) = job else {
                    return vec!["its output shows a Job that never was its own".to_owned()];
                };
                if work.is_start() {
                    return Vec::new();
                }
                if !job.has(Milestone::Complete) {
                    return vec!["it succeeded, and its Job never was complete".to_owned()];
                }
                (output, (uid, job))
            }
            TaskOutcome::Failed { error: Some(error), cause } if error.starts_with("Job.") => {
                let cause: Value =
                    cause.as_deref().and_then(|cause| serde_json::from_str(cause).ok()).unwrap_or_default();
                let told = text(&cause, "/job/metadata/uid");
                let mut jobs = work.jobs(self.witness);
                // Of several attempts it is the one that the cause is about.
                jobs.retain(|(uid, _)| told.is_empty() || **uid == told);
                let found = match error.as_str() {
                    "Job.Deleted" => jobs
                        .iter()
                        .find(|(_, job)| job.has(Milestone::DeletionAsked) && self.stage.has_deleted(&job.name)),
                    "Job.BackoffLimitExceeded" | "Job.DeadlineExceeded" => {
                        jobs.iter().find(|(_, job)| job.has(Milestone::Failed))
                    }
                    _ => jobs.first(),
                };
                let Some((uid, job)) = found else {
                    return vec![format!("it failed with {error}, and that is not so")];
                };
                if error == "Job.Deleted" {
                    return Vec::new();
                }
                (cause, ((*uid).clone(), *job))
            }
            _ => return Vec::new(),
        };
        let wants_logs = work.request.pointer("/LogOptions/RetrieveLogs").is_some_and(|wanted| *wanted == true);
        if wants_logs { self.logs(&body, job) } else { Vec::new() }
    }

    /// Every container that ran has a log, or an entry that says why not. Only pods that Kubernetes has deleted may be missing, and
    /// then only after a mishap, and they are counted.
    fn logs(&self, body: &Value, (uid, job): (String, &JobHistory)) -> Vec<String> {
        let logs = body.get("logs").cloned().unwrap_or_default();
        let calm = self.is_calm();
        let mut wrong = Vec::new();
        let mut absent = 0;
        for pod in self.witness.pods_of(&uid).filter(|pod| !pod.ran.is_empty()) {
            let Some(entry) = logs.get("pods").and_then(|pods| pods.get(&pod.name)) else {
                absent += 1;
                if (calm || !pod.deleted) && logs.get("error").is_none() {
                    wrong.push(format!("the pod {} of the Job {} has no log: {logs}", pod.name, job.name));
                }
                continue;
            };
            for container in ran(pod) {
                let log = entry.pointer(&format!("/containers/{container}"));
                let told = log.is_some_and(|log| log.get("log").is_some() || (!calm && log.get("error").is_some()));
                if !told {
                    wrong.push(format!("the container {container} of the pod {} has no log: {logs}", pod.name));
                }
            }
        }
        let counted = ["missing", "omitted"].iter().filter_map(|name| logs.get(*name)?.as_u64()).sum::<u64>();
        if absent > counted && logs.get("error").is_none() {
            wrong.push(format!(
                "{absent} pods of the Job {} are not in the logs, which say nothing of it: {logs}",
                job.name
            ));
        }
        wrong
    }

    fn jobs(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for job in self.stage.jobs() {
            let name = text(&job, "/metadata/name");
            let annotations = job.pointer("/metadata/annotations").and_then(Value::as_object);
            let mut left: Vec<&str> = annotations.into_iter().flat_map(|all| all.keys()).map(String::as_str).collect();
            left.retain(|name| name.starts_with("runjob/"));
            left.sort_unstable();
            // A settling that arrives late was decided before that was noted: it harms nobody.
            left.retain(|name| *name != "runjob/kept-until" || !self.fates.has(Mark::LatePatch));
            let labelled = job.pointer("/metadata/labels/runjob~1group").is_some();
            if labelled || !(left.is_empty() || left == TRACES) {
                wrong.push(format!("the Job {name} is not settled: {left:?}"));
                continue;
            }
            let uid = text(&job, "/metadata/uid");
            let Some(work) = self.witness.jobs.get(&uid).and_then(|seen| self.work_of(seen.tokens.last()?)) else {
                continue;
            };
            let ttl = |job: &Value| job.pointer("/spec/ttlSecondsAfterFinished").and_then(Value::as_u64);
            let (has, wanted) = (ttl(&job), work.request.get("Job").and_then(ttl));
            // The next attempt with its key must find it, if a function is killed just before it returns.
            let may_be_longer = matches!(work.by, By::Function(execution) if execution.has_key());
            if has != wanted && !(may_be_longer && wanted.is_some() && has > wanted) {
                wrong.push(format!("the Job {name} has another TTL than its user's: {has:?}"));
            }
            let finished = has_condition(&job, "Complete") || has_condition(&job, "Failed");
            let stays = work.request.get("OnTaskGone").is_some_and(|policy| policy == "detach") || work.is_start();
            if !finished && !stays {
                wrong.push(format!("the Job {name} runs, and nobody waits for it"));
            }
        }
        wrong
    }

    /// A Job is made once for its owner, unless what was made before was deleted: by somebody, or because it had failed and its key
    /// was asked for again, or because nobody waited for it. No fence holds back a create that the network delivers when the Job of
    /// its repetition has come and gone.
    fn owners(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for work in &self.work {
            let mut made = work.jobs(self.witness);
            if let By::Function(_) = work.by {
                // Another attempt makes a new one of it, if the answer of the one before has not arrived.
                made.retain(|(_, job)| !job.has(Milestone::Failed));
            }
            let lost =
                made.iter().filter(|(_, job)| job.has(Milestone::Gone) && self.stage.has_deleted(&job.name)).count();
            if made.len() > 1 + lost + self.fates.late_creates {
                wrong.push(format!(
                    "the Job {} was made {} times",
                    made.first().map_or("", |(_, job)| &job.name),
                    made.len()
                ));
            }
        }
        wrong
    }

    fn pods(&self) -> Vec<String> {
        let jobs: Vec<String> = self.stage.jobs().iter().map(|job| text(job, "/metadata/uid")).collect();
        let pods = self.stage.kubernetes().list("pods", None);
        let orphans = pods.iter().filter(|pod| !jobs.contains(&text(pod, "/metadata/ownerReferences/0/uid")));
        orphans.map(|pod| format!("the pod {} has no Job any more", text(pod, "/metadata/name"))).collect()
    }

    fn secrets(&self, log: &str) -> Vec<String> {
        let events = self.stage.kubernetes().list("events", None);
        let places = [
            ("a log line", log.to_owned()),
            ("an Event", Value::Array(events).to_string()),
            ("an answer", format!("{:?}", self.stage.step_functions().records())),
        ];
        let mut wrong: Vec<String> = Vec::new();
        for (number, work) in self.work.iter().enumerate() {
            // The id of an invocation is no secret.
            if matches!(work.by, By::Function(execution) if execution.form == Form::Waits) {
                continue;
            }
            let is_shown = |text: &String| work.waiters.iter().any(|token| text.contains(token));
            let shown = places.iter().filter(|(_, text)| is_shown(text));
            wrong.extend(shown.map(|(place, _)| format!("{place} shows the token of task {number}")));
        }
        wrong
    }

    fn work_of(&self, waiter: &str) -> Option<&Work<'_>> {
        self.work.iter().find(|work| work.waiters.iter().any(|one| one == waiter))
    }

    /// A task is answered once.
    fn answers(&self, record: &Record) -> Vec<String> {
        let Some(first) = record.accepted.first().map(said) else { return Vec::new() };
        let others = record.refused.iter().map(said).filter(|other| other.0 != first.0);
        let others = others.filter(|other| !self.may_say_otherwise(&first, other));
        let mut wrong: Vec<String> =
            others.map(|other| format!("it was answered with {}, then with {}", first.0, other.0)).collect();
        if record.accepted.len() > 1 {
            wrong.push("a task was answered more than once".to_owned());
        }
        wrong
    }

    /// An answer that came too late has to say the same as the one that was accepted, but for what its sender cannot know: why a Job is
    /// gone that somebody has deleted, or the next attempt with its key has replaced, and that there was another Job before the one
    /// that a create has made which arrived late. Whoever has panicked over an answer gives that up, and may have sent it: it may arrive before
    /// what is said instead, or after it.
    fn may_say_otherwise(&self, (word, first): &(String, Value), (other, about): &(String, Value)) -> bool {
        let was_deleted = |job: &JobHistory| job.name == text(about, "/name") && job.has(Milestone::DeletionAsked);
        let is_gone = other == "Job.Deleted" && !self.is_calm() && self.witness.jobs.values().any(was_deleted);
        let is_another = text(first, "/uid") != text(about, "/uid") && self.fates.late_creates > 0;
        let is_given_up = [word, other].into_iter().any(|one| one == "RunJob.Internal") && self.fates.has(Mark::Panic);
        is_gone || is_another || is_given_up
    }
}

/// What an answer says, in a word, and the Job that it is about.
fn said(answer: &Answer) -> (String, Value) {
    let (word, body, of_job) = match answer {
        Answer::Success(output) => ("success".to_owned(), Some(output), ""),
        Answer::Failure { error, cause } => (error.clone().unwrap_or_default(), cause.as_ref(), "/job"),
    };
    let body: Value = body.and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
    (word, body.pointer(&format!("{of_job}/metadata")).cloned().unwrap_or_default())
}

fn ran(pod: &PodHistory) -> impl Iterator<Item = &String> {
    pod.containers.iter().filter(|container| pod.ran.contains(*container))
}

fn shortened(outcome: &TaskOutcome) -> String {
    format!("{outcome:?}").chars().take(300).collect()
}
