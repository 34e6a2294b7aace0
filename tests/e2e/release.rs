//! `sheetanchor release`: a person's word against the brake.

use std::path::Path;
use std::process::Output;

use futures::future::join_all;
use tokio::process::Command;

use crate::scene::Scene;
use crate::wait::{PATIENCE, eventually};

const FLEET: [&str; 4] = ["eu-1", "eu-2", "eu-3", "eu-4"];

#[tokio::test(flavor = "multi_thread")]
async fn a_person_releases_one_of_many_silent_clusters_and_a_beat_voids_it() {
    let scene = Scene::start(&FLEET, &[]).await;
    for name in FLEET {
        scene.until_verdict(name, "Ready").await;
    }
    let admin = scene.control_plane.kubeconfig("admin", Some("system:masters"));
    let nobody = scene.control_plane.kubeconfig("nobody", None);
    join_all(FLEET.map(|name| scene.member(name).stop())).await;
    eventually("all to be suspected", PATIENCE, async || {
        (scene.sheetanchor.metric(r#"clusters{verdict="Suspected"}"#).await == 4.0).then_some(())
    })
    .await;

    let refused = run(&nobody, &["eu-1"]).await;
    assert!(!refused.status.success() && text(&refused.stderr).contains("403"), "{refused:?}");
    assert_eq!(text(&refused.stderr).lines().count(), 1, "{refused:?}");
    let unknown = run(&admin, &["eu-1", "eu-9"]).await;
    let expected = "error: there is no ManagedCluster \"eu-9\"; kubectl get managedclusters -A lists them\n";
    assert_eq!((unknown.status.code(), text(&unknown.stderr).as_str()), (Some(1), expected));
    let dry = run(&admin, &["eu-1", "--dry-run"]).await;
    assert!(
        dry.status.success() && text(&dry.stdout).starts_with("fleet/eu-1 would be released: dead since"),
        "{dry:?}"
    );

    let released = run(&admin, &["eu-1", "fleet/eu-1", "--wait"]).await;
    assert!(released.status.success(), "{released:?}");
    let lines: Vec<String> = text(&released.stdout).lines().map(ToOwned::to_owned).collect();
    assert!(lines[0].starts_with("fleet/eu-1 released: dead since its beat of 20"), "{lines:?}");
    assert_eq!(lines[1..], ["fleet/eu-1 is Lost, and tainted"]);
    assert_eq!(scene.taints("eu-1").await[0]["value"], "ClusterStatusUnknown");
    for name in &FLEET[1..] {
        assert!(scene.taints(name).await.is_empty(), "{name}, which nobody released");
    }
    assert_eq!(scene.sheetanchor.metric("brake_engaged").await, 1.0);
    let again = run(&admin, &["eu-1"]).await;
    assert_eq!(text(&again.stdout), "fleet/eu-1 is Lost already\n");

    scene.member("eu-1").resume().await;
    scene.until_tainted("eu-1", None).await;
    scene.until_verdict("eu-1", "Ready").await;
}

async fn run(kubeconfig: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheetanchor"));
    command.arg("release").arg("--kubeconfig").arg(kubeconfig).args(args).kill_on_drop(true);
    command.output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
