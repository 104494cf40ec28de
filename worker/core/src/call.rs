//! `eks:call`: any request to the Kubernetes API, checked before it is sent.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::{fields::Fields, invalid::InvalidParameters, manifest::read_text, reserved};

/// The paths of the Kubernetes API that a call may lead to.
const ROOTS: [&str; 7] = ["api", "apis", "version", "openapi", "healthz", "readyz", "livez"];

/// Subresources that upgrade or proxy the connection: nothing that one answer could carry.
const STREAMING_SUBRESOURCES: [&str; 4] = ["attach", "exec", "portforward", "proxy"];

/// The longest path and query, in bytes: a bit less than what fits into a request's URI.
const MAX_URI: usize = 60_000;

/// RFC 6902: a list of operations.
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";

/// The patch types of the Kubernetes API.
const PATCH_TYPES: [&str; 4] = [
    JSON_PATCH,
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// What is escaped in a path segment: everything but the characters that RFC 3986 allows there.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// What is escaped in a query's names and values, on top of that.
const QUERY: &AsciiSet = &SEGMENT.add(b'&').add(b'+').add(b'=').add(b';').add(b'\'');

/// A request to the Kubernetes API.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Its path and query, encoded.
    pub path_and_query: String,
    /// Its body. One that was given as text is sent as what it was read as: nothing else was checked.
    pub body: Option<Value>,
    /// The media type of the body.
    pub content_type: Option<String>,
}

/// The methods that `eks:call` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the methods of HTTP")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
}

impl Method {
    /// As HTTP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
        }
    }

    /// Whether sending it twice is as good as once. The others are repeated only when they provably did not arrive.
    pub fn is_repeatable(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

pub(crate) fn parse(top: &Fields<'_>) -> Result<Call, InvalidParameters> {
    let method = method(top)?;
    let path_and_query = format!("{}{}", path(top)?, query(top)?);
    if path_and_query.len() > MAX_URI {
        let found = format!("{} bytes of path and query", path_and_query.len());
        return Err(InvalidParameters::text("$.QueryParameters", found, "at most 60000 bytes, encoded"));
    }
    let body = body(top)?;
    let content_type = content_type(top, method, body.as_ref())?;
    let call = Call { method, path_and_query, body, content_type };
    reserved::check(&call)?;
    Ok(call)
}

fn method(top: &Fields<'_>) -> Result<Method, InvalidParameters> {
    const EXPECTED: &str = "one of GET, HEAD, POST, PUT, DELETE, PATCH";
    top.required("Method", EXPECTED)?;
    match top.string("Method")? {
        Some("GET") => Ok(Method::Get),
        Some("HEAD") => Ok(Method::Head),
        Some("POST") => Ok(Method::Post),
        Some("PUT") => Ok(Method::Put),
        Some("DELETE") => Ok(Method::Delete),
        Some("PATCH") => Ok(Method::Patch),
        _ => Err(top.refuse("Method", EXPECTED)),
    }
}

/// Takes the path apart and encodes it anew, so that what was checked is what is sent.
fn path(top: &Fields<'_>) -> Result<String, InvalidParameters> {
    top.required("Path", "an absolute path of the Kubernetes API")?;
    let Some(rest) = top.string("Path")?.unwrap_or_default().strip_prefix('/') else {
        return Err(top.refuse("Path", "an absolute path, without scheme and host"));
    };
    if rest.contains(['?', '#']) {
        return Err(top.refuse("Path", "a path without a query: that belongs into QueryParameters"));
    }
    let mut segments = Vec::new();
    for segment in rest.split('/') {
        let plain = percent_decode_str(segment).decode_utf8().ok();
        match plain {
            Some(plain) if !plain.is_empty() && plain != "." && plain != ".." && !plain.contains('/') => {
                segments.push(plain.into_owned());
            }
            _ => return Err(top.refuse("Path", "a path whose parts are neither empty nor \".\" nor \"..\"")),
        }
    }
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    if !parts.first().is_some_and(|root| ROOTS.contains(root)) {
        return Err(top.refuse("Path", "a path below /api, /apis, /version, /openapi, /healthz, /readyz or /livez"));
    }
    if let Some(streaming) = streaming(&parts) {
        return Err(top.refuse("Path", &format!("a request with one answer: {streaming} is a stream")));
    }
    Ok(segments.iter().map(|part| format!("/{}", utf8_percent_encode(part, SEGMENT))).collect())
}

/// The part of the path that makes the request a stream.
fn streaming<'p>(parts: &[&'p str]) -> Option<&'p str> {
    let (["api", _, resource @ ..] | ["apis", _, _, resource @ ..]) = parts else { return None };
    match resource {
        ["watch", ..] => Some("watch"),
        ["namespaces", _, _, _, sub, ..] | ["nodes", _, sub, ..] if STREAMING_SUBRESOURCES.contains(sub) => Some(sub),
        _ => None,
    }
}

fn query(top: &Fields<'_>) -> Result<String, InvalidParameters> {
    let mut query = String::new();
    for (name, values) in top.multi_map("QueryParameters")? {
        for value in values {
            // The API server takes everything but these for true.
            let off = value == "0" || value.eq_ignore_ascii_case("false");
            if (name == "watch" || name == "follow") && !off {
                let message = format!("QueryParameters without {name}: it makes the answer a stream");
                return Err(top.refuse("QueryParameters", &message));
            }
            let separator = if query.is_empty() { '?' } else { '&' };
            query.push(separator);
            query.push_str(&format!("{}={}", utf8_percent_encode(&name, QUERY), utf8_percent_encode(&value, QUERY)));
        }
    }
    Ok(query)
}

fn content_type(top: &Fields<'_>, method: Method, body: Option<&Value>) -> Result<Option<String>, InvalidParameters> {
    let given = top.string("ContentType")?;
    match (method, given, body) {
        (Method::Patch, Some(given), _) if PATCH_TYPES.contains(&given) => Ok(Some(given.to_owned())),
        (Method::Patch, Some(_), _) => Err(top.refuse("ContentType", &format!("one of {}", PATCH_TYPES.join(", ")))),
        (Method::Patch, None, None) => Err(InvalidParameters::absent("$.RequestBody", "a patch")),
        (Method::Patch, None, Some(body)) => Ok(Some(patch_type(body).to_owned())),
        (_, Some(_), _) => Err(top.refuse("ContentType", "no such field but with the method PATCH")),
        (_, None, body) => Ok(body.map(|_| "application/json".to_owned())),
    }
}

fn patch_type(body: &Value) -> &'static str {
    if body.is_array() { JSON_PATCH } else { "application/merge-patch+json" }
}

/// Takes the body, which may be text.
fn body(top: &Fields<'_>) -> Result<Option<Value>, InvalidParameters> {
    const EXPECTED: &str = "an object or list, or a string that holds one as JSON or YAML";
    let body = match top.get("RequestBody") {
        None => return Ok(None),
        Some(Value::String(text)) => match read_text(text) {
            Ok(body) => body,
            Err(reason) => {
                let found = format!("a string that is neither JSON nor YAML ({reason})");
                return Err(InvalidParameters::text("$.RequestBody", found, EXPECTED));
            }
        },
        Some(body) => body.clone(),
    };
    if !(body.is_object() || body.is_array()) {
        return Err(top.refuse("RequestBody", EXPECTED));
    }
    Ok(Some(body))
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The API group; empty for the core.
    pub(crate) group: &'a str,
    /// `None`: objects of the cluster, or of all namespaces.
    pub(crate) namespace: Option<&'a str>,
    /// `pods`.
    pub(crate) resource: &'a str,
    /// `None`: all of them.
    pub(crate) name: Option<&'a str>,
    pub(crate) subresource: Option<&'a str>,
}

impl Call {
    /// What the path leads to. `None`: to no resource, such as `/version`.
    pub(crate) fn target(&self) -> Option<Target<'_>> {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // The namespace itself is an object of the cluster, its subresources, too.
            ["namespaces", _] | ["namespaces", _, "finalize" | "status", ..] => (None, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (resource, rest) = rest.split_first()?;
        Some(Target { group, namespace, resource, name: rest.first().copied(), subresource: rest.get(1).copied() })
    }

    /// The namespace that the path lies in. `None`: it leads to cluster-scoped objects.
    pub fn namespace(&self) -> Option<&str> {
        self.target()?.namespace
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(input: &Value) -> Result<Call, InvalidParameters> {
        parse(&Fields::of("$", input).unwrap())
    }

    fn refused(input: &Value) -> String {
        call(input).unwrap_err().to_string()
    }

    #[test]
    fn the_articles_delete_is_passed_on_as_it_is() {
        let call = call(&json!({"Method": "DELETE", "Path": "/apis/batch/v1/namespaces/default/jobs/my-eks-job"}));
        let call = call.unwrap();
        assert_eq!(call.method, Method::Delete);
        assert_eq!(call.path_and_query, "/apis/batch/v1/namespaces/default/jobs/my-eks-job");
        assert_eq!((call.body, call.content_type), (None, None));
    }

    #[test]
    fn query_parameters_may_have_many_values() {
        let input = json!({"Method": "GET", "Path": "/api/v1/pods",
            "QueryParameters": {"labelSelector": ["a=b,c in (d)"], "x": ["1", "2"]}});
        assert_eq!(call(&input).unwrap().path_and_query, "/api/v1/pods?labelSelector=a%3Db,c%20in%20(d)&x=1&x=2");
    }

    #[test]
    fn a_path_is_taken_apart_and_encoded_anew() {
        let path = |path: &str| call(&json!({"Method": "GET", "Path": path})).map(|call| call.path_and_query);
        assert_eq!(path("/api/v1/namespaces/a%20b").unwrap(), "/api/v1/namespaces/a%20b");
        assert_eq!(path("/api/v1/namespaces/ä").unwrap(), "/api/v1/namespaces/%C3%A4");
        for bad in [
            "api/v1",
            "https://host/api",
            "//host/api",
            "/api//v1",
            "/api/../x",
            "/api/%2e%2e/x",
            "/api/v1/a%2Fb",
            "/api/v1?watch=true",
            "/metrics",
            "/",
            "",
            "/api/v1/",
            "/api/%FF",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn streams_are_refused_by_name() {
        for path in [
            "/api/v1/namespaces/a/pods/p/exec",
            "/api/v1/namespaces/a/pods/p/attach",
            "/api/v1/nodes/n/proxy/x",
            "/api/v1/namespaces/a/services/s/proxy",
            "/api/v1/watch/pods",
            "/apis/batch/v1/watch/jobs",
        ] {
            assert!(refused(&json!({"Method": "GET", "Path": path})).contains("is a stream"), "{path}");
        }
        for parameter in ["watch", "follow"] {
            let query = json!({"Method": "GET", "Path": "/api/v1/pods", "QueryParameters": {parameter: ["true"]}});
            assert!(refused(&query).contains("makes the answer a stream"));
        }
        assert!(call(&json!({"Method": "GET", "Path": "/api/v1/namespaces/exec/pods"})).is_ok());
        let quiet = json!({"Method": "GET", "Path": "/api/v1/pods", "QueryParameters": {"watch": ["false"]}});
        assert!(call(&quiet).is_ok());
    }

    #[test]
    fn a_patch_has_a_type() {
        let patch = |body: Value| {
            call(&json!({"Method": "PATCH", "Path": "/api/v1/x", "RequestBody": body})).unwrap().content_type.unwrap()
        };
        assert_eq!(patch(json!([])), "application/json-patch+json");
        assert_eq!(patch(json!({})), "application/merge-patch+json");
        assert_eq!(patch(json!("[]")), "application/json-patch+json");
        let wrong = json!({"Method": "PATCH", "Path": "/api/v1/x", "RequestBody": {}, "ContentType": "text/plain"});
        assert!(refused(&wrong).contains("application/apply-patch+yaml"));
    }

    #[test]
    fn a_body_cannot_forge_a_stamp() {
        for body in [
            json!({"metadata": {"annotations": {"runjob/task-token": "x"}}}),
            json!([{"op": "add", "path": "/metadata/annotations/runjob~1task-token", "value": "x"}]),
            json!("{\"metadata\":{\"labels\":{\"runjob/group\":\"g\"}}}"),
            json!("metadata:\n  labels:\n    runjob/group: g\n"),
            json!("metadata:\n  annotations:\n    \"runjob\\u002ftask-token\": g\n"),
            json!("? !!binary cnVuam9iL3Rhc2stdG9rZW4=\n: x\n"),
            json!("a: &a {runjob/task-token: x}\nmetadata: {annotations: *a}\n"),
            json!("{ not: [ closed"),
            json!("a: 1\n---\nb: 2\n"),
            json!("text"),
            json!(""),
            json!(7),
        ] {
            let input = json!({"Method": "POST", "Path": "/api/v1/x", "RequestBody": body});
            assert!(refused(&input).starts_with("$.RequestBody"), "{body}");
        }
    }

    #[test]
    fn a_body_as_text_is_sent_as_what_it_was_read_as() {
        let sent = |body: &str| {
            let input = json!({"Method": "POST", "Path": "/api/v1/x", "RequestBody": body});
            call(&input).unwrap().body.unwrap().to_string()
        };
        assert_eq!(sent(r#" {"a": 1.10, "b": 123456789012345678901} "#), r#"{"a":1.10,"b":123456789012345678901}"#);
        assert_eq!(sent("a: {b: [0644]}\n"), r#"{"a":{"b":[420]}}"#);
        // Of two, the API server might take the one that was not looked at.
        assert_eq!(sent(r#"{"metadata":{"labels":{"runjob/group":"g"}},"metadata":{}}"#), r#"{"metadata":{}}"#);
    }

    #[test]
    fn a_path_lies_in_a_namespace_or_in_none() {
        let namespace = |path: &str| {
            let call = call(&json!({"Method": "GET", "Path": path})).unwrap();
            call.namespace().map(ToOwned::to_owned)
        };
        assert_eq!(namespace("/apis/batch/v1/namespaces/team/jobs").as_deref(), Some("team"));
        assert_eq!(namespace("/api/v1/namespaces/team/pods/p/log").as_deref(), Some("team"));
        for cluster_scoped in [
            "/api/v1/namespaces/team",
            "/api/v1/namespaces/team/finalize",
            "/api/v1/namespaces/team/status",
            "/api/v1/nodes",
            "/version",
            "/apis/batch/v1/jobs",
        ] {
            assert_eq!(namespace(cluster_scoped), None, "{cluster_scoped}");
        }
    }
}
