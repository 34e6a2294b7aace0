//! How long a plan takes, and how that grows: `cargo bench --bench plan`.
//!
//! A tenth of the clusters is lost; each Subscription runs on three, one of them lost, asks for
//! something of its own, and has one of 97 affinities. Every plan is checked.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a benchmark's word to whoever runs it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sheetanchor::clock;
use sheetanchor::domain::capacity::Headroom;
use sheetanchor::domain::cluster::{AgentReady, Cluster, ClusterKey, ROLE_LABEL, Resources};
use sheetanchor::domain::health::{Health, HealthPolicy, Report};
use sheetanchor::domain::placement::ClusterView;
use sheetanchor::domain::plan::{Demand, Leaving, Site, Workload, plan};
use sheetanchor::domain::selector::{Requirement, Selector};
use sheetanchor::domain::sight::Moment;
use sheetanchor::domain::subscription::{Placement, SubscriptionFacts};

const RUNS: usize = 15;
/// The affinities in a fleet of so many clusters: no divisor of what is lost, so that each has its share.
fn affinities(clusters: usize) -> usize {
    if clusters < 1_000 { 9 } else { 97 }
}

const POLICY: HealthPolicy =
    HealthPolicy { default_period: Duration::from_secs(15), grace_periods: 3, unhealthy_threshold: 0.55 };

fn key(place: usize) -> ClusterKey {
    ClusterKey::new("fleet", &format!("cluster-{place:05}"))
}

fn sites(count: usize) -> Vec<Site> {
    let report = Report { ready: AgentReady::True, declared_period_seconds: None };
    let health = Health::first_seen(Moment::default(), true, report, None, &POLICY);
    let site = |place: usize| {
        let role = if place % 5 == 4 { "spare" } else { "active" };
        let zone = (place % affinities(count)).to_string();
        let all = Resources { cpu_millis: 1e9, memory_bytes: 1e15 };
        let cluster = Cluster {
            key: key(place),
            uid: place.to_string(),
            resource_version: "1".into(),
            labels: BTreeMap::from([(ROLE_LABEL.into(), role.into()), ("zone".into(), zone)]),
            cluster_id: String::new(),
            wants_init: false,
            taints: Vec::new(),
            stamp: None,
            declared_period_seconds: None,
            agent_ready: AgentReady::True,
            conditions: Vec::new(),
            allocatable: Some(all),
            used: None,
            release: None,
        };
        let view = ClusterView { cluster: Arc::new(cluster), health: health.clone(), untainted: None };
        Site { view, headroom: Headroom::new(Some(all), None, Resources::default(), 0) }
    };
    (0..count).map(site).collect()
}

fn workloads(count: usize, clusters: usize) -> Vec<Workload> {
    let zones = affinities(clusters);
    let workload = |i: usize| {
        // One that is lost: every tenth.
        let lost = i * 10 % clusters;
        let bound = [lost, (lost + zones) % clusters, (lost + 2 * zones) % clusters];
        let zone = Requirement::equals("zone".into(), (lost % zones).to_string());
        let need = Resources { cpu_millis: 500.0, memory_bytes: 1e9 };
        let mut clusters: Vec<String> = bound.iter().map(|place| key(*place).to_string()).collect();
        clusters.sort();
        Workload {
            key: format!("default/web-{i:06}"),
            priority: i32::try_from(i % 7).expect("small"),
            facts: SubscriptionFacts { affinities: vec![Selector::All(vec![zone])], ..SubscriptionFacts::default() },
            placement: Placement { clusters, ..Placement::default() },
            demand: Demand { replica: BTreeMap::new(), whole: BTreeMap::from([(key(lost), need)]) },
            ..Workload::default()
        }
    };
    (0..count).map(workload).collect()
}

fn main() {
    println!("{:>14} {:>9} {:>9} {:>9}  per move", "subscriptions", "clusters", "median", "max");
    for (count, clusters) in [(1_000, 1_000), (10_000, 100), (10_000, 1_000), (10_000, 10_000), (100_000, 1_000)] {
        let (sites, work) = (sites(clusters), workloads(count, clusters));
        let leaving: Leaving = (0..clusters).step_by(10).map(|place| (key(place), Duration::from_secs(60))).collect();
        let mut times: Vec<Duration> = (0..RUNS)
            .map(|_| {
                let sites = sites.clone();
                let start = clock::now();
                let plan = plan(sites, &work, &leaving);
                let time = clock::now() - start;
                assert!(plan.moves.len() >= count && plan.held.is_empty(), "{} of {count} moved", plan.moves.len());
                time
            })
            .collect();
        times.sort();
        let per_move = times[RUNS / 2] / u32::try_from(count).expect("small");
        println!("{count:>14} {clusters:>9} {:>9.1?} {:>9.1?}  {per_move:.1?}", times[RUNS / 2], times[RUNS - 1]);
    }
}
