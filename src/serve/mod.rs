//! The doors: how requests reach us over TLS, what stands between a caller and a handler, and what
//! is answered, from one snapshot of the fleet.
//!
//! Invariant: nothing here writes to the cluster, and no caller, slow, huge, silent or many, can
//! take more than `limits` grants it.

pub mod admin;
pub mod admission;
pub mod counters;
pub mod extender;
pub mod guardrails;
pub mod http;
pub mod limits;
pub mod probes;
pub mod tls;

#[cfg(test)]
mod testing;
