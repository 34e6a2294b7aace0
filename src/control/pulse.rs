//! Asks the API server for a sign of life, when nothing else gives one.
//!
//! The question is a read of one ManagedCluster's metadata: no cache answers it, only etcd, which
//! also takes the heartbeats.

use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::domain::cluster::ClusterKey;
use crate::state::ANSWER_TIMEOUT;
use crate::state::action::Event;
use crate::wire::managed_cluster::ManagedCluster;

use super::error_line::error_line;

/// Answers `questions`, by their number, until one of the channels closes.
///
/// A refusal is no sign of life: the API server refuses without etcd, and one that is overloaded
/// turns away the agents too. That the cluster does not exist is one.
pub async fn answer(client: Client, mut questions: mpsc::Receiver<(u64, ClusterKey)>, events: mpsc::Sender<Event>) {
    let mut told = false;
    while let Some((number, key)) = questions.recv().await {
        let api: Api<ManagedCluster> = Api::namespaced(client.clone(), key.namespace());
        match timeout(ANSWER_TIMEOUT, api.get_metadata_opt(key.name())).await {
            Ok(Ok(_)) => {
                told = false;
                if events.send(Event::Answered(number)).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) if !told => {
                told = true;
                tracing::warn!(cluster = %key, error = error_line(&error), "no sign of life: cannot read a ManagedCluster");
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::*;

    /// The answers to one question, which the API server meets with `code`.
    async fn answered(code: u16) -> usize {
        let hub = service_fn(move |_: Request<Body>| {
            let reason = if code == 404 { "NotFound" } else { "Other" };
            let status = json!({"status": "Failure", "code": code, "message": "m", "reason": reason});
            let object = json!({"metadata": {"namespace": "fleet", "name": "eu-1"}});
            let body = if code == 200 { object } else { status };
            let answer = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            ready(answer.map_err(kube::Error::HttpError))
        });
        let (questions, queue) = mpsc::channel(1);
        let (events, mut answers) = mpsc::channel(1);
        questions.send((7, ClusterKey::new("fleet", "eu-1"))).await.unwrap();
        drop(questions);
        answer(Client::new(hub, "default"), queue, events).await;
        std::iter::from_fn(|| answers.try_recv().ok()).filter(|event| matches!(event, Event::Answered(7))).count()
    }

    #[tokio::test]
    async fn only_what_etcd_said_is_a_sign_of_life() {
        for (code, expected) in [(200, 1), (404, 1), (401, 0), (403, 0), (429, 0), (500, 0), (503, 0), (504, 0)] {
            assert_eq!(answered(code).await, expected, "{code}");
        }
    }
}
