//! Which writes the guard amends for emptiness and for our taint. Who pays for it is in `exchange`,
//! recorded moves in `rescues`, swaps in `sticky`, the invariants in `invariants`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::*;
use crate::domain::placement::ClusterView;
use crate::domain::selector::{Requirement, Selector};
use crate::domain::taint::{Fault, Operator};
use crate::domain::testing::{at, mk_not_ready, mk_ready, mk_recovering, mk_silent, mk_taint, mk_toleration, mk_view};

mod exchange;
mod invariants;
mod rescues;
mod sticky;

const KEY: &str = "ours";
const FEED: &str = "apps/v1/Deployment/default/web";

/// The time of every write here.
const NOW_MILLIS: u64 = 1_000_000;

/// What a cluster is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Healthy,
    /// It carries our taint.
    Tainted,
    /// It is Lost, and the taint is not written yet.
    Lost,
    /// Its agent says that it is not ready, and it carries our taint.
    NotReady,
    /// It was lost, beats again, and still carries our taint.
    Recovering,
    /// It carries our taint and somebody else's.
    TaintedTwice,
    /// It carries our taint, and somebody else's that only discourages.
    TaintedAndDiscouraged,
    /// It carries somebody else's taint.
    Foreign,
    /// It carries a taint under our key that a person wrote.
    Persons,
    /// It carries somebody else's taint that only discourages.
    Discouraged,
    /// Our taint went so many milliseconds ago.
    Untainted(u64),
}

#[derive(Default)]
struct Clusters(HashMap<String, ClusterView>);

impl Fleet for Clusters {
    fn view(&self, key: &str) -> Option<&ClusterView> {
        self.0.get(key)
    }
}

impl Clusters {
    fn of(clusters: &[(&str, Is)]) -> Self {
        Self(clusters.iter().map(|(key, is)| ((*key).to_owned(), view(key, *is))).collect())
    }
}

/// A cluster whose label `group` is the first letter of its name.
fn view(key: &str, is: Is) -> ClusterView {
    let (_, name) = key.split_once('/').expect("a key");
    let ours = Fault::ClusterStatusUnknown.taint(KEY);
    let mut view = match is {
        Is::Healthy => mk_view(name, mk_ready()),
        Is::Tainted => mk_view(name, mk_silent(false)).tainted(ours),
        Is::Lost => mk_view(name, mk_silent(false)),
        Is::NotReady => mk_view(name, mk_not_ready()).tainted(Fault::ManagedClusterNotReady.taint(KEY)),
        Is::Recovering => mk_view(name, mk_recovering()).tainted(ours),
        Is::TaintedTwice => mk_view(name, mk_silent(false)).tainted(ours).tainted(mk_taint("gpu", "", "NoExecute")),
        Is::TaintedAndDiscouraged => {
            mk_view(name, mk_silent(false)).tainted(ours).tainted(mk_taint("gpu", "", "PreferNoSchedule"))
        }
        Is::Foreign => mk_view(name, mk_ready()).tainted(mk_taint("gpu", "", "NoSchedule")),
        Is::Persons => mk_view(name, mk_ready()).tainted(mk_taint(KEY, "maintenance", "NoSchedule")),
        Is::Discouraged => mk_view(name, mk_ready()).tainted(mk_taint("gpu", "", "PreferNoSchedule")),
        Is::Untainted(millis) => ClusterView { untainted: Some(at(NOW_MILLIS - millis)), ..mk_view(name, mk_ready()) },
    };
    Arc::make_mut(&mut view.cluster).labels.insert("group".into(), name[..1].into());
    view
}

/// Clusters, each with its replicas of [`FEED`]; all without, if the first is.
fn placement(shares: &[(&str, i32)]) -> Placement {
    let counts: Vec<i32> = shares.iter().map(|(_, count)| *count).collect();
    Placement {
        clusters: shares.iter().map(|(cluster, _)| (*cluster).to_owned()).collect(),
        replicas: BTreeMap::from([(FEED.to_owned(), counts), ("v1/ConfigMap/default/web".to_owned(), vec![])]),
        desired_releases: Some(i64::try_from(shares.len()).expect("few")),
        spec_hash: Some(7),
    }
}

/// The same without replicas to count.
fn bound(clusters: &[&str]) -> Placement {
    let shares: Vec<(&str, i32)> = clusters.iter().map(|cluster| (*cluster, 0)).collect();
    let mut placement = placement(&shares);
    placement.replicas.values_mut().for_each(Vec::clear);
    placement
}

fn group(letter: &str) -> Selector {
    Selector::All(vec![Requirement::equals("group".into(), letter.into())])
}

/// A Subscription for every cluster.
fn replication() -> SubscriptionFacts {
    SubscriptionFacts { affinities: vec![Selector::All(vec![])], ..SubscriptionFacts::default() }
}

fn dividing() -> SubscriptionFacts {
    SubscriptionFacts { dividing: true, ..replication() }
}

/// One with the sub-groups `a` and `b`.
fn sub_groups() -> SubscriptionFacts {
    SubscriptionFacts { affinities: vec![group("a"), group("b")], by_sub_group: true, ..SubscriptionFacts::default() }
}

fn review(fleet: &Clusters, old: &Placement, new: &Placement, facts: &SubscriptionFacts) -> Ruling {
    Guard { mode: GuardMode::Full, failover: true, sticky: false, fleet, taint_key: KEY, now: at(NOW_MILLIS) }
        .review(old, new, facts)
}

/// What is stored in the end.
fn stored(ruling: &Ruling, new: &Placement) -> Placement {
    match ruling {
        Ruling::Pass | Ruling::Unfit(_) => new.clone(),
        Ruling::Amend(amendment) => amendment.placement.clone(),
    }
}

fn reasons(ruling: Ruling) -> Vec<String> {
    match ruling {
        Ruling::Amend(amendment) => amendment.reasons,
        other => panic!("not amended: {other:?}"),
    }
}

#[test]
fn an_emptied_placement_is_restored() {
    let fleet = Clusters::of(&[("fleet/a1", Is::Healthy), ("fleet/a2", Is::Foreign)]);
    let old = placement(&[("fleet/a1", 3), ("fleet/a2", 2)]);
    let emptied = Placement { clusters: vec![], desired_releases: None, ..old.clone() };
    let respecced = Placement { spec_hash: Some(8), replicas: BTreeMap::new(), ..emptied.clone() };
    for (name, facts, new, restored) in [
        ("the same spec", replication(), &emptied, true),
        ("another spec", dividing(), &respecced, true),
        ("allowed to be empty", SubscriptionFacts { may_be_empty: true, ..replication() }, &emptied, false),
        ("being deleted", SubscriptionFacts { deleting: true, ..replication() }, &emptied, false),
    ] {
        let ruling = review(&fleet, &old, new, &facts);
        assert_eq!(&stored(&ruling, new), if restored { &old } else { new }, "{name}");
        if restored {
            assert_eq!(reasons(ruling), ["restored the placement: the write would have left no cluster"], "{name}");
        }
    }
}

#[test]
fn clusters_that_are_gone_do_not_come_back_unless_nobody_else_does() {
    let emptied = Placement::default();
    let old = placement(&[("fleet/a1", 3), ("fleet/a2", 2), ("fleet/a3", 1)]);
    let one_left = Clusters::of(&[("fleet/a2", Is::Tainted)]);
    let ruling = review(&one_left, &old, &emptied, &replication());
    assert_eq!(stored(&ruling, &emptied), placement(&[("fleet/a2", 2)]));
    assert_eq!(
        reasons(ruling)[1..],
        ["left out cluster \"fleet/a1\": it no longer exists", "left out cluster \"fleet/a3\": it no longer exists",]
    );
    let ruling = review(&Clusters::default(), &old, &emptied, &replication());
    assert_eq!(stored(&ruling, &emptied), old);
    assert_eq!(reasons(ruling).len(), 1);
}

#[test]
fn an_unfit_placement_is_restored_as_it_was() {
    let mut old = placement(&[("fleet/a2", 3), ("fleet/a1", 2), ("fleet/a2", 2)]);
    let emptied = Placement::default();
    let fleet = Clusters::of(&[("fleet/a2", Is::Healthy)]);
    assert_eq!(stored(&review(&fleet, &old, &emptied, &replication()), &emptied), placement(&[("fleet/a2", 5)]));
    old.replicas.insert("short".into(), vec![1]);
    assert_eq!(stored(&review(&fleet, &old, &emptied, &replication()), &emptied), old);
}

#[test]
fn modes_switch_rules_off() {
    let fleet = Clusters::of(&[("fleet/a1", Is::Tainted), ("fleet/a2", Is::Healthy)]);
    let (old, dropped, emptied) = (bound(&["fleet/a1", "fleet/a2"]), bound(&["fleet/a2"]), bound(&[]));
    for (mode, keeps, refills) in
        [(GuardMode::Full, true, true), (GuardMode::NeverEmpty, false, true), (GuardMode::Off, false, false)]
    {
        let guard = Guard { mode, failover: true, sticky: false, fleet: &fleet, taint_key: KEY, now: at(NOW_MILLIS) };
        assert_eq!(guard.review(&old, &dropped, &replication()) != Ruling::Pass, keeps, "{mode:?}");
        assert_eq!(guard.review(&old, &emptied, &replication()) != Ruling::Pass, refills, "{mode:?}");
    }
}

/// A cluster dropped from a Replication placement: it comes back, or not.
#[test]
fn only_our_taint_brings_a_cluster_back() {
    let tolerant = |key: &str, operator, value: &str| SubscriptionFacts {
        tolerations: vec![mk_toleration(key, operator, value, "")],
        ..replication()
    };
    let tolerates_gpu = tolerant("gpu", Operator::Exists, "");
    let tolerates_ours = tolerant(KEY, Operator::Exists, "");
    let tolerates = |value: &str| tolerant(KEY, Operator::Equal, value);
    let elsewhere = SubscriptionFacts { affinities: vec![group("x"), Selector::Nothing], ..replication() };
    for (name, is, facts, expected) in [
        ("our taint", Is::Tainted, replication(), Some("taint ClusterStatusUnknown")),
        ("our verdict", Is::Lost, replication(), Some("taint ClusterStatusUnknown")),
        ("healthy", Is::Healthy, replication(), None),
        ("a foreign taint", Is::Foreign, replication(), None),
        ("a person's taint under our key", Is::Persons, replication(), None),
        ("both taints", Is::TaintedTwice, replication(), None),
        ("both, the other tolerated", Is::TaintedTwice, tolerates_gpu.clone(), Some("taint ClusterStatusUnknown")),
        ("only the other, tolerated", Is::Foreign, tolerates_gpu, None),
        ("one that does not repel", Is::Discouraged, replication(), None),
        (
            "ours and one that does not repel",
            Is::TaintedAndDiscouraged,
            replication(),
            Some("taint ClusterStatusUnknown"),
        ),
        ("our taint, tolerated", Is::Tainted, tolerates_ours.clone(), None),
        ("our verdict, tolerated", Is::Lost, tolerates("ClusterStatusUnknown"), None),
        (
            "our taint, another value tolerated",
            Is::Tainted,
            tolerates("ManagedClusterNotReady"),
            Some("taint ClusterStatusUnknown"),
        ),
        ("just now", Is::Untainted(0), replication(), Some("taint, which went 0s ago")),
        ("59.999 s ago", Is::Untainted(59_999), replication(), Some("taint, which went 59s ago")),
        ("60 s ago", Is::Untainted(60_000), replication(), None),
        ("60.001 s ago", Is::Untainted(60_001), replication(), None),
        ("just now, tolerated", Is::Untainted(0), tolerates_ours.clone(), None),
        (
            "just now, one value tolerated",
            Is::Untainted(0),
            tolerates("ClusterStatusUnknown"),
            Some("taint, which went 0s ago"),
        ),
        ("no longer in the affinity", Is::Tainted, elsewhere, None),
    ] {
        let fleet = Clusters::of(&[("fleet/a1", is), ("fleet/a2", Is::Healthy)]);
        let (old, new) = (bound(&["fleet/a1", "fleet/a2"]), bound(&["fleet/a2"]));
        let ruling = review(&fleet, &old, &new, &facts);
        assert_eq!(&stored(&ruling, &new), if expected.is_some() { &old } else { &new }, "{name}");
        if let Some(cause) = expected {
            let reason = format!("kept cluster \"fleet/a1\": it was dropped only because of our {cause}");
            assert_eq!(reasons(ruling), [reason], "{name}");
        }
    }
}

#[test]
fn a_drop_is_left_alone_when_the_spec_changed_or_the_cluster_is_gone() {
    let (old, new) = (bound(&["fleet/a1", "fleet/a2"]), bound(&["fleet/a2"]));
    let respecced = Placement { spec_hash: Some(8), ..new.clone() };
    let fleet = Clusters::of(&[("fleet/a1", Is::Tainted), ("fleet/a2", Is::Healthy)]);
    assert_eq!(review(&fleet, &old, &respecced, &replication()), Ruling::Pass);
    let deleting = SubscriptionFacts { deleting: true, ..replication() };
    assert_eq!(review(&fleet, &old, &new, &deleting), Ruling::Pass);
    let fleet = Clusters::of(&[("fleet/a2", Is::Healthy)]);
    assert_eq!(review(&fleet, &old, &new, &replication()), Ruling::Pass);
}
