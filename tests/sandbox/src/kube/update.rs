//! Writing an object that exists: what PUT and PATCH have in common.

use std::sync::Arc;

use serde_json::Value;

use super::{
    create::{self, Run},
    defaults,
    fields::{self, put},
    resources::Resource,
    status::Status,
    store::{Key, State},
    validation,
};

/// Which part of an object a request may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but the status, where the status is a subresource.
    Main,
    /// The status, and nothing else.
    Status,
}

/// Metadata that belongs to the server: a write cannot change it, and an attempt is not an error.
const OWNED: [&str; 5] =
    ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields"];

/// Writes `after` over the object at `key`.
pub(crate) fn update(state: &mut State, key: &Key, after: Value, part: Part, run: Run) -> Result<Arc<Value>, Status> {
    let before = state.find(key)?;
    let resource = &key.resource;
    let (_, version) = fields::text(&before, "/apiVersion").rsplit_once('/').unwrap_or(("", "v1"));
    create::check_kind(resource, version, &after)?;
    validation::decode(resource, &after)?;
    let mut after = create::ordered(resource, version, after);
    let asked = fields::version(&after);
    if !asked.is_empty() && asked != fields::version(&before) {
        return Err(Status::modified(resource, &key.name));
    }
    let (asked, uid) = (fields::uid(&after), fields::uid(&before));
    if !asked.is_empty() && asked != uid {
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}");
        return Err(Status::conflict(resource, &key.name, &why));
    }
    keep_owned(&before, &mut after);
    keep_other_part(resource, &before, &mut after, part);
    if *resource == Resource::jobs() {
        defaults::inherit_labels(&mut after);
    }
    validation::validate_update(resource, &before, &after)?;
    validation::validate(resource, &after)?;
    if before.get("spec") != after.get("spec") {
        let generation = fields::integer(&before, "/metadata/generation").unwrap_or(0);
        put(&mut after, &["metadata", "generation"], generation + 1);
    }
    Ok(if run == Run::Dry { Arc::new(after) } else { state.replace(key, after) })
}

fn keep_owned(before: &Value, after: &mut Value) {
    for field in OWNED.into_iter().chain(["uid", "resourceVersion"]) {
        match before.pointer(&format!("/metadata/{field}")) {
            Some(value) => put(after, &["metadata", field], value.clone()),
            None => fields::remove(after, &["metadata", field]),
        }
    }
    for field in ["name", "namespace"] {
        let pointer = format!("/metadata/{field}");
        if after.pointer(&pointer).is_none()
            && let Some(value) = before.pointer(&pointer)
        {
            put(after, &["metadata", field], value.clone());
        }
    }
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let value = fields::at(after, &format!("/metadata/{field}"));
        let empty = value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
            || value.is_null();
        if empty {
            fields::remove(after, &["metadata", field]);
        }
    }
}

fn keep_other_part(resource: &Resource, before: &Value, after: &mut Value, part: Part) {
    let has_subresource = ["jobs", "pods", "namespaces", "nodes"].contains(&resource.plural.as_str());
    let kept: &[&str] = match part {
        Part::Status => &["spec", "metadata"],
        Part::Main if has_subresource => &["status"],
        Part::Main => &[],
    };
    for field in kept {
        match before.get(field) {
            Some(value) => put(after, &[field], value.clone()),
            None => fields::remove(after, &[field]),
        }
    }
}
