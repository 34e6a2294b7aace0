//! Where things go, and why they stay. What holds for every plan is in `laws`.

use std::sync::Arc;

use super::*;
use crate::domain::selector::Requirement;
use crate::domain::taint::Operator;
use crate::domain::testing::{mk_ready, mk_silent, mk_taint, mk_toleration, mk_view};

mod laws;

const FEED: &str = "apps/v1/Deployment/default/web";
const OTHER_FEED: &str = "apps/v1/Deployment/default/db";

fn key(name: &str) -> ClusterKey {
    ClusterKey::new("fleet", name)
}

fn cores(cores: f64) -> Resources {
    Resources { cpu_millis: cores * 1000.0, memory_bytes: 0.0 }
}

/// A healthy cluster with so many cores, all free.
fn site(name: &str, room: f64) -> Site {
    let all = Resources { cpu_millis: room * 1000.0, memory_bytes: 1e12 };
    Site { view: mk_view(name, mk_ready()), headroom: Headroom::new(Some(all), None, Resources::default(), 0) }
}

fn spare(name: &str, room: f64) -> Site {
    let site = site(name, room);
    Site { view: site.view.spare(), ..site }
}

fn lost(name: &str) -> Site {
    Site { view: mk_view(name, mk_silent(false)), ..site(name, 100.0) }
}

impl Site {
    fn labelled(mut self, label: &str, value: &str) -> Self {
        Arc::make_mut(&mut self.view.cluster).labels.insert(label.into(), value.into());
        self
    }
}

fn select(label: &str, value: &str) -> Selector {
    Selector::All(vec![Requirement::equals(label.into(), value.into())])
}

/// Replication on these clusters; every cluster matches.
fn replication(name: &str, clusters: &[&str]) -> Workload {
    Workload {
        key: format!("default/{name}"),
        facts: SubscriptionFacts { affinities: vec![Selector::All(vec![])], ..SubscriptionFacts::default() },
        placement: Placement {
            clusters: clusters.iter().map(|cluster| format!("fleet/{cluster}")).collect(),
            ..Placement::default()
        },
        ..Workload::default()
    }
}

/// Dividing, with these replicas of one feed, each asking for a core.
fn dividing(name: &str, shares: &[(&str, i32)]) -> Workload {
    let clusters: Vec<&str> = shares.iter().map(|(cluster, _)| *cluster).collect();
    let mut workload = replication(name, &clusters);
    workload.facts.dividing = true;
    workload.placement.replicas.insert(FEED.into(), shares.iter().map(|(_, count)| *count).collect());
    workload.demand.replica.insert(FEED.into(), cores(1.0));
    workload
}

fn asking(mut workload: Workload, on: &str, need: f64) -> Workload {
    workload.demand.whole.insert(key(on), cores(need));
    workload
}

fn leaving(names: &[&str]) -> Leaving {
    names.iter().map(|name| (key(name), Duration::from_secs(60))).collect()
}

/// `from > to, to=replicas` for each move, in order.
fn moves(plan: &Plan) -> Vec<String> {
    let target = |target: &Target| match &target.replicas {
        None => target.cluster.name().to_owned(),
        Some(part) => {
            let part: Vec<String> = part.values().map(ToString::to_string).collect();
            format!("{}={}", target.cluster.name(), part.join("+"))
        }
    };
    let line = |it: &Move| {
        let targets: Vec<String> = it.targets.iter().map(target).collect();
        format!("{} {} > {}", it.workload, it.from.name(), targets.join(", "))
    };
    plan.moves.iter().map(line).collect()
}

fn holds(plan: &Plan) -> Vec<String> {
    let line =
        |held: &Held| format!("{} {}: {}: {}", held.workload, held.from.name(), held.reason.as_str(), held.reason);
    plan.held.iter().map(line).collect()
}

#[test]
fn a_spare_goes_before_room_and_room_before_the_name() {
    let work = || [asking(replication("web", &["a"]), "a", 2.0)];
    for (name, sites, expected) in [
        ("the spare", vec![lost("a"), site("b", 50.0), spare("s", 4.0)], "s"),
        ("the roomier spare", vec![lost("a"), spare("s1", 4.0), spare("s2", 4.1).labelled("x", "y")], "s1"),
        ("room before the name", vec![lost("a"), full("s1"), spare("s2", 4.0)], "s2"),
        ("the name", vec![lost("a"), spare("s2", 4.0), spare("s1", 4.0)], "s1"),
        ("not the spare that is full", vec![lost("a"), site("b", 4.0), spare("s", 1.9)], "b"),
    ] {
        let plan = plan(sites, &work(), &leaving(&["a"]));
        assert_eq!(moves(&plan), [format!("default/web a > {expected}")], "{name}");
        assert!(plan.held.is_empty() && !plan.moves[0].blind, "{name}");
    }
}

/// A spare of which half is taken.
fn full(name: &str) -> Site {
    let all = Resources { cpu_millis: 8_000.0, memory_bytes: 1e12 };
    Site { headroom: Headroom::new(Some(all), None, cores(4.0), 0), ..spare(name, 8.0) }
}

#[test]
fn what_nobody_knows_goes_where_the_least_runs_and_is_said_to_be_blind() {
    let mut busy = spare("s1", 9.0);
    busy.headroom.bindings = 1;
    let work = [replication("a-web", &["a"]), replication("b-web", &["a"]), replication("c-web", &["a"])];
    let plan = plan(vec![lost("a"), busy, spare("s2", 1.0)], &work, &leaving(&["a"]));
    assert_eq!(moves(&plan), ["default/a-web a > s2", "default/b-web a > s1", "default/c-web a > s2"]);
    assert!(plan.moves.iter().all(|it| it.blind));
}

#[test]
fn reservations_are_shared_and_the_more_important_chooses_first() {
    let mut late = asking(replication("a-late", &["b"]), "b", 3.0);
    late.priority = -1;
    let mut first = asking(replication("z-first", &["a"]), "a", 3.0);
    first.priority = 10;
    let work = [late, asking(replication("m-middle", &["a"]), "a", 3.0), first];
    let plan = plan(vec![lost("a"), lost("b"), spare("s", 7.0)], &work, &leaving(&["a", "b"]));
    assert_eq!(moves(&plan), ["default/z-first a > s", "default/m-middle a > s"]);
    assert_eq!(
        holds(&plan),
        ["default/a-late b: NoRoom: it asks for 3.0 cores, 0.0 GiB, which does not fit: \
          the roomiest that may take it, \"fleet/s\", has 1.0 cores, 931.3 GiB left"]
    );
}

#[test]
fn what_is_smaller_still_fits_behind_what_does_not() {
    let mut big = asking(replication("big", &["a"]), "a", 9.0);
    big.priority = 1;
    let plan = plan(
        vec![lost("a"), spare("s", 4.0)],
        &[big, asking(replication("small", &["a"]), "a", 1.0)],
        &leaving(&["a"]),
    );
    assert_eq!(moves(&plan), ["default/small a > s"]);
    assert_eq!(plan.held.len(), 1);
}

#[test]
fn no_target_says_how_the_clusters_were_ruled_out() {
    let taint = mk_taint("gpu", "", "NoSchedule");
    let tainted = Site { view: site("t", 9.0).view.tainted(taint), ..site("t", 9.0) };
    let sites = vec![lost("a"), lost("x"), site("b", 9.0), tainted];
    let plan_of = |workload: &Workload| plan(sites.clone(), std::slice::from_ref(workload), &leaving(&["a"]));
    let mut work = replication("web", &["a", "b"]);
    assert_eq!(
        holds(&plan_of(&work)),
        ["default/web a: NoTarget: of 3 other clusters that match, 1 run it already and 2 take nothing new"]
    );
    work.facts.tolerations = vec![mk_toleration("gpu", Operator::Exists, "", "")];
    assert_eq!(moves(&plan_of(&work)), ["default/web a > t"]);
    work.facts.affinities = vec![Selector::Nothing];
    assert_eq!(
        holds(&plan_of(&work)),
        ["default/web a: NoTarget: no other cluster matches its affinity or its sheetanchor.dev/spare-selector"]
    );
}

#[test]
fn spares_outside_the_affinity_are_used_when_the_selector_means_them() {
    let sites = vec![lost("a").labelled("env", "prod"), spare("s", 9.0).labelled("pool", "gold"), spare("t", 9.0)];
    let mut work = replication("web", &["a"]);
    work.facts.affinities = vec![select("env", "prod")];
    assert!(plan(sites.clone(), &[work.clone()], &leaving(&["a"])).moves.is_empty());
    work.spares = Some(select("pool", "gold"));
    assert_eq!(moves(&plan(sites, &[work], &leaving(&["a"]))), ["default/web a > s"]);
}

#[test]
fn a_sub_group_is_refilled_from_itself_and_else_by_a_spare() {
    let group = |site: Site, name: &str| site.labelled("region", name);
    let mut work = replication("web", &["a", "u"]);
    work.facts.by_sub_group = true;
    work.facts.affinities = vec![select("region", "eu"), select("region", "us")];
    work.spares = Some(select("pool", "gold"));
    let mut sites = vec![
        group(lost("a"), "eu"),
        group(site("b", 9.0), "eu"),
        group(site("u", 9.0), "us"),
        group(site("v", 90.0), "us"),
        spare("s", 9.0).labelled("pool", "gold"),
    ];
    assert_eq!(moves(&plan(sites.clone(), &[work.clone()], &leaving(&["a"]))), ["default/web a > b"]);
    let mut both = sites.clone();
    both[2] = group(lost("u"), "us");
    let both = plan(both, &[work.clone()], &leaving(&["a", "u"]));
    assert_eq!(moves(&both), ["default/web a > b", "default/web u > v"], "each from its own");
    sites[1] = group(lost("b"), "eu");
    assert_eq!(moves(&plan(sites, &[work], &leaving(&["a"]))), ["default/web a > s"]);
}

#[test]
fn replicas_are_split_over_as_many_as_it_takes_and_the_rest_is_held() {
    let work = || [dividing("web", &[("a", 7), ("b", 2)])];
    let plan_on = |sites: Vec<Site>| plan(sites, &work(), &leaving(&["a"]));
    let whole = plan_on(vec![lost("a"), site("b", 9.0), spare("s", 7.0), site("c", 9.0)]);
    assert_eq!((moves(&whole), holds(&whole).len()), (vec!["default/web a > s".to_owned()], 0));
    let split = plan_on(vec![lost("a"), site("b", 9.0), spare("s", 3.5), site("c", 2.0)]);
    assert_eq!(moves(&split), ["default/web a > s=3, c=2, b=2"], "the bound one comes last");
    let partial = plan_on(vec![lost("a"), site("b", 1.0), spare("s", 3.5)]);
    assert_eq!(moves(&partial), ["default/web a > s=3, b=1"]);
    assert_eq!(
        holds(&partial),
        ["default/web a: NoRoom: 3 replicas, each asking for 1.0 cores, 0.0 GiB, do not fit: \
          the roomiest that may take it, \"fleet/s\", has 0.5 cores, 931.3 GiB left"]
    );
}

#[test]
fn each_feed_is_counted_by_itself() {
    let mut work = dividing("web", &[("a", 2)]);
    work.placement.replicas.insert(OTHER_FEED.into(), vec![4]);
    work.placement.replicas.insert("v1/ConfigMap/default/conf".into(), vec![]);
    work.demand.replica.insert(OTHER_FEED.into(), cores(0.5));
    let plan_on = |sites| plan(sites, &[work.clone()], &leaving(&["a"]));
    assert_eq!(moves(&plan_on(vec![lost("a"), spare("s", 4.0)])), ["default/web a > s"]);
    // The feeds go in the order of their names: db, web.
    assert_eq!(moves(&plan_on(vec![lost("a"), spare("s", 3.0), spare("t", 1.0)])), ["default/web a > s=4+1, t=1"]);
}

#[test]
fn a_feed_that_nobody_knows_goes_as_a_whole() {
    let mut work = dividing("web", &[("a", 5)]);
    work.demand.replica.clear();
    let plan = plan(vec![lost("a"), spare("s", 1.0)], &[work], &leaving(&["a"]));
    assert_eq!((moves(&plan), plan.moves[0].blind), (vec!["default/web a > s".to_owned()], true));
}

#[test]
fn nothing_there_is_nothing_to_move() {
    let plan = plan(vec![lost("a"), spare("s", 9.0)], &[dividing("web", &[("a", 0), ("b", 3)])], &leaving(&["a"]));
    assert_eq!(plan, Plan::default());
}

#[test]
fn two_clusters_of_one_placement_go_to_two_places() {
    let work = [replication("web", &["a", "b"])];
    let two = plan(vec![lost("a"), lost("b"), spare("s", 9.0), spare("t", 9.0)], &work, &leaving(&["a", "b"]));
    assert_eq!(moves(&two), ["default/web a > s", "default/web b > t"]);
    let one = plan(vec![lost("a"), lost("b"), spare("s", 9.0)], &work, &leaving(&["a", "b"]));
    assert_eq!((moves(&one).len(), one.held.len()), (1, 1));
}

#[test]
fn a_word_of_the_owner_holds_it() {
    let sites = || vec![lost("a"), spare("s", 9.0)];
    let mut work = replication("web", &["a"]);
    work.disabled = true;
    let disabled = plan(sites(), &[work.clone()], &leaving(&["a"]));
    assert_eq!(holds(&disabled), ["default/web a: Disabled: its annotation sheetanchor.dev/failover says Disabled"]);
    work.disabled = false;
    for (delay, held) in [(59_999, false), (60_000, false), (60_001, true), (90_000, true)] {
        work.delay = Duration::from_millis(delay);
        let plan = plan(sites(), &[work.clone()], &leaving(&["a"]));
        assert_eq!((plan.held.len(), plan.moves.len()), (usize::from(held), usize::from(!held)), "{delay} ms");
    }
    let delayed = plan(sites(), &[work], &leaving(&["a"]));
    let expected = "default/web a: Delayed: its annotation sheetanchor.dev/failover-delay asks to wait for another 30s";
    assert_eq!(holds(&delayed), [expected]);
}

#[test]
fn a_placement_that_cannot_be_read_is_left_alone() {
    let mut work = dividing("web", &[("a", 3)]);
    work.placement.replicas.insert(FEED.into(), vec![1, 2]);
    let plan = plan(vec![lost("a"), spare("s", 9.0)], &[work], &leaving(&["a"]));
    assert!(plan.moves.is_empty());
    assert!(holds(&plan)[0].starts_with("default/web a: Malformed: its placement cannot be read: the replicas of"));
}
