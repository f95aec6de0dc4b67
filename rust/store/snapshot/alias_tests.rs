//! Aliases and other names of domains: where they lead, and what cannot be followed.

#![allow(clippy::format_collect)]

use proptest::prelude::*;

use super::table_tests::{rows, table};
use super::tests::{Scratch, plus, scope, sentences};
use super::*;
use crate::machine::message::address::{Address, Limits};

fn directory(scratch: &Scratch, text: &str) -> Directory {
    let compiled = compile(&[Input::text(&scratch.source(text.as_bytes()))], &scratch.target(), &scope()).unwrap();
    assert_eq!(compiled.problems, []);
    Directory::open(&scratch.target()).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    let scratch = Scratch::new();
    sentences(&compile(&[Input::text(&scratch.source(text.as_bytes()))], &scratch.target(), &scope()).unwrap().problems)
}

/// What is found of an address, on which line, and its targets.
fn resolved(directory: &Directory, address: &str) -> (Found, u32, String) {
    let address = Address::parse(address.as_bytes(), &Limits::default()).unwrap();
    let Resolution { answer, targets, .. } = directory.resolve(&address, &plus());
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    (answer.found, answer.line, targets.join(" "))
}

fn expect(directory: &Directory, address: &str, found: Found, line: u32, targets: &str) {
    assert_eq!(resolved(directory, address), (found, line, targets.to_owned()), "{address}");
}

#[test]
fn an_alias_leads_to_its_ends() {
    let scratch = Scratch::new();
    let text = "Ann@local.test\ninfo = Ann, bob@Other.test # two\nsales@local.test = info@local.test,\tann, cid@local.test\n\
                a=b@local.test\n\"x = y\"@local.test = a=b@local.test\nann.keeps = ann.keeps, bob@other.test\ncid\nvia = ann.keeps\n";
    let made = directory(&scratch, text);
    expect(&made, "ann@local.test", Found::Address, 1, "");
    expect(&made, "INFO@local.test", Found::Alias, 2, "Ann@local.test bob@other.test");
    expect(&made, "info+tag@local.test", Found::Alias, 2, "Ann@local.test bob@other.test");
    expect(&made, "sales@local.test", Found::Alias, 3, "Ann@local.test bob@other.test cid@local.test");
    expect(&made, "a=b@local.test", Found::Address, 4, "");
    expect(&made, "\"x = y\"@local.test", Found::Alias, 5, "a=b@local.test");
    expect(&made, "ann.keeps@local.test", Found::Alias, 6, "ann.keeps@local.test bob@other.test");
    expect(&made, "via@local.test", Found::Alias, 8, "ann.keeps@local.test bob@other.test");
    assert_eq!(made.entries(), 8);
}

#[test]
fn another_name_of_a_domain_has_its_addresses() {
    let scratch = Scratch::new();
    let text = "@old.test = @new.test\n@older.test = @old.test\nann@new.test\n!gone@new.test\nteam@new.test = ann@new.test\n\
                @every.test\n!left@every.test\n@whole.test = @every.test\nown@old.test\nvia@local.test = ann@older.test\n";
    let made = directory(&scratch, text);
    expect(&made, "Ann@old.test", Found::Alias, 3, "Ann@new.test");
    expect(&made, "ann+Tag@older.test", Found::Alias, 3, "ann+Tag@new.test");
    expect(&made, "gone@old.test", Found::Excluded, 4, "");
    expect(&made, "team@older.test", Found::Alias, 5, "ann@new.test");
    expect(&made, "none@old.test", Found::Absent, 1, "none@new.test");
    expect(&made, "none@older.test", Found::Absent, 2, "none@old.test none@new.test");
    expect(&made, "Any@whole.test", Found::AliasDomain, 6, "Any@every.test");
    expect(&made, "left@whole.test", Found::Excluded, 7, "");
    expect(&made, "a%b@whole.test", Found::OtherRoute, 6, "");
    expect(&made, "a%b@every.test", Found::OtherRoute, 6, "");
    expect(&made, "own@old.test", Found::Address, 9, "");
    expect(&made, "own@older.test", Found::Alias, 9, "own@old.test");
    expect(&made, "via@local.test", Found::Alias, 10, "ann@new.test");
}

#[test]
fn the_mail_of_a_whole_domain_goes_to_others() {
    let scratch = Scratch::new();
    let text = "@all.test = Boss@local.test, team@local.test\nteam@local.test = ann@local.test, boss@local.test\nboss@local.test\n\
                own@all.test\n!gone@all.test\nalias@all.test = own@all.test\n@other.test = @all.test\n\
                @self.test = me@self.test\n@twice.test = me@self.test, own@all.test\nvia@local.test = any@all.test\n";
    let made = directory(&scratch, text);
    let ends = "Boss@local.test ann@local.test";
    expect(&made, "any@all.test", Found::CatchAll, 1, ends);
    expect(&made, "any+tag@all.test", Found::CatchAll, 1, ends);
    expect(&made, "own@all.test", Found::Address, 4, "");
    expect(&made, "own+tag@all.test", Found::Address, 4, "");
    expect(&made, "gone@all.test", Found::Excluded, 5, "");
    expect(&made, "alias@all.test", Found::Alias, 6, "own@all.test");
    expect(&made, "any@other.test", Found::CatchAll, 1, ends);
    expect(&made, "own@other.test", Found::Alias, 4, "own@all.test");
    expect(&made, "a%b@all.test", Found::OtherRoute, 1, "");
    expect(&made, "any@self.test", Found::CatchAll, 8, "me@self.test");
    expect(&made, "me@self.test", Found::CatchAll, 8, "me@self.test");
    expect(&made, "any@twice.test", Found::CatchAll, 9, "me@self.test own@all.test");
    expect(&made, "via@local.test", Found::Alias, 10, ends);
}

#[test]
fn a_table_has_the_targets_of_whole_domains_together() {
    let scratch = Scratch::new();
    let table = rows(
        &table(&scratch, 1, 1, &[]),
        &[
            (1, "@all.test", "a@far.test"),
            (2, "@all.test", "b@far.test\na@far.test"),
            (3, "@bad.test", "two words"),
            (4, "@circle.test", "x@back.test"),
            (5, "@back.test", "x@circle.test"),
        ],
    );
    let compiled = compile(&[table], &scratch.target(), &scope()).unwrap();
    assert_eq!((compiled.entries, compiled.problems), (4, Vec::new()));
    let made = Directory::open(&scratch.target()).unwrap();
    expect(&made, "any@all.test", Found::CatchAll, 1, "a@far.test b@far.test");
    expect(&made, "any@bad.test", Found::Domain, 3, "");
    expect(&made, "any@circle.test", Found::Domain, 4, "");
}

#[test]
fn an_alias_has_room_for_all_the_targets_that_it_may_have() {
    let wide =
        |width: usize| (0..width).map(|n| format!("{}{n}@local.test", "a".repeat(60))).collect::<Vec<_>>().join(", ");
    let scratch = Scratch::new();
    let made = directory(&scratch, &format!("all = {}\n@b.test\n", wide(1000)));
    assert_eq!(resolved(&made, "all@local.test").2.split(' ').count(), 1000);
    expect(&made, "x@b.test", Found::Domain, 2, "");
    assert!(problems(&format!("all = {}", wide(1001)))[0].contains("more than 1000 addresses"));
    let long = problems(&format!("ann\nall = {}\nb@@b\n", "a".repeat(1_100_000)));
    assert!(long[0].contains("line 2: \"all = aaa") && long[0].contains("longer than 1026048 octets"), "{}", long[0]);
    assert!(long[1].starts_with("line 3:"), "{}", long[1]);
}

#[test]
fn what_cannot_be_an_alias_is_named_with_what_to_write() {
    for (line, fix) in [
        ("a =", "nothing is behind the ="),
        ("!a = b", "Remove the ! or the ="),
        ("a = @b.test", "only addresses may be behind the ="),
        ("@a.test = @b.test, b@c.test", "another name of one domain"),
        ("@a.test = b%c@c.test", "as a program, a file"),
        ("@a.test = a@b.test\n@b.test = b@a.test", "it leads back to a.test"),
        ("@a.test\n@a.test = a@b.test", "line 1 says something else. Keep one of the two lines"),
        ("@a.test = @b.test, @c.test", "another name of one domain"),
        ("@a.test = @A.test", "cannot be another name of itself"),
        ("a = |/bin/sh", "as a program, a file"),
        ("a = b%c.test@local.test", "as a program, a file"),
        ("a = Bob <b@local.test>", "angle brackets"),
        ("Postmaster = a", "Set recipients.postmaster"),
        ("a = b c", "\"b c\": "),
        ("a = b\na = c", "line 1 says something else. Keep one of the two lines"),
        ("a\na = c", "line 1 says something else. Keep one of the two lines"),
        ("a = b\n!a", "line 1 says the opposite"),
        ("a = b\nb = c\nc = a", "line 1: \"a@local.test\": it leads back to a@local.test"),
        ("@a.test = @b.test\n@b.test = @a.test\nx", "leads back to itself"),
    ] {
        let found = problems(line);
        assert!(found.iter().any(|problem| problem.contains(fix)), "{line}: {found:?}");
    }
    let chain = |length: usize| -> String { (0..length).map(|n| format!("a{n} = a{}\n", n + 1)).collect() };
    assert_eq!(problems(&chain(10)), Vec::<String>::new());
    assert!(problems(&chain(11))[0].contains("more than 10 aliases lead from one to the next"));
    let wide = |width: usize| (0..width).map(|n| format!("a{n}@x.test")).collect::<Vec<_>>().join(",");
    assert!(problems(&format!("a = {}", wide(100))).is_empty());
    let sum: String = (0..11).map(|n| format!("b{n} = {}\n", wide(100).replace('@', &format!("-{n}@")))).collect();
    let all = (0..11).map(|n| format!("b{n}")).collect::<Vec<_>>().join(",");
    assert!(problems(&format!("{sum}all = {all}")).iter().any(|problem| problem.contains("more than 1000 addresses")));
}

#[test]
fn an_address_of_a_table_is_never_lost_over_its_targets() {
    let scratch = Scratch::new();
    let table = rows(
        &table(&scratch, 1, 1, &[]),
        &[
            (1, "a@local.test", "b@local.test"),
            (2, "b@local.test", "a@local.test"),
            (3, "c@local.test", "ann@local.test\nbob@other.test"),
            (4, "d@local.test", "two words"),
            (5, "e@local.test", "c@local.test"),
        ],
    );
    let compiled = compile(&[table], &scratch.target(), &scope()).unwrap();
    assert_eq!(compiled.problems, []);
    let warnings = sentences(&compiled.warnings);
    assert!(warnings[0].starts_with("1 addresses are delivered to themselves"), "{warnings:?}");
    assert_eq!(warnings[1], "entry 1: \"a@local.test\": it leads back to a@local.test. It is delivered to itself");
    assert_eq!(warnings.len(), 3);
    let made = Directory::open(&scratch.target()).unwrap();
    for (name, line) in [("a", 1), ("b", 2), ("d", 4)] {
        expect(&made, &format!("{name}@local.test"), Found::Address, line, "");
    }
    expect(&made, "e@local.test", Found::Alias, 5, "ann@local.test bob@other.test");
}

/// Who may write into a directory keeps no snapshot from being replaced, and takes no mail from the other targets of an alias of the file.
#[test]
fn what_a_table_says_is_no_mistake_of_the_text_file() {
    let scratch = Scratch::new();
    let text = "a = b, ann\nlist = t1@local.test, t2@local.test\nlong = b0@local.test\n@old.test = @new.test\nold = x@new.test\nann\n";
    let more = (0..900).map(|number| format!("x{number}@far.test")).collect::<Vec<_>>().join("\n");
    let chain: Vec<(i64, String, String)> = (0..12)
        .map(|number| (20 + number, format!("b{number}@local.test"), format!("b{}@local.test", number + 1)))
        .collect();
    let mut first = vec![(1, "b@local.test", "a@local.test\nmallory@far.test"), (2, "@new.test", "@old.test")];
    first.extend(chain.iter().map(|(entry, text, target)| (*entry, text.as_str(), target.as_str())));
    let second = [
        (1, "t1@local.test", "t2@local.test\nlist@local.test"),
        (2, "t2@local.test", "bob@far.test"),
        (3, "t3@local.test", more.as_str()),
    ];
    let inputs = [
        Input::text(&scratch.source(text.as_bytes())),
        rows(&table(&scratch, 1, 1, &[]), &first),
        rows(&table(&scratch, 2, 1, &[]), &second),
    ];
    let compiled = compile(&inputs, &scratch.target(), &scope()).unwrap();
    assert_eq!(compiled.problems, []);
    let made = Directory::open(&scratch.target()).unwrap();
    expect(&made, "a@local.test", Found::Alias, 1, "b@local.test ann@local.test");
    expect(&made, "b@local.test", Found::Address, 1, "");
    expect(&made, "list@local.test", Found::Alias, 2, "t1@local.test bob@far.test");
    expect(&made, "t1@local.test", Found::Address, 1, "");
    assert_eq!(resolved(&made, "long@local.test").0, Found::Alias);
    expect(&made, "any@old.test", Found::Damaged, 0, "");
    expect(&made, "old@local.test", Found::Address, 5, "");
}

/// Nine layers of aliases, of which each leads to all of the next one: few rows, and a step for each pair of them.
#[test]
fn aliases_that_lead_to_one_another_are_followed_within_bounds_and_hold_up_no_other_table() {
    let scratch = Scratch::new();
    let layer = |depth: usize| (0..30).map(move |n| format!("l{depth}-{n}@local.test")).collect::<Vec<_>>();
    let names: Vec<Vec<String>> = (0..10).map(layer).collect();
    let targets: Vec<String> = names.iter().skip(1).map(|next| next.join("\n")).collect();
    let listed: Vec<(i64, &str, &str)> = names
        .iter()
        .zip(targets.iter().map(String::as_str).chain([""]))
        .flat_map(|(layer, targets)| layer.iter().map(move |name| (name.as_str(), targets)))
        .zip(1..)
        .map(|((name, targets), entry)| (entry, name, targets))
        .collect();
    let many = rows(&table(&scratch, 1, 1, &[]), &listed);
    let few = [
        (1, "x@local.test", "y@local.test"),
        (2, "y@local.test", "z@far.test"),
        (3, "w@local.test", "l0-0@local.test"),
    ];
    let few = rows(&table(&scratch, 2, 1, &[]), &few);
    let compiled = compile(&[many, few], &scratch.target(), &scope()).unwrap();
    assert_eq!((compiled.entries, compiled.problems), (303, Vec::new()));
    let warnings = sentences(&compiled.warnings);
    let end = "aliases that lead to aliases have more than 50000 targets in all. It is delivered to itself";
    assert!(warnings[0].ends_with(end), "{warnings:?}");
    let made = Directory::open(&scratch.target()).unwrap();
    expect(&made, "l0-0@local.test", Found::Alias, 1, &names[9].join(" "));
    expect(&made, "l7-29@local.test", Found::Address, 240, "");
    expect(&made, "x@local.test", Found::Alias, 1, "z@far.test");
    expect(&made, "w@local.test", Found::Alias, 3, &names[9].join(" "));
}

/// Sixty aliases of a list of another input are too many, of the text file, too: their own fault, and not that of whom they lead to.
#[test]
fn aliases_of_a_list_of_another_input_take_nothing_from_its_own() {
    let scratch = Scratch::new();
    let ends = (0..1000).map(|number| format!("u{number}@far.test")).collect::<Vec<_>>();
    let text = format!("own = all\nall = {}\n", ends.join(", "));
    let lists =
        [(1, "list@local.test", ends.join("\n")), (2, "via@local.test", "list@local.test\nall@local.test".to_owned())];
    let lists: Vec<(i64, &str, &str)> =
        lists.iter().map(|(entry, text, targets)| (*entry, *text, targets.as_str())).collect();
    let names: Vec<String> = (0..60).map(|number| format!("a{number}@local.test")).collect();
    let led = |target| names.iter().zip(1..).map(|(name, entry)| (entry, name.as_str(), target)).collect::<Vec<_>>();
    for target in ["list@local.test", "all@local.test"] {
        let inputs = [
            Input::text(&scratch.source(text.as_bytes())),
            rows(&table(&scratch, 1, 1, &[]), &led(target)),
            rows(&table(&scratch, 2, 1, &[]), &lists),
        ];
        let compiled = compile(&inputs, &scratch.target(), &scope()).unwrap();
        assert_eq!(compiled.problems, []);
        let made = Directory::open(&scratch.target()).unwrap();
        expect(&made, "a49@local.test", Found::Alias, 50, &ends.join(" "));
        expect(&made, "a50@local.test", Found::Address, 51, "");
        expect(&made, "own@local.test", Found::Alias, 1, &ends.join(" "));
        expect(&made, "via@local.test", Found::Alias, 2, &ends.join(" "));
    }
}

/// As SQL schemas have it with a row for each target, and two objects of a directory with one address.
#[test]
fn entries_of_one_table_with_one_address_have_their_targets_together() {
    let scratch = Scratch::new();
    let table = rows(
        &table(&scratch, 1, 1, &[]),
        &[
            (1, "all@local.test", "a@far.test"),
            (2, "ALL@local.test", "b@far.test"),
            (3, "all@local.test", "b@far.test\nc@far.test"),
            (4, "keeps@local.test", ""),
            (5, "keeps@local.test", "a@far.test"),
            (6, "own@local.test", "own@local.test\na@far.test"),
            (7, "twice@local.test", ""),
            (8, "twice@local.test", ""),
            (9, "more@local.test", "all@local.test"),
        ],
    );
    let compiled = compile(&[table], &scratch.target(), &scope()).unwrap();
    assert_eq!((compiled.entries, compiled.warnings), (5, Vec::new()));
    let made = Directory::open(&scratch.target()).unwrap();
    expect(&made, "all@local.test", Found::Alias, 1, "a@far.test b@far.test c@far.test");
    expect(&made, "keeps@local.test", Found::Alias, 4, "keeps@local.test a@far.test");
    expect(&made, "own@local.test", Found::Alias, 6, "own@local.test a@far.test");
    expect(&made, "twice@local.test", Found::Address, 7, "");
    expect(&made, "more@local.test", Found::Alias, 9, "a@far.test b@far.test c@far.test");
}

#[test]
fn a_target_that_no_input_lists_is_a_warning() {
    let scratch = Scratch::new();
    let scope = Scope { local_domains: ["local.test".to_owned()].into(), ..scope() };
    let text = b"ann\ninfo = ann, bob, cid@far.test, gone\n!gone\n";
    let compiled = compile(&[Input::text(&scratch.source(text))], &scratch.target(), &scope).unwrap();
    assert_eq!(
        sentences(&compiled.warnings),
        [
            "line 2: \"info@local.test\": its mail goes to bob@local.test, which is not listed",
            "line 2: \"info@local.test\": its mail goes to gone@local.test, which is not listed",
        ]
    );
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Where an alias of the model leads to, by way of the aliases in `path`; None when that is a circle.
fn ends(aliases: &[Option<Vec<usize>>], name: usize, path: &[usize]) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for target in aliases[name].iter().flatten() {
        let leads_on = aliases[*target].is_some() && *target != name;
        if leads_on && path.contains(target) {
            return None;
        }
        let more = if leads_on { ends(aliases, *target, &[path, &[*target]].concat())? } else { vec![*target] };
        found.extend(more);
    }
    Some(found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_aliases_equal_a_plain_model(
        aliases in prop::collection::vec(prop::option::of(prop::collection::vec(0..6_usize, 1..3)), 6),
    ) {
        let address = |name: usize| format!("{}@m.test", NAMES[name]);
        let line = |(name, targets): (usize, &Option<Vec<usize>>)| match targets {
            Some(targets) => format!("{} = {}", address(name), targets.iter().map(|one| address(*one)).collect::<Vec<_>>().join(", ")),
            None => address(name),
        };
        let text: Vec<String> = aliases.iter().enumerate().map(line).collect();
        let scratch = Scratch::new();
        let compiled = compile(&[Input::text(&scratch.source(text.join("\n").as_bytes()))], &scratch.target(), &scope()).unwrap();
        let model: Vec<Option<Vec<usize>>> = (0..6).map(|name| ends(&aliases, name, &[name])).collect();
        prop_assert_eq!(compiled.problems.is_empty(), model.iter().all(Option::is_some), "{:?}: {:?}", text, compiled);
        if compiled.problems.is_empty() {
            let made = Directory::open(&scratch.target()).unwrap();
            for (name, ends) in model.iter().enumerate() {
                let mut wanted: Vec<String> = Vec::new();
                for end in ends.iter().flatten().map(|end| address(*end)) {
                    if !wanted.contains(&end) {
                        wanted.push(end);
                    }
                }
                prop_assert_eq!(resolved(&made, &address(name)).2, wanted.join(" "), "{:?}", text);
            }
        }
    }
}

#[test]
fn what_is_absent_under_another_name_says_at_which_domain_it_may_be() {
    let scratch = Scratch::new();
    let made = directory(&scratch, "@older.test = @old.test\n@old.test = @new.test\n!gone@new.test\nann@local.test\n");
    expect(&made, "Bob+tag@older.test", Found::Absent, 1, "Bob+tag@old.test Bob+tag@new.test");
    expect(&made, "gone@old.test", Found::Excluded, 3, "");
    expect(&made, "bob@new.test", Found::Absent, 0, "");
    expect(&made, "bob@local.test", Found::Absent, 0, "");
}
