//! A fleet in virtual time: members that beat by clocks of their own, an API server, replicas that
//! watch it with delays, people and other controllers, and troubles, all from one number.
//!
//! `SIMULATION_SEED=n` runs one seed again, `SIMULATION_SEEDS=n` that many instead of the default;
//! `SIMULATION_LOG=m03` prints all that happens to that member, `SIMULATION_LOG=` all that happens.

#![allow(clippy::print_stdout, reason = "a test's word to whoever runs it")]

pub(crate) mod api;
mod chaos;
mod law;
mod member;
mod plan;
mod process;
mod replica;
mod rest;
mod world;

use std::time::Duration;

pub(crate) use chaos::{Act, Trouble};
pub(crate) use plan::Plan;
pub(crate) use world::World;

/// Says how to run a seed again, when the test fails in it.
struct Replay<'a> {
    test: &'a str,
    seed: u64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("to run it again: SIMULATION_SEED={} cargo test --test it {}", self.seed, self.test);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Runs `check` on `default` seeds, or on those that the environment asks for. It returns the
/// fleet's time: clusters times virtual time.
pub(crate) fn for_seeds(test: &str, default: u64, mut check: impl FnMut(u64) -> Duration) {
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(default),
    };
    let mut lived = Duration::ZERO;
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let replay = Replay { test, seed };
        lived += check(seed);
        drop(replay);
    }
    println!("{test}: {count} seeds, {} cluster-hours", lived.as_secs() / 3600);
}

#[test]
fn one_seed_is_one_world() {
    for seed in [5, 6] {
        let run = || World::new(Plan::random(seed)).run();
        assert!(run().log == run().log, "two runs of seed {seed} differ");
    }
}

#[test]
fn every_law_holds_in_random_worlds_and_they_come_to_rest() {
    for_seeds("every_law_holds_in_random_worlds", 40, |seed| World::new(Plan::random(seed)).run().lived);
}
