//! Kubernetes' JSON to our domain and back. Decides nothing.

pub mod extender;
pub mod json;
pub mod lease;
pub mod managed_cluster;
pub mod node;
mod quantity;
