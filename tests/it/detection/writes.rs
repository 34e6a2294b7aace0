//! What is written for each verdict, how often, and what the brake holds back.

use sheetanchor::domain::cluster::AgentReady;
use sheetanchor::domain::health::Verdict;
use sheetanchor::domain::taint::{Fault, UNSCHEDULABLE_KEY};
use sheetanchor::state::action::{Action, Event, Outcome, Topic, Write};

use crate::stage::{Stage, key, ms, s};

/// A fleet whose cluster `a` has come to this verdict, and the others are well.
fn fleet(verdict: Verdict) -> Stage {
    let others = ["b", "c", "d"];
    let mut stage = Stage::with(&[("a", 10), ("b", 10), ("c", 10), ("d", 10)]);
    let silent_for = |stage: &mut Stage, periods| {
        stage.beats(&["a", "b", "c", "d"], s(10), 1);
        stage.beats(&others, s(10), periods);
    };
    match verdict {
        Verdict::Ready => stage.beats(&["a", "b", "c", "d"], s(10), 1),
        Verdict::Late => silent_for(&mut stage, 2),
        Verdict::Suspected => {
            stage.beats(&["a", "b", "c", "d"], s(10), 1);
            stage.run(s(40));
        }
        Verdict::Lost => silent_for(&mut stage, 4),
        Verdict::Recovering => {
            silent_for(&mut stage, 4);
            stage.beat("a");
        }
        Verdict::NotReady => {
            for _ in 0..2 {
                stage.beats(&others, s(10), 1);
                stage.beat_as("a", AgentReady::False);
            }
        }
        Verdict::NeverReported => {
            let event = stage.api.delete_cluster(&key("a"));
            stage.watch(event);
            let event = stage.register("a", None, Some(10));
            stage.tell(event);
            stage.beats(&others, s(10), 4);
        }
    }
    stage.run(ms(100));
    assert_eq!(stage.verdict("a"), verdict);
    stage
}

#[test]
fn each_verdict_has_its_taint_mirror_and_condition() {
    let (unknown, never) = (Fault::ClusterStatusUnknown, Fault::ClusterStatusNeverUpdated);
    for (verdict, fault, status, reason) in [
        (Verdict::Ready, None, "True", "Ready"),
        (Verdict::Late, None, "True", "Late"),
        (Verdict::Suspected, None, "True", "Ready"),
        (Verdict::Lost, Some(unknown), "Unknown", "Lost"),
        (Verdict::Recovering, Some(unknown), "Unknown", "Recovering"),
        (Verdict::NotReady, Some(Fault::ManagedClusterNotReady), "False", "NotReady"),
        (Verdict::NeverReported, Some(never), "Unknown", "NeverReported"),
    ] {
        let mut stage = fleet(verdict);
        if verdict == Verdict::Suspected {
            stage.beats(&[], s(1), 60);
        }
        assert_eq!(stage.taint("a"), fault, "{verdict}");
        assert_eq!(stage.mirror("a"), fault, "{verdict}");
        let (found, why) = stage.alive("a").expect("written");
        assert_eq!(found, status, "{verdict}");
        if verdict == Verdict::Suspected {
            assert!(why == "Ready" || why == "Late", "{why} is what it was before");
        } else {
            assert_eq!(why, reason, "{verdict}");
        }
    }
}

#[test]
fn the_word_suspected_is_told_but_never_written() {
    let mut stage = fleet(Verdict::Suspected);
    stage.run(s(600));
    assert!(stage.told("a", Verdict::Suspected).is_some());
    stage.beats(&["a", "b", "c", "d"], s(10), 6);
    for (_, action) in &stage.log {
        if let Action::Write(Write::Conditions { conditions, .. }) = action {
            assert!(conditions.iter().all(|condition| condition.reason != "Suspected"), "{conditions:?}");
        }
    }
}

#[test]
fn an_undone_taint_is_put_back_once_per_period_with_a_notice() {
    let mut stage = fleet(Verdict::Lost);
    let (first, _) = stage.taint_writes("a")[0];
    stage.tick = ms(50);
    // Somebody removes it as soon as it appears, for ten periods.
    while stage.at() < first + s(100) {
        if stage.taint("a").is_some() {
            stage.change("a", |cluster| cluster.taints.clear());
        }
        for name in ["b", "c", "d"] {
            stage.beat(name);
        }
        stage.run(ms(50));
    }
    let writes = stage.taint_writes("a");
    assert!((10..=11).contains(&writes.len()), "{writes:?}");
    for pair in writes.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= s(10), "{pair:?}");
    }
    let notices = stage.notices(Topic::TaintUndone);
    assert_eq!(notices.len(), writes.len() - 1);
    for (_, text) in notices {
        assert!(text.contains("\"fleet/a\"") && text.contains("Lost") && text.contains("(limit 30s)"), "{text}");
    }
}

#[test]
fn the_taint_of_a_cluster_that_is_well_is_taken_for_somebodys_word() {
    let mut stage = fleet(Verdict::Ready);
    stage.change("a", |cluster| cluster.taints.push(Fault::ClusterStatusUnknown.taint(UNSCHEDULABLE_KEY)));
    stage.run(s(1));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Lost, Some(Fault::ClusterStatusUnknown)));
    stage.beats(&["a", "b", "c", "d"], s(10), 3);
    stage.run(ms(50));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Ready, None));
}

#[test]
fn a_conflict_is_decided_again_and_a_failure_waits() {
    for (answer, at_once) in [(Outcome::Conflict, true), (Outcome::Failed, false)] {
        let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
        stage.beats(&["b"], s(10), 3);
        stage.answer = answer;
        stage.jump(ms(50));
        stage.tell(Event::Tick);
        let (first, _) = *stage.taint_writes("a").first().expect("tried");
        stage.answer = Outcome::Stored;
        stage.run(s(2));
        let wait = stage.taint_writes("a")[1].0 - first;
        assert_eq!(wait <= ms(100), at_once, "{answer:?}: {wait:?}");
        assert!(wait <= s(1) + ms(50), "{answer:?}: {wait:?}");
        assert_eq!(stage.taint("a"), Some(Fault::ClusterStatusUnknown));
    }
}

#[test]
fn only_a_leader_writes_and_a_new_one_writes_what_is_missing() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.tell(Event::Leading(false));
    let before = stage.log.len();
    stage.beats(&["b"], s(10), 6);
    assert_eq!(stage.verdict("a"), Verdict::Lost);
    assert!(!stage.log[before..].iter().any(|(_, action)| matches!(action, Action::Write(_))));
    stage.tell(Event::Leading(true));
    stage.run(ms(100));
    assert_eq!(stage.taint("a"), Some(Fault::ClusterStatusUnknown));
    assert_eq!(stage.mirror("a"), Some(Fault::ClusterStatusUnknown));
    assert_eq!(stage.alive("a").expect("written").1, "Lost");
}

#[test]
fn the_brake_is_told_recorded_and_ends() {
    let mut stage = fleet(Verdict::Suspected);
    assert_eq!(stage.api.brake.len(), 4);
    assert_eq!(stage.notices(Topic::BrakeOn).len(), 1);
    assert_eq!(stage.snapshot().brake.as_ref().expect("on").clusters.len(), 4);
    for name in ["a", "b", "c", "d"] {
        stage.beat(name);
    }
    stage.run(s(6));
    assert_eq!(stage.notices(Topic::BrakeOff).len(), 1);
    assert!(stage.api.brake.is_empty());
    assert!(stage.snapshot().brake.is_none());
}

#[test]
fn an_earlier_leaders_brake_holds_until_its_clusters_had_time_to_beat() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10), ("c", 100)]);
    // The mirror of `c` is missing, which the brake is to hold back.
    stage.api.change_cluster(&key("c"), |cluster| {
        cluster.taints.push(Fault::ClusterStatusUnknown.taint(UNSCHEDULABLE_KEY));
    });
    stage.restart();
    stage.api.brake = vec![key("a"), key("b"), key("gone")];
    stage.open();
    let start = stage.at();
    assert_eq!(stage.snapshot().brake.as_ref().expect("on").cause.as_str(), "Inherited");
    stage.run_to(start + s(5));
    stage.beat("a");
    assert!(stage.snapshot().brake.is_some(), "b had no time yet");
    stage.run_to(start + s(12));
    stage.beat("a");
    stage.run_to(start + s(15));
    assert_eq!((stage.snapshot().brake.is_some(), stage.mirror("c")), (true, None));
    stage.run(ms(1));
    assert!(stage.snapshot().brake.is_none());
    assert_eq!(stage.mirror("c"), Some(Fault::ClusterStatusUnknown));
}

#[test]
fn the_silent_have_1_5_periods_more_when_the_brake_lets_go() {
    let names = ["a", "b", "c", "d", "e"];
    let mut stage = Stage::with(&names.map(|name| (name, 10)));
    stage.beats(&names, s(10), 2);
    stage.run(s(300));
    assert_eq!(stage.verdict("a"), Verdict::Suspected);
    for name in &names[1..] {
        stage.beat(name);
    }
    let back = stage.at();
    let last_braked = stage.at();
    stage.run(s(10));
    for name in &names[1..] {
        stage.beat(name);
    }
    stage.run_to(last_braked + s(15) - ms(1));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Suspected, None));
    stage.run_to(back + s(15) + ms(100));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Lost, Some(Fault::ClusterStatusUnknown)));
    assert!(names[1..].iter().all(|name| stage.taint(name).is_none()));
}

#[test]
fn a_persons_word_that_a_cluster_is_dead_overrides_the_brake_until_it_beats() {
    let names = ["a", "b", "c", "d", "e"];
    let mut stage = Stage::with(&names.map(|name| (name, 10)));
    stage.beats(&names, s(10), 2);
    stage.run(s(300));
    assert!(names.iter().all(|name| stage.verdict(name) == Verdict::Suspected));
    let release = |cluster: &mut sheetanchor::domain::cluster::Cluster| cluster.release.clone_from(&cluster.stamp);
    stage.change("a", release);
    stage.change("b", release);
    stage.run(s(14));
    stage.beat("b");
    stage.run(s(2));
    let lost = (Verdict::Lost, Some(Fault::ClusterStatusUnknown));
    assert_eq!((stage.verdict("a"), stage.taint("a")), lost, "1.5 periods later");
    assert_eq!((stage.mirror("a"), stage.alive("a").map(|it| it.0)), (lost.1, Some("Unknown".into())));
    assert_eq!((stage.verdict("b"), stage.taint("b")), (Verdict::Ready, None), "its beat voids the release");
    for name in ["c", "d", "e"] {
        assert_eq!((stage.verdict(name), stage.taint(name)), (Verdict::Suspected, None), "{name}");
    }
    assert!(stage.snapshot().brake.is_some());
}
