//! Lists: lines, prefixes, times, the search against a plain one, snapshots that are torn, sources with mistakes.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::machine::prefix::Prefix;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mailmoat-lists-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn target(&self) -> PathBuf {
        self.0.join("lists.snapshot")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn source(path: &Path, list: List) -> Source {
    Source { path: path.to_owned(), list, ours: false, settled: true }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Compiles a block list and an allow list, and opens the snapshot.
fn compiled(name: &str, blocked: &str, allowed: &str) -> (Scratch, Snapshot) {
    let scratch = Scratch::new(name);
    let ours = |name, text, list| Source { ours: true, ..source(&scratch.write(name, text), list) };
    let sources = [ours("block", blocked, List::Block), ours("allow", allowed, List::Allow)];
    let compiled = compile(&scratch.target(), &sources, 0).unwrap();
    assert_eq!(compiled.problems, []);
    let snapshot = Snapshot::open(&scratch.target()).unwrap();
    (scratch, snapshot)
}

fn found(snapshot: &Snapshot, text: &str, now: u32) -> Option<(List, String)> {
    snapshot.find(address(text), now).map(|entry| (entry.list, format!("{:#}", entry.prefix)))
}

#[test]
fn times_are_read_as_they_are_written() {
    assert_eq!(read_time("1970-01-01T00:00:01Z"), Some(1));
    assert_eq!(read_time("2026-11-27"), Some(1_795_737_600));
    assert_eq!(read_time("2024-02-29T23:59"), Some(1_709_251_140));
    assert_eq!(write_time(1_709_251_140), "2024-02-29T23:59:00Z");
    for text in [
        "",
        "2026-02-29",
        "2026-13-01",
        "2026-11-27T24:00",
        "2026-11-27T00:60",
        "1969-12-31",
        "2107-01-01",
        "soon",
        "2026-1-1",
    ] {
        assert_eq!(read_time(text), None, "{text}");
    }
}

#[test]
fn a_comment_on_the_line_of_an_entry_is_its_reason() {
    let mut list = EntryList::default();
    list.read(b"\xef\xbb\xbf# of the provider\r\n\r\n192.0.2.0/24 ; SBL1\r\n198.51.100.7 until=2030-01-01 # guesses; often\n203.0.113.9", 5, 0);
    assert_eq!(list.problems(), Vec::<String>::new());
    assert_eq!(
        list.text(),
        "192.0.2.0/24 since=1970-01-01T00:00:05Z # SBL1\n\
         198.51.100.7 since=1970-01-01T00:00:05Z until=2030-01-01T00:00:00Z # guesses; often\n\
         203.0.113.9 since=1970-01-01T00:00:05Z\n"
    );
}

#[test]
fn a_mistake_has_its_line_and_what_to_write() {
    let mut list = EntryList::default();
    list.read(b"192.0.2.1\nexample.com\n192.0.2.3 spam\n192.0.2.4 until=tomorrow\n\xff\n", 0, 0);
    let problems = list.problems();
    assert_eq!(problems.len(), 4);
    assert!(problems[0].starts_with("line 2: \"example.com\": not an address or a prefix"), "{problems:?}");
    assert!(problems[1].contains("line 3: \"192.0.2.3 spam\": \"spam\" means nothing here"), "{problems:?}");
    assert!(problems[2].contains("until=2030-12-31"), "{problems:?}");
    assert!(problems[3].contains("not UTF-8"), "{problems:?}");
}

#[test]
fn the_longest_prefix_decides_and_of_equal_ones_the_allow_list() {
    let (_scratch, snapshot) = compiled(
        "longest",
        "10.0.0.0/8\n10.1.2.0/24\n10.1.2.3\n192.0.2.7\n2001:db8::/32\n0.0.0.0/0 until=2030-01-01",
        "10.1.0.0/16\n192.0.2.7\n2001:db8:1::/48",
    );
    assert_eq!(found(&snapshot, "10.9.9.9", 1), Some((List::Block, "10.0.0.0/8".into())));
    assert_eq!(found(&snapshot, "10.1.9.9", 1), Some((List::Allow, "10.1.0.0/16".into())));
    assert_eq!(found(&snapshot, "10.1.2.9", 1), Some((List::Block, "10.1.2.0/24".into())));
    assert_eq!(found(&snapshot, "10.1.2.3", 1), Some((List::Block, "10.1.2.3".into())));
    assert_eq!(found(&snapshot, "::ffff:10.1.2.3", 1), Some((List::Block, "10.1.2.3".into())));
    assert_eq!(found(&snapshot, "192.0.2.7", 1), Some((List::Allow, "192.0.2.7".into())));
    assert_eq!(found(&snapshot, "198.51.100.1", 1), Some((List::Block, "0.0.0.0/0".into())));
    assert_eq!(found(&snapshot, "198.51.100.1", 1_893_456_000), None);
    assert_eq!(found(&snapshot, "2001:db8:1::5", 1), Some((List::Allow, "2001:db8:1::/48".into())));
    assert_eq!(found(&snapshot, "2001:db8:2::5", 1), Some((List::Block, "2001:db8::/32".into())));
    assert_eq!(found(&snapshot, "::1", 1), None);
    assert_eq!((snapshot.entries(List::Block), snapshot.entries(List::Allow)), (6, 3));
}

#[test]
fn an_entry_ends_at_its_second_and_the_one_around_it_decides() {
    let (_scratch, snapshot) = compiled(
        "ends",
        "10.0.0.0/8 # all\n10.1.2.3 until=2030-01-01T00:00:10Z # one\n",
        "10.1.2.3 until=2030-01-01T00:00:05Z\n",
    );
    let second = read_time("2030-01-01").unwrap();
    assert_eq!(found(&snapshot, "10.1.2.3", second + 4), Some((List::Allow, "10.1.2.3".into())));
    assert_eq!(found(&snapshot, "10.1.2.3", second + 5), Some((List::Block, "10.1.2.3".into())));
    assert_eq!(found(&snapshot, "10.1.2.3", second + 10), Some((List::Block, "10.0.0.0/8".into())));
    assert_eq!(snapshot.next_end(second), Some(second + 5));
    assert_eq!(snapshot.next_end(second + 5), Some(second + 10));
    assert_eq!(snapshot.next_end(second + 10), None);
    let found = snapshot.find(address("10.1.2.3"), second + 9).unwrap();
    assert_eq!(snapshot.terms(&found).reason, "one");
}

#[test]
fn of_a_source_with_a_mistake_nothing_is_taken_and_what_it_said_stays() {
    let scratch = Scratch::new("mistake");
    let (one, other) = (scratch.write("one", "192.0.2.1 # first\n"), scratch.write("other", "198.51.100.1\n"));
    let sources = [source(&one, List::Block), source(&other, List::Block)];
    assert!(compile(&scratch.target(), &sources, 0).unwrap().changed);
    assert!(!compile(&scratch.target(), &sources, 0).unwrap().changed);
    scratch.write("one", "192.0.2.2\nnonsense\n");
    scratch.write("other", "198.51.100.2\n198.51.100.3\n");
    let again = compile(&scratch.target(), &sources, 0).unwrap();
    assert!(again.changed);
    assert_eq!((again.blocked, again.problems.len(), again.problems[0].0), (3, 1, 0));
    let snapshot = Snapshot::open(&scratch.target()).unwrap();
    let first = snapshot.find(address("192.0.2.1"), 1).unwrap();
    assert_eq!(snapshot.terms(&first).reason, "first");
    assert_eq!(found(&snapshot, "192.0.2.2", 1), None);
    assert_eq!(found(&snapshot, "198.51.100.3", 1), Some((List::Block, "198.51.100.3".into())));
    fs::remove_file(&one).unwrap();
    assert!(compile(&scratch.target(), &sources, 0).unwrap().problems[0].1.contains("cannot be read"));
    let ours = [Source { ours: true, ..sources[0].clone() }];
    let emptied = compile(&scratch.target(), &ours, 0).unwrap();
    assert_eq!((emptied.blocked, emptied.problems.len()), (0, 0));
}

#[test]
fn a_prefix_for_half_the_world_is_a_mistake_in_a_file_that_no_command_wrote() {
    let scratch = Scratch::new("wide");
    let path = scratch.write("one", "192.0.2.1\n");
    compile(&scratch.target(), &[source(&path, List::Block)], 0).unwrap();
    for wide in ["0.0.0.0/0", "10.0.0.0/7", "::/0", "::ffff:0:0/96", "2000::/3"] {
        scratch.write("one", &format!("192.0.2.2\n{wide} # typing error\n10.0.0.0/8\n2001::/16\n"));
        let again = compile(&scratch.target(), &[source(&path, List::Block)], 0).unwrap();
        let [(0, problem)] = &again.problems[..] else { panic!("{wide}: {:?}", again.problems) };
        assert!(problem.starts_with("line 2: ") && problem.contains(&format!("{wide} # ")), "{problem}");
        assert!(problem.ends_with(". If it is meant, use mailmoat block add --wide"), "{problem}");
        let snapshot = Snapshot::open(&scratch.target()).unwrap();
        assert_eq!(found(&snapshot, "192.0.2.1", 1), Some((List::Block, "192.0.2.1".into())));
        assert_eq!((found(&snapshot, "11.0.0.1", 1), found(&snapshot, "2a00::1", 1)), (None, None));
        let ours = compile(&scratch.0.join("ours"), &[Source { ours: true, ..source(&path, List::Block) }], 0);
        assert_eq!(ours.unwrap().blocked, 4);
    }
}

#[test]
fn a_source_that_is_not_settled_keeps_what_it_said() {
    let scratch = Scratch::new("settled");
    let one = scratch.write("one", "192.0.2.1\n192.0.2.2\n");
    let sources = [source(&one, List::Allow)];
    compile(&scratch.target(), &sources, 0).unwrap();
    scratch.write("one", "192.0.2.9\n");
    let waiting = [Source { settled: false, ..sources[0].clone() }];
    assert!(!compile(&scratch.target(), &waiting, 0).unwrap().changed);
    assert_eq!(compile(&scratch.target(), &sources, 0).unwrap().allowed, 1);
}

#[test]
fn a_snapshot_with_any_octet_changed_or_missing_is_refused() {
    let (scratch, _) = compiled("torn", "192.0.2.0/24 # why\n2001:db8::/32\n", "192.0.2.1\n");
    let whole = fs::read(scratch.target()).unwrap();
    let torn = scratch.0.join("torn");
    for at in 0..whole.len() {
        let mut octets = whole.clone();
        octets[at] ^= 0x10;
        fs::write(&torn, &octets).unwrap();
        assert!(Snapshot::open(&torn).is_err(), "octet {at}");
        fs::write(&torn, &whole[..at]).unwrap();
        assert!(Snapshot::open(&torn).is_err(), "{at} octets");
    }
}

#[test]
fn a_link_in_the_place_of_the_new_snapshot_is_not_followed() {
    let scratch = Scratch::new("link");
    let other = scratch.write("other", "of root");
    let new = scratch.target().with_extension("new");
    std::os::unix::fs::symlink(&other, &new).unwrap();
    let block = source(&scratch.write("block", "192.0.2.1\n"), List::Block);
    compile(&scratch.target(), &[block], 0).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), "of root");
    assert!(fs::symlink_metadata(scratch.target()).unwrap().is_file());
}

fn prefix() -> impl Strategy<Value = Prefix> {
    // Few different bits, so that prefixes nest.
    let four = (prop::bits::u32::masked(0xc0a0_8103), 0_u8..=32).prop_map(|(bits, length)| Prefix::ipv4(bits, length));
    let six = (prop::bits::u8::ANY, 0_u8..=128)
        .prop_map(|(bits, length)| Prefix::from_parts(u128::from(bits) << 120 | u128::from(bits), length));
    prop_oneof![four, six]
}

proptest! {
    #[test]
    fn prefixes_and_terms_are_read_as_they_are_written(prefix in prefix(), since in 0_u32.., until in 0_u32.., reason in "[a-z #;=]{0,40}") {
        let mut list = EntryList::default();
        list.add(prefix, Terms { since, until, reason });
        let mut again = EntryList::default();
        again.read(list.text().as_bytes(), 0, 0);
        prop_assert_eq!(list.text(), again.text());
        prop_assert_eq!(again.problems(), Vec::<String>::new());
    }

    #[test]
    fn no_line_panics(octets in prop::collection::vec(any::<u8>(), 0..80)) {
        EntryList::default().read(&octets, 0, 0);
    }

    #[test]
    fn the_search_is_that_of_a_plain_loop(
        entries in prop::collection::vec((prefix(), any::<bool>(), 0_u32..4), 0..300),
        addresses in prop::collection::vec(prefix(), 1..50),
        now in 0_u32..4,
    ) {
        let (mut blocked, mut allowed) = (EntryList::default(), EntryList::default());
        for (prefix, allow, until) in &entries {
            let list = if *allow { &mut allowed } else { &mut blocked };
            list.add(*prefix, Terms { until: *until, ..Terms::default() });
        }
        let (_scratch, snapshot) = compiled("plain", &blocked.text(), &allowed.text());
        for at in addresses {
            let whole = Prefix::of(at.address());
            let of = |list, entries: &EntryList| {
                entries.iter().filter(|(prefix, terms)| prefix.covers(whole) && terms.hold_at(now))
                    .map(|(prefix, _)| (prefix.length(), list)).max()
            };
            let expected = of(List::Block, &blocked).max(of(List::Allow, &allowed));
            let found = snapshot.find(at.address(), now).map(|entry| (entry.prefix.length(), entry.list));
            prop_assert_eq!(found, expected);
        }
    }
}
