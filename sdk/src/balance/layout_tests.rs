//! What holds over every policy: panic, slow start, zones, subsets and rules, through the balancer as it is used.
//!
//! Time is a manual clock throughout; the arithmetic has its own tests where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::tests::{counts, policies, row, rows, snapshot};
use super::*;
use crate::endpoint::{Endpoint, Health, Load, Outcome};

fn share(counts: &BTreeMap<String, usize>, numbers: impl IntoIterator<Item = usize>) -> f64 {
    let total: usize = counts.values().sum();
    let own: usize = numbers.into_iter().filter_map(|n| counts.get(row(n).id())).sum();
    own as f64 / total as f64
}

#[test]
fn below_the_threshold_the_critical_are_tried_but_the_drained_never() {
    for policy in policies() {
        let health = |n: usize| if n < 3 { Health::Critical } else { Health::Passing };
        let mut known: Vec<Endpoint> = (0..5).map(|n| row(n).with_health(health(n))).collect();
        known.push(row(5).weighted(0, 0));
        let (_clock, snapshot) = snapshot(known);
        let balancer = Balancer::new(policy.clone(), Arc::clone(&snapshot));
        assert_eq!(counts(&balancer, 500).len(), 5, "{policy:?}");
        let strict = Balancer::new(BalancerSettings::new(policy.clone()).panic_threshold(0), Arc::clone(&snapshot));
        assert_eq!(counts(&strict, 500).len(), 2, "{policy:?}");
        let half = Balancer::new(BalancerSettings::new(policy).panic_threshold(40), snapshot);
        assert_eq!(counts(&half, 500).len(), 2, "two of five are not below 40 %");
    }
}

#[test]
fn a_critical_one_whose_calls_fail_is_left_out_in_a_panic_too() {
    let known = (0..4).map(|n| row(n).with_health(if n < 3 { Health::Critical } else { Health::Passing }));
    let (_clock, snapshot) = snapshot(known);
    let balancer = Balancer::new(Policy::RoundRobin, Arc::clone(&snapshot));
    let stats = |n: usize| snapshot.find(row(n).id(), "").unwrap().stats();
    (0..5).for_each(|_| stats(0).record(Outcome::Failed));
    stats(1).record(Outcome::ConnectFailed);
    let left: Vec<String> = counts(&balancer, 100).into_keys().collect();
    assert_eq!(left, [row(2).id(), row(3).id()]);
}

#[test]
fn when_too_many_are_aside_opinions_are_doubted_and_facts_are_not() {
    for policy in policies() {
        let (_clock, snapshot) = snapshot(rows(10));
        let balancer = Balancer::new(policy.clone(), Arc::clone(&snapshot));
        let stats = |n: usize| snapshot.find(row(n).id(), "").unwrap().stats();
        (0..3).for_each(|n| (0..5).for_each(|_| stats(n).record(Outcome::Failed)));
        (3..5).for_each(|n| stats(n).record(Outcome::ConnectFailed));
        assert_eq!(counts(&balancer, 1000).len(), 5, "{policy:?}");
        stats(5).record(Outcome::ConnectFailed);
        let left = counts(&balancer, 1000);
        assert_eq!(left.len(), 7, "{policy:?}: below half, so opinions are doubted");
        assert!((3..6).all(|n| !left.contains_key(row(n).id())), "{policy:?}: facts stay");
    }
}

#[test]
fn an_error_in_a_panic_counts_truly() {
    let (_clock, snapshot) = snapshot((0..2).map(|n| row(n).with_health(Health::Critical)));
    let balancer = Balancer::new(Policy::RoundRobin, Arc::clone(&snapshot));
    let tried: Vec<_> = snapshot.members().iter().map(|member| member.stats().key()).collect();
    assert!(balancer.pick(&Ask::any().without(&tried[..1])).is_ok());
    let error = balancer.pick(&Ask::any().without(&tried)).unwrap_err();
    assert_eq!((error.known, error.healthy, error.tried), (2, 0, 2));
}

#[test]
fn a_new_endpoint_gets_its_share_slowly_under_every_policy() {
    for policy in policies() {
        let started = |n: usize| if n == 0 { Clock::MANUAL_EPOCH } else { 1_600_000_000 };
        let (clock, snapshot) = snapshot((0..10).map(|n| row(n).started_at(started(n))));
        let settings = BalancerSettings::new(policy.clone()).slow_start(SlowStart::default());
        let balancer = Balancer::with_seed(settings, snapshot, 1);
        let begin = share(&counts(&balancer, 20_000), [0]);
        assert!(begin < 0.02, "{policy:?}: {begin}");
        clock.advance(Duration::from_secs(15));
        let half = share(&counts(&balancer, 20_000), [0]);
        assert!(half > begin && half < 0.075, "{policy:?}: {half}");
        clock.advance(Duration::from_secs(15));
        let whole = share(&counts(&balancer, 20_000), [0]);
        assert!(whole > half && (0.06..0.14).contains(&whole), "{policy:?}: {whole}");
    }
}

#[test]
fn a_key_comes_to_a_new_endpoint_once_and_for_all_clients() {
    let started = |n: usize| if n == 0 { Clock::MANUAL_EPOCH } else { 1_600_000_000 };
    let (clock, snapshot) = snapshot((0..10).map(|n| row(n).started_at(started(n))));
    let settings = || BalancerSettings::new(Policy::RING_HASH).slow_start(SlowStart::default());
    let (one, two) = (Balancer::new(settings(), Arc::clone(&snapshot)), Balancer::new(settings(), snapshot));
    let owner =
        |b: &Balancer, key: u64| b.choose(&Ask::key(&key.to_le_bytes()), |m| m.endpoint().id().to_owned()).unwrap();
    let mut settled = BTreeSet::new();
    for _ in 0..30 {
        clock.advance(Duration::from_secs(1));
        for key in 0..500u64 {
            let own = owner(&one, key);
            assert_eq!(own, owner(&two, key));
            assert!(own == row(0).id() || !settled.contains(&key), "a key that came left again");
            if own == row(0).id() {
                settled.insert(key);
            }
        }
    }
    assert!(settled.len() > 20);
}

fn zoned(zones: &[(&str, usize)]) -> Vec<Endpoint> {
    let zones = zones.iter().flat_map(|(zone, len)| std::iter::repeat_n(*zone, *len));
    zones.enumerate().map(|(n, zone)| row(n).in_zone(zone)).collect()
}

#[test]
fn the_own_zone_comes_first_and_spills_as_far_as_it_is_short() {
    for policy in policies() {
        let balancer = |rows: Vec<Endpoint>| {
            Balancer::with_seed(BalancerSettings::new(policy.clone()).zone("a"), snapshot(rows).1, 3)
        };
        let even = balancer(zoned(&[("a", 4), ("b", 4), ("c", 4)]));
        assert_eq!(share(&counts(&even, 10_000), 0..4), 1.0, "{policy:?}");
        // 1.4 · (2/10) / (36/100)
        let short = balancer(zoned(&[("a", 2), ("b", 4), ("c", 4)]));
        let own = share(&counts(&short, 50_000), 0..2);
        assert!((own - 0.7777).abs() < 0.02, "{policy:?}: {own}");
        let gone = balancer(zoned(&[("b", 4), ("c", 4)]));
        assert_eq!(counts(&gone, 2000).len(), 8, "{policy:?}");
    }
}

#[test]
fn a_zone_that_refuses_gives_way_at_once_and_by_the_next_tick_in_proportion() {
    let (_clock, snapshot) = snapshot(zoned(&[("a", 4), ("b", 4), ("c", 4)]));
    let balancer = Balancer::with_seed(BalancerSettings::new(Policy::RoundRobin).zone("a"), Arc::clone(&snapshot), 3);
    for n in 0..2 {
        snapshot.find(row(n).id(), "").unwrap().stats().record(Outcome::ConnectFailed);
    }
    assert_eq!(share(&counts(&balancer, 1000), 2..4), 1.0);
    balancer.tick();
    assert!((share(&counts(&balancer, 50_000), 2..4) - 0.7777).abs() < 0.02);
    for n in 2..4 {
        snapshot.find(row(n).id(), "").unwrap().stats().record(Outcome::ConnectFailed);
    }
    assert_eq!(share(&counts(&balancer, 1000), 4..12), 1.0, "before any tick");
    let tried: Vec<_> = (4..11).map(|n| snapshot.find(row(n).id(), "").unwrap().stats().key()).collect();
    assert_eq!(balancer.pick(&Ask::any().without(&tried)).unwrap().endpoint().id(), row(11).id());
}

#[test]
fn a_zone_that_reports_more_load_gives_calls_away_and_takes_them_back() {
    let (clock, snapshot) = snapshot(zoned(&[("a", 2), ("b", 2)]));
    let balancer = Balancer::with_seed(BalancerSettings::new(Policy::RoundRobin).zone("a"), Arc::clone(&snapshot), 3);
    let report = |own: u32, others: u32| {
        for (n, in_flight) in [own, own, others, others].into_iter().enumerate() {
            let stats = snapshot.find(row(n).id(), "").unwrap().stats();
            stats.note_report(Load { in_flight, latency: 1000 }, clock.coarse());
        }
        balancer.tick();
        share(&counts(&balancer, 10_000), 0..2)
    };
    let first = report(50, 5);
    assert!((0.88..1.0).contains(&first), "a step is small: {first}");
    let mut own = first;
    (0..5).for_each(|_| own = report(50, 5));
    assert!((0.4..0.7).contains(&own), "{own}");
    (0..20).for_each(|_| own = report(5, 5));
    assert_eq!(own, 1.0);
}

#[test]
fn a_hedge_may_prefer_another_zone() {
    let (_clock, snapshot) = snapshot(zoned(&[("a", 3), ("b", 3)]));
    let balancer = Balancer::new(BalancerSettings::new(Policy::Random).zone("a"), Arc::clone(&snapshot));
    for _ in 0..200 {
        assert_eq!(balancer.pick(&Ask::any().abroad()).unwrap().endpoint().zone(), Some("b"));
    }
    let plain = Balancer::new(Policy::Random, snapshot);
    assert!(plain.pick(&Ask::any().abroad()).is_ok());
}

#[test]
fn a_zone_may_have_a_policy_of_its_own() {
    struct Last;
    impl Picker for Last {
        fn pick(&self, group: &Group, _: &Ask<'_>, _: &mut Worker<'_>) -> Option<usize> {
            group.len().checked_sub(1).map(|last| group.at(last))
        }
    }
    let (_clock, snapshot) = snapshot(zoned(&[("a", 4), ("b", 4)]));
    let last = Policy::custom("last", |_| Last);
    let settings = BalancerSettings::new(Policy::RoundRobin).zone_policy("b", last.clone());
    let counted = counts(&Balancer::with_seed(settings, Arc::clone(&snapshot), 5), 8000);
    assert_eq!(counted.len(), 5, "all of a, the last of b");
    assert!((share(&counted, [7]) - 0.5).abs() < 0.03);
    let own = BalancerSettings::new(Policy::RoundRobin).zone("b").zone_policy("b", last);
    assert_eq!(counts(&Balancer::new(own, snapshot), 100).len(), 1);
}

#[test]
fn round_robin_stays_round_within_a_zone_that_spills() {
    let (_clock, snapshot) = snapshot(zoned(&[("a", 2), ("b", 4), ("c", 4)]));
    let balancer = Balancer::with_seed(BalancerSettings::new(Policy::RoundRobin).zone("a"), snapshot, 3);
    let counted = counts(&balancer, 40_000);
    let (first, second) = (share(&counted, [0]), share(&counted, [1]));
    assert!((first - second).abs() < 0.02, "{first} {second}");
}

#[test]
fn a_client_keeps_to_its_subset_and_clients_spread_evenly() {
    let (_clock, snapshot) = snapshot(rows(20));
    let mut connections: BTreeMap<String, usize> = BTreeMap::new();
    for ordinal in 0..40 {
        let balancer = Balancer::new(BalancerSettings::new(Policy::RoundRobin).subset(5), Arc::clone(&snapshot));
        assert_eq!(counts(&balancer, 100).len(), 5, "before the ordinal is known too");
        balancer.set_ordinal(Ordinal { ordinal, clients: 40 });
        let own = counts(&balancer, 100);
        assert_eq!(own.len(), 5);
        own.into_keys().for_each(|id| *connections.entry(id).or_default() += 1);
    }
    assert!(connections.len() == 20 && connections.values().all(|count| *count == 10), "{connections:?}");
}

#[test]
fn a_subset_keeps_its_endpoints_while_they_are_sick_unless_all_are() {
    let (_clock, first) = snapshot(rows(20));
    let balancer = Balancer::new(BalancerSettings::new(Policy::RoundRobin).subset(4), Arc::clone(&first));
    balancer.set_ordinal(Ordinal { ordinal: 3, clients: 10 });
    let own = counts(&balancer, 100);
    let sick = |ids: &[&String]| {
        let ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
        let rows = rows(20).into_iter().map(move |row| {
            let health = if ids.contains(&row.id().to_owned()) { Health::Critical } else { Health::Passing };
            row.with_health(health)
        });
        balancer.publish(Arc::new(balancer.snapshot().next(rows, 2)));
        counts(&balancer, 100)
    };
    let ids: Vec<&String> = own.keys().collect();
    let left = sick(&ids[..1]);
    assert!(left.len() == 3 && left.keys().all(|id| own.contains_key(id)), "no connection to anybody else");
    assert_eq!(sick(&ids).len(), 16);
    assert_eq!(sick(&[]).len(), 4);
}

#[test]
fn a_rule_leaves_out_who_does_not_meet_it() {
    let tagged = |n: usize| row(n).tagged(vec![if n < 2 { "v1" } else { "v2" }.to_owned()]);
    let (_clock, snapshot) = snapshot((0..6).map(tagged));
    let settings = BalancerSettings::new(Policy::LEAST_REQUEST).only("v1", |endpoint| endpoint.tags() == ["v1"]);
    let balancer = Balancer::new(settings, Arc::clone(&snapshot));
    assert_eq!(counts(&balancer, 100).len(), 2);
    let nobody = Balancer::new(BalancerSettings::default().only("v9", |_| false), snapshot);
    assert_eq!(nobody.pick(&Ask::any()).unwrap_err().known, 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// With everything on, a pick answers with somebody known, not drained and not tried whenever there is one.
    #[test]
    fn nobody_is_missed_with_everything_on(
        set in proptest::collection::vec((0u32..3, 0u8..3, 0u8..3, any::<bool>()), 1..20),
        aside in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        tried in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        subset in proptest::option::of(1u32..6), threshold in 1u32..=100, seed: u64,
    ) {
        for policy in policies() {
            let health = [Health::Passing, Health::Warning, Health::Critical];
            let known = set.iter().enumerate().map(|(n, (weight, sick, zone, new))| {
                let started = if *new { Clock::MANUAL_EPOCH } else { 0 };
                row(n).weighted(*weight, *weight).with_health(health[usize::from(*sick)]).in_zone(["", "a", "b"][usize::from(*zone)]).started_at(started)
            });
            let (_clock, snapshot) = snapshot(known);
            let mut settings = BalancerSettings::new(policy).zone("a").zone_policy("b", Policy::Random);
            settings = settings.slow_start(SlowStart::default()).panic_threshold(threshold);
            settings.subset = subset;
            let balancer = Balancer::with_seed(settings, Arc::clone(&snapshot), seed);
            let members: Vec<_> = snapshot.members().iter().collect();
            aside.iter().for_each(|index| index.get(&members).stats().record(Outcome::ConnectFailed));
            let tried: Vec<_> = tried.iter().map(|index| index.get(&members).stats().key()).collect();
            for number in 0..20u64 {
                match balancer.pick(&Ask::hash(hash::mix(number)).without(&tried)) {
                    Ok(picked) => {
                        prop_assert!(picked.endpoint().weight() > 0 && !tried.contains(&picked.key()));
                    }
                    Err(_) => {
                        let left = snapshot.eligible().filter(|(_, m)| !tried.contains(&m.stats().key())).count();
                        prop_assert!(left == 0 || subset.is_some());
                    }
                }
            }
            balancer.tick();
        }
    }
}
