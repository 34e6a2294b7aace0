//! Invariant `blind_is_not_dead`: while we cannot see, no cluster ages.
//!
//! The fleet is one dead cluster and one that lives: a lone survivor is judged by its age alone, so
//! that no brake hides what blind time should have prevented.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::scene::Scene;
use crate::wait::{PATIENCE, eventually};

/// Five thresholds of the survivor.
const OUTAGE: Duration = Duration::from_secs(5 * 3);

#[tokio::test(flavor = "multi_thread")]
async fn invariant_blind_is_not_dead_when_the_api_server_is_away() {
    let mut scene = one_dead_one_alive().await;
    let dead = scene.generation("dead").await;

    fall_silent_unseen(&scene).await;
    scene.control_plane.stop_api_server();
    eventually("it to notice", PATIENCE, async || {
        let fleet = scene.sheetanchor.fleet().await?;
        (fleet["blind"] == json!(true)).then_some(())
    })
    .await;
    assert_eq!(scene.sheetanchor.metric("blind").await, 1.0);
    pass(OUTAGE).await;
    assert_ne!(verdict(&scene, "alive").await, "Lost", "{:?}", scene.cluster("alive").await);
    // What was known is served on.
    let (passed, rejected) = scene.sheetanchor.filter(&["alive", "dead"]).await;
    assert_eq!(passed, ["alive"]);
    assert!(rejected["dead"].starts_with("cluster \"fleet/dead\" is Lost: no heartbeat for"), "{rejected:?}");
    scene.sheetanchor.get("/readyz").await.unwrap();

    scene.control_plane.restart_api_server().await;
    eventually("it to see again", PATIENCE, async || {
        let fleet = scene.sheetanchor.fleet().await?;
        (fleet["blind"] == json!(false)).then_some(())
    })
    .await;
    scene.member("alive").resume().await;
    let beats = scene.sheetanchor.metric("heartbeats_total").await;
    until_beats(&scene, beats + 5.0).await;
    only_one_died(&scene).await;
    still_so(&scene, dead).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_blind_is_not_dead_when_the_api_server_hangs() {
    through_a_hang(ControlPlane::hang_api_server, ControlPlane::wake_api_server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_blind_is_not_dead_when_etcd_hangs() {
    through_a_hang(ControlPlane::hang_etcd, ControlPlane::wake_etcd).await;
}

async fn through_a_hang(hang: fn(&ControlPlane), wake: fn(&ControlPlane)) {
    let scene = one_dead_one_alive().await;
    let dead = scene.generation("dead").await;

    hang(&scene.control_plane);
    eventually("it to notice", PATIENCE, async || {
        let fleet = scene.sheetanchor.fleet().await?;
        (fleet["blind"] == json!(true)).then_some(())
    })
    .await;
    pass(OUTAGE).await;
    let (passed, _) = scene.sheetanchor.filter(&["alive", "dead"]).await;
    assert_eq!(passed, ["alive"], "{:?}", scene.sheetanchor.fleet().await);

    wake(&scene.control_plane);
    eventually("it to see again", PATIENCE, async || {
        let fleet = scene.sheetanchor.fleet().await?;
        (fleet["blind"] == json!(false)).then_some(())
    })
    .await;
    let beats = scene.sheetanchor.metric("heartbeats_total").await;
    until_beats(&scene, beats + 5.0).await;
    only_one_died(&scene).await;
    still_so(&scene, dead).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_blind_is_not_dead_when_the_process_sleeps_or_starts_anew() {
    let mut scene = one_dead_one_alive().await;
    let dead = scene.generation("dead").await;

    fall_silent_unseen(&scene).await;
    scene.sheetanchor.process.pause();
    pass(OUTAGE).await;
    scene.sheetanchor.process.resume();
    scene.sheetanchor.get("/readyz").await.unwrap();
    scene.member("alive").resume().await;
    let beats = scene.sheetanchor.metric("heartbeats_total").await;
    until_beats(&scene, beats + 5.0).await;
    until_leading(&scene).await;
    only_one_died(&scene).await;
    still_so(&scene, dead).await;

    for _ in 0..4 {
        scene.sheetanchor.restart().await;
        until_leading(&scene).await;
        until_beats(&scene, 2.0).await;
        still_so(&scene, dead).await;
        let cluster = scene.cluster("dead").await.unwrap();
        let message = cluster["message"].as_str().unwrap();
        assert!(message.starts_with("found with our taint ClusterStatusUnknown"), "{message}");
        let (passed, _) = scene.sheetanchor.filter(&["alive", "dead"]).await;
        assert_eq!(passed, ["alive"]);
    }

    // The verdict that was found goes as any other does: by beats.
    scene.member("dead").resume().await;
    scene.until_tainted("dead", None).await;
    scene.until_verdict("dead", "Ready").await;
    assert_eq!(scene.generation("dead").await, dead + 1);
    assert_eq!(scene.generation("alive").await, 1, "the survivor was tainted");
}

/// The last beat before an outage. The next is sent when we have seen again for a moment: one that
/// waits for us at the end of it would hide an age that has run on.
async fn fall_silent_unseen(scene: &Scene) {
    scene.member("alive").stop().await;
    scene.member("alive").beat().await;
}

async fn one_dead_one_alive() -> Scene {
    let scene = Scene::start(&["alive", "dead"], &[]).await;
    scene.until_verdict("dead", "Ready").await;
    scene.member("dead").stop().await;
    scene.until_tainted("dead", Some("ClusterStatusUnknown")).await;
    eventually("the node of the dead one to be tainted", PATIENCE, async || {
        (scene.node_taints("dead").await == ["ClusterStatusUnknown"]).then_some(())
    })
    .await;
    scene.until_alive("dead", "Unknown", "Lost").await;
    scene
}

/// Not even for a moment was there a second loss.
async fn only_one_died(scene: &Scene) {
    assert_eq!(scene.sheetanchor.metric(r#"verdict_changes_total{verdict="Lost"}"#).await, 1.0);
}

/// The dead one bears the taint that it bore, and the other has never borne one.
async fn still_so(scene: &Scene, dead: i64) {
    assert_eq!(scene.generation("alive").await, 1, "the survivor was tainted");
    assert_eq!(scene.generation("dead").await, dead, "the taint of the dead one was touched");
    assert_eq!(verdict(scene, "alive").await, "Ready", "{:?}", scene.cluster("alive").await);
    assert_eq!(verdict(scene, "dead").await, "Lost");
    assert_eq!(scene.node_taints("dead").await, ["ClusterStatusUnknown"]);
    assert!(scene.node_taints("alive").await.is_empty());
    assert_eq!(scene.sheetanchor.metric(r#"writes_total{target="Taints",outcome="Conflict"}"#).await, 0.0);
}

async fn verdict(scene: &Scene, name: &str) -> Value {
    scene.cluster(name).await.unwrap()["verdict"].clone()
}

/// An outage must last for something; nothing is asserted about how long it took.
async fn pass(outage: Duration) {
    let start = Instant::now();
    eventually("five thresholds to pass", PATIENCE, async || (start.elapsed() >= outage).then_some(())).await;
}

async fn until_beats(scene: &Scene, count: f64) {
    eventually(&format!("{count} heartbeats"), PATIENCE, async || {
        let seen = scene.sheetanchor.metric("heartbeats_total").await;
        if seen >= count { Ok(()) } else { Err(format!("{seen}")) }
    })
    .await;
}

async fn until_leading(scene: &Scene) {
    eventually("it to lead", PATIENCE, async || (scene.sheetanchor.metric("leading").await == 1.0).then_some(())).await;
}
