//! What most end-to-end tests begin with: a hub with a fleet, its virtual nodes, and the binary.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, Options};
use crate::fleet::{Member, MemberOptions};
use crate::nodes::add_virtual_node;
use crate::sheetanchor::{Sheetanchor, SheetanchorOptions, extender_config, register_webhook};
use crate::wait::{PATIENCE, eventually};

/// The taint key that is ours by default.
pub(crate) const TAINT_KEY: &str = "clusters.clusternet.io/unschedulable";
/// The namespace of the ManagedClusters.
pub(crate) const FLEET: &str = "fleet";

/// A hub whose scheduler and API server call one replica.
pub(crate) struct Scene {
    pub(crate) control_plane: ControlPlane,
    pub(crate) client: Client,
    pub(crate) members: BTreeMap<String, Member>,
    pub(crate) sheetanchor: Sheetanchor,
}

impl Scene {
    /// Members called `spare-*` are spares. Each has a virtual node of its own name.
    pub(crate) async fn start(names: &[&str], extra_args: &[&str]) -> Self {
        let options = MemberOptions::default();
        Self::start_with(names, &options, extra_args).await
    }

    /// As [`Scene::start`], with members like `member`.
    pub(crate) async fn start_with(names: &[&str], member: &MemberOptions, extra_args: &[&str]) -> Self {
        let extra_args = extra_args.iter().map(|arg| (*arg).to_owned()).collect();
        let options = SheetanchorOptions { extra_args, ..SheetanchorOptions::default() };
        Self::start_as(names, member, options).await
    }

    /// As [`Scene::start_with`], with a replica like `options`.
    pub(crate) async fn start_as(names: &[&str], member: &MemberOptions, options: SheetanchorOptions) -> Self {
        let control_plane = ControlPlane::start(Options::default()).await;
        let client = control_plane.client();
        let mut members = BTreeMap::new();
        for name in names {
            let options = MemberOptions { spare: name.starts_with("spare"), ..member.clone() };
            let member = Member::join(&client, FLEET, name, options).await;
            add_virtual_node(&client, name, &[("sheetanchor.dev/cluster", &format!("{FLEET}.{name}"))]).await;
            members.insert((*name).to_owned(), member);
        }
        let sheetanchor = Sheetanchor::start(&control_plane, options).await;
        Self { control_plane, client, members, sheetanchor }
    }

    /// Lets kube-scheduler call the extender, kube-apiserver the webhook, and runs Deployments.
    pub(crate) async fn connect(&mut self) {
        register_webhook(&self.client, &self.sheetanchor).await;
        let config = extender_config(&self.control_plane, &self.sheetanchor);
        self.control_plane.start_scheduler(&config);
        self.control_plane.start_controller_manager();
    }

    /// The member of that name.
    pub(crate) fn member(&self, name: &str) -> &Member {
        &self.members[name]
    }

    /// What `/api/v1/fleet` says about a cluster.
    pub(crate) async fn cluster(&self, name: &str) -> Option<Value> {
        cluster_at(&self.sheetanchor, name).await
    }

    /// Waits until a cluster has this verdict.
    pub(crate) async fn until_verdict(&self, name: &str, verdict: &str) {
        eventually(&format!("{name} to be {verdict}"), PATIENCE, async || match self.cluster(name).await {
            Some(cluster) if cluster["verdict"] == verdict => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }

    /// Waits until a ManagedCluster bears our taint with this value, or none of ours.
    pub(crate) async fn until_tainted(&self, name: &str, value: Option<&str>) {
        eventually(&format!("{name} to be tainted {value:?}"), PATIENCE, async || {
            let taints = self.taints(name).await;
            let ours = taints.iter().find(|taint| taint["key"] == TAINT_KEY).map(|taint| taint["value"].clone());
            let same = ours.as_ref().and_then(Value::as_str) == value;
            same.then_some(()).ok_or_else(|| format!("{taints:?}"))
        })
        .await;
    }

    /// The taints of a ManagedCluster.
    pub(crate) async fn taints(&self, name: &str) -> Vec<Value> {
        let stored = self.member(name).stored().await;
        stored.data["spec"]["taints"].as_array().cloned().unwrap_or_default()
    }

    /// How many versions of its spec a ManagedCluster has had. Taints are spec, beats and conditions
    /// are not: one that is still at 1 was never tainted, however shortly.
    pub(crate) async fn generation(&self, name: &str) -> i64 {
        self.member(name).stored().await.metadata.generation.unwrap()
    }

    /// Our condition on a ManagedCluster: its status and its reason.
    pub(crate) async fn alive(&self, name: &str) -> Option<(String, String)> {
        let stored = self.member(name).stored().await;
        let conditions = stored.data["status"]["conditions"].as_array()?;
        let ours = conditions.iter().find(|condition| condition["type"] == "sheetanchor.dev/Alive")?;
        Some((ours["status"].as_str()?.to_owned(), ours["reason"].as_str()?.to_owned()))
    }

    /// Waits until our condition says so.
    pub(crate) async fn until_alive(&self, name: &str, status: &str, reason: &str) {
        let wanted = (status.to_owned(), reason.to_owned());
        eventually(&format!("{name} to be Alive={status}, {reason}"), PATIENCE, async || {
            let alive = self.alive(name).await;
            if alive.as_ref() == Some(&wanted) { Ok(()) } else { Err(format!("{alive:?}")) }
        })
        .await;
    }

    /// Waits for an Event about the object of that name with this reason, and says its text.
    pub(crate) async fn until_event(&self, object: &str, reason: &str) -> String {
        let api: Api<Event> = Api::all(self.client.clone());
        eventually(&format!("the Event {reason} about {object}"), PATIENCE, async || {
            let events = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            let about = |event: &&Event| event.involved_object.name.as_deref() == Some(object);
            let found = events.iter().filter(about).find(|event| event.reason.as_deref() == Some(reason));
            found.and_then(|event| event.message.clone()).ok_or_else(|| {
                format!("{:?}", events.iter().filter(about).map(|event| &event.reason).collect::<Vec<_>>())
            })
        })
        .await
    }

    /// The values of our taint on a Node.
    pub(crate) async fn node_taints(&self, name: &str) -> Vec<String> {
        let node = Api::<Node>::all(self.client.clone()).get(name).await.unwrap();
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        taints.into_iter().filter(|taint| taint.key == TAINT_KEY).filter_map(|taint| taint.value).collect()
    }

    /// As [`create_deployment`].
    pub(crate) async fn create_deployment(&self, name: &str, replicas: u32, node_selector: Value) {
        create_deployment(&self.client, name, replicas, node_selector).await;
    }

    /// The pods of a Deployment.
    pub(crate) async fn pods(&self, app: &str) -> Vec<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        pods.list(&ListParams::default().labels(&format!("app={app}"))).await.unwrap().items
    }

    /// Waits until all of a Deployment's pods are bound, and says where.
    pub(crate) async fn bound(&self, app: &str, replicas: usize) -> Vec<String> {
        eventually(&format!("{replicas} pods of {app} to be bound"), PATIENCE, async || {
            let pods = self.pods(app).await;
            let nodes: Vec<String> =
                pods.iter().filter_map(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone())).collect();
            if nodes.len() == replicas { Ok(nodes) } else { Err(format!("{nodes:?} of {} pods", pods.len())) }
        })
        .await
    }
}

/// What a replica's `/api/v1/fleet` says about a cluster.
pub(crate) async fn cluster_at(replica: &Sheetanchor, name: &str) -> Option<Value> {
    let fleet = replica.fleet().await?;
    let key = format!("{FLEET}/{name}");
    fleet["clusters"].as_array()?.iter().find(|cluster| cluster["name"] == key.as_str()).cloned()
}

/// Creates a Deployment in the namespace default; its pods bear the label `app=<name>`.
pub(crate) async fn create_deployment(client: &Client, name: &str, replicas: u32, node_selector: Value) {
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [{"name": "main", "image": "registry.example/none"}],
                    "nodeSelector": node_selector,
                },
            },
        },
    }))
    .unwrap();
    let api: Api<Deployment> = Api::namespaced(client.clone(), "default");
    api.create(&PostParams::default(), &deployment).await.unwrap();
}
