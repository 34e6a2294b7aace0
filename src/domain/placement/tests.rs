use std::slice;

use super::*;
use crate::domain::taint::{Fault, Operator, Taint, UNSCHEDULABLE_KEY};
use crate::domain::testing::{POLICY, at, mk_each, mk_ready, mk_returned, mk_silent, mk_taint, mk_toleration, mk_view};

const HOUR: u64 = 3_600_000;

fn steering(ms: u64, spares: SparePolicy, active_down: bool) -> Steering<'static> {
    Steering { now: at(ms), health: &POLICY, taint_key: UNSCHEDULABLE_KEY, spares, active_down }
}

fn reason(steering: &Steering<'_>, view: &ClusterView, tolerations: &[Toleration]) -> Option<String> {
    steering.rejection(view, tolerations).map(|rejection| rejection.to_string())
}

/// Every verdict, for a pod that tolerates nothing of ours. A verdict counts before its taint is written.
#[test]
fn a_verdict_rejects_with_its_facts() {
    let expected = [
        ("Ready", None),
        ("Late", None),
        ("Suspected", None),
        (
            "Suspected, NotReady before",
            Some(
                "Suspected: no heartbeat for 48s (limit 45s), not believed yet: the brake is on, or was less than 22s ago; it was NotReady before",
            ),
        ),
        ("Lost", Some("Lost: no heartbeat for 48s (limit 45s)")),
        ("NotReady", Some("NotReady: its agent reported Ready=False in 2 reports in a row (limit 2)")),
        ("NeverReported", Some("NeverReported: no heartbeat for 48s since we first saw it (limit 45s)")),
        ("Recovering", Some("Recovering: beats again: 0 of 2 on-time heartbeats needed")),
    ];
    let kinds =
        [None, None, None, Some("NotReady"), Some("Lost"), Some("NotReady"), Some("NeverReported"), Some("Recovering")];
    for (((name, health), (expected_name, text)), kind) in mk_each().into_iter().zip(expected).zip(kinds) {
        assert_eq!(name, expected_name);
        let now = if name.starts_with("Suspected,") { 63_000 } else { 48_000 };
        let rejection = steering(now, SparePolicy::Prefer, false).rejection(&mk_view("eu-2", health), &[]);
        let expected = text.map(|text| format!("cluster \"fleet/eu-2\" is {text}"));
        assert_eq!(rejection.as_ref().map(ToString::to_string), expected, "{name}");
        assert_eq!(rejection.map(|rejection| rejection.grounds.as_str()), kind, "{name}");
    }
}

/// Every verdict × every way to tolerate our taint × every policy, as an active cluster and as a spare.
#[test]
fn only_a_matching_toleration_opens_a_cluster_that_is_down() {
    use Operator::{Equal, Exists, Unknown};
    let key = UNSCHEDULABLE_KEY;
    let values = ["ClusterStatusUnknown", "ManagedClusterNotReady", "ClusterStatusNeverUpdated"];
    for (name, health) in mk_each() {
        let value = health.fault().map_or("", Fault::as_str);
        let other = values.into_iter().find(|other| *other != value).unwrap();
        for (how, toleration, opens) in [
            ("any taint", mk_toleration("", Exists, "", ""), true),
            ("our key", mk_toleration(key, Exists, "", ""), true),
            ("our key and effect", mk_toleration(key, Exists, "", "NoSchedule"), true),
            ("our value", mk_toleration(key, Equal, value, "NoSchedule"), true),
            ("another value", mk_toleration(key, Equal, other, ""), false),
            ("another effect", mk_toleration(key, Exists, "", "NoExecute"), false),
            ("another key", mk_toleration("node.kubernetes.io/unreachable", Exists, "", ""), false),
            ("an unknown operator", mk_toleration(key, Unknown, value, ""), false),
        ] {
            for spares in [SparePolicy::Prefer, SparePolicy::OnFailure, SparePolicy::Reserve] {
                for view in [mk_view("eu-2", health.clone()), mk_view("eu-2", health.clone()).spare()] {
                    let down = !health.schedulable();
                    let rejection = steering(48_000, spares, true).rejection(&view, slice::from_ref(&toleration));
                    assert_eq!(rejection.is_some(), down && !opens, "{name}, tolerating {how}, {spares:?}");
                }
            }
        }
    }
}

#[test]
fn a_taint_of_anyone_rejects_unless_tolerated() {
    use Operator::{Equal, Exists};
    let gpu = |effect| mk_taint("gpu", "a100", effect);
    let tolerates = [mk_toleration("gpu", Equal, "a100", "")];
    let other = [mk_toleration("gpu", Equal, "h100", ""), mk_toleration("cpu", Exists, "", "")];
    let person = mk_taint(UNSCHEDULABLE_KEY, "maintenance", "NoSchedule");
    let left = Fault::ClusterStatusUnknown.taint(UNSCHEDULABLE_KEY);
    let cases: [(&str, Taint, &[Toleration], Option<&str>); 8] = [
        ("NoSchedule", gpu("NoSchedule"), &[], Some("gpu=a100:NoSchedule")),
        ("NoExecute", gpu("NoExecute"), &other, Some("gpu=a100:NoExecute")),
        ("PreferNoSchedule", gpu("PreferNoSchedule"), &[], None),
        ("a word we do not know", gpu("Whatever"), &[], None),
        ("tolerated", gpu("NoSchedule"), &tolerates, None),
        ("tolerated, NoExecute", gpu("NoExecute"), &tolerates, None),
        ("a person's, our key", person, &[], Some("clusters.clusternet.io/unschedulable=maintenance:NoSchedule")),
        (
            "ours, to be removed",
            left,
            &[],
            Some("clusters.clusternet.io/unschedulable=ClusterStatusUnknown:NoSchedule"),
        ),
    ];
    for (name, taint, tolerations, expected) in cases {
        let view = mk_view("eu-2", mk_ready()).tainted(taint);
        let rejection = steering(0, SparePolicy::Prefer, false).rejection(&view, tolerations);
        let text =
            expected.map(|taint| format!("cluster \"fleet/eu-2\" has taint {taint}, which the pod does not tolerate"));
        assert_eq!(rejection.as_ref().map(ToString::to_string), text, "{name}");
        assert!(rejection.is_none_or(|rejection| rejection.grounds == Grounds::Taint), "{name}");
    }
}

/// Lost and tainted by somebody else: tolerating one of the two is not enough.
#[test]
fn every_reason_must_be_tolerated() {
    let view = mk_view("eu-2", mk_silent(false)).tainted(mk_taint("gpu", "a100", "NoSchedule"));
    let prefer = steering(48_000, SparePolicy::Prefer, false);
    let (ours, gpu) =
        (mk_toleration(UNSCHEDULABLE_KEY, Operator::Exists, "", ""), mk_toleration("gpu", Operator::Exists, "", ""));
    let grounds = |tolerations: &[Toleration]| prefer.rejection(&view, tolerations).map(|rejection| rejection.grounds);
    assert_eq!(grounds(&[]), Some(Grounds::Verdict(Verdict::Lost)));
    assert_eq!(grounds(slice::from_ref(&gpu)), Some(Grounds::Verdict(Verdict::Lost)));
    assert_eq!(grounds(slice::from_ref(&ours)), Some(Grounds::Taint));
    assert_eq!(grounds(&[ours, gpu]), None);
}

/// Policy × role × whether an active cluster is down: held back, or the points for the rank.
#[test]
fn spares_are_used_as_the_policy_says() {
    use SparePolicy::{OnFailure, Prefer, Reserve};
    for (policy, down, active, spare) in [
        (Prefer, false, Some(0), Some(6)),
        (Prefer, true, Some(0), Some(6)),
        (OnFailure, false, Some(6), Some(0)),
        (OnFailure, true, Some(0), Some(6)),
        (Reserve, false, Some(0), None),
        (Reserve, true, Some(0), Some(6)),
    ] {
        let steering = steering(30_000, policy, down);
        // Late, and its resources unknown: no points but those of its rank.
        let mut late = mk_ready();
        late.judge(at(30_000), at(30_000), false, &POLICY);
        for (role, view, expected) in
            [("active", mk_view("eu-2", late.clone()), active), ("spare", mk_view("eu-2", late).spare(), spare)]
        {
            let rejection = reason(&steering, &view, &[]);
            let score = rejection.is_none().then(|| steering.score(&view));
            assert_eq!(score, expected, "{policy:?}, active down: {down}, {role}: {rejection:?}");
        }
    }
    let held = reason(&steering(0, Reserve, false), &mk_view("eu-2", mk_ready()).spare(), &[]);
    let text = "cluster \"fleet/eu-2\" is a spare held in reserve: every active cluster is schedulable";
    assert_eq!(held.as_deref(), Some(text));
}

#[test]
fn headroom_is_that_of_the_tighter_resource() {
    let all = [0.0, 1000.0];
    let used = |n: f64| [n, 1000.0];
    for (name, cpu, memory, points) in [
        ("nothing used", used(0.0), used(0.0), 2),
        ("half free", used(500.0), used(0.0), 2),
        ("a little less than half", used(500.1), used(0.0), 1),
        ("memory is tighter", used(0.0), used(500.1), 1),
        ("a fifth free", used(800.0), used(800.0), 1),
        ("a little less than a fifth", used(800.1), used(0.0), 0),
        ("more used than there is", used(1500.0), used(0.0), 0),
        ("nothing there", [0.0, 0.0], all, 0),
    ] {
        // Late and active: no other points.
        let view = mk_view("eu-2", mk_each().swap_remove(1).1).using(cpu, memory);
        assert_eq!(steering(30_000, SparePolicy::Prefer, false).score(&view), points, "{name}");
    }
    let unknown = mk_view("eu-2", mk_each().swap_remove(1).1);
    assert_eq!(steering(30_000, SparePolicy::Prefer, false).score(&unknown), 0);
}

#[test]
fn steadiness_forgets_a_loss_in_two_steps() {
    let lost_at = 48_000;
    for (name, now, points) in [
        ("just returned", 80_000, 0),
        ("an hour − 1 ms", lost_at + HOUR - 1, 0),
        ("an hour", lost_at + HOUR, 0),
        ("an hour + 1 ms", lost_at + HOUR + 1, 1),
        ("a day − 1 ms", lost_at + 24 * HOUR - 1, 1),
        ("a day", lost_at + 24 * HOUR, 1),
        ("a day + 1 ms", lost_at + 24 * HOUR + 1, 2),
    ] {
        let score = steering(now, SparePolicy::Prefer, false).score(&mk_view("eu-2", mk_returned()));
        assert_eq!(score, points, "{name}");
    }
    for (name, health) in mk_each() {
        let score = steering(48_000, SparePolicy::Prefer, false).score(&mk_view("eu-2", health));
        assert_eq!(score, if name == "Ready" { 2 } else { 0 }, "{name}");
    }
}

/// The shipped weight makes the extender decide, so a worn spare must still beat the best active one.
#[test]
fn any_spare_outranks_any_active_cluster() {
    let prefer = steering(30_000, SparePolicy::Prefer, false);
    let worn = mk_view("eu-2", mk_each().swap_remove(1).1).spare().using([999.0, 1000.0], [0.0, 1.0]);
    let best = mk_view("eu-2", mk_ready()).using([0.0, 1000.0], [0.0, 1.0]);
    assert_eq!((prefer.score(&worn), prefer.score(&best)), (6, 4));
    assert_eq!(prefer.score(&best.spare()), MAX_SCORE);
}

#[test]
fn a_vanished_cluster_says_how_to_go_on() {
    let rejection = Rejection::vanished("fleet/eu-9");
    assert_eq!(rejection.grounds, Grounds::Vanished);
    assert_eq!(
        rejection.to_string(),
        "cluster \"fleet/eu-9\" is gone or cannot be read, and its node still bears our taint: remove that taint only if it is to be used without a cluster"
    );
}
