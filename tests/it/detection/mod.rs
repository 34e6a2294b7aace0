//! How silence is judged: every limit at −1 ms, 0 and +1 ms, in virtual time.

mod fleet;
mod hang;
mod objects;
mod recovery;
mod writes;

use std::time::Duration;

use sheetanchor::domain::cluster::AgentReady;
use sheetanchor::domain::health::Verdict;
use sheetanchor::domain::taint::Fault;
use sheetanchor::state::action::Event;

use crate::simulation::api::report;
use crate::stage::{Stage, key, ms, s};

/// One cluster, and one tick at each end: last seen at 0, judged at `at`.
fn lone_verdict(declared: Option<i64>, at: Duration) -> Verdict {
    let mut stage = Stage::new();
    stage.register("a", Some("first"), declared);
    stage.open();
    stage.tick = s(1);
    stage.run_to(at);
    stage.verdict("a")
}

#[test]
fn a_lone_cluster_is_late_after_1_5_periods_and_lost_after_3_strictly() {
    for (period, past, off, expected) in [
        (10, 15_000, -1, Verdict::Ready),
        (10, 15_000, 0, Verdict::Ready),
        (10, 15_000, 1, Verdict::Late),
        (10, 30_000, -1, Verdict::Late),
        (10, 30_000, 0, Verdict::Late),
        (10, 30_000, 1, Verdict::Lost),
        (15, 22_500, 0, Verdict::Ready),
        (15, 22_500, 1, Verdict::Late),
        (15, 45_000, 0, Verdict::Late),
        (15, 45_000, 1, Verdict::Lost),
        (180, 540_000, 0, Verdict::Late),
        (180, 540_000, 1, Verdict::Lost),
    ] {
        let at = ms(u64::try_from(past + off).expect("positive"));
        assert_eq!(lone_verdict(Some(period), at), expected, "period {period} s, silent for {past} ms {off:+}");
    }
}

#[test]
fn periods_are_clamped_or_replaced() {
    for (declared, limit) in [
        (Some(15), 45),
        (Some(0), 540),
        (Some(-5), 540),
        (Some(i64::MIN), 540),
        (Some(1), 3),
        (Some(3600), 10_800),
        (Some(3601), 10_800),
        (Some(1_000_000_000), 10_800),
        (Some(i64::MAX), 10_800),
        (None, 540),
    ] {
        assert_ne!(lone_verdict(declared, s(limit)), Verdict::Lost, "{declared:?} at {limit} s");
        assert_eq!(lone_verdict(declared, s(limit) + ms(1)), Verdict::Lost, "{declared:?} after {limit} s");
    }
}

#[test]
fn with_a_witness_death_is_seen_at_the_limit_and_the_taint_goes_out_in_the_same_tick() {
    for (off, lost) in [(-1, false), (0, false), (1, true)] {
        let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
        stage.beats(&["a", "b"], s(10), 3);
        stage.beats(&["b"], s(10), 2);
        stage.run(ms(u64::try_from(10_000 + off).expect("positive")));
        assert_eq!(stage.verdict("a") == Verdict::Lost, lost, "{off:+} ms");
        assert_eq!(stage.taint("a"), lost.then_some(Fault::ClusterStatusUnknown), "{off:+} ms");
        assert_eq!(stage.mirror("a"), lost.then_some(Fault::ClusterStatusUnknown), "{off:+} ms");
        assert_eq!(stage.verdict("b"), Verdict::Ready);
        if lost {
            let told = stage.told("a", Verdict::Lost).expect("told");
            assert_eq!(stage.taint_writes("a"), [(told, Some(Fault::ClusterStatusUnknown))]);
        }
    }
}

#[test]
fn whatever_the_phase_of_the_tick_a_death_is_seen_within_100_ms() {
    for phase in [0, 1, 7, 13, 24, 25, 26, 37, 49] {
        let mut stage = Stage::with(&[("a", 7), ("b", 7)]);
        for _ in 0..3 {
            stage.run(ms(7_000 + phase));
            stage.beat("a");
            stage.beat("b");
        }
        let (last, limit) = (stage.at(), s(21));
        for _ in 0..6 {
            stage.run(s(4));
            stage.beat("b");
        }
        let late = stage.told("a", Verdict::Lost).expect("lost") - last - limit;
        assert!(late > Duration::ZERO && late <= ms(100), "phase {phase}: {late:?} after the limit");
    }
}

#[test]
fn a_new_period_counts_from_the_beat_that_carried_it() {
    let mut stage = Stage::new();
    stage.register("a", Some("first"), Some(10));
    stage.open();
    stage.beats(&["a"], s(10), 2);
    let declare = |stage: &mut Stage, seconds| stage.change("a", |cluster| cluster.declared_period_seconds = seconds);
    // Declared without a beat: says nothing yet.
    declare(&mut stage, Some(100));
    stage.run(s(10));
    assert_eq!(stage.health("a").period(), s(10));
    stage.beat("a");
    stage.run(s(300));
    assert_eq!(stage.health("a").period(), s(100));
    assert_eq!(stage.verdict("a"), Verdict::Late);
    // And shorter: the age that has come about under the longer one is not held against it.
    declare(&mut stage, Some(2));
    stage.run(ms(0));
    assert_eq!(stage.verdict("a"), Verdict::Late);
    stage.beat("a");
    stage.run(s(6));
    assert_eq!(stage.verdict("a"), Verdict::Late);
    stage.run(ms(1));
    assert_eq!(stage.verdict("a"), Verdict::Lost);
}

#[test]
fn two_reports_of_not_ready_in_a_row_are_needed() {
    use AgentReady::{False, True, Unknown};
    for (name, words, expected) in [
        ("one", vec![False], Verdict::Ready),
        ("two", vec![False, False], Verdict::NotReady),
        ("True in between", vec![False, True, False], Verdict::Ready),
        ("no word in between", vec![False, Unknown, False], Verdict::Ready),
        ("two after True", vec![False, True, False, False], Verdict::NotReady),
        ("the word of nobody", vec![Unknown, Unknown, Unknown], Verdict::Ready),
        ("and well again", vec![False, False, True], Verdict::Recovering),
        ("not yet long enough", vec![False, False, True, True], Verdict::Recovering),
        ("long enough", vec![False, False, True, True, True], Verdict::Ready),
        ("sick again", vec![False, False, True, False], Verdict::Recovering),
        ("sick twice again", vec![False, False, True, False, False], Verdict::NotReady),
    ] {
        let mut stage = Stage::with(&[("a", 10), ("b", 10), ("c", 10)]);
        for word in words {
            stage.run(s(10));
            stage.beat("b");
            stage.beat("c");
            stage.beat_as("a", word);
            stage.run(ms(50));
        }
        assert_eq!(stage.verdict("a"), expected, "{name}");
        let tainted = matches!(expected, Verdict::NotReady | Verdict::Recovering);
        assert_eq!(stage.taint("a"), tainted.then_some(Fault::ManagedClusterNotReady), "{name}");
    }
}

#[test]
fn a_report_repeated_without_a_beat_counts_once() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10), ("c", 10)]);
    stage.beats(&["a", "b", "c"], s(10), 1);
    stage.beat_as("a", AgentReady::False);
    for label in ["x", "y", "z"] {
        stage.change("a", |cluster| _ = cluster.labels.insert(label.into(), String::new()));
        stage.run(ms(50));
    }
    assert_eq!(stage.verdict("a"), Verdict::Ready);
}

#[test]
fn a_not_ready_cluster_that_falls_silent_is_lost_and_its_taint_changes() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10), ("c", 10)]);
    for _ in 0..2 {
        stage.run(s(10));
        stage.beat("b");
        stage.beat("c");
        stage.beat_as("a", AgentReady::False);
    }
    stage.beats(&["b", "c"], s(10), 3);
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::NotReady, Some(Fault::ManagedClusterNotReady)));
    stage.run(ms(1));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Lost, Some(Fault::ClusterStatusUnknown)));
}

#[test]
fn never_reported_is_counted_from_our_first_sight() {
    let mut stage = Stage::new();
    stage.register("a", None, Some(10));
    // It was created long before we started.
    stage.jump(s(3_600));
    stage.open();
    let first = stage.at();
    assert_eq!(stage.verdict("a"), Verdict::Late);
    stage.run_to(first + s(30));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Late, None));
    stage.run(ms(1));
    assert_eq!(
        (stage.verdict("a"), stage.taint("a")),
        (Verdict::NeverReported, Some(Fault::ClusterStatusNeverUpdated))
    );
    // One created later: from its creation.
    let event = stage.register("b", None, Some(10));
    stage.tell(event);
    stage.run(s(30));
    assert_eq!(stage.verdict("b"), Verdict::Late);
    stage.run(ms(1));
    assert_eq!(stage.verdict("b"), Verdict::NeverReported);
    // A first beat is all that was missing.
    stage.beat("a");
    stage.run(ms(50));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Ready, None));
}

#[test]
fn those_that_never_reported_neither_hold_the_brake_nor_testify() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    for name in ["n1", "n2", "n3", "n4", "n5"] {
        let event = stage.register(name, None, Some(5));
        stage.tell(event);
    }
    stage.beats(&["a", "b"], s(10), 3);
    assert_eq!(stage.verdict("n1"), Verdict::NeverReported);
    stage.beats(&["b"], s(10), 3);
    stage.run(ms(1));
    assert_eq!(stage.verdict("a"), Verdict::Lost);
    assert_eq!(stage.verdict("b"), Verdict::Ready);
}

#[test]
fn a_stamp_of_null_or_from_the_future_is_just_a_value() {
    let mut stage = Stage::with(&[("a", 10)]);
    for stamp in [Some("2999-01-01T00:00:00Z"), None, Some("not a time"), Some(""), None] {
        stage.run(s(29));
        let stamp = stamp.map(Into::into);
        stage.change("a", |cluster| report(cluster, stamp, Some(10), AgentReady::True));
        assert_eq!(stage.verdict("a"), Verdict::Ready);
    }
    // null after null is no change, so no beat.
    stage.run(s(29));
    stage.change("a", |cluster| report(cluster, None, Some(10), AgentReady::False));
    stage.run(s(1) + ms(1));
    assert_eq!(stage.verdict("a"), Verdict::Lost);
}

#[test]
fn a_cluster_that_is_deleted_is_judged_no_more() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["a", "b"], s(10), 2);
    let event = stage.api.delete_cluster(&key("a"));
    stage.watch(event);
    stage.beats(&["b"], s(10), 6);
    assert_eq!(stage.told("a", Verdict::Lost), None);
    assert_eq!(stage.snapshot().clusters.len(), 1);
    // Neither does one that a re-list leaves out.
    stage.api.delete_cluster(&key("b"));
    let (clusters, _) = stage.api.list();
    stage.tell(Event::ClusterWatchBroke);
    stage.tell(clusters);
    stage.tell(Event::Tick);
    assert_eq!(stage.snapshot().clusters.len(), 0);
}
