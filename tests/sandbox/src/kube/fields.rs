//! Reading and writing fields of an object. What is absent reads as empty.

use serde_json::{Map, Value};

/// The value at a JSON pointer; null if there is none.
pub(crate) fn at<'a>(object: &'a Value, pointer: &str) -> &'a Value {
    object.pointer(pointer).unwrap_or(&Value::Null)
}

/// The string at a JSON pointer.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a JSON pointer.
pub(crate) fn integer(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// The list at a JSON pointer.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The strings of the list at a JSON pointer.
pub(crate) fn texts(object: &Value, pointer: &str) -> Vec<String> {
    list(object, pointer).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The object at a JSON pointer.
pub(crate) fn map<'a>(object: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    object.pointer(pointer).and_then(Value::as_object)
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub(crate) fn version(object: &Value) -> &str {
    text(object, "/metadata/resourceVersion")
}

pub(crate) fn finalizers(object: &Value) -> Vec<String> {
    texts(object, "/metadata/finalizers")
}

/// Whether somebody has asked for the object's deletion.
pub(crate) fn is_going(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

/// The reference to the owner that controls the object.
pub(crate) fn controller(object: &Value) -> Option<&Value> {
    list(object, "/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true)
}

/// Sets the field at `path`, making the objects on the way.
pub(crate) fn put(object: &mut Value, path: &[&str], value: impl Into<Value>) {
    *slot(object, path) = value.into();
}

/// Sets the field at `path` unless it has a value.
pub(crate) fn default(object: &mut Value, path: &[&str], value: impl Into<Value>) {
    let slot = slot(object, path);
    if slot.is_null() {
        *slot = value.into();
    }
}

/// The field at `path`, made (as null) with the objects on the way if it is absent.
pub(crate) fn slot<'a>(object: &'a mut Value, path: &[&str]) -> &'a mut Value {
    let mut place = object;
    for key in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        // An object makes room for a key that it does not have.
        place = &mut place[*key];
    }
    place
}

/// Removes the field at `path`.
pub(crate) fn remove(object: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut place = object;
    for key in parents {
        let Some(next) = place.get_mut(*key) else { return };
        place = next;
    }
    if let Some(map) = place.as_object_mut() {
        map.shift_remove(*last);
    }
}

/// Sets the list of finalizers; an empty one is left out, as the server prints it.
pub(crate) fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        remove(object, &["metadata", "finalizers"]);
    } else {
        put(object, &["metadata", "finalizers"], finalizers);
    }
}
