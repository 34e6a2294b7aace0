//! The feature gates: one table, with Kubernetes' words and syntax.

use std::collections::BTreeMap;

/// One gate.
struct Gate {
    name: &'static str,
    stage: &'static str,
    default: bool,
    /// It cannot be set to anything but its default in this version.
    locked: bool,
}

/// All gates. `FailOver` is known, so that a manifest may say that it is off; what it would turn on
/// is not part of this version.
const GATES: [Gate; 1] = [Gate { name: "FailOver", stage: "ALPHA", default: false, locked: true }];

/// The gates that a command line sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureGates(BTreeMap<&'static str, bool>);

impl FeatureGates {
    /// Every gate and its setting, as `Name=true|false`, for the log.
    pub fn settings(&self) -> String {
        let setting = |gate: &Gate| self.0.get(gate.name).copied().unwrap_or(gate.default);
        GATES.iter().map(|gate| format!("{}={}", gate.name, setting(gate))).collect::<Vec<_>>().join(",")
    }
}

/// Reads `Name=true,Other=false`.
///
/// # Errors
/// One line that names the gate and what is allowed.
pub(super) fn parse(text: &str) -> Result<FeatureGates, String> {
    let mut gates = FeatureGates::default();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(gate) = GATES.iter().find(|gate| gate.name == name) else {
            let known =
                GATES.map(|gate| format!("{}=true|false ({}, default {})", gate.name, gate.stage, gate.default));
            return Err(format!("unknown feature gate {name:?}; allowed: {}", known.join(", ")));
        };
        let Ok(value) = value.parse::<bool>() else {
            return Err(format!("feature gate {name} is set to {value:?}; allowed: true, false"));
        };
        if gate.locked && value != gate.default {
            return Err(format!("feature gate {name} is locked to {} in this version", gate.default));
        }
        gates.0.insert(gate.name, value);
    }
    Ok(gates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("", Ok("FailOver=false")),
            ("FailOver=false", Ok("FailOver=false")),
            (" FailOver=false, ", Ok("FailOver=false")),
            ("FailOver=true", Err("locked to false")),
            ("FailOver", Err("allowed: true, false")),
            ("FailOver=1", Err("allowed: true, false")),
            (
                "Sticky=true",
                Err("unknown feature gate \"Sticky\"; allowed: FailOver=true|false (ALPHA, default false)"),
            ),
        ] {
            match (parse(text), expected) {
                (Ok(gates), Ok(settings)) => assert_eq!(gates.settings(), settings, "{text}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}
