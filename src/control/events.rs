//! Writes notices as Kubernetes Events: queued, rate-limited, and never in anybody's way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use crate::clock;
use crate::domain::health::Verdict;
use crate::metrics::Metrics;
use crate::state::action::{Notice, Subject, Topic};
use crate::wire::managed_cluster::{GROUP, KIND, VERSION};

use super::brake_record;
use super::leader::Leadership;

/// Events that may be written at once: one for each cluster of a large incident.
const BURST: u32 = 200;
/// Events per second after that.
const RATE: u32 = 10;
/// No Event waits longer for its answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Writes the Events of the leader; drops those of the others, who see the same things.
pub struct EventWriter {
    recorder: Recorder,
    leadership: Leadership,
    namespace: String,
    metrics: Arc<Metrics>,
}

impl EventWriter {
    /// `identity` tells replicas apart; `namespace` is that of our own objects.
    pub fn new(client: Client, leadership: Leadership, namespace: &str, identity: &str, metrics: Arc<Metrics>) -> Self {
        let reporter = Reporter { controller: "sheetanchor".to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter), leadership, namespace: namespace.to_owned(), metrics }
    }

    /// Writes until the queue closes.
    pub async fn run(self, mut notices: mpsc::Receiver<Notice>) {
        let mut bucket = Bucket::new(clock::now());
        while let Some(notice) = notices.recv().await {
            let now = clock::now();
            if self.leadership.held(now).is_none() {
                continue;
            }
            if !bucket.take(now) {
                self.metrics.events_dropped.inc();
                continue;
            }
            let (event, about) = (event(&notice), self.about(&notice.subject));
            let publishing = self.recorder.publish(&event, &about);
            let published = tokio::time::timeout(TIMEOUT, publishing).await;
            if !matches!(published, Ok(Ok(()))) {
                self.metrics.events_dropped.inc();
                tracing::debug!(?published, "event not written");
            }
        }
    }

    fn about(&self, subject: &Subject) -> ObjectReference {
        match subject {
            Subject::Cluster(key, uid) => ObjectReference {
                api_version: Some(format!("{GROUP}/{VERSION}")),
                kind: Some(KIND.to_owned()),
                namespace: Some(key.namespace().to_owned()),
                name: Some(key.name().to_owned()),
                uid: Some(uid.clone()),
                ..ObjectReference::default()
            },
            Subject::Node(name, uid) => ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(name.clone()),
                uid: Some(uid.clone()),
                ..ObjectReference::default()
            },
            Subject::Fleet => ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("ConfigMap".to_owned()),
                namespace: Some(self.namespace.clone()),
                name: Some(brake_record::NAME.to_owned()),
                ..ObjectReference::default()
            },
        }
    }
}

fn event(notice: &Notice) -> Event {
    let (reason, action) = match notice.topic {
        Topic::Verdict(verdict) | Topic::Found(verdict) => (format!("Cluster{verdict}"), "Judge"),
        Topic::TaintUndone => ("TaintUndone".to_owned(), "Taint"),
        Topic::NodeAmbiguous => ("NodeAmbiguous".to_owned(), "MapNode"),
        Topic::ClusterInitIgnored => ("ClusterInitIgnored".to_owned(), "Observe"),
        Topic::BrakeOn => ("BrakeOn".to_owned(), "Brake"),
        Topic::BrakeOff => ("BrakeOff".to_owned(), "Brake"),
    };
    let good = matches!(notice.topic, Topic::Verdict(Verdict::Ready | Verdict::Recovering) | Topic::BrakeOff);
    Event {
        type_: if good { EventType::Normal } else { EventType::Warning },
        reason,
        note: Some(notice.text.clone()),
        action: action.to_owned(),
        secondary: None,
    }
}

/// A token bucket.
struct Bucket {
    tokens: u32,
    filled: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { tokens: BURST, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let tick = Duration::from_secs(1) / RATE;
        while self.tokens < BURST && now >= self.filled + tick {
            self.tokens += 1;
            self.filled += tick;
        }
        if self.tokens == BURST {
            self.filled = now;
        }
        let taken = self.tokens > 0;
        self.tokens -= u32::from(taken);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_limited_to_a_burst_and_a_rate() {
        let start = clock::now();
        let mut bucket = Bucket::new(start);
        assert_eq!((0..1000).filter(|_| bucket.take(start)).count(), BURST as usize);
        let later = start + Duration::from_secs(3);
        assert_eq!((0..1000).filter(|_| bucket.take(later)).count(), 3 * RATE as usize);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..1000).filter(|_| bucket.take(much_later)).count(), BURST as usize);
    }
}
