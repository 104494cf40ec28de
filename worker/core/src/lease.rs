//! Which of several workers acts: the holder of a `Lease`.
//!
//! All workers of a group poll, create and watch; one of them captures, answers, settles and deletes. That is no matter of safety:
//! every effect is fenced, and two holders at once do no harm. It is a matter of not doing everything twice.
//!
//! Nobody compares clocks: a Lease has expired when it has not changed for as long as its holder said, on the clock of whoever
//! looks. The holder counts from before it sent the request that renewed it, the others from after they saw that.
//!
//! A Lease can be written by others than workers. What it says is therefore believed within limits only: its duration is cut to a few
//! of the reader's own, and a holder that does not renew for two of them is not relied on to keep tasks alive.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{lifecycle::Effect, progress::Moment};

/// How often the holder renews, as a part of the duration: two of three renewals may fail.
const RENEWALS: u32 = 3;
/// How often the others look, as a part of the duration: with the default of 15 s about every two seconds, as Kubernetes' own
/// components do.
const LOOKS: u32 = 8;
/// A holder that has not renewed for so many of the reader's own durations may not be a worker at all. One that is renews three times in
/// each of its own; during a rollout these may be several times as long.
const SILENT: u32 = 2;
/// The most durations of the reader's own that another's is believed to be. A field of 32 bits can say 68 years, and for as long nobody
/// would act for the group.
const BELIEVED: u32 = 8;
/// The longest that another's duration is believed to be, however long the reader's own: the longest that a worker can be given.
pub const LONGEST_DURATION: Duration = Duration::from_hours(1);
/// The most that the API takes as a number of transitions.
const MAX_TRANSITIONS: u64 = 2_147_483_647;

/// What a worker is to the Jobs of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Another one acts, or it is not known yet.
    Following,
    /// This one acts, until that moment unless it renews.
    Leading {
        /// When its word ends.
        until: Moment,
    },
    /// This one brings to its end what it has begun, and is about to release the Lease.
    Finishing {
        /// When its word ends.
        until: Moment,
    },
    /// Nobody is known to act: this one has acted and has seen no other holder since, has not been able to look for a while, or sees a
    /// holder that does not renew. Watched tasks may have only this worker to keep them alive.
    Adrift,
}

impl Role {
    /// Whether this effect may be begun.
    pub fn allows(self, effect: &Effect, now: Moment) -> bool {
        match self {
            Self::Leading { until } => now < until,
            Self::Finishing { until } => now < until && matches!(effect, Effect::Report(_) | Effect::Settle),
            Self::Following | Self::Adrift => false,
        }
    }

    /// Whether it is this worker that acts.
    pub fn acts(self) -> bool {
        matches!(self, Self::Leading { .. } | Self::Finishing { .. })
    }

    /// What it is called in a log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Following => "following",
            Self::Leading { .. } => "leading",
            Self::Finishing { .. } => "finishing",
            Self::Adrift => "adrift",
        }
    }

    /// Whether the tasks of watched Jobs are this worker's to keep alive.
    pub fn beats(self) -> bool {
        self != Self::Following
    }
}

/// What is to be done about the Lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Read it.
    Look,
    /// Create it, like this.
    Create(Value),
    /// Replace it with this: the version in it says what it replaces.
    Update(Value),
    /// Nothing until then.
    Rest(Moment),
}

/// How much a worker wants to hold the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zeal {
    /// As soon as it is free.
    Eager,
    /// It is about to end: only if nobody else wants it.
    Reluctant,
}

/// What is known of the Lease.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    /// It has to be read.
    Nothing,
    Absent,
    Found(Value),
}

/// One worker that wants to hold the Lease.
#[derive(Debug)]
pub struct Candidate {
    identity: String,
    duration: Duration,
    zeal: Zeal,
    known: Known,
    /// What stands in it, and since when it has been seen like that.
    seen: Option<(Record, Moment)>,
    /// Until when this worker's own word stands.
    until: Option<Moment>,
    /// Whether it has held the Lease, and seen no other holder since.
    was_last: bool,
    /// Whether somebody else has been seen to renew it.
    rivalled: bool,
    /// When the Lease was read or written last.
    looked: Moment,
    again: Moment,
}

/// The Lease without a holder.
fn freed(lease: &Value) -> Value {
    let mut lease = lease.clone();
    if let Some(holder) = lease.pointer_mut("/spec/holderIdentity") {
        *holder = "".into();
    }
    lease
}

/// What stands in a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    /// Empty: nobody.
    holder: String,
    renewed: String,
    duration: Duration,
}

impl Record {
    /// `own`: the duration of the worker that reads it.
    fn of(lease: &Value, own: Duration) -> Self {
        let text = |field: &str| {
            let value = lease.pointer(&format!("/spec/{field}")).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let seconds = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_u64);
        let most = own.saturating_mul(BELIEVED).min(LONGEST_DURATION);
        let duration = seconds.map_or(own, Duration::from_secs).min(most);
        Self { holder: text("holderIdentity"), renewed: text("renewTime"), duration }
    }

    fn is_anothers(&self, identity: &str) -> bool {
        !self.holder.is_empty() && self.holder != identity
    }
}

impl Candidate {
    /// Wants to hold a Lease for `duration` at a time. No two workers may have the same identity.
    pub fn new(identity: String, duration: Duration) -> Self {
        Self {
            identity,
            duration,
            zeal: Zeal::Eager,
            known: Known::Nothing,
            seen: None,
            until: None,
            was_last: false,
            rivalled: false,
            looked: Moment::default(),
            again: Moment::default(),
        }
    }

    /// The longest that a request about the Lease may take: a renewal that takes longer comes too late for the next.
    pub fn patience(&self) -> Duration {
        self.duration / RENEWALS
    }

    /// What this worker is now.
    pub fn role(&self, now: Moment) -> Role {
        match self.until {
            Some(until) if now < until => Role::Leading { until },
            _ if self.was_last || self.is_blind(now) || self.holder_is_silent(now) => Role::Adrift,
            _ => Role::Following,
        }
    }

    /// Whether it has not been able to look for a while.
    fn is_blind(&self, now: Moment) -> bool {
        now.0.saturating_sub(self.looked.0) >= self.duration
    }

    /// Whether somebody else holds the Lease and does not renew it, whatever it says of its duration.
    fn holder_is_silent(&self, now: Moment) -> bool {
        let anothers = self.seen.as_ref().filter(|(record, _)| record.is_anothers(&self.identity));
        anothers.is_some_and(|(_, since)| now.0.saturating_sub(since.0) >= self.duration.saturating_mul(SILENT))
    }

    /// Whether somebody else has been seen to take or renew the Lease: another one acts.
    pub fn is_rivalled(&self) -> bool {
        self.rivalled
    }

    /// What is to be done now. `wall`: the time of day, as a `MicroTime`; it is only for people to read.
    pub fn next(&mut self, now: Moment, wall: &str) -> Next {
        if now < self.again {
            return Next::Rest(self.again);
        }
        match &self.known {
            Known::Nothing => Next::Look,
            Known::Absent if self.zeal == Zeal::Eager => Next::Create(self.written(&json!({"metadata": {}}), wall)),
            // The answer to its release, or to a renewal just before, was lost.
            Known::Found(lease) if self.is_left_over(lease) => Next::Update(freed(lease)),
            Known::Found(lease) if self.wants(now) => Next::Update(self.written(lease, wall)),
            Known::Absent | Known::Found(_) => {
                self.known = Known::Nothing;
                self.again = Moment(now.0 + self.duration / LOOKS);
                Next::Rest(self.again)
            }
        }
    }

    /// The Lease as it was read. `None`: there is none.
    pub fn looked(&mut self, found: Option<Value>, now: Moment) {
        self.looked = now;
        let Some(lease) = found else {
            self.known = Known::Absent;
            return;
        };
        let record = Record::of(&lease, self.duration);
        let is_anothers = record.is_anothers(&self.identity);
        let before = self.seen.take();
        self.rivalled |= is_anothers && before.as_ref().is_some_and(|(seen, _)| *seen != record);
        let since = before.filter(|(seen, _)| *seen == record).map_or(now, |(_, since)| since);
        let has_expired = now.0.saturating_sub(since.0) >= record.duration;
        if is_anothers && !has_expired {
            (self.was_last, self.until) = (false, None);
        }
        self.seen = Some((record, since));
        self.known = Known::Found(lease);
    }

    /// This worker's write was taken. `sent`: when the request went out.
    pub fn wrote(&mut self, lease: Value, sent: Moment, now: Moment) {
        self.looked(Some(lease), now);
        if self.seen.as_ref().is_none_or(|(record, _)| record.holder != self.identity) {
            return;
        }
        (self.until, self.was_last) = (Some(Moment(sent.0 + self.duration)), true);
        self.again = Moment(sent.0 + self.duration / RENEWALS);
    }

    /// Somebody else has written first.
    pub fn outrun(&mut self) {
        self.known = Known::Nothing;
    }

    /// There was no answer, or none that says anything.
    pub fn failed(&mut self, now: Moment) {
        self.known = Known::Nothing;
        self.again = Moment(now.0 + self.duration / LOOKS);
    }

    /// Leases may not be used here. Then every worker acts: nothing is worse than none.
    pub fn refused(&mut self, now: Moment) {
        self.known = Known::Nothing;
        (self.until, self.was_last) = (Some(Moment(now.0 + self.duration)), true);
        self.again = Moment(now.0 + self.duration / RENEWALS);
    }

    /// The Lease as it is to be when this worker gives it up. `None`: it does not hold it. From then on it takes the Lease only if
    /// nobody else wants it.
    pub fn release(&mut self, now: Moment) -> Option<Value> {
        self.zeal = Zeal::Reluctant;
        let until = self.until.take();
        self.again = Moment(now.0 + self.duration / LOOKS);
        let known = std::mem::replace(&mut self.known, Known::Nothing);
        let Known::Found(lease) = known else { return None };
        let holds = until.is_some_and(|until| now < until) && self.is_ours(&lease);
        holds.then(|| freed(&lease))
    }

    fn is_ours(&self, lease: &Value) -> bool {
        Record::of(lease, self.duration).holder == self.identity
    }

    /// Whether the Lease says that this worker holds it, and it has given it up.
    fn is_left_over(&self, lease: &Value) -> bool {
        self.zeal == Zeal::Reluctant && self.until.is_none() && self.is_ours(lease)
    }

    /// Whether the Lease as it was found is this worker's to take, or to renew.
    fn wants(&self, now: Moment) -> bool {
        let Some((record, since)) = &self.seen else { return false };
        let unchanged = now.0.saturating_sub(since.0);
        match (record.holder.as_str(), self.zeal) {
            (holder, _) if holder == self.identity => true,
            ("", Zeal::Eager) => true,
            ("", Zeal::Reluctant) => unchanged >= self.duration,
            _ => unchanged >= record.duration,
        }
    }

    /// The Lease with this worker as its holder.
    fn written(&self, lease: &Value, wall: &str) -> Value {
        let mut lease = lease.clone();
        let before = lease.get("spec").cloned().unwrap_or_else(|| json!({}));
        let is_ours = before.get("holderIdentity").and_then(Value::as_str) == Some(&self.identity);
        let transitions = before.get("leaseTransitions").and_then(Value::as_u64).unwrap_or_default();
        let acquired = before.get("acquireTime").filter(|_| is_ours).cloned();
        // Whole seconds is what the API takes; the others may wait longer than this worker counts, never shorter.
        let seconds = self.duration.as_secs() + u64::from(self.duration.subsec_nanos() > 0);
        if let Some(lease) = lease.as_object_mut() {
            let spec = json!({
                "holderIdentity": self.identity,
                "leaseDurationSeconds": seconds,
                "acquireTime": acquired.unwrap_or_else(|| wall.into()),
                "renewTime": wall,
                // More than the API takes would have every write refused: then nobody could take the Lease any more.
                "leaseTransitions": transitions.saturating_add(u64::from(!is_ours)).min(MAX_TRANSITIONS),
            });
            lease.insert("spec".to_owned(), spec);
        }
        lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Verdict;

    const DURATION: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn candidate(identity: &str) -> Candidate {
        Candidate::new(identity.to_owned(), DURATION)
    }

    /// The server, for one Lease.
    #[derive(Default)]
    struct Server {
        lease: Option<Value>,
        version: u64,
    }

    impl Server {
        /// Carries out what comes next, until the candidate rests.
        fn serve(&mut self, candidate: &mut Candidate, now: Moment) -> Role {
            loop {
                match candidate.next(now, &format!("{:?}", now.0)) {
                    Next::Look => candidate.looked(self.lease.clone(), now),
                    Next::Create(lease) if self.lease.is_none() => candidate.wrote(self.store(lease), now, now),
                    Next::Update(lease)
                        if self.lease.as_ref().is_some_and(|own| own["metadata"] == lease["metadata"]) =>
                    {
                        candidate.wrote(self.store(lease), now, now);
                    }
                    Next::Create(_) | Next::Update(_) => candidate.outrun(),
                    Next::Rest(until) => {
                        assert!(until > now);
                        return candidate.role(now);
                    }
                }
            }
        }

        fn store(&mut self, mut lease: Value) -> Value {
            self.version += 1;
            lease["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.lease = Some(lease.clone());
            lease
        }

        fn spec(&self) -> Value {
            self.lease.as_ref().unwrap()["spec"].clone()
        }
    }

    #[test]
    fn the_first_one_leads_and_renews() {
        let (mut server, mut one) = (Server::default(), candidate("one"));
        assert_eq!(server.serve(&mut one, at(0)), Role::Leading { until: at(15) });
        assert_eq!(server.serve(&mut one, at(5)), Role::Leading { until: at(20) });
        let spec = server.spec();
        assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("one"), &json!(1)));
        assert_ne!(spec["acquireTime"], spec["renewTime"]);
    }

    #[test]
    fn a_lease_that_is_renewed_is_not_taken_however_long_it_lasts() {
        let (mut server, mut one, mut two) = (Server::default(), candidate("one"), candidate("two"));
        for second in 0..100 {
            assert!(matches!(server.serve(&mut one, at(second)), Role::Leading { .. }));
            assert_eq!(server.serve(&mut two, at(second)), Role::Following);
        }
    }

    #[test]
    fn a_lease_that_does_not_change_is_taken_after_its_duration_and_not_before() {
        let (mut server, mut one, mut two) = (Server::default(), candidate("one"), candidate("two"));
        server.serve(&mut one, at(0));
        // Seen for the first time only now: the clock of whoever looks counts.
        let mut now = 100;
        assert_eq!(server.serve(&mut two, at(now)), Role::Following);
        while server.serve(&mut two, at(now)) == Role::Following {
            now += 1;
        }
        assert!((115..=117).contains(&now), "{now}");
        assert_eq!(server.spec()["leaseTransitions"], json!(2));
        // The one that was paused wakes up: its word had ended long ago, and now it sees why.
        assert_eq!(one.role(at(now)), Role::Adrift);
        assert_eq!(server.serve(&mut one, at(now)), Role::Following);
    }

    /// The Lease as somebody writes it who is no worker.
    fn steal(server: &mut Server, spec: &Value) {
        let mut lease = server.lease.clone().unwrap();
        lease["spec"] = spec.clone();
        server.store(lease);
    }

    #[test]
    fn a_holder_that_says_68_years_and_does_not_renew_is_believed_for_a_few_durations() {
        for seconds in [json!(2_147_483_647), json!(u64::MAX), json!(121)] {
            let (mut server, mut one, mut two) = (Server::default(), candidate("one"), candidate("two"));
            server.serve(&mut one, at(0));
            server.serve(&mut two, at(0));
            steal(&mut server, &json!({"holderIdentity": "nobody", "renewTime": "x", "leaseDurationSeconds": seconds}));
            for each in [&mut one, &mut two] {
                let roles: Vec<_> = (2..123).map(|second| (second, server.serve(each, at(second)))).collect();
                // The one that led notices it with its next renewal.
                let seen = roles.iter().find(|(_, role)| *role == Role::Following).unwrap().0;
                assert!(seen <= 5, "{seen}");
                let adrift = roles.iter().find(|(_, role)| *role == Role::Adrift).unwrap().0;
                assert!((30..=seen + 32).contains(&adrift), "{adrift}");
                assert!(roles.iter().all(|(second, role)| *second < seen || !role.acts() || *second >= 120));
            }
            assert!(matches!(server.serve(&mut two, at(130)), Role::Leading { .. }));
        }
    }

    #[test]
    fn a_holder_with_a_longer_duration_that_renews_keeps_the_lease_and_is_relied_on() {
        let (mut server, mut two) = (Server::default(), candidate("two"));
        let mut one = Candidate::new("one".to_owned(), DURATION * 5);
        for second in 0..1000 {
            assert!(matches!(server.serve(&mut one, at(second)), Role::Leading { .. }));
            assert_eq!(server.serve(&mut two, at(second)), Role::Following);
        }
    }

    #[test]
    fn no_number_in_a_lease_makes_the_next_write_one_that_the_api_refuses() {
        for (before, after) in
            [(json!(u64::MAX), i32::MAX), (json!(i32::MAX), i32::MAX), (json!(-1), 1), (json!("x"), 1)]
        {
            let (mut server, mut one) = (Server::default(), candidate("one"));
            server.store(json!({"metadata": {}, "spec": {"holderIdentity": "", "leaseTransitions": before}}));
            assert!(matches!(server.serve(&mut one, at(0)), Role::Leading { .. }));
            assert_eq!(server.spec()["leaseTransitions"], json!(after), "{before}");
        }
    }

    #[test]
    fn a_released_lease_is_taken_at_once_but_not_by_the_one_that_is_about_to_end() {
        let (mut server, mut one, mut two) = (Server::default(), candidate("one"), candidate("two"));
        server.serve(&mut one, at(0));
        server.serve(&mut two, at(0));
        let released = one.release(at(1)).unwrap();
        server.store(released);
        assert_eq!(server.serve(&mut one, at(3)), Role::Adrift);
        assert!(matches!(server.serve(&mut two, at(4)), Role::Leading { .. }));
        assert_eq!(server.serve(&mut one, at(6)), Role::Following);
    }

    #[test]
    fn the_one_that_is_about_to_end_takes_the_lease_back_if_nobody_wants_it() {
        let (mut server, mut one) = (Server::default(), candidate("one"));
        server.serve(&mut one, at(0));
        let released = one.release(at(1)).unwrap();
        server.store(released);
        let mut now = 2;
        while server.serve(&mut one, at(now)) == Role::Adrift {
            now += 1;
        }
        assert!((16..=20).contains(&now), "{now}");
        assert_eq!(one.role(at(now)), Role::Leading { until: at(now + 15) });
    }

    #[test]
    fn a_release_whose_answer_is_lost_is_made_good() {
        let (mut server, mut one) = (Server::default(), candidate("one"));
        server.serve(&mut one, at(0));
        assert!(one.release(at(1)).is_some());
        // It never arrived.
        assert_eq!(server.serve(&mut one, at(3)), Role::Adrift);
        assert_eq!(server.spec()["holderIdentity"], json!(""));
        // And an absent one is not for a worker that is about to end.
        server.lease = None;
        assert_eq!(server.serve(&mut one, at(60)), Role::Adrift);
        assert_eq!(server.lease, None);
    }

    #[test]
    fn where_a_dead_holders_lease_cannot_be_written_everybody_goes_on_acting() {
        let (mut server, mut one, mut two) = (Server::default(), candidate("one"), candidate("two"));
        server.serve(&mut one, at(0));
        server.serve(&mut two, at(0));
        two.looked(server.lease.clone(), at(16));
        assert!(matches!(two.next(at(16), ""), Next::Update(_)));
        two.refused(at(16));
        two.looked(server.lease.clone(), at(21));
        assert_eq!(two.role(at(21)), Role::Leading { until: at(31) });
    }

    #[test]
    fn whoever_does_not_hold_the_lease_cannot_release_it() {
        let (mut server, mut one, mut two) = (Server::default(), candidate("one"), candidate("two"));
        server.serve(&mut one, at(0));
        server.serve(&mut two, at(0));
        assert_eq!(two.release(at(1)), None);
        // Its word has ended: the Lease may be another's by now.
        assert_eq!(one.release(at(20)), None);
    }

    #[test]
    fn a_holder_that_cannot_renew_is_adrift_until_it_sees_another() {
        let (mut server, mut one) = (Server::default(), candidate("one"));
        server.serve(&mut one, at(0));
        one.failed(at(5));
        assert_eq!(one.role(at(14)), Role::Leading { until: at(15) });
        assert_eq!(one.role(at(15)), Role::Adrift);
        assert!(Role::Adrift.beats() && !Role::Following.beats());
        assert_eq!(server.serve(&mut one, at(60)), Role::Leading { until: at(75) });
    }

    #[test]
    fn one_that_cannot_look_does_not_rely_on_the_holder() {
        let (mut server, mut one, mut two) = (Server::default(), candidate("one"), candidate("two"));
        server.serve(&mut one, at(0));
        assert_eq!(server.serve(&mut two, at(1)), Role::Following);
        two.failed(at(3));
        assert_eq!((two.role(at(15)), two.role(at(16))), (Role::Following, Role::Adrift));
        server.serve(&mut one, at(20));
        assert_eq!(server.serve(&mut two, at(20)), Role::Following);
    }

    #[test]
    fn where_leases_are_forbidden_everybody_acts() {
        let mut one = candidate("one");
        assert_eq!(one.next(at(0), ""), Next::Look);
        one.refused(at(0));
        assert_eq!(one.role(at(1)), Role::Leading { until: at(15) });
        assert_eq!((one.next(at(1), ""), one.next(at(5), "")), (Next::Rest(at(5)), Next::Look));
    }

    #[test]
    fn a_duration_of_part_seconds_is_announced_longer_than_it_is() {
        let mut one = Candidate::new("one".to_owned(), Duration::from_millis(1500));
        let mut server = Server::default();
        server.serve(&mut one, at(0));
        assert_eq!(server.spec()["leaseDurationSeconds"], json!(2));
        assert_eq!(one.role(Moment(Duration::from_millis(1500))), Role::Adrift);
    }

    #[test]
    fn what_may_be_begun_depends_on_the_role() {
        let (report, delete) = (Effect::Report(Verdict::Succeeded), Effect::Delete);
        let leading = Role::Leading { until: at(10) };
        let finishing = Role::Finishing { until: at(10) };
        assert!(leading.allows(&delete, at(9)) && !leading.allows(&delete, at(10)));
        assert!(finishing.allows(&report, at(9)) && !finishing.allows(&delete, at(9)));
        assert!(!Role::Following.allows(&report, at(0)) && !Role::Adrift.allows(&report, at(0)));
    }
}
