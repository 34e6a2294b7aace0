//! What watches and what writes. One owner per effect.

pub mod brake_record;
pub mod error_line;
pub mod events;
pub mod leader;
pub mod monitor;
pub mod pulse;
pub mod tainter;
pub mod watch;
