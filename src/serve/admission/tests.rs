//! The door, with bodies as real API servers send them. What becomes of an answer is judged by
//! applying its patch as the API server would.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use serde_json::{Value, json};

use super::super::testing::mk_snapshot;
use super::*;
use crate::domain::cluster::ClusterKey;
use crate::domain::health::Health;
use crate::domain::placement::ClusterView;
use crate::domain::taint::{Fault, UNSCHEDULABLE_KEY};
use crate::domain::testing::{at, mk_ready, mk_silent, mk_view};
use crate::state::snapshot::{NodeHome, Undecodable};

mod bindings;
mod bodies;
mod placements;
mod rescues;

const POD_BINDING: &str = include_str!("../../../tests/data/admission-pods-binding.json");
const POD: &str = include_str!("../../../tests/data/admission-pods.json");
const STATUS: &str = include_str!("../../../tests/data/admission-subscriptions-status.json");
const SUBSCRIPTION: &str = include_str!("../../../tests/data/admission-subscriptions.json");
/// The node that [`POD_BINDING`] is to.
const NODE: &str = "ip-10-16-0-1.eu-central-1.compute.internal";
const STRICT: AdmissionPolicy =
    AdmissionPolicy { binding: BindingPolicy::Deny, guard: GuardMode::Full, failover: false, sticky: false };

/// A cluster for [`STATUS`]' affinity.
fn mk_prod(key: &str, health: Health) -> ClusterView {
    let mut view = mk_view("", health);
    let cluster = Arc::make_mut(&mut view.cluster);
    cluster.key = ClusterKey::parse(key).unwrap();
    cluster.labels.insert("env".into(), "prod".into());
    view
}

/// A fleet at 48 s. [`NODE`] stands for the first cluster.
fn snapshot(mut clusters: Vec<ClusterView>) -> Snapshot {
    let first = clusters.first().map(|view| view.key().clone());
    clusters.sort_by(|left, right| left.key().cmp(right.key()));
    let place = clusters.iter().position(|view| Some(view.key()) == first.as_ref());
    let home = place.map(|place| (NODE.to_owned(), NodeHome::Cluster(place)));
    mk_snapshot(clock::now(), clusters, home.into_iter().collect())
}

/// What the door made of a request.
#[derive(Debug)]
struct Made {
    outcome: AdmissionOutcome,
    bad_annotation: bool,
    response: Value,
    /// The object that is stored in the end; that of the request when it was denied.
    object: Value,
}

/// Sends a review to the door, checks that the answer is one, and applies its patch.
fn send(review: &Value, snapshot: &Snapshot, policy: AdmissionPolicy) -> Made {
    let reply = mutate(review.to_string().as_bytes(), snapshot, snapshot.taken.0, &policy).expect("an answer");
    let answer: Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    let response = answer["response"].clone();
    assert_eq!(response["uid"], review["request"]["uid"]);
    assert_eq!(response.get("patch").is_some(), response.get("patchType").is_some(), "both or neither");
    let mut object = review["request"]["object"].clone();
    if let Some(patch) = response["patch"].as_str() {
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = base64::engine::general_purpose::STANDARD.decode(patch).expect("base64");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a patch");
        json_patch::patch(&mut object, &patch).expect("a patch that applies");
    }
    for warning in response["warnings"].as_array().into_iter().flatten() {
        assert!(warning.as_str().is_some_and(|text| text.chars().count() <= 256), "{warning}");
    }
    Made { outcome: reply.outcome, bad_annotation: reply.bad_annotation, response, object }
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A write of a Subscription's status: from `old` to `new`. Null removes the field.
fn status_review(old: &Value, new: &Value) -> Value {
    let mut review = read(STATUS);
    for (object, status) in [("oldObject", old), ("object", new)] {
        let object = &mut review["request"][object];
        object["status"] = status.clone();
    }
    review
}

/// Two clusters for [`STATUS`]' affinity; the first carries our taint.
fn tainted() -> Snapshot {
    let ours = Fault::ClusterStatusUnknown.taint(UNSCHEDULABLE_KEY);
    snapshot(vec![
        mk_prod("clusternet-a/child-1", mk_silent(false)).tainted(ours),
        mk_prod("clusternet-b/child-2", mk_ready()),
    ])
}
