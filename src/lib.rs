//! sheetanchor keeps workloads running when a whole cluster of a multi-cluster Kubernetes fleet dies.

pub mod serve;
