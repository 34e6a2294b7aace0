//! What the hub says about itself: `/version`, `/api`, `/apis` and what is below, and its health.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::kinds::{Kind, kinds};

/// The release whose API this is a part of.
const KUBERNETES: (&str, &str, &str) = ("1", "35", "v1.35.4+sheetanchor-demo");
const VERBS: [&str; 7] = ["create", "delete", "get", "list", "patch", "update", "watch"];

/// The answer at a path that is about the hub itself; none when the path is about its objects.
pub(super) fn answer(path: &str) -> Option<Response> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let body = match segments.as_slice() {
        ["healthz" | "livez" | "readyz"] => return Some("ok".into_response()),
        ["version"] => version(),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["apis"] => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups()}),
        ["api", "v1"] => resources("", "v1")?,
        ["apis", group] => groups().into_iter().find(|known| known["name"] == **group)?,
        ["apis", group, version] => resources(group, version)?,
        ["openapi", "v3"] => json!({"paths": documents()}),
        ["openapi", "v3", "api", version] => document("", version)?,
        ["openapi", "v3", "apis", group, version] => document(group, version)?,
        _ => return None,
    };
    Some(Json(body).into_response())
}

fn version() -> Value {
    let (major, minor, version) = KUBERNETES;
    json!({
        "major": major, "minor": minor, "gitVersion": version, "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
    })
}

/// Every named group, in the order of the rows.
fn groups() -> Vec<Value> {
    let mut groups: Vec<Value> = Vec::new();
    for kind in kinds().filter(|kind| !kind.group.is_empty()) {
        if groups.iter().any(|group| group["name"] == kind.group) {
            continue;
        }
        let version = json!({"groupVersion": kind.api_version(), "version": kind.version});
        groups.push(json!({
            "kind": "APIGroup",
            "apiVersion": "v1",
            "name": kind.group,
            "versions": [version],
            "preferredVersion": version,
        }));
    }
    groups
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<&Kind> = kinds().filter(|kind| kind.group == group && kind.version == version).collect();
    let group_version = kinds.first()?.api_version();
    let resources: Vec<Value> = kinds.into_iter().flat_map(rows).collect();
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    }))
}

/// Where the OpenAPI documents are, by `api/v1` and `apis/<group>/<version>`.
fn documents() -> Value {
    let paths = kinds().map(|kind| {
        let path = if kind.group.is_empty() { "api" } else { "apis" };
        let path = format!("{path}/{}", kind.api_version());
        let url = format!("/openapi/v3/{path}");
        (path, json!({"serverRelativeURL": url}))
    });
    Value::Object(paths.collect())
}

/// An OpenAPI document that says one thing, without which `kubectl apply` and `create` refuse to send
/// anything: objects are validated here. There are no schemas to do it by, so every object is valid.
fn document(group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<&Kind> = kinds().filter(|kind| kind.group == group && kind.version == version).collect();
    let info = json!({"title": kinds.first()?.api_version(), "version": version});
    let paths = kinds.into_iter().map(|kind| {
        let names = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let parameter = json!({"name": "fieldValidation", "in": "query"});
        (
            format!("/{}/{{name}}", kind.plural),
            json!({
                "patch": {"parameters": [parameter], "x-kubernetes-group-version-kind": names},
            }),
        )
    });
    let paths: Map<String, Value> = paths.collect();
    Some(json!({"openapi": "3.0.0", "info": info, "paths": paths}))
}

fn rows(kind: &Kind) -> Vec<Value> {
    let mut rows = vec![json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": VERBS,
    })];
    if !kind.short_names.is_empty() {
        rows[0]["shortNames"] = json!(kind.short_names);
    }
    let mut part = |name: &str, kind_name: &str, verbs: &[&str]| {
        rows.push(json!({
            "name": format!("{}/{name}", kind.plural),
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind_name,
            "verbs": verbs,
        }));
    };
    if kind.status {
        part("status", kind.kind, &["get", "patch", "update"]);
    }
    if kind.binding {
        part("binding", "Binding", &["create"]);
    }
    rows
}
