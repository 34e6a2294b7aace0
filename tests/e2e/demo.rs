//! The demo: its script on the real control plane.

use std::time::Duration;

use sheetanchor::config::DemoArgs;
use sheetanchor::demo::{Timeline, play};

use crate::control_plane::{ControlPlane, Options};

#[tokio::test(flavor = "multi_thread")]
async fn the_script_plays_on_the_real_control_plane() {
    let control_plane = ControlPlane::start(Options::default()).await;
    let kubeconfig = control_plane.kubeconfig("demo", Some("system:masters"));
    let args = DemoArgs { clusters: 12, period: Duration::from_secs(1), stay: false };
    let mut timeline = Timeline::new(std::io::stdout(), false);
    play(&kubeconfig, control_plane.dir(), &args, &mut timeline).await.unwrap();
}
