//! The sums over a member cluster's nodes and pods that its agent reports.

use std::collections::HashSet;

use super::cluster::Resources;

/// What a node's own `Ready` condition says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeReady {
    /// Its kubelet is well.
    True,
    /// Its kubelet says that it is not.
    False,
    /// Its kubelet is silent.
    Unknown,
    /// There is no such condition.
    #[default]
    Missing,
}

/// One node.
#[derive(Clone, Copy, Debug)]
pub struct MemberNode<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it says about itself.
    pub ready: NodeReady,
    /// All that it has.
    pub capacity: Resources,
    /// What pods may use of it.
    pub allocatable: Resources,
}

/// One pod that is bound to a node and has not ended.
#[derive(Clone, Copy, Debug)]
pub struct MemberPod<'a> {
    /// Its node.
    pub node: &'a str,
    /// What it asks of the node.
    pub requests: Resources,
}

/// How many nodes are in which state, in Clusternet's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Those that are ready.
    pub ready: u32,
    /// Those that say that they are not.
    pub not_ready: u32,
    /// Those that are silent.
    pub unknown: u32,
    /// Those that have said nothing yet.
    pub lost: u32,
}

/// The sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// The nodes.
    pub nodes: NodeCounts,
    /// Over all nodes.
    pub capacity: Resources,
    /// Over all nodes.
    pub allocatable: Resources,
    /// Requested by the pods on these nodes.
    pub requested: Resources,
}

impl Tally {
    /// Adds up. A pod on a node that is not among `nodes` uses nothing of what they have, and is left out.
    pub fn new<'a>(
        nodes: impl IntoIterator<Item = MemberNode<'a>>,
        pods: impl IntoIterator<Item = MemberPod<'a>>,
    ) -> Self {
        let mut tally = Self::default();
        let mut names = HashSet::new();
        for node in nodes {
            names.insert(node.name);
            tally.capacity += node.capacity;
            tally.allocatable += node.allocatable;
            *match node.ready {
                NodeReady::True => &mut tally.nodes.ready,
                NodeReady::False => &mut tally.nodes.not_ready,
                NodeReady::Unknown => &mut tally.nodes.unknown,
                NodeReady::Missing => &mut tally.nodes.lost,
            } += 1;
        }
        for pod in pods.into_iter().filter(|pod| names.contains(pod.node)) {
            tally.requested += pod.requests;
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(cpu_millis: f64, memory_bytes: f64) -> Resources {
        Resources { cpu_millis, memory_bytes }
    }

    fn node(name: &str, ready: NodeReady) -> MemberNode<'_> {
        MemberNode { name, ready, capacity: amounts(4000.0, 800.0), allocatable: amounts(3900.0, 700.0) }
    }

    #[test]
    fn nodes_are_summed_and_counted_whatever_their_state() {
        let nodes = [
            node("a", NodeReady::True),
            node("b", NodeReady::True),
            node("c", NodeReady::False),
            node("d", NodeReady::Unknown),
            node("e", NodeReady::Missing),
        ];
        let tally = Tally::new(nodes, []);
        assert_eq!(tally.nodes, NodeCounts { ready: 2, not_ready: 1, unknown: 1, lost: 1 });
        assert_eq!(tally.capacity, amounts(20_000.0, 4000.0));
        assert_eq!(tally.allocatable, amounts(19_500.0, 3500.0));
        assert_eq!(tally.requested, Resources::default());
    }

    #[test]
    fn pods_count_on_the_nodes_that_count() {
        let pod = |node| MemberPod { node, requests: amounts(250.0, 64.0) };
        let nodes = [node("a", NodeReady::True), node("b", NodeReady::Unknown)];
        let tally = Tally::new(nodes, [pod("a"), pod("a"), pod("b"), pod("virtual"), pod("")]);
        assert_eq!(tally.requested, amounts(750.0, 192.0));
        assert_eq!(Tally::new([], [pod("a")]), Tally::default());
    }
}
