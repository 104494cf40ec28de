//! Events: what the cluster tells people about Jobs and pods.

use serde_json::{Value, json};

use super::{
    fields::{self, put},
    resources::Resource,
    store::{Key, State},
};

/// Whether an event is bad news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Normal,
    Warning,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Note {
    pub(crate) level: Level,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Note {
    pub(crate) fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Normal, reason, message: message.into() }
    }

    pub(crate) fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, reason, message: message.into() }
    }
}

/// Writes an Event about `object`; the same news again raises its count.
pub(crate) fn record(state: &mut State, object: &Value, component: &str, note: &Note) {
    let now = state.clock.seconds();
    let same = (fields::uid(object).to_owned(), note.reason.to_owned(), note.message.clone());
    if let Some(key) = state.told.get(&same).cloned() {
        let again = state.edit(&key, |event| {
            let count = fields::integer(event, "/count").unwrap_or(1);
            put(event, &["count"], count + 1);
            put(event, &["lastTimestamp"], now.as_str());
        });
        if again.is_some() {
            return;
        }
    }
    let name = format!("{}.{}", fields::name(object), state.generator.hex());
    let namespace = fields::namespace(object);
    let level = match note.level {
        Level::Normal => "Normal",
        Level::Warning => "Warning",
    };
    let uid = state.generator.uid();
    let event = json!({
        "kind": "Event", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "creationTimestamp": now},
        "involvedObject": {
            "kind": object["kind"], "namespace": namespace, "name": fields::name(object), "uid": fields::uid(object),
            "apiVersion": object["apiVersion"], "resourceVersion": fields::version(object),
        },
        "reason": note.reason, "message": note.message, "source": {"component": component},
        "firstTimestamp": now, "lastTimestamp": now, "count": 1, "type": level, "eventTime": null,
        "reportingComponent": component, "reportingInstance": "",
    });
    let key = Key::new(&Resource::events(), namespace, &name);
    state.insert(&key, event);
    state.told.insert(same, key);
}
