//! Holds the brake and the health rules to the reference model.
//!
//! The scenarios, the seeds and the random numbers are the model's own (`tests/data/brake-model.py`), so the
//! fleet beats at exactly the same seconds; its results stand in the table below.

use std::time::{Duration, Instant};

use sheetanchor::clock;
use sheetanchor::domain::brake;
use sheetanchor::domain::cluster::AgentReady;
use sheetanchor::domain::health::{Health, HealthPolicy, Report, Verdict};
use sheetanchor::domain::sight::{Moment, Sight};

use crate::twister::Twister;

const SEEDS: u32 = 20;
const POLICY: HealthPolicy =
    HealthPolicy { default_period: Duration::from_secs(180), grace_periods: 3, unhealthy_threshold: 0.55 };

#[derive(Clone, Copy)]
enum Fate {
    Dies,
    FallsSick,
    IsCutOff,
    IsReconnected,
}

struct Scenario {
    name: &'static str,
    periods: Vec<u64>,
    events: Vec<(u64, Fate, Vec<usize>)>,
    until: u64,
    jitter: f64,
    /// The model's: right losses and wrong ones per seed, and seconds past 3 periods (median, max).
    model: (f64, f64, f64, f64),
}

struct Member {
    health: Health,
    period: f64,
    next: f64,
    last: u64,
    dead: bool,
    cut: bool,
    sick: bool,
}

#[derive(Default)]
struct Tally {
    right: u32,
    wrong: u32,
    /// Seconds past 3 periods; 0 for NotReady, as in the model.
    late: Vec<f64>,
}

/// Reads the model's clock of whole seconds as moments.
fn moments(until: u64) -> Vec<Moment> {
    let start: Instant = clock::now();
    let mut sight = Sight::new(start);
    sight.regain(start);
    (0..until).map(|second| sight.look(start + Duration::from_secs(second))).collect()
}

fn run(scenario: &Scenario, seed: u32, tally: &mut Tally) {
    let mut random = Twister::new(seed);
    let moments = moments(scenario.until);
    let mut fleet: Vec<Member> = scenario
        .periods
        .iter()
        .map(|period| {
            let seconds = i64::try_from(*period).expect("small");
            let report = Report { ready: AgentReady::True, declared_period_seconds: Some(seconds) };
            let health = Health::first_seen(moments[0], true, report, None, &POLICY);
            let period = f64::from(u32::try_from(*period).expect("small"));
            let next = random.uniform(0.0, period);
            Member { health, period, next, last: 0, dead: false, cut: false, sick: false }
        })
        .collect();
    let mut events = scenario.events.iter().peekable();
    for second in 0..scenario.until {
        while let Some((_, fate, which)) = events.next_if(|(at, ..)| *at <= second) {
            for member in which {
                let member = &mut fleet[*member];
                match fate {
                    Fate::Dies => member.dead = true,
                    Fate::FallsSick => member.sick = true,
                    Fate::IsCutOff => member.cut = true,
                    Fate::IsReconnected => member.cut = false,
                }
            }
        }
        let now = moments[usize::try_from(second).expect("small")];
        for member in &mut fleet {
            beat(member, second, now, scenario.jitter, &mut random);
        }
        judge(&mut fleet, second, now, tally);
    }
}

fn beat(member: &mut Member, second: u64, now: Moment, jitter: f64, random: &mut Twister) {
    let seconds = f64::from(u32::try_from(second).expect("small"));
    if seconds < member.next {
        return;
    }
    member.next = seconds + member.period * (1.0 + random.uniform(-jitter, jitter));
    if member.dead || member.cut {
        return;
    }
    member.last = second;
    #[allow(clippy::cast_possible_truncation, reason = "whole seconds")]
    let declared = Some(member.period as i64);
    let ready = if member.sick { AgentReady::False } else { AgentReady::True };
    let report = Report { ready, declared_period_seconds: declared };
    let health = &mut member.health;
    health.beat(now, report, &POLICY);
    // The model knows no Recovering: a beat makes a cluster well at once.
    while health.standing() == Verdict::Recovering {
        health.beat(now, report, &POLICY);
    }
}

fn judge(fleet: &mut [Member], second: u64, now: Moment, tally: &mut Tally) {
    let healths = fleet.iter().map(|member| &member.health);
    let braked = brake::assess(healths, now, &POLICY).is_some();
    for member in fleet {
        let health = &mut member.health;
        let before = health.standing();
        health.judge(now, now, braked, &POLICY);
        if health.standing() == before {
            continue;
        }
        match health.standing() {
            Verdict::Lost => {
                if member.dead {
                    tally.right += 1;
                } else {
                    tally.wrong += 1;
                }
                let age = f64::from(u32::try_from(second - member.last).expect("small"));
                tally.late.push(age - 3.0 * member.period);
            }
            Verdict::NotReady => {
                tally.right += 1;
                tally.late.push(0.0);
            }
            _ => {}
        }
    }
}

fn all(n: usize) -> Vec<usize> {
    (0..n).collect()
}

fn outage(n: usize, start: u64, length: u64) -> Vec<(u64, Fate, Vec<usize>)> {
    vec![(start, Fate::IsCutOff, all(n)), (start + length, Fate::IsReconnected, all(n))]
}

#[rustfmt::skip]
fn scenarios() -> Vec<Scenario> {
    use Fate::{Dies, FallsSick};
    let mixed = || [vec![15; 4], vec![180; 10]].concat();
    let row = |name, periods, events, until, jitter, model| Scenario { name, periods, events, until, jitter, model };
    let mut rows = vec![
        row("20 clusters P=10, 1 dies", vec![10; 20], vec![(100, Dies, vec![3])], 400, 0.1, (1.0, 0.0, 1.0, 1.0)),
        row("20 P=10, a region of 6 dies", vec![10; 20], vec![(100, Dies, all(6))], 400, 0.1, (6.0, 0.0, 1.0, 1.0)),
        row("20 P=10, 14 really die", vec![10; 20], vec![(100, Dies, all(14))], 1200, 0.1, (0.0, 0.0, 0.0, 0.0)),
        row("20 P=10, all cut for 120 s", vec![10; 20], outage(20, 100, 120), 500, 0.1, (0.0, 0.0, 0.0, 0.0)),
        row("20 P=10, 14 cut for 120 s", vec![10; 20], outage(14, 100, 120), 500, 0.1, (0.0, 0.0, 0.0, 0.0)),
        row("4 x 15 s + 10 x 180 s, the 4 fast die", mixed(), vec![(1000, Dies, all(4))], 4000, 0.1, (4.0, 0.0, 56.0, 110.0)),
        row("4 x 15 s + 10 x 180 s, 1 slow dies", mixed(), vec![(1000, Dies, vec![8])], 4000, 0.1, (1.0, 0.0, 1.0, 1.0)),
        row("20 P=10, 1 says NotReady", vec![10; 20], vec![(100, FallsSick, vec![3])], 400, 0.1, (1.0, 0.0, 0.0, 0.0)),
        row("20 P=10, a rollout makes 14 NotReady", vec![10; 20], vec![(100, FallsSick, all(14))], 1200, 0.1, (0.0, 0.0, 0.0, 0.0)),
        row("2 clusters P=60, 1 says NotReady", vec![60; 2], vec![(500, FallsSick, vec![0])], 1500, 0.1, (1.0, 0.0, 0.0, 0.0)),
        row("2 clusters P=180, 1 dies", vec![180; 2], vec![(1000, Dies, vec![0])], 4000, 0.1, (1.0, 0.0, 1.0, 99.0)),
        row("15 s and 180 s, the fast dies", vec![15, 180], vec![(1000, Dies, vec![0])], 4000, 0.1, (1.0, 0.0, 66.0, 150.0)),
        row("15 s and 180 s, both cut for 1000 s", vec![15, 180], outage(2, 1000, 1000), 5000, 0.1, (0.0, 0.0, 0.0, 0.0)),
        row("3 clusters P=30, 2 die", vec![30; 3], vec![(500, Dies, all(2))], 2000, 0.1, (2.0, 0.0, 1.0, 17.0)),
        row("100 P=180, 10 die at once", vec![180; 100], vec![(1000, Dies, all(10))], 4000, 0.1, (10.0, 0.0, 1.0, 1.0)),
        row("100 P=180, 60 cut for 900 s", vec![180; 100], outage(60, 1000, 900), 6000, 0.1, (0.0, 0.0, 0.0, 0.0)),
        row("100 P=180, 40 cut for 900 s: like deaths", vec![180; 100], outage(40, 1000, 900), 6000, 0.1, (0.0, 40.0, 1.0, 1.0)),
        row("300 P=60, jitter 40 %, 1 dies", vec![60; 300], vec![(600, Dies, vec![5])], 1500, 0.4, (1.0, 0.0, 1.0, 1.0)),
        row("40 P=20, 1 dies each minute, 20 in all", vec![20; 40],
            (0..20).map(|i| (300 + 60 * i, Dies, vec![usize::try_from(i).expect("small")])).collect(), 2500, 0.1, (20.0, 0.0, 1.0, 1.0)),
    ];
    for seconds in [200, 300, 420, 700, 1800] {
        rows.push(row("4 x 15 s + 10 x 180 s, all cut", mixed(), outage(14, 1000, seconds), 4000, 0.1, (0.0, 0.0, 0.0, 0.0)));
    }
    for seconds in [22, 33, 57, 77] {
        rows.push(row("30 P=20, jitter 30 %, all cut", vec![20; 30], outage(30, 1000, seconds), 2000, 0.3, (0.0, 0.0, 0.0, 0.0)));
    }
    rows
}

#[test]
fn the_brake_decides_as_the_reference_model() {
    for scenario in scenarios() {
        let mut tally = Tally::default();
        for seed in 0..SEEDS {
            run(&scenario, seed, &mut tally);
        }
        let (right, wrong, median, max) = scenario.model;
        let name = scenario.name;
        let mean = |count: u32| f64::from(count) / f64::from(SEEDS);
        assert!((mean(tally.right) - right).abs() < 0.05, "{name}: {} right, the model {right}", mean(tally.right));
        assert!((mean(tally.wrong) - wrong).abs() < 0.05, "{name}: {} wrong, the model {wrong}", mean(tally.wrong));
        tally.late.sort_by(f64::total_cmp);
        let found = tally.late.get(tally.late.len() / 2).copied().unwrap_or_default();
        assert!(found <= median, "{name}: median {found} s past 3 periods, the model {median} s");
        let found = tally.late.last().copied().unwrap_or_default();
        assert!(found <= max, "{name}: at most {found} s past 3 periods, the model {max} s");
    }
}
