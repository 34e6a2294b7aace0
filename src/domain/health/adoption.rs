//! Verdicts that are another's: taken over with our taint, and given up with it.

use super::{Health, Verdict};
use crate::domain::sight::Moment;
use crate::domain::taint::Fault;

impl Health {
    /// Takes over the verdict of whoever wrote our taint, or changed its value, unless we reached
    /// one ourselves. A cluster that recovers here has then failed again in the eyes of another.
    ///
    /// It is given up as any other: by beats.
    pub fn adopt(&mut self, now: Moment, fault: Fault) {
        let recovers = self.standing == Verdict::Recovering;
        if !self.schedulable() && !self.adopted && !recovers {
            return;
        }
        let verdict = match fault {
            Fault::ClusterStatusUnknown => Verdict::Lost,
            Fault::ManagedClusterNotReady => Verdict::NotReady,
            Fault::ClusterStatusNeverUpdated => Verdict::NeverReported,
        };
        let same_incident = self.adopted;
        self.enter(now, verdict);
        self.fault = Some(fault);
        self.adopted = true;
        if fault != Fault::ClusterStatusNeverUpdated {
            // Whoever called it Lost or NotReady had seen it beat.
            self.reported = true;
            if !same_incident {
                self.count_loss(now);
            }
        }
    }

    /// Whether its verdict is another's, whose taint we found.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Whether its verdict was there when we first saw the cluster: how old it is, nobody knows.
    pub fn inherited(&self) -> bool {
        self.adopted && self.since == self.seen
    }

    /// Follows whoever took our taint off: the recovery is over, and so is a verdict that was taken
    /// from that taint.
    pub fn follow_return(&mut self, now: Moment) {
        if self.adopted || self.standing == Verdict::Recovering {
            self.enter(now, if self.reported { Verdict::Ready } else { Verdict::Late });
        }
    }
}
