//! End-to-end tests: the real etcd, kube-apiserver, kube-scheduler and kube-controller-manager,
//! and the real `sheetanchor` binary, all on loopback.
//!
//! Each test starts its own control plane with [`control_plane::ControlPlane::start`], so tests
//! share nothing and may break what they like. Nothing here asserts how long something took:
//! [`wait::eventually`] waits for a state, and its limit only says when to give up.
#![allow(clippy::disallowed_methods, reason = "end-to-end tests live on the real clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a failing test shows the logs of what it started")]

mod control_plane;
mod fleet;
mod guarded;
mod kubectl;
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
mod certificates;
mod control_plane_smoke;
mod demo;
mod emptying;
mod foreign;
mod harness_smoke;
mod likeness;
mod manifests;
mod odd_writes;
mod placements;
mod release;
mod replicas;
mod rescued;
mod rights;
mod scheduling;
mod spares;
mod stamps;
mod start_errors;
mod startup;
mod verdicts;
mod webhook_scope;
mod witnesses;
