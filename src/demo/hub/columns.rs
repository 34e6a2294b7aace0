//! The columns that `kubectl get` shows.

use jiff::Timestamp;
use serde_json::Value;

use super::object::meta;

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Whether it is shown by `-o wide` alone.
    pub(super) wide: bool,
    pub(super) show: fn(&Value, Timestamp) -> String,
}

const fn narrow(name: &'static str, show: fn(&Value, Timestamp) -> String) -> Column {
    Column { name, wide: false, show }
}

const fn wide(name: &'static str, show: fn(&Value, Timestamp) -> String) -> Column {
    Column { name, wide: true, show }
}

const NAME: Column = narrow("Name", |object, _| text(&object["metadata"]["name"]));
const AGE: Column = narrow("Age", |object, now| age(meta(object, "creationTimestamp"), now));
const PHASE: Column = narrow("Status", |object, _| phase(object));

pub(super) const OTHERS: &[Column] = &[NAME, AGE];
pub(super) const NAMESPACE: &[Column] = &[NAME, PHASE, AGE];
pub(super) const CONFIG_MAP: &[Column] =
    &[NAME, narrow("Data", |object, _| object["data"].as_object().map_or(0, |data| data.len()).to_string()), AGE];
pub(super) const LEASE: &[Column] = &[NAME, narrow("Holder", |object, _| text(&object["spec"]["holderIdentity"])), AGE];
pub(super) const WEBHOOK: &[Column] =
    &[NAME, narrow("Webhooks", |object, _| object["webhooks"].as_array().map_or(0, Vec::len).to_string()), AGE];
pub(super) const POD: &[Column] = &[NAME, PHASE, narrow("Node", |object, _| text(&object["spec"]["nodeName"])), AGE];
pub(super) const NODE: &[Column] = &[
    NAME,
    narrow("Status", |object, _| node_status(object)),
    narrow("Taints", |object, _| taints(object)),
    AGE,
    wide("CPU", |object, _| text(&object["status"]["allocatable"]["cpu"])),
    wide("Memory", |object, _| text(&object["status"]["allocatable"]["memory"])),
    wide("Pods", |object, _| text(&object["status"]["allocatable"]["pods"])),
    wide("Version", |object, _| text(&object["status"]["nodeInfo"]["kubeletVersion"])),
];
pub(super) const MANAGED_CLUSTER: &[Column] = &[
    NAME,
    narrow("Conditions", |object, _| conditions(object)),
    narrow("Taints", |object, _| taints(object)),
    narrow("Last Observed", |object, now| age(&text(&object["status"]["lastObservedTime"]), now)),
    AGE,
    wide("Cluster ID", |object, _| text(&object["spec"]["clusterId"])),
    wide("Sync Mode", |object, _| text(&object["spec"]["syncMode"])),
    wide("Kubernetes", |object, _| text(&object["status"]["k8sVersion"])),
];
pub(super) const SUBSCRIPTION: &[Column] = &[
    NAME,
    narrow("Strategy", |object, _| text(&object["spec"]["schedulingStrategy"])),
    narrow("Binding Clusters", |object, _| {
        let clusters = object["status"]["bindingClusters"].as_array().into_iter().flatten();
        joined(clusters.map(text))
    }),
    AGE,
];
pub(super) const EVENT: &[Column] = &[
    narrow("Last Seen", |object, now| {
        let times = [&object["series"]["lastObservedTime"], &object["lastTimestamp"], &object["eventTime"]];
        let last = times.into_iter().find_map(Value::as_str);
        age(last.unwrap_or(meta(object, "creationTimestamp")), now)
    }),
    narrow("Type", |object, _| text(&object["type"])),
    narrow("Reason", |object, _| text(&object["reason"])),
    narrow("Object", |object, _| {
        let about = if object["regarding"].is_object() { &object["regarding"] } else { &object["involvedObject"] };
        format!("{}/{}", text(&about["kind"]).to_lowercase(), text(&about["name"]))
    }),
    narrow("Message", |object, _| {
        let message = if object["note"].is_string() { &object["note"] } else { &object["message"] };
        text(message)
    }),
    Column { wide: true, ..NAME },
];

/// Text as it is, nothing as kubectl shows it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Null | Value::String(_) => "<none>".to_owned(),
        other => other.to_string(),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "<none>".to_owned() } else { parts.join(",") }
}

fn phase(object: &Value) -> String {
    let dying = !meta(object, "deletionTimestamp").is_empty();
    if dying { "Terminating".to_owned() } else { text(&object["status"]["phase"]) }
}

fn node_status(node: &Value) -> String {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready =
        conditions.find(|condition| condition["type"] == "Ready").map(|condition| condition["status"] == "True");
    let ready = ready.map_or("Unknown", |ready| if ready { "Ready" } else { "NotReady" });
    let cordoned = node["spec"]["unschedulable"] == true;
    if cordoned { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
}

/// `unschedulable=ClusterStatusUnknown:NoSchedule`: the keys without their domains, which are long.
fn taints(object: &Value) -> String {
    let taints = object["spec"]["taints"].as_array().into_iter().flatten();
    joined(taints.map(|taint| {
        let value = taint["value"].as_str().map(|value| format!("={value}")).unwrap_or_default();
        format!("{}{value}:{}", without_domain(&taint["key"]), text(&taint["effect"]))
    }))
}

/// `Ready=True,Alive=Unknown(Lost)`: of those that are not True, also the reason.
fn conditions(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    joined(conditions.map(|condition| {
        let reason = condition["reason"].as_str().filter(|_| condition["status"] != "True");
        let reason = reason.map(|reason| format!("({reason})")).unwrap_or_default();
        format!("{}={}{reason}", without_domain(&condition["type"]), text(&condition["status"]))
    }))
}

fn without_domain(name: &Value) -> String {
    text(name).rsplit('/').next().unwrap_or_default().to_owned()
}

/// The time since `stamp`, as kubectl says it.
fn age(stamp: &str, now: Timestamp) -> String {
    let Ok(then) = stamp.parse::<Timestamp>() else { return "<unknown>".to_owned() };
    let seconds = now.duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 == 0 => format!("{minutes}m"),
        120..600 => format!("{minutes}m{}s", seconds % 60),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 == 0 => format!("{hours}h"),
        10_800..28_800 => format!("{hours}h{}m", minutes % 60),
        28_800..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ages_are_said_as_kubectl_says_them() {
        let then: Timestamp = "2026-11-23T12:00:00Z".parse().expect("a time");
        for (seconds, expected) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
        ] {
            let now = then + jiff::SignedDuration::from_secs(seconds);
            assert_eq!(age("2026-11-23T12:00:00Z", now), expected);
        }
        assert_eq!(age("soon", then), "<unknown>");
    }

    #[test]
    fn a_lost_cluster_can_be_told_from_a_healthy_one() {
        let cluster = json!({
            "metadata": {"name": "eu-2"},
            "spec": {"taints": [{"key": "clusters.clusternet.io/unschedulable", "value": "ClusterStatusUnknown", "effect": "NoSchedule"},
                {"key": "gpu", "effect": "NoExecute"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "ManagedClusterReady"},
                {"type": "sheetanchor.dev/Alive", "status": "Unknown", "reason": "Lost"}]},
        });
        assert_eq!(taints(&cluster), "unschedulable=ClusterStatusUnknown:NoSchedule,gpu:NoExecute");
        assert_eq!(conditions(&cluster), "Ready=True,Alive=Unknown(Lost)");
        assert_eq!((taints(&json!({})), conditions(&json!({}))), ("<none>".to_owned(), "<none>".to_owned()));
    }

    #[test]
    fn a_node_is_ready_not_ready_or_cordoned() {
        let node = |status: &str, cordoned: bool| {
            json!({
                "spec": {"unschedulable": cordoned}, "status": {"conditions": [{"type": "Ready", "status": status}]},
            })
        };
        assert_eq!(node_status(&node("True", false)), "Ready");
        assert_eq!(node_status(&node("Unknown", true)), "NotReady,SchedulingDisabled");
        assert_eq!(node_status(&json!({})), "Unknown");
    }
}
