//! The fleet at one moment, as the doors read it.
//!
//! A door loads one snapshot per call and never waits: publishing swaps a pointer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::domain::brake::Cause;
use crate::domain::cluster::ClusterKey;
use crate::domain::placement::{ClusterView, Fleet, Steering};
use crate::domain::sight::Moment;
use crate::state::policy::Policy;

/// Where a node belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeHome {
    /// It stands for the cluster at this place of [`Snapshot::clusters`].
    Cluster(usize),
    /// It stood for a cluster that vanished while unschedulable, and still bears our taint:
    /// rejected until a person removes that. The text is the label that names the cluster.
    Vanished(Arc<str>),
}

/// The brake, when it is on.
#[derive(Clone, Debug, PartialEq)]
pub struct BrakeView {
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub since: Moment,
    /// The clusters that are silent or say NotReady.
    pub clusters: Vec<ClusterKey>,
}

/// An object that could not be decoded and is therefore not in the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// `namespace/name`.
    pub key: String,
    /// What is wrong with it.
    pub error: String,
}

/// The fleet at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The first lists are in. Before that nothing is known, which is not the same as no clusters.
    pub complete: bool,
    /// The clusters, sorted by key.
    pub clusters: Vec<Arc<ClusterView>>,
    /// The nodes that stand for a cluster, by name. A node that is not here belongs to none.
    pub nodes: Arc<HashMap<Box<str>, NodeHome>>,
    /// The brake, when it is on.
    pub brake: Option<BrakeView>,
    /// Some active (not spare) cluster is down.
    pub active_down: bool,
    /// We cannot see: ages stand still.
    pub blind: bool,
    /// Objects left out.
    pub undecodable: Vec<Undecodable>,
    /// Our clock when the snapshot was taken, and the moment that this was.
    pub taken: (Instant, Moment),
    /// The rules in force.
    pub policy: Arc<Policy>,
}

impl Snapshot {
    /// Nothing known, before the first list.
    pub fn empty(now: Instant, policy: Arc<Policy>) -> Self {
        Self {
            complete: false,
            clusters: Vec::new(),
            nodes: Arc::default(),
            brake: None,
            active_down: false,
            blind: true,
            undecodable: Vec::new(),
            taken: (now, Moment::default()),
            policy,
        }
    }

    /// The moment that `now` is, a little after the snapshot was taken.
    pub fn moment(&self, now: Instant) -> Moment {
        let passed = if self.blind { Duration::ZERO } else { now.saturating_duration_since(self.taken.0) };
        self.taken.1.plus(passed)
    }

    /// What decisions at `now` go by.
    pub fn steering(&self, now: Instant) -> Steering<'_> {
        Steering {
            now: self.moment(now),
            health: &self.policy.health,
            taint_key: &self.policy.taint_key,
            spares: self.policy.spares,
            active_down: self.active_down,
        }
    }

    /// The cluster that a node stands for.
    pub fn cluster_of_node(&self, node: &str) -> Option<&ClusterView> {
        match self.nodes.get(node)? {
            NodeHome::Cluster(place) => self.clusters.get(*place).map(AsRef::as_ref),
            NodeHome::Vanished(_) => None,
        }
    }
}

impl Fleet for Snapshot {
    fn view(&self, key: &str) -> Option<&ClusterView> {
        let place = self.clusters.binary_search_by(|view| view.key().as_str().cmp(key)).ok()?;
        self.clusters.get(place).map(AsRef::as_ref)
    }

    fn gone(&self, key: &str) -> bool {
        !self.blind && self.view(key).is_none() && !self.undecodable.iter().any(|object| object.key == key)
    }
}

/// The latest snapshot, shared by everyone; cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshots(Arc<ArcSwap<Snapshot>>);

impl Snapshots {
    /// Starts with `first`.
    pub fn new(first: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// The latest one.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Replaces it. Whoever loaded the old one keeps it.
    pub fn publish(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
