//! What sheetanchor decides, as pure functions and values.
//!
//! Invariant: nothing in here is async, reads a clock, logs, or knows Kubernetes' client,
//! JSON or serde. Time comes in as an argument; decisions go out as values that carry
//! their reasons.

pub mod binding;
pub mod brake;
pub mod capacity;
pub mod cluster;
pub mod election;
pub mod guard;
pub mod health;
pub mod node;
pub mod placement;
pub mod plan;
pub mod report;
pub mod requests;
pub mod rescue;
pub mod selector;
pub mod shares;
pub mod sight;
pub mod span;
pub mod subscription;
pub mod taint;
pub mod tally;

#[cfg(test)]
pub(crate) mod testing;
