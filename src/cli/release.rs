//! `sheetanchor release`: a person's word that clusters are dead, which the brake does not hold back.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use tokio::time::sleep;

use crate::app;
use crate::clock;
use crate::config::ReleaseArgs;
use crate::domain::cluster::{Cluster, ClusterKey};
use crate::domain::health::Verdict;
use crate::state::ALIVE_CONDITION;
use crate::wire::managed_cluster::{self, ManagedCluster};

/// The interval between two looks, while waiting.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Releases the clusters, and says so line by line. Returns the exit code: 1 when one that was
/// waited for did not become Lost.
///
/// # Errors
/// One line that says which cluster is not there, or what the API server refused. Nothing is
/// written unless every name is known.
pub async fn run(args: &ReleaseArgs, out: &mut impl Write) -> anyhow::Result<u8> {
    let hub = app::hub(args.kubeconfig.as_deref()).await?;
    let client = Client::try_from(hub).context("cannot log in to the hub as the kubeconfig says")?;
    let all: Api<ManagedCluster> = Api::all(client.clone());
    let listed = all.list(&ListParams::default()).await.context("cannot list ManagedClusters")?;
    let fleet: Vec<Cluster> = listed.items.into_iter().map(Into::into).collect();
    let named: Vec<&Cluster> = args.clusters.iter().map(|name| find(&fleet, name)).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    let mut released = Vec::new();
    for cluster in named.into_iter().filter(|cluster| seen.insert(&cluster.key)) {
        let key = &cluster.key;
        let stamp = cluster.stamp.as_deref();
        let stamp =
            stamp.with_context(|| format!("\"{key}\" has never beaten: there is no beat to release it from"))?;
        if is_lost(cluster) {
            writeln!(out, "{key} is Lost already")?;
        } else if args.dry_run {
            writeln!(out, "{key} would be released: dead since its beat of {stamp} (dry run)")?;
        } else {
            let patch = managed_cluster::release_patch(&cluster.resource_version, stamp);
            let api: Api<ManagedCluster> = Api::namespaced(client.clone(), key.namespace());
            let written = api.patch_metadata(key.name(), &PatchParams::default(), &Patch::Merge(patch)).await;
            written.map_err(refusal).with_context(|| format!("cannot release \"{key}\""))?;
            writeln!(out, "{key} released: dead since its beat of {stamp}, unless it beats again")?;
            released.push(key.clone());
        }
    }
    if args.wait { wait(&client, released, args.timeout, out).await } else { Ok(0) }
}

/// The cluster that is called so.
fn find<'a>(fleet: &'a [Cluster], name: &str) -> anyhow::Result<&'a Cluster> {
    let called = |cluster: &&Cluster| cluster.key.as_str() == name || cluster.key.name() == name;
    let found: Vec<&Cluster> = fleet.iter().filter(called).collect();
    match found[..] {
        [only] => Ok(only),
        [] => bail!("there is no ManagedCluster \"{name}\"; kubectl get managedclusters -A lists them"),
        _ => {
            let keys: Vec<&str> = found.iter().map(|cluster| cluster.key.as_str()).collect();
            bail!("\"{name}\" may mean {}: say which, with its namespace", keys.join(" or "))
        }
    }
}

/// What the leader says of it.
fn is_lost(cluster: &Cluster) -> bool {
    let own = cluster.conditions.iter().find(|condition| condition.kind == ALIVE_CONDITION);
    own.is_some_and(|own| own.reason == Verdict::Lost.as_str())
}

/// A conflict has a simple reason here.
fn refusal(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if status.code == 409 => {
            anyhow::anyhow!("it changed meanwhile, perhaps it beats; look, and run this again")
        }
        other => other.into(),
    }
}

/// Says what becomes of each, until that is settled.
async fn wait(
    client: &Client,
    mut waiting: Vec<ClusterKey>,
    timeout: Duration,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    let deadline: Instant = clock::now() + timeout;
    let mut code = 0;
    loop {
        let mut open = Vec::new();
        for key in waiting {
            let api: Api<ManagedCluster> = Api::namespaced(client.clone(), key.namespace());
            let object = api.get(key.name()).await.with_context(|| format!("cannot read \"{key}\""))?;
            let cluster = Cluster::from(object);
            if !cluster.is_released() {
                writeln!(out, "{key} beats again: the release is void")?;
                code = 1;
            } else if is_lost(&cluster) {
                writeln!(out, "{key} is Lost, and tainted")?;
            } else {
                open.push(key);
            }
        }
        if open.is_empty() {
            return Ok(code);
        }
        let names: Vec<&str> = open.iter().map(ClusterKey::as_str).collect();
        ensure!(
            clock::now() < deadline,
            "after {} s these are not Lost yet: {}; does a sheetanchor lead, and are they silent?",
            timeout.as_secs(),
            names.join(", ")
        );
        sleep(LOOK_INTERVAL).await;
        waiting = open;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{mk_ready, mk_view};

    #[test]
    fn a_cluster_is_found_by_its_name_alone_where_that_is_enough() {
        let cluster = |namespace: &str, name: &str| {
            let mut cluster = (*mk_view(name, mk_ready()).cluster).clone();
            cluster.key = ClusterKey::new(namespace, name);
            cluster
        };
        let fleet = [cluster("fleet", "eu-1"), cluster("fleet", "us-1"), cluster("other", "us-1")];
        let found = |name: &str| find(&fleet, name).map(|cluster| cluster.key.to_string()).map_err(|it| it.to_string());
        assert_eq!(found("eu-1"), Ok("fleet/eu-1".into()));
        assert_eq!(found("other/us-1"), Ok("other/us-1".into()));
        for (name, part) in [("eu-2", "no ManagedCluster \"eu-2\""), ("us-1", "fleet/us-1 or other/us-1")] {
            assert!(found(name).is_err_and(|error| error.contains(part)), "{name}");
        }
    }
}
