//! Answers that Step Functions will never take, and settlings that the API server refuses: both come to an end.

use std::{sync::Arc, time::Duration};

use runjob_sandbox::{
    memory::{Fate, Memory, Outbound, Traffic, simulate},
    sfn::{Clocks, TaskOutcome},
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{
    CLOCKS, config_of, input, output,
    play::{Ending, is_settled, play, play_for},
};

fn refusal(code: &str) -> Fate {
    let body = json!({"__type": code, "message": "the words of Step Functions"}).to_string();
    Fate::Answer { status: 400, retry_after: None, body }
}

fn status(status: u16) -> Fate {
    let body = json!({"kind": "Status", "code": status, "message": "the words of the API server"}).to_string();
    Fate::Answer { status, retry_after: None, body }
}

fn failure(ending: &Ending) -> Option<(Option<&str>, Option<&str>)> {
    match &ending.outcome {
        TaskOutcome::Failed { error, cause } => Some((error.as_deref(), cause.as_deref())),
        _ => None,
    }
}

#[test]
fn an_output_that_is_refused_becomes_one_failure_with_the_words_of_the_service() {
    for code in ["InvalidOutput", "ValidationException"] {
        let ending = play(&[("SendTaskSuccess", refusal(code))]);
        let (error, cause) = failure(&ending).unwrap();
        assert_eq!(error, Some("RunJob.OutputRejected"));
        assert!(cause.unwrap().contains(&format!("{code}: the words of Step Functions")), "{cause:?}");
        assert_eq!((ending.count("SendTaskSuccess"), ending.count("SendTaskFailure")), (1, 1));
        assert!(is_settled(ending.job.as_ref()));
    }
}

#[test]
fn a_key_that_cannot_be_used_gets_a_bare_failure() {
    for code in ["KmsAccessDeniedException", "KmsInvalidStateException"] {
        let ending = play(&[("SendTaskSuccess", refusal(code))]);
        assert_eq!(failure(&ending), Some((None, None)));
        assert_eq!((ending.count("SendTaskSuccess"), ending.count("SendTaskFailure")), (1, 1));
        assert!(is_settled(ending.job.as_ref()) && !ending.tells("AnswerRefused"));
    }
}

#[test]
fn where_no_answer_is_taken_the_job_is_settled_and_says_so() {
    for (first, second) in
        [("InvalidOutput", "ValidationException"), ("KmsInvalidStateException", "KmsInvalidStateException")]
    {
        let ending = play(&[("SendTaskSuccess", refusal(first)), ("SendTaskFailure", refusal(second))]);
        assert!(matches!(ending.outcome, TaskOutcome::TimedOut(_)), "{:?}", ending.outcome);
        assert_eq!((ending.count("SendTaskSuccess"), ending.count("SendTaskFailure")), (1, 1));
        assert!(is_settled(ending.job.as_ref()) && ending.tells("AnswerRefused"));
    }
}

#[test]
fn what_may_pass_is_tried_again_until_it_has() {
    for code in ["AccessDeniedException", "ExpiredTokenException", "ThrottlingException", "KmsThrottlingException"] {
        let ending = play(&["SendTaskSuccess"; 5].map(|kind| (kind, refusal(code))));
        output(&ending.outcome);
        assert_eq!((ending.count("SendTaskSuccess"), ending.count("SendTaskFailure")), (6, 0), "{code}");
    }
}

#[test]
fn a_task_whose_heartbeats_are_throttled_for_a_while_lives_on() {
    let throttled = ["SendTaskHeartbeat"; 5].map(|kind| (kind, refusal("ThrottlingException")));
    let ending = play_for(Duration::from_mins(3), &throttled);
    output(&ending.outcome);
    // Five throttled ones, five seconds apart, and then one every 20 seconds again.
    assert!((10..=16).contains(&ending.count("SendTaskHeartbeat")), "{}", ending.count("SendTaskHeartbeat"));
}

#[test]
fn a_settling_that_is_refused_is_told_of_and_tried_again_after_minutes() {
    for refused in [403, 422] {
        let ending = play(&[("patch jobs", status(refused))]);
        output(&ending.outcome);
        assert!(ending.tells("SettleRefused"));
        assert!(json!(ending.events).to_string().contains("the words of the API server"));
        let [first, second] = patches(&ending);
        let pause = second.checked_sub(first).unwrap();
        assert!((Duration::from_mins(5)..Duration::from_mins(6)).contains(&pause), "{pause:?}");
        assert!(is_settled(ending.job.as_ref()));
    }
}

/// When the two settlings were sent.
fn patches(ending: &Ending) -> [Duration; 2] {
    let patches = ending.requests.iter().filter(|line| line.kind == "patch jobs").map(|line| line.at);
    patches.collect::<Vec<_>>().try_into().unwrap()
}

/// This worker may not say that a task has failed.
struct NoFailures;

impl Traffic for NoFailures {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        if request.kind == "SendTaskFailure" { refusal("AccessDeniedException") } else { Fate::Pass }
    }
}

#[test]
fn tasks_whose_answer_is_not_taken_keep_no_other_from_its_start_and_are_left_when_they_end() {
    simulate(1, async || {
        let memory = Memory::start(config_of(1, Duration::from_secs(5))).unwrap();
        let settings = memory.settings(&["--pollers", "1"]).unwrap();
        let _worker = memory.worker("w", settings, Arc::new(NoFailures));
        let clocks = Clocks { timeout: Some(Duration::from_mins(30)), ..CLOCKS };
        // More than may be on their way to a Job.
        let refused: Vec<_> = (0..100).map(|_| memory.sfn.endpoint().bare_task("runjob", "{}", clocks)).collect();
        let served = memory.sfn.endpoint().bare_task("runjob", &input(), clocks);
        let served = timeout(Duration::from_hours(1), served.finished()).await;
        output(&served.unwrap());
        for task in refused {
            assert!(matches!(task.finished().await, TaskOutcome::TimedOut(_)));
        }
        sleep(Duration::from_mins(1)).await;
        let before = memory.journal().len();
        sleep(Duration::from_mins(10)).await;
        let since = memory
            .journal()
            .read(|lines| lines.iter().skip(before).filter(|line| line.kind == "SendTaskFailure").count());
        assert_eq!(since, 0);
    })
    .unwrap();
}

#[test]
fn what_the_api_server_asks_for_is_heeded_for_a_minute_and_ends_no_worker() {
    for wish in [3600, 2_147_483_647, u64::MAX] {
        for kind in ["create jobs", "list pods", "patch jobs"] {
            let Fate::Answer { status, body, .. } = status(429) else { panic!("no answer") };
            let ending = play(&[(kind, Fate::Answer { status, retry_after: Some(wish), body })]);
            output(&ending.outcome);
            assert!(is_settled(ending.job.as_ref()), "{kind} {wish}");
            let asked: Vec<_> = ending.requests.iter().filter(|line| line.kind == kind).map(|line| line.at).collect();
            let pause = asked[1].checked_sub(asked[0]).unwrap();
            assert!((Duration::from_mins(1)..Duration::from_mins(2)).contains(&pause), "{kind} {wish}: {pause:?}");
        }
    }
}
