//! The API server's rules, as far as they matter here: versions, uids, whole lists, conflicts.

use std::collections::BTreeMap;

use sheetanchor::domain::cluster::{AgentReady, Cluster, ClusterKey, Condition};
use sheetanchor::domain::node::Node;
use sheetanchor::domain::taint;
use sheetanchor::state::action::{Event, Outcome, Target, Write};
use sheetanchor::state::snapshot::Undecodable;

/// A stored ManagedCluster.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) cluster: Cluster,
    /// It cannot be decoded, whatever else is in it.
    pub(crate) garbled: bool,
}

impl Object {
    fn observed(&self) -> Result<Cluster, Undecodable> {
        if self.garbled {
            let key = self.cluster.key.as_str().to_owned();
            return Err(Undecodable { key, error: "invalid type: integer `7`".into() });
        }
        Ok(self.cluster.clone())
    }
}

/// An object as it was.
pub(crate) enum Stored {
    Cluster(Box<Cluster>),
    Node(Node),
    Nothing,
}

/// What became of a write.
pub(crate) struct Reply {
    pub(crate) outcome: Outcome,
    /// The object as stored, as the writer reads it.
    pub(crate) read: Option<Event>,
    /// What the watches say, when something changed.
    pub(crate) watched: Option<Event>,
}

impl Reply {
    fn refused(outcome: Outcome) -> Self {
        Self { outcome, read: None, watched: None }
    }
}

/// The stored objects. Every change says what the watches will say.
#[derive(Debug)]
pub(crate) struct Api {
    version: u64,
    taint_key: String,
    pub(crate) clusters: BTreeMap<ClusterKey, Object>,
    pub(crate) nodes: BTreeMap<String, Node>,
    /// The clusters that the brake's record names.
    pub(crate) brake: Vec<ClusterKey>,
}

impl Api {
    pub(crate) fn new(taint_key: &str) -> Self {
        let (clusters, nodes) = (BTreeMap::new(), BTreeMap::new());
        Self { version: 1, taint_key: taint_key.to_owned(), clusters, nodes, brake: Vec::new() }
    }

    fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// Registers a cluster, under a new uid.
    pub(crate) fn create_cluster(&mut self, mut cluster: Cluster) -> Event {
        cluster.resource_version = self.next_version();
        cluster.uid = format!("{}-{}", cluster.key.name(), cluster.resource_version);
        let object = Object { cluster, garbled: false };
        let event = Event::ClusterApplied(object.observed());
        self.clusters.insert(object.cluster.key.clone(), object);
        event
    }

    pub(crate) fn delete_cluster(&mut self, key: &ClusterKey) -> Option<Event> {
        self.clusters.remove(key).map(|_| Event::ClusterDeleted(key.clone()))
    }

    /// Changes a cluster; a change that changes nothing makes no version, as in the real one.
    pub(crate) fn change_cluster(&mut self, key: &ClusterKey, change: impl FnOnce(&mut Cluster)) -> Option<Event> {
        let before = self.clusters.get(key)?.clone();
        let mut after = before.clone();
        change(&mut after.cluster);
        self.put(&before, after)
    }

    /// Makes a cluster undecodable, or decodable again.
    pub(crate) fn garble(&mut self, key: &ClusterKey, garbled: bool) -> Option<Event> {
        let before = self.clusters.get(key)?.clone();
        let after = Object { garbled, ..before.clone() };
        self.put(&before, after)
    }

    fn put(&mut self, before: &Object, mut after: Object) -> Option<Event> {
        if before.cluster == after.cluster && before.garbled == after.garbled {
            return None;
        }
        after.cluster.resource_version = self.next_version();
        let event = Event::ClusterApplied(after.observed());
        self.clusters.insert(after.cluster.key.clone(), after);
        Some(event)
    }

    pub(crate) fn create_node(&mut self, mut node: Node) -> Event {
        node.resource_version = self.next_version();
        node.uid = format!("{}-{}", node.name, node.resource_version);
        self.nodes.insert(node.name.clone(), node.clone());
        Event::NodeApplied(node)
    }

    pub(crate) fn change_node(&mut self, name: &str, change: impl FnOnce(&mut Node)) -> Option<Event> {
        let before = self.nodes.get(name)?.clone();
        let mut after = before.clone();
        change(&mut after);
        if before == after {
            return None;
        }
        after.resource_version = self.next_version();
        self.nodes.insert(name.to_owned(), after.clone());
        Some(Event::NodeApplied(after))
    }

    /// Complete lists of both resources.
    pub(crate) fn list(&self) -> (Event, Event) {
        let clusters = self.clusters.values().map(Object::observed).collect();
        (Event::ClustersListed(clusters), Event::NodesListed(self.nodes.values().cloned().collect()))
    }

    /// One object, as the writer reads it after a conflict.
    pub(crate) fn read(&self, target: &Target) -> Option<Event> {
        match target {
            Target::Taints(key) | Target::Condition(key) => {
                self.clusters.get(key)?.observed().ok().map(Event::ClusterRead)
            }
            Target::Node(name) => self.nodes.get(name).cloned().map(Event::NodeRead),
            Target::Brake => None,
        }
    }

    /// One object as it is now.
    pub(crate) fn clone_of(&self, target: &Target) -> Stored {
        match target {
            Target::Taints(key) | Target::Condition(key) => match self.clusters.get(key) {
                Some(object) => Stored::Cluster(Box::new(object.cluster.clone())),
                None => Stored::Nothing,
            },
            Target::Node(name) => self.nodes.get(name).cloned().map_or(Stored::Nothing, Stored::Node),
            Target::Brake => Stored::Nothing,
        }
    }

    /// Makes one write of ours.
    pub(crate) fn write(&mut self, write: &Write) -> Reply {
        match write {
            Write::Taints { key, resource_version, taints, .. } => {
                let mut taints = taints.clone();
                for taint in &mut taints {
                    if taint.time_added.is_none() && taint::ours(taint, &self.taint_key).is_some() {
                        taint.time_added = Some("2026-11-23T10:00:00Z".into());
                    }
                }
                self.write_cluster(key, resource_version, |cluster| cluster.taints = taints)
            }
            Write::Conditions { key, resource_version, conditions } => {
                let mut conditions = conditions.clone();
                for condition in &mut conditions {
                    condition.last_transition_time.get_or_insert_with(|| "2026-11-23T10:00:00Z".into());
                }
                self.write_cluster(key, resource_version, |cluster| cluster.conditions = conditions)
            }
            Write::Node { name, resource_version, taints, cluster_taints } => {
                let stale = match self.nodes.get(name) {
                    None => return Reply::refused(Outcome::Failed),
                    Some(node) => node.resource_version != *resource_version,
                };
                if stale {
                    return Reply::refused(Outcome::Conflict);
                }
                let watched = self.change_node(name, |node| {
                    node.taints = taints.clone().unwrap_or_else(|| node.taints.clone());
                    node.cluster_taints = cluster_taints.clone().unwrap_or_else(|| node.cluster_taints.clone());
                });
                Reply { outcome: Outcome::Stored, read: self.read(&write.target()), watched }
            }
            Write::Brake(record) => {
                self.brake = record.as_ref().map(|record| record.clusters.clone()).unwrap_or_default();
                Reply::refused(Outcome::Stored)
            }
        }
    }

    fn write_cluster(&mut self, key: &ClusterKey, version: &str, change: impl FnOnce(&mut Cluster)) -> Reply {
        let Some(object) = self.clusters.get(key) else { return Reply::refused(Outcome::Failed) };
        if object.cluster.resource_version != version {
            return Reply::refused(Outcome::Conflict);
        }
        let watched = self.change_cluster(key, change);
        Reply { outcome: Outcome::Stored, read: self.read(&Target::Taints(key.clone())), watched }
    }
}

/// A cluster that was registered and has not reported.
pub(crate) fn registered(key: &str) -> Cluster {
    Cluster {
        key: ClusterKey::parse(key).expect("namespace/name"),
        uid: String::new(),
        resource_version: String::new(),
        labels: BTreeMap::new(),
        cluster_id: String::new(),
        wants_init: false,
        taints: Vec::new(),
        stamp: None,
        declared_period_seconds: None,
        agent_ready: AgentReady::Unknown,
        conditions: Vec::new(),
        allocatable: None,
        used: None,
        release: None,
    }
}

/// Stores what an agent reports: it replaces its own condition and keeps those of other types.
pub(crate) fn report(cluster: &mut Cluster, stamp: Option<String>, declared: Option<i64>, ready: AgentReady) {
    cluster.stamp = stamp;
    cluster.declared_period_seconds = declared;
    cluster.agent_ready = ready;
    cluster.conditions.retain(|condition| condition.kind != "Ready");
    let status = match ready {
        AgentReady::True => "True",
        AgentReady::False => "False",
        AgentReady::Unknown => return,
    };
    cluster.conditions.insert(
        0,
        Condition {
            kind: "Ready".into(),
            status: status.into(),
            reason: "ManagedClusterReady".into(),
            message: "managed cluster is ready.".into(),
            last_transition_time: Some("2026-11-23T09:00:00Z".into()),
            observed_generation: None,
        },
    );
}

/// A node with the labels given.
pub(crate) fn node(name: &str, labels: &[(&str, &str)]) -> Node {
    Node {
        name: name.into(),
        uid: String::new(),
        resource_version: String::new(),
        labels: labels.iter().map(|(label, value)| ((*label).into(), (*value).into())).collect(),
        taints: Vec::new(),
        cluster_taints: None,
    }
}
