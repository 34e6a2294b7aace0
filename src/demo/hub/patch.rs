//! The patches that the hub understands.

use http::{HeaderMap, header};
use serde_json::Value;

use super::failure::Failure;
use super::kinds::Kind;

/// A change to an object, as the caller sent it.
#[derive(Clone, Debug)]
pub(super) enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(json_patch::Patch),
}

impl Patch {
    /// Reads a body. A strategic merge patch counts as a merge patch: whole lists are replaced.
    ///
    /// # Errors
    /// 415 when it is another kind of patch, 400 when it is none.
    pub(super) fn read(kind: &Kind, headers: &HeaderMap, body: &[u8]) -> Result<Self, Failure> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let wrong = |error: serde_json::Error| Failure::bad_request(format!("error decoding patch: {error}"));
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => serde_json::from_slice(body).map(Self::Merge).map_err(wrong),
            "application/strategic-merge-patch+json" if !kind.custom => {
                serde_json::from_slice(body).map(Self::Merge).map_err(wrong)
            }
            "application/json-patch+json" => serde_json::from_slice(body).map(Self::Json).map_err(wrong),
            _ => Err(Failure::unsupported_media_type("application/json-patch+json, application/merge-patch+json")),
        }
    }

    /// The object with this change.
    ///
    /// # Errors
    /// 422 when it does not apply.
    pub(super) fn apply(&self, object: &Value) -> Result<Value, Failure> {
        let mut object = object.clone();
        match self {
            Self::Merge(patch) => json_patch::merge(&mut object, patch),
            Self::Json(patch) => json_patch::patch(&mut object, patch).map_err(|_| Failure::inapplicable())?,
        }
        Ok(object)
    }
}
