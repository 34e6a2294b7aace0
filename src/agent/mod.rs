//! The agent of one member cluster: reports over and over, by patches of its ManagedCluster's status
//! on the hub, that the cluster lives.
//!
//! Invariant: a heartbeat says that the member's API server was asked just now. Nothing that was
//! learned in one beat is posted in another, except the sums over nodes and pods.

mod beat;
mod hub;
mod inventory;
mod member;
mod schedule;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use anyhow::Context;
use kube::{Client, Config};
use tokio::task::JoinSet;

use crate::app::{hub_of, stop_signal};
use crate::config::AgentArgs;
use crate::domain::cluster::ClusterKey;

use self::beat::Heart;
use self::hub::{Door, Hub};
use self::inventory::Inventory;
use self::member::Member;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start; each is one line that says what to do.
pub async fn run(args: AgentArgs) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    // Fails only when one is installed already, and then that one serves.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = ClusterKey::new(&args.cluster_namespace, &args.cluster_name);
    let period = args.cluster_status_update_frequency;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), cluster = %key, ?period, "starting");
    let mut config = member(&args).await?;
    config.default_retry = false;
    let client = Client::try_from(config).context("cannot set up the member cluster's client")?;
    let door = Door::open(args.hub_kubeconfig).await?;

    let mut watches = JoinSet::new();
    let inventory = Inventory::watch(&client, &mut watches);
    let heart = Heart::new(Member::new(client), Some(inventory), Hub::new(door, key), period);
    tokio::select! {
        _ = stop => {}
        never = heart.run() => match never {},
        Some(ended) = watches.join_next() => {
            ended?;
            anyhow::bail!("a watch ended, and the sums would stand still without it");
        }
    }
    tracing::info!("stopping");
    Ok(())
}

async fn member(args: &AgentArgs) -> anyhow::Result<Config> {
    match &args.kubeconfig {
        Some(path) => hub_of(path).await.with_context(|| format!("cannot use --kubeconfig \"{}\"", path.display())),
        // Not whatever kubeconfig lies about: that one may well be the hub's.
        None => Config::incluster().context(
            "cannot find the member cluster: this is no Pod with a service account; name its kubeconfig with --kubeconfig",
        ),
    }
}
