//! A cluster dies: from its last beat to the work that a spare takes over.

use std::io::Write;

use anyhow::Context;

use crate::demo::placement;
use crate::demo::wait::Failure;
use crate::domain::span::short;

use super::{Plot, Script, since};

/// The pod whose binding comes late.
const LATE_POD: &str = "web-2";

impl<W: Write> Script<'_, W> {
    /// From the last beat to the taint.
    pub(super) async fn death(&mut self, plot: &Plot) -> anyhow::Result<()> {
        let (stage, victim) = (self.stage, plot.victim.as_str());
        let (late_limit, limit) = (stage.period * 3 / 2, stage.limit);
        let (late_after, lost_after) = (short(late_limit), short(limit));
        let about = format!(
            "A silent cluster is Late after 1.5 of its periods ({late_after}), and Lost after 3 ({lost_after})."
        );
        self.timeline.chapter(&format!("2. {victim} dies"), &about)?;

        let pod = stage.create_pod(LATE_POD, true).await?;
        let choice = stage.scheduler.choose(&pod).await?;
        let passes = choice.ranking.iter().any(|ranked| ranked.node == victim);
        Failure::unless(passes, format!("/filter to pass {victim}"), || format!("{:?}", choice.rejected))?;
        let text = format!("a slow scheduler picks {victim} for pod {LATE_POD}, and has yet to bind it");
        self.timeline.fact("meanwhile", &text)?;

        let last_beat = stage.fleet.silence(|member| member.name == victim).await?;
        self.timeline.fact(victim, "its last beat: it is switched off")?;
        let silence = self.verdict_after(last_beat, late_limit, victim, "Late", true).await?;
        let text = format!("Late: no beat for {silence} (late after {late_after}); it may still get work");
        self.timeline.check(victim, &text)?;
        let silence = self.verdict_after(last_beat, limit, victim, "Lost", false).await?;
        self.timeline.check(victim, &format!("Lost: no beat for {silence} (limit {lost_after})"))?;
        let taint = self.tainted(victim, true).await?;
        let text = format!("on the ManagedCluster and on its Node, {} after the last beat:\n{taint}", since(last_beat));
        self.timeline.check("taint", &text)?;
        Ok(())
    }

    /// What pods and placements meet now.
    pub(super) async fn spare(&mut self, plot: &Plot) -> anyhow::Result<()> {
        let (stage, victim) = (self.stage, plot.victim.as_str());
        let about = "Nothing new is placed on the dead cluster, whoever decides it, and however late.";
        self.timeline.chapter("3. A spare takes over", about)?;

        stage.create_pod("web-3", false).await?;
        let choice = stage.decision("web-3").await?.choice;
        let rejected: Vec<&str> = choice.rejected.keys().map(String::as_str).collect();
        Failure::unless(rejected == [victim], format!("/filter to reject {victim} alone"), || format!("{rejected:?}"))?;
        let reason = choice.rejected.get(victim).map_or("", String::as_str);
        let text = format!(
            "pod web-3 may go to {} of {} nodes; not to {victim}:\n{reason}",
            choice.ranking.len(),
            choice.asked
        );
        self.timeline.check("/filter", &text)?;
        let (active, spare) = self.best(&choice.ranking);
        let first = spare.score > active.score;
        Failure::unless(first, "a spare first in /prioritize", || format!("{:?}", choice.ranking))?;
        let text = format!("{} is first with {} points; the best active has {}", spare.node, spare.score, active.score);
        self.timeline.check("/prioritize", &text)?;
        self.bound("web-3", &spare.node, "spare").await?;

        let refusal = match stage.scheduler.bind(LATE_POD, victim).await {
            Err(kube::Error::Api(status)) => status.message,
            other => format!("{other:?}"),
        };
        let reason = refusal.split_once("denied the request: ").map(|(_, reason)| reason);
        let expected = format!("the webhook to deny the late binding of {LATE_POD} to {victim}");
        let denied = reason.is_some_and(|reason| reason.contains(&format!("{victim}\" is Lost")));
        Failure::unless(denied, expected, || refusal.clone())?;
        let text = format!(
            "the slow scheduler binds pod {LATE_POD} to {victim} at last, and is denied:\n{}",
            reason.unwrap_or_default()
        );
        self.timeline.check("webhook", &text)?;
        let pod = stage.scheduler.pods().get(LATE_POD).await?;
        let again = stage.scheduler.choose(&pod).await?;
        let node = &again.ranking.first().context("no node is left")?.node;
        stage.scheduler.bind(LATE_POD, node).await?;
        self.bound(LATE_POD, node, "spare").await?;

        let stored = plot.subscription.empty().await?;
        let (kept, expected) = (stored == plot.placement, format!("the placement {}", plot.placement.join(", ")));
        Failure::unless(kept, expected, || stored.join(", "))?;
        let text = format!(
            "somebody empties where the Subscription {} runs; stored is what was there:\n{}",
            placement::NAME,
            stored.join(", ")
        );
        self.timeline.check("placement", &text)?;
        Ok(())
    }
}
