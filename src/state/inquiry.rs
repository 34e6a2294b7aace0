//! The questions that the API server is asked for a sign of life.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::domain::cluster::ClusterKey;
use crate::domain::health::HealthPolicy;
use crate::domain::sight::{Moment, Sight};

use super::action::Action;
use super::entry::Entry;

/// A question without an answer is given up after this, and asked again.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Without a sign of life for so long, the API server is asked for one.
const LONGEST_QUIET: Duration = Duration::from_secs(1);

/// At most one question is open.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    open: Option<(Instant, Moment)>,
    asked: u64,
}

impl Inquiry {
    /// The question to be asked at `now`, which is this moment: when there was no sign of life for a
    /// while, and when a verdict waits for one.
    pub(super) fn ask(
        &mut self,
        clusters: &BTreeMap<ClusterKey, Entry>,
        sight: &Sight,
        policy: &HealthPolicy,
        now: Instant,
        moment: Moment,
    ) -> Option<Action> {
        if self.open.is_some_and(|(at, _)| now < at + ANSWER_TIMEOUT) {
            return None;
        }
        let sign = sight.last_sign();
        let waits = |entry: &Entry| entry.health.turns(sign, moment, policy);
        if sight.since_sign() < LONGEST_QUIET && !clusters.values().any(waits) {
            return None;
        }
        let key = clusters.keys().next()?;
        self.open = Some((now, moment));
        self.asked += 1;
        Some(Action::Ask(self.asked, key.clone()))
    }

    /// The question of this number was answered. Returns when it was asked, unless it was given up.
    pub(super) fn answered(&mut self, number: u64) -> Option<(Instant, Moment)> {
        self.open.take_if(|_| self.asked == number)
    }
}
