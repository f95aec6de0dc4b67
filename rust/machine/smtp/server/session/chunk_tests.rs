//! Tests of contents in chunks (RFC 3030): dialogues, and that a content in any chunks is the content by DATA.

use proptest::prelude::*;

use super::tests::{play, say};
use super::*;
use crate::machine::message::content::Octets;
use crate::machine::smtp::chunking::Chunking;
use crate::machine::smtp::server::checked_content::CheckedContent;
use crate::machine::smtp::server::content_rules::{BareNewline, ContentRules, Fault};
use crate::machine::smtp::server::step::{Stage, Verdict};

const ENVELOPE: &str = "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<x@example.test>\r\n";
const BINARY: &str = "EHLO c\r\nMAIL FROM:<a@b.test> BODY=BINARYMIME\r\nRCPT TO:<x@example.test>\r\n";

fn config() -> Config {
    Config { asked: 0, ..Config::example() }
}

/// What is said after the reply to RCPT.
fn after(config: Config, stream: &str) -> String {
    let said = say(config, stream);
    said.rsplit_once("250 2.1.5 x@example.test\r\n").unwrap().1.to_owned()
}

/// What a session with this configuration keeps of a message, by DATA, by octets or in chunks; else the last reply.
fn kept(config: &Config, stream: &[u8]) -> Result<Vec<u8>, String> {
    let mut session = Session::new(Arc::new(config.clone()), "s1", "192.0.2.1", false);
    session.connect();
    let mut step = session.receive(stream);
    while step == Step::Yield {
        step = session.proceed();
    }
    if step != Step::Commit {
        let output = String::from_utf8(session.take_output()).unwrap();
        return Err(output.lines().last().unwrap().to_owned());
    }
    let header = session.header().to_vec();
    let message = session.message("q1", 0, "DATE", b"", None).unwrap();
    let octets = match message.content.octets {
        Octets::Memory(octets) => octets,
        Octets::File(file) => std::fs::read(file.path()).unwrap(),
    };
    let all = [message.trace, octets].concat();
    let at = memchr::memmem::find(&all, b"DATE\r\n").unwrap() + 6;
    assert!(all[at..].starts_with(&header));
    Ok(all[at..].to_vec())
}

fn by_data(content: &[u8]) -> Vec<u8> {
    let mut stream = [ENVELOPE.as_bytes(), b"DATA\r\n"].concat();
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        stream.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
        stream.extend_from_slice(line);
    }
    stream.extend_from_slice(b".\r\n");
    stream
}

fn by_chunks(envelope: &str, content: &[u8], cuts: &[usize], empty_end: bool) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (content.len() + 1)).collect();
    cuts.sort_unstable();
    let mut stream = envelope.as_bytes().to_vec();
    let mut from = 0;
    for cut in cuts {
        stream.extend_from_slice(format!("BDAT {}\r\n", cut - from).as_bytes());
        stream.extend_from_slice(&content[from..cut]);
        from = cut;
    }
    let last = if empty_end { "\r\n" } else { " LAST\r\n" };
    stream.extend_from_slice(format!("BDAT {}{last}", content.len() - from).as_bytes());
    stream.extend_from_slice(&content[from..]);
    stream.extend_from_slice(if empty_end { b"BDAT 0 LAST\r\n" } else { b"" });
    stream
}

#[test]
fn a_chunk_is_as_many_octets_as_it_says() {
    let content = "Subject: s\r\n\r\n.\r\n..\r\nQUIT\r\n";
    let stream = format!("{ENVELOPE}BDAT 12\r\n{}BDAT 15 LAST\r\n{}NOOP\r\n", &content[..12], &content[12..]);
    let said = after(config(), &stream);
    assert!(said.starts_with("250 2.0.0 12 octets received\r\n<commit "), "{said}");
    assert!(said.ends_with(">250 2.6.0 q1 Queued mail for delivery\r\n250 2.0.0 OK\r\n"), "{said}");
    assert_eq!(kept(&config(), stream.as_bytes()), Ok(content.into()));
    assert!(
        after(config(), &format!("{ENVELOPE}BDAT 0\r\nBDAT 0 LAST\r\n"))
            .starts_with("250 2.0.0 0 octets received\r\n<commit")
    );
}

#[test]
fn order_of_commands() {
    let first = "503 5.5.1 Need MAIL command first\r\n";
    // In a content that has begun: nothing but chunks and what is always allowed.
    let said = after(
        config(),
        &format!(
            "{ENVELOPE}BDAT 3\r\na: DATA\r\nRCPT TO:<x@example.test>\r\nMAIL FROM:<>\r\nNOOP\r\nBDAT 3 LAST\r\nb\r\n"
        ),
    );
    let begun = "503 5.5.1 The content has begun; send BDAT or RSET\r\n";
    let start = format!(
        "250 2.0.0 3 octets received\r\n{begun}{begun}503 5.5.1 Sender already specified\r\n250 2.0.0 OK\r\n<commit"
    );
    assert!(said.starts_with(&start), "{said}");
    // RSET and EHLO drop the chunks.
    for command in ["RSET", "EHLO c"] {
        let said = after(config(), &format!("{ENVELOPE}BDAT 3\r\na: {command}\r\nBDAT 4 LAST\r\nQUIT"));
        assert!(said.starts_with("250 2.0.0 3 octets received\r\n250") && said.ends_with(first), "{said}");
    }
    // Without a transaction, without a recipient, after the last chunk.
    for (stream, reply) in [
        ("BDAT 4 LAST\r\nQUIT", first),
        ("EHLO c\r\nBDAT 4\r\nQUIT", first),
        ("HELO c\r\nMAIL FROM:<>\r\nBDAT 4\r\nQUIT", "503 5.5.1 Need an accepted recipient first\r\n"),
        (&format!("{ENVELOPE}BDAT 0 LAST\r\nBDAT 4 LAST\r\nQUIT"), first),
        (&format!("{BINARY}DATA\r\n"), "503 5.5.1 BINARYMIME needs BDAT\r\n"),
    ] {
        let said = say(config(), stream);
        assert!(said.ends_with(reply) && !said.contains("221"), "{said}");
    }
    // One that is refused ends its transaction: a later recipient would get a content with a hole.
    let said = say(config(), "EHLO c\r\nMAIL FROM:<>\r\nBDAT 3\r\na: RCPT TO:<x@example.test>\r\nBDAT 3 LAST\r\nb\r\n");
    assert!(said.ends_with(&format!("Need an accepted recipient first\r\n{first}{first}")), "{said}");
}

#[test]
fn a_chunk_that_is_refused_is_read_to_its_end() {
    let mut session = Session::new(Arc::new(Config { tarpit_time: 5, ..config() }), "s1", "192.0.2.1", false);
    session.connect();
    session.take_output();
    assert_eq!(session.receive(b"BDAT 4 LAST\r\nQUI"), Step::NeedInput);
    assert!(session.in_content() && session.take_output().is_empty());
    assert_eq!(session.receive(b"TNOOP\r\n"), Step::Hold(5));
    assert_eq!(session.buffered(), 6);
    let refused = session.take_refused();
    assert_eq!((refused[0].command.as_str(), refused[0].reply.code), ("BDAT", 503));
    session.release();
    assert_eq!(session.take_output(), b"503 5.5.1 Need MAIL command first\r\n250 2.0.0 OK\r\n");
    // However many octets: they cost no memory, and the session ends when its time is over.
    assert_eq!(session.receive(b"BDAT 18446744073709551615\r\n"), Step::NeedInput);
    for _ in 0..100 {
        assert_eq!(session.receive(&[b'x'; 10_000]), Step::NeedInput);
        assert_eq!(session.buffered(), 0);
    }
}

#[test]
fn a_chunk_in_clear_where_tls_is_demanded_is_no_commands() {
    let mut session = Session::new(Arc::new(config()), "s1", "192.0.2.1", false);
    session.require_tls();
    session.offer_tls(true);
    session.connect();
    session.receive(b"EHLO c\r\n");
    session.take_output();
    assert_eq!(session.receive(b"BDAT 18 LAST\r\nEHLO x\r\nSTARTTLS\r\nNOOP\r\n"), Step::NeedInput);
    let said = String::from_utf8(session.take_output()).unwrap();
    assert_eq!(said, "530 5.7.0 Must issue a STARTTLS command first\r\n250 2.0.0 OK\r\n");
}

#[test]
fn a_fault_is_said_at_the_end_of_its_chunk_and_ends_the_transaction() {
    let small = || {
        let example = config();
        Config { content: ContentRules { message_size: 20, ..example.content.clone() }, ..example }
    };
    let first = "503 5.5.1 Need MAIL command first\r\n";
    let said = after(
        small(),
        &format!("{ENVELOPE}BDAT 8\r\n\r\nabcd\r\nBDAT 13\r\n0123456789a\r\nBDAT 4\r\nQUITBDAT 0 LAST\r\n"),
    );
    assert_eq!(
        said,
        format!(
            "250 2.0.0 8 octets received\r\n552 5.3.4 Message size exceeds fixed maximum message size\r\n{first}{first}"
        )
    );
    let said = after(config(), &format!("{ENVELOPE}BDAT 7\r\n\r\na\nb\r\nBDAT 0 LAST\r\n"));
    assert_eq!(said, format!("550 5.6.0 Lines end in CRLF; a bare CR or LF was received\r\n{first}"));
    let received = "Received: by x\r\n".repeat(3);
    let said = after(config(), &format!("{ENVELOPE}BDAT 48\r\n{received}BDAT 0 LAST\r\n"));
    assert_eq!(said, "250 2.0.0 48 octets received\r\n554 5.4.6 Too many hops: mail loop\r\n");
    // Too large by what is announced: nothing of it is kept, whatever comes.
    let mut session = Session::new(Arc::new(small()), "s1", "192.0.2.1", false);
    session.connect();
    session.receive(format!("{ENVELOPE}BDAT 21 LAST\r\na").as_bytes());
    assert_eq!(session.mode.content().and_then(CheckedContent::fault), Some(Fault::TooLarge));
}

#[test]
fn policy_is_asked_before_the_first_chunk_and_after_the_last() {
    let asked = 1 << Stage::Data as u8 | 1 << Stage::EndOfHeaders as u8 | 1 << Stage::EndOfData as u8;
    let begun = || {
        let mut session = Session::new(Arc::new(Config { asked, ..config() }), "s1", "192.0.2.1", false);
        session.connect();
        assert_eq!(session.receive(format!("{ENVELOPE}BDAT 6\r\nA: b\r\n").as_bytes()), Step::Ask(Stage::Data));
        session.take_output();
        session
    };
    let mut session = begun();
    assert_eq!(session.answer(Verdict::Pass), Step::NeedInput);
    assert_eq!(session.receive(b"BDAT 5 LAST\r\n\r\nc\r\n"), Step::Ask(Stage::EndOfHeaders));
    assert_eq!(session.header(), b"A: b\r\n\r\n");
    assert_eq!(session.answer(Verdict::Pass), Step::Ask(Stage::EndOfData));
    assert_eq!(session.answer(Verdict::Pass), Step::Commit);
    for (code, class) in [(550, "5.7.1"), (450, "4.7.1")] {
        let mut session = begun();
        assert_eq!(session.answer(Verdict::Refuse(Reply::new(code, class, "No"))), Step::NeedInput);
        session.receive(b"BDAT 4 LAST\r\nQUIT");
        let said = format!("{code} {class} No\r\n503 5.5.1 Need MAIL command first\r\n");
        assert_eq!(String::from_utf8(session.take_output()).unwrap(), said);
    }
    let mut session = begun();
    assert_eq!(session.answer(Verdict::Discard), Step::NeedInput);
    session.receive(b"BDAT 0 LAST\r\n");
    session.answer(Verdict::Pass);
    assert_eq!(session.answer(Verdict::Pass), Step::Commit);
    assert!(session.message("q1", 0, "DATE", b"", None).is_none());
}

#[test]
fn without_a_number_the_session_ends() {
    for argument in ["", " ", " x", " -1", " 1 x", " 18446744073709551616"] {
        let stream = format!("{ENVELOPE}BDAT{argument}\r\nRSET\r\nMAIL FROM:<b@b.test>\r\n");
        let said = after(Config { tarpit_time: 5, ..config() }, &stream);
        assert_eq!(
            said,
            "<hold 5>501 5.5.4 BDAT needs a number of octets, then LAST or nothing\r\n\
             421 4.5.0 mx.example.test Cannot tell the octets of a chunk from commands; closing\r\n<close>"
        );
    }
    // Where it is not offered, it is like any other verb.
    let said = say(Config { chunking: Chunking::Off, ..config() }, "EHLO c\r\nBDAT x\r\nBDAT 4 LAST\r\nNOOP\r\n");
    let no = "502 5.5.1 Command not implemented\r\n";
    assert!(said.ends_with(&format!("{no}{no}250 2.0.0 OK\r\n")) && !said.contains("CHUNKING"), "{said}");
}

#[test]
fn many_small_chunks_are_commands_that_achieve_nothing() {
    let chunks = |count: usize, chunk: &str, idle_commands| {
        let stream = format!("{ENVELOPE}{}BDAT 0 LAST\r\n", chunk.repeat(count));
        after(
            Config {
                idle_commands,
                content: ContentRules { message_size: 0, text_line: 0, ..config().content },
                ..config()
            },
            &stream,
        )
    };
    assert!(chunks(1000, "BDAT 1\r\na", 5).contains("Queued"));
    assert!(
        chunks(10_000, "BDAT 1\r\na", 5)
            .ends_with("421 4.7.0 mx.example.test Too many commands without a message; closing\r\n<close>")
    );
    assert!(chunks(3000, "BDAT 1\r\na", 0).contains("Queued"));
    assert!(chunks(6, "BDAT 0\r\n", 5).contains("Too many commands without a message"));
    // A turn has as many of them as of any other command.
    let mut session = Session::new(Arc::new(config()), "s1", "192.0.2.1", false);
    session.connect();
    let stream = [ENVELOPE.as_bytes(), &b"BDAT 1\r\na".repeat(20)].concat();
    assert_eq!((session.receive(&stream), session.tally().commands), (Step::Yield, TURN_COMMANDS));
}

#[test]
fn a_binary_content_is_kept_as_it_is_below_its_header_section() {
    for (content, expected) in [
        (&b"A: b\r\n\r\n\r\r\n\n\0\xff.\r\n.\r"[..], Ok(&b"A: b\r\n\r\n\r\r\n\n\0\xff.\r\n.\r"[..])),
        (b"A: b\r\n\r\n", Ok(b"A: b\r\n\r\n")),
        (b"A: b", Ok(b"A: b")),
        (b"", Ok(b"")),
        (b"no field\n\r", Ok(b"\r\nno field\n\r")),
        (b"A: b\r\nno", Ok(b"A: b\r\n\r\nno")),
        (b"A: b\r\n\x01\n", Ok(b"A: b\r\n\r\n\x01\n")),
        (b"A: b\nC: d\r\n\r\n", Err("550 5.6.0 Lines end in CRLF; a bare CR or LF was received")),
        (b"A: b\rC: d\r\n\r\n", Err("550 5.6.0 Lines end in CRLF; a bare CR or LF was received")),
        (b"A: b\r", Err("550 5.6.0 Lines end in CRLF; a bare CR or LF was received")),
        (b"A: \0\r\n\r\n", Err("550 5.6.0 The header section holds a NUL")),
    ] {
        for size in 1..=content.len().max(1) {
            let cuts: Vec<usize> = (1..content.len()).filter(|cut| cut % size == 0).collect();
            let found = kept(&config(), &by_chunks(BINARY, content, &cuts, false));
            match expected {
                Ok(octets) => assert_eq!(found.as_deref(), Ok(octets), "{}", content.escape_ascii()),
                Err(reply) => assert!(
                    found == Err(reply.to_owned()) || found == Err("503 5.5.1 Need MAIL command first".to_owned()),
                    "{found:?}"
                ),
            }
        }
    }
}

#[test]
fn binary_is_taken_only_where_it_is_offered() {
    let off = Config { chunking: Chunking::Text, ..config() };
    let said = say(off, "EHLO c\r\nMAIL FROM:<> BODY=BINARYMIME\r\n");
    assert!(said.ends_with("501 5.5.4 BODY must be 7BIT or 8BITMIME\r\n") && !said.contains("BINARYMIME\r"), "{said}");
    let said = say(Config { chunking: Chunking::Off, ..config() }, "EHLO c\r\nMAIL FROM:<> BODY=BINARYMIME\r\n");
    assert!(said.ends_with("501 5.5.4 BODY must be 7BIT or 8BITMIME\r\n") && !said.contains("BINARYMIME\r"), "{said}");
    let said = say(config(), "EHLO c\r\nMAIL FROM:<> BODY=BINARYMIME\r\n");
    assert!(said.contains("250-CHUNKING\r\n250-BINARYMIME\r\n") && said.ends_with("Sender OK\r\n"), "{said}");
}

proptest! {
    /// The same message by DATA, and by BDAT in any chunks, is equal octet for octet, or gets the same refusal.
    #[test]
    fn chunks_are_the_content_by_data(
        parts in prop::collection::vec(prop::sample::select(vec![
            "A: b\r\n", "From x\r\n", "Received: x\r\n", ".", "..\r\n", ".\r\n", "text", " ", ":", "\r\n", "\r\n", "\u{e9}", "\0", "long line of text",
        ]), 0..14),
        cuts in prop::collection::vec(0_usize..400, 0..8), empty_end: bool, memory in 0_usize..40,
    ) {
        let content = parts.concat() + "\r\n";
        let content = content.as_bytes();
        let example = config();
        let storage = Arc::new(crate::store::content::ContentStorage::new(memory, Arc::default(), std::env::temp_dir()));
        let config = Config { storage, content: ContentRules { text_line: 40, message_size: 150, header_size: 60, ..example.content.clone() }, ..example };
        let data = kept(&config, &by_data(content));
        for cuts in [&cuts[..], &[], &(1..content.len()).collect::<Vec<_>>()] {
            let chunks = kept(&config, &by_chunks(ENVELOPE, content, cuts, empty_end));
            // A fault is said at the end of its chunk: what follows is without a transaction, and the content may have two.
            if data.is_ok() || cuts.is_empty() && !empty_end {
                prop_assert_eq!(&chunks, &data);
            }
            prop_assert_eq!(chunks.is_ok(), data.is_ok());
        }
    }

    /// A binary body survives whatever it is, and however it is cut.
    #[test]
    fn binary_octets_survive(body in prop::collection::vec(any::<u8>(), 0..200), cuts in prop::collection::vec(0_usize..400, 0..8)) {
        let content = [b"A: b\r\n\r\n".as_slice(), &body].concat();
        prop_assert_eq!(kept(&config(), &by_chunks(BINARY, &content, &cuts, false)), Ok(content));
    }

    /// The header section of a binary content is judged the same however it is cut.
    #[test]
    fn cuts_change_nothing_of_a_binary_content(
        content in "([ab: F\\.\r\n]|\r\n|A: b\r\n|From ){0,12}", cuts in prop::collection::vec(0_usize..400, 0..8), normalise: bool,
    ) {
        let example = config();
        let bare_newline = if normalise { BareNewline::Normalise } else { BareNewline::Refuse };
        let config = Config { content: ContentRules { bare_newline, text_line: 9, header_size: 30, ..example.content.clone() }, ..example };
        let whole = by_chunks(BINARY, content.as_bytes(), &[], false);
        let expected = kept(&config, &whole);
        let config = Arc::new(config);
        prop_assert_eq!(play(&config, &whole.chunks(1).collect::<Vec<_>>(), false), play(&config, &[&whole], false));
        let cut = kept(&config, &by_chunks(BINARY, content.as_bytes(), &cuts, false));
        prop_assert_eq!(cut.is_ok(), expected.is_ok());
        if expected.is_ok() {
            prop_assert_eq!(cut, expected);
        }
    }
}
