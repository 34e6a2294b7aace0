//! The demo: the same facts on its own hub as on the real control plane, and an exit code that says
//! when one of them is not so.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use rustix::process::Signal;
use serde_json::json;
use sheetanchor::config::DemoArgs;
use sheetanchor::demo::{Timeline, play};
use tempfile::TempDir;

use crate::control_plane::{ControlPlane, Options, client_from};
use crate::fleet::managed_clusters;
use crate::kubectl::repository;
use crate::process::{EndsWithStdin, Process};
use crate::scene::TAINT_KEY;
use crate::wait::{PATIENCE, eventually};

/// The program, showing its demo.
struct Demo {
    process: Process,
    /// Where its temporary directory is made.
    tmp: TempDir,
    /// Where its output goes.
    _dir: TempDir,
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let (tmp, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_sheetanchor"));
        command.arg("demo").args(args).env("TMPDIR", tmp.path());
        // Of no use on loopback, as for kubectl.
        command.env("HTTPS_PROXY", "http://127.0.0.1:1");
        // What is exported for a server of one's own is not for the demo's.
        command.env("SHEETANCHOR_SUBSCRIPTION_GUARD", "off").env("SHEETANCHOR_LOG_LEVEL", "loud");
        Self { process: Process::spawn("demo", command, dir.path(), EndsWithStdin::No), tmp, _dir: dir }
    }

    /// Waits until it has said this.
    async fn until_said(&mut self, text: &str) {
        eventually(text, 2 * PATIENCE, async || {
            let log = self.process.log();
            assert!(self.process.exit_status().is_none() || log.contains(text), "it ended: {log}");
            log.contains(text).then_some(())
        })
        .await;
    }

    /// Its exit code.
    async fn end(&mut self) -> Option<i32> {
        self.process.wait_for_exit(2 * PATIENCE).await.code()
    }

    /// What is left of its temporary directory.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.tmp.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A client of its hub.
    async fn hub(&self) -> Client {
        client_from(&self.tmp.path().join(&self.left()[0]).join("kubeconfig")).await
    }
}

/// The timeline without its numbers, from the first chapter on.
fn facts(timeline: &str) -> Vec<String> {
    let numberless = |line: &str| {
        let mut text = String::new();
        for c in line.chars() {
            match c {
                '0'..='9' if text.ends_with('#') => {}
                '0'..='9' => text.push('#'),
                '.' if text.ends_with('#') => {}
                _ => text.push(c),
            }
        }
        text.trim().to_owned()
    };
    timeline.lines().skip_while(|line| !line.starts_with("1. ")).map(numberless).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_hub_and_the_real_one_give_the_same_timeline() {
    let mut demo = Demo::start(&[]);
    let control_plane = ControlPlane::start(Options::default()).await;
    let kubeconfig = control_plane.kubeconfig("demo", Some("system:masters"));
    let args = DemoArgs { clusters: 12, period: Duration::from_secs(1), stay: false };
    let mut real = Vec::new();
    let played = play(&kubeconfig, control_plane.dir(), &args, &mut Timeline::new(&mut real, false)).await;
    let real = String::from_utf8(real).unwrap();
    played.unwrap_or_else(|error| panic!("{error}\n{real}"));

    let code = demo.end().await;
    let shown = demo.process.log();
    assert_eq!(code, Some(0), "{shown}");
    let (shown, real) = (facts(&shown), facts(&real));
    for (shown, real) in shown.iter().zip(&real) {
        assert_eq!(shown, real);
    }
    assert_eq!(shown.len(), real.len(), "{shown:#?}");
    assert_eq!(shown.last().map(String::as_str), Some("# checks passed in #s."));
    assert_eq!(demo.left(), Vec::<String>::new());

    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let (_, told) = readme.split_once("It prints:\n\n```\n").unwrap();
    assert_eq!(facts(told.split_once("```").unwrap().0), shown, "the README");
}

#[test]
fn a_demo_that_cannot_begin_says_what_to_do_in_one_line() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheetanchor"));
    let output = command.arg("demo").env("TMPDIR", "/nonexistent").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), told.lines().count()), (Some(1), 1), "{told}");
    assert!(told.starts_with("error: cannot make a directory") && told.contains("TMPDIR"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_says_what_was_expected_and_seen_and_ends_in_an_error() {
    let mut demo = Demo::start(&[]);
    demo.until_said("2. eu-1 dies").await;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(demo.hub().await);
    webhooks.delete("sheetanchor", &Default::default()).await.unwrap();

    let code = demo.end().await;
    let shown = demo.process.log();
    assert_eq!(code, Some(1), "{shown}");
    let (_, failure) = shown.split_once('✗').unwrap_or_else(|| panic!("{shown}"));
    for part in ["expected", "is on spare-1, stamped \"fleet/spare-1\"", "seen", "stamped \"\"", "Failed after"] {
        assert!(failure.contains(part), "{part:?} is missing: {shown}");
    }
    let (_, log) = shown.trim_end().rsplit_once(' ').unwrap();
    assert!(Path::new(log).exists(), "the log is kept: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stays_to_be_played_with_until_it_is_interrupted() {
    let mut demo = Demo::start(&["--clusters=4", "--stay"]);
    demo.until_said("It stays until Ctrl-C").await;
    let clusters = managed_clusters(&demo.hub().await, "fleet");
    let silent = json!({"metadata": {"annotations": {"demo.sheetanchor.dev/silent": ""}}});
    clusters.patch("sa-1", &PatchParams::default(), &Patch::Merge(silent)).await.unwrap();
    eventually("sa-1 to be tainted", PATIENCE, async || {
        let cluster = clusters.get("sa-1").await.map_err(|error| error.to_string())?;
        let taints = cluster.data["spec"]["taints"].to_string();
        if taints.contains(TAINT_KEY) { Ok(()) } else { Err(taints) }
    })
    .await;

    demo.process.signal(Signal::INT);
    assert_eq!(demo.end().await, Some(130), "{}", demo.process.log());
    assert_eq!(demo.left(), Vec::<String>::new());
}
