#!/usr/bin/env python3
"""Reference model of the brake ("a death needs witnesses"): the rule in 30 lines, and the scenarios that chose it.

A cluster beats every period P with jitter; it can die (dead) or be cut off by a fault on the hub's side (cut). TRUE = Lost was right, FALSE = it was
not. Run it: each row is the mean of 20 seeds. The one row with FALSE is a cut that nobody could tell from deaths (fewer than 55 % silent)."""
import random

GRACE, LATE, SHARE, MASS, WINDOW = 3, 1.5, 0.55, 3, 600


class Cluster:
    def __init__(self, period):
        self.period, self.last, self.next = period, 0.0, random.uniform(0, period)
        self.lost_at, self.not_before, self.dead, self.cut = None, 0.0, False, False
        self.sick, self.reports, self.sick_at, self.not_ready = False, 0, None, False


def braked(clusters, now):
    """True while nobody may become Lost."""
    silent = [c for c in clusters if now - c.last > LATE * c.period and not (c.lost_at and now - c.lost_at > WINDOW)]
    sick = [c for c in clusters if c not in silent and c.sick_at is not None and (not c.not_ready or now - c.sick_at <= WINDOW)]
    if not silent and not sick:
        return False
    missed = min([c.last + c.period for c in silent] + [c.sick_at for c in sick])
    witnesses = [c for c in clusters if c not in silent and not c.lost_at and c.last > missed]
    well = [c for c in witnesses if c not in sick]
    bad = len(silent) + len(sick)
    mass = bad >= MASS and bad / (bad + len(well)) >= SHARE
    alone = bool(silent) and not witnesses and sum(1 for c in clusters if not c.lost_at) >= 2
    return mass or alone


def run(periods, events, until, seed, jitter=0.1):
    random.seed(seed)
    clusters, events, lost, held_for = [Cluster(p) for p in periods], sorted(events, key=lambda e: e[0]), [], 0
    for now in range(until):
        while events and events[0][0] <= now:
            events.pop(0)[1](clusters)
        for c in clusters:
            if now >= c.next:
                c.next = now + c.period * (1 + random.uniform(-jitter, jitter))
                if not c.dead and not c.cut:
                    c.last, c.lost_at = now, None
                    c.reports = c.reports + 1 if c.sick else 0
                    c.sick_at = (c.sick_at if c.sick_at is not None else now) if c.sick else None
        held = braked(clusters, now)
        held_for += held
        for c in clusters:
            age = now - c.last
            if c.reports >= 2 and not held and not c.not_ready:
                c.not_ready = True
                lost.append((True, 0))
            if held and age > c.period:
                c.not_before = now + LATE * c.period  # when the brake lets go, time for one more beat
            if not c.lost_at and not held and age > GRACE * c.period and now >= c.not_before:
                c.lost_at = now
                lost.append((c.dead, age - GRACE * c.period))
    return lost, held_for


def kill(which):
    return lambda cs: [setattr(cs[i], "dead", True) for i in which]


def sick(which):
    return lambda cs: [setattr(cs[i], "sick", True) for i in which]


def cut(which, on=True):
    return lambda cs: [setattr(cs[i], "cut", on) for i in which]


def outage(n, start, length):
    return [(start, cut(range(n))), (start + length, cut(range(n), False))]


MIXED = [15] * 4 + [180] * 10
SCENARIOS = [
    ("20 clusters P=10, 1 dies", [10] * 20, [(100, kill([3]))], 400, 0.1),
    ("20 P=10, a region of 6 dies", [10] * 20, [(100, kill(range(6)))], 400, 0.1),
    ("20 P=10, 14 really die (waits for a person)", [10] * 20, [(100, kill(range(14)))], 1200, 0.1),
    ("20 P=10, all cut for 120 s", [10] * 20, outage(20, 100, 120), 500, 0.1),
    ("20 P=10, 14 cut for 120 s", [10] * 20, outage(14, 100, 120), 500, 0.1),
    ("4 x 15 s + 10 x 180 s, the 4 fast die", MIXED, [(1000, kill(range(4)))], 4000, 0.1),
    ("4 x 15 s + 10 x 180 s, 1 slow dies", MIXED, [(1000, kill([8]))], 4000, 0.1),
    ("20 P=10, 1 says NotReady (counted TRUE)", [10] * 20, [(100, sick([3]))], 400, 0.1),
    ("20 P=10, a rollout makes 14 NotReady", [10] * 20, [(100, sick(range(14)))], 1200, 0.1),
    ("2 clusters P=60, 1 says NotReady", [60] * 2, [(500, sick([0]))], 1500, 0.1),
    ("2 clusters P=180, 1 dies", [180] * 2, [(1000, kill([0]))], 4000, 0.1),
    ("15 s and 180 s, the fast dies", [15, 180], [(1000, kill([0]))], 4000, 0.1),
    ("15 s and 180 s, both cut for 1000 s", [15, 180], outage(2, 1000, 1000), 5000, 0.1),
    ("3 clusters P=30, 2 die", [30] * 3, [(500, kill([0, 1]))], 2000, 0.1),
    ("100 P=180, 10 die at once", [180] * 100, [(1000, kill(range(10)))], 4000, 0.1),
    ("100 P=180, 60 cut for 900 s", [180] * 100, outage(60, 1000, 900), 6000, 0.1),
    ("100 P=180, 40 cut for 900 s: like deaths", [180] * 100, outage(40, 1000, 900), 6000, 0.1),
    ("300 P=60, jitter 40 %, 1 dies", [60] * 300, [(600, kill([5]))], 1500, 0.4),
    ("40 P=20, 1 dies each minute, 20 in all", [20] * 40, [(300 + 60 * i, kill([i])) for i in range(20)], 2500, 0.1),
] + [(f"4 x 15 s + 10 x 180 s, all cut for {s} s", MIXED, outage(14, 1000, s), 4000, 0.1) for s in (200, 300, 420, 700, 1800)] + [
    (f"30 P=20, jitter 30 %, all cut for {s} s", [20] * 30, outage(30, 1000, s), 2000, 0.3) for s in (22, 33, 57, 77)]

if __name__ == "__main__":
    print(f"{'':50s} TRUE  FALSE  seconds past 3 periods (median, max)  braked")
    for name, periods, events, until, jitter in SCENARIOS:
        runs = [run(periods, list(events), until, seed, jitter) for seed in range(20)]
        lost = [x for r in runs for x in r[0]]
        late = sorted(x[1] for x in lost)
        print(f"{name:50s} {sum(x[0] for x in lost) / 20:4.1f}  {sum(not x[0] for x in lost) / 20:5.1f}  "
              f"{late[len(late) // 2] if late else 0:6.1f} {late[-1] if late else 0:6.1f}  {sum(r[1] for r in runs) / 20:8.0f} s")
