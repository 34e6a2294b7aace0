//! The deletions, and the conditions that they may depend on.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::clock;

use super::admission::Write;
use super::events;
use super::failure::{Failure, details};
use super::kinds::{Kind, NAMESPACE};
use super::object::{self, meta};
use super::rest::Call;
use super::store::Refusal;
use super::write::TRIES;

impl Call {
    /// DELETE. What finalizers hold is only marked; the write that takes the last of them off removes it.
    pub(super) async fn delete(&self) -> Result<Response, Failure> {
        if self.target.subresource.is_some() {
            return Err(Failure::method_not_allowed());
        }
        let (kind, name) = (self.target.kind, self.object_name()?);
        let options: Value = if self.body.is_empty() { Value::Null } else { self.body_json()? };
        let dry_run = self.is_dry_run() || options["dryRun"][0] == "All";
        let key = self.target.key(name);
        for _ in 0..TRIES {
            let old = self.server.store.get(&key).ok_or_else(|| Failure::not_found(kind, name))?;
            self.check_preconditions(&options["preconditions"], &old, name)?;
            let shown = events::shown(kind, &old);
            self.admit(Write { operation: "DELETE", name, old: &shown, new: Value::Null }).await?;
            let version = meta(&old, "resourceVersion");
            let stored = match (object::is_held(&old), dry_run) {
                (true, false) if meta(&old, "deletionTimestamp").is_empty() => {
                    let dying = object::end(kind, &old, clock::wall());
                    self.server.store.replace(&key, version, dying).map(|object| self.shown(&object))
                }
                (true, _) => return Ok(self.shown(&old)),
                (false, true) => return Ok(gone(kind, &old)),
                (false, false) => self.server.store.remove(&key, version).map(|()| gone(kind, &old)),
            };
            match stored {
                Ok(answer) => {
                    // What is in a namespace goes with it; on a real hub a controller sees to that.
                    if kind.plural == NAMESPACE.plural && !object::is_held(&old) {
                        self.server.store.clear(name);
                    }
                    return Ok(answer);
                }
                Err(Refusal::Modified | Refusal::Exists) => {}
                Err(Refusal::Gone) => return Err(Failure::not_found(kind, name)),
            }
        }
        Err(Failure::modified(kind, name))
    }

    pub(super) fn check_preconditions(&self, wanted: &Value, old: &Value, name: &str) -> Result<(), Failure> {
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
                return Err(Failure::precondition(kind, name, &why));
            }
        }
        Ok(())
    }
}

fn gone(kind: &Kind, object: &Value) -> Response {
    let mut details = details(kind, meta(object, "name"));
    details["uid"] = json!(meta(object, "uid"));
    let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    Json(gone).into_response()
}
