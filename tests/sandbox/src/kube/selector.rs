//! Label and field selectors.

use serde_json::Value;

use super::{fields, resources::Resource, status::Status};

/// Which objects a list or watch is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

#[derive(Debug, Clone, PartialEq)]
struct FieldRequirement {
    pointer: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`.
    pub(crate) fn parse(resource: &Resource, labels: Option<&str>, fields: Option<&str>) -> Result<Self, Status> {
        let labels = split(labels.unwrap_or_default()).into_iter().map(requirement).collect::<Result<_, _>>()?;
        let fields = fields.unwrap_or_default().split(',').filter(|part| !part.trim().is_empty());
        let fields = fields.map(|part| field(resource, part)).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// Whether an object is meant.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|requirement| requirement.holds(object))
            && self.fields.iter().all(|field| (fields::text(object, &field.pointer) == field.value) == field.equal)
    }
}

impl Requirement {
    fn holds(&self, object: &Value) -> bool {
        let label = |key: &str| fields::map(object, "/metadata/labels")?.get(key)?.as_str();
        match self {
            Self::In(key, values) => label(key).is_some_and(|value| values.iter().any(|one| one == value)),
            Self::NotIn(key, values) => label(key).is_none_or(|value| values.iter().all(|one| one != value)),
            Self::Exists(key) => label(key).is_some(),
            Self::Absent(key) => label(key).is_none(),
        }
    }
}

/// Splits at the commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

fn requirement(part: &str) -> Result<Requirement, Status> {
    let wrong = || Status::bad_request(format!("unable to parse requirement: found '{part}'"));
    let key = |key: &str| {
        let key = key.trim();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
        if key.is_empty() || !key.chars().all(plain) { Err(wrong()) } else { Ok(key.to_owned()) }
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some(absent) = part.strip_prefix('!') {
        return Ok(Requirement::Absent(key(absent)?));
    }
    if let Some((name, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, one(value)));
    }
    if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(key(name)?, one(value)));
    }
    let Some((head, values)) = part.split_once('(') else { return Ok(Requirement::Exists(key(part)?)) };
    let values = values.strip_suffix(')').ok_or_else(wrong)?;
    let values = values.split(',').map(|value| value.trim().to_owned()).collect();
    match head.split_whitespace().collect::<Vec<_>>().as_slice() {
        [name, "in"] => Ok(Requirement::In(key(name)?, values)),
        [name, "notin"] => Ok(Requirement::NotIn(key(name)?, values)),
        _ => Err(wrong()),
    }
}

fn field(resource: &Resource, part: &str) -> Result<FieldRequirement, Status> {
    let (path, value, equal) = part
        .split_once("!=")
        .map(|(path, value)| (path, value, false))
        .or_else(|| part.split_once("==").map(|(path, value)| (path, value, true)))
        .or_else(|| part.split_once('=').map(|(path, value)| (path, value, true)))
        .ok_or_else(|| Status::bad_request(format!("invalid selector: '{part}'; can't understand '{part}'")))?;
    let path = path.trim();
    let known = match resource.plural.as_str() {
        _ if matches!(path, "metadata.name" | "metadata.namespace") => true,
        "events" => {
            path.starts_with("involvedObject.") || matches!(path, "reason" | "type" | "reportingComponent" | "source")
        }
        "pods" => matches!(path, "status.phase" | "spec.nodeName" | "spec.restartPolicy" | "spec.serviceAccountName"),
        _ => false,
    };
    if !known {
        return Err(Status::bad_request(format!("field label not supported: {path}")));
    }
    Ok(FieldRequirement { pointer: format!("/{}", path.replace('.', "/")), value: value.trim().to_owned(), equal })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn label_selectors_select_as_the_server_does() {
        let object = json!({"metadata": {"labels": {"app": "pi", "runjob/group": "g", "empty": ""}}});
        let table = [
            ("", true),
            ("app", true),
            ("!app", false),
            ("nope", false),
            ("!nope", true),
            ("app=pi", true),
            ("app==pi", true),
            ("app = pi", true),
            ("app=e", false),
            ("nope=pi", false),
            ("app!=e", true),
            ("app!=pi", false),
            ("nope!=pi", true),
            ("empty=", true),
            ("app in (e, pi)", true),
            ("app in (e,f)", false),
            ("nope in (pi)", false),
            ("app notin (e,f)", true),
            ("app notin (pi)", false),
            ("nope notin (pi)", true),
            ("app in (pi,e),runjob/group=g", true),
            ("app in (pi,e),runjob/group=h", false),
            ("app,!nope,runjob/group in (g)", true),
        ];
        for (selector, selects) in table {
            let parsed = Selector::parse(&Resource::pods(), Some(selector), None).unwrap();
            assert_eq!(parsed.matches(&object), selects, "{selector}");
        }
    }

    #[test]
    fn field_selectors_select_by_path() {
        let event = json!({"metadata": {"name": "e"}, "involvedObject": {"name": "x", "kind": "Job"}});
        let table = [
            ("involvedObject.name=x", true),
            ("involvedObject.name=x,involvedObject.kind=Pod", false),
            ("involvedObject.kind!=Pod", true),
            ("metadata.name==e", true),
            ("metadata.name!=e", false),
        ];
        for (selector, selects) in table {
            let parsed = Selector::parse(&Resource::events(), None, Some(selector)).unwrap();
            assert_eq!(parsed.matches(&event), selects, "{selector}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for labels in ["a in b", "a near (b)", "a in (b", "a b", "=x", "!"] {
            let refused = Selector::parse(&Resource::pods(), Some(labels), None).unwrap_err();
            assert_eq!(refused.code, 400, "{labels}");
        }
        let refused = Selector::parse(&Resource::jobs(), None, Some("spec.suspend=true")).unwrap_err();
        assert_eq!(refused.message, "field label not supported: spec.suspend");
    }
}
