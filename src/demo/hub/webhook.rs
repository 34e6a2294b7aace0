//! The calls to webhooks: HTTPS, with the authority that the configuration names.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Limited};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

/// Clients that are kept; more only after those are forgotten.
const CLIENTS_MAX: usize = 16;
/// The API server's own limit on an answer.
const ANSWER_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The clients, by URL and `caBundle`: a call need not shake hands again. (kube's client is an HTTPS
/// client with a root of one's own, like any other.)
#[derive(Default)]
pub(super) struct Webhooks(Mutex<HashMap<(String, String), Client>>);

impl Webhooks {
    /// Sends a review, and waits as long as the webhook has.
    ///
    /// # Errors
    /// Why there is no answer, in one line.
    pub(super) async fn call(&self, config: &Value, seconds: u64, review: &Value) -> Result<Value, String> {
        let url = config["url"].as_str().ok_or("failed to call webhook: only clientConfig.url is known here")?;
        let asked = format!("{url}?timeout={seconds}s");
        let failed = |why: &str| format!("failed to call webhook: Post {asked:?}: {why}");
        let client = self.client(url, config["caBundle"].as_str().unwrap_or_default()).map_err(|why| failed(&why))?;
        let uri: Uri = asked.parse().map_err(|error: http::uri::InvalidUri| failed(&error.to_string()))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(review.to_string().into_bytes().into())
            .map_err(|error| failed(&error.to_string()))?;
        let exchange = async {
            let answer = client.send(request).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            if !status.is_success() {
                return Err(format!("the server answered {status}"));
            }
            serde_json::from_slice(&body).map_err(|error| error.to_string())
        };
        let answer = tokio::time::timeout(Duration::from_secs(seconds), exchange).await;
        answer.unwrap_or_else(|_| Err("context deadline exceeded".to_owned())).map_err(|why| failed(&why))
    }

    fn client(&self, url: &str, ca_bundle: &str) -> Result<Client, String> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (url.to_owned(), ca_bundle.to_owned());
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("the URL must be https://…".to_owned());
        };
        let origin =
            format!("https://{authority}").parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let mut config = Config::new(origin);
        config.default_retry = false;
        if !ca_bundle.is_empty() {
            config.root_cert = Some(roots(ca_bundle)?);
        }
        let client = Client::try_from(config).map_err(|error| error.to_string())?;
        if clients.len() == CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

fn roots(ca_bundle: &str) -> Result<Vec<Vec<u8>>, String> {
    let pem = BASE64.decode(ca_bundle).map_err(|error| format!("caBundle is no base64: {error}"))?;
    let roots = CertificateDer::pem_slice_iter(&pem).map(|root| root.map(|root| root.to_vec()));
    let roots: Vec<_> = roots.collect::<Result<_, _>>().map_err(|error| format!("caBundle is no PEM: {error}"))?;
    if roots.is_empty() { Err("caBundle holds no certificate".to_owned()) } else { Ok(roots) }
}
