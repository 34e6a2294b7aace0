//! What the shipped webhook configuration asks about, and what it leaves alone.

use http::Method;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::guarded::{clusters, label, reviews, start};
use crate::request::{Answer, MERGE_PATCH, OBJECT, send};
use crate::scene::Scene;
use crate::sheetanchor::NAMESPACE as OURS;
use crate::subscriptions::{apps, change, everywhere, subscribe, write_status};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_asks_about_bindings_and_changed_placements_and_nothing_else() {
    let scene = start(&["eu-1", "eu-2"]).await;
    let asked = reviews(&scene.sheetanchor).await;

    // What the hub itself runs is not asked about, in whichever way it is bound.
    for namespace in ["kube-system", OURS] {
        create_pod(&scene, namespace, "essential").await;
        bound(&bind(&scene, namespace, "pods/essential/binding", "essential").await);
    }
    // Nor whatever else happens to pods, nodes and clusters.
    for pod in ["one", "two", "evicted"] {
        create_pod(&scene, "default", pod).await;
    }
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    request(&scene, Method::PATCH, "/api/v1/namespaces/default/pods/one/status", MERGE_PATCH, &ready).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted"}});
    request(&scene, Method::POST, "/api/v1/namespaces/default/pods/evicted/eviction", OBJECT, &eviction).await;
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let labelled = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    nodes.patch("eu-1", &PatchParams::default(), &labelled).await.unwrap();
    label(&scene, "eu-1", json!({"a": "b"})).await;
    // Nor a Subscription that is made, edited, placed for the first time, reported on, deleted.
    for name in ["web", "doomed"] {
        subscribe(&scene.client, name, everywhere(&json!({"tier": "app"}))).await;
        change(&scene.client, name, json!({"spec": {"priority": 7}})).await;
        for status in [
            json!({"bindingClusters": clusters(&["eu-1", "eu-2"]), "desiredReleases": 2}),
            json!({"bindingClusters": clusters(&["eu-1", "eu-2"]), "specHash": 7}),
            json!({"completedReleases": 1}),
        ] {
            write(&scene, name, status).await;
        }
    }
    apps(&scene.client, "Subscription").delete("doomed", &DeleteParams::default()).await.unwrap();
    assert_eq!(reviews(&scene.sheetanchor).await - asked, 0);

    bound(&bind(&scene, "default", "pods/one/binding", "one").await);
    assert_eq!(reviews(&scene.sheetanchor).await - asked, 1);
    bound(&bind(&scene, "default", "bindings", "two").await);
    assert_eq!(reviews(&scene.sheetanchor).await - asked, 2);
    write(&scene, "web", json!({"bindingClusters": clusters(&["eu-1"])})).await;
    assert_eq!(reviews(&scene.sheetanchor).await - asked, 3);
    write(&scene, "web", json!(null)).await;
    assert_eq!(reviews(&scene.sheetanchor).await - asked, 4);
}

async fn request(scene: &Scene, method: Method, path: &str, kind: &str, body: &Value) {
    let answer = send(&scene.client, method, path, kind, body).await;
    assert!(answer.succeeded(), "{answer:?}");
}

async fn create_pod(scene: &Scene, namespace: &str, name: &str) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "registry.example/none"}]},
    });
    request(scene, Method::POST, &format!("/api/v1/namespaces/{namespace}/pods"), OBJECT, &pod).await;
}

async fn bind(scene: &Scene, namespace: &str, resource: &str, pod: &str) -> Answer {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod, "namespace": namespace},
        "target": {"kind": "Node", "name": "eu-1"},
    });
    let path = format!("/api/v1/namespaces/{namespace}/{resource}");
    send(&scene.client, Method::POST, &path, OBJECT, &binding).await
}

fn bound(answer: &Answer) {
    assert!(answer.succeeded(), "{answer:?}");
}

async fn write(scene: &Scene, name: &str, status: Value) {
    let answer = write_status(&scene.client, name, "", MERGE_PATCH, &json!({"status": status})).await;
    assert!(answer.succeeded(), "{answer:?}");
}
