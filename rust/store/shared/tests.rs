//! Tests of the shared memory.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::*;
use crate::machine::prefix::Prefix;

fn v4(last: u16) -> Source {
    let [high, low] = last.to_be_bytes();
    Source::from_packed(&[192, 0, high, low]).unwrap()
}

fn host(last: u16) -> Prefix {
    let [high, low] = last.to_be_bytes();
    Prefix::from_packed(&[192, 0, high, low]).unwrap()
}

/// Enters, and gives the count of the address itself; 0 when it is not counted.
fn enters(shared: &Shared, slot: usize, last: u16) -> u64 {
    shared.source_enter(slot, host(last)).unwrap().map_or(0, |[own, ..]| own)
}

fn connections(shared: &Shared, last: u16) -> u64 {
    shared.source_counts(Some(host(last))).get(&host(last)).copied().unwrap_or(0)
}

#[test]
fn metrics_are_summed_and_gauges_given_back() {
    let shared = Shared::new(2, 5, vec![3, 4], 16).unwrap();
    assert_eq!(shared.slots(), 3);
    shared.add(0, 0, 5).unwrap();
    shared.add(2, 0, 1).unwrap();
    shared.set(1, 4, 9).unwrap();
    shared.add(1, 4, -2).unwrap();
    assert_eq!(shared.sum(0), Ok(6));
    assert_eq!(shared.row(1), Ok(vec![0, 0, 0, 0, 7]));
    shared.add(1, 2, 1).unwrap();
    shared.set_oldest_held(1, 77).unwrap();
    shared.request_eviction(1).unwrap();
    shared.reset_gauges(1).unwrap();
    assert_eq!(shared.row(1), Ok(vec![0, 0, 1, 0, 0]));
    assert_eq!(shared.oldest_held(), None);
    assert_eq!(shared.take_eviction_requests(1), Ok(0));
}

#[test]
fn what_does_not_exist_is_an_error() {
    let shared = Shared::new(1, 1, vec![], 1).unwrap();
    assert_eq!(shared.add(2, 0, 1), Err(OutOfRange));
    assert_eq!(shared.add(0, 1, 1), Err(OutOfRange));
    assert_eq!(shared.row(usize::MAX), Err(OutOfRange));
    assert_eq!(shared.sum(1), Err(OutOfRange));
    assert_eq!(shared.source_enter(9, host(1)), Err(OutOfRange));
    assert!(Shared::new(usize::MAX, 1, vec![], 1).is_err());
    assert!(Shared::new(1, 1, vec![], usize::MAX).is_err());
    assert!(Shared::new(1 << 40, 1, vec![], 1 << 40).is_err());
}

#[test]
fn the_longest_held_is_found_and_its_eviction_asked_once() {
    let shared = Shared::new(3, 0, vec![], 1).unwrap();
    assert_eq!(shared.oldest_held(), None);
    shared.set_oldest_held(0, 500).unwrap();
    shared.set_oldest_held(2, 400).unwrap();
    assert_eq!(shared.oldest_held(), Some(2));
    shared.set_oldest_held(2, 0).unwrap();
    assert_eq!(shared.oldest_held(), Some(0));
    shared.request_eviction(0).unwrap();
    shared.request_eviction(0).unwrap();
    assert_eq!(shared.take_eviction_requests(0), Ok(2));
    assert_eq!(shared.take_eviction_requests(0), Ok(0));
}

#[test]
fn sources_are_aggregated() {
    let source = |text: &str| match text.parse().unwrap() {
        std::net::IpAddr::V4(address) => Source::from_packed(&address.octets()),
        std::net::IpAddr::V6(address) => Source::from_packed(&address.octets()),
    };
    assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
    assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1:1"));
    assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    assert_eq!(Source::from_packed(b""), None);
    assert_eq!(Source::from_packed(b"12345"), None);
}

#[test]
fn a_full_table_counts_nobody_and_an_idle_one_empties_itself() {
    let shared = Shared::new(2, 0, vec![], 8).unwrap();
    // Seven addresses, and the network of all.
    for number in 0..7 {
        assert_eq!(shared.source_enter(0, host(number)), Ok(Some([1, u64::from(number) + 1, 0])));
    }
    assert_eq!(enters(&shared, 0, 7), 0);
    assert_eq!(shared.source_enter(0, host(3)), Ok(Some([2, 8, 0])));
    assert_eq!(shared.source_enter(1, host(3)), Ok(Some([3, 9, 0])));
    assert_eq!(shared.tables_in_use().count(), 2);
    shared.source_clear(0).unwrap();
    assert_eq!(shared.tables_in_use().count(), 1);
    assert_eq!(connections(&shared, 3), 1);
    for round in 0..1000 {
        assert_eq!(enters(&shared, 0, round), if round == 3 { 2 } else { 1 });
        shared.source_leave(0, host(round)).unwrap();
    }
    assert!(shared.table(0).unwrap().iter().all(|cell| cell.load(Relaxed) == 0));
}

#[test]
fn three_quarters_full_has_a_place_for_nearly_all() {
    let shared = Shared::new(1, 0, vec![], 4096).unwrap();
    let refused = (0..3072).filter(|number| enters(&shared, 0, *number) == 0).count();
    assert_eq!(refused, 0);
}

proptest! {
    #[test]
    fn a_table_equals_a_map(acts in prop::collection::vec((any::<bool>(), 0_usize..2, 0_u16..24), 1..400)) {
        let shared = Shared::new(2, 0, vec![], 64).unwrap();
        let mut model: HashMap<(usize, u16), u64> = HashMap::new();
        for (enter, slot, number) in acts {
            let total = |model: &HashMap<_, u64>| (0..2).filter_map(|slot| model.get(&(slot, number))).sum::<u64>();
            let count = model.entry((slot, number)).or_default();
            if enter {
                *count += 1;
                prop_assert_eq!(enters(&shared, slot, number), total(&model));
            } else {
                *count = count.saturating_sub(1);
                shared.source_leave(slot, host(number)).unwrap();
            }
            prop_assert_eq!(connections(&shared, number), total(&model));
            let network = shared.source_counts(None).into_iter().filter(|(prefix, _)| prefix.length() == 24).map(|(_, count)| count);
            prop_assert_eq!(network.sum::<u64>(), model.values().sum::<u64>());
        }
        for ((slot, number), count) in model {
            (0..count).for_each(|_| shared.source_leave(slot, host(number)).unwrap());
        }
        prop_assert_eq!(shared.tables_in_use().count(), 0);
        prop_assert!((0..2).all(|slot| shared.table(slot).unwrap().iter().all(|cell| cell.load(Relaxed) == 0)));
    }
}

#[test]
fn incidents_count_for_a_time_and_are_shared_by_kind_and_source() {
    let shared = Shared::new(2, 1, vec![], 1).unwrap();
    let (one, other) = (v4(1), v4(2));
    for count in 1..=3 {
        assert_eq!(shared.incident_add(Incident::NoCommonTls, one, 100, 60), count);
    }
    assert_eq!(shared.incidents(Incident::NoCommonTls, one, 159), 3);
    assert_eq!(shared.incidents(Incident::NoCommonTls, other, 100), 0);
    assert_eq!(shared.incidents(Incident::NoCommonTls, one, 160), 0);
    assert_eq!(shared.incident_add(Incident::NoCommonTls, one, 160, 60), 1);
}

#[test]
fn a_count_of_incidents_is_bounded_and_a_flood_of_sources_only_shortens_memory() {
    let shared = Shared::new(1, 1, vec![], 1).unwrap();
    for _ in 0..5000 {
        shared.incident_add(Incident::NoCommonTls, v4(1), 1, 1000);
    }
    assert_eq!(shared.incidents(Incident::NoCommonTls, v4(1), 1), 4095);
    // Those that end sooner never displace the one that ends last.
    for source in 2..=u16::MAX {
        shared.incident_add(Incident::NoCommonTls, v4(source), 1, 10);
    }
    assert_eq!(shared.incidents(Incident::NoCommonTls, v4(1), 1), 4095);
    let known = (2..=u16::MAX).filter(|&source| shared.incidents(Incident::NoCommonTls, v4(source), 1) > 0).count();
    assert!((12_000..=16_384).contains(&known), "{known}");
}
