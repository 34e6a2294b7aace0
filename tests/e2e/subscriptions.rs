//! Clusternet's Subscriptions and FeedInventories, as a test makes and reads them.

use http::Method;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::request::{Answer, send};

/// The namespace of all Subscriptions here.
pub(crate) const NAMESPACE: &str = "default";
/// The annotation that lets a Subscription lose its last cluster.
pub(crate) const ALLOW_EMPTY: &str = "sheetanchor.dev/allow-empty";
/// The annotation that records what was moved.
pub(crate) const RESCUED: &str = "sheetanchor.dev/rescued";
/// The feed of all Subscriptions here, as `status.replicas` names it.
pub(crate) const FEED: &str = "apps/v1/Deployment/default/web";

/// The API of a kind of `apps.clusternet.io`.
pub(crate) fn apps(client: &Client, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apps.clusternet.io", "v1alpha1", kind);
    let mut resource = ApiResource::from_gvk(&kind);
    if kind.kind == "FeedInventory" {
        "feedinventories".clone_into(&mut resource.plural);
    }
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

/// A spec that is placed by Replication on all clusters with these labels.
pub(crate) fn everywhere(labels: &Value) -> Value {
    spec(&json!([{"clusterAffinity": {"matchLabels": labels}}]), &json!({}))
}

/// A spec that shares its replicas out over all clusters with the label `tier=app`.
pub(crate) fn shared() -> Value {
    let everywhere = json!([{"clusterAffinity": {"matchLabels": {"tier": "app"}}}]);
    let dividing = json!({"type": "Dynamic", "dynamicDividing": {"strategy": "Spread"}});
    spec(&everywhere, &json!({"schedulingStrategy": "Dividing", "dividingScheduling": dividing}))
}

/// A spec with these subscribers, and whatever is in `rest`.
pub(crate) fn spec(subscribers: &Value, rest: &Value) -> Value {
    let mut spec = json!({
        "schedulerName": "default",
        "schedulingStrategy": "Replication",
        "feeds": [{"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "default", "name": "web"}],
        "subscribers": subscribers,
    });
    json_patch::merge(&mut spec, rest);
    spec
}

/// Creates a Subscription.
pub(crate) async fn subscribe(client: &Client, name: &str, spec: Value) {
    let object = json!({
        "apiVersion": "apps.clusternet.io/v1alpha1",
        "kind": "Subscription",
        "metadata": {"name": name},
        "spec": spec,
    });
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    apps(client, "Subscription").create(&PostParams::default(), &object).await.unwrap();
}

/// Changes metadata or spec of a Subscription, as its user.
pub(crate) async fn change(client: &Client, name: &str, patch: Value) {
    let patch = Patch::Merge(patch);
    apps(client, "Subscription").patch(name, &PatchParams::default(), &patch).await.unwrap();
}

/// Says how many replicas a Subscription's feed wants, as Clusternet does when somebody scales it.
pub(crate) async fn scale(client: &Client, name: &str, replicas: i32) {
    let object = json!({
        "apiVersion": "apps.clusternet.io/v1alpha1",
        "kind": "FeedInventory",
        "metadata": {"name": name},
        "spec": {"feeds": [{
            "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "default", "name": "web",
            "desiredReplicas": replicas, "replicaJsonPath": "/spec/replicas",
        }]},
    });
    let params = PatchParams::apply("feedinventory").force();
    apps(client, "FeedInventory").patch(name, &params, &Patch::Apply(object)).await.unwrap();
}

/// A Subscription as it is stored.
pub(crate) async fn stored(client: &Client, name: &str) -> DynamicObject {
    apps(client, "Subscription").get(name).await.unwrap()
}

/// The status of a Subscription.
pub(crate) async fn status(client: &Client, name: &str) -> Value {
    stored(client, name).await.data["status"].clone()
}

/// Writes to the status of a Subscription. `query`: `""`, or such as `"?dryRun=All"`.
pub(crate) async fn write_status(client: &Client, name: &str, query: &str, kind: &str, body: &Value) -> Answer {
    let method = if kind == crate::request::OBJECT { Method::PUT } else { Method::PATCH };
    send(client, method, &status_path(name, query), kind, body).await
}

/// Where the status of a Subscription is written.
pub(crate) fn status_path(name: &str, query: &str) -> String {
    format!("/apis/apps.clusternet.io/v1alpha1/namespaces/{NAMESPACE}/subscriptions/{name}/status{query}")
}
