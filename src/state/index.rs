//! The one owner of what we know: events go in, writes and notices come out.
//!
//! Invariant: synchronous and without a clock. Whatever it decides, a test can make it decide again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::brake::{self, Cause};
use crate::domain::cluster::{Cluster, ClusterKey};
use crate::domain::health::Health;
use crate::domain::node::Home;
use crate::domain::placement::ClusterView;
use crate::domain::sight::{Moment, Sight};

use super::action::{Action, Event, Notice, Outcome, Subject, Target, Topic, Write};
use super::entry::{Context, Entry, Source};
use super::inquiry::Inquiry;
use super::nodes::Nodes;
use super::pacer::Pacer;
use super::policy::Policy;
use super::snapshot::{BrakeView, NodeHome, Snapshot, Undecodable};
use super::version::newer;

/// Snapshots that only bring new ages are published this often; what the doors decide by, at once.
const CALM_PUBLICATION: Duration = Duration::from_secs(1);
/// The brake's record is rewritten at most this often while it is on.
const BRAKE_PACE: Duration = Duration::from_secs(5);

/// What we know of the fleet.
#[derive(Debug)]
pub struct Index {
    policy: Arc<Policy>,
    sight: Sight,
    inquiry: Inquiry,
    leading: bool,
    clusters: BTreeMap<ClusterKey, Entry>,
    clusters_listed: bool,
    nodes: Nodes,
    nodes_listed: bool,
    undecodable: BTreeMap<String, Undecodable>,
    brake: Option<BrakeView>,
    /// Clusters that an earlier leader's brake named, until they had time to beat.
    inherited: BTreeSet<ClusterKey>,
    /// Before that, writing ours would erase it.
    brake_record_read: bool,
    brake_pacer: Pacer<Vec<ClusterKey>>,
    homes: Arc<HashMap<Box<str>, NodeHome>>,
    beats: u64,
    urgent: bool,
    /// When the last snapshot was published, and whether we were blind.
    published: Option<(Instant, bool)>,
}

impl Index {
    /// Knows nothing yet, and is blind until the first list.
    pub fn new(now: Instant, policy: Arc<Policy>) -> Self {
        Self {
            policy,
            sight: Sight::new(now),
            inquiry: Inquiry::default(),
            leading: false,
            clusters: BTreeMap::new(),
            clusters_listed: false,
            nodes: Nodes::default(),
            nodes_listed: false,
            undecodable: BTreeMap::new(),
            brake: None,
            inherited: BTreeSet::new(),
            brake_record_read: false,
            brake_pacer: Pacer::new(),
            homes: Arc::default(),
            beats: 0,
            urgent: false,
            published: None,
        }
    }

    /// Takes in one event that happened at `now`, and says what follows.
    ///
    /// Beats count at once; silence is judged, and writes are planned, on [`Event::Tick`].
    pub fn apply(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let moment = self.sight.look(now);
        let mut actions = Vec::new();
        match event {
            Event::Tick => self.tick(now, moment, &mut actions),
            Event::Leading(leading) => self.set_leading(leading),
            Event::BrakeFound(clusters) => {
                self.inherited = clusters.into_iter().collect();
                self.brake_record_read = true;
            }
            Event::ClusterWatchBroke => {
                self.sight.lose();
            }
            Event::ClustersListed(listed) => {
                self.sight.regain(now);
                self.list_clusters(listed, moment, &mut actions);
            }
            Event::ClusterApplied(observed) => {
                let moment = self.sight.hear();
                match observed {
                    Ok(cluster) => self.observe(cluster, Source::Watch, moment, &mut actions),
                    Err(undecodable) => self.mark_undecodable(undecodable, moment),
                }
            }
            Event::ClusterDeleted(key) => {
                self.sight.hear();
                self.forget_cluster(&key);
            }
            Event::ClusterRead(cluster) => {
                // An answer may come after its object went, or was garbled: only the watch says what is.
                let known = self.clusters.get(&cluster.key).filter(|entry| entry.cluster.uid == cluster.uid);
                if known.is_some_and(|entry| entry.readable) {
                    self.observe(cluster, Source::Read, moment, &mut actions);
                }
            }
            Event::NodesListed(nodes) => {
                self.nodes.list(nodes);
                self.nodes_listed = true;
            }
            Event::NodeApplied(node) => self.nodes.apply(node),
            Event::NodeRead(node) => {
                if self.nodes.knows(&node) {
                    self.nodes.apply(node);
                }
            }
            Event::NodeDeleted(name) => self.nodes.delete(&name),
            Event::Wrote(target, outcome) => self.wrote(&target, outcome, now),
            Event::Answered(number) => {
                if let Some((asked, then)) = self.inquiry.answered(number) {
                    self.sight.answered(asked, then);
                    let moment = self.sight.look(now);
                    self.tick(now, moment, &mut actions);
                }
            }
        }
        actions
    }

    fn list_clusters(&mut self, listed: Vec<Result<Cluster, Undecodable>>, moment: Moment, actions: &mut Vec<Action>) {
        let mut gone: BTreeSet<ClusterKey> = self.clusters.keys().cloned().collect();
        self.undecodable.clear();
        for observed in listed {
            match observed {
                Ok(cluster) => {
                    gone.remove(&cluster.key);
                    self.observe(cluster, Source::List, moment, actions);
                }
                Err(undecodable) => {
                    gone.remove(undecodable.key.as_str());
                    self.mark_undecodable(undecodable, moment);
                }
            }
        }
        for key in gone {
            self.forget_cluster(&key);
        }
        self.clusters_listed = true;
        self.urgent = true;
    }

    /// Takes in one version of a cluster.
    fn observe(&mut self, cluster: Cluster, source: Source, now: Moment, actions: &mut Vec<Action>) {
        let policy = Arc::clone(&self.policy);
        self.undecodable.remove(cluster.key.as_str());
        let same = self.clusters.get_mut(&cluster.key).filter(|entry| entry.cluster.uid == cluster.uid);
        let Some(entry) = same else {
            let entry = Entry::new(cluster, now, &policy.taint_key, &policy.health);
            self.clusters.insert(entry.cluster.key.clone(), entry);
            self.nodes.set_stale();
            self.urgent = true;
            return;
        };
        // Our own reads run ahead of the watch, which then repeats what is older.
        if source != Source::List && !newer(&cluster.resource_version, &entry.cluster.resource_version) {
            return;
        }
        let before = &entry.cluster;
        let renamed = before.labels != cluster.labels || before.cluster_id != cluster.cluster_id;
        let steered = renamed || before.taints != cluster.taints;
        self.beats += u64::from(before.stamp != cluster.stamp);
        let changed = entry.observe(cluster, source, self.leading, now, &policy.taint_key, &policy.health);
        if changed {
            actions.push(entry.verdict_notice(now, &policy.health));
        }
        if renamed {
            self.nodes.set_stale();
        }
        self.urgent |= steered || changed;
    }

    fn mark_undecodable(&mut self, undecodable: Undecodable, now: Moment) {
        if let Some(entry) = self.clusters.get_mut(undecodable.key.as_str()) {
            entry.set_readable(now, false);
        }
        self.undecodable.insert(undecodable.key.clone(), undecodable);
        self.urgent = true;
    }

    fn forget_cluster(&mut self, key: &ClusterKey) {
        self.undecodable.remove(key.as_str());
        if self.clusters.remove(key).is_some() {
            self.nodes.set_stale();
            self.urgent = true;
        }
    }

    fn set_leading(&mut self, leading: bool) {
        self.leading = leading;
        self.brake_pacer = Pacer::new();
        self.nodes.forget_writes();
        for entry in self.clusters.values_mut() {
            entry.forget_writes();
        }
    }

    fn wrote(&mut self, target: &Target, outcome: Outcome, now: Instant) {
        match target {
            Target::Taints(key) | Target::Condition(key) => {
                if let Some(entry) = self.clusters.get_mut(key) {
                    entry.wrote(target, outcome, now);
                }
            }
            Target::Node(name) => self.nodes.wrote(name, outcome, now),
            Target::Brake => self.brake_pacer.ended(outcome, now),
        }
    }

    /// Judges silence up to the last sign of life, and plans the writes that are due.
    fn tick(&mut self, now: Instant, moment: Moment, actions: &mut Vec<Action>) {
        let policy = Arc::clone(&self.policy);
        if self.nodes.settle(self.clusters.values().map(|entry| &*entry.cluster), &policy) {
            self.urgent = true;
        }
        if self.clusters.is_empty() {
            // There is no silence to misread.
            self.sight.hear();
        }
        actions.extend(self.inquiry.ask(&self.clusters, &self.sight, &policy.health, now, moment));
        if self.sight.is_blind() {
            return;
        }
        let sign = self.sight.last_sign();
        self.brake(sign, actions);
        let braked = self.brake.is_some();
        for entry in self.clusters.values_mut() {
            if entry.judge(sign, moment, braked, &policy.health) {
                self.urgent = true;
                actions.push(entry.verdict_notice(sign, &policy.health));
            }
        }
        if self.leading && self.nodes_listed {
            self.plan_writes(now, sign, actions);
        }
    }

    fn brake(&mut self, moment: Moment, actions: &mut Vec<Action>) {
        let cause = self.brake_cause(moment);
        let clusters = if cause.is_some() { self.failing(moment) } else { Vec::new() };
        let before = self.brake.take();
        let notice = match (&before, cause) {
            (None, Some(cause)) => Some((Topic::BrakeOn, format!("the brake is on: {cause}"))),
            (Some(_), None) => Some((Topic::BrakeOff, "the brake let go".to_owned())),
            _ => None,
        };
        self.brake = cause.map(|cause| {
            let since = before.map_or(moment, |before| before.since);
            BrakeView { cause, since, clusters }
        });
        if let Some((topic, text)) = notice {
            self.urgent = true;
            actions.push(Action::Tell(Notice { subject: Subject::Fleet, topic, text }));
        }
    }

    fn brake_cause(&mut self, moment: Moment) -> Option<Cause> {
        let waits = |health: &Health| health.last_beat().is_none() && health.age(moment) <= health.late_limit();
        let clusters = &self.clusters;
        self.inherited.retain(|key| clusters.get(key).is_some_and(|entry| waits(&entry.health)));
        let fleet = self.clusters.values().map(|entry| &entry.health);
        let waiting = self.inherited.len();
        brake::assess(fleet, moment, &self.policy.health)
            .or_else(|| (waiting > 0).then_some(Cause::Inherited { waiting }))
    }

    /// The clusters that the brake is on for.
    fn failing(&self, moment: Moment) -> Vec<ClusterKey> {
        let failing =
            |entry: &Entry| brake::newly_silent(&entry.health, moment) || brake::newly_not_ready(&entry.health, moment);
        let named = self.clusters.iter().filter(|(key, entry)| failing(entry) || self.inherited.contains(*key));
        named.map(|(key, _)| key.clone()).collect()
    }

    fn plan_writes(&mut self, now: Instant, moment: Moment, actions: &mut Vec<Action>) {
        let policy = Arc::clone(&self.policy);
        let context =
            Context { now, moment, braked: self.brake.is_some(), taint_key: &policy.taint_key, health: &policy.health };
        self.record_brake(now, actions);
        actions.extend(self.nodes.take_untold().into_iter().map(Action::Tell));
        let nodes_dirty = self.nodes.take_dirty();
        for entry in self.clusters.values_mut() {
            let dirty = entry.dirty;
            if dirty {
                entry.due(&context, actions);
            }
            if entry.readable && (dirty || nodes_dirty) {
                self.nodes.due(entry, dirty, &context, actions);
            }
        }
    }

    fn record_brake(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let clusters = self.brake.as_ref().map(|brake| brake.clusters.clone()).unwrap_or_default();
        // While it is on, who is silent may change with every beat.
        let stored = self.brake_pacer.stored();
        let current = stored.is_some_and(|(stored, at)| {
            *stored == clusters || (stored.is_empty() == clusters.is_empty() && now < at + BRAKE_PACE)
        });
        let waits = self.brake_pacer.attempt(&clusters, now, Duration::ZERO).is_none();
        if !self.brake_record_read || current || waits {
            return;
        }
        self.brake_pacer.sent(clusters);
        actions.push(Action::Write(Write::Brake(self.brake.clone())));
    }

    /// The heartbeats seen so far.
    pub fn beats(&self) -> u64 {
        self.beats
    }

    /// Whether both first lists are complete: before that there is no fleet to serve.
    pub fn is_complete(&self) -> bool {
        self.clusters_listed && self.nodes_listed
    }

    /// The snapshot to publish at `now`, when one is due.
    pub fn publication(&mut self, now: Instant) -> Option<Snapshot> {
        let seen = self.sight.look(now);
        let blind = self.sight.is_blind();
        let moment = if blind { self.sight.last_sign() } else { seen };
        let recent = self.published.is_some_and(|(at, then)| now < at + CALM_PUBLICATION && blind == then);
        // A node between two homes would pass as one of no cluster: the next tick settles it.
        if !self.is_complete() || self.nodes.is_stale() || (recent && !self.urgent) {
            return None;
        }
        self.urgent = false;
        self.published = Some((now, blind));
        Some(self.snapshot(now, moment, blind))
    }

    fn snapshot(&mut self, now: Instant, moment: Moment, blind: bool) -> Snapshot {
        let clusters: Vec<_> = self.clusters.values_mut().map(Entry::view).collect();
        let taint_key = &self.policy.taint_key;
        let homes = self.nodes.homes().filter_map(|entry| {
            let home = match &entry.home {
                Home::Cluster(key) => NodeHome::Cluster(clusters.binary_search_by(|view| view.key().cmp(key)).ok()?),
                _ => NodeHome::Vanished(entry.vanished(taint_key)?.into()),
            };
            Some((entry.node.name.as_str().into(), home))
        });
        let homes: HashMap<Box<str>, NodeHome> = homes.collect();
        if homes != *self.homes {
            self.homes = Arc::new(homes);
        }
        let down = |view: &Arc<ClusterView>| !view.cluster.is_spare() && view.is_down(taint_key);
        Snapshot {
            complete: self.is_complete(),
            active_down: clusters.iter().any(down),
            clusters,
            nodes: Arc::clone(&self.homes),
            brake: self.brake.clone(),
            blind,
            undecodable: self.undecodable.values().cloned().collect(),
            taken: (now, moment),
            policy: Arc::clone(&self.policy),
        }
    }
}
