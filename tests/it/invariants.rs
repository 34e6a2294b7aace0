//! The invariants of the health side, by the names that they have in the design.
//!
//! The laws of [`crate::simulation`] hold in every world that is run, whoever runs it; each test
//! here runs worlds that tempt one of them, and asks for what only those worlds can promise.

use sheetanchor::domain::health::Verdict;
use sheetanchor::domain::taint::{Fault, UNSCHEDULABLE_KEY};
use sheetanchor::state::ALIVE_CONDITION;
use sheetanchor::state::action::{Action, Event, Topic, Write};

use crate::simulation::{Act, Plan, Trouble, World, for_seeds};
use crate::stage::{Stage, key, ms, s};

/// Periods that a fleet may have where a pause of two seconds is to mean nothing.
const PERIODS: [u64; 4] = [4, 7, 10, 20];

/// A random fleet in which all clusters have one period; every trouble comes every minute or so.
fn alike(seed: u64, troubles: &[Trouble]) -> (Plan, fastrand::Rng) {
    let mut random = fastrand::Rng::with_seed(seed ^ 0xa11c);
    let period = PERIODS[random.usize(..PERIODS.len())];
    let mut plan = Plan::calm(seed, random.usize(5..=20), period);
    for member in &mut plan.members {
        member.jitter = [0.0, 0.1, 0.3][random.usize(..3)];
        member.whole_seconds = random.bool();
    }
    plan.replicas = random.usize(1..=3);
    plan.tick = ms(if random.bool() { 50 } else { 250 });
    plan.settle = s(200) + s(35 * period);
    plan.troubles = troubles.iter().map(|trouble| (*trouble, s(random.u64(20..120)))).collect();
    plan.loss = [0.0, 0.1][random.usize(..2)];
    (plan, random)
}

#[test]
fn invariant_own_clock() {
    for_seeds("invariant_own_clock", 15, |seed| {
        let world = |clock_seed| World::new(Plan { clock_seed, ..Plan::random(seed) }).run();
        let (one, other) = (world(seed), world(seed + 1_000_000));
        assert_eq!(one.log.len(), other.log.len(), "other clocks, other actions");
        for (one, other) in one.log.iter().zip(&other.log) {
            assert_eq!(one, other, "other clocks, other actions");
        }
        one.lived + other.lived
    });
}

#[test]
fn invariant_blind_is_not_dead() {
    use Trouble::{Election, Garble, Hang, Outage, Pause, Restart, WatchBreak};
    for_seeds("invariant_blind_is_not_dead", 25, |seed| {
        let (mut plan, mut random) = alike(seed, &[WatchBreak, Outage, Hang, Pause, Restart, Election, Garble]);
        // A watch that dies in silence is found out by the brake, which takes two to judge by.
        plan.longest_deafness = [s(0), s(35)][random.usize(..2)];
        if plan.longest_deafness.is_zero() {
            plan.members.truncate(random.usize(1..=3));
        }
        if random.bool() {
            // The first list takes ten thresholds.
            let length = s(30 * plan.members[0].period_seconds);
            plan.script.push((ms(1), Act::Outage { deaf: ms(0), length }));
        }
        let world = World::new(plan).run();
        assert_eq!(world.law.tainted, [], "nobody was dead");
        assert_eq!(world.law.falls, 0, "nobody was dead");
        world.lived
    });
}

#[test]
fn blind_time_is_left_out_of_every_age() {
    for (name, blindness) in [("the watch is broken", 0), ("the process stands still", 1), ("both", 2)] {
        let mut stage = Stage::with(&[("a", 10)]);
        stage.beats(&["a"], s(10), 2);
        stage.run(s(20));
        if blindness != 1 {
            // The last event came 20 s ago, and the watch may be dead since.
            stage.change("a", |cluster| _ = cluster.labels.insert("x".into(), "y".into()));
            stage.run(s(8));
            stage.tell(Event::ClusterWatchBroke);
        }
        if blindness == 0 {
            stage.run(s(3_600));
        } else {
            stage.jump(s(3_600));
            stage.run(ms(0));
        }
        if blindness != 1 {
            let (clusters, _) = stage.api.list();
            stage.tell(clusters);
        }
        stage.run(s(10));
        assert_ne!(stage.verdict("a"), Verdict::Lost, "{name}: 30 s of age");
        stage.run(ms(1));
        assert_eq!(stage.verdict("a"), Verdict::Lost, "{name}: 30.001 s of age");
    }
}

#[test]
fn invariant_witnessed() {
    use Trouble::{Election, Pause, Restart, WatchBreak};
    for_seeds("invariant_witnessed", 25, |seed| {
        let (mut plan, mut random) = alike(seed, &[Election, Restart, Pause, WatchBreak]);
        let (count, period) = (plan.members.len(), plan.members[0].period_seconds);
        let silent = if random.bool() { count } else { (count * 3).div_ceil(5) };
        let mut who: Vec<usize> = (0..count).collect();
        random.shuffle(&mut who);
        who.truncate(silent);
        let start = ms(random.u64(60_000..120_000));
        let length = s(period).mul_f64(50.0 * random.f64());
        plan.script = vec![(start, Act::Silence(who.clone())), (start + length, Act::Speak(who))];
        plan.until = start + length;
        let world = World::new(plan).run();
        assert_eq!(world.law.tainted, [], "{silent} of {count} fell silent together for {length:?}");
        assert_eq!(world.law.falls, 0, "{silent} of {count} fell silent together for {length:?}");
        world.lived
    });
}

#[test]
fn a_lone_survivor_is_judged_by_its_age() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10), ("c", 10)]);
    stage.beats(&["a", "b", "c"], s(10), 2);
    stage.beats(&["a", "b"], s(10), 4);
    stage.beats(&["a"], s(10), 4);
    assert_eq!([stage.verdict("b"), stage.verdict("c")], [Verdict::Lost; 2]);
    // While they are news, three of three that fail together are a mass.
    stage.run(s(60));
    assert_eq!(stage.verdict("a"), Verdict::Suspected);
    stage.beats(&["a"], s(10), 70);
    stage.run(s(30));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Late, None));
    stage.run(ms(1));
    assert_eq!((stage.verdict("a"), stage.taint("a")), (Verdict::Lost, Some(Fault::ClusterStatusUnknown)));
}

#[test]
fn invariant_one_writer() {
    use Trouble::{Death, Election, Pause, Restart, Sickness, WatchBreak};
    let mut writers = 0;
    for_seeds("invariant_one_writer", 25, |seed| {
        let (mut plan, _) = alike(seed, &[Death, Death, Sickness, Election, Election, Pause, Restart, WatchBreak]);
        plan.replicas = 3;
        let world = World::new(plan).run();
        let wrote = |replica| {
            let taints = |(_, by, action): &(_, usize, Action)| {
                *by == replica && matches!(action, Action::Write(Write::Taints { .. }))
            };
            world.log.iter().any(taints)
        };
        writers += (0..3).filter(|replica| wrote(*replica)).count();
        world.lived
    });
    assert!(writers >= 2, "leadership moved, or nothing was tried");
}

#[test]
fn invariant_foreign_untouched() {
    use Trouble::{Death, Election, NewPeriod, Person, Recreation, Rival, Sickness};
    let mut beside_foreign = 0;
    for_seeds("invariant_foreign_untouched", 25, |seed| {
        let (mut plan, _) = alike(seed, &[Death, Sickness, Recreation, NewPeriod, Election]);
        plan.troubles.extend([(Person, s(2)), (Person, s(5)), (Rival, s(5))]);
        plan.taint_key = if seed % 2 == 0 { UNSCHEDULABLE_KEY } else { "sheetanchor.dev/unhealthy" };
        let world = World::new(plan).run();
        beside_foreign += world.law.beside_foreign;
        world.lived
    });
    assert!(beside_foreign > 0, "nothing foreign was ever in the way");
}

#[test]
fn a_persons_value_under_our_key_is_neither_removed_nor_doubled() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    let mut person = Fault::ClusterStatusUnknown.taint(UNSCHEDULABLE_KEY);
    person.value = Some("maintenance".into());
    stage.change("a", |cluster| cluster.taints = vec![person.clone()]);
    let taints = |stage: &Stage| stage.api.clusters[&key("a")].cluster.taints.clone();
    stage.beats(&["b"], s(10), 5);
    assert_eq!((stage.verdict("a"), taints(&stage)), (Verdict::Lost, vec![person.clone()]));
    assert_eq!(stage.mirror("a"), Some(Fault::ClusterStatusUnknown), "the node bears no word of a person");
    stage.beats(&["a", "b"], s(10), 6);
    assert_eq!((stage.verdict("a"), taints(&stage)), (Verdict::Ready, vec![person]));
    assert_eq!(stage.taint_writes("a"), []);
}

#[test]
fn invariant_explained() {
    use Trouble::{Death, Election, Person, Recreation, Restart, Sickness};
    let mut told = std::collections::BTreeSet::new();
    for_seeds("invariant_explained", 15, |seed| {
        let (mut plan, _) = alike(seed, &[Death, Death, Sickness, Person, Recreation, Restart, Election]);
        // All at once: somebody is suspected.
        let all: Vec<usize> = (0..plan.members.len()).collect();
        let length = s(10 * plan.members[0].period_seconds);
        plan.script = vec![(s(100), Act::Silence(all.clone())), (s(100) + length, Act::Speak(all))];
        let world = World::new(plan).run();
        told.extend(world.log.iter().filter_map(|(_, _, action)| match action {
            Action::Tell(notice) => match notice.topic {
                Topic::Verdict(verdict) => Some(verdict),
                _ => None,
            },
            Action::Write(_) | Action::Ask(..) => None,
        }));
        world.lived
    });
    if std::env::var_os("SIMULATION_SEED").is_none() {
        assert_eq!(told.into_iter().collect::<Vec<_>>(), Verdict::ALL, "every verdict was told, and explained");
    }
}

#[test]
fn the_explanation_of_a_loss_survives_a_restart() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["b"], s(10), 5);
    let message = |stage: &Stage| {
        let conditions = &stage.api.clusters[&key("a")].cluster.conditions;
        let own = conditions.iter().find(|condition| condition.kind == ALIVE_CONDITION).expect("ours");
        own.message.clone()
    };
    let before = message(&stage);
    assert!(before.starts_with("no heartbeat for 30s (limit 30s)"), "{before}");
    stage.restart();
    stage.open();
    stage.beats(&["b"], s(10), 9);
    assert_eq!((stage.verdict("a"), message(&stage)), (Verdict::Lost, before));
}
