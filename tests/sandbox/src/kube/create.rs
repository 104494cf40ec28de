//! Creating an object: the checks in the server's order, the fields it fills in.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    defaults,
    fields::{self, put},
    resources::{Resource, Scope},
    status::{Cause, Status},
    store::{Key, State},
    validation,
};

/// What somebody wants to create.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) resource: &'a Resource,
    /// The version in the path.
    pub(crate) version: &'a str,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) object: Value,
    /// Who writes, for `managedFields`.
    pub(crate) manager: &'a str,
    pub(crate) run: Run,
}

/// Whether a write takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    Real,
    /// `dryRun=All`: every check is made, nothing is stored.
    Dry,
}

/// Creates an object.
pub(crate) fn create(state: &mut State, wish: Wish<'_>) -> Result<Arc<Value>, Status> {
    let Wish { resource, version, namespace, object, manager, run } = wish;
    if resource.scope() == Some(Scope::Namespaced) && namespace.is_none() {
        return Err(Status::method_not_allowed());
    }
    if !object.is_object() {
        return Err(Status::bad_request("the object provided is unrecognized (must be of type object)"));
    }
    check_kind(resource, version, &object)?;
    validation::decode(resource, &object)?;
    let mut object = ordered(resource, version, object);
    let place = namespace.unwrap_or_default();
    if !matches!(fields::namespace(&object), "") && fields::namespace(&object) != place {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !fields::version(&object).is_empty() {
        return Err(Status::internal("resourceVersion should not be set on objects to be created"));
    }
    if namespace.is_some() && state.get(&Key::new(&Resource::namespaces(), "", place)).is_none() {
        return Err(Status::not_found(&Resource::namespaces(), place));
    }
    name(state, resource, place, &mut object)?;
    identify(state, place, manager, &mut object);
    defaults::fill(resource, &mut object);
    validation::validate(resource, &object)?;
    let key = Key::new(resource, place, fields::name(&object));
    if let Some(existing) = state.get(&key) {
        return Err(if fields::is_going(existing) {
            Status::being_deleted(resource, &key.name)
        } else {
            Status::already_exists(resource, &key.name)
        });
    }
    Ok(if run == Run::Dry { Arc::new(object) } else { state.insert(&key, object) })
}

/// The body must be of the path's kind, or not say what it is.
pub(crate) fn check_kind(resource: &Resource, version: &str, object: &Value) -> Result<(), Status> {
    let (api_version, kind) = (fields::text(object, "/apiVersion"), fields::text(object, "/kind"));
    let expected = resource.api_version(version);
    if !api_version.is_empty() && api_version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    match resource.known_kind() {
        Some(known) if !kind.is_empty() && kind != known => Err(Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {known}: no kind \"{kind}\" is registered for \
             version \"{expected}\""
        ))),
        _ => Ok(()),
    }
}

/// The object with its kind and version first, as the server prints it.
pub(crate) fn ordered(resource: &Resource, version: &str, mut object: Value) -> Value {
    let kind = match fields::text(&object, "/kind") {
        "" => resource.kind(),
        kind => kind.to_owned(),
    };
    let mut sorted = Map::new();
    sorted.insert("kind".into(), kind.into());
    sorted.insert("apiVersion".into(), resource.api_version(version).into());
    if let Some(rest) = object.as_object_mut().map(std::mem::take) {
        sorted.extend(rest.into_iter().filter(|(key, _)| key != "kind" && key != "apiVersion"));
    }
    Value::Object(sorted)
}

fn name(state: &mut State, resource: &Resource, place: &str, object: &mut Value) -> Result<(), Status> {
    if !fields::name(object).is_empty() {
        return Ok(());
    }
    let base = fields::text(object, "/metadata/generateName");
    if base.is_empty() {
        let message = "Required value: name or generateName is required".to_owned();
        let cause = Cause { reason: "FieldValueRequired", field: "metadata.name".to_owned(), message };
        return Err(Status::invalid(resource, &resource.kind(), "", &[cause]));
    }
    // The longest base that leaves room for the suffix in a DNS label.
    let base: String = base.chars().take(58).collect();
    let name = loop {
        let name = format!("{base}{}", state.generator.suffix());
        if state.get(&Key::new(resource, place, &name)).is_none() {
            break name;
        }
    };
    put(object, &["metadata", "name"], name);
    Ok(())
}

fn identify(state: &mut State, place: &str, manager: &str, object: &mut Value) {
    let now = state.clock.seconds();
    if !place.is_empty() {
        put(object, &["metadata", "namespace"], place);
    }
    put(object, &["metadata", "uid"], state.generator.uid());
    put(object, &["metadata", "generation"], 1);
    put(object, &["metadata", "creationTimestamp"], now.as_str());
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        fields::remove(object, &["metadata", field]);
    }
    let owners = json!([{
        "manager": manager, "operation": "Update", "apiVersion": object["apiVersion"], "time": now,
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}},
    }]);
    put(object, &["metadata", "managedFields"], owners);
}
