//! Tests of limits and their cells.

use std::sync::atomic::Ordering::Relaxed;

use super::*;

const MINUTE: u64 = 60_000_000;
const MANY: usize = 1_000_000;

fn limits(count: u64, burst: u64) -> Limits {
    Limits::new(vec![None, Some(Rate { count, period: MINUTE, burst })])
}

fn address(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_source_spends_its_burst_and_then_its_rate() {
    let shared = Shared::new(1, 1, vec![], 1).unwrap();
    let limits = limits(60, 5);
    let one = address("192.0.2.1");
    let spent = (0..20).filter(|_| limits.spend(&shared, 1, one, 7, 1) == 0).count();
    assert_eq!(spent, 5);
    assert_eq!(limits.spend(&shared, 1, one, 7, 1), 1_000_000);
    assert_eq!(limits.wait(&shared, 1, one, 500_007), 500_000);
    assert_eq!(limits.spend(&shared, 1, one, 1_000_007, 1), 0);
    // A class that is off, or that there is not, limits nobody.
    assert_eq!(limits.spend(&shared, 0, one, 7, 1), 0);
    assert_eq!(limits.spend(&shared, 9, one, 7, 1), 0);
}

#[test]
fn a_debt_of_another_rate_is_lowered_to_the_burst() {
    let shared = Shared::new(1, 1, vec![], 1).unwrap();
    let slow = Limits::new(vec![None, Some(Rate { count: 60, period: 60 * MINUTE, burst: 60 })]);
    let (one, two) = (address("192.0.2.1"), address("2001:db8::1"));
    let spent = (0..100).filter(|_| slow.spend(&shared, 1, one, 7, 1) == 0).count();
    assert_eq!(spent, 60);
    slow.charge(&shared, 1, two, 7, 1000);
    let right = limits(600, 600);
    assert_eq!(right.wait(&shared, 1, one, 7), 59 * MINUTE + 100_000);
    right.lower_debts(&shared, 7);
    for source in [one, two] {
        assert_eq!(right.wait(&shared, 1, source, 7), 100_000);
        assert_eq!(right.spend(&shared, 1, source, 100_007, 1), 0);
    }
    // What a rate that is off has counted, and what is below the burst, stays.
    Limits::new(vec![None, None]).lower_debts(&shared, 7);
    slow.lower_debts(&shared, 7);
    assert_eq!(right.wait(&shared, 1, one, 100_007), 100_000);
}

#[test]
fn larger_prefixes_have_three_and_nine_times_as_much() {
    let shared = Shared::new(1, 1, vec![], 1).unwrap();
    let limits = limits(60, 10);
    let four = |last: usize| address(&format!("192.0.2.{}", last % 250));
    assert_eq!((0..1000).filter(|last| limits.spend(&shared, 1, four(*last), 7, 1) == 0).count(), 30);
    let six = |number: usize| address(&format!("2001:db8:1:{number:x}::1"));
    // One /56, then all of the /48.
    assert_eq!((0..1000).filter(|number| limits.spend(&shared, 1, six(number % 256), 7, 1) == 0).count(), 30);
    assert_eq!((0..2000).filter(|number| limits.spend(&shared, 1, six(number * 32), 7, 1) == 0).count(), 60);
    // What a prefix refuses is taken from none of the others.
    assert_eq!(limits.show(&shared, Some("2001:db8:1:fff0::/64".parse().unwrap()), 7, MANY).0.len(), 1);
}

#[test]
fn what_is_not_at_rest_is_shown_and_cleared() {
    let shared = Shared::new(1, 1, vec![], 1).unwrap();
    let limits = limits(60, 5);
    limits.charge(&shared, 1, address("192.0.2.1"), 7, 8);
    limits.charge(&shared, 1, address("198.51.100.1"), 7, 1);
    let mut shown = limits.show(&shared, Some("192.0.2.1".parse().unwrap()), 7, MANY).0;
    shown.sort_by_key(|standing| standing.burst);
    let [source, network] = shown.as_slice() else { panic!("{shown:?}") };
    assert_eq!((source.prefix.to_string(), source.used, source.burst), ("192.0.2.1/32".to_owned(), 8, 5));
    assert_eq!((source.wait, source.rest, source.spent), (4_000_000, 8_000_000, 8));
    assert_eq!((network.prefix.to_string(), network.used, network.burst), ("192.0.2.0/24".to_owned(), 8, 15));
    assert_eq!(network.wait, 0);
    assert_eq!(shared.clear_cells(Some("192.0.2.1".parse().unwrap()), 7), 2);
    assert_eq!(limits.wait(&shared, 1, address("192.0.2.1"), 7), 0);
    assert_eq!(limits.show(&shared, None, 7, MANY).0.len(), 2);
    assert_eq!(shared.clear_cells(None, 7), 2);
    assert!(limits.show(&shared, None, 7, MANY).0.is_empty());
}

#[test]
fn a_flood_of_prefixes_only_shortens_memory() {
    let shared = Shared::new(1, 1, vec![], 1).unwrap();
    let limits = limits(60, 100);
    let patient = address("203.0.113.1");
    limits.charge(&shared, 1, patient, 0, 100);
    for number in 0..200_000_u32 {
        let [a, b, c, d] = (number << 8).to_be_bytes();
        assert_eq!(limits.spend(&shared, 1, std::net::Ipv4Addr::new(a | 64, b, c, d).into(), 0, 1), 0);
    }
    // Who owes most is forgotten last.
    assert!(limits.wait(&shared, 1, patient, 0) > 0);
    let remembered = limits.show(&shared, None, 0, MANY).0.len();
    assert!((120_000..=131_072).contains(&remembered), "{remembered}");
}

#[test]
fn a_cell_whose_owner_died_half_way_neither_blocks_nor_leaks() {
    let shared = Shared::new(1, 1, vec![], 1).unwrap();
    let limits = limits(60, 3);
    let one = address("192.0.2.1");
    assert_eq!(limits.spend(&shared, 1, one, 7, 1), 0);
    // As if it had been killed between the word that decides and those that say whose it is.
    let cells = shared.limit_cells();
    for set in cells.chunks_exact(24) {
        set.get(8..).into_iter().flatten().for_each(|word| word.store(0, Relaxed));
    }
    assert!(limits.show(&shared, None, 7, MANY).0.is_empty());
    assert_eq!(limits.spend(&shared, 1, one, 7, 1), 0);
    assert_eq!(limits.show(&shared, None, 7, MANY).0.len(), 2);
    assert_eq!(limits.spend(&shared, 1, one, 7, 1), 0);
    assert!(limits.spend(&shared, 1, one, 7, 1) > 0);
}

#[test]
fn threads_together_spend_exactly_what_there_is() {
    let shared = Shared::new(4, 1, vec![], 1).unwrap();
    for round in 0..50_u8 {
        let limits = limits(60, 7);
        let addresses: Vec<_> = (0..8_u8).map(|last| address(&format!("10.0.{round}.{last}"))).collect();
        let spent = std::thread::scope(|scope| {
            let work =
                || addresses.iter().cycle().take(2000).filter(|one| limits.spend(&shared, 1, **one, 7, 1) == 0).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(spent, 21);
    }
}

#[test]
fn of_many_those_who_wait_longest_are_shown() {
    let shared = Shared::new(1, 1, vec![], 1).unwrap();
    let limits = limits(1, 1);
    for number in 1..=20 {
        limits.charge(&shared, 1, address(&format!("10.0.{number}.1")), 7, number);
    }
    let (shown, left_out) = limits.show(&shared, None, 7, 2);
    assert_eq!(shown.iter().map(|one| one.prefix.to_string()).collect::<Vec<_>>(), ["10.0.20.1/32", "10.0.19.1/32"]);
    assert_eq!(left_out, 38);
}
