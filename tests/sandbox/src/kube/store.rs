//! Every object of the cluster, and the recent changes to them.
//!
//! Every write ends in `commit`: it takes the next resource version, becomes a [`Change`] in the history (which
//! watches read from the version they know) and in the inbox of the controllers.
//!
//! ```text
//!  insert / replace / remove ──► commit ──► objects, indexes by uid and owner
//!                                       ├─► history (bounded) ──► watches
//!                                       ├─► inbox             ──► control loop
//!                                       └─► feed              ──► tests, the demonstration
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::Value;
use tokio::sync::{broadcast, watch};

use super::{clock::Clock, fields, resources::Resource, status::Status};
use crate::seed::Generator;

/// The place of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) resource: Resource,
    /// Empty for what lives outside of namespaces.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource: &Resource, namespace: &str, name: &str) -> Self {
        Self { resource: resource.clone(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was written.
    Modified,
    /// It is gone.
    Deleted,
}

impl ChangeKind {
    /// The `type` of a watch event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change to one object.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The object after the change; one that is gone as it was last, with the version of its deletion.
    pub object: Arc<Value>,
    pub(crate) key: Key,
    pub(crate) version: u64,
    pub(crate) previous: Option<Arc<Value>>,
}

/// The objects and their history.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) clock: Clock,
    pub(crate) generator: Generator,
    /// Changes that the control loop has not seen yet.
    pub(crate) inbox: Vec<Change>,
    /// The Event that tells of the same thing again, by involved uid, reason and message.
    pub(crate) told: BTreeMap<(String, String, String), Key>,
    objects: BTreeMap<Resource, BTreeMap<(String, String), Arc<Value>>>,
    by_uid: BTreeMap<String, Key>,
    dependents: BTreeMap<String, BTreeSet<Key>>,
    version: u64,
    history: VecDeque<Change>,
    history_limit: usize,
    /// Changes up to this version are forgotten.
    forgotten: u64,
    feed: broadcast::Sender<Change>,
    news: watch::Sender<()>,
}

impl State {
    pub(crate) fn new(
        clock: Clock,
        seed: u64,
        history_limit: usize,
        feed: broadcast::Sender<Change>,
        news: watch::Sender<()>,
    ) -> Self {
        Self {
            clock,
            generator: Generator::new(seed),
            inbox: Vec::new(),
            told: BTreeMap::new(),
            objects: BTreeMap::new(),
            by_uid: BTreeMap::new(),
            dependents: BTreeMap::new(),
            version: 0,
            history: VecDeque::new(),
            history_limit,
            forgotten: 0,
            feed,
            news,
        }
    }

    /// The version of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(&key.resource)?.get(&(key.namespace.clone(), key.name.clone()))
    }

    /// The object, or the server's 404.
    pub(crate) fn find(&self, key: &Key) -> Result<Arc<Value>, Status> {
        self.get(key).cloned().ok_or_else(|| Status::not_found(&key.resource, &key.name))
    }

    /// Where the object with this uid is.
    pub(crate) fn whereabouts(&self, uid: &str) -> Option<&Key> {
        self.by_uid.get(uid)
    }

    /// The objects of a resource, in the order of namespace and name.
    pub(crate) fn list<'a>(
        &'a self,
        resource: &Resource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        let objects = self.objects.get(resource).into_iter().flatten();
        objects.filter(move |((place, _), _)| namespace.is_none_or(|one| one == place)).map(|(_, object)| object)
    }

    /// The objects that name `uid` as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<Key> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Adds an object that is complete but for its version.
    pub(crate) fn insert(&mut self, key: &Key, object: Value) -> Arc<Value> {
        self.commit(ChangeKind::Added, key, object, None)
    }

    /// Writes an object. A write that changes nothing takes no version. An object that was only kept by its
    /// finalizers goes with the last of them.
    pub(crate) fn replace(&mut self, key: &Key, object: Value) -> Arc<Value> {
        let Some(before) = self.get(key).cloned() else { return Arc::new(object) };
        if *before == object {
            return before;
        }
        let grace = fields::integer(&object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
        if fields::is_going(&object) && grace == 0 && fields::finalizers(&object).is_empty() {
            // The last event shows the object as it was stored: with the finalizer.
            return self.remove(key).unwrap_or(before);
        }
        self.commit(ChangeKind::Modified, key, object, Some(before))
    }

    /// Changes an object in place. `None` if it does not exist.
    pub(crate) fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Value)) -> Option<Arc<Value>> {
        let mut object = Value::clone(self.get(key)?);
        change(&mut object);
        Some(self.replace(key, object))
    }

    /// Removes an object at once, whatever finalizers it has.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.get(key).cloned()?;
        Some(self.commit(ChangeKind::Deleted, key, Value::clone(&before), Some(before)))
    }

    /// The changes after `version`, or a 410 if some of them are forgotten.
    pub(crate) fn since(&self, version: u64) -> Result<impl Iterator<Item = &Change>, Status> {
        if version < self.forgotten {
            return Err(Status::expired(version, self.forgotten + 1));
        }
        let start = self.history.partition_point(|change| change.version <= version);
        Ok(self.history.range(start..))
    }

    /// Forgets the changes so far: whoever knows an older version gets a 410.
    pub(crate) fn forget(&mut self) {
        self.history.clear();
        self.forgotten = self.version;
    }

    fn commit(&mut self, kind: ChangeKind, key: &Key, mut object: Value, previous: Option<Arc<Value>>) -> Arc<Value> {
        self.version += 1;
        fields::put(&mut object, &["metadata", "resourceVersion"], self.version.to_string());
        let object = Arc::new(object);
        if let Some(previous) = &previous {
            self.unindex(key, previous);
        }
        let place = (key.namespace.clone(), key.name.clone());
        let objects = self.objects.entry(key.resource.clone()).or_default();
        if kind == ChangeKind::Deleted {
            objects.remove(&place);
        } else {
            objects.insert(place, object.clone());
            self.index(key, &object);
        }
        let change = Change { kind, object: object.clone(), key: key.clone(), version: self.version, previous };
        self.history.push_back(change.clone());
        while self.history.len() > self.history_limit {
            self.forgotten = self.history.pop_front().map_or(self.forgotten, |oldest| oldest.version);
        }
        // Nobody may be looking.
        let _ = self.feed.send(change.clone());
        self.inbox.push(change);
        self.news.send_replace(());
        object
    }

    fn index(&mut self, key: &Key, object: &Value) {
        self.by_uid.insert(fields::uid(object).to_owned(), key.clone());
        for owner in fields::list(object, "/metadata/ownerReferences") {
            self.dependents.entry(fields::text(owner, "/uid").to_owned()).or_default().insert(key.clone());
        }
    }

    fn unindex(&mut self, key: &Key, object: &Value) {
        self.by_uid.remove(fields::uid(object));
        for owner in fields::list(object, "/metadata/ownerReferences") {
            let uid = fields::text(owner, "/uid");
            if let Some(dependents) = self.dependents.get_mut(uid) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(uid);
                }
            }
        }
    }
}
