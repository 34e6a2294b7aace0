//! The rules *Restore*, *Apply* and *Sticky*: what a new decision under the same spec may do to the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::exchange::{Exchange, Member};
use super::rescues::{Forgotten, Rescues};
use super::{Amendment, Guard, GuardMode, Rule, Ruling};
use crate::domain::placement::Fleet;
use crate::domain::shares::Shares;
use crate::domain::span::short;
use crate::domain::subscription::{Placement, SubscriptionFacts};
use crate::domain::taint::{self, Fault};

/// A write may still be decided on our taint this long after the taint went: Clusternet's scheduler
/// was seen to be 15 s late, and a busy one has more to do.
const LATE_WRITE: Duration = Duration::from_secs(60);

impl<F: Fleet> Guard<'_, F> {
    /// Judges a write that leaves some cluster.
    pub(super) fn hold(&self, old: &Placement, new: &Placement, facts: &SubscriptionFacts) -> Ruling {
        if self.mode != GuardMode::Full || old.spec_hash != new.spec_hash {
            return Ruling::Pass;
        }
        let before: BTreeSet<&str> = old.clusters.iter().map(String::as_str).collect();
        let after: BTreeSet<&str> = new.clusters.iter().map(String::as_str).collect();
        let rescues = self.rescues(&before, &after, new.spec_hash, facts);
        let (was, written) = match (Shares::read(old), Shares::read(new)) {
            (Ok(was), Ok(written)) => (was, written),
            (Err(fault), _) => {
                return self.unfit(&before, &after, &rescues, facts, &format!("before the write, {fault}"));
            }
            (_, Err(fault)) => return self.unfit(&before, &after, &rescues, facts, &format!("in the write, {fault}")),
        };
        let held = self.held(was, &written, rescues, facts);
        if held.will == written {
            return Ruling::Pass;
        }
        let reasons = held.reasons();
        Ruling::Amend(Amendment { rule: held.rule, placement: held.will.write(new), reasons })
    }

    /// What becomes of a write of `written`, where `was` was before.
    fn held<'a>(
        &self,
        mut was: Shares<'a>,
        written: &Shares<'a>,
        mut rescues: Rescues<'a>,
        facts: &SubscriptionFacts,
    ) -> Held<'a> {
        rescues.settle(&mut was, facts.dividing);
        let mut will = written.clone();
        rescues.apply(&mut will);
        let forgotten = rescues.forgotten(&was, &will);
        let kept: Vec<(&str, Cause)> = was
            .clusters()
            .filter(|cluster| !will.has(cluster) && !forgotten.has(cluster))
            .filter(|cluster| !(self.may_be_left(cluster) && rescues.is_relieved(cluster, &will)))
            .filter_map(|cluster| Some((cluster, self.cause_of_drop(cluster, facts)?)))
            .collect();
        let places: BTreeMap<&str, &str> = forgotten
            .clusters
            .iter()
            .map(|(cluster, place)| (*cluster, *place))
            .chain(kept.iter().map(|(cluster, _)| (*cluster, *cluster)))
            .collect();
        let restored = places.iter().map(|(cluster, place)| Member { cluster, group: self.group(place, facts) });
        let added = will.clusters().filter(|cluster| !was.has(cluster) && !rescues.is_target(cluster));
        let added = added.map(|cluster| Member { cluster, group: self.group(cluster, facts) }).collect();
        let mut exchange = Exchange { restored: restored.collect(), added, was, will };
        let mut out = exchange.run(facts);
        let (swapped, swapped_out) =
            if self.sticky { self.swap_back(&mut exchange, &rescues, &forgotten, facts) } else { Default::default() };
        out.extend(swapped_out);
        let mut will = exchange.will;
        for (source, to) in forgotten.doubles {
            will.double(source, to);
        }
        rescues.apply(&mut will);
        let moved = rescues.reasons(written, &will);
        let rule = match (moved.is_empty(), kept.is_empty()) {
            (false, _) => Rule::Apply,
            (true, false) => Rule::Restore,
            (true, true) => Rule::Sticky,
        };
        Held { rule, will, moved, kept, swapped, out }
    }

    /// The rule *Sticky*: for each healthy cluster that was swapped, what the write added goes out.
    /// Returns who stays, and who goes.
    fn swap_back<'a>(
        &self,
        exchange: &mut Exchange<'a>,
        rescues: &Rescues<'a>,
        forgotten: &Forgotten<'a>,
        facts: &SubscriptionFacts,
    ) -> (Vec<&'a str>, BTreeSet<&'a str>) {
        let will = &exchange.will;
        exchange.added.retain(|member| will.has(member.cluster));
        let mut free: BTreeMap<usize, usize> = BTreeMap::new();
        exchange.added.iter().filter_map(|member| member.group).for_each(|group| *free.entry(group).or_default() += 1);
        let dropped = exchange.was.clusters().filter(|cluster| !will.has(cluster));
        let dropped = dropped.filter(|cluster| !forgotten.has(cluster) && !rescues.is_relieved(cluster, will));
        let healthy = dropped.filter(|cluster| self.is_usable(cluster, facts));
        let members = healthy.filter_map(|cluster| {
            let labels = &self.fleet.view(cluster)?.cluster.labels;
            facts.subscriber(labels).map(|_| Member { cluster, group: self.group(cluster, facts) })
        });
        exchange.restored = if facts.dividing {
            members.filter(|_| !exchange.added.is_empty()).collect()
        } else {
            let mut place =
                |group: Option<usize>| free.get_mut(&group?).filter(|free| **free > 0).map(|free| *free -= 1);
            members.filter(|member| place(member.group).is_some()).collect()
        };
        let out = if facts.dividing { exchange.by_replicas() } else { exchange.one_for_one() };
        (exchange.restored.iter().map(|member| member.cluster).collect(), out)
    }

    /// A write that cannot be read by cluster, and should have been amended.
    fn unfit(
        &self,
        before: &BTreeSet<&str>,
        after: &BTreeSet<&str>,
        rescues: &Rescues<'_>,
        facts: &SubscriptionFacts,
        fault: &str,
    ) -> Ruling {
        let mut dropped = before.difference(after).filter(|cluster| !rescues.leave(cluster));
        let kept = dropped.find(|cluster| self.cause_of_drop(cluster, facts).is_some());
        let wrong = kept.map(|cluster| format!("cannot keep cluster \"{cluster}\""));
        let wrong = wrong.or_else(|| rescues.objection(after));
        wrong.map_or(Ruling::Pass, |wrong| Ruling::Unfit(format!("{wrong}: {fault}")))
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

/// What becomes of a write, and why.
struct Held<'a> {
    rule: Rule,
    /// What is stored.
    will: Shares<'a>,
    /// What the rescues did.
    moved: Vec<String>,
    /// The clusters that our taint does not drop.
    kept: Vec<(&'a str, Cause)>,
    /// The healthy clusters that are not swapped.
    swapped: Vec<&'a str>,
    /// Additions that go out for one of these.
    out: BTreeSet<&'a str>,
}

impl Held<'_> {
    fn reasons(&self) -> Vec<String> {
        let kept = self
            .kept
            .iter()
            .map(|(cluster, cause)| format!("kept cluster \"{cluster}\": it was dropped only because of our {cause}"));
        let swapped = self.swapped.iter().map(|cluster| {
            format!("kept cluster \"{cluster}\": it is healthy, and was swapped for another under the same spec")
        });
        let left_out = self
            .out
            .iter()
            .map(|cluster| format!("left out cluster \"{cluster}\": it was added in place of one that stays"));
        self.moved.iter().cloned().chain(kept).chain(swapped).chain(left_out).collect()
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
