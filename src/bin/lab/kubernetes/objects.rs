//! The objects of one cluster, and the small store that models work on.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::value::{kind_of, set, text};
use crate::{chance, clock};

/// What a model may do with a cluster's objects. It has no clock but this store's.
pub(crate) trait Store {
    /// Returns an object; the kind is `Pod` or `Deployment.apps`, the namespace empty for what has none.
    fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value>;
    /// Returns all objects of a kind.
    fn list(&self, kind: &str) -> Vec<&Value>;
    /// Makes an object, or puts it in the place of the one of its name.
    fn write(&mut self, object: Value);
    /// Removes an object, or marks it as going if something has to be done before (finalizers).
    fn remove(&mut self, kind: &str, namespace: &str, name: &str);
    /// Returns whether so many milliseconds have passed since this was first asked; the store sees to it that it is asked again then.
    fn passed(&mut self, what: &str, ms: u64) -> bool;
    /// Forgets that this was asked.
    fn forget(&mut self, what: &str);
    /// Returns the moment, in milliseconds of lab time.
    fn now(&self) -> u64;
    /// Returns the lab's date of now.
    fn date(&self) -> String;
    /// Returns all objects.
    fn all(&self) -> Vec<&Value>;
}

/// The kind of a look at all kinds.
const EVERYTHING: &str = "*";

/// A model's last look: as long as nothing of what it saw has changed, a further one would change nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The revision that it saw; nothing if it has to look again in any case.
    seen: Option<u64>,
    /// The kinds that it looked at.
    kinds: BTreeSet<String>,
    /// When something is due that it waits for.
    due_ms: Option<u64>,
}

type Key = (String, String, String);

/// The objects of a cluster, as etcd has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Objects {
    /// Up to when the models have acted.
    pub(crate) at_ms: u64,
    /// Counts changes.
    pub(crate) revision: u64,
    /// When what was first asked.
    noted: BTreeMap<String, u64>,
    #[serde(serialize_with = "write_items", deserialize_with = "read_items")]
    items: BTreeMap<Key, Value>,
    /// When the next thing is due.
    pub(crate) due_ms: Option<u64>,
    /// At which revision an object of a kind last changed.
    changed: BTreeMap<String, u64>,
    /// What is known of each model's last look, in the order of the models.
    pub(crate) memories: Vec<Memory>,
    /// The kinds that the model of the moment has looked at, and when it wants to look again.
    #[serde(skip)]
    looking: RefCell<BTreeSet<String>>,
    /// When the world was made.
    pub(crate) epoch_ms: u64,
    /// What chance depends on.
    pub(crate) seed: u64,
}

fn write_items<S: Serializer>(
    items: &BTreeMap<Key, Value>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(items.values())
}

fn read_items<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Key, Value>, D::Error> {
    let all = Vec::<Value>::deserialize(deserializer)?;
    Ok(all
        .into_iter()
        .map(|object| (key(&object), object))
        .collect())
}

fn key(object: &Value) -> Key {
    (
        kind_of(object),
        text(object, "/metadata/namespace").to_string(),
        text(object, "/metadata/name").to_string(),
    )
}

fn own(kind: &str, namespace: &str, name: &str) -> Key {
    (kind.to_string(), namespace.to_string(), name.to_string())
}

impl Objects {
    /// Returns the store of a new cluster.
    pub(crate) fn new(seed: u64, epoch_ms: u64, at_ms: u64) -> Self {
        Self {
            at_ms,
            epoch_ms,
            seed,
            ..Self::default()
        }
    }

    /// Takes the objects that a real API server has for the present ones, as they are; what was asked and when is kept.
    pub(crate) fn adopt(&mut self, items: Vec<Value>) {
        self.items = items
            .into_iter()
            .map(|object| (key(&object), object))
            .collect();
    }

    /// Moves the store's clock.
    pub(crate) fn begin(&mut self, at: u64) {
        self.at_ms = self.at_ms.max(at);
    }

    /// Lets all models look again, whatever they saw; what they wait for stays due.
    pub(crate) fn forget_looks(&mut self, models: usize) {
        self.memories.resize(models, Memory::default());
        for memory in &mut self.memories {
            memory.seen = None;
        }
    }

    /// Returns whether a model has to look: never yet, something that it saw has changed, or its time has come.
    pub(crate) fn must_look(&self, model: usize) -> bool {
        let memory = &self.memories[model];
        let Some(seen) = memory.seen else {
            return true;
        };
        let newer = |kind: &String| {
            if kind == EVERYTHING {
                self.revision > seen
            } else {
                self.changed.get(kind).is_some_and(|at| *at > seen)
            }
        };
        memory.due_ms.is_some_and(|due| due <= self.at_ms) || memory.kinds.iter().any(newer)
    }

    /// Lets a model look, and remembers what it saw. Who changed something looks again.
    pub(crate) fn look(&mut self, model: usize, work: impl FnOnce(&mut Self) -> bool) {
        let before = self.revision;
        self.due_ms = None;
        self.looking.borrow_mut().clear();
        let again = work(self);
        let kinds = std::mem::take(&mut *self.looking.borrow_mut());
        self.memories[model] = Memory {
            seen: (!again && before == self.revision).then_some(before),
            kinds,
            due_ms: self.due_ms,
        };
        self.due_ms = self
            .memories
            .iter()
            .filter_map(|memory| memory.due_ms)
            .min();
    }

    /// Forgets what was asked about objects that are gone.
    pub(crate) fn sweep(&mut self) {
        let uids: std::collections::BTreeSet<String> = self
            .items
            .values()
            .map(|object| text(object, "/metadata/uid").to_string())
            .collect();
        self.noted.retain(|what, _| {
            what.split(' ')
                .next()
                .is_none_or(|uid| uid.len() != 36 || uids.contains(uid))
        });
    }

    fn renew(&mut self, mut object: Value, old: Option<&Value>) -> Value {
        let secret = kind_of(&object) == "Secret";
        if secret && let Some(plain) = object.get("stringData").cloned() {
            use base64::Engine as _;
            for (name, value) in plain.as_object().into_iter().flatten() {
                let word = value.as_str().unwrap_or_default();
                let coded = base64::engine::general_purpose::STANDARD.encode(word);
                object["data"][name.as_str()] = json!(coded);
            }
            if let Some(members) = object.as_object_mut() {
                members.shift_remove("stringData");
            }
        }
        let generation = old.map_or(1, |old| {
            let was = old["metadata"]["generation"].as_u64().unwrap_or(1);
            was + u64::from(!same_wish(old, &object))
        });
        self.revision += 1;
        self.changed.insert(kind_of(&object), self.revision);
        let uid = old.map_or_else(
            || {
                let (kind, namespace, name) = key(&object);
                let purpose = format!("object {kind} {namespace} {name} {}", self.revision);
                chance::uuid(self.seed, &purpose)
            },
            |old| text(old, "/metadata/uid").to_string(),
        );
        let made = old.map_or_else(
            || self.date(),
            |old| text(old, "/metadata/creationTimestamp").to_string(),
        );
        set(&mut object, "/metadata/creationTimestamp", json!(made));
        set(&mut object, "/metadata/generation", json!(generation));
        set(
            &mut object,
            "/metadata/resourceVersion",
            json!(self.revision.to_string()),
        );
        if text(&object, "/metadata/uid").is_empty() || old.is_some() {
            set(&mut object, "/metadata/uid", json!(uid));
        }
        object
    }
}

impl Objects {
    fn saw(&self, kind: &str) {
        let mut looking = self.looking.borrow_mut();
        if !looking.contains(kind) {
            looking.insert(kind.to_string());
        }
    }
}

/// Whether two states of an object want the same.
fn same_wish(old: &Value, new: &Value) -> bool {
    let wish = |object: &Value| -> Vec<(String, Value)> {
        let members = object.as_object().into_iter().flatten();
        let mut all: Vec<(String, Value)> = members
            .filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    };
    wish(old) == wish(new)
}

impl Store for Objects {
    fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.saw(kind);
        self.items.get(&own(kind, namespace, name))
    }

    fn list(&self, kind: &str) -> Vec<&Value> {
        self.saw(kind);
        self.items
            .range(own(kind, "", "")..)
            .take_while(|((of, _, _), _)| of == kind)
            .map(|(_, object)| object)
            .collect()
    }

    fn write(&mut self, object: Value) {
        let key = key(&object);
        let old = self.items.get(&key).cloned();
        if let Some(old) = &old {
            let mut same = object.clone();
            for member in ["resourceVersion", "generation", "uid", "creationTimestamp"] {
                if let Some(value) = old["metadata"].get(member) {
                    same["metadata"][member] = value.clone();
                }
            }
            if same == *old {
                return;
            }
        }
        let renewed = self.renew(object, old.as_ref());
        let held = renewed["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        let going = renewed["metadata"].get("deletionTimestamp").is_some();
        if going && !held && key.0 != "Namespace" {
            self.items.remove(&key);
        } else {
            self.items.insert(key, renewed);
        }
    }

    fn remove(&mut self, kind: &str, namespace: &str, name: &str) {
        let key = own(kind, namespace, name);
        let Some(object) = self.items.get(&key) else {
            return;
        };
        let held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        let going = object["metadata"].get("deletionTimestamp").is_some();
        if !held && (kind != "Namespace" || going) {
            self.items.remove(&key);
            self.revision += 1;
            self.changed.insert(kind.to_string(), self.revision);
            return;
        }
        if !going {
            let mut object = object.clone();
            set(
                &mut object,
                "/metadata/deletionTimestamp",
                json!(self.date()),
            );
            self.write(object);
        }
    }

    fn passed(&mut self, what: &str, ms: u64) -> bool {
        let now = self.at_ms;
        let since = *self.noted.entry(what.to_string()).or_insert(now);
        let due = since + ms;
        if due <= now {
            return true;
        }
        self.due_ms = Some(self.due_ms.map_or(due, |other| other.min(due)));
        false
    }

    fn forget(&mut self, what: &str) {
        self.noted.remove(what);
    }

    fn now(&self) -> u64 {
        self.at_ms
    }

    fn date(&self) -> String {
        clock::rfc3339(self.epoch_ms + self.at_ms)
    }

    fn all(&self) -> Vec<&Value> {
        self.saw(EVERYTHING);
        self.items.values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Objects, Store as _};
    use serde_json::json;

    #[test]
    fn a_wish_that_changes_counts_a_generation_and_a_status_does_not() {
        let mut objects = Objects::new(1, 1_790_000_000_000, 0);
        objects.write(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "namespace": "d" }, "data": { "x": "1" } }));
        let first = objects.get("ConfigMap", "d", "a").unwrap().clone();
        assert_eq!(first["metadata"]["generation"], 1);
        let mut second = first.clone();
        second["status"] = json!({ "seen": true });
        objects.write(second.clone());
        second["data"]["x"] = json!("2");
        objects.write(second);
        let now = objects.get("ConfigMap", "d", "a").unwrap();
        assert_eq!(now["metadata"]["generation"], 2);
        assert_eq!(now["metadata"]["uid"], first["metadata"]["uid"]);
        let revision = objects.revision;
        let same = objects.get("ConfigMap", "d", "a").unwrap().clone();
        objects.write(same);
        assert_eq!(objects.revision, revision, "the same again is no change");
    }

    #[test]
    fn what_has_a_finalizer_goes_only_when_that_is_gone() {
        let mut objects = Objects::new(1, 1_790_000_000_000, 0);
        objects.write(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "namespace": "d", "finalizers": ["x/y"] } }));
        objects.remove("ConfigMap", "d", "a");
        let mut going = objects.get("ConfigMap", "d", "a").unwrap().clone();
        assert!(going["metadata"].get("deletionTimestamp").is_some());
        going["metadata"]["finalizers"] = json!([]);
        objects.write(going);
        assert!(objects.get("ConfigMap", "d", "a").is_none());
    }

    #[test]
    fn a_model_looks_again_only_at_what_has_changed() {
        let map = |name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "d" } });
        let mut objects = Objects::new(1, 1_790_000_000_000, 100);
        objects.forget_looks(2);
        assert!(objects.must_look(0));
        objects.look(0, |objects| {
            objects.list("ConfigMap");
            objects.passed("x", 50)
        });
        objects.look(1, |objects| {
            objects.write(map("a"));
            false
        });
        assert!(objects.must_look(0), "a ConfigMap is new");
        assert!(objects.must_look(1), "who changed something looks again");
        objects.look(0, |objects| objects.list("ConfigMap").is_empty());
        assert!(!objects.must_look(0));
        objects.write(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "a", "namespace": "d" } }));
        assert!(!objects.must_look(0), "it has not asked for Secrets");
        objects.remove("ConfigMap", "d", "a");
        assert!(objects.must_look(0));
        objects.look(0, |objects| objects.passed("x", 50));
        assert_eq!(objects.due_ms, Some(150));
        assert!(!objects.must_look(0));
        objects.begin(150);
        assert!(objects.must_look(0), "its time has come");
    }

    #[test]
    fn what_was_asked_is_due_when_its_time_has_passed() {
        let mut objects = Objects::new(1, 1_790_000_000_000, 100);
        assert!(!objects.passed("x", 50));
        assert_eq!(objects.due_ms, Some(150));
        objects.begin(150);
        assert!(objects.passed("x", 50));
    }
}
