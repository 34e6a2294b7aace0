//! sheetanchor keeps workloads running when a whole cluster of a multi-cluster Kubernetes fleet dies.

pub mod clock;
pub mod control;
pub mod domain;
pub mod metrics;
pub mod serve;
pub mod state;
pub mod wire;
