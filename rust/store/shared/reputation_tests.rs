//! Tests of the records of sources and of harvest attacks.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::machine::reputation::{EVENT, Kind, TICK};

const HOUR: u64 = 3600;

fn shared() -> Shared {
    Shared::new(1, 1, vec![], 1).unwrap()
}

fn source(number: u32) -> Source {
    Source::from_packed(&Ipv4Addr::from_bits(0x0a00_0000 + number).octets()).unwrap()
}

fn kind(number: usize) -> Kind {
    Kind::numbered(number).unwrap()
}

#[test]
fn evidence_is_counted_and_decays() {
    let shared = shared();
    assert_eq!(shared.reputation_of(source(1), 0), None);
    for _ in 0..19 {
        assert_eq!(shared.reputation_note(Kind::UNKNOWN, source(1), 1, 1000), None);
    }
    assert_eq!(shared.reputation_note(Kind::UNKNOWN, source(1), 1, 1000), Some(9));
    assert_eq!(shared.reputation_note(Kind::ACCEPTED, source(1), 20, 1000), None);
    let record = shared.reputation_of(source(1), 1000).unwrap();
    assert_eq!((record.counts[0], record.counts[1], record.level()), (20 * EVENT, 20 * EVENT, Some(5)));
    let later = shared.reputation_of(source(1), 1000 + 12 * HOUR).unwrap();
    assert_eq!((later.counts[0], later.level()), (10 * EVENT, Some(5)));
    assert_eq!(shared.reputation_of(source(1), 1000 + 24 * HOUR).unwrap().level(), None);
    // A clock that went back changes nothing.
    assert_eq!(shared.reputation_of(source(1), 0).unwrap(), record);
}

#[test]
fn the_order_of_events_hardly_matters() {
    let (one, other) = (shared(), shared());
    for event in 0..1000_u64 {
        one.reputation_note(kind((event % 2) as usize), source(1), 1, event * 20);
        let second = if event < 500 { event * 40 } else { (event - 500) * 40 + 20 };
        other.reputation_note(kind((event % 2) as usize), source(1), 1, second);
    }
    let of = |shared: &Shared| shared.reputation_of(source(1), 20_000).unwrap().counts[0];
    assert!(of(&one).abs_diff(of(&other)) < of(&one) / 10, "{} {}", of(&one), of(&other));
}

#[test]
fn a_block_begins_once_and_ends() {
    let shared = shared();
    assert!(!shared.reputation_block(source(1), 10, 60)); // of whom nothing is known
    shared.reputation_note(Kind::UNKNOWN, source(1), 1, 10);
    assert!(shared.reputation_block(source(1), 10, 60));
    assert!(!shared.reputation_block(source(1), 20, 60));
    assert!(shared.reputation_blocks(source(1), 69));
    assert!(!shared.reputation_blocks(source(1), 70));
    assert!(shared.reputation_block(source(1), 70, 60));
    assert_eq!(shared.reputation_reset(Some(source(1).prefix()), 1), 1);
    assert_eq!(shared.reputation_reset(Some(source(1).prefix()), 1), 0);
    assert!(!shared.reputation_blocks(source(1), 71));
    assert_eq!(shared.reputation_of(source(1), 71), None);
}

#[test]
fn a_flood_of_sources_displaces_those_of_which_least_is_known() {
    let shared = shared();
    shared.reputation_note(Kind::ACCEPTED, source(0), 1000, 1);
    shared.reputation_note(kind(6), source(1), 1, 1);
    shared.reputation_block(source(1), 1, 1 << 20);
    for number in 2..200_000 {
        shared.reputation_note(Kind::UNKNOWN, source(number), 1, 1);
    }
    assert_eq!(shared.reputation_of(source(0), 1).unwrap().counts[0], 1000 * EVENT);
    assert!(shared.reputation_blocks(source(1), 1));
    let list = shared.reputation_list(None, 1);
    assert!((60_000..=65_536).contains(&list.len()), "{}", list.len());
    // None has inherited anything.
    assert!(list.iter().all(|(listed, record)| *listed == source(0) || record.counts.iter().sum::<u64>() == EVENT));
}

#[test]
fn what_is_dumped_is_restored_and_has_aged() {
    let (before, after) = (shared(), shared());
    let v6 = Source::from_packed(&Ipv6Addr::LOCALHOST.octets()).unwrap();
    before.reputation_note(Kind::UNKNOWN, source(1), 40, 5000);
    before.reputation_block(source(1), 5000, 24 * HOUR);
    before.reputation_note(Kind::ACCEPTED, v6, 3, 5000);
    let octets = before.reputation_dump(5000);
    assert_eq!(after.reputation_restore(&octets, 12 * HOUR, 10), Some(2));
    let record = after.reputation_of(source(1), 10).unwrap();
    assert_eq!((record.counts[1], record.blocked), (20 * EVENT, 12 * HOUR));
    assert_eq!(after.reputation_of(v6, 10).unwrap().blocked, 0);
    assert_eq!(after.reputation_restore(&octets[1..], 0, 10), None);
    assert_eq!(shared().reputation_restore(&[], 0, 10), Some(0));
}

#[test]
fn records_are_saved_by_whoever_asks_first() {
    let shared = shared();
    assert!(!shared.reputation_save_due(100, 60)); // nothing is new at the start
    assert!(!shared.reputation_save_due(159, 60));
    assert!(shared.reputation_save_due(160, 60));
    assert!(!shared.reputation_save_due(160, 60));
}

#[test]
fn a_saturated_count_stays_whole() {
    let shared = shared();
    shared.reputation_note(Kind::ACCEPTED, source(1), u64::MAX, 1);
    shared.reputation_note(Kind::ACCEPTED, source(1), 1, u64::MAX);
    shared.reputation_note(Kind::UNKNOWN, source(1), 1 << 40, 1);
    assert!(shared.reputation_of(source(1), 1).unwrap().level().is_some());
}

/// Guesses of `least` 50, each with another recipient.
struct Attack {
    shared: Shared,
    number: u32,
    now: u64,
}

impl Attack {
    fn new() -> Self {
        Self { shared: shared(), number: 0, now: 1000 }
    }

    fn guess(&mut self, of: Source) -> Guessed {
        self.number += 1;
        let recipient = format!("guess{}@example.test", self.number);
        let guess = Guess { source: of, recipient: &recipient, domain: "example.test", now: self.now, least: 50 };
        self.shared.harvest_guess(guess)
    }

    /// What began, and after how many guesses.
    fn until_one_begins(&mut self, of: impl Fn(u32) -> Source) -> (u32, Harvest) {
        (1..2000).find_map(|number| Some((number, self.guess(of(number)).began?))).unwrap()
    }
}

#[test]
fn one_source_that_guesses_is_an_attack() {
    let mut attack = Attack::new();
    let (guesses, began) = attack.until_one_begins(|_| source(1));
    assert_eq!((guesses, began.scope, began.prefix.as_str()), (50, Scope::Source, "10.0.0.1/32"));
    assert_eq!((began.domain.as_str(), began.guesses, began.sources), ("example.test", 50, 1));
    assert_eq!(attack.shared.harvests(), 1);
    let more = attack.guess(source(1));
    assert!(more.in_attack && more.began.is_none());
    attack.shared.harvest_hit(source(1), attack.now);
    attack.guess(source(1));
    // Guesses go on in the next window: the attack does.
    attack.now += 601;
    assert_eq!(attack.shared.harvests_ended(attack.now, 50), []);
    assert_eq!(attack.shared.harvests(), 1);
    (0..20).for_each(|_| assert!(attack.guess(source(1)).in_attack));
    attack.now += 601;
    assert_eq!(attack.shared.harvests_ended(attack.now, 50), []);
    attack.now += 601;
    let ended = attack.shared.harvests_ended(attack.now, 50);
    assert_eq!(ended.iter().map(|over| (over.guesses, over.found, over.seconds)).collect::<Vec<_>>(), [(72, 1, 1803)]);
    assert_eq!(attack.shared.harvests(), 0);
}

#[test]
fn a_net_of_sources_is_one_attack() {
    let mut attack = Attack::new();
    let (guesses, began) = attack.until_one_begins(|number| source(number % 8));
    assert_eq!((guesses, began.scope, began.prefix.as_str()), (100, Scope::Net, "10.0.0.0/24"));
    assert!((6..=8).contains(&began.sources), "{}", began.sources); // two in one bit of a thousand count once
    // Its sources begin none of their own.
    assert!((0..400).all(|number| attack.guess(source(number % 8)).began.is_none()));
    assert_eq!(attack.shared.harvests(), 1);
}

#[test]
fn sources_of_many_nets_at_one_domain_are_one_attack() {
    let mut attack = Attack::new();
    let (guesses, began) = attack.until_one_begins(|number| source(number * 256));
    assert_eq!((guesses, began.scope, began.prefix.as_str()), (200, Scope::Domain, ""));
    assert!((178..=222).contains(&began.sources), "{}", began.sources); // linear counting: five times its deviation of 4.5
    assert!((0..2000).all(|number| attack.guess(source(number % 7)).began.is_none()));
}

#[test]
fn a_botnet_that_writes_to_few_dead_addresses_is_no_attack() {
    let shared = shared();
    for number in 0..5000 {
        let recipient = format!("old{}@example.test", number % 9);
        let guess =
            Guess { source: source(number * 256), recipient: &recipient, domain: "example.test", now: 1, least: 50 };
        assert!(!shared.harvest_guess(guess).in_attack);
    }
}

#[test]
fn a_source_that_delivers_is_no_part_of_an_attack() {
    let mut attack = Attack::new();
    attack.shared.reputation_note(Kind::ACCEPTED, source(1), 3000, 1000);
    for _ in 0..2000 {
        let guessed = attack.guess(source(1));
        assert!(guessed.is_new && !guessed.in_attack);
    }
}

#[test]
fn the_same_dead_address_counts_once() {
    let shared = shared();
    let guess = |recipient, now| {
        shared.harvest_guess(Guess { source: source(1), recipient, domain: "example.test", now, least: 50 }).is_new
    };
    let dead: Vec<String> = (0..8).map(|number| format!("dead{number}@example.test")).collect();
    assert!(dead.iter().all(|recipient| guess(recipient, 1)));
    for round in 0..100 {
        assert!(dead.iter().all(|recipient| !guess(recipient, round * HOUR)));
    }
    assert_eq!(shared.reputation_of(source(1), 1).unwrap().counts[1], 8 * EVENT);
    assert!(guess("another@example.test", TICK));
    assert!(!guess(&dead[7], TICK));
    assert!(guess(&dead[0], TICK));
}

#[test]
fn slow_guesses_are_no_attack_and_a_flood_of_domains_has_its_bound() {
    let mut attack = Attack::new();
    for _ in 0..500 {
        attack.now += 20;
        assert!(!attack.guess(source(1)).in_attack);
    }
    for number in 0..5000 {
        let domain = format!("domain{number}.test");
        let recipient = format!("a@{domain}");
        let guess = Guess { source: source(number), recipient: &recipient, domain: &domain, now: 1, least: 50 };
        attack.shared.harvest_guess(guess);
    }
}
