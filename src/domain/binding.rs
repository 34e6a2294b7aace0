//! Whether a pod may still be bound where its scheduler decided, and what its binding is marked with.

use std::time::Duration;

use super::cluster::Cluster;
use super::health::{HealthPolicy, Verdict};
use super::placement::ClusterView;
use super::sight::Moment;

/// The annotation of a binding, and so of its pod, that names the cluster: `namespace/name`.
pub const CLUSTER_ANNOTATION: &str = "sheetanchor.dev/cluster";
/// The annotation that says what the cluster is: see [`role`].
pub const ROLE_ANNOTATION: &str = "sheetanchor.dev/role";
/// A binding to a cluster that became Lost within this time was decided before that. A later one
/// is deliberate, by a toleration, which the binding itself does not carry.
const OVERTAKEN: Duration = Duration::from_secs(60);

/// What happens to a binding that was overtaken by a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingPolicy {
    /// It is refused, and the scheduler chooses again.
    Deny,
    /// It is stored, with a warning.
    Audit,
}

/// Why a binding made at `now` to a node of this cluster comes too late, if it does.
pub fn overtaken(view: &ClusterView, now: Moment, policy: &HealthPolicy) -> Option<String> {
    let health = &view.health;
    let lost = health.standing() == Verdict::Lost && now.since(health.since()) < OVERTAKEN;
    lost.then(|| format!("cluster \"{}\" is {}: {}", view.key(), health.verdict(), health.explain(now, policy)))
}

/// The role that a binding to this cluster is marked with.
pub fn role(cluster: &Cluster) -> &'static str {
    if cluster.is_spare() { "spare" } else { "active" }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::domain::cluster::{AgentReady, ClusterKey};
    use crate::domain::health::{Health, Report};
    use crate::domain::taint::Fault;

    const POLICY: HealthPolicy =
        HealthPolicy { default_period: Duration::from_secs(15), grace_periods: 3, unhealthy_threshold: 0.55 };

    fn at(millis: u64) -> Moment {
        Moment::default().plus(Duration::from_millis(millis))
    }

    fn view(health: Health, role: Option<&str>) -> ClusterView {
        let cluster = Cluster {
            key: ClusterKey::new("fleet", "eu-2"),
            uid: String::new(),
            resource_version: String::new(),
            labels: role
                .map(|role| ("sheetanchor.dev/role".to_owned(), role.to_owned()))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            cluster_id: String::new(),
            wants_init: false,
            taints: vec![],
            stamp: None,
            declared_period_seconds: None,
            agent_ready: AgentReady::True,
            conditions: vec![],
            allocatable: None,
            used: None,
        };
        ClusterView { cluster: Arc::new(cluster), health, untainted: None }
    }

    /// Silent since 0, judged once, at that time.
    fn judged(at_millis: u64, carried: Option<Fault>) -> Health {
        let report = Report { ready: AgentReady::True, declared_period_seconds: None };
        let mut health = Health::first_seen(Moment::default(), true, report, carried, &POLICY);
        health.judge(at(at_millis), false, &POLICY);
        health
    }

    #[test]
    fn a_binding_is_overtaken_for_a_minute_after_the_loss() {
        let lost = || judged(45_001, None);
        for (name, health, now, expected) in [
            ("late", judged(45_000, None), 45_000, false),
            ("lost just now", lost(), 45_001, true),
            ("1 ms before the minute is over", lost(), 105_000, true),
            ("a minute later", lost(), 105_001, false),
            ("1 ms after that", lost(), 105_002, false),
            ("never reported", judged(0, Some(Fault::ClusterStatusNeverUpdated)), 0, false),
            ("not ready", judged(0, Some(Fault::ManagedClusterNotReady)), 0, false),
        ] {
            assert_eq!(overtaken(&view(health, None), at(now), &POLICY).is_some(), expected, "{name}");
        }
        let reason = overtaken(&view(lost(), None), at(48_000), &POLICY);
        assert_eq!(reason.as_deref(), Some("cluster \"fleet/eu-2\" is Lost: no heartbeat for 48s (limit 45s)"));
    }

    #[test]
    fn a_role_is_active_or_spare() {
        for (label, expected) in [(None, "active"), (Some("spare"), "spare"), (Some("other"), "active")] {
            assert_eq!(role(&view(judged(0, None), label).cluster), expected);
        }
    }
}
