//! What a write to a Subscription's placement must not do, and what it is made into instead.
//!
//! Clusternet's scheduler answers our taints, and its own mistakes, by rewriting placements. The
//! guard looks at such a write before it is stored and puts back what it should not have dropped.
//! It chooses no targets and records nothing: what moves where is read from the rescues that the
//! migrator recorded. The same two placements, rescues and fleet always give the same result, and a
//! placement that it made, it leaves alone.
//!
//! Invariant: a placement that had a cluster keeps one, and the guard itself takes out only what
//! the same write added, and what was rescued off a cluster that nobody hears from.

mod exchange;
mod hold;
mod rescues;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::placement::Fleet;
use super::shares::Shares;
use super::sight::Moment;
use super::subscription::{Placement, SubscriptionFacts};

/// How much of the guard is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardMode {
    /// All of its rules.
    Full,
    /// Only that no placement is emptied.
    NeverEmpty,
    /// None.
    Off,
}

/// A rule of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A placement that had a cluster is not left without one.
    Empty,
    /// A cluster that was dropped only because of our taint stays.
    Restore,
    /// What was rescued runs where the rescue says.
    Apply,
    /// A healthy cluster is not swapped for another.
    Sticky,
}

impl Rule {
    /// The word people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Restore => "Restore",
            Self::Apply => "Apply",
            Self::Sticky => "Sticky",
        }
    }
}

/// What becomes of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It is stored as it is.
    Pass,
    /// It is stored as it is, although a cluster should have stayed; the text says why it could not.
    Unfit(String),
    /// Another placement is stored instead.
    Amend(Amendment),
}

/// The placement that is stored instead of the one that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amendment {
    /// The rule that asked for it; of several, the first in this order: Empty, Apply, Restore, Sticky.
    pub rule: Rule,
    /// The placement.
    pub placement: Placement,
    /// What was changed and why, for people.
    pub reasons: Vec<String>,
}

/// What a write is judged by, besides the Subscription.
#[derive(Debug)]
pub struct Guard<'a, F> {
    /// The rules in force.
    pub mode: GuardMode,
    /// Failover is on: a move that was recorded may be finished. While it is off, what has moved
    /// stays where it is, and what has not stays too.
    pub failover: bool,
    /// The rule *Sticky* is in force.
    pub sticky: bool,
    /// The clusters.
    pub fleet: &'a F,
    /// The key of our taint.
    pub taint_key: &'a str,
    /// The time of the write.
    pub now: Moment,
}

impl<F: Fleet> Guard<'_, F> {
    /// Judges a write that turns the placement `old` into `new`. `facts` are those of the stored
    /// Subscription: what a status write says about its spec is not stored.
    pub fn review(&self, old: &Placement, new: &Placement, facts: &SubscriptionFacts) -> Ruling {
        if self.mode == GuardMode::Off || facts.deleting || old.clusters.is_empty() {
            return Ruling::Pass;
        }
        if !new.clusters.is_empty() {
            return self.hold(old, new, facts);
        }
        if facts.may_be_empty {
            return Ruling::Pass;
        }
        let refilled = self.refill(old);
        Ruling::Amend(match self.hold(old, &refilled.placement, facts) {
            Ruling::Amend(held) => {
                let reasons = [refilled.reasons, held.reasons].concat();
                Amendment { reasons, placement: held.placement, ..refilled }
            }
            Ruling::Pass | Ruling::Unfit(_) => refilled,
        })
    }

    /// The rule *Empty*. The hash is the old one too, so that the scheduler sees that the spec still
    /// waits for a placement.
    fn refill(&self, old: &Placement) -> Amendment {
        let mut reasons = vec!["restored the placement: the write would have left no cluster".to_owned()];
        let mut gone: BTreeSet<&str> = old.clusters.iter().map(String::as_str).collect();
        let total = gone.len();
        gone.retain(|cluster| self.fleet.gone(cluster));
        let placement = match Shares::read(old) {
            Ok(mut shares) if gone.len() < total => {
                reasons
                    .extend(gone.iter().map(|cluster| format!("left out cluster \"{cluster}\": it no longer exists")));
                shares.remove(&gone);
                shares.write(old)
            }
            Ok(shares) => shares.write(old),
            Err(_) => old.clone(),
        };
        Amendment { rule: Rule::Empty, placement, reasons }
    }
}
