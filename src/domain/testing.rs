//! Clusters of every kind, for the tests of whatever looks at them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::{AgentReady, Cluster, ClusterKey, ROLE_LABEL, Resources};
use super::health::{Health, HealthPolicy, Report, Verdict};
use super::placement::ClusterView;
use super::sight::Moment;
use super::taint::{Operator, Taint, Toleration};

/// A beat every 15 s is asked for: Late after 22.5 s, Lost after 45 s.
pub(crate) const POLICY: HealthPolicy =
    HealthPolicy { default_period: Duration::from_secs(15), grace_periods: 3, unhealthy_threshold: 0.55 };

/// That many milliseconds after the start.
pub(crate) fn at(ms: u64) -> Moment {
    Moment::default().plus(Duration::from_millis(ms))
}

fn mk_report(ready: AgentReady) -> Report {
    Report { ready, declared_period_seconds: None }
}

/// A cluster that beat at 0, and so is Ready.
pub(crate) fn mk_ready() -> Health {
    let report = mk_report(AgentReady::True);
    let mut health = Health::first_seen(at(0), true, report, None, &POLICY);
    health.beat(at(0), report, &POLICY);
    health
}

/// One that last beat at 0, judged after 48 s of silence.
pub(crate) fn mk_silent(braked: bool) -> Health {
    let mut health = mk_ready();
    health.judge(at(48_000), at(48_000), braked, &POLICY);
    health
}

/// One whose agent says since 0 that it is not ready.
pub(crate) fn mk_not_ready() -> Health {
    let mut health = mk_ready();
    for ms in [0, 15_000] {
        health.beat(at(ms), mk_report(AgentReady::False), &POLICY);
    }
    health.judge(at(15_000), at(15_000), false, &POLICY);
    health
}

/// One that was lost at 48 s, and beat then.
pub(crate) fn mk_recovering() -> Health {
    let mut health = mk_silent(false);
    health.beat(at(48_000), mk_report(AgentReady::True), &POLICY);
    health
}

/// One that was lost at 48 s and has been Ready again since 80 s.
pub(crate) fn mk_returned() -> Health {
    let mut health = mk_silent(false);
    for ms in [50_000, 65_000, 80_000] {
        health.beat(at(ms), mk_report(AgentReady::True), &POLICY);
    }
    assert_eq!(health.verdict(), Verdict::Ready);
    health
}

/// A cluster of each verdict at 48 s, and one that is Suspected on top of NotReady.
pub(crate) fn mk_each() -> Vec<(&'static str, Health)> {
    let mut late = mk_ready();
    late.judge(at(30_000), at(30_000), false, &POLICY);
    let mut never = Health::first_seen(at(0), false, mk_report(AgentReady::Unknown), None, &POLICY);
    never.judge(at(48_000), at(48_000), false, &POLICY);
    let mut silenced = mk_not_ready();
    silenced.judge(at(63_000), at(63_000), true, &POLICY);
    vec![
        ("Ready", mk_ready()),
        ("Late", late),
        ("Suspected", mk_silent(true)),
        ("Suspected, NotReady before", silenced),
        ("Lost", mk_silent(false)),
        ("NotReady", mk_not_ready()),
        ("NeverReported", never),
        ("Recovering", mk_recovering()),
    ]
}

/// A taint, its time open.
pub(crate) fn mk_taint(key: &str, value: &str, effect: &str) -> Taint {
    Taint { key: key.into(), value: Some(value.into()), effect: effect.into(), time_added: None }
}

/// A toleration.
pub(crate) fn mk_toleration(key: &str, operator: Operator, value: &str, effect: &str) -> Toleration {
    Toleration { key: key.into(), operator, value: value.into(), effect: effect.into() }
}

/// The cluster `fleet/<name>`, nothing reported of its resources.
pub(crate) fn mk_view(name: &str, health: Health) -> ClusterView {
    let cluster = Cluster {
        key: ClusterKey::new("fleet", name),
        uid: "u".into(),
        resource_version: "1".into(),
        labels: BTreeMap::new(),
        cluster_id: String::new(),
        wants_init: false,
        taints: Vec::new(),
        stamp: None,
        declared_period_seconds: None,
        agent_ready: AgentReady::True,
        conditions: Vec::new(),
        allocatable: None,
        used: None,
        release: None,
    };
    ClusterView { cluster: Arc::new(cluster), health, untainted: None }
}

impl ClusterView {
    /// As a spare.
    pub(crate) fn spare(mut self) -> Self {
        let labels = &mut Arc::make_mut(&mut self.cluster).labels;
        labels.insert(ROLE_LABEL.into(), "spare".into());
        self
    }

    /// With one more taint.
    pub(crate) fn tainted(mut self, taint: Taint) -> Self {
        Arc::make_mut(&mut self.cluster).taints.push(taint);
        self
    }

    /// With resources: how much is used, of how much.
    pub(crate) fn using(mut self, cpu: [f64; 2], memory: [f64; 2]) -> Self {
        let cluster = Arc::make_mut(&mut self.cluster);
        cluster.used = Some(Resources { cpu_millis: cpu[0], memory_bytes: memory[0] });
        cluster.allocatable = Some(Resources { cpu_millis: cpu[1], memory_bytes: memory[1] });
        self
    }
}
