//! What to try while the demo stays.

use std::net::SocketAddr;
use std::path::Path;

use super::fleet::{NAMESPACE, SILENT};

/// Lines to copy and paste. The names in them are there in a fleet of any size.
pub(super) fn invitation(kubeconfig: &Path, ca: &Path, secure: SocketAddr, admin: SocketAddr) -> String {
    let (kubeconfig, ca) = (kubeconfig.display(), ca.display());
    let post = format!("curl -s --cacert {ca} -H 'Content-Type: application/json'");
    let nodes = r#"{"Pod": {}, "NodeNames": ["eu-1", "sa-1", "spare-1"]}"#;
    let sa = format!("managedcluster sa-1 -n {NAMESPACE}");
    format!(
        r#"
It stays until Ctrl-C. In another terminal:

  export KUBECONFIG={kubeconfig}
  kubectl get managedclusters -n {NAMESPACE} -L sheetanchor.dev/role
  kubectl events -n {NAMESPACE}

  # switch a cluster off: a little more than three periods later it is tainted, and /filter says why
  kubectl annotate {sa} {SILENT}=
  kubectl wait {sa} --for=jsonpath='{{.spec.taints[0].value}}' --timeout=1h
  {post} -d '{nodes}' https://{secure}/filter
  {post} -d '{nodes}' https://{secure}/prioritize

  # a pod that is created now goes to a spare
  kubectl run hello --image=registry.example/hello
  kubectl wait pod hello --for=jsonpath='{{.spec.nodeName}}'
  kubectl get pod hello -o jsonpath='{{.spec.nodeName}}{{"\n"}}'

  # switch it on again
  kubectl annotate {sa} {SILENT}-

  curl -s http://{admin}/api/v1/fleet
  curl -s http://{admin}/metrics"#
    )
}
