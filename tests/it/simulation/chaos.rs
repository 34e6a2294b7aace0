//! What can go wrong, and what people and other controllers do.

use std::time::Duration;

use sheetanchor::domain::cluster::{AgentReady, Cluster, Condition};
use sheetanchor::domain::taint::{self, Effect, Fault, Taint, UNSCHEDULABLE_KEY};

use super::api::{registered, report};
use super::law::Author;
use super::plan::Plan;
use super::world::{Happening, World};
use crate::stage::{ms, s};

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Death,
    Sickness,
    WatchBreak,
    Outage,
    Hang,
    Pause,
    Restart,
    Election,
    Person,
    Rival,
    Garble,
    Recreation,
    NewPeriod,
}

impl Trouble {
    pub(crate) const ALL: [Self; 13] = [
        Self::Death,
        Self::Sickness,
        Self::WatchBreak,
        Self::Outage,
        Self::Hang,
        Self::Pause,
        Self::Restart,
        Self::Election,
        Self::Person,
        Self::Rival,
        Self::Garble,
        Self::Recreation,
        Self::NewPeriod,
    ];
}

/// One thing that happens. Members and replicas go by number.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// They beat no more.
    Silence(Vec<usize>),
    /// They beat again.
    Speak(Vec<usize>),
    /// Its agent says Ready=False, or no longer.
    Sick(usize, bool),
    /// A watch dies; that is noticed after a while, and there is another after some more.
    BreakWatch { replica: usize, deaf: Duration, away: Duration },
    /// The API server is away.
    Outage { deaf: Duration, length: Duration },
    /// The API server answers nobody for so long, and then goes on with what was sent to it.
    Hang(Duration),
    /// A process stands still.
    Pause { replica: usize, length: Duration },
    /// A process ends, and another starts.
    Restart { replica: usize, away: Duration },
    /// The leader loses its lease.
    Depose { vacancy: Duration },
    /// Somebody edits objects of this member.
    Deed(usize, Deed),
    /// Another controller writes the taints that it read some time before.
    Rival { member: usize, taints: Vec<Taint> },
    /// Its object cannot be decoded, or can again.
    Garble(usize, bool),
    /// Its object is deleted.
    Delete(usize),
    /// It is registered anew.
    Create(usize),
    /// It beats and declares otherwise.
    NewPeriod(usize, u64),
    /// It beats.
    Report(usize),
}

/// What people do.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    AddForeign(&'static str, Effect),
    DropForeign,
    DropOurs,
    /// A value of their own under our key, in place of ours.
    Overrule,
    Withdraw,
    /// A value of ours.
    Forge,
    Label,
    Condition,
    NodeTaint,
    NodeDropOurs,
}

/// The acts that a trouble consists of, each with its delay.
pub(crate) fn acts(trouble: Trouble, random: &mut fastrand::Rng, plan: &Plan) -> Vec<(Duration, Act)> {
    let member = random.usize(..plan.members.len());
    let replica = random.usize(..plan.replicas);
    let period = s(plan.members[member].period_seconds);
    let away = ms(random.u64(0..6_000));
    let deaf = plan.longest_deafness.mul_f64(if random.bool() { 0.0 } else { random.f64() });
    let long = ms(random.u64(100..30_000));
    match trouble {
        Trouble::Death => {
            let count = if random.f64() < 0.2 { random.usize(1..=plan.members.len()) } else { 1 };
            let who: Vec<usize> = (0..count).map(|i| (member + i) % plan.members.len()).collect();
            let back = period.mul_f64(10.0 * random.f64());
            let mut acts = vec![(Duration::ZERO, Act::Silence(who.clone()))];
            acts.extend((random.f64() < 0.8).then_some((back, Act::Speak(who))));
            acts
        }
        Trouble::Sickness => {
            vec![
                (Duration::ZERO, Act::Sick(member, true)),
                (period.mul_f64(8.0 * random.f64()), Act::Sick(member, false)),
            ]
        }
        Trouble::WatchBreak => vec![(Duration::ZERO, Act::BreakWatch { replica, deaf, away })],
        Trouble::Outage => vec![(Duration::ZERO, Act::Outage { deaf, length: long * 3 })],
        Trouble::Hang => vec![(Duration::ZERO, Act::Hang(long * 2))],
        Trouble::Pause => vec![(Duration::ZERO, Act::Pause { replica, length: long })],
        Trouble::Restart => vec![(Duration::ZERO, Act::Restart { replica, away })],
        Trouble::Election => vec![(Duration::ZERO, Act::Depose { vacancy: away })],
        Trouble::Person => vec![(Duration::ZERO, Act::Deed(member, deed(random)))],
        Trouble::Rival => vec![(Duration::ZERO, Act::Rival { member, taints: Vec::new() })],
        Trouble::Garble => vec![(Duration::ZERO, Act::Garble(member, true)), (long, Act::Garble(member, false))],
        Trouble::Recreation => vec![(Duration::ZERO, Act::Delete(member)), (away / 2, Act::Create(member))],
        Trouble::NewPeriod => {
            let seconds = [2, 3, 5, 10, plan.members[member].period_seconds];
            vec![(Duration::ZERO, Act::NewPeriod(member, seconds[random.usize(..seconds.len())]))]
        }
    }
}

fn deed(random: &mut fastrand::Rng) -> Deed {
    let keys = ["gpu", "zone", "team"];
    let effects = [Effect::NoSchedule, Effect::NoExecute, Effect::PreferNoSchedule];
    let foreign = Deed::AddForeign(keys[random.usize(..3)], effects[random.usize(..3)].clone());
    match random.usize(..12) {
        0..3 => foreign,
        3 => Deed::DropForeign,
        4 => Deed::DropOurs,
        5 => Deed::Overrule,
        6 => Deed::Withdraw,
        7 => Deed::Forge,
        8 => Deed::Label,
        9 => Deed::Condition,
        10 => Deed::NodeTaint,
        _ => Deed::NodeDropOurs,
    }
}

fn foreign(key: &str, value: &str, effect: Effect) -> Taint {
    Taint { key: key.into(), value: Some(value.into()), effect, time_added: Some("2026-11-23T08:00:00Z".into()) }
}

impl World {
    /// Makes one act happen.
    pub(super) fn act(&mut self, act: Act) {
        let process = matches!(act, Act::BreakWatch { .. } | Act::Pause { .. } | Act::Restart { .. });
        let hidden = matches!(act, Act::Silence(_) | Act::Speak(_) | Act::Sick(..) | Act::Outage { .. } | Act::Hang(_));
        if let Some(end) = self.hung.filter(|_| !process && !hidden) {
            // Whoever calls the API server waits for it, in order.
            return self.later(end - self.now, Happening::Act(act));
        }
        match act {
            Act::Hang(length) => self.hang(length),
            Act::Report(i) => self.report(i),
            Act::Silence(who) => who.into_iter().for_each(|i| self.members[i].silent = true),
            Act::Speak(who) => who.into_iter().for_each(|i| self.members[i].silent = false),
            Act::Sick(i, sick) => self.members[i].sick = sick,
            Act::BreakWatch { replica, deaf, away } => self.break_watch(replica, deaf, away),
            Act::Outage { deaf, length } => self.outage(deaf, length),
            Act::Pause { replica, length } => self.pause(replica, length),
            Act::Restart { replica, away } => self.restart(replica, away),
            Act::Depose { vacancy } => self.depose(vacancy),
            Act::Deed(i, deed) => self.deed(i, &deed),
            Act::Rival { member, taints } => self.rival(member, taints),
            Act::Garble(i, garbled) => {
                let event = self.api.garble(&self.members[i].key, garbled);
                self.changed(event, Author::Other);
            }
            Act::Delete(i) => {
                let event = self.api.delete_cluster(&self.members[i].key);
                self.changed(event, Author::Other);
            }
            Act::Create(i) => {
                let key = &self.members[i].key;
                if !self.api.clusters.contains_key(key) {
                    let event = self.api.create_cluster(registered(key.as_str()));
                    self.changed(Some(event), Author::Other);
                }
            }
            Act::NewPeriod(i, seconds) => {
                self.members[i].declared = Some(i64::try_from(seconds).expect("small"));
                self.members[i].period = s(seconds);
                self.report(i);
            }
        }
    }

    /// An agent reports now.
    pub(super) fn report(&mut self, i: usize) {
        if let Some(end) = self.hung {
            let wait = end - self.now + ms(self.random.u64(1..50));
            return self.later(wait, Happening::Act(Act::Report(i)));
        }
        let member = &mut self.members[i];
        let stamp = member.clock.stamp(self.now);
        let ready = if member.sick { AgentReady::False } else { AgentReady::True };
        let declared = member.declared;
        if !self.up || member.silent {
            return;
        }
        let event = self.api.change_cluster(&member.key, |cluster| report(cluster, stamp, declared, ready));
        self.changed(event, Author::Other);
    }

    fn deed(&mut self, i: usize, deed: &Deed) {
        let (key, name) = (self.members[i].key.clone(), self.members[i].name().to_owned());
        let our_key = self.plan.taint_key;
        if matches!(deed, Deed::NodeTaint | Deed::NodeDropOurs) {
            let event = self.api.change_node(&name, |node| match deed {
                Deed::NodeTaint if node.taints.iter().any(|taint| taint.key == "disk") => {
                    node.taints.retain(|taint| taint.key != "disk");
                }
                Deed::NodeTaint => node.taints.insert(0, foreign("disk", "", Effect::NoSchedule)),
                _ => node.taints.retain(|taint| taint::ours(taint, our_key).is_none()),
            });
            return self.changed(event, Author::Other);
        }
        let event = self.api.change_cluster(&key, |cluster| edit(cluster, deed, our_key));
        self.changed(event, Author::Other);
    }

    /// Clusternet's own controller, beside us: a merge patch of the whole list as it was in its
    /// cache, without a resourceVersion. It keeps what it knows of others, and forgets the rest.
    fn rival(&mut self, member: usize, read: Vec<Taint>) {
        let key = self.members[member].key.clone();
        if self.plan.taint_key == UNSCHEDULABLE_KEY {
            return;
        }
        if read.is_empty() {
            let Some(object) = self.api.clusters.get(&key) else { return };
            let mut taints = object.cluster.taints.clone();
            let its = taints.iter().any(|taint| taint.key == UNSCHEDULABLE_KEY);
            taints.retain(|taint| taint.key != UNSCHEDULABLE_KEY);
            if !its {
                taints.push(foreign(UNSCHEDULABLE_KEY, "ClusterStatusUnknown", Effect::NoSchedule));
            }
            if !taints.is_empty() {
                let late = ms(self.random.u64(0..2_000));
                self.later(late, Happening::Act(Act::Rival { member, taints }));
            }
            return;
        }
        let event = self.api.change_cluster(&key, |cluster| cluster.taints = read);
        self.changed(event, Author::Other);
    }
}

fn edit(cluster: &mut Cluster, deed: &Deed, our_key: &str) {
    let ours = |taint: &Taint| taint::ours(taint, our_key).is_some();
    let under = |taint: &Taint| taint.key == our_key && taint.effect == Effect::NoSchedule;
    let taints = &mut cluster.taints;
    match deed {
        Deed::AddForeign(key, effect) => {
            if !taints.iter().any(|taint| taint.key == *key) {
                taints.push(foreign(key, "a", effect.clone()));
            }
        }
        Deed::DropForeign => {
            if let Some(place) = taints.iter().position(|taint| taint.key != our_key) {
                taints.remove(place);
            }
        }
        Deed::DropOurs => taints.retain(|taint| !ours(taint)),
        Deed::Overrule => {
            taints.retain(|taint| !under(taint));
            taints.push(foreign(our_key, "maintenance", Effect::NoSchedule));
        }
        Deed::Withdraw => taints.retain(|taint| !under(taint) || ours(taint)),
        Deed::Forge => {
            if !taints.iter().any(under) {
                taints.push(Fault::ClusterStatusUnknown.taint(our_key));
            }
        }
        Deed::Label => {
            let name = format!("label-{}", cluster.labels.len() % 3);
            if cluster.labels.remove(&name).is_none() {
                cluster.labels.insert(name, "x".into());
            }
        }
        Deed::Condition => {
            let status = if cluster.conditions.len().is_multiple_of(2) { "True" } else { "False" };
            cluster.conditions.retain(|condition| condition.kind != "example.com/Patched");
            cluster.conditions.push(Condition {
                kind: "example.com/Patched".into(),
                status: status.into(),
                reason: "Somebody".into(),
                message: String::new(),
                last_transition_time: Some("2026-11-23T08:00:00Z".into()),
                observed_generation: Some(3),
            });
        }
        Deed::NodeTaint | Deed::NodeDropOurs => {}
    }
}
