//! The flags of `demo`.

use std::time::Duration;

use clap::Parser;

use super::{duration, whole};

/// The flags of `demo`.
#[derive(Clone, Debug, Parser)]
pub struct DemoArgs {
    /// Simulated member clusters, 4 to 1000; every fourth is a spare
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = whole(4..=1000_u16))]
    pub clusters: u16,

    /// How often each of them beats, in whole seconds from 1s to 1m
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = whole_seconds)]
    pub period: Duration,

    /// Keep it running afterwards, and print what to try, until Ctrl-C
    #[arg(long)]
    pub stay: bool,
}

/// `heartbeatFrequencySeconds`, in which a cluster declares its period, is an integer.
fn whole_seconds(text: &str) -> Result<Duration, String> {
    let whole = |period: &Duration| period.subsec_nanos() == 0 && (1..=60).contains(&period.as_secs());
    duration(text).ok().filter(whole).ok_or_else(|| "allowed: whole seconds from 1s to 1m".to_owned())
}
