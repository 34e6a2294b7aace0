//! Taints, which ManagedClusters and Nodes write alike.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::taint::{self, Taint};

/// A taint, of a ManagedCluster or of a Node: the two look alike.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireTaint {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    effect: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_added: Option<String>,
}

impl From<WireTaint> for Taint {
    fn from(taint: WireTaint) -> Self {
        Self { key: taint.key, value: taint.value, effect: taint.effect.as_str().into(), time_added: taint.time_added }
    }
}

/// When and under which key we write taints.
#[derive(Clone, Copy, Debug)]
pub struct Pen<'a> {
    /// The key of our taint.
    pub taint_key: &'a str,
    /// The wall clock, RFC 3339, for entries of ours that have no time yet.
    pub now: &'a str,
}

/// The list as the API takes it.
pub(super) fn taints_json(taints: &[Taint], pen: Pen<'_>) -> Value {
    let wire = |taint: &Taint| {
        let fresh = taint.time_added.is_none() && taint::ours(taint, pen.taint_key).is_some();
        json!(WireTaint {
            key: taint.key.clone(),
            value: taint.value.clone(),
            effect: taint.effect.as_str().to_owned(),
            time_added: if fresh { Some(pen.now.to_owned()) } else { taint.time_added.clone() },
        })
    };
    taints.iter().map(wire).collect()
}
