//! The facts about one managed cluster, as the hub's API server stores them.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, AddAssign};
use std::sync::Arc;

use super::taint::Taint;

/// Label that marks a ManagedCluster as a spare.
pub const ROLE_LABEL: &str = "sheetanchor.dev/role";

/// The name of a ManagedCluster: `namespace/name`, as Clusternet writes it in a
/// Subscription's `bindingClusters`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterKey(Arc<str>);

impl ClusterKey {
    /// Joins a namespace and a name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    /// Reads `namespace/name`; `None` when a part is missing or there are more than two.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        let whole = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
        whole.then(|| Self(text.into()))
    }

    /// The part before the slash.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// `namespace/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ClusterKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a cluster's own agent says in the `Ready` condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentReady {
    /// `livez` and `readyz` answer.
    True,
    /// The agent beats, and says that its API server does not serve.
    False,
    /// No such condition, or `Unknown`: no word of the agent.
    Unknown,
}

/// One entry of `status.conditions`, kept whole so that a rewrite of the list loses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// CamelCase name, perhaps with a prefix.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase reason.
    pub reason: String,
    /// Text for people.
    pub message: String,
    /// RFC 3339; `None` in a condition of ours that is still to be written: its writer stamps it.
    pub last_transition_time: Option<String>,
    /// `metadata.generation` that the condition speaks of.
    pub observed_generation: Option<i64>,
}

/// The annotation on a ManagedCluster by which a person says that it is dead, whatever the brake
/// makes of the fleet. Its value is the stamp of the last beat: the next one voids it.
pub const RELEASE_ANNOTATION: &str = "sheetanchor.dev/release";

/// CPU and memory of a whole cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: f64,
    /// Bytes.
    pub memory_bytes: f64,
}

impl Resources {
    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }
}

impl Add for Resources {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { cpu_millis: self.cpu_millis + other.cpu_millis, memory_bytes: self.memory_bytes + other.memory_bytes }
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// One ManagedCluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// `namespace/name`.
    pub key: ClusterKey,
    /// `metadata.uid`: another uid under the same name is another cluster.
    pub uid: String,
    /// `metadata.resourceVersion`, which every write decided on these facts carries.
    pub resource_version: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.clusterId`.
    pub cluster_id: String,
    /// `spec.clusterInitBaseName` is set: Clusternet's ClusterInit wants its lifecycle controller.
    pub wants_init: bool,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `status.lastObservedTime` as text. Only its changes mean something, never its value.
    pub stamp: Option<String>,
    /// `status.heartbeatFrequencySeconds`.
    pub declared_period_seconds: Option<i64>,
    /// The agent's own word.
    pub agent_ready: AgentReady,
    /// `status.conditions`, all of them.
    pub conditions: Vec<Condition>,
    /// `status.allocatable`.
    pub allocatable: Option<Resources>,
    /// `status.resourceUsage`.
    pub used: Option<Resources>,
    /// [`RELEASE_ANNOTATION`].
    pub release: Option<String>,
}

impl Cluster {
    /// Whether a person said that it is dead, and it has not beaten since.
    pub fn is_released(&self) -> bool {
        self.release.is_some() && self.release == self.stamp
    }

    /// Whether it is labelled as a spare.
    pub fn is_spare(&self) -> bool {
        self.labels.get(ROLE_LABEL).is_some_and(|role| role == "spare")
    }

    /// The share of its tighter resource that is free, 0 to 1; `None` when it was not reported.
    pub fn free_share(&self) -> Option<f64> {
        let (all, used) = (self.allocatable?, self.used?);
        // Subtracted before divided: 1 − 800/1000 is a little less than a fifth.
        let free = |used: f64, all: f64| if all > 0.0 { (all - used) / all } else { 0.0 };
        let tightest = free(used.cpu_millis, all.cpu_millis).min(free(used.memory_bytes, all.memory_bytes));
        Some(tightest.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{mk_ready, mk_view};

    #[test]
    fn a_release_is_void_once_the_cluster_beats() {
        for (release, stamp, expected) in [
            (Some("t1"), Some("t1"), true),
            (Some("t1"), Some("t2"), false),
            (Some(""), None, false),
            (None, Some("t1"), false),
            (None, None, false),
        ] {
            let mut cluster = (*mk_view("a", mk_ready()).cluster).clone();
            (cluster.release, cluster.stamp) = (release.map(Into::into), stamp.map(Into::into));
            assert_eq!(cluster.is_released(), expected, "{release:?}, {stamp:?}");
        }
    }

    #[test]
    fn keys_have_two_parts() {
        for (text, whole) in
            [("fleet/eu-1", true), ("fleet", false), ("/eu-1", false), ("fleet/", false), ("a/b/c", false), ("", false)]
        {
            assert_eq!(ClusterKey::parse(text).is_some(), whole, "{text}");
        }
        let key = ClusterKey::new("fleet", "eu-1");
        assert_eq!((key.namespace(), key.name(), key.as_str()), ("fleet", "eu-1", "fleet/eu-1"));
    }
}
