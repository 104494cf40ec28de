//! Very many tasks at a time.
#![expect(clippy::unwrap_used, reason = "a test that meets an impossible value stops there")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use runjob_sandbox::{
    kube::{self, Programs, Script, Step},
    memory::{Fate, Memory, Outbound, Traffic, Undisturbed, simulate},
    sandbox::Config,
    sfn::{self, Clocks},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

const WAITING: usize = 20_000;
/// So many creates a second are let through.
const ADMITTED: u32 = 10;
/// How long the crowd is watched.
const WATCHED: u32 = 120;
/// How often it is looked at what the worker holds, in seconds.
const SAMPLED: u32 = 5;
/// How long a Job takes.
const WORK: Duration = Duration::from_secs(5);

/// Answers 429 to creates beyond the rate, as API Priority and Fairness does.
struct Admission(Mutex<(Instant, u32)>);

impl Traffic for Admission {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        if request.kind != "create jobs" {
            return Fate::Pass;
        }
        let mut second = self.0.lock().unwrap();
        if second.0.elapsed() >= Duration::from_secs(1) {
            *second = (Instant::now(), 0);
        }
        second.1 += 1;
        if second.1 <= ADMITTED {
            return Fate::Pass;
        }
        let body = json!({"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "too many requests"});
        Fate::Answer { status: 429, retry_after: Some(1), body: body.to_string() }
    }
}

fn input(number: usize) -> String {
    let container = json!({"name": "main", "image": "busybox", "command": ["work"]});
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": format!("job-{number:05}")}, "spec": {"template": template}});
    json!({"Job": job}).to_string()
}

#[test]
fn a_crowd_waits_outside_and_comes_in_in_its_order() {
    simulate(1, async || {
        let programs = Programs::scripted(|_| Some(Script::new([Step::After(WORK)])));
        let kube = kube::Config { programs, ..kube::Config::quick() };
        let memory = Memory::start(Config { kube, sfn: sfn::Config::default() }).unwrap();
        let clocks = Clocks { timeout: None, heartbeat: Some(Duration::from_mins(1)) };
        let tasks: Vec<_> =
            (0..WAITING).map(|number| memory.sfn.endpoint().bare_task("runjob", &input(number), clocks)).collect();
        let settings = memory.settings(&[]).unwrap();
        let admission = Admission(Mutex::new((Instant::now(), 0)));
        let _worker = memory.worker("w", settings, Arc::new(admission));
        // What the worker has in its hands: tasks that were handed out and are not answered.
        let mut held = Vec::new();
        for _ in 0..WATCHED / SAMPLED {
            sleep(Duration::from_secs(SAMPLED.into())).await;
            let records = memory.sfn.endpoint().records();
            held.push(records.iter().filter(|record| record.delivered && record.outcome.is_none()).count());
        }
        drop(tasks);
        let created: Vec<usize> = memory.journal().read(|lines| {
            let made = lines
                .iter()
                .filter(|line| line.kind == "create jobs" && line.answered.is_some_and(|(_, status)| status == 201));
            let name =
                |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).unwrap()["metadata"]["name"].clone();
            made.map(|line| name(&line.body).as_str().unwrap().trim_start_matches("job-").parse().unwrap()).collect()
        });
        let most = *held.iter().max().unwrap();
        let overtaken = created.iter().enumerate().map(|(place, number)| place.abs_diff(*number)).max().unwrap();
        let answered = memory.sfn.endpoint().records().iter().filter(|record| record.outcome.is_some()).count();
        // What is admitted is used, and nobody has failed.
        assert!(created.len() > (WATCHED * ADMITTED * 9 / 10) as usize, "{}", created.len());
        assert!(answered + most >= created.len() && memory.sfn.endpoint().invariant_violations().is_empty());
        let failed = memory.sfn.endpoint().records().into_iter().find(|record| {
            record.outcome.as_ref().is_some_and(|outcome| !matches!(outcome, sfn::TaskOutcome::Succeeded(_)))
        });
        assert_eq!(failed.map(|record| record.outcome), None);
        // Those whose Jobs run, those on their way, and those that polls bring.
        assert!(most < 64 + 10 + (ADMITTED as usize) * 12, "{held:?}");
        assert!(overtaken < 64 + 10, "{overtaken} places were lost or won");
    })
    .unwrap();
}

#[test]
fn heartbeats_of_many_tasks_are_spread_evenly_under_their_rate() {
    const TASKS: usize = 600;
    // What ten a second make of the usual twenty seconds.
    const STRETCHED: Duration = Duration::from_mins(1);
    let lines = simulate(1, async || {
        let programs = Programs::scripted(|_| Some(Script::new([Step::Forever])));
        let kube = kube::Config { programs, ..kube::Config::quick() };
        let memory = Memory::start(Config { kube, sfn: sfn::Config::default() }).unwrap();
        let clocks = Clocks { timeout: None, heartbeat: Some(STRETCHED * 3) };
        let _tasks: Vec<_> =
            (0..TASKS).map(|number| memory.sfn.endpoint().bare_task("runjob", &input(number), clocks)).collect();
        let settings = memory.settings(&["--heartbeat-rate", "10/s"]).unwrap();
        let _worker = memory.worker("w", settings, Arc::new(Undisturbed));
        sleep(STRETCHED * 4).await;
        let records = memory.sfn.endpoint().records();
        assert_eq!(records.iter().filter(|record| record.outcome.is_some()).count(), 0);
        memory.journal().all()
    })
    .unwrap();
    let beats: Vec<_> = lines.iter().filter(|line| line.kind == "SendTaskHeartbeat" && line.at >= STRETCHED).collect();
    let (mut seconds, mut last, mut longest) = (BTreeMap::<u64, usize>::new(), BTreeMap::new(), Duration::ZERO);
    for beat in &beats {
        *seconds.entry(beat.at.as_secs()).or_default() += 1;
        if let Some(before) = last.insert(&beat.body, beat.at) {
            longest = longest.max(beat.at.abs_diff(before));
        }
    }
    assert_eq!(last.len(), TASKS);
    assert!(longest <= STRETCHED + Duration::from_secs(2), "{longest:?}");
    // Never more than the rate, and never a second without its share.
    let whole = seconds.values().skip(1).rev().skip(1);
    assert!(whole.clone().all(|count| (9..=11).contains(count)), "{seconds:?}");
}
