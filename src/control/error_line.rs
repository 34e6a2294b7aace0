//! Errors for the log and the terminal.

use std::error::Error;

/// An error and its causes in one line, each said once; what the API server answered in its own words.
pub fn error_line(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let (text, last) = match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => (format!("{} ({} {})", status.message, status.code, status.reason), true),
            _ => (error.to_string(), false),
        };
        if !line.contains(&text) {
            // An error that repeats its cause is cut to what it adds.
            let added = line.trim_end_matches(&error.to_string()).trim_end_matches([':', ' ']);
            line = if added.is_empty() { text } else { format!("{added}: {text}") };
        }
        next = if last { None } else { error.source() };
    }
    line.replace('\n', " ")
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

    #[test]
    fn the_api_server_speaks_for_itself() {
        let status = Status { code: 403, ..Status::failure("nodes is forbidden", "Forbidden") };
        let answer = kube::Error::Api(Box::new(status));
        assert_eq!(error_line(&answer), "nodes is forbidden (403 Forbidden)");
        let error = layer("list failed", Some(answer.into()));
        assert_eq!(error_line(&error), "list failed: nodes is forbidden (403 Forbidden)");
    }
}
