//! The brake: a death needs witnesses.
//!
//! When many clusters fall silent together, or nobody has beaten since, the likelier dead one is
//! us. While the brake is on nobody becomes Lost, no taint is written and nothing moves.
//! Fleet-wide only: a region that really burns must fail over.

use std::fmt;
use std::time::Duration;

use super::health::{Health, HealthPolicy, Verdict};
use super::sight::Moment;

/// Fewer than this many never count as a mass.
const SMALLEST_MASS: usize = 3;
/// A loss, or a NotReady verdict, older than this is no longer part of what is happening now.
const NEWS: Duration = Duration::from_secs(600);

/// Why the brake is on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// Too large a share of the fleet failed together.
    Mass {
        /// Clusters newly silent, or saying NotReady.
        failing: usize,
        /// Clusters that beat after the first of those went missing, and say that they are well.
        well: usize,
    },
    /// Nobody has beaten since the first of the silent ones went missing.
    Alone {
        /// Clusters newly silent.
        silent: usize,
    },
    /// The brake was on when we started, and not every cluster it named has had time to beat since.
    Inherited {
        /// Clusters that have not.
        waiting: usize,
    },
}

impl Cause {
    /// The name of the rule.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mass { .. } => "Mass",
            Self::Alone { .. } => "Alone",
            Self::Inherited { .. } => "Inherited",
        }
    }

    /// The share of the clusters heard or missed in this incident that fail, 0 to 1.
    pub fn share(self) -> f64 {
        match self {
            Self::Mass { failing, well } => share(failing, well),
            Self::Alone { .. } | Self::Inherited { .. } => 1.0,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mass { failing, well } => write!(
                f,
                "{failing} clusters fail together and only {well} testify that they are well ({:.0} %)",
                self.share() * 100.0
            ),
            Self::Alone { silent } => write!(f, "{silent} silent, and no other cluster has beaten since"),
            Self::Inherited { waiting } => {
                write!(f, "the brake was on when we started, and {waiting} of its clusters have not had time to beat")
            }
        }
    }
}

/// Whether a cluster's silence is news.
pub fn newly_silent(health: &Health, now: Moment) -> bool {
    let stale = health.standing() == Verdict::Lost && now.since(health.since()) > NEWS;
    health.reported() && health.age(now) > health.late_limit() && !stale
}

/// Whether a cluster that beats says that it is not ready, and that is news.
pub fn newly_not_ready(health: &Health, now: Moment) -> bool {
    let stale = health.standing() == Verdict::NotReady && now.since(health.since()) > NEWS;
    health.not_ready_since().is_some() && !stale && !newly_silent(health, now)
}

/// Decides whether the brake is on: the rule of the reference model `tests/data/brake-model.py`.
///
/// Clusters that never reported count for nothing.
pub fn assess<'a>(
    fleet: impl Iterator<Item = &'a Health> + Clone,
    now: Moment,
    policy: &HealthPolicy,
) -> Option<Cause> {
    let (mut silent, mut not_ready) = (0, 0);
    let mut missed_since: Option<Moment> = None;
    let mut miss = |moment: Moment| missed_since = Some(missed_since.map_or(moment, |first| first.min(moment)));
    for health in fleet.clone() {
        if newly_silent(health, now) {
            silent += 1;
            miss(health.seen().plus(health.period()));
        } else if let Some(since) = health.not_ready_since().filter(|_| newly_not_ready(health, now)) {
            not_ready += 1;
            miss(since);
        }
    }
    let missed_since = missed_since?;
    let (mut witnesses, mut well, mut not_lost) = (0, 0, 0);
    for health in fleet.filter(|health| health.reported() && health.standing() != Verdict::Lost) {
        not_lost += 1;
        if !newly_silent(health, now) && health.last_beat().is_some_and(|beat| beat > missed_since) {
            witnesses += 1;
            well += usize::from(!newly_not_ready(health, now));
        }
    }
    let failing = silent + not_ready;
    if failing >= SMALLEST_MASS && share(failing, well) >= policy.unhealthy_threshold {
        return Some(Cause::Mass { failing, well });
    }
    (silent > 0 && witnesses == 0 && not_lost >= 2).then_some(Cause::Alone { silent })
}

#[allow(clippy::cast_precision_loss, reason = "cluster counts are far below 2^52")]
fn share(failing: usize, well: usize) -> f64 {
    failing as f64 / (failing + well).max(1) as f64
}
