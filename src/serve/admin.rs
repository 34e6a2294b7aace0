//! The admin door: `/metrics`, and the fleet as JSON at `/api/v1/fleet`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::clock;
use crate::domain::cluster::ClusterKey;
use crate::domain::placement::{ClusterView, Steering};
use crate::metrics::Metrics;
use crate::state::snapshot::{NodeHome, Snapshot, Snapshots};

/// The type that Prometheus asks for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
/// As in Kubernetes, a `reason` is a word and a `message` a sentence.
fn fleet(snapshot: &Snapshot, leader: &LeaderView, now: Instant) -> Value {
    let steering = snapshot.steering(now);
    let brake = snapshot.brake.as_ref().map(|brake| {
        json!({
            "reason": brake.cause.as_str(),
            "message": brake.cause.to_string(),
            "sinceSeconds": steering.now.since(brake.since).as_secs_f64(),
            "clusters": brake.clusters.iter().map(ClusterKey::as_str).collect::<Vec<_>>(),
        })
    });
    let undecodable = snapshot.undecodable.iter().map(|object| json!({"name": object.key, "error": object.error}));
    let clusters = snapshot.clusters.iter().zip(nodes_by_place(snapshot));
    let clusters = clusters.map(|(view, nodes)| cluster(&steering, view, &nodes));
    json!({
        "leader": {"holder": leader.holder, "self": leader.leads, "error": leader.error},
        "blind": snapshot.blind,
        "brake": brake,
        "undecodable": undecodable.collect::<Vec<_>>(),
        "clusters": clusters.collect::<Vec<_>>(),
    })
}

/// The names of the nodes that stand for each of the snapshot's clusters.
fn nodes_by_place(snapshot: &Snapshot) -> Vec<Vec<&str>> {
    let mut nodes = vec![Vec::new(); snapshot.clusters.len()];
    for (name, home) in snapshot.nodes.iter() {
        if let NodeHome::Cluster(place) = home
            && let Some(nodes) = nodes.get_mut(*place)
        {
            nodes.push(name.as_ref());
        }
    }
    for nodes in &mut nodes {
        nodes.sort_unstable();
    }
    nodes
}

/// `schedulable` and `rejection` are what a pod without tolerations meets.
fn cluster(steering: &Steering<'_>, view: &ClusterView, nodes: &[&str]) -> Value {
    let (moment, health) = (steering.now, &view.health);
    let rejection = steering.rejection(view, &[]);
    json!({
        "name": view.key().as_str(),
        "uid": view.cluster.uid,
        "role": if view.cluster.is_spare() { "spare" } else { "active" },
        "verdict": health.verdict().as_str(),
        "message": health.explain(moment, steering.health),
        "standing": health.standing().as_str(),
        "standingSeconds": moment.since(health.since()).as_secs_f64(),
        "schedulable": rejection.is_none(),
        "rejection": rejection.map(|rejection| rejection.reason),
        "silenceSeconds": health.age(moment).as_secs_f64(),
        "periodSeconds": health.period().as_secs_f64(),
        "limitSeconds": health.limit(steering.health).as_secs_f64(),
        "taints": view.cluster.taints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "freeShare": view.cluster.free_share(),
        "nodes": nodes,
    })
}

#[cfg(test)]
mod tests;
