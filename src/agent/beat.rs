//! The beat: probes, sums, one patch; over and over, one at a time.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::{sleep_until, timeout_at};

use crate::clock;
use crate::control::error_line::error_line;
use crate::wire::report::Report;

use super::hub::Hub;
use super::inventory::Inventory;
use super::member::{Look, Member};
use super::schedule::{Schedule, limit, promised_seconds};

/// What beats.
pub(super) struct Heart {
    member: Member,
    inventory: Option<Inventory>,
    hub: Hub,
    period: Duration,
    /// What the log says of the member, and of the hub: it tells only what changes.
    ready: Option<bool>,
    outcome: Option<Result<(), String>>,
}

impl Heart {
    /// Without an inventory there are no sums in its reports.
    pub(super) fn new(member: Member, inventory: Option<Inventory>, hub: Hub, period: Duration) -> Self {
        Self { member, inventory, hub, period, ready: None, outcome: None }
    }

    /// Beats for ever.
    pub(super) async fn run(mut self) -> Infallible {
        let mut schedule = Schedule::new(self.period);
        let mut next = schedule.first(clock::now());
        loop {
            sleep_until(next.into()).await;
            let started = clock::now();
            let outcome = self.beat(started).await.map_err(|error| error_line(error.as_ref()));
            next = schedule.next(started, clock::now(), outcome.is_ok());
            self.tell(outcome);
        }
    }

    /// Asks the member, and has the answer stored on the hub: all within the limit for one beat.
    async fn beat(&mut self, started: Instant) -> anyhow::Result<()> {
        let limit = limit(self.period);
        let deadline = started + limit;
        // What the member does not answer in half the time must still reach the hub.
        let look = self.member.look(limit / 2).await;
        self.notice(&look);
        let report = Report {
            observed: look.observed,
            period_seconds: promised_seconds(self.period),
            probes: look.probes,
            version: look.version,
            tally: self.inventory.as_ref().and_then(Inventory::tally),
        };
        let stored = timeout_at(deadline.into(), self.hub.store(&report, deadline)).await;
        stored.context("the hub does not answer in time")?
    }

    fn notice(&mut self, look: &Look) {
        let ready = look.probes.ready();
        if self.ready.replace(ready) == Some(ready) {
            return;
        }
        match &look.trouble {
            Some(reason) => tracing::warn!(reason, "the member's API server is not ready"),
            None => tracing::info!("the member's API server is ready"),
        }
    }

    fn tell(&mut self, outcome: Result<(), String>) {
        if self.outcome.as_ref() != Some(&outcome) {
            let cluster = self.hub.key();
            match &outcome {
                Ok(()) => tracing::info!(%cluster, "beating"),
                Err(error) => tracing::warn!(%cluster, error, "no beat, retrying"),
            }
        }
        self.outcome = Some(outcome);
    }
}
