//! The ConfigMap that keeps the brake's state, for the next leader and for people.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;

use crate::clock;
use crate::domain::cluster::ClusterKey;
use crate::state::action::Event;
use crate::state::snapshot::BrakeView;

use super::error_line::error_line;

/// The wait between two tries to read it at start.
const RETRY: Duration = Duration::from_secs(2);

/// Its name.
pub const NAME: &str = "sheetanchor-brake";

/// Reads and writes the record.
#[derive(Clone)]
pub struct BrakeStore {
    api: Api<ConfigMap>,
}

impl BrakeStore {
    /// In the namespace of our own objects.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }

    /// The clusters for which an earlier leader's brake is on; none when it was off or never was.
    ///
    /// # Errors
    /// The API server's, and any other that kept it from answering.
    async fn load(&self) -> Result<Vec<ClusterKey>, kube::Error> {
        let data = self.api.get_opt(NAME).await?.and_then(|map| map.data).unwrap_or_default();
        if data.get("state").map(String::as_str) != Some("on") {
            return Ok(Vec::new());
        }
        let clusters = data.get("who").map(String::as_str).unwrap_or_default();
        Ok(clusters.lines().filter_map(ClusterKey::parse).collect())
    }

    /// Tells `events` for which clusters an earlier leader's brake is on, however long the API server needs.
    pub async fn announce(self, events: mpsc::Sender<Event>) {
        let mut warned = false;
        let clusters = loop {
            match self.load().await {
                Ok(clusters) => break clusters,
                Err(error) if !warned => {
                    tracing::warn!(error = error_line(&error), "cannot read the brake's record, retrying");
                    warned = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        };
        // The monitor is gone only when the process ends.
        let _ = events.send(Event::BrakeFound(clusters)).await;
    }

    /// Keeps the record, on the version of the ConfigMap that it finds.
    ///
    /// # Errors
    /// The API server's; 409 when somebody wrote in between.
    pub async fn store(&self, record: Option<&BrakeView>) -> Result<(), kube::Error> {
        let Some(mut map) = self.api.get_opt(NAME).await? else {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            let map = ConfigMap { metadata, data: Some(data(record, None)), ..ConfigMap::default() };
            return self.api.create(&PostParams::default(), &map).await.map(drop);
        };
        map.data = Some(data(record, map.data.as_ref()));
        self.api.replace(NAME, &PostParams::default(), &map).await.map(drop)
    }
}

/// The record as text. `before`: what the ConfigMap says now; while the state is the same, `since` is.
fn data(record: Option<&BrakeView>, before: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let state = if record.is_some() { "on" } else { "off" };
    let before = |name: &str| before.and_then(|data| data.get(name)).cloned();
    let unchanged = before("state").as_deref() == Some(state);
    let since = before("since").filter(|_| unchanged).unwrap_or_else(|| clock::wall().to_string());
    let mut data = BTreeMap::from([("state".to_owned(), state.to_owned()), ("since".to_owned(), since)]);
    let Some(record) = record else { return data };
    let clusters: Vec<&str> = record.clusters.iter().map(ClusterKey::as_str).collect();
    data.extend([
        ("rule".to_owned(), record.cause.as_str().to_owned()),
        ("reason".to_owned(), record.cause.to_string()),
        ("share".to_owned(), format!("{:.2}", record.cause.share())),
        ("who".to_owned(), clusters.join("\n")),
    ]);
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::brake::Cause;
    use crate::domain::sight::Moment;

    fn record() -> BrakeView {
        let clusters = vec![ClusterKey::new("fleet", "a"), ClusterKey::new("fleet", "b")];
        BrakeView { cause: Cause::Mass { failing: 3, well: 2 }, since: Moment::default(), clusters }
    }

    #[test]
    fn a_brake_that_stays_as_it_is_keeps_its_since() {
        let first = data(Some(&record()), None);
        let off = data(None, Some(&first));
        let earlier = BTreeMap::from([("state".into(), "on".into()), ("since".into(), "earlier".into())]);
        assert_eq!(data(Some(&record()), Some(&earlier))["since"], "earlier");
        assert_ne!(data(Some(&record()), Some(&off))["since"], "earlier");
        assert_eq!((off["state"].as_str(), off.len()), ("off", 2));
        let earlier = BTreeMap::from([("state".into(), "off".into()), ("since".into(), "earlier".into())]);
        assert_eq!(data(None, Some(&earlier))["since"], "earlier");
        assert_eq!((first["share"].as_str(), first["who"].as_str()), ("0.60", "fleet/a\nfleet/b"));
    }
}
