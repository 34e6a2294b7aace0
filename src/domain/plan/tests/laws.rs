//! What holds for every plan.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A random fleet, of which the first few leave, and what runs there.
fn world() -> impl Strategy<Value = (Vec<Site>, Vec<Workload>, Leaving)> {
    let kinds = (0..40_u32, any::<bool>(), 0..4_usize, 0..3_u8);
    let sites = prop::collection::vec(kinds, 1..12).prop_map(|sites| {
        let sites = sites.into_iter().enumerate().map(|(place, (room, is_spare, region, kind))| {
            let name = format!("c{place:02}");
            let site = if is_spare { spare(&name, room.into()) } else { site(&name, room.into()) };
            let site = match kind {
                0 if place > 2 => Site { view: mk_view(&name, mk_silent(false)), ..site },
                1 => Site { view: site.view.tainted(mk_taint("gpu", "", "NoExecute")), ..site },
                _ => site,
            };
            site.labelled("region", &format!("r{region}"))
        });
        sites.collect::<Vec<Site>>()
    });
    let part = (0..12_usize, 0..6_i32);
    let kind = (0..4_u8, 0..3_i32, any::<bool>(), prop::option::of(1..20_u32));
    let work = prop::collection::vec((kind, prop::collection::btree_map(part.0, part.1, 1..5)), 0..12);
    (sites, work, 1..4_usize).prop_map(|(sites, work, gone)| {
        let names: Vec<String> = sites.iter().map(|site| site.view.key().name().to_owned()).collect();
        let leaving = leaving(&names.iter().take(gone).map(String::as_str).collect::<Vec<_>>());
        let work = work.into_iter().enumerate().map(|(i, ((kind, priority, tolerant, need), parts))| {
            let parts: Vec<(&str, i32)> =
                parts.iter().filter_map(|(place, count)| Some((names.get(*place)?.as_str(), *count))).collect();
            let name = format!("w{i:02}");
            let mut workload = match kind {
                0 | 1 => dividing(&name, &parts),
                _ => replication(&name, &parts.iter().map(|(cluster, _)| *cluster).collect::<Vec<_>>()),
            };
            workload.priority = priority;
            workload.facts.by_sub_group = kind == 3;
            if kind % 2 == 1 {
                workload.facts.affinities = (0..2).map(|region| select("region", &format!("r{region}"))).collect();
                workload.spares = Some(select("region", "r3"));
            }
            if tolerant {
                workload.facts.tolerations = vec![mk_toleration("gpu", Operator::Exists, "", "")];
            }
            match need {
                Some(need) => names.iter().for_each(|name| {
                    workload.demand.whole.insert(key(name), cores(need.into()));
                }),
                None => workload.demand.replica.clear(),
            }
            workload
        });
        (sites, work.collect(), leaving)
    })
}

/// The replicas of the one feed that a cluster has.
fn has(workload: &Workload, cluster: &ClusterKey) -> i32 {
    Shares::read(&workload.placement).expect("well-formed").get(cluster.as_str(), FEED)
}

proptest! {
    #[test]
    fn a_plan_does_not_depend_on_the_order(
        (sites, work, leaving) in world(),
        seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut other_sites, mut other_work) = (sites.clone(), work.clone());
        random.shuffle(&mut other_sites);
        random.shuffle(&mut other_work);
        prop_assert_eq!(plan(sites, &work, &leaving), plan(other_sites, &other_work, &leaving));
    }

    #[test]
    fn everything_that_must_leave_moves_or_is_held((sites, work, leaving) in world()) {
        let plan = plan(sites, &work, &leaving);
        for workload in &work {
            for from in leaving.keys().filter(|from| workload.placement.clusters.iter().any(|it| it == from.as_str())) {
                let there = !workload.facts.dividing || has(workload, from) > 0;
                let moves: Vec<&Move> =
                    plan.moves.iter().filter(|it| it.workload == workload.key && it.from == *from).collect();
                let held = plan.held.iter().any(|held| held.workload == workload.key && held.from == *from);
                prop_assert_eq!(there, !moves.is_empty() || held);
                prop_assert!(moves.len() <= 1);
                let Some(only) = moves.first() else { continue };
                let parts = only.targets.iter().filter_map(|target| target.replicas.as_ref());
                let counted: i32 = parts.flat_map(|part| part.values()).sum();
                if only.targets.iter().any(|target| target.replicas.is_none()) {
                    prop_assert_eq!((only.targets.len(), held), (1, false), "all of it, to one place");
                } else if held {
                    prop_assert!(counted > 0 && counted < has(workload, from));
                } else {
                    prop_assert_eq!(counted, has(workload, from));
                }
            }
        }
    }

    #[test]
    fn nothing_goes_where_it_must_not((sites, work, leaving) in world()) {
        let views: HashMap<ClusterKey, Site> =
            sites.iter().map(|site| (site.view.key().clone(), site.clone())).collect();
        let plan = plan(sites, &work, &leaving);
        for it in &plan.moves {
            let workload = work.iter().find(|workload| workload.key == it.workload).expect("known");
            for target in &it.targets {
                let site = &views[&target.cluster];
                prop_assert!(!leaving.contains_key(&target.cluster), "{:?} leaves itself", target);
                prop_assert!(site.view.health.schedulable());
                let taints = &site.view.cluster.taints;
                prop_assert!(taints.is_empty() || !workload.facts.tolerations.is_empty(), "{:?} is tainted", target);
                let labels = &site.view.cluster.labels;
                let meant = workload.facts.subscriber(labels).is_some()
                    || workload.spares.as_ref().is_some_and(|spares| spares.matches(labels));
                prop_assert!(meant, "{:?} is not meant", target);
                let bound = workload.placement.clusters.iter().any(|cluster| cluster == target.cluster.as_str());
                prop_assert!(!bound || workload.facts.dividing, "{:?} runs it already", target);
            }
        }
        let mut places: Vec<(&str, &ClusterKey)> = plan
            .moves
            .iter()
            .flat_map(|it| it.targets.iter().map(move |target| (it.workload.as_str(), &target.cluster)))
            .collect();
        let all = places.len();
        places.sort();
        places.dedup();
        prop_assert_eq!(places.len(), all, "one Subscription twice in a place");
    }

    #[test]
    fn no_room_is_promised_twice((sites, work, leaving) in world()) {
        let plan = plan(sites.clone(), &work, &leaving);
        let mut promised: HashMap<&ClusterKey, f64> = HashMap::new();
        for it in plan.moves.iter().filter(|it| !it.blind) {
            let workload = work.iter().find(|workload| workload.key == it.workload).expect("known");
            for target in &it.targets {
                let need = match &target.replicas {
                    Some(part) => f64::from(part.values().sum::<i32>()) * 1000.0,
                    None if workload.facts.dividing => f64::from(has(workload, &it.from)) * 1000.0,
                    None => workload.demand.whole[&it.from].cpu_millis,
                };
                *promised.entry(&target.cluster).or_default() += need;
            }
        }
        for site in &sites {
            let free = site.headroom.free().expect("reported").cpu_millis;
            let promised = promised.get(site.view.key()).copied().unwrap_or_default();
            prop_assert!(promised <= free.max(0.0) + 1e-6, "{}: {promised} of {free}", site.view.key());
        }
    }
}
