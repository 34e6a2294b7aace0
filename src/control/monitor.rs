//! The loop that owns the index: feeds it events and time, publishes its snapshots, passes on
//! its actions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::clock;
use crate::domain::cluster::ClusterKey;
use crate::metrics::Metrics;
use crate::state::action::{Action, Event, Notice, Outcome, Write};
use crate::state::index::Index;
use crate::state::snapshot::Snapshots;

/// How often silence is judged: a cluster past its limit is Lost at most this much later.
const TICK: Duration = Duration::from_millis(50);
/// Events taken from the queue before time is looked at again.
const BATCH: usize = 256;

/// Everything that the loop is connected to.
pub struct Monitor {
    /// What it owns.
    pub index: Index,
    /// Where it publishes.
    pub snapshots: Snapshots,
    /// What happens: watches, and the ends of writes.
    pub events: mpsc::Receiver<Event>,
    /// Whether we lead.
    pub leading: watch::Receiver<bool>,
    /// Writes for the tainter.
    pub writes: mpsc::Sender<Write>,
    /// Notices for people.
    pub notices: mpsc::Sender<Notice>,
    /// Questions for a sign of life.
    pub questions: mpsc::Sender<(u64, ClusterKey)>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Called once, when the first snapshot is out: from then on there is a fleet to serve.
    pub first_published: Option<Box<dyn FnOnce() + Send>>,
}

impl Monitor {
    /// Runs until a channel closes, which is the end of the process.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        self.leading.mark_changed();
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    // After a pause of ours the beats that waited meanwhile count before the silence.
                    for _ in 0..self.events.len() {
                        let Ok(event) = self.events.try_recv() else { break };
                        self.take(event);
                    }
                    self.take(Event::Tick);
                }
                changed = self.leading.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let leading = *self.leading.borrow_and_update();
                    self.metrics.leading.set(leading.into());
                    self.take(Event::Leading(leading));
                }
                count = self.events.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    for event in batch.drain(..) {
                        self.take(event);
                    }
                }
            }
            self.publish(clock::now());
        }
    }

    fn take(&mut self, event: Event) {
        for action in self.index.apply(event, clock::now()) {
            match action {
                Action::Write(write) => self.pass_on(write),
                Action::Tell(notice) => self.tell(notice),
                // One that finds the queue full waits behind others without an answer, and is asked again.
                Action::Ask(number, key) => _ = self.questions.try_send((number, key)),
            }
        }
    }

    fn pass_on(&mut self, write: Write) {
        let target = write.target();
        if self.writes.try_send(write).is_err() {
            // The queue is full: the index tries again later.
            self.index.apply(Event::Wrote(target, Outcome::Failed), clock::now());
        }
    }

    fn tell(&mut self, notice: Notice) {
        tracing::info!(topic = ?notice.topic, "{}", notice.text);
        self.metrics.noticed(notice.topic);
        if self.notices.try_send(notice).is_err() {
            self.metrics.events_dropped.inc();
        }
    }

    fn publish(&mut self, now: Instant) {
        if let Some(snapshot) = self.index.publication(now) {
            self.metrics.observe(&snapshot, self.index.beats());
            match (self.snapshots.load().blind, snapshot.blind) {
                (false, true) => tracing::warn!("blind: heartbeats cannot be seen; until they can, no cluster ages"),
                (true, false) => tracing::info!("heartbeats can be seen"),
                _ => {}
            }
            self.snapshots.publish(snapshot);
            if let Some(tell) = self.first_published.take() {
                tell();
            }
        }
    }
}
