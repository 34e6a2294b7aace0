//! What an agent says about the health of its cluster.

use super::cluster::Condition;

/// How the API server of a member cluster answered its probes: whether with 200.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// `/livez`.
    pub livez: bool,
    /// `/readyz`.
    pub readyz: bool,
    /// `/healthz`, the only one that API servers older than 1.16 know.
    pub healthz: bool,
}

impl Probes {
    /// Whether the cluster is ready, by the rule of Clusternet's agent.
    pub fn ready(self) -> bool {
        (self.livez && self.readyz) || self.healthz
    }
}

/// `stored`, with the condition `Ready` as the agent sees it. Those of others stay as they are and
/// where they are. Without a transition time (its writer stamps it) unless the status is the stored one.
pub fn conditions(stored: &[Condition], ready: bool) -> Vec<Condition> {
    let (status, reason, message) = match ready {
        true => ("True", "ManagedClusterReady", "managed cluster is ready."),
        false => ("False", "ManagedClusterNotReady", "managed cluster is not ready."),
    };
    let known = stored.iter().find(|condition| condition.kind == "Ready");
    let unchanged = known.filter(|condition| condition.status == status);
    let ours = Condition {
        kind: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: unchanged.and_then(|condition| condition.last_transition_time.clone()),
        observed_generation: None,
    };
    let mut conditions = stored.to_vec();
    match conditions.iter_mut().find(|condition| condition.kind == "Ready") {
        Some(condition) => *condition = ours,
        None => conditions.push(ours),
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_clusternets_rule() {
        for (livez, readyz, healthz, ready) in [
            (true, true, true, true),
            (true, true, false, true),
            (true, false, true, true),
            (false, false, true, true),
            (true, false, false, false),
            (false, true, false, false),
            (false, false, false, false),
        ] {
            assert_eq!(Probes { livez, readyz, healthz }.ready(), ready, "{livez} {readyz} {healthz}");
        }
    }

    fn condition(kind: &str, status: &str, since: Option<&str>) -> Condition {
        Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: "Theirs".to_owned(),
            message: "two\nlines".to_owned(),
            last_transition_time: since.map(str::to_owned),
            observed_generation: Some(7),
        }
    }

    #[test]
    fn the_transition_time_changes_with_the_status_alone() {
        for (stored, ready, since) in [
            (None, true, None),
            (Some("True"), true, Some("then")),
            (Some("True"), false, None),
            (Some("False"), false, Some("then")),
            (Some("False"), true, None),
            // Clusternet's controller says so of a cluster that was silent for long.
            (Some("Unknown"), true, None),
            (Some("Unknown"), false, None),
        ] {
            let stored: Vec<Condition> =
                stored.into_iter().map(|status| condition("Ready", status, Some("then"))).collect();
            let [ours] = &conditions(&stored, ready)[..] else { panic!("one condition") };
            assert_eq!(ours.last_transition_time.as_deref(), since, "{stored:?} {ready}");
            assert_eq!(ours.status, if ready { "True" } else { "False" });
            assert_eq!((ours.reason != "Theirs", ours.observed_generation), (true, None));
        }
    }

    #[test]
    fn foreign_conditions_are_kept_as_and_where_they_are() {
        let (first, last) = (condition("a/Ready", "False", Some("t")), condition("ready", "Unknown", None));
        let stored = [first.clone(), condition("Ready", "False", Some("t")), last.clone()];
        let written = conditions(&stored, true);
        assert_eq!((&written[0], written[1].kind.as_str(), &written[2]), (&first, "Ready", &last));
        assert_eq!(written.len(), 3);
        let written = conditions(&[first.clone(), last.clone()], true);
        assert_eq!((&written[..2], written.len()), (&[first, last][..], 3));
    }
}
