//! The clock that stands still while we cannot see.
//!
//! Heartbeats reach us through a watch. While that watch is broken, or this process was paused,
//! silence says nothing about the clusters: such *blind time* must age nobody (invariant
//! `blind_is_not_dead`). So every age is a difference of [`Moment`]s, and a [`Sight`] turns our
//! monotonic clock into moments, leaving the blind time out.
//!
//! An API server that hangs breaks no watch, and takes no heartbeat either. So silence counts only
//! up to its last *sign of life*: an event, or the answer to a question.

use std::time::{Duration, Instant};

/// A gap between two looks that is longer than this was a pause of our own.
pub const LONGEST_GAP: Duration = Duration::from_secs(2);
/// Two signs of life that lie further apart than this have a hang between them.
pub const LONGEST_SILENCE: Duration = Duration::from_millis(2_500);
/// An answer that took longer was held up by a hang.
pub const LONGEST_ANSWER: Duration = Duration::from_secs(1);

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

/// The last sign of life: when, and which moment that was.
#[derive(Clone, Copy, Debug)]
struct Sign {
    at: Instant,
    moment: Moment,
}

/// Turns instants of our monotonic clock into moments.
#[derive(Debug)]
pub struct Sight {
    looked: Instant,
    moment: Moment,
    /// When the last event came; a watch error takes us back to it, because the watch may have
    /// been dead ever since.
    heard: Moment,
    sign: Sign,
    /// The watch is broken.
    lost: bool,
}

impl Sight {
    /// Starts blind: nothing ages before the first list is complete.
    pub fn new(now: Instant) -> Self {
        let moment = Moment::default();
        Self { looked: now, moment, heard: moment, sign: Sign { at: now, moment }, lost: true }
    }

    /// The moment that `now` is. Must be called at least once per [`LONGEST_GAP`].
    pub fn look(&mut self, now: Instant) -> Moment {
        let gap = now.saturating_duration_since(self.looked);
        self.looked = now;
        if gap > LONGEST_GAP {
            // We stood still, and could not hear either.
            self.sign.at += gap;
        } else if !self.lost {
            self.moment = self.moment.plus(gap);
        }
        self.moment
    }

    /// An event came through the watch just now: so far we could see. Returns the moment that this is.
    pub fn hear(&mut self) -> Moment {
        self.note_sign(self.looked, self.moment);
        self.heard = self.moment;
        self.moment
    }

    /// The API server answered just now what it was asked at `asked`, which was this moment: then it
    /// lived. What came after ages nobody, if the answer took long.
    pub fn answered(&mut self, asked: Instant, moment: Moment) {
        if asked <= self.sign.at {
            return;
        }
        self.note_sign(asked, moment.min(self.moment));
        if self.looked.saturating_duration_since(asked) > LONGEST_ANSWER {
            self.moment = self.sign.moment;
            self.sign.at = self.looked;
        }
    }

    /// The watch broke: we have been blind since the last event.
    pub fn lose(&mut self) {
        self.moment = self.moment.min(self.heard);
        self.sign.moment = self.sign.moment.min(self.moment);
        self.lost = true;
    }

    /// A complete list arrived at `now`: we see again.
    pub fn regain(&mut self, now: Instant) {
        self.look(now);
        self.lost = false;
        self.sign = Sign { at: now, moment: self.moment };
        self.heard = self.moment;
    }

    /// Whether we cannot see: the watch is broken, or the API server gives no sign of life.
    pub fn is_blind(&self) -> bool {
        self.lost || self.since_sign() > LONGEST_SILENCE
    }

    /// How long ago the last sign of life was.
    pub fn since_sign(&self) -> Duration {
        self.looked.saturating_duration_since(self.sign.at)
    }

    /// The moment of the last sign of life: up to then silence says something.
    pub fn last_sign(&self) -> Moment {
        self.sign.moment
    }

    /// A sign of life. What was hidden between two that are far apart ages nobody.
    fn note_sign(&mut self, at: Instant, moment: Moment) {
        let before = self.sign;
        if at.saturating_duration_since(before.at) <= LONGEST_SILENCE {
            self.sign = Sign { at, moment };
        } else {
            self.moment = before.moment.plus(self.moment.since(moment));
            self.sign.at = at;
        }
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
    fn silence_counts_up_to_the_last_sign_of_life() {
        let (mut sight, start) = open();
        let asked = sight.look(start + ms(1_000));
        sight.look(start + ms(1_500));
        assert_eq!(sight.last_sign(), Moment::default());
        sight.answered(start + ms(1_000), asked);
        assert_eq!((sight.last_sign(), sight.look(start + ms(1_600))), (Moment(ms(1_000)), Moment(ms(1_600))));
        sight.hear();
        assert_eq!(sight.last_sign(), Moment(ms(1_600)));
    }

    #[test]
    fn a_hang_ages_nobody() {
        for (hang, counted) in [(2_499, 2_499), (2_500, 2_500), (2_501, 0), (60_000, 0)] {
            let (mut sight, start) = open();
            let mut at = ms(0);
            while at + ms(1_000) < ms(hang) {
                at += ms(1_000);
                sight.look(start + at);
                assert_eq!(sight.is_blind(), at > LONGEST_SILENCE);
            }
            let asked = sight.look(start + ms(hang));
            assert_eq!(sight.is_blind(), ms(hang) > LONGEST_SILENCE, "{hang} ms");
            sight.look(start + ms(hang + 10));
            sight.answered(start + ms(hang), asked);
            assert_eq!((sight.last_sign(), sight.is_blind()), (Moment(ms(counted)), false), "{hang} ms");
            assert_eq!(sight.look(start + ms(hang + 10)), Moment(ms(counted + 10)), "{hang} ms");
        }
    }

    #[test]
    fn what_passes_during_an_answer_that_takes_long_ages_nobody() {
        for (took, counted) in [(999, 999), (1_000, 1_000), (1_001, 0), (1_900, 0)] {
            let (mut sight, start) = open();
            let asked = sight.look(start + ms(1_000));
            sight.look(start + ms(1_000 + took));
            sight.answered(start + ms(1_000), asked);
            assert_eq!(sight.last_sign(), Moment(ms(1_000)), "{took} ms");
            assert_eq!(sight.look(start + ms(1_010 + took)), Moment(ms(1_010 + counted)), "{took} ms");
        }
    }

    #[test]
    fn an_answer_that_is_older_than_an_event_says_nothing_new() {
        let (mut sight, start) = open();
        let asked = sight.look(start + ms(1_000));
        sight.look(start + ms(1_500));
        sight.hear();
        sight.answered(start + ms(1_000), asked);
        assert_eq!(sight.last_sign(), Moment(ms(1_500)));
    }

    #[test]
    fn an_answer_that_comes_after_the_watch_broke_leaves_us_blind() {
        let (mut sight, start) = open();
        sight.look(start + ms(1_000));
        sight.hear();
        let asked = sight.look(start + ms(2_000));
        sight.lose();
        sight.answered(start + ms(2_000), asked);
        assert_eq!((sight.last_sign(), sight.is_blind()), (Moment(ms(1_000)), true));
    }

    #[test]
    fn an_instant_is_found_back_without_blind_time() {
        let (mut sight, start) = open();
        let seen = sight.look(start + ms(500));
        sight.look(start + ms(1_500));
        assert_eq!(sight.instant(seen), start + ms(500));
    }
}
