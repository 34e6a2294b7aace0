//! The flags of `agent`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::{LoggingFormat, log_level, period};

/// The flags of `agent`.
#[derive(Clone, Debug, Parser)]
pub struct AgentArgs {
    /// Kubeconfig of the member cluster; without it the Pod's service account
    #[arg(long, env = "SHEETANCHOR_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Kubeconfig of the hub; read again after a failure, so that its credentials may be replaced
    #[arg(long, env = "SHEETANCHOR_HUB_KUBECONFIG", value_name = "FILE")]
    pub hub_kubeconfig: PathBuf,

    /// Namespace of this cluster's ManagedCluster on the hub
    #[arg(long, env = "SHEETANCHOR_CLUSTER_NAMESPACE", value_name = "NAMESPACE", value_parser = object_name)]
    pub cluster_namespace: String,

    /// Name of this cluster's ManagedCluster on the hub
    #[arg(long, env = "SHEETANCHOR_CLUSTER_NAME", value_name = "NAME", value_parser = object_name)]
    pub cluster_name: String,

    /// Heartbeat period: one report each, give or take a tenth
    #[arg(long, env = "SHEETANCHOR_CLUSTER_STATUS_UPDATE_FREQUENCY", value_name = "DURATION", default_value = "3m", value_parser = period)]
    pub cluster_status_update_frequency: Duration,

    /// Form of the log
    #[arg(long, env = "SHEETANCHOR_LOGGING_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub logging_format: LoggingFormat,

    /// Level of the log: error, warn, info, debug, trace; or a filter such as info,kube=debug
    #[arg(long, env = "SHEETANCHOR_LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    pub log_level: String,
}

/// A name by the rule for most of Kubernetes' objects: it becomes part of a path.
fn object_name(text: &str) -> Result<String, String> {
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label =
        |label: &str| label.starts_with(end) && label.ends_with(end) && label.chars().all(|c| end(c) || c == '-');
    let valid = text.len() <= 253 && text.split('.').all(label);
    valid.then(|| text.to_owned()).ok_or_else(|| "allowed: lower case letters, digits, '-' and '.'".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command, Exit, parse};
    use super::*;

    const NAMED: [&str; 3] = ["--hub-kubeconfig=h", "--cluster-namespace=fleet", "--cluster-name=eu-1"];

    fn agent(flags: &[&str]) -> Result<Cli, Exit> {
        parse(["sheetanchor", "agent"].iter().chain(flags).map(Into::into))
    }

    #[test]
    fn a_cluster_and_its_hub_are_enough() {
        let Command::Agent(args) = agent(&NAMED).expect("flags").command else { panic!("another command") };
        assert_eq!((args.cluster_namespace.as_str(), args.cluster_name.as_str()), ("fleet", "eu-1"));
        assert_eq!((args.kubeconfig, args.cluster_status_update_frequency), (None, Duration::from_secs(180)));
    }

    #[test]
    fn a_bad_value_is_one_line_that_names_flag_value_and_what_is_allowed() {
        for (flag, value, allowed) in [
            ("--cluster-name", "", "lower case"),
            ("--cluster-name", "EU", "lower case"),
            ("--cluster-name", "eu-1/status", "lower case"),
            ("--cluster-name", "-eu", "lower case"),
            ("--cluster-namespace", "..", "lower case"),
            ("--cluster-status-update-frequency", "500ms", "1s to 1h"),
            ("--cluster-status-update-frequency", "61m", "1s to 1h"),
            ("--logging-format", "xml", "text, json"),
            ("--log-level", "loud", "error, warn"),
        ] {
            let named = NAMED.into_iter().filter(|named| !named.starts_with(flag));
            let flags: Vec<String> = named.map(str::to_owned).chain([format!("{flag}={value}")]).collect();
            let exit = agent(&flags.iter().map(String::as_str).collect::<Vec<_>>()).expect_err(flag);
            assert_eq!((exit.code, exit.text.lines().count()), (2, 1), "{}", exit.text);
            for part in [flag, value, allowed] {
                assert!(exit.text.contains(part), "{part:?} is missing: {}", exit.text);
            }
        }
        for missing in 0..NAMED.len() {
            let mut flags = NAMED.to_vec();
            let flag = flags.remove(missing).split_once('=').expect("flag=value").0;
            let exit = agent(&flags).expect_err(flag);
            assert_eq!((exit.code, exit.text.lines().count()), (2, 1), "{}", exit.text);
            assert!(exit.text.contains(flag), "{}", exit.text);
        }
    }
}
