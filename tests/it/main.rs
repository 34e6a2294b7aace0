//! All integration tests that need no control plane, in one binary.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod architecture;
mod brake_model;
mod detection;
mod hub;
mod invariants;
mod readme;
mod simulation;
mod stage;
mod twister;
