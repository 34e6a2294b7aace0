//! Every way to bind a pod leads past the webhook.

use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::guarded::{outcomes, start};
use crate::nodes::add_virtual_node;
use crate::request::{OBJECT, send};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BINDINGS: &str = "/api/v1/namespaces/default/bindings";

/// Creates a Pod that nobody schedules.
async fn create_pod(client: &Client, name: &str) {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "registry.example/none"}]},
    });
    let answer = send(client, Method::POST, PODS, OBJECT, &pod).await;
    assert_eq!(answer.code, 201, "{answer:?}");
}

/// The node of a Pod, and its annotations with their prefix left out.
async fn bound(client: &Client, name: &str) -> (Value, Value) {
    let pod = send(client, Method::GET, &format!("{PODS}/{name}"), OBJECT, &json!({})).await.body;
    let annotations = pod["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    let short = |key: &str| key.trim_start_matches("sheetanchor.dev/").to_owned();
    let annotations = annotations.iter().map(|(key, value)| (short(key), value.clone())).collect();
    (pod["spec"]["nodeName"].clone(), annotations)
}

fn binding(pod: &str, node: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod, "annotations": annotations},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_is_stamped_whichever_way_it_is_made() {
    let scene = start(&["eu-1", "spare-1"]).await;
    let client = &scene.client;
    add_virtual_node(client, "plain", &[]).await;

    let eu = json!({"cluster": "fleet/eu-1", "role": "active"});
    let spare = json!({"cluster": "fleet/spare-1", "role": "spare"});
    let theirs = json!({"note": "x", "sheetanchor.dev/role": "none"});
    let both = json!({"cluster": "fleet/spare-1", "role": "spare", "note": "x"});
    for (pod, legacy, node, has, expected) in [
        ("subresource", false, "eu-1", json!(null), &eu),
        ("legacy", true, "eu-1", json!(null), &eu),
        ("empty", false, "spare-1", json!({}), &spare),
        ("annotated", false, "spare-1", theirs.clone(), &both),
        ("annotated-legacy", true, "spare-1", theirs, &both),
        ("unmapped", false, "plain", json!(null), &json!({})),
        ("unmapped-legacy", true, "plain", json!(null), &json!({})),
    ] {
        create_pod(client, pod).await;
        let path = if legacy { BINDINGS.to_owned() } else { format!("{PODS}/{pod}/binding") };
        let binding = binding(pod, node, &has);
        let dry = send(client, Method::POST, &format!("{path}?dryRun=All"), OBJECT, &binding).await;
        assert_eq!(dry.code, 201, "{pod}: {dry:?}");
        assert_eq!(bound(client, pod).await, (Value::Null, json!({})), "{pod}: a dry run bound it");
        let answer = send(client, Method::POST, &path, OBJECT, &binding).await;
        assert_eq!((answer.code, answer.warnings), (201, Vec::new()), "{pod}: {}", answer.body);
        assert_eq!(bound(client, pod).await, (json!(node), expected.clone()), "{pod}");
    }
    // Each twice, once dry.
    let outcomes = outcomes(&scene.sheetanchor).await;
    assert_eq!((outcomes["Stamped"], outcomes["Unmapped"]), (10, 4), "{outcomes:?}");
}
