//! Between `coordination.k8s.io/v1` Leases and [`Record`]s.
//!
//! What others put on the Lease (labels, annotations, fields we do not know) survives our writes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;

use crate::domain::election::{Claim, Record};

/// What a Lease says. `None` without a resourceVersion: nothing can be decided on such an answer,
/// since a write without one overwrites whatever is there.
pub fn record(lease: &Lease) -> Option<Record> {
    let version = lease.metadata.resource_version.clone().filter(|version| !version.is_empty())?;
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Some(Record {
        version,
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        duration: seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        transitions: transitions(spec),
    })
}

/// The Lease to send for `claim`: `known`, with our name on it.
pub fn claimed(known: Lease, claim: Claim, identity: &str, duration: Duration, wall: Timestamp) -> Lease {
    let spec = known.spec.unwrap_or_default();
    let (acquired, count) = match claim {
        Claim::Renew => (spec.acquire_time.clone(), transitions(Some(&spec))),
        Claim::Create { transitions } | Claim::TakeOver { transitions } => (None, transitions),
    };
    let spec = LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        // Rounded up: the others may wait longer than we ask, never shorter.
        lease_duration_seconds: Some(i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)),
        lease_transitions: Some(i32::try_from(count).unwrap_or(i32::MAX)),
        acquire_time: acquired.or(Some(MicroTime(wall))),
        renew_time: Some(MicroTime(wall)),
        ..spec
    };
    Lease { spec: Some(spec), ..known }
}

/// The Lease to send when it is given back: `known`, with nobody's name on it.
pub fn released(known: Lease, wall: Timestamp) -> Lease {
    let spec = known.spec.unwrap_or_default();
    let spec = LeaseSpec { holder_identity: Some(String::new()), renew_time: Some(MicroTime(wall)), ..spec };
    Lease { spec: Some(spec), ..known }
}

/// A Lease that is not there yet.
pub fn absent(name: &str) -> Lease {
    Lease { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, spec: None }
}

fn transitions(spec: Option<&LeaseSpec>) -> u32 {
    spec.and_then(|spec| spec.lease_transitions).and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(json: serde_json::Value) -> Lease {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn reads_what_it_can_and_refuses_what_has_no_version() {
        let spec = serde_json::json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 3});
        let full = record(&lease(serde_json::json!({"metadata": {"resourceVersion": "7"}, "spec": spec}))).unwrap();
        let want = Record {
            version: "7".to_owned(),
            holder: "a".to_owned(),
            duration: Some(Duration::from_secs(15)),
            transitions: 3,
        };
        assert_eq!(full, want);

        let spec = serde_json::json!({"leaseDurationSeconds": 0, "leaseTransitions": -1});
        let odd = record(&lease(serde_json::json!({"metadata": {"resourceVersion": "8"}, "spec": spec}))).unwrap();
        assert_eq!((odd.holder.as_str(), odd.duration, odd.transitions), ("", None, 0));

        assert_eq!(record(&lease(serde_json::json!({"metadata": {}, "spec": {"holderIdentity": "a"}}))), None);
        assert_eq!(record(&lease(serde_json::json!({"metadata": {"resourceVersion": ""}}))), None);
    }

    #[test]
    fn writes_only_its_own_fields() {
        let (t0, t1): (Timestamp, Timestamp) =
            ("2026-01-02T03:04:05.678901Z".parse().unwrap(), "2026-01-02T03:04:07Z".parse().unwrap());
        let known = lease(serde_json::json!({
            "metadata": {"name": "l", "resourceVersion": "7", "annotations": {"theirs": "kept"}},
            "spec": {"holderIdentity": "a", "leaseTransitions": 3, "strategy": "kept", "acquireTime": "2020-01-01T00:00:00.000000Z"},
        }));
        let taken = claimed(known, Claim::TakeOver { transitions: 4 }, "b", Duration::from_millis(14_001), t0);
        let want = serde_json::json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "l", "resourceVersion": "7", "annotations": {"theirs": "kept"}},
            "spec": {"holderIdentity": "b", "leaseTransitions": 4, "strategy": "kept", "leaseDurationSeconds": 15,
                "acquireTime": "2026-01-02T03:04:05.678901Z", "renewTime": "2026-01-02T03:04:05.678901Z"},
        });
        assert_eq!(serde_json::to_value(&taken).unwrap(), want);

        let renewed = claimed(taken, Claim::Renew, "b", Duration::from_secs(15), t1).spec.unwrap();
        assert_eq!((renewed.acquire_time, renewed.renew_time), (Some(MicroTime(t0)), Some(MicroTime(t1))));
        assert_eq!(renewed.lease_transitions, Some(4));

        let created = claimed(absent("l"), Claim::Create { transitions: 0 }, "b", Duration::from_secs(15), t0);
        assert_eq!((created.metadata.resource_version.clone(), record(&created)), (None, None));
        assert_eq!(created.spec.clone().unwrap().lease_transitions, Some(0));

        let free = released(created, t1).spec.unwrap();
        assert_eq!((free.holder_identity.as_deref(), free.lease_duration_seconds), (Some(""), Some(15)));
    }
}
