//! The rules that the fleet is judged by, as configured.

use crate::domain::health::HealthPolicy;
use crate::domain::placement::SparePolicy;

/// The rules that the fleet is judged by.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Verdicts and the brake.
    pub health: HealthPolicy,
    /// The key of our taint.
    pub taint_key: String,
    /// When spares are used.
    pub spares: SparePolicy,
    /// Node labels whose value is a cluster's `spec.clusterId`, or the value of the same label on it.
    pub node_labels: Vec<String>,
    /// A node stands for the cluster of the same name.
    pub match_node_names: bool,
}
