//! Member clusters and their agents' clocks.

use std::time::Duration;

use sheetanchor::domain::cluster::ClusterKey;

use crate::stage;

/// What an agent stamps its reports with.
#[derive(Debug)]
pub(crate) struct Clock {
    random: fastrand::Rng,
    /// Its error.
    offset_micros: i64,
    /// The chance that it jumps, at each report.
    jumps: f64,
    whole_seconds: bool,
    /// Every so many reports are stamped `null`.
    null_every: Option<u32>,
    reports: u32,
    last: i64,
}

/// The moment at which simulations start, in microseconds since 1970.
const EPOCH_MICROS: i64 = 1_795_428_000_000_000;
const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

impl Clock {
    /// A clock that may be wrong by a day. `whole_seconds`: as Clusternet's agent stamps.
    pub(crate) fn new(seed: u64, whole_seconds: bool, null_every: Option<u32>) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let right = random.f64() < 0.3;
        let offset_micros = if right { 0 } else { random.i64(-DAY_MICROS..=DAY_MICROS) };
        let jumps = if random.f64() < 0.3 { 0.3 } else { 0.0 };
        Self { random, offset_micros, jumps, whole_seconds, null_every, reports: 0, last: 0 }
    }

    /// The stamp of a report at `now`; never the same twice in a row.
    pub(crate) fn stamp(&mut self, now: Duration) -> Option<String> {
        self.reports += 1;
        if self.random.f64() < self.jumps {
            self.offset_micros = self.random.i64(-DAY_MICROS..=DAY_MICROS);
        }
        if self.null_every.is_some_and(|every| self.reports.is_multiple_of(every)) {
            return None;
        }
        let unit = if self.whole_seconds { 1_000_000 } else { 1 };
        let micros = EPOCH_MICROS + i64::try_from(now.as_micros()).expect("small") + self.offset_micros;
        let mut micros = micros / unit * unit;
        if micros == self.last {
            micros += unit;
        }
        self.last = micros;
        Some(jiff::Timestamp::from_microsecond(micros).expect("in range").to_string())
    }
}

/// A member cluster.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) key: ClusterKey,
    pub(crate) clock: Clock,
    /// What it declares.
    pub(crate) declared: Option<i64>,
    /// How often it really beats.
    pub(crate) period: Duration,
    pub(crate) jitter: f64,
    /// Dead, or cut off.
    pub(crate) silent: bool,
    /// Its agent says Ready=False.
    pub(crate) sick: bool,
}

impl Member {
    pub(crate) fn name(&self) -> &str {
        self.key.name()
    }

    /// The time to its next report.
    pub(crate) fn wait(&self, random: &mut fastrand::Rng) -> Duration {
        self.period.mul_f64(1.0 + self.jitter * (2.0 * random.f64() - 1.0))
    }

    pub(crate) fn key_of(i: usize) -> ClusterKey {
        stage::key(&format!("m{i:02}"))
    }
}
