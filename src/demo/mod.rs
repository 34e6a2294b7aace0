//! `sheetanchor demo`: a cluster dies before your eyes, and every step is checked.
//!
//! The server is the one of `serve`, started with flags that a user would give. The script talks to
//! it, and to the hub, only as others do; so it runs on any hub, and a test runs it on a real one.

mod certs;
mod fleet;
mod install;
mod placement;
mod scheduler;
mod script;
mod stage;
mod timeline;
mod wait;

use std::io::Write;
use std::path::Path;

use anyhow::Context;

use crate::app::Server;
use crate::config::{self, Command, DemoArgs, ServeArgs};

use self::certs::Certs;
use self::fleet::Fleet;
use self::script::Script;
use self::stage::Stage;

pub use self::timeline::Timeline;
pub use self::wait::Failure;

/// Plays the script on a hub that knows Clusternet's resources and is otherwise empty. `dir` is for
/// certificates.
///
/// # Errors
/// A [`Failure`], when a step does not go as it must; anything else that makes it impossible to go on.
pub async fn play<W: Write>(
    kubeconfig: &Path,
    dir: &Path,
    args: &DemoArgs,
    timeline: &mut Timeline<W>,
) -> anyhow::Result<()> {
    let hub = install::hub_client(kubeconfig).await?;
    install::namespaces(&hub, &[fleet::NAMESPACE, "sheetanchor-system"]).await?;
    let certs = certs::create(dir)?;
    let fleet = Fleet::join(&hub, args).await?;
    let serve_args = serve_args(kubeconfig, &certs)?;
    let server = Server::start(serve_args.clone()).await?;
    let (secure, admin) = (server.secure, server.admin);
    let script = async {
        let (doors, admin) = (install::doors_client(secure, &certs.ca_pem)?, install::admin_client(admin)?);
        install::webhook(&hub, secure, &certs.ca_pem).await?;
        let stage = Stage::new(hub, admin, doors, fleet, &serve_args, args.period);
        Script { stage: &stage, timeline }.play().await
    };
    server.until(script).await?
}

/// The flags of the server, read by the parser that reads a user's.
fn serve_args(kubeconfig: &Path, certs: &Certs) -> anyhow::Result<ServeArgs> {
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let flags = [
        "sheetanchor".to_owned(),
        "serve".to_owned(),
        file("kubeconfig", kubeconfig),
        file("tls-cert-file", &certs.cert),
        file("tls-private-key-file", &certs.key),
        "--bind-address=127.0.0.1".to_owned(),
        "--secure-port=0".to_owned(),
        "--admin-bind-address=127.0.0.1:0".to_owned(),
        "--spare-policy=OnFailure".to_owned(),
    ];
    let cli = config::parse(flags.into_iter().map(Into::into)).map_err(|exit| anyhow::anyhow!(exit.text))?;
    match cli.command {
        Command::Serve(args) => Ok(*args),
        Command::Demo(_) => None.context("these are not the flags of serve"),
    }
}

/// Runs.
pub async fn run(_args: &DemoArgs) -> anyhow::Result<u8> {
    Ok(0)
}
