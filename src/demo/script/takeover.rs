//! After a death: what is placed anew, what was decided before, and what somebody would throw away.

use std::io::Write;

use anyhow::Context;

use crate::demo::placement;
use crate::demo::wait::Failure;

use super::{LATE_POD, Plot, Script};

impl<W: Write> Script<'_, W> {
    pub(super) async fn takeover(&mut self, plot: &Plot) -> anyhow::Result<()> {
        let about = "Nothing new goes to the dead cluster, whoever decides it, and however late.";
        self.timeline.chapter("3. A spare takes over", about)?;
        self.new_pod(&plot.victim).await?;
        self.late_binding(&plot.victim).await?;
        self.emptied(plot).await
    }

    async fn new_pod(&mut self, victim: &str) -> anyhow::Result<()> {
        self.stage.create_pod("web-3", false).await?;
        let choice = self.stage.decision("web-3").await?.choice;
        choice.must_reject(&[victim])?;
        let reason = choice.rejected.get(victim).map_or("", String::as_str);
        let (passed, asked) = (choice.ranking.len(), choice.asked);
        let text = format!("pod web-3 may go to {passed} of {asked} nodes, and not to {victim}:\n{reason}");
        self.timeline.check("/filter", &text)?;
        let (active, spare) = self.best(&choice.ranking);
        let first = spare.score > active.score;
        Failure::unless(first, "a spare first in /prioritize", || format!("{:?}", choice.ranking))?;
        let text = format!("{} is first with {} points; the best active has {}", spare.node, spare.score, active.score);
        self.timeline.check("/prioritize", &text)?;
        self.bound("web-3", &spare.node, "spare").await
    }

    /// The binding that was decided when the cluster was alive, and what its scheduler decides then.
    async fn late_binding(&mut self, victim: &str) -> anyhow::Result<()> {
        let scheduler = &self.stage.scheduler;
        let answer = match scheduler.bind(LATE_POD, victim).await {
            Err(kube::Error::Api(status)) => status.message,
            other => format!("{other:?}"),
        };
        let (_, reason) = answer.split_once("denied the request: ").unwrap_or_default();
        let denied = reason.contains(&format!("{victim}\" is Lost"));
        Failure::unless(denied, format!("the binding of {LATE_POD} to {victim} to be denied"), || answer.clone())?;
        let text = format!("the slow scheduler binds pod {LATE_POD} to {victim} at last, and is denied:\n{reason}");
        self.timeline.check("webhook", &text)?;

        let again = scheduler.choose(&scheduler.pods().get(LATE_POD).await?).await?;
        let node = &again.ranking.first().context("no node is left")?.node;
        scheduler.bind(LATE_POD, node).await?;
        self.bound(LATE_POD, node, "spare").await
    }

    /// The write that Clusternet's scheduler makes when it finds no cluster.
    async fn emptied(&mut self, plot: &Plot) -> anyhow::Result<()> {
        let stored = plot.subscription.empty().await?.join(", ");
        let wanted = plot.placement.join(", ");
        Failure::unless(stored == wanted, format!("the placement {wanted}"), || stored.clone())?;
        let name = placement::NAME;
        let text =
            format!("a rival scheduler empties the Subscription {name}; the webhook puts back its clusters:\n{stored}");
        self.timeline.check("placement", &text)?;
        Ok(())
    }
}
