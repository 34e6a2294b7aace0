//! Durations for people.

use std::time::Duration;

/// A duration for people: `0.4s`, `48s`, `1m30s`, `2h05m`.
pub fn short(span: Duration) -> String {
    let (whole, tenths) = (span.as_secs(), span.subsec_millis() / 100);
    match whole {
        0..10 if tenths > 0 => format!("{whole}.{tenths}s"),
        0..60 => format!("{whole}s"),
        60..3600 if whole.is_multiple_of(60) => format!("{}m", whole / 60),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (millis, expected) in [
            (0, "0s"),
            (400, "0.4s"),
            (3_000, "3s"),
            (9_999, "9.9s"),
            (10_999, "10s"),
            (48_000, "48s"),
            (60_000, "1m"),
            (90_000, "1m30s"),
            (3_599_000, "59m59s"),
            (3_600_000, "1h00m"),
            (7_500_000, "2h05m"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), expected, "{millis} ms");
        }
    }
}
