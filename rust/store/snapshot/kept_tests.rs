//! A table that is lost, or cannot be read: its recipients stay known, whatever else is compiled.

use proptest::prelude::*;

use super::changes_tests::{Source, answers, any, asked, has_base};
use super::compile::compile_with;
use super::table_tests::{rows, table};
use super::tests::{Scratch, scope, sentences};
use super::*;
use crate::machine::message::address::{Case, Dots, Options};

fn found(scratch: &Scratch, key: &str) -> (Found, u8, u32) {
    let directory = Directory::open(&scratch.target()).unwrap();
    let Answer { found, source, line } = directory.lookup(key, key.split_once('@').unwrap().1);
    (found, source, line)
}

fn compiled(scratch: &Scratch, inputs: &[Input]) -> Vec<String> {
    let compiled = compile(inputs, &scratch.target(), &scope()).unwrap();
    assert_eq!(compiled.problems, []);
    sentences(&compiled.unread)
}

const KINDS: [(i64, &str, &str); 6] = [
    (1, "ann@local.test", ""),
    (1, "!gone@local.test", ""),
    (2, "team@local.test", "ann@local.test\nfar@far.test"),
    (3, "@whole.test", ""),
    (3, "@other.test", "@local.test"),
    (4, "@rest.test", "ann@local.test"),
];

#[test]
fn who_was_known_of_a_lost_table_stays_known_when_another_changes() {
    let scratch = Scratch::new();
    let lost = rows(&table(&scratch, 1, 7, &[]), &KINDS);
    let inputs = |generation, names: &[&str]| [lost.clone(), table(&scratch, 2, generation, &[names])];
    assert_eq!(compiled(&scratch, &inputs(1, &["bob@local.test"])), Vec::<String>::new());
    let before = Directory::open(&scratch.target()).unwrap();
    fs::remove_file(&lost.path).unwrap();
    for generation in 2..4 {
        assert_eq!(compiled(&scratch, &inputs(generation, &["cid@local.test"])), Vec::<String>::new());
        let after = Directory::open(&scratch.target()).unwrap();
        let names = asked(&["ann", "gone", "team", "who"], &["local.test", "whole.test", "other.test", "rest.test"]);
        assert_eq!(answers(&after, &names), answers(&before, &names));
        assert_eq!(after.tables(), [(1, "abc 7.".to_owned()), (2, format!("abc {generation}."))]);
        assert_eq!(
            (found(&scratch, "bob@local.test").0, found(&scratch, "cid@local.test")),
            (Found::Absent, (Found::Address, 2, 1))
        );
    }
    // It is begun anew, and read whole.
    table(&scratch, 1, 0, &[]);
    compiled(&scratch, &inputs(4, &["cid@local.test"]));
    assert_eq!(found(&scratch, "ann@local.test"), (Found::Address, 1, 1));
    table(&scratch, 1, 1, &[&["dan@local.test"]]);
    compiled(&scratch, &inputs(4, &["cid@local.test"]));
    assert_eq!(
        (found(&scratch, "ann@local.test").0, found(&scratch, "dan@local.test").0),
        (Found::Absent, Found::Address)
    );
}

#[test]
fn a_table_that_cannot_be_read_holds_up_no_other() {
    let scratch = Scratch::new();
    let broken = table(&scratch, 1, 1, &[&["ann@local.test"]]);
    let other = |names: &[&str]| table(&scratch, 2, 1, &[names]);
    compiled(&scratch, &[broken.clone(), other(&["bob@local.test"])]);
    fs::write(&broken.path, "no database".repeat(100)).unwrap();
    let unread = compiled(&scratch, &[broken.clone(), other(&["cid@local.test"])]);
    assert_eq!(found(&scratch, "ann@local.test"), (Found::Address, 1, 1));
    assert_eq!(found(&scratch, "cid@local.test"), (Found::Address, 2, 1));
    let [sentence] = unread.as_slice() else { panic!("{unread:?}") };
    assert!(
        sentence.starts_with(&format!("{} cannot be read: file is not a database. Who was", broken.path.display()))
    );
}

#[test]
fn one_of_which_a_part_cannot_be_read_is_known_as_it_was() {
    let scratch = Scratch::new();
    let names: Vec<String> = (0..3000).map(|number| format!("user{number}@local.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let broken = table(&scratch, 1, 1, &[&names]);
    let other = |generation| table(&scratch, 2, generation, &[&["bob@local.test"]]);
    compiled(&scratch, &[broken.clone(), other(1)]);
    let mut octets = fs::read(&broken.path).unwrap();
    let end = octets.len();
    octets[end / 2..].fill(0xff);
    fs::write(&broken.path, octets).unwrap();
    assert_eq!(compiled(&scratch, &[broken.clone(), other(2)]).len(), 1);
    for name in names {
        assert_eq!(found(&scratch, name), (Found::Address, 1, 1), "{name}");
    }
}

#[test]
fn one_that_was_never_in_force_is_unknown_and_holds_up_no_other() {
    let scratch = Scratch::new();
    let broken = table(&scratch, 1, 1, &[]);
    fs::write(&broken.path, "no database".repeat(100)).unwrap();
    assert_eq!(compiled(&scratch, &[broken, table(&scratch, 2, 1, &[&["bob@local.test"]])]).len(), 1);
    assert_eq!(found(&scratch, "bob@local.test").0, Found::Address);
    let directory = Directory::open(&scratch.target()).unwrap();
    assert_eq!(directory.tables(), [(1, String::new()), (2, "abc 1.".to_owned())]);
}

#[test]
fn a_lost_table_is_found_again_in_another_order_of_rows() {
    let scratch = Scratch::new();
    let (lost, other) = (table(&scratch, 1, 1, &[&["ann@local.test"]]), table(&scratch, 2, 1, &[&["bob@local.test"]]));
    compiled(&scratch, &[lost.clone(), other.clone()]);
    fs::remove_file(&lost.path).unwrap();
    compiled(&scratch, &[Input { number: 1, ..other }, Input { number: 2, ..lost }]);
    assert_eq!(found(&scratch, "bob@local.test"), (Found::Address, 1, 1));
    assert_eq!(found(&scratch, "ann@local.test"), (Found::Address, 2, 1));
    assert_eq!(
        Directory::open(&scratch.target()).unwrap().tables(),
        [(1, "abc 1.".to_owned()), (2, "abc 1.".to_owned())]
    );
}

#[test]
fn with_other_spellings_who_is_not_found_of_a_lost_table_is_unknown() {
    let scratch = Scratch::new();
    let lost = table(&scratch, 1, 1, &[&["a.nn@local.test", "Bob@local.test"]]);
    let inputs = |generation| [lost.clone(), table(&scratch, 2, generation, &[&["cid@local.test"]])];
    compiled(&scratch, &inputs(1));
    fs::remove_file(&lost.path).unwrap();
    let options = Options { dots: Dots::Ignore, case: Case::Ignore, delimiters: String::new() };
    let normalisation = Normalisation::new("+".to_owned(), [("local.test".into(), options)]);
    let without_dots = Scope { normalisation, ..scope() };
    for generation in 1..3 {
        compile(&inputs(generation), &scratch.target(), &without_dots).unwrap();
        for key in ["ann@local.test", "bob@local.test"] {
            assert_eq!(found(&scratch, key), (Found::Address, 1, 1), "by its key of now");
        }
        // As of a table that was read by no settings.
        let states = Directory::open(&scratch.target()).unwrap().tables();
        assert_eq!(states, [(1, ". 1.".to_owned()), (2, format!("abc {generation}."))]);
    }
}

#[test]
fn an_address_that_looks_like_another_notation_is_written_so_that_it_is_one() {
    let scratch = Scratch::new();
    let texts = ["\"!ann\"@local.test", "\"*\"@local.test", "!\"!bob\"@local.test"];
    let lost = table(&scratch, 1, 1, &[&texts]);
    compiled(&scratch, std::slice::from_ref(&lost));
    let kept = Kept::of(Directory::open(&scratch.target()).unwrap(), &lost).unwrap();
    let mut written: Vec<String> = kept.records(0).map(|record| row_of(&record).0).collect();
    written.sort();
    assert_eq!(written, ["!!bob@local.test", "\"!ann\"@local.test", "\"*\"@local.test"]);
}

#[test]
fn nothing_is_taken_over_from_another_table_of_the_same_number() {
    let scratch = Scratch::new();
    let first = table(&scratch, 1, 1, &[&["ann@local.test"]]);
    compiled(&scratch, std::slice::from_ref(&first));
    fs::remove_file(&first.path).unwrap();
    let other = Input { name: "another".to_owned(), ..first };
    compiled(&scratch, &[other, table(&scratch, 2, 1, &[&["bob@local.test"]])]);
    assert_eq!(found(&scratch, "ann@local.test").0, Found::Absent);
}

#[test]
fn what_is_kept_is_written_as_a_table_has_it() {
    let scratch = Scratch::new();
    let input = rows(&table(&scratch, 1, 7, &[]), &KINDS);
    compiled(&scratch, std::slice::from_ref(&input));
    let kept = Kept::of(Directory::open(&scratch.target()).unwrap(), &input).unwrap();
    let rows: Vec<(i64, String, String)> = kept
        .records(0)
        .map(|record| (i64::from(record.line), row_of(&record)))
        .map(|(entry, (text, targets))| (entry, text, targets))
        .collect();
    let mut expected: Vec<(i64, String, String)> =
        KINDS.iter().map(|(entry, text, targets)| (*entry, (*text).to_owned(), (*targets).to_owned())).collect();
    expected.sort();
    let mut sorted = rows.clone();
    sorted.sort();
    assert_eq!((sorted, kept.state(&scope()), kept.count()), (expected, "abc 7.".to_owned(), 6));
    assert!(rows.is_sorted_by_key(|(entry, _, _)| *entry), "{rows:?}");
}

/// Entry and rows, each an address and its targets.
type Change = (i64, Vec<(&'static str, &'static str)>);

fn change() -> impl Strategy<Value = Change> {
    let text = prop::sample::select(vec![
        "ann@local.test",
        "ANN@local.test",
        "!ann@local.test",
        "bob@local.test",
        "cid@whole.test",
        "dan@local.test",
    ]);
    let targets = prop::sample::select(vec!["", "", "bob@local.test", "dan@local.test\nx@far.test", "cid@whole.test"]);
    (1..6_i64, prop::collection::vec((text, targets), 0..4))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever was compiled before, whole or as changes: without the table it is all the same, and what was made of its rows is made of them again.
    #[test]
    fn whatever_a_lost_table_had_is_all_there(
        first in prop::collection::vec(change(), 1..8),
        then in prop::collection::vec(change(), 0..4),
        others in prop::collection::vec(change(), 0..6),
        lost in 1..3_u8,
        last in change(),
    ) {
        let scratch = Scratch::new();
        let mut sources = [Source::new(&scratch, 1), Source::new(&scratch, 2), Source::new(&scratch, 3)];
        let inputs: Vec<Input> = sources.iter().map(|source| source.input.clone()).collect();
        let compiled = |target: &Path| compile_with(&inputs, target, &scope(), any).unwrap();
        sources[2].change(1, &[("eve@local.test", ""), ("@whole.test", "")]);
        for (entry, rows) in &first {
            sources[usize::from(lost) - 1].change(*entry, rows);
        }
        for (entry, rows) in &others {
            sources[2 - usize::from(lost)].change(*entry + 1, rows);
        }
        compiled(&scratch.target());
        for (entry, rows) in &then {
            sources[usize::from(lost) - 1].change(*entry, rows);
        }
        compiled(&scratch.target());
        let (entry, rows) = &last;
        sources[2 - usize::from(lost)].change(*entry, rows);
        // What it would be with the table.
        let whole = scratch.0.join("whole");
        compiled(&whole);
        fs::rename(&inputs[usize::from(lost) - 1].path, scratch.0.join("away")).unwrap();
        let made = compiled(&scratch.target());
        let names = asked(&["ann", "bob", "cid", "dan", "eve", "who"], &["local.test", "whole.test"]);
        let (kept, whole) = (Directory::open(&scratch.target()).unwrap(), Directory::open(&whole).unwrap());
        prop_assert_eq!(answers(&kept, &names), answers(&whole, &names), "{:?}", has_base(&scratch));
        prop_assert_eq!((made.unread, kept.tables(), kept.entries()), (vec![], whole.tables(), whole.entries()));
    }
}
