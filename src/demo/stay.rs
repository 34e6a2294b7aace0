//! What to try while the demo stays.

use std::net::SocketAddr;
use std::path::Path;

/// Lines to copy and paste.
pub(super) fn invitation(kubeconfig: &Path, ca: &Path, secure: SocketAddr, admin: SocketAddr) -> String {
    let (kubeconfig, ca) = (kubeconfig.display(), ca.display());
    let post = format!("curl -s --cacert {ca} -H 'Content-Type: application/json'");
    format!(
        r#"
It stays until Ctrl-C. In another terminal:

  export KUBECONFIG={kubeconfig}
  kubectl get managedclusters -n fleet -L sheetanchor.dev/role
  kubectl get nodes
  kubectl get events -n sheetanchor-system
  kubectl run hello --image=registry.example/hello && kubectl get pods -o wide

  curl -s http://{admin}/api/v1/fleet
  curl -s http://{admin}/metrics
  {post} https://{secure}/filter \
    -d '{{"Pod": {{}}, "NodeNames": ["eu-1", "spare-1"]}}'
  {post} https://{secure}/prioritize \
    -d '{{"Pod": {{}}, "NodeNames": ["eu-1", "spare-1"]}}'"#
    )
}
