//! Several inputs: which of them decides, and that one bad row of a table stops nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::{Connection, params};

use super::tests::{Scratch, plus, scope, sentences};
use super::*;
use crate::machine::message::address::{Address, Limits};

/// Makes the table of source `number`: its entries, each with its addresses.
pub fn table(scratch: &Scratch, number: u8, generation: i64, entries: &[&[&str]]) -> Input {
    let path = scratch.0.join(format!("{number}.db"));
    let _ = fs::remove_file(&path);
    let mut connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL;
             CREATE TABLE state(key TEXT PRIMARY KEY, value);
             CREATE TABLE entry(number INTEGER PRIMARY KEY, id BLOB UNIQUE, name TEXT);
             CREATE TABLE address(entry INTEGER, text TEXT, targets TEXT, PRIMARY KEY(entry, text)) WITHOUT ROWID;
             INSERT INTO state VALUES('identity', 'abc');",
        )
        .unwrap();
    let transaction = connection.transaction().unwrap();
    transaction.execute("INSERT INTO state VALUES('generation', ?1)", [generation]).unwrap();
    for (place, addresses) in (1..).zip(entries) {
        let name = format!("cn={place}");
        transaction.execute("INSERT INTO entry VALUES(?1, ?2, ?3)", params![place, name.as_bytes(), name]).unwrap();
        for address in *addresses {
            transaction.execute("INSERT INTO address VALUES(?1, ?2, '')", params![place, address]).unwrap();
        }
    }
    transaction.commit().unwrap();
    Input { number, name: format!("source-{number}"), path }
}

/// Adds rows of entry, address and targets.
pub fn rows(table: &Input, rows: &[(i64, &str, &str)]) -> Input {
    let connection = Connection::open(&table.path).unwrap();
    for (entry, text, targets) in rows {
        connection.execute("INSERT INTO address VALUES(?1, ?2, ?3)", params![entry, text, targets]).unwrap();
    }
    table.clone()
}

fn answer(directory: &Directory, key: &str) -> (Found, u8, u32) {
    let Answer { found, source, line } = directory.lookup(key, key.split_once('@').unwrap().1);
    (found, source, line)
}

fn compiled(scratch: &Scratch, inputs: &[Input]) -> (Directory, Vec<String>) {
    let compiled = compile(inputs, &scratch.target(), &scope()).unwrap();
    assert_eq!(compiled.problems, []);
    (Directory::open(&scratch.target()).unwrap(), sentences(&compiled.warnings))
}

#[test]
fn the_first_input_that_has_an_address_decides() {
    let scratch = Scratch::new();
    let inputs = [
        Input::text(&scratch.source(b"ann@local.test\n!gone@local.test\n")),
        table(&scratch, 1, 7, &[&["Bob@local.test", "bob.b@local.test"], &["gone@local.test", "ann@local.test"]]),
        table(&scratch, 2, 1, &[&["!bob@local.test", "@whole.test"], &["BOB@local.test", "cid@whole.test"]]),
    ];
    let (directory, warnings) = compiled(&scratch, &inputs);
    assert_eq!(answer(&directory, "ann@local.test"), (Found::Address, 0, 1));
    assert_eq!(answer(&directory, "gone@local.test"), (Found::Excluded, 0, 2));
    assert_eq!(answer(&directory, "bob@local.test"), (Found::Address, 1, 1));
    assert_eq!(answer(&directory, "bob.b@local.test"), (Found::Address, 1, 1));
    assert_eq!(answer(&directory, "cid@whole.test"), (Found::Address, 2, 2));
    assert_eq!(answer(&directory, "any@whole.test"), (Found::Domain, 2, 1));
    assert_eq!(directory.entries(), 6);
    assert_eq!(
        warnings,
        [
            "entry 2 of source-1: \"gone@local.test\": line 2 says the opposite, and comes first",
            "entry 1 of source-2: \"bob@local.test\": entry 1 of source-1 says the opposite, and comes first",
        ]
    );
    assert_eq!(directory.tables(), [(1, "abc 7.".to_owned()), (2, "abc 1.".to_owned())]);
    assert_eq!(table_state(&inputs[1].path).unwrap(), "abc 7.");
    assert!(directory.is_for(&inputs, &scope()) && !directory.is_for(&inputs[..2], &scope()));
}

#[test]
fn a_bad_row_is_left_out_and_counted() {
    let scratch = Scratch::new();
    let rows: &[&[&str]] = &[&["a@@local.test", "", "ann@local.test"], &["two words@local.test"], &["#@local.test"]];
    let (directory, warnings) = compiled(&scratch, &[table(&scratch, 3, 1, rows)]);
    assert_eq!(answer(&directory, "ann@local.test"), (Found::Address, 3, 1));
    assert_eq!(answer(&directory, "#@local.test"), (Found::Address, 3, 3));
    assert!(
        warnings[0]
            .starts_with("2 addresses cannot be read and are left out. The first is \"a@@local.test\" of cn=1: ")
    );
    assert_eq!(warnings.len(), 1);
    assert_eq!(directory.stamp(), Stamp::default());
}

#[test]
fn a_table_that_is_not_there_is_empty_and_one_that_is_damaged_counts_as_that() {
    let scratch = Scratch::new();
    let text = Input::text(&scratch.source(b"ann@local.test\n"));
    let missing = Input { number: 1, name: "x".to_owned(), path: scratch.0.join("none.db") };
    let (directory, _) = compiled(&scratch, &[text.clone(), missing.clone()]);
    assert_eq!((directory.tables(), directory.entries()), (vec![(1, String::new())], 1));
    fs::write(&missing.path, [b'x'; 8192]).unwrap();
    let compiled = compile(&[text, missing.clone()], &scratch.target(), &scope()).unwrap();
    assert_eq!((compiled.problems.len(), compiled.unread.len(), compiled.entries), (0, 1, 1));
    assert_eq!(answer(&Directory::open(&scratch.target()).unwrap(), "ann@local.test").0, Found::Address);
}

#[test]
fn tables_that_list_nobody_at_a_local_domain_replace_nothing() {
    let scratch = Scratch::new();
    let scope = Scope { local_domains: ["local.test".to_owned()].into(), ..scope() };
    for (rows, sentence) in [
        (&[&["a@other.test"] as &[&str]] as &[&[&str]], "it lists other.test, and relay.local_domains is local.test"),
        (&[], "it lists no recipient"),
    ] {
        let problems = compile(&[table(&scratch, 1, 1, rows)], &scratch.target(), &scope).unwrap().problems;
        assert!(problems.len() == 1 && problems[0].1.contains(sentence), "{problems:?}");
    }
}

#[test]
fn a_table_that_was_never_read_may_be_all_there_is() {
    let scratch = Scratch::new();
    let scope = Scope { local_domains: ["local.test".to_owned()].into(), ..scope() };
    let unread = table(&scratch, 1, 0, &[]);
    let stranger = Input::text(&scratch.source(b"a@other.test\n"));
    for inputs in [vec![unread.clone()], vec![stranger, unread]] {
        let compiled = compile(&inputs, &scratch.target(), &scope).unwrap();
        assert_eq!(compiled.problems, []);
    }
}

/// What an input of the model says of a name: `a`, `b` are addresses, `@` the domain.
type Said = Vec<(u8, bool)>;

const NAMES: [&str; 4] = ["@", "a", "b", "c"];

fn written((name, excluded): (u8, bool)) -> String {
    let sign = if excluded && name > 0 { "!" } else { "" };
    format!("{sign}{}@m.test", NAMES[usize::from(name)].trim_matches('@'))
}

fn meant((name, excluded): (u8, bool)) -> Found {
    if name == 0 {
        Found::Domain
    } else if excluded {
        Found::Excluded
    } else {
        Found::Address
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_inputs_equal_a_plain_model(
        text in prop::collection::btree_map(0..4_u8, any::<bool>(), 0..4),
        tables in prop::collection::vec(prop::collection::vec((0..4_u8, any::<bool>()), 0..6), 0..4),
    ) {
        let scratch = Scratch::new();
        let mut said: Vec<Said> = vec![text.into_iter().collect()];
        let lines: Vec<String> = said[0].iter().copied().map(written).collect();
        let mut inputs = vec![Input::text(&scratch.source(lines.join("\n").as_bytes()))];
        for (number, rows) in (1..).zip(&tables) {
            let rows: Vec<String> = rows.iter().copied().map(written).collect();
            let each: Vec<[&str; 1]> = rows.iter().map(|row| [row.as_str()]).collect();
            let entries: Vec<&[&str]> = each.iter().map(<[&str; 1]>::as_slice).collect();
            inputs.push(table(&scratch, number, 1, &entries));
        }
        said.extend(tables);
        let mut model = BTreeMap::new();
        for (source, said) in (0_u8..).zip(&said) {
            for (line, one) in (1_u32..).zip(said) {
                model.entry(one.0).or_insert((meant(*one), source, line));
            }
        }
        let compiled = compile(&inputs, &scratch.target(), &scope()).unwrap();
        prop_assert_eq!(compiled.problems.is_empty(), !model.is_empty());
        if !model.is_empty() {
            let directory = Directory::open(&scratch.target()).unwrap();
            prop_assert_eq!(directory.entries(), model.len() as u64);
            for name in 1..4_u8 {
                let nobody = (Found::Absent, 0, 0);
                let wanted = model.get(&name).or_else(|| model.get(&0)).copied().unwrap_or(nobody);
                prop_assert_eq!(answer(&directory, &format!("{}@m.test", NAMES[usize::from(name)])), wanted);
            }
        }
    }
}

#[test]
fn rows_that_add_no_target_take_no_room() {
    let room = |most: i64| {
        let scratch = Scratch::new();
        let targets: Vec<String> = (0..900).map(|number| format!("t{number}@other.test")).collect();
        let targets = targets.join("\n");
        let mut many = vec![(1, "list@local.test", targets.as_str())];
        many.extend((2..most).map(|entry| (entry, "list@local.test", "t0@other.test")));
        let (directory, warnings) = compiled(&scratch, &[rows(&table(&scratch, 1, 1, &[]), &many)]);
        assert_eq!((answer(&directory, "list@local.test").0, warnings), (Found::Alias, Vec::new()));
        fs::metadata(scratch.target()).unwrap().len()
    };
    let (few, many) = (room(10), room(40));
    assert!(many - few < 30 * 200, "{} octets for a row", (many - few) / 30);
}

/// A row for each target of a list: what is written grows as the rows do.
#[test]
fn rows_of_one_address_are_written_together_once() {
    let octets_of = |rows_of_one: usize| {
        let scratch = Scratch::new();
        let texts: Vec<String> = (0..rows_of_one).map(|number| format!("user{number:04}@other.test")).collect();
        let listed: Vec<(i64, &str, &str)> =
            (1..).zip(&texts).map(|(entry, target)| (entry, "team@local.test", target.as_str())).collect();
        let (directory, _) = compiled(&scratch, &[rows(&table(&scratch, 1, 1, &[]), &listed)]);
        let team = Address::parse(b"team@local.test", &Limits::default()).unwrap();
        let targets = directory.resolve(&team, &plus()).targets;
        assert_eq!(targets.iter().map(ToString::to_string).collect::<Vec<_>>(), texts);
        fs::metadata(scratch.target()).unwrap().len()
    };
    assert!(octets_of(800) < 5 * octets_of(200));
}
