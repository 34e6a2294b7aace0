//! Waiting for a state, never for a time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long a test waits for something that should happen soon: generous, because a loaded
/// machine is slow and a passing test never waits it out.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What one look returns: the value, or what was seen instead of it.
pub(crate) trait Look {
    /// What is being waited for.
    type Found;

    /// The value, or a description of what there was instead.
    fn found(self) -> Result<Self::Found, String>;
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".to_owned())
    }
}

impl<T, E: Display> Look for Result<T, E> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Looks every 50 ms until the value is there; after `timeout` panics with `what` was awaited
/// and what was seen last. A look may return an `Option`, or a `Result` whose error says more.
pub(crate) async fn eventually<L: Look>(what: &str, timeout: Duration, mut look: impl AsyncFnMut() -> L) -> L::Found {
    let deadline = Instant::now() + timeout;
    let mut seen = "nothing: the first look did not return".to_owned();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, look()).await.map(Look::found) {
            Ok(Ok(value)) => return value,
            Ok(Err(state)) => seen = state,
            Err(_) => {}
        }
        // Not left to the time limit above: a look that never has to wait never meets it.
        assert!(Instant::now() < deadline, "waited {timeout:?} for {what}; last seen: {seen}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
