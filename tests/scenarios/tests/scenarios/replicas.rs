//! Several workers of a group: one acts, and another takes its place, whatever becomes of it.

use std::time::Duration;

use runjob_scenarios::{
    backend::Backend,
    check::log,
    jobs::a_gated_job,
    process::Signal,
    scenario::{Ending, Scenario, scenario},
    step::{Act, Sight, Step},
};

use crate::keys::{ATTACHED, HEARTBEATS, gated_and_counted, keyed, ran};

/// Short, and yet long enough for a machine that is busy: a renewal is due every third of it.
const LEASE: [&str; 2] = ["--lease-duration", "3s"];
/// In which time another worker has the Lease after that, on a machine that is busy.
const TAKEOVER: Duration = Duration::from_secs(10);
/// What a worker says that does not act any more, because another does.
const FOLLOWS: &str = "\"role\":\"following\"";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        with_a_replica("a Job goes on under a replica when its worker is killed")
            .flags(&LEASE)
            .until(Sight::JobRuns)
            .then(Act::SignalHolder(Signal::Kill))
            .until_within(TAKEOVER, Sight::TakenOver)
            .then(Act::OpenGate)
            .succeeds([log("main", "finished\n")]),
        with_a_replica("a Job that ends while no worker acts is answered within the Lease's duration")
            // The Job has ended well before that.
            .flags(&["--lease-duration", "10s"])
            .until(Sight::JobRuns)
            .then(Act::SignalHolder(Signal::Kill))
            .then(Act::OpenGate)
            .until(Sight::JobIs("Complete"))
            .succeeds([log("main", "finished\n")])
            .within(Duration::from_secs(10) + TAKEOVER),
        with_a_replica("a worker that is asked to end hands over long before its Lease would expire")
            // Were it left to expire, it would take longer than is waited for.
            .flags(&["--lease-duration", "40s"])
            .until(Sight::JobRuns)
            .then(Act::SignalHolder(Signal::Terminate))
            // A replica looks at the Lease eight times in its duration.
            .until_within(Duration::from_secs(5) + TAKEOVER, Sight::TakenOver)
            .then(Act::OpenGate)
            .succeeds([log("main", "finished\n")]),
        with_a_replica("a Lease that somebody takes for 68 years is a worker's again before long")
            .flags(&["--lease-duration", "2s"])
            .until(Sight::JobRuns)
            .then(Act::StealLease)
            // Eight of its own durations is what a worker believes.
            .until_within(Duration::from_secs(16) + TAKEOVER, Sight::TakenOver)
            .then(Act::OpenGate)
            .succeeds([log("main", "finished\n")]),
        with_a_replica("a worker that wakes up while another acts does no harm")
            .flags(&LEASE)
            .until(Sight::JobRuns)
            .then(Act::SignalHolder(Signal::Stop))
            .until_within(TAKEOVER, Sight::TakenOver)
            // Both see its end, and each might take itself for the one that acts.
            .then(Act::OpenGate)
            .then(Act::Continue)
            .until(Sight::WorkerSays(FOLLOWS))
            .succeeds([log("main", "finished\n")]),
        with_a_replica("a worker that wakes up when its Job was answered by another does no harm")
            .flags(&LEASE)
            .until(Sight::JobRuns)
            .then(Act::SignalHolder(Signal::Stop))
            .then(Act::OpenGate)
            .until(Sight::JobSettled)
            .then(Act::Continue)
            .until(Sight::WorkerSays(FOLLOWS))
            .then(Act::Pass(Duration::from_secs(2)))
            .succeeds([log("main", "finished\n")]),
        scenario("a worker that wakes up when its Job is another task's does no harm", keyed(gated_and_counted("x")))
            .not_on(Backend::LocalStack, HEARTBEATS)
            .flags(&LEASE)
            // With its one Job it has no poll in flight that could swallow the next task; and it would not keep the Job of a task
            // that is gone.
            .flags_of_first(&["--max-in-flight", "1", "--reattach-grace", "1s"])
            .until(Sight::JobRuns)
            .then(Act::StartWorker)
            .then(Act::SignalHolder(Signal::Stop))
            .until_within(TAKEOVER, Sight::TakenOver)
            .then(Act::StopExecution)
            .then(Act::StartAnother)
            .until(Sight::WorkerSays(ATTACHED))
            .then(Act::Continue)
            .until(Sight::WorkerSays(FOLLOWS))
            // Several heartbeats, and the time for which it would have kept the Job.
            .then(Act::Pass(Duration::from_secs(4)))
            .then(Act::OpenGate)
            .until_other_ends(Ending::Succeeds(vec![ran(1)]))
            .is_aborted(),
    ]
}

/// A Job that waits, and two workers.
fn with_a_replica(name: &'static str) -> Scenario {
    scenario(name, a_gated_job("x")).before([Step::Do(Act::StartWorker)])
}
