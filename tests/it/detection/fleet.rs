//! The limit at ten thousand clusters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sheetanchor::domain::health::Verdict;
use sheetanchor::domain::taint::Fault;
use sheetanchor::state::action::{Action, Topic, Write};

use crate::stage::{Stage, ms, s};

const CLUSTERS: u64 = 10_000;
const KILLED: usize = 300;
const PERIOD: u64 = 15;

#[test]
fn among_ten_thousand_every_death_is_seen_within_100_ms() {
    let mut random = fastrand::Rng::with_seed(20_261_123);
    let mut stage = Stage::new();
    let names: Vec<String> = (0..CLUSTERS).map(|i| format!("c{i:04}")).collect();
    for name in &names {
        stage.register(name, Some("first"), Some(i64::try_from(PERIOD).expect("small")));
    }
    stage.open();
    stage.tick = s(1);
    // Beats are spread over the period; the killed beat in the first two.
    let mut killed: Vec<usize> = (0..names.len()).collect();
    random.shuffle(&mut killed);
    let killed: BTreeSet<usize> = killed.into_iter().take(KILLED).collect();
    let mut last = BTreeMap::new();
    let spread = s(PERIOD).as_micros() / u128::from(CLUSTERS);
    'beats: for round in 0.. {
        for (i, name) in names.iter().enumerate() {
            let phase = Duration::from_micros(u64::try_from(spread).expect("small") * u64::try_from(i).expect("small"));
            let at = s(PERIOD) * round + phase;
            // The first deaths are due 4 periods from the start; before that a look per second will do.
            if at > s(PERIOD) * 5 - s(1) {
                break 'beats;
            }
            if at >= s(PERIOD) * 4 - s(1) {
                stage.tick = ms(50);
            }
            stage.pass_to(at);
            if round < 2 || !killed.contains(&i) {
                stage.beat(name);
                last.insert(name.as_str(), stage.at());
            }
        }
    }
    let mut seen = 0;
    for (at, action) in &stage.log {
        match action {
            Action::Write(Write::Taints { key, fault, .. }) => {
                let limit = last[key.name()] + s(PERIOD * 3);
                assert_eq!(*fault, Some(Fault::ClusterStatusUnknown));
                assert!(*at > limit && *at <= limit + ms(100), "{key} tainted at {at:?}, limit {limit:?}");
                assert_eq!(stage.told(key.name(), Verdict::Lost), Some(*at));
                seen += 1;
            }
            Action::Tell(notice) => assert_ne!(notice.topic, Topic::BrakeOn, "{}", notice.text),
            Action::Write(_) | Action::Ask(..) => {}
        }
    }
    let due = last.values().filter(|beat| **beat + s(PERIOD * 3) + ms(100) < stage.at()).count();
    assert!(due > KILLED / 2 && seen >= due, "{seen} deaths seen, {due} due by {:?}", stage.at());
}
