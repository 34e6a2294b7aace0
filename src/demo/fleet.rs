//! The simulated fleet: ManagedClusters, each with a task that beats as its agent would.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval_at};
use tokio_util::task::AbortOnDropHandle;

use crate::clock;
use crate::config::DemoArgs;
use crate::control::error_line::error_line;
use crate::wire::managed_cluster::ManagedCluster;

/// The namespace of the ManagedClusters.
pub(super) const NAMESPACE: &str = "fleet";
/// An annotation that silences a cluster for as long as it is there, for those who play with the demo.
pub(super) const SILENT: &str = "demo.sheetanchor.dev/silent";
/// Active clusters are spread over these.
const REGIONS: [&str; 3] = ["eu", "sa", "us"];
/// Requests in flight while the whole fleet does something.
const CONCURRENCY: usize = 16;

/// The members, active ones first.
pub(super) struct Fleet {
    members: Vec<Member>,
}

/// One member cluster and its agent, which ends when this is dropped.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) spare: bool,
    agent: Arc<Mutex<Agent>>,
    _beater: AbortOnDropHandle<()>,
}

/// What reports. The lock is held during a whole beat.
struct Agent {
    api: Api<ManagedCluster>,
    name: String,
    spare: bool,
    period: Duration,
    /// The script lets it be silent.
    silent: bool,
    /// [`SILENT`] lets it be silent.
    annotated: bool,
}

impl Fleet {
    /// Creates the clusters with their virtual nodes, and lets them beat, spread over the period.
    pub(super) async fn join(hub: &Client, args: &DemoArgs) -> anyhow::Result<Self> {
        let join = |number| Member::join(hub, args, number);
        let members = stream::iter(0..u32::from(args.clusters)).map(join).buffered(CONCURRENCY).try_collect().await?;
        Ok(Self { members })
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The names of all.
    pub(super) fn names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name.clone()).collect()
    }

    /// How many are spares.
    pub(super) fn spares(&self) -> usize {
        self.members.iter().filter(|member| member.spare).count()
    }

    /// Whether the cluster of that name is a spare.
    pub(super) fn is_spare(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.spare && member.name == name)
    }

    /// Lets members beat once more and then fall silent, and says when the last of them began to beat.
    pub(super) async fn silence(&self, which: impl Fn(&Member) -> bool) -> anyhow::Result<Instant> {
        let beats = self.each(which, async |agent| {
            let sent = agent.beat().await?;
            agent.silent = true;
            Ok(sent)
        });
        beats.await?.into_iter().max().context("nobody was to fall silent")
    }

    /// Lets members beat again, now and then each period, and says when the first of them did.
    pub(super) async fn wake(&self, which: impl Fn(&Member) -> bool) -> anyhow::Result<Instant> {
        let beats = self.each(which, async |agent| {
            agent.silent = false;
            agent.beat().await
        });
        beats.await?.into_iter().min().context("nobody was to beat again")
    }

    async fn each(
        &self,
        which: impl Fn(&Member) -> bool,
        act: impl AsyncFn(&mut Agent) -> kube::Result<Instant>,
    ) -> anyhow::Result<Vec<Instant>> {
        let chosen = self.members.iter().filter(|member| which(member));
        let acts = stream::iter(chosen).map(|member| async {
            let what = format!("cannot beat for the cluster {}", member.name);
            act(&mut *member.agent.lock().await).await.context(what)
        });
        acts.buffered(CONCURRENCY).try_collect().await
    }
}

impl Member {
    async fn join(hub: &Client, args: &DemoArgs, number: u32) -> anyhow::Result<Self> {
        let count = u32::from(args.clusters);
        let actives = count - count / 4;
        let spare = number >= actives;
        let name = if spare { format!("spare-{}", number - actives + 1) } else { active_name(number) };
        let api = Api::namespaced(hub.clone(), NAMESPACE);
        let mut agent = Agent { api, name: name.clone(), spare, period: args.period, silent: false, annotated: false };
        let joined = async {
            register(hub, &name, number, spare).await?;
            add_virtual_node(hub, &name).await?;
            agent.introduce().await?;
            agent.beat().await
        };
        joined.await.with_context(|| format!("cannot add the cluster {name} to the hub"))?;
        let agent = Arc::new(Mutex::new(agent));
        let beats = beat_forever(Arc::clone(&agent), args.period, args.period * number / count);
        Ok(Self { name, spare, agent, _beater: AbortOnDropHandle::new(tokio::spawn(beats)) })
    }
}

impl Agent {
    /// What happens each period.
    async fn tick(&mut self) -> kube::Result<()> {
        if self.silent {
            return Ok(());
        }
        if self.annotated {
            self.annotated = is_annotated(&self.api.get(&self.name).await?);
        }
        if self.annotated { Ok(()) } else { self.beat().await.map(|_| ()) }
    }

    /// Reports, and says when the request was sent.
    async fn beat(&mut self) -> kube::Result<Instant> {
        let sent = clock::now();
        let stamp = clock::wall().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        self.patch_status(json!({"lastObservedTime": stamp})).await?;
        Ok(sent)
    }

    /// The part of a report that does not change here from beat to beat.
    async fn introduce(&mut self) -> kube::Result<()> {
        let room = json!({"cpu": "64", "memory": "256Gi"});
        // An active cluster is half full, a spare is idle.
        let (cpu, memory) = if self.spare { ("1", "4Gi") } else { ("36", "144Gi") };
        let now = clock::wall().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let introduction = json!({
            "heartbeatFrequencySeconds": self.period.as_secs(),
            "livez": true,
            "readyz": true,
            "capacity": room,
            "allocatable": room,
            "resourceUsage": {"cpuUsage": cpu, "memoryUsage": memory},
            "conditions": [{
                "type": "Ready", "status": "True", "lastTransitionTime": now,
                "reason": "ManagedClusterReady", "message": "managed cluster is ready.",
            }],
        });
        self.patch_status(introduction).await
    }

    async fn patch_status(&mut self, status: Value) -> kube::Result<()> {
        let patch = Patch::Merge(json!({"status": status}));
        let stored = self.api.patch_status(&self.name, &PatchParams::default(), &patch).await?;
        self.annotated = is_annotated(&stored);
        Ok(())
    }
}

/// Whether somebody who plays with the demo has annotated a cluster with [`SILENT`].
fn is_annotated(cluster: &ManagedCluster) -> bool {
    cluster.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(SILENT))
}

async fn beat_forever(agent: Arc<Mutex<Agent>>, period: Duration, offset: Duration) {
    let mut ticks = interval_at((clock::now() + offset).into(), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut agent = agent.lock().await;
        if let Err(error) = agent.tick().await {
            tracing::warn!(cluster = agent.name, error = error_line(&error), "could not beat");
        }
    }
}

/// Creates the ManagedCluster.
async fn register(hub: &Client, name: &str, number: u32, spare: bool) -> kube::Result<()> {
    let kind = ApiResource::erase::<ManagedCluster>(&());
    let mut cluster = DynamicObject::new(name, &kind).data(json!({"spec": {
        "clusterId": format!("00000000-0000-4000-8000-{number:012}"),
        "clusterType": "EdgeCluster",
        "syncMode": "Dual",
    }}));
    let role = if spare { "spare" } else { "active" };
    cluster.metadata.labels = Some([("sheetanchor.dev/role".to_owned(), role.to_owned())].into());
    let clusters: Api<DynamicObject> = Api::namespaced_with(hub.clone(), NAMESPACE, &kind);
    clusters.create(&PostParams::default(), &cluster).await?;
    Ok(())
}

/// A Node that stands for a whole cluster of the same name, ready and roomy.
async fn add_virtual_node(hub: &Client, name: &str) -> kube::Result<()> {
    let mut node = Node::default();
    node.metadata.name = Some(name.to_owned());
    node.metadata.labels = Some([("sheetanchor.dev/cluster".to_owned(), format!("{NAMESPACE}.{name}"))].into());
    let nodes: Api<Node> = Api::all(hub.clone());
    nodes.create(&PostParams::default(), &node).await?;
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "500"});
    let ready =
        json!([{"type": "Ready", "status": "True", "reason": "VirtualNode", "message": "stands for a cluster"}]);
    let status = json!({"status": {"capacity": room, "allocatable": room, "conditions": ready}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

/// `eu-1`, `sa-1`, `us-1`, `eu-2`, …
fn active_name(number: u32) -> String {
    let (row, region) = (number as usize / REGIONS.len(), number as usize % REGIONS.len());
    format!("{}-{}", REGIONS[region], row + 1)
}

/// What the fleet's page calls a cluster: `namespace/name`.
pub(super) fn key(name: &str) -> String {
    format!("{NAMESPACE}/{name}")
}
