//! Kubernetes' JSON to our domain and back. Decides nothing.

pub mod lease;
pub mod managed_cluster;
pub mod node;
mod quantity;
