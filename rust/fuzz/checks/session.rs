//! A stream leads to the same steps, replies and messages whole, by octet, cut anywhere, or while an answer is awaited; what a
//! session keeps is bounded; every reply is a line.

use std::fs;
use std::sync::Arc;

use mailmoat_native::machine::message::Message;
use mailmoat_native::machine::message::address::Limits;
use mailmoat_native::machine::message::content::Octets;
use mailmoat_native::machine::message::firewall::Firewall;
use mailmoat_native::machine::message::header::fields;
use mailmoat_native::machine::smtp::chunking::Chunking;
use mailmoat_native::machine::smtp::extensions::{Offers, Standing};
use mailmoat_native::machine::smtp::reply::Reply;
use mailmoat_native::machine::smtp::server::auth::LINE;
use mailmoat_native::machine::smtp::server::config::Config;
use mailmoat_native::machine::smtp::server::content_rules::{BareNewline, ContentRules, NulInHeader};
use mailmoat_native::machine::smtp::server::session::Session;
use mailmoat_native::machine::smtp::server::step::{Stage, Step, Verdict};
use mailmoat_native::machine::smtp::server::tally::End;
use mailmoat_native::store::content::ContentStorage;

const COMMAND_LINE: usize = 128;
const MEMORY: usize = 256;
/// The path that a command line of the usual length has room for (RFC 5321 4.5.3.1.3).
const PATH: usize = 256;

pub fn check(input: &[u8]) {
    let ([choices, asked, seed, verdicts], stream) = super::split::<4>(input);
    let config = Arc::new(config(choices, asked));
    let whole = play(&config, verdicts, &[&stream], false);
    let octets: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(play(&config, verdicts, &octets, false), whole, "by octet");
    let pieces = super::cut(&stream, seed);
    assert_eq!(play(&config, verdicts, &pieces, false), whole, "cut");
    assert_eq!(play(&config, verdicts, &pieces, true), whole, "late");
}

pub fn config(choices: u8, asked: u8) -> Config {
    let on = |bit: u8| choices & bit != 0;
    Config {
        normalisation: Arc::default(),
        hostname: "mx.example.test".into(),
        default_domain: if on(2) { "example.test".into() } else { String::new() },
        addresses: Limits::default(),
        content: ContentRules {
            message_size: 1000,
            header_size: 400,
            text_line: 200,
            bare_newline: if on(4) { BareNewline::Normalise } else { BareNewline::Refuse },
            nul_in_header: if on(4) { NulInHeader::Accept } else { NulInHeader::Refuse },
            eight_bit: asked & 0x80 == 0,
        },
        storage: Arc::new(ContentStorage::new(
            if choices & 0xF8 == 0xF8 { MEMORY } else { 0 },
            Arc::default(),
            std::env::temp_dir(),
        )),
        command_line: COMMAND_LINE,
        recipients: 3,
        null_sender_recipients: 0,
        hops: 3,
        errors: if on(8) { 6 } else { 0 },
        idle_commands: if on(16) { 30 } else { 0 },
        tarpit_time: if on(32) { 5 } else { 0 },
        auth_time: if on(32) { 7 } else { 0 },
        auth_failures: if on(8) { 2 } else { 0 },
        tarpit_max_session: if on(64) { 21 } else { 0 },
        submitter: on(64),
        smtputf8: asked & 0x80 == 0,
        chunking: match choices & 0x28 {
            0x28 => Chunking::Off,
            0x20 => Chunking::Binary,
            _ => Chunking::Text,
        },
        asked: asked & 0x7F,
    }
}

/// What the peer saw and the server was asked, with policy of any kind but always the same for the same question.
fn play(config: &Arc<Config>, verdicts: u8, pieces: &[&[u8]], late: bool) -> String {
    let mut session = Session::new(config.clone(), "s1", "192.0.2.1", false);
    session.offer_proxied(verdicts & 8 != 0, verdicts & 16 != 0);
    let (mut record, mut given) = (String::new(), 0_usize);
    if verdicts & 8 != 0 {
        session.offer_auth(&["SCRAM-SHA-256".into(), "X".into()]);
    }
    let mut step = session.connect();
    let mut pieces = pieces.iter();
    loop {
        take_output(&mut session, &mut record);
        bounded(&session, step, given, kept(config, verdicts));
        if late && !matches!(step, Step::NeedInput | Step::Yield | Step::Close) {
            if let Some(piece) = pieces.next() {
                given += piece.len();
                assert_eq!(session.receive(piece), Step::Wait);
            }
        }
        step = match step {
            Step::NeedInput => match pieces.next() {
                Some(piece) => {
                    given += piece.len();
                    session.receive(piece)
                }
                None => return end(session, record),
            },
            Step::Ask(stage) => {
                let verdict = decide(&session, stage, verdicts);
                record += &format!("<{stage:?}: {verdict:?}>\n");
                if verdicts & 2 != 0 {
                    session.drop_recipients(&["x@example.test".into()]);
                }
                session.answer(verdict)
            }
            Step::Hold(hold) => {
                assert!(session.is_held() && (hold == config.tarpit_time || hold == config.auth_time));
                record += &format!("<hold {hold}>\n");
                session.release()
            }
            Step::Commit => {
                if let Some(message) =
                    session.message("q1", 0, "Thu, 1 Jan 1970 00:00:00 +0000", b"", firewall(verdicts).as_ref())
                {
                    assert!(
                        firewall(verdicts).is_none() || !fields(&octets(&message)).any(|field| field.is("Subject"))
                    );
                    record += &tell(&message);
                }
                session.committed((verdicts & 1 != 0).then(|| Reply::fixed(452, "4.3.1", "No room")))
            }
            Step::Close => {
                assert_eq!(session.receive(b"NOOP\r\n"), Step::Close);
                return end(session, record + "<close>");
            }
            Step::Yield => session.proceed(),
            Step::Authenticate => authenticate(&mut session, &mut record, verdicts),
            Step::Wait => panic!("nothing is owed"),
            Step::ReplaceClient => {
                let client = session.next_client().unwrap().clone();
                record += &format!("<client {client:?}>\n");
                session.replace_client(client.address.as_deref().unwrap_or("192.0.2.1"), verdicts & 32 != 0)
            }
            Step::StartTls | Step::Secured => panic!("not offered"),
        };
    }
}

fn take_output(session: &mut Session, record: &mut String) {
    let output = session.take_output();
    assert!(output.is_empty() || output.ends_with(b"\r\n"));
    for line in output.split_inclusive(|&octet| octet == b'\n') {
        assert!(line.len() <= 512 && line.len() > 5, "{line:?}"); // RFC 5321 4.5.3.1.5
        assert!(line[..3].iter().all(u8::is_ascii_digit) && matches!(line[3], b' ' | b'-'), "{line:?}");
        assert!(!line[..line.len() - 2].iter().any(u8::is_ascii_control), "{line:?}");
        record.push_str(std::str::from_utf8(line).unwrap());
    }
}

/// Octets of input that may wait for the rest of their line: a command line with room for a long path and for parameters, or one of an
/// exchange.
fn kept(config: &Config, verdicts: u8) -> usize {
    if verdicts & 8 != 0 {
        return LINE;
    }
    let offers = Offers::of(config, Standing::default());
    COMMAND_LINE + config.addresses.path.saturating_sub(PATH) + offers.mail_line().max(offers.rcpt_line())
}

fn bounded(session: &Session, step: Step, given: usize, kept: usize) {
    assert!(session.buffered() <= given);
    if step == Step::NeedInput {
        assert!(session.buffered() <= kept, "{} octets wait", session.buffered());
    }
    assert!(session.header().len() <= 400);
    assert!(session.tally().refusals.len() <= 4);
    assert!(session.transaction().is_none_or(|transaction| transaction.recipients.len() <= 3));
}

fn decide(session: &Session, stage: Stage, verdicts: u8) -> Verdict {
    let fate = match stage {
        Stage::Rcpt => session.recipient().unwrap().to_string().bytes().fold(verdicts, |sum, octet| sum ^ octet),
        _ => verdicts.rotate_left(stage as u32),
    };
    match (fate % 8, stage) {
        (0, _) => Verdict::Refuse(Reply::fixed(550, "5.7.1", "No")),
        (1, _) => Verdict::Refuse(Reply::fixed(450, "4.7.1", "Later")),
        (2, Stage::Rcpt) => Verdict::Report(Reply::fixed(550, "5.1.1", "Unknown")),
        (3, Stage::EndOfHeaders | Stage::EndOfData) => Verdict::Discard,
        _ => Verdict::Pass,
    }
}

/// Answers the client's part of an exchange, always the same way.
fn authenticate(session: &mut Session, record: &mut String, verdicts: u8) -> Step {
    let exchange = session.exchange().unwrap();
    let response = exchange.response.as_ref().map(|response| response.octets().to_vec());
    *record += &format!("<{} {} {response:?}>\n", exchange.mechanism, exchange.begins);
    let fate = response.iter().flatten().fold(verdicts, |sum, octet| sum ^ octet);
    match fate % 4 {
        0 => session.authenticated(),
        1 => session.not_authenticated(Reply::fixed(535, "5.7.8", "No")),
        2 => session.not_authenticated(Reply::fixed(454, "4.7.0", "Later")),
        _ => session.challenge(&response.unwrap_or_default()),
    }
}

fn firewall(verdicts: u8) -> Option<Firewall> {
    (verdicts & 4 != 0).then(|| Firewall::new("c.test", vec!["Subject".into()]))
}

fn octets(message: &Message) -> Vec<u8> {
    let content = match &message.content.octets {
        Octets::Memory(octets) => octets.clone(),
        Octets::File(file) => fs::read(file.path()).unwrap(),
    };
    assert_eq!(message.content.eight_bit, !content.is_ascii());
    [message.trace.as_slice(), &content].concat()
}

fn tell(message: &Message) -> String {
    assert!(message.trace.ends_with(b"\r\n"));
    assert!(message.envelope.recipients.len() <= 3 && !message.envelope.recipients.is_empty());
    let octets = octets(message);
    assert_eq!(octets.len() as u64, message.size());
    format!("<commit {:?} {} {:?}>\n", message.envelope, message.content.eight_bit, octets.escape_ascii().to_string())
}

/// Ends it as a time-out does, wherever it is.
fn end(mut session: Session, mut record: String) -> String {
    let origin: Vec<_> = session.origin().collect();
    record += &format!("{:?} {:?} {:?} {origin:?}", session.tally(), session.tarpit(), session.helo_name());
    session.stop(&Reply::fixed(421, "4.4.2", "Timeout"), End::Timeout);
    assert_eq!(session.buffered(), 0);
    record
}
