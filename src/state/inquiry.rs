//! The questions that the API server is asked for a sign of life.

use std::time::{Duration, Instant};

use crate::domain::sight::Moment;

/// A question without an answer is given up after this, and asked again.
const LIMIT: Duration = Duration::from_secs(2);

/// At most one question is open.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    open: Option<(Instant, Moment)>,
    asked: u64,
}

impl Inquiry {
    /// Whether a question is open at `now`.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.open.is_some_and(|(at, _)| now < at + LIMIT)
    }

    /// Asks at `now`, which is this moment. Returns the number of the question.
    pub(super) fn ask(&mut self, now: Instant, moment: Moment) -> u64 {
        self.open = Some((now, moment));
        self.asked += 1;
        self.asked
    }

    /// The question of this number was answered. Returns when it was asked, unless it was given up.
    pub(super) fn answered(&mut self, number: u64) -> Option<(Instant, Moment)> {
        self.open.take_if(|_| self.asked == number)
    }
}
