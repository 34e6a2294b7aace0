//! The invariants, checked on every action and on every write that is stored.
//!
//! What is true is known here from the API's side: when a cluster really beat, whose each taint is.

use std::collections::BTreeMap;
use std::time::Duration;

use sheetanchor::domain::cluster::{AgentReady, Cluster, ClusterKey};
use sheetanchor::domain::health::Verdict;
use sheetanchor::domain::node::Node;
use sheetanchor::domain::taint::{self, Effect, Fault, Taint};
use sheetanchor::state::ALIVE_CONDITION;
use sheetanchor::state::action::{Action, Event, Notice, Subject, Topic, Write};

use super::api::{Api, Stored};
use super::plan::DEFAULT_PERIOD;
use super::replica::Replica;

/// Who changed an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    Us,
    Other,
}

/// Our taint on a cluster, from when it came until we took it off.
#[derive(Debug)]
struct Incident {
    fault: Fault,
    author: Author,
    /// The cluster's beats when it came.
    beats: u64,
}

/// What really happened to one cluster.
#[derive(Debug)]
struct Truth {
    uid: String,
    stamp: Option<String>,
    beat_at: Duration,
    beats: u64,
    period: Duration,
    incident: Option<Incident>,
    /// Its beats when its object began to say that an incident is open.
    opened: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Law {
    taint_key: &'static str,
    truths: BTreeMap<ClusterKey, Truth>,
    /// From when to when the API server hung.
    hangs: Vec<(Duration, Duration)>,
    /// Our taints that were stored, and when.
    pub(crate) tainted: Vec<(Duration, ClusterKey, Fault)>,
    /// Verdicts of our own that keep workloads off because of silence.
    pub(crate) falls: u64,
    /// Writes of ours to lists that had entries of others.
    pub(crate) beside_foreign: u64,
}

/// The period that an age is judged by.
fn clamped(declared: Option<i64>) -> Duration {
    match declared {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs().min(3600)),
        _ => DEFAULT_PERIOD,
    }
}

impl Law {
    pub(crate) fn new(taint_key: &'static str) -> Self {
        Self { taint_key, truths: BTreeMap::new(), hangs: Vec::new(), tainted: Vec::new(), falls: 0, beside_foreign: 0 }
    }

    pub(crate) fn hang(&mut self, from: Duration, to: Duration) {
        self.hangs.push((from, to));
    }

    /// The time since `then` in which the API server took heartbeats.
    fn age(&self, then: Duration, now: Duration) -> Duration {
        let hidden = self.hangs.iter().map(|(from, to)| (*to.min(&now)).saturating_sub(*from.max(&then)));
        (now - then).saturating_sub(hidden.sum())
    }

    /// An object changed, as the API now has it.
    pub(crate) fn changed(&mut self, now: Duration, api: &Api, event: &Event, author: Author) {
        let key = match event {
            Event::ClusterApplied(Ok(cluster)) => cluster.key.clone(),
            Event::ClusterApplied(Err(garbled)) => ClusterKey::parse(&garbled.key).expect("namespace/name"),
            Event::ClusterDeleted(key) => {
                self.truths.remove(key);
                return;
            }
            _ => return,
        };
        let cluster = &api.clusters[&key].cluster;
        let known = self.truths.remove(&key).filter(|truth| truth.uid == cluster.uid);
        let mut truth = known.unwrap_or_else(|| Truth {
            uid: cluster.uid.clone(),
            stamp: cluster.stamp.clone(),
            beat_at: now,
            beats: 0,
            period: clamped(cluster.declared_period_seconds),
            incident: None,
            opened: None,
        });
        if truth.stamp != cluster.stamp {
            truth.stamp.clone_from(&cluster.stamp);
            truth.beat_at = now;
            truth.beats += 1;
            truth.period = clamped(cluster.declared_period_seconds);
        }
        truth.opened = is_open(cluster).then(|| truth.opened.unwrap_or(truth.beats));
        let beats = truth.beats;
        truth.incident = match (truth.incident, taint::carried(&cluster.taints, self.taint_key)) {
            (None, Some(fault)) => Some(Incident { fault, author, beats: truth.opened.unwrap_or(beats) }),
            (Some(incident), Some(fault)) if incident.fault != fault => Some(Incident { fault, author, beats }),
            (Some(_), None) if author == Author::Us => None,
            (incident, _) => incident,
        };
        self.truths.insert(key, truth);
    }

    /// A replica came to an action.
    pub(crate) fn acts(&mut self, replica: &Replica, action: &Action) {
        match action {
            Action::Tell(notice) => self.tells(replica, notice),
            Action::Ask(..) => {}
            Action::Write(write) => {
                assert!(replica.leading, "one_writer: a replica that does not lead writes {write:?}");
                assert!(!replica.blind, "blind_is_not_dead: written while blind: {write:?}");
                if replica.braked {
                    self.is_allowed_under_the_brake(write);
                }
            }
        }
    }

    fn is_allowed_under_the_brake(&self, write: &Write) {
        match write {
            Write::Taints { fault, .. } => assert_eq!(*fault, None, "witnessed: {write:?} under the brake"),
            Write::Node { taints, .. } => {
                let ours = taints.as_ref().and_then(|taints| taint::carried(taints, self.taint_key));
                assert_eq!(ours, None, "witnessed: {write:?} under the brake");
            }
            Write::Conditions { conditions, .. } => {
                let own = conditions.iter().find(|condition| condition.kind == ALIVE_CONDITION).expect("ours");
                assert_eq!(own.status, "True", "witnessed: {write:?} under the brake");
            }
            Write::Brake(_) => {}
        }
    }

    fn tells(&mut self, replica: &Replica, notice: &Notice) {
        let (Topic::Verdict(verdict), Subject::Cluster(key, _)) = (&notice.topic, &notice.subject) else {
            let subject = match &notice.subject {
                Subject::Cluster(key, _) => key.as_str(),
                Subject::Node(name, _) => name,
                Subject::Fleet => "brake",
            };
            return assert!(notice.text.contains(subject), "explained: {subject}: {}", notice.text);
        };
        explains(&notice.text, key, *verdict);
        let adopted = notice.text.contains("found with our taint");
        if !adopted && matches!(verdict, Verdict::Lost | Verdict::NeverReported) {
            self.falls += 1;
            assert!(!replica.blind, "blind_is_not_dead: while blind: {}", notice.text);
            assert!(!replica.braked, "witnessed: under the brake: {}", notice.text);
        }
    }

    /// A write of ours was stored; `before` is what it found.
    pub(crate) fn stored(&mut self, now: Duration, api: &Api, write: &Write, before: &Stored) {
        match (write, before) {
            (Write::Taints { key, .. }, Stored::Cluster(before)) => {
                let after = &api.clusters[key].cluster;
                self.taints_are_ours_to_change(&before.taints, &after.taints);
                self.beside_foreign += u64::from(before.taints.len() > 1);
                assert_eq!(before.conditions, after.conditions);
                self.is_founded(now, before, after);
            }
            (Write::Conditions { key, .. }, Stored::Cluster(before)) => {
                let after = &api.clusters[key].cluster;
                let foreign = |cluster: &Cluster| {
                    let all = cluster.conditions.iter().filter(|condition| condition.kind != ALIVE_CONDITION);
                    all.cloned().collect::<Vec<_>>()
                };
                assert_eq!(foreign(before), foreign(after), "foreign_untouched: conditions of {key}");
                let own = after.conditions.iter().filter(|condition| condition.kind == ALIVE_CONDITION);
                let own: Vec<_> = own.collect();
                assert_eq!(own.len(), 1, "foreign_untouched: {own:?}");
                assert!(!own[0].message.is_empty() && own[0].reason != "Suspected", "explained: {own:?}");
                let tainted = taint::carried(&before.taints, self.taint_key).is_some() || self.is_overruled(before);
                assert!(!is_open(after) || tainted, "one_writer: an incident opened before its taint: {own:?}");
            }
            (Write::Node { name, .. }, Stored::Node(before)) => {
                let after: &Node = &api.nodes[name];
                self.taints_are_ours_to_change(&before.taints, &after.taints);
                assert_eq!(before.labels, after.labels, "foreign_untouched");
            }
            _ => {}
        }
    }

    fn taints_are_ours_to_change(&self, before: &[Taint], after: &[Taint]) {
        let ours = |taint: &&Taint| taint::ours(taint, self.taint_key).is_some();
        let foreign = |taints: &[Taint]| taints.iter().filter(|taint| !ours(taint)).cloned().collect::<Vec<_>>();
        assert_eq!(foreign(before), foreign(after), "foreign_untouched");
        let slot = |taint: &&Taint| taint.key == self.taint_key && taint.effect == Effect::NoSchedule;
        let before = before.iter().filter(slot).filter(|taint| !ours(taint)).count();
        let after = after.iter().filter(slot).count();
        assert!(after <= before.max(1), "foreign_untouched: our key stands there {after} times");
    }

    /// A person's taint that stands in for ours is as good as ours.
    fn is_overruled(&self, cluster: &Cluster) -> bool {
        cluster.taints.iter().any(|taint| {
            let under = taint.key == self.taint_key && taint.effect == Effect::NoSchedule;
            under && taint::ours(taint, self.taint_key).is_none()
        })
    }

    /// No taint on a cluster that beats, and none taken off before it beat long enough.
    fn is_founded(&mut self, now: Duration, before: &Cluster, after: &Cluster) {
        let key = &after.key;
        let truth = &self.truths[key];
        let age = self.age(truth.beat_at, now);
        let carried = |cluster: &Cluster| taint::carried(&cluster.taints, self.taint_key);
        match (carried(after), &truth.incident) {
            (Some(fault), incident) if incident.as_ref().is_none_or(|incident| incident.fault != fault) => {
                // Ours was there, and somebody took it off before the recovery was over.
                let undone = is_open(before);
                let founded = match fault {
                    Fault::ManagedClusterNotReady => before.agent_ready == AgentReady::False,
                    _ => age > truth.period * 3,
                } || undone;
                assert!(founded, "blind_is_not_dead: {key} {fault:?}, {age:?} after its beat, at {now:?}");
                self.tainted.push((now, key.clone(), fault));
            }
            (None, Some(Incident { fault, author: Author::Us, beats })) => {
                let seen = truth.beats - beats;
                let needed = if *fault == Fault::ClusterStatusNeverUpdated { 1 } else { 3 };
                let overruled = self.is_overruled(before);
                assert!(!is_open(before) || overruled, "one_writer: {key} untainted before its incident was closed");
                assert!(seen >= needed || overruled, "one_writer: {key} untainted after {seen} beats, at {now:?}");
            }
            _ => {}
        }
    }
}

/// Whether the object itself says that an incident is open there.
fn is_open(cluster: &Cluster) -> bool {
    let own = cluster.conditions.iter().find(|condition| condition.kind == ALIVE_CONDITION);
    own.is_some_and(|condition| condition.status != "True")
}

/// Every verdict names the cluster, the fact and the limit.
pub(crate) fn explains(text: &str, key: &ClusterKey, verdict: Verdict) {
    let facts = text.strip_prefix(&format!("cluster \"{key}\" is {verdict}: "));
    let facts = facts.unwrap_or_else(|| panic!("explained: {key}: {text}"));
    let has = |words: &[&str]| words.iter().all(|word| facts.contains(word));
    let explained = has(&["found with our taint ", "no heartbeat seen for "])
        || match verdict {
            Verdict::Ready => has(&["beats on time, every "]),
            Verdict::Late => has(&["no heartbeat for ", "(late after "]) || has(&["no heartbeat yet, "]),
            Verdict::Lost | Verdict::NeverReported => has(&["no heartbeat for ", "(limit "]),
            Verdict::Suspected => has(&["no heartbeat for ", "(limit ", "not believed yet: "]),
            Verdict::NotReady => has(&["Ready=False in ", "(limit 2)"]),
            Verdict::Recovering => has(&["beats again: ", " of ", " on-time heartbeats needed"]),
        };
    assert!(explained && facts.contains(|c: char| c.is_ascii_digit()), "explained: {text}");
}
