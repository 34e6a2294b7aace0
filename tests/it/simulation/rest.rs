//! What must be so when the troubles have been over for a while.

use sheetanchor::domain::taint::{self, Effect};
use sheetanchor::state::ALIVE_CONDITION;

use super::plan::DEFAULT_PERIOD;
use super::world::World;

impl World {
    /// Those that beat are well and bear nothing of ours; the dead bear our taint, unless the
    /// brake holds it; and the nodes say the same.
    pub(super) fn rests(&self) {
        let leader = &self.replicas[self.lease.expect("at rest: somebody leads")];
        assert!(leader.running && leader.leading && !leader.blind, "at rest: the leader sees");
        for member in &self.members {
            let key = &member.key;
            let object = &self.api.clusters[key];
            assert!(!object.garbled, "at rest: {key}");
            let cluster = &object.cluster;
            let released =
                leader.released.is_some_and(|at| at + member.period.max(DEFAULT_PERIOD) * 2 > self.instant());
            if member.silent && (leader.braked || released) {
                continue;
            }
            let under = |taint: &&taint::Taint| taint.key == self.plan.taint_key && taint.effect == Effect::NoSchedule;
            let overruled =
                cluster.taints.iter().filter(under).any(|taint| taint::ours(taint, self.plan.taint_key).is_none());
            let ours = taint::carried(&cluster.taints, self.plan.taint_key);
            let facts = format!("{key}, silent: {}, at rest: {cluster:?}", member.silent);
            assert_eq!(ours.is_some(), member.silent && !overruled, "taint of {facts}");
            let own = cluster.conditions.iter().find(|condition| condition.kind == ALIVE_CONDITION);
            let status = own.map(|own| own.status.as_str());
            assert_eq!(status, Some(if member.silent { "Unknown" } else { "True" }), "condition of {facts}");
            let node = &self.api.nodes[member.name()];
            let mirror = taint::carried(&node.taints, self.plan.taint_key);
            assert_eq!(mirror.is_some(), member.silent, "{node:?} of {facts}");
            let mut foreign = cluster
                .taints
                .iter()
                .filter(|taint| taint.effect.repels() && taint::ours(taint, self.plan.taint_key).is_none());
            assert_eq!(node.cluster_taints.is_some(), foreign.next().is_some(), "{node:?} of {facts}");
        }
    }
}
