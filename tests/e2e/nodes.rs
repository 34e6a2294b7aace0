//! Virtual nodes: Node objects that stand for a whole member cluster, with no kubelet behind them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

/// Creates a Node, ready and roomy, that the scheduler will use.
pub(crate) async fn add_virtual_node(client: &Client, name: &str, labels: &[(&str, &str)]) {
    let api: Api<Node> = Api::all(client.clone());
    let mut all_labels = BTreeMap::from([("kubernetes.io/hostname", name)]);
    all_labels.extend(labels.iter().copied());
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": all_labels},
    }))
    .unwrap();
    api.create(&PostParams::default(), &node).await.unwrap();

    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "500"});
    let status = json!({"status": {
        "capacity": room,
        "allocatable": room,
        "conditions": [{"type": "Ready", "status": "True", "reason": "VirtualNode"}],
    }});
    let params = PatchParams::default();
    api.patch_status(name, &params, &Patch::Merge(&status)).await.unwrap();

    // Admission taints every new Node not-ready; the controller that would lift it does not run.
    let untainted = json!({"spec": {"taints": null}});
    api.patch(name, &params, &Patch::Merge(&untainted)).await.unwrap();
}
