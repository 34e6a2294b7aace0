//! Writes of Subscriptions' placements.

use proptest::prelude::*;

use super::*;

const FEED: &str = "apps/v1/Deployment/default/web";

/// The status that was captured.
fn both() -> Value {
    read(STATUS)["request"]["object"]["status"].clone()
}

/// As the scheduler leaves it when every cluster is stale.
fn emptied() -> Value {
    json!({ "replicas": { FEED: [2, 3] }, "specHash": 1234 })
}

/// As it leaves it when the first cluster is.
fn second_only() -> Value {
    json!({ "bindingClusters": ["clusternet-b/child-2"], "desiredReleases": 1, "replicas": { FEED: [3] }, "specHash": 1234 })
}

#[test]
fn the_captured_write_passes() {
    let review = read(STATUS);
    let made = send(&review, &tainted(), STRICT);
    assert_eq!(made.response, json!({ "uid": review["request"]["uid"], "allowed": true }));
    assert_eq!(made.outcome, AdmissionOutcome::Passed);
}

#[test]
fn an_emptied_status_is_restored_whatever_is_left_of_it() {
    let mut missing = status_review(&both(), &Value::Null);
    missing["request"]["object"].as_object_mut().unwrap().remove("status");
    for (name, review) in [
        ("missing", missing),
        ("null", status_review(&both(), &Value::Null)),
        ("empty", status_review(&both(), &json!({}))),
        ("captured", status_review(&both(), &emptied())),
        (
            "null fields",
            status_review(
                &both(),
                &json!({ "bindingClusters": null, "desiredReleases": null, "replicas": null, "specHash": null }),
            ),
        ),
        (
            "empty fields",
            status_review(
                &both(),
                &json!({ "bindingClusters": [], "desiredReleases": 0, "replicas": {}, "specHash": 99 }),
            ),
        ),
        ("null feeds", status_review(&both(), &json!({ "bindingClusters": [], "replicas": { FEED: null } }))),
    ] {
        let made = send(&review, &tainted(), STRICT);
        let mut expected = review["request"]["object"].clone();
        expected["status"] = both();
        assert_eq!(made.object, expected, "{name}");
        assert_eq!(made.outcome, AdmissionOutcome::Refilled, "{name}");
        assert_eq!(made.response["warnings"], json!(["restored the placement: the write would have left no cluster"]));
        assert_eq!(
            made.response["auditAnnotations"],
            json!({ "guard": "Empty: restored the placement: the write would have left no cluster" })
        );
    }
}

#[test]
fn what_the_old_status_did_not_have_is_taken_out_again() {
    let bare = json!({ "bindingClusters": ["clusternet-b/child-2"] });
    let written = json!({ "replicas": { FEED: [1] }, "desiredReleases": 0, "specHash": 5, "completedReleases": 1 });
    let made = send(&status_review(&bare, &written), &tainted(), STRICT);
    let expected = json!({ "bindingClusters": ["clusternet-b/child-2"], "desiredReleases": 1, "completedReleases": 1 });
    assert_eq!(made.object["status"], expected);
}

#[test]
fn a_cluster_dropped_for_our_taint_stays() {
    let mut review = status_review(&both(), &second_only());
    review["request"]["object"]["status"]["completedReleases"] = json!(1);
    review["request"]["object"]["status"]["replicas"]["no/numbers"] = Value::Null;
    let made = send(&review, &tainted(), STRICT);
    let mut expected = review["request"]["object"].clone();
    expected["status"] = both();
    expected["status"]["completedReleases"] = json!(1);
    assert_eq!(made.object, expected);
    assert_eq!(made.outcome, AdmissionOutcome::Kept);
    let reason = "kept cluster \"clusternet-a/child-1\": it was dropped only because of our taint ClusterStatusUnknown";
    assert_eq!(made.response["warnings"], json!([reason]));
    assert_eq!(made.response["auditAnnotations"], json!({ "guard": format!("Restore: {reason}") }));
    let again = status_review(&both(), &made.object["status"]);
    assert_eq!(send(&again, &tainted(), STRICT).outcome, AdmissionOutcome::Passed);
}

/// The spec and the annotations that count are the stored ones, not those in the write.
#[test]
fn the_stored_subscription_decides() {
    use AdmissionOutcome::{Kept, Passed, Refilled};
    let allow = |value: &str| json!({ "sheetanchor.dev/allow-empty": value });
    let affinity = |affinity: Value| json!([{ "clusterAffinity": affinity }]);
    let in_env = |operator: &str, values: Value| {
        affinity(json!({ "matchExpressions": [{ "key": "env", "operator": operator, "values": values }] }))
    };
    let (annotations, subscribers) = ("/metadata/annotations", "/spec/subscribers");
    for (path, value, status, unless_stored, if_stored) in [
        (annotations, allow("true"), emptied(), Refilled, Passed),
        (annotations, allow("yes"), emptied(), Refilled, Refilled),
        (annotations, Value::Null, emptied(), Refilled, Refilled),
        (subscribers, affinity(json!({ "matchLabels": { "env": "dev" } })), second_only(), Kept, Passed),
        (subscribers, in_env("In", json!(["dev"])), second_only(), Kept, Passed),
        (subscribers, in_env("In", json!(["prod"])), second_only(), Kept, Kept),
        (subscribers, in_env("Exists", Value::Null), second_only(), Kept, Kept),
        (subscribers, in_env("Like", json!(["prod"])), second_only(), Kept, Passed),
        (subscribers, json!([{}, { "clusterAffinity": {} }]), second_only(), Kept, Kept),
        (subscribers, affinity(Value::Null), second_only(), Kept, Passed),
        (subscribers, Value::Null, second_only(), Kept, Passed),
    ] {
        for (object, outcome) in [("object", unless_stored), ("oldObject", if_stored)] {
            let mut review = status_review(&both(), &status);
            *review["request"][object].pointer_mut(path).unwrap() = value.clone();
            assert_eq!(send(&review, &tainted(), STRICT).outcome, outcome, "{object}{path} = {value}");
        }
    }
}

#[test]
fn tolerations_and_strategy_are_read() {
    let with = |field: &str, value: Value| {
        let mut review = status_review(&both(), &second_only());
        review["request"]["oldObject"]["spec"][field] = value;
        send(&review, &tainted(), STRICT)
    };
    let tolerates = json!([{ "key": UNSCHEDULABLE_KEY, "operator": "Exists" }]);
    assert_eq!(with("clusterTolerations", tolerates).outcome, AdmissionOutcome::Passed);
    let equal_by_default = json!([{ "key": UNSCHEDULABLE_KEY, "value": "ClusterStatusUnknown", "effect": "NoSchedule", "tolerationSeconds": 5 }]);
    assert_eq!(with("clusterTolerations", equal_by_default).outcome, AdmissionOutcome::Passed);
    let made = with("schedulingStrategy", json!("Dividing"));
    assert_eq!(made.object["status"]["replicas"][FEED], json!([0, 3]), "the sum of the write");
}

#[test]
fn a_subscription_being_deleted_may_be_emptied() {
    let mut review = status_review(&both(), &emptied());
    review["request"]["oldObject"]["metadata"]["deletionTimestamp"] = json!("2026-11-23T00:59:12Z");
    assert_eq!(send(&review, &tainted(), STRICT).outcome, AdmissionOutcome::Passed);
}

#[test]
fn sub_groups_are_kept_apart() {
    let added = json!({ "bindingClusters": ["clusternet-b/child-2", "clusternet-c/child-3"], "specHash": 1234 });
    let mut review = status_review(&both(), &added);
    review["request"]["oldObject"]["spec"]["schedulingBySubGroup"] = json!(true);
    let mut snapshot = tainted();
    let third = mk_prod("clusternet-c/child-3", mk_ready());
    let mut clusters: Vec<ClusterView> = snapshot.clusters.iter().map(|view| ClusterView::clone(view)).collect();
    clusters.push(third);
    snapshot = super::snapshot(clusters);
    assert_eq!(send(&review, &snapshot, STRICT).object["status"]["bindingClusters"], both()["bindingClusters"]);
}

#[test]
fn a_status_that_does_not_add_up_passes_with_a_warning() {
    let mut mixed = second_only();
    mixed["replicas"][FEED] = json!([2, 3]);
    let made = send(&status_review(&both(), &mixed), &tainted(), STRICT);
    assert_eq!(made.outcome, AdmissionOutcome::Unfit);
    assert_eq!(made.object["status"], mixed);
    assert!(made.response["warnings"][0].as_str().unwrap().starts_with("cannot keep cluster \"clusternet-a/child-1\""));
}

#[test]
fn the_guard_can_be_turned_down_and_off() {
    for (guard, dropped, empty) in [
        (GuardMode::NeverEmpty, AdmissionOutcome::Passed, AdmissionOutcome::Refilled),
        (GuardMode::Off, AdmissionOutcome::GuardOff, AdmissionOutcome::GuardOff),
    ] {
        let policy = AdmissionPolicy { guard, ..STRICT };
        assert_eq!(send(&status_review(&both(), &second_only()), &tainted(), policy).outcome, dropped, "{guard:?}");
        assert_eq!(send(&status_review(&both(), &emptied()), &tainted(), policy).outcome, empty, "{guard:?}");
    }
}

/// Not to see a cluster is not to know that it is gone.
#[test]
fn only_a_cluster_that_is_known_to_be_gone_stays_out() {
    let second_alone = || {
        let mut all = tainted();
        let second = ClusterView::clone(&all.clusters.pop().unwrap());
        snapshot(vec![second])
    };
    let mut blind = second_alone();
    blind.blind = true;
    let mut undecodable = second_alone();
    undecodable.undecodable = vec![Undecodable { key: "clusternet-a/child-1".into(), error: "odd".into() }];
    let unsynced = Snapshot::empty(clock::now(), blind.policy.clone());
    for (name, snapshot, left) in [
        ("gone", second_alone(), json!(["clusternet-b/child-2"])),
        ("blind", blind, both()["bindingClusters"].clone()),
        ("undecodable", undecodable, both()["bindingClusters"].clone()),
        ("before the first list", unsynced, both()["bindingClusters"].clone()),
    ] {
        let made = send(&status_review(&both(), &emptied()), &snapshot, STRICT);
        assert_eq!(made.object["status"]["bindingClusters"], left, "{name}");
        assert_eq!(made.outcome, AdmissionOutcome::Refilled, "{name}");
    }
    let unsynced = Snapshot::empty(clock::now(), tainted().policy);
    let made = send(&status_review(&both(), &second_only()), &unsynced, STRICT);
    assert_eq!(made.outcome, AdmissionOutcome::Unsynced);
    assert_eq!(made.object["status"], second_only());
}

/// Others choose the names, and a warning becomes a header.
#[test]
fn a_warning_is_one_line() {
    let mut old = both();
    old["bindingClusters"][0] = json!("x\r\ny");
    let made = send(&status_review(&old, &emptied()), &tainted(), STRICT);
    assert_eq!(made.response["warnings"][1], "left out cluster \"x  y\": it no longer exists");
}

#[test]
fn many_reasons_are_cut_short() {
    let names: Vec<String> = (0..200).map(|number| format!("x/{number:03}-{}", "n".repeat(250))).collect();
    let mut old = both();
    old["bindingClusters"].as_array_mut().unwrap().extend(names.iter().map(|name| json!(name)));
    old["replicas"] = json!({});
    let made = send(&status_review(&old, &emptied()), &tainted(), STRICT);
    assert_eq!(made.object["status"]["bindingClusters"], both()["bindingClusters"]);
    let warnings = made.response["warnings"].as_array().unwrap();
    assert_eq!((warnings.len(), &warnings[9]), (10, &json!("and 192 more, see the audit log")));
    assert!(warnings[8].as_str().unwrap().ends_with('…'), "{}", warnings[8]);
    assert!(made.response["auditAnnotations"]["guard"].as_str().unwrap().ends_with("; and 101 more"));
}

/// Any JSON, but often what a status consists of.
fn odd() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(&["clusternet-a/child-1", "clusternet-b/child-2", "x", "\n"][..]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..6_i64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        names.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let keys =
            prop::sample::select(&["bindingClusters", "replicas", "desiredReleases", "specHash", FEED, "~/"][..]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.prop_map(str::to_owned), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// A status of the right shape, mostly; any field may be odd or missing.
fn status() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(&["clusternet-a/child-1", "clusternet-b/child-2", "clusternet-c/child-3"][..]);
    let fields = (
        prop::collection::vec(names, 0..4).prop_map(|names| json!(names)),
        prop::collection::vec(0..5_i32, 0..4).prop_map(|counts| json!({ FEED: counts, "~/": [] })),
        (0..4_i64).prop_map(Value::from),
        prop_oneof![3 => Just(json!(1234)), 1 => Just(json!(5))],
    );
    let usual = fields.prop_map(|(clusters, replicas, releases, hash)| {
        json!({ "bindingClusters": clusters, "replicas": replicas, "desiredReleases": releases, "specHash": hash })
    });
    let keys = prop::sample::select(&["bindingClusters", "replicas", "desiredReleases", "specHash"][..]);
    let altered = (usual.clone(), keys, prop::option::of(odd())).prop_map(|(mut status, key, value)| {
        match value {
            Some(value) => status[key] = value,
            None => drop(status.as_object_mut().unwrap().remove(key)),
        }
        status
    });
    prop_oneof![4 => usual, 4 => altered, 1 => odd()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the statuses, there is an answer, its patch applies, and no readable placement is emptied.
    #[test]
    fn any_status_gets_an_answer(old in status(), new in status(), dividing in any::<bool>()) {
        let mut review = status_review(&old, &new);
        review["request"]["oldObject"]["spec"]["schedulingStrategy"] = json!(if dividing { "Dividing" } else { "Replication" });
        let made = send(&review, &tainted(), STRICT);
        prop_assert_eq!(&made.response["allowed"], &json!(true));
        let clusters = |status: &Value| status["bindingClusters"].as_array().map_or(0, Vec::len);
        if made.outcome != AdmissionOutcome::NotUnderstood && clusters(&old) > 0 {
            prop_assert!(clusters(&made.object["status"]) > 0);
        }
        if !matches!(made.outcome, AdmissionOutcome::Refilled | AdmissionOutcome::Kept) {
            prop_assert_eq!(&made.object["status"], &new);
        }
    }

    #[test]
    fn any_binding_gets_an_answer(metadata in odd(), target in odd()) {
        let mut review = read(POD_BINDING);
        review["request"]["object"]["metadata"] = metadata;
        if target.is_object() {
            review["request"]["object"]["target"] = target;
        }
        send(&review, &tainted(), STRICT);
    }
}
