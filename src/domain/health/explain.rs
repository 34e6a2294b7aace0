//! A verdict in words: the fact and the limit behind it.

use super::{Health, HealthPolicy, NOT_READY_REPORTS, Verdict};
use crate::domain::sight::Moment;
use crate::domain::span::short;
use crate::domain::taint::Fault;

impl Health {
    /// The facts and limits behind the verdict, for people: `no heartbeat for 48s (limit 45s)`.
    pub fn explain(&self, now: Moment, policy: &HealthPolicy) -> String {
        let silence = || format!("no heartbeat for {} (limit {})", short(self.age(now)), short(self.limit(policy)));
        match self.verdict() {
            _ if self.adopted => {
                let value = self.fault.map_or("", Fault::as_str);
                format!("found with our taint {value}, and no heartbeat seen for {} since", short(self.age(now)))
            }
            Verdict::Ready => format!("beats on time, every {}", short(self.period)),
            Verdict::Late if !self.reported => {
                format!("no heartbeat yet, {} after we first saw it", short(self.age(now)))
            }
            Verdict::Late => {
                format!("no heartbeat for {} (late after {})", short(self.age(now)), short(self.late_limit()))
            }
            Verdict::Suspected => {
                let (silence, late) = (silence(), short(self.late_limit()));
                format!("{silence}, not believed yet: the brake is on, or was less than {late} ago")
            }
            Verdict::Lost => silence(),
            Verdict::NotReady => {
                let reports = self.not_ready_reports;
                format!("its agent reported Ready=False in {reports} reports in a row (limit {NOT_READY_REPORTS})")
            }
            Verdict::NeverReported => {
                let age = short(self.age(now));
                format!("no heartbeat for {age} since we first saw it (limit {})", short(self.limit(policy)))
            }
            Verdict::Recovering => {
                format!("beats again: {} of {} on-time heartbeats needed", self.on_time_beats, self.needed_beats(now))
            }
        }
    }
}
