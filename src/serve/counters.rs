//! What is counted of connections, and of what the doors were asked. Labels are closed enums.

use std::io;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::Word;

use super::admission::AdmissionOutcome;
use super::extender::{Rejections, Verb};

/// The counters of one listener. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCounters {
    accepted: Counter,
    accept_failures: Counter,
    open: Gauge,
    handshake_failures: Family<HandshakeFailureLabels, Counter>,
    hang_ups: Family<HangUpLabels, Counter>,
}

/// Why a TLS handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum HandshakeFailure {
    /// It took longer than the limit.
    Timeout,
    /// The caller does not speak TLS, plain HTTP for example.
    NotTls,
    /// No TLS version, cipher suite or protocol in common.
    Incompatible,
    /// The caller refused, most often because it does not trust our certificate.
    Refused,
    /// The caller hung up or the network failed.
    Disconnected,
    /// Anything else: the debug log has it.
    Other,
}

/// Why we closed a connection that the caller would have kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum HangUp {
    /// No request came after connecting.
    NoRequest,
    /// No request came for longer than any caller keeps an idle connection.
    Idle,
    /// It still had a request in flight when the drain was over.
    Drain,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeFailureLabels {
    reason: HandshakeFailure,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HangUpLabels {
    reason: HangUp,
}

impl ConnectionCounters {
    /// Exposes the counters, under the names that they have in `registry`'s prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("connections_accepted", "Connections accepted", self.accepted.clone());
        registry.register(
            "connections_accept_failures",
            "Connections that the system could not give us, for want of file descriptors for example",
            self.accept_failures.clone(),
        );
        registry.register("connections_open", "Connections open, those in a TLS handshake included", self.open.clone());
        registry.register(
            "connections_handshake_failures",
            "TLS handshakes that came to nothing",
            self.handshake_failures.clone(),
        );
        registry.register(
            "connections_hang_ups",
            "Connections closed by us that the caller would have kept",
            self.hang_ups.clone(),
        );
    }

    pub(super) fn accepted(&self) -> OpenConnection {
        self.accepted.inc();
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    pub(super) fn accept_failed(&self) {
        self.accept_failures.inc();
    }

    pub(super) fn handshake_failed(&self, reason: HandshakeFailure) {
        self.handshake_failures.get_or_create(&HandshakeFailureLabels { reason }).inc();
    }

    pub(super) fn hung_up(&self, reason: HangUp) {
        self.hang_ups.get_or_create(&HangUpLabels { reason }).inc();
    }
}

#[cfg(test)]
impl ConnectionCounters {
    pub(super) fn handshake_failures(&self, reason: HandshakeFailure) -> u64 {
        self.handshake_failures.get_or_create(&HandshakeFailureLabels { reason }).get()
    }

    pub(super) fn hang_ups(&self, reason: HangUp) -> u64 {
        self.hang_ups.get_or_create(&HangUpLabels { reason }).get()
    }

    pub(super) fn open(&self) -> i64 {
        self.open.get()
    }

    pub(super) fn accept_failures(&self) -> u64 {
        self.accept_failures.get()
    }
}

/// Counts as open until dropped.
pub(super) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl From<&io::Error> for HandshakeFailure {
    fn from(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
        match tls {
            None => Self::Disconnected,
            Some(
                rustls::Error::InvalidMessage(_)
                | rustls::Error::InappropriateMessage { .. }
                | rustls::Error::PeerSentOversizedRecord,
            ) => Self::NotTls,
            Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => Self::Incompatible,
            Some(rustls::Error::AlertReceived(_)) => Self::Refused,
            Some(_) => Self::Other,
        }
    }
}

/// What the scheduler and the API server asked, and were answered. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct DoorCounters {
    calls: Family<CallLabels, Counter>,
    rejections: Family<RejectionLabels, Counter>,
    reviews: Family<ReviewLabels, Counter>,
    ignored_annotations: Counter,
}

/// What became of a call of the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum CallOutcome {
    /// It was answered.
    Answered,
    /// Its body could not be understood.
    Refused,
    /// It came before the first complete list.
    Unsynced,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    verb: Word,
    outcome: CallOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabels {
    reason: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    outcome: AdmissionOutcome,
}

impl DoorCounters {
    /// Exposes the counters, under the names that they have in `registry`'s prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("extender_calls", "Calls of the scheduler by verb and outcome", self.calls.clone());
        registry.register("extender_rejected_nodes", "Nodes rejected by /filter, by reason", self.rejections.clone());
        registry.register("admission_reviews", "Reviews asked by the API server, by outcome", self.reviews.clone());
        registry.register(
            "admission_ignored_annotations",
            "Reviews of a Subscription whose record of rescues could not be read",
            self.ignored_annotations.clone(),
        );
    }

    pub(super) fn called(&self, verb: Verb, outcome: CallOutcome) {
        self.calls.get_or_create(&CallLabels { verb: Word(verb.as_str()), outcome }).inc();
    }

    pub(super) fn rejected(&self, rejections: &Rejections) {
        for (grounds, nodes) in rejections {
            self.rejections.get_or_create(&RejectionLabels { reason: Word(grounds.as_str()) }).inc_by(*nodes);
        }
    }

    pub(super) fn reviewed(&self, outcome: AdmissionOutcome) {
        self.reviews.get_or_create(&ReviewLabels { outcome }).inc();
    }

    pub(super) fn ignored_annotation(&self) {
        self.ignored_annotations.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::exposed;
    use super::*;

    #[test]
    fn every_counter_is_exposed_with_its_reason() {
        let counters = ConnectionCounters::default();
        let open = counters.accepted();
        drop(counters.accepted());
        counters.accept_failed();
        counters.handshake_failed(HandshakeFailure::NotTls);
        counters.hung_up(HangUp::NoRequest);
        let expected = [
            "connections_accepted_total 2",
            "connections_accept_failures_total 1",
            "connections_open 1",
            "connections_handshake_failures_total{reason=\"NotTls\"} 1",
            "connections_hang_ups_total{reason=\"NoRequest\"} 1",
        ];
        assert_eq!(exposed(|registry| counters.register(registry)), expected);
        drop(open);
    }
}
