//! The order of resource versions.

/// Whether version `a` is newer than `b`.
///
/// Resource versions of one resource are comparable numbers (Kubernetes KEP-5504, and true of etcd
/// before that). One that is no number is taken as newer.
pub(super) fn newer(a: &str, b: &str) -> bool {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a > b,
        _ => true,
    }
}
