//! Which recorded rescues count for a write, and what they make of a placement.
//!
//! A rescue says that `to` has the part of `from`, or of `home` where it ran before that. The
//! guard keeps what the migrator made of it, and itself finishes only a move off a cluster that
//! nobody hears from. A cluster that is heard from is left by the migrator's own write, when `to`
//! runs: until then both have the part. On the way home (`to` is `home`) the rescue itself must go
//! before `from` may, because a scheduler that knows nothing of it would write the same.

use std::collections::{BTreeMap, BTreeSet};

use super::Guard;
use crate::domain::health::Verdict;
use crate::domain::placement::Fleet;
use crate::domain::rescue::Rescue;
use crate::domain::shares::Shares;
use crate::domain::subscription::SubscriptionFacts;
use crate::domain::taint;

/// The rescues that count for one write.
pub(super) struct Rescues<'a> {
    /// Those under whose `to` the part is, or will be when the write is stored.
    active: Vec<&'a Rescue>,
    /// Those that have yet to move their part off a spare, which a scheduler knows nothing of.
    waiting: Vec<&'a Rescue>,
    /// The clusters that nobody hears from.
    abandoned: BTreeSet<&'a str>,
    /// The clusters that stay out: all that the write gives them is for those that stand in.
    left: BTreeSet<&'a str>,
}

/// What a write forgot of the rescues.
#[derive(Default)]
pub(super) struct Forgotten<'a> {
    /// Clusters to come back, each with the one whose sub-group it counts in.
    pub(super) clusters: BTreeMap<&'a str, &'a str>,
    /// `to`s to come back besides the cluster that they are to relieve, with as much as that has.
    pub(super) doubles: Vec<(&'a str, &'a str)>,
}

impl Forgotten<'_> {
    /// Whether a cluster comes back for a rescue.
    pub(super) fn has(&self, cluster: &str) -> bool {
        self.clusters.contains_key(cluster) || self.doubles.iter().any(|(_, to)| *to == cluster)
    }
}

/// The clusters that a rescue's part was on before, the last one first.
fn sources(rescue: &Rescue) -> impl Iterator<Item = &str> {
    let home = Some(&rescue.home).filter(|home| **home != rescue.from && **home != rescue.to);
    std::iter::once(&rescue.from).chain(home).map(|key| key.as_str())
}

impl<F: Fleet> Guard<'_, F> {
    /// Those of a Subscription that count for a write from `before` to `after` under this specHash.
    pub(super) fn rescues<'a>(
        &self,
        before: &BTreeSet<&str>,
        after: &BTreeSet<&str>,
        spec_hash: Option<i64>,
        facts: &'a SubscriptionFacts,
    ) -> Rescues<'a> {
        let recorded: Vec<&Rescue> = facts.rescues.iter().filter(|rescue| rescue.spec_hash == spec_hash).collect();
        let standing = || recorded.iter().copied().filter(|rescue| !self.fleet.gone(rescue.to.as_str()));
        let abandoned = standing().flat_map(|rescue| sources(rescue).chain([rescue.to.as_str()]));
        let abandoned: BTreeSet<&str> = abandoned.filter(|cluster| self.is_abandoned(cluster)).collect();
        let begun = |rescue: &&Rescue| before.contains(rescue.to.as_str()) || self.finishes(rescue, before, facts);
        let begun: Vec<&Rescue> = standing().filter(begun).collect();
        // A spare that died in its turn: what moves its part on moves all of it.
        let moves_on = |to: &str| begun.iter().any(|other| sources(other).any(|source| source == to));
        let placed = |to: &str| after.contains(to) || begun.iter().any(|other| other.to.as_str() == to);
        let counts = |to: &str| placed(to) && !(abandoned.contains(to) && moves_on(to));
        let active: Vec<&Rescue> = standing().filter(|rescue| counts(rescue.to.as_str())).collect();
        let waits = |rescue: &&Rescue| rescue.from != rescue.home && !self.fleet.gone(rescue.from.as_str());
        let waiting = recorded.iter().copied().filter(waits).collect();
        let mut rescues = Rescues { active, waiting, abandoned, left: BTreeSet::new() };
        let whole = rescues.active.iter().filter(|rescue| rescue.replicas.is_none());
        rescues.left = whole
            .flat_map(|rescue| sources(rescue))
            .filter(|source| rescues.abandoned.contains(source) || !before.contains(source))
            .filter(|source| !rescues.is_target(source))
            .collect();
        rescues
    }

    /// Whether a move that has not begun is to be finished here: nothing of it is left to wait for.
    fn finishes(&self, rescue: &Rescue, before: &BTreeSet<&str>, facts: &SubscriptionFacts) -> bool {
        let home = rescue.home.as_str();
        let home_has_it = before.contains(home) && !self.is_abandoned(home);
        self.is_abandoned(rescue.from.as_str()) && !home_has_it && self.is_usable(rescue.to.as_str(), facts)
    }

    /// Whether what runs on a cluster may be taken for lost. Never while failover is off.
    fn is_abandoned(&self, cluster: &str) -> bool {
        let silent = |verdict| matches!(verdict, Verdict::Lost | Verdict::NeverReported);
        let view = self.fleet.view(cluster);
        self.failover && view.map_or_else(|| self.fleet.gone(cluster), |view| silent(view.health.standing()))
    }

    /// Whether a scheduler might choose the cluster, as far as verdict and taints go.
    pub(super) fn is_usable(&self, cluster: &str, facts: &SubscriptionFacts) -> bool {
        self.fleet.view(cluster).is_some_and(|view| {
            let verdict = view.health.fault().map(|fault| fault.taint(self.taint_key));
            let mut taints = view.cluster.taints.iter().chain(&verdict);
            taints.all(|taint| !taint.effect.repels() || taint::tolerated(taint, &facts.tolerations))
        })
    }

    /// Whether a cluster is heard from, and may lose what it no longer has to run. Not while its
    /// agent says NotReady: the deployer would forget what runs there.
    pub(super) fn may_be_left(&self, cluster: &str) -> bool {
        let heard = |verdict| matches!(verdict, Verdict::Ready | Verdict::Late | Verdict::Recovering);
        self.failover && self.fleet.view(cluster).is_some_and(|view| heard(view.health.standing()))
    }
}

impl<'a> Rescues<'a> {
    /// Finishes the moves in the placement before the write: what the write is compared with.
    pub(super) fn settle(&mut self, was: &mut Shares<'a>, dividing: bool) {
        let emptied = self.hand_over_counted(was, |source| self.abandoned.contains(source));
        was.remove(&emptied);
        let partial = self.active.iter().filter(|rescue| rescue.replicas.is_some());
        let out = partial.flat_map(|rescue| sources(rescue));
        let out: Vec<&str> = out.filter(|source| !was.has(source) && !self.is_target(source)).collect();
        self.left.extend(out);
        self.hand_over_all(was);
        let whole = self.active.iter().filter(|rescue| rescue.replicas.is_none() && !dividing);
        whole.for_each(|rescue| was.ensure(rescue.to.as_str()));
    }

    /// Finishes the moves in the placement to be stored.
    pub(super) fn apply(&self, will: &mut Shares<'a>) {
        self.hand_over_counted(will, |_| true);
        self.hand_over_all(will);
    }

    /// What the write forgot of moves that are finished, or under way.
    pub(super) fn forgotten(&self, was: &Shares<'a>, will: &Shares<'a>) -> Forgotten<'a> {
        let mut forgotten = Forgotten::default();
        for rescue in &self.waiting {
            let (from, to) = (rescue.from.as_str(), rescue.to.as_str());
            let arrived = will.has(to) && self.is_target(to) && rescue.to != rescue.home;
            if was.has(from) && !will.has(from) && !arrived {
                forgotten.clusters.insert(from, rescue.home.as_str());
            }
        }
        for rescue in &self.active {
            let to = rescue.to.as_str();
            let lacks_to = was.has(to) && !will.has(to);
            let source = sources(rescue).find(|source| was.has(source));
            if !lacks_to {
                continue;
            }
            if let Some(source) = source.filter(|source| !will.has(source)) {
                forgotten.clusters.insert(source, rescue.home.as_str());
            }
            match source {
                Some(source) if rescue.replicas.is_none() => forgotten.doubles.push((source, to)),
                _ => _ = forgotten.clusters.insert(to, rescue.home.as_str()),
            }
        }
        forgotten
    }

    /// Whether the part of a cluster is on another one in this placement.
    pub(super) fn is_relieved(&self, cluster: &str, will: &Shares<'a>) -> bool {
        let relieves = |rescue: &&&Rescue| sources(rescue).any(|source| source == cluster);
        self.active.iter().filter(relieves).any(|rescue| will.has(rescue.to.as_str()))
    }

    /// Why the rescues make a write that cannot be read by cluster a wrong one, if they do.
    pub(super) fn objection(&self, after: &BTreeSet<&str>) -> Option<String> {
        let missing = self.active.iter().map(|rescue| rescue.to.as_str()).find(|to| !after.contains(to));
        let back = || self.left.iter().find(|cluster| after.contains(**cluster));
        let keep = missing.map(|to| format!("cannot keep cluster \"{to}\""));
        keep.or_else(|| Some(format!("cannot leave out cluster \"{}\"", back()?)))
    }

    /// Whether a cluster's whole part is elsewhere.
    pub(super) fn leave(&self, cluster: &str) -> bool {
        self.left.contains(cluster)
    }

    /// What the rescues made of the write, for people.
    pub(super) fn reasons(&self, written: &Shares<'a>, will: &Shares<'a>) -> Vec<String> {
        let mut reasons = Vec::new();
        for rescue in &self.waiting {
            let (from, to, failover) = (rescue.from.as_str(), &rescue.to, &rescue.failover);
            if !written.has(from) && will.has(from) && !self.is_target(from) {
                reasons.push(format!(
                    "kept cluster \"{from}\": its move to \"{to}\" is not finished (Failover {failover})"
                ));
            }
        }
        for rescue in &self.active {
            let (to, home, failover) = (rescue.to.as_str(), &rescue.home, &rescue.failover);
            let known = reasons.len();
            if !written.has(to) && will.has(to) {
                let task = if rescue.to == *home { "what ran there returns from" } else { "it stands in for" };
                let whom = if rescue.to == *home { &rescue.from } else { home };
                reasons.push(format!("kept cluster \"{to}\": {task} \"{whom}\" (Failover {failover})"));
            }
            for source in sources(rescue) {
                match (written.has(source), will.has(source)) {
                    (true, false) => reasons.push(format!(
                        "left out cluster \"{source}\": cluster \"{to}\" stands in for it (Failover {failover})"
                    )),
                    (false, true) if *source == *home.as_str() && !self.is_target(source) => reasons.push(format!(
                        "kept cluster \"{source}\": its move to \"{to}\" is not finished (Failover {failover})"
                    )),
                    _ => {}
                }
            }
            let feeds = rescue.replicas.iter().flatten().map(|(feed, _)| feed);
            if reasons.len() == known && feeds.clone().any(|feed| will.get(to, feed) != written.get(to, feed)) {
                reasons.push(format!(
                    "gave cluster \"{to}\" the replicas that it runs for \"{home}\" (Failover {failover})"
                ));
            }
        }
        reasons
    }

    /// Whether a rescue runs its part there.
    pub(super) fn is_target(&self, cluster: &str) -> bool {
        self.active.iter().any(|rescue| rescue.to.as_str() == cluster)
    }

    /// Dividing: gives each `to` the replicas that its rescues name, if it has fewer. Returns who
    /// gave its last ones.
    fn hand_over_counted(&self, shares: &mut Shares<'a>, gives: impl Fn(&str) -> bool) -> BTreeSet<&'a str> {
        let mut promised: BTreeMap<(&str, &str), i32> = BTreeMap::new();
        let mut givers = BTreeSet::new();
        for rescue in &self.active {
            for (feed, count) in rescue.replicas.iter().flatten() {
                let to = rescue.to.as_str();
                let sum = promised.entry((to, feed)).or_default();
                *sum = sum.saturating_add(*count);
                for source in sources(rescue).filter(|source| gives(source)) {
                    let due = sum.saturating_sub(shares.get(to, feed));
                    let part = due.min(shares.get(source, feed));
                    if part > 0 {
                        shares.set(source, feed, shares.get(source, feed) - part);
                        shares.set(to, feed, shares.get(to, feed).saturating_add(part));
                        givers.insert(source);
                    }
                }
            }
        }
        givers.retain(|giver| shares.has_nothing(giver));
        givers
    }

    /// Takes out the clusters that stay out, and gives what they have to those that stand in.
    fn hand_over_all(&self, shares: &mut Shares<'a>) {
        for rescue in &self.active {
            let to = rescue.to.as_str();
            for source in sources(rescue).filter(|source| self.left.contains(source)) {
                if shares.has(source) {
                    shares.hand_over(source, to);
                }
            }
        }
    }
}
