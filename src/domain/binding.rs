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
    let lost = health.standing() == Verdict::Lost && !health.inherited() && now.since(health.since()) < OVERTAKEN;
    lost.then(|| format!("cluster \"{}\" is {}: {}", view.key(), health.verdict(), health.explain(now, policy)))
}

/// The role that a binding to this cluster is marked with.
pub fn role(cluster: &Cluster) -> &'static str {
    if cluster.is_spare() { "spare" } else { "active" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster::AgentReady;
    use crate::domain::health::{Health, Report};
    use crate::domain::taint::Fault;
    use crate::domain::testing::{POLICY, at, mk_each, mk_ready, mk_silent, mk_view};

    #[test]
    fn only_a_loss_overtakes_a_binding() {
        for (name, health) in mk_each() {
            let reason = overtaken(&mk_view("eu-2", health), at(48_000), &POLICY);
            let expected = "cluster \"fleet/eu-2\" is Lost: no heartbeat for 48s (limit 45s)";
            assert_eq!(reason.as_deref(), (name == "Lost").then_some(expected), "{name}");
        }
    }

    #[test]
    fn and_only_for_a_minute() {
        for (now, expected) in [(48_000, true), (107_999, true), (108_000, false), (108_001, false)] {
            let view = mk_view("eu-2", mk_silent(false));
            assert_eq!(overtaken(&view, at(now), &POLICY).is_some(), expected, "{now}");
        }
    }

    #[test]
    fn a_loss_of_before_our_start_overtakes_nothing() {
        let report = Report { ready: AgentReady::Unknown, declared_period_seconds: Some(15) };
        let health = Health::first_seen(at(0), true, report, Some(Fault::ClusterStatusUnknown), &POLICY);
        assert_eq!(overtaken(&mk_view("eu-2", health), at(1_000), &POLICY), None);
    }

    #[test]
    fn a_role_is_active_or_spare() {
        let active = mk_view("eu-2", mk_ready());
        assert_eq!(role(&active.cluster), "active");
        assert_eq!(role(&active.spare().cluster), "spare");
    }
}
