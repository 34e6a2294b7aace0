//! What sheetanchor decides, as pure functions and values.
//!
//! Invariant: nothing in here is async, reads a clock, logs, or knows Kubernetes' client,
//! JSON or serde. Time comes in as an argument; decisions go out as values that carry
//! their reasons.

pub mod lease;
