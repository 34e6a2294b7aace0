//! Writes of every shape that a status can have: the webhook's patch must fit each of them, since
//! one that does not apply fails the request of whoever wrote.

use serde_json::{Value, json};

use crate::guarded::{clusters, start};
use crate::request::{APPLY_PATCH, Answer, JSON_PATCH, MERGE_PATCH, OBJECT};
use crate::rival::Rival;
use crate::scene::Scene;
use crate::subscriptions::{ALLOW_EMPTY, FEED, everywhere, scale, shared, status, stored, subscribe, write_status};

/// Writes to a placement, first dry: both must say the same, and the dry one must store nothing.
async fn write_twice(scene: &Scene, name: &str, kind: &str, body: &Value) -> Answer {
    let query = if kind == APPLY_PATCH { "fieldManager=somebody&force=true" } else { "fieldManager=somebody" };
    let before = stored(&scene.client, name).await;
    let mut body = body.clone();
    if kind == OBJECT {
        body["metadata"]["resourceVersion"] = json!(before.metadata.resource_version);
    }
    let body = &body;
    let dry = write_status(&scene.client, name, &format!("?dryRun=All&{query}"), kind, body).await;
    assert_eq!(stored(&scene.client, name).await, before, "a dry run was stored: {body}");
    let answer = write_status(&scene.client, name, &format!("?{query}"), kind, body).await;
    assert_eq!(dry.body["status"], answer.body["status"], "{body}");
    answer
}

/// A whole Subscription, with this status or none.
async fn whole(scene: &Scene, name: &str, status: Option<Value>) -> Value {
    let mut object = serde_json::to_value(stored(&scene.client, name).await).unwrap();
    object["metadata"].as_object_mut().unwrap().remove("managedFields");
    object.as_object_mut().unwrap().remove("status");
    if let Some(status) = status {
        object["status"] = status;
    }
    object
}

/// A JSON patch that removes these, one after the other.
fn removal(paths: &[&str]) -> Value {
    paths.iter().map(|path| json!({"op": "remove", "path": path})).collect()
}

/// What would leave no cluster.
async fn emptying(scene: &Scene) -> Vec<(&'static str, Value)> {
    vec![
        (MERGE_PATCH, json!({"status": null})),
        (MERGE_PATCH, json!({"status": {"bindingClusters": null}})),
        (MERGE_PATCH, json!({"status": {"bindingClusters": []}})),
        // What is said of the metadata here is not stored, so it allows nothing.
        (MERGE_PATCH, json!({"metadata": {"annotations": {ALLOW_EMPTY: "true"}}, "status": null})),
        (MERGE_PATCH, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": null})),
        (MERGE_PATCH, json!({"status": {"bindingClusters": [], "replicas": {}}})),
        (MERGE_PATCH, json!({"status": {"bindingClusters": null, "replicas": null, "specHash": null}})),
        (MERGE_PATCH, json!({"status": {"bindingClusters": [], "replicas": {FEED: null, "other": []}}})),
        (MERGE_PATCH, json!({"status": {"bindingClusters": [], "desiredReleases": 0, "specHash": 1}})),
        (JSON_PATCH, removal(&["/status"])),
        (JSON_PATCH, json!([{"op": "replace", "path": "/status", "value": {}}])),
        (JSON_PATCH, removal(&["/status/bindingClusters"])),
        (JSON_PATCH, removal(&["/status/bindingClusters/0", "/status/bindingClusters/0", "/status/replicas"])),
        (OBJECT, whole(scene, "shared", None).await),
        (OBJECT, whole(scene, "shared", Some(json!({}))).await),
        (OBJECT, whole(scene, "shared", Some(json!({"bindingClusters": []}))).await),
    ]
}

/// What says nothing of the placement, and what is no status, with the code that it deserves.
fn other() -> Vec<(&'static str, Value, u16)> {
    let bare = json!({"apiVersion": "apps.clusternet.io/v1alpha1", "kind": "Subscription"});
    let mut applied = bare.clone();
    applied["status"] = json!({"completedReleases": 1});
    vec![
        (MERGE_PATCH, json!({}), 200),
        (MERGE_PATCH, json!({"status": {}}), 200),
        (MERGE_PATCH, json!({"metadata": {"annotations": {ALLOW_EMPTY: "true"}}}), 200),
        (MERGE_PATCH, json!({"status": {"unheardOf": 1}}), 200),
        (MERGE_PATCH, json!({"status": {"bindingClusters": "none"}}), 422),
        (MERGE_PATCH, json!({"status": {"bindingClusters": [null]}}), 422),
        (MERGE_PATCH, json!({"status": {"bindingClusters": null, "specHash": "x"}}), 422),
        (MERGE_PATCH, json!({"status": []}), 422),
        (JSON_PATCH, json!([]), 200),
        (APPLY_PATCH, bare, 200),
        (APPLY_PATCH, applied, 200),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_shape_of_a_status_fails_a_write() {
    let scene = start(&["eu-1", "eu-2"]).await;
    subscribe(&scene.client, "shared", shared()).await;
    subscribe(&scene.client, "new", everywhere(&json!({"tier": "app"}))).await;
    scale(&scene.client, "shared", 5).await;
    let rival = Rival::by_hand(&scene.control_plane).await;
    let placement = rival.decide("shared").await.unwrap();
    assert_eq!(rival.write("shared", &placement).await.code, 200);
    let before = status(&scene.client, "shared").await;
    assert_eq!(before["bindingClusters"], clusters(&["eu-1", "eu-2"]));
    assert_eq!(before["replicas"], json!({FEED: [3, 2]}));

    // Whatever would empty it leaves it as it was, and whoever wrote it has no error.
    for (kind, body) in emptying(&scene).await {
        let answer = write_twice(&scene, "shared", kind, &body).await;
        assert_eq!(answer.code, 200, "{body}: {answer:?}");
        assert_eq!(answer.warnings.len(), 1, "{body}: {answer:?}");
        assert_eq!(status(&scene.client, "shared").await, before, "{body}");
    }
    // What says nothing of the placement, or cannot be one, is for the API server to judge.
    for (kind, body, code) in other() {
        let answer = write_twice(&scene, "shared", kind, &body).await;
        assert_eq!(answer.code, code, "{body}: {answer:?}");
        let now = status(&scene.client, "shared").await;
        for field in ["bindingClusters", "replicas", "desiredReleases", "specHash"] {
            assert_eq!(now[field], before[field], "{body}");
        }
    }
    // Nor is a Subscription touched that has no status yet.
    for (kind, body) in [
        (MERGE_PATCH, json!({})),
        (MERGE_PATCH, json!({"status": null})),
        (MERGE_PATCH, json!({"status": {"bindingClusters": null, "replicas": null}})),
        (OBJECT, whole(&scene, "new", None).await),
    ] {
        let answer = write_twice(&scene, "new", kind, &body).await;
        assert_eq!((answer.code, answer.warnings), (200, Vec::new()), "{body}: {}", answer.body);
    }
}
