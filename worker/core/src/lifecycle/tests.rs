use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    diagnosis::stuck::Course,
    failure::JobError,
    fixtures::{self, JobBuilder, a_job},
    pending::{FIRST_LOOK, Pending},
    progress::{CaptureAfterPanic, Confirmation},
    refusal::PATIENCE,
};

const NOW: Moment = Moment(Duration::from_secs(1000));
const EARLIER: Moment = Moment(Duration::from_mins(15));

/// The stamp of a Job that has run for a while.
fn a_stamp() -> Stamp {
    Stamp { uid: Some("u-1".to_owned()), ..fixtures::a_stamp() }
}

#[expect(clippy::large_types_passed_by_value, reason = "the tests read better")]
fn decide(job: &JobBuilder, progress: Progress) -> Decision {
    decide_with(&a_stamp(), job, progress)
}

#[expect(clippy::large_types_passed_by_value, reason = "the tests read better")]
fn decide_with(stamp: &Stamp, job: &JobBuilder, progress: Progress) -> Decision {
    step(&job.view(), stamp, &progress, NOW)
}

fn wanting(retrieve: Retrieve) -> Stamp {
    let mut stamp = a_stamp();
    stamp.options.logs.retrieve = retrieve;
    stamp
}

fn succeeding() -> JobBuilder {
    a_job().condition("SuccessCriteriaMet", "True", "CompletionsReached")
}

fn failing() -> JobBuilder {
    a_job().condition("FailureTarget", "True", "BackoffLimitExceeded")
}

#[test]
fn a_running_job_is_left_alone() {
    assert_eq!(decide(&a_job(), Progress::default()), Decision::Wait(None));
}

#[test]
fn capture_starts_before_the_final_condition() {
    let fresh = Progress::default();
    assert_eq!(decide(&failing(), fresh), Decision::Do(Effect::Capture(Extent::PodsAndLogs)));
    assert_eq!(
        decide_with(&wanting(Retrieve::Always), &succeeding(), fresh),
        Decision::Do(Effect::Capture(Extent::PodsAndLogs))
    );
    assert_eq!(decide_with(&wanting(Retrieve::Never), &failing(), fresh), Decision::Do(Effect::Capture(Extent::Pods)));
}

#[test]
fn logs_nobody_asked_for_are_not_read() {
    assert_eq!(decide(&succeeding(), Progress::default()), Decision::Wait(None));
    assert_eq!(decide(&a_job().complete(), Progress::default()), Decision::Do(Effect::Report(Verdict::Succeeded)));
}

#[test]
fn an_interim_condition_is_not_reported() {
    let captured = Progress { capture: Stage::Done, ..Progress::default() };
    assert_eq!(decide(&failing(), captured), Decision::Wait(None));
    assert_eq!(
        decide(&failing().failed("BackoffLimitExceeded"), captured),
        Decision::Do(Effect::Report(Verdict::Failed))
    );
}

#[test]
fn a_final_condition_waits_for_the_capture() {
    let capturing = Progress { capture: Stage::Running, ..Progress::default() };
    assert_eq!(decide(&a_job().complete(), capturing), Decision::Wait(None));
}

#[test]
fn the_report_comes_before_the_settling() {
    let replied = Progress { reply: Stage::Done, ..Progress::default() };
    assert_eq!(decide(&a_job().complete(), replied), Decision::Do(Effect::Settle));
}

#[test]
fn a_settled_job_is_forgotten_when_the_watch_lets_go_of_it() {
    let settled = Progress { reply: Stage::Done, settle: Stage::Done, ..Progress::default() };
    assert_eq!(decide(&a_job().complete(), settled), Decision::Wait(None));
    let missing = Progress { presence: Presence::Missing, ..settled };
    assert_eq!(decide(&a_job().complete(), missing), Decision::Forget);
    let detached = Progress { reply: Stage::Open, token: TokenState::Gone, ..missing };
    assert_eq!(decide(&a_job(), detached), Decision::Forget);
}

#[test]
fn a_start_is_reported_as_soon_as_it_is_seen() {
    let stamp = Stamp { answer: Answer::WhenCreated, ..a_stamp() };
    assert_eq!(decide_with(&stamp, &a_job(), Progress::default()), Decision::Do(Effect::Report(Verdict::Created)));
}

#[test]
fn a_token_that_died_under_a_running_job_deletes_it() {
    let gone = Progress { token: TokenState::Gone, ..Progress::default() };
    assert_eq!(decide(&a_job(), gone), Decision::Do(Effect::Delete));
    assert_eq!(decide(&a_job().deleting(), gone), Decision::Wait(None));
    let mut detached = a_stamp();
    detached.options.on_task_gone = OnTaskGone::Detach;
    assert_eq!(decide_with(&detached, &a_job(), gone), Decision::Do(Effect::Settle));
}

#[test]
fn a_job_whose_task_is_gone_is_kept_for_as_long_as_there_is_a_reason_to() {
    let later = Moment(NOW.0 + Duration::from_secs(1));
    let gone = Progress { token: TokenState::Gone, kept_until: later, note: Stage::Done, ..Progress::default() };
    for job in [a_job(), failing(), a_job().complete(), a_job().failed("BackoffLimitExceeded")] {
        assert_eq!(decide(&job, gone), Decision::Wait(Some(later)));
    }
    let nobody_came = Progress { kept_until: NOW, ..gone };
    assert_eq!(decide(&a_job(), nobody_came), Decision::Do(Effect::Delete));
    assert_eq!(decide(&a_job().complete(), nobody_came), Decision::Do(Effect::Settle));
}

#[test]
fn how_long_a_job_is_kept_is_noted_on_it_by_those_that_will_not_be_there() {
    let later = Moment(NOW.0 + Duration::from_mins(1));
    let noting = |note| Progress { token: TokenState::Gone, kept_until: later, note, ..Progress::default() };
    assert_eq!(decide(&a_job(), noting(Stage::Open)), Decision::Do(Effect::Note));
    let again = Moment(NOW.0 + Duration::from_secs(2));
    assert_eq!(decide(&a_job(), noting(Stage::Again(again))), Decision::Wait(Some(again)));
    assert_eq!(decide(&a_job(), noting(Stage::Running)), Decision::Wait(Some(later)));
}

#[test]
fn a_deleted_job_is_waited_for_until_the_watch_lets_go_of_it() {
    let gone = Progress { token: TokenState::Gone, ..Progress::default() };
    let deleted = Progress { deletion: Stage::Done, ..gone };
    let failed = || failing().failed("BackoffLimitExceeded");
    for lingering in [a_job(), failing(), failed()] {
        // By this tracker, or by another.
        assert_eq!(decide(&lingering.deleting(), gone), Decision::Wait(None));
    }
    for deletion in [Stage::Running, Stage::Done] {
        assert_eq!(decide(&failed(), Progress { deletion, ..gone }), Decision::Wait(None));
    }
    let missing = Progress { presence: Presence::Missing, ..deleted };
    assert_eq!(decide(&a_job().deleting(), missing), Decision::Do(Effect::Confirm));
    let gone = Progress { presence: Presence::Gone, ..deleted };
    assert_eq!(decide(&a_job().deleting(), gone), Decision::Forget);
}

#[test]
fn the_job_that_a_function_waits_for_is_left_to_it_until_its_lease_ends() {
    let lent = |until| Progress { token: TokenState::Elsewhere { until }, ..Progress::default() };
    let later = Moment(NOW.0 * 2);
    for job in [a_job(), failing(), a_job().complete(), a_job().failed("BackoffLimitExceeded"), a_job().deleting()] {
        assert_eq!(decide(&job, lent(later)), Decision::Wait(Some(later)));
    }
    assert_eq!(decide(&a_job(), lent(NOW)), Decision::Do(Effect::Delete));
    assert_eq!(decide(&a_job().complete(), lent(NOW)), Decision::Do(Effect::Settle));
    // Once it is really gone there is nobody to tell.
    assert_eq!(
        decide(&a_job(), Progress { presence: Presence::Missing, ..lent(later) }),
        Decision::Do(Effect::Confirm)
    );
    assert_eq!(decide(&a_job(), Progress { presence: Presence::Gone, ..lent(later) }), Decision::Forget);
}

#[test]
fn a_token_that_died_under_a_finished_job_was_answered_already() {
    let gone = Progress { token: TokenState::Gone, ..Progress::default() };
    assert_eq!(decide(&a_job().complete(), gone), Decision::Do(Effect::Settle));
}

#[test]
fn a_deletion_on_the_watch_is_confirmed_first() {
    let missing = Progress { presence: Presence::Missing, ..Progress::default() };
    assert_eq!(decide(&a_job(), missing), Decision::Do(Effect::Confirm));
    let gone = Progress { presence: Presence::Gone, ..Progress::default() };
    assert_eq!(decide(&a_job(), gone), Decision::Do(Effect::Capture(Extent::PodsAndLogs)));
    let captured = Progress { capture: Stage::Done, ..gone };
    assert_eq!(decide(&a_job(), captured), Decision::Do(Effect::Report(Verdict::Deleted)));
    let unwanted = Progress { token: TokenState::Gone, ..gone };
    assert_eq!(decide(&a_job(), unwanted), Decision::Forget);
}

#[test]
fn a_missing_job_that_may_not_be_asked_for_counts_as_gone_after_a_while() {
    let again = Moment(NOW.0 + Duration::from_mins(5));
    let mut progress = Progress { presence: Presence::Confirming, ..Progress::default() };
    progress.confirmed(Confirmation::Forbidden, NOW, again);
    assert_eq!(decide(&a_job(), progress), Decision::Wait(Some(again)));
    assert_eq!(step(&a_job().view(), &a_stamp(), &progress, again), Decision::Do(Effect::Confirm));
    let mut later = progress;
    later.confirmed(Confirmation::Forbidden, Moment(NOW.0 + PATIENCE), again);
    assert_eq!(later.presence, Presence::Gone);
    // Seen in between, it is as if nothing had been.
    progress.confirmed(Confirmation::There, again, again);
    progress.confirmed(Confirmation::Forbidden, Moment(NOW.0 + PATIENCE), again);
    assert_eq!(progress.presence, Presence::Missing);
}

#[test]
fn a_job_that_was_complete_before_it_was_deleted_has_succeeded() {
    let gone = Progress { presence: Presence::Gone, ..Progress::default() };
    assert_eq!(decide(&a_job().complete(), gone), Decision::Do(Effect::Report(Verdict::Succeeded)));
}

#[test]
fn a_job_on_its_way_out_is_captured_and_reported_after_a_while() {
    let seen = Progress { deleting_since: Some(NOW), ..Progress::default() };
    assert_eq!(decide(&a_job().deleting(), seen), Decision::Do(Effect::Capture(Extent::PodsAndLogs)));
    let captured = Progress { capture: Stage::Done, ..seen };
    assert_eq!(decide(&a_job().deleting(), captured), Decision::Wait(Some(Moment(NOW.0 + DELETION_PATIENCE))));
    let long = Progress { deleting_since: Some(EARLIER), ..captured };
    assert_eq!(decide(&a_job().deleting(), long), Decision::Do(Effect::Report(Verdict::Deleted)));
    assert_eq!(decide(&failing().deleting(), long), Decision::Do(Effect::Report(Verdict::Deleted)));
}

#[test]
fn a_deleted_job_is_reported_in_a_minute_whatever_its_pods_do() {
    let since = |seconds| Some(Moment(NOW.0.saturating_sub(Duration::from_secs(seconds))));
    let capturing =
        |seconds| Progress { capture: Stage::Running, deleting_since: since(seconds), ..Progress::default() };
    let in_seconds = |seconds| Decision::Wait(Some(Moment(NOW.0 + Duration::from_secs(seconds))));
    for (job, presence) in
        [(a_job(), Presence::Gone), (a_job().deleting(), Presence::Seen), (failing().deleting(), Presence::Seen)]
    {
        let decide = |seconds| decide(&job, Progress { presence, ..capturing(seconds) });
        assert_eq!(decide(0), in_seconds(45));
        assert_eq!(decide(45), in_seconds(15));
        assert_eq!(decide(60), Decision::Do(Effect::Report(Verdict::Deleted)));
    }
}

#[test]
fn a_capture_that_begins_late_has_some_seconds_all_the_same() {
    let late =
        Progress { presence: Presence::Gone, deleting_since: Some(EARLIER), capture_begun: NOW, ..Progress::default() };
    assert_eq!(decide(&a_job(), late), Decision::Do(Effect::Capture(Extent::PodsAndLogs)));
    let capturing = Progress { capture: Stage::Running, ..late };
    assert_eq!(decide(&a_job(), capturing), Decision::Wait(Some(Moment(NOW.0 + Duration::from_secs(15)))));
}

#[test]
fn the_uid_of_a_job_that_runs_for_long_is_written_on_it() {
    let then = Moment(NOW.0 + UID_IS_WRITTEN_AFTER);
    let decide = |job: &JobBuilder, progress| decide_with(&fixtures::a_stamp(), job, progress);
    let young = Progress { amend: Stage::Again(then), ..Progress::default() };
    assert_eq!(decide(&a_job(), young), Decision::Wait(Some(then)));
    let old = Progress { amend: Stage::Again(NOW), ..Progress::default() };
    assert_eq!(decide(&a_job(), old), Decision::Do(Effect::Amend));
    assert_eq!(step(&a_job().view(), &a_stamp(), &old, NOW), Decision::Wait(None));
    for amend in [Stage::Running, Stage::Done] {
        assert_eq!(decide(&a_job(), Progress { amend, ..old }), Decision::Wait(None));
    }
    for job in [succeeding(), a_job().deleting()] {
        assert!(!matches!(decide(&job, old), Decision::Do(Effect::Amend)));
    }
}

#[test]
fn a_ttl_that_the_user_did_not_ask_for_is_held_back_beside_everything_else() {
    let stamp = a_stamp();
    let of_policy = |job: JobBuilder, progress: Progress| {
        let view = JobView { ttl: Some(3), ..job.view() };
        step(&view, &stamp, &progress, NOW)
    };
    let fresh = Progress::default();
    assert_eq!(of_policy(a_job(), fresh), Decision::Do(Effect::Amend));
    assert_eq!(of_policy(failing(), fresh), Decision::Do(Effect::Capture(Extent::PodsAndLogs)));
    assert_eq!(of_policy(failing(), Progress { capture: Stage::Running, ..fresh }), Decision::Do(Effect::Amend));
    assert_eq!(of_policy(a_job(), Progress { amend: Stage::Done, ..fresh }), Decision::Wait(None));
    assert_eq!(of_policy(a_job(), Progress { token: TokenState::Gone, ..fresh }), Decision::Do(Effect::Delete));
}

#[test]
fn a_job_that_cannot_keep_its_label_is_looked_at_now_and_then_and_answered() {
    let mut progress = Progress::default();
    let mut pauses = Vec::new();
    for _ in 0..6 {
        progress.confirmed(Confirmation::Unlabelled, NOW, NOW);
        pauses.push(progress.confirm_at.0.saturating_sub(NOW.0).as_secs());
        assert_eq!(decide(&a_job(), progress), Decision::Wait(Some(progress.confirm_at)));
        assert_eq!(decide(&a_job(), Progress { confirm_at: NOW, ..progress }), Decision::Do(Effect::Confirm));
    }
    assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    assert_eq!(decide(&a_job().complete(), progress), Decision::Do(Effect::Report(Verdict::Succeeded)));
    let answered = Progress { reply: Stage::Done, ..progress };
    assert_eq!(decide(&a_job().complete(), answered), Decision::Do(Effect::Settle));
    assert_eq!(decide(&a_job().complete(), Progress { settle: Stage::Done, ..answered }), Decision::Forget);
}

#[test]
fn a_refused_settling_is_tried_again_later() {
    let later = Moment(NOW.0 + Duration::from_secs(1));
    let replied = Progress { reply: Stage::Done, settle: Stage::Again(later), ..Progress::default() };
    assert_eq!(decide(&a_job().complete(), replied), Decision::Wait(Some(later)));
    let due = Progress { settle: Stage::Again(NOW), ..replied };
    assert_eq!(decide(&a_job().complete(), due), Decision::Do(Effect::Settle));
}

/// The clock of a Job that is stuck beyond doubt.
fn stuck(course: Course) -> Pending {
    let mut pending = Pending::since(EARLIER, 0, None);
    pending.seen(Some((JobError::ImagePullFailed, course, Duration::ZERO)), EARLIER);
    pending
}

#[test]
fn a_job_without_a_ready_pod_is_looked_at_when_its_time_has_come() {
    let pending = |since| Progress { pending: Some(Pending::since(since, 0, None)), ..Progress::default() };
    assert_eq!(decide(&a_job(), pending(NOW)), Decision::Wait(Some(Moment(NOW.0 + FIRST_LOOK))));
    assert_eq!(decide(&a_job(), pending(EARLIER)), Decision::Do(Effect::Look));
    let mut looking = Pending::since(EARLIER, 0, None);
    looking.looking();
    assert_eq!(decide(&a_job(), Progress { pending: Some(looking), ..Progress::default() }), Decision::Wait(None));
}

#[test]
fn a_stuck_job_is_failed_with_what_there_is_of_its_logs_and_deleted() {
    let stuck = Progress { pending: Some(stuck(Course::Fail)), ..Progress::default() };
    assert_eq!(decide(&a_job(), stuck), Decision::Do(Effect::Snapshot(Extent::PodsAndLogs)));
    assert_eq!(decide_with(&wanting(Retrieve::Never), &a_job(), stuck), Decision::Do(Effect::Snapshot(Extent::Pods)));
    let snapped = stuck.pending.map(|mut pending| {
        pending.snapped(Stage::Done);
        pending
    });
    let snapped = Progress { pending: snapped, ..stuck };
    assert_eq!(decide(&a_job(), snapped), Decision::Do(Effect::Report(Verdict::Stuck)));
    // Whatever else was read before, success counts.
    assert_eq!(decide(&a_job().complete(), snapped), Decision::Do(Effect::Report(Verdict::Succeeded)));
    let reported = Progress { reply: Stage::Done, verdict: Some(Verdict::Stuck), ..snapped };
    assert_eq!(decide(&a_job(), reported), Decision::Do(Effect::Delete));
    assert_eq!(decide(&a_job().complete(), reported), Decision::Do(Effect::Settle));
    let mut detached = a_stamp();
    detached.options.on_task_gone = OnTaskGone::Detach;
    assert_eq!(decide_with(&detached, &a_job(), reported), Decision::Do(Effect::Settle));
}

#[test]
fn a_stuck_job_is_waited_for_if_that_is_asked_for_or_nobody_can_be_sure() {
    let mut waiting = a_stamp();
    waiting.options.on_stuck = OnStuck::Wait;
    let stuck = |course| Progress { pending: Some(stuck(course)), ..Progress::default() };
    assert_eq!(decide_with(&waiting, &a_job(), stuck(Course::Fail)), Decision::Do(Effect::Look));
    assert_eq!(decide(&a_job(), stuck(Course::Tell)), Decision::Do(Effect::Look));
}

#[test]
fn the_clock_runs_only_while_a_pod_is_missing() {
    let observed = |job: JobView| {
        let mut progress = Progress { pending: Some(Pending::since(EARLIER, 0, None)), ..Progress::default() };
        progress.observe(&job, None, NOW);
        progress.pending
    };
    let status = |status: Value| a_job().status(status).view();
    assert_eq!(observed(status(json!({"active": 1}))), Some(Pending::since(EARLIER, 0, None)));
    assert_eq!(observed(status(json!({"active": 1, "ready": 1}))), None);
    // A pod has ended: the Job gets somewhere.
    assert_eq!(observed(status(json!({"active": 1, "succeeded": 1}))), Some(Pending::since(NOW, 1, None)));
    assert_eq!(observed(failing().view()), None);
    assert_eq!(observed(a_job().deleting().view()), None);
}

#[test]
fn a_panic_is_forgiven_once_then_the_task_is_answered_and_the_job_left() {
    for job in [a_job(), failing(), a_job().complete(), a_job().deleting()] {
        let mut progress = Progress { capture: Stage::Done, ..Progress::default() };
        let _ = progress.panicked(&Effect::Look, NOW, NOW);
        assert_eq!(decide(&job, progress), decide(&job, Progress { panics: Panics::None, ..progress }));
        let _ = progress.panicked(&Effect::Look, NOW, NOW);
        assert_eq!(decide(&job, progress), Decision::Do(Effect::Report(Verdict::Internal)));
        let answered = Progress { reply: Stage::Done, verdict: Some(Verdict::Internal), ..progress };
        assert_eq!(decide(&job, answered), Decision::Do(Effect::Settle));
        let _ = progress.panicked(&Effect::Look, NOW, NOW);
        assert_eq!(decide(&job, progress), Decision::Wait(None));
        assert_eq!(decide(&job, Progress { presence: Presence::Missing, ..progress }), Decision::Forget);
    }
}

#[test]
fn a_job_whose_task_is_gone_has_nobody_to_answer() {
    let gone = Progress { token: TokenState::Gone, panics: Panics::Twice, ..Progress::default() };
    assert_eq!(decide(&a_job(), gone), Decision::Do(Effect::Delete));
    assert_eq!(decide(&a_job(), Progress { panics: Panics::TooMany, ..gone }), Decision::Wait(None));
}

#[test]
fn what_panicked_is_begun_again_after_a_pause_but_a_capture_is_lost() {
    let later = Moment(NOW.0 + Duration::from_mins(1));
    let panicked = |effect: Effect, mut progress: Progress| {
        let capture = progress.panicked(&effect, NOW, later);
        (progress, capture)
    };
    let replying = Progress { reply: Stage::Running, ..Progress::default() };
    assert_eq!(
        decide(&a_job().complete(), panicked(Effect::Report(Verdict::Succeeded), replying).0),
        Decision::Wait(Some(later))
    );
    let settling = Progress { reply: Stage::Done, settle: Stage::Running, ..Progress::default() };
    assert_eq!(decide(&a_job().complete(), panicked(Effect::Settle, settling).0), Decision::Wait(Some(later)));
    let confirming = Progress { presence: Presence::Confirming, ..Progress::default() };
    assert_eq!(decide(&a_job(), panicked(Effect::Confirm, confirming).0), Decision::Do(Effect::Confirm));
    let capturing = Progress { capture: Stage::Running, ..Progress::default() };
    let (lost, capture) = panicked(Effect::Capture(Extent::PodsAndLogs), capturing);
    assert_eq!((lost.capture, capture), (Stage::Done, CaptureAfterPanic::Lost));
    assert_eq!(panicked(Effect::Report(Verdict::Succeeded), replying).1, CaptureAfterPanic::Untouched);
}

#[test]
fn a_panic_begins_nothing_again_that_goes_on_beside_it() {
    let pending = Some(Pending::since(NOW, 0, None));
    let mut both = Progress { reply: Stage::Running, capture: Stage::Running, pending, ..Progress::default() };
    assert_eq!(both.panicked(&Effect::Look, NOW, NOW), CaptureAfterPanic::Untouched);
    assert_eq!((both.reply, both.capture), (Stage::Running, Stage::Running));
}

fn a_stage() -> impl Strategy<Value = Stage> {
    prop_oneof![
        Just(Stage::Open),
        Just(Stage::Running),
        Just(Stage::Again(EARLIER)),
        Just(Stage::Again(Moment(NOW.0 * 2))),
        Just(Stage::Done),
    ]
}

fn a_moment() -> impl Strategy<Value = Moment> {
    prop_oneof![Just(Moment::default()), Just(NOW), Just(Moment(NOW.0 * 2))]
}

prop_compose! {
    fn a_progress()(
        presence in prop_oneof![
            Just(Presence::Seen), Just(Presence::Unwatched), Just(Presence::Missing), Just(Presence::Confirming), Just(Presence::Gone)
        ],
        token in prop_oneof![
            Just(TokenState::Alive), Just(TokenState::Gone), a_moment().prop_map(|until| TokenState::Elsewhere { until })
        ],
        [capture, reply, settle, deletion, note, amend] in [a_stage(), a_stage(), a_stage(), a_stage(), a_stage(), a_stage()],
        [kept_until, confirm_at, capture_begun] in [a_moment(), a_moment(), a_moment()],
        deleting_since in prop_oneof![Just(None), Just(Some(EARLIER)), Just(Some(NOW))],
        pending in prop_oneof![Just(None), Just(Some(Pending::since(NOW, 0, None))), Just(Some(stuck(Course::Fail))), Just(Some(stuck(Course::Tell)))],
        verdict in prop_oneof![Just(None), Just(Some(Verdict::Failed)), Just(Some(Verdict::Stuck))],
        panics in prop_oneof![Just(Panics::None), Just(Panics::Once), Just(Panics::Twice), Just(Panics::TooMany)],
    ) -> Progress {
        let (forbidden_since, relabelled) = (None, 0);
        Progress {
            presence, confirm_at, relabelled, forbidden_since, token, capture, capture_begun, reply, settle, deletion, kept_until, note,
            amend, deleting_since, pending, verdict, panics,
        }
    }
}

fn any_job() -> impl Strategy<Value = JobView> {
    let conditions = ["", "SuccessCriteriaMet", "FailureTarget", "Complete", "Failed"];
    (0..conditions.len(), any::<bool>()).prop_map(move |(which, deleting)| {
        let job = if which == 0 { a_job() } else { a_job().condition(conditions[which], "True", "R") };
        if deleting { job.deleting().view() } else { job.view() }
    })
}

proptest! {
    #[test]
    fn a_job_that_panics_too_often_is_left_alone(view in any_job(), progress in a_progress()) {
        let progress = Progress { panics: Panics::TooMany, ..progress };
        let decision = step(&view, &a_stamp(), &progress, NOW);
        prop_assert!(matches!(decision, Decision::Wait(None) | Decision::Forget), "{decision:?}");
    }

    #[test]
    fn after_the_reply_there_is_nothing_but_settling(view in any_job(), progress in a_progress()) {
        let progress = Progress { reply: Stage::Done, ..progress };
        let decision = step(&view, &a_stamp(), &progress, NOW);
        let clears = matches!(decision, Decision::Do(Effect::Settle) | Decision::Forget | Decision::Wait(_));
        let unwanted = matches!(decision, Decision::Do(Effect::Delete | Effect::Note));
        let removes = unwanted && progress.verdict == Some(Verdict::Stuck);
        let looks = decision == Decision::Do(Effect::Confirm) && progress.presence == Presence::Unwatched;
        prop_assert!(clears || removes || looks, "{decision:?}");
    }

    #[test]
    fn a_wait_is_for_something_still_to_come(view in any_job(), progress in a_progress()) {
        if let Decision::Wait(Some(when)) = step(&view, &a_stamp(), &progress, NOW) {
            prop_assert!(when > NOW);
        }
    }

    #[test]
    fn a_reply_under_way_is_not_begun_again(view in any_job(), progress in a_progress()) {
        let progress = Progress { reply: Stage::Running, ..progress };
        prop_assert_eq!(step(&view, &a_stamp(), &progress, NOW), Decision::Wait(None));
    }

    #[test]
    fn a_finished_job_is_never_deleted(view in any_job(), progress in a_progress()) {
        let decision = step(&view, &a_stamp(), &progress, NOW);
        prop_assert!(!(view.phase.is_final() && decision == Decision::Do(Effect::Delete)));
    }

    #[test]
    fn a_job_of_a_living_token_is_never_deleted(view in any_job(), progress in a_progress()) {
        let progress = Progress { token: TokenState::Alive, ..progress };
        prop_assume!(progress.reply != Stage::Done);
        prop_assert_ne!(step(&view, &a_stamp(), &progress, NOW), Decision::Do(Effect::Delete));
    }

    #[test]
    fn a_job_that_is_lent_is_never_deleted(view in any_job(), progress in a_progress()) {
        let progress = Progress { token: TokenState::Elsewhere { until: Moment(NOW.0 * 2) }, ..progress };
        prop_assume!(progress.reply != Stage::Done);
        let decision = step(&view, &a_stamp(), &progress, NOW);
        prop_assert!(matches!(decision, Decision::Wait(_) | Decision::Forget | Decision::Do(Effect::Confirm)), "{decision:?}");
    }

    #[test]
    fn nothing_is_reported_to_a_task_that_is_gone(view in any_job(), progress in a_progress()) {
        let progress = Progress { token: TokenState::Gone, ..progress };
        let decision = step(&view, &a_stamp(), &progress, NOW);
        prop_assert!(!matches!(decision, Decision::Do(Effect::Report(_))) || progress.presence == Presence::Gone, "{decision:?}");
    }
}
