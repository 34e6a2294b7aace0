use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{Check, Readiness, router};

async fn check(app: &Router, path: &str, status: StatusCode, text: &str) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = app.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), status, "{path}");
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, text, "{path}");
}

#[tokio::test]
async fn alive_whatever_is_ready() {
    let app = router(Readiness::default());
    for name in ["healthz", "livez"] {
        check(&app, &format!("/{name}"), StatusCode::OK, "ok").await;
        let listed = format!("[+]ping ok\n{name} check passed\n");
        check(&app, &format!("/{name}?verbose"), StatusCode::OK, &listed).await;
    }
}

#[tokio::test]
async fn ready_when_every_check_passes_and_says_which_does_not() {
    let readiness = Readiness::default();
    let app = router(readiness.clone());
    let unready = StatusCode::SERVICE_UNAVAILABLE;
    let at_start = "[-]managedclusters failed: first list not finished\n\
        [-]nodes failed: first list not finished\n\
        [-]serving failed: no snapshot of the fleet yet\n\
        readyz check failed\n";
    check(&app, "/readyz", unready, at_start).await;
    check(&app, "/readyz?verbose", unready, at_start).await;

    readiness.set(Check::ManagedClusters, Ok(()));
    readiness.set(Check::Serving, Ok(()));
    let without_nodes = "[+]managedclusters ok\n\
        [-]nodes failed: first list not finished\n\
        [+]serving ok\nreadyz check failed\n";
    check(&app, "/readyz", unready, without_nodes).await;
    readiness.set(Check::Nodes, Ok(()));
    let passed = "[+]managedclusters ok\n[+]nodes ok\n[+]serving ok\n\
        readyz check passed\n";
    check(&app, "/readyz", StatusCode::OK, "ok").await;
    for query in ["verbose", "verbose=1", "timeout=5s&verbose"] {
        check(&app, &format!("/readyz?{query}"), StatusCode::OK, passed).await;
    }
    check(&app, "/readyz?verbosely", StatusCode::OK, "ok").await;

    readiness.set(Check::Serving, Err("shutting down".to_owned()));
    let stopping = "[+]managedclusters ok\n[+]nodes ok\n\
        [-]serving failed: shutting down\nreadyz check failed\n";
    check(&app, "/readyz", unready, stopping).await;
}
