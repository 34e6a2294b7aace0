//! One cluster in the index: its facts, its health, and the writes that are due to it.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::cluster::{Cluster, Condition};
use crate::domain::health::{Health, HealthPolicy, Report, Verdict};
use crate::domain::placement::ClusterView;
use crate::domain::sight::Moment;
use crate::domain::taint::{self, Fault};

use super::action::{Action, Notice, Outcome, Subject, Target, Topic, Write};
use super::pacer::{Attempt, Pacer};

/// The type of our condition. Clusternet's own `Ready` is never written by us: while that is not
/// True, its deployer drops the record of what still runs on a lost cluster.
pub const ALIVE_CONDITION: &str = "sheetanchor.dev/Alive";

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) cluster: Arc<Cluster>,
    pub(super) health: Health,
    pub(super) readable: bool,
    untainted: Option<Moment>,
    taints: Pacer<Option<Fault>>,
    /// By status alone: a change from Ready to Late and back is the same write again.
    condition: Pacer<&'static str>,
    view: Option<Arc<ClusterView>>,
    /// Something changed since the last look for due writes, or one is still due.
    pub(super) dirty: bool,
    /// Since this replica leads, people were told what is only told once.
    told: bool,
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
pub(super) struct Context<'a> {
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
            taints: Pacer::new(),
            condition: Pacer::new(),
            view: None,
            dirty: true,
            told: false,
        }
    }

    /// Takes in a newer version of the same object. Returns whether the verdict changed.
    pub(super) fn observe(
        &mut self,
        cluster: Cluster,
        source: Source,
        leading: bool,
        now: Moment,
        taint_key: &str,
        policy: &HealthPolicy,
    ) -> bool {
        self.set_readable(now, true);
        let carried = |cluster: &Cluster| taint::carried(&cluster.taints, taint_key);
        let (before, after) = (carried(&self.cluster), carried(&cluster));
        let standing = self.health.verdict();
        let untainted = before.is_some() && after.is_none();
        if untainted {
            self.untainted = Some(now);
        }
        // A re-list may bring a taint and a beat at once: the beat is then the first after the loss.
        // One that is put back while its incident is open is no new failure of what recovers.
        let put_back =
            before.is_none() && incident_is_open(&self.cluster) && self.health.standing() == Verdict::Recovering;
        if let Some(fault) = after.filter(|_| before != after && !put_back) {
            self.health.adopt(now, fault);
        }
        if self.cluster.stamp != cluster.stamp {
            let report = report(&cluster);
            match source {
                Source::Read => self.health.overhear(now, report, policy),
                Source::Watch | Source::List => self.health.beat(now, report, policy),
            }
        }
        if untainted && !leading && !incident_is_open(&cluster) {
            // The leader believes in the return: no two replicas answer the scheduler differently.
            self.health.follow_return(now);
        }
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

    /// Judges its silence, as [`Health::judge`] does. Returns whether the verdict changed.
    pub(super) fn judge(&mut self, sign: Moment, now: Moment, braked: bool, policy: &HealthPolicy) -> bool {
        let adopted = self.health.adopted();
        let changed = self.health.judge(sign, now, self.is_held(braked), policy);
        if changed || adopted != self.health.adopted() {
            self.touch();
        }
        changed
    }

    /// Whether the brake, when it is on, holds this one: not where a person said that it is dead.
    pub(super) fn is_held(&self, braked: bool) -> bool {
        braked && !self.cluster.is_released()
    }

    fn touch(&mut self) {
        self.view = None;
        self.dirty = true;
    }

    /// It as the doors see it.
    pub(super) fn view(&mut self) -> Arc<ClusterView> {
        let (cluster, health, untainted) = (&self.cluster, &self.health, self.untainted);
        let make = || Arc::new(ClusterView { cluster: Arc::clone(cluster), health: health.clone(), untainted });
        Arc::clone(self.view.get_or_insert_with(make))
    }

    /// What people are told when its verdict changed.
    pub(super) fn verdict_notice(&self, now: Moment, policy: &HealthPolicy) -> Action {
        self.notice(Topic::Verdict(self.health.verdict()), self.verdict_text(now, policy))
    }

    fn verdict_text(&self, now: Moment, policy: &HealthPolicy) -> String {
        let (key, verdict) = (&self.cluster.key, self.health.verdict());
        format!("cluster \"{key}\" is {verdict}: {}", self.health.explain(now, policy))
    }

    fn notice(&self, topic: Topic, text: String) -> Action {
        let subject = Subject::Cluster(self.cluster.key.clone(), self.cluster.uid.clone());
        Action::Tell(Notice { subject, topic, text })
    }

    /// Forgets what was written: a new leader looks at everything anew.
    pub(super) fn forget_writes(&mut self) {
        self.taints = Pacer::new();
        self.condition = Pacer::new();
        self.dirty = true;
        self.told = false;
    }

    /// A write of ours came to an end.
    pub(super) fn wrote(&mut self, target: &Target, outcome: Outcome, now: Instant) {
        match target {
            Target::Taints(_) => self.taints.ended(outcome, now),
            Target::Condition(_) => self.condition.ended(outcome, now),
            Target::Node(_) | Target::Brake => {}
        }
        self.dirty = true;
    }

    /// The writes that are due. Clears `dirty` when none is, nor is waiting.
    pub(super) fn due(&mut self, context: &Context<'_>, actions: &mut Vec<Action>) {
        self.dirty = false;
        self.tell_once(context, actions);
        if self.readable {
            self.due_taints(context, actions);
            self.due_condition(context, actions);
        }
    }

    fn tell_once(&mut self, context: &Context<'_>, actions: &mut Vec<Action>) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        if !self.health.schedulable() {
            // Reached while nobody led, or under another leader: people may not have been told.
            let text = self.verdict_text(context.moment, context.health);
            actions.push(self.notice(Topic::Found(self.health.verdict()), text));
        }
        if self.cluster.wants_init && context.taint_key == taint::UNSCHEDULABLE_KEY {
            let text = format!(
                "cluster \"{}\" sets clusterInitBaseName, but Clusternet's lifecycle controller, \
                 which acts on it, is off where sheetanchor owns the taint",
                self.cluster.key
            );
            actions.push(self.notice(Topic::ClusterInitIgnored, text));
        }
    }

    /// The value that our taint is to have.
    ///
    /// A cluster that beats again keeps the taint that it bears, to the end: that is, until the
    /// condition says that its incident is over. It is given one only while the condition says that
    /// the incident is open, which is written after the taint: not for a loss that ended before, and
    /// not where another replica has seen the return. Where the condition cannot be written, the
    /// taint does not wait for it.
    pub(super) fn wanted(&self, taint_key: &str) -> Option<Fault> {
        let (open, fault) = (incident_is_open(&self.cluster), self.health.fault());
        match self.health.standing() {
            Verdict::Recovering => self.carried(taint_key).or_else(|| fault.filter(|_| open)),
            Verdict::Ready | Verdict::Late => self.carried(taint_key).filter(|_| open && !self.condition.is_refused()),
            Verdict::Lost | Verdict::NotReady | Verdict::NeverReported | Verdict::Suspected => fault,
        }
    }

    /// The value of our taint that it bears.
    pub(super) fn carried(&self, taint_key: &str) -> Option<Fault> {
        taint::carried(&self.cluster.taints, taint_key)
    }

    /// It bears the taint that it is to have, or a person's in its place.
    fn bears_wanted(&self, taint_key: &str) -> bool {
        let wanted = self.wanted(taint_key);
        wanted.is_some() && taint::rewritten(&self.cluster.taints, taint_key, wanted).is_none()
    }

    fn due_taints(&mut self, context: &Context<'_>, actions: &mut Vec<Action>) {
        let wanted = self.wanted(context.taint_key);
        let Some(taints) = taint::rewritten(&self.cluster.taints, context.taint_key, wanted) else { return };
        self.dirty = true;
        // While the brake is on no taint is added; one is still taken off a cluster that beats.
        if self.is_held(context.braked) && wanted.is_some() {
            return;
        }
        let Some(attempt) = self.taints.attempt(&wanted, context.now, self.health.period()) else { return };
        if attempt == Attempt::Again {
            let text = format!(
                "somebody changed our taint on cluster \"{}\", which is {}: {}",
                self.cluster.key,
                self.health.verdict(),
                self.health.explain(context.moment, context.health)
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

    fn due_condition(&mut self, context: &Context<'_>, actions: &mut Vec<Action>) {
        let standing = self.health.standing();
        let status = alive(standing);
        let found = own_condition(&self.cluster);
        let same = |found: &&Condition| found.status == status && found.reason == standing.as_str();
        if self.taints.is_busy() {
            // Both writes are decided on the same version: the taint goes first.
            self.dirty = true;
            return;
        }
        if !self.health.attested() || found.filter(same).is_some() {
            return;
        }
        self.dirty = true;
        // An incident is opened with its taint in place: one that is missing later was undone.
        if status != "True" && (self.is_held(context.braked) || !self.bears_wanted(context.taint_key)) {
            return;
        }
        if self.condition.attempt(&status, context.now, self.health.period()).is_none() {
            return;
        }
        let turned = found.is_none_or(|found| found.status != status);
        let own = Condition {
            kind: ALIVE_CONDITION.to_owned(),
            status: status.to_owned(),
            reason: standing.as_str().to_owned(),
            message: self.health.explain(context.moment, context.health),
            last_transition_time: found.filter(|_| !turned).and_then(|found| found.last_transition_time.clone()),
            observed_generation: None,
        };
        let foreign = self.cluster.conditions.iter().filter(|condition| condition.kind != ALIVE_CONDITION);
        let conditions = foreign.cloned().chain([own]).collect();
        self.condition.sent(status);
        actions.push(Action::Write(Write::Conditions {
            key: self.cluster.key.clone(),
            resource_version: self.cluster.resource_version.clone(),
            conditions,
        }));
    }
}

fn own_condition(cluster: &Cluster) -> Option<&Condition> {
    cluster.conditions.iter().find(|condition| condition.kind == ALIVE_CONDITION)
}

/// Whether the object itself says that an incident was declared there and is not over: something
/// that all replicas know alike, whatever each has seen of the beats.
fn incident_is_open(cluster: &Cluster) -> bool {
    own_condition(cluster).is_some_and(|condition| condition.status != "True")
}

/// The status of our condition: True, False, or Unknown.
fn alive(standing: Verdict) -> &'static str {
    match standing {
        Verdict::Ready | Verdict::Late => "True",
        Verdict::NotReady => "False",
        Verdict::Suspected | Verdict::Lost | Verdict::NeverReported | Verdict::Recovering => "Unknown",
    }
}
