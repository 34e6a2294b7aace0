//! The world's loop: one queue of happenings, in virtual time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use sheetanchor::clock;
use sheetanchor::domain::cluster::AgentReady;
use sheetanchor::state::action::{Action, Event, Outcome, Target, Write};

use super::api::{Api, Reply, node, registered, report};
use super::chaos::{self, Act};
use super::law::{Author, Law};
use super::member::{Clock, Member};
use super::plan::Plan;
use super::replica::Replica;
use crate::stage::{ms, s};

/// A write waits no longer for its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// A leader that cannot renew gives up after this, and another may follow after the second.
const LEASE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(15));

/// Something that is going to happen. Replicas go by number; what belongs to one life or one watch
/// of a replica is void in the next.
#[derive(Debug)]
pub(super) enum Happening {
    Tick {
        replica: usize,
        life: u32,
    },
    Beat(usize),
    Watched {
        replica: usize,
        watch: u32,
        event: Event,
    },
    Broke {
        replica: usize,
        watch: u32,
        away: Duration,
    },
    Relist {
        replica: usize,
        watch: u32,
    },
    Arrives {
        replica: usize,
        life: u32,
        write: Write,
    },
    ReadBack {
        replica: usize,
        life: u32,
        target: Target,
    },
    Answer {
        replica: usize,
        life: u32,
        events: Vec<Event>,
    },
    Start {
        replica: usize,
        life: u32,
    },
    Resume {
        replica: usize,
        life: u32,
    },
    LeaseRunsOut {
        replica: usize,
        life: u32,
    },
    ApiReturns,
    HangEnds,
    /// The API server comes to what was sent to it before it hung.
    Stalled(Write),
    Elect,
    Trouble(usize),
    Act(Act),
}

struct Due {
    at: Duration,
    order: u64,
    what: Happening,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    /// The heap gives the greatest first: the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What a replica did, and when.
pub(crate) type Logged = (Duration, usize, Action);

/// See the module.
pub(crate) struct World {
    pub(super) plan: Plan,
    pub(super) random: fastrand::Rng,
    pub(super) api: Api,
    /// The API server answers.
    pub(super) up: bool,
    /// It hangs until then.
    pub(super) hung: Option<Duration>,
    pub(super) members: Vec<Member>,
    pub(super) replicas: Vec<Replica>,
    /// Who holds the lease.
    pub(super) lease: Option<usize>,
    pub(super) now: Duration,
    pub(crate) law: Law,
    pub(crate) log: Vec<Logged>,
    /// Clusters times virtual time.
    pub(crate) lived: Duration,
    /// Everything that mentions this is printed.
    spoken: Option<String>,
    base: Instant,
    queue: BinaryHeap<Due>,
    order: u64,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let base = clock::now();
        let mut world = Self {
            random: fastrand::Rng::with_seed(plan.seed),
            api: Api::new(plan.taint_key),
            up: true,
            hung: None,
            members: Vec::new(),
            replicas: (0..plan.replicas).map(|_| Replica::new(base, plan.taint_key)).collect(),
            lease: None,
            now: Duration::ZERO,
            law: Law::new(plan.taint_key),
            log: Vec::new(),
            lived: Duration::ZERO,
            spoken: std::env::var("SIMULATION_LOG").ok(),
            base,
            queue: BinaryHeap::new(),
            order: 0,
            plan,
        };
        world.populate();
        for replica in 0..world.replicas.len() {
            world.later(Duration::ZERO, Happening::Start { replica, life: 0 });
        }
        world.later(s(1), Happening::Elect);
        for (at, act) in world.plan.script.clone() {
            world.later(at, Happening::Act(act));
        }
        for kind in 0..world.plan.troubles.len() {
            world.await_trouble(kind);
        }
        world
    }

    fn populate(&mut self) {
        for (i, plan) in self.plan.members.clone().into_iter().enumerate() {
            let key = Member::key_of(i);
            let seed = self.plan.clock_seed.wrapping_mul(1_000).wrapping_add(u64::try_from(i).expect("small"));
            let mut clock = Clock::new(seed, plan.whole_seconds, plan.null_every);
            let declared = plan.declares.then(|| i64::try_from(plan.period_seconds).expect("small"));
            let mut cluster = registered(key.as_str());
            report(&mut cluster, clock.stamp(Duration::ZERO), declared, AgentReady::True);
            let event = self.api.create_cluster(cluster);
            self.law.changed(self.now, &self.api, &event, Author::Other);
            let label = format!("{}.{}", key.namespace(), key.name());
            self.api.create_node(node(key.name(), &[("sheetanchor.dev/cluster", &label)]));
            let period = s(plan.period_seconds);
            let jitter = plan.jitter;
            self.members.push(Member { key, clock, declared, period, jitter, silent: false, sick: false });
            let first = period.mul_f64(self.random.f64());
            self.later(first, Happening::Beat(i));
        }
    }

    /// Runs to the end, and checks that everything came to rest.
    pub(crate) fn run(mut self) -> Self {
        let end = self.plan.until + self.plan.settle;
        while let Some(due) = self.queue.pop() {
            if due.at > end {
                break;
            }
            self.now = due.at;
            self.speak(&due.what);
            self.happen(due.what);
        }
        self.lived = end * u32::try_from(self.members.len()).expect("small");
        self.rests();
        self
    }

    fn speak(&self, what: &dyn std::fmt::Debug) {
        if let Some(word) = &self.spoken {
            let text = format!("{what:?}");
            if text.contains(word) {
                println!("{:?} {text}", self.now);
            }
        }
    }

    pub(super) fn later(&mut self, wait: Duration, what: Happening) {
        self.order += 1;
        self.queue.push(Due { at: self.now + wait, order: self.order, what });
    }

    pub(super) fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn is(&self, replica: usize, life: u32) -> bool {
        self.replicas[replica].life == life
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Tick { replica, life } if self.is(replica, life) => {
                self.later(self.plan.tick, Happening::Tick { replica, life });
                if !self.replicas[replica].paused {
                    self.tell(replica, Event::Tick);
                }
            }
            Happening::Beat(i) => {
                let wait = self.members[i].wait(&mut self.random);
                self.later(wait, Happening::Beat(i));
                self.report(i);
            }
            Happening::Watched { replica, watch, event } if self.replicas[replica].watch == watch => {
                self.hand(replica, event);
            }
            Happening::Broke { replica, watch, away } if self.replicas[replica].watch == watch => {
                self.hand(replica, Event::ClusterWatchBroke);
                self.later(away, Happening::Relist { replica, watch });
            }
            Happening::Relist { replica, watch } if self.replicas[replica].watch == watch => {
                self.relist(replica);
            }
            // What a process had under way when it died is lost.
            Happening::Arrives { replica, life, write } if self.is(replica, life) => {
                self.arrives(replica, life, &write);
            }
            Happening::ReadBack { replica, life, target } => self.read_back(replica, life, target),
            Happening::Answer { replica, life, events } if self.is(replica, life) => {
                events.into_iter().for_each(|event| self.hand(replica, event));
            }
            Happening::Start { replica, life } if self.is(replica, life) => self.start(replica),
            Happening::Resume { replica, life } if self.is(replica, life) => self.resume(replica),
            Happening::LeaseRunsOut { replica, life } => {
                let stuck = !self.serves() || !self.is(replica, life) || self.replicas[replica].paused;
                if self.lease == Some(replica) && stuck {
                    self.depose(LEASE.1.saturating_sub(LEASE.0));
                }
            }
            Happening::ApiReturns => self.up = true,
            Happening::HangEnds => self.hung = None,
            Happening::Stalled(write) => _ = self.store(&write),
            Happening::Elect => self.elect(),
            Happening::Trouble(kind) => {
                for (wait, act) in chaos::acts(self.plan.troubles[kind].0, &mut self.random, &self.plan) {
                    self.later(wait, Happening::Act(act));
                }
                self.await_trouble(kind);
            }
            Happening::Act(act) => self.act(act),
            _ => {}
        }
    }

    /// The next trouble of this kind, unless it would come after their end.
    fn await_trouble(&mut self, kind: usize) {
        let wait = self.plan.troubles[kind].1.mul_f64(2.0 * self.random.f64());
        if self.now + wait < self.plan.until {
            self.later(wait, Happening::Trouble(kind));
        }
    }

    /// Tells the watches of a change.
    pub(super) fn changed(&mut self, event: Option<Event>, author: Author) {
        let Some(event) = event else { return };
        self.law.changed(self.now, &self.api, &event, author);
        for replica in 0..self.replicas.len() {
            if self.replicas[replica].watching {
                self.send(replica, event.clone());
            }
        }
    }

    /// Puts an event on its way to a replica's watch, behind all that is on its way.
    pub(super) fn send(&mut self, replica: usize, event: Event) {
        let late = if self.random.f64() < 0.02 { 1_000 } else { 50 };
        let late = ms(self.random.u64(1..late));
        let to = &mut self.replicas[replica];
        to.arrives = to.arrives.max(self.now + late);
        let (wait, watch) = (to.arrives - self.now, to.watch);
        self.later(wait, Happening::Watched { replica, watch, event });
    }

    pub(super) fn hand(&mut self, replica: usize, event: Event) {
        if self.replicas[replica].paused {
            self.replicas[replica].backlog.push(event);
        } else if self.replicas[replica].running {
            self.tell(replica, event);
        }
    }

    pub(super) fn tell(&mut self, replica: usize, event: Event) {
        let now = self.instant();
        for action in self.replicas[replica].apply(event, now) {
            self.speak(&(replica, &action));
            self.law.acts(&self.replicas[replica], &action);
            match &action {
                Action::Write(write) => self.submit(replica, write.clone()),
                Action::Ask(number, _) => self.ask(replica, *number),
                Action::Tell(_) => {}
            }
            self.log.push((self.now, replica, action));
        }
    }

    fn submit(&mut self, replica: usize, write: Write) {
        let life = self.replicas[replica].life;
        if self.lease == Some(replica) {
            let slow = if self.random.f64() < 0.05 { 3_000 } else { 80 };
            let wait = ms(self.random.u64(1..slow));
            self.later(wait, Happening::Arrives { replica, life, write });
        } else {
            // As the tainter: it looks at the lease itself before it sends.
            let events = vec![Event::Wrote(write.target(), Outcome::Failed)];
            self.later(ms(1), Happening::Answer { replica, life, events });
        }
    }

    /// A question for a sign of life. Nobody answers while the API server is away.
    fn ask(&mut self, replica: usize, number: u64) {
        if !self.serves() {
            return;
        }
        let slow = if self.random.f64() < 0.02 { 2_000 } else { 80 };
        let wait = ms(self.random.u64(1..slow));
        let life = self.replicas[replica].life;
        self.later(wait, Happening::Answer { replica, life, events: vec![Event::Answered(number)] });
    }

    fn arrives(&mut self, replica: usize, life: u32, write: &Write) {
        let target = write.target();
        let failed = vec![Event::Wrote(target.clone(), Outcome::Failed)];
        let lost = self.random.f64() < self.plan.loss;
        if let Some(end) = self.hung {
            let wait = end - self.now + ms(self.random.u64(1..50));
            self.later(wait, Happening::Stalled(write.clone()));
        }
        if !self.serves() || lost && self.random.bool() {
            return self.later(WRITE_TIMEOUT, Happening::Answer { replica, life, events: failed });
        }
        let reply = self.store(write);
        let wait = ms(self.random.u64(1..80));
        if lost {
            return self.later(WRITE_TIMEOUT, Happening::Answer { replica, life, events: failed });
        }
        if reply.outcome == Outcome::Conflict {
            return self.later(wait, Happening::ReadBack { replica, life, target });
        }
        let events = reply.read.into_iter().chain([Event::Wrote(target, reply.outcome)]).collect();
        self.later(wait, Happening::Answer { replica, life, events });
    }

    fn store(&mut self, write: &Write) -> Reply {
        let before = self.api.clone_of(&write.target());
        let mut reply = self.api.write(write);
        if reply.outcome == Outcome::Stored {
            self.law.stored(self.now, &self.api, write, &before);
        }
        self.changed(reply.watched.take(), Author::Us);
        reply
    }

    fn read_back(&mut self, replica: usize, life: u32, target: Target) {
        let read = if self.serves() { self.api.read(&target) } else { None };
        let outcome = if read.is_some() { Outcome::Conflict } else { Outcome::Failed };
        let events = read.into_iter().chain([Event::Wrote(target, outcome)]).collect();
        let wait = ms(self.random.u64(1..80));
        self.later(wait, Happening::Answer { replica, life, events });
    }
}
