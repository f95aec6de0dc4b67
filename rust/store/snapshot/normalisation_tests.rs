//! Options of domains: which spellings are one entry, and that a snapshot made for other options is another one.

use std::collections::BTreeMap;
use std::fmt::Write;

use proptest::prelude::*;

use super::table_tests::{rows, table};
use super::tests::{Scratch, plus, sentences};
use super::*;
use crate::machine::message::address::{Address, Case, Dots, Limits, Options};

fn normalisation() -> Normalisation {
    let options = |dots, case, delimiters: &str| Options { dots, case, delimiters: delimiters.to_owned() };
    Normalisation::new(
        "+".to_owned(),
        [
            ("dots.test".into(), options(Dots::Ignore, Case::Ignore, "+")),
            ("case.test".into(), options(Dots::Keep, Case::Keep, "")),
            ("minus.test".into(), options(Dots::Keep, Case::Ignore, "-=")),
        ],
    )
}

fn scope() -> Scope {
    Scope { normalisation: normalisation(), ..super::tests::scope() }
}

fn directory(scratch: &Scratch, text: &str) -> Directory {
    let compiled = compile(&[Input::text(&scratch.source(text.as_bytes()))], &scratch.target(), &scope()).unwrap();
    assert_eq!(sentences(&compiled.problems), Vec::<String>::new());
    Directory::open(&scratch.target()).unwrap()
}

fn resolve(directory: &Directory, address: &str) -> (Found, u32, String, String) {
    let address = Address::parse(address.as_bytes(), &Limits::default()).unwrap();
    let Resolution { answer, listed, targets } = directory.resolve(&address, &normalisation());
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    (answer.found, answer.line, listed.map(|listed| listed.to_string()).unwrap_or_default(), targets.join(" "))
}

#[test]
#[rustfmt::skip] // a table
fn each_domain_has_its_spellings() {
    let scratch = Scratch::new();
    let directory = directory(
        &scratch,
        "a.lice@dots.test\nboss@dots.test = a.l.ice@dots.test, x.y@other.test\n!no.body@dots.test\n\"...\"@dots.test\n\
         Bob@case.test\nbob@case.test = b.o.b@other.test\nann@minus.test\nann@other.test\n@all.test\nlist-old@minus.test\n",
    );
    for (address, found, line, listed, targets) in [
        ("a.LI.ce@dots.test", Found::Address, 1, "aLIce@dots.test", ""),
        ("alice@dots.test", Found::Address, 1, "", ""),
        ("al.ice+n.ews@dots.test", Found::Address, 1, "alice@dots.test", ""),
        ("b.oss@dots.test", Found::Alias, 2, "boss@dots.test", "a.l.ice@dots.test x.y@other.test"),
        ("nobody@dots.test", Found::Excluded, 3, "", ""),
        ("n.obody+x@dots.test", Found::Excluded, 3, "nobody@dots.test", ""),
        ("\"...\"@dots.test", Found::Address, 4, "", ""),
        ("\"..\"@dots.test", Found::Absent, 0, "", ""),
        ("Bob@CASE.test", Found::Address, 5, "", ""),
        ("bob@case.test", Found::Alias, 6, "", "b.o.b@other.test"),
        ("BOB@case.test", Found::Absent, 0, "", ""),
        ("Bob+x@case.test", Found::Absent, 0, "", ""),
        ("Ann-x+y@minus.test", Found::Address, 7, "Ann@minus.test", ""),
        ("ann=x@minus.test", Found::Address, 7, "ann@minus.test", ""),
        ("ann+x@minus.test", Found::Absent, 0, "", ""),
        ("list-old@minus.test", Found::Address, 10, "", ""),
        ("ann-x@other.test", Found::Absent, 0, "", ""),
        ("a.nn@other.test", Found::Absent, 0, "", ""),
        ("ann+x@other.test", Found::Address, 8, "ann@other.test", ""),
        ("a.b+x@all.test", Found::Domain, 9, "", ""),
    ] {
        assert_eq!(resolve(&directory, address), (found, line, listed.to_owned(), targets.to_owned()), "{address}");
    }
}

/// At each domain its own options count, where it is another name of the next.
#[test]
fn another_name_of_a_domain_has_options_of_its_own() {
    let scratch = Scratch::new();
    let directory = directory(
        &scratch,
        "alice@dots.test\n@minus.test = @dots.test\nal-ice@minus.test\n@dots.test = @case.test\nBob@case.test\n@old.test = @minus.test\n",
    );
    for (address, found, line, listed, targets) in [
        ("a.l.ice@minus.test", Found::Alias, 1, "", "a.l.ice@dots.test"),
        ("a.l-ice@minus.test", Found::Absent, 2, "", "a.l-ice@dots.test a.l-ice@case.test"),
        ("al-ice@minus.test", Found::Address, 3, "", ""),
        ("al-ice-x@minus.test", Found::Absent, 2, "", "al-ice-x@dots.test al-ice-x@case.test"),
        ("ali.ce+x@minus.test", Found::Alias, 1, "ali.ce@minus.test", "ali.ce+x@dots.test"),
        ("Bob@minus.test", Found::Alias, 5, "", "Bob@case.test"),
        ("B.ob@dots.test", Found::Absent, 4, "", "B.ob@case.test"),
        ("bob@dots.test", Found::Absent, 4, "", "bob@case.test"),
        ("al-ice@old.test", Found::Alias, 3, "", "al-ice@minus.test"),
        ("ALICE@old.test", Found::Alias, 1, "", "ALICE@dots.test"),
    ] {
        assert_eq!(resolve(&directory, address), (found, line, listed.to_owned(), targets.to_owned()), "{address}");
    }
}

/// Mail to a subaddress of an alias goes to that subaddress of its targets, where those are ours and have none.
#[test]
#[rustfmt::skip] // a table
fn the_detail_of_a_subaddress_goes_on_to_the_targets_of_its_alias() {
    let ours = ["dots.test", "minus.test", "plus.test", "case.test", "old.test"];
    let normalisation = normalisation().with_ours(ours.into_iter().map(Into::into));
    let scratch = Scratch::new();
    let directory = directory(
        &scratch,
        "all@dots.test = ann@plus.test, bob@minus.test, cid@case.test, dan@far.test, eve+own@plus.test\nvia@minus.test = all@dots.test\n\
         keeps@plus.test = keeps@plus.test, ann@plus.test\n!ann+gone@plus.test\nann+list@plus.test = bob@minus.test, dan@far.test\n\
         ann+kept@plus.test\nexact@plus.test = ann@plus.test\nexact+x@plus.test = bob@minus.test\n@old.test = @minus.test\nann@minus.test\n\
         @any.test = ann@plus.test\n",
    );
    for (address, targets) in [
        ("A.ll+X.y@dots.test", "ann+X.y@plus.test bob-X.y@minus.test cid@case.test dan@far.test eve+own@plus.test"),
        ("all@dots.test", "ann@plus.test bob@minus.test cid@case.test dan@far.test eve+own@plus.test"),
        ("via=x-y@minus.test", "ann+x-y@plus.test bob=x-y@minus.test cid@case.test dan@far.test eve+own@plus.test"),
        ("keeps+x@plus.test", "keeps+x@plus.test ann+x@plus.test"),
        ("keeps+gone@plus.test", "keeps+gone@plus.test ann@plus.test"),
        ("keeps+list@plus.test", "keeps+list@plus.test bob@minus.test dan@far.test"),
        ("keeps+kept@plus.test", "keeps+kept@plus.test ann+kept@plus.test"),
        ("exact+x@plus.test", "bob@minus.test"),
        ("via+x@old.test", "via+x@minus.test"), // absent there
        ("via-x@old.test", "ann+x@plus.test bob-x@minus.test cid@case.test dan@far.test eve+own@plus.test"),
        ("ann-x@old.test", "ann-x@minus.test"),
        ("ann@old.test", "ann@minus.test"),
        ("ann+x@any.test", "ann@plus.test"),
    ] {
        let parsed = Address::parse(address.as_bytes(), &Limits::default()).unwrap();
        let found: Vec<String> = directory.resolve(&parsed, &normalisation).targets.iter().map(ToString::to_string).collect();
        assert_eq!(found.join(" "), targets, "{address}");
    }
}

#[test]
fn spellings_that_contradict_each_other_are_a_mistake() {
    let scratch = Scratch::new();
    let text = scratch.source(b"a.lice@dots.test\n!al.ice@dots.test\nBob@case.test\n!bob@case.test\n");
    let compiled = compile(&[Input::text(&text)], &scratch.target(), &scope()).unwrap();
    assert_eq!(
        sentences(&compiled.problems),
        ["line 2: \"alice@dots.test\": line 1 says the opposite. Keep one of the two lines"]
    );
}

#[test]
fn a_circle_of_spellings_is_found() {
    let scratch = Scratch::new();
    let text = scratch.source(
        b"a.b@dots.test = c.d@dots.test\ncd@dots.test = ab@dots.test\nx@case.test = X@case.test\nX@case.test\n",
    );
    let compiled = compile(&[Input::text(&text)], &scratch.target(), &scope()).unwrap();
    assert_eq!(sentences(&compiled.problems).len(), 2, "{:?}", compiled.problems);
}

#[test]
fn rows_of_a_table_are_one_entry_by_the_options() {
    let scratch = Scratch::new();
    let listed = [
        (1, "a.b@dots.test", "x@other.test"),
        (2, "ab@dots.test", "y@other.test"),
        (3, "Q@case.test", ""),
        (4, "q@case.test", "z@other.test"),
    ];
    let compiled = compile(&[rows(&table(&scratch, 1, 1, &[]), &listed)], &scratch.target(), &scope()).unwrap();
    assert_eq!((compiled.entries, sentences(&compiled.warnings)), (3, Vec::new()));
    let directory = Directory::open(&scratch.target()).unwrap();
    assert_eq!(resolve(&directory, "A.B@dots.test").3, "x@other.test y@other.test");
    assert_eq!(resolve(&directory, "Q@case.test"), (Found::Address, 3, String::new(), String::new()));
    assert_eq!(resolve(&directory, "q@case.test").3, "z@other.test");
}

#[test]
fn a_snapshot_of_other_options_is_another_one() {
    let scratch = Scratch::new();
    let directory = directory(&scratch, "a.b@dots.test\n");
    let inputs = [Input::text(&scratch.0.join("recipients"))];
    assert!(directory.is_for(&inputs, &scope()));
    assert!(!directory.is_for(&inputs, &Scope { normalisation: plus(), ..scope() }));
}

proptest! {
    /// As a map from the key of each entry to whether it exists.
    #[test]
    fn it_is_a_map_of_keys(
        entries in proptest::collection::vec(("!?", "[aAb.\u{e4}\u{c4}+-]{1,4}", "(dots|case|minus|other)"), 1..20),
        asked in proptest::collection::vec(("[aAb.\u{e4}\u{c4}+-]{1,5}", "(dots|case|minus|other)"), 1..20),
    ) {
        let read = |local: &str, domain: &str| Address::parse(format!("\"{local}\"@{domain}.test").as_bytes(), &Limits::default()).unwrap();
        let (mut model, mut text) = (BTreeMap::new(), String::new());
        for (not, local, domain) in &entries {
            let address = read(local, domain);
            let exists = not.is_empty();
            if *model.entry(normalisation().key(&address)).or_insert(exists) == exists {
                let _ = writeln!(text, "{not}\"{local}\"@{domain}.test"); // to a String it cannot fail
            }
        }
        let scratch = Scratch::new();
        let directory = directory(&scratch, &text);
        prop_assert_eq!(directory.entries(), model.len() as u64);
        for (local, domain) in asked.iter().map(|(local, domain)| (local, domain)).chain(entries.iter().map(|(_, local, domain)| (local, domain))) {
            let address = read(local, domain);
            let user = address.without_detail(normalisation().delimiters(address.domain()));
            let exists = [Some(address.clone()), user].iter().flatten().find_map(|each| model.get(&normalisation().key(each)).copied());
            let found = directory.resolve(&address, &normalisation()).answer.found;
            prop_assert_eq!(found, match exists { Some(true) => Found::Address, Some(false) => Found::Excluded, None => Found::Absent }, "{}", address);
        }
    }
}
