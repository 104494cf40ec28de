//! What is kept of a Kubernetes Event: what happened to a Job or one of its pods, in the words of whoever saw it.

use serde_json::{Value, json};

use crate::budget::shortened;

/// The longest message that is shown of an Event, in characters. The API server takes 1024.
const MAX_MESSAGE: usize = 512;

/// An Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// What it is about: the UID of the object.
    pub about: String,
    /// Its kind and name: `Pod/x-1`.
    pub object: String,
    /// One word: `FailedMount`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Whether it tells of trouble: its type is `Warning`.
    pub is_warning: bool,
    /// How often it was seen.
    pub count: u64,
    /// When it was seen last (RFC 3339: sorts by time).
    pub last: String,
}

impl EventView {
    /// Looks at an Event as the API server sent it.
    pub fn of(event: &Value) -> Self {
        let at = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        // `core/v1` Events have `count` and `lastTimestamp`; what is written through `events.k8s.io` has a series or nothing.
        let count = ["/count", "/series/count"].iter().find_map(|place| event.pointer(place)?.as_u64());
        let times = ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"];
        Self {
            about: at("/involvedObject/uid"),
            object: format!("{}/{}", at("/involvedObject/kind"), at("/involvedObject/name")),
            reason: at("/reason"),
            message: at("/message"),
            is_warning: at("/type") == "Warning",
            count: count.unwrap_or(1),
            last: times.iter().map(|time| at(time)).find(|time| !time.is_empty()).unwrap_or_default(),
        }
    }

    /// As it stands in a cause.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "object": self.object,
            "reason": self.reason,
            "message": shortened(&self.message, MAX_MESSAGE),
            "count": self.count,
            "last": self.last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_either_api_is_understood() {
        let old = json!({"involvedObject": {"kind": "Pod", "name": "x-1", "uid": "u"}, "reason": "FailedMount",
            "type": "Warning", "count": 3, "lastTimestamp": "2026-11-23T07:24:56Z", "eventTime": null});
        let view = EventView::of(&old);
        assert_eq!((view.object.as_str(), view.count, view.last.as_str()), ("Pod/x-1", 3, "2026-11-23T07:24:56Z"));
        let new = json!({"involvedObject": {"kind": "Pod", "name": "x-1"}, "reason": "FailedScheduling",
            "eventTime": "2026-11-23T07:24:56.123456Z", "lastTimestamp": null});
        let view = EventView::of(&new);
        assert_eq!((view.count, view.is_warning, view.last.as_str()), (1, false, "2026-11-23T07:24:56.123456Z"));
    }
}
