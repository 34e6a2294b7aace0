//! How processes start, stop, pause, lose their watches and hand over the lease.

use std::time::Duration;

use sheetanchor::state::action::Event;

use super::chaos::Act;
use super::world::{Happening, World};
use crate::stage::{ms, s};

/// A leader that cannot renew gives up after this.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// A watch on which nothing comes is noticed after this.
const DEAD_WATCH: Duration = Duration::from_secs(35);

impl World {
    /// A process starts: it reads the brake's record, then lists, then watches.
    pub(super) fn start(&mut self, replica: usize) {
        let process = &mut self.replicas[replica];
        process.running = true;
        let (life, watch) = (process.life, process.watch);
        let named = self.api.brake.clone();
        self.tell(replica, Event::BrakeFound(named));
        let phase = ms(self.random.u64(0..50));
        self.later(phase, Happening::Tick { replica, life });
        self.later(phase, Happening::Relist { replica, watch });
    }

    pub(super) fn restart(&mut self, replica: usize, away: Duration) {
        let now = self.instant();
        if self.lease == Some(replica) {
            // Released when it stops, or run out when it was killed.
            let vacancy = if self.random.bool() { s(1) } else { s(15) };
            self.lease = None;
            self.later(vacancy, Happening::Elect);
        }
        self.replicas[replica].die(now, self.plan.taint_key);
        let life = self.replicas[replica].life;
        self.later(away, Happening::Start { replica, life });
    }

    pub(super) fn pause(&mut self, replica: usize, length: Duration) {
        let process = &mut self.replicas[replica];
        if process.paused || !process.running {
            return;
        }
        process.paused = true;
        let life = process.life;
        self.later(length, Happening::Resume { replica, life });
        self.later(RENEW_DEADLINE, Happening::LeaseRunsOut { replica, life });
    }

    /// A process goes on. Whether time or the queue is looked at first is anybody's guess.
    pub(super) fn resume(&mut self, replica: usize) {
        self.replicas[replica].paused = false;
        if self.random.bool() {
            self.tell(replica, Event::Tick);
        }
        for event in std::mem::take(&mut self.replicas[replica].backlog) {
            self.hand(replica, event);
        }
    }

    /// A watch dies, and what it had under way is lost.
    pub(super) fn break_watch(&mut self, replica: usize, deaf: Duration, away: Duration) {
        let process = &mut self.replicas[replica];
        if !process.watching {
            return;
        }
        process.watching = false;
        process.watch += 1;
        let watch = process.watch;
        self.later(deaf, Happening::Broke { replica, watch, away });
    }

    pub(super) fn relist(&mut self, replica: usize) {
        let watch = self.replicas[replica].watch;
        if !self.serves() {
            let wait = ms(self.random.u64(200..5_000));
            return self.later(wait, Happening::Relist { replica, watch });
        }
        self.replicas[replica].watching = true;
        let (clusters, nodes) = self.api.list();
        let (first, second) = if self.random.bool() { (clusters, nodes) } else { (nodes, clusters) };
        self.send(replica, first);
        self.send(replica, second);
    }

    pub(super) fn outage(&mut self, deaf: Duration, length: Duration) {
        if !self.up {
            return;
        }
        self.up = false;
        self.later(length, Happening::ApiReturns);
        for replica in 0..self.replicas.len() {
            let deaf = deaf.mul_f64(self.random.f64());
            self.break_watch(replica, deaf, Duration::ZERO);
        }
        if let Some(replica) = self.lease {
            let life = self.replicas[replica].life;
            self.later(RENEW_DEADLINE, Happening::LeaseRunsOut { replica, life });
        }
    }

    /// The API server stands still: nothing breaks, and nothing comes.
    pub(super) fn hang(&mut self, length: Duration) {
        if !self.serves() {
            return;
        }
        self.hung = Some(self.now + length);
        self.law.hang(self.now, self.now + length);
        self.later(length, Happening::HangEnds);
        if length > DEAD_WATCH {
            for replica in 0..self.replicas.len() {
                let act = Act::BreakWatch { replica, deaf: Duration::ZERO, away: Duration::ZERO };
                self.later(DEAD_WATCH, Happening::Act(act));
            }
        }
        if let Some(replica) = self.lease {
            let life = self.replicas[replica].life;
            self.later(RENEW_DEADLINE, Happening::LeaseRunsOut { replica, life });
        }
    }

    /// The API server answers.
    pub(super) fn serves(&self) -> bool {
        self.up && self.hung.is_none()
    }

    /// The leader loses its lease, and knows it at once unless it is paused.
    pub(super) fn depose(&mut self, vacancy: Duration) {
        if let Some(replica) = self.lease.take() {
            self.hand(replica, Event::Leading(false));
            self.later(vacancy, Happening::Elect);
        }
    }

    pub(super) fn elect(&mut self) {
        if self.lease.is_some() {
            return;
        }
        let able = |i: &usize| self.replicas[*i].running && !self.replicas[*i].paused;
        let able: Vec<usize> = (0..self.replicas.len()).filter(able).collect();
        if able.is_empty() || !self.serves() {
            return self.later(s(2), Happening::Elect);
        }
        let replica = able[self.random.usize(..able.len())];
        self.lease = Some(replica);
        self.hand(replica, Event::Leading(true));
    }
}
