//! The Node, as far as it matters here: its mapping labels, its taints, our annotation.

use std::borrow::Cow;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::node::{CLUSTER_LABEL, Node};
use crate::domain::taint::Taint;

use super::json::or_default;
use super::taint::{Pen, WireTaint, taints_json};

/// The annotation on a Node that repeats the foreign taints of its cluster. Its change is what
/// wakes the scheduler, which does not watch ManagedClusters.
pub const CLUSTER_TAINTS_ANNOTATION: &str = "sheetanchor.dev/cluster-taints";

/// A Node as it comes from the API server; status and the rest of the spec are skipped unread.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NodeObject {
    /// Name, labels, annotations.
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    spec: NodeSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct NodeSpec {
    #[serde(default, deserialize_with = "or_default")]
    taints: Vec<WireTaint>,
}

impl Resource for NodeObject {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "nodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl NodeObject {
    /// The node, with those of its labels that may name a cluster: ours and `node_labels`.
    pub fn into_node(self, node_labels: &[String]) -> Node {
        let names_cluster = |label: &String| label == CLUSTER_LABEL || node_labels.contains(label);
        let labels = self.metadata.labels.unwrap_or_default();
        Node {
            name: self.metadata.name.unwrap_or_default(),
            uid: self.metadata.uid.unwrap_or_default(),
            resource_version: self.metadata.resource_version.unwrap_or_default(),
            labels: labels.into_iter().filter(|(label, _)| names_cluster(label)).collect(),
            taints: self.spec.taints.into_iter().map(Taint::from).collect(),
            cluster_taints: self
                .metadata
                .annotations
                .and_then(|mut annotations| annotations.remove(CLUSTER_TAINTS_ANNOTATION)),
        }
    }
}

/// A merge patch for a Node's taints and our annotation, that fails unless the Node is still at
/// `resource_version`.
pub fn mirror_patch(
    resource_version: &str,
    taints: Option<&[Taint]>,
    cluster_taints: Option<&Option<String>>,
    pen: Pen<'_>,
) -> Value {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".to_owned(), json!(resource_version));
    if let Some(value) = cluster_taints {
        metadata.insert("annotations".to_owned(), json!({ CLUSTER_TAINTS_ANNOTATION: value }));
    }
    let mut patch = json!({ "metadata": metadata });
    if let Some(taints) = taints {
        patch["spec"] = json!({ "taints": taints_json(taints, pen) });
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_is_kept() {
        let object: NodeObject = serde_json::from_value(json!({
            "metadata": {"name": "vk-1", "uid": "u", "resourceVersion": "3",
                "labels": {"a": "b", CLUSTER_LABEL: "fleet.eu-1", "mine": "x"},
                "annotations": {CLUSTER_TAINTS_ANNOTATION: "gpu:NoSchedule", "other": "y"}},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}], "podCIDR": "10.0.0.0/24"},
            "status": {"images": [{"names": ["x"]}]},
        }))
        .expect("decodes");
        let node = object.into_node(&["mine".to_owned()]);
        assert_eq!(node.labels.len(), 2);
        assert_eq!(node.cluster_taints.as_deref(), Some("gpu:NoSchedule"));
        assert_eq!(node.taints.len(), 1);
    }

    #[test]
    fn a_patch_names_only_what_changes() {
        let pen = Pen { taint_key: "k", now: "now" };
        assert_eq!(
            mirror_patch("3", None, Some(&None), pen),
            json!({"metadata": {"resourceVersion": "3", "annotations": {CLUSTER_TAINTS_ANNOTATION: null}}})
        );
        assert_eq!(
            mirror_patch("3", Some(&[]), None, pen),
            json!({"metadata": {"resourceVersion": "3"}, "spec": {"taints": []}})
        );
    }
}
