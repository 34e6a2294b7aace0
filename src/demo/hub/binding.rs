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
use super::store::Refusal;

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
        loop {
            match self.assign(name, node, &binding) {
                Ok(()) => break,
                Err(Ok(Refusal::Modified)) => {}
                Err(Ok(_)) => return Err(Failure::not_found(self.target.kind, name)),
                Err(Err(failure)) => return Err(failure),
            }
        }
        let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok((StatusCode::CREATED, Json(done)).into_response())
    }

    /// Puts the pod on `node` if nobody else did, with the labels and annotations of the Binding.
    fn assign(&self, name: &str, node: &str, binding: &Value) -> Result<(), Result<Refusal, Failure>> {
        let key = self.target.key(name);
        let old = self.server.store.get(&key).ok_or(Ok(Refusal::Gone))?;
        self.check_preconditions(&binding["metadata"], &old, name).map_err(Err)?;
        let taken = |why: &str| {
            let mut failure = Failure::conflict(self.target.kind, name, why);
            failure.message = failure.message.replace("on pods ", "on pods/binding ");
            failure.details["kind"] = json!("pods/binding");
            Err(Err(failure))
        };
        if !meta(&old, "deletionTimestamp").is_empty() {
            return taken(&format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        if let Some(assigned) = old["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
            return taken(&format!("pod {name} is already assigned to node {assigned:?}"));
        }
        if self.is_dry_run() {
            return Ok(());
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
        self.server.store.replace(&key, meta(&old, "resourceVersion"), new).map(drop).map_err(Ok)
    }
}
