//! Paces the writes of one kind to one object.

use std::time::{Duration, Instant};

use super::action::Outcome;

/// The wait after the first failure; doubled with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Doublings after which it stays: 32 s.
const MOST_DOUBLINGS: u32 = 5;

/// Whether a write is new, or repeats one that somebody undid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    Again,
}

/// Remembers what was last written. `W` says what was wanted.
#[derive(Clone, Debug)]
pub(super) struct Pacer<W> {
    in_flight: Option<W>,
    stored: Option<(W, Instant)>,
    retry_at: Option<Instant>,
    failures: u32,
    refused: bool,
}

impl<W: PartialEq> Pacer<W> {
    pub(super) fn new() -> Self {
        Self { in_flight: None, stored: None, retry_at: None, failures: 0, refused: false }
    }

    /// Whether a write may go now. One that was stored before and is missing again was undone by
    /// somebody: answered at most once per `pace`, so that two programs that disagree do not race.
    pub(super) fn attempt(&self, wanted: &W, now: Instant, pace: Duration) -> Option<Attempt> {
        if self.in_flight.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        match &self.stored {
            Some((stored, at)) if stored == wanted => (now >= *at + pace).then_some(Attempt::Again),
            _ => Some(Attempt::First),
        }
    }

    /// What was stored last, and when.
    pub(super) fn stored(&self) -> Option<(&W, Instant)> {
        self.stored.as_ref().map(|(stored, at)| (stored, *at))
    }

    /// A write is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The last write was refused, so that there is little hope for the next.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    pub(super) fn sent(&mut self, wanted: W) {
        self.in_flight = Some(wanted);
    }

    pub(super) fn ended(&mut self, outcome: Outcome, now: Instant) {
        let wanted = self.in_flight.take();
        self.retry_at = None;
        self.refused = outcome == Outcome::Refused;
        match outcome {
            Outcome::Stored => {
                self.failures = 0;
                self.stored = wanted.map(|wanted| (wanted, now));
            }
            Outcome::Conflict => {}
            Outcome::Refused | Outcome::Failed => {
                self.retry_at = Some(now + FIRST_RETRY * 2u32.pow(self.failures.min(MOST_DOUBLINGS)));
                self.failures += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn an_undone_write_is_answered_once_per_pace() {
        let start = clock::now();
        let pace = Duration::from_secs(10);
        let mut pacer = Pacer::new();
        assert_eq!(pacer.attempt(&1, start, pace), Some(Attempt::First));
        pacer.sent(1);
        assert_eq!(pacer.attempt(&1, start, pace), None);
        pacer.ended(Outcome::Stored, start);
        let ms = Duration::from_millis;
        for (after, expected) in [(9_999, None), (10_000, Some(Attempt::Again)), (10_001, Some(Attempt::Again))] {
            assert_eq!(pacer.attempt(&1, start + ms(after), pace), expected, "{after} ms");
        }
        assert_eq!(pacer.attempt(&2, start, pace), Some(Attempt::First));
    }

    #[test]
    fn a_failed_write_waits_longer_each_time_and_a_conflict_does_not() {
        let start = clock::now();
        let mut pacer = Pacer::new();
        for seconds in [1, 2, 4, 8, 16, 32, 32] {
            pacer.sent(1);
            pacer.ended(Outcome::Failed, start);
            let wait = Duration::from_secs(seconds);
            assert_eq!(pacer.attempt(&1, start + wait - Duration::from_millis(1), wait), None, "{seconds}");
            assert_eq!(pacer.attempt(&1, start + wait, wait), Some(Attempt::First), "{seconds}");
        }
        pacer.sent(1);
        pacer.ended(Outcome::Conflict, start);
        assert_eq!(pacer.attempt(&1, start, Duration::ZERO), Some(Attempt::First));
    }
}
