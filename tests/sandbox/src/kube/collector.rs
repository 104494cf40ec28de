//! Garbage collection: dependents follow their owners, or are released from them.

use serde_json::Value;

use super::{
    delete::{self, FOREGROUND, ORPHAN, Options, Propagation},
    fields,
    store::{Change, ChangeKind, Key, State},
};

/// Does what a change asks for.
pub(crate) fn follow(state: &mut State, change: &Change) {
    let uid = fields::uid(&change.object);
    if change.kind == ChangeKind::Deleted {
        for dependent in state.dependents(uid) {
            leave_or_follow(state, &dependent);
        }
        // An owner that waits for this one may be free now.
        for owner in owners(&change.object) {
            if let Some(key) = state.whereabouts(&owner).cloned() {
                let _ = finish(state, &key);
            }
        }
        return;
    }
    if change.kind == ChangeKind::Added && !owners(&change.object).is_empty() {
        leave_or_follow(state, &change.key);
    }
    if fields::is_going(&change.object) {
        let _ = finish(state, &change.key);
    }
}

/// A dependent whose owners are all gone is deleted; one that still has an owner forgets the others.
fn leave_or_follow(state: &mut State, key: &Key) {
    let Some(object) = state.get(key).cloned() else { return };
    let (alive, gone): (Vec<_>, Vec<_>) =
        owners(&object).into_iter().partition(|owner| state.whereabouts(owner).is_some());
    if gone.is_empty() {
        return;
    }
    if alive.is_empty() {
        // Whoever goes already needs no second push: it would cut its grace period short or long.
        if !fields::is_going(&object) {
            let _ = delete::delete(state, key, &Options::propagating(Propagation::Background));
        }
    } else {
        state.edit(key, |object| release(object, |owner| gone.contains(owner)));
    }
}

/// Works off the finalizers of the collector on an object that is going.
fn finish(state: &mut State, key: &Key) -> Option<()> {
    let object = state.get(key)?.clone();
    let uid = fields::uid(&object).to_owned();
    let finalizers = fields::finalizers(&object);
    let has = |finalizer: &str| fields::is_going(&object) && finalizers.iter().any(|one| one == finalizer);
    if has(ORPHAN) {
        for dependent in state.dependents(&uid) {
            state.edit(&dependent, |object| release(object, |owner| *owner == uid));
        }
        drop_finalizer(state, key, ORPHAN);
    } else if has(FOREGROUND) {
        for dependent in state.dependents(&uid) {
            if state.get(&dependent).is_some_and(|object| !fields::is_going(object)) {
                let propagation = below(state, &dependent);
                let _ = delete::delete(state, &dependent, &Options::propagating(propagation));
                let _ = finish(state, &dependent);
            }
        }
        if state.dependents(&uid).is_empty() {
            drop_finalizer(state, key, FOREGROUND);
        }
    }
    Some(())
}

/// How a dependent of an owner that waits goes: in turn after its own dependents, if it has any.
fn below(state: &State, key: &Key) -> Propagation {
    let uid = state.get(key).map(|object| fields::uid(object)).unwrap_or_default();
    if state.dependents(uid).is_empty() { Propagation::Background } else { Propagation::Foreground }
}

/// Removes one finalizer; with the last of them an object that is going goes.
pub(crate) fn drop_finalizer(state: &mut State, key: &Key, finalizer: &str) {
    state.edit(key, |object| {
        let mut finalizers = fields::finalizers(object);
        finalizers.retain(|one| one != finalizer);
        fields::set_finalizers(object, finalizers);
    });
}

fn owners(object: &Value) -> Vec<String> {
    fields::list(object, "/metadata/ownerReferences")
        .iter()
        .map(|owner| fields::text(owner, "/uid").to_owned())
        .collect()
}

fn release(object: &mut Value, from: impl Fn(&String) -> bool) {
    let mut references = fields::list(object, "/metadata/ownerReferences").to_vec();
    references.retain(|owner| !from(&fields::text(owner, "/uid").to_owned()));
    if references.is_empty() {
        fields::remove(object, &["metadata", "ownerReferences"]);
    } else {
        fields::put(object, &["metadata", "ownerReferences"], references);
    }
}
