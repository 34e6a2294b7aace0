//! Asks the API server for a sign of life, when nothing else gives one.
//!
//! The question is a read of the Lease: no cache answers it, only etcd, which also takes the
//! heartbeats. It goes over the connection of the watches.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::state::action::Event;

/// An answer that takes longer is given up.
const LIMIT: Duration = Duration::from_secs(2);

/// Answers `questions` until one of the channels closes. `name`: the Lease's; it need not exist.
pub async fn answer(api: Api<Lease>, name: String, mut questions: mpsc::Receiver<u64>, events: mpsc::Sender<Event>) {
    while let Some(number) = questions.recv().await {
        let answer = timeout(LIMIT, api.get_opt(&name)).await;
        if answer.is_ok_and(|answer| lives(answer.as_ref().err()))
            && events.send(Event::Answered(number)).await.is_err()
        {
            return;
        }
    }
}

/// Whether this end of a request shows that others are served. One that lacks the right to read
/// the Lease was authenticated and authorized; an overloaded server turns away the agents too.
fn lives(error: Option<&kube::Error>) -> bool {
    match error {
        None => true,
        Some(kube::Error::Api(status)) => status.code == 403,
        Some(_) => false,
    }
}
