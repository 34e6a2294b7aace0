//! One index before one API server that answers at once, and a clock that tests move.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sheetanchor::clock;
use sheetanchor::domain::cluster::{AgentReady, Cluster, ClusterKey};
use sheetanchor::domain::health::{Health, HealthPolicy, Verdict};
use sheetanchor::domain::placement::Fleet;
use sheetanchor::domain::placement::SparePolicy;
use sheetanchor::domain::taint::{self, Fault, UNSCHEDULABLE_KEY};
use sheetanchor::state::ALIVE_CONDITION;
use sheetanchor::state::action::{Action, Event, Outcome, Topic, Write};
use sheetanchor::state::index::Index;
use sheetanchor::state::policy::Policy;
use sheetanchor::state::snapshot::Snapshot;

use crate::simulation::api::{Api, node, registered, report};

/// How often the monitor ticks.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// What follows from one moment takes no more ticks.
const TICKS_MAX: usize = 10;

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The rules by default, with `taint_key`.
pub(crate) fn policy(taint_key: &str) -> Policy {
    Policy {
        health: HealthPolicy { default_period: s(180), grace_periods: 3, unhealthy_threshold: 0.55 },
        taint_key: taint_key.into(),
        spares: SparePolicy::Prefer,
        node_labels: vec!["clusters.clusternet.io/cluster-id".into()],
        match_node_names: false,
    }
}

pub(crate) fn key(name: &str) -> ClusterKey {
    ClusterKey::new("fleet", name)
}

/// See the module.
pub(crate) struct Stage {
    pub(crate) index: Index,
    pub(crate) api: Api,
    /// Everything that followed, and when.
    pub(crate) log: Vec<(Duration, Action)>,
    pub(crate) tick: Duration,
    /// The API server answers when it is asked for a sign of life.
    pub(crate) answers: bool,
    /// Writes are answered with this, and change nothing, unless they are to be stored.
    pub(crate) answer: Outcome,
    /// The API server takes no write to `/status` from us.
    pub(crate) status_refused: bool,
    published: Option<Snapshot>,
    start: Instant,
    at: Duration,
    ticked: Duration,
    stamps: u64,
}

impl Stage {
    /// An empty fleet.
    pub(crate) fn new() -> Self {
        let start = clock::now();
        Self {
            index: Index::new(start, Arc::new(policy(UNSCHEDULABLE_KEY))),
            api: Api::new(UNSCHEDULABLE_KEY),
            log: Vec::new(),
            tick: TICK,
            answers: true,
            answer: Outcome::Stored,
            status_refused: false,
            published: None,
            start,
            at: Duration::ZERO,
            ticked: Duration::ZERO,
            stamps: 0,
        }
    }

    /// Clusters that beat with these periods, each with a node of its name, listed and led at 0.
    pub(crate) fn with(clusters: &[(&str, i64)]) -> Self {
        let mut stage = Self::new();
        for (name, period) in clusters {
            stage.register(name, Some("first"), Some(*period));
            stage.api.create_node(node(name, &[("sheetanchor.dev/cluster", &format!("fleet.{name}"))]));
        }
        stage.open();
        stage
    }

    /// Stores a cluster; the index hears of it at the next list.
    pub(crate) fn register(&mut self, name: &str, stamp: Option<&str>, declared: Option<i64>) -> Event {
        let mut cluster = registered(key(name).as_str());
        if stamp.is_some() {
            report(&mut cluster, stamp.map(Into::into), declared, AgentReady::True);
        }
        cluster.declared_period_seconds = declared;
        self.api.create_cluster(cluster)
    }

    /// The brake's record, the first lists, and leadership.
    pub(crate) fn open(&mut self) {
        let (clusters, nodes) = self.api.list();
        self.tell(Event::BrakeFound(self.api.brake.clone()));
        self.tell(Event::Leading(true));
        self.tell(nodes);
        self.tell(clusters);
        self.tell(Event::Tick);
    }

    /// A new process with the same API server; not yet opened.
    pub(crate) fn restart(&mut self) {
        self.index = Index::new(self.now(), Arc::new(policy(UNSCHEDULABLE_KEY)));
    }

    pub(crate) fn at(&self) -> Duration {
        self.at
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + self.at
    }

    /// Applies one event, and makes the writes that follow from it.
    pub(crate) fn tell(&mut self, event: Event) {
        let (mut writes, mut questions) = (Vec::new(), Vec::new());
        for action in self.index.apply(event, self.now()) {
            match &action {
                Action::Write(write) => writes.push(write.clone()),
                Action::Ask(number, _) if self.answers => questions.push(*number),
                Action::Ask(..) | Action::Tell(_) => {}
            }
            self.log.push((self.at, action));
        }
        for number in questions {
            self.tell(Event::Answered(number));
        }
        for write in writes {
            let refused = self.status_refused && matches!(write, Write::Conditions { .. });
            let answer = if refused { Outcome::Refused } else { self.answer };
            if answer != Outcome::Stored {
                self.tell(Event::Wrote(write.target(), answer));
                continue;
            }
            let reply = self.api.write(&write);
            for event in reply.read.into_iter().chain([Event::Wrote(write.target(), reply.outcome)]) {
                self.tell(event);
            }
        }
        if let Some(snapshot) = self.index.publication(self.now()) {
            self.published = Some(snapshot);
        }
    }

    /// Tells what a change in the API means, if it was one.
    pub(crate) fn watch(&mut self, event: Option<Event>) {
        if let Some(event) = event {
            self.tell(event);
        }
    }

    /// Time passes, without a tick.
    pub(crate) fn jump(&mut self, span: Duration) {
        self.at += span;
        self.ticked = self.at;
    }

    /// Time passes until `at`, with the ticks that are due before.
    pub(crate) fn pass_to(&mut self, at: Duration) {
        assert!(at >= self.at, "back to {at:?} from {:?}", self.at);
        loop {
            let due = self.at.max(self.ticked + self.tick);
            if due >= at {
                break;
            }
            (self.at, self.ticked) = (due, due);
            self.tell(Event::Tick);
        }
        self.at = at;
    }

    /// Time passes until `at`, with a tick every 50 ms, and then more at `at` until nothing follows.
    pub(crate) fn run_to(&mut self, at: Duration) {
        self.pass_to(at);
        self.ticked = at;
        for _ in 0..TICKS_MAX {
            let before = self.log.len();
            self.tell(Event::Tick);
            if self.log.len() == before {
                return;
            }
        }
        panic!("no end of what follows at {at:?}: {:?}", self.log.last());
    }

    pub(crate) fn run(&mut self, span: Duration) {
        self.run_to(self.at + span);
    }

    pub(crate) fn change(&mut self, name: &str, change: impl FnOnce(&mut Cluster)) {
        let event = self.api.change_cluster(&key(name), change);
        self.watch(event);
    }

    /// A heartbeat, with the period declared before.
    pub(crate) fn beat(&mut self, name: &str) {
        self.beat_as(name, AgentReady::True);
    }

    pub(crate) fn beat_as(&mut self, name: &str, ready: AgentReady) {
        self.stamps += 1;
        let stamp = Some(format!("stamp-{}", self.stamps));
        self.change(name, |cluster| report(cluster, stamp, cluster.declared_period_seconds, ready));
    }

    /// The named clusters beat every `period`, `times` times, first after one period. All but `a`
    /// beat twice in between as well: whoever falls silent finds a witness at once.
    pub(crate) fn beats(&mut self, names: &[&str], period: Duration, times: u32) {
        for _ in 0..times {
            for fifths in [2, 2, 1] {
                self.run(period * fifths / 5);
                for name in names.iter().filter(|name| **name != "a" || fifths == 1) {
                    self.beat(name);
                }
            }
        }
    }

    /// As the doors see it.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.published.as_ref().expect("published")
    }

    pub(crate) fn health(&self, name: &str) -> &Health {
        let snapshot = self.snapshot();
        &snapshot.view(key(name).as_str()).expect("known").health
    }

    pub(crate) fn verdict(&self, name: &str) -> Verdict {
        self.health(name).verdict()
    }

    /// Our taint as it is stored.
    pub(crate) fn taint(&self, name: &str) -> Option<Fault> {
        taint::carried(&self.api.clusters[&key(name)].cluster.taints, UNSCHEDULABLE_KEY)
    }

    /// Our taint on the node of that name.
    pub(crate) fn mirror(&self, name: &str) -> Option<Fault> {
        taint::carried(&self.api.nodes[name].taints, UNSCHEDULABLE_KEY)
    }

    /// Status and reason of our condition as it is stored.
    pub(crate) fn alive(&self, name: &str) -> Option<(String, String)> {
        let conditions = &self.api.clusters[&key(name)].cluster.conditions;
        let own = conditions.iter().find(|condition| condition.kind == ALIVE_CONDITION)?;
        Some((own.status.clone(), own.reason.clone()))
    }

    /// When a cluster was first told to have this verdict.
    pub(crate) fn told(&self, name: &str, verdict: Verdict) -> Option<Duration> {
        let text = format!("cluster \"fleet/{name}\" is {verdict}:");
        self.log.iter().find_map(|(at, action)| match action {
            Action::Tell(notice) if notice.topic == Topic::Verdict(verdict) && notice.text.starts_with(&text) => {
                Some(*at)
            }
            _ => None,
        })
    }

    /// The texts of a topic, and when they were told.
    pub(crate) fn notices(&self, topic: Topic) -> Vec<(Duration, String)> {
        let told = |(at, action): &(Duration, Action)| match action {
            Action::Tell(notice) if notice.topic == topic => Some((*at, notice.text.clone())),
            _ => None,
        };
        self.log.iter().filter_map(told).collect()
    }

    /// When taints of this cluster were written, and which of ours was among them.
    pub(crate) fn taint_writes(&self, name: &str) -> Vec<(Duration, Option<Fault>)> {
        let written = |(at, action): &(Duration, Action)| match action {
            Action::Write(Write::Taints { key: of, fault, .. }) if *of == key(name) => Some((*at, *fault)),
            _ => None,
        };
        self.log.iter().filter_map(written).collect()
    }
}
