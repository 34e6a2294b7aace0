//! Who goes out, and who gives up replicas, when a dropped cluster comes back.

use super::*;

#[test]
fn what_was_added_in_its_place_goes_out() {
    let fleet = Clusters::of(&[
        ("fleet/a1", Is::Healthy),
        ("fleet/a2", Is::Tainted),
        ("fleet/a3", Is::Healthy),
        ("fleet/a4", Is::Healthy),
        ("fleet/b1", Is::Healthy),
        ("fleet/b2", Is::Tainted),
        ("fleet/b3", Is::Healthy),
    ]);
    let no_groups = SubscriptionFacts { by_sub_group: false, ..sub_groups() };
    for (name, facts, old, new, expected) in [
        (
            "replication: an addition has nothing to do with it",
            no_groups,
            &["fleet/a1", "fleet/a2"][..],
            &["fleet/a1", "fleet/a3"][..],
            &["fleet/a1", "fleet/a2", "fleet/a3"][..],
        ),
        ("sub-groups: the replacement", sub_groups(), &["fleet/a1", "fleet/a2"], &["fleet/a1", "fleet/a3"], &["fleet/a1", "fleet/a2"]),
        ("sub-groups: the last of two", sub_groups(), &["fleet/a1", "fleet/a2"], &["fleet/a3", "fleet/a4"], &["fleet/a2", "fleet/a3"]),
        (
            "sub-groups: not that of another group",
            sub_groups(),
            &["fleet/a1", "fleet/a2"],
            &["fleet/a1", "fleet/b1"],
            &["fleet/a1", "fleet/a2", "fleet/b1"],
        ),
        ("sub-groups: each its own", sub_groups(), &["fleet/a2", "fleet/b2"], &["fleet/a3", "fleet/b3"], &["fleet/a2", "fleet/b2"]),
        ("sub-groups: nobody came", sub_groups(), &["fleet/a1", "fleet/a2"], &["fleet/a1"], &["fleet/a1", "fleet/a2"]),
        (
            "sub-groups: an unknown cluster is nobody's replacement",
            sub_groups(),
            &["fleet/a2"],
            &["fleet/a9"],
            &["fleet/a2", "fleet/a9"],
        ),
        ("duplicates", sub_groups(), &["fleet/a2", "fleet/a2"], &["fleet/a3", "fleet/a3"], &["fleet/a2"]),
    ] {
        let new = bound(new);
        assert_eq!(stored(&review(&fleet, &bound(old), &new, &facts), &new), bound(expected), "{name}");
    }
}

#[test]
fn divided_replicas_keep_their_sum() {
    let fleet = Clusters::of(&[
        ("fleet/a1", Is::Healthy),
        ("fleet/a2", Is::Tainted),
        ("fleet/a3", Is::Healthy),
        ("fleet/b1", Is::Healthy),
        ("fleet/b2", Is::Tainted),
        ("fleet/b3", Is::Healthy),
    ]);
    let grouped = SubscriptionFacts { dividing: true, ..sub_groups() };
    for (name, facts, old, new, expected) in [
        (
            "all to a survivor",
            dividing(),
            &[("fleet/a1", 3), ("fleet/a2", 3)][..],
            &[("fleet/a1", 6)][..],
            &[("fleet/a1", 3), ("fleet/a2", 3)][..],
        ),
        (
            "all to an addition",
            dividing(),
            &[("fleet/a1", 3), ("fleet/a2", 3)],
            &[("fleet/a1", 3), ("fleet/a3", 3)],
            &[("fleet/a1", 3), ("fleet/a2", 3)],
        ),
        ("to both", dividing(), &[("fleet/a1", 3), ("fleet/a2", 3)], &[("fleet/a1", 4), ("fleet/a3", 2)], &[("fleet/a1", 3), ("fleet/a2", 3)]),
        (
            "an addition for more than that",
            dividing(),
            &[("fleet/a1", 3), ("fleet/a2", 3)],
            &[("fleet/a1", 3), ("fleet/a3", 5)],
            &[("fleet/a1", 3), ("fleet/a2", 3), ("fleet/a3", 2)],
        ),
        ("scaled up", dividing(), &[("fleet/a1", 3), ("fleet/a2", 3)], &[("fleet/a1", 10)], &[("fleet/a1", 7), ("fleet/a2", 3)]),
        ("scaled down", dividing(), &[("fleet/a1", 3), ("fleet/a2", 3)], &[("fleet/a1", 4)], &[("fleet/a1", 3), ("fleet/a2", 1)]),
        (
            "scaled down to what the survivors have",
            dividing(),
            &[("fleet/a1", 3), ("fleet/a2", 3)],
            &[("fleet/a1", 2)],
            &[("fleet/a1", 2), ("fleet/a2", 0)],
        ),
        (
            "two come back, one share is left",
            dividing(),
            &[("fleet/a1", 1), ("fleet/a2", 2), ("fleet/b2", 2)],
            &[("fleet/a1", 4)],
            &[("fleet/a1", 1), ("fleet/a2", 2), ("fleet/b2", 1)],
        ),
        (
            "nothing to give back",
            dividing(),
            &[("fleet/a1", 3), ("fleet/a2", 0)],
            &[("fleet/a1", 2), ("fleet/a3", 1)],
            &[("fleet/a1", 2), ("fleet/a2", 0), ("fleet/a3", 1)],
        ),
        (
            "the addition to its own sub-group pays",
            grouped,
            &[("fleet/a2", 3), ("fleet/b1", 3)],
            &[("fleet/a3", 3), ("fleet/b3", 3)],
            &[("fleet/a2", 3), ("fleet/b3", 3)],
        ),
    ] {
        let new = placement(new);
        assert_eq!(stored(&review(&fleet, &placement(old), &new, &facts), &new), placement(expected), "{name}");
    }
}

#[test]
fn who_goes_out_is_named() {
    let fleet = Clusters::of(&[("fleet/a1", Is::Healthy), ("fleet/a2", Is::Tainted), ("fleet/a3", Is::Healthy)]);
    let ruling = review(&fleet, &bound(&["fleet/a1", "fleet/a2"]), &bound(&["fleet/a1", "fleet/a3"]), &sub_groups());
    assert_eq!(
        reasons(ruling),
        [
            "kept cluster \"fleet/a2\": it was dropped only because of our taint ClusterStatusUnknown",
            "left out cluster \"fleet/a3\": it was added in place of one that stays",
        ]
    );
}

#[test]
fn feeds_are_resized_alike_and_those_without_replicas_left_alone() {
    let fleet = Clusters::of(&[("fleet/a1", Is::Tainted), ("fleet/a2", Is::Healthy)]);
    let mut old = placement(&[("fleet/a1", 3), ("fleet/a2", 2)]);
    old.replicas.insert("only before".into(), vec![1, 1]);
    old.replicas.insert("counted before".into(), vec![1, 1]);
    let mut new = placement(&[("fleet/a2", 5)]);
    new.replicas.insert("counted before".into(), vec![]);
    new.replicas.insert("only after".into(), vec![4]);
    let mut expected = placement(&[("fleet/a1", 3), ("fleet/a2", 2)]);
    expected.replicas.insert("counted before".into(), vec![]);
    expected.replicas.insert("only after".into(), vec![0, 4]);
    assert_eq!(stored(&review(&fleet, &old, &new, &dividing()), &new), expected);
}

#[test]
fn a_write_that_cannot_be_read_by_cluster_is_left_alone() {
    let fleet = Clusters::of(&[("fleet/a1", Is::Tainted), ("fleet/a2", Is::Healthy)]);
    let (old, new) = (placement(&[("fleet/a1", 3), ("fleet/a2", 2)]), placement(&[("fleet/a2", 5)]));
    let with = |like: &Placement, counts: &[i32]| {
        let mut placement = like.clone();
        placement.replicas.insert("x".into(), counts.to_vec());
        placement
    };
    for (old, new, fault) in [
        (with(&old, &[1]), new.clone(), "before the write, the replicas of \"x\" are 1 numbers for 2 clusters"),
        (old.clone(), with(&new, &[1, 2]), "in the write, the replicas of \"x\" are 2 numbers for 1 clusters"),
        (old.clone(), with(&new, &[-1]), "in the write, the replicas of \"x\" have the number -1"),
    ] {
        let reason = format!("cannot keep cluster \"fleet/a1\": {fault}");
        assert_eq!(review(&fleet, &old, &new, &dividing()), Ruling::Unfit(reason));
    }
    let nobody_dropped = with(&old, &[1]);
    assert_eq!(review(&fleet, &old, &nobody_dropped, &dividing()), Ruling::Pass);
}
