//! PATCH: JSON Patch and merge patch.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{
    create::Run,
    fields,
    status::Status,
    store::{Key, State},
    update::{Part, update},
};

/// The ways to patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Merge,
    /// Applied as a merge patch: lists are replaced, not merged by key. The answer says so in a `Warning`.
    Strategic,
}

impl Format {
    /// Reads the content type.
    pub(crate) fn of(content_type: &str) -> Result<Self, Status> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            _ => Err(Status::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json",
            )),
        }
    }
}

/// Patches the object at `key`.
pub(crate) fn patch(
    state: &mut State,
    key: &Key,
    format: Format,
    body: &Bytes,
    part: Part,
    run: Run,
) -> Result<Arc<Value>, Status> {
    let before = state.find(key)?;
    let mut after = Value::clone(&before);
    let unreadable = |wrong: serde_json::Error| Status::bad_request(format!("unable to read the patch: {wrong}"));
    match format {
        Format::Json => {
            let patch: json_patch::Patch = serde_json::from_slice(body).map_err(unreadable)?;
            json_patch::patch(&mut after, &patch).map_err(|_| Status::patch_rejected())?;
        }
        Format::Merge | Format::Strategic => {
            let patch: Value = serde_json::from_slice(body).map_err(unreadable)?;
            if !patch.is_object() {
                return Err(Status::bad_request("a merge patch must be an object"));
            }
            json_patch::merge(&mut after, &patch);
        }
    }
    // A patch that drops the version or the uid means the same object.
    for field in ["uid", "resourceVersion"] {
        let pointer = format!("/metadata/{field}");
        if after.pointer(&pointer).is_none() {
            fields::put(&mut after, &["metadata", field], fields::at(&before, &pointer).clone());
        }
    }
    update(state, key, after, part, run)
}
