//! What a request is about: its path, its query.

use super::failure::Failure;
use super::kinds::Kind;
use super::store::Key;

/// A resource, or an object of one, or a part of that.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) kind: &'static Kind,
    /// None: of all namespaces, or the resource has none.
    pub(super) namespace: Option<String>,
    /// None: the collection.
    pub(super) name: Option<String>,
    /// `status`, `binding`.
    pub(super) subresource: Option<String>,
}

impl Target {
    /// Reads a path below `/api` or `/apis`; `None` when nothing can be there.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut segments = path.trim_matches('/').split('/');
        let (group, version) = match segments.next()? {
            "api" => ("", segments.next()?),
            "apis" => (segments.next()?, segments.next()?),
            _ => return None,
        };
        let rest: Vec<&str> = segments.collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", _, "status" | "finalize"] => (None, rest.as_slice()),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let [plural, rest @ ..] = rest else { return None };
        let kind = Kind::find(group, version, plural)?;
        if rest.len() > 2 || rest.iter().any(|segment| segment.is_empty()) {
            return None;
        }
        let at = |place: usize| rest.get(place).map(|segment| (*segment).to_owned());
        let fits = if kind.namespaced { namespace.is_some() || rest.is_empty() } else { namespace.is_none() };
        fits.then(|| Self { kind, namespace, name: at(0), subresource: at(1) })
    }

    /// Where the object `name` of this resource is kept.
    pub(super) fn key(&self, name: &str) -> Key {
        let namespace = self.namespace.clone().unwrap_or_default();
        Key { plural: self.kind.plural, namespace, name: name.to_owned() }
    }
}

/// The parameters after the question mark.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands after the question mark.
    pub(super) fn parse(text: Option<&str>) -> Self {
        Self(form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// A parameter; empty when absent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Whether a parameter says yes.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), "1" | "true")
    }

    /// A parameter that is a number; none when absent.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = |_| Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
        text.parse().map(Some).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_resource_an_object_or_a_part_of_it() {
        for (path, expected) in [
            ("/api/v1/nodes", Some("nodes - - -")),
            ("/api/v1/nodes/a", Some("nodes - a -")),
            ("/api/v1/nodes/a/status", Some("nodes - a status")),
            ("/api/v1/pods", Some("pods - - -")),
            ("/api/v1/pods/a", None),
            ("/api/v1/namespaces", Some("namespaces - - -")),
            ("/api/v1/namespaces/x", Some("namespaces - x -")),
            ("/api/v1/namespaces/x/status", Some("namespaces - x status")),
            ("/api/v1/namespaces/x/pods", Some("pods x - -")),
            ("/api/v1/namespaces/x/pods/a", Some("pods x a -")),
            ("/api/v1/namespaces/x/pods/a/binding", Some("pods x a binding")),
            ("/api/v1/namespaces/x/nodes", None),
            ("/api/v1/namespaces/x/pods/a/b/c", None),
            ("/apis/coordination.k8s.io/v1/namespaces/x/leases/l", Some("leases x l -")),
            ("/apis/coordination.k8s.io/v2/leases", None),
            ("/api/v1/namespaces//pods/", Some("pods  - -")),
            ("/api/v1", None),
            ("/", None),
        ] {
            let parsed = Target::parse(path).map(|target| {
                let text = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".to_owned());
                let (namespace, name, part) = (&target.namespace, &target.name, &target.subresource);
                format!("{} {} {} {}", target.kind.plural, text(namespace), text(name), text(part))
            });
            assert_eq!(parsed.as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_query_is_decoded() {
        let query = Query::parse(Some("labelSelector=a%20in%20(b)&watch=1&timeoutSeconds=5&limit=x"));
        assert_eq!((query.get("labelSelector"), query.flag("watch"), query.flag("nothing")), ("a in (b)", true, false));
        assert_eq!((query.number("timeoutSeconds"), query.number("nothing")), (Ok(Some(5)), Ok(None)));
        assert!(query.number("limit").is_err());
    }
}
