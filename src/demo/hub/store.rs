//! The objects, one counter of versions, and what changed lately.
//!
//! Invariant: changes are recorded in the order of their versions, and under the same lock as the
//! objects, so that whoever reads a list at one version and then the changes since misses nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::object::meta;

/// Changes that are remembered. Whoever watches from before the oldest has to list again.
const HISTORY_MAX: usize = 8_192;

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The resource.
    pub(super) plural: &'static str,
    /// Empty when the resource has none.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What happened to one object.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    /// The object before; none when it is new.
    pub(super) before: Option<Arc<Value>>,
    /// The object since; none when it is gone.
    pub(super) after: Option<Arc<Value>>,
}

/// Why nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is one of that name.
    Exists,
    /// There is none.
    Gone,
    /// It is at another version.
    Modified,
}

/// Everything that the hub knows.
pub(super) struct Store {
    contents: Mutex<Contents>,
    versions: watch::Sender<u64>,
    history_max: usize,
}

#[derive(Default)]
struct Contents {
    version: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
    /// The version of the newest change that was forgotten.
    forgotten: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self::with_history(HISTORY_MAX)
    }
}

impl Store {
    /// An empty one that remembers so many changes.
    pub(super) fn with_history(history_max: usize) -> Self {
        Self { contents: Mutex::default(), versions: watch::Sender::new(0), history_max }
    }

    /// The object, as it is now.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.contents().objects.get(key).cloned()
    }

    /// The objects of a resource, in one namespace or all, and the version at which that was so.
    pub(super) fn list(&self, plural: &'static str, namespace: Option<&str>) -> (u64, Vec<Arc<Value>>) {
        let contents = self.contents();
        let from = Key { plural, namespace: namespace.unwrap_or_default().to_owned(), name: String::new() };
        let within = |key: &Key| key.plural == plural && namespace.is_none_or(|namespace| key.namespace == namespace);
        let objects = contents.objects.range(from..).take_while(|(key, _)| within(key));
        (contents.version, objects.map(|(_, object)| Arc::clone(object)).collect())
    }

    /// Stores a new object.
    pub(super) fn create(&self, key: Key, object: Value) -> Result<Arc<Value>, Refusal> {
        let mut contents = self.contents();
        if contents.objects.contains_key(&key) {
            return Err(Refusal::Exists);
        }
        let object = contents.next_version(object);
        self.record(&mut contents, key, None, Some(Arc::clone(&object)));
        Ok(object)
    }

    /// Stores `object` in place of the one at `version`.
    pub(super) fn replace(&self, key: &Key, version: &str, object: Value) -> Result<Arc<Value>, Refusal> {
        let mut contents = self.contents();
        let before = contents.at(key, version)?;
        let object = contents.next_version(object);
        self.record(&mut contents, key.clone(), Some(before), Some(Arc::clone(&object)));
        Ok(object)
    }

    /// Removes the object at `version`.
    pub(super) fn remove(&self, key: &Key, version: &str) -> Result<(), Refusal> {
        let mut contents = self.contents();
        let before = contents.at(key, version)?;
        contents.version += 1;
        self.record(&mut contents, key.clone(), Some(before), None);
        Ok(())
    }

    /// Removes everything that is in a namespace.
    pub(super) fn clear(&self, namespace: &str) {
        let mut contents = self.contents();
        let keys: Vec<Key> = contents.objects.keys().filter(|key| key.namespace == namespace).cloned().collect();
        self.remove_all(&mut contents, keys);
    }

    /// Removes objects of a resource, those first that were written longest ago, until `count` are left.
    pub(super) fn keep_newest(&self, plural: &'static str, count: usize) {
        let mut contents = self.contents();
        let of_kind = contents.objects.iter().filter(|(key, _)| key.plural == plural);
        let mut ages: Vec<(u64, Key)> = of_kind.map(|(key, object)| (version(object), key.clone())).collect();
        ages.sort_unstable();
        ages.truncate(ages.len().saturating_sub(count));
        self.remove_all(&mut contents, ages.into_iter().map(|(_, key)| key));
    }

    fn remove_all(&self, contents: &mut Contents, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            let before = contents.objects.get(&key).cloned();
            contents.version += 1;
            self.record(contents, key, before, None);
        }
    }

    /// What happened after `version`, and up to which version that is; none when it is forgotten.
    pub(super) fn since(&self, version: u64) -> Option<(u64, Vec<Change>)> {
        let contents = self.contents();
        if version < contents.forgotten {
            return None;
        }
        let from = contents.history.partition_point(|change| change.version <= version);
        Some((contents.version.max(version), contents.history.range(from..).cloned().collect()))
    }

    /// The newest version, and those to come.
    pub(super) fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    fn record(&self, contents: &mut Contents, key: Key, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        match &after {
            Some(object) => contents.objects.insert(key.clone(), Arc::clone(object)),
            None => contents.objects.remove(&key),
        };
        let version = contents.version;
        contents.history.push_back(Change { version, key, before, after });
        if contents.history.len() > self.history_max {
            contents.forgotten = contents.history.pop_front().map_or(0, |change| change.version);
        }
        self.versions.send_replace(version);
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(object: &Value) -> u64 {
    meta(object, "resourceVersion").parse().unwrap_or_default()
}

impl Contents {
    fn at(&self, key: &Key, version: &str) -> Result<Arc<Value>, Refusal> {
        let object = self.objects.get(key).ok_or(Refusal::Gone)?;
        if meta(object, "resourceVersion") == version { Ok(Arc::clone(object)) } else { Err(Refusal::Modified) }
    }

    fn next_version(&mut self, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        Arc::new(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { plural: "configmaps", namespace: "default".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn what_was_decided_on_an_old_version_is_not_stored() {
        let store = Store::default();
        assert_eq!(store.replace(&key("a"), "1", json!({})), Err(Refusal::Gone));
        assert_eq!(store.remove(&key("a"), "1"), Err(Refusal::Gone));
        let first = store.create(key("a"), json!({})).expect("the name is free");
        assert_eq!(store.create(key("a"), json!({})), Err(Refusal::Exists));
        let second =
            store.replace(&key("a"), meta(&first, "resourceVersion"), json!({"n": 2})).expect("it is at that version");
        assert_eq!(store.replace(&key("a"), meta(&first, "resourceVersion"), json!({"n": 3})), Err(Refusal::Modified));
        assert_eq!(store.remove(&key("a"), meta(&first, "resourceVersion")), Err(Refusal::Modified));
        assert_eq!(store.get(&key("a")), Some(Arc::clone(&second)));
        assert_eq!(store.remove(&key("a"), meta(&second, "resourceVersion")), Ok(()));
        assert_eq!((store.get(&key("a")), store.list("configmaps", None)), (None, (3, Vec::new())));
    }

    #[test]
    fn a_list_is_of_one_resource_and_one_namespace_or_all() {
        let store = Store::default();
        for (plural, namespace) in [("configmaps", "a"), ("configmaps", "b"), ("leases", "a")] {
            let key = Key { plural, namespace: namespace.to_owned(), name: "x".to_owned() };
            store.create(key, json!({})).expect("the name is free");
        }
        let count = |plural, namespace| store.list(plural, namespace).1.len();
        assert_eq!(
            [count("configmaps", None), count("configmaps", Some("a")), count("configmaps", Some("c"))],
            [2, 1, 0]
        );
        assert_eq!([count("leases", None), count("pods", None)], [1, 0]);
    }
}
