//! Makes the index's writes: taints and conditions on ManagedClusters, mirrors on Nodes, the
//! brake's record. Nobody else in this process writes them; Events and the Lease have writers of
//! their own.
//!
//! Invariant `one_writer`: nothing is sent unless we lead, every write to a ManagedCluster or a Node
//! carries the resourceVersion it was decided on, and none outlives the leadership it was sent under.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::domain::cluster::{Cluster, ClusterKey};
use crate::metrics::Metrics;
use crate::state::action::{Event, Outcome, Target, Write};
use crate::wire::managed_cluster::{ManagedCluster, conditions_patch, taints_patch};
use crate::wire::node::{NodeObject, mirror_patch};
use crate::wire::taint::Pen;

use super::brake_record::BrakeStore;
use super::error_line::error_line;
use super::leader::Leadership;

/// Writes under way at once: clusters lost together need not wait for each other's answers, and one
/// client does not crowd the API server.
const CONCURRENCY: usize = 16;
/// No write waits longer for its answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who we say we are in `managedFields`.
const FIELD_MANAGER: &str = "sheetanchor";

/// The one writer.
pub struct Tainter {
    /// A client that does not retry by itself: a retry would outlive the decision.
    pub client: Client,
    /// Whether we lead.
    pub leadership: Leadership,
    /// The key of our taint.
    pub taint_key: String,
    /// The labels that may name a node's cluster, for reading a Node back.
    pub node_labels: Vec<String>,
    /// The brake's ConfigMap.
    pub brake: BrakeStore,
    /// Where results go.
    pub events: mpsc::Sender<Event>,
    /// Counts.
    pub metrics: std::sync::Arc<Metrics>,
}

impl Tainter {
    /// Makes the writes of the queue until `stop`, then waits for those that were sent.
    pub async fn run(self, writes: mpsc::Receiver<Write>, stop: CancellationToken) {
        let writes = stream::unfold(writes, async |mut writes| Some((writes.recv().await?, writes)));
        let writes = writes.take_until(stop.cancelled_owned());
        writes.for_each_concurrent(CONCURRENCY, |write| self.make(write)).await;
    }

    async fn make(&self, write: Write) {
        let target = write.target();
        let now = clock::now();
        let outcome = match self.leadership.held(now) {
            None => Outcome::Failed,
            Some(term) => {
                let deadline = term.valid_until.min(now + TIMEOUT);
                match tokio::time::timeout_at(deadline.into(), self.send(write)).await {
                    Ok(Ok(())) => Outcome::Stored,
                    Ok(Err(error)) => self.failed(&target, &error, deadline).await,
                    Err(_) => {
                        tracing::warn!(?target, "no answer to a write in time");
                        Outcome::Failed
                    }
                }
            }
        };
        self.metrics.wrote(&target, outcome);
        self.report(Event::Wrote(target, outcome)).await;
    }

    async fn send(&self, write: Write) -> Result<(), kube::Error> {
        let now = clock::wall().to_string();
        let pen = Pen { taint_key: &self.taint_key, now: &now };
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match write {
            Write::Taints { key, resource_version, taints, fault } => {
                let patch = merge(taints_patch(&resource_version, &taints, pen));
                let stored = self.clusters(&key).patch(key.name(), &params, &patch).await?;
                match fault {
                    Some(fault) => tracing::info!(cluster = %key, taint = fault.as_str(), "taint written"),
                    None => tracing::info!(cluster = %key, "taint removed"),
                }
                self.report(Event::ClusterRead(stored.into())).await;
            }
            Write::Conditions { key, resource_version, conditions } => {
                let patch = merge(conditions_patch(&resource_version, &conditions, &now));
                let stored = self.clusters(&key).patch_status(key.name(), &params, &patch).await?;
                self.report(Event::ClusterRead(stored.into())).await;
            }
            Write::Node { name, resource_version, taints, cluster_taints } => {
                let patch = mirror_patch(&resource_version, taints.as_deref(), cluster_taints.as_ref(), pen);
                let stored = self.nodes().patch(&name, &params, &merge(patch)).await?;
                self.report(Event::NodeRead(stored.into_node(&self.node_labels))).await;
            }
            Write::Brake(record) => self.brake.store(record.as_ref()).await?,
        }
        Ok(())
    }

    /// A write was refused: 409 means that we decided on an old version, so read the new one.
    async fn failed(&self, target: &Target, error: &kube::Error, deadline: Instant) -> Outcome {
        if !matches!(error, kube::Error::Api(status) if status.code == 409) {
            tracing::warn!(?target, error = error_line(error), "write failed");
            return if is_refusal(error) { Outcome::Refused } else { Outcome::Failed };
        }
        match tokio::time::timeout_at(deadline.into(), self.read(target)).await {
            Ok(Some(event)) => {
                self.report(event).await;
                Outcome::Conflict
            }
            // Nothing newer to decide on: deciding at once would only send the same again.
            _ => Outcome::Failed,
        }
    }

    async fn read(&self, target: &Target) -> Option<Event> {
        match target {
            Target::Taints(key) | Target::Condition(key) => {
                let object = self.clusters(key).get(key.name()).await.ok()?;
                Some(Event::ClusterRead(Cluster::from(object)))
            }
            Target::Node(name) => {
                let object = self.nodes().get(name).await.ok()?;
                Some(Event::NodeRead(object.into_node(&self.node_labels)))
            }
            Target::Brake => None,
        }
    }

    fn clusters(&self, key: &ClusterKey) -> Api<ManagedCluster> {
        Api::namespaced(self.client.clone(), key.namespace())
    }

    fn nodes(&self) -> Api<NodeObject> {
        Api::all(self.client.clone())
    }

    async fn report(&self, event: Event) {
        // The monitor is gone only when the process ends.
        let _ = self.events.send(event).await;
    }
}

/// Forbidden, no such subresource, or not valid in its eyes.
fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404 | 422))
}

fn merge(patch: Value) -> Patch<Value> {
    Patch::Merge(patch)
}
