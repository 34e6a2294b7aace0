//! Decides whether a managed cluster is alive, from heartbeats alone.
//!
//! Invariant: nothing here reads a clock, and no age is taken from a cluster's stamp. A heartbeat
//! counts from the [`Moment`] we saw it, so skew between clusters cannot cause a failover.

mod adoption;
mod explain;
mod policy;

use std::fmt;
use std::time::Duration;

use super::cluster::AgentReady;
use super::sight::Moment;
use super::taint::Fault;

pub use self::policy::HealthPolicy;

/// A cluster is newly silent, and Late, after this share of its period: 1.5.
const LATE_PERCENT: u32 = 150;
/// Reports of Ready=False in a row that make a cluster NotReady.
const NOT_READY_REPORTS: u32 = 2;
/// Losses older than this no longer count against a cluster.
const LOSS_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);
/// On-time beats asked of a cluster after its first loss in [`LOSS_MEMORY`]; doubled with each further one.
const RECOVERY_BEATS: u32 = 2;
/// The losses after which that number stops doubling: 2 × 2³ = 16 beats.
const COUNTED_LOSSES: usize = 4;

/// What we conclude about a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Beats on time, and its agent says Ready.
    Ready,
    /// Silent for more than 1.5 periods, or not heard of yet.
    Late,
    /// Past the limit, but without witnesses: treated as before.
    Suspected,
    /// Past the limit, witnessed.
    Lost,
    /// Its own agent reported Ready=False twice in a row.
    NotReady,
    /// No beat within the limit since it was registered.
    NeverReported,
    /// Beats again, but not yet long enough.
    Recovering,
}

impl Verdict {
    /// Every verdict, in the order of the enum.
    pub const ALL: [Self; 7] =
        [Self::Ready, Self::Late, Self::Suspected, Self::Lost, Self::NotReady, Self::NeverReported, Self::Recovering];

    /// The word people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Late => "Late",
            Self::Suspected => "Suspected",
            Self::Lost => "Lost",
            Self::NotReady => "NotReady",
            Self::NeverReported => "NeverReported",
            Self::Recovering => "Recovering",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one heartbeat said.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The agent's own word.
    pub ready: AgentReady,
    /// The period it declares, in seconds.
    pub declared_period_seconds: Option<i64>,
}

/// The health of one cluster.
#[derive(Clone, Debug)]
pub struct Health {
    standing: Verdict,
    since: Moment,
    suspected: bool,
    /// Taken from a taint that somebody else wrote: no beat seen, no silence measured by us.
    adopted: bool,
    /// Why it is, or was until it recovers, not schedulable.
    fault: Option<Fault>,
    period: Duration,
    /// Ages count from here: the last beat, or when we first saw the cluster.
    seen: Moment,
    last_beat: Option<Moment>,
    /// It has beaten at some time, perhaps before we started.
    reported: bool,
    not_ready_reports: u32,
    not_ready_since: Option<Moment>,
    on_time_beats: u32,
    losses: Vec<Moment>,
    /// Not Lost before this: the time for one more beat after the brake let go.
    reprieve: Moment,
    /// Its object cannot be read since then: its age stands still.
    unreadable_since: Option<Moment>,
}

impl Health {
    /// A cluster that we see for the first time.
    ///
    /// Its age starts at 0, however old its stamp looks. `reported`: it has a stamp. `carried`:
    /// our taint, if it bears one; it then keeps the verdict that the taint names until it beats.
    pub fn first_seen(
        now: Moment,
        reported: bool,
        report: Report,
        carried: Option<Fault>,
        policy: &HealthPolicy,
    ) -> Self {
        let mut health = Self {
            standing: if reported { Verdict::Ready } else { Verdict::Late },
            since: now,
            suspected: false,
            adopted: false,
            fault: None,
            period: policy.period(report.declared_period_seconds),
            seen: now,
            last_beat: None,
            reported,
            not_ready_reports: 0,
            not_ready_since: None,
            on_time_beats: 0,
            losses: Vec::new(),
            reprieve: Moment::default(),
            unreadable_since: None,
        };
        if let Some(fault) = carried {
            health.adopt(now, fault);
        }
        health
    }

    /// A heartbeat arrived.
    pub fn beat(&mut self, now: Moment, report: Report, policy: &HealthPolicy) {
        let on_time = now.since(self.seen) <= self.late_limit();
        self.seen = now;
        self.last_beat = Some(now);
        self.reported = true;
        self.suspected = false;
        self.period = policy.period(report.declared_period_seconds);
        let says_ready = report.ready != AgentReady::False;
        if says_ready {
            self.not_ready_reports = 0;
            self.not_ready_since = None;
        } else {
            self.not_ready_reports = self.not_ready_reports.saturating_add(1);
            self.not_ready_since.get_or_insert(now);
        }
        match self.standing {
            Verdict::Lost => self.enter(now, Verdict::Recovering),
            Verdict::NotReady if says_ready => self.enter(now, Verdict::Recovering),
            Verdict::NeverReported if says_ready => self.enter(now, Verdict::Ready),
            Verdict::NeverReported => self.enter(now, Verdict::Recovering),
            Verdict::Recovering if says_ready && on_time => {
                self.on_time_beats += 1;
                if self.on_time_beats >= self.needed_beats(now) {
                    self.enter(now, Verdict::Ready);
                }
            }
            Verdict::Late => self.enter(now, Verdict::Ready),
            Verdict::Ready | Verdict::Suspected | Verdict::NotReady | Verdict::Recovering => {}
        }
    }

    /// A heartbeat that a read of our own found, and the watch did not tell of. It counts as any
    /// other, but makes the cluster no witness: the watch may be dead all the same.
    pub fn overhear(&mut self, now: Moment, report: Report, policy: &HealthPolicy) {
        let testimony = self.last_beat;
        self.beat(now, report, policy);
        self.last_beat = testimony;
    }

    /// Judges the cluster's silence up to `sign`, the API server's last sign of life; it is a little
    /// later, `now`. Returns whether the verdict changed.
    ///
    /// `braked`: the brake is on, so nothing but a beat may change what the doors see. A silent cluster
    /// then has the time for one more beat, counted from `now`.
    pub fn judge(&mut self, sign: Moment, now: Moment, braked: bool, policy: &HealthPolicy) -> bool {
        let before = self.verdict();
        let age = self.age(sign);
        if braked && self.age(now) > self.period {
            self.reprieve = self.reprieve.max(now.plus(self.late_limit()));
        }
        let past_limit = age > self.limit(policy);
        let falls = !braked && self.is_overdue(sign, policy);
        if falls && self.standing == Verdict::Lost && !self.inherited() {
            // The leader was a little faster than we, who have now seen the same silence to its limit.
            self.adopted = false;
        }
        match self.standing {
            Verdict::Lost | Verdict::NeverReported | Verdict::Suspected => {}
            _ if falls => {
                self.fall(sign, if self.reported { Verdict::Lost } else { Verdict::NeverReported });
            }
            Verdict::NotReady => {}
            _ if self.not_ready_reports >= NOT_READY_REPORTS && !braked => self.fall(sign, Verdict::NotReady),
            Verdict::Recovering => {}
            Verdict::Ready if age > self.late_limit() => self.enter(sign, Verdict::Late),
            Verdict::Late if self.reported && age <= self.late_limit() => self.enter(sign, Verdict::Ready),
            Verdict::Ready | Verdict::Late => {}
        }
        self.suspected =
            past_limit && self.reported && !matches!(self.standing, Verdict::Lost | Verdict::NeverReported);
        self.verdict() != before
    }

    /// Whether silence alone makes it fall at `now`, when there is no brake.
    fn is_overdue(&self, now: Moment, policy: &HealthPolicy) -> bool {
        self.age(now) > self.limit(policy) && now >= self.reprieve
    }

    /// Whether silence says something else at `now` than it did at `before`.
    pub fn turns(&self, before: Moment, now: Moment, policy: &HealthPolicy) -> bool {
        let is_late = |moment| self.age(moment) > self.late_limit();
        is_late(before) != is_late(now) || self.is_overdue(before, policy) != self.is_overdue(now, policy)
    }

    /// Its object cannot be read any more, or again: in between its age stands still.
    pub fn set_readable(&mut self, now: Moment, readable: bool) {
        match (readable, self.unreadable_since) {
            (false, None) => self.unreadable_since = Some(now),
            (true, Some(since)) => {
                self.seen = self.seen.plus(now.since(since));
                self.unreadable_since = None;
            }
            _ => {}
        }
    }

    /// What people see. Suspected hides the verdict under it, which the doors and taints still follow.
    pub fn verdict(&self) -> Verdict {
        if self.suspected { Verdict::Suspected } else { self.standing }
    }

    /// The verdict that doors, taint and condition follow: never Suspected.
    pub fn standing(&self) -> Verdict {
        self.standing
    }

    /// Since when it stands so.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Whether new workloads may be placed there.
    pub fn schedulable(&self) -> bool {
        matches!(self.standing, Verdict::Ready | Verdict::Late)
    }

    /// The value that our taint must have now, if any.
    pub fn fault(&self) -> Option<Fault> {
        if self.schedulable() { None } else { self.fault }
    }

    /// Whether we have a reason of our own to speak of this cluster: a beat, or a verdict.
    /// A process that just started has none, and leaves the condition as it is.
    pub fn attested(&self) -> bool {
        self.last_beat.is_some() || !self.schedulable()
    }

    /// Time without a beat, as far as we could see.
    pub fn age(&self, now: Moment) -> Duration {
        self.unreadable_since.unwrap_or(now).since(self.seen)
    }

    /// Ages count from this moment.
    pub fn seen(&self) -> Moment {
        self.seen
    }

    /// The last beat that the watch told of.
    pub fn last_beat(&self) -> Option<Moment> {
        self.last_beat
    }

    /// The interval that the cluster declares.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// The age at which it falls, once passed.
    pub fn limit(&self, policy: &HealthPolicy) -> Duration {
        self.period.saturating_mul(policy.grace_periods)
    }

    /// 1.5 periods.
    pub fn late_limit(&self) -> Duration {
        self.period * LATE_PERCENT / 100
    }

    /// Whether it has ever beaten.
    pub fn reported(&self) -> bool {
        self.reported
    }

    /// The first of the Ready=False reports in a row that it is in the middle of.
    pub fn not_ready_since(&self) -> Option<Moment> {
        self.not_ready_since
    }

    /// The time since its last loss, if it had one in the last 24 h.
    pub fn since_last_loss(&self, now: Moment) -> Option<Duration> {
        self.losses.last().map(|loss| now.since(*loss)).filter(|age| *age <= LOSS_MEMORY)
    }

    /// 2 × 2^(losses−1), at most 16.
    fn needed_beats(&self, now: Moment) -> u32 {
        let losses = self.losses.iter().filter(|loss| now.since(**loss) <= LOSS_MEMORY).count();
        RECOVERY_BEATS << (losses.clamp(1, COUNTED_LOSSES) - 1)
    }

    fn fall(&mut self, now: Moment, verdict: Verdict) {
        self.fault = Some(match verdict {
            Verdict::NotReady => Fault::ManagedClusterNotReady,
            Verdict::NeverReported => Fault::ClusterStatusNeverUpdated,
            _ => Fault::ClusterStatusUnknown,
        });
        // A NotReady cluster that then falls silent is still in the same incident.
        if verdict != Verdict::NeverReported && self.standing != Verdict::NotReady {
            self.count_loss(now);
        }
        self.enter(now, verdict);
    }

    fn count_loss(&mut self, now: Moment) {
        if self.losses.len() == COUNTED_LOSSES {
            self.losses.remove(0);
        }
        self.losses.push(now);
    }

    fn enter(&mut self, now: Moment, verdict: Verdict) {
        self.standing = verdict;
        self.since = now;
        self.adopted = false;
        self.on_time_beats = 0;
    }
}
