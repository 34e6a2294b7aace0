//! What holds for every write, on random ones.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const NAMES: [&str; 9] =
    ["fleet/a1", "fleet/a2", "fleet/a3", "fleet/b1", "fleet/b2", "fleet/b3", "fleet/c1", "fleet/c2", "fleet/c3"];
const STATES: [Is; 7] =
    [Is::Healthy, Is::Tainted, Is::Lost, Is::TaintedTwice, Is::Foreign, Is::Persons, Is::Untainted(9_000)];
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
    fn invariant_never_empty(states in clusters(), old in any_placement(), new in any_placement(), facts in facts(), full in any::<bool>()) {
        let fleet = fleet(&states);
        let mode = if full { GuardMode::Full } else { GuardMode::NeverEmpty };
        let ruling = Guard { mode, failover: true, sticky: false, fleet: &fleet, taint_key: KEY, now: at(NOW_MILLIS) }.review(&old, &new, &facts);
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
    fn invariant_off_means_off(states in clusters(), old in fit(), new in fit(), facts in facts()) {
        let fleet = fleet(&states);
        let result = stored(&review(&fleet, &old, &new, &facts), &new);
        let held = set(&result);
        if old.spec_hash == new.spec_hash {
            for cluster in set(&old) {
                prop_assert!(!only_ours(&fleet, &states, cluster) || held.contains(cluster), "{cluster} {:?}", result);
            }
        }
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

    #[test]
    fn invariant_replicas_conserved(states in clusters(), old in fit(), new in fit(), facts in facts()) {
        let facts = SubscriptionFacts { dividing: true, ..facts };
        let result = stored(&review(&fleet(&states), &old, &new, &facts), &new);
        if !new.clusters.is_empty() {
            prop_assert_eq!(sums(&result), sums(&new));
        }
    }

    #[test]
    fn what_the_guard_made_it_leaves_alone(states in clusters(), old in any_placement(), new in any_placement(), facts in facts()) {
        let fleet = fleet(&states);
        let ruling = review(&fleet, &old, &new, &facts);
        let result = stored(&ruling, &new);
        prop_assert_eq!(stored(&review(&fleet, &old, &result, &facts), &result), result.clone());
        prop_assert_eq!(stored(&review(&fleet, &result, &result, &facts), &result), result);
    }

    #[test]
    fn an_amended_placement_is_in_shape(states in clusters(), old in fit(), new in fit(), facts in facts()) {
        if let Ruling::Amend(Amendment { placement, reasons, .. }) = review(&fleet(&states), &old, &new, &facts) {
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
