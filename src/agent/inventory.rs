//! Watches the member's nodes and pods, to add them up.
//!
//! Watched and not listed: a list of a large cluster at every beat would be a load on its API server.
//! Added up anew for each beat, from a few numbers per object: for a hundred thousand pods that takes a
//! fraction of a second, and a sum that is never corrected cannot drift.

use std::fmt::Debug;

use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ApiResource;
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::control::error_line::error_line;
use crate::domain::tally::Tally;
use crate::wire::member::{NodeObject, PodObject, node, pod};

/// Not the nodes that stand for other clusters: what those have is not here.
const OWN_NODES: &str =
    "type!=virtual-kubelet,!sheetanchor.dev/cluster,!clusters.clusternet.io/cluster-id,!liqo.io/remote-cluster-id";
/// The pods that use what a node has.
const BOUND_PODS: &str = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";
/// A watch that died without a word is noticed after as long.
const WATCH_SECONDS: u32 = 60;

/// The nodes and the pods of the member cluster.
pub(super) struct Inventory {
    nodes: Store<NodeObject>,
    pods: Store<PodObject>,
}

impl Inventory {
    /// Keeps it up to date by two tasks in `tasks`, which end only with them.
    pub(super) fn watch(client: &Client, tasks: &mut JoinSet<()>) -> Self {
        let (kind, config) = (ApiResource::erase::<Node>(&()), watcher::Config::default().labels(OWN_NODES));
        let nodes = mirror(client, kind, config, tasks);
        let (kind, config) = (ApiResource::erase::<Pod>(&()), watcher::Config::default().fields(BOUND_PODS));
        let pods = mirror(client, kind, config, tasks);
        Self { nodes, pods }
    }

    /// The sums, once both lists are complete.
    pub(super) fn tally(&self) -> Option<Tally> {
        self.nodes.wait_until_ready().now_or_never()?.ok()?;
        self.pods.wait_until_ready().now_or_never()?.ok()?;
        let (nodes, pods) = (self.nodes.state(), self.pods.state());
        Some(Tally::new(nodes.iter().map(|object| node(object)), pods.iter().map(|object| pod(object))))
    }
}

fn mirror<K>(client: &Client, kind: ApiResource, config: watcher::Config, tasks: &mut JoinSet<()>) -> Store<K>
where
    K: Resource<DynamicType = ApiResource> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<K> = Api::all_with(client.clone(), &kind);
    let resource = kind.plural.clone();
    let writer = Writer::new(kind);
    let store = writer.as_reader();
    let events = watcher(api, config.timeout(WATCH_SECONDS)).default_backoff().modify(trim).reflect(writer);
    tasks.spawn(follow(events, resource));
    store
}

/// Leaves of an object's metadata what it is known by.
fn trim<K: Resource>(object: &mut K) {
    let metadata = object.meta_mut();
    let (name, namespace) = (metadata.name.take(), metadata.namespace.take());
    *metadata = ObjectMeta { name, namespace, ..ObjectMeta::default() };
}

async fn follow<K>(events: impl Stream<Item = watcher::Result<watcher::Event<K>>>, resource: String) {
    let mut events = std::pin::pin!(events);
    let mut broke = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(_) if broke => {
                tracing::info!(resource, "watching again");
                broke = false;
            }
            Err(error) if !broke => {
                let error = error_line(&error);
                tracing::warn!(resource, error, "watch broke, retrying; the last sums are reported");
                broke = true;
            }
            _ => {}
        }
    }
}
