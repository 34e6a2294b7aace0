//! The parts of the harness that later tests stand on: members that beat, outages of the API
//! server, and processes that end with their test.

use std::future::pending;
use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, Options, get};
use crate::fleet::{Member, MemberOptions, managed_clusters};
use crate::process::{EndsWithStdin, Process};
use crate::wait::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn members_beat_until_stopped_and_keep_foreign_conditions() {
    let control_plane = ControlPlane::start(Options::default()).await;
    let client = control_plane.client();
    let spare = MemberOptions { spare: true, ..MemberOptions::default() };
    let member = Member::join(&client, "fleet", "eu-1", spare).await;

    let labels = member.stored().await.metadata.labels.unwrap();
    assert_eq!(labels["sheetanchor.dev/role"], "spare");
    next_beat(&member).await;

    member.stop().await;
    let last = stamp(&member).await;
    let foreign = json!({"status": {"conditions": [{
        "type": "sheetanchor.dev/Alive", "status": "True", "reason": "Ready", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    managed_clusters(&client, "fleet")
        .patch_status("eu-1", &PatchParams::default(), &Patch::Merge(&foreign))
        .await
        .unwrap();
    let other = Member::join(&client, "fleet", "eu-2", MemberOptions::default()).await;
    for _ in 0..3 {
        next_beat(&other).await;
    }
    assert_eq!(stamp(&member).await, last, "it beats though it is stopped");

    member.set_ready(false).await;
    member.set_skew(SignedDuration::from_hours(-24)).await;
    member.beat().await;
    let status = member.stored().await.data["status"].clone();
    let kinds: Vec<(&Value, &Value)> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|condition| (&condition["type"], &condition["status"]))
        .collect();
    assert_eq!(kinds, [(&json!("sheetanchor.dev/Alive"), &json!("True")), (&json!("Ready"), &json!("False"))]);
    let skewed: Timestamp = stamp(&member).await.parse().unwrap();
    assert!(skewed < last.parse().unwrap(), "{skewed} is not before {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_comes_back_with_what_it_had() {
    let mut control_plane = ControlPlane::start(Options::default()).await;
    let client = control_plane.client();
    let member = Member::join(&client, "fleet", "eu-1", MemberOptions::default()).await;

    control_plane.stop_api_server();
    assert!(get(&client, "/readyz").await.is_err());
    control_plane.restart_api_server().await;

    next_beat(&member).await;
    control_plane.hang_api_server();
    control_plane.wake_api_server();
    get(&client, "/readyz").await.unwrap();

    // Certificates name users, and RBAC believes them.
    let nobody = control_plane.client_as("nobody", None).await;
    let error = Api::<Namespace>::all(nobody).get("default").await.unwrap_err();
    assert!(error.to_string().contains("\"nobody\" cannot get"), "{error}");
}

#[tokio::test]
async fn a_process_ends_when_its_pipe_closes() {
    let dir = tempfile::tempdir().unwrap();
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let mut process = Process::spawn("sleep", sleep, dir.path(), EndsWithStdin::No);
    process.close_stdin();
    let status = process.wait_for_exit(PATIENCE).await;
    assert!(!status.success());
}

async fn next_beat(member: &Member) {
    let before = stamp(member).await;
    eventually("another beat", PATIENCE, async || (stamp(member).await != before).then_some(())).await;
}

async fn stamp(member: &Member) -> String {
    let stored = member.stored().await;
    let stamp = stored.data["status"]["lastObservedTime"].as_str();
    stamp.unwrap().to_owned()
}

#[tokio::test]
#[should_panic(expected = "for a value; last seen: only 1")]
async fn waiting_ends_though_each_look_is_instant() {
    eventually("a value", Duration::from_millis(1), async || Err::<(), _>("only 1")).await;
}

#[tokio::test]
#[should_panic(expected = "for a value; last seen: nothing: the first look did not return")]
async fn waiting_ends_though_no_look_returns() {
    let limit = Duration::from_millis(1);
    eventually("a value", limit, async || pending::<Option<()>>().await).await;
}
