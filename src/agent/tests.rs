//! The agent before a hub and a member that do what no real one can be made to do.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::beat::Heart;
use super::fake::{FakeHub, FakeMember, Mood};
use super::hub::{Door, Hub};
use super::member::Member;
use crate::clock;
use crate::domain::cluster::ClusterKey;
use crate::domain::report::Probes;
use crate::wire::report::Report;

const PERIOD: Duration = Duration::from_secs(10);

fn cluster() -> Value {
    json!({
        "metadata": {"namespace": "fleet", "name": "eu-1", "uid": "u", "resourceVersion": "7"},
        "spec": {"clusterId": "id", "syncMode": "Dual", "taints": [{"key": "gpu", "effect": "NoSchedule"}]},
        "status": {"appPusher": true, "conditions": [fine("kept")]},
    })
}

fn fine(message: &str) -> Value {
    json!({"type": "x/Fine", "status": "Unknown", "reason": "R", "message": message,
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 7})
}

struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn start(hub: &FakeHub, member: &FakeMember, period: Duration) -> Running {
    let hub = Hub::new(Door::to(hub.client()), ClusterKey::new("fleet", "eu-1"));
    let heart = Heart::new(Member::new(member.client()), None, hub, period);
    Running(tokio::spawn(heart.run()).abort_handle())
}

fn stamps(patches: &[(Value, bool)]) -> Vec<Timestamp> {
    let stamp = |patch: &Value| patch["status"]["lastObservedTime"].as_str().unwrap().parse().unwrap();
    patches.iter().map(|(patch, _)| stamp(patch)).collect()
}

/// The condition `Ready`: its status, and since when.
fn ready(hub: &FakeHub) -> (Value, Value) {
    let object = hub.state().object.clone().unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
    (ready["status"].clone(), ready["lastTransitionTime"].clone())
}

#[tokio::test(start_paused = true)]
async fn a_beat_is_one_patch_of_the_status_on_the_version_that_was_stored_last() {
    let hub = FakeHub::with(cluster());
    let running = start(&hub, &FakeMember::new(Mood::Well), PERIOD);
    sleep(5 * PERIOD).await;
    drop(running);

    let state = hub.state();
    assert_eq!((state.reads, state.most_in_flight), (1, 1));
    assert!((4..=6).contains(&state.patches.len()), "{}", state.patches.len());
    for (number, (patch, stored)) in state.patches.iter().enumerate() {
        assert!(stored);
        let version = (7 + number).to_string();
        let Value::Object(fields) = patch else { panic!("{patch}") };
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["metadata", "status"]);
        assert_eq!(patch["metadata"], json!({"resourceVersion": version}));
    }
    assert!(stamps(&state.patches).is_sorted_by(|earlier, later| earlier < later));
    let mut object = state.object.clone().unwrap();
    assert_eq!(object["spec"], cluster()["spec"]);
    let status = object["status"].as_object_mut().unwrap();
    let since = stamps(&state.patches)[0].strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    status.remove("lastObservedTime");
    let ready = json!({"type": "Ready", "status": "True", "reason": "ManagedClusterReady",
        "message": "managed cluster is ready.", "lastTransitionTime": since});
    let expected = json!({"appPusher": true, "heartbeatFrequencySeconds": 10, "livez": true, "readyz": true,
        "healthz": true, "k8sVersion": "v1.35.4", "platform": "linux/amd64", "conditions": [fine("kept"), ready]});
    assert_eq!(object["status"], expected);
}

#[tokio::test(start_paused = true)]
async fn after_a_conflict_it_decides_again_on_what_is_stored_then() {
    let hub = FakeHub::with(cluster());
    let theirs = json!({"status": {"conditions": [fine("newer")]}});
    hub.state().rivals = [theirs.clone(), theirs].into();
    let _running = start(&hub, &FakeMember::new(Mood::Well), PERIOD);
    sleep(PERIOD / 2).await;
    let newest = json!({"status": {"conditions": [fine("newest")]}});
    hub.state().rivals = [newest].into();
    sleep(PERIOD).await;

    let state = hub.state();
    let outcomes: Vec<bool> = state.patches.iter().map(|(_, stored)| *stored).collect();
    assert_eq!((outcomes, state.reads), (vec![false, false, true, false, true], 4));
    let stamps = stamps(&state.patches);
    assert_eq!((stamps[0], stamps[3]), (stamps[2], stamps[4]), "one beat is one look at the member");
    let conditions = &state.object.as_ref().unwrap()["status"]["conditions"];
    assert_eq!((&conditions[0], &conditions[1]["type"]), (&fine("newest"), &json!("Ready")));
}

#[tokio::test(start_paused = true)]
async fn whoever_always_writes_first_makes_it_give_up_the_beat_and_ask_the_member_anew() {
    let hub = FakeHub::with(cluster());
    hub.state().rivals = vec![json!({"status": {"appPusher": false}}); 7].into();
    let _running = start(&hub, &FakeMember::new(Mood::Well), PERIOD);
    sleep(PERIOD).await;

    let state = hub.state();
    let stamps = stamps(&state.patches);
    assert_eq!(state.patches.iter().position(|(_, stored)| *stored), Some(7));
    assert!(stamps[..5].iter().all(|stamp| *stamp == stamps[0]) && stamps[5] > stamps[4], "{stamps:?}");
    assert_eq!(stamps[5], stamps[7]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_hangs_has_one_request_in_flight_and_gets_no_beat_that_is_past() {
    let hub = FakeHub::with(cluster());
    let _running = start(&hub, &FakeMember::new(Mood::Well), PERIOD);
    sleep(2 * PERIOD).await;
    hub.state().hangs = true;
    sleep(10 * PERIOD).await;
    let woken = clock::wall();
    {
        let mut state = hub.state();
        assert_eq!(state.most_in_flight, 1);
        state.hangs = false;
        state.patches.clear();
    }
    sleep(2 * PERIOD).await;
    let state = hub.state();
    assert!(!state.patches.is_empty() && stamps(&state.patches).iter().all(|stamp| *stamp > woken));
}

#[tokio::test(start_paused = true)]
async fn a_report_that_took_too_long_is_not_sent() {
    let fake = FakeHub::with(cluster());
    let mut hub = Hub::new(Door::to(fake.client()), ClusterKey::new("fleet", "eu-1"));
    let report =
        Report { observed: clock::wall(), period_seconds: 10, probes: Probes::default(), version: None, tally: None };
    let error = hub.store(&report, clock::now()).await.unwrap_err();
    assert!(error.to_string().contains("took too long"), "{error}");
    assert_eq!(fake.counts(), (1, 0));
    hub.store(&report, clock::now() + PERIOD).await.unwrap();
    assert_eq!(fake.counts(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_not_ready_or_does_not_answer_still_beats_and_says_so() {
    for mood in [Mood::Unready, Mood::Hangs] {
        let (hub, member) = (FakeHub::with(cluster()), FakeMember::new(Mood::Well));
        let _running = start(&hub, &member, PERIOD);
        sleep(2 * PERIOD).await;
        let before = ready(&hub);
        assert_eq!(before.0, "True");

        member.set(mood);
        sleep(2 * PERIOD).await;
        let (status, since) = ready(&hub);
        assert!(status == "False" && since != before.1, "{mood:?}: {status} since {since}");
        let beats = hub.state().patches.len();
        sleep(3 * PERIOD).await;
        assert!(hub.state().patches.len() >= beats + 2, "{mood:?}");
        assert_eq!(ready(&hub), (status, since.clone()), "{mood:?}");
        let stored = hub.state().object.clone().unwrap()["status"].take();
        assert_eq!((&stored["livez"], &stored["readyz"]), (&json!(mood == Mood::Unready), &json!(false)));
        assert_eq!(stored["k8sVersion"], "v1.35.4", "what it does not know stays");

        member.set(Mood::Well);
        sleep(2 * PERIOD).await;
        assert!(ready(&hub).0 == "True" && ready(&hub).1 != since, "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_its_object_and_beats_as_soon_as_it_is_there() {
    let hub = FakeHub::default();
    let period = Duration::from_secs(180);
    let _running = start(&hub, &FakeMember::new(Mood::Well), period);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(hub.counts(), (0, 0));
    hub.state().object = Some(cluster());
    sleep(period).await;
    assert_eq!(ready(&hub).0, "True");
    assert_eq!(hub.state().object.as_ref().unwrap()["status"]["heartbeatFrequencySeconds"], 180);

    // Deleted and created again: another object, with versions of its own.
    hub.state().object = None;
    sleep(period).await;
    hub.state().object = Some(cluster());
    sleep(2 * period).await;
    assert_eq!(ready(&hub).0, "True");
}
