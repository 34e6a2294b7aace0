//! Virtual nodes of the hub, and which cluster each stands for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::cluster::{Cluster, ClusterKey};
use super::taint::Taint;

/// The label whose value `<namespace>.<name>` says which cluster a node stands for.
pub const CLUSTER_LABEL: &str = "sheetanchor.dev/cluster";

/// One Node, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`, which every write decided on these facts carries.
    pub resource_version: String,
    /// Those labels that may name a cluster.
    pub labels: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// Our annotation that repeats the cluster's foreign taints, so that their coming and going
    /// updates the Node and thereby wakes the scheduler.
    pub cluster_taints: Option<String>,
}

/// Where a node belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// To no cluster.
    None,
    /// To this one.
    Cluster(ClusterKey),
    /// Its labels name a cluster that does not exist; the text is `label=value`.
    Missing(String),
    /// Its labels name more than one, so it is treated as belonging to none.
    Ambiguous(BTreeSet<ClusterKey>),
}

/// Finds clusters by what a node's labels say.
#[derive(Debug, Default)]
pub struct Directory {
    by_id: HashMap<String, Vec<ClusterKey>>,
    by_label: HashMap<(String, String), Vec<ClusterKey>>,
    by_name: HashMap<String, Vec<ClusterKey>>,
    by_dotted_name: HashMap<String, ClusterKey>,
}

impl Directory {
    /// Lists the clusters. `labels`: see [`Directory::home`].
    pub fn new<'a>(clusters: impl Iterator<Item = &'a Cluster>, labels: &[String]) -> Self {
        let mut directory = Self::default();
        for cluster in clusters {
            let key = &cluster.key;
            let dotted = format!("{}.{}", key.namespace(), key.name());
            directory.by_dotted_name.insert(dotted, key.clone());
            directory.by_name.entry(key.name().to_owned()).or_default().push(key.clone());
            if !cluster.cluster_id.is_empty() {
                directory.by_id.entry(cluster.cluster_id.clone()).or_default().push(key.clone());
            }
            for label in labels {
                if let Some(value) = cluster.labels.get(label) {
                    let place = (label.clone(), value.clone());
                    directory.by_label.entry(place).or_default().push(key.clone());
                }
            }
        }
        directory
    }

    /// The cluster that a node stands for: named by [`CLUSTER_LABEL`]; or by one of `labels`, whose
    /// value is the cluster's `spec.clusterId` or the value of the same label on the cluster; or,
    /// with `match_names`, by its own name.
    pub fn home(&self, node: &Node, labels: &[String], match_names: bool) -> Home {
        let mut found = BTreeSet::new();
        let mut missing = None;
        if let Some(value) = node.labels.get(CLUSTER_LABEL) {
            match self.by_dotted_name.get(value) {
                Some(key) => _ = found.insert(key.clone()),
                None => missing = Some(format!("{CLUSTER_LABEL}={value}")),
            }
        }
        for label in labels {
            let Some(value) = node.labels.get(label) else { continue };
            let by_label = self.by_label.get(&(label.clone(), value.clone()));
            let mut keys = self.by_id.get(value).into_iter().chain(by_label).flatten().peekable();
            if keys.peek().is_none() {
                missing.get_or_insert_with(|| format!("{label}={value}"));
            }
            found.extend(keys.cloned());
        }
        if match_names {
            found.extend(self.by_name.get(&node.name).into_iter().flatten().cloned());
            if found.is_empty() {
                missing.get_or_insert_with(|| format!("name={}", node.name));
            }
        }
        match (found.len(), missing) {
            (0, None) => Home::None,
            (0, Some(label)) => Home::Missing(label),
            (1, _) => found.into_iter().next().map_or(Home::None, Home::Cluster),
            _ => Home::Ambiguous(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster::AgentReady;

    const ID: &str = "clusters.clusternet.io/cluster-id";
    const LIQO: &str = "liqo.io/remote-cluster-id";

    fn cluster(key: &str, id: &str, labels: &[(&str, &str)]) -> Cluster {
        Cluster {
            key: ClusterKey::parse(key).expect("two parts"),
            uid: key.into(),
            resource_version: "1".into(),
            labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            cluster_id: id.into(),
            wants_init: false,
            taints: vec![],
            stamp: None,
            declared_period_seconds: None,
            agent_ready: AgentReady::Unknown,
            conditions: vec![],
            allocatable: None,
            used: None,
            release: None,
        }
    }

    #[test]
    fn labels_lead_home() {
        let fleet =
            [cluster("a/eu", "id-1", &[]), cluster("b/us", "id-2", &[(LIQO, "rome")]), cluster("c/us", "", &[])];
        let labels = [ID.to_owned(), LIQO.to_owned()];
        let directory = Directory::new(fleet.iter(), &labels);
        let home = |key: &str| Home::Cluster(ClusterKey::parse(key).expect("two parts"));
        for (name, node_name, node_labels, by_name, expected) in [
            ("no label", "n", vec![], false, Home::None),
            ("our label", "n", vec![(CLUSTER_LABEL, "a.eu")], false, home("a/eu")),
            (
                "our label, unknown",
                "n",
                vec![(CLUSTER_LABEL, "a.x")],
                false,
                Home::Missing(format!("{CLUSTER_LABEL}=a.x")),
            ),
            ("cluster id", "n", vec![(ID, "id-2")], false, home("b/us")),
            ("same label on the cluster", "n", vec![(LIQO, "rome")], false, home("b/us")),
            ("unknown id", "n", vec![(ID, "id-9")], false, Home::Missing(format!("{ID}=id-9"))),
            ("two labels agree", "n", vec![(CLUSTER_LABEL, "b.us"), (ID, "id-2")], false, home("b/us")),
            ("one label known is enough", "n", vec![(CLUSTER_LABEL, "b.us"), (ID, "id-9")], false, home("b/us")),
            ("equal names are not enough", "eu", vec![], false, Home::None),
            ("equal names, asked for", "eu", vec![], true, home("a/eu")),
            ("equal names, asked for and none is", "n", vec![], true, Home::Missing("name=n".into())),
        ] {
            let node = Node {
                name: node_name.into(),
                uid: String::new(),
                resource_version: "1".into(),
                labels: node_labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
                taints: vec![],
                cluster_taints: None,
            };
            assert_eq!(directory.home(&node, &labels, by_name), expected, "{name}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_ambiguous() {
        let fleet = [cluster("a/eu", "id-1", &[]), cluster("b/eu", "id-2", &[])];
        let labels = [ID.to_owned()];
        let directory = Directory::new(fleet.iter(), &labels);
        let mut node = Node {
            name: "eu".into(),
            uid: String::new(),
            resource_version: "1".into(),
            labels: BTreeMap::from([(CLUSTER_LABEL.into(), "a.eu".into()), (ID.into(), "id-2".into())]),
            taints: vec![],
            cluster_taints: None,
        };
        assert!(matches!(directory.home(&node, &labels, false), Home::Ambiguous(keys) if keys.len() == 2));
        node.labels.clear();
        assert!(matches!(directory.home(&node, &labels, true), Home::Ambiguous(keys) if keys.len() == 2));
    }
}
