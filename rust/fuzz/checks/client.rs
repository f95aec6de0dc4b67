//! Whatever a next hop says: one outcome a recipient, delivered only after the final dot or the last chunk, never a word out of turn, the same
//! whether a line comes whole or by octet.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mailmoat_native::machine::message::content::{Content, Octets};
use mailmoat_native::machine::message::{Envelope, Message, Parameters, Recipient, State};
use mailmoat_native::machine::smtp::client::{Client, Protocol, Step};
use mailmoat_native::store::content::ContentFile;

/// Transactions one after the other on the connection.
const TRANSACTIONS: usize = 3;

pub fn check(input: &[u8]) {
    let ([choices, kind], stream) = super::split::<2>(input);
    let message = message(kind);
    let protocol = if choices & 2 == 0 { Protocol::Smtp } else { Protocol::Lmtp };
    let whole = play(protocol, &message, &stream, choices & 4 != 0, false);
    assert_eq!(play(protocol, &message, &stream, choices & 4 != 0, true), whole, "by octet");
}

fn play(protocol: Protocol, message: &Arc<Message>, stream: &[u8], lost: bool, by_octet: bool) -> String {
    let mut client = Client::new(protocol, "me.test").unwrap();
    let mut record = String::new();
    let limited = memchr::memmem::find(&stream.to_ascii_uppercase(), b"LIMITS").is_some();
    let mut talk =
        Talk { limited, written: Vec::new(), begun: 0, running: false, count: message.envelope.recipients.len() };
    for line in stream.split_inclusive(|&octet| octet == b'\n') {
        for piece in line.chunks(if by_octet { 1 } else { line.len() }) {
            client.receive(piece);
            assert!(client.step() != Step::More || talk.running);
        }
        talk.follow(&mut client, message, &mut record);
        if client.step() == Step::Closed {
            break;
        }
    }
    client.end(if lost { "Connection lost" } else { "Timed out" });
    talk.follow(&mut client, message, &mut record);
    assert!(client.step() == Step::Closed && !talk.running);
    assert_eq!(client.receive(b"250 ok\r\n"), Step::Closed);
    record + &format!("{:?} {} {}", client.refusal(), client.untouched(), client.replies())
}

struct Talk {
    /// The next hop announces limits, so a transaction may not take everybody.
    limited: bool,
    written: Vec<u8>,
    begun: usize,
    running: bool,
    count: usize,
}

impl Talk {
    /// Does what the machine asks for until it waits for the next hop.
    fn follow(&mut self, client: &mut Client, message: &Arc<Message>, record: &mut String) {
        loop {
            *record += &format!("<{:?} {:?}>", client.step(), client.timeout());
            self.written.extend(client.output());
            match client.step() {
                Step::More => {}
                Step::Wait => return,
                Step::StartTls => panic!("not asked for"),
                Step::Ready | Step::Done if self.begun < TRANSACTIONS => {
                    self.settle(client, record);
                    (self.begun, self.running) = (self.begun + 1, true);
                    self.written.clear();
                    let indexes: Vec<usize> = (0..self.count).collect();
                    client.begin(message.clone(), &indexes).unwrap();
                }
                Step::Ready | Step::Done => {
                    self.settle(client, record);
                    client.quit();
                }
                Step::Closed => return self.settle(client, record),
            }
        }
    }

    fn settle(&mut self, client: &mut Client, record: &mut String) {
        let outcomes = client.outcomes();
        assert!(outcomes.len() <= if self.running { self.count } else { 0 });
        if !self.limited {
            assert_eq!(outcomes.len(), if self.running { self.count } else { 0 });
        }
        self.running = false;
        for (at, (index, state, text)) in outcomes.iter().enumerate() {
            assert_eq!(*index, at);
            self.holds(*state, text);
        }
        *record += &format!("{outcomes:?}");
    }

    fn holds(&self, state: State, text: &str) {
        assert!(!text.is_empty() && text.len() <= 2048 && !text.chars().any(char::is_control), "{text:?}");
        match state {
            State::Pending => {}
            State::Delivered | State::Relayed | State::Placed => {
                assert!(text.starts_with('2'), "{text:?}");
                let has = |octets: &[u8]| memchr::memmem::find(&self.written, octets).is_some();
                assert!(has(b" LAST\r\n") || (has(b"\r\nDATA\r\n") && has(b"\r\n.\r\n")));
                assert_eq!(has(b"\r\nBDAT "), has(b" LAST\r\n"));
            }
            State::Failed => assert!(text.starts_with('5'), "{text:?}"),
            State::Closed | State::Expanded => panic!("not the client's to say"),
        }
    }
}

fn message(kind: u8) -> Arc<Message> {
    let text: &[u8] = if kind & 1 == 0 { b"Subject: s\r\n\r\n.dot\r\n" } else { b"Subject: \xc3\xbc\r\n\r\nno end" };
    let octets = if kind & 0x0E == 0x0E { file(text) } else { Octets::Memory(text.to_vec()) };
    let addresses = ["a@b.test", "\"c d\"@b.test", "\u{fc}@b.test", "e@f.test"];
    let recipients =
        addresses.iter().take(1 + usize::from(kind >> 6)).map(|address| Recipient::new((*address).to_owned(), 0));
    Arc::new(Message {
        queue_id: "q1".into(),
        arrival: 0,
        envelope: Envelope {
            reverse_path: if kind & 16 == 0 { String::new() } else { "s@a.test".into() },
            recipients: recipients.collect(),
            parameters: Parameters::parse(if kind & 32 != 0 { "SMTPUTF8" } else { "" }).unwrap(),
            ..Envelope::default()
        },
        trace: b"Received: x\r\n".to_vec(),
        content: Content { octets, eight_bit: !text.is_ascii() },
        share: None,
    })
}

/// The text many times over: it goes in chunks. Removed with the message.
fn file(text: &[u8]) -> Octets {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("mailmoat-fuzz-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let (path, content) = (std::env::temp_dir().join(name), text.repeat(8000));
    fs::write(&path, &content).unwrap();
    Octets::File(Box::new(ContentFile::incoming(path, content.len() as u64)))
}
