//! What goes into the index and what comes out of it.

use crate::domain::cluster::{Cluster, ClusterKey, Condition};
use crate::domain::health::Verdict;
use crate::domain::node::Node;
use crate::domain::taint::{Fault, Taint};

use super::snapshot::{BrakeView, Undecodable};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed. Comes at least every 100 ms.
    Tick,
    /// We lead, or no longer.
    Leading(bool),
    /// A brake record of an earlier leader names these clusters.
    BrakeFound(Vec<ClusterKey>),
    /// The ManagedCluster watch broke.
    ClusterWatchBroke,
    /// A complete list of the ManagedClusters.
    ClustersListed(Vec<Result<Cluster, Undecodable>>),
    /// A ManagedCluster came or changed.
    ClusterApplied(Result<Cluster, Undecodable>),
    /// A ManagedCluster went.
    ClusterDeleted(ClusterKey),
    /// A ManagedCluster as one of our own writes or reads found it, ahead of the watch.
    ClusterRead(Cluster),
    /// A complete list of the Nodes.
    NodesListed(Vec<Node>),
    /// A Node came or changed.
    NodeApplied(Node),
    /// A Node as one of our own writes or reads found it, ahead of the watch.
    NodeRead(Node),
    /// A Node went.
    NodeDeleted(String),
    /// A write came to an end.
    Wrote(Target, Outcome),
    /// The API server answered the question of [`Action::Ask`] with this number.
    Answered(u64),
}

/// What a write is aimed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `spec.taints` of a ManagedCluster.
    Taints(ClusterKey),
    /// Our condition on a ManagedCluster.
    Condition(ClusterKey),
    /// Taints and annotation of a Node.
    Node(String),
    /// The brake's ConfigMap.
    Brake,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Stored,
    /// The object had changed since; nothing was stored.
    Conflict,
    /// The API server does not take such a write, from us or at all; nothing was stored.
    Refused,
    /// It was not sent, or nobody knows what became of it.
    Failed,
}

/// A write to be made by the leader.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Replace `spec.taints`.
    Taints {
        /// Of this cluster.
        key: ClusterKey,
        /// As of this version.
        resource_version: String,
        /// The whole list.
        taints: Vec<Taint>,
        /// Ours among them, for the log.
        fault: Option<Fault>,
    },
    /// Replace `status.conditions`.
    Conditions {
        /// Of this cluster.
        key: ClusterKey,
        /// As of this version.
        resource_version: String,
        /// The whole list.
        conditions: Vec<Condition>,
    },
    /// Replace a Node's taints and annotation.
    Node {
        /// Of this node.
        name: String,
        /// As of this version.
        resource_version: String,
        /// The whole list, when it is to change.
        taints: Option<Vec<Taint>>,
        /// The annotation's new value, when it is to change; `Some(None)` removes it.
        cluster_taints: Option<Option<String>>,
    },
    /// Keep the state of the brake.
    Brake(Option<BrakeView>),
}

impl Write {
    /// What it is aimed at.
    pub fn target(&self) -> Target {
        match self {
            Self::Taints { key, .. } => Target::Taints(key.clone()),
            Self::Conditions { key, .. } => Target::Condition(key.clone()),
            Self::Node { name, .. } => Target::Node(name.clone()),
            Self::Brake(_) => Target::Brake,
        }
    }
}

/// What a notice is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A ManagedCluster, with its uid.
    Cluster(ClusterKey, String),
    /// A Node, with its uid.
    Node(String, String),
    /// The fleet.
    Fleet,
}

/// The kinds of notices; they become the reasons of Events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A cluster's verdict changed to this one.
    Verdict(Verdict),
    /// A cluster had this verdict, which is not schedulable, when this replica began to lead.
    Found(Verdict),
    /// Somebody undid our taint, and it is being put back.
    TaintUndone,
    /// A node's labels name several clusters.
    NodeAmbiguous,
    /// The cluster asks for ClusterInit, which needs the controller that we replace.
    ClusterInitIgnored,
    /// The brake is on.
    BrakeOn,
    /// The brake let go.
    BrakeOff,
}

/// Something that people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// About what.
    pub subject: Subject,
    /// Of what kind.
    pub topic: Topic,
    /// One sentence with the fact and the limit.
    pub text: String,
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write, if we still lead.
    Write(Write),
    /// Tell people.
    Tell(Notice),
    /// Ask the API server for a sign of life, by a read of this cluster; the questions are numbered.
    Ask(u64, ClusterKey),
}
