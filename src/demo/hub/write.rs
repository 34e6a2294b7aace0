//! The writes: create, replace, patch, delete.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::clock;

use super::events;
use super::failure::Failure;
use super::kinds::NAMESPACE;
use super::object::{self, Part, meta};
use super::patch::Patch;
use super::rest::Call;
use super::store::{Key, Refusal};

/// How often a change that names no version is tried again when somebody else writes in between.
const TRIES: u32 = 10;
/// Events that are kept. The API server keeps them for an hour.
const EVENTS_MAX: usize = 1_000;

impl Call {
    /// POST.
    pub(super) async fn create(self) -> Result<Response, Failure> {
        if self.target.name.is_some() {
            return Err(Failure::method_not_allowed());
        }
        let kind = self.target.kind;
        let mut object = self.body_object()?;
        if meta(&object, "name").is_empty() && !meta(&object, "generateName").is_empty() {
            object["metadata"]["name"] = json!(object::generated_name(meta(&object, "generateName")));
        }
        let name = meta(&object, "name").to_owned();
        self.check_new(&object, &name)?;
        let object = events::stored(kind, object::begin(kind, object, clock::wall()));
        if self.is_dry_run() {
            return Ok((StatusCode::CREATED, self.shown(&object)).into_response());
        }
        let stored = self.server.store.create(self.target.key(&name), object);
        let stored = stored.map_err(|_| Failure::already_exists(kind, &name))?;
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
            let why = format!("metadata.name: Invalid value: {name:?}: must be a lowercase RFC 1123 subdomain");
            return Err(Failure::invalid(kind, name, &why));
        }
        if !meta(object, "resourceVersion").is_empty() {
            return Err(Failure::bad_request("resourceVersion should not be set on objects to be created"));
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
    pub(super) async fn replace(self) -> Result<Response, Failure> {
        let proposed = self.body_object()?;
        let kind = self.target.kind;
        let name = self.object_name()?;
        if meta(&proposed, "name") != name {
            let given = meta(&proposed, "name");
            let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
            return Err(Failure::bad_request(message));
        }
        if meta(&proposed, "resourceVersion").is_empty() && !kind.unconditional {
            let why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
            return Err(Failure::invalid(kind, name, why));
        }
        self.update(|_| Ok(proposed.clone())).await
    }

    /// PATCH.
    pub(super) async fn patch(self) -> Result<Response, Failure> {
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
            let proposed = change(&events::shown(kind, &old))?;
            self.check_same(&old, &proposed, name)?;
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
            return Err(Failure::conflict(kind, name, &why));
        }
        if stated("resourceVersion").is_some_and(|version| version != meta(old, "resourceVersion")) {
            return Err(Failure::modified(kind, name));
        }
        if stated("name").is_some_and(|given| given != name) {
            return Err(Failure::bad_request(format!(
                "the name of the object does not match the name on the URL ({name})"
            )));
        }
        Ok(())
    }

    /// DELETE.
    pub(super) async fn delete(self) -> Result<Response, Failure> {
        if self.target.subresource.is_some() {
            return Err(Failure::method_not_allowed());
        }
        let (kind, name) = (self.target.kind, self.object_name()?);
        let options: Value = if self.body.is_empty() { Value::Null } else { self.body_json()? };
        let key = self.target.key(name);
        for _ in 0..TRIES {
            let old = self.server.store.get(&key).ok_or_else(|| Failure::not_found(kind, name))?;
            self.check_preconditions(&options["preconditions"], &old, name)?;
            let held = object::is_held(&old);
            let dying = !meta(&old, "deletionTimestamp").is_empty();
            if self.is_dry_run() || options["dryRun"][0] == "All" || held && dying {
                return Ok(self.shown(&old));
            }
            let version = meta(&old, "resourceVersion");
            let stored = if held {
                let mut new = Value::clone(&old);
                new["metadata"]["deletionTimestamp"] = json!(object::stamp(clock::wall()));
                new["metadata"]["deletionGracePeriodSeconds"] = json!(0);
                self.server.store.replace(&key, version, new).map(|object| self.shown(&object))
            } else {
                let details = json!({"name": name, "group": kind.group, "kind": kind.plural, "uid": meta(&old, "uid")});
                let gone = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
                });
                self.server.store.remove(&key, version).map(|()| Json(gone).into_response())
            };
            match stored {
                Ok(answer) => return Ok(answer),
                Err(Refusal::Modified | Refusal::Exists) => {}
                Err(Refusal::Gone) => return Err(Failure::not_found(kind, name)),
            }
        }
        Err(Failure::modified(kind, name))
    }

    fn check_preconditions(&self, wanted: &Value, old: &Value, name: &str) -> Result<(), Failure> {
        let kind = self.target.kind;
        for (field, title, hint) in [
            ("uid", "UID", "The object might have been deleted and then recreated"),
            ("resourceVersion", "ResourceVersion", "The object might have been modified"),
        ] {
            let (wanted, stored) = (wanted[field].as_str(), meta(old, field));
            if let Some(wanted) = wanted.filter(|wanted| *wanted != stored) {
                let why = format!(
                    "the {title} in the precondition ({wanted}) does not match the {title} in record ({stored}). {hint}"
                );
                return Err(Failure::conflict(kind, name, &why));
            }
        }
        Ok(())
    }

    fn shown(&self, object: &Value) -> Response {
        Json(events::shown(self.target.kind, object)).into_response()
    }

    fn object_name(&self) -> Result<&str, Failure> {
        self.target.name.as_deref().ok_or_else(Failure::method_not_allowed)
    }

    fn is_dry_run(&self) -> bool {
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
        if !kind.is_kind_of(&object) {
            let (version, given) = (&object["apiVersion"], &object["kind"]);
            let message =
                format!("the object is a {given} of {version}, not a {} of {}", kind.kind, kind.api_version());
            return Err(Failure::bad_request(message));
        }
        let given = meta(&object, "namespace");
        if !given.is_empty() && Some(given) != self.target.namespace.as_deref() {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Failure::bad_request(message));
        }
        Ok(object)
    }

    fn body_json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::bad_request(format!("cannot decode the body: {error}")))
    }
}
