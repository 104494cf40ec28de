//! Lists, whole or in chunks.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::{
    fields::{self, put},
    path::{Query, Target},
    selector::Selector,
    status::Status,
    store::State,
};

/// The objects that a path and selectors name, as the body of a list.
pub(crate) fn list(state: &State, target: &Target, selector: &Selector, query: &Query) -> Result<Value, Status> {
    let start = query.get("continue").map(Continue::read).transpose()?;
    // A later chunk belongs to the version of the first, from which the client will watch: what changed between the
    // chunks comes again as events. Once those are forgotten, the client has to begin anew.
    let version = start.as_ref().map_or(state.version(), |start| start.version);
    drop(state.since(version)?);
    let limit = query.integer("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let mut items = Vec::new();
    let mut rest = 0_u64;
    let mut last = String::new();
    for object in state.list(&target.resource, target.namespace.as_deref()) {
        if !selector.matches(object) || start.as_ref().is_some_and(|start| place(object) <= start.after) {
            continue;
        }
        if limit.is_some_and(|limit| items.len() >= limit) {
            rest += 1;
            continue;
        }
        last = place(object);
        items.push(item(object));
    }
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if rest > 0 {
        put(&mut metadata, &["continue"], Continue { version, after: last }.write());
        // With a selector the real server does not count what is left.
        if query.get("labelSelector").is_none() && query.get("fieldSelector").is_none() {
            put(&mut metadata, &["remainingItemCount"], rest);
        }
    }
    Ok(json!({
        "kind": format!("{}List", target.resource.kind()),
        "apiVersion": target.resource.api_version(&target.version),
        "metadata": metadata,
        "items": items,
    }))
}

/// The items of a list carry neither kind nor version.
fn item(object: &Value) -> Value {
    let Value::Object(map) = object else { return object.clone() };
    map.iter()
        .filter(|(key, _)| *key != "kind" && *key != "apiVersion")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Where an object stands in the order of a list: the namespace ends with a character below all that a name may hold.
fn place(object: &Value) -> String {
    format!("{}\0{}", fields::namespace(object), fields::name(object))
}

struct Continue {
    version: u64,
    after: String,
}

impl Continue {
    fn write(&self) -> String {
        BASE64URL_NOPAD.encode(format!("{} {}", self.version, self.after).as_bytes())
    }

    fn read(token: &str) -> Result<Self, Status> {
        let text = BASE64URL_NOPAD.decode(token.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        text.as_deref()
            .and_then(|text| text.split_once(' '))
            .and_then(|(version, after)| Some(Self { version: version.parse().ok()?, after: after.to_owned() }))
            .ok_or_else(|| Status::bad_request("continue key is not valid"))
    }
}
