//! What the hub serves: one row for each resource.

use std::iter;

use serde_json::Value;

use super::columns::{self, Column};

/// One resource. A further one is a further row of [`OTHERS`].
#[derive(Debug)]
pub(super) struct Kind {
    /// The API group; empty for the core.
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    /// The name in paths. Rows with the same one share their objects, whatever the group.
    pub(super) plural: &'static str,
    pub(super) singular: &'static str,
    pub(super) short_names: &'static [&'static str],
    pub(super) namespaced: bool,
    /// Whether the status is written by `/status` alone.
    pub(super) status: bool,
    /// Whether a CustomResourceDefinition defines it on a real hub: those know no strategic merge
    /// patch, and none of their objects is born with a status.
    pub(super) custom: bool,
    /// Whether `metadata.generation` counts the changes of what is neither metadata nor status.
    pub(super) generation: bool,
    /// Whether a PUT may leave the resourceVersion out.
    pub(super) unconditional: bool,
    /// Whether a PUT to a name that is free creates the object.
    pub(super) created_by_put: bool,
    /// Whether its objects are bound to a node by POST to `/binding`.
    pub(super) binding: bool,
    /// What a field selector may name besides the object's name and namespace.
    pub(super) fields: &'static [&'static str],
    /// What `kubectl get` shows.
    pub(super) columns: &'static [Column],
}

const BUILT_IN: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    namespaced: true,
    status: false,
    custom: false,
    generation: false,
    unconditional: true,
    created_by_put: false,
    binding: false,
    fields: &[],
    columns: columns::OTHERS,
};

const CUSTOM: Kind = Kind { status: true, custom: true, generation: true, unconditional: false, ..BUILT_IN };

/// Where the namespaced live.
pub(super) const NAMESPACE: &Kind = &Kind {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    status: true,
    fields: &["status.phase"],
    columns: columns::NAMESPACE,
    ..BUILT_IN
};

/// Every other resource.
const OTHERS: &[Kind] = &[
    Kind {
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        namespaced: false,
        status: true,
        columns: columns::NODE,
        ..BUILT_IN
    },
    Kind {
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        status: true,
        generation: true,
        binding: true,
        fields: &["spec.nodeName", "spec.schedulerName", "status.phase"],
        columns: columns::POD,
        ..BUILT_IN
    },
    Kind {
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        columns: columns::CONFIG_MAP,
        ..BUILT_IN
    },
    Kind {
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        fields: &[
            "involvedObject.apiVersion",
            "involvedObject.fieldPath",
            "involvedObject.kind",
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.resourceVersion",
            "involvedObject.uid",
            "reason",
            "reportingComponent",
            "type",
        ],
        columns: columns::EVENT,
        ..BUILT_IN
    },
    Kind {
        group: "events.k8s.io",
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        fields: &["reason", "regarding.kind", "regarding.name", "regarding.namespace", "regarding.uid", "type"],
        columns: columns::EVENT,
        ..BUILT_IN
    },
    Kind {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        unconditional: false,
        created_by_put: true,
        columns: columns::LEASE,
        ..BUILT_IN
    },
    Kind {
        group: "admissionregistration.k8s.io",
        kind: "MutatingWebhookConfiguration",
        plural: "mutatingwebhookconfigurations",
        singular: "mutatingwebhookconfiguration",
        namespaced: false,
        generation: true,
        unconditional: false,
        columns: columns::WEBHOOK,
        ..BUILT_IN
    },
    Kind {
        group: "clusters.clusternet.io",
        version: "v1beta1",
        kind: "ManagedCluster",
        plural: "managedclusters",
        singular: "managedcluster",
        short_names: &["mcls"],
        columns: columns::MANAGED_CLUSTER,
        ..CUSTOM
    },
    Kind {
        group: "apps.clusternet.io",
        version: "v1alpha1",
        kind: "Subscription",
        plural: "subscriptions",
        singular: "subscription",
        short_names: &["sub", "subs"],
        columns: columns::SUBSCRIPTION,
        ..CUSTOM
    },
];

/// Every resource.
pub(super) fn kinds() -> impl Iterator<Item = &'static Kind> {
    iter::once(NAMESPACE).chain(OTHERS)
}

impl Kind {
    /// The row that a path names.
    pub(super) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        kinds().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
    }

    /// `group/version`, or the version alone in the core group.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `nodes`, `leases.coordination.k8s.io`: the resource as errors call it.
    pub(super) fn qualified_plural(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Node`, `Lease.coordination.k8s.io`: the kind as errors call it.
    pub(super) fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// Whether `object` says that it is one of these, or says nothing.
    pub(super) fn is_kind_of(&self, object: &Value) -> bool {
        let says = |field: &str, name: &str| object[field].is_null() || object[field] == name;
        says("kind", self.kind) && says("apiVersion", &self.api_version())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn only_events_have_two_doors_to_the_same_objects() {
        let plurals: BTreeSet<_> = kinds().map(|kind| kind.plural).collect();
        let events = kinds().filter(|kind| kind.plural == "events").count();
        assert_eq!((events, plurals.len() + 1), (2, kinds().count()));
    }
}
