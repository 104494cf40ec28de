//! What a request's path and query name.

use http::{Method, Request};

use super::{resources::Resource, status::Status};

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Route {
    /// `/healthz`, `/readyz`, `/livez`, and what is below them.
    Health,
    /// `/version`.
    Version,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    Resources { group: String, version: String },
    /// Objects.
    Objects(Target),
    /// Nothing that is served.
    Unknown,
}

/// The objects that a path names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(crate) resource: Resource,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Route {
    /// Reads a path.
    pub(crate) fn of(path: &str) -> Self {
        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["healthz" | "readyz" | "livez", ..] => Self::Health,
            ["version"] => Self::Version,
            ["api"] => Self::CoreVersions,
            ["apis"] => Self::Groups,
            ["api", version] => Self::Resources { group: String::new(), version: (*version).to_owned() },
            ["apis", group, version] => Self::Resources { group: (*group).to_owned(), version: (*version).to_owned() },
            ["api", version, rest @ ..] => Self::objects("", version, rest),
            ["apis", group, version, rest @ ..] => Self::objects(group, version, rest),
            _ => Self::Unknown,
        }
    }

    fn objects(group: &str, version: &str, rest: &[&str]) -> Self {
        let (namespace, rest) = match rest {
            // `namespaces/x` and its own subresources name the namespace itself.
            ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            _ => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some(*name), None),
            [plural, name, subresource] => (*plural, Some(*name), Some(*subresource)),
            _ => return Self::Unknown,
        };
        Self::Objects(Target {
            resource: Resource::new(group, plural),
            version: version.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        })
    }
}

/// A request in RBAC's words: `create jobs`, `watch jobs`, `get pods/log`; `get /version` outside of resources.
pub(crate) fn kind<B>(request: &Request<B>) -> String {
    let path = request.uri().path();
    let Route::Objects(target) = Route::of(path) else {
        return format!("{} {path}", request.method().as_str().to_lowercase());
    };
    let one = target.name.is_some();
    let verb = match *request.method() {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if one => "delete",
        Method::DELETE => "deletecollection",
        _ if Query::of(request).is_set("watch") => "watch",
        _ if one => "get",
        _ => "list",
    };
    match target.subresource {
        Some(subresource) => format!("{verb} {}/{subresource}", target.resource.plural),
        None => format!("{verb} {}", target.resource.plural),
    }
}

/// The parameters of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let pairs = request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
                })
                .collect(),
        )
    }

    /// The value of a parameter; an empty one counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, value)| name == key && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Whether a boolean parameter is true, in the spellings that the server takes.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        matches!(self.get(key), Some("true" | "1" | "True" | "TRUE" | "t" | "T"))
    }

    /// The number in a parameter.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>, Status> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value
            .parse()
            .map(Some)
            .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing \"{value}\": invalid syntax")))
    }
}

/// Undoes percent-encoding; what is not an escape stays.
fn decode(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = (first == b'%').then(|| after.split_at_checked(2)).flatten().and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, after) = escape.unwrap_or((first, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(method: &str, uri: &str) -> String {
        kind(&Request::builder().method(method).uri(uri).body(()).unwrap())
    }

    #[test]
    fn requests_have_the_words_of_rbac() {
        let jobs = "/apis/batch/v1/namespaces/default/jobs";
        assert_eq!(kind_of("POST", jobs), "create jobs");
        assert_eq!(kind_of("GET", &format!("{jobs}?limit=500")), "list jobs");
        assert_eq!(kind_of("GET", &format!("{jobs}?watch=true")), "watch jobs");
        assert_eq!(kind_of("GET", "/apis/batch/v1/jobs?&watch=1"), "watch jobs");
        assert_eq!(kind_of("GET", &format!("{jobs}/x")), "get jobs");
        assert_eq!(kind_of("PATCH", &format!("{jobs}/x")), "patch jobs");
        assert_eq!(kind_of("PATCH", &format!("{jobs}/x/status")), "patch jobs/status");
        assert_eq!(kind_of("DELETE", &format!("{jobs}/x")), "delete jobs");
        assert_eq!(kind_of("DELETE", "/api/v1/namespaces/a/pods?labelSelector=b"), "deletecollection pods");
        assert_eq!(kind_of("GET", "/api/v1/namespaces/a/pods/b/log?follow=true"), "get pods/log");
        assert_eq!(kind_of("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/b"), "update leases");
        assert_eq!(kind_of("GET", "/api/v1/namespaces/a"), "get namespaces");
        assert_eq!(kind_of("GET", "/version"), "get /version");
    }

    #[test]
    fn escapes_are_undone() {
        let request = Request::builder().uri("/api/v1/pods?labelSelector=a%20in%20%28b%2Cc%29,%21d+").body(()).unwrap();
        assert_eq!(Query::of(&request).get("labelSelector"), Some("a in (b,c),!d "));
        assert_eq!(decode("100%"), "100%");
    }
}
