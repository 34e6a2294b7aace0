//! `/healthz`, `/livez` and `/readyz`, in the words that Kubernetes' own components use.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

/// What must hold before requests are sent to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The first full list of ManagedClusters is in.
    ManagedClusters,
    /// The first full list of Nodes is in.
    Nodes,
    /// A first snapshot of the fleet is out, and we were not asked to stop.
    Serving,
}

impl Check {
    /// All, in the order in which they are listed.
    const ALL: [Self; 3] = [Self::ManagedClusters, Self::Nodes, Self::Serving];

    /// The name under which `?verbose` lists it.
    fn name(self) -> &'static str {
        match self {
            Self::ManagedClusters => "managedclusters",
            Self::Nodes => "nodes",
            Self::Serving => "serving",
        }
    }

    fn reason_at_start(self) -> &'static str {
        match self {
            Self::ManagedClusters | Self::Nodes => "first list not finished",
            Self::Serving => "no snapshot of the fleet yet",
        }
    }
}

/// Whether we are ready, told by the parts that know. Clones share what they are told.
#[derive(Clone, Debug)]
pub struct Readiness {
    results: Arc<Mutex<[CheckResult; Check::ALL.len()]>>,
}

type CheckResult = Result<(), String>;

impl Default for Readiness {
    /// Not ready: no check has passed yet.
    fn default() -> Self {
        let results = Check::ALL.map(|check| Err(check.reason_at_start().to_owned()));
        Self { results: Arc::new(Mutex::new(results)) }
    }
}

impl Readiness {
    /// Records that `check` passes, or why it does not.
    pub fn set(&self, check: Check, result: Result<(), String>) {
        self.lock()[check as usize] = result;
    }

    fn lock(&self) -> MutexGuard<'_, [CheckResult; Check::ALL.len()]> {
        // Nothing that holds the lock can panic half-way through a change.
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The probes. They stand outside the request limits: a server that sheds load must not be
/// restarted for it.
pub fn router(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|query| alive("healthz", query)))
        .route("/livez", get(|query| alive("livez", query)))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

/// An answer at all is the proof: a runtime that hangs gives none.
async fn alive(endpoint: &'static str, RawQuery(query): RawQuery) -> Response {
    answer(endpoint, &[("ping", Ok(()))], query.as_deref())
}

async fn ready(State(readiness): State<Readiness>, RawQuery(query): RawQuery) -> Response {
    let results = readiness.lock().clone();
    let checks: Vec<_> = Check::ALL.map(Check::name).into_iter().zip(results).collect();
    answer("readyz", &checks, query.as_deref())
}

/// As in Kubernetes, a failure is always listed, and success only when asked for.
fn answer(endpoint: &str, checks: &[(&str, CheckResult)], query: Option<&str>) -> Response {
    let passed = checks.iter().all(|(_, result)| result.is_ok());
    let body = if passed && !is_verbose(query) { "ok".to_owned() } else { listing(endpoint, checks, passed) };
    let status = if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, body).into_response()
}

fn listing(endpoint: &str, checks: &[(&str, CheckResult)], passed: bool) -> String {
    let mut text = String::new();
    for (name, result) in checks {
        // Writing to a String cannot fail.
        let _ = match result {
            Ok(()) => writeln!(text, "[+]{name} ok"),
            Err(reason) => writeln!(text, "[-]{name} failed: {reason}"),
        };
    }
    let outcome = if passed { "passed" } else { "failed" };
    let _ = writeln!(text, "{endpoint} check {outcome}");
    text
}

fn is_verbose(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose=")))
}

#[cfg(test)]
mod tests;
