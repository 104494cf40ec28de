//! The clock of a Job that has no ready pod: when its pods are looked at, and when what was found has lasted too long.
//!
//! A healthy Job has a ready pod before the first look, and costs nothing. What the first look shows is taken to have been so from
//! the start; what a later one shows, from then on. The clock stops when a pod is ready or none is wanted, and begins anew after
//! that. A restarted worker begins it anew, too.

use std::time::Duration;

use crate::{
    diagnosis::stuck::Course,
    failure::JobError,
    progress::{Moment, Stage},
};

/// How long a Job may be without a ready pod before its pods are looked at: scheduling, pulling an image and the Job controller's own
/// pace take seconds, and then nothing is wrong.
pub const FIRST_LOOK: Duration = Duration::from_secs(15);
/// The longest pause between two looks, as long as nothing is found. There may be many Jobs that wait for a node.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    since: Moment,
    /// How many of the Job's pods had ended then.
    ended_pods: u64,
    looked: bool,
    look: Stage,
    suspicion: Option<Suspicion>,
    snapshot: Stage,
}

/// What was found, and has not passed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suspicion {
    code: JobError,
    course: Course,
    since: Moment,
    until: Moment,
    confirmed: bool,
}

/// What a look has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Nothing, or nothing that has lasted too long.
    Patience,
    /// The Job is stuck. That is said once.
    Stuck,
    /// It still is.
    StillStuck,
}

impl Pending {
    /// The clock starts, when that many of the Job's pods have ended. If no symptom may last longer than `longest_grace`, the first look comes no later than that.
    pub fn since(now: Moment, ended_pods: u64, longest_grace: Option<Duration>) -> Self {
        let first = longest_grace.map_or(FIRST_LOOK, |grace| grace.min(FIRST_LOOK));
        let look = Stage::Again(now.after(first));
        Self { since: now, ended_pods, looked: false, look, suspicion: None, snapshot: Stage::Open }
    }

    /// Whether a pod has ended since the clock started: the Job gets somewhere, if never for long enough to be seen ready.
    pub(crate) fn is_outdated(&self, ended_pods: u64) -> bool {
        ended_pods > self.ended_pods
    }

    /// How far the next look is.
    pub fn look(&self) -> Stage {
        self.look
    }

    /// How far the logs are that a Job is failed with while its containers run on.
    pub fn snapshot(&self) -> Stage {
        self.snapshot
    }

    /// What is to be failed, if the Job is stuck beyond doubt.
    pub fn to_be_failed(&self) -> Option<JobError> {
        let suspicion = self.suspicion.filter(|found| found.confirmed && found.course == Course::Fail)?;
        Some(suspicion.code)
    }

    /// A look begins.
    pub fn looking(&mut self) {
        self.look = Stage::Running;
    }

    /// The snapshot begins, or has come to its end.
    pub fn snapped(&mut self, stage: Stage) {
        self.snapshot = stage;
    }

    /// The look could not be taken.
    pub fn not_seen(&mut self, now: Moment) {
        self.look = Stage::Again(now.after(FIRST_LOOK));
    }

    /// Takes in what a look has shown: a symptom, and how long it may last.
    pub fn seen(&mut self, symptom: Option<(JobError, Course, Duration)>, now: Moment) -> Finding {
        let before = self.suspicion;
        // While the API was away nothing was seen: the first look may be late.
        let lately = Moment(now.0.saturating_sub(FIRST_LOOK));
        let begun = if self.looked { now } else { self.since.max(lately) };
        self.looked = true;
        self.suspicion = symptom.map(|(code, course, grace)| match before {
            // The same code may have another reason by now, which has another grace.
            Some(same) if same.code == code && same.course == course => {
                Suspicion { until: same.since.after(grace), ..same }
            }
            _ => Suspicion { code, course, since: begun, until: begun.after(grace), confirmed: false },
        });
        let finding = match &mut self.suspicion {
            Some(suspicion) if suspicion.confirmed => Finding::StillStuck,
            Some(suspicion) if suspicion.until <= now => {
                suspicion.confirmed = true;
                Finding::Stuck
            }
            _ => Finding::Patience,
        };
        self.look = Stage::Again(self.next_look(now));
        finding
    }

    /// Ever less often, but in time for what is suspected.
    fn next_look(&self, now: Moment) -> Moment {
        let age = now.0.saturating_sub(self.since.0);
        let regular = now.after((age / 2).clamp(FIRST_LOOK, LONGEST_PAUSE));
        match self.suspicion {
            Some(suspicion) if !suspicion.confirmed => regular.min(suspicion.until),
            _ => regular,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_mins(2);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn symptom(code: JobError) -> (JobError, Course, Duration) {
        (code, Course::Fail, GRACE)
    }

    /// The moments of all looks until the Job is stuck, or an hour is over.
    fn looks(shows: impl Fn(Moment) -> Option<(JobError, Course, Duration)>) -> (Vec<u64>, Option<u64>) {
        let mut pending = Pending::since(at(0), 0, None);
        let mut looks = Vec::new();
        while let Stage::Again(when) = pending.look()
            && when < at(3600)
        {
            looks.push(when.0.as_secs());
            if pending.seen(shows(when), when) == Finding::Stuck {
                return (looks, Some(when.0.as_secs()));
            }
        }
        (looks, None)
    }

    #[test]
    fn a_stuck_job_is_found_when_its_grace_is_over() {
        let (_, found) = looks(|_| Some(symptom(JobError::ImagePullFailed)));
        assert_eq!(found, Some(GRACE.as_secs()));
    }

    #[test]
    fn what_has_no_longer_a_grace_is_found_at_the_first_look() {
        let (looks, found) = looks(|_| Some((JobError::InvalidImageName, Course::Fail, FIRST_LOOK)));
        assert_eq!((looks, found), (vec![15], Some(15)));
        let impatient = Pending::since(at(0), 0, Some(Duration::from_secs(3)));
        assert_eq!(impatient.look(), Stage::Again(at(3)));
    }

    #[test]
    fn another_symptom_has_a_grace_of_its_own() {
        let (_, found) =
            looks(|now| Some(symptom(if now < at(100) { JobError::Unschedulable } else { JobError::ImagePullFailed })));
        assert!((220..=280).contains(&found.unwrap()), "{found:?}");
    }

    #[test]
    fn a_symptom_that_passes_begins_anew_when_it_comes_back() {
        let (_, found) = looks(|now| (!(60..90).contains(&now.0.as_secs())).then(|| symptom(JobError::NoPods)));
        assert!(found.unwrap() >= 210, "{found:?}");
    }

    #[test]
    fn a_symptom_of_the_same_code_may_have_a_longer_grace() {
        // A service account that was missing first, then a quota.
        let quota = Duration::from_mins(15);
        let shows = |now| Some((JobError::NoPods, Course::Fail, if now < at(20) { GRACE } else { quota }));
        assert_eq!(looks(shows).1, Some(quota.as_secs()));
    }

    #[test]
    fn what_was_only_told_of_has_its_own_grace_when_it_is_to_fail() {
        let mut pending = Pending::since(at(0), 0, None);
        let (tell, fail) = (Course::Tell, Course::Fail);
        assert_eq!(pending.seen(Some((JobError::SidecarRunning, tell, GRACE)), at(200)), Finding::Patience);
        assert_eq!(pending.seen(Some((JobError::SidecarRunning, tell, GRACE)), at(400)), Finding::Stuck);
        assert_eq!(pending.seen(Some((JobError::SidecarRunning, fail, GRACE)), at(410)), Finding::Patience);
        assert_eq!(pending.to_be_failed(), None);
    }

    #[test]
    fn a_first_look_that_comes_late_is_not_held_against_the_job() {
        let mut pending = Pending::since(at(0), 0, None);
        pending.not_seen(at(15));
        assert_eq!(pending.seen(Some(symptom(JobError::ImagePullFailed)), at(600)), Finding::Patience);
    }

    #[test]
    fn looks_become_rare_but_never_end() {
        let (looks, found) = looks(|_| None);
        assert_eq!((looks[0], found), (15, None));
        assert!(looks.len() < 80, "{} looks in an hour", looks.len());
        assert!(looks.windows(2).all(|pair| pair[1] - pair[0] <= 60));
    }

    #[test]
    fn what_is_only_told_of_fails_nothing() {
        let mut pending = Pending::since(at(0), 0, None);
        let told = Some((JobError::SidecarRunning, Course::Tell, Duration::ZERO));
        assert_eq!(pending.seen(told, at(5)), Finding::Stuck);
        assert_eq!(pending.seen(told, at(10)), Finding::StillStuck);
        assert_eq!(pending.to_be_failed(), None);
    }
}
