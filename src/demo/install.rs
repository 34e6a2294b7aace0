//! What a real installation brings to a hub, and the clients that look at it from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::app;

/// So that every look ends.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the hub.
pub(super) async fn hub_client(kubeconfig: &Path) -> anyhow::Result<Client> {
    client(app::hub_of(kubeconfig).await?)
}

/// A client of the doors, which trusts the demo's authority and none other.
pub(super) fn doors_client(address: SocketAddr, ca_pem: &str) -> anyhow::Result<Client> {
    let mut config = Config::new(format!("https://{address}").parse()?);
    config.root_cert = Some(vec![CertificateDer::from_pem_slice(ca_pem.as_bytes())?.to_vec()]);
    client(config)
}

/// A client of the admin port.
pub(super) fn admin_client(address: SocketAddr) -> anyhow::Result<Client> {
    client(Config::new(format!("http://{address}").parse()?))
}

fn client(mut config: Config) -> anyhow::Result<Client> {
    config.read_timeout = Some(READ_TIMEOUT);
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// Creates namespaces that are not there yet.
pub(super) async fn namespaces(hub: &Client, names: &[&str]) -> anyhow::Result<()> {
    let api: Api<Namespace> = Api::all(hub.clone());
    for name in names {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some((*name).to_owned());
        match api.create(&PostParams::default(), &namespace).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            created => drop(created.with_context(|| format!("cannot create the namespace {name}"))?),
        }
    }
    Ok(())
}

/// Makes the hub ask the server at `address` about every binding and every placement.
pub(super) async fn webhook(hub: &Client, address: SocketAddr, ca_pem: &str) -> anyhow::Result<()> {
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": {"name": "sheetanchor"},
        "webhooks": [{
            "name": "bindings.sheetanchor.dev",
            "clientConfig": {
                "url": format!("https://{address}/mutate"),
                "caBundle": ByteString(ca_pem.as_bytes().to_vec()),
            },
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                 "resources": ["pods/binding", "bindings"]},
                {"apiGroups": ["apps.clusternet.io"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"],
                 "resources": ["subscriptions/status"]},
            ],
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "timeoutSeconds": 2,
            "admissionReviewVersions": ["v1"],
        }],
    }))?;
    let api: Api<MutatingWebhookConfiguration> = Api::all(hub.clone());
    api.create(&PostParams::default(), &configuration).await.context("cannot register the webhook")?;
    Ok(())
}
