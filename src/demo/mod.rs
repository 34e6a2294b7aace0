//! What `sheetanchor demo` is made of, for a fleet that fails on a laptop. Nothing else imports it.

pub mod hub;
