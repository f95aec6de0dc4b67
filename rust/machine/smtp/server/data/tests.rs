//! Tests of the DATA decoder, with the store that keeps contents.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::machine::message::content::{Octets, Taken};
use crate::machine::message::section::Section;
use crate::machine::smtp::server::content_rules::{BareNewline, Fault, NulInHeader};
use crate::store::budget::{Budget, Memory};
use crate::store::content::ContentStorage;

#[derive(Clone)]
struct Rules {
    size: u64,
    header: usize,
    line: usize,
    memory: usize,
    bare: BareNewline,
    nul: NulInHeader,
    eight_bit: bool,
    budget: Arc<Budget>,
    incoming_dir: PathBuf,
}

impl Rules {
    fn content(&self) -> ContentRules {
        ContentRules {
            message_size: self.size,
            header_size: self.header,
            text_line: self.line,
            bare_newline: self.bare,
            nul_in_header: self.nul,
            eight_bit: self.eight_bit,
        }
    }

    fn decoder(&self) -> Decoder {
        let storage = ContentStorage::new(self.memory, Arc::clone(&self.budget), self.incoming_dir.clone());
        Decoder::new(&storage, "192.0.2.1")
    }
}

fn rules() -> Rules {
    Rules {
        size: 0,
        header: 0,
        line: 0,
        memory: 0,
        bare: BareNewline::Refuse,
        nul: NulInHeader::Refuse,
        eight_bit: true,
        budget: Arc::default(),
        incoming_dir: std::env::temp_dir(),
    }
}

fn decode(rules: &Rules, pieces: &[&[u8]]) -> (Result<Vec<u8>, Fault>, usize, bool) {
    let mut decoder = rules.decoder();
    let mut taken = 0;
    for piece in pieces {
        taken += decoder.feed(&rules.content(), piece);
    }
    let done = decoder.is_done();
    let header = decoder.content().header().to_vec();
    let content = decoder.into_content().finish().map(|taken| {
        let rest = match &taken.content.octets {
            Octets::Memory(octets) => octets.clone(),
            Octets::File(file) => {
                assert_eq!(taken.header, header);
                fs::read(file.path()).unwrap()
            }
        };
        assert_eq!((taken.content.size(), taken.content.eight_bit), (rest.len() as u64, !rest.is_ascii()));
        let all = [taken.header, rest].concat();
        assert!(!done || header == all[..Section::length(&all)]);
        all
    });
    (content, taken, done)
}

fn whole(rules: &Rules, input: &[u8]) -> (Result<Vec<u8>, Fault>, usize, bool) {
    decode(rules, &[input])
}

#[test]
fn ends_at_crlf_dot_crlf_alone() {
    assert_eq!(whole(&rules(), b"a\r\n.\r\nQUIT\r\n"), (Ok(b"\r\na\r\n".to_vec()), 6, true));
    assert_eq!(whole(&rules(), b".\r\n"), (Ok(Vec::new()), 3, true));
    let not_ends: [&[u8]; 9] = [
        b"a\n.\n",
        b"a\n.\r\n",
        b"a\r\n.\n",
        b"a\r.\r",
        b"a\r\n.\r",
        b"a\r.\r\n",
        b"a\r\n.\r\r\n",
        b"a\r\n\0.\r\n",
        b"a\n\r.\r\n",
    ];
    for input in not_ends {
        for bare in [BareNewline::Refuse, BareNewline::Normalise] {
            assert!(!whole(&Rules { bare, ..rules() }, input).2, "{input:?}");
        }
    }
    // A doubled CR is a bare CR and then a true line end.
    assert_eq!(whole(&rules(), b"a\r\r\n.\r\n"), (Err(Fault::BareNewline), 7, true));
}

#[test]
fn removes_one_leading_dot() {
    assert_eq!(whole(&rules(), b"..\r\n...a\r\n.b\r\n.\r\n").0, Ok(b"\r\n.\r\n..a\r\nb\r\n".to_vec()));
}

#[test]
fn makes_bare_newlines_harmless() {
    let rules = Rules { bare: BareNewline::Normalise, ..rules() };
    assert_eq!(whole(&rules, b"\na\nb\rc\r\n.\r\n").0, Ok(b"\r\na\r\nb\r\nc\r\n".to_vec()));
    // The smuggled end of data stays content: the lone dot will be stuffed again on the way out.
    assert_eq!(whole(&rules, b"\na\n.\nMAIL\r\n.\r\n").0, Ok(b"\r\na\r\n.\r\nMAIL\r\n".to_vec()));
}

#[test]
fn holds_its_limits() {
    let tight = Rules { size: 5, ..rules() };
    assert_eq!(whole(&tight, b"abc\r\n.\r\n").0, Ok(b"\r\nabc\r\n".to_vec()));
    assert_eq!(whole(&tight, b"abcd\r\n.\r\n"), (Err(Fault::TooLarge), 9, true));
    let short = Rules { line: 5, ..rules() };
    assert_eq!(whole(&short, b".abc\r\n.\r\n").0, Ok(b"\r\nabc\r\n".to_vec()));
    assert_eq!(whole(&short, b"abcd\r\n.\r\n").0, Err(Fault::LineTooLong));
    let nowhere = Rules { memory: 2, incoming_dir: "/nonexistent".into(), ..rules() };
    assert_eq!(whole(&nowhere, b"\r\nab\r\n.\r\n"), (Err(Fault::Storage), 9, true));
}

#[test]
fn octets_above_127_are_refused_where_nobody_could_pass_them_on() {
    let seven = Rules { eight_bit: false, ..rules() };
    assert_eq!(whole(&seven, b"A: b\r\n\r\nc\r\n.\r\n").0, Ok(b"A: b\r\n\r\nc\r\n".to_vec()));
    assert_eq!(whole(&seven, b"A: b\r\n\r\n\xe4\r\n.\r\n"), (Err(Fault::EightBit), 14, true));
    assert_eq!(whole(&Rules { size: 5, ..seven.clone() }, b"\xe4bcd\r\n.\r\n").0, Err(Fault::TooLarge));
    let nowhere = Rules { memory: 2, incoming_dir: "/nonexistent".into(), ..seven };
    assert_eq!(whole(&nowhere, b"\r\nab\xe4\r\n.\r\n").0, Err(Fault::EightBit));
}

#[test]
fn the_header_section_has_a_limit_of_its_own() {
    let tight = Rules { header: 11, ..rules() };
    for (content, fault) in [
        (&b"A: b\r\nC:\r\n"[..], None),
        (b"A: b\r\nC: d\r\n", Some(Fault::HeaderTooLarge)),
        (b"A:\r\nC:\r\n\r\na long body follows\r\n", None),
        (b"A: b\r\nC:\r\n\r\na long body follows\r\n", Some(Fault::HeaderTooLarge)),
        (b"a long body\r\n without a header section\r\n\r\n", None),
        (b"A: b\r\na long body\r\n\r\n", None),
        (b"\r\na long body follows\r\n", None),
        (b"A: 456789\r\n", None),
        (b"A: 4567890\r\n", Some(Fault::HeaderTooLarge)),
        (b"A: a long line\r\n\r\n\n\r\n", Some(Fault::BareNewline)),
        (b"A: a\n long\r\n line\r\n", Some(Fault::BareNewline)),
    ] {
        let input = [content, b".\r\n"].concat();
        let octets: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(whole(&tight, &input).0.err(), fault, "{}", input.escape_ascii());
        assert_eq!(decode(&tight, &octets).0.err(), fault, "{}", input.escape_ascii());
    }
    let short = Rules { line: 10, ..tight };
    assert_eq!(whole(&short, b"A: 4567890\r\n.\r\n").0, Err(Fault::HeaderTooLarge));
}

#[test]
fn a_header_line_without_end_is_not_kept() {
    let tight = Rules { header: 1000, size: 1 << 30, ..rules() };
    let mut decoder = tight.decoder();
    for number in 0..10_000 {
        decoder.feed(&tight.content(), b"x: yyyyyyy");
        assert!(number < 100 || decoder.content().fault().is_some());
    }
    assert_eq!(decoder.content().fault(), Some(Fault::HeaderTooLarge));
}

#[test]
fn the_body_of_large_content_goes_to_a_file_that_is_removed_unless_kept() {
    let rules = Rules { memory: 4, ..rules() };
    let mut decoder = rules.decoder();
    decoder.feed(&rules.content(), b"a: \xfc\r\n\r\ndef\r\n.\r\n");
    assert_eq!(decoder.content().header(), b"a: \xfc\r\n\r\n");
    let Taken { header, content, .. } = decoder.into_content().finish().unwrap();
    let Octets::File(file) = &content.octets else { panic!("in memory") };
    let path = file.path().to_owned();
    assert_eq!((header.as_slice(), fs::read(&path).unwrap().as_slice()), (&b"a: \xfc\r\n\r\n"[..], &b"def\r\n"[..]));
    assert_eq!((content.size(), content.eight_bit), (5, false));
    drop(content);
    assert!(!path.exists());
}

#[test]
fn without_memory_the_header_section_waits_in_a_file_and_is_whole_at_the_end() {
    let header = format!("{}\r\n", "X: \u{fc} a field of a long header section\r\n".repeat(400));
    for body in ["", "body\r\n", "..dots\r\n\r\n\u{fc}\r\n"] {
        for piece in [1000, 8190, 8192, 16_384, 100_000] {
            let budget = Arc::new(Budget::new(20_000, None, 1));
            let mut other = Memory::default();
            assert!(other.resize(&budget, 8192 + 15_000, false));
            let rules = Rules { budget: Arc::clone(&budget), ..rules() };
            let input = format!("{header}{body}.\r\n");
            let mut decoder = rules.decoder();
            let (end, rest) = input.as_bytes().split_last_chunk::<1>().map(|(rest, end)| (end, rest)).unwrap();
            rest.chunks(piece).for_each(|piece| _ = decoder.feed(&rules.content(), piece));
            assert_eq!(budget.in_memory(), 15_000, "pieces of {piece}");
            drop(other);
            assert_eq!(decoder.feed(&rules.content(), end), 1);
            assert_eq!(decoder.content().header(), header.as_bytes());
            let Taken { header: kept, content, share } = decoder.into_content().finish().unwrap();
            assert_eq!(budget.in_memory(), header.len() - 8192);
            let whole = match &content.octets {
                Octets::Memory(octets) => octets.clone(),
                Octets::File(file) => [kept, fs::read(file.path()).unwrap()].concat(),
            };
            assert_eq!(whole, format!("{header}{body}").replace("\n..", "\n.").into_bytes());
            let in_content = if body.is_empty() { &header } else { body };
            assert_eq!(content.eight_bit, !in_content.is_ascii());
            drop(share);
            assert_eq!(budget.in_memory(), 0);
        }
    }
}

#[test]
fn a_header_section_in_a_file_ends_where_it_ends_in_memory() {
    let fields = "X: a field of a long header section\r\n".repeat(300);
    for first in ["", "From a@b.test Thu Jan  1 00:00:00 1970\r\n", ">From x\r\n"] {
        for rest in ["text\r\nA: b\r\n\r\nC: d\r\n", "\r\ntext\r\n", "no field \u{fc}\r\n", " folded\r\n", "\r\n"] {
            let input = format!("{first}{fields}{rest}.\r\n");
            for piece in [1, 7, 1000, 8192, 10_500, 16_384, 100_000] {
                let pieces: Vec<&[u8]> = input.as_bytes().chunks(piece).collect();
                let budget = Arc::new(Budget::new(16_000, None, 1));
                let mut other = Memory::default();
                // Unfinished content finds nothing, finished content the last quarter.
                assert!(other.resize(&budget, 8192 + 12_000, false));
                let spent = Rules { budget, ..rules() };
                assert_eq!(decode(&spent, &pieces), decode(&rules(), &pieces), "pieces of {piece}: {first:?} {rest:?}");
            }
        }
    }
}

#[test]
fn a_long_header_section_that_finds_no_memory_at_the_end_is_refused_and_a_short_one_never() {
    for (octets, fault) in [(8000, None), (9000, Some(Fault::Storage))] {
        let rules = Rules { budget: Arc::new(Budget::new(1, None, 1)), ..rules() };
        let input = format!("{}\r\nbody\r\n.\r\n", "X: y\r\n".repeat(octets / 6));
        assert_eq!(whole(&rules, input.as_bytes()).0.err(), fault);
    }
}

#[test]
fn many_large_contents_cost_no_more_than_the_budget() {
    let budget = Arc::new(Budget::new(300_000, None, 1));
    let rules = Rules { memory: 128 << 10, budget: Arc::clone(&budget), ..rules() };
    let mut decoders: Vec<Decoder> = (0..100).map(|_| rules.decoder()).collect();
    for _ in 0..20 {
        for (number, decoder) in decoders.iter_mut().enumerate() {
            decoder.feed(
                &rules.content(),
                if number % 2 == 0 { &b"X: y\r\n"[..] } else { b"\r\nz\r\n" }.repeat(1000).as_slice(),
            );
        }
    }
    assert!(budget.take_most() <= 300_000);
    drop(decoders);
    assert_eq!(budget.in_memory(), 0);
}

#[test]
fn a_large_content_has_no_more_in_memory_than_a_content_may() {
    let budget = Arc::new(Budget::new(1 << 20, None, 1));
    let rules = Rules { memory: 64 << 10, budget: Arc::clone(&budget), ..rules() };
    let (mut decoder, line) = (rules.decoder(), b"x\r\n");
    for lines in [10_000, 100_000] {
        decoder.feed(&rules.content(), &line.repeat(lines));
    }
    decoder.feed(&rules.content(), b".\r\n");
    let Taken { header, content, .. } = decoder.into_content().finish().unwrap();
    assert_eq!((header.len(), content.size()), (2, 330_000));
    assert!(budget.take_most() <= 64 << 10);
}

#[test]
fn a_large_body_is_written_when_it_is_stored_and_a_larger_one_as_it_comes() {
    for (lines, waits) in [(50_000, true), (100_000, true), (200_000, false)] {
        let budget = Arc::new(Budget::new(2 << 20, None, 1));
        let rules = Rules { memory: 512 << 10, budget: Arc::clone(&budget), ..rules() };
        let (mut decoder, body) = (rules.decoder(), b"x\xfc\r\n".repeat(lines));
        for piece in [b"A: b\r\n\r\n", &body[..], b".\r\n"].concat().chunks(100_000) {
            decoder.feed(&rules.content(), piece);
        }
        let Taken { header, content, share } = decoder.into_content().finish().unwrap();
        let Octets::File(file) = &content.octets else { panic!("in one buffer") };
        let (path, size) = (file.path().to_owned(), body.len() as u64);
        let lasting = path.with_extension("lasting");
        assert_eq!((header.as_slice(), file.size(), content.eight_bit), (&b"A: b\r\n\r\n"[..], size, true));
        assert_eq!((file.unwritten(), path.exists()), if waits { (size, false) } else { (0, true) });
        assert!(budget.in_memory() <= 512 << 10 && (budget.in_memory() > 0) == waits);
        for _ in 0..2 {
            let mut read = Vec::new();
            file.open().unwrap().read_to_end(&mut read).unwrap();
            assert!(read == body, "{lines} lines");
            file.keep_at(&lasting).unwrap();
            assert!(fs::read(&lasting).unwrap() == body, "{lines} lines");
            assert_eq!(file.keep_at(&lasting).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
            fs::remove_file(&lasting).unwrap();
            assert_eq!(path.exists(), !waits);
        }
        drop((content, share));
        assert_eq!((budget.in_memory(), path.exists()), (0, false));
    }
}

#[test]
fn what_is_all_header_section_stays_in_memory() {
    let rules = Rules { memory: 4, ..rules() };
    for input in [&b"a: b\r\nc: d\r\n.\r\n"[..], b"a: b\r\nc: d\r\n\r\n.\r\n"] {
        for size in 1..20 {
            let mut decoder = rules.decoder();
            for piece in input.chunks(size) {
                decoder.feed(&rules.content(), piece);
            }
            assert_eq!(decoder.content().header(), &input[..input.len() - 3]);
            assert!(
                matches!(decoder.into_content().finish().unwrap().content.octets, Octets::Memory(_)),
                "pieces of {size}"
            );
        }
    }
}

#[test]
fn the_header_is_the_header_section_however_it_is_cut() {
    let rules = Rules { memory: 7, ..rules() };
    for size in 1..20 {
        let mut decoder = rules.decoder();
        for piece in b"a: b\r\nc: d\r\n\r\ne\r\n\r\nf\r\n.\r\n".chunks(size) {
            decoder.feed(&rules.content(), piece);
        }
        assert_eq!(decoder.content().header(), b"a: b\r\nc: d\r\n\r\n", "pieces of {size}");
    }
}

#[test]
fn content_whose_first_line_is_no_field_gets_an_empty_line_in_front() {
    for memory in [0, 4] {
        let rules = Rules { memory, ..rules() };
        for (sent, kept, header) in [
            (&b" folded\r\nA: b\r\n"[..], &b"\r\n folded\r\nA: b\r\n"[..], 2),
            (b"no header\r\n\r\nhere\r\n", b"\r\nno header\r\n\r\nhere\r\n", 2),
            (b"A: b\r\n\xfc\r\nC: d\r\n\r\n", b"A: b\r\n\r\n\xfc\r\nC: d\r\n\r\n", 8),
            (b"From x\r\nA: b\r\n\r\ntext\r\n", b"X-Mailbox-Line: From x\r\nA: b\r\n\r\ntext\r\n", 32),
            (b"From x\r\ntext\r\n\r\n", b"X-Mailbox-Line: From x\r\n\r\ntext\r\n\r\n", 26),
        ] {
            for size in 1..20 {
                let input = [sent, b".\r\n"].concat();
                let mut decoder = rules.decoder();
                for piece in input.chunks(size) {
                    decoder.feed(&rules.content(), piece);
                }
                assert_eq!(decoder.content().header(), &kept[..header], "pieces of {size}");
                let pieces: Vec<&[u8]> = input.chunks(size).collect();
                assert_eq!(decode(&rules, &pieces).0.as_deref(), Ok(kept), "pieces of {size}");
            }
        }
    }
}

#[test]
fn a_nul_in_the_header_section_is_refused_by_rule() {
    for (content, refused) in
        [(&b"A: \0\r\n"[..], true), (b"A\0: b\r\n", true), (b"A: b\r\n\r\n\0\r\n", false), (b"\r\n\0\r\n", false)]
    {
        let input = [content, b".\r\n"].concat();
        let told = refused.then_some(Fault::NulInHeader);
        assert_eq!(whole(&rules(), &input).0.err(), told, "{}", content.escape_ascii());
        let lax = Rules { nul: NulInHeader::Accept, ..rules() };
        assert!(whole(&lax, &input).0.is_ok_and(|kept| kept.contains(&0)));
    }
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        input in "([ab: F\0.\r\n\u{e9}]|\r\n|From ){0,40}", cuts in proptest::collection::vec(0usize..200, 0..6), normalise: bool, header in 0usize..20
    ) {
        let input = format!("{input}\r\n.\r\nrest");
        let input = input.as_bytes();
        let bare = if normalise { BareNewline::Normalise } else { BareNewline::Refuse };
        let rules = Rules { bare, line: 9, size: 30, memory: 12, header, ..rules() };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (input.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts { pieces.push(&input[from..cut]); from = cut; }
        pieces.push(&input[from..]);
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(decode(&rules, &pieces), whole(&rules, input));
        prop_assert_eq!(decode(&rules, &bytes), whole(&rules, input));
    }

    #[test]
    fn neither_do_they_among_many_usual_lines(
        parts in proptest::collection::vec(("[a.\r\n]{0,3}", 0usize..30, 500usize..520), 1..5), normalise: bool, limit in 505usize..525
    ) {
        let bare = if normalise { BareNewline::Normalise } else { BareNewline::Refuse };
        let rules = Rules { bare, line: limit, ..rules() };
        let mut input = String::new();
        for (odd, usual, long) in parts {
            input += &"of usual length\r\n..\r\n".repeat(usual);
            input += &"as often as not of that\r\n".repeat(usual);
            input += &odd;
            input += &"x".repeat(if usual % 2 == 0 { long } else { usual });
            input += "\r\n";
        }
        let input = format!("{input}.\r\nrest");
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        prop_assert_eq!(decode(&rules, &bytes), whole(&rules, input.as_bytes()));
    }

    #[test]
    fn stuffing_is_undone(lines in proptest::collection::vec("[a.]{0,8}", 0..8)) {
        let content = lines.iter().fold(String::new(), |all, line| all + line + "\r\n");
        let sent: String = lines.iter().map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") }).collect();
        let (decoded, _, done) = whole(&rules(), format!("{sent}.\r\n").as_bytes());
        prop_assert!(done);
        let separator = if lines.iter().take(1).all(String::is_empty) { "" } else { "\r\n" };
        prop_assert_eq!(decoded, Ok([separator, &content].concat().into_bytes()));
    }
}
