//! The demo's hub: the part of a Kubernetes API server that `serve` and kubectl use, in memory.
//!
//! Only for showing, and what it does it does as the real one: `tests/e2e/likeness.rs` asks both the
//! same. It knows no users, no schemas and defaults, no server-side apply and no protobuf (so
//! `kubectl create -f` works, and `kubectl create namespace` does not); a pod that is deleted is gone
//! at once; a strategic merge patch replaces lists; everything is forgotten at the end. It has no idea
//! of what sheetanchor does with it.

mod admission;
mod binding;
mod columns;
mod delete;
mod discovery;
mod events;
mod failure;
mod kinds;
mod object;
mod patch;
mod path;
mod rest;
mod selection;
mod store;
mod table;
mod watch;
mod webhook;
mod write;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::rest::Server;
use self::store::Store;

/// A running hub. Dropping it ends its watches and closes its port.
pub struct Hub {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Hub {
    /// Starts an empty hub on a loopback port that the kernel chooses. The namespaces that every
    /// cluster has are there.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr().context("cannot tell the hub's port")?;
        let stop = CancellationToken::new();
        let app = Server::new(Store::default(), stop.clone()).router();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "the hub ended");
            }
        });
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// Where it listens: `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for kubectl, `--kubeconfig` and kube-rs. JSON, and so YAML as well.
    pub fn kubeconfig(&self) -> String {
        let name = "sheetanchor-demo";
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": self.url()}}],
            "users": [{"name": name, "user": {}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        });
        format!("{config:#}\n")
    }
}

#[cfg(test)]
mod tests;
