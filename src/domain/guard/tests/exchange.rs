//! Who goes out, and who gives up replicas, when a dropped cluster comes back.

use super::*;

#[test]
fn what_was_added_in_its_place_goes_out() {
    let fleet = Clusters::of(&[
        ("f/a1", Is::Healthy),
        ("f/a2", Is::Tainted),
        ("f/a3", Is::Healthy),
        ("f/a4", Is::Healthy),
        ("f/b1", Is::Healthy),
        ("f/b2", Is::Tainted),
        ("f/b3", Is::Healthy),
    ]);
    let no_groups = SubscriptionFacts { by_sub_group: false, ..sub_groups() };
    for (name, facts, old, new, expected) in [
        (
            "replication: an addition has nothing to do with it",
            no_groups,
            &["f/a1", "f/a2"][..],
            &["f/a1", "f/a3"][..],
            &["f/a1", "f/a2", "f/a3"][..],
        ),
        ("sub-groups: the replacement", sub_groups(), &["f/a1", "f/a2"], &["f/a1", "f/a3"], &["f/a1", "f/a2"]),
        ("sub-groups: the last of two", sub_groups(), &["f/a1", "f/a2"], &["f/a3", "f/a4"], &["f/a2", "f/a3"]),
        (
            "sub-groups: not that of another group",
            sub_groups(),
            &["f/a1", "f/a2"],
            &["f/a1", "f/b1"],
            &["f/a1", "f/a2", "f/b1"],
        ),
        ("sub-groups: each its own", sub_groups(), &["f/a2", "f/b2"], &["f/a3", "f/b3"], &["f/a2", "f/b2"]),
        ("sub-groups: nobody came", sub_groups(), &["f/a1", "f/a2"], &["f/a1"], &["f/a1", "f/a2"]),
        (
            "sub-groups: an unknown cluster is nobody's replacement",
            sub_groups(),
            &["f/a2"],
            &["f/a9"],
            &["f/a2", "f/a9"],
        ),
        ("duplicates", sub_groups(), &["f/a2", "f/a2"], &["f/a3", "f/a3"], &["f/a2"]),
    ] {
        let new = bound(new);
        assert_eq!(stored(&review(&fleet, &bound(old), &new, &facts), &new), bound(expected), "{name}");
    }
}

#[test]
fn divided_replicas_keep_their_sum() {
    let fleet = Clusters::of(&[
        ("f/a1", Is::Healthy),
        ("f/a2", Is::Tainted),
        ("f/a3", Is::Healthy),
        ("f/b1", Is::Healthy),
        ("f/b2", Is::Tainted),
        ("f/b3", Is::Healthy),
    ]);
    let grouped = SubscriptionFacts { dividing: true, ..sub_groups() };
    for (name, facts, old, new, expected) in [
        (
            "all to a survivor",
            dividing(),
            &[("f/a1", 3), ("f/a2", 3)][..],
            &[("f/a1", 6)][..],
            &[("f/a1", 3), ("f/a2", 3)][..],
        ),
        (
            "all to an addition",
            dividing(),
            &[("f/a1", 3), ("f/a2", 3)],
            &[("f/a1", 3), ("f/a3", 3)],
            &[("f/a1", 3), ("f/a2", 3)],
        ),
        ("to both", dividing(), &[("f/a1", 3), ("f/a2", 3)], &[("f/a1", 4), ("f/a3", 2)], &[("f/a1", 3), ("f/a2", 3)]),
        (
            "an addition for more than that",
            dividing(),
            &[("f/a1", 3), ("f/a2", 3)],
            &[("f/a1", 3), ("f/a3", 5)],
            &[("f/a1", 3), ("f/a2", 3), ("f/a3", 2)],
        ),
        ("scaled up", dividing(), &[("f/a1", 3), ("f/a2", 3)], &[("f/a1", 10)], &[("f/a1", 7), ("f/a2", 3)]),
        ("scaled down", dividing(), &[("f/a1", 3), ("f/a2", 3)], &[("f/a1", 4)], &[("f/a1", 3), ("f/a2", 1)]),
        (
            "scaled down to what the survivors have",
            dividing(),
            &[("f/a1", 3), ("f/a2", 3)],
            &[("f/a1", 2)],
            &[("f/a1", 2), ("f/a2", 0)],
        ),
        (
            "two come back, one share is left",
            dividing(),
            &[("f/a1", 1), ("f/a2", 2), ("f/b2", 2)],
            &[("f/a1", 4)],
            &[("f/a1", 1), ("f/a2", 2), ("f/b2", 1)],
        ),
        (
            "nothing to give back",
            dividing(),
            &[("f/a1", 3), ("f/a2", 0)],
            &[("f/a1", 2), ("f/a3", 1)],
            &[("f/a1", 2), ("f/a2", 0), ("f/a3", 1)],
        ),
        (
            "the addition to its own sub-group pays",
            grouped,
            &[("f/a2", 3), ("f/b1", 3)],
            &[("f/a3", 3), ("f/b3", 3)],
            &[("f/a2", 3), ("f/b3", 3)],
        ),
    ] {
        let new = placement(new);
        assert_eq!(stored(&review(&fleet, &placement(old), &new, &facts), &new), placement(expected), "{name}");
    }
}

#[test]
fn who_goes_out_is_named() {
    let fleet = Clusters::of(&[("f/a1", Is::Healthy), ("f/a2", Is::Tainted), ("f/a3", Is::Healthy)]);
    let ruling = review(&fleet, &bound(&["f/a1", "f/a2"]), &bound(&["f/a1", "f/a3"]), &sub_groups());
    assert_eq!(
        reasons(ruling),
        [
            "kept cluster \"f/a2\": it was dropped only because of our taint ClusterStatusUnknown",
            "left out cluster \"f/a3\": it was added in place of one that stays",
        ]
    );
}

#[test]
fn feeds_are_resized_alike_and_those_without_replicas_left_alone() {
    let fleet = Clusters::of(&[("f/a1", Is::Tainted), ("f/a2", Is::Healthy)]);
    let mut old = placement(&[("f/a1", 3), ("f/a2", 2)]);
    old.replicas.insert("only before".into(), vec![1, 1]);
    old.replicas.insert("counted before".into(), vec![1, 1]);
    let mut new = placement(&[("f/a2", 5)]);
    new.replicas.insert("counted before".into(), vec![]);
    new.replicas.insert("only after".into(), vec![4]);
    let mut expected = placement(&[("f/a1", 3), ("f/a2", 2)]);
    expected.replicas.insert("counted before".into(), vec![]);
    expected.replicas.insert("only after".into(), vec![0, 4]);
    assert_eq!(stored(&review(&fleet, &old, &new, &dividing()), &new), expected);
}

#[test]
fn a_write_that_cannot_be_read_by_cluster_is_left_alone() {
    let fleet = Clusters::of(&[("f/a1", Is::Tainted), ("f/a2", Is::Healthy)]);
    let (old, new) = (placement(&[("f/a1", 3), ("f/a2", 2)]), placement(&[("f/a2", 5)]));
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
        let reason = format!("cannot keep cluster \"f/a1\": {fault}");
        assert_eq!(review(&fleet, &old, &new, &dividing()), Ruling::Unfit(reason));
    }
    let nobody_dropped = with(&old, &[1]);
    assert_eq!(review(&fleet, &old, &nobody_dropped, &dividing()), Ruling::Pass);
}
