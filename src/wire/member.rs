//! A member cluster's own Nodes and Pods, as far as its agent adds them up. What they hold is
//! computed while they are decoded, so that only a few numbers of each are kept.

use std::collections::BTreeMap;

use kube::core::{NotUsed, Object};
use serde::Deserialize;
use serde_json::Value;

use crate::domain::cluster::Resources;
use crate::domain::requests::{InitContainer, PodParts};
use crate::domain::tally::{MemberNode, MemberPod, NodeReady};

use super::json::or_default;
use super::quantity;

/// A Node as it comes from the API server; its spec is skipped.
pub type NodeObject = Object<NotUsed, NodeStatus>;

/// A Pod as it comes from the API server; its status is skipped.
pub type PodObject = Object<PodSpec, NotUsed>;

/// What a Node has, and whether it is ready.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "RawNodeStatus")]
pub struct NodeStatus {
    ready: NodeReady,
    capacity: Resources,
    allocatable: Resources,
}

/// Where a Pod is bound to, and what it requests there.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawPodSpec")]
pub struct PodSpec {
    node: Box<str>,
    requests: Resources,
}

type Quantities = BTreeMap<String, Value>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNodeStatus {
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<RawCondition>,
    #[serde(deserialize_with = "or_default")]
    capacity: Quantities,
    #[serde(deserialize_with = "or_default")]
    allocatable: Quantities,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodSpec {
    #[serde(deserialize_with = "or_default")]
    node_name: String,
    #[serde(deserialize_with = "or_default")]
    containers: Vec<RawContainer>,
    #[serde(deserialize_with = "or_default")]
    init_containers: Vec<RawContainer>,
    #[serde(deserialize_with = "or_default")]
    resources: RawRequirements,
    #[serde(deserialize_with = "or_default")]
    overhead: Quantities,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    #[serde(deserialize_with = "or_default")]
    resources: RawRequirements,
    restart_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawRequirements {
    #[serde(deserialize_with = "or_default")]
    requests: Quantities,
}

impl From<RawNodeStatus> for NodeStatus {
    fn from(status: RawNodeStatus) -> Self {
        let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
        Self {
            ready: match ready.map(|condition| condition.status.as_str()) {
                Some("True") => NodeReady::True,
                Some("False") => NodeReady::False,
                Some(_) => NodeReady::Unknown,
                None => NodeReady::Missing,
            },
            capacity: resources(&status.capacity),
            allocatable: resources(&status.allocatable),
        }
    }
}

impl From<RawPodSpec> for PodSpec {
    fn from(spec: RawPodSpec) -> Self {
        let init = |container: &RawContainer| InitContainer {
            requests: resources(&container.resources.requests),
            sidecar: container.restart_policy.as_deref() == Some("Always"),
        };
        let parts = PodParts {
            containers: spec.containers.iter().map(|container| resources(&container.resources.requests)).collect(),
            init_containers: spec.init_containers.iter().map(init).collect(),
            pod_cpu_millis: millis(&spec.resources.requests),
            pod_memory_bytes: bytes(&spec.resources.requests),
            overhead: resources(&spec.overhead),
        };
        Self { node: spec.node_name.into(), requests: parts.requests() }
    }
}

/// The node that the object describes.
pub fn node(object: &NodeObject) -> MemberNode<'_> {
    let NodeStatus { ready, capacity, allocatable } = object.status.unwrap_or_default();
    MemberNode { name: object.metadata.name.as_deref().unwrap_or_default(), ready, capacity, allocatable }
}

/// The pod that the object describes.
pub fn pod(object: &PodObject) -> MemberPod<'_> {
    MemberPod { node: &object.spec.node, requests: object.spec.requests }
}

fn resources(quantities: &Quantities) -> Resources {
    Resources {
        cpu_millis: millis(quantities).unwrap_or_default(),
        memory_bytes: bytes(quantities).unwrap_or_default(),
    }
}

fn millis(quantities: &Quantities) -> Option<f64> {
    quantity::parse(quantities.get("cpu")?).map(|cores| cores * 1000.0)
}

fn bytes(quantities: &Quantities) -> Option<f64> {
    quantity::parse(quantities.get("memory")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decode<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("decodes")
    }

    #[test]
    fn a_node_is_read_and_what_is_missing_is_nothing() {
        let object: NodeObject = decode(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {"podCIDR": "10.0.0.0/24"},
            "status": {
                "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                "allocatable": {"cpu": "3920m", "memory": "7Gi"},
                "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
                "images": [{"names": ["x"]}],
            },
        }));
        let read = node(&object);
        assert_eq!((read.name, read.ready), ("n", NodeReady::True));
        assert_eq!(read.capacity, Resources { cpu_millis: 4000.0, memory_bytes: 8_589_934_592.0 });
        assert_eq!(read.allocatable, Resources { cpu_millis: 3920.0, memory_bytes: 7_516_192_768.0 });

        for (status, ready) in [
            (json!(null), NodeReady::Missing),
            (json!({"conditions": null, "capacity": null}), NodeReady::Missing),
            (json!({"conditions": [{"type": "Ready", "status": "False"}]}), NodeReady::False),
            (json!({"conditions": [{"type": "Ready", "status": "Unknown"}]}), NodeReady::Unknown),
        ] {
            let object: NodeObject = decode(json!({"metadata": {"name": "n"}, "spec": {}, "status": status}));
            assert_eq!((node(&object).ready, node(&object).capacity), (ready, Resources::default()), "{status}");
        }
    }

    #[test]
    fn a_pod_is_read_with_all_its_parts() {
        let object: PodObject = decode(json!({
            "metadata": {"name": "p", "namespace": "d"},
            "spec": {
                "nodeName": "n",
                "containers": [
                    {"name": "a", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "9"}}},
                    {"name": "b", "resources": {}}, {"name": "c"},
                ],
                "initContainers": [
                    {"name": "i", "resources": {"requests": {"cpu": "1"}}},
                    {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"memory": "1Mi"}}},
                ],
                "overhead": {"cpu": "10m"},
            },
            "status": {"phase": "Running"},
        }));
        let read = pod(&object);
        assert_eq!((read.node, read.requests), ("n", Resources { cpu_millis: 1010.0, memory_bytes: 68_157_440.0 }));
        let object: PodObject = decode(json!({"metadata": {}, "spec": {"containers": null,
            "resources": {"requests": {"cpu": "2"}}}}));
        assert_eq!((pod(&object).node, pod(&object).requests.cpu_millis), ("", 2000.0));
    }
}
