//! Objects as JSON: what the API server fills in, what it keeps, and what it lets through.

use std::hash::{BuildHasher, Hasher, RandomState};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::kinds::Kind;

/// What of an object belongs to the API server, whoever writes it.
const KEPT: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "name",
    "namespace",
    "resourceVersion",
    "uid",
];
/// The letters of generated names: none that would make words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Which part of an object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the status, where that has a subresource.
    Main,
    /// The status alone.
    Status,
}

/// Text in the metadata; empty when absent.
pub(super) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Whether finalizers keep the object from being removed.
pub(super) fn is_held(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// Checks what everything else here relies on: an object whose parts are objects, with labels and
/// annotations of text.
///
/// # Errors
/// What is wrong.
pub(super) fn check_shape(object: &Value) -> Result<(), String> {
    if !object.is_object() {
        return Err("not an object".to_owned());
    }
    if let Some(part) = ["metadata", "spec", "status"].into_iter().find(|part| !is_object_or_null(&object[part])) {
        return Err(format!("{part}: not an object"));
    }
    let metadata = &object["metadata"];
    for field in ["labels", "annotations"] {
        let texts = metadata[field].as_object().is_some_and(|texts| texts.values().all(Value::is_string));
        if !(texts || metadata[field].is_null()) {
            return Err(format!("metadata.{field}: not an object of strings"));
        }
    }
    let texts = |list: &Vec<Value>| list.iter().all(Value::is_string);
    if !(metadata["finalizers"].is_null() || metadata["finalizers"].as_array().is_some_and(texts)) {
        return Err("metadata.finalizers: not a list of strings".to_owned());
    }
    let not_text = ["name", "namespace", "uid", "resourceVersion", "generateName"]
        .into_iter()
        .find(|field| !(metadata[field].is_null() || metadata[field].is_string()));
    not_text.map_or(Ok(()), |field| Err(format!("metadata.{field}: not a string")))
}

fn is_object_or_null(value: &Value) -> bool {
    value.is_object() || value.is_null()
}

/// Whether the name can stand in a path: a DNS subdomain, as the API server has it.
pub(super) fn is_valid_name(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        label.starts_with(alphanumeric)
            && label.ends_with(alphanumeric)
            && label.chars().all(|c| alphanumeric(c) || c == '-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// `prefix` and five random letters.
pub(super) fn generated_name(prefix: &str) -> String {
    let mut random = random();
    let mut name = prefix.to_owned();
    for _ in 0..5 {
        let letters = LETTERS.len() as u64;
        name.push(char::from(LETTERS[usize::try_from(random % letters).unwrap_or_default()]));
        random /= letters;
    }
    name
}

/// Gives a new object what the API server gives it; its resourceVersion comes from the store.
pub(super) fn begin(kind: &Kind, mut object: Value, now: Timestamp) -> Value {
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.kind);
    let metadata = &mut object["metadata"];
    for field in ["deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields", "selfLink"] {
        remove(metadata, field);
    }
    metadata["uid"] = json!(uid());
    metadata["creationTimestamp"] = json!(stamp(now));
    if kind.generation {
        metadata["generation"] = json!(1);
    }
    match kind.kind {
        "Namespace" => {
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object["metadata"]["name"].clone();
            object["status"] = json!({"phase": "Active"});
        }
        "Pod" => object["status"] = json!({"phase": "Pending"}),
        _ if kind.custom && kind.status => remove(&mut object, "status"),
        _ => {}
    }
    object
}

/// What is stored when an object is deleted that finalizers hold.
pub(super) fn end(kind: &Kind, old: &Value, now: Timestamp) -> Value {
    let mut object = old.clone();
    object["metadata"]["deletionTimestamp"] = json!(stamp(now));
    object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    if kind.generation {
        object["metadata"]["generation"] = next_generation(old);
    }
    object
}

/// What is stored when `proposed` is written over `old`.
pub(super) fn succeed(kind: &Kind, part: Part, old: &Value, mut proposed: Value) -> Value {
    if part == Part::Status {
        let mut new = old.clone();
        set(&mut new, "status", proposed["status"].take());
        return new;
    }
    for field in KEPT {
        set(&mut proposed["metadata"], field, old["metadata"][field].clone());
    }
    remove(&mut proposed["metadata"], "managedFields");
    set(&mut proposed, "apiVersion", old["apiVersion"].clone());
    set(&mut proposed, "kind", old["kind"].clone());
    if kind.status {
        set(&mut proposed, "status", old["status"].clone());
    }
    if kind.generation && substance(&proposed).ne(substance(old)) {
        proposed["metadata"]["generation"] = next_generation(old);
    }
    proposed
}

fn next_generation(old: &Value) -> Value {
    json!(old["metadata"]["generation"].as_i64().unwrap_or_default() + 1)
}

/// Everything but metadata and status.
fn substance(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(field, _)| !matches!(field.as_str(), "metadata" | "status"))
}

/// Sets a field, or removes it when the value is null.
fn set(object: &mut Value, field: &str, value: Value) {
    if value.is_null() {
        remove(object, field);
    } else {
        object[field] = value;
    }
}

fn remove(object: &mut Value, field: &str) {
    object.as_object_mut().map(|object: &mut Map<String, Value>| object.remove(field));
}

/// A time as metadata has it: whole seconds.
pub(super) fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A random UUID.
pub(super) fn uid() -> String {
    let (high, low) = (random(), random());
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
    let (d, e) = (low >> 48 & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
}

/// Randomness from the operating system, through the only door that the standard library has.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
