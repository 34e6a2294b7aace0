//! One cluster in the index: its facts, its health, and the writes that are due to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::cluster::{Cluster, Condition};
use crate::domain::health::{Health, HealthPolicy, Report, Verdict};
use crate::domain::placement::ClusterView;
use crate::domain::sight::Moment;
use crate::domain::taint::{self, Fault};

use super::action::{Action, Notice, Outcome, Subject, Target, Topic, Write};
use super::gate::{Gate, Pass};

/// The type of our condition. Clusternet's own `Ready` is never written by us: while that is not
/// True, its deployer drops the record of what still runs on a lost cluster.
pub const ALIVE_CONDITION: &str = "sheetanchor.dev/Alive";

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) cluster: Arc<Cluster>,
    pub(super) health: Health,
    readable: bool,
    untainted: Option<Moment>,
    taints: Gate<Option<Fault>>,
    condition: Gate<(&'static str, Verdict)>,
    view: Option<Arc<ClusterView>>,
    /// Something changed since the last look for due writes, or one is still due.
    pub(super) restless: bool,
}

/// Where a version of an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The watch told of it.
    Watch,
    /// A complete list: it replaces what we had, whatever its version.
    List,
    /// A write or read of our own, which may run ahead of the watch.
    Read,
}

/// What planning writes depends on, besides the cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Desk<'a> {
    pub(super) now: Instant,
    pub(super) moment: Moment,
    pub(super) braked: bool,
    pub(super) taint_key: &'a str,
    pub(super) health: &'a HealthPolicy,
}

fn report(cluster: &Cluster) -> Report {
    Report { ready: cluster.agent_ready, declared_period_seconds: cluster.declared_period_seconds }
}

impl Entry {
    pub(super) fn new(cluster: Cluster, now: Moment, taint_key: &str, policy: &HealthPolicy) -> Self {
        let carried = taint::carried(&cluster.taints, taint_key);
        let health = Health::first_seen(now, cluster.stamp.is_some(), report(&cluster), carried, policy);
        Self {
            cluster: Arc::new(cluster),
            health,
            readable: true,
            untainted: None,
            taints: Gate::new(),
            condition: Gate::new(),
            view: None,
            restless: true,
        }
    }

    /// Takes in a newer version of the same object. Returns whether the verdict changed.
    pub(super) fn observe(
        &mut self,
        cluster: Cluster,
        source: Source,
        now: Moment,
        taint_key: &str,
        policy: &HealthPolicy,
    ) -> bool {
        self.set_readable(now, true);
        let carried = |cluster: &Cluster| taint::carried(&cluster.taints, taint_key);
        let (before, after) = (carried(&self.cluster), carried(&cluster));
        if before.is_some() && after.is_none() {
            self.untainted = Some(now);
        }
        let standing = self.health.verdict();
        // A re-list may bring a taint and a beat at once: the beat is then the first after the loss.
        if let Some(fault) = after.filter(|_| before != after) {
            self.health.adopt(now, fault);
        }
        match source {
            _ if self.cluster.stamp == cluster.stamp => false,
            Source::Read => self.health.overhear(now, report(&cluster), policy),
            Source::Watch | Source::List => self.health.beat(now, report(&cluster), policy),
        };
        let changed = self.health.verdict() != standing;
        self.cluster = Arc::new(cluster);
        self.touch();
        changed
    }

    /// Its object can no longer be decoded, or can again.
    pub(super) fn set_readable(&mut self, now: Moment, readable: bool) {
        self.health.set_readable(now, readable);
        self.readable = readable;
        self.touch();
    }

    /// Judges its silence. Returns whether the verdict changed.
    pub(super) fn judge(&mut self, now: Moment, braked: bool, policy: &HealthPolicy) -> bool {
        let changed = self.health.judge(now, braked, policy);
        if changed {
            self.touch();
        }
        changed
    }

    fn touch(&mut self) {
        self.view = None;
        self.restless = true;
    }

    /// It as the doors see it.
    pub(super) fn view(&mut self) -> Arc<ClusterView> {
        let (cluster, health, untainted) = (&self.cluster, &self.health, self.untainted);
        let make = || Arc::new(ClusterView { cluster: Arc::clone(cluster), health: health.clone(), untainted });
        Arc::clone(self.view.get_or_insert_with(make))
    }

    /// What people are told when its verdict changed.
    pub(super) fn verdict_notice(&self, now: Moment, policy: &HealthPolicy) -> Action {
        let verdict = self.health.verdict();
        let text = format!("cluster \"{}\" is {verdict}: {}", self.cluster.key, self.health.explain(now, policy));
        self.notice(Topic::Verdict(verdict), text)
    }

    pub(super) fn notice(&self, topic: Topic, text: String) -> Action {
        let subject = Subject::Cluster(self.cluster.key.clone(), self.cluster.uid.clone());
        Action::Tell(Notice { subject, topic, text })
    }

    /// Forgets what was written: a new leader looks at everything anew.
    pub(super) fn forget_writes(&mut self) {
        self.taints = Gate::new();
        self.condition = Gate::new();
        self.restless = true;
    }

    /// A write of ours came to an end.
    pub(super) fn wrote(&mut self, target: &Target, outcome: Outcome, now: Instant) {
        match target {
            Target::Taints(_) => self.taints.ended(outcome, now),
            Target::Condition(_) => self.condition.ended(outcome, now),
            Target::Node(_) | Target::Brake => {}
        }
        self.restless = true;
    }

    /// Whether its stored facts can be written upon.
    pub(super) fn writable(&self) -> bool {
        self.readable
    }

    /// The writes that are due. Clears `restless` when none is, nor is waiting.
    pub(super) fn due(&mut self, desk: &Desk<'_>, actions: &mut Vec<Action>) {
        self.restless = false;
        if self.readable {
            self.due_taints(desk, actions);
            self.due_condition(desk, actions);
        }
    }

    /// The value that our taint is to have, on the cluster and on its nodes.
    ///
    /// A cluster that beats again keeps the taint that it bears, but is given none: a loss that ends
    /// before its taint is stored leaves no trace.
    pub(super) fn wanted(&self, taint_key: &str) -> Option<Fault> {
        let carried = taint::carried(&self.cluster.taints, taint_key);
        if self.health.standing() == Verdict::Recovering { carried } else { self.health.fault() }
    }

    fn due_taints(&mut self, desk: &Desk<'_>, actions: &mut Vec<Action>) {
        let wanted = self.wanted(desk.taint_key);
        let Some(taints) = taint::rewritten(&self.cluster.taints, desk.taint_key, wanted) else { return };
        self.restless = true;
        // While the brake is on no taint is added; one is still taken off a cluster that beats.
        if desk.braked && wanted.is_some() {
            return;
        }
        let Some(pass) = self.taints.pass(&wanted, desk.now, self.health.period()) else { return };
        if pass == Pass::Again {
            let text = format!(
                "somebody changed our taint on cluster \"{}\", which is {}: {}",
                self.cluster.key,
                self.health.verdict(),
                self.health.explain(desk.moment, desk.health)
            );
            actions.push(self.notice(Topic::TaintUndone, text));
        }
        self.taints.sent(wanted);
        actions.push(Action::Write(Write::Taints {
            key: self.cluster.key.clone(),
            resource_version: self.cluster.resource_version.clone(),
            taints,
            fault: wanted,
        }));
    }

    fn due_condition(&mut self, desk: &Desk<'_>, actions: &mut Vec<Action>) {
        let standing = self.health.standing();
        let status = alive(standing);
        let found = self.cluster.conditions.iter().find(|condition| condition.kind == ALIVE_CONDITION);
        let same = |found: &&Condition| found.status == status && found.reason == standing.as_str();
        if self.taints.is_busy() {
            // Both writes are decided on the same version: the taint goes first.
            self.restless = true;
            return;
        }
        if !self.health.attested() || found.filter(same).is_some() {
            return;
        }
        self.restless = true;
        if desk.braked && status != "True" {
            return;
        }
        // Ready and Late may alternate with every beat of a slow link: once per period is enough.
        let pace = self.health.period();
        let hurried = found.is_none_or(|found| found.status != status);
        let waits = |stored: &(&str, Verdict)| !hurried && stored.0 == status;
        if self.condition.pass(&(status, standing), desk.now, pace).is_none()
            || self.condition.stored_within(pace, desk.now, waits)
        {
            return;
        }
        let own = Condition {
            kind: ALIVE_CONDITION.to_owned(),
            status: status.to_owned(),
            reason: standing.as_str().to_owned(),
            message: self.health.explain(desk.moment, desk.health),
            last_transition_time: found.filter(|_| !hurried).and_then(|found| found.last_transition_time.clone()),
            observed_generation: None,
        };
        let foreign = self.cluster.conditions.iter().filter(|condition| condition.kind != ALIVE_CONDITION);
        let conditions = foreign.cloned().chain([own]).collect();
        self.condition.sent((status, standing));
        actions.push(Action::Write(Write::Conditions {
            key: self.cluster.key.clone(),
            resource_version: self.cluster.resource_version.clone(),
            conditions,
        }));
    }

    /// How long our answers to the same write wait.
    pub(super) fn pace(&self) -> Duration {
        self.health.period()
    }
}

/// The status of our condition: True, False, or Unknown.
fn alive(standing: Verdict) -> &'static str {
    match standing {
        Verdict::Ready | Verdict::Late => "True",
        Verdict::NotReady => "False",
        Verdict::Suspected | Verdict::Lost | Verdict::NeverReported | Verdict::Recovering => "Unknown",
    }
}
