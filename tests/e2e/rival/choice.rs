//! What the rival decides: the same view gives the same placement.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

/// The fields of the status that a scheduler writes.
const PLACEMENT: [&str; 4] = ["bindingClusters", "desiredReleases", "replicas", "specHash"];

/// Objects by name; ManagedClusters by `namespace/name`.
pub(super) type Objects = BTreeMap<String, DynamicObject>;

/// What a scheduler has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) clusters: Objects,
    pub(super) subscriptions: Objects,
    pub(super) inventories: Objects,
}

impl View {
    /// The merge patch that places a Subscription; `None` when it is placed as it should be, or is
    /// not ours to place.
    ///
    /// `turn`: from which of a sub-group's clusters on it picks. Clusternet's picks are as arbitrary.
    pub(super) fn decide(&self, name: &str, turn: usize) -> Option<Value> {
        let subscription = self.subscriptions.get(name)?;
        let (spec, status) = (&subscription.data["spec"], &subscription.data["status"]);
        let hash = spec_hash(spec);
        if spec["schedulerName"] != "default" || subscription.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let mut wanted = Map::from_iter([("specHash".to_owned(), json!(hash))]);
        let clusters = self.choose(spec, turn);
        if spec["schedulingStrategy"] == "Dividing" {
            let sums = self.sums(name)?;
            if status["specHash"] == hash && sums == placed_sums(status) {
                return None;
            }
            let share = |(feed, sum): (String, i64)| (feed, divide(sum, clusters.len()));
            wanted.insert("replicas".to_owned(), sums.into_iter().map(share).collect());
        }
        // Like Go's omitempty: what is empty is not there.
        if clusters.is_empty() {
            wanted.remove("replicas");
        } else {
            wanted.insert("desiredReleases".to_owned(), json!(clusters.len()));
            wanted.insert("bindingClusters".to_owned(), json!(clusters));
        }
        let has = PLACEMENT.iter().map(|field| ((*field).to_owned(), status[field].clone()));
        let has = has.filter(|(_, value)| !value.is_null()).collect();
        let difference = difference(&has, &wanted);
        (!difference.is_empty()).then(|| json!({ "status": difference }))
    }

    /// The clusters for a spec, sorted.
    fn choose(&self, spec: &Value, turn: usize) -> Vec<&str> {
        let mut chosen = Vec::new();
        for subscriber in spec["subscribers"].as_array().unwrap() {
            let fits = |cluster: &DynamicObject| matches(subscriber, cluster) && tolerates(spec, cluster);
            let mut fitting: Vec<&str> =
                self.clusters.iter().filter(|(_, cluster)| fits(cluster)).map(|(key, _)| key.as_str()).collect();
            if spec["schedulingBySubGroup"] == true && !fitting.is_empty() {
                let wanted = subscriber["subGroupStrategy"]["minClusters"].as_u64().unwrap();
                let places = fitting.len();
                fitting.rotate_left(turn % places);
                fitting.truncate(wanted.try_into().unwrap());
            }
            chosen.extend(fitting);
        }
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    /// How many replicas each feed wants.
    fn sums(&self, name: &str) -> Option<BTreeMap<String, i64>> {
        let feeds = self.inventories.get(name)?.data["spec"]["feeds"].as_array()?;
        let word = |feed: &Value, field: &str| feed[field].as_str().unwrap().to_owned();
        let key = |feed| ["apiVersion", "kind", "namespace", "name"].map(|field| word(feed, field)).join("/");
        Some(feeds.iter().map(|feed| (key(feed), feed["desiredReplicas"].as_i64().unwrap())).collect())
    }
}

/// The sum of each feed's replicas in a status.
fn placed_sums(status: &Value) -> BTreeMap<String, i64> {
    let feeds = status["replicas"].as_object().into_iter().flatten();
    let sum = |counts: &Value| counts.as_array().unwrap().iter().filter_map(Value::as_i64).sum();
    feeds.map(|(feed, counts)| (feed.clone(), sum(counts))).collect()
}

/// As equal parts as there can be, the larger ones first.
fn divide(sum: i64, places: usize) -> Value {
    let places = i64::try_from(places).unwrap();
    (0..places).map(|place| sum / places + i64::from(place < sum % places)).collect()
}

fn matches(subscriber: &Value, cluster: &DynamicObject) -> bool {
    let affinity = &subscriber["clusterAffinity"];
    assert!(affinity["matchExpressions"].is_null(), "the rival understands only matchLabels");
    let labels = cluster.metadata.labels.clone().unwrap_or_default();
    let mut wanted = affinity["matchLabels"].as_object().into_iter().flatten();
    wanted.all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str())
}

fn tolerates(spec: &Value, cluster: &DynamicObject) -> bool {
    let tolerations: Vec<&Value> = spec["clusterTolerations"].as_array().into_iter().flatten().collect();
    let tolerated = |taint: &Value| {
        tolerations.iter().any(|toleration| {
            toleration["key"] == taint["key"]
                && (toleration["operator"] == "Exists" || toleration["value"] == taint["value"])
        })
    };
    let mut taints = cluster.data["spec"]["taints"].as_array().into_iter().flatten();
    taints.all(|taint| taint["effect"] == "PreferNoSchedule" || tolerated(taint))
}

/// FNV-32a of the spec's JSON; Clusternet's is of a dump of it, which is as good.
fn spec_hash(spec: &Value) -> u64 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    spec.to_string().bytes().fold(0x811c_9dc5_u32, step).into()
}

/// The merge patch that turns `old` into `new`.
fn difference(old: &Map<String, Value>, new: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, value) in new {
        match (old.get(key), value) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                _ = patch.insert(key.clone(), difference(old, new).into())
            }
            (_, new) => _ = patch.insert(key.clone(), new.clone()),
        }
    }
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    patch.extend(gone.map(|key| (key.clone(), Value::Null)));
    patch
}
