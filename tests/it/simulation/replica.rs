//! One process of ours: an index, the watches and answers that reach it, and its pauses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sheetanchor::state::action::{Action, Event, Topic};
use sheetanchor::state::index::Index;
use sheetanchor::state::snapshot::Snapshot;

use super::plan::DEFAULT_PERIOD;
use crate::stage::policy;

/// See the module.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) index: Index,
    pub(crate) published: Option<Snapshot>,
    /// Counts restarts: what was meant for an earlier life is lost.
    pub(crate) life: u32,
    pub(crate) running: bool,
    /// Counts watches: what an earlier one had under way is lost.
    pub(crate) watch: u32,
    /// The API server sends its changes here.
    pub(crate) watching: bool,
    /// When the last of what is under way arrives: a watch keeps its order.
    pub(crate) arrives: Duration,
    pub(crate) paused: bool,
    pub(crate) backlog: Vec<Event>,
    /// What it was told last.
    pub(crate) leading: bool,
    pub(crate) braked: bool,
    /// When the brake let go last.
    pub(crate) released: Option<Instant>,
    pub(crate) blind: bool,
}

impl Replica {
    pub(crate) fn new(now: Instant, taint_key: &str) -> Self {
        let mut rules = policy(taint_key);
        rules.health.default_period = DEFAULT_PERIOD;
        Self {
            index: Index::new(now, Arc::new(rules)),
            published: None,
            life: 0,
            running: false,
            watch: 0,
            watching: false,
            arrives: Duration::ZERO,
            paused: false,
            backlog: Vec::new(),
            leading: false,
            braked: false,
            released: None,
            blind: true,
        }
    }

    /// Starts over with nothing but a new life.
    pub(crate) fn die(&mut self, now: Instant, taint_key: &str) {
        *self = Self { life: self.life + 1, watch: self.watch + 1, ..Self::new(now, taint_key) };
    }

    /// Takes in one event, as the monitor does.
    pub(crate) fn apply(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Leading(leading) => self.leading = leading,
            Event::ClusterWatchBroke => self.blind = true,
            Event::ClustersListed(_) => self.blind = false,
            _ => {}
        }
        let actions = self.index.apply(event, now);
        for action in &actions {
            if let Action::Tell(notice) = action {
                match notice.topic {
                    Topic::BrakeOn => self.braked = true,
                    Topic::BrakeOff => (self.braked, self.released) = (false, Some(now)),
                    _ => {}
                }
            }
        }
        if let Some(snapshot) = self.index.publication(now) {
            self.published = Some(snapshot);
        }
        actions
    }
}
