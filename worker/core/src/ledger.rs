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
//! | annotation | `runjob/owner` | a hash of the token, the invocation or the `IdempotencyKey`: whose Job this is |
//! | annotation | `runjob/spec-hash` | a hash of the Job as the user gave it |
//! | annotation | `runjob/options` | JSON: log options and policies |
//! | annotation | `runjob/ttl` | the user's `ttlSecondsAfterFinished`, held back until the task is answered |
//! | annotation | `runjob/kept-until` | nobody waits for the Job any more, and a sweep keeps it until then |
//! | annotation | `runjob/settled` | `true` once the task is answered; then only `v`, `owner` and `spec-hash` stay beside it |
//!
//! Nothing is put on the pod template.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    budget::shortened,
    job::JobView,
    json,
    log_options::LogOptions,
    manifest::{RESERVED_PREFIX, map_mut, metadata_mut},
    names::Group,
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
const FORM: &str = "runjob/form";
const SOURCE: &str = "runjob/source";
const INVOCATION: &str = "runjob/invocation";
const LEASE_UNTIL: &str = "runjob/lease-until";
const OWNER: &str = "runjob/owner";
const SPEC_HASH: &str = "runjob/spec-hash";
const OPTIONS: &str = "runjob/options";
const TTL: &str = "runjob/ttl";
const KEPT_UNTIL: &str = "runjob/kept-until";
const SETTLED: &str = "runjob/settled";

/// The annotations that stay on a settled Job.
const STAYING: [&str; 4] = [VERSION, OWNER, SPEC_HASH, SETTLED];

/// The version that this code writes.
const CURRENT_VERSION: &str = "1";

/// The least time that a finished Job stays, in seconds, while its task is not answered yet: the longest that an outage
/// on the other side may last without costing the logs. Seven days.
const HELD_TTL: u64 = 7 * 24 * 60 * 60;

/// What a Job says about the task that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamp {
    /// When whoever waits is answered.
    pub answer: Answer,
    /// Who waits for it.
    pub waiter: Waiter,
    /// Whose Job this is.
    pub owner: OwnerKey,
    /// What was asked for.
    pub spec_hash: SpecHash,
    /// Log options and policies.
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
    /// It cannot be read.
    Unreadable(UnreadableStamp),
}

impl Entry {
    /// Whose Job it is or was, and what was asked for.
    pub(crate) fn made_for(&self) -> Option<(&OwnerKey, &SpecHash)> {
        match self {
            Self::Open(stamp) => Some((&stamp.owner, &stamp.spec_hash)),
            Self::Settled { owner, spec_hash } => Some((owner, spec_hash)),
            Self::None | Self::Unreadable(_) => None,
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
fn written(stamp: &Stamp) -> Vec<(&'static str, String)> {
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
    annotations.push((OPTIONS, json!(stamp.options).to_string()));
    annotations.extend(stamp.ttl.map(|ttl| (TTL, ttl.to_string())));
    annotations
}

/// The TTL that holds back the user's, if that is too short.
fn held_ttl(stamp: &Stamp) -> Option<u64> {
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
        Ok(stamp) => Entry::Open(Box::new(stamp)),
        Err(unreadable) => Entry::Unreadable(unreadable),
    }
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
    Ok(Stamp {
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

/// What tells one waiter from another on a Job: the annotation, and its value.
fn mark(waiter: &Waiter) -> Option<(&'static str, &str)> {
    match waiter {
        Waiter::Task { token, .. } => Some((TASK_TOKEN, token.expose())),
        Waiter::Invocation { id, .. } => Some((INVOCATION, id.as_str())),
        Waiter::Nobody => None,
    }
}

/// The beginning of a patch that applies only to the very Job, and only while it is that waiter's.
fn tests(view: &JobView, waiter: &Waiter) -> Vec<Value> {
    let mut tests = vec![json!({"op": "test", "path": "/metadata/uid", "value": view.uid})];
    let mark =
        mark(waiter).map(|(name, value)| json!({"op": "test", "path": pointer("annotations", name), "value": value}));
    tests.extend(mark);
    tests
}

/// The JSON Patch that takes a Job out of the watch once its task is answered. It applies only to the very Job and waiter
/// that it was made for: another tracker may have acted, or another task may have adopted the Job, in the meantime. `least_ttl`: the
/// Job stays that many seconds after its end at least, whatever the user's TTL.
pub fn settle(view: &JobView, stamp: &Stamp, least_ttl: u64) -> Value {
    let mut patch = tests(view, &stamp.waiter);
    patch.push(json!({"op": "add", "path": pointer("annotations", SETTLED), "value": "true"}));
    if view.group.is_some() {
        patch.push(json!({"op": "remove", "path": pointer("labels", GROUP)}));
    }
    for name in &view.going {
        patch.push(json!({"op": "remove", "path": pointer("annotations", name)}));
    }
    if let Some(ttl) = stamp.ttl {
        patch.push(json!({"op": "add", "path": "/spec/ttlSecondsAfterFinished", "value": ttl.max(least_ttl)}));
    }
    Value::Array(patch)
}

/// The JSON Patch that notes on a Job that nobody waits for until when it is kept. It applies only while it is still that waiter's.
pub fn keep(view: &JobView, stamp: &Stamp, until: Timestamp) -> Value {
    let mut patch = tests(view, &stamp.waiter);
    patch.push(json!({"op": "add", "path": pointer("annotations", KEPT_UNTIL), "value": until.to_string()}));
    Value::Array(patch)
}

/// The JSON Patch that gives a Job to the task of another stamp, and takes it back into the watch if it had left it. It applies
/// only to the very version that was looked at: its task may have got its answer, another task may have taken the Job over, or
/// somebody may be deleting it.
pub fn take_over(view: &JobView, stamp: &Stamp, group: &Group) -> Value {
    let before = if let Entry::Open(before) = &view.entry { &before.waiter } else { &Waiter::Nobody };
    let mut patch = tests(view, before);
    if let Entry::Settled { .. } = &view.entry {
        patch.push(json!({"op": "remove", "path": pointer("annotations", SETTLED)}));
    }
    patch.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": view.resource_version}));
    patch.extend(label(view, group));
    let written = written(stamp);
    for (name, value) in &written {
        patch.push(json!({"op": "add", "path": pointer("annotations", name), "value": value}));
    }
    // What the one before had and this one has not: a token, an invocation.
    for name in view.going.iter().filter(|name| written.iter().all(|(other, _)| other != name)) {
        patch.push(json!({"op": "remove", "path": pointer("annotations", name)}));
    }
    if let Some(ttl) = held_ttl(stamp) {
        patch.push(json!({"op": "add", "path": "/spec/ttlSecondsAfterFinished", "value": ttl}));
    }
    Value::Array(patch)
}

/// The JSON Patch that puts the label back on a Job that lost it: without it the Job would fall out of the watch with its
/// task unanswered. It applies only to the very version that was looked at: its task may have got its answer since, or somebody may
/// have given it other labels.
pub fn relabel(view: &JobView, group: &Group) -> Value {
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": view.uid}),
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": view.resource_version}),
    ];
    patch.extend(label(view, group));
    Value::Array(patch)
}

fn label(view: &JobView, group: &Group) -> impl Iterator<Item = Value> {
    let labels = view.labels_absent.then(|| json!({"op": "add", "path": "/metadata/labels", "value": {}}));
    let label = json!({"op": "add", "path": pointer("labels", GROUP), "value": group.as_str()});
    labels.into_iter().chain([label])
}

fn pointer(map: &str, name: &str) -> String {
    format!("/metadata/{map}/{}", name.replace('~', "~0").replace('/', "~1"))
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
    use crate::fixtures::{a_job, a_stamp, a_task, an_invocation};

    #[test]
    fn what_was_written_is_read_back() {
        let mut stamp = a_stamp();
        stamp.ttl = Some(5);
        stamp.options.on_task_gone = OnTaskGone::Detach;
        let mut job = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"ttlSecondsAfterFinished": 5}});
        write(&stamp, &"g".parse().unwrap(), &mut job);
        assert_eq!(read(job.get("metadata").unwrap()), Entry::Open(Box::new(stamp)));
        assert_eq!(job.pointer("/spec/ttlSecondsAfterFinished"), Some(&json!(HELD_TTL)));
        assert_eq!(job.pointer("/metadata/labels"), Some(&json!({"a": "b", "runjob/group": "g"})));
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
    fn settling_tests_uid_and_token_and_leaves_four_annotations() {
        let mut stamp = a_stamp();
        stamp.ttl = Some(0);
        let view = a_job().stamped(&stamp).view();
        let patch = settle(&view, &stamp, 0);
        let tests: Vec<_> = patch.as_array().unwrap().iter().take(2).map(|op| op["path"].as_str().unwrap()).collect();
        assert_eq!(tests, ["/metadata/uid", "/metadata/annotations/runjob~1task-token"]);
        let removed: Vec<_> = patch.as_array().unwrap().iter().filter(|op| op["op"] == "remove").collect();
        let removed: Vec<_> = removed.iter().map(|op| op["path"].as_str().unwrap()).collect();
        assert_eq!(
            removed,
            [
                "/metadata/labels/runjob~1group",
                "/metadata/annotations/runjob~1form",
                "/metadata/annotations/runjob~1task-token",
                "/metadata/annotations/runjob~1source",
                "/metadata/annotations/runjob~1options",
                "/metadata/annotations/runjob~1ttl",
            ]
        );
        assert!(patch.to_string().contains(r#"{"op":"add","path":"/spec/ttlSecondsAfterFinished","value":0}"#));
    }

    fn operations(patch: &Value) -> Vec<(&str, &str)> {
        let operations = patch.as_array().unwrap().iter();
        operations.map(|one| (one["op"].as_str().unwrap(), one["path"].as_str().unwrap())).collect()
    }

    #[test]
    fn a_job_is_taken_over_from_the_very_task_and_version_that_were_looked_at() {
        let next = Stamp { waiter: a_task("AAAAnext"), ttl: Some(5), ..a_stamp() };
        let patch = take_over(&a_job().view(), &next, &"g".parse().unwrap());
        assert_eq!(
            operations(&patch),
            [
                ("test", "/metadata/uid"),
                ("test", "/metadata/annotations/runjob~1task-token"),
                ("test", "/metadata/resourceVersion"),
                ("add", "/metadata/labels/runjob~1group"),
                ("add", "/metadata/annotations/runjob~1v"),
                ("add", "/metadata/annotations/runjob~1owner"),
                ("add", "/metadata/annotations/runjob~1spec-hash"),
                ("add", "/metadata/annotations/runjob~1form"),
                ("add", "/metadata/annotations/runjob~1task-token"),
                ("add", "/metadata/annotations/runjob~1source"),
                ("add", "/metadata/annotations/runjob~1options"),
                ("add", "/metadata/annotations/runjob~1ttl"),
                ("add", "/spec/ttlSecondsAfterFinished"),
            ]
        );
        assert_eq!((&patch[1]["value"], &patch[8]["value"]), (&json!("AAAAtoken"), &json!("AAAAnext")));
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
    fn a_job_passes_from_a_task_to_an_invocation_and_back() {
        let (task, function) = (a_stamp(), Stamp { waiter: an_invocation(), ..a_stamp() });
        for (before, after, test, gone) in [
            (&task, &function, "task-token", ["task-token", "source"]),
            (&function, &task, "invocation", ["invocation", "lease-until"]),
        ] {
            let patch = take_over(&a_job().unstamped().stamped(before).view(), after, &"g".parse().unwrap());
            let operations = operations(&patch);
            assert_eq!(operations[1], ("test", format!("/metadata/annotations/runjob~1{test}").as_str()));
            let removed: Vec<_> =
                operations.iter().filter(|(what, _)| *what == "remove").map(|(_, path)| *path).collect();
            assert_eq!(removed, gone.map(|name| format!("/metadata/annotations/runjob~1{name}")));
        }
    }

    #[test]
    fn an_invocation_settles_only_what_is_its_own_and_keeps_the_job_for_a_retry() {
        let stamp = Stamp { waiter: an_invocation(), ttl: Some(0), ..a_stamp() };
        let patch = settle(&a_job().unstamped().stamped(&stamp).view(), &stamp, 130);
        assert_eq!(operations(&patch)[1], ("test", "/metadata/annotations/runjob~1invocation"));
        assert!(patch.to_string().contains(r#"{"op":"add","path":"/spec/ttlSecondsAfterFinished","value":130}"#));
    }

    #[test]
    fn how_long_a_job_is_kept_is_noted_and_goes_when_it_is_taken_over() {
        let until = "2026-11-24T12:15:00Z".parse().unwrap();
        let patch = keep(&a_job().view(), &a_stamp(), until);
        assert_eq!(operations(&patch)[1], ("test", "/metadata/annotations/runjob~1task-token"));
        let mut job = a_job().value();
        job["metadata"]["annotations"][KEPT_UNTIL] = patch[2]["value"].clone();
        let view = JobView::of(&job).unwrap();
        assert_eq!(view.entry, Entry::Open(Box::new(Stamp { kept_until: Some(until), ..a_stamp() })));
        let patch = take_over(&view, &a_stamp(), &"g".parse().unwrap());
        assert_eq!(operations(&patch).last(), Some(&("remove", "/metadata/annotations/runjob~1kept-until")));
    }

    #[test]
    fn the_label_is_put_back_on_the_very_version_that_was_looked_at() {
        let view = JobView { labels_absent: true, ..a_job().view() };
        let patch = relabel(&view, &"g".parse().unwrap());
        let expected = [
            ("test", "/metadata/uid"),
            ("test", "/metadata/resourceVersion"),
            ("add", "/metadata/labels"),
            ("add", "/metadata/labels/runjob~1group"),
        ];
        assert_eq!(operations(&patch), expected);
        assert_eq!(patch[1]["value"], json!(view.resource_version));
    }

    #[test]
    fn a_settled_job_is_taken_back_into_the_watch() {
        let (owner, spec_hash) = (a_stamp().owner, a_stamp().spec_hash);
        let settled = JobView { entry: Entry::Settled { owner, spec_hash }, labels_absent: true, ..a_job().view() };
        let patch = take_over(&settled, &a_stamp(), &"g".parse().unwrap());
        let begins = [
            ("test", "/metadata/uid"),
            ("remove", "/metadata/annotations/runjob~1settled"),
            ("test", "/metadata/resourceVersion"),
            ("add", "/metadata/labels"),
            ("add", "/metadata/labels/runjob~1group"),
        ];
        assert_eq!(operations(&patch)[..5], begins);
        // Nothing holds the user's TTL back if there is none.
        assert!(!patch.to_string().contains("ttlSecondsAfterFinished"));
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
