//! Invariant `foreign_untouched`: what others wrote survives our writes byte for byte.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::fleet::managed_clusters;
use crate::scene::{FLEET, Scene, TAINT_KEY};
use crate::wait::{PATIENCE, eventually};

const BESIDE_KEY: &str = "sheetanchor.dev/unhealthy";

/// Entries that differ from each other, and from ours, in as little as they can.
fn foreign_taints() -> Value {
    json!([
        {"key": "gpu", "effect": "NoSchedule"},
        {"key": "gpu", "effect": "PreferNoSchedule", "value": ""},
        {"key": "maintenance", "value": "ClusterStatusUnknown", "effect": "NoExecute", "timeAdded": "2026-01-02T03:04:05Z"},
        {"key": TAINT_KEY, "value": "ClusterStatusUnknown", "effect": "PreferNoSchedule", "timeAdded": "2026-01-02T03:04:06Z"},
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_foreign_untouched_through_a_loss_and_a_return() {
    let scene = Scene::start(&["eu-1", "eu-2", "eu-3"], &[]).await;
    let annotations = json!({"theirs": "kept", "sheetanchor.dev/role": "theirs too"});
    let metadata = json!({"annotations": annotations, "labels": {"team": "a", "empty": ""}});
    let cluster = json!({"metadata": metadata, "spec": {"taints": foreign_taints()}});
    patch(&scene, "eu-1", "", &cluster).await;
    patch_node(&scene, "eu-1", &cluster).await;
    let foreign = json!([
        {"type": "Ready", "status": "True", "reason": "ManagedClusterReady", "message": "", "lastTransitionTime": "2026-01-02T03:04:07Z"},
        {"type": "theirs.example/Fine", "status": "Unknown", "reason": "Why", "message": "two\nlines",
         "lastTransitionTime": "2026-01-02T03:04:08Z", "observedGeneration": 7},
    ]);
    patch(&scene, "eu-1", "status", &json!({"status": {"conditions": foreign}})).await;
    // A person's word under our very key.
    let word = json!([{"key": TAINT_KEY, "value": "maintenance", "effect": "NoSchedule"}]);
    patch(&scene, "eu-2", "", &json!({"spec": {"taints": word}})).await;
    scene.until_alive("eu-1", "True", "Ready").await;
    let before = (theirs(&scene, "eu-1").await, node(&scene, "eu-1").await);
    let by_a_person = scene.generation("eu-2").await;

    scene.member("eu-1").stop().await;
    scene.until_tainted_beside("eu-1", 4, "ClusterStatusUnknown").await;
    scene.until_alive("eu-1", "Unknown", "Lost").await;
    assert_eq!(theirs(&scene, "eu-1").await, before.0);
    until_node_taints(&scene, "eu-1", 5).await;
    assert_eq!(node(&scene, "eu-1").await, before.1);
    scene.member("eu-1").resume().await;
    scene.until_verdict("eu-1", "Ready").await;
    scene.until_alive("eu-1", "True", "Ready").await;
    until_node_taints(&scene, "eu-1", 4).await;
    eventually("ours to go, and nothing else", PATIENCE, async || {
        let taints = Value::from(scene.taints("eu-1").await);
        if taints == foreign_taints() { Ok(()) } else { Err(format!("{taints}")) }
    })
    .await;
    assert_eq!((theirs(&scene, "eu-1").await, node(&scene, "eu-1").await), before);

    // It stands in for ours while it must, and stays when ours would go.
    scene.member("eu-2").stop().await;
    scene.until_alive("eu-2", "Unknown", "Lost").await;
    until_node_taints(&scene, "eu-2", 1).await;
    scene.member("eu-2").resume().await;
    scene.until_alive("eu-2", "True", "Ready").await;
    until_node_taints(&scene, "eu-2", 0).await;
    assert_eq!(Value::from(scene.taints("eu-2").await), word);
    assert_eq!(scene.generation("eu-2").await, by_a_person, "its spec was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_foreign_untouched_and_who_undoes_our_taint_is_answered() {
    let args = ["--taint-key", BESIDE_KEY];
    let scene = Scene::start(&["eu-1", "eu-2"], &args).await;
    // Clusternet's own taint, which another controller keeps.
    let clusternets = json!({"key": TAINT_KEY, "value": "ClusterStatusUnknown", "effect": "NoSchedule", "timeAdded": "2026-01-02T03:04:05Z"});
    patch(&scene, "eu-1", "", &json!({"spec": {"taints": [clusternets]}})).await;
    scene.until_verdict("eu-1", "Ready").await;
    eventually("their taint to be seen", PATIENCE, async || {
        let (passed, rejected) = scene.sheetanchor.filter(&["eu-1", "eu-2"]).await;
        if passed == ["eu-2"] { Ok(()) } else { Err(format!("{rejected:?}")) }
    })
    .await;

    scene.member("eu-1").stop().await;
    let ours = until_ours(&scene).await;
    assert_eq!(scene.taints("eu-1").await, [clusternets.clone(), ours.clone()]);

    patch(&scene, "eu-1", "", &json!({"spec": {"taints": [clusternets]}})).await;
    let again = until_ours(&scene).await;
    assert_eq!((&again["value"], &again["effect"]), (&ours["value"], &ours["effect"]));
    assert_eq!(scene.taints("eu-1").await[0], clusternets);
    let text = scene.until_event("eu-1", "TaintUndone").await;
    assert!(text.starts_with("somebody changed our taint on cluster \"fleet/eu-1\", which is Lost"), "{text}");
    assert_eq!(scene.sheetanchor.metric("taints_undone_total").await, 1.0);

    // With one beat, and not another, the recovery is not over.
    scene.member("eu-1").beat().await;
    scene.until_alive("eu-1", "Unknown", "Recovering").await;
    patch(&scene, "eu-1", "", &json!({"spec": {"taints": [clusternets]}})).await;
    until_ours(&scene).await;
    scene.until_verdict("eu-1", "Recovering").await;
    assert_eq!(scene.sheetanchor.metric("taints_undone_total").await, 2.0);

    scene.member("eu-1").resume().await;
    eventually("ours to go", PATIENCE, async || {
        let taints = scene.taints("eu-1").await;
        if taints == [clusternets.clone()] { Ok(()) } else { Err(format!("{taints:?}")) }
    })
    .await;
}

/// Waits for our taint under the other key.
async fn until_ours(scene: &Scene) -> Value {
    eventually("our taint", PATIENCE, async || {
        let taints = scene.taints("eu-1").await;
        let ours = taints.iter().find(|taint| taint["key"] == BESIDE_KEY);
        ours.cloned().ok_or_else(|| format!("{taints:?}"))
    })
    .await
}

impl Scene {
    /// Waits until ours stands behind so many others' taints.
    async fn until_tainted_beside(&self, name: &str, others: usize, value: &str) {
        eventually(&format!("{name} to bear ours too"), PATIENCE, async || {
            let taints = self.taints(name).await;
            let last = taints.get(others).filter(|taint| taint["value"] == value && taint["effect"] == "NoSchedule");
            last.filter(|taint| taint["timeAdded"].is_string()).map(|_| ()).ok_or_else(|| format!("{taints:?}"))
        })
        .await;
    }
}

/// A ManagedCluster without what is ours, and without what each beat changes.
async fn theirs(scene: &Scene, name: &str) -> Value {
    let DynamicObject { metadata, mut data, .. } = scene.member(name).stored().await;
    let taints = data["spec"]["taints"].as_array_mut().unwrap();
    taints.retain(|taint| taint["key"] != TAINT_KEY || taint["effect"] != "NoSchedule");
    let conditions = data["status"]["conditions"].as_array_mut().unwrap();
    conditions.retain(|condition| condition["type"] != "sheetanchor.dev/Alive");
    data["status"]["lastObservedTime"] = Value::Null;
    json!([metadata.labels, metadata.annotations, metadata.finalizers, data])
}

/// A Node without what is ours.
async fn node(scene: &Scene, name: &str) -> Value {
    let node = Api::<Node>::all(scene.client.clone()).get(name).await.unwrap();
    let mut annotations = node.metadata.annotations.unwrap_or_default();
    annotations.remove("sheetanchor.dev/cluster-taints");
    let mut node = json!([node.metadata.labels, annotations, node.spec, node.status]);
    let taints = node[2]["taints"].as_array_mut().unwrap();
    taints.retain(|taint| taint["key"] != TAINT_KEY || taint["effect"] != "NoSchedule");
    node
}

async fn until_node_taints(scene: &Scene, name: &str, count: usize) {
    eventually(&format!("the node {name} to have {count} taints"), PATIENCE, async || {
        let node = Api::<Node>::all(scene.client.clone()).get(name).await.unwrap();
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        if taints.len() == count { Ok(()) } else { Err(format!("{taints:?}")) }
    })
    .await;
}

async fn patch(scene: &Scene, name: &str, subresource: &str, patch: &Value) {
    let (api, params, patch) = (managed_clusters(&scene.client, FLEET), PatchParams::default(), Patch::Merge(patch));
    match subresource {
        "" => api.patch(name, &params, &patch).await.unwrap(),
        _ => api.patch_status(name, &params, &patch).await.unwrap(),
    };
}

async fn patch_node(scene: &Scene, name: &str, patch: &Value) {
    let api: Api<Node> = Api::all(scene.client.clone());
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}
