//! Taints and tolerations, by Kubernetes' rules, and which taints are ours.

use std::fmt;

/// The taint key that Clusternet's own lifecycle uses; ours unless `--taint-key` says otherwise.
pub const UNSCHEDULABLE_KEY: &str = "clusters.clusternet.io/unschedulable";

/// What a taint does to that which does not tolerate it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing new may be placed.
    NoSchedule,
    /// Better not.
    PreferNoSchedule,
    /// Nothing new, and what is there goes.
    NoExecute,
    /// A word that we do not know, kept as it is.
    Other(String),
}

impl Effect {
    /// The word in the API.
    pub fn as_str(&self) -> &str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
            Self::Other(word) => word,
        }
    }

    /// Whether it keeps new workloads away.
    pub fn repels(&self) -> bool {
        matches!(self, Self::NoSchedule | Self::NoExecute)
    }
}

impl From<&str> for Effect {
    fn from(word: &str) -> Self {
        match word {
            "NoSchedule" => Self::NoSchedule,
            "PreferNoSchedule" => Self::PreferNoSchedule,
            "NoExecute" => Self::NoExecute,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// One entry of `spec.taints`, of a ManagedCluster or of a Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value; absent and empty are told apart, because foreign entries are written back as read.
    pub value: Option<String>,
    /// The effect.
    pub effect: Effect,
    /// RFC 3339; `None` in a taint of ours that is still to be written: its writer stamps it.
    pub time_added: Option<String>,
}

impl Taint {
    fn value(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Taint {
    /// `key=value:Effect`, as kubectl prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            "" => write!(f, "{}:{}", self.key, self.effect.as_str()),
            value => write!(f, "{}={value}:{}", self.key, self.effect.as_str()),
        }
    }
}

/// The values that we write, one for each verdict that is not schedulable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The verdict Lost.
    ClusterStatusUnknown,
    /// The verdict NotReady.
    ManagedClusterNotReady,
    /// The verdict NeverReported.
    ClusterStatusNeverUpdated,
}

impl Fault {
    /// Every value.
    pub const ALL: [Self; 3] =
        [Self::ClusterStatusUnknown, Self::ManagedClusterNotReady, Self::ClusterStatusNeverUpdated];

    /// The taint's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterStatusUnknown => "ClusterStatusUnknown",
            Self::ManagedClusterNotReady => "ManagedClusterNotReady",
            Self::ClusterStatusNeverUpdated => "ClusterStatusNeverUpdated",
        }
    }

    /// Our taint with this value, its time still open.
    pub fn taint(self, key: &str) -> Taint {
        Taint {
            key: key.to_owned(),
            value: Some(self.as_str().to_owned()),
            effect: Effect::NoSchedule,
            time_added: None,
        }
    }
}

/// Reads a taint as one of ours: our key, NoSchedule, and a value that we write.
///
/// The same key with another value is a person's (invariant `foreign_untouched`).
pub fn ours(taint: &Taint, key: &str) -> Option<Fault> {
    if taint.key != key || taint.effect != Effect::NoSchedule {
        return None;
    }
    Fault::ALL.into_iter().find(|fault| fault.as_str() == taint.value())
}

/// Our taint in a list, if any.
pub fn carried(taints: &[Taint], key: &str) -> Option<Fault> {
    taints.iter().find_map(|taint| ours(taint, key))
}

/// The list to write so that it carries exactly `fault` of ours, or `None` when it does already.
///
/// Foreign entries keep their place and content. A person's taint under our key is theirs: it
/// stands in for ours, since a list holds one entry per key and effect.
pub fn rewritten(taints: &[Taint], key: &str, fault: Option<Fault>) -> Option<Vec<Taint>> {
    let foreign = || taints.iter().filter(|taint| ours(taint, key).is_none());
    let taken = foreign().any(|taint| taint.key == key && taint.effect == Effect::NoSchedule);
    let wanted = if taken { None } else { fault };
    let present: Vec<Fault> = taints.iter().filter_map(|taint| ours(taint, key)).collect();
    if present == wanted.into_iter().collect::<Vec<_>>() {
        return None;
    }
    Some(foreign().cloned().chain(wanted.map(|fault| fault.taint(key))).collect())
}

/// How a toleration compares values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Any value.
    Exists,
    /// The same value.
    Equal,
    /// A word that we do not know: tolerates nothing.
    Unknown,
}

impl From<&str> for Operator {
    /// The API's word; none means `Equal`.
    fn from(word: &str) -> Self {
        match word {
            "Exists" => Self::Exists,
            "Equal" | "" => Self::Equal,
            _ => Self::Unknown,
        }
    }
}

/// What a pod or a Subscription puts up with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Toleration {
    /// Empty, with `Exists`: every key.
    pub key: String,
    /// How `value` is compared.
    pub operator: Operator,
    /// The value, for `Equal`.
    pub value: String,
    /// Empty: every effect.
    pub effect: String,
}

impl Toleration {
    /// Kubernetes' rule, `Toleration.ToleratesTaint` in k8s.io/api/core/v1.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let same_effect = self.effect.is_empty() || self.effect == taint.effect.as_str();
        let same_key = self.key.is_empty() || self.key == taint.key;
        same_effect
            && same_key
            && match self.operator {
                Operator::Exists => true,
                Operator::Equal => !self.key.is_empty() && self.value == taint.value(),
                Operator::Unknown => false,
            }
    }
}

/// Whether any of the tolerations tolerates the taint.
pub fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: Option<&str>, effect: &str) -> Taint {
        Taint { key: key.into(), value: value.map(Into::into), effect: effect.into(), time_added: Some("t".into()) }
    }

    fn toleration(key: &str, operator: Operator, value: &str, effect: &str) -> Toleration {
        Toleration { key: key.into(), operator, value: value.into(), effect: effect.into() }
    }

    #[test]
    fn tolerations_follow_kubernetes() {
        use Operator::{Equal, Exists, Unknown};
        let gpu = taint("gpu", Some("a100"), "NoSchedule");
        for (name, toleration, expected) in [
            ("exists, same key", toleration("gpu", Exists, "", ""), true),
            ("exists, any key", toleration("", Exists, "", ""), true),
            ("equal, same value", toleration("gpu", Equal, "a100", ""), true),
            ("equal, other value", toleration("gpu", Equal, "h100", ""), false),
            ("equal, no key", toleration("", Equal, "a100", ""), false),
            ("other key", toleration("cpu", Exists, "", ""), false),
            ("same effect", toleration("gpu", Exists, "", "NoSchedule"), true),
            ("other effect", toleration("gpu", Exists, "", "NoExecute"), false),
            ("unknown operator", toleration("gpu", Unknown, "a100", ""), false),
        ] {
            assert_eq!(toleration.tolerates(&gpu), expected, "{name}");
        }
    }

    #[test]
    fn only_our_values_under_our_key_are_ours() {
        for (name, taint, expected) in [
            ("ours", taint("k", Some("ClusterStatusUnknown"), "NoSchedule"), Some(Fault::ClusterStatusUnknown)),
            ("a person's value", taint("k", Some("maintenance"), "NoSchedule"), None),
            ("no value", taint("k", None, "NoSchedule"), None),
            ("other effect", taint("k", Some("ClusterStatusUnknown"), "NoExecute"), None),
            ("other key", taint("x", Some("ClusterStatusUnknown"), "NoSchedule"), None),
        ] {
            assert_eq!(ours(&taint, "k"), expected, "{name}");
        }
    }

    #[test]
    fn a_rewrite_keeps_every_foreign_entry() {
        let foreign = [taint("gpu", None, "NoSchedule"), taint("k", Some("ClusterStatusUnknown"), "NoExecute")];
        let added = rewritten(&foreign, "k", Some(Fault::ClusterStatusUnknown)).expect("a change");
        assert_eq!(added[..2], foreign);
        assert_eq!(added[2], Fault::ClusterStatusUnknown.taint("k"));
        assert_eq!(rewritten(&added, "k", Some(Fault::ClusterStatusUnknown)), None);
        assert_eq!(rewritten(&added, "k", None), Some(foreign.to_vec()));
        let other = rewritten(&added, "k", Some(Fault::ManagedClusterNotReady)).expect("a change");
        assert_eq!(carried(&other, "k"), Some(Fault::ManagedClusterNotReady));
        assert_eq!(other.len(), 3);
    }

    #[test]
    fn a_persons_taint_under_our_key_stands_in_for_ours() {
        let person = [taint("k", Some("maintenance"), "NoSchedule")];
        assert_eq!(rewritten(&person, "k", Some(Fault::ClusterStatusUnknown)), None);
        assert_eq!(rewritten(&person, "k", None), None);
    }
}
