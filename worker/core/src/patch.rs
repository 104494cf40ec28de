//! The JSON Patches that change the stamp on a Job. Each is fenced: it begins with tests that fail unless the Job is still the very one,
//! and still the very waiter's, that it was made for.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    job::JobView,
    ledger::{Entry, GROUP, HELD_TTL, INVOCATION, KEPT_UNTIL, SETTLED, Stamp, TASK_TOKEN, TTL, UID, held_ttl, written},
    names::Group,
    waiter::Waiter,
};

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
    // A TTL that the user has not set is the cluster's own, and is still to be given back.
    let ttl = stamp.ttl.or(if let Entry::Open(before) = &view.entry { before.ttl } else { None });
    let stamp = &Stamp { uid: Some(view.uid.clone()), ttl, ..stamp.clone() };
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

/// The JSON Patch that adds to a stamp what only the server knew when it was written: the UID of its Job, and the TTL of one that has
/// another than the user gave it, which is held back like the user's own.
pub fn amend(view: &JobView, stamp: &Stamp) -> Value {
    let mut patch = tests(view, &stamp.waiter);
    patch.push(json!({"op": "add", "path": pointer("annotations", UID), "value": view.uid}));
    if let Some(ttl) = view.ttl.filter(|_| view.has_short_ttl()) {
        let user_ttl = stamp.ttl.unwrap_or(ttl).to_string();
        patch.push(json!({"op": "test", "path": "/spec/ttlSecondsAfterFinished", "value": ttl}));
        patch.push(json!({"op": "add", "path": pointer("annotations", TTL), "value": user_ttl}));
        patch.push(json!({"op": "add", "path": "/spec/ttlSecondsAfterFinished", "value": HELD_TTL}));
    }
    Value::Array(patch)
}

/// The JSON Patch that takes a Job out of the watch that carries no stamp any more: its task is answered, and nothing is left to be
/// settled. It applies only to the very version that was looked at.
pub fn release(view: &JobView) -> Value {
    let mut patch = of_version(view);
    patch.push(json!({"op": "remove", "path": pointer("labels", GROUP)}));
    Value::Array(patch)
}

/// The JSON Patch that puts the label back on a Job that lost it: without it the Job would fall out of the watch with its
/// task unanswered. It applies only to the very version that was looked at: its task may have got its answer since, or somebody may
/// have given it other labels.
pub fn relabel(view: &JobView, group: &Group) -> Value {
    let mut patch = of_version(view);
    patch.extend(label(view, group));
    Value::Array(patch)
}

/// The beginning of a patch that applies only to the very version that was looked at.
fn of_version(view: &JobView) -> Vec<Value> {
    vec![
        json!({"op": "test", "path": "/metadata/uid", "value": view.uid}),
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": view.resource_version}),
    ]
}

fn label(view: &JobView, group: &Group) -> impl Iterator<Item = Value> {
    let labels = view.labels_absent.then(|| json!({"op": "add", "path": "/metadata/labels", "value": {}}));
    let label = json!({"op": "add", "path": pointer("labels", GROUP), "value": group.as_str()});
    labels.into_iter().chain([label])
}

fn pointer(map: &str, name: &str) -> String {
    format!("/metadata/{map}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{a_job, a_stamp, a_task, an_invocation};

    fn operations(patch: &Value) -> Vec<(&str, &str)> {
        let operations = patch.as_array().unwrap().iter();
        operations.map(|one| (one["op"].as_str().unwrap(), one["path"].as_str().unwrap())).collect()
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
                "/metadata/annotations/runjob~1object",
                "/metadata/annotations/runjob~1options",
                "/metadata/annotations/runjob~1ttl",
            ]
        );
        assert!(patch.to_string().contains(r#"{"op":"add","path":"/spec/ttlSecondsAfterFinished","value":0}"#));
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
                ("add", "/metadata/annotations/runjob~1object"),
                ("add", "/metadata/annotations/runjob~1uid"),
                ("add", "/metadata/annotations/runjob~1options"),
                ("add", "/metadata/annotations/runjob~1ttl"),
                ("add", "/spec/ttlSecondsAfterFinished"),
            ]
        );
        assert_eq!((&patch[1]["value"], &patch[8]["value"]), (&json!("AAAAtoken"), &json!("AAAAnext")));
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
    fn what_only_the_server_knew_is_added_to_the_stamp() {
        let patch = amend(&a_job().view(), &a_stamp());
        let tests = [("test", "/metadata/uid"), ("test", "/metadata/annotations/runjob~1task-token")];
        assert_eq!(operations(&patch)[..2], tests);
        assert_eq!(operations(&patch)[2..], [("add", "/metadata/annotations/runjob~1uid")]);
        assert_eq!(patch[2]["value"], json!("u-1"));
    }

    #[test]
    fn a_ttl_of_the_clusters_own_is_held_back_and_noted() {
        let view = JobView { ttl: Some(3), ..a_job().view() };
        let values = |patch: &Value| {
            let operations = patch.as_array().unwrap().iter().skip(3);
            operations.map(|one| (one["path"].clone(), one["value"].clone())).collect::<Vec<_>>()
        };
        let ttl = |value: Value| (json!("/spec/ttlSecondsAfterFinished"), value);
        let noted = |value: &str| (json!("/metadata/annotations/runjob~1ttl"), json!(value));
        let expected = |user: &str| [ttl(json!(3)), noted(user), ttl(json!(HELD_TTL))];
        assert_eq!(values(&amend(&view, &a_stamp())), expected("3"));
        // The cluster has cut the hold: what is given back is the user's own.
        assert_eq!(values(&amend(&view, &Stamp { ttl: Some(7), ..a_stamp() })), expected("7"));
    }

    #[test]
    fn a_ttl_of_the_clusters_own_goes_with_the_job_to_the_next_task() {
        let before = Stamp { ttl: Some(3), ..a_stamp() };
        let next = Stamp { waiter: a_task("AAAAnext"), ..a_stamp() };
        let patch = take_over(&a_job().unstamped().stamped(&before).view(), &next, &"g".parse().unwrap());
        assert!(patch.to_string().contains(r#""path":"/metadata/annotations/runjob~1ttl","value":"3""#), "{patch}");
    }
}
