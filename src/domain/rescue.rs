//! The recorded intent to run a Subscription elsewhere, which outlives whoever wrote it.
//!
//! It stands on the Subscription before its placement changes: whoever leads next finishes the
//! move or drops it, and the guard keeps others from undoing it.

use std::collections::BTreeMap;

use super::cluster::ClusterKey;

/// The annotation on a Subscription that lists its rescues.
pub const RESCUED_ANNOTATION: &str = "sheetanchor.dev/rescued";

/// One cluster's part of a placement, moved or to be moved to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// The cluster that it leaves.
    pub from: ClusterKey,
    /// The cluster that it goes to.
    pub to: ClusterKey,
    /// Where it ran before the first of several rescues, and returns to; mostly `from`.
    pub home: ClusterKey,
    /// The spec that the placement was decided for. Another one retires the rescue: the user has
    /// changed what is to run where.
    pub spec_hash: Option<i64>,
    /// The incident's `Failover` object.
    pub failover: String,
    /// Dividing: the replicas of each feed that go. `None`: all that `from` has.
    pub replicas: Option<BTreeMap<String, i32>>,
}
