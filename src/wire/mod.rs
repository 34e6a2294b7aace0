//! Kubernetes' JSON to our domain and back. Decides nothing.

pub mod admission;
pub mod extender;
pub mod json;
pub mod lease;
pub mod managed_cluster;
pub mod member;
pub mod node;
pub mod patch;
mod quantity;
pub mod report;
pub mod rescue;
pub mod subscription;
pub mod taint;
