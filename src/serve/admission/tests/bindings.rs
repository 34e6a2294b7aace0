//! Pods' bindings.

use super::*;

const LOST: &str = "cluster \"fleet/eu-2\" is Lost: no heartbeat for 48s (limit 45s)";

fn fleet(health: Health) -> Snapshot {
    snapshot(vec![mk_view("eu-2", health)])
}

fn stamped(role: &str) -> Value {
    json!({ "sheetanchor.dev/cluster": "fleet/eu-2", "sheetanchor.dev/role": role })
}

#[test]
fn a_binding_is_marked_with_its_cluster_and_role() {
    let mut legacy = read(POD_BINDING);
    legacy["request"]["resource"]["resource"] = json!("bindings");
    legacy["request"]["subResource"] = json!("");
    let spare = snapshot(vec![mk_view("eu-2", mk_ready()).spare()]);
    for (name, review, snapshot, role) in [
        ("captured", read(POD_BINDING), fleet(mk_ready()), "active"),
        ("legacy resource", legacy, fleet(mk_ready()), "active"),
        ("to a spare", read(POD_BINDING), spare, "spare"),
    ] {
        let made = send(&review, &snapshot, STRICT);
        let mut expected = review["request"]["object"].clone();
        expected["metadata"]["annotations"] = stamped(role);
        assert_eq!(made.object, expected, "{name}");
        assert_eq!(made.response["allowed"], true, "{name}");
        assert_eq!(made.outcome, AdmissionOutcome::Stamped, "{name}");
    }
}

#[test]
fn whatever_metadata_there_is_stays() {
    let foreign = |mut stamps: Value| {
        stamps["example.com/x~y"] = json!("z");
        stamps
    };
    for (name, metadata, expected, outcome) in [
        ("none", Value::Null, json!({ "annotations": stamped("active") }), AdmissionOutcome::Stamped),
        (
            "null annotations",
            json!({ "annotations": null }),
            json!({ "annotations": stamped("active") }),
            AdmissionOutcome::Stamped,
        ),
        ("empty", json!({}), json!({ "annotations": stamped("active") }), AdmissionOutcome::Stamped),
        (
            "foreign",
            json!({ "annotations": foreign(json!({})) }),
            json!({ "annotations": foreign(stamped("active")) }),
            AdmissionOutcome::Stamped,
        ),
        (
            "another's word",
            json!({ "annotations": stamped("spare") }),
            json!({ "annotations": stamped("active") }),
            AdmissionOutcome::Stamped,
        ),
        (
            "right already",
            json!({ "annotations": stamped("active") }),
            json!({ "annotations": stamped("active") }),
            AdmissionOutcome::AlreadyStamped,
        ),
    ] {
        let mut review = read(POD_BINDING);
        review["request"]["object"]["metadata"] = metadata;
        let made = send(&review, &fleet(mk_ready()), STRICT);
        assert_eq!(made.object["metadata"], expected, "{name}");
        assert_eq!(made.outcome, outcome, "{name}");
        assert_eq!(made.response.get("patch").is_none(), outcome == AdmissionOutcome::AlreadyStamped, "{name}");
    }
    let mut review = read(POD_BINDING);
    review["request"]["object"].as_object_mut().unwrap().remove("metadata");
    assert_eq!(send(&review, &fleet(mk_ready()), STRICT).object["metadata"]["annotations"], stamped("active"));
}

#[test]
fn a_binding_to_a_cluster_just_lost_is_denied() {
    let made = send(&read(POD_BINDING), &fleet(mk_silent(false)), STRICT);
    assert_eq!(made.outcome, AdmissionOutcome::Denied);
    let status = json!({ "code": 409, "message": format!("{LOST}; the scheduler will choose again") });
    assert_eq!((&made.response["allowed"], &made.response["status"]), (&json!(false), &status));
    assert_eq!(made.response.get("patch"), None);
}

#[test]
fn or_stored_with_a_warning_where_it_is_only_watched() {
    let audit = AdmissionPolicy { binding: BindingPolicy::Audit, ..STRICT };
    let made = send(&read(POD_BINDING), &fleet(mk_silent(false)), audit);
    assert_eq!(made.outcome, AdmissionOutcome::Audited);
    assert_eq!(made.response["allowed"], true);
    assert_eq!(made.response["warnings"], json!([LOST]));
    assert_eq!(made.response["auditAnnotations"], json!({ "binding": LOST }));
    assert_eq!(made.object["metadata"]["annotations"], stamped("active"));
}

#[test]
fn a_binding_to_a_cluster_long_lost_is_deliberate() {
    let mut snapshot = fleet(mk_silent(false));
    for (millis, outcome) in [
        (107_999, AdmissionOutcome::Denied),
        (108_000, AdmissionOutcome::Stamped),
        (108_001, AdmissionOutcome::Stamped),
    ] {
        snapshot.taken.1 = at(millis);
        assert_eq!(send(&read(POD_BINDING), &snapshot, STRICT).outcome, outcome, "{millis}");
    }
}

#[test]
fn other_bindings_pass_untouched() {
    let known = || fleet(mk_silent(false));
    let with = |path: &str, value: Value| {
        let mut review = read(POD_BINDING);
        *review.pointer_mut(path).unwrap() = value;
        review
    };
    let mut vanished = known();
    vanished.nodes = Arc::new(HashMap::from([(Box::from(NODE), NodeHome::Vanished("x".into()))]));
    let target = "/request/object/target";
    for (name, review, snapshot, outcome) in [
        ("a node of no cluster", with(&format!("{target}/name"), json!("other")), known(), AdmissionOutcome::Unmapped),
        ("a node whose cluster vanished", read(POD_BINDING), vanished, AdmissionOutcome::Unmapped),
        ("no node", with(&format!("{target}/kind"), json!("Pod")), known(), AdmissionOutcome::Unmapped),
        ("no name", with(&format!("{target}/name"), json!("")), known(), AdmissionOutcome::Unmapped),
        ("no target", with(target, Value::Null), known(), AdmissionOutcome::Unmapped),
        (
            "before the first list",
            read(POD_BINDING),
            Snapshot::empty(clock::now(), known().policy),
            AdmissionOutcome::Unsynced,
        ),
        ("a target of another shape", with(target, json!("node")), known(), AdmissionOutcome::NotUnderstood),
        ("no object", with("/request/object", Value::Null), known(), AdmissionOutcome::NotUnderstood),
        ("another verb", with("/request/operation", json!("UPDATE")), known(), AdmissionOutcome::Foreign),
        ("another kind", with("/request/kind/kind", json!("Pod")), known(), AdmissionOutcome::Foreign),
        ("another group", with("/request/resource/group", json!("example.com")), known(), AdmissionOutcome::Foreign),
    ] {
        let made = send(&review, &snapshot, STRICT);
        assert_eq!(made.outcome, outcome, "{name}");
        assert_eq!(made.response, json!({ "uid": review["request"]["uid"], "allowed": true }), "{name}");
    }
}
