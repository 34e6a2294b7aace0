//! Label selectors, by Kubernetes' rules: which clusters an affinity means.

use std::collections::BTreeMap;

/// A label selector.
///
/// The two ways of saying little mean opposite things: one that is absent selects nothing, one
/// without requirements selects everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// No selector at all.
    Nothing,
    /// Everything that meets all of these.
    All(Vec<Requirement>),
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub values: Vec<String>,
}

/// How a requirement compares a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// It has none of them, or is absent.
    NotIn,
    /// It is there.
    Exists,
    /// It is not.
    DoesNotExist,
    /// A word that we do not know: nothing meets it.
    Unknown,
}

impl From<&str> for Operator {
    fn from(word: &str) -> Self {
        match word {
            "In" => Self::In,
            "NotIn" => Self::NotIn,
            "Exists" => Self::Exists,
            "DoesNotExist" => Self::DoesNotExist,
            _ => Self::Unknown,
        }
    }
}

impl Requirement {
    /// `matchLabels`' way to ask for one value.
    pub fn equals(key: String, value: String) -> Self {
        Self { key, operator: Operator::In, values: vec![value] }
    }

    /// Whether the labels meet it. One that Kubernetes calls invalid, a set operator without values
    /// or the other kind with some, is met by nothing.
    fn met(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = labels.get(&self.key);
        match self.operator {
            Operator::In => label.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => !self.values.is_empty() && label.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => self.values.is_empty() && label.is_some(),
            Operator::DoesNotExist => self.values.is_empty() && label.is_none(),
            Operator::Unknown => false,
        }
    }
}

impl Selector {
    /// Whether it selects something with these labels.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Nothing => false,
            Self::All(requirements) => requirements.iter().all(|requirement| requirement.met(labels)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(key: &str, operator: &str, values: &[&str]) -> Requirement {
        Requirement {
            key: key.into(),
            operator: operator.into(),
            values: values.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn requirements_follow_kubernetes() {
        let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
        for (name, key, operator, values, expected) in [
            ("in, one of them", "env", "In", &["dev", "prod"][..], true),
            ("in, none of them", "env", "In", &["dev"], false),
            ("in, absent label", "region", "In", &["eu"], false),
            ("in, no values", "env", "In", &[], false),
            ("not in, one of them", "env", "NotIn", &["prod"], false),
            ("not in, none of them", "env", "NotIn", &["dev"], true),
            ("not in, absent label", "region", "NotIn", &["eu"], true),
            ("not in, no values", "region", "NotIn", &[], false),
            ("exists", "env", "Exists", &[], true),
            ("exists, absent label", "region", "Exists", &[], false),
            ("exists, with values", "env", "Exists", &["prod"], false),
            ("does not exist", "env", "DoesNotExist", &[], false),
            ("does not exist, absent label", "region", "DoesNotExist", &[], true),
            ("does not exist, with values", "region", "DoesNotExist", &["eu"], false),
            ("unknown operator", "env", "Gt", &["1"], false),
            ("no operator", "env", "", &["prod"], false),
        ] {
            assert_eq!(requirement(key, operator, values).met(&labels), expected, "{name}");
        }
    }

    #[test]
    fn nothing_everything_and_all_of_several() {
        let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned()), ("zone".to_owned(), "a".to_owned())]);
        let equals = |key: &str, value: &str| Requirement::equals(key.into(), value.into());
        for (name, selector, expected) in [
            ("absent", Selector::Nothing, false),
            ("empty", Selector::All(vec![]), true),
            ("all met", Selector::All(vec![equals("env", "prod"), equals("zone", "a")]), true),
            ("one not met", Selector::All(vec![equals("env", "prod"), equals("zone", "b")]), false),
        ] {
            assert_eq!(selector.matches(&labels), expected, "{name}");
        }
        assert!(Selector::All(vec![]).matches(&BTreeMap::new()), "empty, no labels");
    }
}
