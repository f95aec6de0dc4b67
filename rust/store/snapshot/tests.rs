#![allow(clippy::format_collect, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::compile::{MAX_LINE, NO_LIMITS};
use super::format::{HEADER, Header, MAGIC, VERSION, hash};
use super::*;
use crate::machine::message::address::Address;

pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!("mailmoat-snapshot-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn source(&self, text: &[u8]) -> PathBuf {
        let path = self.0.join("recipients");
        fs::write(&path, text).unwrap();
        path
    }

    pub fn target(&self) -> PathBuf {
        self.0.join("directory.snapshot")
    }

    fn problems(&self, text: &[u8]) -> Vec<String> {
        let compiled = text_compiled(&self.source(text), &self.target(), &scope()).unwrap();
        assert_eq!(self.target().exists(), compiled.problems.is_empty());
        assert_eq!(fs::read_dir(&self.0).unwrap().count(), 1 + usize::from(self.target().exists()), "a draft is left");
        sentences(&compiled.problems)
    }

    fn directory(&self, text: &[u8]) -> Directory {
        assert_eq!(self.problems(text), Vec::<String>::new());
        Directory::open(&self.target()).unwrap()
    }
}

fn text_compiled(source: &Path, target: &Path, scope: &Scope) -> Result<Compiled, Failure> {
    compile(&[Input::text(source)], target, scope)
}

pub fn sentences(notes: &[Note]) -> Vec<String> {
    notes.iter().map(|(_, sentence)| sentence.clone()).collect()
}

/// Of settings without options of domains.
pub fn plus() -> Normalisation {
    Normalisation::new("+".to_owned(), [])
}

pub fn scope() -> Scope {
    Scope { default_domain: "local.test".to_owned(), ..Scope::default() }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn find(directory: &Directory, address: &str) -> (Found, u32) {
    let address = Address::parse(address.as_bytes(), &NO_LIMITS).unwrap();
    let Answer { found, line, .. } = directory.lookup(&address.key(), address.domain());
    (found, line)
}

#[test]
fn every_form_is_found() {
    let scratch = Scratch::new();
    let text = "\u{feff}# all of us\r\n\r\nInfo@Local.TEST # the desk\nbare\n@whole.test\n  !gone@whole.test\t# left\n\
                \"a #b\"@local.test\nx#y@local.test\nann@b\u{fc}cher.test\nann@local.test.\nINFO@local.test";
    let directory = scratch.directory(text.as_bytes());
    assert_eq!(find(&directory, "info@local.test"), (Found::Address, 3));
    assert_eq!(find(&directory, "BARE@local.test"), (Found::Address, 4));
    assert_eq!(find(&directory, "anybody@whole.test"), (Found::Domain, 5));
    assert_eq!(find(&directory, "Gone@WHOLE.test"), (Found::Excluded, 6));
    assert_eq!(find(&directory, "\"a #b\"@local.test"), (Found::Address, 7));
    assert_eq!(find(&directory, "x#y@local.test"), (Found::Address, 8));
    assert_eq!(find(&directory, "ann@xn--bcher-kva.test"), (Found::Address, 9));
    assert_eq!(find(&directory, "ann@local.test"), (Found::Address, 10));
    assert_eq!(find(&directory, "whole.test@local.test"), (Found::Absent, 0));
    assert_eq!(directory.lookup("whole.test", ""), Answer::of_none(Found::Absent));
    assert_eq!(directory.entries(), 8);
    let source = scratch.0.join("recipients");
    assert!(directory.is_for(&[Input::text(&source)], &scope()));
    assert!(!directory.is_for(&[Input::text(&scratch.0.join("other"))], &scope()));
    for other in [
        Scope::default(),
        Scope { local_domains: ["local.test".to_owned()].into(), ..scope() },
        Scope { unfiltered_domains: ["local.test".to_owned()].into(), ..scope() },
    ] {
        assert!(!directory.is_for(&[Input::text(&source)], &other));
    }
    assert_eq!(directory.stamp(), Stamp::of(&fs::metadata(scratch.0.join("recipients")).unwrap()));
}

#[test]
fn problems_name_line_content_and_mend() {
    let scratch = Scratch::new();
    let mut text = b"good@local.test\ntwo words@local.test\ncaf\xe9@local.test\n!@local.test\n@\n".to_vec();
    text.extend_from_slice(&[b'x'; MAX_LINE + 5]);
    text.extend_from_slice(b"\n!GOOD@local.test\n\x1b[31m@local.test\n");
    let problems = scratch.problems(&text);
    let expected = ["line 2: \"two words@", "line 3: \"caf", "line 4: \"!@local", "line 5: \"@\"", "line 6: \"xxx"];
    for (problem, beginning) in problems.iter().zip(expected) {
        assert!(problem.starts_with(beginning), "{problem}");
    }
    assert!(problems[1].contains("UTF-8"));
    assert!(problems[4].contains("longer than 2048") && problems[4].len() < 200);
    assert!(problems[5].starts_with("line 8: \"\\u{1b}[31m@local.test\""), "{}", problems[5]);
    assert_eq!(problems[6], "line 7: \"good@local.test\": line 1 says the opposite. Keep one of the two lines");
    assert_eq!(problems.len(), 7);
}

/// What address books, spreadsheets and other servers write; of some, half could be taken for an address.
#[test]
fn forms_of_other_programs_are_named_with_what_to_write() {
    let scratch = Scratch::new();
    for (line, fix) in [
        ("\"alice@example.com\"", "Write alice@example.com without the quotes"),
        ("\"alice@example.com\",\"Alice\"", "Write alice@example.com without the quotes"),
        ("!\"alice@example.com\"", "Write alice@example.com without the quotes"),
        ("alice@example.com,Alice", "Keep only the address, one on each line"),
        ("alice@example.com;bob@example.com", "Keep only the address, one on each line"),
        ("alice@example.com\tAlice", "Keep only the address, one on each line"),
        ("\"Alice\",alice@example.com", "Keep only the address, one on each line"),
        ("*@example.com", "Write @example.com for every address at example.com"),
        ("!*@example.com", "Write @example.com for every address at example.com"),
        ("Alice <alice@example.com>", "Write the address without them"),
        ("smtp:alice@example.com", "Write alice@example.com"),
        ("SMTP:alice@example.com", "Write alice@example.com"),
        ("mailto:alice@example.com", "Write alice@example.com"),
    ] {
        let problems = scratch.problems(line.as_bytes());
        assert!(problems.len() == 1 && problems[0].contains(fix), "{line}: {problems:?}");
    }
    let directory = scratch
        .directory(b"\"a,b;c\"@local.test\n\"a@b\"@local.test\n\"bare one\"\ntry..this@local.test\n.a@local.test\n\"x\\\",y\"@local.test");
    for address in [
        "\"a,b;c\"@local.test",
        "\"a@b\"@local.test",
        "\"bare one\"@local.test",
        "\"x\\\",y\"@local.test",
        "\"try..this\"@local.test",
    ] {
        assert_eq!(find(&directory, address).0, Found::Address, "{address}");
    }
}

#[test]
fn entries_at_domains_that_are_not_ours_are_told_and_nothing_but_them_is_a_mistake() {
    let scratch = Scratch::new();
    let scope = Scope {
        local_domains: ["local.test".to_owned(), "whole.test".to_owned()].into(),
        unfiltered_domains: ["partner.test".to_owned()].into(),
        ..scope()
    };
    let compile = |text: &[u8]| {
        let compiled = text_compiled(&scratch.source(text), &scratch.target(), &scope).unwrap();
        (sentences(&compiled.problems), sentences(&compiled.warnings))
    };
    let (problems, warnings) = compile(b"a@local.test\nb@other.test\n@other.test\nx/y@partner.test\n!c@third.test\n");
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(
        warnings,
        [
            "line 2 and 1 more: other.test is not in relay.local_domains, so the entry does nothing. Add the domain there, or \
             remove the entry",
            "line 5: third.test is not in relay.local_domains, so the entry does nothing. Add the domain there, or remove the entry",
        ]
    );
    let (problems, warnings) = compile(b"b@other.test\nx/y@partner.test\n");
    assert_eq!(
        problems,
        ["no entry is at a local domain, so every recipient would be refused: it lists other.test, partner.test, and \
          relay.local_domains is local.test, whole.test. Add what is missing to one of the two"]
    );
    assert_eq!(warnings, Vec::<String>::new());
    let many: String = (0..30).map(|n| format!("a@d{n}.test\n")).collect();
    assert_eq!(compile(format!("bare\n{many}").as_bytes()).1.len(), 21);
}

#[test]
fn a_source_in_utf16_is_one_problem() {
    let scratch = Scratch::new();
    let with_mark = b"\xff\xfea\0@\0x\0\r\0\n\0b\0\r\0\n\0";
    for source in [with_mark.as_slice(), &with_mark[2..], b"\xfe\xff\0a\0\n\0b\0\n"] {
        assert_eq!(
            scratch.problems(source),
            ["it is UTF-16, as PowerShell may write it. Save the file as UTF-8"],
            "{source:?}"
        );
    }
}

#[test]
fn a_failure_is_blamed_on_its_file() {
    let scratch = Scratch::new();
    let missing = scratch.0.join("none");
    assert!(matches!(text_compiled(&missing, &scratch.target(), &scope()), Err(Failure::Source(..))));
    assert!(matches!(text_compiled(&scratch.0, &scratch.target(), &scope()), Err(Failure::Source(..))));
    let nowhere = missing.join("snapshot");
    assert!(matches!(text_compiled(&scratch.source(b"a"), &nowhere, &scope()), Err(Failure::Snapshot(_))));
}

#[test]
fn many_problems_are_cut_and_an_empty_file_is_one() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("directory.snapshot.1-0.tmp"), b"left by a killed process").unwrap();
    let problems = scratch.problems(&b"@\n".repeat(25));
    assert_eq!((problems.len(), problems[20].as_str()), (21, "... and 5 more"));
    assert!(scratch.problems(b"# nobody\n")[0].contains("lists no recipient"));
    let compiled = text_compiled(&scratch.source(b"bare\n"), &scratch.target(), &Scope::default()).unwrap();
    assert!(compiled.problems[0].1.starts_with("line 1: \"bare\": it has no domain"));
}

#[test]
fn a_broken_source_leaves_the_snapshot() {
    let scratch = Scratch::new();
    let before = scratch.directory(b"a@local.test\n");
    text_compiled(&scratch.source(b"a@@\n"), &scratch.target(), &scope()).unwrap();
    assert_eq!(find(&Directory::open(&scratch.target()).unwrap(), "a@local.test").0, Found::Address);
    assert!(text_compiled(&scratch.0, &scratch.target(), &Scope::default()).is_err());
    assert!(text_compiled(&scratch.0.join("none"), &scratch.target(), &Scope::default()).is_err());
    let after = scratch.0.join("new");
    text_compiled(&scratch.source(b"b@local.test\n"), &after, &Scope::default()).unwrap();
    fs::rename(&after, scratch.target()).unwrap();
    assert_eq!(find(&before, "a@local.test").0, Found::Address, "a mapping outlives its file");
}

#[test]
fn a_full_table_and_wild_offsets_are_damage() {
    let scratch = Scratch::new();
    drop(scratch.directory(b"a@local.test\nb@local.test\n@c.test\n"));
    let whole = fs::read(scratch.target()).unwrap();
    let table = usize::try_from(Header::decode(&whole).unwrap().table).unwrap();
    for octet in [0xff_u8, 0x01] {
        let mut hostile = whole.clone();
        hostile[table..].fill(octet);
        let path = scratch.0.join("hostile");
        fs::write(&path, &hostile).unwrap();
        let directory = Directory::open(&path).unwrap();
        assert_eq!(find(&directory, "a@local.test").0, Found::Damaged);
    }
    let mut hostile = whole.clone();
    hostile[HEADER + Header::decode(&whole).unwrap().scope as usize..table].fill(0xff);
    fs::write(scratch.target(), &hostile).unwrap();
    assert_eq!(find(&Directory::open(&scratch.target()).unwrap(), "a@local.test").0, Found::Damaged);
    for length in 0..whole.len() {
        fs::write(scratch.target(), &whole[..length]).unwrap();
        assert!(Directory::open(&scratch.target()).is_err(), "{length} octets");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_equals_a_map(lines in prop::collection::vec((prop::bool::ANY, "[a-c]{1,3}", "[a-b]\\.test"), 1..200)) {
        let mut model = BTreeMap::new();
        let mut text = String::new();
        for (whole, local, domain) in lines {
            let (line, kind) = if whole { (format!("@{domain}"), Found::Domain) } else { (format!("{local}@{domain}"), Found::Address) };
            text.push_str(&line);
            text.push('\n');
            model.insert(line, kind);
        }
        let scratch = Scratch::new();
        let directory = scratch.directory(text.as_bytes());
        prop_assert_eq!(directory.entries(), model.len() as u64);
        for local in ["a", "b", "abc", "cc", "d"] {
            for domain in ["a.test", "b.test", "c.test"] {
                let wanted = model.get(&format!("{local}@{domain}")).or_else(|| model.get(&format!("@{domain}")));
                let found = find(&directory, &format!("{local}@{domain}")).0;
                prop_assert_eq!(found, wanted.copied().unwrap_or(Found::Absent));
            }
        }
    }

    #[test]
    fn no_octets_crash_it(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), fix in any::<bool>()) {
        let scratch = Scratch::new();
        drop(scratch.directory(b"a@local.test\nb@local.test = a@local.test\n@c.test\n!d@c.test\n@e.test = @c.test\n"));
        let mut octets = fs::read(scratch.target()).unwrap();
        for (index, octet) in flips {
            let at = index.index(octets.len());
            octets[at] = octet;
        }
        if fix {
            octets[..16].copy_from_slice(&[*MAGIC, VERSION.to_le_bytes()].concat());
            let sum = hash(false, &octets[..HEADER - 8]);
            octets[HEADER - 8..HEADER].copy_from_slice(&sum.to_le_bytes());
        }
        fs::write(scratch.target(), &octets).unwrap();
        if let Ok(directory) = Directory::open(&scratch.target()) {
            for address in [&b"b@local.test"[..], b"x@e.test", b"x+y@c.test"] {
                let _ = directory.resolve(&Address::parse(address, &NO_LIMITS).unwrap(), &plus());
            }
            let _ = (find(&directory, "a@local.test"), find(&directory, "x@c.test"), directory.is_for(&[Input::text(Path::new("x"))], &scope()));
        }
    }

    #[test]
    fn any_source_is_answered(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let scratch = Scratch::new();
        let _ = scratch.problems(&text);
    }
}

fn senders(scratch: &Scratch, text: &[u8]) -> Vec<String> {
    let scope = Scope { form: Form::Senders, ..Scope::default() };
    sentences(&text_compiled(&scratch.source(text), &scratch.target(), &scope).unwrap().problems)
}

fn blocks(list: &Directory, address: &str) -> (Found, u32) {
    let address = Address::parse(address.as_bytes(), &NO_LIMITS).unwrap();
    let Answer { found, line, .. } = list.lookup_sender(&address.key(), address.domain());
    (found, line)
}

#[test]
fn every_form_of_a_sender_is_found_and_the_nearest_entry_decides() {
    let scratch = Scratch::new();
    let text = "# spam\nBad@Example.ORG.\n@one.test\nwhole.test\n.deep.test\n!friend@deep.test\n.top\nb\u{fc}cher.test\n\
                \"a b\"@x.test\n[192.0.2.1]\nfriend@sub.deep.test";
    assert_eq!(senders(&scratch, text.as_bytes()), Vec::<String>::new());
    let list = Directory::open(&scratch.target()).unwrap();
    for (address, found) in [
        ("bad@example.org", (Found::Address, 2)),
        ("BAD@EXAMPLE.org", (Found::Address, 2)),
        ("good@example.org", (Found::Absent, 0)),
        ("a@one.test", (Found::Domain, 3)),
        ("a@WHOLE.test.", (Found::Domain, 4)),
        ("a@sub.whole.test", (Found::Absent, 0)),
        ("a@deep.test", (Found::Domain, 5)),
        ("a@very.very.deep.test", (Found::Domain, 5)),
        ("a@evildeep.test", (Found::Absent, 0)),
        ("Friend@deep.test", (Found::Excluded, 6)),
        ("friend@other.deep.test", (Found::Domain, 5)),
        ("friend@sub.deep.test", (Found::Address, 11)),
        ("a@some.top", (Found::Domain, 7)),
        ("a@top", (Found::Domain, 7)),
        ("a@stop", (Found::Absent, 0)),
        ("a@xn--bcher-kva.test", (Found::Domain, 8)),
        ("\"A b\"@x.test", (Found::Address, 9)),
        ("a@[192.0.2.1]", (Found::Domain, 10)),
        ("a@[192.0.2.2]", (Found::Absent, 0)),
    ] {
        assert_eq!(blocks(&list, address), found, "{address}");
    }
    let nobody = Compiled::default();
    let scope = Scope { form: Form::Senders, ..Scope::default() };
    assert_eq!(text_compiled(&scratch.source(b"# nobody\n"), &scratch.target(), &scope).unwrap(), nobody);
}

#[test]
fn a_sender_that_cannot_be_read_is_named_with_what_to_write() {
    let scratch = Scratch::new();
    for (line, fix) in [
        ("<>", "Set sender_filter.blank"),
        ("*.example.org", "Write .example.org for example.org and all domains below it"),
        ("*@example.org", "Write example.org for every address at example.org"),
        ("spammer", "it has neither an @ nor a dot. Write user@domain, a domain, .domain"),
        ("!example.org", "! takes an address, not a domain"),
        ("!@example.org", "! takes an address, not a domain"),
        ("Bad <bad@example.org>", "Write the address without them"),
        ("a..b", "empty label"),
        (".", "The domain is empty"),
        ("a@", "The domain is empty"),
    ] {
        let problems = senders(&scratch, line.as_bytes());
        assert!(problems.len() == 1 && problems[0].contains(fix), "{line}: {problems:?}");
        assert!(problems[0].starts_with("line 1: "), "{problems:?}");
    }
    for (entry, normal) in
        [(" A@B.test ", "a@b.test"), ("@B.test", "b.test"), (".B.test.", ".b.test"), ("! A@b.test", "!a@b.test")]
    {
        assert_eq!(read_sender(entry).as_deref(), Ok(normal));
        assert_eq!(read_sender(normal).as_deref(), Ok(normal));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn below_a_domain_is_what_has_it_as_its_last_labels(listed in "[ab]{1,2}(\\.[ab]{1,2}){0,2}", asked in "[ab]{1,2}(\\.[ab]{1,2}){0,3}") {
        let scratch = Scratch::new();
        prop_assert_eq!(senders(&scratch, format!(".{listed}").as_bytes()), Vec::<String>::new());
        let list = Directory::open(&scratch.target()).unwrap();
        let labels = |name: &str| name.rsplit('.').map(str::to_owned).collect::<Vec<_>>();
        let below = labels(&asked).starts_with(&labels(&listed));
        prop_assert_eq!(blocks(&list, &format!("x@{asked}")).0 == Found::Domain, below);
    }
}
