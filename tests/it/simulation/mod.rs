//! A virtual world.
pub(crate) mod api;
