//! The way back: how many beats it takes, and what a restart remembers.

use sheetanchor::domain::cluster::Cluster;
use sheetanchor::domain::health::Verdict;
use sheetanchor::domain::taint::{Fault, UNSCHEDULABLE_KEY};
use sheetanchor::state::action::{Event, Topic};

use crate::stage::{Stage, key, ms, s};

/// A lone cluster falls silent, and beats again every `period` until it is Ready. Returns the beats
/// after the first one.
fn lose_and_recover(stage: &mut Stage, period: u64) -> u32 {
    stage.run(s(3 * period) + ms(1));
    assert_eq!(stage.verdict("a"), Verdict::Lost);
    stage.beat("a");
    for beats in 0..100 {
        if stage.verdict("a") == Verdict::Ready {
            stage.run(ms(50));
            assert_eq!(stage.taint("a"), None);
            return beats;
        }
        assert_eq!(stage.verdict("a"), Verdict::Recovering);
        assert_eq!(stage.taint("a"), Some(Fault::ClusterStatusUnknown));
        stage.run(s(period));
        stage.beat("a");
    }
    panic!("never recovered");
}

#[test]
fn each_loss_within_a_day_doubles_the_beats_that_are_needed() {
    let mut stage = Stage::with(&[("a", 10)]);
    for expected in [2, 4, 8, 16, 16, 16] {
        assert_eq!(lose_and_recover(&mut stage, 10), expected);
    }
}

#[test]
fn losses_are_forgotten_after_a_day() {
    let mut stage = Stage::with(&[("a", 600)]);
    stage.tick = s(2);
    assert_eq!(lose_and_recover(&mut stage, 600), 2);
    let first = stage.told("a", Verdict::Lost).expect("lost");
    assert_eq!(lose_and_recover(&mut stage, 600), 4);
    let day = s(24 * 3600);
    // The first of the two is a day old before the third comes, the second not yet.
    while stage.at() + s(4 * 600) < first + day {
        stage.run(s(600));
        stage.beat("a");
    }
    stage.run(s(600));
    stage.beat("a");
    assert_eq!(lose_and_recover(&mut stage, 600), 4);
    stage.beats(&["a"], s(600), 24 * 6);
    assert_eq!(lose_and_recover(&mut stage, 600), 2);
}

#[test]
fn a_loss_taken_from_the_leaders_taint_is_a_loss_and_soon_has_evidence() {
    let mut stage = Stage::with(&[("a", 10)]);
    assert_eq!(lose_and_recover(&mut stage, 10), 2);
    // The leader was 200 ms ahead of this standby.
    stage.run(s(30) - ms(200));
    stage.change("a", |cluster| cluster.taints.push(Fault::ClusterStatusUnknown.taint(UNSCHEDULABLE_KEY)));
    let explained = |stage: &Stage| {
        let snapshot = stage.snapshot();
        stage.health("a").explain(snapshot.moment(stage.now()), &snapshot.policy.health)
    };
    assert_eq!(stage.verdict("a"), Verdict::Lost);
    assert_eq!(explained(&stage), "found with our taint ClusterStatusUnknown, and no heartbeat seen for 29s since");
    stage.run(s(2));
    assert_eq!(explained(&stage), "no heartbeat for 31s (limit 30s)");
    stage.beat("a");
    stage.beats(&["a"], s(10), 3);
    assert_eq!(stage.verdict("a"), Verdict::Recovering, "the second loss of the day asks for 4 beats");
    stage.beats(&["a"], s(10), 1);
    assert_eq!(stage.verdict("a"), Verdict::Ready);
}

#[test]
fn beats_that_come_late_do_not_count_and_boundaries_do() {
    for (gap, counts) in [(14_999, true), (15_000, true), (15_001, false), (29_000, false)] {
        let mut stage = Stage::with(&[("a", 10)]);
        stage.run(s(31));
        stage.beat("a");
        for _ in 0..2 {
            stage.run(ms(gap));
            stage.beat("a");
        }
        let expected = if counts { Verdict::Ready } else { Verdict::Recovering };
        assert_eq!(stage.verdict("a"), expected, "beats every {gap} ms");
        // Late ones are not held against those that were counted, either.
        stage.beats(&["a"], s(10), 2);
        assert_eq!(stage.verdict("a"), Verdict::Ready, "beats every {gap} ms, then every 10 s");
    }
}

#[test]
fn falling_again_while_recovering_is_another_loss() {
    let mut stage = Stage::with(&[("a", 10)]);
    stage.run(s(31));
    stage.beat("a");
    stage.beats(&["a"], s(10), 1);
    assert_eq!(stage.verdict("a"), Verdict::Recovering);
    assert_eq!(lose_and_recover(&mut stage, 10), 4);
    assert_eq!(stage.taint_writes("a").len(), 2, "one taint for both losses, and one removal");
}

#[test]
fn a_restart_keeps_the_verdict_of_our_taint_until_beats() {
    for (fault, verdict, beats) in [
        (Fault::ClusterStatusUnknown, Verdict::Lost, 3),
        (Fault::ManagedClusterNotReady, Verdict::NotReady, 3),
        (Fault::ClusterStatusNeverUpdated, Verdict::NeverReported, 1),
    ] {
        let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
        stage.api.change_cluster(&key("a"), |cluster| cluster.taints.push(fault.taint(UNSCHEDULABLE_KEY)));
        stage.restart();
        stage.open();
        assert_eq!(stage.verdict("a"), verdict);
        assert_eq!(stage.mirror("a"), Some(fault), "the mirror that is missing is written");
        stage.beats(&["b"], s(10), 2);
        assert_eq!((stage.verdict("a"), stage.taint("a")), (verdict, Some(fault)));
        for beat in 1..=beats {
            assert_eq!(stage.taint("a"), Some(fault), "{verdict} before beat {beat}");
            stage.beats(&["a", "b"], s(10), 1);
            stage.run(ms(50));
        }
        assert_eq!(
            (stage.verdict("a"), stage.taint("a"), stage.mirror("a")),
            (Verdict::Ready, None, None),
            "{verdict}"
        );
    }
}

#[test]
fn a_taint_found_at_a_start_says_that_the_cluster_has_reported() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.api.change_cluster(&key("a"), |cluster| {
        cluster.stamp = None;
        cluster.taints.push(Fault::ManagedClusterNotReady.taint(UNSCHEDULABLE_KEY));
    });
    stage.restart();
    stage.open();
    stage.beats(&["b"], s(10), 4);
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Lost, Some(Fault::ClusterStatusUnknown)));
    stage.beats(&["a", "b"], s(10), 1);
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Recovering, Some(Fault::ClusterStatusUnknown)));
}

#[test]
fn a_verdict_that_was_taken_over_follows_the_taint() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    let carry = |fault: Fault| move |cluster: &mut Cluster| cluster.taints = vec![fault.taint(UNSCHEDULABLE_KEY)];
    stage.api.change_cluster(&key("a"), carry(Fault::ManagedClusterNotReady));
    stage.restart();
    stage.open();
    assert_eq!(stage.verdict("a"), Verdict::NotReady);
    stage.change("a", carry(Fault::ClusterStatusUnknown));
    stage.run(s(1));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Lost, Some(Fault::ClusterStatusUnknown)));
}

#[test]
fn a_taint_that_comes_anew_starts_the_recovery_again() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["b"], s(10), 4);
    stage.tell(Event::Leading(false));
    stage.beats(&["a", "b"], s(10), 2);
    assert_eq!(stage.verdict("a"), Verdict::Recovering, "1 of 2");
    // To another leader it was NotReady, which the last of those beats said.
    stage.change("a", |cluster| cluster.taints = vec![Fault::ManagedClusterNotReady.taint(UNSCHEDULABLE_KEY)]);
    stage.tell(Event::Leading(true));
    // It is the second loss of the day: the first beat begins, and four more are needed.
    let recovering = [Verdict::Recovering; 4];
    for verdict in recovering.into_iter().chain([Verdict::Ready]) {
        stage.beats(&["a", "b"], s(10), 1);
        stage.run(ms(50));
        assert_eq!(stage.verdict("a"), verdict);
    }
    assert_eq!(stage.taint("a"), None);
}

#[test]
fn a_standby_gives_up_with_the_taint_what_it_took_over_and_a_leader_answers() {
    for leading in [true, false] {
        let mut stage = tainted_before_the_start();
        stage.tell(Event::Leading(leading));
        stage.beats(&["b"], s(10), 1);
        stage.change("a", |cluster| {
            cluster.taints.clear();
            cluster.conditions.clear();
        });
        stage.run(ms(50));
        // Only the leader writes, so to a standby it is the leader who found the cluster well.
        let dead = (Verdict::Lost, Some(Fault::ClusterStatusUnknown));
        let expected = if leading { dead } else { (Verdict::Ready, None) };
        assert_eq!((stage.verdict("a"), stage.taint("a")), expected, "leading: {leading}");
    }
}

#[test]
fn a_standby_knows_a_taint_that_was_undone_from_one_that_has_ended() {
    for (alive, expected) in [("Unknown", Verdict::Lost), ("True", Verdict::Ready)] {
        let mut stage = tainted_before_the_start();
        stage.beats(&["b"], s(10), 1);
        stage.tell(Event::Leading(false));
        assert_eq!(stage.alive("a").map(|alive| alive.0).as_deref(), Some("Unknown"));
        stage.change("a", |cluster| {
            cluster.taints.clear();
            cluster.conditions.iter_mut().for_each(|condition| condition.status = alive.into());
        });
        stage.run(ms(50));
        assert_eq!(stage.verdict("a"), expected, "Alive={alive}");
    }
}

#[test]
fn a_taint_undone_during_the_recovery_is_put_back_once_per_period_until_the_end() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["b"], s(10), 4);
    stage.beats(&["a", "b"], s(10), 1);
    let recovers = (Verdict::Recovering, Some(Fault::ClusterStatusUnknown));
    assert_eq!((stage.verdict("a"), stage.taint("a")), recovers);
    let before = stage.taint_writes("a").len();
    for _ in 0..5 {
        stage.change("a", |cluster| cluster.taints.clear());
        stage.run(ms(2_500));
    }
    assert_eq!(stage.taint_writes("a").len() - before, 2, "at once, for the loss is a period ago, and a period later");
    assert_eq!((stage.verdict("a"), stage.notices(Topic::TaintUndone).len()), (Verdict::Recovering, 2));
    stage.beats(&["a", "b"], s(10), 3);
    stage.run(ms(50));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Ready, None));
    assert_eq!(stage.alive("a"), Some(("True".into(), "Ready".into())));
}

#[test]
fn a_new_leader_does_not_put_back_what_the_old_one_took_off() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["b"], s(10), 4);
    stage.beats(&["a", "b"], s(10), 1);
    stage.tell(Event::Leading(false));
    // The old leader, which counted the beats otherwise, ends the incident: the condition first.
    stage.change("a", |cluster| cluster.conditions.iter_mut().for_each(|own| own.status = "True".into()));
    stage.tell(Event::Leading(true));
    let writes = stage.taint_writes("a").len();
    stage.change("a", |cluster| cluster.taints.clear());
    stage.run(s(5));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Recovering, None));
    assert_eq!(stage.taint_writes("a").len(), writes);
}

#[test]
fn a_taint_goes_although_the_condition_can_no_longer_be_written() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["b"], s(10), 4);
    assert_eq!(stage.alive("a").map(|alive| alive.0).as_deref(), Some("Unknown"));
    stage.status_refused = true;
    stage.beats(&["a", "b"], s(10), 3);
    stage.run(s(1));
    assert_eq!((stage.verdict("a"), stage.taint("a"), stage.mirror("a")), (Verdict::Ready, None, None));
    // Nothing but the condition is left to be made good.
    stage.status_refused = false;
    stage.beats(&["a", "b"], s(10), 4);
    stage.run(s(1));
    assert_eq!(stage.alive("a"), Some(("True".into(), "Ready".into())));
    assert_eq!(stage.taint_writes("a").len(), 2);
}

/// A fleet of two, led, whose cluster `a` bore our taint before.
fn tainted_before_the_start() -> Stage {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.api.change_cluster(&key("a"), |cluster| {
        cluster.taints.push(Fault::ClusterStatusUnknown.taint(UNSCHEDULABLE_KEY));
    });
    stage.restart();
    stage.open();
    stage
}

#[test]
fn nothing_is_lost_within_three_periods_of_a_start() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["a", "b"], s(10), 2);
    stage.beats(&["b"], s(10), 2);
    stage.run(s(9));
    stage.restart();
    stage.open();
    let start = stage.at();
    stage.beats(&["b"], s(5), 6);
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Late, None));
    assert_eq!(stage.at(), start + s(30));
    stage.run(ms(1));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Lost, Some(Fault::ClusterStatusUnknown)));
}

#[test]
fn the_same_name_with_another_uid_is_another_cluster() {
    for seen_going in [true, false] {
        let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
        stage.beats(&["b"], s(10), 4);
        assert_eq!(stage.taint("a"), Some(Fault::ClusterStatusUnknown));
        let gone = stage.api.delete_cluster(&key("a"));
        stage.watch(gone.filter(|_| seen_going));
        let event = stage.register("a", None, Some(10));
        stage.tell(event);
        stage.run(ms(50));
        assert_eq!((stage.verdict("a"), stage.taint("a"), stage.mirror("a")), (Verdict::Late, None, None));
        stage.beat("a");
        assert_eq!(stage.verdict("a"), Verdict::Ready);
        // Nor does it inherit the losses.
        stage.beats(&["b"], s(10), 4);
        assert_eq!(stage.taint("a"), Some(Fault::ClusterStatusUnknown));
        stage.beats(&["a", "b"], s(10), 3);
        assert_eq!(stage.verdict("a"), Verdict::Ready);
    }
}

#[test]
fn a_taint_and_a_beat_that_arrive_together_leave_the_cluster_recovering() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["a", "b"], s(10), 2);
    // Another leader tainted it while our watch was broken; then it beat.
    stage.tell(Event::Leading(false));
    stage.tell(Event::ClusterWatchBroke);
    stage.api.change_cluster(&key("a"), |cluster| {
        cluster.taints.push(Fault::ClusterStatusUnknown.taint(UNSCHEDULABLE_KEY));
        cluster.stamp = Some("a beat".into());
    });
    stage.tell(Event::Leading(true));
    let (clusters, _) = stage.api.list();
    stage.tell(clusters);
    stage.run(ms(50));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Recovering, Some(Fault::ClusterStatusUnknown)));
    stage.beats(&["a", "b"], s(10), 2);
    stage.run(ms(50));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Ready, None));
}
