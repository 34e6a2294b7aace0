//! When the next beat is due, and how long one may take.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The share of a period by which beats come early or late, so that a fleet that was started at once
/// does not beat in step.
const JITTER: f64 = 0.1;
/// The share of a period after which a beat is given up: the next must find none in flight.
const LIMIT_SHARE: f64 = 0.8;
/// An answer that takes longer than this does not come; trying again may help.
const LONGEST: Duration = Duration::from_secs(15);
/// The first wait after a failure; doubled after each further one, and never past the next beat.
const FIRST_RETRY: Duration = Duration::from_secs(1);

const _: () = assert!(LIMIT_SHARE < 1.0 - JITTER);

/// How long a beat may take from its first probe to the hub's answer.
pub(super) fn limit(period: Duration) -> Duration {
    period.mul_f64(LIMIT_SHARE).min(LONGEST)
}

/// The period that is promised: in whole seconds, as its field has it, and not shorter than the real one.
pub(super) fn promised_seconds(period: Duration) -> u64 {
    period.as_secs() + u64::from(period.subsec_nanos() > 0)
}

/// Says when the next beat is due.
pub(super) struct Schedule {
    period: Duration,
    retries: ExponentialBackoff,
}

impl Schedule {
    pub(super) fn new(period: Duration) -> Self {
        Self { period, retries: retries(period) }
    }

    /// When the first is due.
    pub(super) fn first(&self, now: Instant) -> Instant {
        now + self.period.mul_f64(JITTER * fastrand::f64())
    }

    /// When the next is due after one that was begun at `started`, and whether that was `stored`.
    pub(super) fn next(&mut self, started: Instant, now: Instant, stored: bool) -> Instant {
        let regular = started + self.period.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64());
        if stored {
            self.retries = retries(self.period);
            return regular;
        }
        regular.min(now + self.retries.next().unwrap_or(self.period))
    }
}

fn retries(period: Duration) -> ExponentialBackoff {
    let builder = ExponentialBuilder::new().with_min_delay(FIRST_RETRY).with_max_delay(period.max(FIRST_RETRY));
    builder.with_jitter().without_max_times().build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn beats_come_a_tenth_early_or_late() {
        let start = clock::now();
        let mut schedule = Schedule::new(10 * SECOND);
        let waits: Vec<Duration> = (0..1000).map(|_| schedule.next(start, start + 3 * SECOND, true) - start).collect();
        assert!(waits.iter().all(|wait| (9 * SECOND..=11 * SECOND).contains(wait)));
        let (early, late) = (9 * SECOND + SECOND / 10, 11 * SECOND - SECOND / 10);
        assert!(waits.iter().any(|wait| *wait < early) && waits.iter().any(|wait| *wait > late));
        assert!((0..1000).all(|_| schedule.first(start) - start <= SECOND));
    }

    #[test]
    fn after_a_failure_it_tries_again_later_and_later_and_never_later_than_a_beat() {
        let start = clock::now();
        let mut schedule = Schedule::new(180 * SECOND);
        let waits: Vec<Duration> = (0..12).map(|_| schedule.next(start, start, false) - start).collect();
        for (wait, base) in waits.iter().zip([1, 2, 4, 8, 16, 32, 64]) {
            assert!((base * SECOND..=2 * base * SECOND).contains(wait), "{waits:?}");
        }
        assert!(waits.iter().all(|wait| *wait <= 198 * SECOND), "{waits:?}");
        schedule.next(start, start, true);
        assert!(schedule.next(start, start, false) - start <= 2 * SECOND);
        // One that took its whole time is not followed by less than the schedule.
        let mut schedule = Schedule::new(SECOND);
        let next = schedule.next(start, start + limit(SECOND), false);
        assert!(next - start <= SECOND + SECOND / 10, "{:?}", next - start);
    }

    #[test]
    fn a_beat_ends_before_the_next_is_due() {
        for (period, expected) in [(SECOND, 800), (10 * SECOND, 8000), (180 * SECOND, 15_000)] {
            assert_eq!(limit(period), Duration::from_millis(expected), "{period:?}");
        }
        for (millis, seconds) in [(1000, 1), (1001, 2), (1999, 2), (90_000, 90)] {
            assert_eq!(promised_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
