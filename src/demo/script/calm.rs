//! Before: every cluster is well, and spares wait.

use std::io::Write;

use anyhow::ensure;

use crate::demo::placement::{self, Subscription};
use crate::demo::wait::Failure;
use crate::domain::placement::MAX_SCORE;
use crate::domain::span::short;

use super::{Plot, Script};

/// How many clusters the Subscription is placed on.
const PLACED: usize = 3;

impl<W: Write> Script<'_, W> {
    pub(super) async fn calm(&mut self) -> anyhow::Result<Plot> {
        let about = "Work goes to active clusters; spares wait for one of them to fail (--spare-policy=OnFailure).";
        self.timeline.chapter("1. All is well", about)?;
        let stage = self.stage;
        let clusters = self.all_ready(None).await?;
        let spares = stage.fleet.spares();
        let (actives, period) = (clusters - spares, short(stage.period));
        let text = format!("{clusters} clusters beat every {period} and are Ready: {actives} active, {spares} spare");
        self.timeline.check("fleet", &text)?;

        let (subscription, placement) = self.subscribe().await?;
        self.timeline.check("webhook", "the hub asks sheetanchor before it stores a binding or a placement")?;
        let text = format!("the Subscription {} runs on {}", placement::NAME, placement.join(", "));
        self.timeline.fact("placement", &text)?;

        stage.create_pod("web-1", false).await?;
        let choice = stage.decision("web-1").await?.choice;
        choice.must_reject(&[])?;
        let text = format!("pod web-1 may go to each of the {clusters} nodes; a node stands for a whole cluster");
        self.timeline.check("/filter", &text)?;
        let (active, spare) = self.best(&choice.ranking);
        let first = active.score > spare.score;
        Failure::unless(first, "an active cluster first in /prioritize", || format!("{:?}", choice.ranking))?;
        let (best, points) = (&active.node, active.score);
        let text = format!("{best} is first with {points} of {MAX_SCORE} points; the best spare has {}", spare.score);
        self.timeline.check("/prioritize", &text)?;
        self.bound("web-1", &active.node, "active").await?;
        Ok(Plot { victim: active.node, placement, subscription })
    }

    /// Creates the Subscription and places it, for which the hub must already know the webhook.
    async fn subscribe(&self) -> anyhow::Result<(Subscription, Vec<String>)> {
        let names = self.stage.fleet.names();
        let names: Vec<&str> = names.iter().take(PLACED).map(String::as_str).collect();
        let subscription = Subscription::create(&self.stage.hub).await?;
        let placement = self.stage.until("the hub to ask the webhook about a placement", async || {
            let placement = subscription.place(&names).await?;
            ensure!(subscription.empty().await? == placement, "the placement was emptied");
            Ok(placement)
        });
        let placement = placement.await?;
        Ok((subscription, placement))
    }
}
