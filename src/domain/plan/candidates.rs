//! Which clusters may take a Subscription, and which of them is the best.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::{Leaving, Refusals, Site, Workload};
use crate::domain::cluster::{ClusterKey, Resources};
use crate::domain::selector::Selector;
use crate::domain::taint::{self, Toleration};

/// A cluster that is meant, by its place among the sites.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) place: usize,
    /// Outside the sub-group, by the spare selector alone: the second choice.
    outside: bool,
}

/// Who may take a Subscription.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Clusters that do not run it yet.
    pub(super) unbound: Vec<Candidate>,
    /// Dividing: those that do, and may run more of it.
    pub(super) bound: Vec<Candidate>,
    pub(super) refusals: Refusals,
}

/// What decides which clusters are meant: many Subscriptions have it in common.
#[derive(PartialEq, Eq, Hash)]
struct Class<'a> {
    affinities: &'a [Selector],
    group: Option<usize>,
    spares: Option<&'a Selector>,
    tolerations: &'a [Toleration],
}

/// The clusters that a class means; whether each takes something new.
type Matching = Rc<Vec<(Candidate, bool)>>;

pub(super) struct Candidates<'a> {
    sites: Vec<Site>,
    places: BTreeMap<ClusterKey, usize>,
    leaving: &'a Leaving,
    classes: HashMap<Class<'a>, Matching>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(mut sites: Vec<Site>, leaving: &'a Leaving) -> Self {
        sites.sort_by(|one, other| one.view.key().cmp(other.view.key()));
        let places = sites.iter().enumerate().map(|(place, site)| (site.view.key().clone(), place)).collect();
        Self { sites, places, leaving, classes: HashMap::new() }
    }

    pub(super) fn key(&self, place: usize) -> &ClusterKey {
        self.sites[place].view.key()
    }

    pub(super) fn reserve(&mut self, place: usize, need: Resources) {
        self.sites[place].headroom.reserve(need);
    }

    /// One Subscription more is going to run there.
    pub(super) fn bind(&mut self, place: usize) {
        self.sites[place].headroom.bindings += 1;
    }

    pub(super) fn fits(&self, place: usize, need: Resources, most: i32) -> i32 {
        self.sites[place].headroom.fits(need, most)
    }

    /// Who may take what a Subscription has on `from`, except at the places `taken`.
    pub(super) fn open(&mut self, workload: &'a Workload, from: &ClusterKey, taken: &[usize]) -> Open {
        let matching = self.matching(workload, from);
        let bound = |cluster: &String| self.places.get(cluster.as_str()).copied();
        let mut bound: Vec<usize> = workload.placement.clusters.iter().filter_map(bound).collect();
        bound.sort_unstable();
        let from = self.places.get(from);
        let mut open = Open::default();
        for (candidate, takes) in matching.iter().filter(|(candidate, _)| Some(&candidate.place) != from) {
            open.refusals.matching += 1;
            let runs = bound.binary_search(&candidate.place).is_ok();
            if !takes {
                open.refusals.closed += 1;
            } else if taken.contains(&candidate.place) || (runs && !workload.facts.dividing) {
                open.refusals.bound += 1;
            } else if runs {
                open.bound.push(*candidate);
            } else {
                open.unbound.push(*candidate);
            }
        }
        open
    }

    /// The best of them for something that asks for `need`: one of the sub-group before one outside,
    /// a spare before others, then the one with the most room; when nobody knows what is asked for,
    /// the one with the fewest Subscriptions.
    pub(super) fn best(&self, candidates: &[Candidate], need: Option<Resources>) -> Option<usize> {
        let fits = |candidate: &&Candidate| need.is_none_or(|need| self.fits(candidate.place, need, 1) == 1);
        let best = candidates.iter().filter(fits).min_by(|one, other| self.compare(one, other, need.is_some()));
        best.map(|candidate| candidate.place)
    }

    fn compare(&self, one: &Candidate, other: &Candidate, known: bool) -> Ordering {
        let (a, b) = (&self.sites[one.place], &self.sites[other.place]);
        let room = if known { b.headroom.share().total_cmp(&a.headroom.share()) } else { Ordering::Equal };
        (one.outside, !a.view.cluster.is_spare())
            .cmp(&(other.outside, !b.view.cluster.is_spare()))
            .then(room)
            .then(a.headroom.bindings.cmp(&b.headroom.bindings))
            .then(one.place.cmp(&other.place))
    }

    /// The one with the most room, and that room.
    pub(super) fn roomiest(&self, candidates: &[Candidate]) -> Option<(ClusterKey, Resources)> {
        let sites = candidates.iter().map(|candidate| &self.sites[candidate.place]);
        let most = sites.max_by(|one, other| one.headroom.share().total_cmp(&other.headroom.share()))?;
        Some((most.view.key().clone(), most.headroom.free()?))
    }

    fn matching(&mut self, workload: &'a Workload, from: &ClusterKey) -> Matching {
        let facts = &workload.facts;
        let labels = self.places.get(from).map(|place| &self.sites[*place].view.cluster.labels);
        let group = labels.filter(|_| facts.by_sub_group).and_then(|labels| facts.subscriber(labels));
        let class = Class {
            affinities: &facts.affinities,
            group,
            spares: workload.spares.as_ref(),
            tolerations: &facts.tolerations,
        };
        if let Some(matching) = self.classes.get(&class) {
            return Rc::clone(matching);
        }
        let candidates = self.sites.iter().enumerate().filter_map(|(place, site)| {
            let labels = &site.view.cluster.labels;
            let own = match group {
                Some(group) => facts.subscriber(labels) == Some(group),
                None => facts.subscriber(labels).is_some(),
            };
            let meant = own || class.spares.is_some_and(|spares| spares.matches(labels));
            meant.then(|| (Candidate { place, outside: !own }, self.takes(site, &facts.tolerations)))
        });
        let matching: Matching = Rc::new(candidates.collect());
        self.classes.insert(class, Rc::clone(&matching));
        matching
    }

    /// Whether a cluster takes something new that tolerates this.
    fn takes(&self, site: &Site, tolerations: &[Toleration]) -> bool {
        let repels = |taint: &taint::Taint| taint.effect.repels() && !taint::tolerated(taint, tolerations);
        site.view.health.schedulable()
            && !self.leaving.contains_key(site.view.key())
            && !site.view.cluster.taints.iter().any(repels)
    }
}
