use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::CONTENT_LENGTH;
use http::{Method, Request};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use tower::ServiceExt;

use super::super::guardrails::INLINE_BYTES_MAX;
use super::super::testing::{exposed, mk_snapshot};
use super::*;
use crate::domain::health::Verdict;
use crate::domain::testing::{mk_each, mk_ready, mk_silent, mk_taint, mk_view};

macro_rules! data {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/", $name, ".json"))
    };
}

/// The fleet that `tests/data/README.md` describes.
fn mk_recorded_fleet(now: Instant) -> Snapshot {
    let views = vec![
        mk_view("eu-0", mk_ready()).using([800.0, 1000.0], [0.0, 1000.0]),
        mk_view("eu-1", mk_silent(false)),
        mk_view("eu-2", mk_ready()).spare(),
    ];
    let node = |place| (format!("ip-10-16-0-{place}.eu-central-1.compute.internal"), NodeHome::Cluster(place));
    mk_snapshot(now, views, (0..3).map(node).collect())
}

fn filtered(body: &str, snapshot: &Snapshot, now: Instant) -> String {
    String::from_utf8(filter(body.as_bytes(), snapshot, now).unwrap().0).unwrap()
}

fn prioritized(body: &str, snapshot: &Snapshot, now: Instant) -> String {
    String::from_utf8(prioritize(body.as_bytes(), snapshot, now).unwrap()).unwrap()
}

#[test]
fn recorded_calls_are_answered_to_the_byte() {
    let now = clock::now();
    let snapshot = mk_recorded_fleet(now);
    for (body, expected) in [
        (data!("names-filter"), data!("names-filter.expected")),
        (data!("nodes-filter"), data!("nodes-filter.expected")),
    ] {
        let (answer, rejections) = filter(body.as_bytes(), &snapshot, now).unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
        assert_eq!(rejections, Rejections::from([(Grounds::Verdict(Verdict::Lost), 1)]));
    }
    for (body, expected) in [
        (data!("names-prioritize"), data!("names-prioritize.expected")),
        (data!("nodes-prioritize"), data!("nodes-prioritize.expected")),
    ] {
        assert_eq!(prioritized(body, &snapshot, now), expected);
    }
}

/// Ages run on from the moment that the snapshot was taken.
#[test]
fn reasons_are_of_the_time_of_the_call() {
    let now = clock::now();
    let later = now + Duration::from_secs(14);
    let answer = filtered(data!("names-filter"), &mk_recorded_fleet(now), later);
    assert!(answer.contains("no heartbeat for 1m02s (limit 45s)"), "{answer}");
}

#[test]
fn odd_calls_get_plain_answers() {
    let now = clock::now();
    let nothing = r#"{"Nodes":null,"NodeNames":null,"FailedNodes":null,"FailedAndUnresolvableNodes":{},"Error":""}"#;
    let no_names = r#"{"Nodes":null,"NodeNames":[],"FailedNodes":null,"FailedAndUnresolvableNodes":{},"Error":""}"#;
    let no_items = r#"{"Nodes":{"metadata":{ "a" : 1 },"items":[]},"NodeNames":null,"FailedNodes":null,"FailedAndUnresolvableNodes":{},"Error":""}"#;
    let escaped = r#"{"Nodes":null,"NodeNames":["a\"b","é\n"],"FailedNodes":null,"FailedAndUnresolvableNodes":{"eu\t1":"cluster \"fleet/eu-1\" is Lost: no heartbeat for 48s (limit 45s)","gone":"cluster \"fleet.eu\\9\" is gone or cannot be read, and its node still bears our taint: remove that taint only if it is to be used without a cluster"},"Error":""}"#;
    let homes = vec![
        ("eu\t1".to_owned(), NodeHome::Cluster(1)),
        ("a\"b".to_owned(), NodeHome::Cluster(2)),
        ("gone".to_owned(), NodeHome::Vanished("fleet.eu\\9".into())),
        ("nowhere".to_owned(), NodeHome::Cluster(7)),
    ];
    let snapshot = Snapshot { nodes: mk_snapshot(now, Vec::new(), homes).nodes, ..mk_recorded_fleet(now) };
    for (body, passed, scored) in [
        (r#"{"Pod":{},"Nodes":null,"NodeNames":null}"#, nothing, "[]"),
        ("{}", nothing, "[]"),
        (r#"{"NodeNames":[]}"#, no_names, "[]"),
        (r#"{"Nodes":{"metadata":{ "a" : 1 },"items":null}}"#, no_items, "[]"),
        (r#"{"NodeNames":["a\"b","eu\u00091","\u00e9\n","gone"]}"#, escaped, r#"[{"Host":"a\"b","Score":8}]"#),
        (
            r#"{"NodeNames":["nowhere","unknown"]}"#,
            r#"{"Nodes":null,"NodeNames":["nowhere","unknown"],"FailedNodes":null,"FailedAndUnresolvableNodes":{},"Error":""}"#,
            "[]",
        ),
    ] {
        assert_eq!(filtered(body, &snapshot, now), passed, "{body}");
        assert_eq!(prioritized(body, &snapshot, now), scored, "{body}");
    }
}

/// No toleration brings a pod onto a node whose cluster does not exist.
#[test]
fn a_vanished_cluster_is_rejected_whatever_is_tolerated() {
    let now = clock::now();
    let homes = vec![("gone".to_owned(), NodeHome::Vanished("fleet/eu-9".into()))];
    let body = r#"{"Pod":{"spec":{"tolerations":[{"operator":"Exists"}]}},"NodeNames":["gone"]}"#;
    let (_, rejections) = filter(body.as_bytes(), &mk_snapshot(now, Vec::new(), homes), now).unwrap();
    assert_eq!(rejections, Rejections::from([(Grounds::Vanished, 1)]));
}

async fn call(door: &Door, method: Method, path: &str, body: impl Into<Body>) -> (StatusCode, [String; 2], Bytes) {
    let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    let response = door.clone().router().oneshot(request).await.unwrap();
    let header = |name| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let headers = [header(CONTENT_TYPE), header(CONTENT_LENGTH)];
    (response.status(), headers, response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn the_routes_answer_with_a_length_and_count() {
    let counters = DoorCounters::default();
    let snapshots = Snapshots::new(Snapshot { blind: true, ..mk_recorded_fleet(clock::now()) });
    let door = Door::new(snapshots.clone(), counters.clone());
    for (path, body, expected) in [
        ("/filter", data!("names-filter"), data!("names-filter.expected")),
        ("/prioritize", data!("names-prioritize"), data!("names-prioritize.expected")),
    ] {
        let (status, headers, answer) = call(&door, Method::POST, path, body).await;
        assert_eq!((status, answer), (StatusCode::OK, Bytes::from(expected)), "{path}");
        assert_eq!(headers, ["application/json".to_owned(), expected.len().to_string()], "{path}");
    }
    let (status, headers, answer) = call(&door, Method::POST, "/filter", r#"{"NodeNames":["a",7]}"#).await;
    let expected = "{\"error\":\"cannot read the body as ExtenderArgs: invalid type: integer `7`, expected a string at line 1 column 19\"}\n";
    assert_eq!((status, answer), (StatusCode::BAD_REQUEST, Bytes::from(expected)));
    assert_eq!(headers, ["application/json".to_owned(), expected.len().to_string()]);
    let (status, ..) = call(&door, Method::GET, "/filter", Body::empty()).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    snapshots.publish(Snapshot::empty(clock::now(), Arc::clone(&snapshots.load().policy)));
    let (status, ..) = call(&door, Method::POST, "/prioritize", data!("names-prioritize")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let expected = [
        r#"extender_calls_total{verb="filter",outcome="Answered"} 1"#,
        r#"extender_calls_total{verb="filter",outcome="Refused"} 1"#,
        r#"extender_calls_total{verb="prioritize",outcome="Answered"} 1"#,
        r#"extender_calls_total{verb="prioritize",outcome="Unsynced"} 1"#,
        r#"extender_rejected_nodes_total{reason="Lost"} 1"#,
        "admission_ignored_annotations_total 0",
    ];
    assert_eq!(exposed(|registry| counters.register(registry)), expected);
}

/// A body beside the worker's limit and one beyond it get the same answer.
#[tokio::test]
async fn large_bodies_are_answered_alike() {
    let snapshot = Snapshot { blind: true, ..mk_recorded_fleet(clock::now()) };
    let door = Door::new(Snapshots::new(snapshot), DoorCounters::default());
    let body = data!("nodes-filter");
    for bytes in [body.len(), INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1] {
        let padded = format!("{}{body}", " ".repeat(bytes - body.len()));
        let (status, _, answer) = call(&door, Method::POST, "/filter", padded).await;
        assert_eq!((status, answer), (StatusCode::OK, Bytes::from(data!("nodes-filter.expected"))), "{bytes}");
    }
    let (status, ..) = call(&door, Method::POST, "/filter", " ".repeat(INLINE_BYTES_MAX + 1)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

/// `ExtenderFilterResult` as Go declares it: every key there, and no other.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GoFilterResult<'a> {
    #[serde(borrow)]
    nodes: Option<GoNodeList<'a>>,
    node_names: Option<Vec<String>>,
    failed_nodes: Option<HashMap<String, String>>,
    failed_and_unresolvable_nodes: HashMap<String, String>,
    error: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoNodeList<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GoHostPriority {
    host: String,
    score: i64,
}

/// A fleet in a random state: each cluster's kind of health, and whether it is a spare or tainted by somebody.
fn any_views() -> impl Strategy<Value = Vec<ClusterView>> {
    proptest::collection::vec((0..8usize, any::<bool>(), any::<bool>()), 1..6).prop_map(|clusters| {
        let mk = |(n, (kind, spare, tainted)): (usize, (usize, bool, bool))| {
            let view = mk_view(&format!("eu-{n}"), mk_each().swap_remove(kind).1);
            let view = if spare { view.spare() } else { view };
            if tainted { view.tainted(mk_taint("gpu", "a100", "NoSchedule")) } else { view }
        };
        clusters.into_iter().enumerate().map(mk).collect()
    })
}

/// Node names, unique, and where each belongs: 0 nowhere, 1 vanished, else a cluster.
fn any_nodes() -> impl Strategy<Value = Vec<(String, usize)>> {
    let node = (prop_oneof!["[a-z0-9.-]{1,20}", any::<String>()], 0..8usize);
    proptest::collection::vec(node, 0..12).prop_map(|nodes| {
        let mut seen = HashSet::new();
        nodes.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect()
    })
}

fn mk_homes(nodes: &[(String, usize)], clusters: usize) -> Vec<(String, NodeHome)> {
    let home = |home| match home {
        0 => None,
        1 => Some(NodeHome::Vanished("fleet/gone".into())),
        n => Some(NodeHome::Cluster(n % clusters)),
    };
    nodes.iter().filter_map(|(name, n)| Some((name.clone(), home(*n)?))).collect()
}

proptest! {
    /// Every node comes out once: passed, in the order and the bytes it came in, or rejected for the
    /// reason that its cluster alone would be; and it scores what its cluster alone would.
    #[test]
    fn each_node_is_answered_as_its_cluster(
        views in any_views(),
        nodes in any_nodes(),
        tolerant in any::<bool>(),
        in_full in any::<bool>(),
    ) {
        let now = clock::now();
        let tolerations = if tolerant { r#"[{"key":"gpu","operator":"Exists"}]"# } else { "[]" };
        let quoted: Vec<_> = nodes.iter().map(|(name, _)| serde_json::to_string(name).unwrap()).collect();
        let items: Vec<_> = quoted.iter().map(|name| format!(r#"{{ "metadata":{{"name" : {name}}}, "x": 1.0e0 }}"#)).collect();
        let candidates = match in_full {
            true => format!(r#""Nodes":{{"items":[ {} ],"metadata": {{"x":[ ]}} }},"NodeNames":null"#, items.join(" , ")),
            false => format!(r#""Nodes":null,"NodeNames":[{}]"#, quoted.join(", ")),
        };
        let body = format!(r#"{{"Pod":{{"spec":{{"tolerations":{tolerations}}}}},{candidates}}}"#);
        let snapshot = mk_snapshot(now, views.clone(), mk_homes(&nodes, views.len()));

        let steering = snapshot.steering(now);
        let tolerations = decode(body.as_bytes()).unwrap().pod.tolerations;
        let (mut passed, mut rejected, mut scored) = (Vec::new(), HashMap::new(), Vec::new());
        for (place, (name, _)) in nodes.iter().enumerate() {
            let view = snapshot.cluster_of_node(name);
            let rejection = match snapshot.nodes.get(name.as_str()) {
                Some(NodeHome::Vanished(label)) => Some(Rejection::vanished(label)),
                _ => view.and_then(|view| steering.rejection(view, &tolerations)),
            };
            match rejection {
                Some(rejection) => { rejected.insert(name.clone(), rejection.reason); }
                None => {
                    passed.push(place);
                    scored.extend(view.map(|view| (name.clone(), i64::from(steering.score(view)))).filter(|s| s.1 > 0));
                }
            }
        }

        let answer = filtered(&body, &snapshot, now);
        let result: GoFilterResult<'_> = serde_json::from_str(&answer).unwrap();
        prop_assert_eq!(result.failed_and_unresolvable_nodes, rejected);
        prop_assert!(result.failed_nodes.is_none() && result.error.is_empty());
        let names = result.node_names.map(|names| names.into_iter().map(Some).collect::<Vec<_>>());
        let expected = || passed.iter().map(|place| Some(nodes[*place].0.clone())).collect::<Vec<_>>();
        prop_assert_eq!(names, (!in_full).then(expected));
        let echoed = result.nodes.map(|list| {
            assert_eq!(list.metadata.get(), r#"{"x":[ ]}"#);
            list.items.into_iter().map(|item| item.get().to_owned()).collect::<Vec<_>>()
        });
        prop_assert_eq!(echoed, in_full.then(|| passed.iter().map(|place| items[*place].clone()).collect()));

        let scores: Vec<GoHostPriority> = serde_json::from_str(&prioritized(&body, &snapshot, now)).unwrap();
        prop_assert_eq!(scores.into_iter().map(|entry| (entry.host, entry.score)).collect::<Vec<_>>(), scored);
    }
}
