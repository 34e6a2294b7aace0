//! Logs: to standard error, as text or JSON; or to a file.

use std::fs::File;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LoggingFormat;

/// kube logs each failed call, and each right that a watch lacks, whenever it tries again; we say so
/// once per state, and why.
const QUIET: &str = "kube_client::client=off,kube_runtime::watcher=off";

/// Sets up the process's log. `level` is a level or a filter such as `info,kube=debug`.
///
/// # Errors
/// When the level cannot be read.
pub fn init(format: LoggingFormat, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{level}"))
        .map_err(|error| format!("--log-level {level:?}: {error}; allowed: error, warn, info, debug, trace"))?;
    let colour = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LoggingFormat::Text => builder.with_ansi(colour).init(),
        LoggingFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Sends the process's log to a file, as text of level info.
pub fn init_to_file(file: File) {
    let filter = EnvFilter::new(format!("{QUIET},info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(file).with_target(false).with_ansi(false).init();
}
