//! Label and field selectors, as they stand in a query.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::selector::{Operator, Requirement, Selector};

use super::failure::Failure;
use super::kinds::Kind;
use super::path::Query;

/// Which objects of a resource a request is about.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    labels: Selector,
    fields: Vec<FieldTerm>,
}

/// `path=value`, or `path!=value`.
#[derive(Clone, Debug)]
struct FieldTerm {
    path: String,
    equal: bool,
    value: String,
}

impl Selection {
    /// What the query asks for.
    ///
    /// # Errors
    /// 400 for what is no selector, and for a field that the resource cannot be selected by.
    pub(super) fn read(kind: &Kind, query: &Query) -> Result<Self, Failure> {
        let labels = terms(query.get("labelSelector")).into_iter().map(label_term).collect::<Result<_, _>>()?;
        let fields = terms(query.get("fieldSelector")).into_iter().map(|term| field_term(kind, term));
        Ok(Self { labels: Selector::All(labels), fields: fields.collect::<Result<_, _>>()? })
    }

    /// Whether it asks for this object.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let fields = self.fields.iter().all(|term| (field(object, &term.path) == term.value) == term.equal);
        fields && self.labels.matches(&labels(object))
    }
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// The text at a path such as `spec.nodeName`; empty when there is none.
fn field<'a>(object: &'a Value, path: &str) -> &'a str {
    path.split('.').fold(object, |value, name| &value[name]).as_str().unwrap_or_default()
}

/// The parts between the commas that stand outside of parentheses.
fn terms(selector: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let parts = selector.split(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn label_term(term: &str) -> Result<Requirement, Failure> {
    let requirement = |key: &str, operator, values: Vec<String>| {
        let key = key.trim();
        let valid = !key.is_empty() && !key.contains(|c: char| c.is_whitespace() || "()!=,".contains(c));
        let wrong = || Failure::bad_request(format!("unable to parse requirement: {term:?}"));
        valid.then(|| Requirement { key: key.to_owned(), operator, values }).ok_or_else(wrong)
    };
    if let Some(key) = term.strip_prefix('!') {
        return requirement(key, Operator::DoesNotExist, Vec::new());
    }
    if let Some((key, value)) = term.split_once("!=") {
        return requirement(key, Operator::NotIn, vec![value.trim().to_owned()]);
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return requirement(key, Operator::In, vec![value.trim().to_owned()]);
    }
    let Some((head, list)) = term.split_once('(') else {
        return requirement(term, Operator::Exists, Vec::new());
    };
    let values = list.trim_end_matches(')').split(',').map(|value| value.trim().to_owned()).collect();
    match head.trim().rsplit_once(char::is_whitespace) {
        Some((key, "in")) => requirement(key, Operator::In, values),
        Some((key, "notin")) => requirement(key, Operator::NotIn, values),
        _ => requirement("", Operator::Unknown, Vec::new()),
    }
}

fn field_term(kind: &Kind, term: &str) -> Result<FieldTerm, Failure> {
    let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (path, value, true)
    } else {
        return Err(Failure::bad_request(format!("invalid selector: {term:?}; can't understand {term:?}")));
    };
    if !(["metadata.name", "metadata.namespace"].contains(&path) || kind.fields.contains(&path)) {
        return Err(Failure::bad_request(format!("field label not supported: {path}")));
    }
    Ok(FieldTerm { path: path.to_owned(), equal, value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(plural: &str, name: &str, selector: &str) -> Result<Selection, Failure> {
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair(name, selector).finish();
        Selection::read(Kind::find("", "v1", plural).expect("a resource"), &Query::parse(Some(&query)))
    }

    #[test]
    fn label_selectors() {
        let object = json!({"metadata": {"labels": {"env": "prod", "example.com/zone": "a"}}});
        for (selector, expected) in [
            ("", true),
            ("env=prod", true),
            ("env==prod", true),
            ("env = prod", true),
            ("env=dev", false),
            ("env!=dev", true),
            ("env!=prod", false),
            ("region!=eu", true),
            ("env", true),
            ("region", false),
            ("!region", true),
            ("!env", false),
            ("env in (dev, prod)", true),
            ("env in (dev)", false),
            ("env notin (dev,test)", true),
            ("env notin (dev,prod)", false),
            ("example.com/zone=a,env in (dev,prod),!region", true),
            ("example.com/zone=b,env in (dev,prod)", false),
        ] {
            assert_eq!(
                read("nodes", "labelSelector", selector).expect(selector).matches(&object),
                expected,
                "{selector}"
            );
        }
        for selector in ["env of (a)", "=a", "a b", "!"] {
            assert!(read("nodes", "labelSelector", selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn field_selectors() {
        let object = json!({"metadata": {"name": "p", "namespace": "x"}, "spec": {"nodeName": "n"}});
        for (selector, expected) in [
            ("metadata.name=p", true),
            ("metadata.name==p,metadata.namespace=x", true),
            ("metadata.namespace!=x", false),
            ("spec.nodeName=n,status.phase!=Failed,status.phase!=Succeeded", true),
            ("spec.nodeName=", false),
            ("status.phase=", true),
        ] {
            assert_eq!(
                read("pods", "fieldSelector", selector).expect(selector).matches(&object),
                expected,
                "{selector}"
            );
        }
        for selector in ["spec.hostname=a", "metadata.name"] {
            assert!(read("pods", "fieldSelector", selector).is_err(), "{selector}");
        }
    }
}
