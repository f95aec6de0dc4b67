//! Changes upon a snapshot: they answer as one that is compiled whole, and are not made where they could not.

use proptest::prelude::*;
use rusqlite::{Connection, params};

use super::compile::compile_with;
use super::layer::base_path;
use super::table_tests::table;
use super::tests::{Scratch, plus, scope, sentences};
use super::*;
use crate::machine::message::address::{Address, Limits};

/// However much is another.
pub fn any(_: u64) -> u64 {
    u64::MAX
}

/// A table whose changes are written down.
pub struct Source {
    pub input: Input,
    connection: Connection,
    generation: i64,
}

impl Source {
    pub fn new(scratch: &Scratch, number: u8) -> Self {
        let input = table(scratch, number, 1, &[]);
        let connection = Connection::open(&input.path).unwrap();
        connection
            .execute_batch(
                "PRAGMA synchronous=OFF;
                 CREATE TABLE history(generation INTEGER, entry INTEGER, text TEXT, PRIMARY KEY(generation, entry, text)) WITHOUT ROWID;
                 INSERT INTO state VALUES('history_from', 1);",
            )
            .unwrap();
        Self { input, connection, generation: 1 }
    }

    /// Gives an entry other rows, each an address and its targets.
    pub fn change(&mut self, entry: i64, rows: &[(&str, &str)]) {
        self.generation += 1;
        let base = self.connection.transaction().unwrap();
        let log = "INSERT OR IGNORE INTO history SELECT ?1, ?2, ";
        base.execute(&format!("{log} ''"), params![self.generation, 0]).unwrap();
        base.execute(&format!("{log} ''"), params![self.generation, entry]).unwrap();
        base.execute(&format!("{log} text FROM address WHERE entry=?2"), params![self.generation, entry]).unwrap();
        base.execute("DELETE FROM address WHERE entry=?1", [entry]).unwrap();
        for (text, targets) in rows {
            base.execute("INSERT OR REPLACE INTO address VALUES(?1, ?2, ?3)", params![entry, text, targets]).unwrap();
        }
        base.execute("UPDATE state SET value=?1 WHERE key='generation'", [self.generation]).unwrap();
        base.commit().unwrap();
    }

    fn forget_history(&self) {
        self.connection.execute("DELETE FROM history", []).unwrap();
        self.connection.execute("UPDATE state SET value=?1 WHERE key='history_from'", [self.generation]).unwrap();
    }
}

/// What a directory says of addresses, with the names of its domains.
pub fn answers(directory: &Directory, addresses: &[String]) -> Vec<Resolution> {
    let parsed = addresses.iter().map(|address| Address::parse(address.as_bytes(), &Limits::default()).unwrap());
    parsed.map(|address| directory.resolve(&address, &plus())).collect()
}

/// The addresses that a test knows, and some that nobody has.
pub fn asked(names: &[&str], domains: &[&str]) -> Vec<String> {
    let with_details = names.iter().flat_map(|name| [(*name).to_owned(), format!("{name}+x")]);
    with_details.flat_map(|name| domains.iter().map(move |domain| format!("{name}@{domain}"))).collect()
}

/// Whether the snapshot is one of changes: then, and only then, there is a base.
pub fn has_base(scratch: &Scratch) -> bool {
    let names = fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|extension| extension == "base")).count() == 1
}

fn found(scratch: &Scratch, address: &str) -> (Found, u8, u32, Vec<String>) {
    let directory = Directory::open(&scratch.target()).unwrap();
    let Resolution { answer, targets, .. } =
        directory.resolve(&Address::parse(address.as_bytes(), &Limits::default()).unwrap(), &plus());
    (answer.found, answer.source, answer.line, targets.iter().map(ToString::to_string).collect())
}

#[test]
fn one_user_of_many_is_added_changed_and_removed() {
    let scratch = Scratch::new();
    let mut source = Source::new(&scratch, 1);
    for entry in 1..=300 {
        source.change(entry, &[(&format!("user{entry}@local.test"), "")]);
    }
    let inputs = [source.input.clone()];
    let compiled = |source: &Source, changes: bool| {
        let compiled = compile(&inputs, &scratch.target(), &scope()).unwrap();
        assert_eq!((compiled.problems.len(), has_base(&scratch)), (0, changes));
        let directory = Directory::open(&scratch.target()).unwrap();
        assert_eq!(directory.entries(), compiled.entries);
        assert_eq!(directory.tables(), [(1, format!("abc {}.", source.generation))]);
        compiled.entries
    };
    assert_eq!(compiled(&source, false), 300);
    source.change(301, &[("new@local.test", "")]);
    assert_eq!(compiled(&source, true), 301);
    assert_eq!(found(&scratch, "new@local.test"), (Found::Address, 1, 301, vec![]));
    assert!(fs::metadata(scratch.target()).unwrap().len() < 1000);
    source.change(301, &[]);
    source.change(7, &[]);
    assert_eq!(compiled(&source, true), 299);
    assert_eq!(found(&scratch, "new@local.test").0, Found::Absent);
    assert_eq!(found(&scratch, "user7@local.test").0, Found::Absent);
    assert_eq!(found(&scratch, "user8@local.test").0, Found::Address);
    source.change(7, &[("USER7@local.test", "far@far.test")]);
    assert_eq!(compiled(&source, true), 300);
    assert_eq!(found(&scratch, "user7@local.test"), (Found::Alias, 1, 7, vec!["far@far.test".to_owned()]));
    // A hundredth is three addresses.
    source.change(9, &[]);
    assert_eq!(compiled(&source, true), 299);
    source.change(10, &[]);
    assert_eq!(compiled(&source, false), 298);
    assert_eq!(found(&scratch, "user10@local.test").0, Found::Absent);
}

#[test]
fn all_is_compiled_where_changes_are_not_enough() {
    let scratch = Scratch::new();
    let mut source = Source::new(&scratch, 1);
    for entry in 1..=9 {
        source.change(entry, &[(&format!("user{entry}@local.test"), "")]);
    }
    let text = Input::text(&scratch.source(b"@old.test = @local.test\ntext@local.test = user8@local.test\n"));
    let inputs = [text, source.input.clone()];
    let local = Scope { local_domains: ["local.test".to_owned()].into(), ..scope() };
    let compiled = |changes: bool| {
        assert_eq!(compile_with(&inputs, &scratch.target(), &scope(), any).unwrap().problems, []);
        assert_eq!(has_base(&scratch), changes);
    };
    compiled(false);
    source.change(1, &[]);
    compiled(true);
    compiled(true);
    compile_with(&inputs, &scratch.target(), &local, any).unwrap();
    assert!(!has_base(&scratch), "another scope");
    compiled(false);
    source.change(1, &[("@whole.test", ""), ("user1@local.test", "")]);
    source.change(2, &[("user2@two.test", "")]);
    compiled(false);
    assert_eq!(found(&scratch, "any@whole.test").0, Found::Domain);
    source.change(2, &[]);
    compiled(true);
    source.change(1, &[]);
    compiled(false);
    source.change(2, &[("user2@local.test", "")]);
    source.forget_history();
    compiled(false);
    source.change(2, &[]);
    compiled(true);
    scratch.source(b"@old.test = @local.test\ntext@local.test = user9@local.test\n");
    compiled(false);
    source.change(8, &[]);
    compiled(true);
    source.connection.execute("UPDATE state SET value='other' WHERE key='identity'", []).unwrap();
    compiled(false);
    source.connection.execute("DROP TABLE history", []).unwrap();
    source.connection.execute("UPDATE state SET value=1000 WHERE key='generation'", []).unwrap();
    compiled(false);
}

#[test]
fn changes_that_leave_nobody_replace_nothing() {
    let scratch = Scratch::new();
    let mut source = Source::new(&scratch, 1);
    source.change(1, &[("ann@local.test", ""), ("ann@other.test", "")]);
    source.change(2, &[("bob@local.test", "")]);
    let local = Scope { local_domains: ["local.test".to_owned()].into(), ..scope() };
    let compiled = || compile_with(&[source.input.clone()], &scratch.target(), &local, any).unwrap();
    assert_eq!(compiled().entries, 3);
    source.change(2, &[]);
    let compiled = || compile_with(&[source.input.clone()], &scratch.target(), &local, any).unwrap();
    assert_eq!((compiled().entries, has_base(&scratch)), (2, true));
    source.change(1, &[("ann@other.test", "")]);
    let problems = compile_with(&[source.input.clone()], &scratch.target(), &local, any).unwrap().problems;
    assert!(sentences(&problems)[0].contains("no entry is at a local domain"));
    assert_eq!(found(&scratch, "ann@local.test").0, Found::Address);
}

#[test]
fn changes_without_their_base_are_no_snapshot_and_are_compiled_anew() {
    let scratch = Scratch::new();
    let mut source = Source::new(&scratch, 1);
    source.change(1, &[("ann@local.test", "")]);
    let inputs = [source.input.clone()];
    compile_with(&inputs, &scratch.target(), &scope(), any).unwrap();
    let mark = Directory::open(&scratch.target()).unwrap().into_base().mark();
    source.change(2, &[("bob@local.test", "")]);
    compile_with(&inputs, &scratch.target(), &scope(), any).unwrap();
    let base = base_path(&scratch.target(), mark);
    let in_force = Directory::open(&scratch.target()).unwrap();
    fs::remove_file(&base).unwrap();
    let error = Directory::open(&scratch.target()).err().unwrap();
    assert_eq!((error.kind(), error.to_string().as_str()), (std::io::ErrorKind::InvalidData, "its base is missing"));
    assert_eq!(answers(&in_force, &["ann@local.test".to_owned()])[0].answer.found, Found::Address);
    fs::copy(scratch.target(), &base).unwrap();
    assert_eq!(Directory::open(&scratch.target()).err().unwrap().to_string(), "its base is another one");
    source.change(3, &[("cid@local.test", "")]);
    compile_with(&inputs, &scratch.target(), &scope(), any).unwrap();
    assert!(!has_base(&scratch));
    for name in ["ann", "bob", "cid"] {
        assert_eq!(found(&scratch, &format!("{name}@local.test")).0, Found::Address);
    }
}

#[test]
fn what_a_killed_compile_left_in_the_place_of_the_base_is_replaced() {
    let scratch = Scratch::new();
    let mut source = Source::new(&scratch, 1);
    source.change(1, &[("ann@local.test", "")]);
    let inputs = [source.input.clone()];
    for (name, left) in [("bob", b"" as &[u8]), ("cid", b"torn"), ("dan", &[b'x'; 4096])] {
        source.forget_history();
        compile_with(&inputs, &scratch.target(), &scope(), any).unwrap();
        let mark = Directory::open(&scratch.target()).unwrap().into_base().mark();
        fs::write(base_path(&scratch.target(), mark), left).unwrap();
        let address = format!("{name}@local.test");
        source.change(2, &[(&address, "")]);
        compile_with(&inputs, &scratch.target(), &scope(), any).unwrap();
        assert!(has_base(&scratch));
        assert_eq!(found(&scratch, &address).0, Found::Address);
        assert_eq!(found(&scratch, "ann@local.test").0, Found::Address);
    }
    fs::write(base_path(&scratch.target(), 1), b"of another time").unwrap();
    source.forget_history();
    source.change(2, &[]);
    source.forget_history();
    compile_with(&inputs, &scratch.target(), &scope(), any).unwrap();
    assert!(!has_base(&scratch) && !base_path(&scratch.target(), 1).exists());
}

/// Each alias of the list is a thousand steps; an input has 50,000, and a snapshot upon which there are changes at most half of them.
#[test]
fn aliases_are_followed_as_far_by_changes_as_by_a_whole_compile() {
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let mut source = Source::new(&scratch, 1);
    let ends = (0..1000).map(|number| format!("u{number}@far.test")).collect::<Vec<_>>().join("\n");
    let names: Vec<String> = (0..80).map(|number| format!("a{number}@local.test")).collect();
    let list = |source: &mut Source, numbers: std::ops::Range<usize>, target: &str| {
        for (entry, name) in (0..).zip(&names).skip(numbers.start).take(numbers.len()) {
            source.change(entry, &[(name, target)]);
        }
    };
    let asked = [names.as_slice(), &["list@local.test".to_owned()]].concat();
    let compiled = |source: &Source, changes: bool| {
        let inputs = [source.input.clone()];
        compile_with(&inputs, &scratch.target(), &scope(), any).unwrap();
        compile(&inputs, &other.target(), &scope()).unwrap();
        let [made, whole] = [&scratch, &other].map(|scratch| Directory::open(&scratch.target()).unwrap());
        let found = answers(&made, &asked);
        assert_eq!(found, answers(&whole, &asked));
        assert_eq!(has_base(&scratch), changes);
        found.iter().filter(|resolution| resolution.answer.found == Found::Alias).count()
    };
    source.change(100, &[("list@local.test", &ends)]);
    list(&mut source, 0..80, "");
    list(&mut source, 0..25, "list@local.test");
    assert_eq!(compiled(&source, false), 26);
    list(&mut source, 25..50, "list@local.test");
    assert_eq!(compiled(&source, true), 51);
    list(&mut source, 50..51, "list@local.test");
    assert_eq!(compiled(&source, false), 51, "one is too many");
    list(&mut source, 0..2, "");
    assert_eq!(compiled(&source, false), 50, "half is left of none");
    source.change(100, &[("list@local.test", "u1@far.test")]);
    assert_eq!(compiled(&source, false), 50);
    list(&mut source, 51..80, "list@local.test");
    assert_eq!(compiled(&source, true), 79);
    source.change(100, &[("list@local.test", &ends)]);
    assert_eq!(compiled(&source, false), 51);
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const DOMAINS: [&str; 3] = ["local.test", "two.test", "old.test"];

/// The text of an address: one of those above, in one of several spellings; now and then an exclusion.
fn text_strategy() -> impl Strategy<Value = String> {
    (0..5_usize, 0..3_usize, 0..12_u8).prop_map(|(name, domain, spelling)| {
        let address = format!("{}@{}", NAMES[name], DOMAINS[domain]);
        match spelling {
            0 | 1 => format!("!{address}"),
            2 | 3 => address.to_uppercase(),
            4 => format!("{address}."),
            _ => address,
        }
    })
}

/// Targets, none at all more often than not; the last is nowhere in the directory.
fn targets_strategy() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        3 => prop::collection::vec((0..6_usize, 0..3_usize), 1..4).prop_map(|targets| {
            let one = |(name, domain): &(usize, usize)| {
                NAMES.get(*name).map_or("far@far.test".to_owned(), |name| format!("{name}@{}", DOMAINS[*domain]))
            };
            targets.iter().map(one).collect::<Vec<String>>().join("\n")
        }),
    ]
}

/// Rows of an entry.
fn rows_strategy() -> impl Strategy<Value = Vec<(String, String)>> {
    let domain = prop_oneof![
        Just(("@two.test".to_owned(), String::new())),
        Just(("@old.test".to_owned(), "@two.test".to_owned())),
        Just(("@old.test".to_owned(), "a@local.test".to_owned())),
    ];
    let row = prop_oneof![40 => (text_strategy(), targets_strategy()), 1 => domain, 1 => Just(("a b".to_owned(), String::new()))];
    prop::collection::vec(row, 0..4)
}

proptest! {
    #[test]
    fn any_history_answers_as_a_whole_compile(
        text in prop::sample::select(vec![
            "x@local.test\n",
            "@old.test = @local.test\na@local.test = b@local.test, far@far.test\n!c@local.test\n",
            "@two.test = @local.test\n@old.test\nb@two.test\ne@local.test = d@local.test\n",
            "@old.test = b@local.test, c@two.test\n!a@old.test\n",
        ]),
        begun in prop::collection::vec((0..2_usize, 1..6_i64, rows_strategy()), 0..8),
        history in prop::collection::vec((0..2_usize, 1..6_i64, rows_strategy()), 1..10),
        whole_at in prop::option::of(0..10_usize),
    ) {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let mut sources = [Source::new(&scratch, 1), Source::new(&scratch, 2)];
        let text = Input::text(&scratch.source(text.as_bytes()));
        let inputs = [text, sources[0].input.clone(), sources[1].input.clone()];
        let addresses = asked(&[&NAMES as &[&str], &["x", "far"]].concat(), &DOMAINS);
        let apply = |sources: &mut [Source; 2], (source, entry, rows): &(usize, i64, Vec<(String, String)>)| {
            let rows: Vec<(&str, &str)> = rows.iter().map(|(text, targets)| (text.as_str(), targets.as_str())).collect();
            sources[*source].change(*entry, &rows);
        };
        for change in &begun {
            apply(&mut sources, change);
        }
        compile_with(&inputs, &scratch.target(), &scope(), any).unwrap();
        for (number, change) in history.iter().enumerate() {
            apply(&mut sources, change);
            if whole_at == Some(number) {
                sources[change.0].forget_history();
            }
            let by_changes = compile_with(&inputs, &scratch.target(), &scope(), any).unwrap();
            let whole = compile(&inputs, &other.0.join(format!("{number}.snapshot")), &scope()).unwrap();
            prop_assert_eq!(&by_changes.problems, &whole.problems);
            if !whole.problems.is_empty() {
                continue;
            }
            prop_assert_eq!(by_changes.entries, whole.entries);
            let made = Directory::open(&scratch.target()).unwrap();
            let expected = Directory::open(&other.0.join(format!("{number}.snapshot"))).unwrap();
            prop_assert_eq!(made.entries(), expected.entries());
            prop_assert_eq!(made.tables(), expected.tables());
            prop_assert_eq!(made.stamp(), expected.stamp());
            for ((address, got), wanted) in
                addresses.iter().zip(answers(&made, &addresses)).zip(answers(&expected, &addresses))
            {
                prop_assert_eq!(got, wanted, "{} after {} changes", address, number + 1);
            }
        }
    }
}
