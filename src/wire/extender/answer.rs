//! What the scheduler gets back: `ExtenderFilterResult` and `HostPriorityList`.
//!
//! Keys in Go's case. As small as the protocol allows, because the scheduler's own decoding is most
//! of what a call costs.

use super::{Candidate, Candidates};
use crate::wire::json::write_scalar;

/// Room for what surrounds the nodes.
const FRAME_BYTES: usize = 256;

/// An `ExtenderFilterResult`, built while the nodes are gone through.
///
/// It takes the shape of the question: `NodeNames` for names, `Nodes` for Nodes, echoed byte for
/// byte, and null for both when neither was there. Rejected nodes go into
/// `FailedAndUnresolvableNodes`, since evicting other pods cannot help; `FailedNodes` stays null.
#[derive(Debug)]
pub struct FilterResult {
    /// The answer up to the last node that passed.
    body: Vec<u8>,
    /// The entries of `FailedAndUnresolvableNodes`.
    rejected: Vec<u8>,
    /// What closes the list of those that passed.
    close: &'static str,
    /// The next node that passes is the first.
    first: bool,
}

impl FilterResult {
    /// An answer about these nodes, whose question had `question_bytes`: the nodes that pass take
    /// no more.
    pub fn about(candidates: &Candidates<'_>, question_bytes: usize) -> Self {
        let mut body = Vec::with_capacity(question_bytes + FRAME_BYTES);
        let close = match candidates {
            Candidates::Neither => {
                body.extend_from_slice(b"{\"Nodes\":null,\"NodeNames\":null");
                ""
            }
            Candidates::Names(_) => {
                body.extend_from_slice(b"{\"Nodes\":null,\"NodeNames\":[");
                "]"
            }
            Candidates::Nodes(list) => {
                body.extend_from_slice(b"{\"Nodes\":{\"metadata\":");
                body.extend_from_slice(list.metadata.as_bytes());
                body.extend_from_slice(b",\"items\":[");
                "]},\"NodeNames\":null"
            }
        };
        Self { body, rejected: Vec::new(), close, first: true }
    }

    /// The pod may go there.
    pub fn pass(&mut self, node: Candidate<'_>) {
        if !self.first {
            self.body.push(b',');
        }
        self.first = false;
        match node.raw {
            Some(raw) => self.body.extend_from_slice(raw.as_bytes()),
            None => node.name.write(&mut self.body),
        }
    }

    /// It may not, and why.
    pub fn reject(&mut self, node: Candidate<'_>, reason: &str) {
        if !self.rejected.is_empty() {
            self.rejected.push(b',');
        }
        node.name.write(&mut self.rejected);
        self.rejected.push(b':');
        write_scalar(&mut self.rejected, reason);
    }

    /// The whole answer.
    pub fn finish(mut self) -> Vec<u8> {
        self.body.extend_from_slice(self.close.as_bytes());
        self.body.extend_from_slice(b",\"FailedNodes\":null,\"FailedAndUnresolvableNodes\":{");
        self.body.extend_from_slice(&self.rejected);
        self.body.extend_from_slice(b"},\"Error\":\"\"}");
        self.body
    }
}

/// A `HostPriorityList`. A node that is left out has score 0.
#[derive(Debug)]
pub struct HostPriorityList(Vec<u8>);

impl HostPriorityList {
    /// An empty list with room for `hosts`, of names as long as they usually are.
    pub fn with_room(hosts: usize) -> Self {
        const ENTRY_BYTES: usize = 64;
        let mut body = Vec::with_capacity(hosts * ENTRY_BYTES + FRAME_BYTES);
        body.push(b'[');
        Self(body)
    }

    /// Gives a node a score; 0 says nothing.
    pub fn push(&mut self, node: Candidate<'_>, score: u8) {
        if score == 0 {
            return;
        }
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.extend_from_slice(b"{\"Host\":");
        node.name.write(&mut self.0);
        self.0.extend_from_slice(b",\"Score\":");
        write_scalar(&mut self.0, &score);
        self.0.push(b'}');
    }

    /// The whole answer.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push(b']');
        self.0
    }
}
