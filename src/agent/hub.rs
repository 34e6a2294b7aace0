//! The ManagedCluster on the hub: its status is patched, and nothing else.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

use crate::app::hub_of;
use crate::clock;
use crate::domain::cluster::{Cluster, ClusterKey};
use crate::domain::report::conditions;
use crate::wire::managed_cluster::ManagedCluster;
use crate::wire::report::{Report, report_patch};

/// How often others may write first, before a beat is given up.
const CONFLICTS_MAX: u32 = 5;
/// Who we say we are in `managedFields`.
const FIELD_MANAGER: &str = "sheetanchor-agent";

/// The way to the hub.
pub(super) struct Door {
    kubeconfig: PathBuf,
    client: Option<Client>,
}

impl Door {
    /// Reads the kubeconfig.
    pub(super) async fn open(kubeconfig: PathBuf) -> anyhow::Result<Self> {
        let mut door = Self { kubeconfig, client: None };
        door.client().await?;
        Ok(door)
    }

    #[cfg(test)]
    pub(super) fn to(client: Client) -> Self {
        Self { kubeconfig: PathBuf::new(), client: Some(client) }
    }

    async fn client(&mut self) -> anyhow::Result<Client> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let refused = || format!("cannot use --hub-kubeconfig \"{}\"", self.kubeconfig.display());
        let mut config = hub_of(&self.kubeconfig).await.with_context(refused)?;
        // A beat that is sent again by itself would be one whose probes are long past.
        config.default_retry = false;
        let client = Client::try_from(config).with_context(refused)?;
        Ok(self.client.insert(client).clone())
    }

    /// Has the kubeconfig read again: its credentials may have been replaced.
    fn shut(&mut self) {
        if !self.kubeconfig.as_os_str().is_empty() {
            self.client = None;
        }
    }
}

/// The hub, as far as one ManagedCluster goes.
pub(super) struct Hub {
    door: Door,
    key: ClusterKey,
    /// As it was stored last, by us; somebody who wrote since then is noticed by the conflict.
    known: Option<Cluster>,
}

impl Hub {
    pub(super) fn new(door: Door, key: ClusterKey) -> Self {
        Self { door, key, known: None }
    }

    pub(super) fn key(&self) -> &ClusterKey {
        &self.key
    }

    /// Writes a report; none is sent at or after `deadline`. When somebody else wrote in between, reads
    /// the new version and decides again what to write.
    pub(super) async fn store(&mut self, report: &Report, deadline: Instant) -> anyhow::Result<()> {
        let client = self.door.client().await?;
        // In place again only when the outcome is known: dropped half-way, nothing is.
        let known = self.known.take();
        match self.send(client, known, report, deadline).await {
            Ok(stored) => {
                self.known = Some(stored);
                Ok(())
            }
            Err(error) => {
                self.door.shut();
                Err(error)
            }
        }
    }

    async fn send(
        &self,
        client: Client,
        mut known: Option<Cluster>,
        report: &Report,
        deadline: Instant,
    ) -> anyhow::Result<Cluster> {
        let api: Api<ManagedCluster> = Api::namespaced(client, self.key.namespace());
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        for _ in 0..CONFLICTS_MAX {
            let stored = match known.take() {
                Some(stored) => stored,
                None => api.get_status(self.key.name()).await.map_err(|error| self.refused(error))?.into(),
            };
            let conditions = conditions(&stored.conditions, report.probes.ready());
            let patch = Patch::Merge(report_patch(&stored.resource_version, &conditions, report));
            anyhow::ensure!(clock::now() < deadline, "the beat was given up: it took too long");
            match api.patch_status(self.key.name(), &params, &patch).await {
                Ok(stored) => return Ok(stored.into()),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(self.refused(error)),
            }
        }
        anyhow::bail!("others wrote first, {CONFLICTS_MAX} times in a row")
    }

    fn refused(&self, error: kube::Error) -> anyhow::Error {
        let absent = matches!(&error, kube::Error::Api(status) if status.code == 404);
        let key = &self.key;
        let hint = if absent { " (it has to be created there first)" } else { "" };
        anyhow::Error::new(error).context(format!("cannot report on ManagedCluster \"{key}\"{hint}"))
    }
}
