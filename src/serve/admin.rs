//! The admin door: `/metrics`, and the fleet as JSON at `/api/v1/fleet`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::clock;
use crate::domain::cluster::ClusterKey;
use crate::domain::placement::ClusterView;
use crate::metrics::{Metrics, Word};
use crate::state::snapshot::{NodeHome, Snapshot, Snapshots};

use super::admission::{self, AdmissionOutcome};
use super::extender::{self, Outcome, Verb};

/// The type that Prometheus asks for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVerb {
    verb: Word,
    outcome: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByGrounds {
    reason: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: Word,
}

/// What the extender's and the webhook's doors were asked and answered.
#[derive(Clone, Debug, Default)]
pub struct DoorCounters {
    calls: Family<ByVerb, Counter>,
    rejections: Family<ByGrounds, Counter>,
    reviews: Family<ByOutcome, Counter>,
}

impl DoorCounters {
    /// Adds them to the page.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("extender_calls", "Calls of the scheduler by verb and outcome", self.calls.clone());
        registry.register("extender_rejected_nodes", "Nodes rejected by /filter, by reason", self.rejections.clone());
        registry.register("admission_reviews", "Reviews asked by the API server, by outcome", self.reviews.clone());
    }

    fn count(&self, verb: Verb, outcome: &'static str) {
        self.calls.get_or_create(&ByVerb { verb: Word(verb.as_str()), outcome: Word(outcome) }).inc();
    }
}

impl extender::Observer for DoorCounters {
    fn answered(&self, verb: Verb, outcome: &Outcome) {
        self.count(verb, "Answered");
        if verb == Verb::Filter {
            for (grounds, nodes) in &outcome.rejected {
                let counter = self.rejections.get_or_create(&ByGrounds { reason: Word(grounds.as_str()) });
                counter.inc_by(u64::try_from(*nodes).unwrap_or(u64::MAX));
            }
        }
    }

    fn refused(&self, verb: Verb) {
        self.count(verb, "Refused");
    }
}

impl admission::Observer for DoorCounters {
    fn answered(&self, outcome: AdmissionOutcome) {
        self.reviews.get_or_create(&ByOutcome { outcome: Word(outcome.as_str()) }).inc();
    }

    fn refused(&self) {
        self.reviews.get_or_create(&ByOutcome { outcome: Word("Refused") }).inc();
    }
}

/// What is known of the leadership at one moment.
#[derive(Clone, Debug)]
pub struct LeaderView {
    /// Whose name the Lease bears.
    pub holder: Option<String>,
    /// Whether it is this replica.
    pub leads: bool,
    /// Why the Lease cannot be read or written, if so.
    pub error: Option<String>,
}

/// What the admin port shows.
#[derive(Clone)]
pub struct Admin {
    /// The fleet.
    pub snapshots: Snapshots,
    /// The counts.
    pub metrics: Arc<Metrics>,
    /// Who leads, at a given time of our clock.
    pub leader: Arc<dyn Fn(Instant) -> LeaderView + Send + Sync>,
}

impl Admin {
    /// `/metrics` and `/api/v1/fleet`.
    pub fn router(self) -> Router {
        let metrics = metrics_router(Arc::clone(&self.metrics));
        let fleet = |State(admin): State<Self>| async move {
            let now = clock::now();
            Json(fleet(&admin.snapshots.load(), &(admin.leader)(now), now))
        };
        Router::new().route("/api/v1/fleet", get(fleet)).with_state(self).merge(metrics)
    }
}

/// `/metrics` alone.
pub fn metrics_router(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(page)).with_state(metrics)
}

async fn page(State(metrics): State<Arc<Metrics>>) -> Response {
    ([(CONTENT_TYPE, OPENMETRICS)], metrics.text()).into_response()
}

/// The fleet for people and programs. Ages are in seconds, of our own clock, without blind time.
fn fleet(snapshot: &Snapshot, leader: &LeaderView, now: Instant) -> Value {
    let brake = snapshot.brake.as_ref().map(|brake| {
        json!({
            "rule": brake.cause.as_str(),
            "reason": brake.cause.to_string(),
            "sinceSeconds": snapshot.moment(now).since(brake.since).as_secs_f64(),
            "clusters": brake.clusters.iter().map(ClusterKey::as_str).collect::<Vec<_>>(),
        })
    });
    let undecodable = snapshot.undecodable.iter().map(|object| json!({"name": object.key, "error": object.error}));
    let clusters = snapshot.clusters.iter().zip(0..).map(|(view, place)| cluster(snapshot, view, place, now));
    json!({
        "leader": {"holder": leader.holder, "self": leader.leads, "error": leader.error},
        "blind": snapshot.blind,
        "brake": brake,
        "undecodable": undecodable.collect::<Vec<_>>(),
        "clusters": clusters.collect::<Vec<_>>(),
    })
}

fn cluster(snapshot: &Snapshot, view: &ClusterView, place: usize, now: Instant) -> Value {
    let (moment, policy, health) = (snapshot.moment(now), &snapshot.policy, &view.health);
    let mut nodes: Vec<&str> = snapshot
        .nodes
        .iter()
        .filter(|(_, home)| **home == NodeHome::Cluster(place))
        .map(|(name, _)| name.as_ref())
        .collect();
    nodes.sort_unstable();
    json!({
        "name": view.key().as_str(),
        "uid": view.cluster.uid,
        "role": if view.cluster.is_spare() { "spare" } else { "active" },
        "verdict": health.verdict().as_str(),
        "reason": health.explain(moment, &policy.health),
        "verdictSeconds": moment.since(health.since()).as_secs_f64(),
        "schedulable": health.schedulable(),
        "silenceSeconds": health.age(moment).as_secs_f64(),
        "periodSeconds": health.period().as_secs_f64(),
        "limitSeconds": health.limit(&policy.health).as_secs_f64(),
        "taints": view.cluster.taints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "freeShare": view.cluster.free_share(),
        "nodes": nodes,
    })
}
