//! Asks the member's own API server how it is.

use std::time::Duration;

use http::Request;
use jiff::Timestamp;
use kube::Client;
use tokio::time::timeout;

use crate::clock;
use crate::control::error_line::error_line;
use crate::domain::report::Probes;

/// The member cluster.
pub(super) struct Member {
    client: Client,
}

/// What it said.
pub(super) struct Look {
    /// When it had been asked.
    pub(super) observed: Timestamp,
    pub(super) probes: Probes,
    /// Version and platform.
    pub(super) version: Option<(String, String)>,
    /// Why it is not ready.
    pub(super) trouble: Option<String>,
}

impl Member {
    /// `client` must not repeat requests by itself.
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Asks everything at once; whatever has not been answered within `limit` has failed.
    pub(super) async fn look(&self, limit: Duration) -> Look {
        let (livez, readyz, healthz, version) = tokio::join!(
            self.probe("/livez", limit),
            self.probe("/readyz", limit),
            self.probe("/healthz", limit),
            timeout(limit, self.client.apiserver_version()),
        );
        let probes = Probes { livez: livez.is_ok(), readyz: readyz.is_ok(), healthz: healthz.is_ok() };
        let version = version.ok().and_then(Result::ok);
        Look {
            observed: clock::wall(),
            probes,
            version: version.map(|version| (version.git_version, version.platform)),
            trouble: livez.and(readyz).err().filter(|_| !probes.ready()),
        }
    }

    async fn probe(&self, path: &str, limit: Duration) -> Result<(), String> {
        let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        match timeout(limit, self.client.request_text(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{path}: {}", error_line(&error))),
            Err(_) => Err(format!("{path}: no answer within {limit:?}")),
        }
    }
}
