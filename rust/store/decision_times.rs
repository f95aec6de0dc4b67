//! What a decision about a client costs, without Python: the rates, the lists, the records of reputation.
//! `cargo test --release --no-default-features decision_times -- --ignored --nocapture`
//! Many addresses in no order, so that what is looked up is seldom in the processor's first cache.

use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use super::lists::{List, Snapshot, Source as ListSource, compile};
use super::shared::{Limits, Rate, Shared, Source};
use crate::machine::reputation::Kind;

const ADDRESSES: u32 = 4096;
const TURNS: u32 = 200_000;
const ROUNDS: usize = 15;
const RATE: Rate = Rate { count: 1_000_000_000, period: 60_000_000, burst: 1_000_000_000 };

fn scattered(number: u32) -> u32 {
    number.wrapping_mul(2_654_435_761) >> 8
}

fn four(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0b00_0000 + scattered(number % ADDRESSES)).into()
}

fn six(number: u32) -> IpAddr {
    Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | u128::from(scattered(number % ADDRESSES)) << 64 | 1).into()
}

/// Prints the nanoseconds of the fastest round and of the one in the middle: others may use the processor as well.
fn show<T>(what: &str, decide: impl Fn(u32) -> T) {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            for turn in 0..TURNS {
                black_box(decide(black_box(turn)));
            }
            begun.elapsed().as_nanos() / u128::from(TURNS)
        })
        .collect();
    rounds.sort_unstable();
    println!("{what:56} {:4} ns, median {:4}", rounds[0], rounds[ROUNDS / 2]);
}

#[test]
#[ignore = "a measurement"]
fn decision_times() {
    let shared = Shared::new(1, 1, vec![], 65_536).unwrap();
    let limits = Limits::new(vec![Some(RATE); 7]);
    show("nothing but the address", four);
    for (name, address) in [("IPv4, 2 prefixes", four as fn(u32) -> IpAddr), ("IPv6, 3 prefixes", six)] {
        let spend = |turn: u32| limits.spend(&shared, 1, address(turn), u64::from(turn), 1);
        show(&format!("a rate, spent: {name}"), spend);
        let wait = |turn: u32| limits.wait(&shared, 1, address(turn), u64::from(turn));
        show(&format!("a rate, looked at: {name}"), wait);
        let take = |turn: u32| limits.take(&shared, 1 << 3, 1 << 2, address(turn), u64::from(turn));
        show(&format!("a rate looked at and one spent at once: {name}"), take);
    }
    let source = |turn: u32| match four(turn) {
        IpAddr::V4(address) => Source::from_packed(&address.octets()).unwrap(),
        IpAddr::V6(_) => unreachable!(),
    };
    let seconds = |turn: u32| u64::from(turn / 1000);
    show("reputation, an accepted message noted", |turn| {
        shared.reputation_note(Kind::ACCEPTED, source(turn), 1, seconds(turn))
    });
    show("reputation, the level", |turn| {
        shared.reputation_of(source(turn), seconds(turn)).map(|record| record.level())
    });
    show("reputation, whether it is blocked", |turn| shared.reputation_blocks(source(turn), seconds(turn)));
    let scratch = std::env::temp_dir().join(format!("mailmoat-decisions-{}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let lines: Vec<String> = (0..200_000_u32)
        .map(|number| {
            let address = Ipv4Addr::from_bits(0x0b00_0000 + 256 * (number * 7 % 0x0060_0000));
            if number % 2 == 0 { format!("{address}\n") } else { format!("{address}/24\n") }
        })
        .collect();
    fs::write(scratch.join("block"), lines.concat()).unwrap();
    let blocked = ListSource { path: scratch.join("block"), list: List::Block, ours: false, settled: true };
    compile(&scratch.join("snapshot"), &[blocked], 0).unwrap();
    let lists = Snapshot::open(&scratch.join("snapshot")).unwrap();
    show("a list of 200,000 prefixes", |turn| lists.find(four(turn), 1));
    fs::remove_dir_all(&scratch).unwrap();
}
