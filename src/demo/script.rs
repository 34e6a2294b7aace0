//! The script: what happens to the fleet, and what must follow from it.
//!
//! Everything is checked from outside: by objects of the hub, by the answers of the doors, by the
//! admin page.

mod brake;
mod calm;
mod death;
mod takeover;

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::clock;
use crate::domain::span::short;

use super::fleet;
use super::placement::Subscription;
use super::scheduler::{Choice, Ranked};
use super::stage::{Bound, Stage};
use super::timeline::{Timeline, seconds};
use super::wait::Failure;

/// One run.
pub(super) struct Script<'a, W> {
    pub(super) stage: &'a Stage,
    pub(super) timeline: &'a mut Timeline<W>,
}

/// The pod whose binding comes late.
const LATE_POD: &str = "web-2";

/// What the calm before the storm leaves behind.
struct Plot {
    /// The cluster that will die.
    victim: String,
    /// Where the Subscription is placed: on the victim and others.
    placement: Vec<String>,
    subscription: Subscription,
}

impl<W: Write> Script<'_, W> {
    /// Plays it to its end.
    ///
    /// # Errors
    /// The first step that does not go as it must.
    pub(super) async fn play(mut self) -> anyhow::Result<()> {
        let plot = self.calm().await?;
        self.death(&plot.victim).await?;
        self.takeover(&plot).await?;
        self.brake(&plot.victim).await?;
        self.back(&plot.victim).await
    }

    /// Waits until all clusters are Ready, `but` one perhaps, and says how many they are.
    async fn all_ready(&self, but: Option<&str>) -> Result<usize, Failure> {
        let (members, but) = (self.stage.fleet.members(), but.map(fleet::key));
        let wanted = members.len() - usize::from(but.is_some());
        let look = self.stage.until(format!("{wanted} clusters to be Ready"), async || {
            let mut clusters = self.stage.report().await?.clusters;
            clusters.retain(|cluster| Some(&cluster.name) != but.as_ref());
            let other = clusters.iter().find(|cluster| cluster.verdict != "Ready");
            ensure!(other.is_none(), "{}", other.map(ToString::to_string).unwrap_or_default());
            ensure!(clusters.len() == wanted, "{} in /api/v1/fleet", clusters.len());
            Ok(wanted)
        });
        look.await
    }

    /// Waits for a verdict, which must not come before `limit`, and says how long after `start` it was there.
    async fn verdict_after(
        &self,
        start: Instant,
        limit: Duration,
        name: &str,
        verdict: &str,
    ) -> Result<String, Failure> {
        let schedulable = matches!(verdict, "Ready" | "Late");
        let expected = format!("{name} to be {verdict} and schedulable: {schedulable}, not before {}", short(limit));
        let look = self.stage.until(expected.clone(), async || {
            let cluster = self.stage.cluster(name).await?;
            ensure!(cluster.verdict == verdict && cluster.schedulable == schedulable, "{cluster}");
            Ok(clock::now().saturating_duration_since(start))
        });
        let time = look.await?;
        Failure::unless(time >= limit, expected, || format!("it already was after {}", seconds(time)))?;
        Ok(seconds(time))
    }

    /// Waits until our taint is on a cluster and on its node, or on neither, and says how it reads.
    async fn tainted(&self, name: &str, wanted: bool) -> anyhow::Result<String> {
        let stage = self.stage;
        let expected =
            format!("the taint {} on {name} and its node to {}", stage.taint_key, if wanted { "come" } else { "go" });
        let taint = stage.until(expected, async || {
            let (cluster, node) = (stage.taint(name).await?, stage.node_taint(name).await?);
            ensure!(cluster.is_some() == wanted && cluster == node, "cluster: {cluster:?}, node: {node:?}");
            Ok(cluster.unwrap_or_default())
        });
        Ok(taint.await?)
    }

    /// Checks which nodes `/filter` rejects for the pod web-1, whoever runs it.
    async fn rejected(&self, wanted: &[&str]) -> anyhow::Result<Choice> {
        let pod = self.stage.scheduler.pods().get("web-1").await?;
        let choice = self.stage.scheduler.choose(&pod).await?;
        choice.must_reject(wanted)?;
        Ok(choice)
    }

    /// The best active cluster and the best spare of a ranking.
    fn best(&self, ranking: &[Ranked]) -> (Ranked, Ranked) {
        let best = |spare: bool| {
            let found = ranking.iter().find(|ranked| self.stage.fleet.is_spare(&ranked.node) == spare);
            found.cloned().unwrap_or_else(|| Ranked { node: "nobody".to_owned(), score: 0 })
        };
        (best(false), best(true))
    }

    /// Checks that a pod is bound to this node, and that the webhook has stamped it.
    async fn bound(&mut self, pod: &str, node: &str, role: &str) -> anyhow::Result<()> {
        let bound = self.stage.bound(pod).await?;
        let wanted = Bound { node: node.to_owned(), cluster: fleet::key(node), role: role.to_owned() };
        Failure::unless(bound == wanted, wanted.to_string(), || bound.to_string())?;
        self.timeline.check("binding", &format!("pod {pod} {bound}"))?;
        Ok(())
    }
}

/// The time from `start` until now.
fn since(start: Instant) -> String {
    seconds(clock::now().saturating_duration_since(start))
}
