//! What a next hop is told of the clients, and when.

use std::sync::Arc;

use super::super::attributes::MAX_LINE;
use super::super::{Credentials, Protocol, Step};
use super::*;
use crate::machine::message::content::{Content, Octets};
use crate::machine::message::{Envelope, Message, Origin, Recipient};

const XFORWARD: &str = "250-hop\r\n250-PIPELINING\r\n250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n";
const XCLIENT: &str = "250-hop\r\n250-PIPELINING\r\n250 xclient NAME ADDR PROTO HELO LOGIN DESTADDR\r\n";
const NEITHER: &str = "250-hop\r\n250 PIPELINING\r\n";

fn message(facts: &Origin<'_>) -> Arc<Message> {
    Arc::new(Message {
        queue_id: "q1".to_owned(),
        arrival: 0,
        envelope: Envelope {
            recipients: vec![Recipient::new("x@b.example".to_owned(), 0)],
            origin: Envelope::origin(facts),
            ..Envelope::default()
        },
        trace: Vec::new(),
        content: Content { octets: Octets::Memory(b"a\r\n".to_vec()), eight_bit: false },
        share: None,
    })
}

fn brought() -> Arc<Message> {
    message(&Origin {
        session_id: "s1",
        client: "2001:db8::1",
        client_name: "c.example",
        helo_name: "h+1.example",
        protocol: "ESMTP",
        ..Origin::default()
    })
}

fn ready(offers: &str) -> Client {
    let mut client = Client::new(Protocol::Smtp, "me.example").unwrap().announcing();
    for said in ["220 hop\r\n", offers] {
        client.receive(said.as_bytes());
        client.output();
    }
    client
}

fn begin(client: &mut Client, message: &Arc<Message>) -> String {
    client.begin(message.clone(), &[0]).unwrap();
    String::from_utf8(client.output()).unwrap()
}

fn hear(client: &mut Client, said: &str) -> String {
    client.receive(said.as_bytes());
    String::from_utf8(client.output()).unwrap()
}

const FLIGHT: &str = "MAIL FROM:<>\r\nRCPT TO:<x@b.example>\r\nDATA\r\n";

#[test]
fn xforward_goes_before_each_mail() {
    let mut client = ready(XFORWARD);
    let facts = "XFORWARD NAME=c.example ADDR=IPV6:2001:db8::1 PORT=[UNAVAILABLE] PROTO=ESMTP HELO=h+2B1.example IDENT=q1 SOURCE=REMOTE\r\n";
    for _ in 0..2 {
        assert_eq!(begin(&mut client, &brought()), format!("{facts}{FLIGHT}"));
        assert!(hear(&mut client, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n").ends_with(".\r\n"));
        hear(&mut client, "250 queued\r\n");
        assert_eq!(client.step(), Step::Done);
    }
    // A report made here has no client.
    let made = "XFORWARD NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] PROTO=[UNAVAILABLE] HELO=[UNAVAILABLE] IDENT=q1 SOURCE=LOCAL\r\n";
    assert_eq!(begin(&mut client, &message(&Origin::default())), format!("{made}{FLIGHT}"));
}

#[test]
fn nothing_depends_on_the_reply_to_xforward() {
    let mut client = ready(XFORWARD);
    begin(&mut client, &brought());
    hear(&mut client, "550 no\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    hear(&mut client, "250 queued\r\n");
    assert_eq!(client.outcomes(), [(0, State::Delivered, "250 queued".to_owned())]);
    assert_eq!(begin(&mut client, &brought()), FLIGHT, "it was refused once");
    let mut client = ready(XFORWARD);
    begin(&mut client, &brought());
    client.end("Connection lost");
    assert!(client.untouched(), "nothing was said to MAIL");
}

#[test]
fn long_facts_take_several_commands() {
    let long = "h".repeat(250);
    let facts = Origin { client: "192.0.2.1", client_name: &long, helo_name: &long, ..Origin::default() };
    let mut client = ready(XFORWARD);
    let written = begin(&mut client, &message(&facts));
    let lines: Vec<&str> = written.split_inclusive("\r\n").filter(|line| line.starts_with("XFORWARD")).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.len() <= MAX_LINE));
    let longer = "h".repeat(256);
    let facts = Origin { client: "192.0.2.1", helo_name: &longer, ..Origin::default() };
    assert!(begin(&mut ready(XFORWARD), &message(&facts)).contains(" HELO=[UNAVAILABLE]"));
}

#[test]
fn a_connection_after_xclient_is_that_clients() {
    let mut client = ready(XCLIENT);
    assert_eq!(
        begin(&mut client, &brought()),
        "XCLIENT NAME=c.example ADDR=IPV6:2001:db8::1 PROTO=ESMTP HELO=h+2B1.example\r\n"
    );
    assert_eq!(hear(&mut client, "220 hop\r\n"), "EHLO me.example\r\n");
    assert_eq!(hear(&mut client, NEITHER), FLIGHT);
    hear(&mut client, "250 ok\r\n250 ok\r\n354 go\r\n");
    hear(&mut client, "250 queued\r\n");
    assert_eq!(client.step(), Step::Closed);
    assert_eq!(client.outcomes(), [(0, State::Delivered, "250 queued".to_owned())]);
    // One that nobody brought needs none, and leaves the connection as it is.
    let mut client = ready(XCLIENT);
    assert_eq!(begin(&mut client, &message(&Origin::default())), FLIGHT);
}

#[test]
fn what_counts_after_xclient_is_offered_after_it() {
    let mut client = ready(XCLIENT);
    begin(&mut client, &brought());
    hear(&mut client, "220 hop\r\n");
    assert_eq!(hear(&mut client, "250-hop\r\n250 SIZE 2\r\n"), "");
    assert_eq!(client.step(), Step::Closed);
    assert_eq!(client.outcomes().first().unwrap().1, State::Failed);
}

#[test]
fn a_refused_xclient_defers() {
    for (said, reason) in [
        ("550 5.7.0 no\r\n", "451 4.7.0 The next hop refused XCLIENT: 550 5.7.0 no"),
        ("421 4.3.2 Bye\r\n", "421 4.3.2 Bye"),
    ] {
        let mut client = ready(XCLIENT);
        begin(&mut client, &brought());
        hear(&mut client, said);
        assert_eq!((client.step(), client.refusal()), (Step::Closed, None));
        assert_eq!(client.outcomes(), [(0, State::Pending, reason.to_owned())]);
    }
    let mut client = ready(XCLIENT);
    begin(&mut client, &brought());
    client.end("Timed out");
    assert!(client.outcomes().first().unwrap().2.ends_with("waiting for the reply to XCLIENT"));
}

#[test]
fn the_account_is_shown_again_after_xclient() {
    let offers = "250-hop\r\n250-AUTH SCRAM-SHA-256\r\n250 XCLIENT ADDR\r\n";
    let credentials = Arc::new(Credentials::new("user", "pencil").unwrap());
    let mut client = Client::new(Protocol::Smtp, "me.example").unwrap().announcing().authenticating(credentials, "r");
    client.receive(b"220 hop\r\n");
    client.output();
    let first = hear(&mut client, offers);
    client.authentication.as_mut().unwrap().succeed();
    client.awaited.clear();
    client.open();
    assert_eq!(begin(&mut client, &brought()), "XCLIENT ADDR=IPV6:2001:db8::1\r\n");
    hear(&mut client, "220 hop\r\n");
    let second = hear(&mut client, offers);
    assert!(second.starts_with("AUTH SCRAM-SHA-256 ") && first != second, "a nonce is used once");
}

#[test]
fn without_the_setting_nothing_is_said() {
    for offers in [XFORWARD, XCLIENT] {
        let mut client = Client::new(Protocol::Smtp, "me.example").unwrap();
        for said in ["220 hop\r\n", offers] {
            client.receive(said.as_bytes());
            client.output();
        }
        assert_eq!(begin(&mut client, &brought()), FLIGHT);
    }
}
