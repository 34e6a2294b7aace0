//! A scheduler that does what kube-scheduler does with an extender: `/filter`, `/prioritize`, bind.
//!
//! It has no plugins of its own: sheetanchor alone decides where a pod goes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::Request;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use kube::api::{ListParams, PostParams};
use kube::core::Status;
use kube::{Api, Client};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::control::error_line::error_line;

use super::wait::Failure;

/// The namespace whose pods it schedules.
pub(super) const NAMESPACE: &str = "default";
/// Pods that name no scheduler name this one.
const NAME: &str = "default-scheduler";
/// The interval between two looks for pods that wait.
const ROUND: Duration = Duration::from_millis(100);

/// What sheetanchor said about a pod.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The nodes that were asked about.
    pub(super) asked: usize,
    /// The nodes that passed `/filter`, the best first.
    pub(super) ranking: Vec<Ranked>,
    /// The others, with the reason.
    pub(super) rejected: BTreeMap<String, String>,
}

impl Choice {
    /// Fails unless exactly these nodes were rejected.
    pub(super) fn must_reject(&self, wanted: &[&str]) -> Result<(), Failure> {
        let rejected: Vec<&str> = self.rejected.keys().map(String::as_str).collect();
        let so = rejected == wanted && self.ranking.len() + wanted.len() == self.asked;
        Failure::unless(so, format!("/filter to reject {wanted:?} of {} nodes", self.asked), || {
            format!("{rejected:?} rejected, {} passed", self.ranking.len())
        })
    }
}

/// A node and what `/prioritize` gave it.
#[derive(Clone, Debug)]
pub(super) struct Ranked {
    pub(super) node: String,
    pub(super) score: i64,
}

/// What the loop did with a pod.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) pod: String,
    pub(super) choice: Choice,
}

/// Asks the extender at `doors` where pods of `hub` may go.
#[derive(Clone)]
pub(super) struct Scheduler {
    hub: Client,
    doors: Client,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilterResult {
    node_names: Option<Vec<String>>,
    failed_and_unresolvable_nodes: Option<BTreeMap<String, String>>,
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostPriority {
    host: String,
    score: i64,
}

impl Scheduler {
    /// `doors`: a client that trusts the extender's authority, and none other.
    pub(super) fn new(hub: Client, doors: Client) -> Self {
        Self { hub, doors }
    }

    /// Schedules pods for ever, and reports each binding that succeeded. A refused one is decided anew.
    pub(super) async fn run(self, reports: mpsc::UnboundedSender<Decision>) {
        loop {
            match self.round(&reports).await {
                Ok(()) => sleep(ROUND).await,
                Err(error) => {
                    tracing::warn!(error = error_line(error.as_ref()), "could not schedule");
                    sleep(ROUND * 10).await;
                }
            }
        }
    }

    async fn round(&self, reports: &mpsc::UnboundedSender<Decision>) -> anyhow::Result<()> {
        let waits = |pod: &&Pod| {
            let spec = pod.spec.as_ref();
            let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(NAME);
            spec.is_some_and(|spec| spec.node_name.is_none()) && scheduler == NAME
        };
        let pods = self.pods().list(&ListParams::default()).await?;
        let mut result = Ok(());
        for pod in pods.items.iter().filter(waits) {
            result = result.and(self.schedule(pod, reports).await);
        }
        result
    }

    async fn schedule(&self, pod: &Pod, reports: &mpsc::UnboundedSender<Decision>) -> anyhow::Result<()> {
        let choice = self.choose(pod).await?;
        let node = choice.ranking.first().context("every node is rejected")?.node.clone();
        let name = pod.metadata.name.clone().unwrap_or_default();
        self.bind(&name, &node).await?;
        tracing::info!(pod = name, node, "bound");
        // Nobody listens any more once the script is over.
        let _ = reports.send(Decision { pod: name, choice });
        Ok(())
    }

    /// Asks `/filter` about every node, then `/prioritize` about those that pass.
    pub(super) async fn choose(&self, pod: &Pod) -> anyhow::Result<Choice> {
        let nodes = Api::<Node>::all(self.hub.clone()).list(&ListParams::default()).await?;
        let nodes: Vec<String> = nodes.items.into_iter().filter_map(|node| node.metadata.name).collect();
        let asked = nodes.len();
        let mut pod = serde_json::to_value(pod)?;
        // In ExtenderArgs an object does not say of what kind it is.
        if let Some(fields) = pod.as_object_mut() {
            fields.retain(|field, _| field != "apiVersion" && field != "kind");
        }
        let filtered: FilterResult = self.ask("/filter", &pod, &nodes).await?;
        ensure!(filtered.error.is_empty(), "/filter: {}", filtered.error);
        let passed = filtered.node_names.unwrap_or_default();
        let scores: Vec<HostPriority> = self.ask("/prioritize", &pod, &passed).await?;
        let scores: BTreeMap<String, i64> = scores.into_iter().map(|given| (given.host, given.score)).collect();
        let rank = |node: String| Ranked { score: scores.get(&node).copied().unwrap_or(0), node };
        let mut ranking: Vec<Ranked> = passed.into_iter().map(rank).collect();
        ranking.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.node.cmp(&b.node)));
        let rejected = filtered.failed_and_unresolvable_nodes.unwrap_or_default();
        Ok(Choice { asked, ranking, rejected })
    }

    /// Sends ExtenderArgs as kube-scheduler does with `nodeCacheCapable: true`.
    async fn ask<T: DeserializeOwned>(&self, path: &str, pod: &Value, nodes: &[String]) -> anyhow::Result<T> {
        let args = json!({"Pod": pod, "Nodes": null, "NodeNames": nodes});
        let request =
            Request::post(path).header("content-type", "application/json").body(serde_json::to_vec(&args)?)?;
        self.doors.request(request).await.with_context(|| format!("{path} does not answer"))
    }

    /// Binds a pod, if the hub and its webhooks let it.
    pub(super) async fn bind(&self, pod: &str, node: &str) -> kube::Result<()> {
        let mut binding = Binding {
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
            ..Binding::default()
        };
        binding.metadata.name = Some(pod.to_owned());
        let _: Status = self.pods().create_subresource("binding", pod, &PostParams::default(), &binding).await?;
        Ok(())
    }

    pub(super) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.hub.clone(), NAMESPACE)
    }
}
