//! A Clusternet Subscription: where it runs, and where it may.

use std::collections::BTreeMap;

use super::selector::Selector;
use super::taint::Toleration;

/// The annotation whose value `true` lets a Subscription lose its last cluster.
pub const ALLOW_EMPTY_ANNOTATION: &str = "sheetanchor.dev/allow-empty";

/// The part of a Subscription's status that says where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// `bindingClusters`, each `namespace/name`.
    pub clusters: Vec<String>,
    /// `replicas`: for each feed, by its key, the replicas on each cluster in the order of
    /// `clusters`. An empty array means that the feed has none to count.
    pub replicas: BTreeMap<String, Vec<i32>>,
    /// `desiredReleases`.
    pub desired_releases: Option<i64>,
    /// `specHash`: the spec that the placement was decided for.
    pub spec_hash: Option<i64>,
}

/// What decides where a Subscription may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionFacts {
    /// `spec.subscribers[].clusterAffinity`, in order: the sub-groups.
    pub affinities: Vec<Selector>,
    /// `spec.clusterTolerations`.
    pub tolerations: Vec<Toleration>,
    /// `spec.schedulingStrategy` is Dividing: replicas are shared out, and their sum is what counts.
    pub dividing: bool,
    /// `spec.schedulingBySubGroup`: each subscriber gets a number of clusters of its own.
    pub by_sub_group: bool,
    /// [`ALLOW_EMPTY_ANNOTATION`] says `true`.
    pub may_be_empty: bool,
    /// It is being deleted.
    pub deleting: bool,
}

impl SubscriptionFacts {
    /// The first subscriber whose affinity selects these labels.
    pub fn subscriber(&self, labels: &BTreeMap<String, String>) -> Option<usize> {
        self.affinities.iter().position(|affinity| affinity.matches(labels))
    }
}
