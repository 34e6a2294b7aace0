//! AdmissionReview v1: the API server's question and our answer, and the Binding in such a question.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::wire::patch::Patch;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The API server cuts warnings to this many characters each once they are longer together than
/// [`WARNINGS_RUNES_MAX`], and drops those beyond.
const WARNING_RUNES_MAX: usize = 256;
const WARNINGS_RUNES_MAX: usize = 4096;
/// So many warnings are delivered whole; the last says how many there were besides.
const WARNINGS_MAX: usize = 10;
const _: () = assert!(WARNINGS_MAX * WARNING_RUNES_MAX <= WARNINGS_RUNES_MAX);

/// What is wrong with a body that should be an AdmissionReview.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It is no JSON, or not shaped as one.
    #[error("cannot read AdmissionReview: {0}")]
    Malformed(String),
    /// It is something else.
    #[error("cannot answer a {kind} of {api_version}: only {KIND} of {API_VERSION}", kind = quoted(.kind), api_version = quoted(.api_version))]
    Foreign {
        /// Its `kind`.
        kind: String,
        /// Its `apiVersion`.
        api_version: String,
    },
    /// It has no `request.uid` to answer to.
    #[error("cannot answer an AdmissionReview without request.uid")]
    Nameless,
}

/// A few characters of somebody's text, safe for a line of output.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    format!("{short:?}")
}

/// What the API server asks about, borrowed from the body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review<'a> {
    /// The answer must carry it.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Kind<'a>,
    #[serde(borrow, default)]
    resource: Resource<'a>,
    /// `binding`, `status`, or empty.
    #[serde(borrow, default)]
    pub sub_resource: Cow<'a, str>,
    /// The object's namespace.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// The object's name.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// `CREATE`, `UPDATE`, …
    #[serde(borrow, default)]
    pub operation: Cow<'a, str>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    old_object: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
struct Kind<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
struct Resource<'a> {
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(borrow, default)]
    resource: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    request: Option<Review<'a>>,
}

impl<'a> Review<'a> {
    /// Reads a body.
    ///
    /// Fails when it is no AdmissionReview v1, or one that cannot be answered.
    pub fn read(body: &'a [u8]) -> Result<Self, ReviewError> {
        let text = std::str::from_utf8(body).map_err(|error| ReviewError::Malformed(error.to_string()))?;
        let envelope: Envelope<'a> =
            serde_json::from_str(text).map_err(|error| ReviewError::Malformed(error.to_string()))?;
        if envelope.kind != KIND || envelope.api_version != API_VERSION {
            let (kind, api_version) = (envelope.kind.into_owned(), envelope.api_version.into_owned());
            return Err(ReviewError::Foreign { kind, api_version });
        }
        envelope.request.filter(|request| !request.uid.is_empty()).ok_or(ReviewError::Nameless)
    }

    /// The kind of the object.
    pub fn kind(&self) -> &str {
        &self.kind.kind
    }

    /// The API group of the resource; empty for the core.
    pub fn group(&self) -> &str {
        &self.resource.group
    }

    /// The resource, in the plural.
    pub fn resource(&self) -> &str {
        &self.resource.resource
    }

    /// The object that is to be stored; empty when there is none.
    pub fn object(&self) -> &'a str {
        self.object.map_or("", RawValue::get)
    }

    /// The object as it is stored; empty when there is none.
    pub fn old_object(&self) -> &'a str {
        self.old_object.map_or("", RawValue::get)
    }
}

/// What we answer.
#[derive(Debug, Default)]
pub struct Answer {
    denial: Option<(u16, String)>,
    patch: Patch,
    warnings: Vec<String>,
    audit: BTreeMap<&'static str, String>,
}

impl Answer {
    /// Allowed, as it is.
    pub fn allow() -> Self {
        Self::default()
    }

    /// Refused with an HTTP status and a reason.
    pub fn deny(code: u16, reason: String) -> Self {
        Self { denial: Some((code, reason)), ..Self::default() }
    }

    /// Allowed, changed by `patch`.
    pub fn with_patch(mut self, patch: Patch) -> Self {
        self.patch = patch;
        self
    }

    /// With warnings for whoever made the request.
    pub fn with_warnings(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// With a note in the audit log, under `key` with the webhook's name before it.
    pub fn with_audit(mut self, key: &'static str, note: String) -> Self {
        self.audit.insert(key, note);
        self
    }

    /// The body to send to whoever asked with this uid.
    pub fn to_json(&self, uid: &str) -> Vec<u8> {
        let mut response = json!({ "uid": uid, "allowed": self.denial.is_none() });
        if let Some((code, reason)) = &self.denial {
            response["status"] = json!({ "code": code, "message": one_line(reason) });
        } else if !self.patch.is_empty() {
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(BASE64.encode(self.patch.to_json()));
        }
        if !self.warnings.is_empty() {
            response["warnings"] = Value::from(self.delivered_warnings());
        }
        if !self.audit.is_empty() {
            response["auditAnnotations"] = json!(self.audit);
        }
        json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response }).to_string().into_bytes()
    }

    /// Each short enough, and not too many.
    fn delivered_warnings(&self) -> Vec<String> {
        let whole = if self.warnings.len() > WARNINGS_MAX { WARNINGS_MAX - 1 } else { self.warnings.len() };
        let more = self.warnings.len() - whole;
        let rest = (more > 0).then(|| format!("and {more} more, see the audit log"));
        self.warnings.iter().take(whole).map(|warning| shortened(&one_line(warning))).chain(rest).collect()
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= WARNING_RUNES_MAX {
        return text.to_owned();
    }
    text.chars().take(WARNING_RUNES_MAX - 1).chain(['…']).collect()
}

/// Warnings and messages end up in headers and on terminals, and name what others wrote.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// A pod's binding to a node.
#[derive(Debug)]
pub struct Binding {
    /// The node; `None` when the target is something else.
    pub node: Option<String>,
    metadata: Option<BindingMetadata>,
}

#[derive(Debug, Deserialize)]
struct BindingMetadata {
    annotations: Option<BTreeMap<String, String>>,
}

impl Binding {
    /// Reads one.
    ///
    /// Fails when its target or annotations have another type than Kubernetes gives them.
    pub fn read(json: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Option<BindingMetadata>,
            target: Option<Target>,
        }
        #[derive(Deserialize)]
        struct Target {
            kind: Option<String>,
            name: Option<String>,
        }
        let object: Object = serde_json::from_str(json)?;
        let to_node = |target: &Target| matches!(target.kind.as_deref(), None | Some("" | "Node"));
        let node = object.target.filter(to_node).and_then(|target| target.name);
        Ok(Self { node, metadata: object.metadata })
    }

    /// The patch that gives it these annotations and keeps all others; empty when it has them.
    pub fn annotate(&self, wanted: &[(&str, &str)]) -> Patch {
        let mut patch = Patch::default();
        let present = self.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
        let has = |key: &str, value: &str| present.and_then(|all| all.get(key)).is_some_and(|it| it == value);
        let missing: Vec<_> = wanted.iter().filter(|(key, value)| !has(key, value)).collect();
        if missing.is_empty() {
            return patch;
        }
        if self.metadata.is_none() {
            patch.set(&["metadata"], json!({}));
        }
        if present.is_none() {
            patch.set(&["metadata", "annotations"], json!({}));
        }
        for (key, value) in missing {
            patch.set(&["metadata", "annotations", key], *value);
        }
        patch
    }
}
