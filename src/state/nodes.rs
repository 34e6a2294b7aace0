//! The virtual nodes in the index: which cluster each stands for, and the writes due to it.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::domain::cluster::{Cluster, ClusterKey};
use crate::domain::node::{Directory, Home, Node};
use crate::domain::taint::{self, Fault, Taint};

use super::action::{Action, Notice, Outcome, Subject, Topic, Write};
use super::entry::{Desk, Entry};
use super::gate::Gate;
use super::policy::Policy;
use super::version::newer;

/// Both things that we write on a Node: our taint, and the annotation that repeats the foreign ones.
type Mirror = (Option<Fault>, Option<String>);

#[derive(Debug)]
pub(super) struct NodeEntry {
    pub(super) node: Node,
    pub(super) home: Home,
    gate: Gate<Mirror>,
    restless: bool,
}

/// All nodes, and the way from a node to its cluster and back.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    entries: BTreeMap<String, NodeEntry>,
    directory: Directory,
    residents: HashMap<ClusterKey, Vec<String>>,
    /// The clusters or nodes changed in a way that may move a node to another home.
    stale: bool,
}

impl Nodes {
    pub(super) fn list(&mut self, nodes: Vec<Node>) {
        let mut before = std::mem::take(&mut self.entries);
        for node in nodes {
            let known = before.remove(&node.name);
            self.entries.insert(node.name.clone(), renewed(known, node));
        }
        self.stale = true;
    }

    pub(super) fn apply(&mut self, node: Node) {
        let known = self.entries.get(&node.name).filter(|known| known.node.uid == node.uid);
        // Our own reads run ahead of the watch, which then repeats what is older.
        if known.is_some_and(|known| !newer(&node.resource_version, &known.node.resource_version)) {
            return;
        }
        let known = self.entries.remove(&node.name);
        self.stale |= known.as_ref().is_none_or(|known| known.node.labels != node.labels);
        self.entries.insert(node.name.clone(), renewed(known, node));
    }

    /// Whether it is one that the watch told of.
    pub(super) fn knows(&self, node: &Node) -> bool {
        self.entries.get(&node.name).is_some_and(|known| known.node.uid == node.uid)
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.stale |= self.entries.remove(name).is_some();
    }

    pub(super) fn wrote(&mut self, name: &str, outcome: Outcome, now: Instant) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.gate.ended(outcome, now);
            entry.restless = true;
        }
    }

    pub(super) fn forget_writes(&mut self) {
        for entry in self.entries.values_mut() {
            entry.gate = Gate::new();
            entry.restless = true;
        }
    }

    /// The clusters changed in number, labels or ids.
    pub(super) fn set_stale(&mut self) {
        self.stale = true;
    }

    /// Whether some node may belong elsewhere by now.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Finds every node's home anew, if anything about that changed. Returns whether it did.
    pub(super) fn settle<'a>(
        &mut self,
        clusters: impl Iterator<Item = &'a Cluster>,
        policy: &Policy,
        actions: &mut Vec<Action>,
    ) -> bool {
        if !std::mem::take(&mut self.stale) {
            return false;
        }
        self.directory = Directory::new(clusters, &policy.node_labels);
        self.residents.clear();
        for (name, entry) in &mut self.entries {
            let home = self.directory.home(&entry.node, &policy.node_labels, policy.match_node_names);
            if let Home::Cluster(key) = &home {
                self.residents.entry(key.clone()).or_default().push(name.clone());
            }
            if home == entry.home {
                continue;
            }
            if let Home::Ambiguous(keys) = &home {
                let keys: Vec<&str> = keys.iter().map(ClusterKey::as_str).collect();
                let text = format!("node \"{name}\" stands for no cluster: its labels name {}", keys.join(" and "));
                let subject = Subject::Node(name.clone(), entry.node.uid.clone());
                actions.push(Action::Tell(Notice { subject, topic: Topic::NodeAmbiguous, text }));
            }
            entry.home = home;
            entry.restless = true;
        }
        true
    }

    /// The writes due to a cluster's nodes.
    ///
    /// `cluster_restless`: its taints or verdict may have changed since the last call.
    pub(super) fn due(&mut self, cluster: &Entry, cluster_restless: bool, desk: &Desk<'_>, actions: &mut Vec<Action>) {
        let Some(names) = self.residents.get(&cluster.cluster.key) else { return };
        for name in names {
            if let Some(entry) = self.entries.get_mut(name).filter(|entry| cluster_restless || entry.restless) {
                entry.restless = false;
                entry.due(cluster, desk, actions);
            }
        }
    }

    /// The nodes that matter to the doors, by name.
    pub(super) fn homes(&self) -> impl Iterator<Item = &NodeEntry> {
        self.entries.values()
    }
}

fn renewed(known: Option<NodeEntry>, node: Node) -> NodeEntry {
    match known {
        Some(known) if known.node.uid == node.uid => NodeEntry { node, restless: true, ..known },
        _ => NodeEntry { node, home: Home::None, gate: Gate::new(), restless: true },
    }
}

impl NodeEntry {
    fn due(&mut self, cluster: &Entry, desk: &Desk<'_>, actions: &mut Vec<Action>) {
        let fault = cluster.wanted(desk.taint_key);
        let foreign = foreign_taints(&cluster.cluster.taints, desk.taint_key);
        let taints = taint::rewritten(&self.node.taints, desk.taint_key, fault);
        let annotation = (self.node.cluster_taints != foreign).then(|| foreign.clone());
        self.restless = taints.is_some() || annotation.is_some();
        // As on the cluster itself: while the brake is on no taint is added.
        let taints = taints.filter(|_| !desk.braked || fault.is_none());
        if taints.is_none() && annotation.is_none() {
            return;
        }
        let wanted = (fault, foreign);
        if self.gate.pass(&wanted, desk.now, cluster.pace()).is_none() {
            return;
        }
        self.gate.sent(wanted);
        actions.push(Action::Write(Write::Node {
            name: self.node.name.clone(),
            resource_version: self.node.resource_version.clone(),
            taints,
            cluster_taints: annotation,
        }));
    }

    /// Whether it bears our taint, though its cluster is gone.
    pub(super) fn vanished(&self, taint_key: &str) -> Option<&str> {
        match &self.home {
            Home::Missing(label) if taint::carried(&self.node.taints, taint_key).is_some() => Some(label),
            _ => None,
        }
    }
}

/// The taints of others that keep workloads off, as one line; `None` when there are none.
fn foreign_taints(taints: &[Taint], taint_key: &str) -> Option<String> {
    let foreign = taints.iter().filter(|taint| taint.effect.repels() && taint::ours(taint, taint_key).is_none());
    let mut lines: Vec<String> = foreign.map(ToString::to_string).collect();
    lines.sort();
    (!lines.is_empty()).then(|| lines.join(","))
}
