//! Waiting for what a step must bring.

use std::time::Duration;

use tokio::time::sleep;

use crate::clock;
use crate::control::error_line::error_line;

/// The interval between two looks, and so the accuracy of the measured times.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A step that did not go as it must.
#[derive(Debug, thiserror::Error)]
#[error("expected {expected}; seen: {seen}")]
pub struct Failure {
    /// What the step must bring.
    pub expected: String,
    /// What there was instead, at the last look.
    pub seen: String,
}

impl Failure {
    /// Fails unless `so`.
    pub(super) fn unless(so: bool, expected: impl Into<String>, seen: impl FnOnce() -> String) -> Result<(), Self> {
        if so { Ok(()) } else { Err(Self { expected: expected.into(), seen: seen() }) }
    }
}

/// Looks until the look succeeds, but no longer than `patience`.
///
/// # Errors
/// What was expected, and why the last look failed.
pub(super) async fn until<T>(
    patience: Duration,
    expected: impl Into<String>,
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) -> Result<T, Failure> {
    let deadline = clock::now() + patience;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(error) if clock::now() > deadline => {
                let seen = format!("{}, after {} s", error_line(error.as_ref()), patience.as_secs());
                return Err(Failure { expected: expected.into(), seen });
            }
            Err(_) => sleep(LOOK_INTERVAL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    #[tokio::test(start_paused = true)]
    async fn a_look_is_repeated_until_it_succeeds_or_patience_ends() {
        let mut looks = 0;
        let found = until(Duration::from_secs(1), "three looks", async || {
            looks += 1;
            ensure!(looks == 3, "{looks} looks");
            Ok(looks)
        });
        assert_eq!(found.await.expect("comes"), 3);

        let found = until(Duration::from_secs(7), "a miracle", async || {
            ensure!(false, "nothing of the sort");
            Ok(())
        });
        let failure = found.await.expect_err("never comes");
        assert_eq!(failure.to_string(), "expected a miracle; seen: nothing of the sort, after 7 s");
    }
}
