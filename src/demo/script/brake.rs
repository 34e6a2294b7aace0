//! Everybody falls silent: the brake holds, lets go, and the dead cluster comes back.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::time::sleep;

use crate::clock;
use crate::demo::fleet;
use crate::demo::stage::FleetReport;
use crate::demo::wait::Failure;

use super::{Script, since};

/// The silence that the brake must survive, in limits: enough for any detector that has no brake.
const LIMITS: u32 = 5;
/// The interval between two looks at whether it holds.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

impl<W: Write> Script<'_, W> {
    /// All others fall silent too, for several limits.
    pub(super) async fn brake(&mut self, victim: &str) -> anyhow::Result<()> {
        let about = "A death needs witnesses. When nobody is left to testify, the fault is likelier the hub's own.";
        self.timeline.chapter("4. All fall silent", about)?;
        let stage = self.stage;
        let others = stage.fleet.members().len() - 1;
        let before = stage.generations().await?;
        let last_beat = stage.fleet.silence(|member| member.name != victim).await?;
        let text = format!("the last beats of the other {others} clusters: they are switched off too");
        self.timeline.fact("fleet", &text)?;
        let on = stage.until("the brake to come on", async || {
            stage.report().await?.brake.context("it is off").map(|_| since(last_beat))
        });
        let text = format!("on, {} after the last beat: nobody new is believed dead", on.await?);
        self.timeline.check("brake", &text)?;

        let report = self.hold(victim, last_beat + LIMITS * stage.limit()).await?;
        let suspected = report.clusters.iter().filter(|cluster| cluster.verdict == "Suspected").count();
        let told = || report.clusters.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Failure::unless(suspected == others, format!("{others} clusters to be Suspected"), told)?;
        self.untouched_since(before).await?;
        let text = format!(
            "holds for {} of silence, {LIMITS} limits: {suspected} clusters are Suspected, none Lost or tainted:\n{}",
            since(last_beat),
            report.brake.map_or_else(String::new, |brake| brake.message),
        );
        self.timeline.check("brake", &text)?;
        let choice = self.rejected(&[victim]).await?;
        let text = format!("still passes {} of {} nodes", choice.ranking.len(), choice.asked);
        self.timeline.check("/filter", &text)?;
        Ok(())
    }

    /// Watches that the brake stays on until `end`, and that no other cluster than `victim` is given up.
    async fn hold(&self, victim: &str, end: Instant) -> anyhow::Result<FleetReport> {
        let victim = fleet::key(victim);
        loop {
            let report = self.stage.report().await?;
            let expected = "the brake to hold";
            Failure::unless(report.brake.is_some(), expected, || "it let go".to_owned())?;
            let fallen = report.clusters.iter().find(|cluster| !cluster.schedulable && cluster.name != victim);
            Failure::unless(fallen.is_none(), expected, || fallen.map(ToString::to_string).unwrap_or_default())?;
            if clock::now() >= end {
                return Ok(report);
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Nobody wrote to the spec of a cluster: taints are spec, beats and conditions are not.
    async fn untouched_since(&self, before: i64) -> anyhow::Result<()> {
        let written = self.stage.generations().await? - before;
        Ok(Failure::unless(written == 0, "no taint to be written", || format!("{written} writes"))?)
    }

    /// All beat again: first those that the brake protected, then the dead one.
    pub(super) async fn back(&mut self, victim: &str) -> anyhow::Result<()> {
        let about = "Silence ends with a beat; a cluster that was lost must first beat on time for a while.";
        self.timeline.chapter("5. They come back", about)?;
        let stage = self.stage;
        let before = stage.generations().await?;
        stage.fleet.wake(|member| member.name != victim).await?;
        let ready = self.all_ready(Some(victim)).await?;
        let off = stage.until("the brake to let go", async || {
            ensure!(stage.report().await?.brake.is_none(), "it is on");
            Ok(())
        });
        off.await?;
        self.untouched_since(before).await?;
        let text = format!("off: {ready} clusters beat and are Ready; no taint was ever written");
        self.timeline.check("brake", &text)?;

        let first_beat = stage.fleet.wake(|member| member.name == victim).await?;
        self.timeline.fact(victim, "its first beat: it is switched on again")?;
        self.verdict_after(first_beat, Duration::ZERO, victim, "Recovering").await?;
        let message = stage.cluster(victim).await?.message;
        self.timeline.check(victim, &format!("Recovering, still without new work: {message}"))?;
        let time = self.verdict_after(first_beat, Duration::ZERO, victim, "Ready").await?;
        self.timeline.check(victim, &format!("Ready, {time} after its first beat"))?;
        self.tainted(victim, false).await?;
        self.timeline.check("taint", &format!("gone from {victim} and from its node"))?;

        let choice = self.rejected(&[]).await?;
        self.timeline.check("/filter", &format!("passes all of the {} nodes again", choice.asked))?;
        Ok(())
    }
}
