//! Mutating admission webhooks: which of them a write concerns, and what becomes of it.
//!
//! They are asked one after the other, in the order of their configurations' names. Of what selects
//! them only `rules` is known here: no `namespaceSelector`, `objectSelector`, `matchConditions`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::StatusCode;
use serde_json::{Value, json};

use super::failure::Failure;
use super::kinds::Kind;
use super::object;
use super::path::Target;
use super::rest::Call;

/// The configurations; no webhook is asked about them.
const CONFIGURATIONS: &str = "mutatingwebhookconfigurations";
/// Who makes every request: the hub knows no users.
const USER: &str = "system:anonymous";

/// A write, before anything of it is stored.
pub(super) struct Write<'a> {
    /// `CREATE`, `UPDATE`, `DELETE`.
    pub(super) operation: &'static str,
    pub(super) name: &'a str,
    /// The object as it is stored; null when there is none.
    pub(super) old: &'a Value,
    /// The object as it should be; null when it should be gone.
    pub(super) new: Value,
}

impl Call {
    /// What the webhooks make of a write: the object that should be stored.
    ///
    /// # Errors
    /// When one of them denies it, or cannot be asked and does not allow for that.
    pub(super) async fn admit(&self, write: Write<'_>) -> Result<Value, Failure> {
        let mut new = write.new;
        if self.target.kind.plural == CONFIGURATIONS {
            return Ok(new);
        }
        let (_, configurations) = self.server.store.list(CONFIGURATIONS, None);
        let webhooks = configurations.iter().flat_map(|all| all["webhooks"].as_array().into_iter().flatten());
        for webhook in webhooks.filter(|webhook| concerns(webhook, &self.target, write.operation)) {
            let name = webhook["name"].as_str().unwrap_or_default();
            let uid = object::uid();
            let review = self.review(&uid, write.operation, write.name, write.old, &new);
            let called = self.server.webhooks.call(&webhook["clientConfig"], timeout_seconds(webhook), &review).await;
            let answer = called.and_then(|answer| {
                read(&answer, &uid).map_err(|why| format!("received invalid webhook response: {why}"))
            });
            let verdict = match answer {
                Ok(verdict) => verdict,
                Err(error) if webhook["failurePolicy"] == "Ignore" => {
                    tracing::warn!(webhook = name, error, "the webhook failed, and is ignored");
                    continue;
                }
                Err(error) => return Err(failed(&format!("failed calling webhook {name:?}: {error}"))),
            };
            self.warn(verdict.warnings);
            if let Some(status) = verdict.denial {
                return Err(denied(name, &status));
            }
            if let Some(patch) = verdict.patch {
                json_patch::patch(&mut new, &patch).map_err(|error| failed(&error.to_string()))?;
                object::check_shape(&new).map_err(|why| failed(&why))?;
            }
        }
        Ok(new)
    }

    fn review(&self, uid: &str, operation: &str, name: &str, old: &Value, new: &Value) -> Value {
        let target = &self.target;
        let (kind, part) = (target.kind, target.subresource.as_deref());
        let resource = json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
        let kind_name = if part == Some("binding") { "Binding" } else { kind.kind };
        let kind = json!({"group": kind.group, "version": kind.version, "kind": kind_name});
        let options = match operation {
            "CREATE" => "CreateOptions",
            "DELETE" => "DeleteOptions",
            _ => "UpdateOptions",
        };
        let mut request = json!({
            "uid": uid,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": name,
            "operation": operation,
            "userInfo": {"username": USER, "groups": ["system:unauthenticated"]},
            "object": new,
            "oldObject": old,
            "dryRun": self.is_dry_run(),
            "options": {"kind": options, "apiVersion": "meta.k8s.io/v1"},
        });
        if let Some(part) = part {
            request["subResource"] = json!(part);
            request["requestSubResource"] = json!(part);
        }
        if let Some(namespace) = &target.namespace {
            request["namespace"] = json!(namespace);
        }
        let manager = self.query.get("fieldManager");
        if !manager.is_empty() {
            request["options"]["fieldManager"] = json!(manager);
        }
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
    }
}

fn timeout_seconds(webhook: &Value) -> u64 {
    webhook["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30)
}

/// Whether one of the webhook's rules speaks of such a write.
fn concerns(webhook: &Value, target: &Target, operation: &str) -> bool {
    let Kind { group, version, plural, namespaced, .. } = target.kind;
    let part = target.subresource.as_deref().unwrap_or_default();
    let scope = if *namespaced { "Namespaced" } else { "Cluster" };
    webhook["rules"].as_array().into_iter().flatten().any(|rule| {
        let names = |field: &str, name: &str| {
            let mut listed = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
            listed.any(|listed| listed == "*" || listed == name)
        };
        let mut resources = rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let meant = |pattern: &str| {
            let (resource, subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
            (resource == "*" || resource == *plural) && (subresource == "*" || subresource == part)
        };
        let scoped = rule["scope"].as_str().is_none_or(|wanted| wanted == "*" || wanted == scope);
        let named = names("operations", operation) && names("apiGroups", group) && names("apiVersions", version);
        named && scoped && resources.any(meant)
    })
}

/// What a webhook said.
#[derive(Debug, Default)]
struct Verdict {
    denial: Option<Value>,
    patch: Option<json_patch::Patch>,
    warnings: Vec<String>,
}

/// Reads an answer to the review `uid`, as strictly as the API server does.
fn read(answer: &Value, uid: &str) -> Result<Verdict, String> {
    if answer["kind"] != "AdmissionReview" || answer["apiVersion"] != "admission.k8s.io/v1" {
        return Err("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview".to_owned());
    }
    let response = &answer["response"];
    if response["uid"] != uid {
        return Err(format!("expected response.uid={uid:?}, got {}", response["uid"]));
    }
    let warnings = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let warnings = warnings.map(str::to_owned).collect();
    if response["allowed"] != true {
        return Ok(Verdict { denial: Some(response["status"].clone()), warnings, ..Verdict::default() });
    }
    let patch = match (response["patch"].as_str(), response["patchType"].as_str()) {
        (None | Some(""), None) => None,
        (Some(patch), Some("JSONPatch")) => {
            let patch = BASE64.decode(patch).map_err(|error| format!("response.patch is no base64: {error}"))?;
            Some(serde_json::from_slice(&patch).map_err(|error| format!("response.patch is no JSON patch: {error}"))?)
        }
        _ => return Err("response.patch and response.patchType must be there both or not at all".to_owned()),
    };
    Ok(Verdict { denial: None, patch, warnings })
}

/// The webhook's own status, with its name before the message, and no code that would say success.
fn denied(webhook: &str, status: &Value) -> Failure {
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    let code = code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::BAD_REQUEST);
    let text = |field: &str| status[field].as_str().filter(|text| !text.is_empty());
    let mut message = format!("admission webhook {webhook:?} denied the request");
    match text("message").or(text("reason")) {
        Some(why) => message += &format!(": {why}"),
        None => message += " without explanation",
    }
    Failure { details: status["details"].clone(), ..Failure::new(code, text("reason").unwrap_or_default(), message) }
}

fn failed(why: &str) -> Failure {
    let message = format!("Internal error occurred: {why}");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Target {
        Target::parse(path).expect("a path")
    }

    #[test]
    fn a_webhook_is_asked_about_what_its_rules_name() {
        let binding = target("/api/v1/namespaces/x/pods/p/binding");
        let rule =
            json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/binding"]});
        for (name, field, value, expected) in [
            ("as it is", "scope", json!("*"), true),
            ("its scope", "scope", json!("Namespaced"), true),
            ("another scope", "scope", json!("Cluster"), false),
            ("any group", "apiGroups", json!(["apps", "*"]), true),
            ("another group", "apiGroups", json!(["apps"]), false),
            ("another version", "apiVersions", json!(["v2"]), false),
            ("another operation", "operations", json!(["UPDATE", "DELETE"]), false),
            ("the object, not the part", "resources", json!(["pods"]), false),
            ("any object, not the part", "resources", json!(["*"]), false),
            ("any part", "resources", json!(["pods/*"]), true),
            ("the part of any", "resources", json!(["*/binding"]), true),
            ("everything", "resources", json!(["*/*"]), true),
            ("another part", "resources", json!(["pods/status"]), false),
            ("nothing", "resources", json!([]), false),
        ] {
            let mut rule = rule.clone();
            rule[field] = value;
            assert_eq!(concerns(&json!({"rules": [rule]}), &binding, "CREATE"), expected, "{name}");
        }
        assert!(!concerns(&json!({}), &binding, "CREATE"));
        let pods =
            json!({"rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods"]}]});
        assert!(concerns(&pods, &target("/api/v1/namespaces/x/pods/p"), "UPDATE"));
        assert!(!concerns(&pods, &binding, "CREATE"));
    }

    #[test]
    fn a_denial_is_never_a_success_and_names_the_webhook() {
        for (status, code, message) in [
            (json!({"code": 409, "message": "late"}), 409, "admission webhook \"w\" denied the request: late"),
            (json!({"code": 200, "reason": "Late"}), 400, "admission webhook \"w\" denied the request: Late"),
            (Value::Null, 400, "admission webhook \"w\" denied the request without explanation"),
        ] {
            let failure = denied("w", &status);
            assert_eq!((failure.code.as_u16(), failure.message.as_str()), (code, message));
        }
    }

    #[test]
    fn an_answer_must_be_whole() {
        let answer = |response: Value| json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        let patch = BASE64.encode(r#"[{"op": "remove", "path": "/a"}]"#);
        for (response, understood) in [
            (json!({"uid": "u", "allowed": true}), true),
            (json!({"uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": patch}), true),
            (json!({"uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": "%"}), false),
            (json!({"uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": BASE64.encode("{")}), false),
            (json!({"uid": "u", "allowed": true, "patch": patch}), false),
            (json!({"uid": "u", "allowed": true, "patchType": "Merge", "patch": patch}), false),
            (json!({"uid": "v", "allowed": true}), false),
        ] {
            assert_eq!(read(&answer(response.clone()), "u").is_ok(), understood, "{response}");
        }
        assert!(read(&json!({"response": {"uid": "u", "allowed": true}}), "u").is_err());
        assert!(
            read(&answer(json!({"uid": "u"})), "u").is_ok_and(|verdict| verdict.denial.is_some()),
            "no word is a no"
        );
    }
}
