//! Clusternet's ManagedCluster (`clusters.clusternet.io/v1beta1`).
//!
//! Lenient: every field may be missing, and words are strings, so that a newer Clusternet does
//! not blind us. Only what cannot be a ManagedCluster at all fails to decode.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::cluster::{AgentReady, Cluster, ClusterKey, Condition, RELEASE_ANNOTATION, Resources};
use crate::domain::taint::Taint;

use super::json::or_default;
use super::quantity;
use super::taint::{Pen, WireTaint, taints_json};

/// The group of the ManagedCluster resource.
pub const GROUP: &str = "clusters.clusternet.io";
/// The version that we speak.
pub const VERSION: &str = "v1beta1";
/// The kind.
pub const KIND: &str = "ManagedCluster";

/// The object as it comes from the API server.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ManagedCluster {
    /// Name, namespace, labels.
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    cluster_id: Option<String>,
    cluster_init_base_name: Option<String>,
    #[serde(deserialize_with = "or_default")]
    taints: Vec<WireTaint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    last_observed_time: Option<String>,
    heartbeat_frequency_seconds: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<WireCondition>,
    #[serde(deserialize_with = "or_default")]
    allocatable: BTreeMap<String, Value>,
    resource_usage: Option<ResourceUsage>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceUsage {
    cpu_usage: Value,
    memory_usage: Value,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct WireCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_generation: Option<i64>,
}

impl Resource for ManagedCluster {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "managedclusters".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl From<WireCondition> for Condition {
    fn from(condition: WireCondition) -> Self {
        Self {
            kind: condition.kind,
            status: condition.status,
            reason: condition.reason,
            message: condition.message,
            last_transition_time: condition.last_transition_time,
            observed_generation: condition.observed_generation,
        }
    }
}

impl From<ManagedCluster> for Cluster {
    fn from(object: ManagedCluster) -> Self {
        let ManagedCluster { metadata, spec, status } = object;
        let conditions: Vec<Condition> = status.conditions.into_iter().map(Into::into).collect();
        let ready = conditions.iter().find(|condition| condition.kind == "Ready");
        let agent_ready = match ready.map(|condition| condition.status.as_str()) {
            Some("True") => AgentReady::True,
            Some("False") => AgentReady::False,
            _ => AgentReady::Unknown,
        };
        let release = metadata.annotations.as_ref().and_then(|all| all.get(RELEASE_ANNOTATION).cloned());
        Self {
            key: key(&metadata),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
            cluster_id: spec.cluster_id.unwrap_or_default(),
            wants_init: spec.cluster_init_base_name.is_some_and(|name| !name.is_empty()),
            taints: spec.taints.into_iter().map(Into::into).collect(),
            stamp: status.last_observed_time,
            declared_period_seconds: status.heartbeat_frequency_seconds,
            agent_ready,
            allocatable: resources(status.allocatable.get("cpu"), status.allocatable.get("memory")),
            used: status.resource_usage.and_then(|used| resources(Some(&used.cpu_usage), Some(&used.memory_usage))),
            conditions,
            release,
        }
    }
}

/// `namespace/name` of an object.
pub fn key(metadata: &ObjectMeta) -> ClusterKey {
    ClusterKey::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

fn resources(cpu: Option<&Value>, memory: Option<&Value>) -> Option<Resources> {
    let cpu_millis = quantity::parse(cpu?)? * 1000.0;
    Some(Resources { cpu_millis, memory_bytes: quantity::parse(memory?)? })
}

/// A merge patch that replaces `spec.taints`, and fails unless the object is still at `resource_version`.
pub fn taints_patch(resource_version: &str, taints: &[Taint], pen: Pen<'_>) -> Value {
    json!({"metadata": {"resourceVersion": resource_version}, "spec": {"taints": taints_json(taints, pen)}})
}

/// A merge patch that says that the cluster is dead, as of the stamp of its last beat; it fails unless
/// the object is still at `resource_version`.
pub fn release_patch(resource_version: &str, stamp: &str) -> Value {
    json!({"metadata": {"resourceVersion": resource_version, "annotations": {RELEASE_ANNOTATION: stamp}}})
}

/// A merge patch for `/status` that replaces `status.conditions`, and fails unless the object is
/// still at `resource_version`. Conditions without a transition time get `now` (RFC 3339).
pub fn conditions_patch(resource_version: &str, conditions: &[Condition], now: &str) -> Value {
    let wire = |condition: &Condition| {
        json!(WireCondition {
            kind: condition.kind.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            last_transition_time: condition.last_transition_time.clone().or_else(|| Some(now.to_owned())),
            observed_generation: condition.observed_generation,
        })
    };
    let conditions: Value = conditions.iter().map(wire).collect();
    json!({"metadata": {"resourceVersion": resource_version}, "status": {"conditions": conditions}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(value: Value) -> Result<Cluster, serde_json::Error> {
        serde_json::from_value::<ManagedCluster>(value).map(Into::into)
    }

    #[test]
    fn a_whole_object_is_read() {
        let cluster = decode(json!({
            "metadata": {"namespace": "fleet", "name": "eu-1", "uid": "u", "resourceVersion": "7", "labels": {"sheetanchor.dev/role": "spare"}},
            "spec": {"clusterId": "id", "syncMode": "Dual", "taints": [{"key": "gpu", "effect": "NoSchedule"}]},
            "status": {
                "lastObservedTime": "2026-11-23T10:00:00Z", "heartbeatFrequencySeconds": 15,
                "conditions": [{"type": "Ready", "status": "False", "reason": "r", "message": "", "lastTransitionTime": "t"}],
                "allocatable": {"cpu": "4", "memory": "8Gi"}, "resourceUsage": {"cpuUsage": "1000m", "memoryUsage": "2Gi"},
            },
        }))
        .expect("decodes");
        assert_eq!(cluster.key.as_str(), "fleet/eu-1");
        assert!(cluster.is_spare());
        assert_eq!(cluster.agent_ready, AgentReady::False);
        assert_eq!(cluster.declared_period_seconds, Some(15));
        assert_eq!(cluster.free_share(), Some(0.75));
        assert_eq!(cluster.taints[0].value, None);
    }

    #[test]
    fn what_is_missing_or_null_is_read_as_nothing() {
        for value in [
            json!({"metadata": {"namespace": "f", "name": "c"}}),
            json!({"metadata": {"namespace": "f", "name": "c"}, "spec": {"taints": null}, "status": null}),
            json!({"metadata": {"namespace": "f", "name": "c"}, "spec": {}, "status": {"lastObservedTime": null, "conditions": null}}),
        ] {
            let cluster = decode(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"));
            assert_eq!((cluster.stamp, cluster.agent_ready, cluster.taints.len()), (None, AgentReady::Unknown, 0));
        }
    }

    #[test]
    fn what_has_the_wrong_type_is_refused() {
        for status in [json!({"lastObservedTime": 7}), json!({"heartbeatFrequencySeconds": "x"}), json!("x")] {
            let value = json!({"metadata": {"namespace": "f", "name": "c"}, "status": status});
            assert!(decode(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn patches_keep_foreign_entries_as_they_were() {
        let foreign = json!([{"key": "gpu", "value": "ClusterStatusUnknown", "effect": "NoSchedule"}, {"key": "x", "value": "", "effect": "Odd", "timeAdded": "t"}]);
        let cluster = decode(json!({"metadata": {}, "spec": {"taints": foreign}})).expect("decodes");
        let mut taints = cluster.taints;
        taints.push(crate::domain::taint::Fault::ClusterStatusUnknown.taint("k"));
        let patch = taints_patch("7", &taints, Pen { taint_key: "k", now: "now" });
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["spec"]["taints"].as_array().map(|list| &list[..2]), foreign.as_array().map(|list| &list[..]));
        assert_eq!(patch["spec"]["taints"][2]["timeAdded"], "now");
    }
}
