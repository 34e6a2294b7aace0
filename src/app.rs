//! The wiring of `serve`: what talks to what, and in which order it starts and stops.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use futures::future::pending;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::ServeArgs;
use crate::control::brake_record::BrakeStore;
use crate::control::events::EventWriter;
use crate::control::leader::{Candidate, LeaderConfig, Leadership, identity};
use crate::control::monitor::Monitor;
use crate::control::pulse;
use crate::control::tainter::Tainter;
use crate::control::watch;
use crate::metrics::Metrics;
use crate::serve::admin::{self, Admin, LeaderView};
use crate::serve::admission::{self, AdmissionPolicy};
use crate::serve::counters::{ConnectionCounters, DoorCounters};
use crate::serve::extender;
use crate::serve::guardrails::{Guardrails, with_fallbacks};
use crate::serve::limits::{BODY_BYTES_MAX, ConnectionLimits, RequestLimits, SCHEDULER_BODY_BYTES_MAX};
use crate::serve::probes::{self, Check, Readiness};
use crate::serve::{http, tls};
use crate::state::index::Index;
use crate::state::policy::Policy;
use crate::state::snapshot::{Snapshot, Snapshots};

/// Events between the watches and the monitor: a burst of beats from the largest fleet.
const EVENT_QUEUE: usize = 16_384;
/// Writes between the monitor and the tainter. More are decided again later.
const WRITE_QUEUE: usize = 1_024;
/// Notices between the monitor and the Events' writer. More are dropped and counted.
const NOTICE_QUEUE: usize = 1_024;

/// What is made before the first task starts, each with its own reason to fail.
struct Parts {
    args: ServeArgs,
    policy: Arc<Policy>,
    metrics: Arc<Metrics>,
    connections: ConnectionCounters,
    doors: DoorCounters,
    readiness: Readiness,
    snapshots: Snapshots,
    listeners: Listeners,
    tls: Arc<ServerConfig>,
    hub: Config,
    leader: LeaderConfig,
    identity: String,
}

struct Listeners {
    secure: TcpListener,
    admin: TcpListener,
    metrics: Option<TcpListener>,
}

/// The tasks of the process. The end of any one before `stop` is the end of all.
struct Tasks {
    stop: CancellationToken,
    set: JoinSet<&'static str>,
}

impl Tasks {
    /// Runs `task` until it ends or `stop` comes.
    fn run(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.set.spawn(async move {
            stop.run_until_cancelled_owned(task).await;
            name
        });
    }

    /// Runs `task` until it ends; it knows about `stop` itself.
    fn run_to_its_end(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start (each error is one line that says what to do), and when one of its tasks ends.
pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    Server::start(args).await?.until(stop).await?;
    Ok(())
}

/// Waits for the first SIGTERM or SIGINT after this call, and says which it was.
///
/// # Errors
/// When the kernel refuses the handlers.
pub fn stop_signal() -> io::Result<impl Future<Output = SignalKind>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        }
    })
}

/// A running server. Dropped, it stops at once, and the next leader has to wait for its Lease to run out.
pub struct Server {
    /// Where the secure port listens.
    pub secure: SocketAddr,
    /// Where the admin port listens.
    pub admin: SocketAddr,
    readiness: Readiness,
    tasks: Tasks,
}

impl Server {
    /// Starts every task. Whether it is ready, `/readyz` says.
    ///
    /// # Errors
    /// Each is one line that says what to do.
    pub async fn start(args: ServeArgs) -> anyhow::Result<Self> {
        let (version, gates) = (env!("CARGO_PKG_VERSION"), args.feature_gates.settings());
        tracing::info!(version, gates, "starting");
        let parts = prepare(args).await?;
        tracing::info!(url = %parts.hub.cluster_url, "the hub");
        let (secure, admin) = (parts.listeners.secure.local_addr()?, parts.listeners.admin.local_addr()?);
        let readiness = parts.readiness.clone();
        let mut tasks = Tasks { stop: CancellationToken::new(), set: JoinSet::new() };
        start(parts, &mut tasks)?;
        Ok(Self { secure, admin, readiness, tasks })
    }

    /// Runs until `end` comes, then stops in order, and hands on what `end` brought.
    ///
    /// # Errors
    /// When a task ends before `end` comes.
    pub async fn until<T>(mut self, end: impl Future<Output = T>) -> anyhow::Result<T> {
        let end = tokio::select! {
            end = end => end,
            Some(ended) = self.tasks.set.join_next() => {
                anyhow::bail!("the task \"{}\" ended, and nothing works without it", ended?);
            }
        };
        tracing::info!("stopping");
        self.readiness.set(Check::Serving, Err("stopping".to_owned()));
        self.tasks.stop.cancel();
        while let Some(ended) = self.tasks.set.join_next().await {
            tracing::debug!(task = ended?, "ended");
        }
        Ok(end)
    }
}

async fn prepare(args: ServeArgs) -> anyhow::Result<Parts> {
    // Fails only when one is installed already, and then that one serves.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let timing = args.timing()?;
    let (namespace, name) = (&args.leader_elect_resource_namespace, &args.leader_elect_resource_name);
    let identity = identity();
    let leader = LeaderConfig::new(timing, namespace, name, identity.clone())?;
    let tls = tls::server_config(&args.tls_cert_file, &args.tls_private_key_file, clock::wall())?;
    let hub = hub(args.kubeconfig.as_deref()).await?;
    let listeners = Listeners {
        secure: listen("--bind-address, --secure-port", (args.bind_address, args.secure_port).into()).await?,
        admin: listen("--admin-bind-address", args.admin_bind_address).await?,
        metrics: match args.metrics_bind_address {
            Some(address) => Some(listen("--metrics-bind-address", address).await?),
            None => None,
        },
    };
    let policy = Arc::new(args.policy());
    let mut metrics = Metrics::new();
    let (connections, doors) = (ConnectionCounters::default(), DoorCounters::default());
    connections.register(metrics.registry());
    doors.register(metrics.registry());
    Ok(Parts {
        snapshots: Snapshots::new(Snapshot::empty(clock::now(), Arc::clone(&policy))),
        metrics: Arc::new(metrics),
        readiness: Readiness::default(),
        args,
        policy,
        connections,
        doors,
        listeners,
        tls,
        hub,
        leader,
        identity,
    })
}

/// The hub that a kubeconfig names; without one, that of the Pod's service account, or of the usual places.
///
/// # Errors
/// One line that says what was tried.
pub async fn hub(kubeconfig: Option<&Path>) -> anyhow::Result<Config> {
    match kubeconfig {
        Some(path) => hub_of(path).await.with_context(|| format!("cannot use --kubeconfig \"{}\"", path.display())),
        None => direct(Config::infer().await.map_err(|error| {
            // It names both tries; the kubeconfig is the one that a person can mend.
            let tried = error.source().map(ToString::to_string).unwrap_or_default();
            anyhow::anyhow!(
                "cannot find the hub: this is no Pod with a service account, and no kubeconfig in KUBECONFIG or \
                 ~/.kube/config can be used ({tried}); name one with --kubeconfig"
            )
        })?),
    }
}

/// The hub that the current context of a kubeconfig names.
///
/// # Errors
/// When the file cannot be read, or its context not be used.
pub async fn hub_of(kubeconfig: &Path) -> anyhow::Result<Config> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    direct(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// The way to the hub, on which there must be no proxy.
fn direct(mut config: Config) -> anyhow::Result<Config> {
    // As kubectl has it: HTTPS_PROXY is not meant for this machine's own ports.
    if matches!(config.cluster_url.host(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        config.proxy_url = None;
    }
    if let Some(proxy) = &config.proxy_url {
        let hub = &config.cluster_url;
        anyhow::bail!(
            "cannot reach the hub {hub} through the proxy {proxy}: unset HTTPS_PROXY, or proxy-url in the kubeconfig"
        );
    }
    Ok(config)
}

async fn listen(flags: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let refused = || format!("cannot listen on {address} (choose another with {flags})");
    TcpListener::bind(address).await.with_context(refused)
}

fn start(parts: Parts, tasks: &mut Tasks) -> anyhow::Result<()> {
    // No client repeats a call by itself: a write that comes late was decided on what is no longer
    // true, and a list that waits in silence, perhaps for minutes, leaves us blind as long.
    let mut no_retry = parts.hub.clone();
    no_retry.default_retry = false;
    let client = || Client::try_from(no_retry.clone()).context("cannot log in to the hub as the kubeconfig says");
    let (watching, writing) = (client()?, client()?);
    let candidate = Candidate::new(parts.leader.client(parts.hub.clone())?, parts.leader.clone());
    let leadership = if parts.args.leader_elect { candidate.leadership() } else { Leadership::always() };
    let (events, event_queue) = mpsc::channel(EVENT_QUEUE);
    let (writes, write_queue) = mpsc::channel(WRITE_QUEUE);
    let (notices, notice_queue) = mpsc::channel(NOTICE_QUEUE);
    let (questions, question_queue) = mpsc::channel(1);

    let labels = parts.policy.node_labels.clone();
    tasks.run(
        "cluster watch",
        watch::clusters(watching.clone(), events.clone(), readiness_report(&parts.readiness, Check::ManagedClusters)),
    );
    tasks.run(
        "node watch",
        watch::nodes(watching.clone(), labels, events.clone(), readiness_report(&parts.readiness, Check::Nodes)),
    );
    tasks.run("pulse", pulse::answer(watching, question_queue, events.clone()));

    let readiness = parts.readiness.clone();
    let monitor = Monitor {
        index: Index::new(clock::now(), Arc::clone(&parts.policy)),
        snapshots: parts.snapshots.clone(),
        events: event_queue,
        leading: leadership.changes(),
        writes,
        notices,
        questions,
        metrics: Arc::clone(&parts.metrics),
        first_published: Some(Box::new(move || readiness.set(Check::Serving, Ok(())))),
    };
    tasks.run("monitor", monitor.run());

    let namespace = &parts.args.leader_elect_resource_namespace;
    let brake = BrakeStore::new(writing.clone(), namespace);
    let announcing = brake.clone().announce(events.clone());
    tasks.run("brake record", async {
        announcing.await;
        pending().await
    });
    let metrics = Arc::clone(&parts.metrics);
    let event_writer = EventWriter::new(writing.clone(), leadership.clone(), namespace, &parts.identity, metrics);
    tasks.run("events", event_writer.run(notice_queue));
    let tainter = Tainter {
        client: writing,
        leadership: leadership.clone(),
        taint_key: parts.policy.taint_key.clone(),
        node_labels: parts.policy.node_labels.clone(),
        brake,
        events,
        metrics: Arc::clone(&parts.metrics),
    };
    // The Lease is given back only when nothing is being written any more.
    let (stop, writes_ended) = (tasks.stop.clone(), CancellationToken::new());
    let ended = writes_ended.clone().drop_guard();
    tasks.run_to_its_end("tainter", async move {
        tainter.run(write_queue, stop).await;
        drop(ended);
    });
    if parts.args.leader_elect {
        tasks.run_to_its_end("leader election", candidate.run(writes_ended));
    }
    open_doors(parts, leadership, tasks)
}

/// Tells `/readyz` about a watch, until its first list is in.
fn readiness_report(readiness: &Readiness, check: Check) -> watch::Report {
    let readiness = readiness.clone();
    Box::new(move |result| readiness.set(check, result))
}

fn open_doors(parts: Parts, leadership: Leadership, tasks: &mut Tasks) -> anyhow::Result<()> {
    let Parts { args, metrics, connections, doors, readiness, snapshots, listeners, tls, .. } = parts;
    let guardrails = Guardrails::new(RequestLimits::default());
    let scheduler = extender::Door::new(snapshots.clone(), doors.clone()).router();
    let policy = AdmissionPolicy {
        binding: args.binding_policy,
        guard: args.subscription_guard,
        failover: args.feature_gates.fail_over(),
        sticky: args.feature_gates.sticky_bindings(),
    };
    let webhook = admission::Door::new(snapshots.clone(), policy, doors).router();
    let secure = Router::new()
        .merge(guardrails.with_limits(scheduler, SCHEDULER_BODY_BYTES_MAX))
        .merge(guardrails.with_limits(webhook, BODY_BYTES_MAX))
        .merge(probes::router(readiness));
    let leader = move |now| LeaderView {
        holder: leadership.holder(),
        leads: leadership.held(now).is_some(),
        error: leadership.last_error(),
    };
    let admin = Admin { snapshots, metrics: Arc::clone(&metrics), leader: Arc::new(leader) };
    let limits = ConnectionLimits::default();
    let stop = &tasks.stop.clone();
    let mut open = |name, listener: TcpListener, tls, app| -> anyhow::Result<()> {
        tracing::info!(door = name, address = %listener.local_addr()?, "listening");
        let serving = http::serve(listener, tls, with_fallbacks(app), limits, connections.clone(), stop.clone());
        tasks.run_to_its_end(name, serving);
        Ok(())
    };
    open("secure port", listeners.secure, Some(tls), secure)?;
    open("admin port", listeners.admin, None, admin.router())?;
    if let Some(listener) = listeners.metrics {
        open("metrics port", listener, None, admin::metrics_router(metrics))?;
    }
    Ok(())
}
