//! A Subscription, and the writes of Clusternet's scheduler to its placement.

use anyhow::Context;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::fleet;

/// Its namespace.
const NAMESPACE: &str = "default";
/// Its name.
pub(super) const NAME: &str = "shop";

/// The Subscription `default/shop`.
pub(super) struct Subscription {
    api: Api<DynamicObject>,
}

impl Subscription {
    /// Creates it, for all clusters of the fleet.
    pub(super) async fn create(hub: &Client) -> anyhow::Result<Self> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apps.clusternet.io", "v1alpha1", "Subscription"));
        let api = Api::namespaced_with(hub.clone(), NAMESPACE, &kind);
        let subscription = DynamicObject::new(NAME, &kind).data(json!({"spec": {
            "schedulerName": "default",
            "schedulingStrategy": "Replication",
            "subscribers": [{"clusterAffinity": {"matchLabels": {"sheetanchor.dev/role": "active"}}}],
            "feeds": [{"apiVersion": "apps/v1", "kind": "Deployment", "namespace": NAMESPACE, "name": NAME}],
        }}));
        api.create(&PostParams::default(), &subscription).await.context("cannot create the Subscription")?;
        Ok(Self { api })
    }

    /// Places it on these clusters, and says where the hub then has it.
    pub(super) async fn place(&self, names: &[&str]) -> anyhow::Result<Vec<String>> {
        let clusters: Vec<String> = names.iter().map(|name| format!("{}/{name}", fleet::NAMESPACE)).collect();
        self.write(json!({"bindingClusters": clusters, "desiredReleases": names.len(), "specHash": 1})).await
    }

    /// Empties it, as Clusternet's scheduler was seen to when no cluster is left, and says where the hub then has it.
    pub(super) async fn empty(&self) -> anyhow::Result<Vec<String>> {
        self.write(json!({"bindingClusters": null, "desiredReleases": null})).await
    }

    async fn write(&self, status: Value) -> anyhow::Result<Vec<String>> {
        let patch = Patch::Merge(json!({"status": status}));
        let stored = self.api.patch_status(NAME, &PatchParams::default(), &patch).await?;
        let clusters = stored.data.pointer("/status/bindingClusters").cloned().unwrap_or_default();
        Ok(serde_json::from_value::<Option<_>>(clusters)?.unwrap_or_default())
    }
}
