//! One worker, two clusters: what befalls one leaves the other alone.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use runjob::starter::Admission;
use runjob_core::clusters::ClusterName;
use runjob_sandbox::{
    kube::Kubernetes,
    memory::{Fate, LinkedWorker, Place, Service},
    sfn::{BareTask, TaskOutcome},
};
use runjob_scenarios::jobs::JobRequest;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    beats::longest_gap,
    play::{HEARTBEATS, PATIENCE, Play, Weather, cluster, lasting, minutes, outcome, pass, play},
};

/// The most tasks that wait for a cluster that is away.
const UNINVITED: usize = runjob::permits::UNINVITED;
/// After that, every poll that was held when something happened is over.
const POLLS_OVER: Duration = Duration::from_secs(65);
/// A heartbeat is due every 20 s; a moment more, since they are paced.
const BEATS: Duration = Duration::from_secs(21);

/// The play's own cluster is `here`, and there is another one.
struct Two<'p> {
    play: &'p Play,
    here: Place,
    there: Place,
    weather_there: Arc<Weather>,
}

fn play_two(story: impl AsyncFnOnce(&mut Two<'_>)) {
    play(async |play| {
        let weather_there = Arc::new(Weather::default());
        let here = Place { traffic: play.weather.clone(), ..play.memory.place() };
        let there = Place { traffic: weather_there.clone(), ..play.memory.another_cluster(cluster()) };
        story(&mut Two { play, here, there, weather_there }).await;
    });
}

impl Two<'_> {
    fn worker(&self, name: &str) -> LinkedWorker {
        self.worker_with(name, &[])
    }

    fn worker_with(&self, name: &str, flags: &[&str]) -> LinkedWorker {
        let places = [("here", &self.here), ("there", &self.there)];
        let places: BTreeMap<ClusterName, Place> =
            places.into_iter().map(|(name, place)| (name.parse().unwrap(), place.clone())).collect();
        self.play.memory.worker_of(name, self.play.memory.settings(flags).unwrap(), &places)
    }

    /// Schedules a task for a Job in that cluster.
    fn task(&self, cluster: &str, job: &JobRequest) -> BareTask {
        self.play.task(&job.clone().with("/ClusterName", cluster), HEARTBEATS)
    }

    /// That cluster is away from now on.
    fn loses_there(&self) {
        self.weather_there.turns(Service::Kubernetes, Fate::NoConnection);
        self.there.kube.endpoint().cut_watches();
    }

    fn finds_there_again(&self) {
        self.weather_there.clears(Service::Kubernetes);
    }

    /// How regularly the tasks were kept alive.
    fn assert_beaten(&self) {
        let (gap, _) = longest_gap(self.play.memory.journal());
        assert!(gap <= BEATS, "{gap:?}");
    }
}

fn jobs(place: &Place) -> Vec<Value> {
    place.kube.endpoint().list("jobs", None)
}

/// Waits until so many Jobs run there.
async fn running(place: &Place, count: usize) {
    let runs = |job: &Value| job["status"]["ready"] == json!(1);
    let enough = |kube: &Kubernetes| kube.list("jobs", None).iter().filter(|job| runs(job)).count() == count;
    timeout(PATIENCE, place.kube.endpoint().wait_for(|kube| enough(kube).then_some(()))).await.unwrap();
}

/// The name of the error, and what its cause says.
async fn failure(task: &BareTask) -> (String, String) {
    match timeout(PATIENCE, task.finished()).await.unwrap() {
        TaskOutcome::Failed { error, cause } => (error.unwrap(), cause.unwrap()),
        other => panic!("the task did not fail: {other:?}"),
    }
}

fn holders(place: &Place) -> Vec<Value> {
    let leases = place.kube.endpoint().list("leases.coordination.k8s.io", None);
    leases.iter().map(|lease| lease["spec"]["holderIdentity"].clone()).collect()
}

#[test]
fn a_cluster_with_all_the_tasks_has_all_of_the_heartbeats() {
    play_two(async |two| {
        // Just enough for all of them every 20 s. Half of that would be too little for the states.
        let _worker = two.worker_with("w", &["--heartbeat-rate", "5/s"]);
        let all = (0..95).map(|number| lasting(&format!("x-{number}"), minutes(5), 0));
        let tasks: Vec<_> = all.map(|job| two.task("there", &job)).collect();
        running(&two.there, tasks.len()).await;
        for task in &tasks {
            assert_eq!(outcome(task).await, "done");
        }
        let (gap, beats) = longest_gap(two.play.memory.journal());
        assert!(gap <= Duration::from_secs(25) && beats > 1000, "{gap:?}, {beats} heartbeats");
    });
}

#[test]
fn a_cluster_that_is_away_for_twenty_minutes_leaves_the_tasks_of_another_alone() {
    play_two(async |two| {
        let _worker = two.worker("w");
        let long = lasting("x", minutes(10), 0);
        let (here, there) = (two.task("here", &long), two.task("there", &long));
        running(&two.here, 1).await;
        running(&two.there, 1).await;
        two.loses_there();
        let mut waiting = Vec::new();
        for minute in 0..20 {
            let begun = two.play.now();
            assert_eq!(outcome(&two.task("here", &lasting(&format!("x-{minute}"), minutes(1), 0))).await, "done");
            // As long as its Job, and not a moment longer.
            assert!(two.play.since(begun) < Duration::from_secs(65), "{:?}", two.play.since(begun));
            if minute > 10 {
                waiting.push(two.task("there", &lasting(&format!("x-{minute}"), minutes(1), 0)));
            }
        }
        assert_eq!(outcome(&here).await, "done");
        two.finds_there_again();
        for task in waiting.iter().chain([&there]) {
            assert_eq!(outcome(task).await, "done");
        }
        two.assert_beaten();
    });
}

#[test]
fn of_the_tasks_for_a_cluster_that_is_away_few_wait_and_the_others_fail_at_once() {
    play_two(async |two| {
        let _worker = two.worker("w");
        outcome(&two.task("there", &lasting("first", Duration::from_secs(1), 0))).await;
        two.loses_there();
        pass(POLLS_OVER).await;
        let begun = two.play.now();
        let all = (0..UNINVITED + 20).map(|number| lasting(&format!("x-{number}"), Duration::from_secs(1), 0));
        let tasks: Vec<_> = all.map(|job| two.task("there", &job)).collect();
        assert_eq!(outcome(&two.task("here", &lasting("x", Duration::from_secs(1), 0))).await, "done");
        assert!(two.play.since(begun) < Duration::from_secs(5), "{:?}", two.play.since(begun));
        let (turned_away, waiting): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|task| task.outcome().is_some());
        assert_eq!(waiting.len(), UNINVITED);
        for task in &turned_away {
            let (error, cause) = failure(task).await;
            assert_eq!(error, "RunJob.ClusterUnreachable");
            assert!(
                cause.contains("the cluster \\\"there\\\" does not answer, and 64 tasks wait for it already"),
                "{cause}"
            );
        }
        two.finds_there_again();
        for task in &waiting {
            assert_eq!(outcome(task).await, "done");
        }
    });
}

#[test]
fn a_cluster_that_is_away_from_the_beginning_disturbs_no_other() {
    play_two(async |two| {
        two.loses_there();
        let _worker = two.worker("w");
        let job = lasting("x", Duration::from_secs(1), 0);
        let (here, there) = (two.task("here", &job), two.task("there", &job));
        assert_eq!(outcome(&here).await, "done");
        assert!(two.play.now() < minutes(1), "{:?}", two.play.now());
        pass(minutes(10)).await;
        assert_eq!(there.outcome(), None);
        two.finds_there_again();
        assert_eq!(outcome(&there).await, "done");
        two.assert_beaten();
    });
}

#[test]
fn a_task_for_a_cluster_that_never_shows_its_jobs_fails_after_a_quarter_of_an_hour() {
    play_two(async |two| {
        two.loses_there();
        let _worker = two.worker("w");
        let (error, cause) = failure(&two.task("there", &lasting("x", minutes(1), 0))).await;
        assert_eq!(error, "RunJob.ClusterUnreachable");
        assert!(cause.contains("its Jobs could not be listed for 15 minutes"), "{cause}");
        assert!(two.play.now() < minutes(16), "{:?}", two.play.now());
    });
}

#[test]
fn the_same_name_is_a_job_of_its_own_in_each_cluster() {
    play_two(async |two| {
        let _worker = two.worker("w");
        let keyed = lasting("x", minutes(1), 0).with("/IdempotencyKey", "k");
        let tasks = [two.task("here", &keyed), two.task("there", &keyed)];
        for task in &tasks {
            assert_eq!(outcome(task).await, "done");
        }
        assert_eq!([jobs(&two.here).len(), jobs(&two.there).len()], [1, 1]);
    });
}

#[test]
fn what_is_allowed_is_a_matter_of_the_cluster() {
    play_two(async |two| {
        two.here.admission = Admission { namespaces: vec!["default".to_owned()], ..Admission::default() };
        two.there.admission =
            Admission { namespaces: vec!["default".to_owned()], service_accounts: vec!["runner".to_owned()] };
        let _worker = two.worker("w");
        let job = lasting("x", Duration::from_secs(1), 0);
        let elsewhere = failure(&two.task("here", &job.clone().in_namespace("kube-system"))).await;
        assert_eq!(elsewhere.0, "RunJob.NamespaceNotAllowed");
        let (error, _) = failure(&two.task("there", &job)).await;
        assert_eq!(error, "RunJob.ServiceAccountNotAllowed");
        assert_eq!(outcome(&two.task("here", &job)).await, "done");
        assert!(jobs(&two.there).is_empty());
    });
}

#[test]
fn a_task_that_names_no_cluster_or_an_unknown_one_is_refused_with_their_names() {
    play_two(async |two| {
        let _worker = two.worker("w");
        let job = lasting("x", Duration::from_secs(1), 0);
        for task in [two.task("nowhere", &job), two.play.task(&job, HEARTBEATS)] {
            let (error, cause) = failure(&task).await;
            assert_eq!(error, "RunJob.ClusterNotAllowed");
            assert!(cause.contains("the clusters served here are \\\"here\\\", \\\"there\\\""), "{cause}");
        }
        assert!(jobs(&two.here).is_empty() && jobs(&two.there).is_empty());
    });
}

#[test]
fn each_cluster_has_a_lease_of_its_own_and_a_new_worker_answers_the_jobs_of_both() {
    play_two(async |two| {
        let first = two.worker("first");
        let job = lasting("x", minutes(5), 0);
        let tasks = [two.task("here", &job), two.task("there", &job)];
        running(&two.here, 1).await;
        running(&two.there, 1).await;
        assert_eq!([holders(&two.here), holders(&two.there)], [[json!("first")], [json!("first")]]);
        drop(first);
        pass(Duration::from_secs(5)).await;
        let _second = two.worker("second");
        for task in &tasks {
            assert_eq!(outcome(task).await, "done");
        }
        assert_eq!([holders(&two.here), holders(&two.there)], [[json!("second")], [json!("second")]]);
    });
}

#[test]
fn a_full_cluster_lets_its_tasks_wait_and_those_of_another_run() {
    play_two(async |two| {
        two.there.max_in_flight = NonZeroU32::new(1);
        let mut worker = two.worker("w");
        let tasks: Vec<_> =
            (0..3).map(|number| two.task("there", &lasting(&format!("x-{number}"), minutes(2), 0))).collect();
        running(&two.there, 1).await;
        let begun = two.play.now();
        assert_eq!(outcome(&two.task("here", &lasting("x", minutes(1), 0))).await, "done");
        assert!(two.play.since(begun) < Duration::from_secs(65), "{:?}", two.play.since(begun));
        assert_eq!(jobs(&two.there).len(), 1);
        pass(minutes(2)).await;
        assert_eq!(jobs(&two.there).len(), 2);
        // The worker that ends starts what it has taken: the next one answers it.
        worker.drain();
        worker.ended().await.unwrap();
        assert_eq!(jobs(&two.there).len(), 3);
        let _next = two.worker("next");
        for task in &tasks {
            assert_eq!(outcome(task).await, "done");
        }
        two.assert_beaten();
    });
}

#[test]
fn a_full_cluster_holds_up_others_once_many_wait_for_it_unless_it_is_away() {
    play_two(async |two| {
        two.there.max_in_flight = NonZeroU32::new(1);
        let _worker = two.worker("w");
        let _running = two.task("there", &lasting("first", minutes(60), 0));
        running(&two.there, 1).await;
        let all = (0..2 * UNINVITED).map(|number| lasting(&format!("x-{number}"), Duration::from_secs(1), 0));
        let there: Vec<_> = all.map(|job| two.task("there", &job)).collect();
        let here = two.task("here", &lasting("x", Duration::from_secs(1), 0));
        pass(minutes(2)).await;
        // It is at Step Functions, behind those.
        assert_eq!(here.outcome(), None);
        assert!(there.iter().all(|task| task.outcome().is_none()));
        two.loses_there();
        pass(Duration::from_secs(30)).await;
        assert_eq!(outcome(&here).await, "done");
    });
}
