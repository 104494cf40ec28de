//! DELETE: preconditions, propagation, grace periods, finalizers.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{
    fields::{self, put},
    path::Query,
    resources::Resource,
    status::Status,
    store::{Key, State},
};

/// The finalizer of an object that waits for its dependents to go.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object that waits for its dependents to be released.
pub(crate) const ORPHAN: &str = "orphan";

/// What becomes of the objects that the deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted afterwards.
    Background,
    /// They are deleted first; the owner lingers until they are gone.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// What a DELETE asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) propagation: Option<Propagation>,
    pub(crate) grace: Option<i64>,
    uid: Option<String>,
    version: Option<String>,
    pub(crate) dry: bool,
}

/// What became of the object.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is gone.
    Gone(Arc<Value>),
    /// It lingers, for its grace period or its finalizers.
    Going(Arc<Value>),
}

impl Options {
    /// The node's word that a pod has ended: nothing is waited for any more.
    pub(crate) fn ended() -> Self {
        Self { grace: Some(0), ..Self::default() }
    }

    pub(crate) fn propagating(propagation: Propagation) -> Self {
        Self { propagation: Some(propagation), ..Self::default() }
    }

    /// Reads the options in the query and, which wins, in the body.
    pub(crate) fn read(query: &Query, body: &Bytes) -> Result<Self, Status> {
        let body: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body)
                .map_err(|wrong| Status::bad_request(format!("unable to read the options: {wrong}")))?
        };
        let policy = match fields::text(&body, "/propagationPolicy") {
            "" => query.get("propagationPolicy").unwrap_or_default(),
            policy => policy,
        };
        let orphan = fields::at(&body, "/orphanDependents")
            .as_bool()
            .or_else(|| query.get("orphanDependents").map(|_| query.is_set("orphanDependents")));
        let propagation = match (policy, orphan) {
            ("Background", _) | ("", Some(false)) => Some(Propagation::Background),
            ("Foreground", _) => Some(Propagation::Foreground),
            ("Orphan", _) | ("", Some(true)) => Some(Propagation::Orphan),
            ("", None) => None,
            (other, _) => {
                return Err(Status::bad_request(format!(
                    "invalid propagationPolicy \"{other}\": supported are Background, Foreground, Orphan"
                )));
            }
        };
        let precondition = |field: &str| {
            Some(fields::text(&body, &format!("/preconditions/{field}")))
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
        };
        Ok(Self {
            propagation,
            grace: match fields::integer(&body, "/gracePeriodSeconds") {
                Some(grace) => Some(grace),
                None => query.integer("gracePeriodSeconds")?,
            },
            uid: precondition("uid"),
            version: precondition("resourceVersion"),
            dry: query.get("dryRun").is_some() || !fields::list(&body, "/dryRun").is_empty(),
        })
    }

    fn check(&self, key: &Key, object: &Value) -> Result<(), Status> {
        let table =
            [("UID", &self.uid, fields::uid(object)), ("ResourceVersion", &self.version, fields::version(object))];
        for (what, asked, is) in table {
            if let Some(asked) = asked.as_ref().filter(|asked| *asked != is) {
                let why = format!("Precondition failed: {what} in precondition: {asked}, {what} in object meta: {is}");
                return Err(Status::conflict(&key.resource, &key.name, &why));
            }
        }
        Ok(())
    }
}

/// Deletes the object at `key`, at once or by marking it.
pub(crate) fn delete(state: &mut State, key: &Key, options: &Options) -> Result<Outcome, Status> {
    let before = state.find(key)?;
    options.check(key, &before)?;
    if options.dry {
        return Ok(Outcome::Gone(before));
    }
    let finalizers = finalizers(&key.resource, &before, options.propagation);
    let grace = grace(&key.resource, &before, options.grace);
    if finalizers.is_empty() && grace == 0 {
        return Ok(Outcome::Gone(state.remove(key).unwrap_or(before)));
    }
    let mut after = Value::clone(&before);
    mark(state, &mut after, grace);
    fields::set_finalizers(&mut after, finalizers);
    state.replace(key, after);
    // The write may have removed the object: a forced deletion of one whose last finalizer went meanwhile.
    Ok(state.get(key).map_or(Outcome::Gone(before), |going| Outcome::Going(going.clone())))
}

/// Stamps the deletion. Asking again can only shorten the grace period.
fn mark(state: &State, object: &mut Value, grace: i64) {
    if !fields::is_going(object) {
        let ends = super::clock::later(
            state.clock.now(),
            std::time::Duration::from_secs(u64::try_from(grace).unwrap_or_default()),
        );
        put(object, &["metadata", "deletionTimestamp"], super::clock::seconds(ends));
        let generation = fields::integer(object, "/metadata/generation").unwrap_or(0);
        put(object, &["metadata", "generation"], generation + 1);
        put(object, &["metadata", "deletionGracePeriodSeconds"], grace);
    } else if grace < fields::integer(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) {
        put(object, &["metadata", "deletionGracePeriodSeconds"], grace);
    }
}

fn finalizers(resource: &Resource, object: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let mut finalizers = fields::finalizers(object);
    let decided = |finalizers: &[String]| finalizers.iter().any(|one| one == FOREGROUND || one == ORPHAN);
    let propagation = match propagation {
        Some(propagation) => propagation,
        None if decided(&finalizers) => return finalizers,
        // `batch/v1` Jobs are the exception: nothing said means that their pods stay.
        None if *resource == Resource::jobs() => Propagation::Orphan,
        None => Propagation::Background,
    };
    finalizers.retain(|one| one != FOREGROUND && one != ORPHAN);
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
        Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
    }
    finalizers
}

/// Only a pod that a node has taken, and that has not ended, gets time to end.
fn grace(resource: &Resource, object: &Value, asked: Option<i64>) -> i64 {
    let ended = matches!(fields::text(object, "/status/phase"), "Succeeded" | "Failed");
    if *resource != Resource::pods() || ended || fields::text(object, "/spec/nodeName").is_empty() {
        return 0;
    }
    let grace = asked.or_else(|| fields::integer(object, "/spec/terminationGracePeriodSeconds")).unwrap_or(30);
    let running = fields::integer(object, "/metadata/deletionGracePeriodSeconds");
    // A negative period means the shortest one; asking again never lengthens it.
    running.map_or(grace, |running| grace.min(running)).max(i64::from(grace < 0))
}
