//! A hub that keeps one Lease by the API's rules, behind lines that delay, lose and refuse calls.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep, sleep_until};
use tower::Service;

use super::Leadership;
use crate::clock;

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fate {
    /// On the way there.
    pub(super) before: Duration,
    /// On the way back.
    pub(super) after: Duration,
    pub(super) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    Answered,
    /// The connection breaks before the hub sees the call.
    Broken,
    /// The hub refuses it with this code.
    Refused(u16),
    /// The hub does it, then the connection breaks.
    Lost,
    /// The hub does it, and nothing is ever heard.
    Silent,
}

impl Fate {
    pub(super) fn new(before_ms: u64, after_ms: u64, end: End) -> Self {
        Self { before: Duration::from_millis(before_ms), after: Duration::from_millis(after_ms), end }
    }
}

/// Decides the fate of a call from its method and when it is made.
pub(super) type Weather = Box<dyn FnMut(&Method, Instant) -> Fate + Send>;

#[derive(Default)]
struct Store {
    lease: Option<Value>,
    version: u64,
    candidates: Vec<(String, Leadership)>,
    /// When the holder changed, and to whom.
    holders: Vec<(Instant, String)>,
    calls: Vec<(Instant, Method, u16)>,
    wrong: Vec<String>,
}

/// The hub; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Hub(Arc<Mutex<Store>>);

impl Hub {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap()
    }

    /// A client whose calls meet this weather.
    pub(super) fn line(&self, weather: Weather) -> Client {
        Client::new(Line { hub: self.clone(), weather }, "default")
    }

    /// Watches this candidate: from now on it must never hold what another has.
    pub(super) fn watch(&self, identity: &str, leadership: &Leadership) {
        self.store().candidates.push((identity.to_owned(), leadership.clone()));
        let (hub, mut terms) = (self.clone(), leadership.terms());
        // A term begins only where one is published, so overlaps are found there, exactly.
        tokio::spawn(async move {
            while terms.changed().await.is_ok() {
                hub.check();
            }
        });
    }

    /// At most one candidate holds the leadership now, and the Lease names it.
    pub(super) fn check(&self) {
        let (mut store, now) = (self.store(), clock::now());
        let held = store.candidates.iter().filter(|(_, leadership)| leadership.held(now).is_some());
        let held: Vec<String> = held.map(|(identity, _)| identity.clone()).collect();
        let named = store.holder();
        if held.len() > 1 || held.first().is_some_and(|one| *one != named) {
            store.wrong.push(format!("held by {held:?} while the Lease names {named:?}"));
        }
    }

    /// How many hold the leadership now.
    pub(super) fn leaders(&self) -> usize {
        let now = clock::now();
        self.store().candidates.iter().filter(|(_, leadership)| leadership.held(now).is_some()).count()
    }

    /// Everything that broke a rule.
    pub(super) fn wrong(&self) -> Vec<String> {
        self.store().wrong.clone()
    }

    pub(super) fn holders(&self) -> Vec<(Instant, String)> {
        self.store().holders.clone()
    }

    pub(super) fn calls(&self) -> Vec<(Instant, Method, u16)> {
        self.store().calls.clone()
    }

    pub(super) fn lease(&self) -> Option<Value> {
        self.store().lease.clone()
    }

    /// Somebody else's write: merges nothing, replaces the Lease.
    pub(super) fn put(&self, lease: Option<Value>) {
        let mut store = self.store();
        match lease {
            Some(lease) => store.keep(lease),
            None => store.lease = None,
        }
    }

    fn answer(&self, method: &Method, body: &[u8], end: End) -> (u16, Value) {
        let mut store = self.store();
        let (code, answer) = match end {
            End::Refused(code) => status(code, "Refused", "not today"),
            _ => store.apply(method, body),
        };
        store.calls.push((clock::now(), method.clone(), code));
        (code, answer)
    }
}

impl Store {
    fn holder(&self) -> String {
        let holder = self.lease.as_ref().and_then(|lease| lease["spec"]["holderIdentity"].as_str());
        holder.unwrap_or_default().to_owned()
    }

    /// The API server's rules for a Lease.
    fn apply(&mut self, method: &Method, body: &[u8]) -> (u16, Value) {
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let version = sent["metadata"]["resourceVersion"].as_str();
        match (method.as_str(), self.lease.clone()) {
            ("GET", None) => status(404, "NotFound", "leases \"l\" not found"),
            ("GET", Some(lease)) => (200, lease),
            ("POST", Some(_)) => status(409, "AlreadyExists", "leases \"l\" already exists"),
            ("PUT", None) => status(404, "NotFound", "leases \"l\" not found"),
            ("POST", None) => (201, self.store(sent)),
            ("PUT", Some(_)) if version.is_none() => status(422, "Invalid", "resourceVersion must be specified"),
            ("PUT", Some(lease)) if version != lease["metadata"]["resourceVersion"].as_str() => {
                status(409, "Conflict", "the object has been modified")
            }
            // The API server skips a write that changes nothing, and its version stands still.
            ("PUT", Some(lease)) if lease == sent => (200, lease),
            ("PUT", Some(_)) => (200, self.store(sent)),
            _ => {
                self.wrong.push(format!("unexpected {method}"));
                status(405, "MethodNotAllowed", "no")
            }
        }
    }

    fn store(&mut self, lease: Value) -> Value {
        self.keep(lease);
        let now = clock::now();
        let named = self.holder();
        for (identity, leadership) in &self.candidates {
            if *identity != named && leadership.held(now).is_some() {
                self.wrong.push(format!("{named:?} was written while {identity:?} held"));
            }
        }
        if self.holders.last().is_none_or(|(_, last)| *last != named) {
            self.holders.push((now, named));
        }
        self.lease.clone().unwrap()
    }

    fn keep(&mut self, mut lease: Value) {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease);
    }
}

fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}))
}

struct Line {
    hub: Hub,
    weather: Weather,
}

impl Service<Request<Body>> for Line {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fate = (self.weather)(request.method(), clock::now());
        let (hub, (give, take)) = (self.hub.clone(), oneshot::channel());
        // A task of its own: a call that the candidate gave up still arrives.
        tokio::spawn(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            sleep(fate.before).await;
            if fate.end == End::Broken {
                return;
            }
            let (code, answer) = hub.answer(&parts.method, &body, fate.end);
            sleep(fate.after).await;
            match fate.end {
                End::Lost => {}
                End::Silent => sleep(Duration::from_secs(100_000)).await,
                _ => {
                    let body = Body::from(serde_json::to_vec(&answer).unwrap());
                    let _ = give.send(Response::builder().status(code).body(body).unwrap());
                }
            }
        });
        Box::pin(async move { take.await.map_err(|_| io::Error::other("connection reset")) })
    }
}

/// A process that is stopped, then goes on: its future is not polled within the pauses.
pub(super) struct Paused<F> {
    inner: Pin<Box<F>>,
    pauses: Vec<(Instant, Instant)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Paused<F> {
    pub(super) fn new(inner: F, pauses: Vec<(Instant, Instant)>) -> Self {
        Self { inner: Box::pin(inner), pauses, sleep: None }
    }
}

impl<F: Future> Future for Paused<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let now = clock::now();
        if let Some((_, end)) = self.pauses.iter().find(|(start, end)| *start <= now && now < *end).copied() {
            let mut wake = Box::pin(sleep_until(end.into()));
            if wake.as_mut().poll(cx).is_pending() {
                self.sleep = Some(wake);
                return Poll::Pending;
            }
        }
        self.inner.as_mut().poll(cx)
    }
}
