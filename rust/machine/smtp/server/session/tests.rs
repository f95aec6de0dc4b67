//! Tests of the session machine: dialogues, and that a stream's steps never depend on how it is cut.

#![allow(clippy::format_push_string, clippy::format_collect, clippy::cast_possible_truncation)]

use super::*;
use crate::machine::message::Message;
use crate::machine::message::address::{Address, Limits};
use crate::machine::message::content::Octets;
use crate::machine::message::firewall::Firewall;
use crate::machine::smtp::extensions::Standing;
use crate::machine::smtp::server::content_rules::{BareNewline, ContentRules};
use crate::machine::smtp::server::step::{Stage, Verdict};
use crate::machine::smtp::server::tally::End;
use crate::machine::smtp::server::transaction::{Accepted, Fate};
use crate::store::content::ContentStorage;

fn config() -> Config {
    Config::example()
}

#[test]
fn what_is_kept_of_the_input_takes_no_more_than_its_length() {
    let mut session = Session::new(Arc::new(Config { tarpit_time: 5, ..config() }), "s1", "192.0.2.1", false);
    session.connect();
    session.receive(&[&b"NOOP\r\n".repeat(2000)[..], b"MAIL FR"].concat());
    while session.proceed() == Step::Yield {}
    assert_eq!((session.buffered(), session.input.octets.capacity()), (7, 7));
    assert_eq!((session.receive(b"\r\n"), session.proceed()), (Step::Yield, Step::Hold(5)));
    for _ in 0..20 {
        session.receive(&b"NOOP\r\n".repeat(300));
    }
    assert_eq!((session.buffered(), session.input.octets.capacity()), (36_000, 36_000));
    session.release();
    while session.proceed() == Step::Yield {}
    assert_eq!(session.input.octets.capacity(), 0);
    session.receive(&b"x".repeat(100_000));
    assert!(session.input.octets.capacity() <= 1);
}

#[test]
fn every_refusal_is_noted_once_with_what_was_refused() {
    let config = Arc::new(Config { asked: 1 << Stage::Rcpt as u8 | 1 << Stage::EndOfData as u8, ..config() });
    let mut session = Session::new(config, "s1", "192.0.2.1", false);
    let no = || Verdict::Refuse(Reply::new(550, "5.1.1", "No"));
    session.connect();
    session.receive(
        b"MAIL FROM:<a@b.test>\r\nEHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<>\r\nRCPT TO:<x@y.test>\r\n",
    );
    session.answer(no());
    session.receive(b"RCPT TO:<z@y.test>\r\n");
    session.answer(Verdict::Pass);
    session.receive(b"DATA\r\n\r\nx\n\r\n.\r\nFOO bar\r\n");
    session.receive(b"MAIL FROM:<>\r\nRCPT TO:<z@y.test>\r\n");
    session.answer(Verdict::Pass);
    session.receive(b"DATA\r\n\r\nx\r\n.\r\n");
    session.answer(no());
    let taken = session.take_refused();
    let noted: Vec<String> = taken
        .into_iter()
        .map(|one| format!("{}|{}|{}|{}", one.recipient, one.command, one.mail_from, one.reply.code))
        .collect();
    assert_eq!(
        noted,
        [
            "|MAIL FROM:<a@b.test>||503",
            "||a@b.test|501",
            "x@y.test||a@b.test|550",
            "|end of data|a@b.test|550",
            "|FOO bar||500",
            "|end of data||550",
        ]
    );
    assert!(!session.has_refused());
}

#[test]
fn refusals_beyond_a_hundred_are_counted_and_not_noted() {
    let mut session = Session::new(Arc::new(config()), "s1", "192.0.2.1", false);
    session.connect();
    session.receive(&b"FOO\r\n".repeat(150));
    while session.proceed() == Step::Yield {}
    assert_eq!((session.take_refused().len(), session.tally().refused), (100, 150));
}

/// Plays a stream to a session, with a policy that takes recipients at example.test alone, and writes down all that comes.
/// With `late`, what a step asks for is given only after the next piece has come.
pub(super) fn play(config: &Arc<Config>, pieces: &[&[u8]], late: bool) -> String {
    let mut session = Session::new(config.clone(), "s1", "192.0.2.1", false);
    if config.auth_failures > 0 {
        session.offer_auth(&["PLAIN".into(), "X".into()]);
    }
    let mut record = String::new();
    let mut step = session.connect();
    let mut pieces = pieces.iter();
    loop {
        record.push_str(&String::from_utf8_lossy(&session.take_output()));
        if late && !matches!(step, Step::NeedInput | Step::Yield | Step::Close) {
            if let Some(piece) = pieces.next() {
                assert_eq!(session.receive(piece), Step::Wait);
            }
        }
        step = match step {
            Step::NeedInput | Step::Wait => match pieces.next() {
                Some(piece) => session.receive(piece),
                None => return record,
            },
            Step::Ask(stage) => {
                record += &format!("<ask {stage:?}>");
                let foreign = session.recipient().is_some_and(|address| address.domain() != "example.test");
                let refusal = Reply::fixed(550, "5.7.1", "Unable to relay");
                session.answer(if foreign { Verdict::Refuse(refusal) } else { Verdict::Pass })
            }
            Step::Hold(hold) => {
                record += &format!("<hold {hold}>");
                session.release()
            }
            Step::Commit => {
                let message = session.message("q1", 0, "Thu, 1 Jan 1970 00:00:00 +0000", b"", None).unwrap();
                record += &format!("<commit {:?} {:?}>", message.envelope, message.content.octets);
                session.committed(None)
            }
            Step::Yield => session.proceed(),
            Step::Close => return record + "<close>",
            Step::Authenticate => {
                let exchange = session.exchange().unwrap();
                let response = exchange.response.as_ref().map(|response| response.octets().to_vec());
                record += &format!("<{} {response:?}>", exchange.mechanism);
                match response.as_deref() {
                    Some(b"right") => session.authenticated(),
                    Some(b"wrong") => session.not_authenticated(Reply::fixed(535, "5.7.8", "No")),
                    _ => session.challenge(b"more"),
                }
            }
            Step::StartTls | Step::Secured | Step::ReplaceClient => unreachable!("not offered"),
        };
    }
}

pub(super) fn say(config: Config, stream: &str) -> String {
    play(&Arc::new(config), &[stream.as_bytes()], false)
}

#[test]
fn takes_a_message() {
    let said = say(
        config(),
        "EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<x@example.test>\r\nDATA\r\nSubject: s\r\n\r\n..\r\n.\r\nQUIT\r\n",
    );
    assert!(said.contains("250 2.1.0 a@b.test....Sender OK\r\n<ask Rcpt>250 2.1.5 x@example.test\r\n354 "), "{said}");
    assert!(said.contains("250 2.6.0 q1 Queued mail for delivery\r\n221 "), "{said}");
}

#[test]
fn puts_a_received_field_on_top() {
    let mut session = Session::new(Arc::new(Config { asked: 0, ..config() }), "s1", "2001:db8::1", false);
    session.connect();
    let stream = b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<x@example.test>\r\nDATA\r\nA: b\r\n.\r\n";
    assert_eq!(session.receive(stream), Step::Commit);
    let message = session.message("q1", 7, "DATE", b"X-Stamp: 1\r\n", None).unwrap();
    let trace = "X-Stamp: 1\r\nReceived: from c.test ([IPv6:2001:db8::1])\r\n\tby mx.example.test with ESMTP id q1\r\n\tfor <x@example.test>;\r\n\tDATE\r\n";
    assert_eq!(String::from_utf8(message.trace).unwrap(), trace);
}

/// A session that has taken this content for these recipients and now asks at the end of the header section.
fn asking(config: Config, recipients: &[&str], content: &str) -> Session {
    let asked = 1 << Stage::EndOfHeaders as u8;
    let mut session = Session::new(Arc::new(Config { asked, ..config }), "s1", "192.0.2.1", false);
    session.connect();
    let recipients: Vec<String> = recipients.iter().map(|address| format!("RCPT TO:<{address}>\r\n")).collect();
    let recipients = recipients.concat();
    let stream = format!("EHLO c\r\nMAIL FROM:<>\r\n{recipients}DATA\r\n{content}.\r\n");
    assert_eq!(session.receive(stream.as_bytes()), Step::Ask(Stage::EndOfHeaders));
    session
}

/// Trace and content as they go on, and the content's part that is not in memory.
fn octets(message: &Message) -> (String, bool) {
    let (content, filed) = match &message.content.octets {
        Octets::Memory(octets) => (octets.clone(), false),
        Octets::File(file) => (std::fs::read(file.path()).unwrap(), true),
    };
    assert_eq!(message.size(), (message.trace.len() + content.len()) as u64);
    assert_eq!(message.content.eight_bit, !content.is_ascii());
    (String::from_utf8([message.trace.clone(), content].concat()).unwrap(), filed)
}

#[test]
fn a_stranger_s_header_section_goes_through_the_firewall_in_memory_and_in_a_file() {
    let firewall = Firewall::new("mx.example.test", vec!["X-Inside-".into()]);
    let content = "A: b\r\nX-Inside-A: \u{fc}\r\n c\r\nAuthentication-Results: mx.example.test; spf=pass\r\nC: d\r\n\r\nX-Inside-B: body\r\n";
    let clean = "A: b\r\nC: d\r\n\r\nX-Inside-B: body\r\n";
    for (memory, in_file) in [(0, false), (16, true)] {
        for (firewall, expected) in [(Some(&firewall), clean), (None, content)] {
            let storage = Arc::new(ContentStorage::new(memory, Arc::default(), std::env::temp_dir()));
            let mut session = asking(Config { storage, ..config() }, &["x@example.test"], content);
            assert_eq!(session.header(), content.strip_suffix("X-Inside-B: body\r\n").unwrap().as_bytes());
            assert_eq!(session.answer(Verdict::Pass), Step::Commit);
            let message = session.message("q1", 7, "DATE", b"X-Inside-C: ours\r\n", firewall).unwrap();
            let (all, filed) = octets(&message);
            let (ours, sent) = all.split_once("\tDATE\r\n").unwrap();
            assert!(ours.starts_with("X-Inside-C: ours\r\nReceived: from c"), "{ours}");
            assert_eq!((sent, filed), (expected, in_file));
        }
    }
}

#[test]
fn dropped_recipients_do_not_get_the_message() {
    let three = ["a@example.test", "\"b c\"@example.test", "d@example.test"];
    let left = |dropped: &[&str]| {
        let mut session = asking(config(), &three, "A: b\r\n");
        session.drop_recipients(&dropped.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(session.answer(Verdict::Pass), Step::Commit);
        let message = session.message("q1", 7, "DATE", b"", None);
        assert_eq!(session.committed(None), Step::NeedInput);
        assert!(
            String::from_utf8(session.take_output()).unwrap().ends_with("250 2.6.0 q1 Queued mail for delivery\r\n")
        );
        message.map(|message| {
            message.envelope.recipients.into_iter().map(|recipient| recipient.address).collect::<Vec<_>>()
        })
    };
    assert_eq!(left(&[]).unwrap(), three);
    assert_eq!(left(&["x@far.test"]).unwrap(), three);
    assert_eq!(left(&["\"b c\"@example.test", "a@example.test"]).unwrap(), ["d@example.test"]);
    assert_eq!(left(&three), None);
    // Nothing can be dropped but at a content stage.
    let mut session =
        Session::new(Arc::new(Config { asked: 1 << Stage::Data as u8, ..config() }), "s1", "192.0.2.1", false);
    session.connect();
    session.receive(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.test>\r\nDATA\r\n");
    session.drop_recipients(&["a@example.test".into()]);
    assert_eq!(session.transaction().unwrap().recipients.len(), 1);
}

#[test]
fn submitter_is_offered_and_taken_only_when_on() {
    let stream = format!(
        "EHLO c\r\nMAIL FROM:<> SUBMITTER={}@b.test\r\nRSET\r\nMAIL FROM:<> SUBMITTER=j+C3+BC@b.test\r\n",
        "+61".repeat(60)
    );
    let off = say(config(), &stream);
    assert!(
        !off.contains("250-SUBMITTER") && off.contains("\r\n555 5.5.4 Parameter SUBMITTER is not supported\r\n"),
        "{off}"
    );
    let on = say(Config { submitter: true, command_line: 64, ..config() }, &stream);
    assert!(on.contains("250-SUBMITTER\r\n") && on.contains("\r\n250 2.1.0 <>....Sender OK\r\n"), "{on}");
    assert!(on.ends_with("\r\n550 5.6.7 Address needs the SMTPUTF8 parameter\r\n"), "{on}");
    let mut session = Session::new(Arc::new(Config { submitter: true, ..config() }), "s1", "192.0.2.1", false);
    session.connect();
    session.receive(b"EHLO c\r\nMAIL FROM:<a@b> SUBMITTER=x+2By@Z.test\r\n");
    let parameters = &session.transaction().unwrap().parameters;
    assert_eq!(parameters.submitter.as_ref().map(Address::to_string).as_deref(), Some("x+y@z.test"));
}

#[test]
fn what_the_next_hop_does_not_take_is_not_offered_and_refused_at_once() {
    let stream = "EHLO c\r\nMAIL FROM:<> SMTPUTF8\r\nMAIL FROM:<> BODY=8BITMIME\r\nMAIL FROM:<> SIZE=101\r\nMAIL FROM:<>\r\n\
        RCPT TO:<a@example.test>\r\nDATA\r\n\u{e4}\r\n.\r\n";
    let narrow = config();
    let content = ContentRules { eight_bit: false, message_size: 100, ..narrow.content };
    let said = say(Config { smtputf8: false, content, ..narrow }, stream);
    let offers = "250-PIPELINING\r\n250-SIZE 100\r\n250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250-DSN\r\n250 LIMITS RCPTMAX=3\r\n";
    assert!(said.contains(offers), "{said}");
    for refusal in [
        "555 5.5.4 Parameter SMTPUTF8 is not supported\r\n555 5.5.4 Parameter BODY is not supported\r\n552 5.3.4 ",
        "554 5.6.3 Message has 8-bit content, and 8BITMIME is not offered here\r\n",
    ] {
        assert!(said.contains(refusal), "{said}");
    }
}

#[test]
fn a_redirected_recipient_is_told_as_asked_and_kept_once() {
    let mut session = Session::new(Arc::new(config()), "s1", "192.0.2.1", false);
    session.connect();
    session.receive(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster@example.test>\r\nRCPT TO:<ann@example.test>\r\n");
    session.take_output();
    let ann = Address::parse(b"ann@example.test", &Limits::default()).unwrap();
    session.answer(Verdict::Redirect(vec![ann.clone()]));
    session.answer(Verdict::Pass);
    assert_eq!(session.take_output(), b"250 2.1.5 postmaster@example.test\r\n250 2.1.5 ann@example.test\r\n");
    let recipients = &session.transaction().unwrap().recipients;
    assert!(recipients.len() == 1 && recipients[0].address == ann && recipients[0].fate == Fate::Delivery);
}

/// Recipients of the message after one RCPT with these parameters was redirected to these: address, parameters, state.
fn redirected(rcpt: &str, targets: &[&str]) -> Vec<String> {
    let mut session = Session::new(Arc::new(config()), "s1", "192.0.2.1", false);
    session.connect();
    session.receive(format!("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:{rcpt}\r\n").as_bytes());
    let targets = targets.iter().map(|target| Address::parse(target.as_bytes(), &Limits::default()).unwrap()).collect();
    session.answer(Verdict::Redirect(targets));
    let shown = |one: &Accepted| format!("{} {} {:?}", one.address, one.parameters.as_str(), one.fate);
    session.transaction().unwrap().recipients.iter().map(shown).collect()
}

#[test]
fn targets_get_what_was_asked_for_their_recipient() {
    let (ann, bob) = ("ann@far.test", "bob@example.test");
    assert_eq!(
        redirected("<all@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;all@example.test", &[ann]),
        ["ann@far.test NOTIFY=SUCCESS,DELAY ORCPT=rfc822;all@example.test Delivery"]
    );
    assert_eq!(
        redirected(
            "<all@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;all@example.test",
            &[ann, bob, "ANN@far.test"]
        ),
        [
            "ann@far.test NOTIFY=DELAY ORCPT=rfc822;all@example.test Delivery",
            "bob@example.test NOTIFY=DELAY ORCPT=rfc822;all@example.test Delivery",
            "all@example.test NOTIFY=SUCCESS,DELAY ORCPT=rfc822;all@example.test Expansion",
        ]
    );
    assert_eq!(
        redirected("<Bob@example.test> NOTIFY=SUCCESS", &[ann, bob]),
        ["ann@far.test NOTIFY=NEVER Delivery", "bob@example.test NOTIFY=SUCCESS Delivery"]
    );
    assert_eq!(redirected("<all@example.test>", &[ann, bob]), ["ann@far.test  Delivery", "bob@example.test  Delivery"]);
}

#[test]
fn targets_that_do_not_fit_wait_for_another_transaction_unless_they_are_the_first() {
    let mut session = Session::new(Arc::new(Config { recipients: 3, ..config() }), "s1", "192.0.2.1", false);
    let targets = |name: &str, number: usize| {
        let each = |place| Address::parse(format!("{name}{place}@far.test").as_bytes(), &Limits::default()).unwrap();
        Verdict::Redirect((0..number).map(each).collect())
    };
    session.connect();
    session.receive(b"EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<one@example.test>\r\nRCPT TO:<two@example.test>\r\nRCPT TO:<three@example.test>\r\n");
    session.take_output();
    session.answer(targets("a", 2));
    session.answer(targets("b", 2));
    session.answer(targets("c", 1));
    let said = String::from_utf8(session.take_output()).unwrap();
    assert_eq!(said.lines().map(|line| &line[..3]).collect::<Vec<_>>(), ["250", "452", "250"]);
    assert_eq!(session.transaction().unwrap().recipients.len(), 3);
    session.receive(b"RSET\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<one@example.test>\r\n");
    session.answer(targets("a", 9));
    assert_eq!(session.transaction().unwrap().recipients.len(), 9);
}

#[test]
fn holds_each_5xx_after_earlier_replies_and_nothing_else() {
    let stream = "EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<x@far.test>\r\nRCPT TO:<x@example.test>\r\nRCPT TO:<y@far.test>\r\nQUIT\r\n";
    let said = say(Config { tarpit_time: 5000, ..config() }, stream);
    let expected = "<ask Rcpt><hold 5000>550 5.7.1 Unable to relay\r\n<ask Rcpt>250 2.1.5 x@example.test\r\n<ask Rcpt><hold 5000>550 5.7.1 Unable to relay\r\n221 2.0.0";
    assert!(said.contains(expected), "{said}");
    let short = say(Config { tarpit_time: 5000, tarpit_max_session: 9000, ..config() }, stream);
    assert!(
        short.contains(
            "<hold 5000>550 5.7.1 Unable to relay\r\n<ask Rcpt>250 2.1.5 x@example.test\r\n<ask Rcpt>421 4.7.0"
        ),
        "{short}"
    );
}

#[test]
fn refuses_what_is_out_of_order() {
    let said = say(
        config(),
        "MAIL FROM:<a@b.test>\r\nRCPT TO:<a@b>\r\nDATA\r\nEHLO c\r\nRCPT TO:<a@b>\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\nDATA\r\nSTARTTLS\r\nEXPN x\r\nVRFY x\r\nNOOP\r\nRSET\r\nDATA\r\n",
    );
    let codes: Vec<&str> =
        said.lines().filter(|line| line.get(3..4) == Some(" ")).filter_map(|line| line.get(..3)).collect();
    assert_eq!(
        codes,
        ["220", "503", "503", "503", "250", "503", "250", "503", "554", "502", "502", "252", "250", "250", "503"]
    );
}

#[test]
fn a_refusing_greeting_leaves_quit() {
    let mut session = Session::new(Arc::new(Config { asked: 1, ..config() }), "s1", "192.0.2.1", false);
    assert_eq!(session.connect(), Step::Ask(Stage::Connect));
    session.answer(Verdict::Refuse(Reply::fixed(554, "5.7.1", "No")));
    session.receive(b"EHLO a\r\nNOOP\r\nQUIT\r\n");
    let said = String::from_utf8(session.take_output()).unwrap();
    let codes: Vec<&str> = said.lines().filter_map(|line| line.get(..3)).collect();
    assert_eq!(codes, ["554", "503", "503", "221"]);
}

#[test]
fn refuses_content_faults_after_its_end_and_goes_on() {
    let envelope = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<x@example.test>\r\nDATA\r\n";
    let hops = "Received: a\r\n".repeat(3);
    for (content, code) in [
        ("a\nb", "550 5.6.0"),
        (&"x".repeat(300), "500 5.6.0"),
        (&format!("\r\n{}", "y\r\n".repeat(900)), "552 5.3.4 Message size"),
        (&"Y:\r\n".repeat(300), "552 5.3.4 Header section is too large"),
        ("Subject: \0", "550 5.6.0 The header section holds a NUL"),
        (hops.as_str(), "554 5.4.6"),
    ] {
        let said = say(config(), &format!("{envelope}{content}\r\n.\r\nNOOP\r\n"));
        assert!(said.contains(&format!("\r\n{code}")) && said.ends_with("250 2.0.0 OK\r\n"), "{said}");
    }
}

#[test]
fn bounds_a_command_line() {
    let long = format!("EHLO c\r\nNOOP {}\r\nNOOP\r\n", "x".repeat(5000));
    assert!(say(config(), &long).ends_with("500 5.5.2 Command line too long\r\n250 2.0.0 OK\r\n"));
    let config = Arc::new(config());
    let mut session = Session::new(config, "s1", "192.0.2.1", false);
    session.connect();
    for _ in 0..10_000 {
        session.receive(&[b'x'; 100]);
        assert!(session.buffered() < 1500);
    }
}

fn greeted() -> Session {
    let mut session = Session::new(Arc::new(config()), "s1", "192.0.2.1", false);
    session.connect();
    session.take_output();
    session
}

#[test]
fn a_session_that_makes_no_progress_has_its_turns_after_the_others() {
    let mut session = greeted();
    for _ in 0..PATIENCE {
        assert_eq!(
            (session.receive(b"NOOP\r\n"), session.makes_no_progress()),
            (Step::NeedInput, session.idle == PATIENCE)
        );
    }
    assert_eq!((session.receive(b"NO"), session.receive(b"OP\r\nNOOP\r\n")), (Step::NeedInput, Step::Yield));
    assert_eq!((session.proceed(), session.idle), (Step::NeedInput, PATIENCE + 2));
    // A message is progress.
    session.receive(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<x@example.test>\r\n");
    session.proceed();
    session.answer(Verdict::Pass);
    session.receive(b"DATA\r\n");
    session.proceed();
    session.receive(b"\r\nx\r\n.\r\n");
    assert_eq!(session.answer(Verdict::Pass), Step::Commit);
    session.committed(None);
    assert!(!session.makes_no_progress());
    assert_eq!(session.receive(b"NOOP\r\n"), Step::NeedInput);
    // Errors count until there are as many messages.
    let (mut session, told) = (greeted(), "XYZZY\r\n".repeat(PATIENCE as usize));
    session.receive(told.as_bytes());
    assert_eq!((session.idle, session.receive(b"NOOP\r\n")), (0, Step::Yield));
}

#[test]
fn one_turn_takes_so_many_commands_and_the_rest_waits_for_the_next() {
    let mut session = greeted();
    let mut step = session.receive("NOOP\r\n".repeat(40).as_bytes());
    for commands in [16, 32, 40] {
        assert_eq!((session.tally().commands, session.buffered()), (commands, (40 - commands as usize) * 6));
        assert_eq!(step, if commands < 40 { Step::Yield } else { Step::NeedInput });
        step = session.proceed();
    }
    // A turn that is spent exactly needs no other.
    assert_eq!(greeted().receive("NOOP\r\n".repeat(16).as_bytes()), Step::NeedInput);
    // Answers given at once belong to the turn; an unfinished line is nothing to take.
    session = greeted();
    let stream = format!("EHLO c\r\nMAIL FROM:<>\r\n{}RCPT TO:<", "RCPT TO:<x@example.test>\r\n".repeat(20));
    step = session.receive(stream.as_bytes());
    let mut asked = 0;
    while step == Step::Ask(Stage::Rcpt) {
        asked += 1;
        step = session.answer(Verdict::Pass);
    }
    assert_eq!((asked, step), (14, Step::Yield));
    // What comes meanwhile is kept behind. The same recipient again and again is no progress, so the others come first.
    assert_eq!(session.receive(b"y@far.test>\r\n"), Step::Yield);
    step = session.proceed();
    while step == Step::Ask(Stage::Rcpt) {
        asked += 1;
        step = session.answer(Verdict::Pass);
    }
    assert_eq!((asked, step, session.buffered()), (21, Step::NeedInput, 0));
}

#[test]
fn recipients_far_beyond_the_limit_are_errors() {
    let beyond = |count: usize, errors| {
        let recipients: String = (0..count).map(|number| format!("RCPT TO:<r{number}@example.test>\r\n")).collect();
        let config = Config { errors, asked: 0, ..config() };
        say(config, &format!("EHLO c\r\nMAIL FROM:<>\r\n{recipients}DATA\r\n"))
    };
    // Three are taken, a thousand more get 452 and the message goes to the three (RFC 5321 4.5.3.1.10).
    let generous = beyond(1003, 2);
    assert_eq!(generous.matches("452 4.5.3 Too many recipients").count(), 1000);
    assert!(generous.ends_with("354 Start mail input; end with <CRLF>.<CRLF>\r\n"), "{generous}");
    let spent = beyond(1010, 2);
    assert_eq!(spent.matches("452 4.5.3 Too many recipients").count(), 1002);
    assert!(spent.ends_with("421 4.7.0 mx.example.test Too many errors; closing\r\n<close>"), "{spent}");
    assert_eq!(beyond(1010, 0).matches("452 4.5.3").count(), 1007);
}

#[test]
fn nothing_of_a_line_with_a_bare_lf_is_a_command() {
    let said = say(config(), "EHLO c\r\nNOOP\nRSET\r\nNOOP\r\n");
    assert!(said.ends_with("\r\n500 5.5.2 Lines end in CRLF; a bare LF was received\r\n500 5.5.2 Lines end in CRLF; a bare LF was received\r\n250 2.0.0 OK\r\n"), "{said}");
    let content = ContentRules { bare_newline: BareNewline::Normalise, ..config().content };
    assert!(say(Config { content, ..config() }, "NOOP\nRSET\r\n").ends_with("250 2.0.0 OK\r\n250 2.0.0 Resetting\r\n"));
}

#[test]
fn stops_from_outside() {
    let mut session = Session::new(Arc::new(Config { tarpit_time: 5, ..config() }), "s1", "192.0.2.1", false);
    session.connect();
    assert_eq!(session.receive(b"FOO\r\n"), Step::Hold(5));
    session.take_output();
    assert_eq!(session.stop(&Reply::fixed(421, "4.7.0", "bye"), End::Evicted), Step::Close);
    assert_eq!(session.take_output(), b"421 4.7.0 mx.example.test bye\r\n");
    assert_eq!(session.release(), Step::Wait);
    assert_eq!(session.receive(b"NOOP\r\n"), Step::Close);
}

/// xorshift64*: fast, seeded, good enough to stir streams.
struct Stir(u64);

impl Stir {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }

    fn stream(&mut self) -> Vec<u8> {
        const PARTS: [&[u8]; 39] = [
            b"AUTH PLAIN\r\n",
            b"AUTH X cmlnaHQ=\r\n",
            b"auth x d3Jvbmc=\r\n",
            b"cmlnaHQ=\r\n",
            b"d3Jvbmc=\r\n",
            b"*\r\n",
            b"EHLO c.test\r\n",
            b"HELO c.test\r\n",
            b"MAIL FROM:<a@b.test>\r\n",
            b"MAIL FROM:<> SIZE=100 BODY=8BITMIME\r\n",
            b"MAIL FROM:<\xc3\xbc@b.test> SMTPUTF8\r\n",
            b"RCPT TO:<x@example.test>\r\n",
            b"RCPT TO:<x@far.test>\r\n",
            b"RCPT TO:<@r.test:\"a b\"@example.test>\r\n",
            b"DATA\r\n",
            b"MAIL FROM:<> BODY=BINARYMIME\r\n",
            b"BDAT 12\r\nSubject: s\r\n",
            b"BDAT 5\r\n\r\na\n\r",
            b"BDAT 7 LAST\r\n\r\n.\r\n\r\n",
            b"BDAT 0 LAST\r\n",
            b"BDAT 300\r\n",
            b"BDAT x\r\n",
            b"Received: by x\r\n",
            b"Subject: s\r\n\r\n",
            b"body\r\n",
            b"..stuffed\r\n",
            b".\r\n",
            b"\r\n.\r\n",
            b"\n.\n",
            b"\r.\r\n",
            b"RSET\r\n",
            b"NOOP\r\n",
            b"QUIT\r\n",
            b"VRFY a\r\n",
            b"XYZZY\r\n",
            b"\r",
            b"\n",
            b"\0",
            b"0123456789012345678901234567890123456789",
        ];
        let mut stream = b"EHLO c.test\r\n".to_vec();
        if self.below(2) == 0 {
            stream.extend_from_slice(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<x@example.test>\r\n");
            stream.extend_from_slice([&b"DATA\r\n"[..], b"BDAT 12\r\nSubject: s\r\n"][self.below(2)]);
        }
        for _ in 0..self.below(12) {
            let part = PARTS[self.below(PARTS.len())];
            for _ in 0..=(if self.below(8) == 0 { self.below(30) } else { 0 }) {
                stream.extend_from_slice(part);
            }
        }
        for _ in 0..self.below(4) {
            let at = self.below(stream.len());
            match self.below(3) {
                0 => stream[at] = self.below(256) as u8,
                1 => drop(stream.remove(at)),
                _ => stream.insert(at, b"\r\n.<>:@ \""[self.below(9)]),
            }
        }
        stream
    }
}

/// `MAILMOAT_STREAMS` sets how many streams are tried, 20,000 without it.
#[test]
fn cuts_change_no_step() {
    let count: u64 = std::env::var("MAILMOAT_STREAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let normalise = ContentRules { bare_newline: BareNewline::Normalise, ..config().content };
    let configs = [
        Arc::new(Config { auth_failures: 3, ..config() }),
        Arc::new(Config {
            tarpit_time: 5,
            tarpit_max_session: 21,
            errors: 6,
            idle_commands: 40,
            content: normalise,
            ..config()
        }),
    ];
    for seed in 1..=count {
        let mut stir = Stir(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let config = &configs[stir.below(2)];
        let stream = stir.stream();
        let whole = play(config, &[&stream], false);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(play(config, &bytes, false), whole, "seed {seed} by octet");
        let mut pieces = Vec::new();
        let mut rest = stream.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + stir.below(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        assert_eq!(play(config, &pieces, false), whole, "seed {seed} cut");
        assert_eq!(play(config, &pieces, true), whole, "seed {seed} late");
    }
}

/// A session that has, or could have, TLS or mechanisms to authenticate by, after EHLO.
fn standing(standing: Standing) -> Session {
    let mut session = Session::new(Arc::new(Config { asked: 0, ..config() }), "s1", "192.0.2.1", false);
    session.standing = standing;
    session.offers = Offers::of(&session.config, standing);
    session.connect();
    session.receive(b"EHLO c\r\n");
    session
}

fn answer_to(session: &mut Session, line: &str) -> String {
    session.take_output();
    session.receive(format!("{line}\r\n").as_bytes());
    String::from_utf8(session.take_output()).unwrap()
}

#[test]
fn requiretls_is_offered_and_taken_within_tls_alone() {
    let mut session = standing(Standing { secured: true, ..Standing::default() });
    assert!(String::from_utf8(session.take_output()).unwrap().contains("250-REQUIRETLS\r\n"));
    assert_eq!(answer_to(&mut session, "MAIL FROM:<a@b> REQUIRETLS=1"), "501 5.5.4 REQUIRETLS takes no value\r\n");
    answer_to(&mut session, "MAIL FROM:<a@b> requiretls");
    answer_to(&mut session, "RCPT TO:<x@example.test>\r\nDATA\r\nTLS-Required: No\r\n\r\n.");
    let message = session.message("q1", 0, "DATE", b"", None).unwrap();
    assert_eq!(message.envelope.parameters.as_str(), "REQUIRETLS");
    assert!(message.envelope.requires_tls() && !message.envelope.is_tls_optional());
    let mut clear = standing(Standing { start_tls: true, ..Standing::default() });
    assert!(!String::from_utf8(clear.take_output()).unwrap().contains("REQUIRETLS"));
    let mail = "MAIL FROM:<a@b> REQUIRETLS";
    assert_eq!(answer_to(&mut clear, mail), "530 5.7.10 REQUIRETLS needs TLS: issue STARTTLS first\r\n");
    assert!(answer_to(&mut standing(Standing::default()), mail).starts_with("555 5.5.4 "));
}

#[test]
fn a_header_field_makes_tls_optional() {
    for (header, expected) in [
        ("TLS-Required: No\r\n", true),
        ("a: b\r\ntls-required:\r\n no \r\n", true),
        ("TLS-Required: Yes\r\n", false),
        ("TLS-Required: No\r\nTLS-Required: No\r\n", false),
        ("a: b\r\n\r\nTLS-Required: No\r\n", false),
        ("", false),
    ] {
        let mut session = standing(Standing::default());
        let stream = format!("MAIL FROM:<a@b>\r\nRCPT TO:<x@example.test>\r\nDATA\r\n{header}.");
        answer_to(&mut session, &stream);
        let envelope = session.message("q1", 0, "DATE", b"", None).unwrap().envelope;
        assert_eq!(envelope.is_tls_optional(), expected, "{header:?}");
    }
}

#[test]
fn whoever_auth_names_on_mail_nobody_is_believed() {
    let mut session = standing(Standing { auth: true, ..Standing::default() });
    for value in ["<>", "e+3Dmc2@example.com", "a@b", "user"] {
        let said = answer_to(&mut session, &format!("MAIL FROM:<a@b> AUTH={value}"));
        assert_eq!(said, "250 2.1.0 a@b....Sender OK\r\n", "{value}");
        answer_to(&mut session, "RCPT TO:<x@example.test>\r\nDATA\r\n.");
        assert_eq!(session.message("q1", 0, "DATE", b"", None).unwrap().envelope.parameters.as_str(), "");
        session.committed(None);
    }
    for value in ["", "a+", "a@b@c", "+3C@", "+3C+3E+0D+0A", "a b"] {
        let said = answer_to(&mut session, &format!("MAIL FROM:<a@b> AUTH={value}"));
        assert!(said.starts_with("501 5.5.4 ") || said.starts_with("555 5.5.4 "), "{value}: {said}");
    }
    answer_to(&mut session, "MAIL FROM:<a@b>");
}
