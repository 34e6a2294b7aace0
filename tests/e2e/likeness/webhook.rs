//! A webhook that does what the name of the object says, and keeps what it was asked.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::StatusCode;
use serde_json::{Value, json};
use sheetanchor::clock;
use sheetanchor::serve::counters::ConnectionCounters;
use sheetanchor::serve::limits::ConnectionLimits;
use sheetanchor::serve::{http as listener, tls};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::pki::Pki;

/// Under which policy it was asked, and what.
type Reviews = Arc<Mutex<Vec<(String, Value)>>>;

pub(super) struct Webhook {
    url: String,
    ca_bundle: String,
    reviews: Reviews,
    _stop: DropGuard,
}

impl Webhook {
    pub(super) async fn start(pki: &Pki) -> Self {
        let leaf = pki.server(&["127.0.0.1"]);
        let tls = tls::server_config(&leaf.cert, &leaf.key, clock::wall()).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", socket.local_addr().unwrap());
        let (reviews, stop) = (Reviews::default(), CancellationToken::new());
        let app = Router::new().route("/{policy}", post(answer)).with_state(Arc::clone(&reviews));
        let (limits, counters) = (ConnectionLimits::default(), ConnectionCounters::default());
        tokio::spawn(listener::serve(socket, Some(tls), app, limits, counters, stop.clone()));
        let ca_bundle = BASE64.encode(pki.ca_pem());
        Self { url, ca_bundle, reviews, _stop: stop.drop_guard() }
    }

    /// The configuration that makes an API server ask it about bindings and placements.
    pub(super) fn configuration(&self, name: &str, failure_policy: &str) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "bindings.sheetanchor.dev",
                "clientConfig": {"url": format!("{}/{failure_policy}", self.url), "caBundle": self.ca_bundle},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/binding"]},
                    {"apiGroups": ["apps.clusternet.io"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"],
                     "resources": ["subscriptions/status"]},
                ],
                "failurePolicy": failure_policy,
                "sideEffects": "None",
                "timeoutSeconds": 5,
                "admissionReviewVersions": ["v1"],
            }],
        })
    }

    /// What it was asked since the last time, without what differs between two servers.
    pub(super) fn reviews(&self) -> Vec<(String, Value)> {
        let mut reviews = std::mem::take(&mut *self.reviews.lock().unwrap());
        for (_, review) in &mut reviews {
            let request = review["request"].as_object_mut().unwrap();
            assert!(request.remove("uid").is_some_and(|uid| uid.is_string()));
            assert!(request.remove("userInfo").is_some_and(|user| user["username"].is_string()));
            for object in ["object", "oldObject"] {
                let metadata = request.get_mut(object).and_then(|object| object["metadata"].as_object_mut());
                metadata.into_iter().for_each(|metadata| {
                    metadata.retain(|field, _| {
                        !["uid", "resourceVersion", "creationTimestamp", "managedFields"].contains(&&**field)
                    });
                });
            }
        }
        reviews
    }
}

async fn answer(State(reviews): State<Reviews>, Path(policy): Path<String>, Json(review): Json<Value>) -> Response {
    reviews.lock().unwrap().push((policy, review.clone()));
    let request = &review["request"];
    let mut response = json!({"uid": request["uid"], "allowed": true});
    let mut patch = |patch: Value| {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(BASE64.encode(patch.to_string()));
    };
    match request["name"].as_str().unwrap() {
        "denied" => {
            response["allowed"] = json!(false);
            response["status"] = json!({"code": 409, "message": "cluster \"fleet/eu-2\" is Lost"});
        }
        "refused" => response["allowed"] = json!(false),
        "stamped" => patch(json!([
            {"op": "add", "path": "/metadata/annotations", "value": {}},
            {"op": "add", "path": "/metadata/annotations/sheetanchor.dev~1cluster", "value": "fleet.eu-1"},
        ])),
        "moved" => patch(json!([{"op": "replace", "path": "/target/name", "value": "elsewhere"}])),
        "kept" => patch(json!([
            {"op": "add", "path": "/status/bindingClusters", "value": ["fleet/a"]},
            {"op": "add", "path": "/metadata/labels", "value": {"dropped": "true"}},
        ])),
        "misfit" => patch(json!([{"op": "remove", "path": "/metadata/annotations/none"}])),
        "warned" => response["warnings"] = json!(["the cluster \"eu-2\" is “late”"]),
        "down" => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "mistaken" => response["uid"] = json!("somebody else's"),
        _ => {}
    }
    Json(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})).into_response()
}
