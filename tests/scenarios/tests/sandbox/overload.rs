//! A worker process that has far more before it than the cluster takes.

use http::StatusCode;
use runjob_sandbox::{faults::Effect, record::Recorded};
use runjob_scenarios::{
    jobs::a_job,
    process::{Surroundings, WorkerProcess},
    world::World,
};

const WORKER: &str = env!("CARGO_BIN_EXE_runjob-under-test");

const WAITING: usize = 20_000;
/// So many Jobs are let through at a time; what is sent beyond that is throttled.
const ADMITTED: usize = 10;
/// By then everything that a worker ever needs has been needed.
const WARM: usize = 100;
/// Five times as many Jobs may not cost more than this, whatever the allocator keeps.
const GROWTH_KIB: u64 = 8 * 1024;

/// Lets Jobs through until there are that many.
async fn admit(world: &World, until: usize) {
    let made = |requests: &[Recorded]| {
        let made = requests.iter().filter(|request| request.kind == "create jobs");
        made.filter(|request| request.status == Some(StatusCode::CREATED)).count()
    };
    let (faults, recorder) = (world.sandbox.kube.faults(), world.sandbox.kube.recorder());
    loop {
        faults.clear();
        let before = recorder.wait_for(|requests| Some(made(requests))).await;
        if before >= until {
            return;
        }
        recorder.wait_for(|requests| (made(requests) >= before + ADMITTED).then_some(())).await;
        let body = "{\"kind\": \"Status\", \"code\": 429, \"reason\": \"TooManyRequests\"}".to_owned();
        let throttled = Effect::Answer { status: StatusCode::TOO_MANY_REQUESTS, retry_after: None, body };
        faults.plan("create jobs", throttled, 1);
        let asked = recorder.of("create jobs").len();
        recorder
            .wait_for(|requests| (requests.iter().filter(|it| it.kind == "create jobs").count() > asked).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn a_worker_with_a_crowd_before_it_takes_no_more_memory_as_time_goes_on() {
    let world = World::empty().await.unwrap();
    let _tasks: Vec<_> =
        (0..WAITING).map(|number| world.task(&a_job(&format!("x-{number}"), "true").input())).collect();
    // However slow the machine is that runs the Jobs: what is in flight takes memory, and is bounded by this.
    let bound = ["--max-in-flight", "50"];
    let worker = WorkerProcess::start(WORKER, &Surroundings::of(&world.sandbox), &bound).unwrap();
    admit(&world, WARM).await;
    let warm = worker.resident_kib().unwrap();
    admit(&world, WARM * 5).await;
    let later = worker.resident_kib().unwrap();
    assert!(later <= warm + GROWTH_KIB, "{warm} KiB after {WARM} Jobs, {later} KiB after {}", WARM * 5);
    assert_eq!(world.violations(), [""; 0]);
}
