//! The real kubectl, as an administrator of the control plane under test.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::control_plane::{ControlPlane, program};
use crate::pki::text;

/// A directory of this repository.
pub(crate) fn repository(path: &str) -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).to_owned()
}

/// What `kubectl kustomize` makes of a directory.
pub(crate) fn render(directory: &str) -> Vec<Value> {
    let (mut command, _) = program("kubectl");
    let rendered = succeed(command.args(["kustomize", directory]).output().unwrap());
    serde_saphyr::from_multiple(&rendered).unwrap()
}

/// Runs kubectl against the control plane, whatever comes of it.
pub(crate) fn try_kubectl(control_plane: &ControlPlane, args: &[&str]) -> Output {
    let kubeconfig = control_plane.kubeconfig("admin", Some("system:masters"));
    let (mut command, _) = program("kubectl");
    // Its cache of discovery would go to the home directory.
    let home = control_plane.dir();
    command.env("HOME", home).args(["--kubeconfig", text(&kubeconfig)]).args(args).output().unwrap()
}

/// Runs kubectl against the control plane, and returns what it printed. A warning is a failure too.
pub(crate) fn kubectl(control_plane: &ControlPlane, args: &[&str]) -> String {
    succeed(try_kubectl(control_plane, args))
}

/// What a command printed that must have succeeded, without a word on standard error.
pub(crate) fn succeed(output: Output) -> String {
    let (said, printed) = (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    assert!(output.status.success() && said.is_empty(), "{}: {said}{printed}", output.status);
    printed
}
