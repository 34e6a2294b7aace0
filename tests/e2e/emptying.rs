//! Invariant never_empty: nothing takes a placement's last cluster, with the server up or down.

use std::fs;
use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::guarded::{bring_back, clusters, outcomes, reviews, start, taint_each, until_attempted, until_placed};
use crate::request::{Answer, JSON_PATCH, MERGE_PATCH, OBJECT, send};
use crate::rival::Rival;
use crate::scene::{Scene, TAINT_KEY};
use crate::subscriptions::{
    ALLOW_EMPTY, FEED, NAMESPACE, change, everywhere, scale, shared, status, stored, subscribe, write_status,
};
use crate::wait::{PATIENCE, eventually};

const ALL: [&str; 3] = ["eu-1", "eu-2", "us-1"];

/// What Clusternet's scheduler was seen to write when no cluster is left.
fn nothing_left() -> Value {
    json!({"status": {"bindingClusters": null, "desiredReleases": null}})
}

/// The history of a Subscription that was never without clusters again.
fn placed_once() -> Vec<Value> {
    vec![json!(null), clusters(&ALL)]
}

fn allow_empty(allowed: bool) -> Value {
    let value = if allowed { json!("true") } else { Value::Null };
    json!({"metadata": {"annotations": {ALLOW_EMPTY: value}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_never_empty_when_every_cluster_is_tainted() {
    let scene = start(&ALL).await;
    for name in ["web", "edited", "expendable"] {
        subscribe(&scene.client, name, everywhere(&json!({"tier": "app"}))).await;
    }
    subscribe(&scene.client, "shared", shared()).await;
    scale(&scene.client, "shared", 7).await;
    change(&scene.client, "expendable", allow_empty(true)).await;
    let mut rival = Rival::start(&scene.control_plane).await;
    for name in ["web", "edited", "expendable", "shared"] {
        until_placed(&scene, name, &ALL).await;
    }
    rival.catch_up().await;
    let (web, edited) = (status(&scene.client, "web").await, status(&scene.client, "edited").await);
    let shared = status(&scene.client, "shared").await;
    assert_eq!(shared["replicas"], json!({FEED: [3, 2, 2]}));
    let asked = reviews(&scene.sheetanchor).await;

    // A person taints everything at once; one Subscription's user changes the spec, one's scales it.
    rival.pause();
    taint_each(&scene, json!([{"key": "example.com/maintenance", "effect": "NoSchedule"}])).await;
    change(&scene.client, "edited", json!({"spec": {"priority": 7}})).await;
    scale(&scene.client, "shared", 9).await;
    rival.resume().await;
    for name in ["web", "edited", "shared", "expendable"] {
        until_attempted(&rival, name, 1).await;
    }
    rival.catch_up().await;
    let patch_of = |name| rival.attempts(name).pop().unwrap().patch;
    assert_eq!(patch_of("web"), nothing_left());
    assert!(patch_of("edited")["status"]["specHash"].is_number(), "{}", patch_of("edited"));
    assert!(patch_of("shared")["status"]["replicas"].is_null(), "{}", patch_of("shared"));
    let restored = "restored the placement: the write would have left no cluster";
    assert_eq!(rival.attempts("web")[1].answer.warnings, [restored]);
    assert_eq!(status(&scene.client, "web").await, web);
    assert_eq!(status(&scene.client, "edited").await, edited, "the hash of the new spec is not stored");
    assert_eq!(status(&scene.client, "shared").await, shared);
    let emptied = status(&scene.client, "expendable").await;
    assert_eq!(emptied, json!({"specHash": emptied["specHash"]}));
    assert_eq!(outcomes(&scene.sheetanchor).await["Refilled"], 3);
    assert_eq!(reviews(&scene.sheetanchor).await - asked, 4);

    // The taint goes: what was put off is done, and what was kept is as it was.
    rival.pause();
    taint_each(&scene, json!(null)).await;
    rival.resume().await;
    eventually("the rival to place by the new spec", PATIENCE, async || {
        let now = status(&scene.client, "edited").await;
        (now["specHash"] != edited["specHash"]).then_some(())
    })
    .await;
    until_placed(&scene, "expendable", &ALL).await;
    rival.catch_up().await;
    assert_eq!(status(&scene.client, "web").await, web);
    assert_eq!(status(&scene.client, "shared").await["replicas"], json!({FEED: [3, 3, 3]}));
    for name in ["web", "edited", "shared"] {
        assert_eq!(rival.history(name), placed_once(), "{name}");
    }
    assert_eq!(rival.history("expendable"), [placed_once(), placed_once()].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_never_empty_when_clusternets_own_lifecycle_taints_every_cluster() {
    let scene = start(&ALL).await;
    subscribe(&scene.client, "web", everywhere(&json!({"tier": "app"}))).await;
    let mut rival = Rival::start(&scene.control_plane).await;
    until_placed(&scene, "web", &ALL).await;
    rival.catch_up().await;
    let before = status(&scene.client, "web").await;

    // As after an outage of the API server: our key and value, on all. (The agents wait, since it
    // takes only a few beats until we take such a taint away.)
    let taint = json!({"key": TAINT_KEY, "value": "ClusterStatusUnknown", "effect": "NoSchedule"});
    for member in scene.members.values() {
        member.stop().await;
    }
    rival.pause();
    taint_each(&scene, json!([taint])).await;
    rival.resume().await;
    until_attempted(&rival, "web", 1).await;
    assert_eq!(rival.attempts("web")[1].patch, nothing_left());
    assert_eq!(rival.attempts("web")[1].answer.code, 200);
    for name in ALL {
        bring_back(&scene, name).await;
    }
    rival.catch_up().await;
    assert_eq!(status(&scene.client, "web").await, before);
    assert_eq!(rival.history("web"), placed_once());
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_never_empty_while_every_replica_is_down() {
    let mut scene = start(&ALL).await;
    for name in ["web", "moved", "expendable", "doomed"] {
        subscribe(&scene.client, name, everywhere(&json!({"tier": "app"}))).await;
    }
    let mut rival = Rival::start(&scene.control_plane).await;
    for name in ["web", "moved", "expendable", "doomed"] {
        until_placed(&scene, name, &ALL).await;
    }
    rival.catch_up().await;
    let before = status(&scene.client, "web").await;
    scene.sheetanchor.process.kill();
    apply_policy(&scene).await;
    eventually("the policy to be in force", PATIENCE, async || {
        let answer = write_status(&scene.client, "web", "?dryRun=All", MERGE_PATCH, &nothing_left()).await;
        (answer.code == 422).then_some(()).ok_or_else(|| format!("{answer:?}"))
    })
    .await;

    // However it is said.
    let mut bare = serde_json::to_value(stored(&scene.client, "web").await).unwrap();
    bare.as_object_mut().unwrap().remove("status");
    for (kind, body) in [
        (MERGE_PATCH, nothing_left()),
        (MERGE_PATCH, json!({"status": null})),
        (MERGE_PATCH, json!({"status": {"bindingClusters": []}})),
        (JSON_PATCH, json!([{"op": "remove", "path": "/status/bindingClusters"}])),
        (OBJECT, bare),
    ] {
        let answer = write_status(&scene.client, "web", "", kind, &body).await;
        assert_denied(&answer, "web");
    }

    // Every other write passes.
    let moved = json!({"status": {"bindingClusters": clusters(&["eu-2"]), "desiredReleases": 1}});
    assert_eq!(rival.write("moved", &moved).await.code, 200);
    assert_eq!(rival.write("moved", &json!({})).await.code, 200);
    change(&scene.client, "expendable", allow_empty(true)).await;
    assert_eq!(rival.write("expendable", &nothing_left()).await.code, 200);
    delete_held_by_a_finalizer(&scene, "doomed").await;
    assert_eq!(rival.write("doomed", &nothing_left()).await.code, 200);
    assert!(status(&scene.client, "doomed").await["bindingClusters"].is_null());

    // A rival that is refused tries again, until a replica is back and makes a good write of it.
    let attempts = rival.attempts("web").len();
    rival.pause();
    taint_each(&scene, json!([{"key": "example.com/maintenance", "effect": "NoSchedule"}])).await;
    rival.resume().await;
    until_attempted(&rival, "web", attempts + 1).await;
    for attempt in &rival.attempts("web")[attempts..] {
        assert_denied(&attempt.answer, "web");
    }
    scene.sheetanchor.restart().await;
    rival.catch_up().await;
    assert_eq!(rival.attempts("web").pop().unwrap().answer.code, 200);
    assert_eq!(status(&scene.client, "web").await, before);
    assert_eq!(rival.history("web"), placed_once());
}

/// Applies the manifest that is shipped.
async fn apply_policy(scene: &Scene) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/base/admission-policy.yaml");
    let manifest = fs::read_to_string(path).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&manifest).unwrap();
    assert_eq!(objects.len(), 2);
    for object in objects {
        let plural = match object["kind"].as_str().unwrap() {
            "ValidatingAdmissionPolicy" => "validatingadmissionpolicies",
            "ValidatingAdmissionPolicyBinding" => "validatingadmissionpolicybindings",
            kind => panic!("an unexpected {kind}"),
        };
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
        let answer = send(&scene.client, Method::POST, &path, OBJECT, &object).await;
        assert_eq!((answer.code, answer.warnings), (201, Vec::new()), "{}", answer.body);
    }
}

/// Deletes a Subscription that cannot go yet, as Clusternet's own finalizer holds them.
async fn delete_held_by_a_finalizer(scene: &Scene, name: &str) {
    change(&scene.client, name, json!({"metadata": {"finalizers": ["apps.clusternet.io/finalizer"]}})).await;
    let path = format!("/apis/apps.clusternet.io/v1alpha1/namespaces/{NAMESPACE}/subscriptions/{name}");
    let answer = send(&scene.client, Method::DELETE, &path, OBJECT, &json!({})).await;
    assert!(answer.body["metadata"]["deletionTimestamp"].is_string(), "{answer:?}");
}

fn assert_denied(answer: &Answer, name: &str) {
    let reason = format!(
        "Subscription default/{name} would lose its last cluster; \
         annotate it with sheetanchor.dev/allow-empty: \"true\" if that is meant"
    );
    assert_eq!(answer.code, 422, "{answer:?}");
    assert!(answer.message().contains(&reason), "{answer:?}");
}
