//! The API's errors: `Status` objects, in kube-apiserver's words.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::kinds::Kind;

/// Which object a `Status` is about.
pub(super) fn details(kind: &Kind, name: &str) -> Value {
    let mut details = json!({"kind": kind.plural});
    if !name.is_empty() {
        details["name"] = json!(name);
    }
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    details
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) code: StatusCode,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) details: Value,
}

impl Failure {
    /// One about no object in particular.
    pub(super) fn new(code: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), details: Value::Null }
    }

    /// One whose details are there, and say nothing.
    fn generic(code: StatusCode, reason: &str, message: &str) -> Self {
        Self { details: json!({}), ..Self::new(code, reason, message) }
    }

    fn about(kind: &Kind, name: &str, code: StatusCode, reason: &str, message: String) -> Self {
        Self { code, reason: reason.to_owned(), message, details: details(kind, name) }
    }

    /// 404 for an object.
    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", kind.qualified_plural());
        Self::about(kind, name, StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// 404 for a path.
    pub(super) fn no_such_path() -> Self {
        Self::generic(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
    }

    /// 409: the name is taken.
    pub(super) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", kind.qualified_plural());
        Self::about(kind, name, StatusCode::CONFLICT, "AlreadyExists", message)
    }

    /// 409: what the request was decided on is no longer so.
    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.qualified_plural());
        Self::about(kind, name, StatusCode::CONFLICT, "Conflict", message)
    }

    /// 409: the object has a newer resourceVersion than the request.
    pub(super) fn modified(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// 409: a condition on the version or the uid does not hold. These errors name the kind, not the resource.
    pub(super) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.qualified_kind());
        let mut failure = Self::about(kind, name, StatusCode::CONFLICT, "Conflict", message);
        failure.details["kind"] = json!(kind.kind);
        failure
    }

    /// 409: the object cannot be bound.
    pub(super) fn unbindable(kind: &Kind, name: &str, why: &str) -> Self {
        let resource = format!("{}/binding", kind.plural);
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        let mut failure = Self::about(kind, name, StatusCode::CONFLICT, "Conflict", message);
        failure.details["kind"] = json!(resource);
        failure
    }

    /// 422: a replacement that has to name the version it replaces.
    pub(super) fn unversioned(kind: &Kind, name: &str) -> Self {
        let why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
        let message = format!("{} {name:?} is invalid: {why}", kind.qualified_plural());
        Self::about(kind, name, StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    /// 422: a patch that does not apply.
    pub(super) fn inapplicable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::generic(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    /// 422: the object is none that could be stored.
    pub(super) fn invalid(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is invalid: {why}", kind.qualified_kind());
        let mut failure = Self::about(kind, name, StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        failure.details["kind"] = json!(kind.kind);
        failure
    }

    /// 400.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 405.
    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::generic(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 415.
    pub(super) fn unsupported_media_type(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// 410: a watch or list from a version that is no longer known.
    pub(super) fn expired(message: String) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// The `Status` object.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code.as_u16(),
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.code, Json(self.status())).into_response()
    }
}
