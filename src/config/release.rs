//! The flags of `release`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::duration;

/// The flags of `release`.
#[derive(Clone, Debug, Parser)]
pub struct ReleaseArgs {
    /// ManagedClusters that are dead: their names, or namespace/name
    #[arg(value_name = "CLUSTER", required = true)]
    pub clusters: Vec<String>,

    /// Kubeconfig of the hub; without it the Pod's service account, or the usual places
    #[arg(long, env = "SHEETANCHOR_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Say what would be released, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Wait until each is Lost and tainted, or beats again
    #[arg(long)]
    pub wait: bool,

    /// How long to wait, with --wait
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
}
