use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::advance;

use super::fake::{End, Fate, Hub, Paused, Weather};
use super::*;
use crate::domain::election::Term;

mod simulation;

const MS: Duration = Duration::from_millis(1);
const LEASE: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);

fn calm() -> Weather {
    Box::new(|_, _| Fate::new(5, 5, End::Answered))
}

/// Weather that a test can change while the candidate runs.
#[derive(Clone)]
struct Dial(Arc<Mutex<(Fate, Fate)>>);

impl Dial {
    fn new() -> Self {
        let calm = Fate::new(5, 5, End::Answered);
        Self(Arc::new(Mutex::new((calm, calm))))
    }

    fn set(&self, reads: Fate, writes: Fate) {
        *self.0.lock().unwrap() = (reads, writes);
    }

    fn weather(&self) -> Weather {
        let dial = self.clone();
        Box::new(move |method, _| {
            let (reads, writes) = *dial.0.lock().unwrap();
            if method == Method::GET { reads } else { writes }
        })
    }
}

fn candidate(hub: &Hub, identity: &str, timing: Timing, weather: Weather) -> Candidate {
    let config = LeaderConfig::new(timing, "ns", "l", identity.to_owned()).unwrap();
    let mut candidate = Candidate::new(hub.line(weather), config);
    candidate.jitter = u64::from(identity.bytes().last().unwrap_or(0));
    hub.watch(identity, &candidate.leadership());
    candidate
}

struct Running {
    leadership: Leadership,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn start(hub: &Hub, identity: &str, weather: Weather) -> Running {
    let candidate = candidate(hub, identity, Timing::default(), weather);
    let (leadership, stop) = (candidate.leadership(), CancellationToken::new());
    Running { leadership, stop: stop.clone(), task: tokio::spawn(candidate.run(stop)) }
}

impl Running {
    fn held(&self) -> Option<Term> {
        self.leadership.held(clock::now())
    }
}

fn theirs(transitions: u32) -> serde_json::Value {
    json!({"metadata": {"name": "l", "annotations": {"theirs": "kept"}}, "spec": {
        "holderIdentity": "them", "leaseDurationSeconds": 20, "leaseTransitions": transitions,
        "acquireTime": "2001-01-01T00:00:00.000000Z", "renewTime": "2001-01-01T00:00:00.000000Z",
    }})
}

#[tokio::test(start_paused = true)]
async fn creates_the_lease_and_renews_it() {
    let (hub, began) = (Hub::default(), clock::now());
    let a = start(&hub, "a", calm());
    let term = a.leadership.acquired().await;
    assert_eq!(clock::now() - began, 20 * MS, "a read and a write of 10 ms each");
    assert_eq!((term.since, term.valid_until), (began + 10 * MS, began + 10 * MS + RENEW), "counted from the sending");
    assert_eq!((term.transitions, a.leadership.holder()), (0, Some("a".to_owned())));

    sleep(Duration::from_secs(300)).await;
    let now = a.held().unwrap();
    assert_eq!((now.since, now.transitions), (term.since, 0), "one term all the time");
    assert!(*a.leadership.changes().borrow());
    let spec = &hub.lease().unwrap()["spec"];
    assert_eq!((&spec["leaseDurationSeconds"], &spec["leaseTransitions"]), (&json!(15), &json!(0)));
    assert!(spec["acquireTime"].as_str() < spec["renewTime"].as_str(), "{spec}");
    assert_eq!(hub.calls().iter().filter(|(_, method, _)| method == Method::GET).count(), 1, "renews without reading");
    assert_eq!(hub.wrong(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn waits_out_a_foreign_holder_however_old_its_stamps_are() {
    let (hub, began) = (Hub::default(), clock::now());
    hub.put(Some(theirs(6)));
    let a = start(&hub, "a", calm());
    let term = a.leadership.acquired().await;
    let waited = term.since - began;
    assert!(waited >= Duration::from_secs(20) && waited < Duration::from_secs(20) + 50 * MS, "{waited:?}");
    assert_eq!(term.transitions, 7);
    let lease = hub.lease().unwrap();
    assert_eq!(lease["metadata"]["annotations"]["theirs"], "kept");
    assert_ne!(lease["spec"]["acquireTime"], theirs(6)["spec"]["acquireTime"]);
}

#[tokio::test(start_paused = true)]
async fn steps_down_before_another_can_take_over() {
    let (hub, dial) = (Hub::default(), Dial::new());
    let a = start(&hub, "a", dial.weather());
    let first = a.leadership.acquired().await;
    let b = start(&hub, "b", calm());
    sleep(Duration::from_secs(60)).await;
    let last = a.held().unwrap();
    assert_eq!(last.since, first.since);

    dial.set(Fate::new(0, 0, End::Broken), Fate::new(0, 0, End::Broken));
    a.leadership.lost(last).await;
    let until = clock::now();
    assert!(until >= last.valid_until && until < last.valid_until + RETRY + 2 * MS, "the last renewal was under way");
    let next = b.leadership.acquired().await;
    assert!(next.since >= until + (LEASE - RENEW) - 2 * MS, "{:?}", next.since - until);
    assert!(next.since < until + (LEASE - RENEW) + RETRY + 100 * MS, "{:?}", next.since - until);
    assert_eq!((next.transitions, a.held()), (1, None));
    assert!(!*a.leadership.changes().borrow());
    assert_eq!(a.leadership.last_error().as_deref(), Some("cannot reach the API server: connection reset"));

    dial.set(Fate::new(5, 5, End::Answered), Fate::new(5, 5, End::Answered));
    sleep(2 * RETRY).await;
    assert_eq!((a.leadership.last_error(), a.leadership.holder()), (None, Some("b".to_owned())));
    assert_eq!(hub.wrong(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn release_hands_over_within_a_retry_period() {
    let hub = Hub::default();
    let a = start(&hub, "a", calm());
    a.leadership.acquired().await;
    let b = start(&hub, "b", calm());
    sleep(Duration::from_secs(31)).await;

    let asked = clock::now();
    a.stop.cancel();
    a.task.await.unwrap();
    assert!(clock::now() - asked <= 30 * MS);
    assert_eq!(hub.lease().unwrap()["spec"]["holderIdentity"], "");
    let term = b.leadership.acquired().await;
    assert!(clock::now() - asked <= RETRY + 40 * MS, "{:?}", clock::now() - asked);
    assert_eq!((term.transitions, hub.wrong()), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn release_settles_a_write_that_was_under_way() {
    // The renewal arrives before the release reads, between its read and its write, and after both.
    for (late_ms, calls) in [(3, 5), (13, 7), (30, 5)] {
        let (hub, dial) = (Hub::default(), Dial::new());
        let a = start(&hub, "a", dial.weather());
        let term = a.leadership.acquired().await;
        dial.set(Fate::new(5, 5, End::Answered), Fate::new(late_ms, 5, End::Silent));
        sleep_until((term.since + 10 * MS + RETRY + MS).into()).await;
        dial.set(Fate::new(5, 5, End::Answered), Fate::new(5, 5, End::Answered));
        a.stop.cancel();
        a.task.await.unwrap();
        sleep(RETRY).await;
        assert_eq!(hub.lease().unwrap()["spec"]["holderIdentity"], "", "{late_ms}");
        assert_eq!(hub.calls().len(), calls, "{late_ms}: {:?}", hub.calls());
        assert_eq!(hub.wrong(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn release_never_delays_the_exit_by_more_than_its_limit() {
    for end in [End::Broken, End::Silent, End::Refused(409)] {
        let (hub, dial) = (Hub::default(), Dial::new());
        let a = start(&hub, "a", dial.weather());
        a.leadership.acquired().await;
        dial.set(Fate::new(5, 5, End::Answered), Fate::new(0, 0, end));
        let asked = clock::now();
        a.stop.cancel();
        tokio::task::yield_now().await;
        assert_eq!(a.held(), None, "stepped down before any call");
        a.task.await.unwrap();
        assert!(clock::now() - asked <= RELEASE_LIMIT + MS);
    }
    let hub = Hub::default();
    let b = start(&hub, "b", Box::new(|_, _| Fate::new(0, 0, End::Broken)));
    sleep(10 * RETRY).await;
    b.stop.cancel();
    let asked = clock::now();
    b.task.await.unwrap();
    assert_eq!(clock::now(), asked, "a candidate that never wrote has nothing to release");
}

#[tokio::test(start_paused = true)]
async fn a_lost_or_late_answer_does_not_extend_the_term() {
    for end in [End::Lost, End::Silent] {
        let (hub, dial) = (Hub::default(), Dial::new());
        let a = start(&hub, "a", dial.weather());
        a.leadership.acquired().await;
        sleep(RETRY - 15 * MS).await;
        let term = a.held().unwrap();
        dial.set(Fate::new(5, 5, End::Answered), Fate::new(5, 5, end));
        sleep_until((term.valid_until - MS).into()).await;
        assert_eq!(a.held(), Some(term), "{end:?}");
        assert!(hub.calls().len() >= 4, "the renewals were applied: {:?}", hub.calls());
        sleep(MS).await;
        assert_eq!(a.held(), None, "{end:?}");

        dial.set(Fate::new(5, 5, End::Answered), Fate::new(5, 5, End::Answered));
        let again = a.leadership.acquired().await;
        assert!(again.since > term.valid_until && again.transitions == term.transitions);
        assert_eq!(hub.wrong(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_create_is_found_by_reading() {
    let (hub, dial) = (Hub::default(), Dial::new());
    dial.set(Fate::new(5, 5, End::Answered), Fate::new(5, 5, End::Lost));
    let a = start(&hub, "a", dial.weather());
    sleep(15 * MS).await;
    dial.set(Fate::new(5, 5, End::Answered), Fate::new(5, 5, End::Answered));
    let term = a.leadership.acquired().await;
    assert_eq!((term.transitions, hub.holders().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_edit_costs_a_read_not_the_term() {
    let hub = Hub::default();
    let a = start(&hub, "a", calm());
    let term = a.leadership.acquired().await;
    let mut lease = hub.lease().unwrap();
    lease["metadata"]["labels"] = json!({"theirs": "kept"});
    hub.put(Some(lease));
    sleep(3 * RETRY).await;
    assert_eq!(a.held().map(|held| held.since), Some(term.since));
    assert!(a.held().unwrap().valid_until > term.valid_until);
    let calls = hub.calls();
    let conflicts: Vec<_> = calls.windows(2).filter(|pair| pair[0].2 == 409).collect();
    assert_eq!((conflicts.len(), a.leadership.last_error()), (1, None));
    assert_eq!((conflicts[0][1].0 - conflicts[0][0].0, &conflicts[0][1].1), (10 * MS, &Method::GET), "at once");
    assert_eq!(hub.lease().unwrap()["metadata"]["labels"]["theirs"], "kept");
}

#[tokio::test(start_paused = true)]
async fn a_person_who_takes_the_lease_away_is_obeyed() {
    for (by, put) in [("another", Some(theirs(0))), ("nobody", None)] {
        let hub = Hub::default();
        let a = start(&hub, "a", calm());
        let term = a.leadership.acquired().await;
        hub.put(put);
        a.leadership.lost(term).await;
        let noticed = clock::now() - term.since;
        assert!(noticed <= RETRY + 40 * MS, "{by}: at the next renewal, not later: {noticed:?}");
        let again = a.leadership.acquired().await;
        assert_eq!(again.transitions, 1, "{by}: the token grows");
    }
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_does_not_run_holds_nothing() {
    let hub = Hub::default();
    let candidate = candidate(&hub, "a", Timing::default(), calm());
    let (leadership, stop, began) = (candidate.leadership(), CancellationToken::new(), clock::now());
    let stuck = (began + Duration::from_secs(5), began + Duration::from_secs(60));
    let task = tokio::spawn(Paused::new(candidate.run(stop), vec![stuck]));
    let b = start(&hub, "b", calm());
    let term = leadership.acquired().await;
    sleep(Duration::from_secs(5)).await;
    let term = Term { valid_until: leadership.held(clock::now()).unwrap().valid_until, ..term };
    assert_eq!(leadership.held(term.valid_until - MS), Some(term));
    assert_eq!(leadership.held(term.valid_until), None);
    leadership.lost(term).await;
    assert!(clock::now() - term.valid_until <= MS, "told so, too");
    assert!(*leadership.changes().borrow(), "the notice is only a notice");
    b.leadership.acquired().await;

    sleep_until((stuck.1 + RETRY).into()).await;
    assert_eq!((leadership.held(clock::now()), leadership.holder()), (None, Some("b".to_owned())));
    assert!(!*leadership.changes().borrow());
    task.abort();
    assert_eq!(hub.wrong(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_dead_task_holds_nothing() {
    let hub = Hub::default();
    let a = start(&hub, "a", calm());
    a.leadership.acquired().await;
    a.task.abort();
    let _ = a.task.await;
    assert_eq!(a.leadership.held(clock::now()), None);
}

#[tokio::test(start_paused = true)]
async fn keeps_trying_and_says_why_it_fails() {
    let (hub, dial) = (Hub::default(), Dial::new());
    dial.set(Fate::new(5, 5, End::Refused(403)), Fate::new(5, 5, End::Answered));
    let a = start(&hub, "a", dial.weather());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(a.leadership.last_error().as_deref(), Some("not today (403 Refused)"));
    let calls = hub.calls().len();
    assert!((30..=38).contains(&calls), "one per 1.6 to 2 s: {calls}");

    // A namespace that is missing: the read says 404 as for any Lease, only the create tells.
    dial.set(Fate::new(5, 5, End::Answered), Fate::new(5, 5, End::Refused(404)));
    sleep(2 * RETRY).await;
    // All the time, though every other call succeeds.
    for _ in 0..100 {
        assert_eq!(a.leadership.last_error().as_deref(), Some("not today (404 Refused)"));
        sleep(100 * MS).await;
    }

    dial.set(Fate::new(5, 5, End::Answered), Fate::new(5, 5, End::Answered));
    a.leadership.acquired().await;
    sleep(RETRY).await;
    assert_eq!(a.leadership.last_error(), None);

    dial.set(Fate::new(0, 0, End::Silent), Fate::new(0, 0, End::Silent));
    sleep(RENEW - MS).await;
    assert_eq!(a.leadership.last_error().as_deref(), Some("no answer in time"));
}

#[tokio::test(start_paused = true)]
async fn a_term_is_lost_even_when_the_next_has_begun() {
    let (leadership, since) = (Leadership::none(), clock::now());
    let first = Term { since, valid_until: since + RENEW, transitions: 0 };
    leadership.set_term(Some(first));
    let mut lost = Box::pin(leadership.lost(first));
    assert!(futures::poll!(&mut lost).is_pending());
    leadership.set_term(Some(Term { valid_until: since + LEASE, ..first }));
    assert!(futures::poll!(&mut lost).is_pending(), "renewed");
    leadership.set_term(None);
    leadership.set_term(Some(Term { since: since + MS, ..first }));
    assert!(futures::poll!(&mut lost).is_ready());
}

#[tokio::test(start_paused = true)]
async fn without_an_election_it_always_leads() {
    let leadership = Leadership::always();
    let term = leadership.acquired().await;
    advance(Duration::from_secs(1_000_000)).await;
    let later = leadership.held(clock::now()).unwrap();
    assert_eq!((later.since, later.transitions), (term.since, 0));
    assert!(later.valid_until > clock::now() && *leadership.changes().borrow());
    assert!(timeout(Duration::from_secs(1_000_000), leadership.lost(term)).await.is_err());
}

#[test]
fn names_are_required_and_identities_differ() {
    let error = |namespace, name| {
        LeaderConfig::new(Timing::default(), namespace, name, "a".to_owned()).map_err(|error| error.to_string()).err()
    };
    assert_eq!(error("ns", "l"), None);
    assert_eq!(error("", "l").as_deref(), Some("--leader-elect-resource-namespace: must not be empty"));
    assert_eq!(error("ns", "").as_deref(), Some("--leader-elect-resource-name: must not be empty"));
    assert_ne!(identity(), identity());
}

#[tokio::test]
async fn the_client_does_not_repeat_calls() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hub = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        for calls in 0.. {
            let Ok(Ok((mut stream, _))) = timeout(Duration::from_millis(300), listener.accept()).await else {
                return calls;
            };
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        0
    });
    let config = LeaderConfig::new(Timing::default(), "ns", "l", "a".to_owned()).unwrap();
    let client = config.client(kube::Config::new(hub.parse().unwrap())).unwrap();
    let answer = Api::<Lease>::namespaced(client, "ns").get("l").await;
    assert!(matches!(answer, Err(kube::Error::Api(status)) if status.code == 503));
    assert_eq!(served.await.unwrap(), 1);
}
