//! A simulated fleet: ManagedClusters, each with a task that beats as Clusternet's agent does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

/// How often an agent reads again when somebody wrote in between.
const CONFLICT_TRIES: u32 = 5;

/// What a member is created with.
#[derive(Clone)]
pub(crate) struct MemberOptions {
    /// Labels of the ManagedCluster.
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether it is a spare.
    pub(crate) spare: bool,
    /// The heartbeat period; what is reported is whole seconds, as the field demands.
    pub(crate) period: Duration,
    /// What it says that it can hold.
    pub(crate) allocatable: Value,
    /// What it says is in use.
    pub(crate) resource_usage: Value,
}

impl Default for MemberOptions {
    fn default() -> Self {
        Self {
            labels: BTreeMap::new(),
            spare: false,
            period: Duration::from_secs(1),
            allocatable: json!({"cpu": "64", "memory": "256Gi", "pods": "500"}),
            resource_usage: json!({"cpuUsage": "4", "memoryUsage": "16Gi"}),
        }
    }
}

/// The API of ManagedClusters in one namespace.
pub(crate) fn managed_clusters(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("clusters.clusternet.io", "v1beta1", "ManagedCluster");
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Creates `name` unless it is there.
pub(crate) async fn ensure_namespace(client: &Client, name: &str) {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let api: Api<Namespace> = Api::all(client.clone());
    match api.create(&PostParams::default(), &namespace).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => panic!("cannot create the namespace {name}: {error}"),
    }
}

/// One member cluster and its agent, which stops when this is dropped.
pub(crate) struct Member {
    /// The name of its ManagedCluster.
    pub(crate) name: String,
    agent: Arc<Mutex<Agent>>,
    beater: AbortHandle,
}

/// What the agent reports next. The lock is held during a whole beat.
struct Agent {
    api: Api<DynamicObject>,
    name: String,
    options: MemberOptions,
    beating: bool,
    ready: bool,
    skew: SignedDuration,
}

impl Member {
    /// Creates the ManagedCluster (and its namespace), sends the first beat, and keeps beating.
    pub(crate) async fn join(client: &Client, namespace: &str, name: &str, options: MemberOptions) -> Self {
        ensure_namespace(client, namespace).await;
        let cluster_id = random_uuid();
        let mut labels = options.labels.clone();
        labels.insert("clusters.clusternet.io/cluster-id".to_owned(), cluster_id.clone());
        labels.insert("clusters.clusternet.io/cluster-name".to_owned(), name.to_owned());
        if options.spare {
            labels.insert("sheetanchor.dev/role".to_owned(), "spare".to_owned());
        }
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "clusters.clusternet.io/v1beta1",
            "kind": "ManagedCluster",
            "metadata": {"namespace": namespace, "name": name, "labels": labels},
            "spec": {"clusterId": cluster_id, "clusterType": "EdgeCluster", "syncMode": "Dual"},
        }))
        .unwrap();
        let api = managed_clusters(client, namespace);
        api.create(&PostParams::default(), &object).await.unwrap();

        let period = options.period;
        let agent = Arc::new(Mutex::new(Agent {
            api,
            name: name.to_owned(),
            options,
            beating: true,
            ready: true,
            skew: SignedDuration::ZERO,
        }));
        agent.lock().await.beat().await.unwrap();
        let beater = tokio::spawn(beat_forever(agent.clone(), period)).abort_handle();
        Self { name: name.to_owned(), agent, beater }
    }

    /// Falls silent: when this returns, the last beat has been answered.
    pub(crate) async fn stop(&self) {
        self.agent.lock().await.beating = false;
    }

    /// Beats again, now and then each period.
    pub(crate) async fn resume(&self) {
        let mut agent = self.agent.lock().await;
        agent.beating = true;
        agent.beat().await.unwrap();
    }

    /// Sets the error of the member's own clock, from the next beat on.
    pub(crate) async fn set_skew(&self, skew: SignedDuration) {
        self.agent.lock().await.skew = skew;
    }

    /// Sets what the agent says about its cluster, from the next beat on.
    pub(crate) async fn set_ready(&self, ready: bool) {
        self.agent.lock().await.ready = ready;
    }

    /// Sends one beat now, whether or not the member is stopped.
    pub(crate) async fn beat(&self) {
        self.agent.lock().await.beat().await.unwrap();
    }

    /// The ManagedCluster as it is stored now.
    pub(crate) async fn stored(&self) -> DynamicObject {
        let api = self.agent.lock().await.api.clone();
        api.get(&self.name).await.unwrap()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.beater.abort();
    }
}

async fn beat_forever(agent: Arc<Mutex<Agent>>, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let agent = agent.lock().await;
        if agent.beating
            && let Err(error) = agent.beat().await
        {
            // An agent cannot help an outage of the hub; it tries again next time.
            eprintln!("{} could not beat: {error}", agent.name);
        }
    }
}

impl Agent {
    /// Reports as Clusternet's agent does: a PUT of the whole status with the resourceVersion it
    /// read, foreign condition types kept, read again when somebody else wrote first.
    async fn beat(&self) -> kube::Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut object = self.api.get(&self.name).await?;
            let status = self.status(&object.data["status"]);
            object.data["status"] = status;
            let params = PostParams::default();
            match self.api.replace_status(&self.name, &params, &object).await {
                Err(kube::Error::Api(status)) if status.code == 409 && tries < CONFLICT_TRIES => {}
                result => return result.map(|_| ()),
            }
        }
    }

    fn status(&self, old: &Value) -> Value {
        let now = Timestamp::now() + self.skew;
        let stamp = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let seconds = self.options.period.as_secs().max(1);
        json!({
            "lastObservedTime": stamp,
            "heartbeatFrequencySeconds": seconds,
            "livez": true,
            "readyz": self.ready,
            "allocatable": self.options.allocatable,
            "capacity": self.options.allocatable,
            "resourceUsage": self.options.resource_usage,
            "conditions": self.conditions(&old["conditions"], now),
        })
    }

    fn conditions(&self, old: &Value, now: Timestamp) -> Vec<Value> {
        let (status, reason) = match self.ready {
            true => ("True", "ManagedClusterReady"),
            false => ("False", "ManagedClusterNotReady"),
        };
        let old = old.as_array().cloned().unwrap_or_default();
        let (ours, mut conditions): (Vec<Value>, Vec<Value>) =
            old.into_iter().partition(|condition| condition["type"] == "Ready");
        let unchanged = ours.iter().find(|condition| condition["status"] == status);
        let since = unchanged.map_or_else(
            || json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            |condition| condition["lastTransitionTime"].clone(),
        );
        conditions.push(json!({
            "type": "Ready",
            "status": status,
            "reason": reason,
            "message": "",
            "lastTransitionTime": since,
        }));
        conditions
    }
}

/// A version 4 UUID, as the CRD demands of a cluster id.
fn random_uuid() -> String {
    let hex = format!("{:032x}", fastrand::u128(..));
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]);
    format!("{a}-{b}-4{c}-8{d}-{e}")
}
