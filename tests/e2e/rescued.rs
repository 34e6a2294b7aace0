//! A part of a placement was moved to a spare, as the record on the Subscription says, and a rival
//! scheduler that knows nothing of it writes what it would write anyway.

use std::time::Duration;

use serde_json::{Value, json};

use crate::guarded::{
    bring_back, clusters, is_content, label, lose, outcomes, reviews, start, start_with, stored_each, taint,
    until_attempted, until_placed,
};
use crate::request::MERGE_PATCH;
use crate::rival::Rival;
use crate::scene::{FLEET, Scene};
use crate::subscriptions::{FEED, RESCUED, change, everywhere, scale, spec, status, stored, subscribe, write_status};
use crate::wait::{PATIENCE, eventually};

const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
/// The Subscriptions of [`rescued_scene`]. The spare is outside their affinity.
const ALL: [&str; 3] = ["groups", "shared", "web"];

fn in_eu(rest: &Value) -> Value {
    let subscriber = json!({
        "clusterAffinity": {"matchLabels": {"region": "eu"}},
        "subGroupStrategy": {"minClusters": 2},
    });
    spec(&json!([subscriber]), rest)
}

/// Moves the part that eu-2 has to spare-1, as the migrator does: the record first, then the status.
/// eu-2 is still well then: while failover is off, nothing moves off a lost one.
async fn move_to_the_spare(scene: &Scene, name: &str, replicas: Option<Value>) {
    let before = status(&scene.client, name).await;
    let key = |name: &str| format!("{FLEET}/{name}");
    let rescue = json!([{
        "from": key("eu-2"), "to": key("spare-1"), "home": key("eu-2"),
        "specHash": before["specHash"], "failover": "fleet.eu-2-1",
    }]);
    change(&scene.client, name, json!({"metadata": {"annotations": {RESCUED: rescue.to_string()}}})).await;
    let mut left: Vec<Value> = before["bindingClusters"].as_array().unwrap().clone();
    left.retain(|cluster| *cluster != key("eu-2"));
    left.push(json!(key("spare-1")));
    let mut moved = json!({"bindingClusters": left, "desiredReleases": left.len()});
    if let Some(replicas) = replicas {
        moved["replicas"] = json!({FEED: replicas});
    }
    let version = stored(&scene.client, name).await.metadata.resource_version;
    let patch = json!({"metadata": {"resourceVersion": version}, "status": moved});
    let answer = write_status(&scene.client, name, "", MERGE_PATCH, &patch).await;
    assert_eq!((answer.code, &answer.warnings), (200, &Vec::new()), "{answer:?}");
    let mut expected = before;
    json_patch::merge(&mut expected, &moved);
    assert_eq!(status(&scene.client, name).await, expected);
}

/// Everything is placed, the rival is busy, and what eu-2 had is on spare-1.
async fn rescued_scene() -> (Scene, Rival) {
    let scene = start(&["eu-1", "eu-2", "eu-3", "spare-1"]).await;
    subscribe(&scene.client, "web", everywhere(&json!({"region": "eu"}))).await;
    subscribe(&scene.client, "groups", in_eu(&json!({"schedulingBySubGroup": true}))).await;
    let dividing = json!({"type": "Dynamic", "dynamicDividing": {"strategy": "Spread"}});
    let dividing = json!({"schedulingStrategy": "Dividing", "dividingScheduling": dividing});
    subscribe(&scene.client, "shared", in_eu(&dividing)).await;
    scale(&scene.client, "shared", 7).await;
    let mut rival = Rival::start(&scene.control_plane).await;
    until_placed(&scene, "web", &["eu-1", "eu-2", "eu-3"]).await;
    until_placed(&scene, "groups", &["eu-1", "eu-2"]).await;
    until_placed(&scene, "shared", &["eu-1", "eu-2", "eu-3"]).await;
    is_content(&mut rival).await;
    rival.pause();
    move_to_the_spare(&scene, "web", None).await;
    move_to_the_spare(&scene, "groups", None).await;
    move_to_the_spare(&scene, "shared", Some(json!([3, 2, 2]))).await;
    (scene, rival)
}

/// What the rival wrote last to a Subscription: its clusters, and the warnings that it got.
fn last_of(rival: &Rival, name: &str) -> (Value, Vec<String>) {
    let attempt = rival.attempts(name).pop().unwrap();
    assert_eq!(attempt.answer.code, 200);
    (attempt.patch["status"]["bindingClusters"].clone(), attempt.answer.warnings)
}

async fn placements(scene: &Scene) -> Vec<Value> {
    stored_each(scene, &ALL).await.into_iter().map(|(status, _)| status).collect()
}

/// Runs `event`, and shows that the rival's writes changed nothing, were asked about once each, and
/// did not wake it again. Returns how many there were.
async fn nothing_comes_of(scene: &Scene, rival: &mut Rival, event: impl AsyncFnOnce(&Scene, &mut Rival)) -> usize {
    let (before, writes) = (placements(scene).await, rival.writes());
    let asked = reviews(&scene.sheetanchor).await;
    event(scene, rival).await;
    is_content(rival).await;
    assert_eq!(placements(scene).await, before);
    let writes = rival.writes() - writes;
    assert_eq!(reviews(&scene.sheetanchor).await - asked, writes as u64, "one call for each write");
    writes
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_replicas_conserved_what_was_rescued_stays_where_it_is_whatever_a_rival_writes() {
    let (scene, mut rival) = rescued_scene().await;
    let stands_in = "kept cluster \"fleet/spare-1\": it stands in for \"fleet/eu-2\" (Failover fleet.eu-2-1)";
    let left_out =
        "left out cluster \"fleet/eu-2\": cluster \"fleet/spare-1\" stands in for it (Failover fleet.eu-2-1)";

    // It wants back what moved: eu-2 is well, and matches.
    let wrote = nothing_comes_of(&scene, &mut rival, async |_, rival| rival.resume().await).await;
    assert_eq!(wrote, 2);
    let warnings = vec![stands_in.to_owned(), left_out.to_owned()];
    assert_eq!(last_of(&rival, "web"), (clusters(&["eu-1", "eu-2", "eu-3"]), warnings.clone()));
    assert_eq!(last_of(&rival, "groups"), (clusters(&["eu-1", "eu-2"]), warnings.clone()));

    // eu-2 dies. It is left out, and the spare is forgotten; in the sub-group eu-3 is to replace it.
    let wrote = nothing_comes_of(&scene, &mut rival, async |scene, rival| {
        let attempts = rival.attempts("groups").len();
        lose(scene, "eu-2").await;
        until_attempted(rival, "groups", attempts).await;
    })
    .await;
    assert_eq!(wrote, 2);
    assert_eq!(last_of(&rival, "web"), (clusters(&["eu-1", "eu-3"]), vec![stands_in.to_owned()]));
    let replaced = "left out cluster \"fleet/eu-3\": it was added in place of one that stays";
    let warnings_of_groups = vec![stands_in.to_owned(), replaced.to_owned()];
    assert_eq!(last_of(&rival, "groups"), (clusters(&["eu-1", "eu-3"]), warnings_of_groups));

    // Somebody brings back the dead one by hand.
    let dead = json!({"status": {"bindingClusters": clusters(&["eu-1", "eu-2", "eu-3"]), "desiredReleases": 3}});
    nothing_comes_of(&scene, &mut rival, async |_, rival| drop(rival.write("web", &dead).await)).await;
    assert_eq!(last_of(&rival, "web").1, warnings);

    // A person taints the rest: nothing is left, and all of it is put back, then and when the taint goes.
    let maintenance = json!([{"key": "example.com/maintenance", "effect": "NoSchedule"}]);
    for (taints, written) in [(maintenance, Value::Null), (json!(null), clusters(&["eu-1", "eu-3"]))] {
        nothing_comes_of(&scene, &mut rival, async |scene, rival| {
            rival.pause();
            for name in ["eu-1", "eu-3", "spare-1"] {
                taint(scene, name, taints.clone()).await;
            }
            rival.resume().await;
        })
        .await;
        assert_eq!(last_of(&rival, "web").0, written);
    }

    // The divided one is scaled, up and down, without eu-2 and the spare: it gets what others gained.
    for (sum, written, stored) in [(9, json!([5, 4]), json!([5, 2, 2])), (7, json!([4, 3]), json!([4, 2, 1]))] {
        let attempts = rival.attempts("shared").len();
        scale(&scene.client, "shared", sum).await;
        until_attempted(&rival, "shared", attempts).await;
        is_content(&mut rival).await;
        let attempt = rival.attempts("shared").pop().unwrap();
        assert_eq!(attempt.patch["status"]["replicas"], json!({FEED: written}), "{attempt:?}");
        let now = status(&scene.client, "shared").await;
        assert_eq!(now["bindingClusters"], clusters(&["eu-1", "eu-3", "spare-1"]));
        assert_eq!(total(&now), sum, "{now}");
        assert_eq!(now["replicas"], json!({FEED: stored}));
    }
}

fn total(status: &Value) -> i32 {
    let counts = status["replicas"][FEED].as_array().unwrap();
    counts.iter().map(|count| i32::try_from(count.as_i64().unwrap()).unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_decided_at_the_death_and_landing_after_the_return_moves_nothing_and_then_the_way_home_is_free() {
    let (scene, mut rival) = rescued_scene().await;
    rival.resume().await;
    is_content(&mut rival).await;
    nothing_comes_of(&scene, &mut rival, async |scene, rival| {
        rival.set_lateness(NEVER);
        lose(scene, "eu-2").await;
        eventually("the rival to decide", PATIENCE, async || {
            let waiting = rival.undelivered();
            (waiting == ["groups", "web"]).then_some(()).ok_or_else(|| format!("{waiting:?}"))
        })
        .await;
        bring_back(scene, "eu-2").await;
        rival.set_lateness(Duration::ZERO);
        rival.land();
    })
    .await;
    let late = |name| {
        rival.attempts(name).iter().any(|it| it.patch["status"]["bindingClusters"] == clusters(&["eu-1", "eu-3"]))
    };
    assert!(late("web") && late("groups"), "{:?}", rival.attempts("web"));

    // A record that was edited by hand counts for nothing, and neither does one that is gone.
    change(&scene.client, "groups", json!({"metadata": {"annotations": {RESCUED: "oops"}}})).await;
    change(&scene.client, "web", json!({"metadata": {"annotations": {RESCUED: null}}})).await;
    label(&scene, "eu-1", json!({"wake": "up"})).await;
    until_placed(&scene, "web", &["eu-1", "eu-2", "eu-3"]).await;
    until_placed(&scene, "groups", &["eu-1", "eu-2"]).await;
    is_content(&mut rival).await;
    assert_eq!(scene.sheetanchor.metric("admission_ignored_annotations_total").await, 1.0);
    assert!(!outcomes(&scene.sheetanchor).await.contains_key("Unfit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_healthy_untouched_with_sticky_bindings_a_rival_cannot_swap_healthy_clusters() {
    let names = ["eu-1", "eu-2", "eu-3", "eu-4"];
    let scene = start_with(&names, &["--feature-gates=StickyBindings=true"]).await;
    subscribe(&scene.client, "groups", in_eu(&json!({"schedulingBySubGroup": true}))).await;
    let mut rival = Rival::start(&scene.control_plane).await;
    until_placed(&scene, "groups", &["eu-1", "eu-2"]).await;
    is_content(&mut rival).await;
    for (turn, chosen) in [(1, ["eu-2", "eu-3"]), (2, ["eu-3", "eu-4"])] {
        let before = stored_each(&scene, &["groups"]).await;
        let (asked, attempts) = (reviews(&scene.sheetanchor).await, rival.attempts("groups").len());
        rival.set_turn(turn);
        label(&scene, "eu-1", json!({"turn": turn.to_string()})).await;
        until_attempted(&rival, "groups", attempts).await;
        is_content(&mut rival).await;
        assert_eq!(rival.attempts("groups").pop().unwrap().patch["status"]["bindingClusters"], clusters(&chosen));
        assert_eq!(stored_each(&scene, &["groups"]).await, before);
        assert_eq!(reviews(&scene.sheetanchor).await - asked, 1, "one call for each write");
    }
    assert_eq!(outcomes(&scene.sheetanchor).await["SwappedBack"], 2);

    // One with a person's taint is dropped for a reason.
    rival.pause();
    taint(&scene, "eu-1", json!([{"key": "example.com/maintenance", "effect": "NoSchedule"}])).await;
    eventually("the webhook to see the taint", PATIENCE, async || {
        (scene.cluster("eu-1").await?["taints"] != json!([])).then_some(())
    })
    .await;
    rival.set_turn(0);
    rival.resume().await;
    until_placed(&scene, "groups", &["eu-2", "eu-3"]).await;
    is_content(&mut rival).await;
}
