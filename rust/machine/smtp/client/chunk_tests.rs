//! Dialogues with a next hop that offers CHUNKING, and with our own session machine.

use std::fs;

use proptest::prelude::*;

use super::tests::{Dialogue, message, message_of, outcome};
use super::*;
use crate::machine::message::content::{Content, Octets};
use crate::machine::message::{Envelope, Parameters};
use crate::machine::smtp::chunking::Chunking;
use crate::machine::smtp::client::stream::{CHUNK, PIECE};
use crate::machine::smtp::server::config::Config;
use crate::machine::smtp::server::session::Session;
use crate::machine::smtp::server::step::Step as Server;
use crate::store::content::ContentFile;

const OFFERS: &str = "250-hop\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 CHUNKING\r\n";
const BINARY: &str = "250-hop\r\n250-PIPELINING\r\n250-BINARYMIME\r\n250 CHUNKING\r\n";
const SLOW: &str = "250-hop\r\n250 CHUNKING\r\n";
const TRACE: usize = "Received: x\r\n".len();

fn binary(content: &[u8]) -> Arc<Message> {
    let message = Arc::into_inner(message(content, &["x@b.example"])).unwrap();
    let parameters = Parameters::parse("BODY=BINARYMIME").unwrap();
    Arc::new(Message { envelope: Envelope { parameters, ..message.envelope }, ..message })
}

/// With a content of so many octets in a file, which is removed with it.
fn filed(name: &str, size: usize, recipients: &[&str]) -> Arc<Message> {
    let path = std::env::temp_dir().join(format!("mailmoat-chunks-{name}-{}", std::process::id()));
    fs::write(&path, "0123456789abcd\r\n".repeat(size / 16)).unwrap();
    let octets = Octets::File(Box::new(ContentFile::incoming(path, size as u64)));
    message_of(Content { octets, eight_bit: false }, "s@a.example", recipients, false)
}

/// A dialogue up to where the content is sent.
fn sending(protocol: Protocol, offers: &str, message: &Arc<Message>) -> Dialogue {
    let mut dialogue = Dialogue::new(protocol, offers);
    dialogue.begin(message);
    for _ in 0..=message.envelope.recipients.len() {
        dialogue.hear("250 ok\r\n");
    }
    dialogue
}

#[test]
fn content_is_counted_and_not_stuffed() {
    let mut dialogue = Dialogue::smtp(OFFERS);
    let two = message(b".a\r\n..", &["x@b.example", "y@b.example"]);
    for _ in 0..2 {
        assert_eq!(dialogue.begin(&two), Step::Wait);
        assert_eq!(dialogue.hear("250 ok\r\n550 5.1.1 Unknown\r\n"), Step::Wait);
        assert_eq!(dialogue.hear("250 ok\r\n"), Step::Wait);
        assert_eq!(dialogue.client.timeout(), Timeout::EndOfData);
        assert_eq!(dialogue.hear("250 2.0.0 queued\r\n"), Step::Done);
        assert_eq!(
            dialogue.outcomes(),
            [outcome(0, State::Failed, "550 5.1.1 Unknown"), outcome(1, State::Delivered, "250 2.0.0 queued")]
        );
    }
    let flight = "MAIL FROM:<s@a.example>\r\nRCPT TO:<x@b.example>\r\nRCPT TO:<y@b.example>\r\n";
    assert_eq!(dialogue.written, [flight, "BDAT 19 LAST\r\nReceived: x\r\n.a\r\n.."].repeat(2));
}

#[test]
fn a_client_without_chunks_sends_data_and_nothing_binary() {
    let client = Client::new(Protocol::Smtp, "me.example").unwrap().without_chunks();
    let mut dialogue = Dialogue::of(client, BINARY);
    assert_eq!(dialogue.client.offers().unwrap().chunking, Chunking::Off);
    dialogue.begin(&message(b"a\r\n", &["x@b.example"]));
    assert!(dialogue.written[0].ends_with("DATA\r\n"), "{:?}", dialogue.written);
}

#[test]
fn without_pipelining_the_content_follows_the_last_recipient() {
    let mut dialogue = sending(Protocol::Smtp, SLOW, &message(b"a\r\n", &["x@b.example", "y@b.example"]));
    assert_eq!(dialogue.written[3], "BDAT 16 LAST\r\nReceived: x\r\na\r\n");
    assert_eq!(dialogue.hear("250 ok\r\n"), Step::Done);
    // One chunk, for each would have to wait for the one before.
    let size = 3 * PIECE * 8;
    let dialogue = sending(Protocol::Smtp, SLOW, &filed("slow", size, &["x@b.example"]));
    assert!(
        dialogue.written[2].starts_with(&format!("BDAT {} LAST\r\n", size + TRACE)),
        "{:?}",
        &dialogue.written[2][..40]
    );
}

#[test]
fn without_a_recipient_no_content_is_sent() {
    for replies in ["250 ok\r\n550 No\r\n", "550 No\r\n503 x\r\n", "550 No\r\n250 ok\r\n"] {
        let mut dialogue = Dialogue::smtp(OFFERS);
        dialogue.begin(&message(b"a\r\n", &["x@b.example"]));
        assert_eq!(dialogue.hear(replies), Step::Wait);
        assert_eq!(dialogue.written.last().unwrap(), "RSET\r\n");
        let accepted = replies.ends_with("250 ok\r\n");
        assert_eq!(dialogue.hear("250 ok\r\n"), if accepted { Step::Closed } else { Step::Done });
        assert_eq!(dialogue.outcomes(), [outcome(0, State::Failed, "550 No")]);
    }
}

#[test]
fn a_refused_content_is_reset() {
    for (reply, state) in
        [("452 4.3.1 full", State::Pending), ("552 5.3.4 big", State::Failed), ("554 no", State::Failed)]
    {
        let mut dialogue = sending(Protocol::Smtp, OFFERS, &message(b"a\r\n", &["x@b.example"]));
        assert_eq!(dialogue.hear(&format!("{reply}\r\n")), Step::Wait);
        assert_eq!(dialogue.written.last().unwrap(), "RSET\r\n");
        assert_eq!(dialogue.hear("250 ok\r\n"), Step::Done);
        assert_eq!(dialogue.outcomes(), [outcome(0, state, reply)]);
    }
}

/// Takes the output until all has left; what was written.
fn pump(dialogue: &mut Dialogue, pieces: usize) -> usize {
    (0..pieces).map(|_| dialogue.client.output().len()).sum()
}

#[test]
fn a_file_goes_in_chunks_whose_replies_may_come_meanwhile() {
    let size = 2 * PIECE * 8 + 160;
    let message = filed("meanwhile", size, &["x@b.example"]);
    let mut dialogue = sending(Protocol::Smtp, OFFERS, &message);
    let first = format!("BDAT {}\r\n", CHUNK + TRACE as u64);
    assert!(dialogue.written[1].starts_with(&first), "{:?}", &dialogue.written[1][..40]);
    assert_eq!((dialogue.client.step(), dialogue.client.timeout()), (Step::More, Timeout::Block));
    let mut sent = dialogue.written[1].len() + pump(&mut dialogue, 7);
    // The first chunk has left.
    assert_eq!(dialogue.client.receive(b"250 2.0.0 first\r\n"), Step::More);
    sent += pump(&mut dialogue, 9);
    assert_eq!(dialogue.client.step(), Step::Wait);
    let commands = [first, format!("BDAT {CHUNK}\r\n"), "BDAT 160 LAST\r\n".into()].concat();
    assert_eq!(sent, size + TRACE + commands.len());
    assert_eq!(dialogue.client.timeout(), Timeout::EndOfData);
    assert_eq!(dialogue.hear("250 2.0.0 sec"), Step::Wait);
    assert_eq!(dialogue.hear("ond\r\n250 2.0.0 queued\r\n"), Step::Done);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Delivered, "250 2.0.0 queued")]);
    // Not before its last octet has left.
    for reply in ["250 2.0.0 early\r\n", "2"] {
        let mut dialogue = sending(Protocol::Smtp, OFFERS, &message);
        pump(&mut dialogue, 6);
        assert_eq!(dialogue.client.receive(reply.as_bytes()), Step::Closed);
        assert_eq!(dialogue.outcomes()[0].1, State::Pending as u8);
    }
}

#[test]
fn a_refused_chunk_ends_the_content() {
    let message = filed("refused", PIECE * 8 + 16, &["x@b.example"]);
    // While the rest is being sent, and after all has left.
    for (left, refusal) in [(3, "552 5.3.4 Too much"), (7, "452 4.3.1 Full")] {
        let mut dialogue = sending(Protocol::Smtp, OFFERS, &message);
        pump(&mut dialogue, left);
        assert_eq!(dialogue.client.receive(format!("{refusal}\r\n").as_bytes()), Step::Closed);
        assert!(dialogue.client.output().is_empty());
        let state = if refusal.starts_with('5') { State::Failed } else { State::Pending };
        assert_eq!(dialogue.outcomes(), [outcome(0, state, refusal)]);
    }
    for (reply, then) in [("503 5.5.1 out of order\r\n", Step::Done), ("250 2.0.0 odd\r\n", Step::Done)] {
        let mut dialogue = sending(Protocol::Smtp, OFFERS, &message);
        pump(&mut dialogue, 8);
        assert_eq!(dialogue.hear("554 5.6.0 No\r\n"), Step::Wait);
        assert_eq!(dialogue.hear(reply), Step::Wait);
        assert_eq!(dialogue.written.last().unwrap(), "RSET\r\n");
        assert_eq!(dialogue.hear("250 ok\r\n"), then);
        assert_eq!(dialogue.outcomes(), [outcome(0, State::Failed, "554 5.6.0 No")]);
    }
    let mut dialogue = sending(Protocol::Smtp, OFFERS, &message);
    pump(&mut dialogue, 8);
    assert_eq!(dialogue.hear("354 go on\r\n"), Step::Closed);
    let mut dialogue = sending(Protocol::Smtp, OFFERS, &message);
    pump(&mut dialogue, 8);
    dialogue.client.end("Timed out");
    assert_eq!(
        dialogue.outcomes(),
        [outcome(0, State::Pending, "421 4.4.2 Timed out waiting for the reply to a chunk")]
    );
}

#[test]
fn lmtp_answers_the_last_chunk_for_each_recipient() {
    let two = ["x@b.example", "y@b.example"];
    let mut dialogue = sending(Protocol::Lmtp, OFFERS, &message(b"a\r\n", &two));
    assert_eq!(dialogue.hear("250 2.0.0 First\r\n"), Step::Wait);
    assert_eq!(dialogue.hear("452 4.2.2 Full\r\n"), Step::Wait);
    assert_eq!(dialogue.written.last().unwrap(), "RSET\r\n");
    assert_eq!(dialogue.hear("250 ok\r\n"), Step::Done);
    assert_eq!(
        dialogue.outcomes(),
        [outcome(0, State::Delivered, "250 2.0.0 First"), outcome(1, State::Pending, "452 4.2.2 Full")]
    );
    let mut dialogue = sending(Protocol::Lmtp, OFFERS, &filed("lmtp", PIECE * 8 + 16, &two));
    pump(&mut dialogue, 8);
    assert_eq!(dialogue.hear("554 No\r\n"), Step::Closed);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Failed, "554 No"), outcome(1, State::Failed, "554 No")]);
}

#[test]
fn a_binary_content_goes_only_where_it_is_taken() {
    let message = binary(b"A: b\r\n\r\n\0\n\r");
    for offers in [OFFERS, SLOW, "250-hop\r\n250-8BITMIME\r\n250 BINARYMIME\r\n"] {
        let mut dialogue = Dialogue::smtp(offers);
        assert_eq!(dialogue.begin(&message), Step::Done);
        let reply = "550 5.6.3 The next hop does not offer BINARYMIME and the message needs it";
        assert_eq!((dialogue.outcomes(), dialogue.written.len()), (vec![outcome(0, State::Failed, reply)], 0));
    }
    let dialogue = sending(Protocol::Smtp, BINARY, &message);
    assert_eq!(
        dialogue.written,
        [
            "MAIL FROM:<s@a.example> BODY=BINARYMIME\r\nRCPT TO:<x@b.example>\r\n",
            "BDAT 24 LAST\r\nReceived: x\r\nA: b\r\n\r\n\0\n\r"
        ]
    );
}

/// What our own session machine takes of this message, the octets of both sides cut into pieces.
fn relayed(message: &Arc<Message>, config: Config, piece: usize) -> Vec<u8> {
    let config = Arc::new(Config { asked: 0, ..config });
    let mut server = Session::new(config, "s1", "192.0.2.1", false);
    let mut client = Client::new(Protocol::Smtp, "me.example").unwrap();
    server.connect();
    let mut taken = Vec::new();
    loop {
        for said in server.take_output().chunks(piece) {
            client.receive(said);
        }
        if client.step() == Step::Ready {
            client.begin(message.clone(), &[0]).unwrap();
        }
        let output = client.output();
        if output.is_empty() {
            assert_eq!((client.step(), client.outcomes()[0].1), (Step::Done, State::Delivered));
            return taken;
        }
        for said in output.chunks(piece) {
            if server.receive(said) == Server::Commit {
                let message = server.message("q1", 0, "DATE", b"", None).unwrap();
                let Octets::Memory(octets) = message.content.octets else { panic!("in a file") };
                taken = [message.trace, octets].concat();
                server.committed(None);
            }
        }
    }
}

proptest! {
    /// A content is relayed octet for octet, by whatever is offered.
    #[test]
    fn what_is_sent_is_what_our_own_server_takes(
        body in prop::collection::vec(any::<u8>(), 0..100), lines in "([.a\u{e9}]{0,5}\r\n){0,9}", piece in 1_usize..60,
    ) {
        let bodies = [(Chunking::Off, lines.as_bytes()), (Chunking::Text, lines.as_bytes()), (Chunking::Binary, body.as_slice())];
        for (chunking, body) in bodies {
            let content = [b"A: b\r\n\r\n", body].concat();
            let message = if chunking == Chunking::Binary { binary(&content) } else { message(&content, &["x@b.example"]) };
            let taken = relayed(&message, Config { chunking, ..Config::example() }, piece);
            prop_assert!(taken.ends_with(&[b"DATE\r\nReceived: x\r\n", content.as_slice()].concat()), "{}", taken.escape_ascii());
        }
    }
}
