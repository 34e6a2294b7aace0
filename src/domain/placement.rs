//! Which clusters a pod may go to, and which of them first: the extender's two questions.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::{Cluster, ClusterKey};
use super::health::{Health, HealthPolicy, Verdict};
use super::sight::Moment;
use super::taint::{self, Toleration};

/// The highest score that the scheduler expects of an extender, `MaxExtenderPriority`.
pub const MAX_SCORE: u8 = 10;
const SPARE_SCORE: u8 = 6;
const HEADROOM_SCORE: u8 = 2;
const STEADINESS_SCORE: u8 = 2;
const _: () = assert!(SPARE_SCORE + HEADROOM_SCORE + STEADINESS_SCORE == MAX_SCORE);
const _: () = assert!(SPARE_SCORE > HEADROOM_SCORE + STEADINESS_SCORE, "a spare outranks any mix of the others");

/// From this share of free resources on, a cluster has all the headroom points; from the second on, one.
const AMPLE_SHARE: f64 = 0.5;
const SOME_SHARE: f64 = 0.2;
/// A loss within this time costs all of the steadiness, an older one half.
const RECENT_LOSS: Duration = Duration::from_secs(3600);

/// When spares are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SparePolicy {
    /// Spares first, always.
    Prefer,
    /// Spares first while an active cluster is unschedulable, last otherwise.
    OnFailure,
    /// Spares only while an active cluster is unschedulable.
    Reserve,
}

/// One cluster as the doors see it: its stored facts and what we conclude from its heartbeats.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// The facts.
    pub cluster: Arc<Cluster>,
    /// The conclusions.
    pub health: Health,
    /// When our taint was last seen to go, if it did.
    pub untainted: Option<Moment>,
}

impl ClusterView {
    /// `namespace/name`.
    pub fn key(&self) -> &ClusterKey {
        &self.cluster.key
    }

    /// Whether health or a person's word keeps new workloads off: a verdict that is not
    /// schedulable, or any taint under our key. Taints under other keys are an everyday matter.
    pub fn is_down(&self, taint_key: &str) -> bool {
        let marked = |taint: &taint::Taint| taint.key == taint_key && taint.effect.repels();
        !self.health.schedulable() || self.cluster.taints.iter().any(marked)
    }
}

/// The clusters that a decision may look at.
pub trait Fleet {
    /// A cluster by its `namespace/name`; `None` when it does not exist.
    fn view(&self, key: &str) -> Option<&ClusterView>;

    /// Whether we know that no such cluster exists, which is more than not to see it.
    fn gone(&self, key: &str) -> bool {
        self.view(key).is_none()
    }
}

/// What kind of reason keeps a pod off: a closed set, to count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grounds {
    /// The cluster's verdict is not schedulable.
    Verdict(Verdict),
    /// It bears a taint that the pod does not tolerate.
    Taint,
    /// It is a spare, and spares are held in reserve.
    Reserve,
    /// It is gone, and its node still bears our taint.
    Vanished,
}

impl Grounds {
    /// The word people see: the verdict's, or the variant's own.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verdict(verdict) => verdict.as_str(),
            Self::Taint => "Taint",
            Self::Reserve => "Reserve",
            Self::Vanished => "Vanished",
        }
    }
}

/// Why a pod cannot go somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The kind of reason.
    pub grounds: Grounds,
    /// The reason, for people: the cluster, the fact, the limit.
    pub reason: String,
}

impl Rejection {
    /// Of a node whose cluster vanished while it was unschedulable. `label` is what names the
    /// cluster on the node. No toleration helps: nobody is there to run the pod.
    pub fn vanished(label: &str) -> Self {
        Self {
            grounds: Grounds::Vanished,
            reason: format!(
                "cluster \"{label}\" is gone or cannot be read, and its node still bears our taint: remove that taint only if it is to be used without a cluster"
            ),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What one filter or prioritize call is decided by, besides the pod.
#[derive(Clone, Copy, Debug)]
pub struct Steering<'a> {
    /// The time of the call.
    pub now: Moment,
    /// The limits to name in reasons.
    pub health: &'a HealthPolicy,
    /// The key of our taint.
    pub taint_key: &'a str,
    /// When spares are used.
    pub spares: SparePolicy,
    /// Some active (not spare) cluster is down.
    pub active_down: bool,
}

impl Steering<'_> {
    /// Why a pod with these tolerations cannot go there, or `None` when it can.
    ///
    /// A verdict counts as its taint from the moment it is reached, before the taint is written.
    pub fn rejection(&self, view: &ClusterView, tolerations: &[Toleration]) -> Option<Rejection> {
        let key = view.key();
        if let Some(fault) = view.health.fault()
            && !taint::tolerated(&fault.taint(self.taint_key), tolerations)
        {
            let reason = format!("cluster \"{key}\" is {}", self.condition(&view.health));
            return Some(Rejection { grounds: Grounds::Verdict(view.health.standing()), reason });
        }
        let mut taints = view.cluster.taints.iter().filter(|taint| taint.effect.repels());
        if let Some(taint) = taints.find(|taint| !taint::tolerated(taint, tolerations)) {
            let reason = format!("cluster \"{key}\" has taint {taint}, which the pod does not tolerate");
            return Some(Rejection { grounds: Grounds::Taint, reason });
        }
        let reserved = self.spares == SparePolicy::Reserve && view.cluster.is_spare() && !self.active_down;
        reserved.then(|| Rejection {
            grounds: Grounds::Reserve,
            reason: format!("cluster \"{key}\" is a spare held in reserve: every active cluster is schedulable"),
        })
    }

    /// The verdict and its facts. A Suspected cluster is not schedulable for what it was before
    /// the brake came on, so that is said too.
    fn condition(&self, health: &Health) -> String {
        let (verdict, standing) = (health.verdict(), health.standing());
        let explanation = health.explain(self.now, self.health);
        if verdict == standing {
            return format!("{verdict}: {explanation}");
        }
        format!("{verdict}: {explanation}; it was {standing} before")
    }

    /// How good a place it is, 0 to [`MAX_SCORE`]. Meaningful for a cluster that is not rejected.
    pub fn score(&self, view: &ClusterView) -> u8 {
        let spares_first = self.spares != SparePolicy::OnFailure || self.active_down;
        let first = view.cluster.is_spare() == spares_first;
        let rank = if first { SPARE_SCORE } else { 0 };
        rank + headroom(view) + self.steadiness(view)
    }

    /// 2 for a cluster that beats on time, 1 when it was lost within a day, 0 when within an hour or late now.
    fn steadiness(&self, view: &ClusterView) -> u8 {
        if view.health.verdict() != Verdict::Ready {
            return 0;
        }
        match view.health.since_last_loss(self.now) {
            None => STEADINESS_SCORE,
            Some(age) if age > RECENT_LOSS => STEADINESS_SCORE / 2,
            Some(_) => 0,
        }
    }
}

/// 2 when half of its tighter resource is free, 1 when a fifth is, else 0; unknown counts as none.
fn headroom(view: &ClusterView) -> u8 {
    match view.cluster.free_share() {
        Some(share) if share >= AMPLE_SHARE => HEADROOM_SCORE,
        Some(share) if share >= SOME_SHARE => HEADROOM_SCORE / 2,
        _ => 0,
    }
}
