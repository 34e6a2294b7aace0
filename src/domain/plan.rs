//! Where to run what a lost cluster ran: all Subscriptions of an incident in one pass.
//!
//! Pure and deterministic: the same facts give the same plan, in whatever order they come. The
//! more important Subscription chooses first, and what it takes is gone for the next: nothing is
//! counted on twice. What finds no place is held, with the reason; it is never dropped.

mod candidates;
mod hold;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use self::candidates::{Candidates, Open};
use super::capacity::Headroom;
use super::cluster::{ClusterKey, Resources};
use super::placement::ClusterView;
use super::selector::Selector;
use super::shares::Shares;
use super::subscription::{Placement, SubscriptionFacts};

pub use self::hold::{Hold, Refusals};

/// A cluster, and what is left on it.
#[derive(Clone, Debug)]
pub struct Site {
    /// The cluster.
    pub view: ClusterView,
    /// What is left there.
    pub headroom: Headroom,
}

/// What a Subscription asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// One replica of each feed, by its key, as far as known: its FeedInventory says so.
    pub replica: BTreeMap<String, Resources>,
    /// All of it on one cluster, by that cluster, as far as known.
    pub whole: BTreeMap<ClusterKey, Resources>,
}

/// One Subscription.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// `namespace/name`.
    pub key: String,
    /// `spec.priority`: the greater goes first.
    pub priority: i32,
    /// What decides where it may run.
    pub facts: SubscriptionFacts,
    /// The annotation `sheetanchor.dev/spare-selector`: clusters outside its affinity that will do.
    pub spares: Option<Selector>,
    /// Where it runs.
    pub placement: Placement,
    /// What it asks for.
    pub demand: Demand,
    /// The annotation `sheetanchor.dev/failover` says `Disabled`.
    pub disabled: bool,
    /// The annotation `sheetanchor.dev/failover-delay`.
    pub delay: Duration,
}

/// A cluster that workloads are to leave, and for how long that has been so.
pub type Leaving = BTreeMap<ClusterKey, Duration>;

/// One cluster's part of a placement, and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// `namespace/name` of the Subscription.
    pub workload: String,
    /// The cluster that it leaves.
    pub from: ClusterKey,
    /// Where it goes, in the order of choice.
    pub targets: Vec<Target>,
    /// What it asks for was not known: nobody looked whether it fits.
    pub blind: bool,
}

/// One place that a part of a Subscription goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The cluster.
    pub cluster: ClusterKey,
    /// The replicas of each feed that go there; `None`: all that the old one has.
    pub replicas: Option<BTreeMap<String, i32>>,
}

/// Something that stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// `namespace/name` of the Subscription.
    pub workload: String,
    /// The cluster that it should leave.
    pub from: ClusterKey,
    /// Why it does not.
    pub reason: Hold,
}

/// What is to be done, most important first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What moves.
    pub moves: Vec<Move>,
    /// What cannot. A Subscription of which a part fits is in both.
    pub held: Vec<Held>,
}

/// Plans for all `workloads` that run on a cluster of `leaving`. `sites`: every cluster.
pub fn plan(sites: Vec<Site>, workloads: &[Workload], leaving: &Leaving) -> Plan {
    let mut order: Vec<&Workload> = workloads.iter().collect();
    order.sort_by_key(|workload| (Reverse(workload.priority), &workload.key));
    let mut planner = Planner { candidates: Candidates::new(sites, leaving), plan: Plan::default() };
    for workload in order {
        planner.place(workload, leaving);
    }
    planner.plan
}

struct Planner<'a> {
    candidates: Candidates<'a>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn place(&mut self, workload: &'a Workload, leaving: &'a Leaving) {
        let mut from: Vec<(&ClusterKey, Duration)> = workload
            .placement
            .clusters
            .iter()
            .filter_map(|cluster| leaving.get_key_value(cluster.as_str()))
            .map(|(key, since)| (key, *since))
            .collect();
        from.sort();
        from.dedup();
        // Two clusters of one placement do not move to the same place.
        let mut taken = Vec::new();
        for (from, since) in from {
            match self.choose(workload, from, since, &mut taken) {
                Ok(None) => {}
                Ok(Some(chosen)) => self.plan.moves.push(chosen),
                Err(reason) => self.hold(workload, from, reason),
            }
        }
    }

    fn hold(&mut self, workload: &Workload, from: &ClusterKey, reason: Hold) {
        self.plan.held.push(Held { workload: workload.key.clone(), from: from.clone(), reason });
    }

    fn choose(
        &mut self,
        workload: &'a Workload,
        from: &ClusterKey,
        since: Duration,
        taken: &mut Vec<usize>,
    ) -> Result<Option<Move>, Hold> {
        if workload.disabled {
            return Err(Hold::Disabled);
        }
        if since < workload.delay {
            return Err(Hold::Delayed { left: workload.delay.saturating_sub(since) });
        }
        let shares = Shares::read(&workload.placement).map_err(Hold::Malformed)?;
        let feeds: BTreeMap<&str, i32> = shares
            .feeds()
            .into_iter()
            .map(|feed| (feed, shares.get(from.as_str(), feed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        if workload.facts.dividing {
            if feeds.is_empty() {
                // Nothing of it is there.
                return Ok(None);
            }
            return self.divide(workload, from, feeds, taken).map(Some);
        }
        self.replace(workload, from, taken).map(Some)
    }

    /// One cluster for another.
    fn replace(&mut self, workload: &'a Workload, from: &ClusterKey, taken: &mut Vec<usize>) -> Result<Move, Hold> {
        let need = workload.demand.whole.get(from).copied();
        let open = self.candidates.open(workload, from, taken);
        let place = self.candidates.best(&open.unbound, need);
        let Some(place) = place else {
            return Err(self.nowhere(&open, need.unwrap_or_default(), None));
        };
        taken.push(place);
        self.candidates.bind(place);
        self.candidates.reserve(place, need.unwrap_or_default());
        let targets = vec![Target { cluster: self.candidates.key(place).clone(), replicas: None }];
        Ok(Move { workload: workload.key.clone(), from: from.clone(), targets, blind: need.is_none() })
    }

    /// The replicas of one cluster for as many others as it takes: first such as do not run the
    /// Subscription yet, then those that do.
    fn divide(
        &mut self,
        workload: &'a Workload,
        from: &ClusterKey,
        mut left: BTreeMap<&'a str, i32>,
        taken: &mut Vec<usize>,
    ) -> Result<Move, Hold> {
        let open = self.candidates.open(workload, from, taken);
        let unit = |feed: &str| workload.demand.replica.get(feed).copied();
        let (feeds, blind) = (left.len(), left.keys().any(|feed| unit(feed).is_none()));
        let mut targets = Vec::new();
        for mut places in [open.unbound.clone(), open.bound.clone()] {
            while !left.is_empty() {
                let smallest = left.keys().map(|feed| unit(feed)).reduce(least).flatten();
                let Some(place) = self.candidates.best(&places, smallest) else { break };
                places.retain(|other| other.place != place);
                let part = self.fill(place, &mut left, unit);
                if !part.is_empty() {
                    taken.push(place);
                    self.candidates.bind(place);
                    targets.push(Target { cluster: self.candidates.key(place).clone(), replicas: Some(part) });
                }
            }
        }
        if let Some((feed, _)) = left.first_key_value() {
            let replicas = left.values().map(|count| i64::from(*count)).sum();
            let reason = self.nowhere(&open, unit(feed).unwrap_or_default(), Some(replicas));
            if targets.is_empty() {
                return Err(reason);
            }
            self.hold(workload, from, reason);
        } else if let [only] = &mut targets[..]
            && only.replicas.as_ref().is_some_and(|part| part.len() == feeds)
        {
            only.replicas = None;
        }
        Ok(Move { workload: workload.key.clone(), from: from.clone(), targets, blind })
    }

    /// Takes from `left` what fits at a place, and reserves it there.
    fn fill(
        &mut self,
        place: usize,
        left: &mut BTreeMap<&str, i32>,
        unit: impl Fn(&str) -> Option<Resources>,
    ) -> BTreeMap<String, i32> {
        let mut part = BTreeMap::new();
        for (feed, count) in left.iter_mut() {
            let need = unit(feed).unwrap_or_default();
            let fitting = self.candidates.fits(place, need, *count);
            if fitting > 0 {
                self.candidates.reserve(place, need.times(fitting));
                part.insert((*feed).to_owned(), fitting);
                *count -= fitting;
            }
        }
        left.retain(|_, count| *count > 0);
        part
    }

    /// Why none of them will do. `replicas`: what is left over, where replicas are counted.
    fn nowhere(&self, open: &Open, need: Resources, replicas: Option<i64>) -> Hold {
        let candidates = [&open.unbound[..], &open.bound[..]].concat();
        if candidates.is_empty() {
            return Hold::NoTarget(open.refusals);
        }
        Hold::NoRoom { need, replicas, roomiest: self.candidates.roomiest(&candidates) }
    }
}

/// What is less of each resource; nothing is known of it as soon as nothing is known of one.
fn least(one: Option<Resources>, other: Option<Resources>) -> Option<Resources> {
    let (one, other) = (one?, other?);
    Some(Resources {
        cpu_millis: one.cpu_millis.min(other.cpu_millis),
        memory_bytes: one.memory_bytes.min(other.memory_bytes),
    })
}
