//! Who goes out, and who gives up replicas, when a dropped cluster comes back.

use super::*;

/// A placement as text: clusters, and what each has of [`FEED`] if it is counted.
pub(super) fn parse(text: &str) -> Placement {
    let names: Vec<String> = text.split(' ').map(|entry| format!("fleet/{entry}")).collect();
    let share = |entry: &str| entry.split_once('=').map(|(_, count)| count.parse().expect("a number"));
    let cluster = |entry: &'_ str| entry.split('=').next().map(str::to_owned).expect("a name");
    let shares: Vec<(String, Option<i32>)> = names.iter().map(|entry| (cluster(entry), share(entry))).collect();
    if shares.iter().any(|(_, share)| share.is_none()) {
        return bound(&shares.iter().map(|(cluster, _)| cluster.as_str()).collect::<Vec<_>>());
    }
    placement(&shares.iter().map(|(cluster, share)| (cluster.as_str(), share.unwrap_or(0))).collect::<Vec<_>>())
}

/// `a2`, `a5` and `b2` carry our taint. Each row: its name, the placement before, as written, and as stored.
fn check(facts: &SubscriptionFacts, rows: &[[&str; 4]]) {
    let healthy = ["a1", "a3", "a4", "b1", "b3"].map(|name| (format!("fleet/{name}"), Is::Healthy));
    let tainted = ["a2", "a5", "b2"].map(|name| (format!("fleet/{name}"), Is::Tainted));
    let all: Vec<(&str, Is)> = healthy.iter().chain(&tainted).map(|(name, is)| (name.as_str(), *is)).collect();
    let fleet = Clusters::of(&all);
    for [name, old, new, expected] in rows {
        let new = parse(new);
        assert_eq!(stored(&review(&fleet, &parse(old), &new, facts), &new), parse(expected), "{name}");
    }
}

#[test]
fn in_replication_an_addition_has_nothing_to_do_with_a_drop() {
    let groups_unused = SubscriptionFacts { by_sub_group: false, ..sub_groups() };
    check(
        &groups_unused,
        &[["not counted", "a1 a2", "a1 a3", "a1 a2 a3"], ["counted", "a1=2 a2=3", "a1=2 a3=4", "a1=2 a2=3 a3=4"]],
    );
}

#[test]
fn in_a_sub_group_the_replacement_goes_out() {
    check(
        &sub_groups(),
        &[
            ["the replacement", "a1 a2", "a1 a3", "a1 a2"],
            ["the last of two", "a1 a2", "a3 a4", "a2 a3"],
            ["not that of another group", "a1 a2", "a1 b1", "a1 a2 b1"],
            ["each group its own", "a2 b2", "a3 b3", "a2 b2"],
            ["two of a group", "a2 a5", "a3 a4", "a2 a5"],
            ["nobody came", "a1 a2", "a1", "a1 a2"],
            ["an unknown cluster is nobody's replacement", "a2", "a9", "a2 a9"],
            ["duplicates", "a2 a2", "a3 a3", "a2"],
            ["with what it had", "a1=2 a2=3", "a1=2 a3=4", "a1=2 a2=3"],
        ],
    );
}

#[test]
fn divided_replicas_keep_their_sum() {
    check(
        &dividing(),
        &[
            ["all to a survivor", "a1=3 a2=3", "a1=6", "a1=3 a2=3"],
            ["all to an addition", "a1=3 a2=3", "a1=3 a3=3", "a1=3 a2=3"],
            ["to both", "a1=3 a2=3", "a1=4 a3=2", "a1=3 a2=3"],
            ["an addition for more than that", "a1=3 a2=3", "a1=3 a3=5", "a1=3 a2=3 a3=2"],
            ["the last of two additions", "a1=3 a2=3", "a1=3 a3=3 a4=3", "a1=3 a2=3 a3=3"],
            ["additions before survivors", "a1=3 a2=3", "a1=6 a3=3", "a1=6 a2=3"],
            ["not from who shrank", "a1=3 a2=3 b1=3", "a1=7 b1=2", "a1=4 a2=3 b1=2"],
            ["scaled up", "a1=3 a2=3", "a1=10", "a1=7 a2=3"],
            ["scaled down", "a1=3 a2=3", "a1=4", "a1=3 a2=1"],
            ["scaled down to what the survivors have", "a1=3 a2=3", "a1=2", "a1=2 a2=0"],
            ["two come back, one share is left", "a1=1 a2=2 b2=2", "a1=4", "a1=1 a2=2 b2=1"],
            ["nothing to give back", "a1=3 a2=0", "a1=2 a3=1", "a1=2 a2=0 a3=1"],
            ["an addition that never had anything", "a1=3 a2=3", "a1=6 a3=0", "a1=3 a2=3 a3=0"],
            ["nothing counted", "a1 a2", "a1 a3", "a1 a2 a3"],
        ],
    );
    let groups_unused = SubscriptionFacts { by_sub_group: false, dividing: true, ..sub_groups() };
    check(&groups_unused, &[["without sub-groups the last pays", "a2=3 b1=3", "a3=3 b3=3", "a2=3 a3=3"]]);
    let grouped = SubscriptionFacts { dividing: true, ..sub_groups() };
    check(
        &grouped,
        &[
            ["the addition to its own sub-group pays", "a2=3 b1=3", "a3=3 b3=3", "a2=3 b3=3"],
            ["then another's", "a2=3 b1=3", "a3=1 b1=3 b3=2", "a2=3 b1=3"],
            ["and before the survivors", "a2=2 b1=3", "b1=5 b3=2", "a2=2 b1=5"],
        ],
    );
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
