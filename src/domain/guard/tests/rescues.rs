//! What becomes of writes to a Subscription with recorded rescues.

use super::exchange::parse;
use super::*;
use crate::domain::cluster::ClusterKey;
use crate::domain::rescue::Rescue;

/// A rescue as text: `a2>s1`, with a home `s9>s1@a2`, of some replicas `a2>s1=2`.
fn rescue(text: &str) -> Rescue {
    let (text, count) = text.split_once('=').map_or((text, None), |(text, count)| (text, Some(count)));
    let (from, rest) = text.split_once('>').expect("a rescue");
    let (to, home) = rest.split_once('@').unwrap_or((rest, from));
    let key = |name| ClusterKey::new("fleet", name);
    let counts = |count: &str| BTreeMap::from([(FEED.to_owned(), count.parse().expect("a number"))]);
    Rescue {
        from: key(from),
        to: key(to),
        home: key(home),
        spec_hash: Some(7),
        failover: "f-1".into(),
        replicas: count.map(counts),
    }
}

fn rescues(text: &str) -> Vec<Rescue> {
    text.split_whitespace().map(rescue).collect()
}

/// `a2`, `a5` and the spare `s9` are Lost, `a7` is NotReady, `a8` is Recovering, a person has
/// tainted `s8`, and `a0` does not exist.
fn fleet() -> Clusters {
    let healthy = ["a1", "a3", "a4", "b1", "b3", "s1", "s2"].map(|name| (name, Is::Healthy));
    let lost = ["a2", "a5", "s9"].map(|name| (name, Is::Tainted));
    let others = [("a7", Is::NotReady), ("a8", Is::Recovering), ("s8", Is::Foreign)];
    let all = healthy.into_iter().chain(lost).chain(others);
    let all: Vec<(String, Is)> = all.map(|(name, is)| (format!("fleet/{name}"), is)).collect();
    Clusters::of(&all.iter().map(|(name, is)| (name.as_str(), *is)).collect::<Vec<_>>())
}

/// Spares are outside the affinity.
fn replication() -> SubscriptionFacts {
    SubscriptionFacts { by_sub_group: false, ..sub_groups() }
}

fn guard(fleet: &Clusters, failover: bool) -> Guard<'_, Clusters> {
    Guard { mode: GuardMode::Full, failover, sticky: false, fleet, taint_key: KEY, now: at(NOW_MILLIS) }
}

/// Each row: its name, the rescues, the placement before, as written, and as stored.
fn check(failover: bool, facts: &SubscriptionFacts, rows: &[[&str; 5]]) {
    let fleet = fleet();
    for [name, recorded, old, new, expected] in rows {
        let facts = SubscriptionFacts { rescues: rescues(recorded), ..facts.clone() };
        let (old, new) = (parse(old), parse(new));
        let ruling = guard(&fleet, failover).review(&old, &new, &facts);
        let result = stored(&ruling, &new);
        assert_eq!(result, parse(expected), "{name}");
        assert_eq!(ruling == Ruling::Pass, result == new, "{name}: {ruling:?}");
        for old in [&old, &result] {
            let again = guard(&fleet, failover).review(old, &result, &facts);
            assert_eq!(again, Ruling::Pass, "{name}: not left alone after {old:?}");
        }
    }
}

#[test]
fn what_was_rescued_runs_where_the_rescue_says() {
    check(
        true,
        &replication(),
        &[
            ["the migrator's own write", "a2>s1", "a1 a2", "a1 s1", "a1 s1"],
            ["the spare is forgotten", "a2>s1", "a1 s1", "a1", "a1 s1"],
            ["the dead one is brought back", "a2>s1", "a1 s1", "a1 a2", "a1 s1"],
            ["and the spare is not forgotten", "a2>s1", "a1 s1", "a1 a2 s1", "a1 s1"],
            ["only the dead one", "a2>s1", "s1", "a2", "s1"],
            ["one that came back is not used before its return", "a3>s1", "a1 s1", "a1 a3", "a1 s1"],
            ["an addition is the scheduler's business", "a2>s1", "a1 s1", "a1 a4", "a1 a4 s1"],
            ["recorded, not yet written", "a2>s1", "a1 a2", "a1", "a1 s1"],
            ["recorded, not yet written, and the dead one kept", "a2>s1", "a1 a2", "a1 a2", "a1 s1"],
            ["the cluster is deleted", "a0>s1", "a0 a1", "a1", "a1 s1"],
            ["two at once", "a2>s1 a5>s2", "a2 a5", "a1", "a1 s1 s2"],
            ["a chain: the first home stays out", "s9>s1@a3", "a1 s1", "a1 a3", "a1 s1"],
            ["and so does the last", "s9>s1@a3", "a1 s1", "a1 a3 s9", "a1 s1"],
            ["a chain that is not written yet", "s9>s1@a3", "a1 s9", "a1 a3", "a1 s1"],
            ["a chain whose home has its part again", "s9>s1@a3", "a1 a3", "a1 a3", "a1 a3"],
            ["a chain in two records", "a2>s9 s9>s1", "a1 s9", "a1", "a1 s1"],
            ["one that takes in others while its own part is elsewhere", "a3>s1 a2>a3", "a1 a3 s1", "a1", "a1 a3 s1"],
        ],
    );
}

#[test]
fn a_target_that_cannot_be_used_is_kept_if_it_is_all_there_is() {
    check(
        true,
        &replication(),
        &[
            ["gone, not begun", "a2>a0", "a1 a2", "a1", "a1 a2"],
            ["gone, moved: whatever the scheduler says", "a3>a0", "a0 a1", "a1 a3", "a1 a3"],
            ["lost, not begun", "a2>s9", "a1 a2", "a1", "a1 a2"],
            ["lost, moved", "a2>s9", "a1 s9", "a1", "a1 s9"],
            ["lost, moved, and its home is well", "a3>s9", "a1 s9", "a1 a3", "a1 s9"],
            ["tainted, not begun", "a2>s8", "a1 a2", "a1", "a1 a2"],
            ["tainted, moved", "a2>s8", "a1 s8", "a1", "a1 s8"],
            ["off a spare, to one that is gone", "s1>a0@a2", "a1 s1", "a1", "a1 s1"],
            ["off a spare, to one that is tainted", "s1>s8@a2", "a1 s1", "a1", "a1 s1"],
            ["off a lost spare, to one that is tainted", "s9>s8@a2", "a1 s9", "a1", "a1 s9"],
            ["each the other's target, both lost", "a2>a5 a5>a2", "a1 a2 a5", "a1", "a1 a2 a5"],
        ],
    );
}

#[test]
fn who_is_heard_from_is_left_by_the_migrator() {
    check(
        true,
        &replication(),
        &[
            ["not begun: the migrator's to begin, or to drop", "a3>s1", "a1 a3", "a1 a3", "a1 a3"],
            ["off a spare, not begun", "s1>s2@a2", "a1 s1", "a1", "a1 s1"],
            ["both, by the migrator", "a3>s1", "a1 a3", "a1 a3 s1", "a1 a3 s1"],
            ["the spare is forgotten", "a3>s1", "a1 a3 s1", "a1 a3", "a1 a3 s1"],
            ["both are forgotten", "a3>s1", "a1 a3 s1", "a1", "a1 a3 s1"],
            ["left, by the migrator", "a3>s1", "a1 a3 s1", "a1 s1", "a1 s1"],
            ["not ready: both, by the migrator", "a7>s1", "a1 a7", "a1 a7 s1", "a1 a7 s1"],
            ["not ready: kept for its taint", "a7>s1", "a1 a7", "a1", "a1 a7"],
            ["not ready: both are forgotten", "a7>s1", "a1 a7 s1", "a1", "a1 a7 s1"],
            ["not ready: not left", "a7>s1", "a1 a7 s1", "a1 s1", "a1 a7 s1"],
            ["recovering: both are forgotten", "a8>s1", "a1 a8 s1", "a1", "a1 a8 s1"],
            ["recovering: left, by the migrator", "a8>s1", "a1 a8 s1", "a1 s1", "a1 s1"],
            ["it died meanwhile", "a2>s1", "a1 a2 s1", "a1 a2 s1", "a1 s1"],
            ["the way home, begun", "s1>a3@a3", "a1 s1", "a1 a3 s1", "a1 a3 s1"],
            ["the way home, not begun", "s1>a3@a3", "a1 s1", "a1 s1", "a1 s1"],
            ["the way home, begun by the scheduler", "s1>a3@a3", "a1 s1", "a1 a3", "a1 a3 s1"],
            ["the way home, not begun, and closed again", "s1>a2@a2", "a1 s1", "a1", "a1 s1"],
            ["the way home ends when the record goes", "s1>a3@a3", "a1 a3 s1", "a1 a3", "a1 a3 s1"],
            ["and then it ends", "", "a1 a3 s1", "a1 a3", "a1 a3"],
            ["the spare dies on the way home", "s9>a3@a3", "a1 a3 s9", "a1 a3", "a1 a3"],
        ],
    );
}

#[test]
fn in_a_sub_group_the_target_has_the_place() {
    check(
        true,
        &sub_groups(),
        &[
            ["another is chosen for the spare", "a2>s1", "a1 s1", "a1 a3", "a1 s1"],
            ["not from another group", "a2>s1", "a1 b1 s1", "a1 b1 b3", "a1 b1 b3 s1"],
            ["another is chosen for a target of the group", "a2>a3", "a1 a3", "a1 a4", "a1 a3"],
            ["the dead one is chosen for it", "a2>a3", "a1 a3", "a1 a2", "a1 a3"],
            ["recorded, not yet written", "a2>a3", "a1 a2", "a1 a4", "a1 a3"],
            ["both while the old one lives", "a3>s1", "a1 a3 s1", "a1 a4", "a1 a3 s1"],
            ["the place of a cluster that is gone is unknown", "a0>s1", "a1 s1", "a1 a3", "a1 a3 s1"],
        ],
    );
}

#[test]
fn rescued_replicas_keep_their_sum() {
    let dividing = SubscriptionFacts { dividing: true, ..replication() };
    check(
        true,
        &dividing,
        &[
            ["the migrator's own write", "a2>s1", "a1=3 a2=3", "a1=3 s1=3", "a1=3 s1=3"],
            ["all to a survivor", "a2>s1", "a1=3 s1=3", "a1=6", "a1=3 s1=3"],
            ["all to an addition", "a2>s1", "a1=3 s1=3", "a1=3 a3=3", "a1=3 s1=3"],
            ["brought back, scaled up", "a2>s1", "a1=3 s1=3", "a1=4 a2=4", "a1=4 s1=4"],
            ["brought back beside it", "a2>s1", "a1=3 s1=3", "a1=2 a2=2 s1=2", "a1=2 s1=4"],
            ["scaled up without both", "a2>s1", "a1=3 s1=3", "a1=4 a3=4", "a1=4 a3=1 s1=3"],
            ["scaled down without both", "a2>s1", "a1=3 s1=3", "a1=4", "a1=3 s1=1"],
            ["recorded, not yet written", "a2>s1", "a1=3 a2=3", "a1=6", "a1=3 s1=3"],
            ["a part, by the migrator", "a2>s1=2", "a1=1 a2=5", "a1=1 a2=3 s1=2", "a1=1 a2=3 s1=2"],
            ["a part is brought back", "a2>s1=2", "a1=1 a2=3 s1=2", "a1=1 a2=5", "a1=1 a2=3 s1=2"],
            ["a part and the rest are forgotten", "a2>s1=2", "a1=1 a2=3 s1=2", "a1=6", "a1=1 a2=3 s1=2"],
            ["a part, recorded, not yet written", "a2>s1=2", "a1=1 a2=5", "a1=6", "a1=1 a2=3 s1=2"],
            ["all in two parts", "a2>s1=2 a2>s2=3", "a1=1 a2=5", "a1=6", "a1=1 s1=2 s2=3"],
            ["two parts on one spare", "a2>s1=2 a5>s1=3", "a2=2 a5=4", "a2=2 a5=4", "a5=1 s1=5"],
            ["moved in two parts, brought back", "a3>s1=2 a3>s2=3", "a1=1 s1=2 s2=3", "a1=1 a3=8", "a1=1 s1=5 s2=3"],
            ["both, by the migrator", "a3>s1", "a1=3 a3=3", "a1=3 a3=3 s1=3", "a1=3 a3=3 s1=3"],
            ["the spare is forgotten", "a3>s1", "a1=3 a3=3 s1=3", "a1=3 a3=3", "a1=3 a3=3 s1=3"],
            ["divided again without it", "a3>s1", "a1=3 a3=3 s1=3", "a1=2 a3=2 a4=2", "a1=2 a3=2 a4=2 s1=2"],
            ["left, by the migrator", "a3>s1", "a1=3 a3=3 s1=3", "a1=3 s1=3", "a1=3 s1=3"],
            ["a part off a live one", "a3>s1=2", "a1=3 a3=3", "a1=3 a3=1 s1=2", "a1=3 a3=1 s1=2"],
            ["a part off a live one is forgotten", "a3>s1=2", "a1=3 a3=1 s1=2", "a1=3 a3=3", "a1=3 a3=1 s1=2"],
        ],
    );
}

/// Nothing moves while failover is off: neither out, nor back.
#[test]
fn while_failover_is_off_what_moved_stays_and_what_has_not_stays_too() {
    check(
        false,
        &replication(),
        &[
            ["moved", "a2>s1", "a1 s1", "a1 a2", "a1 s1"],
            ["moved, and its home is well", "a3>s1", "a1 s1", "a1 a3", "a1 s1"],
            ["not moved", "a2>s1", "a1 a2", "a1", "a1 a2"],
            ["another's move", "a2>s1", "a1 a2", "a1 s1", "a1 a2 s1"],
            ["half moved", "a2>s1", "a1 a2 s1", "a1", "a1 a2 s1"],
        ],
    );
    let dividing = SubscriptionFacts { dividing: true, ..replication() };
    check(
        false,
        &dividing,
        &[
            ["moved", "a2>s1", "a1=3 s1=3", "a1=4 a2=4", "a1=4 s1=4"],
            ["not moved", "a2>s1", "a1=3 a2=3", "a1=6", "a1=3 a2=3"],
            ["a part not moved", "a2>s1=2", "a1=3 a2=3", "a1=6", "a1=3 a2=3"],
        ],
    );
}

#[test]
fn an_emptied_placement_comes_back_as_rescued() {
    let fleet = fleet();
    let facts = SubscriptionFacts { rescues: rescues("a2>s1"), ..replication() };
    let emptied = Placement::default();
    for (old, expected) in [("a1 s1", "a1 s1"), ("a1 a2", "a1 s1"), ("a2", "s1"), ("s1", "s1")] {
        let ruling = guard(&fleet, true).review(&parse(old), &emptied, &facts);
        assert_eq!(stored(&ruling, &emptied), parse(expected), "{old}");
        assert!(matches!(ruling, Ruling::Amend(Amendment { rule: Rule::Empty, .. })), "{old}: {ruling:?}");
    }
}

/// The user has changed what is to run where; only in the mode `Full` is anything but emptiness minded.
#[test]
fn a_rescue_for_another_spec_or_in_another_mode_has_no_effect() {
    let fleet = fleet();
    let (old, new) = (parse("a1 s1"), parse("a1 a3"));
    let facts =
        |spec_hash| SubscriptionFacts { rescues: vec![Rescue { spec_hash, ..rescue("a3>s1") }], ..replication() };
    let respecced = Placement { spec_hash: Some(8), ..new.clone() };
    for (name, mode, new, facts, amended) in [
        ("the same spec", GuardMode::Full, &new, facts(Some(7)), true),
        ("recorded for another", GuardMode::Full, &new, facts(Some(8)), false),
        ("recorded for none", GuardMode::Full, &new, facts(None), false),
        ("written for another", GuardMode::Full, &respecced, facts(Some(7)), false),
        ("written for the one that is recorded", GuardMode::Full, &respecced, facts(Some(8)), false),
        ("never-empty", GuardMode::NeverEmpty, &new, facts(Some(7)), false),
        ("off", GuardMode::Off, &new, facts(Some(7)), false),
    ] {
        let ruling = Guard { mode, ..guard(&fleet, true) }.review(&old, new, &facts);
        assert_eq!(ruling != Ruling::Pass, amended, "{name}");
    }
}

#[test]
fn each_change_names_the_clusters_and_the_failover() {
    let fleet = fleet();
    for (recorded, old, new, expected) in [
        ("a2>s1", "a1 s1", "a1", "kept cluster \"fleet/s1\": it stands in for \"fleet/a2\" (Failover f-1)"),
        (
            "a2>s1",
            "a1 s1",
            "a1 a2 s1",
            "left out cluster \"fleet/a2\": cluster \"fleet/s1\" stands in for it (Failover f-1)",
        ),
        (
            "s1>a3@a3",
            "a1 a3 s1",
            "a1 a3",
            "kept cluster \"fleet/s1\": its move to \"fleet/a3\" is not finished (Failover f-1)",
        ),
        (
            "s1>a3@a3",
            "a1 a3 s1",
            "a1 s1",
            "kept cluster \"fleet/a3\": what ran there returns from \"fleet/s1\" (Failover f-1)",
        ),
        (
            "a2>s1=2",
            "a1=1 a2=3 s1=2",
            "a1=1 a2=4 s1=1",
            "gave cluster \"fleet/s1\" the replicas that it runs for \"fleet/a2\" (Failover f-1)",
        ),
    ] {
        let facts = SubscriptionFacts { rescues: rescues(recorded), dividing: old.contains('='), ..replication() };
        let ruling = guard(&fleet, true).review(&parse(old), &parse(new), &facts);
        let Ruling::Amend(Amendment { rule, reasons, .. }) = ruling else { panic!("{old} {new}: {ruling:?}") };
        assert_eq!((rule, reasons), (Rule::Apply, vec![expected.to_owned()]), "{old} {new}");
    }
}

#[test]
fn a_write_that_cannot_be_read_by_cluster_is_not_applied_to() {
    let fleet = fleet();
    let facts = SubscriptionFacts { rescues: rescues("a2>s1"), ..replication() };
    let odd = |text: &str| {
        let mut placement = parse(text);
        placement.replicas.insert("x".into(), vec![1, 2, 3]);
        placement
    };
    let fault = "in the write, the replicas of \"x\" are 3 numbers for";
    for (new, expected) in [
        ("a1", Some(format!("cannot keep cluster \"fleet/s1\": {fault} 1 clusters"))),
        ("a2 s1", Some(format!("cannot leave out cluster \"fleet/a2\": {fault} 2 clusters"))),
        ("a1 s1", None),
    ] {
        let ruling = guard(&fleet, true).review(&parse("a1 s1"), &odd(new), &facts);
        assert_eq!(ruling, expected.map_or(Ruling::Pass, Ruling::Unfit), "{new}");
    }
}
