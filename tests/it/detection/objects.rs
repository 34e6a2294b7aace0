//! Objects that come, go, or cannot be read, and the nodes that stand for them.

use sheetanchor::domain::health::Verdict;
use sheetanchor::domain::placement::Fleet;
use sheetanchor::domain::taint::{Effect, Fault, Taint, UNSCHEDULABLE_KEY};
use sheetanchor::state::action::{Event, Outcome, Target, Topic};
use sheetanchor::state::snapshot::NodeHome;

use crate::simulation::api::node;
use crate::stage::{Stage, key, ms, s};

/// Garbles or mends a cluster, and tells of it.
fn garble(stage: &mut Stage, name: &str, garbled: bool) {
    let event = stage.api.garble(&key(name), garbled);
    stage.watch(event);
}

#[test]
fn the_age_of_an_object_that_cannot_be_read_stands_still() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["a", "b"], s(10), 2);
    stage.beats(&["b"], s(10), 1);
    garble(&mut stage, "a", true);
    stage.beats(&["b"], s(10), 20);
    let snapshot = stage.snapshot();
    assert_eq!(stage.verdict("a"), Verdict::Ready, "10 s old");
    assert_eq!(snapshot.clusters.len(), 2, "the other is served, and what was known of this one");
    assert_eq!(snapshot.undecodable.len(), 1);
    assert_eq!(snapshot.undecodable[0].key, "fleet/a");
    assert!(snapshot.undecodable[0].error.contains("invalid type"), "{:?}", snapshot.undecodable);
    // Read again, unchanged: it has 20 s left.
    garble(&mut stage, "a", false);
    stage.beats(&["b"], s(10), 2);
    assert!(stage.snapshot().undecodable.is_empty());
    assert_eq!(stage.verdict("a"), Verdict::Late);
    stage.run(ms(1));
    assert_eq!(stage.verdict("a"), Verdict::Lost);
}

#[test]
fn an_object_that_could_never_be_read_is_named_and_nothing_else() {
    let mut stage = Stage::with(&[("b", 10)]);
    stage.register("x", Some("first"), Some(10));
    let event = stage.api.garble(&key("x"), true);
    stage.watch(event);
    stage.beats(&["b"], s(10), 5);
    let snapshot = stage.snapshot();
    assert_eq!((snapshot.clusters.len(), snapshot.undecodable.len()), (1, 1));
    assert_eq!(stage.taint("x"), None);
    let event = stage.api.delete_cluster(&key("x"));
    stage.watch(event);
    stage.run(s(1));
    assert!(stage.snapshot().undecodable.is_empty());
}

#[test]
fn nothing_is_written_on_an_object_that_cannot_be_read() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.answer = Outcome::Failed;
    stage.beats(&["b"], s(10), 4);
    assert_eq!(stage.verdict("a"), Verdict::Lost);
    garble(&mut stage, "a", true);
    stage.answer = Outcome::Stored;
    let before = stage.taint_writes("a").len();
    stage.beats(&["b"], s(10), 10);
    assert_eq!(stage.taint_writes("a").len(), before);
    garble(&mut stage, "a", false);
    stage.run(s(40));
    assert_eq!(stage.taint("a"), Some(Fault::ClusterStatusUnknown));
}

#[test]
fn the_answer_to_a_write_does_not_mend_what_was_garbled_since() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["a", "b"], s(10), 2);
    stage.api.change_cluster(&key("a"), |cluster| _ = cluster.labels.insert("x".into(), String::new()));
    let answer = stage.api.read(&Target::Taints(key("a"))).expect("stored");
    garble(&mut stage, "a", true);
    stage.tell(answer);
    stage.beats(&["b"], s(10), 6);
    assert_eq!((stage.verdict("a"), stage.snapshot().undecodable.len()), (Verdict::Ready, 1));
}

#[test]
fn a_beat_that_our_own_read_found_makes_no_witness() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["a", "b"], s(10), 2);
    // The watch is dead, and nobody has noticed.
    for seconds in [11, 8, 8, 8] {
        stage.run(s(seconds));
        stage.api.change_cluster(&key("b"), |cluster| cluster.stamp = Some(format!("{:?}", cluster.stamp)));
        let answer = stage.api.read(&Target::Taints(key("b"))).expect("stored");
        stage.tell(answer);
    }
    assert_eq!((stage.verdict("a"), stage.verdict("b")), (Verdict::Suspected, Verdict::Ready));
    assert_eq!(stage.taint("a"), None);
}

#[test]
fn the_answer_to_a_write_does_not_raise_the_dead() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["a", "b"], s(10), 2);
    // What a write of ours found arrives after the watch said that the object is gone.
    let answer = stage.api.read(&Target::Taints(key("a"))).expect("stored");
    let node_answer = stage.api.read(&Target::Node("b".into())).expect("stored");
    let event = stage.api.delete_cluster(&key("a"));
    stage.watch(event);
    stage.tell(Event::NodeDeleted("b".into()));
    stage.tell(answer.clone());
    stage.tell(node_answer);
    stage.run(s(2));
    assert_eq!(stage.snapshot().clusters.len(), 1);
    assert_eq!(stage.snapshot().nodes.len(), 0, "one was deleted, and the other's cluster");
    // Nor does it take the place of one that was created since.
    let event = stage.register("a", Some("new"), Some(10));
    stage.tell(event);
    stage.tell(answer);
    stage.tell(Event::Tick);
    let snapshot = stage.snapshot();
    let known = &snapshot.view(key("a").as_str()).expect("known").cluster;
    assert_eq!(known.uid, stage.api.clusters[&key("a")].cluster.uid);
}

#[test]
fn the_node_of_a_cluster_that_vanished_unschedulable_keeps_its_taint() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["b"], s(10), 4);
    assert_eq!(stage.mirror("a"), Some(Fault::ClusterStatusUnknown));
    let event = stage.api.delete_cluster(&key("a"));
    stage.watch(event);
    // Not even until the next tick is it a node of no cluster.
    assert!(matches!(stage.snapshot().nodes.get("a"), Some(NodeHome::Cluster(_))));
    let event = stage.api.delete_cluster(&key("b"));
    stage.watch(event);
    stage.run(s(60));
    assert_eq!(stage.mirror("a"), Some(Fault::ClusterStatusUnknown));
    let label = "sheetanchor.dev/cluster=fleet.a";
    assert_eq!(stage.snapshot().nodes.get("a"), Some(&NodeHome::Vanished(label.into())));
    assert_eq!(stage.snapshot().nodes.get("b"), None, "vanished while schedulable: a node of no cluster");
    // A person's word ends it.
    let event = stage.api.change_node("a", |node| node.taints.clear());
    stage.watch(event);
    stage.run(s(60));
    assert_eq!((stage.snapshot().nodes.get("a"), stage.mirror("a")), (None, None));
}

#[test]
fn an_ambiguous_node_is_told_of_and_belongs_to_nobody() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.change("b", |cluster| cluster.cluster_id = "id-b".into());
    let labels = [("sheetanchor.dev/cluster", "fleet.a"), ("clusters.clusternet.io/cluster-id", "id-b")];
    let event = stage.api.create_node(node("odd", &labels));
    stage.tell(event);
    stage.beats(&["b"], s(10), 4);
    let notices = stage.notices(Topic::NodeAmbiguous);
    assert_eq!(notices.len(), 1);
    for word in ["odd", "fleet/a", "fleet/b"] {
        assert!(notices[0].1.contains(word), "{}", notices[0].1);
    }
    assert_eq!(stage.verdict("a"), Verdict::Lost);
    assert_eq!((stage.snapshot().nodes.get("odd"), stage.mirror("odd")), (None, None));
    // It stands for one of them as soon as its labels agree.
    let event = stage.api.change_node("odd", |node| _ = node.labels.remove("clusters.clusternet.io/cluster-id"));
    stage.watch(event);
    stage.run(ms(50));
    assert_eq!(stage.mirror("odd"), Some(Fault::ClusterStatusUnknown));
}

#[test]
fn the_mirror_follows_the_node_to_another_cluster() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    stage.beats(&["b"], s(10), 4);
    let home = |value: &str| {
        let value = value.to_owned();
        move |node: &mut sheetanchor::domain::node::Node| {
            node.labels.insert("sheetanchor.dev/cluster".into(), value);
        }
    };
    let event = stage.api.change_node("a", home("fleet.b"));
    stage.watch(event);
    stage.run(ms(50));
    assert_eq!(stage.mirror("a"), None);
    let event = stage.api.change_node("b", home("fleet.a"));
    stage.watch(event);
    stage.run(ms(50));
    assert_eq!(stage.mirror("b"), Some(Fault::ClusterStatusUnknown));
}

#[test]
fn whenever_a_cluster_stops_being_rejected_its_nodes_change() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    let annotation = |stage: &Stage| stage.api.nodes["a"].cluster_taints.clone();
    stage.beats(&["b"], s(10), 4);
    assert_eq!((stage.verdict("a"), stage.mirror("a")), (Verdict::Lost, Some(Fault::ClusterStatusUnknown)));
    assert_eq!(annotation(&stage), None, "the mirror says it");
    // An earlier leader ends the incident while our doors still reject: the mirror goes, the words stay.
    stage.beats(&["a", "b"], s(10), 1);
    stage.change("a", |cluster| {
        cluster.taints.clear();
        cluster.conditions.clear();
    });
    stage.run(s(1));
    assert_eq!((stage.verdict("a"), stage.mirror("a")), (Verdict::Recovering, None));
    let unmirrored = format!("{UNSCHEDULABLE_KEY}=ClusterStatusUnknown:NoSchedule");
    assert_eq!(annotation(&stage).as_deref(), Some(unmirrored.as_str()));
    stage.beats(&["a", "b"], s(10), 3);
    stage.run(s(1));
    assert_eq!((stage.verdict("a"), annotation(&stage)), (Verdict::Ready, None));
}

#[test]
fn somebody_elses_taint_touches_the_nodes_and_its_end_too() {
    let mut stage = Stage::with(&[("a", 10), ("b", 10)]);
    let taint = |key: &str, value: &str, effect: &str| Taint {
        key: key.into(),
        value: Some(value.into()),
        effect: Effect::from(effect),
        time_added: None,
    };
    stage.change("a", |cluster| {
        cluster.taints.push(taint("zone", "burns", "NoExecute"));
        cluster.taints.push(taint("gpu", "only", "NoSchedule"));
        cluster.taints.push(taint("slow", "", "PreferNoSchedule"));
    });
    stage.run(ms(50));
    let annotation = |stage: &Stage| stage.api.nodes["a"].cluster_taints.clone();
    assert_eq!(annotation(&stage).as_deref(), Some("gpu=only:NoSchedule,zone=burns:NoExecute"));
    assert_eq!(stage.api.nodes["b"].cluster_taints, None);
    stage.change("a", |cluster| cluster.taints.retain(|taint| taint.key == "gpu"));
    stage.run(ms(50));
    assert_eq!(annotation(&stage).as_deref(), Some("gpu=only:NoSchedule"));
    // A person's value under our key is somebody else's as well; ours is not.
    stage.change("a", |cluster| cluster.taints = vec![taint(UNSCHEDULABLE_KEY, "maintenance", "NoSchedule")]);
    stage.run(ms(50));
    assert_eq!(annotation(&stage).as_deref(), Some(&*format!("{UNSCHEDULABLE_KEY}=maintenance:NoSchedule")));
    stage.change("a", |cluster| cluster.taints.clear());
    stage.beats(&["b"], s(10), 4);
    assert_eq!((annotation(&stage), stage.mirror("a")), (None, Some(Fault::ClusterStatusUnknown)));
}
