//! What this process counts, in one registry of its own. Every label comes from a closed set.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt;

use crate::domain::health::Verdict;
use crate::state::action::{Outcome, Target, Topic};
use crate::state::snapshot::Snapshot;

/// A word of a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Word(pub &'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVerdict {
    verdict: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWrite {
    target: Word,
    outcome: Word,
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    clusters: Family<ByVerdict, Gauge>,
    verdicts: Family<ByVerdict, Counter>,
    writes: Family<ByWrite, Counter>,
    heartbeats: Counter,
    taints_undone: Counter,
    undecodable: Gauge,
    brake: Gauge,
    blind: Gauge,
    /// Whether this replica leads.
    pub leading: Gauge,
    /// Events that were not written: too many at once, or the API server did not take them.
    pub events_dropped: Counter,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sheetanchor"),
            clusters: Family::default(),
            verdicts: Family::default(),
            writes: Family::default(),
            heartbeats: Counter::default(),
            taints_undone: Counter::default(),
            undecodable: Gauge::default(),
            brake: Gauge::default(),
            blind: Gauge::default(),
            leading: Gauge::default(),
            events_dropped: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("clusters", "Managed clusters by verdict", self.clusters.clone());
        registry.register("verdict_changes", "Verdicts reached", self.verdicts.clone());
        registry.register("writes", "Writes to the hub by target and outcome", self.writes.clone());
        registry.register("heartbeats", "Heartbeats seen", self.heartbeats.clone());
        registry.register("taints_undone", "Times that somebody undid our taint", self.taints_undone.clone());
        registry.register("undecodable_objects", "Objects left out of the fleet", self.undecodable.clone());
        registry.register("brake_engaged", "1 while the brake is on", self.brake.clone());
        registry.register("blind", "1 while no heartbeat could be seen", self.blind.clone());
        registry.register("leading", "1 on the replica that writes", self.leading.clone());
        registry.register("events_dropped", "Events not written", self.events_dropped.clone());
    }

    /// Lets another part of the program add its own.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Takes the gauges from a new snapshot. `beats`: the heartbeats seen since the start.
    pub fn observe(&self, snapshot: &Snapshot, beats: u64) {
        for verdict in Verdict::ALL {
            let count = snapshot.clusters.iter().filter(|view| view.health.verdict() == verdict).count();
            let label = ByVerdict { verdict: Word(verdict.as_str()) };
            self.clusters.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.heartbeats.inc_by(beats.saturating_sub(self.heartbeats.get()));
        self.undecodable.set(i64::try_from(snapshot.undecodable.len()).unwrap_or(i64::MAX));
        self.brake.set(snapshot.brake.is_some().into());
        self.blind.set(snapshot.blind.into());
    }

    /// Counts a notice.
    pub fn noticed(&self, topic: Topic) {
        match topic {
            Topic::Verdict(verdict) => {
                self.verdicts.get_or_create(&ByVerdict { verdict: Word(verdict.as_str()) }).inc();
            }
            Topic::TaintUndone => _ = self.taints_undone.inc(),
            Topic::Found(_) | Topic::NodeAmbiguous | Topic::ClusterInitIgnored | Topic::BrakeOn | Topic::BrakeOff => {}
        }
    }

    /// Counts a write.
    pub fn wrote(&self, target: &Target, outcome: Outcome) {
        let target = match target {
            Target::Taints(_) => "Taints",
            Target::Condition(_) => "Condition",
            Target::Node(_) => "Node",
            Target::Brake => "Brake",
        };
        let outcome = match outcome {
            Outcome::Stored => "Stored",
            Outcome::Conflict => "Conflict",
            Outcome::Refused => "Refused",
            Outcome::Failed => "Failed",
        };
        self.writes.get_or_create(&ByWrite { target: Word(target), outcome: Word(outcome) }).inc();
    }

    /// The whole registry in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
