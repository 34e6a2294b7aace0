//! Input that cannot be used: that alone is left out, and the next is served as ever.

use std::fs;

use bytes::Bytes;
use http::StatusCode;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::fleet::managed_clusters;
use crate::scene::{FLEET, Scene};
use crate::wait::{PATIENCE, eventually};

const MB: usize = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_decoded_is_left_out_alone_and_named() {
    let mut scene = Scene::start(&["bad", "dies", "lives"], &[]).await;
    for name in ["bad", "dies", "lives"] {
        scene.until_verdict(name, "Ready").await;
    }
    relax_crd(&scene, "spec", "taints").await;
    // The hub takes some time over a new schema.
    eventually("taints to be a string", PATIENCE, async || set_taints(&scene, json!("none")).await).await;
    scene.member("bad").stop().await;

    let undecodable = until_undecodable(&scene, 1).await;
    assert_eq!(undecodable["name"], "fleet/bad", "{undecodable}");
    assert!(undecodable["error"].as_str().unwrap().contains("Expected a sequence"), "{undecodable}");
    assert_eq!(scene.sheetanchor.metric("undecodable_objects").await, 1.0);
    scene.member("dies").stop().await;
    scene.until_tainted("dies", Some("ClusterStatusUnknown")).await;
    // What was known of it stands, and its age stands still.
    let cluster = scene.cluster("bad").await.unwrap();
    assert_eq!((&cluster["verdict"], &cluster["schedulable"]), (&json!("Ready"), &json!(true)), "{cluster}");
    let nodes = ["bad", "dies", "lives"];
    assert_eq!(scene.sheetanchor.filter(&nodes).await.0, ["bad", "lives"]);

    // Nor does it keep a new process from its work, though that knows nothing of it.
    scene.sheetanchor.restart().await;
    assert_eq!(until_undecodable(&scene, 1).await["name"], "fleet/bad");
    assert!(scene.cluster("bad").await.is_none());
    scene.member("dies").resume().await;
    scene.until_tainted("dies", None).await;
    scene.until_verdict("lives", "Ready").await;

    set_taints(&scene, json!([])).await.unwrap();
    eventually("it to be read again", PATIENCE, async || scene.cluster("bad").await).await;
    assert_eq!(scene.sheetanchor.metric("undecodable_objects").await, 0.0);
    scene.until_tainted("bad", Some("ClusterStatusUnknown")).await;
}

/// Makes the API server store anything in one field of a ManagedCluster.
async fn relax_crd(scene: &Scene, part: &str, field: &str) {
    let api: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{part}/properties/{field}");
    let anything = json!([{"op": "replace", "path": path, "value": {"x-kubernetes-preserve-unknown-fields": true}}]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(anything).unwrap());
    api.patch("managedclusters.clusters.clusternet.io", &PatchParams::default(), &patch).await.unwrap();
}

async fn set_taints(scene: &Scene, taints: Value) -> kube::Result<()> {
    let patch = json!({"spec": {"taints": taints}});
    let api = managed_clusters(&scene.client, FLEET);
    api.patch("bad", &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
}

/// Waits until the fleet names so many objects that it had to leave out, and says the first.
async fn until_undecodable(scene: &Scene, count: usize) -> Value {
    eventually(&format!("{count} undecodable objects"), PATIENCE, async || {
        let fleet = scene.sheetanchor.fleet().await.ok_or("no fleet")?;
        let objects = fleet["undecodable"].as_array().ok_or("no list")?;
        if objects.len() == count { Ok(objects[0].clone()) } else { Err(format!("{objects:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_used_are_refused_in_one_line_and_the_next_is_served() {
    let scene = Scene::start(&["eu-1"], &[]).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!(r#"{{"Pod":{{"metadata":{deep}}},"NodeNames":["eu-1"]}}"#);
    let huge = vec![b' '; 100 * MB];
    let (bad, large) = (StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE);
    let (method, path) = (StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_FOUND);
    for (name, call, body, expected) in [
        ("not JSON", ("POST", "/filter"), &b"<xml/>"[..], bad),
        ("nothing", ("POST", "/filter"), b"", bad),
        ("not an object", ("POST", "/filter"), b"[]", bad),
        ("a wrong type", ("POST", "/filter"), br#"{"Pod":{},"NodeNames":"eu-1"}"#, bad),
        ("half of it", ("POST", "/filter"), br#"{"Pod":{},"NodeNames":["eu-1"#, bad),
        ("no UTF-8", ("POST", "/filter"), b"{\"Pod\":{},\"NodeNames\":[\"\xff\xfe\"]}", bad),
        ("too deep", ("POST", "/filter"), deep.as_bytes(), bad),
        ("too deep for scores", ("POST", "/prioritize"), deep.as_bytes(), bad),
        ("100 MB", ("POST", "/filter"), &huge, large),
        ("9 MB for the webhook", ("POST", "/mutate"), &huge[..9 * MB], large),
        ("no review", ("POST", "/mutate"), b"{}", bad),
        ("not to be got", ("GET", "/filter"), b"", method),
        ("not to be put", ("PUT", "/mutate"), b"{}", method),
        ("no such path", ("POST", "/bind"), b"{}", path),
        ("no such path either", ("GET", "/metrics"), b"", path),
    ] {
        let (status, answer) = scene.sheetanchor.call(call.0, call.1, body).await;
        assert_eq!(status, expected, "{name}: {answer:?}");
        assert_is_one_line_error(name, &answer);
        assert_eq!(scene.sheetanchor.filter(&["eu-1"]).await.0, ["eu-1"], "after {name}");
    }
    let peak = peak_memory(&scene);
    assert!(peak < 80 * MB, "it took {peak} bytes to refuse what it need not read");
}

fn assert_is_one_line_error(name: &str, answer: &Bytes) {
    let text = std::str::from_utf8(answer).unwrap();
    let error: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
    assert!(error["error"].as_str().is_some_and(|reason| !reason.is_empty()), "{name}: {text}");
    assert_eq!((text.lines().count(), text.ends_with('\n')), (1, true), "{name}: {text}");
}

/// The most memory that the process ever had, in bytes.
fn peak_memory(scene: &Scene) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", scene.sheetanchor.process.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
