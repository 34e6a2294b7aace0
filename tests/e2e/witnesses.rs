//! Invariants `witnessed` and `own_clock`: no weak evidence makes a cluster dead.

use futures::future::join_all;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::sheetanchor::NAMESPACE;
use crate::wait::{PATIENCE, eventually};

const FLEET: [&str; 5] = ["eu-1", "eu-2", "eu-3", "eu-4", "eu-5"];
/// Silence of this many thresholds is long enough for any detector that has no brake.
const THRESHOLDS: f64 = 5.0;

#[tokio::test(flavor = "multi_thread")]
async fn invariant_witnessed_many_silent_together_are_left_alone_and_a_single_death_is_not() {
    let mut scene = Scene::start(&FLEET, &[]).await;
    for name in FLEET {
        scene.until_verdict(name, "Ready").await;
    }

    brake_holds(&mut scene, &FLEET[..3], "Mass", false).await;
    // A new leader honours the brake of an old one, of whose evidence it has seen nothing.
    brake_holds(&mut scene, &FLEET, "Mass", true).await;

    scene.member("eu-4").stop().await;
    scene.until_tainted("eu-4", Some("ClusterStatusUnknown")).await;
    for name in FLEET.into_iter().filter(|name| *name != "eu-4") {
        assert_eq!(scene.generation(name).await, 1, "{name} was tainted");
    }
}

/// Stops `silent` together, for five thresholds, and lets them beat again.
async fn brake_holds(scene: &mut Scene, silent: &[&str], rule: &str, restart: bool) {
    let members = || silent.iter().map(|name| scene.member(name));
    join_all(members().map(|member| member.stop())).await;
    join_all(members().map(|member| member.beat())).await;

    until_brake(scene, "on").await;
    let since = brake_record(scene).await["since"].clone();
    if restart {
        scene.sheetanchor.restart().await;
    }
    for name in silent {
        until_silent(scene, name).await;
    }
    let fleet = scene.sheetanchor.fleet().await.unwrap();
    assert_eq!(fleet["brake"]["reason"], rule, "{fleet}");
    assert_eq!(fleet["brake"]["clusters"].as_array().unwrap().len(), silent.len(), "{fleet}");
    assert_eq!(scene.sheetanchor.metric("brake_engaged").await, 1.0);
    for cluster in fleet["clusters"].as_array().unwrap() {
        let name = cluster["name"].as_str().unwrap().trim_start_matches("fleet/");
        let expected = if silent.contains(&name) { "Suspected" } else { "Ready" };
        assert_eq!((&cluster["verdict"], &cluster["schedulable"]), (&json!(expected), &json!(true)), "{cluster}");
    }
    let (passed, rejected) = scene.sheetanchor.filter(&FLEET).await;
    assert_eq!(passed, FLEET, "{rejected:?}");
    let record = brake_record(scene).await;
    assert_eq!((record["state"].as_str(), record["rule"].as_str()), (Some("on"), Some(rule)), "{record}");
    assert_eq!(record["since"], since, "it let go in between");
    assert!(record["who"].as_str().unwrap().contains("fleet/eu-1"), "{record}");

    join_all(silent.iter().map(|name| scene.member(name).resume())).await;
    until_brake(scene, "off").await;
    for name in FLEET {
        scene.until_verdict(name, "Ready").await;
        assert_eq!(scene.generation(name).await, 1, "{name} was tainted");
        assert!(scene.node_taints(name).await.is_empty(), "the node of {name} is tainted");
    }
    assert!(scene.sheetanchor.fleet().await.unwrap()["brake"].is_null());
    assert_eq!(scene.sheetanchor.metric("brake_engaged").await, 0.0);
    assert_eq!(scene.sheetanchor.metric(r#"verdict_changes_total{verdict="Lost"}"#).await, 0.0);
    for reason in ["BrakeOn", "BrakeOff"] {
        scene.until_event("sheetanchor-brake", reason).await;
    }
}

/// Waits until the record of the brake says so.
async fn until_brake(scene: &Scene, state: &str) {
    eventually(&format!("the brake's record to say {state}"), PATIENCE, async || {
        let record = brake_record(scene).await;
        if record["state"] == state { Ok(()) } else { Err(record.to_string()) }
    })
    .await;
}

async fn brake_record(scene: &Scene) -> Value {
    let api: Api<ConfigMap> = Api::namespaced(scene.client.clone(), NAMESPACE);
    let map = api.get_opt("sheetanchor-brake").await.unwrap();
    json!(map.and_then(|map| map.data))
}

/// Waits until a cluster has been silent for five thresholds, by our own count.
async fn until_silent(scene: &Scene, name: &str) {
    eventually(&format!("{name} to be silent for {THRESHOLDS} thresholds"), PATIENCE, async || {
        let cluster = scene.cluster(name).await.ok_or("no such cluster")?;
        let (silence, limit) = (cluster["silenceSeconds"].as_f64(), cluster["limitSeconds"].as_f64());
        if silence > limit.map(|limit| THRESHOLDS * limit) { Ok(()) } else { Err(cluster.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_own_clock_the_clocks_of_agents_change_nothing() {
    let scene = Scene::start(&["ahead", "behind", "jumping", "right"], &[]).await;
    let day = SignedDuration::from_hours(24);
    scene.member("ahead").set_skew(day).await;
    scene.member("behind").set_skew(-day).await;

    // One clock runs backwards, some hour with each beat, and jumps two days ahead when it is a day behind.
    let beats = scene.sheetanchor.metric("heartbeats_total").await;
    let mut skew = day;
    eventually("sixty beats", PATIENCE, async || {
        skew -= SignedDuration::from_mins(5);
        skew = if skew < -day { day } else { skew };
        scene.member("jumping").set_skew(skew).await;
        let seen = scene.sheetanchor.metric("heartbeats_total").await - beats;
        if seen >= 60.0 { Ok(()) } else { Err(format!("{seen} beats")) }
    })
    .await;
    for name in scene.members.keys() {
        assert_eq!(scene.generation(name).await, 1, "{name} was tainted");
        scene.until_verdict(name, "Ready").await;
    }
    assert_eq!(scene.sheetanchor.metric("brake_engaged").await, 0.0);
    assert_eq!(scene.sheetanchor.metric(r#"verdict_changes_total{verdict="Lost"}"#).await, 0.0);

    // A stamp from tomorrow does not hide a death, one from yesterday does not delay a return.
    for name in ["ahead", "behind"] {
        scene.member(name).stop().await;
        scene.until_tainted(name, Some("ClusterStatusUnknown")).await;
    }
    scene.member("behind").resume().await;
    scene.until_tainted("behind", None).await;
    for name in ["jumping", "right"] {
        assert_eq!(scene.generation(name).await, 1, "{name} was tainted");
    }
}
