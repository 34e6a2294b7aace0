//! The only place that reads a clock.
//!
//! Everything else takes time as an argument, so that a test can be an hour long in a millisecond.

use std::time::Instant;

/// Our monotonic clock. Tokio's, so that its paused test clock moves it.
#[allow(clippy::disallowed_methods, reason = "the one reader of the monotonic clock")]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall clock, for stamps that people read. Nothing is decided on it, but whether our own certificate is
/// in its time: that is a matter between our callers' clocks and its dates.
#[allow(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
