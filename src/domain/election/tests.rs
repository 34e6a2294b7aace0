use super::*;

const ME: &str = "me";
const RETRY: Duration = Duration::from_secs(2);
const RENEW_MS: i64 = 10_000;
const LEASE_MS: i64 = 15_000;

/// Far from the epoch of the monotonic clock, so that `at(-1)` exists.
fn at(origin: Instant, ms: i64) -> Instant {
    let millis = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 { origin - millis } else { origin + millis }
}

fn origin() -> Instant {
    crate::clock::now() + Duration::from_secs(3600)
}

fn record(version: u32, holder: &str) -> Record {
    Record { version: version.to_string(), holder: holder.to_owned(), duration: None, transitions: 4 }
}

fn election(now: Instant) -> Election {
    Election::new(ME.to_owned(), Timing::default(), now)
}

/// A candidate that acquired a free Lease with a write sent at `sent_at` and answered then.
fn leader(sent_at: Instant) -> Election {
    let mut election = election(sent_at);
    election.saw(Some(record(1, "")), sent_at, RETRY);
    assert_eq!(election.next(sent_at), Step::Write(Claim::TakeOver { transitions: 5 }));
    assert!(election.wrote(Record { transitions: 5, ..record(2, ME) }, sent_at, sent_at));
    election
}

#[test]
fn a_lease_is_claimed_when_it_is_free_ours_or_expired() {
    let t = origin();
    let theirs = Record { duration: Some(Duration::from_secs(4)), ..record(1, "them") };
    let most = Record { transitions: u32::MAX, ..record(1, "") };
    let wait = |ms| Decision::Wait(at(t, ms));
    let take = |transitions| Decision::Claim(Claim::TakeOver { transitions });
    let create = |transitions| Decision::Claim(Claim::Create { transitions });
    let rows = [
        ("never there", Observation::Absent, 0, create(0)),
        ("given back", Observation::Present(record(1, "")), 0, take(5)),
        ("given back, count at its end", Observation::Present(most), 0, take(u32::MAX)),
        ("ours", Observation::Present(record(1, ME)), 0, Decision::Claim(Claim::Renew)),
        ("ours, expired long ago", Observation::Present(record(1, ME)), 10 * LEASE_MS, Decision::Claim(Claim::Renew)),
        ("first seen", Observation::Present(record(1, "them")), 0, wait(LEASE_MS)),
        ("names no duration, -1 ms", Observation::Present(record(1, "them")), LEASE_MS - 1, wait(LEASE_MS)),
        ("names no duration, 0", Observation::Present(record(1, "them")), LEASE_MS, take(5)),
        ("names no duration, +1 ms", Observation::Present(record(1, "them")), LEASE_MS + 1, take(5)),
        ("names its duration, -1 ms", Observation::Present(theirs.clone()), 3_999, wait(4_000)),
        ("names its duration, 0", Observation::Present(theirs.clone()), 4_000, take(5)),
        ("names its duration, +1 ms", Observation::Present(theirs.clone()), 4_001, take(5)),
        ("deleted under them, -1 ms", Observation::Deleted(theirs.clone()), 3_999, wait(4_000)),
        ("deleted under them, 0", Observation::Deleted(theirs.clone()), 4_000, create(5)),
        ("deleted under them, +1 ms", Observation::Deleted(theirs), 4_001, create(5)),
        ("deleted, was free", Observation::Deleted(record(1, "")), 0, create(5)),
        ("deleted, was ours", Observation::Deleted(record(1, ME)), 0, create(5)),
    ];
    for (name, sight, ms, want) in rows {
        assert_eq!(decide(&sight, t, ME, Duration::from_secs(15), at(t, ms)), want, "{name}");
    }
}

#[test]
fn a_foreign_holder_is_timed_from_when_its_record_last_changed() {
    let t = origin();
    let (again, other, gone) = (Some(record(1, "them")), Some(record(2, "them")), None);
    // second sight, and when; then the earliest claim
    let rows = [
        ("unchanged", again, 3_000, LEASE_MS),
        ("changed", other, 3_000, 3_000 + LEASE_MS),
        ("gone", gone, 3_000, 3_000 + LEASE_MS),
    ];
    for (name, second, second_ms, expiry_ms) in rows {
        for (late, want_claim) in [(-1, false), (0, true), (1, true)] {
            let mut election = election(t);
            election.saw(Some(record(1, "them")), t, RETRY);
            election.saw(second.clone(), at(t, second_ms), RETRY);
            let now = at(t, expiry_ms + late);
            assert_eq!(election.next(now), Step::Read, "{name} {late}: reads again before it claims");
            election.saw(second.clone(), now, RETRY);
            let claimed = matches!(election.next(now), Step::Write(_));
            assert_eq!(claimed, want_claim, "{name} {late}");
        }
    }
}

#[test]
fn a_candidate_sleeps_for_a_retry_or_until_the_holder_expires() {
    let t = origin();
    for (seen_ms, want_ms) in [(0, 2_000), (12_999, 14_999), (13_000, 15_000), (13_001, 15_000)] {
        let mut election = election(t);
        assert_eq!(election.next(t), Step::Read);
        election.saw(Some(record(1, "them")), t, RETRY);
        election.saw(Some(record(1, "them")), at(t, seen_ms), RETRY);
        assert_eq!(election.next(at(t, seen_ms)), Step::Wait(at(t, want_ms)), "seen at {seen_ms}");
    }
}

#[test]
fn a_term_ends_at_the_renew_deadline_counted_from_the_sending() {
    let t = origin();
    for (ms, want) in [
        (RENEW_MS - 1, Step::Read),
        (RENEW_MS, Step::StepDown(Loss::Deadline)),
        (RENEW_MS + 1, Step::StepDown(Loss::Deadline)),
    ] {
        let mut election = leader(t);
        assert_eq!(election.next(at(t, 1_999)), Step::Wait(at(t, 2_000)));
        assert_eq!(election.next(at(t, 2_000)), Step::Write(Claim::Renew));
        election.missed(Miss::Failed, at(t, 7_000), RETRY);
        assert_eq!(election.next(at(t, 8_999)), Step::Wait(at(t, 9_000)));
        assert_eq!(election.next(at(t, ms)), want, "at {ms}");
    }
    let mut election = leader(t);
    election.missed(Miss::Failed, at(t, 9_500), RETRY);
    assert_eq!(election.next(at(t, 9_500)), Step::Wait(at(t, RENEW_MS)), "wakes for the deadline, not for the retry");
}

#[test]
fn an_answer_after_the_deadline_does_not_count() {
    let t = origin();
    // sent, answered; whether there was a term until RENEW_MS; whether it counts
    let rows = [
        ("renewal, -1 ms", true, 5_000, RENEW_MS - 1, true),
        ("renewal, 0", true, 5_000, RENEW_MS, false),
        ("renewal, +1 ms", true, 5_000, RENEW_MS + 1, false),
        ("first, -1 ms", false, 5_000, 5_000 + RENEW_MS - 1, true),
        ("first, 0", false, 5_000, 5_000 + RENEW_MS, false),
        ("first, +1 ms", false, 5_000, 5_000 + RENEW_MS + 1, false),
    ];
    for (name, led, sent_ms, answered_ms, counts) in rows {
        let mut election = if led { leader(t) } else { election(t) };
        let (sent_at, now) = (at(t, sent_ms), at(t, answered_ms));
        assert_eq!(election.wrote(record(3, ME), sent_at, now), counts, "{name}");
        if counts {
            let since = if led { t } else { sent_at };
            let term = Term { since, valid_until: at(t, sent_ms + RENEW_MS), transitions: 4 };
            assert_eq!(election.term(), Some(term), "{name}");
        } else {
            if led {
                assert_eq!(election.next(now), Step::StepDown(Loss::Deadline), "{name}");
                election.stepped_down(now);
            }
            assert_eq!((election.term(), election.next(now)), (None, Step::Read), "{name}");
        }
    }
}

#[test]
fn an_answer_counts_only_when_it_names_us_and_the_version_moved() {
    let t = origin();
    for (name, answer, loss) in [
        ("names another", record(3, "them"), Some(Loss::Taken { by: "them".to_owned() })),
        ("same version", record(2, ME), None),
    ] {
        let mut election = leader(t);
        assert_eq!(election.next(at(t, 2_000)), Step::Write(Claim::Renew));
        assert!(!election.wrote(answer, at(t, 2_000), at(t, 2_001)), "{name}");
        assert_eq!(election.term().map(|term| term.valid_until), Some(at(t, RENEW_MS)), "{name}");
        assert_eq!(election.next(at(t, 2_001)), loss.map_or(Step::Read, Step::StepDown), "{name}");
    }
}

#[test]
fn a_write_uses_up_what_was_read() {
    let t = origin();
    let mut candidate = election(t);
    candidate.saw(None, t, RETRY);
    assert_eq!(candidate.next(t), Step::Write(Claim::Create { transitions: 0 }));
    assert_eq!(candidate.next(t), Step::Read, "the answer never came");

    let mut candidate = leader(t);
    candidate.missed(Miss::Failed, at(t, RENEW_MS), RETRY);
    assert_eq!(candidate.next(at(t, RENEW_MS)), Step::StepDown(Loss::Deadline));
    candidate.stepped_down(at(t, RENEW_MS));
    assert_eq!(candidate.next(at(t, RENEW_MS)), Step::Read);
    candidate.saw(Some(record(9, ME)), at(t, RENEW_MS), RETRY);
    assert_eq!(candidate.next(at(t, RENEW_MS)), Step::Write(Claim::Renew), "nobody else has written since");
}

#[test]
fn a_holder_steps_down_when_the_lease_is_no_longer_its_own() {
    let t = origin();
    let rows = [
        (Some(record(3, "them")), Some(Loss::Taken { by: "them".to_owned() })),
        (Some(record(3, "")), Some(Loss::Freed)),
        (None, Some(Loss::Deleted)),
        (Some(record(3, ME)), None),
    ];
    for (seen, loss) in rows {
        let mut election = leader(t);
        election.missed(Miss::Conflict, at(t, 2_000), RETRY);
        assert_eq!(election.next(at(t, 2_000)), Step::Read, "a refusal is looked into at once");
        election.saw(seen.clone(), at(t, 2_000), RETRY);
        let want = loss.map_or(Step::Write(Claim::Renew), Step::StepDown);
        assert_eq!(election.next(at(t, 2_000)), want, "{seen:?}");
    }
}

#[test]
fn a_second_refusal_in_a_row_is_not_hurried() {
    let t = origin();
    let mut election = election(t);
    for (miss, want) in [
        (Miss::Conflict, Step::Read),
        (Miss::Conflict, Step::Wait(t + RETRY)),
        (Miss::Conflict, Step::Wait(t + RETRY)),
        (Miss::Failed, Step::Wait(t + RETRY)),
        (Miss::Conflict, Step::Read),
    ] {
        election.missed(miss, t, RETRY);
        assert_eq!(election.next(t), want);
    }
}

#[test]
fn a_call_ends_with_the_term() {
    let t = origin();
    assert_eq!(election(t).call_deadline(t), at(t, 5_000));
    for (ms, want_ms) in [(4_999, 9_999), (5_000, 10_000), (5_001, 10_000)] {
        assert_eq!(leader(t).call_deadline(at(t, ms)), at(t, want_ms), "at {ms}");
    }
}

#[test]
fn times_that_could_elect_two_are_refused() {
    let ms = Duration::from_millis;
    let rows = [
        (3_000, 2_000, 999, Some("--leader-elect-retry-period=999ms: must be at least 1s")),
        (3_000, 2_000, 1_000, None),
        (3_000, 2_000, 1_001, None),
        (
            3_000,
            1_999,
            2_000,
            Some("--leader-elect-renew-deadline=1.999s: must be longer than --leader-elect-retry-period (2s)"),
        ),
        (
            3_000,
            2_000,
            2_000,
            Some("--leader-elect-renew-deadline=2s: must be longer than --leader-elect-retry-period (2s)"),
        ),
        (3_000, 2_001, 2_000, None),
        (
            10_000,
            10_000,
            2_000,
            Some(
                "--leader-elect-lease-duration=10s: must be longer than --leader-elect-renew-deadline (10s) and at most 3600s",
            ),
        ),
        (10_001, 10_000, 2_000, None),
        (3_600_000, 10_000, 2_000, None),
        (
            3_600_001,
            10_000,
            2_000,
            Some(
                "--leader-elect-lease-duration=3600.001s: must be longer than --leader-elect-renew-deadline (10s) and at most 3600s",
            ),
        ),
    ];
    for (lease, renew, retry, want) in rows {
        let timing = Timing::new(ms(lease), ms(renew), ms(retry));
        assert_eq!(timing.map_err(|error| error.to_string()).err().as_deref(), want);
    }
    let default = Timing::default();
    assert_eq!(Timing::new(default.lease_duration(), default.renew_deadline(), default.retry_period()), Ok(default));
}
