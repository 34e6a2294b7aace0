//! A placement turned around: what each cluster has of each feed.

use std::collections::{BTreeMap, BTreeSet};

use super::subscription::Placement;

/// What each cluster has of each feed. One entry per cluster, sorted; nothing is negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares<'a>(BTreeMap<&'a str, BTreeMap<&'a str, i32>>);

impl<'a> Shares<'a> {
    /// Reads a placement. Entries of the same cluster are added up.
    ///
    /// Fails, with a sentence's end, when a feed's replicas cannot be assigned to clusters.
    pub fn read(placement: &'a Placement) -> Result<Self, String> {
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
    pub fn write(&self, like: &Placement) -> Placement {
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
    pub fn remove(&mut self, clusters: &BTreeSet<&str>) {
        self.0.retain(|cluster, _| !clusters.contains(cluster));
    }

    /// What a cluster has of a feed.
    pub fn get(&self, cluster: &str, feed: &str) -> i32 {
        self.0.get(cluster).and_then(|row| row.get(feed)).copied().unwrap_or(0)
    }

    /// Sets what a cluster has of a feed; the cluster is there from now on.
    pub fn set(&mut self, cluster: &'a str, feed: &'a str, count: i32) {
        self.0.entry(cluster).or_default().insert(feed, count);
    }

    /// A cluster is there from now on, perhaps with nothing.
    pub fn ensure(&mut self, cluster: &'a str) {
        self.0.entry(cluster).or_default();
    }

    /// Gives a cluster, which is there from now on, as much again as another one has.
    pub fn double(&mut self, other: &str, cluster: &'a str) {
        self.ensure(cluster);
        for feed in self.feeds() {
            self.set(cluster, feed, self.get(cluster, feed).saturating_add(self.get(other, feed)));
        }
    }

    /// Gives a cluster, which is there from now on, all that another one has. That one is no longer there.
    pub fn hand_over(&mut self, other: &str, cluster: &'a str) {
        self.double(other, cluster);
        self.0.remove(other);
    }

    /// Whether a cluster has none of any feed.
    pub fn has_nothing(&self, cluster: &str) -> bool {
        self.0.get(cluster).is_none_or(|row| row.values().all(|count| *count == 0))
    }

    /// Gives a cluster what it has in `other`, and nothing else.
    pub fn copy(&mut self, other: &Self, cluster: &'a str) {
        self.0.insert(cluster, other.0.get(cluster).cloned().unwrap_or_default());
    }

    /// Whether a cluster is there, perhaps with nothing.
    pub fn has(&self, cluster: &str) -> bool {
        self.0.contains_key(cluster)
    }

    /// The clusters, sorted.
    pub fn clusters(&self) -> impl DoubleEndedIterator<Item = &'a str> {
        self.0.keys().copied()
    }

    /// The feeds that have replicas to count.
    pub fn feeds(&self) -> BTreeSet<&'a str> {
        self.0.values().flat_map(|row| row.keys().copied()).collect()
    }
}
