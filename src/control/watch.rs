//! Turns the API server's watches into the index's events.
//!
//! Any error ends a watch and begins with a complete list again: only then is it certain that
//! nothing was missed, and only then does the index see again (invariant `blind_is_not_dead`).

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::StreamExt;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::domain::cluster::Cluster;
use crate::state::action::Event;
use crate::state::snapshot::Undecodable;
use crate::wire::managed_cluster::{self, ManagedCluster};
use crate::wire::node::NodeObject;

use super::error_line::error_line;

/// The API server closes each watch after this many seconds, and we open the next. A watch that
/// died without a word is noticed a few seconds later, instead of after the default five minutes.
const WATCH_SECONDS: u32 = 30;
/// First and longest wait before a broken watch is opened again. Short, because blind time delays every verdict.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// One step of a watch.
enum Step<K> {
    Listed(Vec<K>),
    Applied(K),
    Deleted(K),
    Broke,
}

/// Whether a watch serves, or why not.
pub type Report = Box<dyn Fn(Result<(), String>) + Send + Sync>;

/// Watches the ManagedClusters of all namespaces until `events` closes.
pub async fn clusters(client: Client, events: mpsc::Sender<Event>, report: Report) {
    let api: Api<DeserializeGuard<ManagedCluster>> = Api::all(client);
    let read = |object: DeserializeGuard<ManagedCluster>| match object.0 {
        Ok(object) => Ok(Cluster::from(object)),
        Err(invalid) => {
            Err(Undecodable { key: managed_cluster::key(&invalid.metadata).as_str().to_owned(), error: invalid.error })
        }
    };
    let event = |step| match step {
        Step::Listed(objects) => Some(Event::ClustersListed(objects.into_iter().map(read).collect())),
        Step::Applied(object) => Some(Event::ClusterApplied(read(object))),
        Step::Deleted(object) => Some(Event::ClusterDeleted(managed_cluster::key(object.meta()))),
        Step::Broke => Some(Event::ClusterWatchBroke),
    };
    watch(api, "managedclusters", event, events, report).await;
}

/// Watches the Nodes until `events` closes. `node_labels`: those that may name a cluster.
pub async fn nodes(client: Client, node_labels: Vec<String>, events: mpsc::Sender<Event>, report: Report) {
    let event = |step: Step<NodeObject>| match step {
        Step::Listed(nodes) => {
            Some(Event::NodesListed(nodes.into_iter().map(|node| node.into_node(&node_labels)).collect()))
        }
        Step::Applied(node) => Some(Event::NodeApplied(node.into_node(&node_labels))),
        Step::Deleted(node) => node.metadata.name.map(Event::NodeDeleted),
        Step::Broke => None,
    };
    watch(Api::all(client), "nodes", event, events, report).await;
}

async fn watch<K>(
    api: Api<K>,
    resource: &'static str,
    event: impl Fn(Step<K>) -> Option<Event>,
    events: mpsc::Sender<Event>,
    report: Report,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let retry = ExponentialBuilder::new()
        .with_min_delay(FIRST_RETRY)
        .with_max_delay(LONGEST_RETRY)
        .with_jitter()
        .without_max_times();
    let mut waits = retry.build();
    let mut listed_once = false;
    // What was said of the trouble that we are in: another one is said too.
    let mut told: Option<String> = None;
    loop {
        let mut stream = pin!(watcher(api.clone(), watcher::Config::default().timeout(WATCH_SECONDS)));
        let mut listed = Vec::new();
        let error = loop {
            let step = match stream.next().await {
                Some(Ok(watcher::Event::Init)) => {
                    listed = Vec::new();
                    continue;
                }
                Some(Ok(watcher::Event::InitApply(object))) => {
                    listed.push(object);
                    continue;
                }
                Some(Ok(watcher::Event::InitDone)) => Step::Listed(std::mem::take(&mut listed)),
                Some(Ok(watcher::Event::Apply(object))) => Step::Applied(object),
                Some(Ok(watcher::Event::Delete(object))) => Step::Deleted(object),
                // That it was a list is said below.
                Some(Err(watcher::Error::InitialListFailed(error))) => break error_line(&error),
                Some(Err(error)) => break error_line(&error),
                None => break "the watch ended".to_owned(),
            };
            if matches!(step, Step::Listed(_)) {
                waits = retry.build();
                if told.take().is_some() || !listed_once {
                    tracing::info!(resource, "watching");
                }
                listed_once = true;
                report(Ok(()));
            }
            let Some(event) = event(step) else { continue };
            if events.send(event).await.is_err() {
                return;
            }
        };
        if told.as_ref() != Some(&error) {
            let trouble = if listed_once { "watch broke" } else { "cannot list" };
            tracing::warn!(resource, %error, "{trouble}, retrying");
            told = Some(error.clone());
        }
        // A fleet that was seen once is served on: what is known is better than nothing.
        if !listed_once {
            report(Err(format!("cannot list {resource}: {error}")));
        }
        if let Some(event) = event(Step::Broke)
            && events.send(event).await.is_err()
        {
            return;
        }
        tokio::time::sleep(waits.next().unwrap_or(LONGEST_RETRY)).await;
    }
}
