//! JSON patches (RFC 6902) for answers to the API server.
//!
//! The API server fails the user's request when a patch does not apply, whatever the webhook's
//! failure policy says. So whoever builds one says first what parents it adds, and removes only
//! what it has read.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation};
use serde_json::Value;

/// A list of changes to one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch(json_patch::Patch);

impl Patch {
    /// Adds the member that the path names, or replaces it. Its parent must exist by then.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        self.0.0.push(PatchOperation::Add(AddOperation { path, value: value.into() }));
    }

    /// Removes the member that the path names. It must exist.
    pub fn remove(&mut self, path: &[&str]) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        self.0.0.push(PatchOperation::Remove(RemoveOperation { path }));
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// The patch as the API server reads it.
    pub fn to_json(&self) -> String {
        self.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped() {
        let mut patch = Patch::default();
        assert!(patch.is_empty());
        patch.set(&["metadata", "annotations", "sheetanchor.dev/a~b"], "x");
        patch.remove(&["status", "specHash"]);
        assert!(!patch.is_empty());
        assert_eq!(
            patch.to_json(),
            r#"[{"op":"add","path":"/metadata/annotations/sheetanchor.dev~1a~0b","value":"x"},{"op":"remove","path":"/status/specHash"}]"#
        );
    }
}
