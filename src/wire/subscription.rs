//! Clusternet's Subscription, as far as admission reads it, and patches of its placement.
//!
//! Lenient: every field may be missing or null, words that we do not know are kept apart from those
//! that we do, and what is not read here may be anything.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::domain::selector::{Requirement, Selector};
use crate::domain::subscription::{Placement, SubscriptionFacts};
use crate::domain::taint::Toleration;
use crate::wire::patch::Patch;
use crate::wire::rescue;

/// A Subscription as the API server stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it runs.
    pub placement: Placement,
    /// The rest that the guard must know.
    pub facts: SubscriptionFacts,
    /// What is wrong with the annotation that records rescues, if it cannot be read: none counts then.
    pub bad_rescues: Option<String>,
}

impl Stored {
    /// Reads one.
    ///
    /// Fails when a field that we need has another type than Clusternet gives it.
    pub fn read(json: &str) -> Result<Self, serde_json::Error> {
        let object: Object = serde_json::from_str(json)?;
        let metadata = object.metadata.unwrap_or_default();
        let annotations = metadata.annotations.unwrap_or_default();
        let (rescues, bad_rescues) = match annotations.rescued.as_deref().map(rescue::read) {
            None => (Vec::new(), None),
            Some(Ok(rescues)) => (rescues, None),
            Some(Err(error)) => (Vec::new(), Some(error)),
        };
        let spec = object.spec.unwrap_or_default();
        let facts = SubscriptionFacts {
            affinities: spec.subscribers.into_iter().flatten().map(|subscriber| subscriber.affinity()).collect(),
            tolerations: spec.cluster_tolerations.into_iter().flatten().map(Toleration::from).collect(),
            dividing: spec.scheduling_strategy.as_deref() == Some("Dividing"),
            by_sub_group: spec.scheduling_by_sub_group.unwrap_or(false),
            may_be_empty: annotations.allow_empty.as_deref() == Some("true"),
            deleting: metadata.deletion_timestamp.is_some(),
            rescues,
        };
        Ok(Self { placement: object.status.unwrap_or_default().into(), facts, bad_rescues })
    }
}

/// A Subscription as somebody wants it stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where it is to run.
    pub placement: Placement,
    /// It has a status to patch.
    has_status: bool,
}

impl Written {
    /// Reads one.
    ///
    /// Fails when a field of the placement has another type than Clusternet gives it.
    pub fn read(json: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Object {
            status: Option<Status>,
        }
        let object: Object = serde_json::from_str(json)?;
        let has_status = object.status.is_some();
        Ok(Self { placement: object.status.unwrap_or_default().into(), has_status })
    }

    /// The patch that makes its placement `wanted`, and changes nothing else.
    pub fn patch(&self, wanted: &Placement) -> Patch {
        let mut patch = Patch::default();
        let has = &self.placement;
        if !self.has_status {
            patch.set(&["status"], json!({}));
        }
        if wanted.clusters != has.clusters {
            patch.set(&["status", "bindingClusters"], wanted.clusters.clone());
        }
        if wanted.replicas != has.replicas {
            if wanted.replicas.is_empty() {
                patch.remove(&["status", "replicas"]);
            } else {
                patch.set(&["status", "replicas"], json!(wanted.replicas));
            }
        }
        set_number(&mut patch, "desiredReleases", has.desired_releases, wanted.desired_releases);
        set_number(&mut patch, "specHash", has.spec_hash, wanted.spec_hash);
        patch
    }
}

fn set_number(patch: &mut Patch, field: &str, has: Option<i64>, wanted: Option<i64>) {
    match wanted {
        _ if wanted == has => {}
        Some(number) => patch.set(&["status", field], Value::from(number)),
        None => patch.remove(&["status", field]),
    }
}

#[derive(Deserialize)]
struct Object {
    metadata: Option<Metadata>,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    annotations: Option<Annotations>,
    deletion_timestamp: Option<IgnoredAny>,
}

/// Those that mean something here: the others can be large.
#[derive(Default, Deserialize)]
struct Annotations {
    /// [`crate::domain::subscription::ALLOW_EMPTY_ANNOTATION`]
    #[serde(rename = "sheetanchor.dev/allow-empty")]
    allow_empty: Option<String>,
    /// [`crate::domain::rescue::RESCUED_ANNOTATION`]
    #[serde(rename = "sheetanchor.dev/rescued")]
    rescued: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    subscribers: Option<Vec<Subscriber>>,
    cluster_tolerations: Option<Vec<ClusterToleration>>,
    scheduling_strategy: Option<String>,
    scheduling_by_sub_group: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscriber {
    cluster_affinity: Option<LabelSelector>,
}

impl Subscriber {
    fn affinity(self) -> Selector {
        self.cluster_affinity.map_or(Selector::Nothing, Selector::from)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabelSelector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<Expression>>,
}

impl From<LabelSelector> for Selector {
    fn from(selector: LabelSelector) -> Self {
        let labels = selector.match_labels.into_iter().flatten();
        let labels = labels.map(|(key, value)| Requirement::equals(key, value));
        let expressions = selector.match_expressions.into_iter().flatten();
        let expressions = expressions.map(|expression| Requirement {
            key: expression.key.unwrap_or_default(),
            operator: expression.operator.unwrap_or_default().as_str().into(),
            values: expression.values.unwrap_or_default(),
        });
        Self::All(labels.chain(expressions).collect())
    }
}

#[derive(Deserialize)]
struct Expression {
    key: Option<String>,
    operator: Option<String>,
    values: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ClusterToleration {
    key: Option<String>,
    operator: Option<String>,
    value: Option<String>,
    effect: Option<String>,
}

impl From<ClusterToleration> for Toleration {
    fn from(toleration: ClusterToleration) -> Self {
        Self {
            key: toleration.key.unwrap_or_default(),
            operator: toleration.operator.unwrap_or_default().as_str().into(),
            value: toleration.value.unwrap_or_default(),
            effect: toleration.effect.unwrap_or_default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    binding_clusters: Option<Vec<String>>,
    replicas: Option<BTreeMap<String, Option<Vec<i32>>>>,
    desired_releases: Option<i64>,
    spec_hash: Option<i64>,
}

impl From<Status> for Placement {
    fn from(status: Status) -> Self {
        let replicas = status.replicas.into_iter().flatten();
        Self {
            clusters: status.binding_clusters.unwrap_or_default(),
            replicas: replicas.filter_map(|(feed, counts)| Some((feed, counts?))).collect(),
            desired_releases: status.desired_releases,
            spec_hash: status.spec_hash,
        }
    }
}
