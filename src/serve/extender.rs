//! The scheduler-extender door: `POST /filter` and `POST /prioritize`.
//!
//! A call is decided on one snapshot and waits for nothing, neither a lock nor the API. What there
//! is to say about a cluster is worked out once per call, however many nodes stand for it.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tracing::warn;

use crate::clock;
use crate::domain::placement::{ClusterView, Grounds, Rejection, Steering};
use crate::domain::taint::Toleration;
use crate::state::snapshot::{NodeHome, Snapshot, Snapshots};
use crate::wire::extender::answer::{FilterResult, HostPriorityList};
use crate::wire::extender::{DecodeError, decode};

use super::counters::{CallOutcome, DoorCounters};
use super::guardrails::{handle_body, refusal};

/// The two questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Where may the pod go?
    Filter,
    /// Where is it best?
    Prioritize,
}

impl Verb {
    /// The word in the path.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Prioritize => "prioritize",
        }
    }

    fn answer(self, body: &[u8], snapshot: &Snapshot, now: Instant) -> Result<(Vec<u8>, Rejections), DecodeError> {
        match self {
            Self::Filter => filter(body, snapshot, now),
            Self::Prioritize => Ok((prioritize(body, snapshot, now)?, Rejections::new())),
        }
    }
}

/// How many nodes a pod may not go to, by kind of reason.
pub type Rejections = BTreeMap<Grounds, u64>;

/// What the door needs.
#[derive(Clone)]
pub struct Door {
    snapshots: Snapshots,
    counters: DoorCounters,
}

impl Door {
    /// A door that answers from the latest of `snapshots`.
    pub fn new(snapshots: Snapshots, counters: DoorCounters) -> Self {
        Self { snapshots, counters }
    }

    /// Its two routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/filter", post(|State(door): State<Self>, body: Bytes| door.call(Verb::Filter, body)))
            .route("/prioritize", post(|State(door): State<Self>, body: Bytes| door.call(Verb::Prioritize, body)))
            .with_state(self)
    }

    async fn call(self, verb: Verb, body: Bytes) -> Response {
        let (snapshot, now) = (self.snapshots.load(), clock::now());
        if !snapshot.complete {
            // An ignorable extender is then left out; in an empty answer every node would pass.
            self.counters.called(verb, CallOutcome::Unsynced);
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "the fleet is not known yet: see /readyz");
        }
        match handle_body(body, move |body| verb.answer(body, &snapshot, now)).await {
            Ok((body, rejections)) => {
                self.counters.called(verb, CallOutcome::Answered);
                self.counters.rejected(&rejections);
                ([(CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(error) => {
                self.counters.called(verb, CallOutcome::Refused);
                warn!(verb = verb.as_str(), %error, "cannot understand the scheduler");
                refusal(StatusCode::BAD_REQUEST, &error.to_string())
            }
        }
    }
}

/// Answers `/filter`: which of the nodes the pod may go to, and why not to the others.
pub fn filter(body: &[u8], snapshot: &Snapshot, now: Instant) -> Result<(Vec<u8>, Rejections), DecodeError> {
    let args = decode(body)?;
    let evaluation = Evaluation::new(snapshot, now, &args.pod.tolerations);
    let mut result = FilterResult::about(&args.candidates, body.len());
    let mut rejections = Rejections::new();
    for node in args.candidates.iter() {
        match evaluation.evaluate(node.name()) {
            Ok(_) => result.pass(node),
            Err(rejection) => {
                *rejections.entry(rejection.grounds).or_default() += 1;
                result.reject(node, &rejection.reason);
            }
        }
    }
    Ok((result.finish(), rejections))
}

/// Answers `/prioritize`: how good each node is. One that would be rejected scores 0.
pub fn prioritize(body: &[u8], snapshot: &Snapshot, now: Instant) -> Result<Vec<u8>, DecodeError> {
    let args = decode(body)?;
    let evaluation = Evaluation::new(snapshot, now, &args.pod.tolerations);
    let mut list = HostPriorityList::with_room(args.candidates.len());
    for node in args.candidates.iter() {
        list.push(node, evaluation.evaluate(node.name()).unwrap_or(0));
    }
    Ok(list.finish())
}

/// What one call works out, for each cluster when the first of its nodes is asked about.
struct Evaluation<'s> {
    snapshot: &'s Snapshot,
    steering: Steering<'s>,
    tolerations: &'s [Toleration],
    /// For each of the snapshot's clusters: its score, or why the pod cannot go there.
    results: Vec<OnceCell<Result<u8, Rejection>>>,
}

impl<'s> Evaluation<'s> {
    fn new(snapshot: &'s Snapshot, now: Instant, tolerations: &'s [Toleration]) -> Self {
        let results = snapshot.clusters.iter().map(|_| OnceCell::new()).collect();
        Self { snapshot, steering: snapshot.steering(now), tolerations, results }
    }

    /// A node's score, or why the pod cannot go there. A node of no cluster is none of our business.
    fn evaluate(&self, node: &str) -> Result<u8, Cow<'_, Rejection>> {
        let place = match self.snapshot.nodes.get(node) {
            None => return Ok(0),
            Some(NodeHome::Vanished(label)) => return Err(Cow::Owned(Rejection::vanished(label))),
            Some(NodeHome::Cluster(place)) => *place,
        };
        let (Some(view), Some(result)) = (self.snapshot.clusters.get(place), self.results.get(place)) else {
            return Ok(0);
        };
        result.get_or_init(|| self.evaluate_cluster(view)).as_ref().copied().map_err(Cow::Borrowed)
    }

    fn evaluate_cluster(&self, view: &ClusterView) -> Result<u8, Rejection> {
        match self.steering.rejection(view, self.tolerations) {
            Some(rejection) => Err(rejection),
            None => Ok(self.steering.score(view)),
        }
    }
}
