//! End-to-end tests: the real etcd, kube-apiserver, kube-scheduler and kube-controller-manager,
//! and the real `sheetanchor` binary, all on loopback.
//!
//! Each test starts its own control plane with [`control_plane::ControlPlane::start`], so tests
//! share nothing and may break what they like. Nothing here asserts how long something took:
//! [`wait::eventually`] waits for a state, and its limit only says when to give up.
#![allow(clippy::disallowed_methods, reason = "end-to-end tests live on the real clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a failing test shows the logs of what it started")]
#![allow(dead_code, reason = "the harness is a vocabulary: not every word is used at every time")]

mod control_plane;
mod fleet;
mod guarded;
mod nodes;
mod pki;
mod process;
mod request;
mod rival;
mod scene;
mod sheetanchor;
mod subscriptions;
mod wait;

mod agent;
mod bad_input;
mod bindings;
mod blindness;
mod control_plane_smoke;
mod demo;
mod emptying;
mod foreign;
mod harness_smoke;
mod likeness;
mod odd_writes;
mod placements;
mod replicas;
mod scheduling;
mod spares;
mod stamps;
mod startup;
mod verdicts;
mod witnesses;
