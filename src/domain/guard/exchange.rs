//! Who goes out, and who gives up replicas, when dropped clusters come back.

use std::collections::{BTreeMap, BTreeSet};

use super::Placement;

/// What each cluster has of each feed. One entry per cluster, sorted; nothing is negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shares<'a>(BTreeMap<&'a str, BTreeMap<&'a str, i32>>);

impl<'a> Shares<'a> {
    /// Reads a placement. Entries of the same cluster are added up.
    ///
    /// Fails, with a sentence's end, when a feed's replicas cannot be assigned to clusters.
    pub(super) fn read(placement: &'a Placement) -> Result<Self, String> {
        let mut shares: BTreeMap<&str, BTreeMap<&str, i32>> =
            placement.clusters.iter().map(|cluster| (cluster.as_str(), BTreeMap::new())).collect();
        for (feed, counts) in placement.replicas.iter().filter(|(_, counts)| !counts.is_empty()) {
            let (found, wanted) = (counts.len(), placement.clusters.len());
            if found != wanted {
                return Err(format!("the replicas of \"{feed}\" are {found} numbers for {wanted} clusters"));
            }
            for (cluster, count) in placement.clusters.iter().zip(counts) {
                let share = shares.entry(cluster).or_default().entry(feed).or_default();
                let sum = share.checked_add(*count).filter(|_| *count >= 0);
                *share = sum.ok_or_else(|| format!("the replicas of \"{feed}\" have the number {count}"))?;
            }
        }
        Ok(Self(shares))
    }

    /// The placement that gives these shares, with `like`'s feeds and specHash.
    pub(super) fn write(&self, like: &Placement) -> Placement {
        let column = |feed: &String| self.0.keys().map(|cluster| self.get(cluster, feed)).collect();
        let replicas = like.replicas.iter().map(|(feed, counts)| {
            let counts = if counts.is_empty() { Vec::new() } else { column(feed) };
            (feed.clone(), counts)
        });
        Placement {
            clusters: self.0.keys().map(ToString::to_string).collect(),
            replicas: replicas.collect(),
            desired_releases: i64::try_from(self.0.len()).ok(),
            spec_hash: like.spec_hash,
        }
    }

    /// Takes clusters out, with what they have.
    pub(super) fn remove(&mut self, clusters: &BTreeSet<&str>) {
        self.0.retain(|cluster, _| !clusters.contains(cluster));
    }

    /// What a cluster has of a feed.
    pub(super) fn get(&self, cluster: &str, feed: &str) -> i32 {
        self.0.get(cluster).and_then(|row| row.get(feed)).copied().unwrap_or(0)
    }

    fn set(&mut self, cluster: &'a str, feed: &'a str, count: i32) {
        self.0.entry(cluster).or_default().insert(feed, count);
    }

    fn has_nothing(&self, cluster: &str) -> bool {
        self.0.get(cluster).is_none_or(|row| row.values().all(|count| *count == 0))
    }
}

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
    /// Puts the dropped clusters back with what they had. All that plain Replication needs: every
    /// matching cluster is bound there, so an addition has nothing to do with a drop.
    pub(super) fn restore(&mut self) {
        for member in &self.restored {
            let row = self.was.0.get(member.cluster).cloned().unwrap_or_default();
            self.will.0.insert(member.cluster, row);
        }
    }

    /// Sub-groups: each has its number of clusters, so for one that comes back, an addition to the
    /// same sub-group goes out. Returns who goes out.
    pub(super) fn one_for_one(&mut self) -> BTreeSet<&'a str> {
        self.restore();
        let mut out = BTreeSet::new();
        for member in &self.restored {
            let rival = |added: &&Member| added.group == member.group && !out.contains(added.cluster);
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
        let feeds: BTreeSet<&str> = self.will.0.values().flat_map(|row| row.keys().copied()).collect();
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
        let stayed = self.will.0.keys().rev().filter(|cluster| self.was.0.contains_key(*cluster));
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
