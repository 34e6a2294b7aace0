//! The doors: what Kubernetes asks us, answered from one snapshot of the fleet.
//!
//! Invariant: nothing here writes to the cluster.

pub mod admission;
pub mod extender;
