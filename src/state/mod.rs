//! What we know of the fleet: one owner that events go into, and immutable snapshots that come out.

pub mod action;
mod entry;
pub mod index;
mod inquiry;
mod nodes;
mod pacer;
pub mod policy;
pub mod snapshot;
mod version;

pub use entry::ALIVE_CONDITION;
pub use inquiry::ANSWER_TIMEOUT;
