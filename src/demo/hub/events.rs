//! Events have two doors, `v1` and `events.k8s.io/v1`, that name the same fields differently. They
//! are kept as `v1` has them, which is how kubectl reads them.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::kinds::Kind;

const GROUP: &str = "events.k8s.io";
/// The name in `events.k8s.io`, and the one in the core group.
const NAMES: [(&str, &str); 7] = [
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
];

/// A stored object as the door of `kind` shows it.
pub(super) fn shown<'a>(kind: &Kind, object: &'a Value) -> Cow<'a, Value> {
    if kind.group != GROUP {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    object["apiVersion"] = json!(kind.api_version());
    for (name, core) in NAMES {
        rename(&mut object, core, name);
    }
    Cow::Owned(object)
}

/// An object that came through the door of `kind`, as it is stored.
pub(super) fn stored(kind: &Kind, mut object: Value) -> Value {
    if kind.group == GROUP {
        object["apiVersion"] = json!("v1");
        for (name, core) in NAMES {
            rename(&mut object, name, core);
        }
    }
    object
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(object) = object.as_object_mut()
        && let Some(value) = object.remove(from)
    {
        object.insert(to.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_the_same_through_the_door_that_it_came_in_by() {
        let given = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "ClusterLost",
            "note": "no heartbeat for 48s", "regarding": {"name": "eu-2"}, "reportingController": "sheetanchor",
        });
        let kind = |group| Kind::find(group, "v1", "events").expect("a row");
        let kept = stored(kind(GROUP), given.clone());
        assert_eq!(
            (&kept["message"], &kept["involvedObject"]["name"]),
            (&json!("no heartbeat for 48s"), &json!("eu-2"))
        );
        assert_eq!((&kept["apiVersion"], &kept["reportingComponent"]), (&json!("v1"), &json!("sheetanchor")));
        assert_eq!(*shown(kind(GROUP), &kept), given);
        assert_eq!((&*shown(kind(""), &kept), stored(kind(""), kept.clone())), (&kept, kept.clone()));
    }
}
