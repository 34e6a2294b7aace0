//! What a write to a Subscription's placement must not do, and what it is made into instead.
//!
//! Clusternet's scheduler answers our taints, and its own mistakes, by rewriting placements. The
//! guard looks at such a write before it is stored and puts back what it should not have dropped.
//! It chooses no targets and records nothing: the same two placements and the same fleet always
//! give the same result, and a placement that it made, it leaves alone.
//!
//! Invariant: a placement that had a cluster keeps one, and the guard itself takes out only what
//! the same write added.

mod exchange;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use self::exchange::{Exchange, Member};
use super::placement::Fleet;
use super::shares::Shares;
use super::sight::Moment;
use super::span::short;
use super::subscription::{Placement, SubscriptionFacts};
use super::taint::{self, Fault};

/// A write may still be decided on our taint this long after the taint went: Clusternet's scheduler
/// was seen to be 15 s late, and a busy one has more to do.
const LATE_WRITE: Duration = Duration::from_secs(60);

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
}

impl Rule {
    /// The word people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Restore => "Restore",
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
    /// The rule that asked for it.
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
        if new.clusters.is_empty() {
            return if facts.may_be_empty { Ruling::Pass } else { Ruling::Amend(self.refill(old)) };
        }
        if self.mode == GuardMode::Full && old.spec_hash == new.spec_hash {
            self.keep_dropped(old, new, facts)
        } else {
            Ruling::Pass
        }
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

    /// The rule *Restore*.
    fn keep_dropped(&self, old: &Placement, new: &Placement, facts: &SubscriptionFacts) -> Ruling {
        let before: BTreeSet<&str> = old.clusters.iter().map(String::as_str).collect();
        let after: BTreeSet<&str> = new.clusters.iter().map(String::as_str).collect();
        let kept: Vec<(&str, Cause)> = before
            .difference(&after)
            .filter_map(|cluster| Some((*cluster, self.cause_of_drop(cluster, facts)?)))
            .collect();
        let Some((first, _)) = kept.first() else {
            return Ruling::Pass;
        };
        let (was, will) = match (Shares::read(old), Shares::read(new)) {
            (Ok(was), Ok(will)) => (was, will),
            (Err(fault), _) => {
                return Ruling::Unfit(format!("cannot keep cluster \"{first}\": before the write, {fault}"));
            }
            (_, Err(fault)) => return Ruling::Unfit(format!("cannot keep cluster \"{first}\": in the write, {fault}")),
        };
        let member = |cluster| Member { cluster, group: self.group(cluster, facts) };
        let mut exchange = Exchange {
            was,
            will,
            restored: kept.iter().map(|(cluster, _)| member(cluster)).collect(),
            added: after.difference(&before).map(|cluster| member(cluster)).collect(),
        };
        let out = match (facts.dividing, facts.by_sub_group) {
            (true, _) => exchange.by_replicas(),
            (false, true) => exchange.one_for_one(),
            (false, false) => {
                exchange.restore();
                BTreeSet::new()
            }
        };
        let kept = kept
            .iter()
            .map(|(cluster, cause)| format!("kept cluster \"{cluster}\": it was dropped only because of our {cause}"));
        let left_out = out
            .iter()
            .map(|cluster| format!("left out cluster \"{cluster}\": it was added in place of one that stays"));
        let reasons = kept.chain(left_out).collect();
        Ruling::Amend(Amendment { rule: Rule::Restore, placement: exchange.will.write(new), reasons })
    }

    /// Our taint, if nothing else explains that a cluster was dropped.
    fn cause_of_drop(&self, cluster: &str, facts: &SubscriptionFacts) -> Option<Cause> {
        let view = self.fleet.view(cluster)?;
        facts.subscriber(&view.cluster.labels)?;
        let untolerated = |fault: &Fault| !taint::tolerated(&fault.taint(self.taint_key), &facts.tolerations);
        let mut written = None;
        for taint in &view.cluster.taints {
            if taint.effect.repels() && !taint::tolerated(taint, &facts.tolerations) {
                written = Some(taint::ours(taint, self.taint_key)?);
            }
        }
        // A verdict counts as its taint before that is written, or before we saw it written.
        if let Some(fault) = written.or_else(|| view.health.fault().filter(untolerated)) {
            return Some(Cause::Carried(fault));
        }
        let age = self.now.since(view.untainted?);
        (age < LATE_WRITE && Fault::ALL.iter().any(untolerated)).then_some(Cause::Gone(age))
    }

    /// The sub-group that a cluster belongs to; where there are none, all are in the same.
    fn group(&self, cluster: &str, facts: &SubscriptionFacts) -> Option<usize> {
        if facts.by_sub_group { facts.subscriber(&self.fleet.view(cluster)?.cluster.labels) } else { Some(0) }
    }
}

/// How our taint explains a drop.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// The cluster carries it, or is about to.
    Carried(Fault),
    /// It went, so recently that the write may not know.
    Gone(Duration),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Carried(fault) => write!(f, "taint {}", fault.as_str()),
            Self::Gone(age) => write!(f, "taint, which went {} ago", short(*age)),
        }
    }
}
