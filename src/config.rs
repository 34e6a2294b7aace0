//! The command line: flags, their environment variables, and what they must not be.

mod agent;
mod command_line;
mod demo;
mod gates;
mod release;

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::domain::binding::BindingPolicy;
use crate::domain::election::{Timing, TimingError};
use crate::domain::guard::GuardMode;
use crate::domain::health::HealthPolicy;
use crate::domain::placement::SparePolicy;
use crate::domain::taint::UNSCHEDULABLE_KEY;
use crate::state::policy::Policy;

pub use self::agent::AgentArgs;
pub use self::command_line::{Exit, parse};
pub use self::demo::DemoArgs;
pub use self::gates::FeatureGates;
pub use self::release::ReleaseArgs;

/// The node labels that other projects use to name a cluster.
const KNOWN_NODE_LABELS: [&str; 2] = ["clusters.clusternet.io/cluster-id", "liqo.io/remote-cluster-id"];

/// Keeps workloads running when a whole cluster of a multi-cluster Kubernetes fleet dies.
#[derive(Debug, Parser)]
#[command(name = "sheetanchor", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run in the hub cluster: judge heartbeats, write taints, answer scheduler and API server
    Serve(Box<ServeArgs>),
    /// Run in a member cluster: report its health and its capacity to the hub, over and over
    Agent(AgentArgs),
    /// Watch a cluster die: a simulated fleet and a scheduler around the real server, each step checked
    Demo(DemoArgs),
    /// Say that clusters are dead, although the brake holds: they become Lost unless they beat
    Release(ReleaseArgs),
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoggingFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The flags of `serve`.
#[derive(Clone, Debug, Parser)]
pub struct ServeArgs {
    /// Kubeconfig of the hub; without it the Pod's service account, or the usual places
    #[arg(long, env = "SHEETANCHOR_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Address of the secure port
    #[arg(long, env = "SHEETANCHOR_BIND_ADDRESS", value_name = "IP", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,

    /// Port for /filter, /prioritize, /mutate and the probes, over TLS; 0 lets the kernel choose
    #[arg(long, env = "SHEETANCHOR_SECURE_PORT", value_name = "PORT", default_value_t = 9443, value_parser = whole(0..=u16::MAX))]
    pub secure_port: u16,

    /// Certificate chain of the secure port, PEM
    #[arg(long, env = "SHEETANCHOR_TLS_CERT_FILE", value_name = "FILE")]
    pub tls_cert_file: PathBuf,

    /// Its private key, PEM
    #[arg(long, env = "SHEETANCHOR_TLS_PRIVATE_KEY_FILE", value_name = "FILE")]
    pub tls_private_key_file: PathBuf,

    /// Address of the admin port, plain HTTP: /metrics, /api/v1/fleet
    #[arg(long, env = "SHEETANCHOR_ADMIN_BIND_ADDRESS", value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    pub admin_bind_address: SocketAddr,

    /// Address that serves /metrics alone, for Prometheus; none by default
    #[arg(long, env = "SHEETANCHOR_METRICS_BIND_ADDRESS", value_name = "IP:PORT")]
    pub metrics_bind_address: Option<SocketAddr>,

    /// Feature gates, as Name=true|false,…: FailOver (ALPHA, default false, locked in this version),
    /// StickyBindings (ALPHA, default false)
    #[arg(long, env = "SHEETANCHOR_FEATURE_GATES", value_name = "GATES", default_value = "", value_parser = gates::parse,
          hide_default_value = true)]
    pub feature_gates: FeatureGates,

    /// Write only while holding the Lease; with false, this must be the only replica
    #[arg(long, env = "SHEETANCHOR_LEADER_ELECT", value_name = "BOOL", default_value_t = true,
          num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub leader_elect: bool,

    /// How long others wait before they take the Lease of a leader that fell silent
    #[arg(long, env = "SHEETANCHOR_LEADER_ELECT_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub leader_elect_lease_duration: Duration,

    /// How long a leader writes after its last renewal was sent
    #[arg(long, env = "SHEETANCHOR_LEADER_ELECT_RENEW_DEADLINE", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub leader_elect_renew_deadline: Duration,

    /// Time between two tries to take or renew the Lease
    #[arg(long, env = "SHEETANCHOR_LEADER_ELECT_RETRY_PERIOD", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub leader_elect_retry_period: Duration,

    /// Namespace of the Lease and of the brake's ConfigMap
    #[arg(
        long,
        env = "SHEETANCHOR_LEADER_ELECT_RESOURCE_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "sheetanchor-system"
    )]
    pub leader_elect_resource_namespace: String,

    /// Name of the Lease
    #[arg(long, env = "SHEETANCHOR_LEADER_ELECT_RESOURCE_NAME", value_name = "NAME", default_value = "sheetanchor")]
    pub leader_elect_resource_name: String,

    /// Heartbeat period of a cluster that declares none
    #[arg(long, env = "SHEETANCHOR_CLUSTER_STATUS_UPDATE_FREQUENCY", value_name = "DURATION", default_value = "3m", value_parser = period)]
    pub cluster_status_update_frequency: Duration,

    /// Periods of silence after which a cluster is Lost, 2 to 100
    #[arg(long, env = "SHEETANCHOR_HEARTBEAT_GRACE_PERIODS", value_name = "N", default_value_t = 3,
          value_parser = whole(2..=100_u32))]
    pub heartbeat_grace_periods: u32,

    /// Share of the fleet whose failing together is blamed on the hub, above 0 and at most 1
    #[arg(long, env = "SHEETANCHOR_UNHEALTHY_CLUSTER_THRESHOLD", value_name = "SHARE", default_value = "0.55", value_parser = share)]
    pub unhealthy_cluster_threshold: f64,

    /// Key of our taint; another one than Clusternet's to run beside its lifecycle controller
    #[arg(long, env = "SHEETANCHOR_TAINT_KEY", value_name = "KEY", default_value = UNSCHEDULABLE_KEY, value_parser = taint_key)]
    pub taint_key: String,

    /// A further node label whose value is a cluster's id, or the value of the same label on it
    #[arg(long, env = "SHEETANCHOR_NODE_CLUSTER_LABEL", value_name = "LABEL", value_delimiter = ',', value_parser = label_key)]
    pub node_cluster_label: Vec<String>,

    /// A node stands for the cluster of the same name
    #[arg(long, env = "SHEETANCHOR_MATCH_NODE_NAMES", value_name = "BOOL", default_value_t = false,
          num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub match_node_names: bool,

    /// When spares are used: Prefer (first, always), OnFailure (first while an active cluster is down, else last),
    /// Reserve (only while an active cluster is down)
    #[arg(long, env = "SHEETANCHOR_SPARE_POLICY", value_name = "POLICY", default_value = "Prefer", value_parser = spare_policy)]
    pub spare_policy: SparePolicy,

    /// A binding to a cluster lost less than a minute ago: deny, or audit (allow and warn)
    #[arg(long, env = "SHEETANCHOR_BINDING_POLICY", value_name = "POLICY", default_value = "deny", value_parser = binding_policy)]
    pub binding_policy: BindingPolicy,

    /// What is minded on writes to a Subscription's placement: full, never-empty, off
    #[arg(long, env = "SHEETANCHOR_SUBSCRIPTION_GUARD", value_name = "MODE", default_value = "full", value_parser = guard_mode)]
    pub subscription_guard: GuardMode,

    /// Form of the log
    #[arg(long, env = "SHEETANCHOR_LOGGING_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub logging_format: LoggingFormat,

    /// Level of the log: error, warn, info, debug, trace; or a filter such as info,kube=debug
    #[arg(long, env = "SHEETANCHOR_LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    pub log_level: String,
}

impl ServeArgs {
    /// The election's three times.
    ///
    /// # Errors
    /// When they contradict each other: one line that names the flags.
    pub fn timing(&self) -> Result<Timing, TimingError> {
        Timing::new(self.leader_elect_lease_duration, self.leader_elect_renew_deadline, self.leader_elect_retry_period)
    }

    /// The rules that the fleet is judged by.
    pub fn policy(&self) -> Policy {
        let known = KNOWN_NODE_LABELS.iter().map(|label| (*label).to_owned());
        Policy {
            health: HealthPolicy {
                default_period: self.cluster_status_update_frequency,
                grace_periods: self.heartbeat_grace_periods,
                unhealthy_threshold: self.unhealthy_cluster_threshold,
            },
            taint_key: self.taint_key.clone(),
            spares: self.spare_policy,
            node_labels: known.chain(self.node_cluster_label.iter().cloned()).collect(),
            match_node_names: self.match_node_names,
        }
    }
}

/// A duration as Kubernetes' flags take it: `15s`, `3m`, `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let allowed = "allowed: a positive duration such as 500ms, 15s, 3m, 1m30s";
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| allowed.to_owned())?;
    Duration::try_from(parsed).ok().filter(|duration| !duration.is_zero()).ok_or_else(|| allowed.to_owned())
}

/// A whole number in `range`.
fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("allowed: {} to {}", range.start(), range.end()))
    }
}

fn period(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(3600);
    let allowed = "allowed: a duration from 1s to 1h".to_owned();
    duration(text).ok().filter(|period| bounds.contains(period)).ok_or(allowed)
}

fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    share.filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| "allowed: above 0, at most 1".to_owned())
}

fn taint_key(text: &str) -> Result<String, String> {
    qualified_name(text).ok_or_else(|| "allowed: a qualified name such as example.com/unhealthy".to_owned())
}

fn label_key(text: &str) -> Result<String, String> {
    qualified_name(text).ok_or_else(|| "allowed: a label's key such as example.com/cluster".to_owned())
}

/// Levels, or `target=level` pairs; a lone word that is no level would silence everything.
fn log_level(text: &str) -> Result<String, String> {
    let level = |word: &str| ["error", "warn", "info", "debug", "trace", "off"].contains(&word);
    let valid = text.split(',').all(|part| level(part.rsplit_once('=').map_or(part, |(_, level)| level)));
    valid
        .then(|| text.to_owned())
        .ok_or_else(|| "allowed: error, warn, info, debug, trace, off, target=level".to_owned())
}

/// `[prefix/]name`, by Kubernetes' rule; `None` when it is none.
fn qualified_name(text: &str) -> Option<String> {
    let (prefix, name) = text.split_once('/').unwrap_or(("x", text));
    let end = |c: char| c.is_ascii_alphanumeric();
    let word = |text: &str, extra: &[char]| {
        !text.is_empty()
            && text.starts_with(end)
            && text.ends_with(end)
            && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(&c))
    };
    let lower = !prefix.contains(|c: char| c.is_ascii_uppercase());
    let prefixed = lower && prefix.len() <= 253 && prefix.split('.').all(|label| word(label, &['-']));
    (prefixed && word(name, &['-', '_', '.']) && name.len() <= 63).then(|| text.to_owned())
}

fn spare_policy(text: &str) -> Result<SparePolicy, String> {
    match text {
        "Prefer" => Ok(SparePolicy::Prefer),
        "OnFailure" => Ok(SparePolicy::OnFailure),
        "Reserve" => Ok(SparePolicy::Reserve),
        _ => Err("allowed: Prefer, OnFailure, Reserve".to_owned()),
    }
}

fn binding_policy(text: &str) -> Result<BindingPolicy, String> {
    match text {
        "deny" => Ok(BindingPolicy::Deny),
        "audit" => Ok(BindingPolicy::Audit),
        _ => Err("allowed: deny, audit".to_owned()),
    }
}

fn guard_mode(text: &str) -> Result<GuardMode, String> {
    match text {
        "full" => Ok(GuardMode::Full),
        "never-empty" => Ok(GuardMode::NeverEmpty),
        "off" => Ok(GuardMode::Off),
        _ => Err("allowed: full, never-empty, off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_kubernetes() {
        for (text, expected) in [("15s", 15_000), ("1m30s", 90_000), ("500ms", 500), ("3m", 180_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(expected)), "{text}");
        }
        for text in ["", "15", "-3s", "0s", "x"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
