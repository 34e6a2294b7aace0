//! A cluster dies: from its last beat to the taint.

use std::io::Write;

use crate::demo::wait::Failure;
use crate::domain::span::short;

use super::{LATE_POD, Script, since};

impl<W: Write> Script<'_, W> {
    pub(super) async fn death(&mut self, victim: &str) -> anyhow::Result<()> {
        let stage = self.stage;
        let (late_limit, limit) = (stage.period * 3 / 2, stage.limit());
        let (late, lost) = (short(late_limit), short(limit));
        let periods = stage.grace_periods;
        let about =
            format!("A silent cluster is Late after 1.5 of its periods ({late}), and Lost after {periods} ({lost}).");
        self.timeline.chapter(&format!("2. {victim} dies"), &about)?;

        let pod = stage.create_pod(LATE_POD, true).await?;
        let choice = stage.scheduler.choose(&pod).await?;
        let passes = choice.ranking.iter().any(|ranked| ranked.node == victim);
        Failure::unless(passes, format!("/filter to pass {victim}"), || format!("{:?}", choice.rejected))?;
        let text = format!("a slow scheduler picks {victim} for pod {LATE_POD}, and has yet to bind it");
        self.timeline.fact("meanwhile", &text)?;

        let last_beat = stage.fleet.silence(|member| member.name == victim).await?;
        self.timeline.fact(victim, "its last beat: it is switched off")?;
        let silence = self.verdict_after(last_beat, late_limit, victim, "Late").await?;
        let text = format!("Late: no beat for {silence} (late after {late}); it may still get work");
        self.timeline.check(victim, &text)?;
        let silence = self.verdict_after(last_beat, limit, victim, "Lost").await?;
        self.timeline.check(victim, &format!("Lost: no beat for {silence} (limit {lost})"))?;
        let taint = self.tainted(victim, true).await?;
        let text = format!("on the ManagedCluster and on its Node, {} after the last beat:\n{taint}", since(last_beat));
        self.timeline.check("taint", &text)?;
        Ok(())
    }
}
