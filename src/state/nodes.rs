//! The virtual nodes in the index: which cluster each stands for, and the writes due to it.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::domain::cluster::{Cluster, ClusterKey};
use crate::domain::node::{Directory, Home, Node};
use crate::domain::taint::{self, Fault, Taint};

use super::action::{Action, Notice, Outcome, Subject, Topic, Write};
use super::entry::{Context, Entry};
use super::pacer::Pacer;
use super::policy::Policy;
use super::version::newer;

/// Both things that we write on a Node: our taint, and the annotation that names what else keeps off.
type Mirror = (Option<Fault>, Option<String>);

#[derive(Debug)]
pub(super) struct NodeEntry {
    pub(super) node: Node,
    pub(super) home: Home,
    pacer: Pacer<Mirror>,
    /// It changed since the last look for due writes, or one is still due.
    dirty: bool,
}

/// All nodes, and the way from a node to its cluster and back.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    entries: BTreeMap<String, NodeEntry>,
    residents: HashMap<ClusterKey, Vec<String>>,
    /// The clusters or nodes changed in a way that may move a node to another home.
    stale: bool,
    /// Some entry is dirty.
    dirty: bool,
    /// What people are to be told once by the replica that leads.
    untold: Vec<Notice>,
}

impl Nodes {
    pub(super) fn list(&mut self, nodes: Vec<Node>) {
        let mut before = std::mem::take(&mut self.entries);
        for node in nodes {
            let known = before.remove(&node.name);
            self.entries.insert(node.name.clone(), renewed(known, node));
        }
        (self.stale, self.dirty) = (true, true);
    }

    pub(super) fn apply(&mut self, node: Node) {
        let known = self.entries.get(&node.name).filter(|known| known.node.uid == node.uid);
        // Our own reads run ahead of the watch, which then repeats what is older.
        if known.is_some_and(|known| !newer(&node.resource_version, &known.node.resource_version)) {
            return;
        }
        let known = self.entries.remove(&node.name);
        self.stale |= known.as_ref().is_none_or(|known| known.node.labels != node.labels);
        self.dirty = true;
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
            entry.pacer.ended(outcome, now);
            (entry.dirty, self.dirty) = (true, true);
        }
    }

    /// Forgets what was written and told: a new leader looks at everything anew.
    pub(super) fn forget_writes(&mut self) {
        for entry in self.entries.values_mut() {
            entry.pacer = Pacer::new();
            entry.dirty = true;
        }
        self.dirty = true;
        self.untold = self.entries.values().filter_map(NodeEntry::ambiguity).collect();
    }

    /// What people are to be told; nothing the next time.
    pub(super) fn take_untold(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.untold)
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
    pub(super) fn settle<'a>(&mut self, clusters: impl Iterator<Item = &'a Cluster>, policy: &Policy) -> bool {
        if !std::mem::take(&mut self.stale) {
            return false;
        }
        let directory = Directory::new(clusters, &policy.node_labels);
        self.residents.clear();
        for (name, entry) in &mut self.entries {
            let home = directory.home(&entry.node, &policy.node_labels, policy.match_node_names);
            if let Home::Cluster(key) = &home {
                self.residents.entry(key.clone()).or_default().push(name.clone());
            }
            if home != entry.home {
                entry.home = home;
                (entry.dirty, self.dirty) = (true, true);
                self.untold.extend(entry.ambiguity());
            }
        }
        true
    }

    /// Whether some node changed, or has a write due; until one does again.
    pub(super) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// The writes due to a cluster's nodes; to those that are dirty, or to `all`.
    pub(super) fn due(&mut self, cluster: &Entry, all: bool, context: &Context<'_>, actions: &mut Vec<Action>) {
        let Some(names) = self.residents.get(&cluster.cluster.key) else { return };
        for name in names {
            if let Some(entry) = self.entries.get_mut(name).filter(|entry| all || entry.dirty) {
                entry.dirty = false;
                entry.due(cluster, context, actions);
                self.dirty |= entry.dirty;
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
        Some(known) if known.node.uid == node.uid => NodeEntry { node, dirty: true, ..known },
        _ => NodeEntry { node, home: Home::None, pacer: Pacer::new(), dirty: true },
    }
}

impl NodeEntry {
    /// What to tell when its labels contradict each other.
    fn ambiguity(&self) -> Option<Notice> {
        let Home::Ambiguous(keys) = &self.home else { return None };
        let (name, keys): (_, Vec<&str>) = (&self.node.name, keys.iter().map(ClusterKey::as_str).collect());
        Some(Notice {
            subject: Subject::Node(name.clone(), self.node.uid.clone()),
            topic: Topic::NodeAmbiguous,
            text: format!("node \"{name}\" stands for no cluster: its labels name {}", keys.join(" and ")),
        })
    }

    fn due(&mut self, cluster: &Entry, context: &Context<'_>, actions: &mut Vec<Action>) {
        // It goes after the cluster's: what it wakes must not find that one still there.
        let fault = cluster.wanted(context.taint_key).or_else(|| cluster.carried(context.taint_key));
        let unmirrored = unmirrored_taints(cluster, context.taint_key);
        let taints = taint::rewritten(&self.node.taints, context.taint_key, fault);
        let annotation = (self.node.cluster_taints != unmirrored).then(|| unmirrored.clone());
        self.dirty = taints.is_some() || annotation.is_some();
        // As on the cluster itself: while the brake is on no taint is added.
        let held = cluster.is_held(context.braked) && fault.is_some();
        let taints = taints.filter(|_| !held);
        if taints.is_none() && annotation.is_none() {
            return;
        }
        let wanted = (fault.filter(|_| !held), unmirrored);
        if self.pacer.attempt(&wanted, context.now, cluster.health.period()).is_none() {
            return;
        }
        self.pacer.sent(wanted);
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

/// What keeps workloads off the cluster without being mirrored on its nodes, as one line; `None`
/// when nothing does: the taints of others, and a verdict of ours that is given no taint. When it
/// ends, the Node must change, or the scheduler would not look again for minutes.
fn unmirrored_taints(cluster: &Entry, taint_key: &str) -> Option<String> {
    let foreign = |taint: &&Taint| taint.effect.repels() && taint::ours(taint, taint_key).is_none();
    let unwritten = cluster.health.fault().filter(|_| cluster.wanted(taint_key).is_none());
    let unwritten = unwritten.map(|fault| fault.taint(taint_key).to_string());
    let foreign = cluster.cluster.taints.iter().filter(foreign).map(ToString::to_string);
    let mut lines: Vec<String> = foreign.chain(unwritten).collect();
    lines.sort();
    (!lines.is_empty()).then(|| lines.join(","))
}
