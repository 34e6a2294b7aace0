//! A scene whose API server asks about every binding and placement, and what the answers were.

use std::collections::BTreeMap;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::fleet::{MemberOptions, managed_clusters};
use crate::request::MERGE_PATCH;
use crate::rival::Rival;
use crate::scene::{FLEET, Scene};
use crate::sheetanchor::{Sheetanchor, register_webhook};
use crate::subscriptions::{everywhere, status, stored, subscribe, write_status};
use crate::wait::{PATIENCE, eventually};

/// Each member bears the label `tier=app`, and `region=` what comes before the dash of its name.
pub(crate) async fn start(names: &[&str]) -> Scene {
    start_with(names, &[]).await
}

/// The same, with further flags.
pub(crate) async fn start_with(names: &[&str], extra_args: &[&str]) -> Scene {
    let labels = BTreeMap::from([("tier".to_owned(), "app".to_owned())]);
    let member = MemberOptions { labels, ..MemberOptions::default() };
    let scene = Scene::start_with(names, &member, extra_args).await;
    for name in names {
        let region = name.split('-').next().unwrap();
        label(&scene, name, json!({"region": region})).await;
    }
    register_webhook(&scene.client, &scene.sheetanchor).await;
    // The API server learns of a webhook a moment later.
    let mut canary = everywhere(&json!({"tier": "none"}));
    canary["schedulerName"] = json!("none");
    subscribe(&scene.client, "canary", canary).await;
    let placed = |on: &str| json!({"status": {"bindingClusters": clusters(&[on])}});
    write_status(&scene.client, "canary", "", MERGE_PATCH, &placed("here")).await;
    eventually("the webhook to be asked", PATIENCE, async || {
        let answer = write_status(&scene.client, "canary", "?dryRun=All", MERGE_PATCH, &placed("there")).await;
        assert_eq!(answer.code, 200, "{answer:?}");
        (reviews(&scene.sheetanchor).await > 0).then_some(())
    })
    .await;
    scene
}

/// How many reviews the webhook was asked, by outcome.
pub(crate) async fn outcomes(sheetanchor: &Sheetanchor) -> BTreeMap<String, u64> {
    let page = sheetanchor.admin("/metrics").await.unwrap();
    let lines = page.lines().filter_map(|line| line.strip_prefix("sheetanchor_admission_reviews_total{outcome=\""));
    lines
        .map(|line| {
            let (outcome, count) = line.split_once("\"} ").unwrap();
            (outcome.to_owned(), count.parse().unwrap())
        })
        .collect()
}

/// How many reviews the webhook was asked.
pub(crate) async fn reviews(sheetanchor: &Sheetanchor) -> u64 {
    outcomes(sheetanchor).await.values().sum()
}

/// Labels a ManagedCluster.
pub(crate) async fn label(scene: &Scene, name: &str, labels: Value) {
    patch_cluster(scene, name, json!({"metadata": {"labels": labels}})).await;
}

/// Writes the whole list of taints of each ManagedCluster, as Clusternet's lifecycle does.
pub(crate) async fn taint_each(scene: &Scene, taints: Value) {
    for name in scene.members.keys() {
        taint(scene, name, taints.clone()).await;
    }
}

/// Writes the whole list of taints of a ManagedCluster.
pub(crate) async fn taint(scene: &Scene, name: &str, taints: Value) {
    patch_cluster(scene, name, json!({"spec": {"taints": taints}})).await;
}

async fn patch_cluster(scene: &Scene, name: &str, patch: Value) {
    let api = managed_clusters(&scene.client, FLEET);
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Loses a cluster, and waits until it is tainted.
pub(crate) async fn lose(scene: &Scene, name: &str) {
    scene.member(name).stop().await;
    scene.until_tainted(name, Some("ClusterStatusUnknown")).await;
}

/// Brings a cluster back, and waits until the taint is gone for all, the webhook included.
pub(crate) async fn bring_back(scene: &Scene, name: &str) {
    scene.member(name).resume().await;
    scene.until_verdict(name, "Ready").await;
    scene.until_tainted(name, None).await;
    eventually("the webhook to see no taint", PATIENCE, async || {
        let taints = scene.cluster(name).await?["taints"].clone();
        (taints == json!([])).then_some(())
    })
    .await;
}

/// Waits until a Subscription is placed on these clusters of the fleet.
pub(crate) async fn until_placed(scene: &Scene, subscription: &str, names: &[&str]) {
    let wanted = clusters(names);
    eventually(&format!("{subscription} to be on {names:?}"), PATIENCE, async || {
        let status = status(&scene.client, subscription).await;
        if status["bindingClusters"] == wanted { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

/// Waits until the rival has written to a Subscription more than `before` times.
pub(crate) async fn until_attempted(rival: &Rival, subscription: &str, before: usize) {
    let what = format!("the rival to write to {subscription} more than {before} times");
    eventually(&what, PATIENCE, async || (rival.attempts(subscription).len() > before).then_some(())).await;
}

/// What is stored of each: its placement and its resourceVersion, which a write of what is there
/// already leaves alone.
pub(crate) async fn stored_each(scene: &Scene, names: &[&str]) -> Vec<(Value, String)> {
    let mut all = Vec::new();
    for name in names {
        let stored = stored(&scene.client, name).await;
        all.push((stored.data["status"].clone(), stored.metadata.resource_version.unwrap()));
    }
    all
}

/// Shows that the rival has nothing more to say: it sees all that its last writes did, and is silent.
pub(crate) async fn is_content(rival: &mut Rival) {
    rival.catch_up().await;
    let writes = rival.writes();
    rival.catch_up().await;
    assert_eq!(rival.writes(), writes, "the rival and the guard quarrel");
}

/// What `bindingClusters` names clusters of the fleet.
pub(crate) fn clusters(names: &[&str]) -> Value {
    names.iter().map(|name| format!("{FLEET}/{name}")).collect()
}
