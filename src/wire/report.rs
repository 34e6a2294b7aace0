//! A heartbeat, as an agent writes it into its ManagedCluster.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::domain::cluster::{Condition, Resources};
use crate::domain::report::Probes;
use crate::domain::tally::Tally;

use super::managed_cluster::conditions_patch;

/// What one heartbeat says.
#[derive(Clone, Debug)]
pub struct Report {
    /// When the probes were answered, or given up.
    pub observed: Timestamp,
    /// The period that the agent promises to keep, in seconds.
    pub period_seconds: u64,
    /// What the API server said about itself.
    pub probes: Probes,
    /// Its version and its platform, when it said them.
    pub version: Option<(String, String)>,
    /// The sums over nodes and pods, once they are known.
    pub tally: Option<Tally>,
}

/// A merge patch for `/status` that fails unless the object is still at `resource_version`. What the
/// report does not know stays as it is stored; so does what it never says, and the spec.
pub fn report_patch(resource_version: &str, conditions: &[Condition], report: &Report) -> Value {
    let observed = report.observed.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let Probes { livez, readyz, healthz } = report.probes;
    let mut status = Map::new();
    let mut set = |field: &str, value: Value| status.insert(field.to_owned(), value);
    set("lastObservedTime", json!(observed));
    set("heartbeatFrequencySeconds", json!(report.period_seconds));
    set("livez", json!(livez));
    set("readyz", json!(readyz));
    set("healthz", json!(healthz));
    if let Some((version, platform)) = &report.version {
        set("k8sVersion", json!(version));
        set("platform", json!(platform));
    }
    if let Some(tally) = &report.tally {
        let nodes = tally.nodes;
        set("capacity", quantities(tally.capacity, ["cpu", "memory"]));
        set("allocatable", quantities(tally.allocatable, ["cpu", "memory"]));
        set("resourceUsage", quantities(tally.requested, ["cpuUsage", "memoryUsage"]));
        set(
            "nodeStatistics",
            json!({"readyNodes": nodes.ready, "notReadyNodes": nodes.not_ready,
                "unknownNodes": nodes.unknown, "lostNodes": nodes.lost}),
        );
    }
    let mut patch = conditions_patch(resource_version, conditions, &observed);
    status.insert("conditions".to_owned(), patch["status"]["conditions"].take());
    patch["status"] = status.into();
    patch
}

fn quantities(sum: Resources, [cpu, memory]: [&str; 2]) -> Value {
    json!({cpu: format!("{:.0}m", sum.cpu_millis), memory: format!("{:.0}", sum.memory_bytes)})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tally::NodeCounts;

    fn report() -> Report {
        Report {
            observed: "2026-11-23T10:00:00.1234567Z".parse().expect("a stamp"),
            period_seconds: 15,
            probes: Probes { livez: true, readyz: false, healthz: true },
            version: None,
            tally: None,
        }
    }

    #[test]
    fn a_report_says_what_it_knows_and_never_touches_the_spec() {
        let ready = json!({"type": "Ready", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-11-23T10:00:00.123456Z"});
        let theirs = json!({"type": "x/Fine", "status": "Unknown", "reason": "R", "message": "m", "lastTransitionTime": "t", "observedGeneration": 7});
        let condition = |value: &Value, since: Option<&str>, generation| Condition {
            kind: value["type"].as_str().unwrap_or_default().to_owned(),
            status: value["status"].as_str().unwrap_or_default().to_owned(),
            reason: "R".to_owned(),
            message: "m".to_owned(),
            last_transition_time: since.map(str::to_owned),
            observed_generation: generation,
        };
        let conditions = [condition(&theirs, Some("t"), Some(7)), condition(&ready, None, None)];
        let mut expected = json!({
            "metadata": {"resourceVersion": "7"},
            "status": {
                "lastObservedTime": "2026-11-23T10:00:00.123456Z", "heartbeatFrequencySeconds": 15,
                "livez": true, "readyz": false, "healthz": true, "conditions": [theirs, ready],
            },
        });
        assert_eq!(report_patch("7", &conditions, &report()), expected);

        let sum = |cpu_millis, memory_bytes| Resources { cpu_millis, memory_bytes };
        let tally = Tally {
            nodes: NodeCounts { ready: 3, not_ready: 2, unknown: 1, lost: 4 },
            capacity: sum(20_000_000.0, 11e15),
            allocatable: sum(19_999_999.6, 1.0),
            requested: sum(0.0, 0.0),
        };
        let version = Some(("v1.35.4".to_owned(), "linux/amd64".to_owned()));
        let status = &mut expected["status"];
        status["k8sVersion"] = json!("v1.35.4");
        status["platform"] = json!("linux/amd64");
        status["capacity"] = json!({"cpu": "20000000m", "memory": "11000000000000000"});
        status["allocatable"] = json!({"cpu": "20000000m", "memory": "1"});
        status["resourceUsage"] = json!({"cpuUsage": "0m", "memoryUsage": "0"});
        status["nodeStatistics"] = json!({"readyNodes": 3, "notReadyNodes": 2, "unknownNodes": 1, "lostNodes": 4});
        assert_eq!(report_patch("7", &conditions, &Report { version, tally: Some(tally), ..report() }), expected);
    }
}
