//! Spares in reserve, with a scheduler that sends whole Nodes.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::scene::Scene;
use crate::sheetanchor::{extender_config, register_webhook};
use crate::wait::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_in_reserve_is_used_as_soon_as_an_active_cluster_dies() {
    let mut scene = Scene::start(&["eu-1", "eu-2", "spare-1"], &["--spare-policy=Reserve"]).await;
    for name in ["eu-1", "eu-2", "spare-1"] {
        scene.until_verdict(name, "Ready").await;
    }
    register_webhook(&scene.client, &scene.sheetanchor).await;
    let config = extender_config(&scene.control_plane, &scene.sheetanchor);
    let whole_nodes = config.replace("nodeCacheCapable: true", "nodeCacheCapable: false");
    assert_ne!(whole_nodes, config);
    scene.control_plane.start_scheduler(&whole_nodes);
    scene.control_plane.start_controller_manager();

    scene.create_deployment("calm", 4, json!({})).await;
    let nodes = scene.bound("calm", 4).await;
    assert!(nodes.iter().all(|node| node.starts_with("eu-")), "{nodes:?}");

    // Only the extender is against it, and its reason is what people read.
    scene.create_deployment("eager", 2, json!({"kubernetes.io/hostname": "spare-1"})).await;
    eventually("both pods to say why they wait", PATIENCE, async || {
        let reasons: Vec<String> = scene.pods("eager").await.iter().filter_map(reason).collect();
        let told = |text: &&String| text.contains("cluster \"fleet/spare-1\" is a spare held in reserve");
        if reasons.iter().filter(told).count() == 2 { Ok(()) } else { Err(format!("{reasons:?}")) }
    })
    .await;
    let pod = scene.pods("eager").await.pop().unwrap();
    let text = scene.until_event(&pod.metadata.name.unwrap(), "FailedScheduling").await;
    assert!(text.contains("is a spare held in reserve: every active cluster is schedulable"), "{text}");

    // Nothing changes on the spare's own Node. What wakes the pods is the dead cluster's.
    scene.member("eu-1").stop().await;
    assert_eq!(scene.bound("eager", 2).await, ["spare-1", "spare-1"]);
    for pod in scene.pods("eager").await {
        let annotations = pod.metadata.annotations.unwrap_or_default();
        assert_eq!(annotations["sheetanchor.dev/cluster"], "fleet/spare-1");
        assert_eq!(annotations["sheetanchor.dev/role"], "spare");
    }
    scene.create_deployment("storm", 3, json!({})).await;
    let nodes = scene.bound("storm", 3).await;
    assert!(nodes.iter().all(|node| node == "spare-1"), "{nodes:?}");
}

/// Why a pod is not scheduled.
fn reason(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    scheduled.message.clone()
}
