//! Invariant `one_writer`: all replicas answer and observe, one writes, and when it goes the other
//! is ready.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::{Value, json};

use crate::scene::{Scene, cluster_at};
use crate::sheetanchor::{NAMESPACE, Sheetanchor, SheetanchorOptions};
use crate::wait::{PATIENCE, eventually};

const LOST: &str = "ClusterStatusUnknown";

#[tokio::test(flavor = "multi_thread")]
async fn invariant_one_writer_and_the_other_taints_when_it_is_killed() {
    let (scene, standby) = two_replicas().await;
    let leader = &scene.sheetanchor;
    assert_ne!(holder(&scene).await, None);

    scene.member("eu-1").stop().await;
    scene.until_tainted("eu-1", Some(LOST)).await;
    scene.until_alive("eu-1", "Unknown", "Lost").await;
    // Both judge, both answer, one has written.
    for replica in [leader, &standby] {
        until_verdict_at(replica, "eu-1", "Lost").await;
        // One may take the verdict from the other's taint, a moment before its own silence is full.
        eventually("its own evidence", PATIENCE, async || {
            let cluster = cluster_at(replica, "eu-1").await.ok_or("unknown")?;
            let seen = cluster["message"].as_str().is_some_and(|message| message.starts_with("no heartbeat for"));
            seen.then_some(()).ok_or_else(|| cluster.to_string())
        })
        .await;
        let (passed, rejected) = replica.filter(&["eu-1", "eu-2", "eu-3"]).await;
        assert_eq!(passed, ["eu-2", "eu-3"], "{rejected:?}");
    }
    assert!(leader.metric(r#"writes_total{target="Taints",outcome="Stored"}"#).await >= 1.0);
    assert_eq!(writes(&standby).await, Vec::<String>::new());
    assert_eq!((leads(leader).await, leads(&standby).await), (true, false));

    // The survivor has seen every beat: the silence goes on, and does not begin anew.
    let mut scene = scene;
    scene.sheetanchor.process.kill();
    scene.member("eu-2").stop().await;
    scene.until_tainted("eu-2", Some(LOST)).await;
    scene.until_alive("eu-2", "Unknown", "Lost").await;
    assert!(leads(&standby).await);
    assert_eq!(standby.metric(r#"verdict_changes_total{verdict="Lost"}"#).await, 2.0);
    assert_eq!(scene.generation("eu-1").await, 2, "the taint of eu-1 was written twice");
    assert_eq!(scene.generation("eu-3").await, 1, "eu-3 was tainted");
    let (passed, _) = standby.filter(&["eu-1", "eu-2", "eu-3"]).await;
    assert_eq!(passed, ["eu-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_one_writer_through_a_handover_and_a_long_sleep() {
    let (mut scene, standby) = two_replicas().await;
    let first = holder(&scene).await;

    scene.sheetanchor.process.terminate();
    let status = scene.sheetanchor.process.wait_for_exit(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{}", scene.sheetanchor.process.log());
    assert!(scene.sheetanchor.process.log().contains("Lease released"));
    until_leads(&standby).await;
    assert_ne!(holder(&scene).await, first);

    // The one that leads now falls asleep while eu-1 is silent, but not yet lost.
    scene.sheetanchor.restart().await;
    let (leader, other) = (&standby, &scene.sheetanchor);
    scene.member("eu-1").stop().await;
    until_verdict_at(leader, "eu-1", "Late").await;
    leader.process.pause();
    scene.member("eu-1").resume().await;
    until_leads(other).await;
    // What it knew is no longer true: eu-1 lives, eu-2 is dead, eu-3 was dead and is back.
    scene.member("eu-3").stop().await;
    scene.until_tainted("eu-3", Some(LOST)).await;
    scene.member("eu-3").resume().await;
    scene.until_tainted("eu-3", None).await;
    scene.member("eu-2").stop().await;
    scene.until_tainted("eu-2", Some(LOST)).await;
    scene.until_alive("eu-2", "Unknown", "Lost").await;
    let before = generations(&scene).await;
    let written = writes(leader_awake(leader)).await;

    until_verdict_at(leader, "eu-2", "Lost").await;
    until_verdict_at(leader, "eu-3", "Ready").await;
    eventually("it to know that it does not lead", PATIENCE, async || {
        let leader = leader.fleet().await?["leader"].clone();
        (leader["self"] == json!(false) && leader["holder"].is_string()).then_some(())
    })
    .await;
    // Whatever it still had in hand would be out by the time that the other has taken a whole cycle.
    scene.member("eu-3").stop().await;
    scene.until_tainted("eu-3", Some(LOST)).await;
    assert_eq!(stored(&writes(leader).await), stored(&written), "{}", leader.process.log());
    let on_specs = |line: &&String| line.contains(r#"target="taints""#) || line.contains(r#"target="node""#);
    let asleep = writes(leader).await;
    assert!(stored(&asleep).iter().copied().find(on_specs).is_none(), "{asleep:?}");
    let after = generations(&scene).await;
    assert_eq!((after[0], after[1], after[2]), (before[0], before[1], before[2] + 1));
    assert_eq!(before[0], 1, "eu-1 was tainted");
    assert!(leads(other).await && !leads(leader).await);
}

/// A scene of three members, whose replica leads, and a second replica.
async fn two_replicas() -> (Scene, Sheetanchor) {
    let scene = Scene::start(&["eu-1", "eu-2", "eu-3"], &[]).await;
    until_leads(&scene.sheetanchor).await;
    let options = SheetanchorOptions { name: "standby".to_owned(), ..SheetanchorOptions::default() };
    let standby = Sheetanchor::start(&scene.control_plane, options).await;
    for name in ["eu-1", "eu-2", "eu-3"] {
        until_verdict_at(&standby, name, "Ready").await;
        scene.until_alive(name, "True", "Ready").await;
    }
    (scene, standby)
}

/// Lets a sleeper run again, and gives it back.
fn leader_awake(leader: &Sheetanchor) -> &Sheetanchor {
    leader.process.resume();
    leader
}

async fn until_verdict_at(replica: &Sheetanchor, name: &str, verdict: &str) {
    eventually(&format!("a replica to judge {name} {verdict}"), PATIENCE, async || {
        let cluster = cluster_at(replica, name).await.ok_or("unknown")?;
        if cluster["verdict"] == verdict { Ok(()) } else { Err(cluster.to_string()) }
    })
    .await;
}

async fn until_leads(replica: &Sheetanchor) {
    eventually("a replica to lead", PATIENCE, async || leads(replica).await.then_some(())).await;
}

/// Whether a replica leads, as its two pages agree.
async fn leads(replica: &Sheetanchor) -> bool {
    let fleet = replica.fleet().await.unwrap_or(Value::Null);
    fleet["leader"]["self"] == json!(true) && replica.metric("leading").await == 1.0
}

async fn holder(scene: &Scene) -> Option<String> {
    let api: Api<Lease> = Api::namespaced(scene.client.clone(), NAMESPACE);
    let lease = api.get("sheetanchor").await.unwrap();
    lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty())
}

/// What a replica says that it has written.
async fn writes(replica: &Sheetanchor) -> Vec<String> {
    let page = replica.admin("/metrics").await.unwrap();
    page.lines().filter(|line| line.starts_with("sheetanchor_writes_total{")).map(str::to_owned).collect()
}

/// Those writes that the API server took, or refused as decided on something old.
fn stored(writes: &[String]) -> Vec<&String> {
    writes.iter().filter(|line| !line.contains(r#"outcome="Failed""#)).collect()
}

async fn generations(scene: &Scene) -> Vec<i64> {
    let mut generations = Vec::new();
    for name in ["eu-1", "eu-2", "eu-3"] {
        generations.push(scene.generation(name).await);
    }
    generations
}
