//! What the server refuses in a manifest: the rules that a user of Jobs meets, in the server's words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    fields,
    resources::Resource,
    status::{Cause, Status},
};

/// Number fields of a Job's spec; none of them may be negative.
const JOB_NUMBERS: [&str; 5] =
    ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"];

/// Checks the types of fields, which the server does while it reads the body.
pub(crate) fn decode(resource: &Resource, object: &Value) -> Result<(), Status> {
    let is_job = *resource == Resource::jobs();
    let numbers = if is_job { JOB_NUMBERS.as_slice() } else { &[] };
    let spec = object.get("spec").unwrap_or(&Value::Null);
    for field in numbers {
        let value = spec.get(field).unwrap_or(&Value::Null);
        if !value.is_null() && value.as_i64().is_none() {
            return Err(Status::bad_request(format!(
                "Job in version \"v1\" cannot be handled as a Job: json: cannot unmarshal {} into Go struct field \
                 JobSpec.spec.{field} of type int32",
                found(value)
            )));
        }
    }
    let kind = resource.kind();
    for name in ["labels", "annotations"] {
        let values = fields::at(object, &format!("/metadata/{name}"));
        if let Some(wrong) = values.as_object().and_then(|map| map.values().find(|value| !value.is_string())) {
            return Err(Status::bad_request(format!(
                "{kind} in version \"v1\" cannot be handled as a {kind}: json: cannot unmarshal {} into Go struct \
                 field ObjectMeta.metadata.{name} of type string",
                found(wrong)
            )));
        }
    }
    Ok(())
}

/// Checks an object that is filled in.
pub(crate) fn validate(resource: &Resource, object: &Value) -> Result<(), Status> {
    let mut causes = Causes(Vec::new());
    let name = fields::name(object);
    causes.name("metadata.name", name);
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("batch", "jobs") => causes.job(object),
        ("", "pods") => causes.pod_spec("spec", object.get("spec").unwrap_or(&Value::Null)),
        _ => {}
    }
    if causes.0.is_empty() { Ok(()) } else { Err(Status::invalid(resource, &resource.kind(), name, &causes.0)) }
}

/// Checks that an update leaves alone what is immutable.
pub(crate) fn validate_update(resource: &Resource, before: &Value, after: &Value) -> Result<(), Status> {
    let mut causes = Causes(Vec::new());
    let frozen: &[&str] =
        if *resource == Resource::jobs() { &["/spec/template", "/spec/selector", "/spec/completionMode"] } else { &[] };
    for pointer in ["/metadata/name", "/metadata/namespace"].iter().chain(frozen) {
        if before.pointer(pointer) != after.pointer(pointer) {
            let value = after.pointer(pointer).cloned().unwrap_or(Value::Null);
            let field = pointer.trim_start_matches('/').replace('/', ".");
            causes.invalid(&field, &value.to_string(), "field is immutable");
        }
    }
    let name = fields::name(before);
    if causes.0.is_empty() { Ok(()) } else { Err(Status::invalid(resource, &resource.kind(), name, &causes.0)) }
}

struct Causes(Vec<Cause>);

impl Causes {
    fn required(&mut self, field: &str, hint: &str) {
        let message = if hint.is_empty() { "Required value".to_owned() } else { format!("Required value: {hint}") };
        self.0.push(Cause { reason: "FieldValueRequired", field: field.to_owned(), message });
    }

    fn invalid(&mut self, field: &str, value: &str, why: &str) {
        let message = format!("Invalid value: {value}: {why}");
        self.0.push(Cause { reason: "FieldValueInvalid", field: field.to_owned(), message });
    }

    fn unsupported(&mut self, field: &str, value: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|one| format!("\"{one}\"")).collect();
        let message = format!("Unsupported value: \"{value}\": supported values: {}", supported.join(", "));
        self.0.push(Cause { reason: "FieldValueNotSupported", field: field.to_owned(), message });
    }

    fn name(&mut self, field: &str, name: &str) {
        if name.is_empty() {
            self.required(field, "name or generateName is required");
        } else if name.len() > 253 || !name.split('.').all(is_label) {
            self.invalid(
                field,
                &format!("\"{name}\""),
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                 must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            );
        }
    }

    fn job(&mut self, job: &Value) {
        for field in JOB_NUMBERS {
            if let Some(number) = fields::integer(job, &format!("/spec/{field}")).filter(|number| *number < 0) {
                self.invalid(&format!("spec.{field}"), &number.to_string(), "must be greater than or equal to 0");
            }
        }
        let name = fields::name(job);
        if name.len() > 63 {
            self.invalid("spec.template.labels", &format!("\"{name}\""), "must be no more than 63 bytes");
        }
        match fields::text(job, "/spec/completionMode") {
            "Indexed" => match fields::integer(job, "/spec/completions") {
                None => self.required("spec.completions", "when completion mode is Indexed"),
                Some(completions) if completions > 0 && format!("{name}-{}", completions - 1).len() > 63 => {
                    self.invalid("metadata.name", &format!("\"{name}\""), "must be no more than 63 characters");
                }
                Some(_) => {}
            },
            "NonIndexed" => {}
            other => self.unsupported("spec.completionMode", other, &["Indexed", "NonIndexed"]),
        }
        let spec = job.pointer("/spec/template/spec").unwrap_or(&Value::Null);
        self.pod_spec("spec.template.spec", spec);
        if matches!(fields::text(spec, "/restartPolicy"), "" | "Always") {
            let hint = "valid values: \"OnFailure\", \"Never\"";
            self.required("spec.template.spec.restartPolicy", hint);
        }
    }

    fn pod_spec(&mut self, path: &str, spec: &Value) {
        let policy = fields::text(spec, "/restartPolicy");
        if !matches!(policy, "" | "Always" | "OnFailure" | "Never") {
            self.unsupported(&format!("{path}.restartPolicy"), policy, &["Always", "OnFailure", "Never"]);
        }
        if fields::list(spec, "/containers").is_empty() {
            self.required(&format!("{path}.containers"), "");
        }
        let mut names = BTreeSet::new();
        for list in ["initContainers", "containers"] {
            for (place, container) in fields::list(spec, &format!("/{list}")).iter().enumerate() {
                self.container(&format!("{path}.{list}[{place}]"), container, &mut names);
            }
        }
    }

    fn container<'a>(&mut self, path: &str, container: &'a Value, names: &mut BTreeSet<&'a str>) {
        let name = fields::text(container, "/name");
        if name.is_empty() {
            self.required(&format!("{path}.name"), "");
        } else if !is_label(name) {
            self.invalid(
                &format!("{path}.name"),
                &format!("\"{name}\""),
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            );
        } else if !names.insert(name) {
            let message = format!("Duplicate value: \"{name}\"");
            self.0.push(Cause { reason: "FieldValueDuplicate", field: format!("{path}.name"), message });
        }
        if fields::text(container, "/image").is_empty() {
            self.required(&format!("{path}.image"), "");
        }
        let policy = fields::text(container, "/imagePullPolicy");
        if !matches!(policy, "" | "Always" | "IfNotPresent" | "Never") {
            let supported = ["Always", "IfNotPresent", "Never"];
            self.unsupported(&format!("{path}.imagePullPolicy"), policy, &supported);
        }
    }
}

/// Whether this is a DNS label (RFC 1123).
fn is_label(part: &str) -> bool {
    let edge = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    !part.is_empty()
        && part.len() <= 63
        && part.starts_with(edge)
        && part.ends_with(edge)
        && part.chars().all(|letter| edge(letter) || letter == '-')
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
