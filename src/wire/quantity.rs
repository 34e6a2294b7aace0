//! Kubernetes quantities, such as `250m`, `64Gi`, `1e3`.

use serde_json::Value;

/// The number that a quantity stands for; `None` when it is none.
///
/// The suffixes are those of `k8s.io/apimachinery/pkg/api/resource`. A plain JSON number is taken as it is.
pub(super) fn parse(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => parse_text(text.trim()),
        _ => None,
    }
}

fn parse_text(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => f64::from(1 << 10),
        "Mi" => f64::from(1 << 20),
        "Gi" => f64::from(1 << 30),
        "Ti" => 2f64.powi(40),
        "Pi" => 2f64.powi(50),
        "Ei" => 2f64.powi(60),
        _ => return text.parse().ok().filter(|number: &f64| number.is_finite()),
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_kubernetes() {
        for (text, expected) in [
            ("250m", Some(0.25)),
            ("64", Some(64.0)),
            ("1.5", Some(1.5)),
            ("2Ki", Some(2048.0)),
            ("1Gi", Some(1_073_741_824.0)),
            ("3M", Some(3e6)),
            ("2E", Some(2e18)),
            ("1e3", Some(1000.0)),
            ("-5", Some(-5.0)),
            ("", None),
            ("m", None),
            ("12x", None),
            ("inf", None),
            ("NaN", None),
        ] {
            assert_eq!(parse(&Value::from(text)), expected, "{text:?}");
        }
        assert_eq!(parse(&Value::from(7)), Some(7.0));
        assert_eq!(parse(&Value::Null), None);
    }
}
