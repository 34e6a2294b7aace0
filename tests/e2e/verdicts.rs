//! The verdicts that are not about silence: an agent's own word, and a cluster that never spoke;
//! and a cluster whose object is gone.

use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::fleet::managed_clusters;
use crate::scene::{FLEET, Scene, TAINT_KEY};
use crate::wait::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_twice_says_not_ready_is_believed() {
    let scene = Scene::start(&["eu-1", "eu-2"], &[]).await;
    scene.until_alive("eu-1", "True", "Ready").await;
    let member = scene.member("eu-1");

    // Once is not enough, however often.
    member.stop().await;
    for _ in 0..3 {
        for (ready, role) in [(false, "spare"), (true, "active")] {
            member.set_ready(ready).await;
            member.beat().await;
            until_judged(&scene, role).await;
        }
    }
    member.resume().await;
    let seen = scene.sheetanchor.metric("heartbeats_total").await;
    eventually("a later beat", PATIENCE, async || {
        (scene.sheetanchor.metric("heartbeats_total").await > seen + 2.0).then_some(())
    })
    .await;
    assert_eq!(scene.sheetanchor.metric(r#"verdict_changes_total{verdict="NotReady"}"#).await, 0.0);
    assert_eq!(scene.generation("eu-1").await, 1, "it was tainted");

    member.set_ready(false).await;
    scene.until_tainted("eu-1", Some("ManagedClusterNotReady")).await;
    scene.until_alive("eu-1", "False", "NotReady").await;
    let text = scene.until_event("eu-1", "ClusterNotReady").await;
    assert_eq!(
        text,
        "cluster \"fleet/eu-1\" is NotReady: its agent reported Ready=False in 2 reports in a row (limit 2)"
    );
    until_node(&scene, "eu-1", &["ManagedClusterNotReady"]).await;
    let (passed, rejected) = scene.sheetanchor.filter(&["eu-1", "eu-2"]).await;
    assert_eq!(passed, ["eu-2"]);
    assert!(rejected["eu-1"].starts_with("cluster \"fleet/eu-1\" is NotReady"), "{rejected:?}");

    // Recovering keeps the taint: with one good beat, and not another, it stays so.
    member.stop().await;
    member.set_ready(true).await;
    member.beat().await;
    scene.until_alive("eu-1", "Unknown", "Recovering").await;
    scene.until_tainted("eu-1", Some("ManagedClusterNotReady")).await;
    member.resume().await;
    scene.until_tainted("eu-1", None).await;
    scene.until_alive("eu-1", "True", "Ready").await;
    until_node(&scene, "eu-1", &[]).await;
    scene.until_event("eu-1", "ClusterRecovering").await;
    scene.until_event("eu-1", "ClusterReady").await;
}

/// Waits until eu-1 was judged with its last beat: what changes later is out, and nodes are mapped
/// anew, as a new role demands, only together with a look at all clusters.
async fn until_judged(scene: &Scene, role: &str) {
    let patch = json!({"metadata": {"labels": {"sheetanchor.dev/role": role}}});
    let api = managed_clusters(&scene.client, FLEET);
    api.patch("eu-1", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    eventually("the role to be known", PATIENCE, async || (scene.cluster("eu-1").await?["role"] == role).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_never_speaks_is_not_used_until_it_does() {
    let scene = Scene::start(&["eu-1"], &["--cluster-status-update-frequency=1s"]).await;
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ManagedCluster",
        "metadata": {"namespace": FLEET, "name": "silent"},
        "spec": {"clusterId": "12345678-1234-4234-8234-123456789abc", "syncMode": "Dual"},
    }))
    .unwrap();
    let api = managed_clusters(&scene.client, FLEET);
    api.create(&PostParams::default(), &object).await.unwrap();

    let taints = eventually("its taint", PATIENCE, async || {
        let stored = api.get("silent").await.map_err(|error| error.to_string())?;
        let taints = stored.data["spec"]["taints"].clone();
        if taints.is_array() { Ok(taints) } else { Err(stored.data.to_string()) }
    })
    .await;
    let ours = (&taints[0]["key"], &taints[0]["value"], &taints[0]["effect"]);
    assert_eq!(ours, (&json!(TAINT_KEY), &json!("ClusterStatusNeverUpdated"), &json!("NoSchedule")));
    let alive = async || {
        let stored = api.get("silent").await.unwrap();
        let conditions = stored.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ours = conditions.into_iter().find(|condition| condition["type"] == "sheetanchor.dev/Alive");
        ours.map(|ours| (ours["status"].clone(), ours["reason"].clone()))
    };
    eventually("the condition", PATIENCE, async || match alive().await {
        Some((status, reason)) if status == "Unknown" && reason == "NeverReported" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let text = scene.until_event("silent", "ClusterNeverReported").await;
    assert!(text.ends_with("since we first saw it (limit 3s)"), "{text}");

    let beat = json!({"status": {"lastObservedTime": "2026-01-02T03:04:05Z", "heartbeatFrequencySeconds": 60}});
    api.patch_status("silent", &PatchParams::default(), &Patch::Merge(&beat)).await.unwrap();
    eventually("no taint", PATIENCE, async || {
        let taints = api.get("silent").await.unwrap().data["spec"]["taints"].clone();
        if taints.as_array().is_none_or(Vec::is_empty) { Ok(()) } else { Err(taints.to_string()) }
    })
    .await;
    scene.until_verdict("silent", "Ready").await;
    assert_eq!(scene.generation("eu-1").await, 1, "the other one was tainted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_of_a_cluster_that_vanished_while_lost_is_not_used_until_a_person_says_so() {
    let mut scene = Scene::start(&["eu-1", "eu-2"], &[]).await;
    scene.until_verdict("eu-1", "Ready").await;
    scene.member("eu-1").stop().await;
    until_node(&scene, "eu-1", &["ClusterStatusUnknown"]).await;
    let before = node(&scene, "eu-1").await.resource_version();

    managed_clusters(&scene.client, FLEET).delete("eu-1", &DeleteParams::default()).await.unwrap();
    for restarted in [false, true] {
        if restarted {
            scene.sheetanchor.restart().await;
        }
        eventually("the fleet without it", PATIENCE, async || {
            let gone = scene.cluster("eu-1").await.is_none() && scene.cluster("eu-2").await.is_some();
            gone.then_some(())
        })
        .await;
        // Nobody is there to run a pod, whatever it tolerates.
        let pod = json!({"metadata": {"name": "p"}, "spec": {"tolerations": [{"operator": "Exists"}]}});
        let question = json!({"Pod": pod, "NodeNames": ["eu-1", "eu-2"]});
        let answer: Value = serde_json::from_slice(&scene.sheetanchor.post("/filter", &question).await.1).unwrap();
        assert_eq!(answer["NodeNames"], json!(["eu-2"]), "{answer}");
        assert_eq!(
            answer["FailedAndUnresolvableNodes"]["eu-1"],
            "cluster \"sheetanchor.dev/cluster=fleet.eu-1\" is gone or cannot be read, and its node still \
             bears our taint: remove that taint only if it is to be used without a cluster"
        );
    }
    // Something else that we write shows that we had the time to write on this one.
    scene.member("eu-2").set_ready(false).await;
    until_node(&scene, "eu-2", &["ManagedClusterNotReady"]).await;
    assert_eq!(node(&scene, "eu-1").await.resource_version(), before, "its node was written");

    let untainted = json!({"spec": {"taints": null}});
    let nodes: Api<Node> = Api::all(scene.client.clone());
    nodes.patch("eu-1", &PatchParams::default(), &Patch::Merge(&untainted)).await.unwrap();
    eventually("the node to be used again", PATIENCE, async || {
        let (passed, rejected) = scene.sheetanchor.filter(&["eu-1"]).await;
        if passed == ["eu-1"] { Ok(()) } else { Err(format!("{rejected:?}")) }
    })
    .await;
    assert!(scene.node_taints("eu-1").await.is_empty(), "it was tainted again");
}

async fn node(scene: &Scene, name: &str) -> Node {
    Api::<Node>::all(scene.client.clone()).get(name).await.unwrap()
}

async fn until_node(scene: &Scene, name: &str, taints: &[&str]) {
    eventually(&format!("the node {name} to be tainted {taints:?}"), PATIENCE, async || {
        let found = scene.node_taints(name).await;
        if found == taints { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}
