//! A plan: the very Job that will be created for a task. The same task always gives the same plan, so a create whose answer
//! was lost can be repeated; tasks of one key give plans for one Job.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    arn::Source,
    job::{JobView, container_names},
    ledger::{self, Entry, Options, OwnedBy, Stamp},
    lifecycle::outlives_its_task,
    manifest::metadata_mut,
    names::{Group, JobKey},
    owner::{OwnerKey, SpecHash},
    patch,
    request::{Answer, RunJob},
    token::TaskToken,
    waiter::{InvocationId, Waiter},
};

/// The Job for a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Where it will live.
    pub key: JobKey,
    /// The Job, stamped.
    pub job: Value,
    /// The stamp on it.
    pub stamp: Stamp,
    /// The group that its label names.
    group: Group,
}

/// What an existing Job of the planned name is to this plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Relation<'a> {
    /// The Job of this very plan: an earlier create reached the server, only its answer was lost.
    Ours,
    /// This plan's Job, and its task is answered already.
    OursAndSettled,
    /// The Job of this plan's key, made by another task. What becomes of it is said by [`attach`](crate::attach::attach).
    OfKey,
    /// The Job of this plan's key, and another one is asked for now.
    OtherSpec,
    /// The unfinished Job of another task of the group: an earlier attempt of this one's state, as a rule. If nobody waits for
    /// that task any more, the Job is to go, and makes room.
    Predecessor(&'a Stamp),
    /// On its way out, whoever's it is.
    Leaving,
    /// Somebody else's, and it stays.
    Foreign,
}

impl Plan {
    /// Plans the Job for a task that came from `source` with `token`.
    pub fn new(run: &RunJob, token: TaskToken, source: Source, group: &Group) -> Self {
        let owner = OwnerKey::of_task(&token);
        Self::made(run, owner, Waiter::Task { token, source }, group)
    }

    /// Plans the Job for an invocation of a function that waits for it until then, or that only starts it.
    pub fn for_invocation(run: &RunJob, id: InvocationId, until: Timestamp, group: &Group) -> Self {
        let owner = OwnerKey::of_invocation(&id);
        let waiter = match run.answer {
            Answer::WhenFinished => Waiter::Invocation { id, until },
            Answer::WhenCreated => Waiter::Nobody,
        };
        Self::made(run, owner, waiter, group)
    }

    /// `owner`: whose the Job is without a key.
    fn made(run: &RunJob, owner: OwnerKey, waiter: Waiter, group: &Group) -> Self {
        let (owner, owned_by) = match &run.idempotency_key {
            Some(key) => (OwnerKey::of_key(key, group, &run.namespace), OwnedBy::Key),
            None => (owner, OwnedBy::Task),
        };
        let manifest = &run.manifest;
        let key =
            JobKey { namespace: run.namespace.clone(), name: manifest.naming().resolve(&owner, manifest.index_room()) };
        let stamp = Stamp {
            answer: run.answer,
            waiter,
            object: Some(key.clone()),
            uid: None,
            owner,
            spec_hash: SpecHash::of(manifest.value()),
            options: Options {
                logs: run.logs.clone(),
                on_task_gone: run.on_task_gone,
                on_stuck: run.on_stuck,
                owned_by,
                containers: container_names(manifest.value().pointer("/spec/template/spec")),
            },
            ttl: manifest.ttl(),
            kept_until: None,
        };
        let mut job = manifest.value().clone();
        if let Some(metadata) = metadata_mut(&mut job) {
            metadata.shift_remove("generateName");
            metadata.insert("name".into(), key.name.as_str().into());
            metadata.insert("namespace".into(), key.namespace.as_str().into());
        }
        ledger::write(&stamp, group, &mut job);
        Self { key, job, stamp, group: group.clone() }
    }

    /// The Job with the user's own TTL, if the plan holds that back. For clusters that do not allow a TTL as long as that: what natively
    /// works must not fail for it.
    pub fn without_held_ttl(&self) -> Option<Value> {
        let own = self.stamp.ttl.filter(|_| ledger::held_ttl(&self.stamp).is_some())?;
        let mut job = self.job.clone();
        job.get_mut("spec")?.as_object_mut()?.insert("ttlSecondsAfterFinished".into(), own.into());
        Some(job)
    }

    /// What the Job that has the planned name is to this plan.
    pub fn relation<'a>(&self, found: &'a JobView) -> Relation<'a> {
        let made_for = found.entry.made_for();
        let is_owned = made_for.is_some_and(|(owner, _)| *owner == self.stamp.owner);
        let is_same = is_owned && made_for.is_some_and(|(_, spec_hash)| *spec_hash == self.stamp.spec_hash);
        let is_of_key = is_owned && self.stamp.options.owned_by == OwnedBy::Key;
        match &found.entry {
            Entry::Open(stamp) if is_same && stamp.waiter == self.stamp.waiter => Relation::Ours,
            Entry::Settled { .. } if is_same && !is_of_key && !self.is_only_started() => Relation::OursAndSettled,
            _ if found.deleting => Relation::Leaving,
            // It is to exist, and it does, whoever waits for it.
            _ if is_same && self.is_only_started() => Relation::Ours,
            _ if is_of_key && is_same => Relation::OfKey,
            _ if is_of_key => Relation::OtherSpec,
            Entry::Open(stamp) if self.succeeds(found, stamp) => Relation::Predecessor(stamp),
            _ => Relation::Foreign,
        }
    }

    /// Whether this plan may take the place of another task's Job, once nobody waits for that task.
    fn succeeds(&self, found: &JobView, stamp: &Stamp) -> bool {
        stamp.owner != self.stamp.owner && self.is_of_group(found) && !outlives_its_task(found, stamp)
    }

    /// Whether nobody is going to wait for the Job.
    fn is_only_started(&self) -> bool {
        self.stamp.waiter == Waiter::Nobody
    }

    fn is_of_group(&self, job: &JobView) -> bool {
        job.group.as_deref() == Some(self.group.as_str())
    }

    /// The JSON Patch that makes an existing Job of the plan's key this plan's own.
    pub fn take_over(&self, found: &JobView) -> Value {
        patch::take_over(found, &self.stamp, &self.group)
    }

    /// Whether the created Job carries the stamp unchanged. Admission that strips labels or annotations would make the Job
    /// invisible to the watch, or unanswerable. The error says what is different.
    pub fn check_stamp(&self, created: &JobView) -> Result<(), String> {
        let labelled = self.is_of_group(created);
        let made_for = created.entry.made_for();
        let difference = match &created.entry {
            Entry::Open(stamp) if self.is_stamped(stamp) && labelled => return Ok(()),
            _ if self.is_only_started() && made_for == Some((&self.stamp.owner, &self.stamp.spec_hash)) => {
                return Ok(());
            }
            Entry::Open(_) if !labelled => "the label runjob/group is gone, or another".to_owned(),
            Entry::Open(_) | Entry::Settled { .. } => "an annotation runjob/… has another value".to_owned(),
            Entry::None => "the annotations runjob/… are gone".to_owned(),
            Entry::Copy { .. } => "the annotation runjob/object or runjob/uid has another value".to_owned(),
            Entry::Unreadable(error) => error.to_string(),
        };
        Err(difference)
    }

    /// Whether it is the planned stamp, perhaps with what is added to it once the Job exists ([`patch::amend`]).
    fn is_stamped(&self, found: &Stamp) -> bool {
        let ttl = self.stamp.ttl.or(found.ttl);
        *found == Stamp { uid: found.uid.clone(), ttl, ..self.stamp.clone() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        fixtures::{a_job, a_stamp},
        request::{self, Answer, OnTaskGone, Request, Strictness},
    };

    fn plan(input: &Value, token: &str) -> Plan {
        let Request::RunJob(run) = request::parse(&input.to_string(), Strictness::Strict).unwrap().request else {
            panic!("a call")
        };
        let source = "arn:aws:states:us-east-1:123456789012:activity:jobs".parse().unwrap();
        Plan::new(&run, TaskToken::new(token).unwrap(), source, &"g".parse().unwrap())
    }

    fn input(metadata: &Value) -> Value {
        json!({"Job": {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {}}})
    }

    fn created(plan: &Plan) -> Value {
        let mut job = plan.job.clone();
        job["metadata"]["uid"] = json!("u");
        job["metadata"]["resourceVersion"] = json!("1");
        job
    }

    #[test]
    fn the_same_task_gives_the_same_job() {
        let input = input(&json!({"generateName": "report-"}));
        assert_eq!(plan(&input, "a"), plan(&input, "a"));
        assert_ne!(plan(&input, "a").key, plan(&input, "b").key);
        assert_eq!(plan(&input, "a").job.pointer("/metadata/generateName"), None);
    }

    #[test]
    fn an_existing_job_is_ours_when_owner_and_spec_are() {
        let plan = plan(&input(&json!({"name": "x"})), "a");
        let ours = JobView::of(&created(&plan)).unwrap();
        assert_eq!(plan.relation(&ours), Relation::Ours);
        let settled = |owner: &OwnerKey| {
            let (owner, spec_hash) = (owner.clone(), plan.stamp.spec_hash.clone());
            JobView { entry: Entry::Settled { owner, spec_hash }, ..ours.clone() }
        };
        assert_eq!(plan.relation(&settled(&plan.stamp.owner)), Relation::OursAndSettled);
        assert_eq!(plan.relation(&settled(&a_stamp().owner)), Relation::Foreign);
        assert_eq!(plan.relation(&a_job().unstamped().view()), Relation::Foreign);
    }

    fn keyed(key: &str, metadata: &Value) -> Value {
        let mut input = input(metadata);
        input["IdempotencyKey"] = json!(key);
        input
    }

    fn settled(plan: &Plan, view: &JobView) -> JobView {
        let (owner, spec_hash) = (plan.stamp.owner.clone(), plan.stamp.spec_hash.clone());
        JobView { entry: Entry::Settled { owner, spec_hash }, ..view.clone() }
    }

    #[test]
    fn attempts_with_one_key_name_one_job() {
        for metadata in [json!({}), json!({"generateName": "report-"})] {
            let first = plan(&keyed("k", &metadata), "a");
            assert_eq!(first.key, plan(&keyed("k", &metadata), "b").key);
            assert_ne!(first.key, plan(&keyed("l", &metadata), "a").key);
            assert!(!first.job.to_string().contains("\"k\""), "the key itself is not kept");
        }
    }

    #[test]
    fn the_job_of_an_earlier_attempt_is_the_keys() {
        let metadata = json!({"name": "x"});
        let earlier = plan(&keyed("k", &metadata), "a");
        let found = JobView::of(&created(&earlier)).unwrap();
        assert_eq!(earlier.relation(&found), Relation::Ours);
        let next = plan(&keyed("k", &metadata), "b");
        assert_eq!(next.relation(&found), Relation::OfKey);
        assert_eq!(next.relation(&settled(&earlier, &found)), Relation::OfKey);
        // Settled, it does not say whether it was for this very task.
        assert_eq!(earlier.relation(&settled(&earlier, &found)), Relation::OfKey);
        let leaving = JobView { deleting: true, ..found };
        assert_eq!(next.relation(&leaving), Relation::Leaving);
    }

    #[test]
    fn a_key_is_for_one_spec() {
        let earlier = plan(&keyed("k", &json!({"name": "x"})), "a");
        let found = JobView::of(&created(&earlier)).unwrap();
        let other = plan(&keyed("k", &json!({"name": "x", "labels": {"a": "b"}})), "b");
        assert_eq!(other.relation(&found), Relation::OtherSpec);
        assert_eq!(other.relation(&settled(&earlier, &found)), Relation::OtherSpec);
        let leaving = JobView { deleting: true, ..found };
        assert_eq!(other.relation(&leaving), Relation::Leaving);
    }

    #[test]
    fn the_job_of_another_key_is_anothers() {
        let metadata = json!({"name": "x"});
        let other = plan(&keyed("k", &metadata), "a");
        let found = JobView::of(&created(&other)).unwrap();
        for next in [plan(&keyed("l", &metadata), "b"), plan(&input(&metadata), "b")] {
            assert_eq!(next.relation(&found), Relation::Predecessor(&other.stamp));
            assert_eq!(next.relation(&settled(&other, &found)), Relation::Foreign);
        }
    }

    #[test]
    fn a_job_that_was_taken_over_is_ours() {
        let metadata = json!({"name": "x"});
        let (earlier, next) = (plan(&keyed("k", &metadata), "a"), plan(&keyed("k", &metadata), "b"));
        let mut job = created(&earlier);
        let patch = next.take_over(&JobView::of(&job).unwrap());
        for operation in patch.as_array().unwrap().iter().filter(|operation| operation["op"] == "add") {
            let (map, name) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
            job.pointer_mut(map).unwrap()[name.replace("~1", "/")] = operation["value"].clone();
        }
        let taken = JobView::of(&job).unwrap();
        assert_eq!(next.relation(&taken), Relation::Ours);
        assert_eq!(next.check_stamp(&taken), Ok(()));
    }

    fn for_invocation(input: &Value, id: &str) -> Plan {
        let Request::RunJob(run) = request::parse(&input.to_string(), Strictness::Strict).unwrap().request else {
            panic!()
        };
        let (id, until) = (InvocationId::new(id).unwrap(), "2026-11-24T12:15:00Z".parse().unwrap());
        Plan::for_invocation(&run, id, until, &"g".parse().unwrap())
    }

    #[test]
    fn an_invocation_knows_its_own_job_and_those_of_its_key() {
        let keyless = for_invocation(&input(&json!({})), "one");
        assert_eq!(keyless.relation(&JobView::of(&created(&keyless)).unwrap()), Relation::Ours);
        assert_ne!(keyless.key, for_invocation(&input(&json!({})), "two").key);
        let (one, two) =
            (for_invocation(&keyed("k", &json!({})), "one"), for_invocation(&keyed("k", &json!({})), "two"));
        assert_eq!(one.key, two.key);
        assert_eq!(two.relation(&JobView::of(&created(&one)).unwrap()), Relation::OfKey);
        // A worker and a function of one group share their keys.
        assert_eq!(plan(&keyed("k", &json!({})), "a").relation(&JobView::of(&created(&one)).unwrap()), Relation::OfKey);
    }

    #[test]
    fn a_job_that_is_only_started_is_there_whoever_made_it() {
        let mut input = keyed("k", &json!({}));
        let awaited = JobView::of(&created(&plan(&input, "a"))).unwrap();
        input["Action"] = json!("runJob");
        let (one, two) = (for_invocation(&input, "one"), for_invocation(&input, "two"));
        let found = JobView::of(&created(&one)).unwrap();
        assert!(matches!(found.entry, Entry::Settled { .. }));
        for job in [&found, &awaited] {
            assert_eq!((two.relation(job), two.check_stamp(job)), (Relation::Ours, Ok(())));
        }
        assert_eq!(two.relation(&JobView { deleting: true, ..found }), Relation::Leaving);
        assert!(two.check_stamp(&a_job().unstamped().view()).is_err());
    }

    #[test]
    fn only_an_unfinished_job_of_the_group_that_would_go_with_its_task_is_a_predecessor() {
        let plan = plan(&input(&json!({"name": "x"})), "a");
        let stamped = |change: fn(&mut Stamp)| {
            let mut stamp = a_stamp();
            change(&mut stamp);
            a_job().stamped(&stamp).view()
        };
        let running = a_job().view();
        assert_eq!(plan.relation(&running), Relation::Predecessor(&a_stamp()));
        let failing = a_job().condition("FailureTarget", "True", "BackoffLimitExceeded").view();
        assert_eq!(plan.relation(&failing), Relation::Predecessor(&a_stamp()));
        let cases = [
            ("of another group", JobView { group: Some("other".to_owned()), ..running.clone() }),
            ("of no group", JobView { group: None, ..running.clone() }),
            ("unreadable", JobView { entry: ledger::read(&json!({"annotations": {"runjob/v": "2"}})), ..running }),
            ("complete", a_job().complete().view()),
            ("failed", a_job().failed("DeadlineExceeded").view()),
            ("detached", stamped(|stamp| stamp.options.on_task_gone = OnTaskGone::Detach)),
            ("only started", stamped(|stamp| stamp.answer = Answer::WhenCreated)),
            ("this task's, with another spec", {
                let (own, other) = (plan.stamp.clone(), a_stamp().spec_hash);
                a_job().stamped(&Stamp { spec_hash: other, ..own }).view()
            }),
        ];
        for (what, view) in cases {
            assert_eq!(plan.relation(&view), Relation::Foreign, "{what}");
        }
    }

    #[test]
    fn whatever_is_on_its_way_out_is_waited_for() {
        let plan = plan(&input(&json!({"name": "x"})), "a");
        for leaving in [a_job(), a_job().unstamped(), a_job().complete()] {
            assert_eq!(plan.relation(&leaving.deleting().view()), Relation::Leaving);
        }
    }

    #[test]
    fn a_stamp_that_admission_removed_is_noticed() {
        let plan = plan(&input(&json!({"name": "x"})), "a");
        let mut job = created(&plan);
        assert!(plan.check_stamp(&JobView::of(&job).unwrap()).is_ok());
        job["metadata"]["labels"] = json!({});
        assert!(plan.check_stamp(&JobView::of(&job).unwrap()).is_err());
    }

    #[test]
    fn the_stamp_names_the_containers_of_the_request() {
        let pod = json!({"initContainers": [{"name": "prepare"}], "containers": [{"name": "main"}]});
        let mut input = input(&json!({"name": "x"}));
        input["Job"]["spec"] = json!({"template": {"spec": pod}});
        let plan = plan(&input, "a");
        let mut created = created(&plan);
        created["spec"]["template"]["spec"]["containers"] = json!([{"name": "main"}, {"name": "agent"}]);
        let view = JobView::of(&created).unwrap();
        assert!(view.asks_for("main") && view.asks_for("prepare") && !view.asks_for("agent"));
        // A stamp of an earlier version does not name them: then the template counts.
        let annotations = created.pointer_mut("/metadata/annotations").unwrap();
        annotations["runjob/options"] = json!("{}");
        let earlier = JobView::of(&created).unwrap();
        assert!(earlier.asks_for("main") && earlier.asks_for("agent") && !earlier.asks_for("other"));
    }
}
