//! sheetanchor keeps workloads running when a whole cluster of a multi-cluster Kubernetes fleet dies.
//!
//! The floors, each importing only from those above it in this list:
//!
//! - [`domain`] decides: health, brake, taints, placement, guard, plan. Pure.
//! - [`clock`] reads the clocks; nothing else does.
//! - [`wire`] turns Kubernetes' JSON into the domain's types and back.
//! - [`state`] knows: the index that events go into, the snapshots that come out.
//! - [`metrics`], [`config`], [`telemetry`] count, configure and log.
//! - [`serve`] answers the scheduler and the API server from a snapshot; [`control`] watches and writes.
//! - [`app`] wires them together.
//! - [`cli`] says to the leader what people want.
//! - [`agent`] beats for a member cluster, in a process of its own.
//! - [`demo`] shows it: a hub in memory, a simulated fleet, a script that checks each step.

pub mod agent;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod demo;
pub mod domain;
pub mod metrics;
pub mod serve;
pub mod state;
pub mod telemetry;
pub mod wire;
