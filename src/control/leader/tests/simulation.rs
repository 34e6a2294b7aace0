//! Seeded elections among candidates that pause, crash, restart and leave, over lines that delay,
//! lose and break. `SEED=n` replays one.

use fastrand::Rng;

use super::*;

const SEEDS: u64 = 500;
/// How long the trouble lasts; then everything works, and one candidate must lead.
const TROUBLE: Duration = Duration::from_secs(180);

/// What the seeds went through together: a simulation in which nothing happens proves nothing.
#[derive(Debug, Default)]
struct Tally {
    handovers: usize,
    conflicts: usize,
    lapses: usize,
}

#[test]
fn invariant_one_writer() {
    let seeds = match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    };
    let (mut tally, runs) = (Tally::default(), seeds.end - seeds.start);
    for seed in seeds {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        let one = runtime.block_on(run(seed)).unwrap_or_else(|wrong| panic!("SEED={seed}: {wrong}"));
        tally.handovers += one.handovers;
        tally.conflicts += one.conflicts;
        tally.lapses += one.lapses;
    }
    println!("{tally:?}");
    if runs == SEEDS {
        assert!(tally.handovers > 1_000 && tally.conflicts > 500 && tally.lapses > 500, "too quiet: {tally:?}");
    }
}

async fn run(seed: u64) -> Result<Tally, String> {
    let mut rng = Rng::with_seed(seed);
    let retry = Duration::from_millis(rng.u64(1_000..=2_500));
    let renew = retry + Duration::from_millis(rng.u64(1..=6_000));
    let lease = renew + Duration::from_millis(rng.u64(1..=5_000));
    let timing = Timing::new(lease, renew, retry).map_err(|error| error.to_string())?;
    let (hub, calm_from) = (Hub::default(), clock::now() + TROUBLE);
    let lapses = Arc::new(Mutex::new(0));
    for slot in 0..rng.usize(2..=3) {
        let (hub, rng, lapses) = (hub.clone(), rng.fork(), lapses.clone());
        tokio::spawn(live(slot, hub, timing, calm_from, rng, lapses));
    }
    while clock::now() < calm_from {
        sleep(Duration::from_millis(rng.u64(50..500))).await;
        hub.check();
    }
    // The last pause may reach as far past the trouble as the last call; then a full lease.
    sleep(4 * lease + 4 * retry).await;
    hub.check();
    let leader = hub.lease().map(|lease| lease["spec"]["holderIdentity"].clone());
    sleep(4 * lease).await;
    hub.check();
    if let Some(first) = hub.wrong().into_iter().next() {
        return Err(first);
    }
    if hub.leaders() != 1 || hub.lease().map(|lease| lease["spec"]["holderIdentity"].clone()) != leader {
        return Err(format!("{} leaders in calm weather, the Lease named {leader:?}", hub.leaders()));
    }
    let conflicts = hub.calls().iter().filter(|(_, _, code)| *code == 409).count();
    let lapses = *lapses.lock().unwrap();
    Ok(Tally { handovers: hub.holders().len(), conflicts, lapses })
}

/// One replica of a Deployment: a process after another, until the weather is calm.
async fn live(slot: usize, hub: Hub, timing: Timing, calm_from: Instant, mut rng: Rng, lapses: Arc<Mutex<usize>>) {
    for life in 0.. {
        let weather = rough(rng.fork(), timing, calm_from);
        let mut candidate = candidate(&hub, &format!("{slot}.{life}"), timing, weather);
        candidate.jitter = rng.u64(..);
        tokio::spawn(count_lapses(candidate.leadership(), lapses.clone()));
        let stop = CancellationToken::new();
        let mut pauses = Vec::new();
        for _ in 0..rng.usize(0..4) {
            let start = clock::now() + Duration::from_millis(rng.u64(0..180_000));
            pauses.push((start, (start + timing.lease_duration().mul_f64(2.0 * rng.f64())).min(calm_from)));
        }
        let mut task = tokio::spawn(Paused::new(candidate.run(stop.clone()), pauses));
        let end = clock::now() + Duration::from_millis(rng.u64(1_000..200_000));
        if end >= calm_from {
            let _ = task.await;
            return;
        }
        sleep_until(end.into()).await;
        if rng.bool() {
            stop.cancel();
            let _ = timeout(RELEASE_LIMIT, &mut task).await;
        }
        task.abort();
        sleep(Duration::from_millis(rng.u64(0..5_000))).await;
    }
}

/// Weather with partitions, slow calls, and answers that never come.
fn rough(mut rng: Rng, timing: Timing, calm_from: Instant) -> Weather {
    let long = u64::try_from(2 * timing.lease_duration().as_millis()).unwrap_or(0);
    let mut partition = (clock::now(), clock::now());
    Box::new(move |_, now| {
        if now >= calm_from {
            return Fate::new(rng.u64(0..20), rng.u64(0..20), End::Answered);
        }
        if now >= partition.1 + Duration::from_secs(20) && rng.u8(..) < 40 {
            partition = (now, now + Duration::from_millis(rng.u64(0..long)));
        }
        if now < partition.1 {
            return Fate::new(0, 0, if rng.bool() { End::Broken } else { End::Silent });
        }
        let (short, slow) = (rng.u64(0..20), rng.u64(0..long));
        match rng.u8(0..100) {
            0..76 => Fate::new(short, rng.u64(0..20), End::Answered),
            76..84 => Fate::new(slow, short, End::Answered),
            84..92 => Fate::new(short, slow, End::Answered),
            92..94 => Fate::new(short, short, End::Broken),
            94..95 => Fate::new(short, short, End::Refused(500)),
            95..98 => Fate::new(short, short, End::Lost),
            _ => Fate::new(short, short, End::Silent),
        }
    })
}

async fn count_lapses(leadership: Leadership, lapses: Arc<Mutex<usize>>) {
    loop {
        let term = leadership.acquired().await;
        leadership.lost(term).await;
        *lapses.lock().unwrap() += 1;
    }
}
