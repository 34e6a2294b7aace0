//! Errors for the log and the terminal.

use std::error::Error;

use kube::config::KubeconfigError;
use kube::core::Status;

/// What kube writes for the reason of an answer that is no `Status`.
const NO_REASON: &str = "Failed to parse error data";

/// An error and its causes in one line, each said once; what the API server answered in its own
/// words; and what to do about it, where that is known.
pub fn error_line(error: &(dyn Error + 'static)) -> String {
    let (mut line, mut advice) = (String::new(), None);
    let mut next = Some(error);
    while let Some(error) = next {
        let (text, last) = match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => {
                advice = answer_advice(status);
                (answer(status), true)
            }
            Some(kube::Error::Service(_)) => ("cannot reach the API server".to_owned(), false),
            _ => (error.to_string(), false),
        };
        advice = advice.or_else(|| kubeconfig_advice(error.downcast_ref()?)).or_else(|| connection_advice(&text));
        if !line.contains(&text) {
            // An error that repeats its cause is cut to what it adds.
            let added = line.trim_end_matches(&error.to_string()).trim_end_matches([':', ' ']);
            line = if added.is_empty() { text } else { format!("{added}: {text}") };
        }
        next = if last { None } else { error.source() };
    }
    if let Some(advice) = advice {
        line = format!("{line}; {advice}");
    }
    line.replace('\n', " ")
}

fn answer(status: &Status) -> String {
    let message = status.message.trim_end();
    if status.reason == NO_REASON {
        return message.to_owned();
    }
    format!("{message} ({} {})", status.code, status.reason)
}

fn answer_advice(status: &Status) -> Option<&'static str> {
    match status.code {
        401 => Some("is the kubeconfig that of this hub, and its token or certificate still valid?"),
        // The authorizer's words; admission forbids with others.
        403 if status.message.contains("is forbidden: User ") => {
            Some("grant it: manifests/base/rbac.yaml has all rights that are needed")
        }
        404 if status.reason == NO_REASON => {
            Some("the hub does not serve this resource: install Clusternet's CRDs (clusters.clusternet.io)")
        }
        404 if status.message.starts_with("namespaces ") => {
            Some("create it, or name another one with --leader-elect-resource-namespace")
        }
        _ => None,
    }
}

fn kubeconfig_advice(error: &KubeconfigError) -> Option<&'static str> {
    match error {
        KubeconfigError::CurrentContextNotSet | KubeconfigError::LoadContext(_) => {
            Some("choose one of its contexts with \"kubectl config use-context\"")
        }
        _ => None,
    }
}

/// By the words of rustls and hyper: their errors are wrapped more than once on their way here.
fn connection_advice(text: &str) -> Option<&'static str> {
    if text.starts_with("invalid peer certificate") {
        return Some("is that the hub, and certificate-authority in the kubeconfig its CA?");
    }
    let unreachable = text.starts_with("tcp connect error") || text.starts_with("dns error");
    unreachable.then_some("is the hub up, and its address in the kubeconfig right?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<dyn Error + Send + Sync>>,
    }

    fn layer(text: &'static str, source: impl Into<Option<Box<dyn Error + Send + Sync>>>) -> Layer {
        Layer { text, source: source.into() }
    }

    #[test]
    fn causes_follow_each_said_once() {
        let cause = layer("no route", None);
        let repeated = layer("cannot connect: no route", Some(cause.into()));
        let error = layer("cannot list nodes", Some(repeated.into()));
        assert_eq!(error_line(&error), "cannot list nodes: cannot connect: no route");
    }

    fn answer(code: u16, message: &str, reason: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, ..Status::failure(message, reason) }))
    }

    #[test]
    fn the_api_server_speaks_for_itself() {
        let conflict = || answer(409, "the object has been modified", "Conflict");
        assert_eq!(error_line(&conflict()), "the object has been modified (409 Conflict)");
        let error = layer("write failed", Some(conflict().into()));
        assert_eq!(error_line(&error), "write failed: the object has been modified (409 Conflict)");
    }

    #[test]
    fn what_to_do_is_said_once_where_it_is_known() {
        for (error, expected) in [
            (answer(401, "Unauthorized", "Unauthorized"), "Unauthorized (401 Unauthorized); is the kubeconfig"),
            (
                answer(403, "nodes is forbidden: User \"u\" cannot list resource \"nodes\"", "Forbidden"),
                "cannot list resource \"nodes\" (403 Forbidden); grant it: manifests/base/rbac.yaml",
            ),
            (
                answer(404, "404 page not found\n", NO_REASON),
                "404 page not found; the hub does not serve this resource",
            ),
            (answer(404, "namespaces \"n\" not found", "NotFound"), "(404 NotFound); create it, or name another one"),
        ] {
            let line = error_line(&layer("list failed", Some(error.into())));
            assert!(line.starts_with("list failed: ") && line.contains(expected), "{line}");
            assert_eq!(line.matches("; ").count(), 1, "{line}");
        }
        for (code, message, reason) in [
            (403, "admission webhook \"w\" denied the request: no", "Forbidden"),
            (404, "nodes \"n\" not found", "NotFound"),
        ] {
            let error = answer(code, message, reason);
            assert_eq!(error_line(&error), format!("{message} ({code} {reason})"));
        }
        let error = KubeconfigError::LoadContext("c".to_owned());
        assert!(error_line(&error).ends_with("; choose one of its contexts with \"kubectl config use-context\""));
    }

    #[test]
    fn an_api_server_that_is_away_is_said_in_words() {
        let error = kube::Error::Service(layer("refused", None).into());
        assert_eq!(error_line(&error), "cannot reach the API server: refused");
        for why in ["tcp connect error", "dns error"] {
            let connect = layer("client error (Connect)", Some(layer(why, Some(layer("refused", None).into())).into()));
            let line = error_line(&kube::Error::Service(connect.into()));
            let advice = "is the hub up, and its address in the kubeconfig right?";
            assert_eq!(line, format!("cannot reach the API server: client error (Connect): {why}: refused; {advice}"));
        }
    }
}
