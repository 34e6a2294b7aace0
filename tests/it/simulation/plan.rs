//! What a world is made of.

use std::time::Duration;

use sheetanchor::domain::taint::UNSCHEDULABLE_KEY;

use super::chaos::{Act, Trouble};
use crate::stage::{ms, s};

/// Our key when Clusternet's controller keeps its own taint.
pub(crate) const BESIDE_KEY: &str = "sheetanchor.dev/unhealthy";

/// The period of a member that declares none.
pub(crate) const DEFAULT_PERIOD: Duration = Duration::from_secs(15);

/// One member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberPlan {
    pub(crate) period_seconds: u64,
    /// It declares its period; otherwise nothing.
    pub(crate) declares: bool,
    pub(crate) jitter: f64,
    pub(crate) whole_seconds: bool,
    pub(crate) null_every: Option<u32>,
}

/// One world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Everything but the agents' clocks follows from this.
    pub(crate) seed: u64,
    /// The agents' clocks follow from this.
    pub(crate) clock_seed: u64,
    pub(crate) taint_key: &'static str,
    pub(crate) members: Vec<MemberPlan>,
    pub(crate) replicas: usize,
    pub(crate) tick: Duration,
    /// When the troubles end.
    pub(crate) until: Duration,
    /// The time after that in which everything must come to rest.
    pub(crate) settle: Duration,
    pub(crate) script: Vec<(Duration, Act)>,
    /// Troubles, and the mean time between two of a kind.
    pub(crate) troubles: Vec<(Trouble, Duration)>,
    /// A watch can be dead for so long before anybody notices.
    pub(crate) longest_deafness: Duration,
    /// The chance that a write or its answer is lost.
    pub(crate) loss: f64,
}

impl Plan {
    /// A fleet in which nothing goes wrong.
    pub(crate) fn calm(seed: u64, members: usize, period_seconds: u64) -> Self {
        let member = MemberPlan { period_seconds, declares: true, jitter: 0.1, whole_seconds: false, null_every: None };
        Self {
            seed,
            clock_seed: seed,
            taint_key: UNSCHEDULABLE_KEY,
            members: vec![member; members],
            replicas: 2,
            tick: ms(50),
            until: s(300),
            settle: s(60) + s(20 * period_seconds),
            script: Vec::new(),
            troubles: Vec::new(),
            longest_deafness: s(1),
            loss: 0.0,
        }
    }

    /// A small fleet of many kinds, with every trouble there is.
    pub(crate) fn random(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let alike = random.bool();
        let periods = [2, 3, 5, 7, 10, 20];
        let common = periods[random.usize(..periods.len())];
        let count = random.usize(1..=14);
        let members: Vec<MemberPlan> = (0..count)
            .map(|_| MemberPlan {
                period_seconds: if alike { common } else { periods[random.usize(..periods.len())] },
                declares: random.f64() < 0.9,
                jitter: [0.0, 0.1, 0.3][random.usize(..3)],
                whole_seconds: random.bool(),
                null_every: (random.f64() < 0.1).then_some(5),
            })
            .collect();
        let slowest = members.iter().map(|member| member.period_seconds).max().unwrap_or(1);
        let (tick, minutes) = [(50, 5), (50, 5), (100, 10), (500, 45)][random.usize(..4)];
        let means = [15, 40, 120, 600];
        let troubles = Trouble::ALL
            .into_iter()
            .filter(|_| random.f64() < 0.6)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|trouble| (trouble, s(means[random.usize(..means.len())])))
            .collect();
        Self {
            taint_key: if random.f64() < 0.3 { BESIDE_KEY } else { UNSCHEDULABLE_KEY },
            members,
            replicas: random.usize(1..=3),
            tick: ms(tick),
            until: s(minutes * 60),
            settle: s(200) + s(35 * slowest),
            troubles,
            longest_deafness: [s(0), s(1), s(35)][random.usize(..3)],
            loss: [0.0, 0.02, 0.2][random.usize(..3)],
            ..Self::calm(seed, 0, slowest)
        }
    }
}
