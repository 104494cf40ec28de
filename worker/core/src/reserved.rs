//! What a `call` may not touch: labels and annotations below `runjob/`, on any object, and Leases.
//!
//! Whoever could write, copy or remove a stamp could read another task's token, have it answered with another result, or leave it
//! without an answer. A patch is judged by all that it could do to any Job, not by what it names: operations on the maps of labels
//! and annotations as wholes are refused, since a copy of them takes the stamp along, and a removal removes it.

use serde_json::{Map, Value};

use crate::{
    call::{Call, JSON_PATCH, Method, Target},
    failure::{ErrorName, TaskFailure},
    invalid::InvalidParameters,
    manifest::RESERVED_PREFIX,
    names::JobKey,
    pointer::Parts,
};

/// Where stamps are written.
const MAPS: [&str; 2] = ["labels", "annotations"];
/// Says who owns which field: with an entry of its own, an apply could remove fields that it does not mention.
const MANAGED_FIELDS: &str = "managedFields";

const NO_STAMP: &str = "a body that leaves labels and annotations below runjob/ alone";
const NO_WHOLES: &str =
    "a patch of a Job that names single labels and annotations: as wholes, they hold what runjob wrote";

/// Checks a request that is to be sent.
pub(crate) fn check(call: &Call) -> Result<(), InvalidParameters> {
    let target = call.target();
    if target.is_some_and(is_lease) {
        let found = "a path to Leases".to_owned();
        return Err(InvalidParameters::text("$.Path", found, "another kind: Leases say who acts, runjob's own, too"));
    }
    let Some(body) = &call.body else { return Ok(()) };
    let refused =
        |expected: &str, found: &str| Err(InvalidParameters::text("$.RequestBody", found.to_owned(), expected));
    if mentions_stamp(body) {
        return refused(NO_STAMP, "a name or path below runjob/");
    }
    if call.method != Method::Patch || !target.is_some_and(is_job) {
        return Ok(());
    }
    match body {
        Value::Array(operations) if call.content_type.as_deref() == Some(JSON_PATCH) => {
            if operations.iter().all(spares_wholes) { Ok(()) } else { refused(NO_WHOLES, "an operation on more") }
        }
        Value::Object(patch) if call.content_type.as_deref() != Some(JSON_PATCH) => {
            if merge_spares_wholes(patch) {
                Ok(())
            } else {
                refused(NO_WHOLES, "a patch of more")
            }
        }
        _ => refused("a list of operations for a JSON Patch, an object for any other patch", "the other one"),
    }
}

fn is_job(target: Target<'_>) -> bool {
    (target.group, target.resource) == ("batch", "jobs")
}

fn is_lease(target: Target<'_>) -> bool {
    target.group == "coordination.k8s.io"
}

/// Whether a key or a pointer anywhere in a body is below `runjob/`. `f:` is how `managedFields` names a field.
fn mentions_stamp(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| {
            let is_pointer = key.eq_ignore_ascii_case("path") || key.eq_ignore_ascii_case("from");
            is_reserved(key.strip_prefix("f:").unwrap_or(key))
                || (is_pointer && value.as_str().is_some_and(|pointer| Parts::of(pointer).any(is_reserved)))
                || mentions_stamp(value)
        }),
        Value::Array(items) => items.iter().any(mentions_stamp),
        _ => false,
    }
}

fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

/// Whether an operation of a JSON Patch leaves the maps as wholes alone, and whatever contains them.
fn spares_wholes(operation: &Value) -> bool {
    let Some(operation) = operation.as_object() else { return false };
    let known = |field: &String| ["op", "path", "from", "value"].contains(&field.as_str());
    let pointer_spares = |field: &str| match operation.get(field) {
        None => field == "from",
        Some(Value::String(pointer)) => {
            let parts = Parts::of(pointer);
            // Without a slash at its beginning it is none; who knows what it is taken for.
            (pointer.starts_with('/'))
                && !MAPS.iter().any(|map| parts.leads_to(&["metadata", map]))
                && !parts.begins_with(&["metadata", MANAGED_FIELDS])
        }
        Some(_) => false,
    };
    operation.keys().all(known) && pointer_spares("path") && pointer_spares("from")
}

/// Whether a merge patch, a strategic one or an apply leaves them alone: `null` removes a map, and a directive (`$patch`,
/// `$retainKeys`, …) speaks of fields that are not mentioned.
fn merge_spares_wholes(patch: &Map<String, Value>) -> bool {
    let undirected = |map: &Map<String, Value>| !map.keys().any(|key| key.starts_with('$'));
    let metadata = match patch.get("metadata") {
        None => return undirected(patch),
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return false,
    };
    let map_spares = |name: &&str| match metadata.get(*name) {
        None => true,
        Some(Value::Object(map)) => undirected(map),
        Some(_) => false,
    };
    undirected(patch) && undirected(metadata) && !metadata.contains_key(MANAGED_FIELDS) && MAPS.iter().all(map_spares)
}

impl Call {
    /// The Job that this request would replace as a whole: it has to be looked at first ([`Call::replacing`]).
    pub fn replaced_job(&self) -> Option<JobKey> {
        let target = self.target().filter(|target| self.method == Method::Put && is_job(*target))?;
        Some(JobKey { namespace: target.namespace?.to_owned(), name: target.name?.to_owned() })
    }

    /// The same request for the Job that was found, so that it replaces that very version and no other. A Job that carries a stamp
    /// would lose it.
    pub fn replacing(&self, found: &Value) -> Result<Self, TaskFailure> {
        let refused = |message: &str| TaskFailure::saying(ErrorName::InvalidParameters, message);
        let metadata = found.get("metadata");
        let text = |field: &str| metadata.and_then(|metadata| metadata.get(field)).and_then(Value::as_str);
        let carries = |map: &str| {
            let names = metadata.and_then(|metadata| metadata.get(map)).and_then(Value::as_object);
            names.into_iter().flatten().any(|(name, _)| is_reserved(name))
        };
        if MAPS.iter().any(|map| carries(map)) {
            return Err(refused("a PUT would take from the Job what runjob wrote on it: send a PATCH"));
        }
        let (Some(uid), Some(version)) = (text("uid"), text("resourceVersion")) else {
            return Err(refused("the Job that a PUT would replace cannot be read: send a PATCH"));
        };
        let mut body = self.body.clone().unwrap_or_default();
        let own = crate::manifest::metadata_mut(&mut body);
        let own = own.ok_or_else(|| refused("$.RequestBody.metadata: expected an object"))?;
        // What the user gave stands: another UID is a conflict for the API server to tell, another version is refused below.
        for (name, value) in [("uid", uid), ("resourceVersion", version)] {
            let given = own.get(name).and_then(Value::as_str).is_some_and(|given| !given.is_empty());
            if !given {
                own.insert(name.to_owned(), value.into());
            }
        }
        if own.get("resourceVersion").and_then(Value::as_str) != Some(version) {
            return Err(refused("$.RequestBody.metadata.resourceVersion: the Job has changed since"));
        }
        Ok(Self { body: Some(body), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::{self, Request, Strictness};

    const JOB: &str = "/apis/batch/v1/namespaces/default/jobs/payment";
    const STRATEGIC: &str = "application/strategic-merge-patch+json";
    const APPLY: &str = "application/apply-patch+yaml";
    const MERGE: &str = "application/merge-patch+json";

    fn call(input: &Value) -> Result<Call, String> {
        match request::parse(&input.to_string(), Strictness::Strict).map_err(|invalid| invalid.to_string())?.request {
            Request::Call(call) => Ok(*call),
            Request::RunJob(_) => panic!("no call"),
        }
    }

    fn patch(content_type: &str, body: &Value) -> Result<Call, String> {
        let text =
            json!({"Method": "PATCH", "Path": JOB, "ContentType": content_type, "RequestBody": body.to_string()});
        let plain = json!({"Method": "PATCH", "Path": JOB, "ContentType": content_type, "RequestBody": body,
            "QueryParameters": {"dryRun": ["All"]}});
        let plain = call(&plain);
        assert_eq!(plain.is_ok(), call(&text).is_ok(), "{body} as text");
        plain
    }

    #[test]
    fn no_json_patch_can_touch_a_stamp() {
        let op = |op: &str, path: &str| json!({"op": op, "path": path, "value": {}});
        let from = |op: &str, from: &str, path: &str| json!({"op": op, "from": from, "path": path});
        for operation in [
            from("copy", "/metadata/annotations", "/metadata/labels"),
            from("copy", "/metadata/annotations", "/spec/template/spec/nodeSelector"),
            from("copy", "/metadata/annotations", "/spec/selector/matchLabels"),
            from("copy", "/metadata/annotations/runjob~1task-token", "/metadata/labels/a"),
            from("move", "/metadata/annotations/runjob~1task-token", "/metadata/annotations/a"),
            from("copy", "/spec/template/metadata/annotations", "/metadata/annotations"),
            from("move", "/spec/template/metadata", "/metadata"),
            from("copy", "/metadata", "/spec/template/metadata"),
            from("copy", "", "/spec/x"),
            from("copy", "/spec/template/metadata/labels/a", "/metadata/labels/runjob~1group"),
            op("remove", "/metadata/annotations"),
            op("remove", "/metadata/labels"),
            op("remove", "/metadata/labels/runjob~1group"),
            op("replace", "/metadata"),
            op("replace", ""),
            op("add", "/metadata/annotations"),
            op("test", "/metadata/annotations"),
            op("add", "/spec/template/metadata/labels/runjob~1group"),
            op("add", "/metadata/managedFields/-"),
            op("replace", "/metadata/managedFields/0/manager"),
            op("remove", "metadata/annotations"),
            json!({"op": "remove", "path": "/spec/x", "Path": "/metadata/annotations"}),
            json!({"op": "remove", "path": ["metadata", "annotations"]}),
            json!({"op": "add", "path": "/spec/template/metadata/annotations", "value": {"runjob/v": "1"}}),
            json!("remove"),
        ] {
            assert!(
                patch(JSON_PATCH, &json!([{"op": "test", "path": "/spec/suspend", "value": true}, operation])).is_err(),
                "{operation}"
            );
        }
        for operation in [
            op("add", "/metadata/labels/mine"),
            op("remove", "/metadata/annotations/example.com~1mine"),
            op("replace", "/spec/suspend"),
            from("copy", "/metadata/labels/mine", "/metadata/annotations/runjob"),
            from("move", "/spec/template/metadata/labels", "/spec/template/metadata/annotations"),
        ] {
            assert!(patch(JSON_PATCH, &json!([operation])).is_ok(), "{operation}");
        }
        assert!(patch(JSON_PATCH, &json!({"metadata": {"labels": {"a": "b"}}})).is_err());
    }

    #[test]
    fn no_merge_can_touch_a_stamp() {
        for body in [
            json!({"metadata": {"annotations": null, "labels": null}}),
            json!({"metadata": {"annotations": "none"}}),
            json!({"metadata": null}),
            json!({"metadata": []}),
            json!({"metadata": {"annotations": {"runjob/task-token": null}}}),
            json!({"metadata": {"annotations": {"$patch": "replace", "a": "b"}}}),
            json!({"metadata": {"$patch": "delete"}}),
            json!({"metadata": {"$retainKeys": ["name"]}}),
            json!({"$patch": "replace", "spec": {}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}),
            json!({"metadata": {"managedFields": [{"manager": "m"}]}}),
            json!({"metadata": {"managedFields": null}}),
            json!({"spec": {"template": {"metadata": {"annotations": {"runjob/form": "task"}}}}}),
            json!({"spec": {"template": {"metadata": {"labels": {"runjob/group": "g"}}}}}),
            json!([{"op": "remove", "path": "/spec/x"}]),
        ] {
            for content_type in [MERGE, STRATEGIC, APPLY] {
                assert!(patch(content_type, &body).is_err(), "{content_type} {body}");
            }
        }
        for body in [
            json!({"spec": {"suspend": true}}),
            json!({"metadata": {"labels": {"a": "b", "c": null}, "annotations": {"example.com/a": "b"}}}),
            json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}}}),
        ] {
            for content_type in [MERGE, STRATEGIC, APPLY] {
                assert!(patch(content_type, &body).is_ok(), "{content_type} {body}");
            }
        }
    }

    #[test]
    fn no_object_of_any_kind_is_written_with_a_stamp() {
        let stamped = json!({"metadata": {"annotations": {"runjob/v": "1"}}});
        let of_template = json!({"spec": {"template": {"metadata": {"labels": {"runjob/group": "g"}}}}});
        let of_cron = json!({"spec": {"jobTemplate": stamped}});
        let managed = json!({"metadata": {"managedFields": [{"fieldsV1": {"f:metadata": {"f:annotations": {"f:runjob/v": {}}}}}]}});
        for body in [stamped, of_template, of_cron, managed] {
            for path in [
                "/api/v1/namespaces/a/pods",
                "/apis/batch/v1/namespaces/a/cronjobs",
                "/apis/x.io/v1/namespaces/a/things",
            ] {
                for method in ["POST", "PUT", "PATCH"] {
                    for body in [body.clone(), body.to_string().into()] {
                        let input = json!({"Method": method, "Path": path, "RequestBody": body});
                        assert!(call(&input).unwrap_err().starts_with("$.RequestBody"), "{input}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_job_that_a_task_waits_for_is_not_replaced() {
        let put = |body: &Value| call(&json!({"Method": "PUT", "Path": JOB, "RequestBody": body})).unwrap();
        let job =
            |annotations: Value| json!({"metadata": {"uid": "u", "resourceVersion": "7", "annotations": annotations}});
        let plain = put(&json!({"metadata": {"name": "payment"}, "spec": {}}));
        let key = JobKey { namespace: "default".into(), name: "payment".into() };
        assert_eq!(plain.replaced_job(), Some(key));
        assert!(plain.replacing(&job(json!({"runjob/v": "1"}))).is_err());
        assert!(
            plain
                .replacing(&json!({"metadata": {"uid": "u", "resourceVersion": "7", "labels": {"runjob/group": "g"}}}))
                .is_err()
        );
        assert!(plain.replacing(&json!("no Job")).is_err());
        let sent = plain.replacing(&job(json!({"mine": "1"}))).unwrap().body.unwrap();
        assert_eq!(sent["metadata"], json!({"name": "payment", "uid": "u", "resourceVersion": "7"}));
        let of_another = put(&json!({"metadata": {"resourceVersion": "9"}}));
        assert!(of_another.replacing(&job(json!({}))).is_err());
        for other in [json!({"Method": "GET", "Path": JOB}), json!({"Method": "DELETE", "Path": JOB})] {
            assert_eq!(call(&other).unwrap().replaced_job(), None);
        }
    }

    #[test]
    fn leases_are_out_of_reach() {
        for method in ["GET", "PUT", "PATCH", "DELETE", "POST"] {
            for path in ["/leases", "/leases/runjob-g", "/%6ceases/other"] {
                let path = format!("/apis/coordination.k8s.io/v1/namespaces/a{path}");
                let input = json!({"Method": method, "Path": path, "RequestBody": {}});
                assert!(call(&input).unwrap_err().starts_with("$.Path: expected another kind"), "{input}");
            }
        }
    }
}
