//! The annotation that records rescues, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::cluster::ClusterKey;
use crate::domain::rescue::Rescue;

/// One entry of the list. Fields that a later version adds are ignored.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    from: String,
    to: String,
    home: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec_hash: Option<i64>,
    failover: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<BTreeMap<String, i32>>,
}

/// Reads the annotation.
///
/// # Errors
/// With a sentence's end that names what is wrong: it was edited by hand.
pub fn read(text: &str) -> Result<Vec<Rescue>, String> {
    let entries: Vec<Entry> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    entries
        .into_iter()
        .enumerate()
        .map(|(place, entry)| rescue(entry).map_err(|it| format!("entry {place}: {it}")))
        .collect()
}

fn rescue(entry: Entry) -> Result<Rescue, String> {
    let key = |field: &str, text: &str| {
        ClusterKey::parse(text).ok_or_else(|| format!("{field} \"{text}\" is not namespace/name"))
    };
    let (from, to, home) = (key("from", &entry.from)?, key("to", &entry.to)?, key("home", &entry.home)?);
    if from == to {
        return Err(format!("it moves from \"{from}\" to itself"));
    }
    if let Some((feed, count)) = entry.replicas.iter().flatten().find(|(_, count)| **count < 0) {
        return Err(format!("the replicas of \"{feed}\" are {count}"));
    }
    let Entry { spec_hash, failover, replicas, .. } = entry;
    Ok(Rescue { from, to, home, spec_hash, failover, replicas })
}

/// The annotation's value for these rescues; `None`, which removes it, for none.
pub fn write(rescues: &[Rescue]) -> Option<String> {
    let entry = |rescue: &Rescue| Entry {
        from: rescue.from.to_string(),
        to: rescue.to.to_string(),
        home: rescue.home.to_string(),
        spec_hash: rescue.spec_hash,
        failover: rescue.failover.clone(),
        replicas: rescue.replicas.clone(),
    };
    let entries: Vec<Entry> = rescues.iter().map(entry).collect();
    // Strings and numbers always serialize.
    if entries.is_empty() { None } else { serde_json::to_string(&entries).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(replicas: Option<BTreeMap<String, i32>>) -> Rescue {
        let key = |name| ClusterKey::new("fleet", name);
        Rescue {
            from: key("s1"),
            to: key("s2"),
            home: key("eu-1"),
            spec_hash: Some(42),
            failover: "fleet.eu-1-1".into(),
            replicas,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let rescues = vec![moved(None), moved(Some(BTreeMap::from([("apps/v1/Deployment/x/web".into(), 2)])))];
        let text = write(&rescues).expect("some");
        assert!(
            text.starts_with(r#"[{"from":"fleet/s1","to":"fleet/s2","home":"fleet/eu-1","specHash":42,"#),
            "{text}"
        );
        assert_eq!(read(&text), Ok(rescues));
        assert_eq!(write(&[]), None);
    }

    #[test]
    fn what_was_edited_by_hand_is_named() {
        for (text, named) in [
            ("", "EOF"),
            ("{}", "expected a sequence"),
            (r#"[{"from":"a/b"}]"#, "missing field `to`"),
            (r#"[{"from":"a","to":"a/c","home":"a/b","failover":"x"}]"#, "entry 0: from \"a\" is not namespace/name"),
            (r#"[{"from":"a/b","to":"a/b","home":"a/b","failover":"x"}]"#, "from \"a/b\" to itself"),
            (r#"[{"from":"a/b","to":"a/c","home":"a/b","failover":"x","replicas":{"f":-1}}]"#, "\"f\" are -1"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
