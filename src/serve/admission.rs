//! The admission door: the last look before a binding or a placement is stored.
//!
//! It fails open: what it does not understand it allows untouched, and counts. The decisions are
//! `domain::binding`'s and `domain::guard`'s.

#[cfg(test)]
mod tests;

use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::EncodeLabelValue;
use tracing::{debug, info, warn};

use crate::clock;
use crate::domain::binding::{self, BindingPolicy, CLUSTER_ANNOTATION, ROLE_ANNOTATION};
use crate::domain::guard::{Amendment, Guard, GuardMode, Rule, Ruling};
use crate::domain::rescue::RESCUED_ANNOTATION;
use crate::state::snapshot::{Snapshot, Snapshots};
use crate::wire::admission::{Answer, Binding, Review, ReviewError};
use crate::wire::subscription::{Stored, Written};

use super::counters::DoorCounters;
use super::guardrails::{handle_body, refusal};

/// The status of a denied binding. To kube-scheduler every failed binding is one to try again, but
/// a 404 may also be taken to mean that the node is gone, and a 429 or 5xx is retried as it is.
const CONFLICT: u16 = 409;

/// Audit annotations, which the API server prefixes with the webhook's name.
const AUDIT_BINDING: &str = "binding";
const AUDIT_GUARD: &str = "guard";
/// The reasons that a note in the audit log or ours gives in full: a line of at most some 20 KB.
const REASONS_NOTED_MAX: usize = 100;

/// How strict the door is.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionPolicy {
    /// For bindings.
    pub binding: BindingPolicy,
    /// For placements.
    pub guard: GuardMode,
    /// For placements: moves that were recorded may be finished, because failover is on.
    pub failover: bool,
    /// For placements: a healthy cluster is not swapped for another.
    pub sticky: bool,
}

/// What the door did with a request: a closed set, to count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum AdmissionOutcome {
    /// A binding was marked with its cluster.
    Stamped,
    /// A binding was marked already.
    AlreadyStamped,
    /// A binding went to a node that stands for no cluster.
    Unmapped,
    /// A binding to a cluster just lost was denied.
    Denied,
    /// A binding to a cluster just lost was stored, with a warning.
    Audited,
    /// A placement was stored as written.
    Passed,
    /// A placement that would have been emptied was restored.
    Refilled,
    /// A cluster dropped because of our taint stayed in a placement.
    Kept,
    /// What was rescued was put where the rescue says.
    Applied,
    /// A healthy cluster that was swapped for another stayed.
    SwappedBack,
    /// A cluster that should have stayed could not: the replicas were not one number per cluster.
    Unfit,
    /// A placement was not looked at: the guard is off.
    GuardOff,
    /// Allowed before the first complete list: nothing is known of the fleet.
    Unsynced,
    /// Nothing that the door looks at.
    Foreign,
    /// Something that it looks at, in a shape that it cannot read.
    NotUnderstood,
    /// No AdmissionReview at all. [`mutate`] has an error for that.
    Refused,
}

/// What the door needs.
#[derive(Clone)]
pub struct Door {
    snapshots: Snapshots,
    policy: AdmissionPolicy,
    counters: DoorCounters,
}

impl Door {
    /// A door that answers from the latest of `snapshots`.
    pub fn new(snapshots: Snapshots, policy: AdmissionPolicy, counters: DoorCounters) -> Self {
        Self { snapshots, policy, counters }
    }

    /// Its one route.
    pub fn router(self) -> Router {
        Router::new().route("/mutate", post(|State(door): State<Self>, body: Bytes| door.call(body))).with_state(self)
    }

    async fn call(self, body: Bytes) -> Response {
        let (snapshot, policy, now) = (self.snapshots.load(), self.policy, clock::now());
        match handle_body(body, move |body| mutate(body, &snapshot, now, &policy)).await {
            Ok(reply) => {
                self.counters.reviewed(reply.outcome);
                if reply.bad_annotation {
                    self.counters.ignored_annotation();
                }
                ([(CONTENT_TYPE, "application/json")], reply.body).into_response()
            }
            Err(error) => {
                self.counters.reviewed(AdmissionOutcome::Refused);
                warn!(%error, "cannot understand the API server");
                refusal(StatusCode::BAD_REQUEST, &error.to_string())
            }
        }
    }
}

/// What the API server gets, and what is counted of it.
#[derive(Debug)]
pub struct Reply {
    /// An AdmissionReview.
    pub body: Vec<u8>,
    /// What was done.
    pub outcome: AdmissionOutcome,
    /// An annotation of ours could not be read, and was ignored.
    pub bad_annotation: bool,
}

/// Answers one AdmissionReview.
///
/// Fails when the body is none: then there is no uid to answer to.
pub fn mutate(
    review: &[u8],
    snapshot: &Snapshot,
    now: Instant,
    policy: &AdmissionPolicy,
) -> Result<Reply, ReviewError> {
    let review = Review::read(review)?;
    let case = Case { review: &review, snapshot, now, policy };
    let decided = match (review.group(), review.resource(), &*review.sub_resource, &*review.operation) {
        ("", "pods", "binding", "CREATE") | ("", "bindings", "", "CREATE") if review.kind() == "Binding" => case.bind(),
        ("apps.clusternet.io", "subscriptions", "status", "UPDATE") => case.place(),
        _ => Ok((Answer::allow(), AdmissionOutcome::Foreign).into()),
    }
    .unwrap_or_else(|error| {
        debug!(%error, resource = review.resource(), namespace = &*review.namespace, name = &*review.name,
            "allowed what could not be read");
        (Answer::allow(), AdmissionOutcome::NotUnderstood).into()
    });
    let Decided { answer, outcome, bad_annotation } = decided;
    Ok(Reply { body: answer.to_json(&review.uid), outcome, bad_annotation })
}

/// An answer; an error when the object in the review cannot be read.
type Decision = Result<Decided, serde_json::Error>;

/// An answer and what is counted of it.
struct Decided {
    answer: Answer,
    outcome: AdmissionOutcome,
    bad_annotation: bool,
}

impl From<(Answer, AdmissionOutcome)> for Decided {
    fn from((answer, outcome): (Answer, AdmissionOutcome)) -> Self {
        Self { answer, outcome, bad_annotation: false }
    }
}

/// One request.
struct Case<'a> {
    review: &'a Review<'a>,
    snapshot: &'a Snapshot,
    now: Instant,
    policy: &'a AdmissionPolicy,
}

impl Case<'_> {
    /// A pod's binding to a node.
    fn bind(&self) -> Decision {
        let binding = Binding::read(self.review.object())?;
        let node = binding.node.as_deref();
        let Some(view) = node.and_then(|node| self.snapshot.cluster_of_node(node)) else {
            return Ok((Answer::allow(), self.unless_unsynced(AdmissionOutcome::Unmapped)).into());
        };
        let moment = self.snapshot.moment(self.now);
        let overtaken = binding::overtaken(view, moment, &self.snapshot.policy.health);
        if let (Some(reason), BindingPolicy::Deny) = (&overtaken, self.policy.binding) {
            let (namespace, pod) = (&*self.review.namespace, &*self.review.name);
            info!(namespace, pod, reason, "denied a binding");
            let reason = format!("{reason}; the scheduler will choose again");
            return Ok((Answer::deny(CONFLICT, reason), AdmissionOutcome::Denied).into());
        }
        let stamps = [(CLUSTER_ANNOTATION, view.key().as_str()), (ROLE_ANNOTATION, binding::role(&view.cluster))];
        let patch = binding.annotate(&stamps);
        let outcome = match (&overtaken, patch.is_empty()) {
            (Some(_), _) => AdmissionOutcome::Audited,
            (None, true) => AdmissionOutcome::AlreadyStamped,
            (None, false) => AdmissionOutcome::Stamped,
        };
        let mut answer = Answer::allow().with_patch(patch);
        if let Some(reason) = overtaken {
            answer = answer.with_warnings([reason.clone()]).with_audit(AUDIT_BINDING, reason);
        }
        Ok((answer, outcome).into())
    }

    /// A write of a Subscription's placement.
    fn place(&self) -> Decision {
        if self.policy.guard == GuardMode::Off {
            return Ok((Answer::allow(), AdmissionOutcome::GuardOff).into());
        }
        let old = Stored::read(self.review.old_object())?;
        let new = Written::read(self.review.object())?;
        let (namespace, subscription) = (&*self.review.namespace, &*self.review.name);
        if let Some(error) = &old.bad_rescues {
            warn!(namespace, subscription, error, "ignored the annotation {RESCUED_ANNOTATION}");
        }
        let (answer, outcome) = self.guarded(&old, &new);
        Ok(Decided { answer, outcome, bad_annotation: old.bad_rescues.is_some() })
    }

    /// What the guard makes of it.
    fn guarded(&self, old: &Stored, new: &Written) -> (Answer, AdmissionOutcome) {
        let guard = Guard {
            mode: self.policy.guard,
            failover: self.policy.failover,
            sticky: self.policy.sticky,
            fleet: self.snapshot,
            taint_key: &self.snapshot.policy.taint_key,
            now: self.snapshot.moment(self.now),
        };
        let (namespace, subscription) = (&*self.review.namespace, &*self.review.name);
        match guard.review(&old.placement, &new.placement, &old.facts) {
            Ruling::Pass => (Answer::allow(), self.unless_unsynced(AdmissionOutcome::Passed)),
            Ruling::Unfit(reason) => {
                info!(namespace, subscription, reason, "could not guard a placement");
                let answer = Answer::allow().with_warnings([reason.clone()]).with_audit(AUDIT_GUARD, reason);
                (answer, AdmissionOutcome::Unfit)
            }
            Ruling::Amend(Amendment { rule, placement, reasons }) => {
                let note = noted(rule, &reasons);
                info!(namespace, subscription, note, "guarded a placement");
                let answer = Answer::allow().with_patch(new.patch(&placement));
                let outcome = match rule {
                    Rule::Empty => AdmissionOutcome::Refilled,
                    Rule::Restore => AdmissionOutcome::Kept,
                    Rule::Apply => AdmissionOutcome::Applied,
                    Rule::Sticky => AdmissionOutcome::SwappedBack,
                };
                (answer.with_audit(AUDIT_GUARD, note).with_warnings(reasons), outcome)
            }
        }
    }

    /// That outcome, if the fleet was known when it was reached.
    fn unless_unsynced(&self, outcome: AdmissionOutcome) -> AdmissionOutcome {
        if self.snapshot.complete { outcome } else { AdmissionOutcome::Unsynced }
    }
}

/// What a rule did, in one line.
fn noted(rule: Rule, reasons: &[String]) -> String {
    let named = &reasons[..reasons.len().min(REASONS_NOTED_MAX)];
    let more = reasons.len() - named.len();
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}: {}{rest}", rule.as_str(), named.join("; "))
}
