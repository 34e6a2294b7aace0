//! Heartbeats in, taints out, and where the real scheduler then puts pods.

use serde_json::json;

use crate::scene::Scene;
use crate::wait::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn pods_scheduled_after_a_loss_land_on_the_spare_and_come_back_after_the_return() {
    let mut scene = Scene::start(&["eu-1", "eu-2", "eu-3", "spare-1"], &["--spare-policy=OnFailure"]).await;
    scene.connect().await;

    // Calm: spares come last.
    scene.create_deployment("before", 3, json!({})).await;
    let nodes = scene.bound("before", 3).await;
    assert!(nodes.iter().all(|node| node.starts_with("eu-")), "{nodes:?}");
    for pod in scene.pods("before").await {
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let node = pod.spec.and_then(|spec| spec.node_name).unwrap();
        assert_eq!(annotations["sheetanchor.dev/cluster"], format!("fleet/{node}"));
        assert_eq!(annotations["sheetanchor.dev/role"], "active");
    }

    // Loss: the taint on the ManagedCluster, its mirror on the Node, the condition, the Event.
    scene.member("eu-2").stop().await;
    scene.until_tainted("eu-2", Some("ClusterStatusUnknown")).await;
    eventually("the mirror on the node", PATIENCE, async || {
        let taints = scene.node_taints("eu-2").await;
        (taints == ["ClusterStatusUnknown"]).then_some(()).ok_or_else(|| format!("{taints:?}"))
    })
    .await;
    scene.create_deployment("after", 5, json!({})).await;
    let nodes = scene.bound("after", 5).await;
    assert!(nodes.iter().all(|node| node == "spare-1"), "{nodes:?}");

    // A pod that only the lost cluster could take waits, and says why.
    scene.create_deployment("pinned", 1, json!({"kubernetes.io/hostname": "eu-2"})).await;
    let reason = eventually("the pod to say why it waits", PATIENCE, async || {
        let pod = scene.pods("pinned").await.pop()?;
        let conditions = pod.status?.conditions?;
        conditions.into_iter().find(|condition| condition.type_ == "PodScheduled")?.message
    })
    .await;
    assert!(reason.contains("untolerated taint") || reason.contains("is Lost"), "{reason}");

    // Return: the pod is scheduled because the Node changed, not after the scheduler's five minutes.
    scene.member("eu-2").resume().await;
    scene.until_verdict("eu-2", "Ready").await;
    scene.until_tainted("eu-2", None).await;
    assert_eq!(scene.bound("pinned", 1).await, ["eu-2"]);
    assert!(scene.node_taints("eu-2").await.is_empty());
}
