//! The harness itself: a real control plane starts, and a Deployment becomes bound pods.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::control_plane::{ControlPlane, Options};
use crate::nodes::add_virtual_node;
use crate::scene::create_deployment;
use crate::wait::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_becomes_pods_bound_to_the_virtual_node() {
    let mut control_plane = ControlPlane::start(Options::default()).await;
    let client = control_plane.client();
    add_virtual_node(&client, "eu-1", &[("sheetanchor.dev/cluster", "fleet.eu-1")]).await;
    control_plane.start_controller_manager();
    control_plane.start_scheduler(&control_plane.scheduler_config(""));

    create_deployment(&client, "web", 3, json!({})).await;

    let pods: Api<Pod> = Api::namespaced(client, "default");
    let of_web = ListParams::default().labels("app=web");
    eventually("3 pods on eu-1", PATIENCE, async || {
        let pods = pods.list(&of_web).await.unwrap();
        let nodes: Vec<Option<String>> = pods.into_iter().map(|pod| pod.spec.unwrap().node_name).collect();
        let bound = nodes.iter().filter(|node| node.as_deref() == Some("eu-1"));
        match bound.count() {
            3 if nodes.len() == 3 => Ok(()),
            _ => Err(format!("the pods are on {nodes:?}")),
        }
    })
    .await;
}
