//! The writes: create, replace, patch. Deletions are in `delete`.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::clock;

use super::admission::Write;
use super::events;
use super::failure::Failure;
use super::kinds::NAMESPACE;
use super::object::{self, Part, meta};
use super::patch::Patch;
use super::rest::Call;
use super::store::{Key, Refusal};

/// What kube-apiserver says of a name that is none.
const NAME_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
    and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
/// How often a change that names no version is tried again when somebody else writes in between.
pub(super) const TRIES: u32 = 10;
/// Events that are kept. The API server keeps them for an hour.
const EVENTS_MAX: usize = 1_000;

impl Call {
    /// POST.
    pub(super) async fn create(&self) -> Result<Response, Failure> {
        match (&self.target.name, self.target.subresource.as_deref()) {
            (None, _) => {}
            (Some(name), Some("binding")) if self.target.kind.binding => return self.bind(name).await,
            _ => return Err(Failure::method_not_allowed()),
        }
        let mut object = self.body_object()?;
        let prefix = meta(&object, "generateName");
        if meta(&object, "name").is_empty() && !prefix.is_empty() {
            object["metadata"]["name"] = json!(object::generated_name(prefix));
        }
        let name = meta(&object, "name").to_owned();
        self.store_new(&name, object).await
    }

    async fn store_new(&self, name: &str, mut object: Value) -> Result<Response, Failure> {
        let kind = self.target.kind;
        object["metadata"]["name"] = json!(name);
        if let Some(namespace) = &self.target.namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        self.check_new(&object, name)?;
        let object = self.admit(Write { operation: "CREATE", name, old: &Value::Null, new: object }).await?;
        let object = events::stored(kind, object::begin(kind, object, clock::wall()));
        if self.is_dry_run() {
            return Ok((StatusCode::CREATED, self.shown(&object)).into_response());
        }
        let stored = self.server.store.create(self.target.key(name), object);
        let stored = stored.map_err(|_| Failure::already_exists(kind, name))?;
        if kind.plural == "events" {
            self.server.store.keep_newest(kind.plural, EVENTS_MAX);
        }
        Ok((StatusCode::CREATED, self.shown(&stored)).into_response())
    }

    fn check_new(&self, object: &Value, name: &str) -> Result<(), Failure> {
        let kind = self.target.kind;
        if name.is_empty() {
            return Err(Failure::invalid(
                kind,
                name,
                "metadata.name: Required value: name or generateName is required",
            ));
        }
        if !object::is_valid_name(name) {
            let why = format!("metadata.name: Invalid value: {name:?}: {NAME_RULE}");
            return Err(Failure::invalid(kind, name, &why));
        }
        if !meta(object, "resourceVersion").is_empty() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "", message));
        }
        match (&self.target.namespace, kind.namespaced) {
            (None, true) => Err(Failure::method_not_allowed()),
            (Some(namespace), true) => {
                let home = Key { plural: NAMESPACE.plural, namespace: String::new(), name: namespace.clone() };
                self.server.store.get(&home).map(drop).ok_or_else(|| Failure::not_found(NAMESPACE, namespace))
            }
            _ => Ok(()),
        }
    }

    /// PUT.
    pub(super) async fn replace(&self) -> Result<Response, Failure> {
        let mut proposed = self.body_object()?;
        let kind = self.target.kind;
        let name = self.object_name()?;
        if kind.created_by_put && self.server.store.get(&self.target.key(name)).is_none() {
            proposed["metadata"]["resourceVersion"] = Value::Null;
            return self.store_new(name, proposed).await;
        }
        if meta(&proposed, "resourceVersion").is_empty() && !kind.unconditional {
            return Err(Failure::unversioned(kind, name));
        }
        self.update(|_| Ok(proposed.clone())).await
    }

    /// PATCH.
    pub(super) async fn patch(&self) -> Result<Response, Failure> {
        let patch = Patch::read(self.target.kind, &self.headers, &self.body)?;
        self.update(|old| {
            let proposed = patch.apply(old)?;
            let name = self.object_name()?;
            object::check_shape(&proposed).map_err(|why| Failure::invalid(self.target.kind, name, &why))?;
            Ok(proposed)
        })
        .await
    }

    /// Stores what `change` makes of the object, on the version that it was made of.
    async fn update(&self, change: impl Fn(&Value) -> Result<Value, Failure>) -> Result<Response, Failure> {
        let (kind, name) = (self.target.kind, self.object_name()?);
        let part = match self.target.subresource.as_deref() {
            None => Part::Main,
            Some("status") if kind.status => Part::Status,
            Some(_) => return Err(Failure::no_such_path()),
        };
        let key = self.target.key(name);
        for _ in 0..TRIES {
            let old = self.server.store.get(&key).ok_or_else(|| Failure::not_found(kind, name))?;
            let shown = events::shown(kind, &old);
            let proposed = change(&shown)?;
            self.check_same(&old, &proposed, name)?;
            let proposed = self.admit(Write { operation: "UPDATE", name, old: &shown, new: proposed }).await?;
            let new = object::succeed(kind, part, &old, events::stored(kind, proposed));
            if new == *old || self.is_dry_run() {
                return Ok(self.shown(&new));
            }
            let version = meta(&old, "resourceVersion");
            let is_last_word = !meta(&new, "deletionTimestamp").is_empty() && !object::is_held(&new);
            let stored = if is_last_word {
                self.server.store.remove(&key, version).map(|()| Arc::new(new))
            } else {
                self.server.store.replace(&key, version, new)
            };
            match stored {
                Ok(object) => return Ok(self.shown(&object)),
                Err(Refusal::Modified | Refusal::Exists) => {}
                Err(Refusal::Gone) => return Err(Failure::not_found(kind, name)),
            }
        }
        Err(Failure::modified(kind, name))
    }

    /// What is proposed must be about the object that is there, at the version that is there.
    fn check_same(&self, old: &Value, proposed: &Value, name: &str) -> Result<(), Failure> {
        let kind = self.target.kind;
        let stated = |field| Some(meta(proposed, field)).filter(|value| !value.is_empty());
        if let Some(uid) = stated("uid").filter(|uid| *uid != meta(old, "uid")) {
            let stored = meta(old, "uid");
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}");
            let immutable = format!("metadata.uid: Invalid value: {uid:?}: field is immutable");
            let custom = kind.custom.then(|| Failure::invalid(kind, name, &immutable));
            return Err(custom.unwrap_or_else(|| Failure::conflict(kind, name, &why)));
        }
        if stated("resourceVersion").is_some_and(|version| version != meta(old, "resourceVersion")) {
            return Err(Failure::modified(kind, name));
        }
        if let Some(given) = stated("name").filter(|given| *given != name) {
            let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
            return Err(Failure::bad_request(message));
        }
        Ok(())
    }

    pub(super) fn object_name(&self) -> Result<&str, Failure> {
        self.target.name.as_deref().ok_or_else(Failure::method_not_allowed)
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.query.get("dryRun") == "All"
    }

    /// The body, as an object of this resource.
    fn body_object(&self) -> Result<Value, Failure> {
        let kind = self.target.kind;
        let content_type = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_none_or(|content_type| content_type.contains("json")) {
            return Err(Failure::unsupported_media_type("application/json"));
        }
        let object: Value = self.body_json()?;
        object::check_shape(&object).map_err(Failure::bad_request)?;
        if !kind.is_kind_of(&object) || kind.custom && object["kind"].is_null() {
            let (version, given) = (&object["apiVersion"], &object["kind"]);
            let message =
                format!("the object is a {given} of {version}, not a {} of {}", kind.kind, kind.api_version());
            return Err(Failure::bad_request(message));
        }
        self.check_namespace(&object)?;
        Ok(object)
    }

    pub(super) fn check_namespace(&self, object: &Value) -> Result<(), Failure> {
        let given = meta(object, "namespace");
        if given.is_empty() || Some(given) == self.target.namespace.as_deref() {
            return Ok(());
        }
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        Err(Failure::bad_request(message))
    }

    pub(super) fn body_json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::bad_request(format!("cannot decode the body: {error}")))
    }
}
