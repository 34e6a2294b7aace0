//! How late is a loss detected, on the real API server?
//!
//! `cargo bench --bench detection -- [--period SECONDS] [--kills N] [--at-once N]`
//!
//! One watch sees both the last heartbeat of a cluster and its taint, so that the watch's own delay
//! cancels out. Lateness is the time between the two, minus the limit of 3 periods.
#![allow(clippy::disallowed_methods, reason = "a measurement lives on the real clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that fails should stop")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints what it measured")]
#![allow(dead_code, reason = "the end-to-end harness is larger than what is used here")]

#[path = "../tests/e2e/control_plane.rs"]
mod control_plane;
#[path = "../tests/e2e/fleet.rs"]
mod fleet;
#[path = "../tests/e2e/kubectl.rs"]
mod kubectl;
#[path = "../tests/e2e/pki.rs"]
mod pki;
#[path = "../tests/e2e/process.rs"]
mod process;
#[path = "../tests/e2e/sheetanchor.rs"]
mod sheetanchor;
#[path = "../tests/e2e/wait.rs"]
mod wait;

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use futures::StreamExt;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject};
use kube::runtime::watcher;
use tokio::time::sleep;

use crate::control_plane::{ControlPlane, Options};
use crate::fleet::{Member, MemberOptions, managed_clusters};
use crate::sheetanchor::{Sheetanchor, SheetanchorOptions};
use crate::wait::{PATIENCE, eventually};

const NAMESPACE: &str = "fleet";
const GRACE_PERIODS: u32 = 3;
const TAINT_KEY: &str = "clusters.clusternet.io/unschedulable";

#[derive(Parser)]
struct Args {
    /// The heartbeat period in seconds.
    #[arg(long, default_value_t = 5)]
    period: u64,
    /// Clusters killed in all.
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// Clusters killed at the same time; three times as many live on.
    #[arg(long, default_value_t = 20)]
    at_once: usize,
    /// Given by cargo.
    #[arg(long)]
    bench: bool,
}

/// What the watch saw of one cluster.
#[derive(Clone, Default)]
struct Seen {
    stamp: String,
    beats: u32,
    last_beat: Option<Instant>,
    tainted: Option<Instant>,
}

type Sightings = Arc<Mutex<HashMap<String, Seen>>>;

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let control_plane = ControlPlane::start(Options::default()).await;
    let client = control_plane.client();
    let period = Duration::from_secs(args.period);
    let options = MemberOptions { period, ..MemberOptions::default() };
    let mut steady = BTreeMap::new();
    for number in 0..3 * args.at_once {
        let name = format!("steady-{number}");
        steady.insert(number, Member::join(&client, NAMESPACE, &name, options.clone()).await);
        // Members beat at all times of a period, as those of a real fleet do.
        sleep(period / u32::try_from(3 * args.at_once).unwrap()).await;
    }
    let _sheetanchor = Sheetanchor::start(&control_plane, SheetanchorOptions::default()).await;
    let sightings = Sightings::default();
    let api = managed_clusters(&client, NAMESPACE);
    tokio::spawn(watch(api.clone(), Arc::clone(&sightings)));

    let mut lateness = Vec::new();
    let mut round = 0;
    while lateness.len() < args.kills {
        round += 1;
        let count = args.at_once.min(args.kills - lateness.len());
        let names: Vec<String> = (0..count).map(|number| format!("victim-{round}-{number}")).collect();
        lateness.extend(kill(&client, &api, &names, &options, &sightings).await);
        eprintln!("{} of {} killed", lateness.len(), args.kills);
    }
    report(&args, lateness);
}

/// Lets members join and beat, stops them all, and says how late each was tainted, in seconds.
async fn kill(
    client: &kube::Client,
    api: &Api<DynamicObject>,
    names: &[String],
    options: &MemberOptions,
    sightings: &Sightings,
) -> Vec<f64> {
    let mut victims = Vec::new();
    for name in names {
        victims.push(Member::join(client, NAMESPACE, name, options.clone()).await);
    }
    let seen = |name: &String| sightings.lock().unwrap().get(name).cloned().unwrap_or_default();
    eventually("the victims to beat", 4 * PATIENCE, async || {
        names.iter().all(|name| seen(name).beats >= 2).then_some(())
    })
    .await;
    for victim in &victims {
        victim.stop().await;
    }
    eventually("the victims to be tainted", 4 * PATIENCE, async || {
        names.iter().all(|name| seen(name).tainted.is_some()).then_some(())
    })
    .await;
    let limit = options.period.as_secs_f64() * f64::from(GRACE_PERIODS);
    let late = |name: &String| {
        let seen = seen(name);
        (seen.tainted.unwrap() - seen.last_beat.unwrap()).as_secs_f64() - limit
    };
    let lateness = names.iter().map(late).collect();
    for name in names {
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
    lateness
}

async fn watch(api: Api<DynamicObject>, sightings: Sightings) {
    let mut stream = pin!(watcher(api, watcher::Config::default()));
    while let Some(event) = stream.next().await {
        let now = Instant::now();
        // It ends with the control plane.
        let Ok(event) = event else { return };
        let (watcher::Event::Apply(object) | watcher::Event::InitApply(object)) = event else { continue };
        let stamp = object.data["status"]["lastObservedTime"].as_str().unwrap_or_default().to_owned();
        let taints = object.data["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let mut sightings = sightings.lock().unwrap();
        let seen = sightings.entry(object.metadata.name.unwrap()).or_default();
        if seen.stamp != stamp {
            seen.stamp = stamp;
            seen.beats += 1;
            seen.last_beat = Some(now);
        }
        if seen.tainted.is_none() && taints.iter().any(|taint| taint["key"] == TAINT_KEY) {
            seen.tainted = Some(now);
        }
    }
}

fn report(args: &Args, mut lateness: Vec<f64>) {
    lateness.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small"
        )]
        let rank = ((lateness.len() - 1) as f64 * share).round() as usize;
        lateness[rank] * 1000.0
    };
    println!("| period | kills | at once | median | p95 | max |");
    println!("|---|---|---|---|---|---|");
    println!(
        "| {} s | {} | {} | {:.0} ms | {:.0} ms | {:.0} ms |",
        args.period,
        lateness.len(),
        args.at_once,
        at(0.5),
        at(0.95),
        at(1.0)
    );
}
