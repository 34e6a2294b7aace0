//! A rival scheduler rewrites placements because of our taint, and the guard holds them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::guarded::{
    bring_back, clusters, is_content, label, lose, outcomes, reviews, start, stored_each, until_attempted, until_placed,
};
use crate::rival::Rival;
use crate::subscriptions::{FEED, change, everywhere, scale, shared, spec, status, subscribe};
use crate::wait::{PATIENCE, eventually};

const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Two of the clusters in eu and one of those in us.
fn by_region() -> Value {
    let subscriber = |region, clusters| {
        json!({
            "clusterAffinity": {"matchLabels": {"region": region}},
            "subGroupStrategy": {"minClusters": clusters},
        })
    };
    spec(&json!([subscriber("eu", 2), subscriber("us", 1)]), &json!({"schedulingBySubGroup": true}))
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_off_means_off_a_rival_cannot_move_a_placement_because_of_our_taint() {
    let scene = start(&["eu-1", "eu-2", "eu-3", "us-1", "us-2"]).await;
    for (name, spec) in [("web", everywhere(&json!({"tier": "app"}))), ("groups", by_region()), ("shared", shared())] {
        subscribe(&scene.client, name, spec).await;
    }
    subscribe(&scene.client, "edited", everywhere(&json!({"region": "eu"}))).await;
    scale(&scene.client, "shared", 7).await;
    let mut rival = Rival::start(&scene.control_plane).await;
    until_placed(&scene, "web", &["eu-1", "eu-2", "eu-3", "us-1", "us-2"]).await;
    until_placed(&scene, "groups", &["eu-1", "eu-2", "us-1"]).await;
    until_placed(&scene, "shared", &["eu-1", "eu-2", "eu-3", "us-1", "us-2"]).await;
    until_placed(&scene, "edited", &["eu-1", "eu-2", "eu-3"]).await;
    is_content(&mut rival).await;
    let all = ["web", "groups", "shared"];
    let (before, writes, asked) = (stored_each(&scene, &all).await, rival.writes(), reviews(&scene.sheetanchor).await);

    // The loss: each is dropped once and put back, which changes nothing and wakes nobody.
    lose(&scene, "eu-2").await;
    until_attempted(&rival, "web", 1).await;
    until_attempted(&rival, "groups", 1).await;
    is_content(&mut rival).await;
    assert_eq!(stored_each(&scene, &all).await, before);
    // Three: web, groups, edited. A taint does not make Clusternet divide again.
    assert_eq!(rival.writes() - writes, 3);
    assert_eq!(reviews(&scene.sheetanchor).await - asked, 3, "one call for each write");
    assert_eq!(outcomes(&scene.sheetanchor).await["Kept"], 3);
    let attempt = rival.attempts("web").pop().unwrap();
    assert_eq!(attempt.patch["status"]["bindingClusters"], clusters(&["eu-1", "eu-3", "us-1", "us-2"]));
    assert_eq!(attempt.answer.code, 200);
    let reason = "kept cluster \"fleet/eu-2\": it was dropped only because of our taint ClusterStatusUnknown";
    assert_eq!(attempt.answer.warnings, [reason]);
    let attempt = rival.attempts("groups").pop().unwrap();
    assert_eq!(attempt.patch["status"]["bindingClusters"], clusters(&["eu-1", "eu-3", "us-1"]));
    let reason = "left out cluster \"fleet/eu-3\": it was added in place of one that stays";
    assert!(attempt.answer.warnings.iter().any(|warning| warning == reason), "{attempt:?}");

    // Another spec is another decision: that one may leave the lost cluster.
    change(&scene.client, "edited", json!({"spec": {"priority": 7}})).await;
    until_placed(&scene, "edited", &["eu-1", "eu-3"]).await;

    // The return: all is as before, and only what the user changed is placed again.
    let writes = rival.attempts("web").len() + rival.attempts("groups").len();
    bring_back(&scene, "eu-2").await;
    until_placed(&scene, "edited", &["eu-1", "eu-2", "eu-3"]).await;
    is_content(&mut rival).await;
    assert_eq!(placements(&stored_each(&scene, &all).await), placements(&before));
    assert_eq!(rival.attempts("web").len() + rival.attempts("groups").len(), writes);
    for name in all {
        assert_eq!(rival.history(name).len(), 2, "not only placed once: {:?}", rival.history(name));
    }
}

fn placements(all: &[(Value, String)]) -> Vec<&Value> {
    all.iter().map(|(status, _)| status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_decided_before_the_return_and_lands_after_it_drops_nobody() {
    let scene = start(&["eu-1", "eu-2", "eu-3", "us-1"]).await;
    subscribe(&scene.client, "web", everywhere(&json!({"tier": "app"}))).await;
    subscribe(&scene.client, "groups", by_region()).await;
    let mut rival = Rival::start(&scene.control_plane).await;
    until_placed(&scene, "web", &["eu-1", "eu-2", "eu-3", "us-1"]).await;
    until_placed(&scene, "groups", &["eu-1", "eu-2", "us-1"]).await;
    is_content(&mut rival).await;
    let before = stored_each(&scene, &["web", "groups"]).await;

    rival.set_lateness(NEVER);
    lose(&scene, "eu-2").await;
    eventually("the rival to decide", PATIENCE, async || {
        let waiting = rival.undelivered();
        (waiting == ["groups", "web"]).then_some(()).ok_or_else(|| format!("{waiting:?}"))
    })
    .await;
    bring_back(&scene, "eu-2").await;
    assert_eq!((rival.attempts("web").len(), rival.attempts("groups").len()), (1, 1));
    rival.set_lateness(Duration::ZERO);
    rival.land();
    is_content(&mut rival).await;

    for name in ["web", "groups"] {
        let attempts = rival.attempts(name);
        let [_, late] = &*attempts else { panic!("{attempts:?}") };
        assert_eq!(late.patch["status"]["bindingClusters"], clusters(&["eu-1", "eu-3", "us-1"]));
        assert_eq!(late.answer.code, 200);
        let reason = &late.answer.warnings[0];
        assert!(reason.starts_with("kept cluster \"fleet/eu-2\""), "{reason}");
        assert!(reason.contains("our taint, which went"), "{reason}");
        assert_eq!(rival.history(name).len(), 2, "not only placed once: {:?}", rival.history(name));
    }
    assert_eq!(stored_each(&scene, &["web", "groups"]).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_replicas_conserved_when_a_feed_is_scaled_while_a_cluster_is_lost() {
    let scene = start(&["eu-1", "eu-2", "us-1", "us-2"]).await;
    subscribe(&scene.client, "shared", shared()).await;
    scale(&scene.client, "shared", 10).await;
    let mut rival = Rival::start(&scene.control_plane).await;
    until_placed(&scene, "shared", &["eu-1", "eu-2", "us-1", "us-2"]).await;
    assert_eq!(status(&scene.client, "shared").await["replicas"], json!({FEED: [3, 3, 2, 2]}));

    // Up: the rival leaves the lost one out, so it gets its three back from those that gained.
    lose(&scene, "eu-2").await;
    scale(&scene.client, "shared", 13).await;
    until_attempted(&rival, "shared", 1).await;
    is_content(&mut rival).await;
    let attempt = rival.attempts("shared").pop().unwrap();
    assert_eq!(attempt.patch["status"]["bindingClusters"], clusters(&["eu-1", "us-1", "us-2"]));
    assert_eq!(attempt.patch["status"]["replicas"], json!({FEED: [5, 4, 4]}));
    let kept = status(&scene.client, "shared").await;
    assert_eq!(kept["bindingClusters"], clusters(&["eu-1", "eu-2", "us-1", "us-2"]));
    assert_eq!(kept["desiredReleases"], 4);
    let shares = shares(&kept);
    assert_eq!((shares.iter().sum::<i64>(), shares[1]), (13, 3), "{shares:?}");

    // Down to less than the others have: nothing is theirs to give, and the sum is what counts.
    scale(&scene.client, "shared", 3).await;
    until_attempted(&rival, "shared", 2).await;
    is_content(&mut rival).await;
    let attempt = rival.attempts("shared").pop().unwrap();
    assert_eq!(attempt.patch["status"]["replicas"], json!({FEED: [1, 1, 1]}));
    let kept = status(&scene.client, "shared").await;
    assert_eq!(kept["replicas"], json!({FEED: [1, 0, 1, 1]}));
    assert_eq!(kept["desiredReleases"], 4);

    // The return moves nothing by itself.
    bring_back(&scene, "eu-2").await;
    is_content(&mut rival).await;
    assert_eq!(status(&scene.client, "shared").await, kept);
    assert_eq!(rival.attempts("shared").len(), 3);
}

fn shares(status: &Value) -> Vec<i64> {
    status["replicas"][FEED].as_array().unwrap().iter().map(|count| count.as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_healthy_untouched_a_rival_that_swaps_healthy_clusters_is_let_be() {
    let scene = start(&["eu-1", "eu-2", "eu-3", "eu-4", "us-1", "us-2"]).await;
    subscribe(&scene.client, "groups", by_region()).await;
    let mut rival = Rival::start(&scene.control_plane).await;
    until_placed(&scene, "groups", &["eu-1", "eu-2", "us-1"]).await;

    // Any event on any cluster makes it choose again.
    for (turn, chosen) in [(1, ["eu-2", "eu-3", "us-2"]), (2, ["eu-3", "eu-4", "us-1"]), (3, ["eu-1", "eu-4", "us-2"])]
    {
        rival.set_turn(turn);
        label(&scene, "us-1", json!({"turn": turn.to_string()})).await;
        until_placed(&scene, "groups", &chosen).await;
        is_content(&mut rival).await;
        let attempt = rival.attempts("groups").pop().unwrap();
        assert_eq!(attempt.patch["status"]["bindingClusters"], clusters(&chosen));
        assert_eq!((attempt.answer.code, attempt.answer.warnings), (200, Vec::new()));
    }
    let outcomes = outcomes(&scene.sheetanchor).await;
    assert!(!outcomes.contains_key("Kept") && !outcomes.contains_key("Refilled"), "{outcomes:?}");

    // In the write that drops a lost one too, only that one is put back: eu-1 goes as the rival
    // wants, eu-2 and eu-3 come, and for eu-4, which stays, the last of these goes out.
    lose(&scene, "eu-4").await;
    rival.set_turn(1);
    label(&scene, "us-1", json!({"turn": "last"})).await;
    until_placed(&scene, "groups", &["eu-2", "eu-4", "us-2"]).await;
    is_content(&mut rival).await;
    assert_eq!(status(&scene.client, "groups").await["desiredReleases"], 3);
}
