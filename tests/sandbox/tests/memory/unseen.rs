//! Jobs that the watch never shows, or shows two of.

use std::time::Duration;

use runjob_sandbox::{
    kube::{Kubernetes, Propagation},
    memory::Fate,
    sfn::TaskOutcome,
};
use tokio::time::sleep;

use crate::{
    output,
    play::{is_settled, play_while},
};

/// Longer than a watch may be silent before it is begun anew with what has not been seen.
const DEAF: Fate = Fate::Delay(Duration::from_secs(40));
/// The watch begins with a new list: what came and went in between is nowhere.
fn forgetful() -> Fate {
    let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}"#;
    Fate::Answer { status: 200, retry_after: None, body: format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n") }
}

fn name_of_failure(outcome: &TaskOutcome) -> Option<&str> {
    if let TaskOutcome::Failed { error, .. } = outcome { error.as_deref() } else { None }
}

async fn delete(kube: &Kubernetes) {
    kube.wait_for(|kube| kube.get("jobs", "default", "x")).await;
    kube.delete("jobs", "default", "x", Propagation::Background).unwrap();
}

#[test]
fn a_job_that_is_deleted_before_the_watch_shows_it_is_missed() {
    let fates = [("watch jobs", DEAF), ("watch jobs", forgetful())];
    let ending = play_while(Duration::from_hours(4), &fates, async |kube| delete(kube).await);
    assert_eq!(name_of_failure(&ending.outcome), Some("Job.Deleted"), "{:?}", ending.outcome);
    assert_eq!((&ending.job, ending.count("create jobs")), (&None, 1));
}

#[test]
fn a_job_that_loses_its_label_before_the_watch_shows_it_gets_it_back() {
    let fates = [("watch jobs", DEAF), ("watch jobs", forgetful())];
    let ending = play_while(Duration::from_mins(5), &fates, async |kube| {
        kube.wait_for(|kube| kube.get("jobs", "default", "x")).await;
        let labels = |job: &mut serde_json::Value| job["metadata"]["labels"] = serde_json::json!({});
        kube.edit("jobs", "default", "x", labels).unwrap();
    });
    assert!(output(&ending.outcome)["logs"].to_string().contains("done"));
    assert!(is_settled(ending.job.as_ref()) && ending.tells("LabelRestored"));
}

#[test]
fn a_second_job_that_a_late_create_has_made_goes_with_the_first() {
    let late = Fate::CutAndArriveLate(Duration::from_secs(25));
    let fates = [("create jobs", late), ("list pods", DEAF)];
    let ending = play_while(Duration::from_hours(4), &fates, async |kube| {
        delete(kube).await;
        sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(name_of_failure(&ending.outcome), Some("Job.Deleted"), "{:?}", ending.outcome);
    assert_eq!((&ending.job, ending.count("create jobs"), ending.count("delete jobs")), (&None, 2, 1));
}

#[test]
fn what_a_watch_does_not_show_comes_to_light_with_the_next_list() {
    let ending = play_while(Duration::from_mins(1), &[], async |kube| {
        kube.wait_for(|kube| kube.get("jobs", "default", "x")).await;
        sleep(Duration::from_secs(10)).await;
        kube.mute_watches(true);
    });
    assert!(output(&ending.outcome)["logs"].to_string().contains("done"));
    let answered = ending.requests.iter().find(|line| line.kind == "SendTaskSuccess").map(|line| line.at);
    assert!(answered.unwrap() < Duration::from_mins(17), "{answered:?}");
}
