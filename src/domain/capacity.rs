//! What a cluster has left for what must move there.
//!
//! Requests are counted, not usage: whoever moves in will ask for what its pods request.

use std::fmt;

use super::cluster::Resources;

impl Resources {
    /// Both sums.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { cpu_millis: self.cpu_millis + other.cpu_millis, memory_bytes: self.memory_bytes + other.memory_bytes }
    }

    /// So many times this.
    #[must_use]
    pub fn times(self, count: i32) -> Self {
        let count = f64::from(count);
        Self { cpu_millis: self.cpu_millis * count, memory_bytes: self.memory_bytes * count }
    }
}

impl fmt::Display for Resources {
    /// For people: `2.5 cores, 3.0 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.memory_bytes / (1024.0 * 1024.0 * 1024.0);
        write!(f, "{:.1} cores, {gib:.1} GiB", self.cpu_millis / 1000.0)
    }
}

/// What is left on one cluster, while a plan is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Headroom {
    room: Option<Room>,
    /// The Subscriptions that are bound there, or about to be.
    pub bindings: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Room {
    all: Resources,
    free: Resources,
}

impl Headroom {
    /// Allocatable, less what is used or what is planned there, whichever is more: pods that are yet
    /// to start ask for their share too. `None` where the cluster does not report what it has.
    pub fn new(allocatable: Option<Resources>, used: Option<Resources>, planned: Resources, bindings: usize) -> Self {
        let used = used.unwrap_or_default();
        let left = |all: f64, used: f64, planned: f64| all - used.max(planned);
        let room = allocatable.map(|all| Room {
            all,
            free: Resources {
                cpu_millis: left(all.cpu_millis, used.cpu_millis, planned.cpu_millis),
                memory_bytes: left(all.memory_bytes, used.memory_bytes, planned.memory_bytes),
            },
        });
        Self { room, bindings }
    }

    /// What is free, where that is known; less than nothing on an overcommitted cluster.
    pub fn free(&self) -> Option<Resources> {
        self.room.map(|room| room.free)
    }

    /// How many times `need` fits, `most` at most. Nothing always fits; what is not reported is
    /// taken for enough.
    pub fn fits(&self, need: Resources, most: i32) -> i32 {
        let Some(Room { free, .. }) = self.room else { return most };
        let times = |free: f64, need: f64| if need > 0.0 { (free / need).floor().max(0.0) } else { f64::INFINITY };
        let count = times(free.cpu_millis, need.cpu_millis).min(times(free.memory_bytes, need.memory_bytes));
        // Below `most`, an i32, it fits one too.
        #[allow(clippy::cast_possible_truncation, reason = "compared first")]
        if count < f64::from(most) { count as i32 } else { most }
    }

    /// Takes a share away, for what is to move in.
    pub fn reserve(&mut self, need: Resources) {
        if let Some(room) = &mut self.room {
            room.free = room.free.plus(need.times(-1));
        }
    }

    /// The share of its tighter resource that is free, at most 1; where that is not reported, none.
    pub fn share(&self) -> f64 {
        let Some(Room { all, free }) = self.room else { return 0.0 };
        let share = |free: f64, all: f64| if all > 0.0 { free / all } else { 0.0 };
        share(free.cpu_millis, all.cpu_millis).min(share(free.memory_bytes, all.memory_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(cpu_millis: f64, memory_bytes: f64) -> Resources {
        Resources { cpu_millis, memory_bytes }
    }

    #[test]
    fn what_is_planned_counts_where_it_is_more_than_what_is_used() {
        let all = Some(resources(4_000.0, 100.0));
        let headroom = Headroom::new(all, Some(resources(1_000.0, 60.0)), resources(3_000.0, 10.0), 0);
        assert_eq!(headroom.free(), Some(resources(1_000.0, 40.0)));
        assert!((headroom.share() - 0.25).abs() < 1e-9);
        assert_eq!(Headroom::new(all, None, Resources::default(), 0).free(), all);
    }

    #[test]
    fn as_many_fit_as_the_tighter_resource_allows() {
        let headroom = Headroom::new(Some(resources(4_000.0, 100.0)), None, Resources::default(), 0);
        for (need, most, fitting) in [
            (resources(1_000.0, 10.0), 9, 4),
            (resources(1_000.0, 10.0), 3, 3),
            (resources(1_001.0, 10.0), 9, 3),
            (resources(1.0, 60.0), 9, 1),
            (resources(0.0, 101.0), 9, 0),
            (resources(0.0, 0.0), 9, 9),
        ] {
            assert_eq!(headroom.fits(need, most), fitting, "{need}, {most} at most");
        }
    }

    #[test]
    fn reservations_are_shared_and_overcommitment_fits_nothing() {
        let mut headroom = Headroom::new(Some(resources(4_000.0, 100.0)), None, Resources::default(), 0);
        headroom.reserve(resources(1_500.0, 0.0).times(2));
        assert_eq!(headroom.fits(resources(1_000.0, 0.0), 9), 1);
        headroom.reserve(resources(2_000.0, 0.0));
        assert_eq!((headroom.fits(resources(1.0, 0.0), 9), headroom.fits(Resources::default(), 9)), (0, 9));
        assert!(headroom.share() < 0.0);
    }

    #[test]
    fn a_cluster_that_reports_nothing_is_taken_to_have_enough_and_comes_last() {
        let mut silent = Headroom::new(None, Some(resources(1.0, 1.0)), resources(1.0, 1.0), 0);
        silent.reserve(resources(1e9, 1e9));
        assert_eq!((silent.fits(resources(1e9, 1e9), 7), silent.free()), (7, None));
        assert!(silent.share() <= 0.0);
    }
}
