//! Between Kubernetes' objects and ours: translates, decides nothing.

pub mod lease;
