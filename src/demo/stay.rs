//! What to try while the demo stays.

use std::net::SocketAddr;
use std::path::Path;

use super::fleet::{NAMESPACE, SILENT};

/// Lines to copy and paste. The names in them are there in a fleet of any size.
pub(super) fn invitation(kubeconfig: &Path, ca: &Path, secure: SocketAddr, admin: SocketAddr) -> String {
    let (kubeconfig, ca) = (kubeconfig.display(), ca.display());
    let post = format!("curl -s --cacert {ca} -H 'Content-Type: application/json'");
    let nodes = r#"{"Pod": {}, "NodeNames": ["eu-1", "sa-1", "spare-1"]}"#;
    format!(
        r"
It stays until Ctrl-C. In another terminal:

  export KUBECONFIG={kubeconfig}
  kubectl get managedclusters -n {NAMESPACE} -L sheetanchor.dev/role
  kubectl get nodes

  # a cluster dies, and comes back
  kubectl annotate managedcluster sa-1 -n {NAMESPACE} {SILENT}=
  kubectl describe node sa-1
  kubectl annotate managedcluster sa-1 -n {NAMESPACE} {SILENT}-

  # the scheduler places a pod
  kubectl run hello --image=registry.example/hello
  kubectl get pod hello -o yaml

  # what the scheduler asks, and what sheetanchor knows
  {post} -d '{nodes}' https://{secure}/filter
  {post} -d '{nodes}' https://{secure}/prioritize
  curl -s http://{admin}/api/v1/fleet
  curl -s http://{admin}/metrics"
    )
}
