//! The clock that stands still while we cannot see.
//!
//! Heartbeats reach us through a watch. While that watch is broken, or this process was paused,
//! silence says nothing about the clusters: such *blind time* must age nobody (invariant
//! `blind_is_not_dead`). So every age is a difference of [`Moment`]s, and a [`Sight`] turns our
//! monotonic clock into moments, leaving the blind time out.

use std::time::{Duration, Instant};

/// A gap between two looks that is longer than this was a pause of our own.
pub const LONGEST_GAP: Duration = Duration::from_secs(2);

/// How long we had been watching, with open eyes, when something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The time watched between `earlier` and this moment, zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment and `span` more.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// Turns instants of our monotonic clock into moments.
#[derive(Debug)]
pub struct Sight {
    looked: Instant,
    moment: Moment,
    /// When the last event came; a watch error takes us back to it, because the watch may have
    /// been dead ever since.
    heard: Moment,
    blind: bool,
}

impl Sight {
    /// Starts blind: nothing ages before the first list is complete.
    pub fn new(now: Instant) -> Self {
        Self { looked: now, moment: Moment::default(), heard: Moment::default(), blind: true }
    }

    /// The moment that `now` is. Must be called at least once per [`LONGEST_GAP`].
    pub fn look(&mut self, now: Instant) -> Moment {
        let gap = now.saturating_duration_since(self.looked);
        self.looked = now;
        if !self.blind && gap <= LONGEST_GAP {
            self.moment = self.moment.plus(gap);
        }
        self.moment
    }

    /// An event came through the watch: up to now we could see.
    pub fn hear(&mut self) {
        self.heard = self.moment;
    }

    /// The watch broke: we have been blind since the last event.
    pub fn lose(&mut self) {
        self.moment = self.moment.min(self.heard);
        self.blind = true;
    }

    /// A complete list arrived at `now`: we see again.
    pub fn regain(&mut self, now: Instant) {
        self.look(now);
        self.blind = false;
        self.hear();
    }

    /// Whether we are blind.
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// The instant at which `moment` would have been, were there no blind time since.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.looked.checked_sub(self.moment.since(moment)).unwrap_or(self.looked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A sight that has just regained, and the instant at which it did.
    fn open() -> (Sight, Instant) {
        let start = clock::now();
        let mut sight = Sight::new(start);
        sight.regain(start);
        (sight, start)
    }

    #[test]
    fn nothing_ages_before_the_first_list() {
        let start = clock::now();
        let mut sight = Sight::new(start);
        assert_eq!(sight.look(start + ms(1_000)), Moment::default());
    }

    #[test]
    fn pauses_longer_than_two_seconds_do_not_count() {
        for (gap, counted) in [(1_999, 1_999), (2_000, 2_000), (2_001, 0), (60_000, 0)] {
            let (mut sight, start) = open();
            assert_eq!(sight.look(start + ms(gap)).since(Moment::default()), ms(counted), "{gap} ms");
        }
    }

    #[test]
    fn a_broken_watch_takes_us_back_to_the_last_event() {
        let (mut sight, start) = open();
        sight.look(start + ms(1_000));
        sight.hear();
        sight.look(start + ms(2_500));
        sight.lose();
        assert_eq!(sight.look(start + ms(3_000)), Moment(ms(1_000)));
        sight.regain(start + ms(4_000));
        assert_eq!(sight.look(start + ms(4_500)), Moment(ms(1_500)));
    }

    #[test]
    fn a_pause_inside_a_break_is_subtracted_once() {
        let (mut sight, start) = open();
        sight.look(start + ms(1_000));
        sight.hear();
        sight.look(start + ms(61_000));
        sight.lose();
        sight.regain(start + ms(62_000));
        assert_eq!(sight.look(start + ms(62_100)), Moment(ms(1_100)));
    }

    #[test]
    fn an_instant_is_found_back_without_blind_time() {
        let (mut sight, start) = open();
        let seen = sight.look(start + ms(500));
        sight.look(start + ms(1_500));
        assert_eq!(sight.instant(seen), start + ms(500));
    }
}
