//! The ledger: all durable state of a task, written on the Job that it created.
//!
//! | where | name | what |
//! |---|---|---|
//! | label | `runjob/group` | selects the Job into the watch; gone once it is settled |
//! | annotation | `runjob/v` | the version of all this, `1` |
//! | annotation | `runjob/form` | `task`: a task is answered when the Job ends; `start`: when it exists; `lambda`: a function waits for it |
//! | annotation | `runjob/task-token` | the token that answers the task |
//! | annotation | `runjob/source` | the ARN of the activity, or function, that the token came from |
//! | annotation | `runjob/invocation` | instead of these two, form `lambda`: the invocation that waits |
//! | annotation | `runjob/lease-until` | form `lambda`: how long it, or the next attempt, may be expected to care for the Job |
//! | annotation | `runjob/object` | namespace and name of the Job that all this was written for |
//! | annotation | `runjob/uid` | its UID, written once the Job has run for a while: only the answer to the create knows it |
//! | annotation | `runjob/owner` | a hash of the token, the invocation or the `IdempotencyKey`: whose Job this is |
//! | annotation | `runjob/spec-hash` | a hash of the Job as the user gave it |
//! | annotation | `runjob/options` | JSON: log options, policies, the names of the request's containers |
//! | annotation | `runjob/ttl` | the user's `ttlSecondsAfterFinished`, held back until the task is answered |
//! | annotation | `runjob/kept-until` | nobody waits for the Job any more, and a sweep keeps it until then |
//! | annotation | `runjob/settled` | `true` once the task is answered; then only `v`, `owner` and `spec-hash` stay beside it |
//!
//! Nothing is put on the pod template.
//!
//! Labels and annotations are data that people and tools copy freely: a backup that is restored, a clone. So a stamp names its Job, and on
//! any other object it is a copy ([`Entry::Copy`]): never followed, never changed, never an answer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    budget::shortened,
    json,
    log_options::LogOptions,
    manifest::{RESERVED_PREFIX, map_mut, metadata_mut},
    names::{Group, JobKey},
    owner::{OwnerKey, SpecHash},
    request::{Answer, OnStuck, OnTaskGone},
    token::TaskToken,
    waiter::{InvocationId, Waiter},
};

/// The label that selects the Jobs of a group.
pub const GROUP: &str = "runjob/group";
/// The annotation that holds the task token.
pub(crate) const TASK_TOKEN: &str = "runjob/task-token";
const VERSION: &str = "runjob/v";
pub(crate) const OBJECT: &str = "runjob/object";
pub(crate) const UID: &str = "runjob/uid";
const FORM: &str = "runjob/form";
const SOURCE: &str = "runjob/source";
pub(crate) const INVOCATION: &str = "runjob/invocation";
const LEASE_UNTIL: &str = "runjob/lease-until";
const OWNER: &str = "runjob/owner";
const SPEC_HASH: &str = "runjob/spec-hash";
const OPTIONS: &str = "runjob/options";
pub(crate) const TTL: &str = "runjob/ttl";
pub(crate) const KEPT_UNTIL: &str = "runjob/kept-until";
pub(crate) const SETTLED: &str = "runjob/settled";

/// The annotations that stay on a settled Job.
const STAYING: [&str; 4] = [VERSION, OWNER, SPEC_HASH, SETTLED];

/// The version that this code writes.
const CURRENT_VERSION: &str = "1";

/// The least time that a finished Job stays, in seconds, while its task is not answered yet: the longest that an outage
/// on the other side may last without costing the logs. Seven days.
pub(crate) const HELD_TTL: u64 = 7 * 24 * 60 * 60;

/// What a Job says about the task that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamp {
    /// When whoever waits is answered.
    pub answer: Answer,
    /// Who waits for it.
    pub waiter: Waiter,
    /// The Job that the stamp was written for. `None`: an earlier version wrote it, which did not say.
    pub object: Option<JobKey>,
    /// The UID of that Job, once it is written down.
    pub uid: Option<String>,
    /// Whose Job this is.
    pub owner: OwnerKey,
    /// What was asked for.
    pub spec_hash: SpecHash,
    /// Log options, policies, containers.
    pub options: Options,
    /// The user's `ttlSecondsAfterFinished`.
    pub ttl: Option<u64>,
    /// Until when the Job is kept, although nobody waits for it any more, as a process has found out that is not there any more.
    pub kept_until: Option<Timestamp>,
}

/// What of the request is needed after the Job was created.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// `LogOptions`.
    pub logs: LogOptions,
    /// `OnTaskGone`.
    pub on_task_gone: OnTaskGone,
    /// `OnStuck`.
    pub on_stuck: OnStuck,
    /// Whether the request had an `IdempotencyKey`.
    pub owned_by: OwnedBy,
    /// The names of the containers that the request asks for: a policy may put others into the Job's template. Absent from stamps of
    /// earlier versions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<String>,
}

/// What the owner of a Job is a hash of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OwnedBy {
    /// The token or the invocation: the Job belongs to one task.
    #[default]
    Task,
    /// The `IdempotencyKey`: the Job passes from one attempt to the next.
    Key,
}

/// What the ledger on a Job says.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// Nothing: the Job is not `runjob`'s.
    None,
    /// A task waits for the Job.
    Open(Box<Stamp>),
    /// The task was answered.
    Settled {
        /// Whose Job it was.
        owner: OwnerKey,
        /// What was asked for.
        spec_hash: SpecHash,
    },
    /// It was written for another Job, and copied with it.
    Copy {
        /// The Job that it was written for.
        of: JobKey,
    },
    /// It cannot be read.
    Unreadable(UnreadableStamp),
}

impl Entry {
    /// Whose Job it is or was, and what was asked for.
    pub(crate) fn made_for(&self) -> Option<(&OwnerKey, &SpecHash)> {
        match self {
            Self::Open(stamp) => Some((&stamp.owner, &stamp.spec_hash)),
            Self::Settled { owner, spec_hash } => Some((owner, spec_hash)),
            Self::None | Self::Copy { .. } | Self::Unreadable(_) => None,
        }
    }
}

/// A stamp that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to read the annotation {annotation}: {reason}")]
pub struct UnreadableStamp {
    annotation: &'static str,
    reason: String,
}

/// Writes a stamp on a manifest: labels, annotations, and the held-back TTL.
pub(crate) fn write(stamp: &Stamp, group: &Group, job: &mut Value) {
    if let (Some(ttl), Some(spec)) = (held_ttl(stamp), job.get_mut("spec").and_then(Value::as_object_mut)) {
        spec.insert("ttlSecondsAfterFinished".into(), ttl.into());
    }
    let Some(metadata) = metadata_mut(job) else { return };
    // Nobody has to find a Job that nobody waits for.
    if stamp.waiter != Waiter::Nobody
        && let Some(labels) = map_mut(metadata, "labels")
    {
        labels.insert(GROUP.into(), group.as_str().into());
    }
    let Some(annotations) = map_mut(metadata, "annotations") else { return };
    annotations.extend(written(stamp).into_iter().map(|(name, value)| (name.to_owned(), value.into())));
}

/// The annotations that a stamp is written as.
pub(crate) fn written(stamp: &Stamp) -> Vec<(&'static str, String)> {
    let mut annotations = vec![
        (VERSION, CURRENT_VERSION.to_owned()),
        (OWNER, stamp.owner.as_str().to_owned()),
        (SPEC_HASH, stamp.spec_hash.as_str().to_owned()),
    ];
    let form = match (&stamp.waiter, stamp.answer) {
        (Waiter::Task { .. }, Answer::WhenFinished) => "task",
        (Waiter::Task { .. }, Answer::WhenCreated) => "start",
        (Waiter::Invocation { .. }, _) => "lambda",
        (Waiter::Nobody, _) => {
            annotations.push((SETTLED, "true".to_owned()));
            return annotations;
        }
    };
    annotations.push((FORM, form.to_owned()));
    match &stamp.waiter {
        Waiter::Task { token, source } => {
            annotations.push((TASK_TOKEN, token.expose().to_owned()));
            annotations.push((SOURCE, source.as_str().to_owned()));
        }
        Waiter::Invocation { id, until } => {
            annotations.push((INVOCATION, id.as_str().to_owned()));
            annotations.push((LEASE_UNTIL, until.to_string()));
        }
        Waiter::Nobody => {}
    }
    annotations.extend(stamp.object.as_ref().map(|object| (OBJECT, object.to_string())));
    annotations.extend(stamp.uid.as_ref().map(|uid| (UID, uid.clone())));
    annotations.push((OPTIONS, json!(stamp.options).to_string()));
    annotations.extend(stamp.ttl.map(|ttl| (TTL, ttl.to_string())));
    annotations
}

/// The TTL that holds back the user's, if that is too short.
pub(crate) fn held_ttl(stamp: &Stamp) -> Option<u64> {
    let awaited = stamp.waiter != Waiter::Nobody;
    stamp.ttl.filter(|_| awaited).filter(|ttl| *ttl < HELD_TTL).map(|_| HELD_TTL)
}

/// Reads what the metadata of a Job says.
pub(crate) fn read(metadata: &Value) -> Entry {
    let Some(annotations) = metadata.get("annotations") else { return Entry::None };
    let text = |name: &str| annotations.get(name).and_then(Value::as_str);
    match text(VERSION) {
        None => return Entry::None,
        Some(CURRENT_VERSION) => {}
        Some(other) => {
            let reason = format!("version {}, this runjob reads version {CURRENT_VERSION}", quoted(other));
            return Entry::Unreadable(UnreadableStamp { annotation: VERSION, reason });
        }
    }
    if let (Some("true"), Some(owner), Some(hash)) = (text(SETTLED), text(OWNER), text(SPEC_HASH)) {
        let (owner, spec_hash) = (OwnerKey::from_annotation(owner), SpecHash::from_annotation(hash));
        return Entry::Settled { owner, spec_hash };
    }
    match read_open(text) {
        Ok(stamp) => match original(&stamp, metadata) {
            Some(of) => Entry::Copy { of },
            None => Entry::Open(Box::new(stamp)),
        },
        Err(unreadable) => Entry::Unreadable(unreadable),
    }
}

/// The Job that the stamp was written for, if that is not the one that carries it.
fn original(stamp: &Stamp, metadata: &Value) -> Option<JobKey> {
    let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default();
    let object = stamp.object.as_ref()?;
    let is_named = object.namespace == text("namespace") && object.name == text("name");
    let is_it = stamp.uid.as_ref().is_none_or(|uid| uid == text("uid"));
    (!is_named || !is_it).then(|| object.clone())
}

fn read_open<'a>(text: impl Fn(&str) -> Option<&'a str>) -> Result<Stamp, UnreadableStamp> {
    let needed = |annotation: &'static str| {
        text(annotation).ok_or(UnreadableStamp { annotation, reason: "it is absent".into() })
    };
    let unreadable = |annotation: &'static str| move |reason: String| UnreadableStamp { annotation, reason };
    let task = || {
        let token = TaskToken::new(needed(TASK_TOKEN)?).map_err(|error| unreadable(TASK_TOKEN)(error.to_string()))?;
        let no_source = |_| unreadable(SOURCE)("it is no ARN of an activity or function".into());
        Ok(Waiter::Task { token, source: needed(SOURCE)?.parse().map_err(no_source)? })
    };
    let invocation = || {
        let no_id = || unreadable(INVOCATION)("it is no id of an invocation".into());
        let no_time = |_| unreadable(LEASE_UNTIL)("it is no time".into());
        let id = InvocationId::new(needed(INVOCATION)?).ok_or_else(no_id)?;
        Ok(Waiter::Invocation { id, until: needed(LEASE_UNTIL)?.parse().map_err(no_time)? })
    };
    let (answer, waiter) = match needed(FORM)? {
        "task" => (Answer::WhenFinished, task()?),
        "start" => (Answer::WhenCreated, task()?),
        "lambda" => (Answer::WhenFinished, invocation()?),
        other => return Err(unreadable(FORM)(format!("unknown form {}", quoted(other)))),
    };
    let no_time = |_| unreadable(KEPT_UNTIL)("it is no time".into());
    let no_object = || unreadable(OBJECT)("it is not namespace/name".into());
    let object = |text: &str| {
        let (namespace, name) = text.split_once('/').ok_or_else(no_object)?;
        Ok(JobKey { namespace: namespace.to_owned(), name: name.to_owned() })
    };
    Ok(Stamp {
        object: text(OBJECT).map(object).transpose()?,
        uid: text(UID).map(ToOwned::to_owned),
        kept_until: text(KEPT_UNTIL).map(|until| until.parse().map_err(no_time)).transpose()?,
        answer,
        waiter,
        owner: OwnerKey::from_annotation(needed(OWNER)?),
        spec_hash: SpecHash::from_annotation(needed(SPEC_HASH)?),
        options: json::read_as(needed(OPTIONS)?)
            .map_err(|_| unreadable(OPTIONS)("it is not as this runjob writes it".into()))?,
        ttl: text(TTL)
            .map(|ttl| ttl.parse().map_err(|_| unreadable(TTL)(format!("{} is no number of seconds", quoted(ttl)))))
            .transpose()?,
    })
}

/// The beginning of what somebody has put there. Too short to be a token: this gets into logs and Events.
fn quoted(text: &str) -> String {
    shortened(text, 16)
}

/// The names of the annotations that go when the Job is settled.
pub(crate) fn going(metadata: &Value) -> Vec<String> {
    let annotations = metadata.get("annotations").and_then(Value::as_object);
    let names = annotations.into_iter().flat_map(Map::keys);
    names.filter(|name| name.starts_with(RESERVED_PREFIX) && !STAYING.contains(&name.as_str())).cloned().collect()
}

/// The Job as its user knows it: without the stamp, without `managedFields`, with the user's own TTL. With `apiVersion` and
/// `kind`, too: the items of a list have neither.
pub fn user_view(job: Value, stamp: &Stamp) -> Value {
    let mut whole = json!({"apiVersion": "batch/v1", "kind": "Job"});
    if let (Some(whole), Value::Object(fields)) = (whole.as_object_mut(), job) {
        whole.extend(fields);
    }
    let mut job = whole;
    if let Some(metadata) = metadata_mut(&mut job) {
        metadata.shift_remove("managedFields");
        for kind in ["labels", "annotations"] {
            let Some(map) = metadata.get_mut(kind).and_then(Value::as_object_mut) else { continue };
            map.retain(|name, _| !name.starts_with(RESERVED_PREFIX));
            if map.is_empty() {
                metadata.shift_remove(kind);
            }
        }
    }
    if let (Some(ttl), Some(spec)) = (stamp.ttl, job.get_mut("spec").and_then(Value::as_object_mut)) {
        spec.insert("ttlSecondsAfterFinished".into(), ttl.into());
    }
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{a_job, a_stamp, an_invocation};

    #[test]
    fn what_was_written_is_read_back() {
        let mut stamp = a_stamp();
        stamp.ttl = Some(5);
        stamp.uid = Some("u-1".to_owned());
        stamp.options.on_task_gone = OnTaskGone::Detach;
        let mut job = json!({"metadata": {"namespace": "default", "name": "x", "uid": "u-1", "labels": {"a": "b"}}, "spec": {"ttlSecondsAfterFinished": 5}});
        write(&stamp, &"g".parse().unwrap(), &mut job);
        assert_eq!(read(job.get("metadata").unwrap()), Entry::Open(Box::new(stamp)));
        assert_eq!(job.pointer("/spec/ttlSecondsAfterFinished"), Some(&json!(HELD_TTL)));
        assert_eq!(job.pointer("/metadata/labels"), Some(&json!({"a": "b", "runjob/group": "g"})));
    }

    #[test]
    fn a_stamp_on_another_job_than_its_own_is_a_copy() {
        let of_uid = Stamp { uid: Some("u-1".to_owned()), ..a_stamp() };
        let of = || Entry::Copy { of: JobKey { namespace: "default".into(), name: "x".into() } };
        for (stamp, field, value) in [
            (a_stamp(), "namespace", "restored"),
            (a_stamp(), "name", "clone-of-x"),
            (of_uid.clone(), "uid", "u-2"),
            (of_uid, "namespace", "restored"),
        ] {
            let mut job = a_job().unstamped().stamped(&stamp).value();
            assert_eq!(read(&job["metadata"]), Entry::Open(Box::new(stamp)));
            job["metadata"][field] = json!(value);
            assert_eq!(read(&job["metadata"]), of(), "{field}");
        }
    }

    #[test]
    fn a_stamp_of_before_stamps_named_their_job_is_read() {
        let stamp = Stamp { object: None, ..a_stamp() };
        assert_eq!(a_job().unstamped().stamped(&stamp).view().entry, Entry::Open(Box::new(stamp)));
    }

    #[test]
    fn a_stamp_that_names_no_job_is_unreadable() {
        let mut job = a_job().value();
        job["metadata"]["annotations"][OBJECT] = json!("x");
        assert!(matches!(read(&job["metadata"]), Entry::Unreadable(_)));
    }

    #[test]
    fn a_ttl_that_is_long_enough_is_left_alone() {
        let mut stamp = a_stamp();
        stamp.ttl = Some(HELD_TTL + 1);
        let mut job = json!({"spec": {"ttlSecondsAfterFinished": HELD_TTL + 1}});
        write(&stamp, &"g".parse().unwrap(), &mut job);
        assert_eq!(job.pointer("/spec/ttlSecondsAfterFinished"), Some(&json!(HELD_TTL + 1)));
    }

    #[test]
    fn a_newer_version_is_unreadable_not_somebody_elses() {
        let entry = read(&json!({"annotations": {"runjob/v": "2"}}));
        assert!(matches!(entry, Entry::Unreadable(_)), "{entry:?}");
        assert_eq!(read(&json!({"annotations": {"a": "b"}})), Entry::None);
    }

    #[test]
    fn a_damaged_stamp_names_the_annotation() {
        let mut job = a_job().value();
        job.pointer_mut("/metadata/annotations").unwrap()["runjob/options"] = json!("{");
        let Entry::Unreadable(error) = read(&job["metadata"]) else { panic!("read") };
        assert!(error.to_string().starts_with("unable to read the annotation runjob/options"), "{error}");
    }

    #[test]
    fn what_a_function_wrote_is_read_back() {
        let stamp = Stamp { waiter: an_invocation(), ..a_stamp() };
        assert_eq!(a_job().unstamped().stamped(&stamp).view().entry, Entry::Open(Box::new(stamp)));
    }

    #[test]
    fn a_job_that_nobody_waits_for_is_settled_from_the_start() {
        let stamp = Stamp { waiter: Waiter::Nobody, answer: Answer::WhenCreated, ttl: Some(5), ..a_stamp() };
        let mut job = json!({"metadata": {}, "spec": {"ttlSecondsAfterFinished": 5}});
        write(&stamp, &"g".parse().unwrap(), &mut job);
        let Stamp { owner, spec_hash, .. } = stamp;
        assert_eq!(read(&job["metadata"]), Entry::Settled { owner, spec_hash });
        assert_eq!((&job["metadata"]["labels"], &job["spec"]["ttlSecondsAfterFinished"]), (&Value::Null, &json!(5)));
    }

    #[test]
    fn options_of_before_there_were_keys_are_read() {
        let options: Options = serde_json::from_str(r#"{"onTaskGone":"detach"}"#).unwrap();
        assert_eq!((options.on_task_gone, options.owned_by), (OnTaskGone::Detach, OwnedBy::Task));
    }

    #[test]
    fn the_user_sees_nothing_of_the_stamp() {
        let mut stamp = a_stamp();
        stamp.ttl = Some(60);
        let mut job = a_job().stamped(&stamp).value();
        job["metadata"]["managedFields"] = json!([{}]);
        let seen = user_view(job, &stamp);
        assert!(!seen.to_string().contains("runjob/"), "{seen}");
        assert_eq!(seen.pointer("/spec/ttlSecondsAfterFinished"), Some(&json!(60)));
        assert_eq!(seen.pointer("/metadata/managedFields"), None);
    }

    #[test]
    fn a_job_from_a_list_says_what_it_is() {
        let mut job = a_job().value();
        job.as_object_mut().unwrap().retain(|field, _| field != "apiVersion" && field != "kind");
        let seen = user_view(job, &a_stamp());
        let fields: Vec<_> = seen.as_object().unwrap().keys().take(2).collect();
        assert_eq!(fields, ["apiVersion", "kind"]);
    }
}
