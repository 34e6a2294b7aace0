//! The demo's hub, as kube-rs sees it.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;
use sheetanchor::demo::hub::Hub;

/// Only says when to give up.
const PATIENCE: Duration = Duration::from_secs(60);

async fn client(hub: &Hub) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&hub.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

type Events = BoxStream<'static, watcher::Result<watcher::Event<ConfigMap>>>;

/// The next event that is about an object, after the first list.
async fn next(events: &mut Events) -> (&'static str, ConfigMap) {
    loop {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.expect("an event is due");
        match event.expect("a watcher never ends").expect("the watch goes on") {
            watcher::Event::Apply(object) => return ("applied", object),
            watcher::Event::Delete(object) => return ("deleted", object),
            watcher::Event::InitDone => return ("listed", ConfigMap::default()),
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
        }
    }
}

#[tokio::test]
async fn a_watcher_sees_every_change_once_however_often_its_watch_is_renewed() {
    let hub = Hub::start().await.unwrap();
    let api: Api<ConfigMap> = Api::default_namespaced(client(&hub).await);
    // Each watch ends after a second, and the next takes up where it ended.
    let mut events: Events = watcher(api.clone(), watcher::Config::default().timeout(1)).boxed();
    assert_eq!(next(&mut events).await.0, "listed");
    api.create(&PostParams::default(), &map("m")).await.unwrap();
    assert_eq!(next(&mut events).await.0, "applied");
    let writer = {
        let api = api.clone();
        tokio::spawn(async move {
            for number in 0..250 {
                let patch = Patch::Merge(json!({"data": {"n": number.to_string()}}));
                api.patch("m", &PatchParams::default(), &patch).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            api.delete("m", &DeleteParams::default()).await.unwrap();
        })
    };
    for number in 0..250 {
        let (kind, object) = next(&mut events).await;
        assert_eq!((kind, object.data.unwrap()["n"].clone()), ("applied", number.to_string()));
    }
    let (kind, object) = next(&mut events).await;
    assert_eq!((kind, object.name_any()), ("deleted", "m".to_owned()));
    writer.await.unwrap();
}

#[tokio::test]
async fn typed_objects_survive_the_way_there_and_back() {
    let hub = Hub::start().await.unwrap();
    let client = client(&hub).await;
    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "n", "labels": {"a": "b"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "4"}},
    }))
    .unwrap();
    let created = nodes.create(&PostParams::default(), &node).await.unwrap();
    assert!(created.uid().is_some() && created.creation_timestamp().is_some());
    assert_eq!(created.status, node.status);
    let found = nodes.list(&ListParams::default().labels("a=b").limit(1)).await.unwrap();
    assert_eq!(found.items, [created]);
    assert!(found.metadata.resource_version.is_some());

    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let lease: Lease =
        serde_json::from_value(json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}})).unwrap();
    let mut lease = leases.create(&PostParams::default(), &lease).await.unwrap();
    let stale = lease.clone();
    lease.spec.as_mut().unwrap().holder_identity = Some("you".to_owned());
    let replaced = leases.replace("l", &PostParams::default(), &lease).await.unwrap();
    assert_eq!(replaced.spec, lease.spec);
    let refused = leases.replace("l", &PostParams::default(), &stale).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"));

    let groups = client.list_api_groups().await.unwrap();
    assert!(groups.groups.iter().any(|group| group.name == "clusters.clusternet.io"));
    assert_eq!(client.apiserver_version().await.unwrap().major, "1");
}

#[tokio::test]
async fn a_hub_that_is_dropped_ends_its_watches_and_closes_its_port() {
    let hub = Hub::start().await.unwrap();
    let api: Api<ConfigMap> = Api::default_namespaced(client(&hub).await);
    let mut events: Events = watcher(api.clone(), watcher::Config::default()).boxed();
    assert_eq!(next(&mut events).await.0, "listed");
    api.create(&PostParams::default(), &map("m")).await.unwrap();
    assert_eq!(next(&mut events).await.0, "applied", "the watch is open");
    let address = hub.url().trim_start_matches("http://").to_owned();
    drop(hub);
    let closed = async {
        while events.next().await.expect("a watcher never ends").is_ok() {}
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("it is open still");
    assert!(api.get("m").await.is_err());
}
