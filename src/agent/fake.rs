//! A hub that keeps one ManagedCluster by the API's rules, and a member's API server; both may hang.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

const PATH: &str = "/apis/clusters.clusternet.io/v1beta1/namespaces/fleet/managedclusters/eu-1/status";

#[derive(Default)]
pub(super) struct HubState {
    /// The ManagedCluster, if there is one.
    pub(super) object: Option<Value>,
    pub(super) hangs: bool,
    /// What others write, one each before the next patches are looked at.
    pub(super) rivals: VecDeque<Value>,
    pub(super) reads: usize,
    /// The patches that came, and whether they were stored.
    pub(super) patches: Vec<(Value, bool)>,
    pub(super) in_flight: usize,
    pub(super) most_in_flight: usize,
}

/// The hub.
#[derive(Clone, Default)]
pub(super) struct FakeHub(Arc<Mutex<HubState>>);

impl FakeHub {
    pub(super) fn with(object: Value) -> Self {
        let hub = Self::default();
        hub.state().object = Some(object);
        hub
    }

    pub(super) fn state(&self) -> MutexGuard<'_, HubState> {
        self.0.lock().unwrap()
    }

    /// The reads and the patches that came to the object.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.reads, state.patches.len())
    }

    pub(super) fn client(&self) -> Client {
        let hub = self.clone();
        let serve = move |request: Request<Body>| {
            let hub = hub.clone();
            async move {
                // Dropped, the request is no longer in flight.
                let _counted = Counted::new(&hub);
                assert_eq!(request.uri().path(), PATH);
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                if hub.state().hangs {
                    pending::<()>().await;
                }
                let (code, answer) = hub.state().answer(&head.method, &body);
                Ok::<_, Infallible>(response(code, &answer))
            }
        };
        Client::new(tower::service_fn(serve), "default")
    }
}

impl HubState {
    fn answer(&mut self, method: &Method, body: &[u8]) -> (u16, Value) {
        let patch = (method == Method::PATCH).then(|| serde_json::from_slice::<Value>(body).unwrap());
        let Some(object) = &mut self.object else { return status(404, "NotFound") };
        let Some(patch) = patch else {
            self.reads += 1;
            return (200, object.clone());
        };
        if let Some(rival) = self.rivals.pop_front() {
            write(object, &rival);
        }
        let current = patch["metadata"]["resourceVersion"] == object["metadata"]["resourceVersion"];
        self.patches.push((patch.clone(), current));
        if !current {
            return status(409, "Conflict");
        }
        write(object, &patch);
        (200, object.clone())
    }
}

fn write(object: &mut Value, patch: &Value) {
    let version: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    json_patch::merge(object, patch);
    object["metadata"]["resourceVersion"] = json!((version + 1).to_string());
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}))
}

fn response(code: u16, body: &Value) -> Response<Body> {
    Response::builder().status(code).body(body.to_string().into_bytes().into()).unwrap()
}

struct Counted(FakeHub);

impl Counted {
    fn new(hub: &FakeHub) -> Self {
        let mut state = hub.state();
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        Self(hub.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}

/// How a member's API server answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mood {
    /// 200 to every probe.
    Well,
    /// 500 to `/readyz` and `/healthz`.
    Unready,
    /// Never.
    Hangs,
}

/// The member's API server.
#[derive(Clone)]
pub(super) struct FakeMember(Arc<Mutex<Mood>>);

impl FakeMember {
    pub(super) fn new(mood: Mood) -> Self {
        Self(Arc::new(Mutex::new(mood)))
    }

    pub(super) fn set(&self, mood: Mood) {
        *self.0.lock().unwrap() = mood;
    }

    pub(super) fn client(&self) -> Client {
        let member = self.clone();
        let serve = move |request: Request<Body>| {
            let mood = *member.0.lock().unwrap();
            async move {
                let code = match (mood, request.uri().path()) {
                    (Mood::Hangs, _) => pending().await,
                    (Mood::Unready, "/readyz" | "/healthz") => 500,
                    _ => 200,
                };
                let version = json!({"major": "1", "minor": "35", "gitVersion": "v1.35.4", "gitCommit": "",
                    "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "linux/amd64"});
                Ok::<_, Infallible>(response(code, &version))
            }
        };
        Client::new(tower::service_fn(serve), "default")
    }
}
