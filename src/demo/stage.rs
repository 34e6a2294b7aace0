//! What the script plays on: a hub with a fleet and a scheduler, and the eyes of somebody who can
//! only ask: the hub's API, the doors, the admin page.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Mutex, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::config::ServeArgs;
use crate::domain::cluster::Cluster;
use crate::domain::taint::Taint;
use crate::wire::managed_cluster::ManagedCluster;

use super::fleet::{self, Fleet};
use super::scheduler::{Decision, Scheduler};
use super::wait::{Failure, until};

/// The scheduler of pods that the script binds by hand.
const BY_HAND: &str = "slow-scheduler";
/// How long a step may take, besides five times the limit of a silent cluster: generous, for busy machines.
const PATIENCE: Duration = Duration::from_secs(30);

/// The stage.
pub(super) struct Stage {
    pub(super) hub: Client,
    pub(super) admin: Client,
    pub(super) fleet: Fleet,
    pub(super) scheduler: Scheduler,
    /// The key of our taint.
    pub(super) taint_key: String,
    /// How often a cluster beats.
    pub(super) period: Duration,
    /// How many periods of silence a cluster may have before it is lost.
    pub(super) grace_periods: u32,
    decisions: Mutex<mpsc::UnboundedReceiver<Decision>>,
    _scheduling: AbortOnDropHandle<()>,
}

/// What `/api/v1/fleet` says, as far as the script asks.
#[derive(Deserialize)]
pub(super) struct FleetReport {
    pub(super) brake: Option<BrakeReport>,
    pub(super) clusters: Vec<ClusterReport>,
}

/// The brake.
#[derive(Deserialize)]
pub(super) struct BrakeReport {
    pub(super) message: String,
}

/// One cluster.
#[derive(Deserialize)]
pub(super) struct ClusterReport {
    /// `namespace/name`.
    pub(super) name: String,
    pub(super) verdict: String,
    pub(super) message: String,
    pub(super) schedulable: bool,
}

impl fmt::Display for ClusterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: {}", self.name, self.verdict, self.message)
    }
}

impl Stage {
    /// Lets the scheduler begin, on a hub whose fleet beats and whose server is ready.
    pub(super) fn new(
        hub: Client,
        admin: Client,
        doors: Client,
        fleet: Fleet,
        args: &ServeArgs,
        period: Duration,
    ) -> Self {
        let scheduler = Scheduler::new(hub.clone(), doors);
        let (reports, decisions) = mpsc::unbounded_channel();
        Self {
            hub,
            admin,
            fleet,
            taint_key: args.taint_key.clone(),
            period,
            grace_periods: args.heartbeat_grace_periods,
            decisions: Mutex::new(decisions),
            _scheduling: AbortOnDropHandle::new(tokio::spawn(scheduler.clone().run(reports))),
            scheduler,
        }
    }

    /// The silence after which a cluster is lost.
    pub(super) fn limit(&self) -> Duration {
        self.period * self.grace_periods
    }

    /// Looks until `look` succeeds, within reason.
    ///
    /// # Errors
    /// What was expected and what was seen instead.
    pub(super) async fn until<T>(
        &self,
        expected: impl Into<String>,
        look: impl AsyncFnMut() -> anyhow::Result<T>,
    ) -> Result<T, Failure> {
        until(PATIENCE + 5 * self.limit(), expected, look).await
    }

    /// What `/api/v1/fleet` says.
    pub(super) async fn report(&self) -> anyhow::Result<FleetReport> {
        let request = http::Request::get("/api/v1/fleet").body(Vec::new())?;
        self.admin.request(request).await.context("/api/v1/fleet does not answer")
    }

    /// What it says about one cluster.
    pub(super) async fn cluster(&self, name: &str) -> anyhow::Result<ClusterReport> {
        let key = fleet::key(name);
        let found = self.report().await?.clusters.into_iter().find(|cluster| cluster.name == key);
        found.with_context(|| format!("/api/v1/fleet does not know {key}"))
    }

    /// Our taint on a ManagedCluster, as the hub stores it.
    pub(super) async fn taint(&self, name: &str) -> anyhow::Result<Option<String>> {
        let api: Api<ManagedCluster> = Api::namespaced(self.hub.clone(), fleet::NAMESPACE);
        let cluster = Cluster::from(api.get(name).await?);
        let ours = |taint: &&Taint| taint.key == self.taint_key;
        Ok(cluster.taints.iter().find(ours).map(ToString::to_string))
    }

    /// Our taint on a Node, as the hub stores it.
    pub(super) async fn node_taint(&self, name: &str) -> anyhow::Result<Option<String>> {
        let node = Api::<Node>::all(self.hub.clone()).get(name).await?;
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let ours = taints.into_iter().find(|taint| taint.key == self.taint_key);
        Ok(ours.map(|taint| format!("{}={}:{}", taint.key, taint.value.unwrap_or_default(), taint.effect)))
    }

    /// How many versions of their specs, and so of their taints, the clusters have had in all.
    pub(super) async fn generations(&self) -> anyhow::Result<i64> {
        let api: Api<ManagedCluster> = Api::namespaced(self.hub.clone(), fleet::NAMESPACE);
        let clusters = api.list(&Default::default()).await?.items;
        Ok(clusters.iter().filter_map(|cluster| cluster.metadata.generation).sum())
    }

    /// Creates a Pod for the scheduler's loop, or for the script's own hand.
    pub(super) async fn create_pod(&self, name: &str, by_hand: bool) -> anyhow::Result<Pod> {
        let scheduler = if by_hand { BY_HAND } else { "default-scheduler" };
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {
                "schedulerName": scheduler,
                "containers": [{"name": "web", "image": "registry.example/web:1"}],
            },
        }))?;
        let created = self.scheduler.pods().create(&PostParams::default(), &pod).await;
        created.with_context(|| format!("cannot create the pod {name}"))
    }

    /// Waits for what the scheduler's loop did with a pod.
    ///
    /// # Errors
    /// When it does nothing.
    pub(super) async fn decision(&self, pod: &str) -> Result<Decision, Failure> {
        let mut decisions = self.decisions.lock().await;
        self.until(format!("the scheduler to bind the pod {pod}"), async || {
            let decision = decisions.try_recv().map_err(|_| anyhow!("the pod still waits"))?;
            anyhow::ensure!(decision.pod == pod, "the pod {} was bound", decision.pod);
            Ok(decision)
        })
        .await
    }

    /// The node of a pod and the two stamps of the webhook, as the hub stores them.
    pub(super) async fn bound(&self, pod: &str) -> anyhow::Result<Bound> {
        let pod = self.scheduler.pods().get(pod).await?;
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let stamp = |name: &str| annotations.get(&format!("sheetanchor.dev/{name}")).cloned().unwrap_or_default();
        let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        Ok(Bound { node, cluster: stamp("cluster"), role: stamp("role") })
    }
}

/// Where a pod is bound, and with which stamps; empty when there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) node: String,
    pub(super) cluster: String,
    pub(super) role: String,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is on {}, stamped \"{}\", \"{}\"", self.node, self.cluster, self.role)
    }
}
