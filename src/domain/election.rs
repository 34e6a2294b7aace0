//! Decides who may write, from what one candidate has seen of the Lease.
//!
//! Invariant: at no instant do two candidates hold the leadership. A holder counts its term from
//! the moment its last successful write was *sent*, and for `renew_deadline` only; a rival counts
//! from the moment it *saw* the record change, and for the longer `lease_duration`; and the API
//! refuses a write that was decided on an older resourceVersion. Stamps of other clocks are never
//! read, so skew cannot elect two leaders.

use std::fmt;
use std::time::{Duration, Instant};

use thiserror::Error;

/// No lease is asked to outlive this: a dead leader would block its successor as long.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Shorter times than this are not kept by a Lease (whole seconds), nor by a busy API.
const SHORTEST: Duration = Duration::from_secs(1);

/// The three times of an election: `retry_period < renew_deadline < lease_duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

impl Timing {
    /// Checks the three times, as given to `--leader-elect-lease-duration`,
    /// `--leader-elect-renew-deadline` and `--leader-elect-retry-period`.
    pub fn new(
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, TimingError> {
        if retry_period < SHORTEST {
            return Err(TimingError::RetryPeriod(retry_period));
        }
        if renew_deadline <= retry_period {
            return Err(TimingError::RenewDeadline(renew_deadline, retry_period));
        }
        if lease_duration <= renew_deadline || lease_duration > LONGEST {
            return Err(TimingError::LeaseDuration(lease_duration, renew_deadline));
        }
        Ok(Self { lease_duration, renew_deadline, retry_period })
    }

    /// How long the others wait, after the record last changed, before they take over.
    pub fn lease_duration(&self) -> Duration {
        self.lease_duration
    }

    /// How long a holder trusts its last successful write.
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// The pause between two attempts.
    pub fn retry_period(&self) -> Duration {
        self.retry_period
    }

    /// How long one call to the API may take: two of them fit into a term.
    pub fn call_limit(&self) -> Duration {
        self.renew_deadline / 2
    }
}

impl Default for Timing {
    /// Those of Kubernetes' own components: 15 s, 10 s, 2 s.
    fn default() -> Self {
        let (lease_duration, renew_deadline) = (Duration::from_secs(15), Duration::from_secs(10));
        Self { lease_duration, renew_deadline, retry_period: Duration::from_secs(2) }
    }
}

/// Times that cannot elect exactly one leader.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TimingError {
    /// Too short to be kept.
    #[error("--leader-elect-retry-period={0:?}: must be at least {SHORTEST:?}")]
    RetryPeriod(Duration),
    /// A holder could not renew in time.
    #[error("--leader-elect-renew-deadline={0:?}: must be longer than --leader-elect-retry-period ({1:?})")]
    RenewDeadline(Duration, Duration),
    /// A holder could still write when the next one starts, or a dead one would block it for ever.
    #[error(
        "--leader-elect-lease-duration={0:?}: must be longer than --leader-elect-renew-deadline ({1:?}) and at most {LONGEST:?}"
    )]
    LeaseDuration(Duration, Duration),
}

/// What the Lease says, as read or as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The resourceVersion: another one means that the record changed. Never empty.
    pub version: String,
    /// Who holds it; empty when it was given back.
    pub holder: String,
    /// How long the holder asks others to wait, when it says so.
    pub duration: Option<Duration>,
    /// How often the holder has changed.
    pub transitions: u32,
}

/// The Lease as one candidate knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It has never been there.
    Absent,
    /// It was there, as last seen, and is gone.
    Deleted(Record),
    /// It is there.
    Present(Record),
}

/// What a candidate that does not hold the leadership may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write the Lease so.
    Claim(Claim),
    /// Somebody holds it: not before this instant.
    Wait(Instant),
}

/// A write to the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Create it.
    Create {
        /// The transitions to write.
        transitions: u32,
    },
    /// It names us: stamp it anew.
    Renew,
    /// It names nobody, or somebody who has expired: put our name there.
    TakeOver {
        /// The transitions to write.
        transitions: u32,
    },
}

/// Decides what `identity` may do about a Lease that it has seen unchanged since `since`.
///
/// A foreign holder is given its own duration (`fallback` when it names none), counted by our
/// clock from `since`, however old its stamps are. A Lease that disappeared under a foreign holder
/// is waited for as well: that holder may not know yet.
pub fn decide(seen: &Observation, since: Instant, identity: &str, fallback: Duration, now: Instant) -> Decision {
    let (record, claim) = match seen {
        Observation::Absent => return Decision::Claim(Claim::Create { transitions: 0 }),
        Observation::Present(record) if record.holder == identity => return Decision::Claim(Claim::Renew),
        Observation::Present(record) => (record, Claim::TakeOver { transitions: record.transitions.saturating_add(1) }),
        Observation::Deleted(record) => (record, Claim::Create { transitions: record.transitions.saturating_add(1) }),
    };
    let free = record.holder.is_empty() || record.holder == identity;
    let expiry = since + record.duration.unwrap_or(fallback);
    if free || now >= expiry { Decision::Claim(claim) } else { Decision::Wait(expiry) }
}

/// One uninterrupted stretch of leadership. Writers keep the one they decided under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// When it began; tells two terms of one process apart.
    pub since: Instant,
    /// The first instant at which nothing may be written any more, unless it is renewed.
    pub valid_until: Instant,
    /// The fencing token: the Lease's `leaseTransitions`.
    pub transitions: u32,
}

/// Why a term ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No renewal was answered in time.
    Deadline,
    /// The Lease names somebody else.
    Taken {
        /// Who.
        by: String,
    },
    /// Somebody emptied the Lease.
    Freed,
    /// Somebody deleted the Lease.
    Deleted,
    /// We gave it back.
    Released,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("no renewal was answered before the renew deadline"),
            Self::Taken { by } => write!(f, "the Lease names {by:?}"),
            Self::Freed => f.write_str("somebody else emptied the Lease"),
            Self::Deleted => f.write_str("somebody deleted the Lease"),
            Self::Released => f.write_str("released on the way out"),
        }
    }
}

/// What a candidate does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this instant.
    Wait(Instant),
    /// Read the Lease.
    Read,
    /// Write the Lease, on the resourceVersion last seen.
    Write(Claim),
    /// Stop the writers, then ask again.
    StepDown(Loss),
}

/// How an attempt ended that brought no answer to build on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Refused: the Lease is not what we thought.
    Conflict,
    /// Failed, or nobody knows: it may have been applied, or still be.
    Failed,
}

/// One candidate: what it has seen, and whether it holds the leadership.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    timing: Timing,
    seen: Option<(Observation, Instant)>,
    /// Whether what was seen may be written on. Any write uses it up, any answer to one restores it.
    current: bool,
    /// The last write was refused as well: do not hurry.
    refused: bool,
    term: Option<Term>,
    due: Instant,
}

impl Election {
    /// A candidate that has seen nothing yet.
    pub fn new(identity: String, timing: Timing, now: Instant) -> Self {
        Self { identity, timing, seen: None, current: false, refused: false, term: None, due: now }
    }

    /// The term we hold, if nobody asked too late.
    pub fn term(&self) -> Option<Term> {
        self.term
    }

    /// Whose name the Lease bore when last seen.
    pub fn holder(&self) -> Option<&str> {
        match &self.seen {
            Some((Observation::Present(record), _)) if !record.holder.is_empty() => Some(&record.holder),
            _ => None,
        }
    }

    /// What to do at `now`. A `Write` uses up what is known: without an answer, the next step reads.
    pub fn next(&mut self, now: Instant) -> Step {
        if let Some(loss) = self.lost(now) {
            return Step::StepDown(loss);
        }
        if now < self.due {
            return Step::Wait(self.term.map_or(self.due, |term| self.due.min(term.valid_until)));
        }
        let Some((observed, since)) = self.seen.as_ref().filter(|_| self.current) else {
            return Step::Read;
        };
        match decide(observed, *since, &self.identity, self.timing.lease_duration, now) {
            Decision::Wait(until) => Step::Wait(until),
            Decision::Claim(claim) => {
                self.current = false;
                Step::Write(claim)
            }
        }
    }

    /// The instant at which a call made at `now` is given up.
    pub fn call_deadline(&self, now: Instant) -> Instant {
        let limit = now + self.timing.call_limit();
        self.term.map_or(limit, |term| limit.min(term.valid_until))
    }

    /// A read was answered at `now` (`None`: no such Lease). Unless it can be claimed, the next one
    /// follows after `retry`, or when its holder expires.
    pub fn saw(&mut self, record: Option<Record>, now: Instant, retry: Duration) {
        let before = self.seen.take();
        let observed = match (record, &before) {
            (Some(record), _) => Observation::Present(record),
            (None, Some((Observation::Present(last) | Observation::Deleted(last), _))) => {
                Observation::Deleted(last.clone())
            }
            (None, _) => Observation::Absent,
        };
        let since = before.filter(|(old, _)| *old == observed).map_or(now, |(_, since)| since);
        match decide(&observed, since, &self.identity, self.timing.lease_duration, now) {
            Decision::Wait(until) => self.pause(until.min(now + retry)),
            Decision::Claim(_) => (self.current, self.due) = (true, self.due.min(now)),
        }
        self.seen = Some((observed, since));
    }

    /// Our write, sent at `sent_at`, was answered with `record` at `now`. True when it counts: then
    /// we hold the leadership until `sent_at + renew_deadline`.
    ///
    /// It does not count after the deadline of the term it should have renewed; nor when the
    /// version stood still, because then no rival saw anything change.
    pub fn wrote(&mut self, record: Record, sent_at: Instant, now: Instant) -> bool {
        let valid_until = sent_at + self.timing.renew_deadline;
        let limit = self.term.map_or(valid_until, |term| term.valid_until);
        let moved = !matches!(&self.seen, Some((Observation::Present(old), _)) if old.version == record.version);
        let counts = now < limit && moved && record.holder == self.identity;
        if counts {
            let since = self.term.map_or(sent_at, |term| term.since);
            self.term = Some(Term { since, valid_until, transitions: record.transitions });
            self.current = true;
            self.refused = false;
            self.due = now + self.timing.retry_period;
        } else {
            self.pause(now);
        }
        self.seen = Some((Observation::Present(record), now));
        counts
    }

    /// A call brought no answer to build on. A refusal is looked into at once, the first time.
    pub fn missed(&mut self, miss: Miss, now: Instant, retry: Duration) {
        let hurry = miss == Miss::Conflict && !self.refused;
        self.refused = miss == Miss::Conflict;
        self.pause(if hurry { now } else { now + retry });
    }

    /// The writers were stopped: compete again, from a fresh read.
    pub fn stepped_down(&mut self, now: Instant) {
        self.term = None;
        self.pause(now);
    }

    fn pause(&mut self, until: Instant) {
        self.current = false;
        self.due = until;
    }

    fn lost(&self, now: Instant) -> Option<Loss> {
        let term = self.term?;
        if now >= term.valid_until {
            return Some(Loss::Deadline);
        }
        match &self.seen {
            Some((Observation::Present(record), _)) if record.holder == self.identity => None,
            Some((Observation::Present(record), _)) if record.holder.is_empty() => Some(Loss::Freed),
            Some((Observation::Present(record), _)) => Some(Loss::Taken { by: record.holder.clone() }),
            Some((Observation::Deleted(_) | Observation::Absent, _)) | None => Some(Loss::Deleted),
        }
    }
}

#[cfg(test)]
mod tests;
