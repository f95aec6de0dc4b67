//! Dialogues with the client machine, written as what the next hop says and what must have been written to it.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::machine::message::content::{Content, Octets, StoredOctets};
use crate::machine::message::{Envelope, Parameters, Recipient};
use crate::machine::smtp::client::offers::RequireTls;
use crate::store::content::ContentFile;

const TRACE: &[u8] = b"Received: x\r\n";

pub(super) fn message_of(content: Content, sender: &str, recipients: &[&str], smtputf8: bool) -> Arc<Message> {
    let recipient = |address: &&str| Recipient::new((*address).to_owned(), 0);
    let parameters = Parameters::parse(if smtputf8 { "SMTPUTF8" } else { "" }).unwrap();
    Arc::new(Message {
        queue_id: "a1".to_owned(),
        arrival: 0,
        envelope: Envelope {
            reverse_path: sender.to_owned(),
            recipients: recipients.iter().map(recipient).collect(),
            parameters,
            ..Envelope::default()
        },
        trace: TRACE.to_vec(),
        content,
        share: None,
    })
}

pub(super) fn message(content: &[u8], recipients: &[&str]) -> Arc<Message> {
    let content = Content { octets: Octets::Memory(content.to_vec()), eight_bit: !content.is_ascii() };
    message_of(content, "s@a.example", recipients, false)
}

/// One dialogue: `said` holds what came back for each flight of ours.
pub(super) struct Dialogue {
    pub(super) client: Client,
    pub(super) written: Vec<String>,
    steps: Vec<Step>,
}

impl Dialogue {
    pub(super) fn new(protocol: Protocol, offers: &str) -> Self {
        Self::of(Client::new(protocol, "me.example").unwrap(), offers)
    }

    pub(super) fn of(client: Client, offers: &str) -> Self {
        let mut dialogue = Self { client, written: Vec::new(), steps: Vec::new() };
        dialogue.hear("220 hello\r\n");
        dialogue.hear(offers);
        assert_eq!(dialogue.client.step(), Step::Ready);
        dialogue.written.clear();
        dialogue
    }

    pub(super) fn smtp(offers: &str) -> Self {
        Self::new(Protocol::Smtp, offers)
    }

    pub(super) fn take(&mut self) {
        let output = self.client.output();
        if !output.is_empty() {
            self.written.push(String::from_utf8_lossy(&output).into_owned());
        }
    }

    pub(super) fn hear(&mut self, said: &str) -> Step {
        let step = self.client.receive(said.as_bytes());
        self.steps.push(step);
        self.take();
        step
    }

    pub(super) fn begin(&mut self, message: &Arc<Message>) -> Step {
        let indexes: Vec<usize> = (0..message.envelope.recipients.len()).collect();
        let step = self.client.begin(message.clone(), &indexes).unwrap();
        self.take();
        step
    }

    pub(super) fn outcomes(&mut self) -> Vec<(usize, u8, String)> {
        self.client.outcomes().into_iter().map(|(index, state, reply)| (index, state as u8, reply)).collect()
    }
}

pub(super) fn outcome(index: usize, state: State, reply: &str) -> (usize, u8, String) {
    (index, state as u8, reply.to_owned())
}

const FULL: &str = "250-hop\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n";
const PLAIN: &str = "250 hop\r\n";
const MIME: &str = "250-hop\r\n250 8BITMIME\r\n";
const SMALL: &str = "250-hop\r\n250 SIZE 14\r\n";
const PIPELINING: &str = "250-hop\r\n250 PIPELINING\r\n";

#[test]
fn pipelined_transaction_and_reuse() {
    let mut dialogue = Dialogue::smtp(FULL);
    let two = message(b".a\r\n", &["x@b.example", "y@b.example"]);
    for _ in 0..2 {
        assert_eq!(dialogue.begin(&two), Step::Wait);
        assert_eq!(dialogue.client.timeout(), Timeout::Mail);
        assert_eq!(dialogue.hear("250 ok\r\n250 ok\r\n"), Step::Wait);
        assert_eq!(dialogue.client.timeout(), Timeout::Rcpt);
        assert_eq!(dialogue.hear("550 5.1.1 Unknown\r\n"), Step::Wait);
        assert_eq!(dialogue.client.timeout(), Timeout::Data);
        assert_eq!(dialogue.hear("354 go\r\n"), Step::Wait);
        assert_eq!(dialogue.client.timeout(), Timeout::EndOfData);
        assert_eq!(dialogue.hear("250 2.0.0 queued\r\n"), Step::Done);
        assert_eq!(
            dialogue.outcomes(),
            [outcome(0, State::Delivered, "250 2.0.0 queued"), outcome(1, State::Failed, "550 5.1.1 Unknown")]
        );
    }
    let flight = "MAIL FROM:<s@a.example> SIZE=17\r\nRCPT TO:<x@b.example>\r\nRCPT TO:<y@b.example>\r\nDATA\r\n";
    assert_eq!(dialogue.written, [flight, "Received: x\r\n..a\r\n.\r\n"].repeat(2));
    dialogue.client.quit();
    dialogue.take();
    assert_eq!(dialogue.written.last().unwrap(), "QUIT\r\n");
    assert_eq!(dialogue.hear("221 bye\r\n"), Step::Closed);
    assert_eq!(dialogue.outcomes(), []);
}

#[test]
fn one_command_at_a_time_without_pipelining() {
    let mut dialogue = Dialogue::smtp(PLAIN);
    dialogue.begin(&message(b"a\r\n", &["x@b.example", "y@b.example"]));
    for reply in ["250 ok\r\n", "452 4.5.3 Later\r\n", "250 ok\r\n", "354 go\r\n"] {
        assert_eq!(dialogue.hear(reply), Step::Wait);
    }
    assert_eq!(dialogue.hear("250 queued\r\n"), Step::Done);
    assert_eq!(
        dialogue.outcomes(),
        [outcome(0, State::Pending, "452 4.5.3 Later"), outcome(1, State::Delivered, "250 queued")]
    );
    assert_eq!(
        dialogue.written,
        [
            "MAIL FROM:<s@a.example>\r\n",
            "RCPT TO:<x@b.example>\r\n",
            "RCPT TO:<y@b.example>\r\n",
            "DATA\r\n",
            "Received: x\r\na\r\n.\r\n"
        ]
    );
}

#[test]
fn refusals_before_the_end_of_data_reset() {
    for (offers, replies, state, reason) in [
        (PLAIN, vec!["550 5.7.1 No\r\n"], State::Failed, "550 5.7.1 No"),
        (PLAIN, vec!["451 4.7.1 Later\r\n"], State::Pending, "451 4.7.1 Later"),
        (PLAIN, vec!["250 ok\r\n", "552 5.5.3 Too many\r\n"], State::Pending, "552 5.5.3 Too many"),
        (PLAIN, vec!["250 ok\r\n", "250 ok\r\n", "554 No\r\n"], State::Failed, "554 No"),
        (PIPELINING, vec!["550 No\r\n503 x\r\n503 x\r\n"], State::Failed, "550 No"),
        (PIPELINING, vec!["250 ok\r\n450 Later\r\n554 x\r\n"], State::Pending, "450 Later"),
        (PIPELINING, vec!["250 ok\r\n250 ok\r\n451 Full\r\n"], State::Pending, "451 Full"),
    ] {
        let mut dialogue = Dialogue::smtp(offers);
        dialogue.begin(&message(b"a\r\n", &["x@b.example"]));
        for reply in replies {
            assert_eq!(dialogue.hear(reply), Step::Wait);
        }
        assert_eq!(dialogue.written.last().unwrap(), "RSET\r\n");
        assert_eq!(dialogue.hear("250 ok\r\n"), Step::Done);
        assert_eq!(dialogue.outcomes(), [outcome(0, state, reason)]);
    }
}

#[test]
fn data_accepted_without_recipients() {
    let mut dialogue = Dialogue::smtp(PIPELINING);
    dialogue.begin(&message(b"a\r\n", &["x@b.example"]));
    dialogue.hear("250 ok\r\n550 No\r\n354 go\r\n");
    assert_eq!(dialogue.written.last().unwrap(), ".\r\n");
    assert_eq!(dialogue.hear("554 no recipients\r\n"), Step::Done);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Failed, "550 No")]);
    // MAIL refused and yet a recipient accepted: a dot could deliver an empty message.
    let mut dialogue = Dialogue::smtp(PIPELINING);
    dialogue.begin(&message(b"a\r\n", &["x@b.example"]));
    assert_eq!(dialogue.hear("550 No\r\n250 ok\r\n354 go\r\n"), Step::Closed);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Failed, "550 No")]);
    let mut dialogue = Dialogue::new(Protocol::Lmtp, PIPELINING);
    dialogue.begin(&message(b"a\r\n", &["x@b.example"]));
    assert_eq!(dialogue.hear("250 ok\r\n550 No\r\n354 go\r\n"), Step::Closed);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Failed, "550 No")]);
}

#[test]
fn final_replies() {
    for (reply, state) in [
        ("250 ok", State::Delivered),
        ("452 full", State::Pending),
        ("552 big", State::Failed),
        ("554 no", State::Failed),
    ] {
        let mut dialogue = Dialogue::smtp(PIPELINING);
        dialogue.begin(&message(b"a\r\n", &["x@b.example"]));
        dialogue.hear("250 ok\r\n250 ok\r\n354 go\r\n");
        assert_eq!(dialogue.hear(&format!("{reply}\r\n")), Step::Done);
        assert_eq!(dialogue.outcomes(), [outcome(0, state, reply)]);
    }
}

#[test]
fn closing_anywhere_defers_the_undecided() {
    let flight = ["250 ok\r\n", "550 No\r\n", "250 ok\r\n", "354 go\r\n"];
    for (stage, place) in
        ["MAIL", "RCPT", "RCPT", "DATA", "the end of data (it may be delivered twice)"].iter().enumerate()
    {
        for offers in [PLAIN, PIPELINING] {
            let start = || {
                let mut dialogue = Dialogue::smtp(offers);
                dialogue.begin(&message(b"a\r\n", &["x@b.example", "y@b.example"]));
                flight[..stage].iter().for_each(|reply| assert_eq!(dialogue.hear(reply), Step::Wait));
                dialogue
            };
            let expected = |reason: &str| {
                let first =
                    if stage > 1 { outcome(0, State::Failed, "550 No") } else { outcome(0, State::Pending, reason) };
                [first, outcome(1, State::Pending, reason)]
            };
            let mut dialogue = start();
            assert_eq!(dialogue.hear("421 4.3.2 Bye\r\n"), Step::Closed);
            assert_eq!(dialogue.outcomes(), expected("421 4.3.2 Bye"));
            assert_eq!(dialogue.client.untouched(), stage == 0);
            let mut dialogue = start();
            assert_eq!(dialogue.client.end("Connection lost"), Step::Closed);
            assert_eq!(
                dialogue.outcomes(),
                expected(&format!("421 4.4.2 Connection lost waiting for the reply to {place}"))
            );
            for garbage in ["HTTP/1.0 400\r\n", "334 go on\r\n", "250-a\r\n550 b\r\n", "\u{0}\r\n"] {
                let mut dialogue = start();
                assert_eq!(dialogue.hear(garbage), Step::Closed);
                let outcomes = dialogue.outcomes();
                assert_eq!(outcomes[1].1, State::Pending as u8);
                assert!(outcomes[1].2.starts_with("451 4.5.0 "), "{outcomes:?}");
            }
        }
    }
}

#[test]
fn setup_refused() {
    for (protocol, replies, state, quits) in [
        (Protocol::Smtp, vec!["521 5.3.2 none\r\n"], State::Failed, true),
        (Protocol::Smtp, vec!["554 none\r\n"], State::Pending, true),
        (Protocol::Smtp, vec!["556 none\r\n"], State::Failed, true),
        (Protocol::Smtp, vec!["220 me.example ESMTP mailmoat\r\n"], State::Pending, true),
        (Protocol::Lmtp, vec!["220 me.example ESMTP mailmoat\r\n"], State::Pending, true),
        (Protocol::Smtp, vec!["550 blocked\r\n"], State::Pending, true),
        (Protocol::Smtp, vec!["450 busy\r\n"], State::Pending, true),
        (Protocol::Smtp, vec!["421 busy\r\n"], State::Pending, false),
        (Protocol::Smtp, vec!["220 a\r\n", "450 busy\r\n"], State::Pending, true),
        (Protocol::Smtp, vec!["220 a\r\n", "502 no\r\n", "550 no\r\n"], State::Pending, true),
        (Protocol::Lmtp, vec!["220 a\r\n", "500 no\r\n"], State::Pending, true),
        (Protocol::Smtp, vec!["SSH-2.0\r\n"], State::Pending, false),
        (Protocol::Smtp, vec!["220 a\r\n250 injected\r\n"], State::Pending, false),
    ] {
        let mut client = Client::new(protocol, "me.example").unwrap();
        let mut last = Vec::new();
        for reply in &replies {
            client.receive(reply.as_bytes());
            last = client.output();
        }
        assert_eq!(client.step(), Step::Closed, "{replies:?}");
        assert_eq!(client.refusal().unwrap().0, state, "{replies:?}");
        assert_eq!(last == b"QUIT\r\n", quits, "{replies:?}");
    }
}

#[test]
fn helo_where_ehlo_is_unknown() {
    let mut client = Client::new(Protocol::Smtp, "me.example").unwrap();
    client.receive(b"220-a\r\n220 b\r\n");
    assert_eq!(client.output(), b"EHLO me.example\r\n");
    client.receive(b"500 what\r\n");
    assert_eq!(client.output(), b"HELO me.example\r\n");
    assert_eq!(client.receive(b"250 PIPELINING\r\n"), Step::Ready);
    client.begin(message(b"a\r\n", &["x@b.example"]), &[0]).unwrap();
    assert_eq!(client.output(), b"MAIL FROM:<s@a.example>\r\n");
}

#[test]
fn what_the_next_hop_cannot_take_is_not_sent() {
    let content = |octets: &[u8]| Content { octets: Octets::Memory(octets.to_vec()), eight_bit: !octets.is_ascii() };
    let eight_bit_body = "Subject: a\r\n\r\n\u{e4}\r\n".as_bytes();
    let eight_bit_header = "Subject: \u{e4}\r\n\r\na\r\n".as_bytes();
    let to = ["x@b.example", "\u{fc}@b.example"];
    for (offers, octets, sender, recipients, smtputf8, failed) in [
        (SMALL, b"a\r\n".as_slice(), "", &to[..1], false, vec!["552 5.3.4 "]),
        (PLAIN, eight_bit_body, "", &to[..1], false, vec!["550 5.6.3 "]),
        (PLAIN, eight_bit_body, "", &to[..1], true, vec!["550 5.6.3 "]),
        (MIME, eight_bit_header, "", &to[..1], true, vec!["550 5.6.7 "]),
        (MIME, b"a\r\n", "\u{e4}@b.example", &to[..1], true, vec!["550 5.6.7 "]),
        (MIME, b"a\r\n", "", &to[1..], true, vec!["550 5.6.7 "]),
        (MIME, b"a\r\n", "a\r\nRSET", &to[..1], true, vec!["553 5.1.7 "]),
        (MIME, b"a\r\n", "", &["a\nb", "\u{fc}"], true, vec!["553 5.1.3 ", "550 5.6.7 "]),
    ] {
        let mut dialogue = Dialogue::smtp(offers);
        assert_eq!(dialogue.begin(&message_of(content(octets), sender, recipients, smtputf8)), Step::Done);
        let outcomes = dialogue.outcomes();
        assert_eq!(outcomes.len(), failed.len());
        for ((_, state, reply), start) in outcomes.iter().zip(failed) {
            assert_eq!(*state, State::Failed as u8);
            assert!(reply.starts_with(start), "{reply}");
        }
        assert_eq!(dialogue.written, [""; 0]);
    }
    for (offers, octets, recipients, smtputf8, mail) in [
        (MIME, eight_bit_body, &to[..1], true, "MAIL FROM:<> BODY=8BITMIME\r\n"),
        (MIME, eight_bit_header, &to[..1], false, "MAIL FROM:<> BODY=8BITMIME\r\n"),
        (PLAIN, b"a\r\n", &to[..1], true, "MAIL FROM:<>\r\n"),
        (MIME, b"a\r\n", &to[..], true, "MAIL FROM:<>\r\n"),
        ("250-hop\r\n250-SIZE\r\n250 smtputf8\r\n", b"a\r\n", &to[..], false, "MAIL FROM:<> SIZE=16 SMTPUTF8\r\n"),
    ] {
        let mut dialogue = Dialogue::smtp(offers);
        assert_eq!(dialogue.begin(&message_of(content(octets), "", recipients, smtputf8)), Step::Wait);
        assert_eq!(dialogue.written, [mail]);
    }
}

/// Whether the header section is in the content file, as it once was, or ends the trace: the same is sent and decided.
#[test]
fn both_forms_of_a_filed_message_are_one() {
    let path = std::env::temp_dir().join(format!("mailmoat-forms-{}", std::process::id()));
    for (header, body, mail) in [
        ("Subject: a\r\n\r\n", "\u{e4} \r\n\r\n.b\r\n", Some("MAIL FROM:<> BODY=8BITMIME\r\n")),
        ("Subject: a\r\n\r\n", "a\r\n.b\r\n", Some("MAIL FROM:<>\r\n")),
        ("\r\n", "\u{e4}\r\n", Some("MAIL FROM:<> BODY=8BITMIME\r\n")),
        ("Subject: \u{e4}\r\n\r\n", "a\r\n", None),
    ] {
        let all = format!("Received: x\r\n{header}{body}");
        let forms = [TRACE.len(), TRACE.len() + header.len()].map(|at| {
            let (trace, content) = all.split_at(at);
            fs::write(&path, content).unwrap();
            let octets = Octets::File(Box::new(ContentFile::kept(path.clone(), content.len() as u64)));
            let message = message_of(Content { octets, eight_bit: !content.is_ascii() }, "", &["x@b.example"], true);
            let message = Arc::into_inner(message).unwrap();
            let message = Arc::new(Message { trace: trace.into(), ..message });
            assert_eq!(message.size(), all.len() as u64);
            let mut dialogue = Dialogue::smtp(MIME);
            if dialogue.begin(&message) == Step::Done {
                return Err(dialogue.outcomes());
            }
            dialogue.hear("250 ok\r\n");
            dialogue.hear("250 ok\r\n");
            dialogue.hear("354 go\r\n");
            while dialogue.client.step() == Step::More {
                dialogue.take();
            }
            Ok((dialogue.written[0].clone(), dialogue.written[3..].concat()))
        });
        assert_eq!(forms[0], forms[1], "{all:?}");
        let sent = forms[0].as_ref().ok().map(|(mail, sent)| (mail.as_str(), sent.clone()));
        assert_eq!(sent, mail.map(|mail| (mail, all.replace("\n.", "\n..") + ".\r\n")));
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let three = message(b"a\r\n", &["x@b.example", "y@b.example", "z@b.example"]);
    let start = || {
        let mut dialogue = Dialogue::new(Protocol::Lmtp, PIPELINING);
        dialogue.begin(&three);
        dialogue.hear("250 ok\r\n250 ok\r\n550 No\r\n250 ok\r\n354 go\r\n");
        dialogue
    };
    let mut dialogue = start();
    assert_eq!(dialogue.hear("250 2.0.0 First\r\n"), Step::Wait);
    assert_eq!(dialogue.hear("452 4.2.2 Full\r\n"), Step::Done);
    let second = outcome(1, State::Failed, "550 No");
    assert_eq!(
        dialogue.outcomes(),
        [outcome(0, State::Delivered, "250 2.0.0 First"), second.clone(), outcome(2, State::Pending, "452 4.2.2 Full")]
    );
    let mut dialogue = start();
    assert_eq!(dialogue.hear("421 4.3.2 Bye\r\n"), Step::Wait);
    assert_eq!(dialogue.hear("250 ok\r\n"), Step::Closed);
    assert_eq!(
        dialogue.outcomes(),
        [outcome(0, State::Pending, "421 4.3.2 Bye"), second, outcome(2, State::Delivered, "250 ok")]
    );
    let mut dialogue = start();
    dialogue.hear("250 ok\r\n");
    dialogue.client.end("Connection lost");
    assert_eq!(dialogue.outcomes().iter().map(|(_, state, _)| *state).collect::<Vec<_>>(), [1, 2, 0]);
}

#[test]
fn unsolicited_and_injected_replies_close() {
    let mut dialogue = Dialogue::smtp(FULL);
    assert_eq!(dialogue.hear("4"), Step::Closed);
    assert_eq!(
        dialogue.client.begin(message(b"a\r\n", &["x@b.example"]), &[0]).unwrap_err(),
        Misuse("the connection is not ready for a transaction")
    );
    // Delivered all the same, but the connection cannot be trusted any more.
    let mut dialogue = Dialogue::smtp(PIPELINING);
    dialogue.begin(&message(b"a\r\n", &["x@b.example"]));
    dialogue.hear("250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(dialogue.hear("250 ok\r\n250 more\r\n"), Step::Closed);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Delivered, "250 ok")]);
    // A 250 for the content before the content.
    let mut dialogue = Dialogue::smtp(PIPELINING);
    dialogue.begin(&message(b"a\r\n", &["x@b.example"]));
    assert_eq!(dialogue.hear("250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n"), Step::Closed);
    assert_eq!(dialogue.outcomes()[0].1, State::Pending as u8);
    assert_eq!(dialogue.written.len(), 1);
}

#[test]
fn nobody_fails_by_a_reply_that_was_meant_for_another() {
    let mut dialogue = Dialogue::smtp(PIPELINING);
    dialogue.begin(&message(b"a\r\n", &["x@b.example", "y@b.example"]));
    // One reply to MAIL too many: x gets it, y gets the refusal of x, and DATA that of y.
    dialogue.hear("250 ok\r\n250 once more\r\n550 5.1.1 No x\r\n250 y\r\n");
    let broken = "451 4.5.0 The next hop broke the protocol: 250 y";
    assert_eq!(dialogue.client.step(), Step::Closed);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Pending, broken), outcome(1, State::Pending, broken)]);
}

#[test]
fn many_lines() {
    let lines = |count: usize| format!("{}250 x\r\n", "250-x\r\n".repeat(count - 1));
    let mut client = Client::new(Protocol::Smtp, "me.example").unwrap();
    client.receive(b"220 a\r\n");
    client.output();
    assert_eq!(client.receive(lines(200).as_bytes()), Step::Ready);
    client.begin(message(b"a\r\n", &["x@b.example"]), &[0]).unwrap();
    client.output();
    assert_eq!(client.receive(lines(101).as_bytes()), Step::Closed);
}

/// A message whose content file holds `size` octets, some lines beginning with a dot.
fn large(name: &str, size: usize, told: u64) -> (std::path::PathBuf, Vec<u8>, Arc<Message>) {
    let content: Vec<u8> = b".line\r\nline\r\n".iter().copied().cycle().take(size).collect();
    let path = std::env::temp_dir().join(format!("mailmoat-client-{name}-{}", std::process::id()));
    fs::write(&path, &content).unwrap();
    let octets = Octets::File(Box::new(ContentFile::incoming(path.clone(), told)));
    (path, content, message_of(Content { octets, eight_bit: false }, "s@a.example", &["x@b.example"], false))
}

#[test]
fn content_file_in_chunks() {
    let size = 13 * 50_000;
    let (path, content, message) = large("whole", size, size as u64);
    let mut dialogue = Dialogue::smtp(PIPELINING);
    dialogue.begin(&message);
    assert_eq!(dialogue.client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n"), Step::More);
    let mut wire = Vec::new();
    while dialogue.client.step() == Step::More {
        assert_eq!(dialogue.client.timeout(), Timeout::Block);
        let chunk = dialogue.client.output();
        assert!(!chunk.is_empty() && chunk.len() < 2 * stream::PIECE);
        wire.extend_from_slice(&chunk);
    }
    let expected = [b"Received: x\r\n".as_slice(), &content].concat();
    let expected = String::from_utf8(expected).unwrap().replace("\n.", "\n..") + ".\r\n";
    assert!(wire == expected.as_bytes());
    assert_eq!(dialogue.client.timeout(), Timeout::EndOfData);
    assert_eq!(dialogue.hear("250 ok\r\n"), Step::Done);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Delivered, "250 ok")]);
    fs::remove_file(path).unwrap();
    let mut dialogue = Dialogue::smtp(PIPELINING);
    assert_eq!(dialogue.begin(&message), Step::Done);
    assert!(dialogue.outcomes()[0].2.starts_with("451 4.3.0 "));
}

/// A content of which a part has been written when the next hop speaks.
fn interrupted(protocol: Protocol, content: &ContentFile, recipients: &[&str]) -> Dialogue {
    let octets = Octets::File(Box::new(ContentFile::kept(content.path().into(), content.size())));
    let message = message_of(Content { octets, eight_bit: false }, "s@a.example", recipients, false);
    let mut dialogue = Dialogue::new(protocol, PIPELINING);
    dialogue.begin(&message);
    dialogue.hear(&format!("250 ok\r\n{}354 go\r\n", "250 ok\r\n".repeat(recipients.len())));
    assert_eq!(dialogue.client.step(), Step::More);
    dialogue
}

#[test]
fn a_refusal_in_the_middle_of_the_content_decides_and_nothing_more_is_sent() {
    let path = std::env::temp_dir().join(format!("mailmoat-refused-{}", std::process::id()));
    fs::write(&path, b"line\r\n".repeat(100_000)).unwrap();
    let content = ContentFile::kept(path.clone(), 600_000);
    for (said, state, reply) in [
        (vec!["552 5.3.4 Enough\r\n"], State::Failed, "552 5.3.4 Enough"),
        (vec!["55", "2-5.3.4 En\r\n", "552 5.3.4 ough\r\n"], State::Failed, "552 5.3.4 En ough"),
        (vec!["452 4.3.1 Full\r\n"], State::Pending, "452 4.3.1 Full"),
        (vec!["421 4.3.2 Bye\r\n"], State::Pending, "421 4.3.2 Bye"),
        (
            vec!["250 ok\r\n"],
            State::Pending,
            "451 4.5.0 The next hop broke the protocol: replied before its turn: 250 ok",
        ),
        (vec!["2"], State::Pending, "451 4.5.0 The next hop broke the protocol: a reply before its command"),
    ] {
        let mut dialogue = interrupted(Protocol::Smtp, &content, &["x@b.example"]);
        for piece in said {
            assert!(dialogue.client.receive(piece.as_bytes()) != Step::Done);
        }
        assert_eq!(dialogue.client.step(), Step::Closed);
        assert_eq!(dialogue.outcomes(), [outcome(0, state, reply)]);
        assert_eq!(dialogue.client.output(), b"");
        assert!(!dialogue.written.concat().contains("\r\n.\r\n"));
    }
    // The reply ends when the content has: it counts, but what the host makes of the rest of the content nobody knows.
    let mut dialogue = interrupted(Protocol::Smtp, &content, &["x@b.example"]);
    assert_eq!(dialogue.client.receive(b"552 5.3"), Step::More);
    while dialogue.client.step() == Step::More {
        dialogue.take();
    }
    assert_eq!(dialogue.hear(".4 Enough\r\n"), Step::Closed);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Failed, "552 5.3.4 Enough")]);
    // Over LMTP it speaks for one recipient; the others get the content, and their own replies.
    let two = ["x@b.example", "y@b.example"];
    let mut dialogue = interrupted(Protocol::Lmtp, &content, &two);
    assert_eq!(dialogue.hear("552 5.2.2 Full\r\n"), Step::More);
    while dialogue.client.step() == Step::More {
        dialogue.take();
    }
    assert!(dialogue.written.concat().ends_with("\r\n.\r\n"));
    assert_eq!(dialogue.hear("250 ok\r\n"), Step::Closed);
    assert_eq!(
        dialogue.outcomes(),
        [outcome(0, State::Failed, "552 5.2.2 Full"), outcome(1, State::Delivered, "250 ok")]
    );
    let mut dialogue = interrupted(Protocol::Lmtp, &content, &two);
    assert_eq!(dialogue.client.receive(b"552 5.2.2 Full\r\n452 4.2.2 Full\r\n"), Step::Closed);
    assert_eq!(
        dialogue.outcomes(),
        [outcome(0, State::Failed, "552 5.2.2 Full"), outcome(1, State::Pending, "452 4.2.2 Full")]
    );
    assert_eq!(dialogue.client.output(), b"");
    fs::remove_file(path).unwrap();
}

#[test]
fn half_a_content_is_never_ended() {
    let (_path, _, message) = large("half", 200_000, 300_000);
    let mut dialogue = Dialogue::smtp(PIPELINING);
    dialogue.begin(&message);
    dialogue.hear("250 ok\r\n250 ok\r\n354 go\r\n");
    dialogue.take();
    dialogue.take();
    assert_eq!(dialogue.client.step(), Step::Closed);
    assert!(!dialogue.written.concat().contains("\r\n.\r\n"));
    assert_eq!(dialogue.outcomes()[0].1, State::Pending as u8);
}

/// Runs whole flights of replies, cut as told, until the connection closes or they end; steps of whole flights and outcomes.
fn run(protocol: Protocol, flights: &[Vec<u8>], cut: usize) -> (Vec<Step>, Vec<Vec<Outcome>>, Vec<u8>) {
    let mut client = Client::new(protocol, "me.example").unwrap();
    let two = message(b"a\r\n", &["x@b.example", "y@b.example"]);
    let (mut steps, mut outcomes, mut written) = (Vec::new(), Vec::new(), Vec::new());
    for flight in flights {
        for piece in flight.chunks(cut) {
            client.receive(piece);
        }
        written.extend(client.output());
        steps.push(client.step());
        match client.step() {
            Step::Ready | Step::Done => {
                outcomes.push(client.outcomes());
                client.begin(two.clone(), &[0, 1]).unwrap();
                written.extend(client.output());
            }
            Step::Closed => {
                outcomes.push(client.outcomes());
                break;
            }
            Step::Wait | Step::More => {}
            Step::StartTls => unreachable!("not asked for"),
        }
    }
    (steps, outcomes, written)
}

fn reply() -> impl Strategy<Value = Vec<u8>> {
    let code =
        prop::sample::select(vec!["250", "250", "250", "354", "354", "421", "450", "452", "550", "552", "554", "220"]);
    (code, 0usize..3, "[ -~]{0,20}").prop_map(|(code, more, text)| {
        let first = format!("{code}-{text}\r\n").repeat(more);
        format!("{first}{code} {text}\r\n").into_bytes()
    })
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        lmtp: bool,
        pipelining: bool,
        replies in prop::collection::vec(reply(), 1..12),
        cut in 1usize..40,
    ) {
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let mut flights = vec![b"220 a\r\n".to_vec(), if pipelining { PIPELINING } else { PLAIN }.as_bytes().to_vec()];
        if pipelining {
            // The flight answering MAIL, two RCPT and DATA; then whatever comes one by one.
            flights.push(replies.iter().take(4).flatten().copied().collect());
            flights.extend(replies.iter().skip(4).cloned());
        } else {
            flights.extend(replies);
        }
        prop_assert_eq!(run(protocol, &flights, cut), run(protocol, &flights, usize::MAX));
    }

    #[test]
    fn nobody_is_lost(lmtp: bool, replies in prop::collection::vec(reply(), 0..12), garbage in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut dialogue = Dialogue::new(if lmtp { Protocol::Lmtp } else { Protocol::Smtp }, PIPELINING);
        let two = message(b"a\r\n", &["x@b.example", "y@b.example"]);
        dialogue.begin(&two);
        for reply in replies.iter().chain([&garbage]) {
            if matches!(dialogue.client.step(), Step::Done | Step::Closed) {
                break;
            }
            dialogue.client.receive(reply);
            dialogue.take();
        }
        if dialogue.client.step() != Step::Done {
            dialogue.client.end("Connection lost");
        }
        prop_assert_eq!(dialogue.outcomes().len(), 2);
    }

    #[test]
    fn random_octets_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10)) {
        let mut client = Client::new(Protocol::Smtp, "me.example").unwrap();
        for chunk in &chunks {
            client.receive(chunk);
            client.output();
            client.timeout();
        }
        client.end("x");
        prop_assert_eq!(client.step(), Step::Closed);
    }
}

/// A message with these parameters of MAIL, and recipients with theirs of RCPT.
fn asked(mail: &str, recipients: &[(&str, &str)]) -> Arc<Message> {
    let mut message = Arc::into_inner(message(b"x\r\n", &[])).unwrap();
    message.envelope.parameters = Parameters::parse(mail).unwrap();
    message.envelope.recipients = recipients
        .iter()
        .map(|(address, rcpt)| Recipient {
            parameters: Parameters::parse(rcpt).unwrap(),
            ..Recipient::new((*address).to_owned(), 0)
        })
        .collect();
    Arc::new(message)
}

#[test]
fn parameters_for_reports_go_on_as_they_came() {
    let message = asked(
        "BODY=7BIT SUBMITTER=s@a.example RET=HDRS ENVID=q+20X",
        &[
            ("x@b.example", "NOTIFY=success,DELAY ORCPT=rfc822;X+2By@B.example"),
            ("y@b.example", ""),
            ("z@b.example", "ORCPT=utf-8;j\u{f6}rg@b.example"),
        ],
    );
    let said = |offers: &str, reply: &str| {
        let mut dialogue = Dialogue::smtp(offers);
        dialogue.begin(&message);
        dialogue.hear(reply);
        dialogue.written.concat()
    };
    let ok = "250 ok\r\n".repeat(4) + "354 go\r\n";
    assert_eq!(
        said("250-hop\r\n250-PIPELINING\r\n250 DSN\r\n", &ok),
        "MAIL FROM:<s@a.example> RET=HDRS ENVID=q+20X\r\n\
         RCPT TO:<x@b.example> NOTIFY=success,DELAY ORCPT=rfc822;X+2By@B.example\r\n\
         RCPT TO:<y@b.example>\r\n\
         RCPT TO:<z@b.example> ORCPT=utf-8;j\\x{F6}rg@b.example\r\n\
         DATA\r\nReceived: x\r\nx\r\n.\r\n"
    );
    assert!(!said(PIPELINING, &ok).contains('='), "nothing to a host without DSN");
    let widened = asked("", &[("x@b.example", &format!("ORCPT=utf-8;{}", "\u{f6}".repeat(200)))]);
    let mut dialogue = Dialogue::smtp("250-hop\r\n250-PIPELINING\r\n250 DSN\r\n");
    dialogue.begin(&widened);
    assert!(dialogue.written.concat().contains("\r\nRCPT TO:<x@b.example>\r\n"), "it would be too long");
    let mut dialogue = Dialogue::smtp("250-hop\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-PIPELINING\r\n250 DSN\r\n");
    dialogue.begin(&asked("SMTPUTF8", &[("x@b.example", "ORCPT=utf-8;j\u{f6}rg@b.example")]));
    assert!(dialogue.written.concat().contains(" SMTPUTF8\r\n"));
    assert!(dialogue.written.concat().contains("> ORCPT=utf-8;j\u{f6}rg@b.example\r\n"));
}

#[test]
fn success_is_reported_where_the_next_hop_does_not() {
    let recipients = [("x@b.example", "NOTIFY=success"), ("y@b.example", "NOTIFY=FAILURE"), ("z@b.example", "")];
    let states = |protocol: Protocol, offers: &str, sender: &str| {
        let mut message = Arc::try_unwrap(asked("", &recipients)).unwrap();
        sender.clone_into(&mut message.envelope.reverse_path);
        let mut dialogue = Dialogue::new(protocol, offers);
        dialogue.begin(&Arc::new(message));
        dialogue.hear(&("250 ok\r\n".repeat(4) + "354 go\r\n"));
        dialogue.hear(&"250 taken\r\n".repeat(if protocol == Protocol::Lmtp { 3 } else { 1 }));
        dialogue.client.outcomes().into_iter().map(|(_, state, _)| state).collect::<Vec<_>>()
    };
    let dsn = "250-hop\r\n250-PIPELINING\r\n250 DSN\r\n";
    let taken = [State::Delivered; 3];
    assert_eq!(states(Protocol::Smtp, PIPELINING, "s@a.example"), [State::Relayed, State::Delivered, State::Delivered]);
    assert_eq!(states(Protocol::Lmtp, PIPELINING, "s@a.example"), [State::Placed, State::Delivered, State::Delivered]);
    assert_eq!(states(Protocol::Smtp, dsn, "s@a.example"), taken, "it makes the report");
    assert_eq!(states(Protocol::Smtp, PIPELINING, ""), taken, "there is nobody to report to");
}

#[test]
fn success_is_reported_of_those_that_were_delivered_before_the_connection_broke() {
    let mut dialogue = Dialogue::new(Protocol::Lmtp, PIPELINING);
    dialogue.begin(&asked("", &[("x@b.example", "NOTIFY=SUCCESS"), ("y@b.example", "NOTIFY=SUCCESS")]));
    dialogue.hear("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    dialogue.hear("250 taken\r\n");
    dialogue.client.end("Timed out");
    let states: Vec<State> = dialogue.client.outcomes().into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, [State::Placed, State::Pending]);
}

#[test]
fn a_transaction_has_no_more_recipients_than_announced() {
    let mut dialogue = Dialogue::smtp("250-hop\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=2\r\n");
    let three = message(b"x\r\n", &["x@b.example", "y@b.example", "z@b.example"]);
    dialogue.begin(&three);
    dialogue.hear("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(dialogue.hear("250 taken\r\n"), Step::Done);
    assert_eq!(
        dialogue.outcomes(),
        [outcome(0, State::Delivered, "250 taken"), outcome(1, State::Delivered, "250 taken")]
    );
    assert_eq!(dialogue.client.begin(three, &[2]), Ok(Step::Wait));
}

#[test]
fn a_session_has_no_more_transactions_than_announced() {
    let mut dialogue = Dialogue::smtp("250-hop\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=2\r\n");
    for end in [Step::Done, Step::Closed] {
        dialogue.begin(&message(b"x\r\n", &["x@b.example"]));
        dialogue.hear("250 ok\r\n250 ok\r\n354 go\r\n");
        assert_eq!(dialogue.hear("250 taken\r\n"), end);
        assert_eq!(dialogue.outcomes(), [outcome(0, State::Delivered, "250 taken")]);
    }
    assert_eq!((dialogue.written.last().map(String::as_str), dialogue.client.untouched()), (Some("QUIT\r\n"), false));
}

#[test]
fn a_session_has_no_more_domains_than_announced() {
    let mut dialogue = Dialogue::smtp("250-hop\r\n250-PIPELINING\r\n250 LIMITS RCPTDOMAINMAX=1\r\n");
    dialogue.begin(&message(b"x\r\n", &["x@b.example", "y@b.example", "z@c.example", "w@b.example"]));
    dialogue.hear("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(dialogue.hear("250 taken\r\n"), Step::Done);
    assert_eq!(dialogue.outcomes().len(), 2);
    assert_eq!(dialogue.begin(&message(b"x\r\n", &["z@c.example"])), Step::Closed);
    assert_eq!((dialogue.written.last().map(String::as_str), dialogue.client.untouched()), (Some("QUIT\r\n"), true));
    assert_eq!(dialogue.outcomes(), []);
}

#[test]
fn what_requires_tls_goes_where_it_is_promised() {
    let offers = "250-hop\r\n250-PIPELINING\r\n250 REQUIRETLS\r\n";
    let message = asked("REQUIRETLS", &[("x@b.example", "")]);
    let mut clear = Dialogue::smtp(offers);
    assert_eq!(clear.begin(&message), Step::Done);
    let unverified = "550 5.7.10 Encryption needed: the next hop's certificate was not verified";
    assert_eq!(clear.outcomes(), [outcome(0, State::Failed, unverified)]);
    for (offered, said) in [(RequireTls::Offered, " REQUIRETLS\r\n"), (RequireTls::NotOffered, "")] {
        let mut dialogue = Dialogue::smtp(offers);
        dialogue.client.offers.require_tls = offered;
        dialogue.begin(&message);
        assert_eq!(dialogue.written.concat().contains("MAIL FROM:<s@a.example> REQUIRETLS\r\n"), !said.is_empty());
        if said.is_empty() {
            assert_eq!(dialogue.outcomes(), [outcome(0, State::Failed, "550 5.7.30 REQUIRETLS support required")]);
        }
    }
    // A report goes on all the same.
    let mut report = Arc::into_inner(message).unwrap();
    report.envelope.reverse_path.clear();
    clear.begin(&Arc::new(report));
    assert!(clear.written.concat().starts_with("MAIL FROM:<>\r\n"));
}
