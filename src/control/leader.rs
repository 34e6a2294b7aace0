//! Keeps the Lease, and tells the writers whether they may write.
//!
//! What to do is decided by [`Election`]; this makes the calls, one at a time and each with a
//! deadline, and publishes the outcome. Every write is a `replace` that carries the
//! resourceVersion it was decided on, or a `create`; never a patch.
//!
//! Losing the Lease ends the term, not the process: the candidate competes again at once.

mod leadership;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use thiserror::Error;
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use leadership::Leadership;

use crate::clock;
use crate::domain::election::{Claim, Election, Loss, Miss, Record, Step, Timing};
use crate::wire::lease as wire;

use super::error_line::error_line;

/// Giving the Lease back may delay the exit by this much; the others then wait for its expiry.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);
/// The pause between two attempts to give it back.
const RELEASE_RETRY: Duration = Duration::from_millis(100);

/// Which Lease, under which name, and how fast.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    timing: Timing,
    namespace: String,
    name: String,
    identity: String,
}

impl LeaderConfig {
    /// Checks `--leader-elect-resource-namespace` and `--leader-elect-resource-name`. The identity
    /// must be this process's alone: see [`identity`].
    pub fn new(timing: Timing, namespace: &str, name: &str, identity: String) -> Result<Self, LeaderConfigError> {
        let flags = [
            ("--leader-elect-resource-namespace", namespace),
            ("--leader-elect-resource-name", name),
            ("the identity of the candidate", &identity),
        ];
        if let Some((flag, _)) = flags.into_iter().find(|(_, value)| value.is_empty()) {
            return Err(LeaderConfigError::Empty { flag });
        }
        Ok(Self { timing, namespace: namespace.to_owned(), name: name.to_owned(), identity })
    }

    /// A client for the Lease alone. It neither repeats a call by itself (a write that comes late is
    /// worse than one that failed), nor keeps a connection on which nothing arrives.
    pub fn client(&self, mut config: kube::Config) -> kube::Result<Client> {
        let limit = Some(self.timing.call_limit());
        config.default_retry = false;
        (config.connect_timeout, config.read_timeout, config.write_timeout) = (limit, limit, limit);
        config.reset_reader_on_write = true;
        Client::try_from(config)
    }
}

/// A candidate that cannot be set up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LeaderConfigError {
    /// A name is missing.
    #[error("{flag}: must not be empty")]
    Empty {
        /// Which one.
        flag: &'static str,
    },
}

/// A name that no other process has: the pod's or host's, for people, and a random part.
pub fn identity() -> String {
    let host = ["POD_NAME", "HOSTNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let host = host.or_else(|| std::fs::read_to_string("/etc/hostname").ok()).unwrap_or_default();
    format!("{}_{}_{:016x}", host.trim(), std::process::id(), random())
}

/// One contender for the Lease. [`Candidate::run`] it in a task of its own.
pub struct Candidate {
    api: Api<Lease>,
    config: LeaderConfig,
    election: Election,
    leadership: Leadership,
    /// The Lease as last seen, with what others put on it.
    known: Lease,
    /// We have sent a write: the Lease may name us, even if no answer said so.
    claimed: bool,
    /// The call that fails, once that has been logged.
    trouble: Option<Call>,
    jitter: u64,
}

impl Candidate {
    /// A candidate that has not called yet; `client` should come from [`LeaderConfig::client`].
    pub fn new(client: Client, config: LeaderConfig) -> Self {
        Self {
            api: Api::namespaced(client, &config.namespace),
            election: Election::new(config.identity.clone(), config.timing, clock::now()),
            leadership: Leadership::none(),
            known: wire::absent(&config.name),
            claimed: false,
            trouble: None,
            jitter: random(),
            config,
        }
    }

    /// The handle for the writers.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Competes for the Lease until `stop`; then ends the term, gives the Lease back, and returns
    /// within 2 s. The writers should have finished before `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.turn() => {}
            }
        }
        self.release().await;
    }

    /// One step. May be dropped at any point: a write without an answer is never built on.
    async fn turn(&mut self) {
        match self.election.next(clock::now()) {
            Step::Wait(until) => sleep_until(until.into()).await,
            Step::Read => self.read().await,
            Step::Write(claim) => self.write(claim).await,
            Step::StepDown(loss) => self.step_down(&loss),
        }
    }

    async fn read(&mut self) {
        let deadline = self.election.call_deadline(clock::now());
        let answer = timeout_at(deadline.into(), self.api.get_opt(&self.config.name)).await;
        let answer = answer.map_err(|_| CallError::Timeout).and_then(|answer| answer.map_err(CallError::Api));
        match answer.and_then(|lease| lease.map(versioned).transpose()) {
            Ok(found) => {
                let (record, lease) = found.unzip();
                self.known = lease.unwrap_or_else(|| wire::absent(&self.config.name));
                let retry = self.retry();
                self.election.saw(record, clock::now(), retry);
                self.answered(Call::Read);
            }
            Err(error) => self.failed(Call::Read, &error, Miss::Failed),
        }
    }

    async fn write(&mut self, claim: Claim) {
        let config = &self.config;
        let duration = config.timing.lease_duration();
        let lease = wire::claimed(self.known.clone(), claim, &config.identity, duration, clock::wall());
        let params = PostParams::default();
        self.claimed = true;
        let sent_at = clock::now();
        let call = async {
            match claim {
                Claim::Create { .. } => self.api.create(&params, &lease).await,
                Claim::Renew | Claim::TakeOver { .. } => self.api.replace(&config.name, &params, &lease).await,
            }
        };
        let answer = timeout_at(self.election.call_deadline(sent_at).into(), call).await;
        let answer = answer.map_err(|_| CallError::Timeout).and_then(|answer| answer.map_err(CallError::Api));
        match answer.and_then(versioned) {
            Ok((record, lease)) => {
                self.known = lease;
                let led = self.election.term().is_some();
                if self.election.wrote(record, sent_at, clock::now()) {
                    self.leadership.set_term(self.election.term());
                    if !led {
                        self.acquired();
                    }
                    self.answered(Call::Write);
                } else {
                    self.failed(Call::Write, &CallError::Late, Miss::Failed);
                }
            }
            Err(error) => {
                let miss = error.miss(claim);
                self.failed(Call::Write, &error, miss);
            }
        }
    }

    fn acquired(&mut self) {
        self.trouble = None;
        let transitions = self.election.term().map(|term| term.transitions);
        info!(identity = %self.config.identity, transitions, "leadership acquired");
    }

    fn step_down(&mut self, loss: &Loss) {
        self.leadership.set_term(None);
        if self.election.term().is_some() {
            self.trouble = None;
            info!(identity = %self.config.identity, reason = %loss, "leadership lost");
        }
        self.election.stepped_down(clock::now());
    }

    fn answered(&mut self, call: Call) {
        // A Lease that can be read but not written fails at every other call, and is one trouble.
        let settled =
            self.trouble <= Some(call) || self.election.holder().is_some_and(|holder| holder != self.config.identity);
        if settled {
            self.trouble = None;
            self.leadership.set_trouble(None);
        }
        if self.leadership.set_holder(self.election.holder()) {
            info!(holder = self.election.holder(), "holder of the Lease changed");
        }
    }

    fn failed(&mut self, call: Call, error: &CallError, miss: Miss) {
        let retry = self.retry();
        self.election.missed(miss, clock::now(), retry);
        if miss == Miss::Conflict {
            debug!(error = %error_line(error), "Lease changed under a write");
            return;
        }
        let line = error_line(error);
        let known = self.trouble;
        self.trouble = known.max(Some(call));
        if known.is_none() {
            let leading = self.election.term().is_some();
            let (namespace, name) = (&self.config.namespace, &self.config.name);
            warn!(error = %line, leading, %namespace, %name, "cannot reach the Lease, will keep trying");
        }
        self.leadership.set_trouble(Some(line));
    }

    /// Between 80 and 100 % of the retry period, so that replicas do not call in step.
    fn retry(&mut self) -> Duration {
        // A step of Knuth's MMIX generator; its high bits are even enough for this.
        self.jitter = self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let percent = 80 + u32::try_from((self.jitter >> 33) % 21).unwrap_or(20);
        self.config.timing.retry_period() * percent / 100
    }

    async fn release(&mut self) {
        self.step_down(&Loss::Released);
        if !self.claimed {
            return;
        }
        match timeout(RELEASE_LIMIT, self.give_back()).await {
            Ok(()) => info!(identity = %self.config.identity, "Lease released"),
            Err(_) => {
                warn!(identity = %self.config.identity, "cannot release the Lease, the others wait for its expiry")
            }
        }
    }

    /// Empties the Lease if it names us. Reads it first: a write of ours may still have been under way.
    async fn give_back(&self) {
        loop {
            match self.api.get_opt(&self.config.name).await.map(|lease| lease.map(versioned)) {
                Ok(Some(Ok((record, lease)))) if record.holder == self.config.identity => {
                    let free = wire::released(lease, clock::wall());
                    if self.api.replace(&self.config.name, &PostParams::default(), &free).await.is_ok() {
                        return;
                    }
                }
                Ok(None | Some(Ok(_))) => return,
                Ok(Some(Err(_))) | Err(_) => {}
            }
            sleep(RELEASE_RETRY).await;
        }
    }
}

impl Drop for Candidate {
    /// Whatever ends the task ends the term.
    fn drop(&mut self) {
        self.leadership.set_term(None);
    }
}

/// The two kinds of calls. A write that is answered says that a read would be as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Read,
    Write,
}

/// Why a call brought nothing to build on.
#[derive(Debug, Error)]
enum CallError {
    #[error("no answer in time")]
    Timeout,
    #[error("the answer came too late, or does not confirm the write")]
    Late,
    #[error("the answer carries no resourceVersion")]
    Versionless,
    #[error("{0}")]
    Api(#[source] kube::Error),
}

impl CallError {
    /// 409: it changed, or is there already. 404 for a replace: it was deleted.
    fn miss(&self, claim: Claim) -> Miss {
        match self {
            Self::Api(kube::Error::Api(status)) if status.code == 409 => Miss::Conflict,
            Self::Api(kube::Error::Api(status)) if status.code == 404 && !matches!(claim, Claim::Create { .. }) => {
                Miss::Conflict
            }
            _ => Miss::Failed,
        }
    }
}

fn versioned(lease: Lease) -> Result<(Record, Lease), CallError> {
    match wire::record(&lease) {
        Some(record) => Ok((record, lease)),
        None => Err(CallError::Versionless),
    }
}

/// Randomness from the operating system, through the only door that the standard library has.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
