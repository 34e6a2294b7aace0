//! Writes to a Subscription that bears the record of a rescue.

use super::*;

const FEED: &str = "apps/v1/Deployment/default/web";
const ANNOTATION: &str = "sheetanchor.dev/rescued";
const ON: AdmissionPolicy = AdmissionPolicy { failover: true, ..STRICT };

/// The first cluster's part is on a spare, for this spec.
fn recorded(spec_hash: i64) -> String {
    format!(
        r#"[{{"from":"clusternet-a/child-1","to":"clusternet-s/spare-1","home":"clusternet-a/child-1","specHash":{spec_hash},"failover":"clusternet-a.child-1-1"}}]"#
    )
}

/// On these clusters, with so many replicas each.
fn on(clusters: &[&str], replicas: &[i32]) -> Value {
    json!({ "bindingClusters": clusters, "desiredReleases": clusters.len(), "replicas": { FEED: replicas }, "specHash": 1234 })
}

fn moved() -> Value {
    on(&["clusternet-b/child-2", "clusternet-s/spare-1"], &[3, 2])
}

/// A write from `old` to `new`, where the stored Subscription bears the annotation.
fn rescued_review(annotation: &str, old: &Value, new: &Value) -> Value {
    let mut review = status_review(old, new);
    review["request"]["oldObject"]["metadata"]["annotations"][ANNOTATION] = json!(annotation);
    review
}

/// The two of [`tainted`], and a spare outside the affinity.
fn with_spare() -> Snapshot {
    let two = tainted();
    let mut clusters: Vec<ClusterView> = two.clusters.iter().map(|view| ClusterView::clone(view)).collect();
    let mut spare = mk_prod("clusternet-s/spare-1", mk_ready()).spare();
    Arc::make_mut(&mut spare.cluster).labels.remove("env");
    clusters.push(spare);
    snapshot(clusters)
}

#[test]
fn a_rivals_writes_come_out_as_the_migrators() {
    let both = on(&["clusternet-a/child-1", "clusternet-b/child-2"], &[2, 3]);
    let second_only = on(&["clusternet-b/child-2"], &[3]);
    let kept = "kept cluster \"clusternet-s/spare-1\": it stands in for \"clusternet-a/child-1\" \
                (Failover clusternet-a.child-1-1)";
    let left_out = "left out cluster \"clusternet-a/child-1\": cluster \"clusternet-s/spare-1\" stands in for it \
                    (Failover clusternet-a.child-1-1)";
    let restored = "restored the placement: the write would have left no cluster";
    for (name, old, new, rule, outcome, reasons) in [
        ("the spare is forgotten", moved(), second_only.clone(), "Apply", AdmissionOutcome::Applied, vec![kept]),
        (
            "the dead one is brought back",
            moved(),
            both.clone(),
            "Apply",
            AdmissionOutcome::Applied,
            vec![kept, left_out],
        ),
        ("recorded, not yet written", both.clone(), second_only, "Apply", AdmissionOutcome::Applied, vec![kept]),
        ("emptied", moved(), json!({ "specHash": 1234 }), "Empty", AdmissionOutcome::Refilled, vec![restored]),
    ] {
        let review = rescued_review(&recorded(1234), &old, &new);
        let made = send(&review, &with_spare(), ON);
        let mut expected = review["request"]["object"].clone();
        expected["status"] = moved();
        assert_eq!((made.outcome, &made.object), (outcome, &expected), "{name}");
        assert_eq!(made.response["warnings"], json!(reasons), "{name}");
        let note = format!("{rule}: {}", reasons.join("; "));
        assert_eq!(made.response["auditAnnotations"], json!({ "guard": note }), "{name}");
        assert!(!made.bad_annotation, "{name}");
        let again = rescued_review(&recorded(1234), &old, &made.object["status"]);
        assert_eq!(send(&again, &with_spare(), ON).outcome, AdmissionOutcome::Passed, "{name}");
    }
    let migrators = rescued_review(&recorded(1234), &both, &moved());
    assert_eq!(send(&migrators, &with_spare(), ON).outcome, AdmissionOutcome::Passed);
}

/// The first answer above, byte for byte.
#[test]
fn the_patch_names_only_what_differs() {
    let new = on(&["clusternet-b/child-2"], &[3]);
    let made = send(&rescued_review(&recorded(1234), &moved(), &new), &with_spare(), ON);
    let patch = made.response["patch"].as_str().expect("a patch");
    let patch = base64::engine::general_purpose::STANDARD.decode(patch).expect("base64");
    assert_eq!(
        String::from_utf8(patch).expect("text"),
        concat!(
            r#"[{"op":"add","path":"/status/bindingClusters","value":["clusternet-b/child-2","clusternet-s/spare-1"]},"#,
            r#"{"op":"add","path":"/status/replicas","value":{"apps/v1/Deployment/default/web":[3,2]}},"#,
            r#"{"op":"add","path":"/status/desiredReleases","value":2}]"#
        )
    );
}

/// The record that counts is the stored one, for the spec that is placed, and only in the mode `Full`.
#[test]
fn only_the_stored_record_for_this_spec_counts() {
    let second_only = on(&["clusternet-b/child-2"], &[3]);
    let off = AdmissionPolicy { failover: false, ..ON };
    let never_empty = AdmissionPolicy { guard: GuardMode::NeverEmpty, ..ON };
    for (name, annotation, policy, outcome) in [
        ("this spec", recorded(1234), ON, AdmissionOutcome::Applied),
        ("failover off: what moved stays", recorded(1234), off, AdmissionOutcome::Applied),
        ("another spec", recorded(1235), ON, AdmissionOutcome::Passed),
        ("never-empty", recorded(1234), never_empty, AdmissionOutcome::Passed),
    ] {
        let made = send(&rescued_review(&annotation, &moved(), &second_only), &with_spare(), policy);
        assert_eq!(made.outcome, outcome, "{name}");
    }
    let mut written = status_review(&moved(), &second_only);
    written["request"]["object"]["metadata"]["annotations"][ANNOTATION] = json!(recorded(1234));
    assert_eq!(send(&written, &with_spare(), ON).outcome, AdmissionOutcome::Passed);
    let not_begun = on(&["clusternet-a/child-1", "clusternet-b/child-2"], &[2, 3]);
    let made = send(&rescued_review(&recorded(1234), &not_begun, &second_only), &with_spare(), off);
    assert_eq!((made.outcome, &made.object["status"]), (AdmissionOutcome::Kept, &not_begun));
}

#[tokio::test]
async fn a_record_that_was_edited_by_hand_is_ignored_and_counted() {
    let second_only = on(&["clusternet-b/child-2"], &[3]);
    let wrong_key = recorded(1234).replace("clusternet-s/spare-1", "spare-1");
    for annotation in ["", "oops", "{}", "[{}]", &wrong_key] {
        let made = send(&rescued_review(annotation, &moved(), &second_only), &with_spare(), ON);
        assert_eq!((made.outcome, made.bad_annotation), (AdmissionOutcome::Passed, true), "{annotation}");
        assert_eq!(made.object["status"], second_only, "{annotation}");
        // The other rules go on.
        let made = send(&rescued_review(annotation, &moved(), &json!({})), &with_spare(), ON);
        assert_eq!((made.outcome, made.bad_annotation), (AdmissionOutcome::Refilled, true), "{annotation}");
    }
    let counters = DoorCounters::default();
    let door = Door::new(Snapshots::new(with_spare()), ON, counters.clone());
    let body = rescued_review("oops", &moved(), &second_only).to_string();
    door.call(Bytes::from(body)).await;
    let lines = super::super::super::testing::exposed(|registry| counters.register(registry));
    assert!(lines.iter().any(|line| line == "admission_ignored_annotations_total 1"), "{lines:?}");
}

#[test]
fn a_swap_is_undone_with_the_gate() {
    let first = on(&["clusternet-b/child-2"], &[3]);
    let second = on(&["clusternet-c/child-3"], &[3]);
    let fleet =
        || snapshot(vec![mk_prod("clusternet-b/child-2", mk_ready()), mk_prod("clusternet-c/child-3", mk_ready())]);
    let mut review = status_review(&first, &second);
    review["request"]["oldObject"]["spec"]["schedulingBySubGroup"] = json!(true);
    assert_eq!(send(&review, &fleet(), ON).outcome, AdmissionOutcome::Passed);
    let made = send(&review, &fleet(), AdmissionPolicy { sticky: true, ..ON });
    assert_eq!((made.outcome, &made.object["status"]), (AdmissionOutcome::SwappedBack, &first));
    let note = "Sticky: kept cluster \"clusternet-b/child-2\": it is healthy, and was swapped for another under the same spec; \
                left out cluster \"clusternet-c/child-3\": it was added in place of one that stays";
    assert_eq!(made.response["auditAnnotations"], json!({ "guard": note }));
}
