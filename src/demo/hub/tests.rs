//! What the store and the watches promise, asked at the door. What the answers must be word for word
//! is asked of the real API server, in `tests/e2e/likeness.rs`.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::{StreamExt, TryStreamExt};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::kinds::kinds;
use super::rest::Server;
use super::store::Store;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CLUSTERS: &str = "/apis/clusters.clusternet.io/v1beta1/namespaces/default/managedclusters";
const EVENTS: &str = "/api/v1/namespaces/default/events";

struct Asked(Router);

impl Asked {
    fn hub() -> Self {
        Self::remembering(1_000)
    }

    fn remembering(changes: usize) -> Self {
        Self(Server::new(Store::with_history(changes), CancellationToken::new()).router())
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        let answer = self.0.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        // Both limits only bound how long a broken build hangs.
        let parts = body.into_data_stream().take(100).try_collect::<Vec<_>>();
        let body = tokio::time::timeout(Duration::from_secs(60), parts).await.expect("the answer ends").unwrap();
        (head.status, String::from_utf8(body.concat()).unwrap())
    }

    /// What must succeed: the object.
    async fn get(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(method, path, &body.to_string()).await;
        assert!(status.is_success(), "{method} {path}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// What must fail: the code.
    async fn refusal(&self, method: &str, path: &str, body: &Value) -> u16 {
        let (status, answer) = self.ask(method, path, &body.to_string()).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["kind"], &answer["code"]), (&json!("Status"), &json!(status.as_u16())));
        status.as_u16()
    }

    async fn create(&self, path: &str, name: &str) -> Value {
        let kind = if path == CLUSTERS { json!("ManagedCluster") } else { Value::Null };
        self.get("POST", path, &json!({"kind": kind, "metadata": {"name": name}})).await
    }

    /// The lines of a watch that ends at once: the type, the name, the version.
    async fn watch(&self, path: &str, query: &str) -> Vec<(String, String, u64)> {
        let (status, lines) = self.ask("GET", &format!("{path}?watch=1&timeoutSeconds=0&{query}"), "").await;
        assert_eq!(status, StatusCode::OK, "{lines}");
        let told = lines.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let object = &line["object"];
            (text(&line["type"]), text(&object["metadata"]["name"]), version(object))
        });
        told.collect()
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or_default()
}

fn told(events: &[(String, String, u64)]) -> Vec<String> {
    events.iter().map(|(kind, name, _)| format!("{kind} {name}")).collect()
}

#[tokio::test]
async fn a_write_on_an_old_version_changes_nothing() {
    let hub = Asked::hub();
    let (first, path) = (hub.create(MAPS, "m").await, format!("{MAPS}/m"));
    let second = hub.get("PATCH", &path, &json!({"data": {"k": "2"}})).await;
    let stale = json!({"metadata": {"name": "m", "resourceVersion": version(&first).to_string()}, "data": {"k": "x"}});
    for method in ["PUT", "PATCH"] {
        assert_eq!(hub.refusal(method, &path, &stale).await, 409, "{method}");
    }
    for wrong in [json!({"resourceVersion": version(&first).to_string()}), json!({"uid": "other"})] {
        assert_eq!(hub.refusal("DELETE", &path, &json!({"preconditions": wrong})).await, 409, "{wrong}");
    }
    assert_eq!(hub.get("GET", &path, &Value::Null).await, second);
    let right = json!({"uid": second["metadata"]["uid"], "resourceVersion": version(&second).to_string()});
    hub.get("DELETE", &path, &json!({"preconditions": right})).await;
    assert_eq!(hub.refusal("GET", &path, &Value::Null).await, 404);
    assert_eq!(hub.refusal("POST", MAPS, &json!({"metadata": {"name": "a/b"}})).await, 422);
}

#[tokio::test]
async fn the_status_and_the_rest_do_not_touch_each_other() {
    let hub = Asked::hub();
    hub.create(CLUSTERS, "c").await;
    let both = json!({"metadata": {"labels": {"l": "1"}}, "spec": {"syncMode": "Dual"}, "status": {"livez": true}});
    let of_status = hub.get("PATCH", &format!("{CLUSTERS}/c/status"), &both).await;
    assert_eq!((&of_status["status"], &of_status["spec"]), (&json!({"livez": true}), &Value::Null));
    assert_eq!((&of_status["metadata"]["labels"], &of_status["metadata"]["generation"]), (&Value::Null, &json!(1)));
    let main = json!({"metadata": {"labels": {"l": "1"}}, "spec": {"syncMode": "Dual"}, "status": null});
    let of_main = hub.get("PATCH", &format!("{CLUSTERS}/c"), &main).await;
    assert_eq!((&of_main["status"], &of_main["spec"]), (&json!({"livez": true}), &json!({"syncMode": "Dual"})));
    assert_eq!(of_main["metadata"]["generation"], 2, "the spec has changed once");
}

#[tokio::test]
async fn null_removes_and_what_changes_nothing_has_no_version() {
    let hub = Asked::hub();
    hub.create(MAPS, "m").await;
    let path = format!("{MAPS}/m");
    let set = json!({"data": {"a": "1", "b": "2"}});
    let before = hub.get("PATCH", &path, &set).await;
    assert_eq!(hub.get("PATCH", &path, &set).await, before);
    assert_eq!(hub.get("PATCH", &path, &json!({})).await, before);
    let after = hub.get("PATCH", &path, &json!({"data": {"a": null}})).await;
    assert_eq!((&after["data"], version(&after)), (&json!({"b": "2"}), version(&before) + 1));
    assert_eq!(hub.get("PATCH", &path, &json!({"data": null})).await["data"], Value::Null);
}

#[tokio::test]
async fn a_watch_tells_every_change_after_a_version_in_order() {
    let hub = Asked::hub();
    let start = version(&hub.create(MAPS, "before").await);
    for name in ["a", "b"] {
        hub.create(MAPS, name).await;
        hub.create(CLUSTERS, name).await;
    }
    hub.get("PATCH", &format!("{MAPS}/a"), &json!({"data": {"k": "1"}})).await;
    hub.get("DELETE", &format!("{MAPS}/b"), &Value::Null).await;
    let events = hub.watch(MAPS, &format!("resourceVersion={start}&allowWatchBookmarks=true")).await;
    assert_eq!(told(&events), ["ADDED a", "ADDED b", "MODIFIED a", "DELETED b", "BOOKMARK "]);
    let versions: Vec<u64> = events.iter().map(|(.., version)| *version).collect();
    assert!(versions.windows(2).all(|pair| pair[0] <= pair[1]), "{versions:?}");
    assert_eq!(versions[3], versions[4], "the bookmark is up to date, and what is gone bears the version of its end");
    let rest = hub.watch(MAPS, &format!("resourceVersion={}", versions[1])).await;
    assert_eq!(told(&rest), ["MODIFIED a", "DELETED b"]);
    assert_eq!(
        told(&hub.watch("/api/v1/namespaces/kube-system/configmaps", &format!("resourceVersion={start}")).await),
        [""; 0]
    );
}

#[tokio::test]
async fn a_watch_without_a_version_begins_with_what_is_there() {
    let hub = Asked::hub();
    hub.create(MAPS, "a").await;
    for query in ["", "resourceVersion=0"] {
        assert_eq!(told(&hub.watch(MAPS, query).await), ["ADDED a"], "{query}");
    }
    let (_, lines) = hub
        .ask(
            "GET",
            &format!("{MAPS}?watch=1&timeoutSeconds=0&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
            "",
        )
        .await;
    assert!(lines.lines().nth(1).is_some_and(|line| line.contains(r#""k8s.io/initial-events-end":"true""#)), "{lines}");
}

#[tokio::test]
async fn a_watch_from_what_is_forgotten_must_list_again() {
    let hub = Asked::remembering(3);
    let start = version(&hub.create(MAPS, "a").await);
    for name in ["b", "c", "d"] {
        hub.create(MAPS, name).await;
    }
    assert_eq!(told(&hub.watch(MAPS, &format!("resourceVersion={start}")).await), ["ADDED b", "ADDED c", "ADDED d"]);
    hub.create(MAPS, "e").await;
    let (status, line) = hub.ask("GET", &format!("{MAPS}?watch=1&timeoutSeconds=0&resourceVersion={start}"), "").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((status, &line["type"], &line["object"]["code"]), (StatusCode::OK, &json!("ERROR"), &json!(410)));
}

#[tokio::test]
async fn to_a_selection_what_stops_matching_is_gone() {
    let hub = Asked::hub();
    let start = version(&hub.create(MAPS, "a").await);
    let path = format!("{MAPS}/a");
    for value in [json!("1"), json!("1"), Value::Null] {
        hub.get("PATCH", &path, &json!({"metadata": {"labels": {"in": value}}, "data": {"k": value}})).await;
    }
    hub.get("PATCH", &path, &json!({"metadata": {"labels": {"in": "2"}}})).await;
    hub.get("PATCH", &path, &json!({"data": {"k": "2"}})).await;
    let events = hub.watch(MAPS, &format!("resourceVersion={start}&labelSelector=in")).await;
    assert_eq!(told(&events), ["ADDED a", "DELETED a", "ADDED a", "MODIFIED a"]);
}

#[tokio::test]
async fn what_is_in_a_namespace_goes_with_it() {
    let hub = Asked::hub();
    let there = "/api/v1/namespaces/fleet/configmaps";
    assert_eq!(hub.refusal("POST", there, &json!({"metadata": {"name": "m"}})).await, 404);
    hub.create("/api/v1/namespaces", "fleet").await;
    let start = version(&hub.create(there, "m").await);
    hub.create(MAPS, "m").await;
    hub.get("DELETE", "/api/v1/namespaces/fleet", &Value::Null).await;
    assert_eq!(
        told(&hub.watch("/api/v1/configmaps", &format!("resourceVersion={start}")).await),
        ["ADDED m", "DELETED m"]
    );
    hub.get("GET", &format!("{MAPS}/m"), &Value::Null).await;
}

#[tokio::test]
async fn what_is_no_object_is_refused() {
    let hub = Asked::hub();
    let path = format!("{CLUSTERS}/c");
    hub.create(CLUSTERS, "c").await;
    for (part, path) in [("spec", path.clone()), ("metadata", path.clone()), ("status", format!("{path}/status"))] {
        assert_eq!(hub.refusal("PATCH", &path, &json!({part: "text"})).await, 422, "{part}");
    }
    for wrong in [json!({"labels": {"a": 1}}), json!({"finalizers": "x"}), json!({"name": 1})] {
        assert_eq!(hub.refusal("PATCH", &path, &json!({"metadata": wrong})).await, 422, "{wrong}");
    }
    assert_eq!(hub.refusal("POST", MAPS, &json!([])).await, 400);
}

#[tokio::test]
async fn of_the_events_only_the_newest_are_kept() {
    let hub = Asked::hub();
    hub.create(EVENTS, "first").await;
    hub.create(EVENTS, "renewed").await;
    hub.get("PATCH", &format!("{EVENTS}/first"), &json!({"message": "again"})).await;
    for number in 0..999 {
        hub.create(EVENTS, &format!("e-{number}")).await;
    }
    let list = hub.get("GET", EVENTS, &Value::Null).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1_000));
    assert_eq!(hub.refusal("GET", &format!("{EVENTS}/renewed"), &Value::Null).await, 404);
    hub.get("GET", &format!("{EVENTS}/first"), &Value::Null).await;
}

#[tokio::test]
async fn kubectl_apply_is_told_that_every_resource_is_validated_here() {
    let hub = Asked::hub();
    let documents = hub.get("GET", "/openapi/v3", &Value::Null).await;
    for kind in kinds() {
        let path = if kind.group.is_empty() { "api" } else { "apis" };
        let url = &documents["paths"][format!("{path}/{}", kind.api_version())]["serverRelativeURL"];
        let document = hub.get("GET", url.as_str().unwrap(), &Value::Null).await;
        let patches = document["paths"].as_object().unwrap().values().map(|path| &path["patch"]);
        let meant = |patch: &&Value| patch["x-kubernetes-group-version-kind"]["kind"] == kind.kind;
        assert_eq!(
            patches.filter(meant).map(|patch| &patch["parameters"][0]["name"]).collect::<Vec<_>>(),
            ["fieldValidation"]
        );
    }
}

#[tokio::test]
async fn kubectl_gets_the_rows_that_it_asks_for() {
    let hub = Asked::hub();
    hub.create(MAPS, "m").await;
    let list = async |accept: &str| {
        let request = Request::get(MAPS).header("accept", accept).body(Body::empty()).unwrap();
        let answer = hub.0.clone().oneshot(request).await.unwrap();
        serde_json::from_slice::<Value>(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    };
    let table = list("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await;
    let columns = table["columnDefinitions"].as_array().unwrap().iter();
    let columns: Vec<&Value> = columns.map(|column| &column["name"]).collect();
    assert_eq!((&table["kind"], columns), (&json!("Table"), vec![&json!("Name"), &json!("Data"), &json!("Age")]));
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..2], [json!("m"), json!("0")]);
    assert_eq!(table["rows"][0]["object"]["metadata"]["namespace"], "default");
    for other in ["application/json", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"] {
        assert_eq!(list(other).await["kind"], "ConfigMapList", "{other}");
    }
}
