//! `Table`, the form in which kubectl asks for what it prints.

use std::borrow::Cow;

use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::columns::Column;
use super::kinds::Kind;
use super::path::Query;

/// The form that the caller wants objects in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Plain,
    /// As rows.
    Table(Include),
}

/// What a row carries of its object besides the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Form {
    /// What the headers and the query ask for.
    pub(super) fn read(headers: &HeaderMap, query: &Query) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let first = accept.split(',').next().unwrap_or_default();
        let parameters: Vec<&str> = first.split(';').map(str::trim).collect();
        if !["application/json", "as=Table", "g=meta.k8s.io", "v=v1"].iter().all(|part| parameters.contains(part)) {
            return Self::Plain;
        }
        Self::Table(match query.get("includeObject") {
            "None" => Include::Nothing,
            "Object" => Include::Object,
            _ => Include::Metadata,
        })
    }
}

/// A table of these objects. `version` is that of the list, or of the one object.
pub(super) fn table(kind: &Kind, objects: &[Cow<'_, Value>], include: Include, version: &str, now: Timestamp) -> Value {
    let definition = |column: &Column| {
        // kubectl puts the resource before what is called a name, where it prints several.
        let format = if column.name == "Name" { "name" } else { "" };
        let priority = i32::from(column.wide);
        json!({"name": column.name, "type": "string", "format": format, "description": "", "priority": priority})
    };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": kind.columns.iter().map(definition).collect::<Vec<_>>(),
        "rows": objects.iter().map(|object| row(kind, object, include, now)).collect::<Vec<_>>(),
    })
}

fn row(kind: &Kind, object: &Value, include: Include, now: Timestamp) -> Value {
    let cell = |column: &Column| Value::from((column.show)(object, now));
    let cells: Vec<Value> = kind.columns.iter().map(cell).collect();
    let object = match include {
        Include::Nothing => Value::Null,
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        }),
        Include::Object => object.clone(),
    };
    json!({"cells": cells, "object": object})
}
