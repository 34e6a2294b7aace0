//! What people say to whoever leads, from any kubeconfig with the right to do so.
//!
//! A command only writes annotations; the leader acts on them.

pub mod release;
