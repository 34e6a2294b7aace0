//! The requests: what is asked, and the answers to questions. Writes are in `write`.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::clock;

use super::discovery;
use super::events;
use super::failure::Failure;
use super::kinds::NAMESPACE;
use super::object::{self, meta};
use super::path::{Query, Target};
use super::selection::Selection;
use super::store::{Key, Store};
use super::table::{Form, table};
use super::webhook::Webhooks;

/// The API server's own limit on a request.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// The namespaces that are there from the beginning.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// What all requests share.
pub(super) struct Server {
    pub(super) store: Store,
    pub(super) webhooks: Webhooks,
    pub(super) stop: CancellationToken,
}

/// One request for a resource.
pub(super) struct Call {
    pub(super) server: Arc<Server>,
    pub(super) target: Target,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// What whoever asked should know besides the answer.
    warnings: Mutex<Vec<String>>,
}

impl Server {
    /// A hub on an empty store, whose watches end at `stop`.
    pub(super) fn new(store: Store, stop: CancellationToken) -> Arc<Self> {
        let server = Self { store, webhooks: Webhooks::default(), stop };
        for name in NAMESPACES {
            let namespace = object::begin(NAMESPACE, json!({"metadata": {"name": name}}), clock::wall());
            let key = Key { plural: NAMESPACE.plural, namespace: String::new(), name: name.to_owned() };
            // Nothing else is there yet that could have the name.
            let _ = server.store.create(key, namespace);
        }
        Arc::new(server)
    }

    /// Everything at every path.
    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new().fallback(answer).with_state(self)
    }
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    respond(server, request).await.unwrap_or_else(Failure::into_response)
}

async fn respond(server: Arc<Server>, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    if let Some(answer) = discovery::answer(parts.uri.path()) {
        let asked = matches!(parts.method, Method::GET | Method::HEAD);
        return if asked { Ok(answer) } else { Err(Failure::method_not_allowed()) };
    }
    let target = Target::parse(parts.uri.path()).ok_or_else(Failure::no_such_path)?;
    let query = Query::parse(parts.uri.query());
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        let message = format!("cannot read the request: {error}");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    })?;
    let call = Call { server, target, query, headers: parts.headers, body, warnings: Mutex::default() };
    let answer = match parts.method {
        Method::GET => call.read(),
        Method::POST => call.create().await,
        Method::PUT => call.replace().await,
        Method::PATCH => call.patch().await,
        Method::DELETE => call.delete().await,
        _ => Err(Failure::method_not_allowed()),
    };
    let mut answer = answer.unwrap_or_else(Failure::into_response);
    for warning in call.warnings().drain(..) {
        // Quoting leaves nothing in it that a header cannot hold.
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - {warning:?}").as_bytes()) {
            answer.headers_mut().append(header::WARNING, value);
        }
    }
    Ok(answer)
}

/// A list of objects.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    kind: String,
    api_version: String,
    metadata: Value,
    items: Vec<Cow<'a, Value>>,
}

impl Call {
    /// Notes what whoever asked should know.
    pub(super) fn warn(&self, warnings: Vec<String>) {
        self.warnings().extend(warnings);
    }

    fn warnings(&self) -> MutexGuard<'_, Vec<String>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<Response, Failure> {
        match (&self.target.name, self.target.subresource.as_deref()) {
            (None, _) if self.query.flag("watch") => self.watch(),
            (None, _) => self.list(),
            (Some(name), None | Some("status")) if self.has_subresource() => {
                let object = self.server.store.get(&self.target.key(name));
                let object = object.ok_or_else(|| Failure::not_found(self.target.kind, name))?;
                Ok(self.shown(&object))
            }
            _ => Err(Failure::no_such_path()),
        }
    }

    fn list(&self) -> Result<Response, Failure> {
        let kind = self.target.kind;
        let selection = Selection::read(kind, &self.query)?;
        let (version, objects) = self.server.store.list(kind.plural, self.target.namespace.as_deref());
        self.check_version(version)?;
        let shown = objects.iter().map(|object| events::shown(kind, object));
        let items: Vec<_> = shown.filter(|object| selection.matches(object)).collect();
        let version = version.to_string();
        if let Form::Table(include) = self.form() {
            return Ok(Json(table(kind, &items, include, &version, clock::wall())).into_response());
        }
        let metadata = json!({"resourceVersion": version});
        let list = List { kind: format!("{}List", kind.kind), api_version: kind.api_version(), metadata, items };
        Ok(Json(list).into_response())
    }

    /// An object, in the form that was asked for.
    pub(super) fn shown(&self, object: &Value) -> Response {
        let object = events::shown(self.target.kind, object);
        let Form::Table(include) = self.form() else { return Json(object).into_response() };
        let version = meta(&object, "resourceVersion").to_owned();
        Json(table(self.target.kind, &[object], include, &version, clock::wall())).into_response()
    }

    pub(super) fn form(&self) -> Form {
        Form::read(&self.headers, &self.query)
    }

    /// A list is always of now, and whole: a `limit` is a wish.
    fn check_version(&self, now: u64) -> Result<(), Failure> {
        let Some(asked) = self.query.number("resourceVersion")?.filter(|version| *version > 0) else {
            return Ok(());
        };
        if asked > now {
            let message = format!("Too large resource version: {asked}, current: {now}");
            return Err(Failure::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message));
        }
        if self.query.get("resourceVersionMatch") == "Exact" && asked < now {
            return Err(Failure::expired(format!("too old resource version: {asked} ({now})")));
        }
        Ok(())
    }

    /// Whether the part that the path names is there to be read and written.
    fn has_subresource(&self) -> bool {
        self.target.subresource.is_none() || self.target.kind.status
    }
}
