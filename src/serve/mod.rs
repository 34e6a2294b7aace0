//! The doors: how requests reach us over TLS, and what stands between a caller and a handler.
//!
//! Invariant: nothing here writes to the cluster, and no caller, slow, huge, silent or many, can
//! take more than `limits` grants it.

pub mod counters;
pub mod guardrails;
pub mod http;
pub mod limits;
pub mod probes;
pub mod tls;

#[cfg(test)]
mod testing;
