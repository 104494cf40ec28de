//! What stands on a Job: copied by people and tools, changed and refused by policies.

use std::time::Duration;

use runjob_scenarios::{
    backend::Backend,
    check::log,
    jobs::{a_gated_job, a_job},
    policy::Policy,
    scenario::{Afterwards, Scenario, scenario},
    step::{Act, Sight, Step},
};

const NO_POLICIES: &str = "it has no admission policies";
const POLLS: &str = "a worker that is killed leaves polls behind there, which swallow the next tasks";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("a copy of a Job answers nothing and is left alone", a_gated_job("x"))
            .not_on(Backend::LocalStack, POLLS)
            .until(Sight::JobRuns)
            .then(Act::CopyJob("clone", "echo wrong"))
            .until(Sight::Event("CopiedStamp"))
            .then(Act::KillWorker)
            .then(Act::StartWorker)
            .until(Sight::LeftAlone("clone"))
            .then(Act::Delete("batch/v1/jobs", "clone"))
            .then(Act::OpenGate)
            .succeeds([log("main", "finished\n")]),
        scenario("a TTL that a policy gives to a Job does not take its result", a_gated_job("x"))
            .not_on(Backend::Sandbox, NO_POLICIES)
            .not_on(Backend::LocalStack, POLLS)
            .before([Step::Do(Act::Enact(Policy::GivesTtl(3)))])
            .until(Sight::JobRuns)
            .then(Act::KillWorker)
            .then(Act::OpenGate)
            .until(Sight::JobIs("Complete"))
            .then(Act::Pass(Duration::from_secs(8)))
            .then(Act::StartWorker)
            .succeeds([log("main", "finished\n")])
            .leaves(Afterwards::Nothing),
        scenario(
            "a policy that refuses a long TTL fails no task",
            a_job("x", "echo done").with("/Job/spec/ttlSecondsAfterFinished", 600),
        )
        .not_on(Backend::Sandbox, NO_POLICIES)
        .before([Step::Do(Act::Enact(Policy::LimitsTtl(3600)))])
        .until(Sight::Event("TtlNotHeld"))
        .succeeds([log("main", "done\n")]),
    ]
}
