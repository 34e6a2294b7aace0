//! Decisions that were overtaken by events: refused at binding, and taken again.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::request::{Answer, JSON_PATCH, OBJECT, send};
use crate::scene::{Scene, cluster_at};
use crate::sheetanchor::{Sheetanchor, SheetanchorOptions, extender_config, register_webhook};
use crate::wait::{PATIENCE, eventually};

const DENIED: &str = r#"admission_reviews_total{outcome="Denied"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_to_a_cluster_just_lost_is_refused_with_the_reason_or_audited() {
    let scene = Scene::start(&["eu-1", "eu-2"], &[]).await;
    scene.until_verdict("eu-1", "Ready").await;
    let options = SheetanchorOptions {
        name: "auditor".to_owned(),
        extra_args: vec!["--binding-policy=audit".to_owned()],
        ..SheetanchorOptions::default()
    };
    let auditor = Sheetanchor::start(&scene.control_plane, options).await;
    eventually("the auditor to know eu-1", PATIENCE, async || cluster_at(&auditor, "eu-1").await).await;
    register_webhook(&scene.client, &scene.sheetanchor).await;
    let scheduler = scene.control_plane.client_as("system:kube-scheduler", None).await;
    for pod in ["early", "late", "audited"] {
        create_pod(&scene.client, pod).await;
    }
    // Stamped, once the API server knows of the webhook.
    until_stamped(&scene, &scheduler).await;
    let answer = bind(&scheduler, "early", "eu-1").await;
    assert!(answer.succeeded(), "{answer:?}");
    assert_eq!(stamps(&scene.client, "early").await, (json!("fleet/eu-1"), json!("active")));

    scene.member("eu-1").stop().await;
    scene.until_verdict("eu-1", "Lost").await;
    let answer = bind(&scheduler, "late", "eu-1").await;
    assert_eq!(answer.code, 409, "{answer:?}");
    let message = answer.message();
    assert!(message.contains("denied the request: cluster \"fleet/eu-1\" is Lost: no heartbeat for"), "{message}");
    assert!(message.contains("(limit 3s); the scheduler will choose again"), "{message}");
    assert_eq!(scene.sheetanchor.metric(DENIED).await, 1.0);
    let answer = bind(&scheduler, "late", "eu-2").await;
    assert!(answer.succeeded(), "{answer:?}");

    eventually("the auditor to see the loss", PATIENCE, async || {
        cluster_at(&auditor, "eu-1").await?["message"].as_str()?.starts_with("no heartbeat for").then_some(())
    })
    .await;
    point_webhook_at(&scene.client, &auditor).await;
    let allowed = eventually("a binding that is allowed", PATIENCE, async || {
        let answer = bind(&scheduler, "audited", "eu-1").await;
        if answer.succeeded() { Ok(answer) } else { Err(answer.body.to_string()) }
    })
    .await;
    let warnings = allowed.warnings.join("\n");
    assert!(warnings.contains("cluster \"fleet/eu-1\" is Lost: no heartbeat for"), "{warnings}");
    assert_eq!(auditor.metric(r#"admission_reviews_total{outcome="Audited"}"#).await, 1.0);
    assert_eq!(stamps(&scene.client, "audited").await, (json!("fleet/eu-1"), json!("active")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_of_the_scheduler_that_was_overtaken_lands_elsewhere() {
    let mut scene = Scene::start(&["eu-1", "eu-2", "eu-3"], &[]).await;
    for name in ["eu-1", "eu-2", "eu-3"] {
        scene.until_verdict(name, "Ready").await;
    }
    register_webhook(&scene.client, &scene.sheetanchor).await;
    let slow = SlowExtender::start().await;
    let config = extender_config(&scene.control_plane, &scene.sheetanchor);
    let mine = "extenders:\n";
    assert!(config.contains(mine), "{config}");
    scene.control_plane.start_scheduler(&config.replace(mine, &format!("{mine}  - {}\n", slow.config())));

    // Our filter lets it pass to eu-1, and then the scheduler thinks.
    let asked = scene.sheetanchor.metric(r#"extender_calls_total{verb="filter",outcome="Answered"}"#).await;
    create_pod(&scene.client, "web").await;
    slow.until_asked().await;
    let answered = scene.sheetanchor.metric(r#"extender_calls_total{verb="filter",outcome="Answered"}"#).await;
    assert_eq!(answered - asked, 1.0, "our filter was asked first");
    scene.member("eu-1").stop().await;
    scene.until_verdict("eu-1", "Lost").await;
    slow.go_on();

    let node =
        eventually("the pod to be bound", PATIENCE, async || pod(&scene.client, "web").await.spec?.node_name).await;
    assert_ne!(node, "eu-1");
    assert_eq!(stamps(&scene.client, "web").await.0, json!(format!("fleet/{node}")));
    assert_eq!(scene.sheetanchor.metric(DENIED).await, 1.0);
    let text = scene.until_event("web", "FailedScheduling").await;
    assert!(text.contains("cluster \"fleet/eu-1\" is Lost: no heartbeat for"), "{text}");
}

/// An extender that scores eu-1 highest, and takes its time over its first answer.
struct SlowExtender {
    url: String,
    asked: Arc<Semaphore>,
    told: Arc<Semaphore>,
}

impl SlowExtender {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, told) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (called, may_answer) = (asked.clone(), told.clone());
        let answer = async move || {
            called.add_permits(1);
            let _told = may_answer.acquire().await.unwrap();
            axum::Json(json!([{"Host": "eu-1", "Score": 10}]))
        };
        let app = Router::new().route("/prioritize", post(answer));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked, told }
    }

    fn config(&self) -> Value {
        json!({"urlPrefix": self.url, "prioritizeVerb": "prioritize", "weight": 1000, "httpTimeout": "60s", "nodeCacheCapable": true})
    }

    async fn until_asked(&self) {
        let asked = async || self.asked.try_acquire().map(drop);
        eventually("the scheduler to ask for scores", PATIENCE, asked).await;
    }

    fn go_on(&self) {
        self.told.add_permits(1);
    }
}

async fn create_pod(client: &Client, name: &str) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "registry.example/none"}]},
    }))
    .unwrap();
    pods(client).create(&PostParams::default(), &pod).await.unwrap();
}

/// Posts a Binding by hand.
async fn bind(client: &Client, pod: &str, node: &str) -> Answer {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": pod, "namespace": "default"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let path = format!("/api/v1/namespaces/default/pods/{pod}/binding");
    send(client, Method::POST, &path, OBJECT, &binding).await
}

/// Binds pods of no importance until one is stamped.
async fn until_stamped(scene: &Scene, scheduler: &Client) {
    let mut tried = 0;
    eventually("the webhook to be called", PATIENCE, async || {
        tried += 1;
        let name = format!("probe-{tried}");
        create_pod(&scene.client, &name).await;
        bind(scheduler, &name, "eu-2").await;
        (stamps(&scene.client, &name).await.0 == "fleet/eu-2").then_some(())
    })
    .await;
}

/// Which cluster and role a pod is stamped with.
async fn stamps(client: &Client, name: &str) -> (Value, Value) {
    let annotations = pod(client, name).await.metadata.annotations.unwrap_or_default();
    let stamp = |name: &str| json!(annotations.get(&format!("sheetanchor.dev/{name}")));
    (stamp("cluster"), stamp("role"))
}

async fn pod(client: &Client, name: &str) -> Pod {
    pods(client).get(name).await.unwrap()
}

fn pods(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), "default")
}

/// Makes the API server ask another replica: in one write, so that some replica is always asked.
async fn point_webhook_at(client: &Client, sheetanchor: &Sheetanchor) {
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/sheetanchor";
    let url = format!("{}/mutate", sheetanchor.url());
    let patch = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": url}]);
    let answer = send(client, Method::PATCH, path, JSON_PATCH, &patch).await;
    assert!(answer.succeeded(), "{answer:?}");
}
