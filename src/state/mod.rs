//! What we know of the fleet: one owner that events go into, and immutable snapshots that come out.

pub mod policy;
pub mod snapshot;
