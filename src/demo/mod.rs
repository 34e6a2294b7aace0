//! `sheetanchor demo`: a cluster dies before your eyes, and every step is checked.
//!
//! The server is the one of `serve`, started with flags that a user would give. The script talks to
//! it, and to the hub, only as others do; so it runs on any hub, and a test runs it on a real one.

mod certs;
mod fleet;
pub mod hub;
mod install;
mod placement;
mod scheduler;
mod script;
mod stage;
mod stay;
mod timeline;
mod wait;

use std::fs::{self, File, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::{env, future::pending};

use anyhow::Context;
use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches};

use crate::app::{self, Server};
use crate::config::{DemoArgs, ServeArgs};
use crate::domain::span::short;
use crate::telemetry;

use self::certs::Certs;
use self::fleet::Fleet;
use self::hub::Hub;
use self::script::Script;
use self::stage::Stage;

pub use self::timeline::Timeline;
pub use self::wait::Failure;

/// The log of the server, beside the certificates.
const LOG: &str = "sheetanchor.log";

/// Shows it on a hub of its own, on standard output. The exit code is 0, 1 after a step that failed,
/// and that of a signal.
///
/// # Errors
/// When the demo itself cannot start.
pub async fn run(args: &DemoArgs) -> anyhow::Result<u8> {
    let interrupted = app::stop_signal()?;
    let own = Permissions::from_mode(0o700);
    let dir = tempfile::Builder::new().prefix("sheetanchor-demo-").permissions(own).tempdir();
    let dir = dir.context("cannot make a directory for the log and the certificates (choose where with TMPDIR)")?;
    telemetry::init_to_file(File::create(dir.path().join(LOG))?);
    let hub = Hub::start().await?;
    let kubeconfig = dir.path().join("kubeconfig");
    fs::write(&kubeconfig, hub.kubeconfig())?;

    let colour = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut timeline = Timeline::new(io::stdout(), colour);
    timeline.say(&format!(
        "A hub in memory, {} simulated clusters that beat every {}, and the real \"sheetanchor serve\".\n\
         Its log, a kubeconfig and the certificates are in {} until the end.",
        args.clusters,
        short(args.period),
        dir.path().display(),
    ))?;
    let played = tokio::select! {
        played = play(&kubeconfig, dir.path(), args, &mut timeline) => played,
        signal = interrupted => return Ok(u8::try_from(128 + signal.as_raw_value()).unwrap_or(u8::MAX)),
    };
    let Err(error) = played else {
        return Ok(0);
    };
    timeline.failed(&error)?;
    timeline.say(&format!("The log of the server: {}", dir.keep().join(LOG).display()))?;
    Ok(1)
}

/// Plays the script on a hub that knows Clusternet's resources and is otherwise empty. `dir` is for
/// certificates.
///
/// # Errors
/// A [`Failure`], when a step does not go as it must; or whatever else makes it impossible to go on.
pub async fn play<W: Write>(
    kubeconfig: &Path,
    dir: &Path,
    args: &DemoArgs,
    timeline: &mut Timeline<W>,
) -> anyhow::Result<()> {
    let hub = install::hub_client(kubeconfig).await?;
    let certs = certs::create(dir)?;
    let serve_args = serve_args(kubeconfig, &certs)?;
    install::namespaces(&hub, &[fleet::NAMESPACE, &serve_args.leader_elect_resource_namespace]).await?;
    let fleet = Fleet::join(&hub, args).await?;
    let server = Server::start(serve_args.clone()).await?;
    let (secure, admin) = (server.secure, server.admin);
    let script = async {
        let doors = install::doors_client(secure, &certs.ca_pem)?;
        let page = install::admin_client(admin)?;
        install::webhook(&hub, secure, &certs.ca_pem).await?;
        let stage = Stage::new(hub, page, doors, fleet, &serve_args, args.period);
        Script { stage: &stage, timeline: &mut *timeline }.play().await?;
        timeline.passed()?;
        if args.stay {
            timeline.say(&stay::invitation(kubeconfig, &certs.ca, secure, admin))?;
            pending::<()>().await;
        }
        Ok(())
    };
    server.until(script).await?
}

/// The flags of the server, read by the parser that reads a user's, but for the environment: what the
/// script expects does not depend on what somebody exported for a server of their own.
fn serve_args(kubeconfig: &Path, certs: &Certs) -> anyhow::Result<ServeArgs> {
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let flags = [
        "serve".to_owned(),
        file("kubeconfig", kubeconfig),
        file("tls-cert-file", &certs.cert),
        file("tls-private-key-file", &certs.key),
        "--bind-address=127.0.0.1".to_owned(),
        "--secure-port=0".to_owned(),
        "--admin-bind-address=127.0.0.1:0".to_owned(),
        "--spare-policy=OnFailure".to_owned(),
    ];
    let parser = ServeArgs::command().mut_args(|flag| flag.env(Resettable::Reset));
    Ok(ServeArgs::from_arg_matches(&parser.try_get_matches_from(flags)?)?)
}
