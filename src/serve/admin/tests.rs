use std::time::Duration;

use super::super::testing::mk_snapshot;
use super::*;
use crate::domain::brake::Cause;
use crate::domain::cluster::ClusterKey;
use crate::domain::taint::{Fault, UNSCHEDULABLE_KEY};
use crate::domain::testing::{at, mk_each, mk_returned, mk_silent, mk_taint, mk_view};
use crate::state::snapshot::{BrakeView, Undecodable};

/// Each cluster is kept off in another way, or not; under Suspected, the age is of what stands.
#[test]
fn the_fleet_is_told_in_full() {
    let now = clock::now();
    let views = vec![
        mk_view("eu-0", mk_returned()).using([250.0, 1000.0], [0.0, 1000.0]),
        mk_view("eu-1", mk_returned()).tainted(mk_taint("gpu", "a100", "NoSchedule")),
        mk_view("eu-2", mk_each().swap_remove(3).1),
        mk_view("eu-3", mk_silent(false)).spare().tainted(Fault::ClusterStatusUnknown.taint(UNSCHEDULABLE_KEY)),
    ];
    let homes = vec![
        ("node-b".to_owned(), NodeHome::Cluster(0)),
        ("node-c".to_owned(), NodeHome::Cluster(2)),
        ("node-a".to_owned(), NodeHome::Cluster(0)),
        ("node-d".to_owned(), NodeHome::Vanished("fleet.gone".into())),
    ];
    let brake = BrakeView {
        cause: Cause::Mass { failing: 3, well: 1 },
        since: at(70_000),
        clusters: vec![ClusterKey::new("fleet", "eu-2")],
    };
    let snapshot = Snapshot {
        taken: (now, at(80_000)),
        brake: Some(brake),
        undecodable: vec![Undecodable { key: "fleet/odd".to_owned(), error: "no spec".to_owned() }],
        ..mk_snapshot(now, views, homes)
    };
    let leader = LeaderView { holder: Some("a".to_owned()), leads: true, error: Some("broken".to_owned()) };
    let told = fleet(&snapshot, &leader, now + Duration::from_secs(2));
    assert_eq!(told, expected(), "{told:#}");
}

fn expected() -> Value {
    json!({
        "leader": {"holder": "a", "self": true, "error": "broken"},
        "blind": false,
        "brake": {
            "reason": "Mass",
            "message": "3 clusters fail together and only 1 testify that they are well (75 %)",
            "sinceSeconds": 12.0,
            "clusters": ["fleet/eu-2"],
        },
        "undecodable": [{"name": "fleet/odd", "error": "no spec"}],
        "clusters": [
            {
                "name": "fleet/eu-0", "uid": "u", "role": "active",
                "verdict": "Ready", "message": "beats on time, every 15s", "standing": "Ready", "standingSeconds": 2.0,
                "schedulable": true, "rejection": null,
                "silenceSeconds": 2.0, "periodSeconds": 15.0, "limitSeconds": 45.0,
                "taints": [], "freeShare": 0.75, "nodes": ["node-a", "node-b"],
            },
            {
                "name": "fleet/eu-1", "uid": "u", "role": "active",
                "verdict": "Ready", "message": "beats on time, every 15s", "standing": "Ready", "standingSeconds": 2.0,
                "schedulable": false,
                "rejection": "cluster \"fleet/eu-1\" has taint gpu=a100:NoSchedule, which the pod does not tolerate",
                "silenceSeconds": 2.0, "periodSeconds": 15.0, "limitSeconds": 45.0,
                "taints": ["gpu=a100:NoSchedule"], "freeShare": null, "nodes": [],
            },
            {
                "name": "fleet/eu-2", "uid": "u", "role": "active",
                "verdict": "Suspected",
                "message": "no heartbeat for 1m07s (limit 45s), not believed yet: the brake is on, or was less than 22s ago",
                "standing": "NotReady", "standingSeconds": 67.0,
                "schedulable": false,
                "rejection": "cluster \"fleet/eu-2\" is Suspected: no heartbeat for 1m07s (limit 45s), not believed yet: the brake is on, or was less than 22s ago; it was NotReady before",
                "silenceSeconds": 67.0, "periodSeconds": 15.0, "limitSeconds": 45.0,
                "taints": [], "freeShare": null, "nodes": ["node-c"],
            },
            {
                "name": "fleet/eu-3", "uid": "u", "role": "spare",
                "verdict": "Lost", "message": "no heartbeat for 1m22s (limit 45s)",
                "standing": "Lost", "standingSeconds": 34.0,
                "schedulable": false, "rejection": "cluster \"fleet/eu-3\" is Lost: no heartbeat for 1m22s (limit 45s)",
                "silenceSeconds": 82.0, "periodSeconds": 15.0, "limitSeconds": 45.0,
                "taints": ["clusters.clusternet.io/unschedulable=ClusterStatusUnknown:NoSchedule"],
                "freeShare": null, "nodes": [],
            },
        ],
    })
}

#[test]
fn an_unknown_fleet_is_empty_and_blind() {
    let now = clock::now();
    let snapshot = Snapshot::empty(now, mk_snapshot(now, Vec::new(), Vec::new()).policy);
    let leader = LeaderView { holder: None, leads: false, error: None };
    let expected = json!({
        "leader": {"holder": null, "self": false, "error": null},
        "blind": true,
        "brake": null,
        "undecodable": [],
        "clusters": [],
    });
    assert_eq!(fleet(&snapshot, &leader, now), expected);
}
