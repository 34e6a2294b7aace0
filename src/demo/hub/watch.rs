//! Watches: what happened since a version, and what happens from now on.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::header;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::sleep_until;

use crate::clock;

use super::events;
use super::failure::Failure;
use super::kinds::Kind;
use super::object::meta;
use super::rest::{Call, Server};
use super::selection::Selection;
use super::store::Change;
use super::table::{Form, table};

/// A watch ends after this time when it asks for none, or for a longer one.
const LONGEST: Duration = Duration::from_secs(1_800);
/// The time between two bookmarks.
const BOOKMARKS: Duration = Duration::from_secs(10);

/// One line of a watch.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    name: &'a str,
    object: &'a Value,
}

/// One watch. It remembers where it is, not what it has still to say: a slow reader costs nothing,
/// and one that is too slow has to list again.
struct Watcher {
    server: Arc<Server>,
    kind: &'static Kind,
    namespace: Option<String>,
    selection: Selection,
    versions: Receiver<u64>,
    /// The version up to which everything has been told.
    version: u64,
    lines: VecDeque<Bytes>,
    form: Form,
    /// Whether a table has been told: its columns are told once.
    has_columns: bool,
    bookmarks: Option<Instant>,
    ends: Instant,
    ended: bool,
}

impl Call {
    /// Answers with a watch.
    pub(super) fn watch(&self) -> Result<Response, Failure> {
        let kind = self.target.kind;
        let query = &self.query;
        let asked = query.number("timeoutSeconds")?.map_or(LONGEST, Duration::from_secs);
        let now = clock::now();
        let mut watcher = Watcher {
            kind,
            namespace: self.target.namespace.clone(),
            selection: Selection::read(kind, query)?,
            versions: self.server.store.versions(),
            version: query.number("resourceVersion")?.unwrap_or_default(),
            lines: VecDeque::new(),
            form: self.form(),
            has_columns: false,
            bookmarks: query.flag("allowWatchBookmarks").then(|| now + BOOKMARKS),
            ends: now + asked.min(LONGEST),
            ended: false,
            server: Arc::clone(&self.server),
        };
        let initial = query.flag("sendInitialEvents");
        if initial || watcher.version == 0 && query.get("sendInitialEvents").is_empty() {
            watcher.tell_all(initial);
        }
        let lines = stream::unfold(watcher, |mut watcher| async {
            let line = watcher.next().await?;
            Some((Ok::<_, std::convert::Infallible>(line), watcher))
        });
        Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
    }
}

impl Watcher {
    /// The next line; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            self.catch_up();
            if self.lines.is_empty() {
                self.wait().await;
            }
        }
    }

    async fn wait(&mut self) {
        let stop = self.server.stop.clone();
        let bookmark = self.bookmarks.unwrap_or(self.ends).min(self.ends);
        tokio::select! {
            biased;
            () = stop.cancelled() => self.ended = true,
            () = sleep_until(bookmark.into()) => {
                self.ended = bookmark == self.ends;
                if self.bookmarks.is_some() {
                    self.bookmarks = Some(bookmark + BOOKMARKS);
                    self.bookmark(&json!({}));
                }
            }
            // The sender lives as long as the server.
            _ = self.versions.changed() => {}
        }
    }

    /// Tells what happened since.
    fn catch_up(&mut self) {
        // Seen before it is read: what comes in between is looked for once more.
        let newest = *self.versions.borrow_and_update();
        let Some((version, changes)) = self.server.store.since(self.version) else {
            let failure = Failure::expired(format!("too old resource version: {} ({newest})", self.version));
            self.tell("ERROR", &failure.status());
            self.ended = true;
            return;
        };
        for change in changes {
            let here = self.namespace.as_ref().is_none_or(|namespace| *namespace == change.key.namespace);
            if here && change.key.plural == self.kind.plural {
                self.tell_change(&change);
            }
        }
        self.version = version;
    }

    /// What a change is to a watch depends on what it selects: what no longer matches is gone.
    fn tell_change(&mut self, change: &Change) {
        let kind = self.kind;
        let before = change.before.as_deref().map(|object| events::shown(kind, object));
        let after = change.after.as_deref().map(|object| events::shown(kind, object));
        let before = before.filter(|object| self.selection.matches(object));
        let after = after.filter(|object| self.selection.matches(object));
        match (before, after) {
            (None, Some(object)) => self.tell_object("ADDED", object),
            (Some(_), Some(object)) => self.tell_object("MODIFIED", object),
            (Some(object), None) => {
                let mut object = object.into_owned();
                object["metadata"]["resourceVersion"] = json!(change.version.to_string());
                self.tell_object("DELETED", Cow::Owned(object));
            }
            (None, None) => {}
        }
    }

    /// Tells what is there now. With `marked`, a bookmark says where that ends.
    fn tell_all(&mut self, marked: bool) {
        let (version, objects) = self.server.store.list(self.kind.plural, self.namespace.as_deref());
        for object in objects {
            let object = events::shown(self.kind, &object);
            if self.selection.matches(&object) {
                self.tell_object("ADDED", object);
            }
        }
        self.version = version;
        if marked {
            self.bookmark(&json!({"k8s.io/initial-events-end": "true"}));
        }
    }

    fn tell_object(&mut self, name: &str, object: Cow<'_, Value>) {
        let Form::Table(include) = self.form else { return self.tell(name, &object) };
        let version = meta(&object, "resourceVersion").to_owned();
        let mut table = table(self.kind, &[object], include, &version, clock::wall());
        if self.has_columns {
            table["columnDefinitions"] = Value::Null;
        }
        self.has_columns = true;
        self.tell(name, &table);
    }

    fn bookmark(&mut self, annotations: &Value) {
        let metadata = json!({"resourceVersion": self.version.to_string(), "annotations": annotations});
        let kind = self.kind;
        self.tell("BOOKMARK", &json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata}));
    }

    fn tell(&mut self, name: &str, object: &Value) {
        let mut line = Vec::new();
        let written = serde_json::to_writer(&mut line, &Event { name, object });
        debug_assert!(written.is_ok(), "a Vec takes every write, and JSON is JSON");
        line.push(b'\n');
        self.lines.push_back(line.into());
    }
}
