//! The scheduler extender's protocol, version 1: `ExtenderArgs` in, [`answer`]s out.
//!
//! kube-scheduler writes its whole Pod into every call, and where it keeps no cache for us every
//! Node too, up to tens of megabytes. So this reads only what decisions need and borrows the rest:
//! a Node is echoed byte for byte as the slice of the body that it is.

pub mod answer;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{Few, Object, Read, Text, object, same, skip, value};

/// Nodes in one call: many times what the largest Kubernetes cluster has.
const NODES_MAX: usize = 200_000;
/// Tolerations of one pod: far more than anybody writes.
const TOLERATIONS_MAX: usize = 1_000;
use crate::domain::taint::Toleration;

/// An error's text is cut here: it may quote the body, which may be a single string of megabytes.
const ERROR_CHARS_MAX: usize = 200;

/// One call of the scheduler.
#[derive(Debug, Default)]
pub struct ExtenderArgs<'a> {
    /// The pod to place.
    pub pod: Pod<'a>,
    /// Where it could go.
    pub candidates: Candidates<'a>,
}

/// What decisions need of a pod.
#[derive(Debug, Default)]
pub struct Pod<'a> {
    /// `metadata.namespace`.
    pub namespace: Text<'a>,
    /// `metadata.name`.
    pub name: Text<'a>,
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
}

/// The nodes that a call is about.
#[derive(Debug, Default)]
pub enum Candidates<'a> {
    /// Neither `NodeNames` nor `Nodes`.
    #[default]
    Neither,
    /// `NodeNames`: the scheduler was told `nodeCacheCapable: true`. Wins when both are there.
    Names(Vec<Text<'a>>),
    /// `Nodes`.
    Nodes(NodeList<'a>),
}

/// The `Nodes` of a call.
#[derive(Debug)]
pub struct NodeList<'a> {
    /// The list's own `metadata`, as it was written.
    metadata: &'a str,
    nodes: Vec<Node<'a>>,
}

#[derive(Debug)]
struct Node<'a> {
    name: Text<'a>,
    raw: &'a str,
}

/// One node of a call, in either form.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'c> {
    name: &'c Text<'c>,
    raw: Option<&'c str>,
}

impl Candidate<'_> {
    /// The node's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl Candidates<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Neither => 0,
            Self::Names(names) => names.len(),
            Self::Nodes(list) => list.nodes.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nodes, in the scheduler's order.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'_>> {
        let (names, nodes): (&[Text<'_>], &[Node<'_>]) = match self {
            Self::Neither => (&[], &[]),
            Self::Names(names) => (names, &[]),
            Self::Nodes(list) => (&[], &list.nodes),
        };
        let named = names.iter().map(|name| Candidate { name, raw: None });
        named.chain(nodes.iter().map(|node| Candidate { name: &node.name, raw: Some(node.raw) }))
    }
}

/// A body that is no `ExtenderArgs`. One line, of bounded length.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not text.
    #[error("cannot read the body as UTF-8: {0}")]
    Encoding(#[from] std::str::Utf8Error),
    /// Not JSON, or not of this shape.
    #[error("cannot read the body as ExtenderArgs: {0}")]
    Shape(String),
    /// An entry of `Nodes.items` that is no Node.
    #[error("cannot read Nodes.items[{index}] as a Node: {error}")]
    Node {
        /// Which.
        index: usize,
        /// What is wrong with it.
        error: String,
    },
}

/// Decodes the body of a filter or prioritize call.
pub fn decode(body: &[u8]) -> Result<ExtenderArgs<'_>, DecodeError> {
    // Checked once as a whole: per string it costs three times as much.
    let text = std::str::from_utf8(body)?;
    let Read(args) = serde_json::from_str::<Read<RawArgs<'_>>>(text).map_err(|e| DecodeError::Shape(brief(&e)))?;
    let candidates = match (args.node_names, args.nodes) {
        (Some(names), _) => Candidates::Names(names),
        (None, Some(list)) => Candidates::Nodes(list.named()?),
        (None, None) => Candidates::Neither,
    };
    Ok(ExtenderArgs { pod: args.pod, candidates })
}

fn brief(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.char_indices().nth(ERROR_CHARS_MAX) {
        Some((end, _)) => format!("{}… at line {} column {}", &text[..end], error.line(), error.column()),
        None => text,
    }
}

#[derive(Default)]
struct RawArgs<'a> {
    pod: Pod<'a>,
    nodes: Option<RawList<'a>>,
    node_names: Option<Vec<Text<'a>>>,
}

impl<'de> Object<'de> for RawArgs<'de> {
    const NAME: &'static str = "ExtenderArgs";

    fn read<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if same(key, "Pod") {
            self.pod = object(map)?;
        } else if same(key, "Nodes") {
            self.nodes = map.next_value::<Option<Read<RawList<'de>>>>()?.map(|read| read.0);
        } else if same(key, "NodeNames") {
            self.node_names = map.next_value::<Option<Few<_, NODES_MAX>>>()?.map(|names| names.0);
        } else {
            skip(map)?;
        }
        Ok(())
    }
}

impl<'de> Object<'de> for Pod<'de> {
    const NAME: &'static str = "a Pod";

    fn read<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if same(key, "metadata") {
            let metadata: Metadata<'de> = object(map)?;
            (self.namespace, self.name) = (metadata.namespace, metadata.name);
        } else if same(key, "spec") {
            let spec: Spec = object(map)?;
            self.tolerations = spec.tolerations;
        } else {
            skip(map)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Metadata<'a> {
    namespace: Text<'a>,
    name: Text<'a>,
}

impl<'de> Object<'de> for Metadata<'de> {
    const NAME: &'static str = "a Pod's metadata";

    fn read<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if same(key, "name") {
            self.name = value(map)?;
        } else if same(key, "namespace") {
            self.namespace = value(map)?;
        } else {
            skip(map)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Spec {
    tolerations: Vec<Toleration>,
}

impl<'de> Object<'de> for Spec {
    const NAME: &'static str = "a Pod's spec";

    fn read<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if !same(key, "tolerations") {
            return skip(map);
        }
        let tolerations: Few<Read<RawToleration<'de>>, TOLERATIONS_MAX> = value(map)?;
        self.tolerations = tolerations.0.into_iter().map(|read| read.0.into()).collect();
        Ok(())
    }
}

#[derive(Default)]
struct RawToleration<'a> {
    key: Text<'a>,
    operator: Text<'a>,
    value: Text<'a>,
    effect: Text<'a>,
}

impl<'de> Object<'de> for RawToleration<'de> {
    const NAME: &'static str = "a toleration";

    fn read<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let fields = [
            ("key", &mut self.key),
            ("operator", &mut self.operator),
            ("value", &mut self.value),
            ("effect", &mut self.effect),
        ];
        match fields.into_iter().find(|(name, _)| same(key, name)) {
            Some((_, field)) => *field = value(map)?,
            None => skip(map)?,
        }
        Ok(())
    }
}

impl From<RawToleration<'_>> for Toleration {
    fn from(raw: RawToleration<'_>) -> Self {
        Self {
            key: raw.key.as_str().to_owned(),
            operator: raw.operator.as_str().into(),
            value: raw.value.as_str().to_owned(),
            effect: raw.effect.as_str().to_owned(),
        }
    }
}

#[derive(Default)]
struct RawList<'a> {
    metadata: Option<&'a RawValue>,
    items: Vec<&'a RawValue>,
}

impl<'de> Object<'de> for RawList<'de> {
    const NAME: &'static str = "a NodeList";

    fn read<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if same(key, "metadata") {
            self.metadata = Some(map.next_value()?);
        } else if same(key, "items") {
            self.items = value::<Few<_, NODES_MAX>, _>(map)?.0;
        } else {
            skip(map)?;
        }
        Ok(())
    }
}

impl<'a> RawList<'a> {
    fn named(self) -> Result<NodeList<'a>, DecodeError> {
        let named = |(index, item): (usize, &'a RawValue)| {
            let name = node_name(item).map_err(|e| DecodeError::Node { index, error: brief(&e) })?;
            Ok(Node { name, raw: item.get() })
        };
        let nodes = self.items.into_iter().enumerate().map(named).collect::<Result<_, DecodeError>>()?;
        Ok(NodeList { metadata: self.metadata.map_or("{}", RawValue::get), nodes })
    }
}

/// A Node's `metadata.name`, empty when it has none.
///
/// Stops at the first one, so that the rest of the Node is read only once: `item` is known to be
/// well-formed, and the scheduler writes each key once.
fn node_name(item: &RawValue) -> Result<Text<'_>, serde_json::Error> {
    let mut found = None;
    let search = Search { key: "metadata", rest: &["name"], found: &mut found };
    let outcome = search.deserialize(&mut serde_json::Deserializer::from_str(item.get()));
    match found {
        // Stopping in the middle of an object is an error to the deserializer.
        Some(name) => Ok(name),
        None => outcome.map(|()| Text::default()),
    }
}

/// Looks for the string under `key`, and under `rest` in that.
struct Search<'s, 'a> {
    key: &'static str,
    rest: &'static [&'static str],
    found: &'s mut Option<Text<'a>>,
}

impl<'de> DeserializeSeed<'de> for Search<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Search<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the key {}", self.key)
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while self.found.is_none()
            && let Some(key) = map.next_key::<Text<'de>>()?
        {
            match self.rest {
                _ if !same(key.as_str(), self.key) => skip(&mut map)?,
                [] => *self.found = map.next_value()?,
                [key, rest @ ..] => map.next_value_seed(Search { key, rest, found: &mut *self.found })?,
            }
        }
        Ok(())
    }
}
