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

/// What runs on a lost cluster is moved. It is known, so that a manifest may say that it is off; what
/// it would turn on is not part of this version.
const FAIL_OVER: Gate = Gate { name: "FailOver", stage: "ALPHA", default: false, locked: true };
/// The guard's rule *Sticky*: the scheduler does not swap one healthy cluster for another.
const STICKY_BINDINGS: Gate = Gate { name: "StickyBindings", stage: "ALPHA", default: false, locked: false };
/// All gates.
const GATES: [Gate; 2] = [FAIL_OVER, STICKY_BINDINGS];

/// The gates that a command line sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureGates(BTreeMap<&'static str, bool>);

impl FeatureGates {
    /// Every gate and its setting, as `Name=true|false`, for the log.
    pub fn settings(&self) -> String {
        GATES.iter().map(|gate| format!("{}={}", gate.name, self.is_on(gate))).collect::<Vec<_>>().join(",")
    }

    /// Whether what runs on a lost cluster is moved.
    pub fn fail_over(&self) -> bool {
        self.is_on(&FAIL_OVER)
    }

    /// Whether the guard has the rule *Sticky*.
    pub fn sticky_bindings(&self) -> bool {
        self.is_on(&STICKY_BINDINGS)
    }

    fn is_on(&self, gate: &Gate) -> bool {
        self.0.get(gate.name).copied().unwrap_or(gate.default)
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
            ("", Ok("FailOver=false,StickyBindings=false")),
            ("FailOver=false", Ok("FailOver=false,StickyBindings=false")),
            (" FailOver=false, ,StickyBindings=true", Ok("FailOver=false,StickyBindings=true")),
            ("StickyBindings=true,StickyBindings=false", Ok("FailOver=false,StickyBindings=false")),
            ("FailOver=true", Err("locked to false")),
            ("FailOver", Err("allowed: true, false")),
            ("FailOver=1", Err("allowed: true, false")),
            (
                "Sticky=true",
                Err("unknown feature gate \"Sticky\"; allowed: FailOver=true|false (ALPHA, default false), \
                     StickyBindings=true|false (ALPHA, default false)"),
            ),
        ] {
            match (parse(text), expected) {
                (Ok(gates), Ok(settings)) => {
                    assert_eq!(gates.settings(), settings, "{text}");
                    let each = format!("FailOver={},StickyBindings={}", gates.fail_over(), gates.sticky_bindings());
                    assert_eq!(each, settings, "{text}");
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}
