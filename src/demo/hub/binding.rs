//! `pods/binding`: the write by which a scheduler puts a pod on a node.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::clock;

use super::admission::Write;
use super::failure::Failure;
use super::object::{self, meta};
use super::rest::Call;

impl Call {
    /// POST of a Binding. As on a real hub nobody looks whether there is such a node.
    pub(super) async fn bind(&self, name: &str) -> Result<Response, Failure> {
        let mut binding = self.body_json()?;
        object::check_shape(&binding).map_err(Failure::bad_request)?;
        self.check_namespace(&binding)?;
        binding["apiVersion"] = json!("v1");
        binding["kind"] = json!("Binding");
        if meta(&binding, "name").is_empty() {
            binding["metadata"]["name"] = json!(name);
        }
        binding["metadata"]["namespace"] = json!(self.target.namespace);
        let write = Write { operation: "CREATE", name, old: &Value::Null, new: binding };
        let binding = self.admit(write).await?;
        if meta(&binding, "name") != name {
            return Err(Failure::bad_request("name in URL does not match name in Binding object"));
        }
        let target = &binding["target"];
        let node = target["name"].as_str().filter(|node| !node.is_empty());
        let Some(node) = node.filter(|_| matches!(target["kind"].as_str(), None | Some("" | "Node"))) else {
            return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "", "target.name: Required value"));
        };
        while !self.assign(name, node, &binding)? {}
        let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok((StatusCode::CREATED, Json(done)).into_response())
    }

    /// Puts the pod on `node` if nobody else did, with the labels and annotations of the Binding. False
    /// when somebody wrote in between: then it is to be tried again.
    fn assign(&self, name: &str, node: &str, binding: &Value) -> Result<bool, Failure> {
        let key = self.target.key(name);
        let old = self.server.store.get(&key).ok_or_else(|| Failure::not_found(self.target.kind, name))?;
        self.check_preconditions(&binding["metadata"], &old, name)?;
        let taken = |why: &str| Err(Failure::unbindable(self.target.kind, name, why));
        if !meta(&old, "deletionTimestamp").is_empty() {
            return taken(&format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        if let Some(assigned) = old["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
            return taken(&format!("pod {name} is already assigned to node {assigned:?}"));
        }
        if self.is_dry_run() {
            return Ok(true);
        }
        let mut new = Value::clone(&old);
        new["spec"]["nodeName"] = json!(node);
        for field in ["labels", "annotations"] {
            for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
                new["metadata"][field][key] = value.clone();
            }
        }
        let now = object::stamp(clock::wall());
        let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now});
        let conditions = old["status"]["conditions"].as_array().into_iter().flatten();
        let others = conditions.filter(|condition| condition["type"] != "PodScheduled").cloned();
        new["status"]["conditions"] = others.chain([scheduled]).collect();
        Ok(self.server.store.replace(&key, meta(&old, "resourceVersion"), new).is_ok())
    }
}
