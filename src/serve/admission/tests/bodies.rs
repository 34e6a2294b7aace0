//! Bodies that are something else, and the way through the router.

use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::super::super::testing::exposed;
use super::*;

fn refusal(body: &[u8]) -> String {
    let snapshot = tainted();
    mutate(body, &snapshot, snapshot.taken.0, &STRICT).expect_err("no answer").to_string()
}

#[test]
fn what_is_no_review_is_refused() {
    let with = |path: &str, value: Value| {
        let mut review = read(POD);
        *review.pointer_mut(path).unwrap() = value;
        review.to_string()
    };
    for (name, body, reason) in [
        ("empty", String::new(), "cannot read AdmissionReview: EOF"),
        ("no JSON", "<html>".to_owned(), "cannot read AdmissionReview: expected value"),
        ("cut off", POD[..POD.len() - 2].to_owned(), "cannot read AdmissionReview: EOF"),
        ("something after it", format!("{POD}x"), "cannot read AdmissionReview: trailing characters"),
        ("no object", "[]".to_owned(), "cannot "),
        ("another shape", with("/request/resource", json!("pods")), "cannot read AdmissionReview: invalid type"),
        (
            "another version",
            with("/apiVersion", json!("admission.k8s.io/v1beta1")),
            "cannot answer a \"AdmissionReview\" of \"admission.k8s.io/v1beta1\"",
        ),
        ("another kind", with("/kind", json!("Pod\n")), "cannot answer a \"Pod\\n\" of"),
        ("no request", with("/request", Value::Null), "cannot answer an AdmissionReview without request.uid"),
        ("no uid", with("/request/uid", json!("")), "cannot answer an AdmissionReview without request.uid"),
    ] {
        let refusal = refusal(body.as_bytes());
        assert!(refusal.starts_with(reason), "{name}: {refusal}");
        assert!(!refusal.contains('\n'), "{name}: {refusal}");
    }
    assert!(refusal(b"{\"kind\":\"\xff\"}").starts_with("cannot read AdmissionReview: invalid utf-8"));
}

#[test]
fn other_reviews_are_allowed_untouched() {
    for body in [POD, SUBSCRIPTION] {
        let review = read(body);
        let made = send(&review, &tainted(), STRICT);
        assert_eq!(made.outcome, AdmissionOutcome::Foreign);
        assert_eq!(made.response, json!({ "uid": review["request"]["uid"], "allowed": true }));
    }
}

/// Depth costs no stack where nothing is read, and is an error where something is.
#[test]
fn deep_nesting_breaks_nothing() {
    let depth = 200_000;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let status = "\"status\":{\"bindingClusters\":[\"clusternet-a/child-1\",\"clusternet-b/child-2\"]";
    let snapshot = tainted();
    for (place, outcome) in [
        ("\"dryRun\":false", AdmissionOutcome::Passed),
        ("\"generation\":1", AdmissionOutcome::Passed),
        (status, AdmissionOutcome::Passed),
        ("\"weight\":1", AdmissionOutcome::Passed),
        ("\"env\":\"prod\"", AdmissionOutcome::NotUnderstood),
        ("\"specHash\":1234", AdmissionOutcome::NotUnderstood),
    ] {
        let (before, _) = place.rsplit_once(':').unwrap();
        let with_deep = if place == status {
            format!("{status},\"aggregatedStatuses\":{deep}")
        } else {
            format!("{before}:{deep}")
        };
        assert!(STATUS.contains(place), "{place}");
        let body = STATUS.replace(place, &with_deep);
        let reply = mutate(body.as_bytes(), &snapshot, snapshot.taken.0, &STRICT).expect("an answer");
        assert_eq!(reply.outcome, outcome, "{place}");
    }
    assert!(refusal(deep.as_bytes()).starts_with("cannot read AdmissionReview"));
}

#[tokio::test]
async fn the_router_answers_and_counts() {
    let counters = DoorCounters::default();
    let door = Door::new(Snapshots::new(tainted()), STRICT, counters.clone());
    let app = door.router().layer(DefaultBodyLimit::disable());
    // Two objects of 3 MiB: the largest that an API server stores.
    let mut large = read(STATUS);
    large["request"]["oldObject"]["status"] = large["request"]["object"]["status"].clone();
    large["request"]["object"]["status"] = json!({});
    for object in ["object", "oldObject"] {
        large["request"][object]["metadata"]["annotations"]["note"] = json!("x\"".repeat(3 * 1024 * 1024 / 3));
    }
    for (name, body, status) in [
        ("a small one", STATUS.to_owned(), StatusCode::OK),
        ("a large one", large.to_string(), StatusCode::OK),
        ("a bad one", "{".to_owned(), StatusCode::BAD_REQUEST),
    ] {
        let request = Request::post("/mutate").body(Body::from(body)).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{name}");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json", "{name}");
        let length = response.headers()["content-length"].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len().to_string(), length, "{name}");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"].is_string(), status != StatusCode::OK, "{name}: {body}");
    }
    let expected = [
        r#"admission_reviews_total{outcome="Passed"} 1"#,
        r#"admission_reviews_total{outcome="Refilled"} 1"#,
        r#"admission_reviews_total{outcome="Refused"} 1"#,
        "admission_ignored_annotations_total 0",
    ];
    assert_eq!(exposed(|registry| counters.register(registry)), expected);
}
