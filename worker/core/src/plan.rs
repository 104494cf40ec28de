//! A plan: the very Job that will be created for a task. The same task always gives the same plan, so a create whose answer
//! was lost can be repeated.

use serde_json::Value;

use crate::{
    arn::ActivityArn,
    job::JobView,
    ledger::{self, Entry, Options, Stamp},
    lifecycle::outlives_its_task,
    manifest::metadata_mut,
    names::{Group, JobKey},
    owner::{OwnerKey, SpecHash},
    request::RunJob,
    token::TaskToken,
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
    pub fn new(run: &RunJob, token: TaskToken, source: ActivityArn, group: &Group) -> Self {
        let owner = OwnerKey::of_task(&token);
        let manifest = &run.manifest;
        let key =
            JobKey { namespace: run.namespace.clone(), name: manifest.naming().resolve(&owner, manifest.index_room()) };
        let stamp = Stamp {
            answer: run.answer,
            token,
            source,
            owner,
            spec_hash: SpecHash::of(manifest.value()),
            options: Options { logs: run.logs.clone(), on_task_gone: run.on_task_gone, on_stuck: run.on_stuck },
            ttl: manifest.ttl(),
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

    /// What the Job that has the planned name is to this plan.
    pub fn relation<'a>(&self, found: &'a JobView) -> Relation<'a> {
        let same = |owner: &OwnerKey, hash: &SpecHash| *owner == self.stamp.owner && *hash == self.stamp.spec_hash;
        match &found.entry {
            Entry::Open(stamp) if same(&stamp.owner, &stamp.spec_hash) => Relation::Ours,
            Entry::Settled { owner, spec_hash } if same(owner, spec_hash) => Relation::OursAndSettled,
            _ if found.deleting => Relation::Leaving,
            Entry::Open(stamp) if self.succeeds(found, stamp) => Relation::Predecessor(stamp),
            _ => Relation::Foreign,
        }
    }

    /// Whether this plan may take the place of another task's Job, once nobody waits for that task.
    fn succeeds(&self, found: &JobView, stamp: &Stamp) -> bool {
        stamp.owner != self.stamp.owner && self.is_of_group(found) && !outlives_its_task(found, stamp)
    }

    fn is_of_group(&self, job: &JobView) -> bool {
        job.group.as_deref() == Some(self.group.as_str())
    }

    /// Whether the created Job carries the stamp unchanged. Admission that strips labels or annotations would make the Job
    /// invisible to the watch, or unanswerable. The error says what is different.
    pub fn check_stamp(&self, created: &JobView) -> Result<(), String> {
        let labelled = self.is_of_group(created);
        let difference = match &created.entry {
            Entry::Open(stamp) if **stamp == self.stamp && labelled => return Ok(()),
            Entry::Open(_) if !labelled => "the label runjob/group is gone, or another".to_owned(),
            Entry::Open(_) | Entry::Settled { .. } => "an annotation runjob/… has another value".to_owned(),
            Entry::None => "the annotations runjob/… are gone".to_owned(),
            Entry::Unreadable(error) => error.to_string(),
        };
        Err(difference)
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
}
