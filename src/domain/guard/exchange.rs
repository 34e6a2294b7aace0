//! Who goes out, and who gives up replicas, when dropped clusters come back.

use std::collections::BTreeSet;

use crate::domain::shares::Shares;
use crate::domain::subscription::SubscriptionFacts;

/// A cluster and its sub-group, if it is in one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub(super) cluster: &'a str,
    pub(super) group: Option<usize>,
}

/// A write in which clusters are to come back.
pub(super) struct Exchange<'a> {
    /// The shares before the write.
    pub(super) was: Shares<'a>,
    /// Those in the write; at the end, those to store.
    pub(super) will: Shares<'a>,
    /// The clusters to come back, sorted.
    pub(super) restored: Vec<Member<'a>>,
    /// The clusters that the write added, sorted. Where one of several must go, it is the last.
    pub(super) added: Vec<Member<'a>>,
}

impl<'a> Exchange<'a> {
    /// Puts the dropped clusters back, by the Subscription's strategy. Returns who goes out.
    pub(super) fn run(&mut self, facts: &SubscriptionFacts) -> BTreeSet<&'a str> {
        match (facts.dividing, facts.by_sub_group) {
            (true, _) => self.by_replicas(),
            (false, true) => self.one_for_one(),
            (false, false) => {
                self.restore();
                BTreeSet::new()
            }
        }
    }

    /// Puts the dropped clusters back with what they had. All that plain Replication needs: every
    /// matching cluster is bound there, so an addition has nothing to do with a drop.
    fn restore(&mut self) {
        for member in &self.restored {
            self.will.copy(&self.was, member.cluster);
        }
    }

    /// Sub-groups: each has its number of clusters, so for one that comes back, an addition to the
    /// same sub-group goes out. Returns who goes out.
    pub(super) fn one_for_one(&mut self) -> BTreeSet<&'a str> {
        self.restore();
        let mut out = BTreeSet::new();
        for member in &self.restored {
            let same_group = |added: &Member| added.group.is_some() && added.group == member.group;
            let rival = |added: &&Member| same_group(added) && !out.contains(added.cluster);
            let rival = self.added.iter().rev().find(rival).map(|added| added.cluster);
            out.extend(rival);
        }
        self.will.remove(&out);
        out
    }

    /// Dividing: each feed's sum stays that of the write. Whoever comes back gets its old share,
    /// at the cost of the additions (of its own sub-group first), then of what the others have more
    /// than before; what is still missing after that, it does not get. Returns who goes out: the
    /// additions that nothing is left for.
    pub(super) fn by_replicas(&mut self) -> BTreeSet<&'a str> {
        let feeds: BTreeSet<&str> = self.will.feeds();
        self.restore();
        let mut payers = BTreeSet::new();
        for feed in feeds {
            let mut sources = self.sources(feed);
            let mut dues: Vec<i32> = self.restored.iter().map(|member| self.was.get(member.cluster, feed)).collect();
            for own_group in [true, false] {
                for (member, due) in self.restored.iter().zip(&mut dues) {
                    for source in sources.iter_mut().filter(|source| !own_group || source.group == member.group) {
                        let part = (*due).min(source.available);
                        (*due, source.available, source.paid) =
                            (*due - part, source.available - part, source.paid + part);
                    }
                }
            }
            for source in sources.iter().filter(|source| source.paid > 0) {
                payers.insert(source.cluster);
                let left = self.will.get(source.cluster, feed) - source.paid;
                self.will.set(source.cluster, feed, left);
            }
            for (member, missing) in self.restored.iter().zip(dues) {
                let share = self.was.get(member.cluster, feed) - missing;
                self.will.set(member.cluster, feed, share);
            }
        }
        let added = self.added.iter().map(|member| member.cluster);
        let out = added.filter(|cluster| payers.contains(cluster) && self.will.has_nothing(cluster)).collect();
        self.will.remove(&out);
        out
    }

    /// Who can give up replicas of a feed, in this order: the additions, then those with more than before.
    fn sources(&self, feed: &str) -> Vec<Source<'a>> {
        let added = self.added.iter().rev();
        let added = added.map(|member| Source::new(member.cluster, member.group, self.will.get(member.cluster, feed)));
        let stayed = self.will.clusters().rev().filter(|cluster| self.was.has(cluster));
        let grown = stayed.map(|cluster| {
            let growth = self.will.get(cluster, feed).saturating_sub(self.was.get(cluster, feed));
            Source::new(cluster, None, growth.max(0))
        });
        added.chain(grown).collect()
    }
}

/// A cluster that can give up replicas of one feed.
struct Source<'a> {
    cluster: &'a str,
    group: Option<usize>,
    available: i32,
    paid: i32,
}

impl<'a> Source<'a> {
    fn new(cluster: &'a str, group: Option<usize>, available: i32) -> Self {
        Self { cluster, group, available, paid: 0 }
    }
}
