//! Which swaps of healthy clusters are undone.

use super::exchange::parse;
use super::*;
use crate::domain::cluster::ClusterKey;
use crate::domain::rescue::Rescue;

/// `a2` bears our taint, `a5` somebody else's, `c1` is outside the affinity, `a0` does not exist.
fn check(facts: &SubscriptionFacts, rows: &[[&str; 4]]) {
    let healthy = ["a1", "a3", "a4", "b1", "b3", "c1", "s1"].map(|name| (name, Is::Healthy));
    let all = healthy.into_iter().chain([("a2", Is::Tainted), ("a5", Is::Foreign)]);
    let all: Vec<(String, Is)> = all.map(|(name, is)| (format!("fleet/{name}"), is)).collect();
    let fleet = Clusters::of(&all.iter().map(|(name, is)| (name.as_str(), *is)).collect::<Vec<_>>());
    let guard = |sticky| Guard {
        mode: GuardMode::Full,
        failover: true,
        sticky,
        fleet: &fleet,
        taint_key: KEY,
        now: at(NOW_MILLIS),
    };
    for [name, old, new, expected] in rows {
        let (old, new, expected) = (parse(old), parse(new), parse(expected));
        let ruling = guard(true).review(&old, &new, facts);
        assert_eq!(stored(&ruling, &new), expected, "{name}");
        assert_eq!(guard(true).review(&old, &expected, facts), Ruling::Pass, "{name}: not left alone");
        let loose = guard(false).review(&old, &new, facts);
        let sticky = matches!(&ruling, Ruling::Amend(amendment) if amendment.rule == Rule::Sticky);
        assert!(!sticky || loose == Ruling::Pass, "{name}: {loose:?}");
    }
}

#[test]
fn a_swap_of_healthy_clusters_is_undone() {
    check(
        &sub_groups(),
        &[
            ["one", "a1 b1", "a3 b1", "a1 b1"],
            ["all", "a1 b1", "a3 b3", "a1 b1"],
            ["two of a group", "a1 a3 b1", "a4 b1", "a1 b1"],
            ["for one of two the last goes", "a1 b1", "a3 a4 b1", "a1 a3 b1"],
            ["not with another group", "a1 b1", "b1 b3", "b1 b3"],
            ["an addition", "a1 b1", "a1 a3 b1", "a1 a3 b1"],
            ["a drop", "a1 a3 b1", "a1 b1", "a1 b1"],
            ["of one with somebody's taint", "a5 b1", "a3 b1", "a3 b1"],
            ["of one that no longer matches", "b1 c1", "a3 b1", "a3 b1"],
            ["of one that is gone", "a0 b1", "a3 b1", "a3 b1"],
            ["what our taint explains comes first", "a1 a2", "a3 a4", "a1 a2"],
            ["and its replacement is nobody else's", "a1 a2", "a3", "a2"],
        ],
    );
    check(
        &SubscriptionFacts { by_sub_group: false, ..sub_groups() },
        &[["whole groups", "a1 b1", "a3 b1", "a1 b1"], ["a drop", "a1 b1", "b1", "b1"]],
    );
}

#[test]
fn divided_replicas_go_back_to_where_they_were() {
    check(
        &dividing(),
        &[
            ["one for one", "a1=3 b1=3", "a3=3 b1=3", "a1=3 b1=3"],
            ["scaled up", "a1=3 b1=3", "a3=5 b1=3", "a1=3 a3=2 b1=3"],
            ["scaled down", "a1=3 b1=3", "a3=2 b1=3", "a1=2 b1=3"],
            ["taken over by who stays", "a1=3 b1=3", "b1=6", "b1=6"],
            ["two for one", "a1=3 a4=3 b1=3", "a3=6 b1=3", "a1=3 a4=3 b1=3"],
        ],
    );
}

/// A cluster whose part is elsewhere is not kept: that is how the migrator leaves it.
#[test]
fn a_recorded_move_is_no_swap() {
    let key = |name| ClusterKey::new("fleet", name);
    let moved = |from, to, home| SubscriptionFacts {
        rescues: vec![Rescue {
            from: key(from),
            to: key(to),
            home: key(home),
            spec_hash: Some(7),
            failover: "f-1".into(),
            replicas: None,
        }],
        ..sub_groups()
    };
    let left = [
        ["left, once both ran", "a1 a3 b1", "a3 b1", "a3 b1"],
        ["at once", "a1 b1", "a3 b1", "a3 b1"],
        ["beside an addition", "a1 a3 b1", "a3 a4 b1", "a3 a4 b1"],
    ];
    check(&moved("a1", "a3", "a1"), &left);
    check(&moved("a3", "a4", "a1"), &[["home is not swapped in", "a4 b1", "a1 b1", "a4 b1"]]);
    check(&moved("a2", "s1", "a2"), &[["beside a swap", "a1 s1", "a3 s1", "a1 s1"]]);
}
