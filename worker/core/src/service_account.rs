//! Which service accounts pods may run as, where a worker allows only some: checked on the Job of a `runJob`, and on what a `call`
//! writes to pods and to the kinds that make them. What cannot be judged without reading the cluster is refused, never let through.

use serde_json::Value;

use crate::{
    call::{Call, JSON_PATCH, Method, Target},
    failure::{ErrorName, TaskFailure},
    pointer::Parts,
};

/// What pods run as when their spec names nothing.
const DEFAULT: &str = "default";
/// The field, and the older one that the API server takes where the field is absent.
const FIELDS: [&str; 2] = ["serviceAccountName", "serviceAccount"];
/// Where the spec of a Job's pods is.
const TEMPLATE: &[&str] = &["spec", "template", "spec"];
/// Subresources that neither run anything nor change what runs.
const HARMLESS: [&str; 5] = ["binding", "eviction", "resize", "scale", "status"];

/// The accounts that a worker allows.
#[derive(Debug, Clone, Copy)]
pub struct Allowed<'a>(&'a [String]);

impl<'a> Allowed<'a> {
    /// Those that are listed. `None`: the list is empty, and all are allowed.
    pub fn of(list: &'a [String]) -> Option<Self> {
        (!list.is_empty()).then_some(Self(list))
    }

    /// Checks a Job that is to be created.
    pub fn check_job(self, job: &Value) -> Result<(), TaskFailure> {
        self.check_object(job, TEMPLATE)
    }

    /// Checks a request that is to be sent as it is.
    pub fn check_call(self, call: &Call) -> Result<(), TaskFailure> {
        if !matches!(call.method, Method::Post | Method::Put | Method::Patch) {
            return Ok(());
        }
        let Some(target) = call.target() else { return Ok(()) };
        let Target { resource, name, subresource, .. } = target;
        if (resource, subresource) == ("serviceaccounts", Some("token")) {
            return self.check_name(name.unwrap_or_default());
        }
        if yields_rights(target) || (resource == "secrets" && call.body.as_ref().is_some_and(mentions_account)) {
            return Err(self.refusal(&format!("a write to {resource} may yield the rights of any service account")));
        }
        let Some(pod_spec) = pod_spec(target) else { return Ok(()) };
        match (subresource, &call.body) {
            (Some(harmless), _) if HARMLESS.contains(&harmless) => Ok(()),
            (Some(other), _) => Err(self.unjudged(&format!("a write to {resource}/{other}"))),
            (None, Some(body)) if call.method != Method::Patch => self.check_object(body, pod_spec),
            (None, Some(Value::Array(operations))) if call.content_type.as_deref() == Some(JSON_PATCH) => {
                self.check_operations(operations, pod_spec)
            }
            (None, Some(body)) => self.check_merge(body, pod_spec),
            (None, None) => Err(self.unjudged("a write without a RequestBody")),
        }
    }

    /// An object as a whole: what it does not name is the default.
    fn check_object(self, object: &Value, pod_spec: &[&str]) -> Result<(), TaskFailure> {
        let spec = pod_spec.iter().try_fold(object, |value, part| value.get(part));
        let named: Vec<&Value> =
            FIELDS.iter().filter_map(|field| spec?.get(field)).filter(|it| !is_unset(it)).collect();
        if named.is_empty() {
            return self.check_name(DEFAULT);
        }
        named.into_iter().try_for_each(|name| self.check_value(name))
    }

    /// A merge patch, a strategic one, or fields to be applied: whoever touches the pods' spec without naming an account would change
    /// what runs under one that nobody here knows.
    fn check_merge(self, patch: &Value, pod_spec: &[&str]) -> Result<(), TaskFailure> {
        let mut here = patch;
        let mut directed = false;
        for part in pod_spec {
            let Some(map) = here.as_object() else { return Err(self.unnamed()) };
            // `$patch: replace` and its like say something about fields that are not mentioned.
            directed |= map.keys().any(|key| key.starts_with('$'));
            match map.get(*part) {
                Some(deeper) => here = deeper,
                None if directed => return Err(self.unnamed()),
                None => return Ok(()),
            }
        }
        let [field, older] = FIELDS.map(|field| here.get(field).filter(|value| !is_unset(value)));
        self.check_value(field.ok_or_else(|| self.unnamed())?)?;
        older.map_or(Ok(()), |older| self.check_value(older))
    }

    /// A JSON Patch: either it leaves the pods' spec alone, or it sets or tests the account.
    fn check_operations(self, operations: &[Value], pod_spec: &[&str]) -> Result<(), TaskFailure> {
        let mut touched = false;
        let mut named = false;
        for operation in operations {
            let text = |field: &str| operation.get(field).and_then(Value::as_str);
            let (Some(op), Some(path)) = (text("op"), text("path").map(Parts::of)) else {
                return Err(self.unjudged("an operation without op and path"));
            };
            let field =
                path.strip_prefix_of(pod_spec).and_then(|rest| FIELDS.iter().position(|field| rest == [*field]));
            if let (Some(field), "add" | "replace" | "test") = (field, op) {
                self.check_value(operation.get("value").unwrap_or(&Value::Null))?;
                named |= field == 0;
                continue;
            }
            if op == "test" {
                continue;
            }
            for place in [Some(path), text("from").map(Parts::of)].into_iter().flatten() {
                let below = place.strip_prefix_of(pod_spec);
                let is_account =
                    below.is_some_and(|rest| rest.len() == 1 && FIELDS.iter().any(|field| rest == [*field]));
                if is_account || place.leads_to(pod_spec) {
                    return Err(
                        self.unjudged(&format!("the operation {op} on the pods' spec as a whole, or on its account,"))
                    );
                }
                touched |= below.is_some();
            }
        }
        if touched && !named { Err(self.unnamed()) } else { Ok(()) }
    }

    fn check_value(self, name: &Value) -> Result<(), TaskFailure> {
        match name {
            Value::String(name) => self.check_name(name),
            other => Err(self.refusal(&format!("a service account's name is a string, not {other}"))),
        }
    }

    fn check_name(self, name: &str) -> Result<(), TaskFailure> {
        if self.0.iter().any(|allowed| allowed == name) {
            return Ok(());
        }
        Err(self.refusal(&format!("the pods would run as the service account {}", Value::from(name))))
    }

    fn unnamed(self) -> TaskFailure {
        self.unjudged("a change of the pods' spec that names no serviceAccountName")
    }

    fn unjudged(self, what: &str) -> TaskFailure {
        self.refusal(&format!("{what} does not show which service account the pods run as"))
    }

    fn refusal(self, what: &str) -> TaskFailure {
        let message = format!("{what}; this worker allows {}", self.0.join(", "));
        TaskFailure::saying(ErrorName::ServiceAccountNotAllowed, message)
    }
}

/// Absent, as the API server sees it.
fn is_unset(value: &Value) -> bool {
    value.is_null() || value == ""
}

/// Whether a write there gives an identity or rights, or changes what runs under one, without going through a pod's spec. RBAC has to
/// keep others from it: this holds only what Kubernetes itself has.
fn yields_rights(target: Target<'_>) -> bool {
    matches!(
        (target.group, target.resource, target.subresource),
        (
            "rbac.authorization.k8s.io"
                | "certificates.k8s.io"
                | "admissionregistration.k8s.io"
                | "apiregistration.k8s.io",
            ..
        ) | ("apps" | "extensions", "controllerrevisions", _)
            // Which of the revisions its pods are made of.
            | ("apps", "statefulsets" | "daemonsets", Some("status"))
    )
}

/// Whether a Secret says that it is to have the token of a service account.
fn mentions_account(value: &Value) -> bool {
    let mentions = |text: &str| text.replace("~1", "/").contains("kubernetes.io/service-account");
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| mentions(key) || mentions_account(value)),
        Value::Array(items) => items.iter().any(mentions_account),
        Value::String(text) => mentions(text),
        _ => false,
    }
}

/// Where the spec of the pods is that such an object makes. `None`: it makes none.
fn pod_spec(target: Target<'_>) -> Option<&'static [&'static str]> {
    match (target.group, target.resource) {
        ("", "pods") => Some(&["spec"]),
        ("", "podtemplates") => Some(&["template", "spec"]),
        ("", "replicationcontrollers")
        | ("batch", "jobs")
        | ("apps" | "extensions", "daemonsets" | "deployments" | "replicasets" | "statefulsets") => Some(TEMPLATE),
        ("batch", "cronjobs") => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::{self, Request, Strictness};

    const PODS: &str = "/api/v1/namespaces/a/pods";
    const JOBS: &str = "/apis/batch/v1/namespaces/a/jobs";
    const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/a/deployments/d";
    const MERGE: &str = "application/merge-patch+json";

    fn allowed(list: &[&str], input: &Value) -> Result<(), String> {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        let allowed = Allowed::of(&list).unwrap();
        let outcome = match request::parse(&input.to_string(), Strictness::Strict).unwrap().request {
            Request::RunJob(run) => allowed.check_job(run.manifest.value()),
            Request::Call(call) => allowed.check_call(&call),
        };
        outcome.map_err(|failure| {
            assert_eq!(failure.error, ErrorName::ServiceAccountNotAllowed);
            failure.message().to_owned()
        })
    }

    fn call(method: &str, path: &str, body: impl Into<Value>) -> Value {
        json!({"Method": method, "Path": path, "RequestBody": body.into()})
    }

    fn patch(content_type: &str, body: impl Into<Value>) -> Value {
        json!({"Method": "PATCH", "Path": DEPLOYMENT, "ContentType": content_type, "RequestBody": body.into()})
    }

    fn template(spec: &Value) -> Value {
        json!({"spec": {"template": {"spec": spec}}})
    }

    #[test]
    fn an_empty_list_allows_everything() {
        assert!(Allowed::of(&[]).is_none());
    }

    #[test]
    fn a_job_runs_as_one_of_the_list() {
        let job = |spec: Value| json!({"Job": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": spec}}}});
        let table = [
            (json!({"serviceAccountName": "a"}), true),
            (json!({"serviceAccount": "a"}), true),
            (json!({"serviceAccountName": "a", "serviceAccount": "a"}), true),
            (json!({"serviceAccountName": "", "serviceAccount": "a"}), true),
            (json!({"serviceAccountName": "b"}), false),
            (json!({"serviceAccount": "b"}), false),
            (json!({"serviceAccountName": "a", "serviceAccount": "b"}), false),
            (json!({"serviceAccountName": ["a"]}), false),
            (json!({}), false),
            (json!(null), false),
            (json!("text"), false),
        ];
        for (spec, fits) in table {
            assert_eq!(allowed(&["a"], &job(spec.clone())).is_ok(), fits, "{spec}");
        }
        assert!(allowed(&["default"], &job(json!({}))).is_ok());
        assert_eq!(
            allowed(&["a", "c"], &job(json!({"serviceAccountName": "b"}))).unwrap_err(),
            "the pods would run as the service account \"b\"; this worker allows a, c"
        );
    }

    #[test]
    fn every_kind_that_makes_pods_is_looked_into() {
        let own = json!({"serviceAccountName": "b"});
        let cron = json!({"spec": {"jobTemplate": template(&own)}});
        for (path, body) in [
            (PODS, json!({"spec": own})),
            ("/api/v1/namespaces/a/podtemplates", json!({"template": {"spec": own}})),
            ("/api/v1/namespaces/a/replicationcontrollers", template(&own)),
            (JOBS, template(&own)),
            ("/apis/batch/v1beta1/namespaces/a/cronjobs", cron),
            ("/apis/apps/v1/namespaces/a/deployments", template(&own)),
            ("/apis/apps/v1/namespaces/a/statefulsets", template(&own)),
            ("/apis/apps/v1/namespaces/a/daemonsets", template(&own)),
            ("/apis/extensions/v1beta1/namespaces/a/replicasets", template(&own)),
        ] {
            for (method, path) in [("POST", path.to_owned()), ("PUT", format!("{path}/x"))] {
                assert!(allowed(&["a"], &call(method, &path, body.clone())).is_err(), "{method} {path}");
                assert!(allowed(&["b"], &call(method, &path, body.clone())).is_ok(), "{method} {path}");
                let text = Value::from(body.to_string());
                assert!(allowed(&["a"], &call(method, &path, text)).is_err(), "{method} {path} as text");
                assert!(
                    allowed(&["a"], &json!({"Method": method, "Path": path})).is_err(),
                    "{method} {path} of nothing"
                );
            }
        }
    }

    #[test]
    fn what_makes_no_pods_is_nobodys_business() {
        for input in [
            call("POST", "/api/v1/namespaces/a/configmaps", json!({"spec": {"serviceAccountName": "b"}})),
            call("PATCH", "/api/v1/namespaces/a/pods/p/status", json!({})),
            call("POST", "/api/v1/namespaces/a/pods/p/eviction", json!({})),
            call("PUT", "/apis/apps/v1/namespaces/a/deployments/d/scale", json!({"spec": {"replicas": 1}})),
            call("DELETE", "/api/v1/namespaces/a/pods/p", json!({"propagationPolicy": "Background"})),
            json!({"Method": "GET", "Path": PODS}),
            json!({"Method": "POST", "Path": "/version"}),
        ] {
            assert_eq!(allowed(&["a"], &input), Ok(()), "{input}");
        }
    }

    #[test]
    fn a_way_around_the_list_is_closed() {
        for path in ["/api/v1/namespaces/a/pods/p/ephemeralcontainers", "/api/v1/namespaces/a/pods/p/unheardof"] {
            let named = json!({"spec": {"serviceAccountName": "a"}});
            assert!(allowed(&["a"], &call("PATCH", path, named)).is_err(), "{path}");
        }
        let token =
            |account: &str| call("POST", &format!("/api/v1/namespaces/n/serviceaccounts/{account}/token"), json!({}));
        assert!(allowed(&["a"], &token("a")).is_ok() && allowed(&["a"], &token("b")).is_err());
    }

    #[test]
    fn what_yields_an_identity_or_rights_is_refused() {
        let annotation = json!({"metadata": {"annotations": {"kubernetes.io/service-account.name": "b"}}});
        let operation = json!([{"op": "copy", "from": "/metadata/labels/a",
            "path": "/metadata/annotations/kubernetes.io~1service-account.name"}]);
        let secrets = "/api/v1/namespaces/a/secrets";
        let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/a";
        for input in [
            call("POST", secrets, json!({"type": "kubernetes.io/service-account-token"})),
            call("PATCH", &format!("{secrets}/s"), annotation),
            call("PATCH", &format!("{secrets}/s"), operation),
            call("POST", &format!("{rbac}/rolebindings"), json!({})),
            call("PATCH", &format!("{rbac}/roles/r"), json!({})),
            call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", json!({})),
            call("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", json!({})),
            call("PUT", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/w", json!({})),
            call("POST", "/apis/apps/v1/namespaces/a/controllerrevisions", json!({"data": {}})),
            call(
                "PATCH",
                "/apis/apps/v1/namespaces/a/statefulsets/s/status",
                json!({"status": {"currentRevision": "r"}}),
            ),
        ] {
            assert!(allowed(&["a"], &input).is_err(), "{input}");
        }
        let plain = call("POST", secrets, json!({"type": "Opaque", "stringData": {"a": "b"}}));
        assert_eq!(allowed(&["a"], &plain), Ok(()));
    }

    #[test]
    fn a_merge_that_touches_the_pods_spec_names_an_account_of_the_list() {
        let strategic = "application/strategic-merge-patch+json";
        let apply = "application/apply-patch+yaml";
        let table = [
            (json!({"metadata": {"labels": {"a": "b"}}}), true),
            (json!({"spec": {"replicas": 2}}), true),
            (template(&json!({"serviceAccountName": "a", "containers": []})), true),
            (template(&json!({"serviceAccountName": "b"})), false),
            (template(&json!({"serviceAccountName": null})), false),
            (template(&json!({"serviceAccount": "a"})), false),
            (template(&json!({"serviceAccountName": "a", "serviceAccount": "b"})), false),
            (template(&json!({"containers": []})), false),
            (template(&json!(null)), false),
            (json!({"spec": {"template": null}}), false),
            (json!({"spec": null}), false),
            (json!({"$patch": "replace", "spec": {"replicas": 1}}), false),
            (json!({"spec": {"$patch": "delete"}}), false),
            (json!([]), false),
        ];
        for content_type in [MERGE, strategic, apply] {
            for (body, fits) in &table {
                assert_eq!(allowed(&["a"], &patch(content_type, body.clone())).is_ok(), *fits, "{content_type} {body}");
                let text = patch(content_type, body.to_string());
                assert_eq!(allowed(&["a"], &text).is_ok(), *fits, "{content_type} {body} as text");
            }
        }
        assert!(allowed(&["a"], &patch(apply, "spec: {template: {spec: {serviceAccountName: b}}}")).is_err());
    }

    #[test]
    fn a_json_patch_that_touches_the_pods_spec_sets_or_tests_the_account() {
        let account = "/spec/template/spec/serviceAccountName";
        let image = json!({"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "x"});
        let op = |op: &str, path: &str, value: Value| json!({"op": op, "path": path, "value": value});
        let table = [
            (json!([op("replace", "/spec/replicas", json!(2))]), true),
            (json!([op("add", "/spec/template/metadata/labels/a", json!("b"))]), true),
            (json!([op("test", account, json!("a")), image]), true),
            (json!([image, op("replace", account, json!("a"))]), true),
            (json!([image]), false),
            (json!([image, op("add", "/spec/template/spec/serviceAccount", json!("a"))]), false),
            (json!([op("replace", account, json!("b"))]), false),
            (json!([op("add", "/spec/template/spec/serviceAccount", json!("b"))]), false),
            (json!([op("add", account, json!({}))]), false),
            (json!([op("remove", account, json!(null))]), false),
            (json!([op("replace", "/spec/template", json!({"spec": {"serviceAccountName": "a"}}))]), false),
            (json!([op("replace", "", json!({}))]), false),
            (json!([{"op": "copy", "from": "/metadata/name", "path": account}]), false),
            (json!([{"op": "move", "from": account, "path": "/metadata/labels/a"}]), false),
            (json!([{"op": "move", "from": "/spec/template", "path": "/spec/x"}]), false),
            (json!([{"path": "/spec/replicas"}]), false),
            (json!(["replace"]), false),
        ];
        for (body, fits) in table {
            let input = |body: Value| json!({"Method": "PATCH", "Path": DEPLOYMENT, "RequestBody": body});
            assert_eq!(allowed(&["a"], &input(body.clone())).is_ok(), fits, "{body}");
            assert_eq!(allowed(&["a"], &input(body.to_string().into())).is_ok(), fits, "{body} as text");
        }
    }
}
