//! What holds for every write, on random ones.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::cluster::ClusterKey;
use crate::domain::rescue::Rescue;

const NAMES: [&str; 9] =
    ["fleet/a1", "fleet/a2", "fleet/a3", "fleet/b1", "fleet/b2", "fleet/b3", "fleet/c1", "fleet/c2", "fleet/c3"];
const STATES: [Is; 9] = [
    Is::Healthy,
    Is::Tainted,
    Is::Lost,
    Is::NotReady,
    Is::Recovering,
    Is::TaintedTwice,
    Is::Foreign,
    Is::Persons,
    Is::Untainted(9_000),
];
const FEEDS: [&str; 3] = ["one", "two", "three"];

fn state() -> impl Strategy<Value = Option<Is>> {
    let healthy_and_ours = prop_oneof![Just(Some(Is::Healthy)), Just(Some(Is::Tainted))];
    prop_oneof![2 => healthy_and_ours, 1 => select(&STATES[..]).prop_map(Some), 1 => Just(None)]
}

fn clusters() -> impl Strategy<Value = Vec<Option<Is>>> {
    vec(state(), NAMES.len())
}

fn fleet(states: &[Option<Is>]) -> Clusters {
    let known: Vec<(&str, Is)> = NAMES.iter().zip(states).filter_map(|(name, is)| Some((*name, (*is)?))).collect();
    Clusters::of(&known)
}

/// Clusters in any order, perhaps twice, with one number each for some feeds.
fn fit() -> impl Strategy<Value = Placement> {
    vec((select(&NAMES[..]), 0..6_i32, 0..3_i32), 0..8).prop_flat_map(|entries| {
        let clusters: Vec<String> = entries.iter().map(|(name, _, _)| (*name).to_owned()).collect();
        let counts = move |feed: &str| -> Vec<i32> {
            entries.iter().map(|(_, many, few)| if feed == FEEDS[0] { *many } else { *few }).collect()
        };
        let replicas = btree_map(select(&FEEDS[..]), any::<bool>(), 0..4).prop_map(move |feeds| {
            let column = |(feed, counted): (&str, bool)| (feed.to_owned(), if counted { counts(feed) } else { vec![] });
            feeds.into_iter().map(column).collect()
        });
        (replicas, prop_oneof![4 => Just(Some(7)), 1 => Just(None)]).prop_map(move |(replicas, spec_hash)| Placement {
            desired_releases: Some(clusters.len() as i64),
            clusters: clusters.clone(),
            replicas,
            spec_hash,
        })
    })
}

/// The same, perhaps with replicas that fit nobody.
fn any_placement() -> impl Strategy<Value = Placement> {
    (fit(), proptest::option::weighted(0.2, vec(any::<i32>(), 0..5))).prop_map(|(mut placement, odd)| {
        placement.replicas.extend(odd.map(|counts| (FEEDS[2].to_owned(), counts)));
        placement
    })
}

fn facts() -> impl Strategy<Value = SubscriptionFacts> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(dividing, by_sub_group, wide)| {
        let affinities = if wide { vec![Selector::All(vec![])] } else { vec![group("a"), group("b")] };
        SubscriptionFacts { dividing, by_sub_group, affinities, ..SubscriptionFacts::default() }
    })
}

/// Any rescue, sensible or not: the record may have been edited by hand.
fn rescue() -> impl Strategy<Value = Rescue> {
    let counts = btree_map(select(&FEEDS[..]).prop_map(str::to_owned), 0..5_i32, 1..3);
    let counts = proptest::option::weighted(0.3, counts);
    let spec_hash = prop_oneof![6 => Just(Some(7)), 1 => Just(None)];
    let keys = (select(&NAMES[..]), select(&NAMES[..]), select(&NAMES[..]), any::<bool>());
    let keys = keys.prop_filter("to itself", |(from, to, _, _)| from != to);
    (keys, spec_hash, counts).prop_map(|((from, to, other, chain), spec_hash, replicas)| {
        let key = |name| ClusterKey::parse(name).expect("a key");
        let home = key(if chain { other } else { from });
        Rescue { from: key(from), to: key(to), home, spec_hash, failover: "f-1".into(), replicas }
    })
}

/// With up to three rescues.
fn rescued() -> impl Strategy<Value = SubscriptionFacts> {
    (facts(), vec(rescue(), 0..4)).prop_map(|(facts, rescues)| SubscriptionFacts { rescues, ..facts })
}

/// The rules that are in force: whether failover is on, and *Sticky*.
type Rules = (bool, bool);

fn rules() -> impl Strategy<Value = Rules> {
    (prop::bool::weighted(0.7), any::<bool>())
}

fn judge(
    fleet: &Clusters,
    (failover, sticky): Rules,
    old: &Placement,
    new: &Placement,
    facts: &SubscriptionFacts,
) -> Ruling {
    let guard = Guard { mode: GuardMode::Full, failover, sticky, fleet, taint_key: KEY, now: at(NOW_MILLIS) };
    guard.review(old, new, facts)
}

/// Whether nobody hears from it.
fn silent(states: &[Option<Is>], cluster: &str) -> bool {
    let place = NAMES.iter().position(|name| *name == cluster).expect("a name");
    matches!(states[place], None | Some(Is::Tainted | Is::Lost | Is::TaintedTwice))
}

fn names(rescue: &Rescue, cluster: &str) -> bool {
    [&rescue.from, &rescue.home].iter().any(|key| key.as_str() == cluster)
}

fn sums(placement: &Placement) -> BTreeMap<&str, i64> {
    let sum = |counts: &Vec<i32>| counts.iter().copied().map(i64::from).sum();
    placement.replicas.iter().map(|(feed, counts)| (feed.as_str(), sum(counts))).collect()
}

fn set(placement: &Placement) -> BTreeSet<&str> {
    placement.clusters.iter().map(String::as_str).collect()
}

/// Whether our taint, and nothing else, keeps it off, and every affinity here selects it.
fn only_ours(fleet: &Clusters, states: &[Option<Is>], cluster: &str) -> bool {
    let is = NAMES.iter().position(|name| *name == cluster).and_then(|place| states[place]);
    let selected = !cluster.starts_with("fleet/c");
    selected && fleet.view(cluster).is_some() && matches!(is, Some(Is::Tainted | Is::Lost | Is::Untainted(_)))
}

/// Moves all that `from` has of every feed to `to`.
fn hand_over(placement: &mut Placement, from: usize, to: usize) {
    for counts in placement.replicas.values_mut().filter(|counts| !counts.is_empty()) {
        let count = std::mem::take(&mut counts[from]);
        counts[to] += count;
    }
}

fn drop_entry(placement: &mut Placement, place: usize) {
    placement.clusters.remove(place);
    for counts in placement.replicas.values_mut().filter(|counts| !counts.is_empty()) {
        counts.remove(place);
    }
    placement.desired_releases = Some(placement.clusters.len() as i64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariant_never_empty(states in clusters(), old in any_placement(), new in any_placement(), facts in rescued(), rules in rules(), full in any::<bool>()) {
        let fleet = fleet(&states);
        let mode = if full { GuardMode::Full } else { GuardMode::NeverEmpty };
        let (failover, sticky) = rules;
        let guard = Guard { mode, failover, sticky, fleet: &fleet, taint_key: KEY, now: at(NOW_MILLIS) };
        let ruling = guard.review(&old, &new, &facts);
        let result = stored(&ruling, &new);
        prop_assert!(old.clusters.is_empty() || !result.clusters.is_empty());
        if new.clusters.is_empty() && !old.clusters.is_empty() {
            prop_assert_eq!(result.spec_hash, old.spec_hash);
        }
    }

    #[test]
    fn invariant_healthy_untouched(states in clusters(), old in fit(), new in fit(), facts in facts()) {
        let fleet = fleet(&states);
        let result = stored(&review(&fleet, &old, &new, &facts), &new);
        let (before, written, after) = (set(&old), set(&new), set(&result));
        prop_assert!(before.intersection(&written).all(|cluster| after.contains(cluster)), "{:?}", result);
        prop_assert!(after.is_subset(&before.union(&written).copied().collect()), "{:?}", result);
        let (Ok(was), Ok(will), Ok(is)) = (Shares::read(&old), Shares::read(&new), Shares::read(&result)) else {
            return Err(TestCaseError::fail("unfit"));
        };
        for cluster in before.intersection(&written) {
            for feed in FEEDS {
                let (was, will, is) = (was.get(cluster, feed), will.get(cluster, feed), is.get(cluster, feed));
                prop_assert!(is == will || facts.dividing && is < will && is >= was, "{was} {will} {is}");
            }
        }
    }

    #[test]
    fn invariant_off_means_off(states in clusters(), old in fit(), new in fit(), facts in rescued(), sticky in any::<bool>()) {
        let fleet = fleet(&states);
        let result = stored(&judge(&fleet, (false, sticky), &old, &new, &facts), &new);
        let held = set(&result);
        if old.spec_hash == new.spec_hash {
            for cluster in set(&old) {
                prop_assert!(!only_ours(&fleet, &states, cluster) || held.contains(cluster), "{cluster} {:?}", result);
            }
        }
        prop_assert!(held.is_subset(&set(&old).union(&set(&new)).copied().collect()), "{:?}", result);
        let off = Guard { mode: GuardMode::Off, failover: true, sticky: false, fleet: &fleet, taint_key: KEY, now: at(NOW_MILLIS) };
        prop_assert_eq!(off.review(&old, &new, &facts), Ruling::Pass);
    }

    /// Clusters that bear our taint are dropped, and others take what they had: as if it had not happened.
    #[test]
    fn a_pure_replacement_is_undone_exactly(states in clusters(), old in fit(), heir in any::<prop::sample::Index>(), by_sub_group in any::<bool>()) {
        let fleet = fleet(&states);
        let facts = SubscriptionFacts { by_sub_group, ..dividing() };
        let old = match Shares::read(&old) {
            Ok(shares) => shares.write(&old),
            Err(fault) => return Err(TestCaseError::fail(fault)),
        };
        let mut new = old.clone();
        let heir = *heir.get(&NAMES);
        if !new.clusters.iter().any(|cluster| cluster == heir) {
            new.clusters.push(heir.to_owned());
            new.replicas.values_mut().filter(|counts| !counts.is_empty()).for_each(|counts| counts.push(0));
        }
        let mut moved = false;
        for cluster in old.clusters.iter().filter(|cluster| *cluster != heir && only_ours(&fleet, &states, cluster)) {
            let place = |new: &Placement, name: &str| new.clusters.iter().position(|it| it == name).unwrap();
            let (from, to) = (place(&new, cluster), place(&new, heir));
            moved |= new.replicas.values().any(|counts| counts.get(from).is_some_and(|count| *count > 0));
            hand_over(&mut new, from, to);
            drop_entry(&mut new, from);
        }
        if moved {
            prop_assert_eq!(stored(&review(&fleet, &old, &new, &facts), &new), old);
        }
    }

    /// Of a rescued placement: nobody who is heard from goes, except who was added or whom the write dropped.
    #[test]
    fn invariant_healthy_untouched_by_rescues(states in clusters(), old in fit(), new in fit(), facts in rescued(), rules in rules()) {
        let fleet = fleet(&states);
        let result = stored(&judge(&fleet, rules, &old, &new, &facts), &new);
        let (before, written, after) = (set(&old), set(&new), set(&result));
        for cluster in before.intersection(&written) {
            prop_assert!(after.contains(cluster) || rules.0 && silent(&states, cluster), "{cluster}: {:?}", result);
        }
        for cluster in after.iter().filter(|cluster| !before.contains(*cluster) && !written.contains(*cluster)) {
            let target = facts.rescues.iter().any(|rescue| rescue.to.as_str() == *cluster);
            prop_assert!(target && fleet.view(cluster).is_some(), "{cluster}: {:?}", result);
        }
    }

    /// With *Sticky*, no group has both a healthy cluster dropped and another added, unless a rescue moved the one.
    #[test]
    fn invariant_healthy_untouched_by_swaps(states in clusters(), old in fit(), new in fit(), facts in rescued(), failover in any::<bool>()) {
        let fleet = fleet(&states);
        let result = stored(&judge(&fleet, (failover, true), &old, &new, &facts), &new);
        let (before, after) = (set(&old), set(&result));
        let group = |cluster: &str| {
            let labels = &fleet.view(cluster)?.cluster.labels;
            let place = facts.subscriber(labels);
            if facts.by_sub_group && !facts.dividing { place } else { place.map(|_| 0) }
        };
        let is = |cluster: &str| states[NAMES.iter().position(|name| *name == cluster).unwrap()];
        let target = |cluster: &str| facts.rescues.iter().any(|rescue| rescue.to.as_str() == cluster);
        let dropped = before.difference(&after).filter(|cluster| is(cluster) == Some(Is::Healthy) && group(cluster).is_some());
        for dropped in dropped.filter(|cluster| !facts.rescues.iter().any(|rescue| names(rescue, cluster))) {
            for added in after.difference(&before).filter(|cluster| !target(cluster)) {
                prop_assert!(old.spec_hash != new.spec_hash || group(dropped) != group(added), "{dropped} for {added}: {:?}", result);
            }
        }
    }

    /// What was moved stays moved, and what it was moved from stays out, whoever writes what.
    #[test]
    fn a_finished_move_stands(states in clusters(), old in fit(), new in fit(), facts in facts(), rescue in rescue(), rules in rules()) {
        let fleet = fleet(&states);
        let spec_hash = Some(7);
        let (old, new) = (Placement { spec_hash, ..old }, Placement { spec_hash, ..new });
        let to = rescue.to.as_str().to_owned();
        let rescue = Rescue { spec_hash, ..rescue };
        let before = set(&old);
        let moved = before.contains(&*to) && !NAMES.iter().any(|name| names(&rescue, name) && before.contains(name));
        let facts = SubscriptionFacts { rescues: vec![rescue.clone()], ..facts };
        let result = stored(&judge(&fleet, rules, &old, &new, &facts), &new);
        if before.contains(rescue.from.as_str()) && rescue.from != rescue.home && fleet.view(rescue.from.as_str()).is_some() {
            prop_assert!([&rescue.from, &rescue.to].iter().any(|key| set(&result).contains(key.as_str())), "{:?}", result);
        }
        if moved && fleet.view(&to).is_some() {
            prop_assert!(set(&result).contains(&*to), "{:?}", result);
            prop_assert!(!NAMES.iter().any(|name| *name != to && names(&rescue, name) && set(&result).contains(name)), "{:?}", result);
        }
    }

    /// Each feed's sum is that of the write; only while a cluster that is heard from has not been left may it be larger.
    #[test]
    fn invariant_replicas_conserved_by_rescues(states in clusters(), old in fit(), new in fit(), facts in rescued(), rules in rules()) {
        let facts = SubscriptionFacts { dividing: true, ..facts };
        let result = stored(&judge(&fleet(&states), rules, &old, &new, &facts), &new);
        if new.clusters.is_empty() {
            return Ok(());
        }
        let after = set(&result);
        let both = |rescue: &Rescue| {
            let source = NAMES.iter().any(|name| names(rescue, name) && after.contains(name));
            rescue.replicas.is_none() && source && after.contains(rescue.to.as_str())
        };
        let (is, will) = (sums(&result), sums(&new));
        prop_assert!(is == will || facts.rescues.iter().any(both), "{is:?} {will:?}");
        prop_assert!(is.iter().all(|(feed, sum)| sum >= &will[feed]), "{is:?} {will:?}");
    }

    #[test]
    fn invariant_replicas_conserved(states in clusters(), old in fit(), new in fit(), facts in facts()) {
        let facts = SubscriptionFacts { dividing: true, ..facts };
        let result = stored(&review(&fleet(&states), &old, &new, &facts), &new);
        if !new.clusters.is_empty() {
            prop_assert_eq!(sums(&result), sums(&new));
        }
    }

    #[test]
    fn what_the_guard_made_it_leaves_alone(states in clusters(), old in any_placement(), new in any_placement(), facts in rescued(), rules in rules()) {
        let fleet = fleet(&states);
        let ruling = judge(&fleet, rules, &old, &new, &facts);
        let result = stored(&ruling, &new);
        prop_assert_eq!(stored(&judge(&fleet, rules, &old, &result, &facts), &result), result.clone());
        // Records that contradict each other or the placement, as only a hand writes them, may take two writes to settle.
        let before = set(&old);
        let odd = |one: &Rescue| {
            let chained = facts.rescues.iter().any(|other| names(other, one.to.as_str()));
            chained || one.from != one.home && before.contains(one.home.as_str())
        };
        let judged = Shares::read(&old).is_ok() && !old.clusters.is_empty() && old.spec_hash == new.spec_hash;
        let judged = judged && !facts.rescues.iter().any(odd);
        if judged {
            prop_assert_eq!(stored(&judge(&fleet, rules, &result, &result, &facts), &result), result);
        }
    }

    #[test]
    fn an_amended_placement_is_in_shape(states in clusters(), old in fit(), new in fit(), facts in rescued(), rules in rules()) {
        if let Ruling::Amend(Amendment { placement, reasons, .. }) = judge(&fleet(&states), rules, &old, &new, &facts) {
            prop_assert!(placement.clusters.is_sorted_by(|left, right| left < right));
            prop_assert_eq!(placement.desired_releases, Some(placement.clusters.len() as i64));
            for counts in placement.replicas.values() {
                prop_assert!(counts.is_empty() || counts.len() == placement.clusters.len());
                prop_assert!(counts.iter().all(|count| *count >= 0));
            }
            prop_assert!(!reasons.is_empty());
        }
    }
}
