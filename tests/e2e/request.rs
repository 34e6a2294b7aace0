//! Requests to the API server as they go over the wire, and all of its answers: kube's own calls
//! drop warnings, and send no body that is odd.

use http::{Method, Request};
use http_body_util::BodyExt;
use kube::Client;
use serde_json::Value;

/// A merge patch (RFC 7386).
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
/// A JSON patch (RFC 6902).
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
/// A server-side apply.
pub(crate) const APPLY_PATCH: &str = "application/apply-patch+yaml";
/// A whole object.
pub(crate) const OBJECT: &str = "application/json";

/// What the API server said.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) code: u16,
    /// The object as it is now, or the `Status` that says why not.
    pub(crate) body: Value,
    /// The texts of the `Warning` headers.
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    /// Whether it was done.
    pub(crate) fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The words of a refusal; empty for others.
    pub(crate) fn message(&self) -> &str {
        if self.succeeded() { "" } else { self.body["message"].as_str().unwrap_or_default() }
    }
}

/// Sends one request; `None` when no answer came.
pub(crate) async fn try_send(client: &Client, method: Method, path: &str, kind: &str, body: &Value) -> Option<Answer> {
    let body = body.to_string().into_bytes();
    let request = Request::builder().method(method).uri(path).header("content-type", kind).body(body.into()).unwrap();
    let answer = client.send(request).await.ok()?;
    let code = answer.status().as_u16();
    let warnings = answer.headers().get_all("warning").iter();
    let warnings = warnings.map(|header| text_of(header.to_str().unwrap())).collect();
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body)));
    Some(Answer { code, body, warnings })
}

/// Sends one request.
pub(crate) async fn send(client: &Client, method: Method, path: &str, kind: &str, body: &Value) -> Answer {
    try_send(client, method, path, kind, body).await.expect("the API server does not answer")
}

/// The text of `299 - "text"`.
fn text_of(warning: &str) -> String {
    let quoted = warning.split_once(" - ").map_or(warning, |(_, quoted)| quoted);
    serde_json::from_str(quoted).unwrap_or_else(|_| quoted.to_owned())
}
