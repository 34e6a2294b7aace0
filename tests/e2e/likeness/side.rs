//! One of the two servers, and its answers in a form that can be compared.

use std::collections::BTreeMap;

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Map, Value, json};

use sheetanchor::demo::hub::Hub;

use crate::control_plane::ControlPlane;
use crate::wait::{PATIENCE, eventually};

use super::webhook::Webhook;

/// How the steps abbreviate paths.
const PATHS: [(&str, &str); 6] = [
    ("{clusters}", "/apis/clusters.clusternet.io/v1beta1/namespaces/fleet/managedclusters"),
    ("{leases}", "/apis/coordination.k8s.io/v1/namespaces/fleet/leases"),
    ("{maps}", "/api/v1/namespaces/fleet/configmaps"),
    ("{nodes}", "/api/v1/nodes"),
    ("{pods}", "/api/v1/namespaces/fleet/pods"),
    ("{subscriptions}", "/apis/apps.clusternet.io/v1alpha1/namespaces/fleet/subscriptions"),
];

/// What the two need not have in common: `$a.uid` and `$a.rv` stand for what the object `a` got.
pub(super) struct Side {
    client: Client,
    known: BTreeMap<String, String>,
}

impl Side {
    pub(super) fn real(control_plane: &ControlPlane) -> Self {
        Self { client: control_plane.client(), known: BTreeMap::new() }
    }

    pub(super) async fn demo(hub: &Hub) -> Self {
        let kubeconfig = Kubeconfig::from_yaml(&hub.kubeconfig()).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.default_retry = false;
        Self { client: Client::try_from(config).unwrap(), known: BTreeMap::new() }
    }

    /// Makes a request such as `MERGE /api/v1/nodes/a`; the answer, as far as it must be the same. That
    /// to a request with a `~` in front is an error whose words may differ.
    pub(super) async fn ask(&mut self, request: &str, body: &str) -> String {
        let (request, wordy) = request.strip_prefix('~').map_or((request, true), |request| (request, false));
        let (verb, path) = request.split_once(' ').unwrap();
        let (method, content_type) = match verb {
            "MERGE" => ("PATCH", "application/merge-patch+json"),
            "STRATEGIC" => ("PATCH", "application/strategic-merge-patch+json"),
            "JSON" => ("PATCH", "application/json-patch+json"),
            verb => (verb, "application/json"),
        };
        let body = self.filled(body).into_bytes();
        let request = Request::builder().method(method).uri(self.filled(path)).header("content-type", content_type);
        let answer = self.client.send(request.body(body.into()).unwrap()).await.unwrap();
        if wordy {
            return self.comparable(answer).await;
        }
        let code = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let status: Value = serde_json::from_slice(&body).unwrap();
        format!("{code} {}", status["reason"])
    }

    /// The document at `path`.
    pub(super) async fn get(&self, path: &str) -> Value {
        self.client.request(Request::get(path).body(Vec::new()).unwrap()).await.unwrap()
    }

    /// Has the server ask `webhook` from now on.
    pub(super) async fn register(&mut self, webhook: &Webhook, failure_policy: &str) {
        let configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
        self.ask(&format!("DELETE {configurations}/sheetanchor"), "").await;
        let configuration = webhook.configuration("sheetanchor", failure_policy).to_string();
        let answer = self.ask(&format!("POST {configurations}"), &configuration).await;
        assert!(answer.starts_with("201"), "{answer}");
        // The real one hears of it by a watch of its own.
        eventually("the webhook to be asked", PATIENCE, async || {
            let probe = r#"{"metadata":{"name":"probe"},"target":{"kind":"Node","name":"n"}}"#;
            self.ask("POST {pods}/probe/binding?dryRun=All", probe).await;
            let policies: Vec<String> = webhook.reviews().into_iter().map(|(policy, _)| policy).collect();
            (policies == [failure_policy]).then_some(())
        })
        .await;
    }

    fn filled(&self, text: &str) -> String {
        let path = PATHS.iter().fold(text.to_owned(), |text, (name, path)| text.replace(name, path));
        self.known.iter().fold(path, |text, (name, value)| text.replace(name, value))
    }

    async fn comparable(&mut self, answer: Response<Body>) -> String {
        let (head, body) = answer.into_parts();
        let warnings = head.headers.get_all("warning").iter().map(|warning| format!(" {warning:?}"));
        let warnings: String = warnings.collect();
        let body = body.collect().await.unwrap().to_bytes();
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let documents: Option<Vec<Value>> = lines.map(|line| serde_json::from_slice(line).ok()).collect();
        let shown = match documents {
            None => String::from_utf8_lossy(&body).into_owned(),
            Some(documents) => {
                let shown = documents.into_iter().map(|document| self.shown(document).to_string());
                shown.collect::<Vec<_>>().join("\n")
            }
        };
        format!("{}{warnings}\n{shown}", head.status)
    }

    /// What of a document both sides must agree on.
    fn shown(&mut self, document: Value) -> Value {
        if document["kind"] == "Status" {
            return self.status(document);
        }
        if document["type"].is_string() && document["object"].is_object() {
            return json!([document["type"], self.shown(document["object"].clone())]);
        }
        if let Some(items) = document["items"].as_array() {
            // Items of a list say what they are only where a CustomResourceDefinition defines them.
            let items: Vec<Value> = items.iter().map(|item| self.object(item)["metadata"].clone()).collect();
            self.remember("list", &document);
            return json!([document["kind"], document["apiVersion"], items]);
        }
        self.object(&document)
    }

    fn object(&mut self, object: &Value) -> Value {
        let metadata = &object["metadata"];
        if let Some(name) = metadata["name"].as_str() {
            self.remember(name, object);
        }
        let generated = metadata["generateName"].as_str();
        let same = ["name", "namespace", "generateName", "labels", "annotations", "generation", "finalizers"];
        let mut metadata: Map<String, Value> =
            same.iter().map(|field| ((*field).to_owned(), metadata[field].clone())).collect();
        if let Some(prefix) = generated {
            let name = metadata["name"].as_str().unwrap().to_owned();
            assert!(name.starts_with(prefix) && name.len() == prefix.len() + 5, "{name}");
            metadata["name"] = json!(prefix);
        }
        let dying = object["metadata"]["deletionTimestamp"].is_string();
        let mut shown =
            json!({"kind": object["kind"], "apiVersion": object["apiVersion"], "metadata": metadata, "dying": dying});
        // Of the others the real one fills in what nothing here needs.
        for (kind, part, field) in [
            ("Namespace", "status", "phase"),
            ("Node", "spec", "taints"),
            ("Node", "status", "phase"),
            ("Pod", "spec", "nodeName"),
            ("Pod", "status", "phase"),
        ] {
            if object["kind"] == kind {
                shown[part] = object[part][field].clone();
            }
        }
        if !["Namespace", "Node", "Pod"].contains(&object["kind"].as_str().unwrap_or_default()) {
            for part in ["spec", "status", "data"] {
                shown[part] = object[part].clone();
            }
        }
        shown
    }

    fn remember(&mut self, name: &str, object: &Value) {
        for (field, short) in [("uid", "uid"), ("resourceVersion", "rv")] {
            if let Some(value) = object["metadata"][field].as_str().filter(|value| !value.is_empty()) {
                self.known.insert(format!("${name}.{short}"), value.to_owned());
            }
        }
    }

    /// A `Status`, with the same names for what differs.
    fn status(&self, mut status: Value) -> Value {
        if let Some(message) = status["message"].as_str() {
            let uids = self.known.iter().filter(|(name, _)| name.ends_with(".uid"));
            let message = uids.fold(message.to_owned(), |message, (name, uid)| message.replace(uid.as_str(), name));
            status["message"] = json!(without_numbers(&message));
        }
        // The causes repeat the message.
        status["details"].as_object_mut().map(|details| details.remove("causes"));
        if status["details"] == json!({}) {
            status["details"] = Value::Null;
        }
        if status["details"]["uid"].is_string() {
            status["details"]["uid"] = json!("$uid");
        }
        status
    }
}

fn without_numbers(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        let digit = character.is_ascii_digit();
        if !(digit && shown.ends_with('#')) {
            shown.push(if digit { '#' } else { character });
        }
    }
    shown
}
