//! What is asked, and what the replies mean.

use proptest::prelude::*;

use super::super::tests::{Dialogue, message_of, outcome};
use super::super::*;
use super::MOST_REFUSALS;
use crate::machine::message::content::{Content, Octets};

const FULL: &str = "250-hop\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-XFORWARD NAME ADDR\r\n250 CHUNKING\r\n";
const PLAIN: &str = "250 hop\r\n";

fn dialogue(protocol: Protocol, offers: &str) -> Dialogue {
    Dialogue::of(Client::new(protocol, "me.example").unwrap().announcing().for_callouts(), offers)
}

fn question(recipient: &str) -> Arc<Message> {
    message_of(Content { octets: Octets::Memory(Vec::new()), eight_bit: false }, "", &[recipient], false)
}

#[test]
fn two_writes_and_the_connection_stays() {
    for protocol in [Protocol::Smtp, Protocol::Lmtp] {
        let mut dialogue = dialogue(protocol, FULL);
        let asked = [
            ("250 2.1.5 ok", outcome(0, State::Delivered, "250 2.1.5 ok")),
            ("550 5.1.1 Unknown", outcome(0, State::Failed, "550 5.1.1 Unknown")),
            ("450 4.2.0 Greylisted", outcome(0, State::Pending, "450 4.2.0 Greylisted")),
            ("552 5.2.2 Full", outcome(0, State::Pending, "552 5.2.2 Full")),
        ];
        for (reply, expected) in asked {
            dialogue.written.clear();
            assert_eq!(dialogue.begin(&question("r@b.example")), Step::Wait);
            assert_eq!(dialogue.hear("250 ok\r\n"), Step::Wait);
            assert_eq!(dialogue.written, ["MAIL FROM:<>\r\n", "RCPT TO:<r@b.example>\r\nRSET\r\n"]);
            assert_eq!(dialogue.hear(&format!("{reply}\r\n")), Step::Wait);
            assert_eq!(dialogue.hear("250 ok\r\n"), Step::Done);
            assert_eq!(dialogue.outcomes(), [expected]);
        }
    }
}

#[test]
fn one_command_at_a_time_without_pipelining() {
    let mut dialogue = dialogue(Protocol::Smtp, PLAIN);
    dialogue.begin(&question("r@b.example"));
    dialogue.hear("250 ok\r\n");
    dialogue.hear("250 ok\r\n");
    assert_eq!(dialogue.hear("250 ok\r\n"), Step::Done);
    assert_eq!(dialogue.written, ["MAIL FROM:<>\r\n", "RCPT TO:<r@b.example>\r\n", "RSET\r\n"]);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Delivered, "250 ok")]);
}

#[test]
fn a_refused_sender_says_nothing_of_the_recipient() {
    for offers in [FULL, PLAIN] {
        let mut dialogue = dialogue(Protocol::Smtp, offers);
        dialogue.begin(&question("r@b.example"));
        dialogue.hear("550 5.7.1 No null senders here\r\n");
        assert_eq!(dialogue.hear("250 ok\r\n"), Step::Done);
        assert_eq!(dialogue.outcomes(), [outcome(0, State::Pending, "550 5.7.1 No null senders here")]);
    }
}

#[test]
fn a_reply_too_many_makes_nobody_absent() {
    let too_many: [&[&str]; 4] = [
        &["250 ok\r\n550 5.1.1 Unknown\r\n"],
        &["550 5.1.1 Unknown\r\n550 5.1.1 Unknown\r\n"],
        &["250 ok\r\n", "550 5.1.1 Unknown\r\n250 ok\r\n250 ok\r\n"],
        &["250 ok\r\n", "550 5.1.1 Unknown\r\n", "250 ok\r\n250 ok\r\n"],
    ];
    for (said, offers) in too_many.into_iter().flat_map(|said| [(said, FULL), (said, PLAIN)]) {
        let mut dialogue = dialogue(Protocol::Smtp, offers);
        dialogue.begin(&question("r@b.example"));
        let step = said.iter().fold(Step::Wait, |_, replies| dialogue.hear(replies));
        assert_eq!(step, Step::Closed, "{said:?}");
        let outcomes = dialogue.outcomes();
        assert!(outcomes.iter().all(|(_, state, _)| *state == State::Pending as u8), "{said:?}: {outcomes:?}");
        assert_eq!(outcomes.len(), 1);
    }
}

#[test]
fn a_lost_connection_leaves_it_open() {
    let mut dialogue = dialogue(Protocol::Smtp, FULL);
    dialogue.begin(&question("r@b.example"));
    dialogue.hear("250 ok\r\n");
    assert_eq!(dialogue.client.end("Timed out"), Step::Closed);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Pending, "421 4.4.2 Timed out waiting for the reply to RCPT")]);
}

#[test]
fn an_answer_counts_although_rset_is_refused() {
    let mut dialogue = dialogue(Protocol::Smtp, FULL);
    dialogue.begin(&question("r@b.example"));
    dialogue.hear("250 ok\r\n");
    dialogue.hear("550 5.1.1 Unknown\r\n");
    assert_eq!(dialogue.hear("500 What?\r\n"), Step::Closed);
    assert_eq!(dialogue.outcomes(), [outcome(0, State::Failed, "550 5.1.1 Unknown")]);
}

#[test]
fn a_session_is_left_after_some_refusals() {
    let mut dialogue = dialogue(Protocol::Smtp, FULL);
    for number in 1..=MOST_REFUSALS {
        dialogue.begin(&question("r@b.example"));
        let reply = if number % 2 == 0 { "550 5.1.1 Unknown" } else { "450 4.2.0 Later" };
        dialogue.hear("250 ok\r\n");
        let step = dialogue.hear(&format!("{reply}\r\n250 ok\r\n"));
        assert_eq!(dialogue.outcomes().len(), 1);
        assert_eq!(step, if number == MOST_REFUSALS { Step::Closed } else { Step::Done });
    }
    assert_eq!(dialogue.written.last().map(String::as_str), Some("QUIT\r\n"));
}

proptest! {
    #[test]
    fn never_a_content_whatever_is_said(
        replies in prop::collection::vec(prop::sample::select(vec![250u16, 251, 354, 421, 450, 500, 550, 552, 334, 220]), 1..8),
        pipelining: bool,
    ) {
        let mut dialogue = dialogue(Protocol::Smtp, if pipelining { FULL } else { PLAIN });
        dialogue.begin(&question("r@b.example"));
        for reply in replies {
            dialogue.hear(&format!("{reply} said\r\n"));
        }
        let written = dialogue.written.concat();
        prop_assert!(!written.contains("DATA") && !written.contains("BDAT") && !written.contains("\r\n.\r\n"));
    }
}
