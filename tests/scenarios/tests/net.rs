//! Whether the net holds: each deliberate bug is caught, and the same runs without it break no rule.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that meets an impossible value stops there, and says what it has seen"
)]

use runjob_scenarios::simulation::{
    bug::Bug,
    enumeration::{Broken, caught},
    run::play,
    stories,
    story::Story,
    walk::episode,
};

/// The bug shows in one of the stories with these words in their names, and it is the bug that makes the rule break.
fn is_caught(bug: Bug, words: &str) -> Vec<String> {
    let stories: Vec<Story> = stories::all().into_iter().filter(|story| story.name.contains(words)).collect();
    let Broken { story, mishaps, played } = caught(bug, &stories).unwrap().unwrap_or_else(|| unnoticed(bug));
    println!("{bug:?} is caught by \"{story}\" with {mishaps}: {:?}", played.violations);
    let without = stories.iter().find(|one| one.name == story).map(|story| play(story, &mishaps).unwrap());
    assert_eq!(without.unwrap().violations, [""; 0], "without the bug");
    played.violations
}

#[expect(clippy::panic, reason = "a test fails by a panic")]
fn unnoticed(bug: Bug) -> ! {
    panic!("nothing notices {bug:?}")
}

fn says(violations: &[String], words: &str) {
    assert!(violations.iter().any(|violation| violation.contains(words)), "{violations:?}");
}

#[test]
fn a_job_that_is_settled_before_its_task_is_answered() {
    says(&is_caught(Bug::SettleBeforeReport, "success"), "TimedOut(Heartbeat)");
}

#[test]
fn a_job_whose_owner_nobody_asks_for() {
    says(&is_caught(Bug::NoOwnerCheck, "somebody else's Job"), "it has not ended");
}

#[test]
fn polls_that_are_given_up_on_sigterm() {
    says(&is_caught(Bug::PollsGivenUp, "while its poll brings a task"), "TimedOut(Heartbeat)");
}

#[test]
fn a_deletion_without_a_fence() {
    says(&is_caught(Bug::UnfencedDelete, "comes back for too late"), "deleted while its task was waited for");
}

#[test]
fn a_deletion_that_leaves_pods_behind() {
    says(&is_caught(Bug::OrphaningDelete, "a task that is stopped"), "has no Job any more");
}

#[test]
fn a_ttl_that_is_not_held_back() {
    says(&is_caught(Bug::TtlNotHeldBack, "a TTL of 0"), "deleted while its task was waited for");
}

#[test]
fn a_deletion_that_is_believed_without_a_look() {
    says(&is_caught(Bug::DeletedBelieved, "loses its label"), "Job.Deleted");
}

#[test]
fn heartbeats_that_are_not_sent() {
    says(&is_caught(Bug::NoHeartbeats, "than a task may be silent"), "TimedOut(Heartbeat)");
}

#[test]
fn a_token_in_an_output() {
    says(&is_caught(Bug::StampShown, "success"), "shows the token");
}

#[test]
fn a_walk_finds_its_way_to_bugs_as_well() {
    for (bug, seeds) in [(Bug::SettleBeforeReport, 0..60), (Bug::OrphaningDelete, 0..20)] {
        let broken = seeds.clone().find(|seed| !episode(*seed, Some(bug)).unwrap().violations.is_empty());
        let seed = broken.unwrap_or_else(|| unnoticed(bug));
        println!("{bug:?} is caught by the episode of seed {seed}");
        assert_eq!(episode(seed, None).unwrap().violations, [""; 0], "without the bug");
    }
}

#[test]
fn the_same_seed_gives_the_same_episode() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| episode(seed, None).unwrap());
        assert_eq!(first.acts, second.acts, "seed {seed}");
        assert_eq!(first.journal.len(), second.journal.len(), "seed {seed}");
        for (one, other) in first.journal.iter().zip(&second.journal) {
            assert_eq!(one, other, "seed {seed}");
        }
        assert_eq!((first.steps, first.log), (second.steps, second.log), "seed {seed}");
    }
}
