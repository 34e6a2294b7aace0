//! The limits of the health rules.

use std::time::Duration;

/// A cluster cannot declare a period outside these bounds.
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);
const LONGEST_PERIOD: Duration = Duration::from_secs(3600);

/// The limits that verdicts are reached by.
#[derive(Clone, Copy, Debug)]
pub struct HealthPolicy {
    /// The period of a cluster that declares none.
    pub default_period: Duration,
    /// Periods of silence after which a cluster is Lost.
    pub grace_periods: u32,
    /// The share of a fleet that may fall silent before the brake suspects us instead, 0 to 1.
    pub unhealthy_threshold: f64,
}

impl HealthPolicy {
    pub(super) fn period(&self, declared_seconds: Option<i64>) -> Duration {
        match declared_seconds {
            Some(seconds) if seconds > 0 => {
                Duration::from_secs(seconds.unsigned_abs()).clamp(SHORTEST_PERIOD, LONGEST_PERIOD)
            }
            _ => self.default_period,
        }
    }
}
