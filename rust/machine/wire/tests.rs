//! The server machine and the client machine, each on its wire, back to back.

use proptest::prelude::*;

use super::*;
use crate::machine::message::content::Octets;
use crate::machine::smtp::client::{Protocol, Timeout, Tls as Asked};
use crate::machine::smtp::reply::Reply;
use crate::machine::smtp::server::config::Config;
use crate::machine::smtp::server::content_rules::ContentRules;
use crate::machine::smtp::server::step::Verdict;
use crate::machine::smtp::server::tally::End;
use crate::machine::tls::tests::{HOST, asked, authority, client as policy, rules, server as setup};
use crate::machine::tls::{ClientCertificates, ClientRules, ServerRules, Version};

type Hop = client::Step;

fn config() -> Config {
    Config { asked: 0, ..Config::example() }
}

fn listening(config: Config) -> Wire<Session> {
    let mut wire = Wire::new(Session::new(Arc::new(config), "s1", "192.0.2.1", false));
    wire.offer_tls(true);
    wire.connect();
    wire
}

fn ours() -> Arc<TlsServer> {
    setup(&[&authority().ecdsa], &rules())
}

fn theirs(verify: bool) -> Arc<TlsClient> {
    policy(&ClientRules { verify, ca: authority().pem.as_bytes(), ..asked() })
}

fn dialling(tls: Asked) -> Wire<Client> {
    Wire::new(Client::new(Protocol::Smtp, "c.test").unwrap().with_tls(tls))
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A client of the layer alone: says in TLS what it is told.
struct Speaker {
    layer: TlsLayer,
    output: Vec<u8>,
    heard: Vec<u8>,
}

impl Speaker {
    fn new() -> Self {
        let mut output = Vec::new();
        let layer = TlsLayer::client(theirs(false), ServerName::try_from(HOST).unwrap(), &mut output);
        Self { layer, output, heard: Vec::new() }
    }

    /// Carries octets to and fro; the last step of the session.
    fn carry(&mut self, wire: &mut Wire<Session>) -> Step {
        let mut step = Step::NeedInput;
        loop {
            let said = std::mem::take(&mut self.output);
            if !said.is_empty() {
                step = wire.receive(&said);
            }
            let answered = wire.take_output();
            if said.is_empty() && answered.is_empty() {
                return step;
            }
            let _ = self.layer.receive_ciphertext(&answered, |heard| self.heard.extend(heard), &mut self.output);
        }
    }

    fn say(&mut self, wire: &mut Wire<Session>, said: &[u8]) -> String {
        self.layer.send_plaintext(said, &mut self.output);
        self.carry(wire);
        text(&std::mem::take(&mut self.heard))
    }
}

/// A session that has got as far as TLS, and who speaks to it.
fn secured(config: Config) -> (Wire<Session>, Speaker) {
    let mut wire = listening(config);
    wire.receive(b"EHLO before.test\r\n");
    assert!(text(&wire.take_output()).contains("STARTTLS\r\n"));
    assert_eq!(wire.receive(b"STARTTLS\r\n"), Step::StartTls);
    assert!(wire.take_output().is_empty());
    assert_eq!(wire.start_tls(ours()), Step::NeedInput);
    assert_eq!(text(&wire.take_output()), "220 2.0.0 Ready to start TLS\r\n");
    let mut speaker = Speaker::new();
    assert_eq!(speaker.carry(&mut wire), Step::Secured);
    assert_eq!(wire.proceed(), Step::NeedInput);
    (wire, speaker)
}

#[test]
fn what_was_said_before_tls_is_forgotten() {
    let mut wire = listening(config());
    wire.receive(b"EHLO before.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<x@y.test>\r\n");
    assert_eq!(wire.receive(b"STARTTLS\r\n"), Step::StartTls);
    wire.start_tls(ours());
    wire.take_output();
    let mut speaker = Speaker::new();
    assert_eq!(speaker.carry(&mut wire), Step::Secured);
    assert_eq!((wire.helo_name(), wire.transaction().is_none()), ("", true));
    wire.proceed();
    assert_eq!(speaker.say(&mut wire, b"MAIL FROM:<a@b.test>\r\n"), "503 5.5.1 Send hello first\r\n");
    let hello = speaker.say(&mut wire, b"EHLO after.test\r\n");
    assert!(hello.starts_with("250-") && !hello.contains("STARTTLS"), "{hello}");
}

#[test]
fn received_says_that_the_message_came_by_tls() {
    let (mut wire, mut speaker) = secured(config());
    speaker.say(&mut wire, b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n");
    speaker.layer.send_plaintext(b"A: b\r\n\r\nc\r\n.\r\n", &mut speaker.output);
    assert_eq!(speaker.carry(&mut wire), Step::Commit);
    let message = wire.message("q1", 0, "DATE", b"", None).unwrap();
    let trace = text(&message.trace);
    // The order of RFC 5321 4.4: clauses that were added to the standard come last.
    let clauses = "with ESMTPS id q1\r\n\tfor <x@y.test>\r\n\ttls TLS_AES_256_GCM_SHA384;\r\n\tDATE\r\n";
    assert!(trace.contains(clauses), "{trace}");
}

#[test]
fn a_content_of_several_records_is_whole_and_so_is_what_is_pipelined_behind_it() {
    let content = ContentRules { message_size: 0, ..config().content };
    let (mut wire, mut speaker) = secured(Config { content, ..config() });
    speaker.say(&mut wire, b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n");
    let sent = format!("A: b\r\n\r\n{}", "a line of a large content\r\n..\r\n".repeat(3000));
    let behind = "RSET\r\nBDAT 3 LAST\r\nabcNOOP\r\n";
    speaker.layer.send_plaintext(format!("{sent}.\r\n{behind}").as_bytes(), &mut speaker.output);
    assert_eq!(speaker.carry(&mut wire), Step::Commit);
    let message = wire.message("q1", 0, "DATE", b"", None).unwrap();
    let Octets::Memory(octets) = &message.content.octets else { panic!("in a file") };
    assert!(text(octets) == sent.replace("\n..", "\n."));
    assert_eq!((wire.committed(None), speaker.carry(&mut wire)), (Step::NeedInput, Step::NeedInput));
    let heard = text(&speaker.heard);
    let codes: Vec<&str> = heard.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "503", "250"], "{heard}");
}

#[test]
fn within_tls_starttls_is_refused_and_quit_closes_both_layers() {
    let (mut wire, mut speaker) = secured(config());
    assert_eq!(speaker.say(&mut wire, b"STARTTLS\r\n"), "503 5.5.1 TLS is on already\r\n");
    assert!(speaker.say(&mut wire, b"QUIT\r\n").starts_with("221 "));
    assert!(speaker.layer.peer_closed());
    assert_eq!(wire.tally().end, Some(End::Quit));
}

#[test]
fn starttls_takes_no_argument_and_is_unknown_where_it_is_not_offered() {
    let mut wire = listening(config());
    wire.take_output();
    wire.receive(b"STARTTLS now\r\n");
    assert_eq!(text(&wire.take_output()), "501 5.5.4 No argument is allowed\r\n");
    wire.offer_tls(false);
    wire.receive(b"STARTTLS\r\n");
    assert_eq!(text(&wire.take_output()), "502 5.5.1 Command not implemented\r\n");
}

#[test]
fn tls_that_is_not_to_be_had_now_is_454_and_the_session_goes_on() {
    let mut wire = listening(config());
    wire.take_output();
    assert_eq!(wire.receive(b"STARTTLS\r\nNOOP\r\n"), Step::StartTls);
    assert_eq!(wire.refuse_tls(), Step::NeedInput);
    assert_eq!(text(&wire.take_output()), "454 4.7.0 TLS not available due to temporary reason\r\n250 2.0.0 OK\r\n");
    assert_eq!(wire.refuse_tls(), Step::Wait);
    assert_eq!(wire.start_tls(ours()), Step::Wait);
}

#[test]
fn where_tls_is_demanded_all_but_four_commands_are_refused_in_clear() {
    let mut wire = listening(config());
    wire.require_tls();
    wire.take_output();
    for (said, code) in [
        ("HELO c\r\n", "530 Must"),
        ("EHLO c\r\n", "250-"),
        ("NOOP\r\n", "250 "),
        ("MAIL FROM:<>\r\n", "530 5.7.0 "),
        ("RSET\r\n", "530 5.7.0 "),
        ("VRFY x\r\n", "530 5.7.0 "),
        ("STARTTLS\r\n", ""),
    ] {
        wire.receive(said.as_bytes());
        assert!(text(&wire.take_output()).starts_with(code), "{said}");
    }
}

#[test]
fn implicit_tls_comes_before_the_greeting() {
    let mut wire = Wire::new(Session::new(Arc::new(config()), "s1", "192.0.2.1", false));
    assert_eq!(wire.start_tls(ours()), Step::NeedInput);
    assert!(wire.take_output().is_empty() && wire.is_handshaking());
    let mut speaker = Speaker::new();
    assert_eq!(speaker.carry(&mut wire), Step::Secured);
    assert_eq!(wire.connect(), Step::NeedInput);
    assert!(speaker.say(&mut wire, b"EHLO c\r\n").starts_with("220 mx.example.test ESMTP mailmoat\r\n250-"));
    assert_eq!(wire.start_tls(ours()), Step::Wait);
}

#[test]
fn a_failed_handshake_ends_the_session_with_an_alert_and_no_word_in_clear() {
    let mut wire = listening(config());
    wire.receive(b"STARTTLS\r\n");
    wire.start_tls(ours());
    wire.take_output();
    assert_eq!(wire.receive(b"NOOP in clear, which is no record\r\n"), Step::Close);
    assert_eq!(wire.take_output().first(), Some(&21));
    assert_eq!((wire.tally().end, wire.fault()), (Some(End::TlsFailed), Some(Fault::Garbled)));
    assert_eq!(wire.receive(b"x"), Step::Close);
    assert!(wire.take_output().is_empty());
    // Nor has a session that is stopped meanwhile anything to say.
    let mut wire = listening(config());
    wire.receive(b"STARTTLS\r\n");
    wire.start_tls(ours());
    wire.take_output();
    assert_eq!(wire.stop(&Reply::fixed(421, "4.4.2", "Timeout; closing"), End::Timeout), Step::Close);
    assert!(wire.take_output().is_empty());
    assert_eq!(wire.receive(&Speaker::new().output), Step::Close);
}

proptest! {
    /// RFC 3207 6, and the fault of many servers: what stands behind STARTTLS joined the TLS stream.
    #[test]
    fn nothing_behind_starttls_is_ever_done(
        behind in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "(RSET|NOOP|QUIT|MAIL FROM:<a@b.test>|FOO)\r\n".prop_map(String::into_bytes),
        ],
        cut in 1_usize..400,
    ) {
        let mut wire = listening(config());
        wire.receive(b"EHLO c\r\n");
        wire.take_output();
        let stream = [b"STARTTLS\r\n", &behind[..]].concat();
        for piece in stream.chunks(cut) {
            wire.receive(piece);
        }
        prop_assert!(wire.take_output().is_empty());
        wire.start_tls(ours());
        prop_assert_eq!(text(&wire.take_output()), "220 2.0.0 Ready to start TLS\r\n");
        prop_assert_eq!(wire.tally().injected, behind.len());
        let mut speaker = Speaker::new();
        prop_assert_eq!(speaker.carry(&mut wire), Step::Secured);
        prop_assert_eq!((wire.buffered(), wire.proceed()), (0, Step::NeedInput));
        prop_assert_eq!(speaker.say(&mut wire, b"NOOP\r\n"), "250 2.0.0 OK\r\n");
    }

    #[test]
    fn what_comes_in_clear_after_the_220_ends_the_session(octets in prop::collection::vec(any::<u8>(), 1..300)) {
        prop_assume!(octets.first() != Some(&22) && octets.len() >= 5);
        let mut wire = listening(config());
        wire.receive(b"STARTTLS\r\n");
        wire.start_tls(ours());
        wire.take_output();
        let mut speaker = Speaker::new();
        let hello = std::mem::take(&mut speaker.output);
        prop_assert_eq!(wire.receive(&[&octets[..], &hello].concat()), Step::Close);
    }
}

/// Plays both machines against each other until nothing moves.
fn dialogue(hop: &mut Wire<Client>, policy: &Arc<TlsClient>, wire: &mut Wire<Session>, setup: &Arc<TlsServer>) {
    loop {
        if hop.step() == Hop::StartTls {
            let host = ServerName::try_from(HOST).unwrap();
            hop.start_tls(Arc::clone(policy), host).unwrap();
        }
        let said = hop.output();
        let mut step = wire.receive(&said);
        loop {
            step = match step {
                Step::StartTls => wire.start_tls(Arc::clone(setup)),
                Step::Secured | Step::Yield => wire.proceed(),
                Step::Ask(_) => wire.answer(Verdict::Pass),
                _ => break,
            };
        }
        let answered = wire.take_output();
        hop.receive(&answered);
        if said.is_empty() && answered.is_empty() {
            return;
        }
    }
}

#[test]
fn the_client_begins_tls_where_it_is_offered_and_says_hello_again() {
    for asks in [Asked::May, Asked::Encrypt, Asked::Verify] {
        let (mut hop, mut wire) = (dialling(asks), listening(config()));
        dialogue(&mut hop, &theirs(asks == Asked::Verify), &mut wire, &ours());
        assert_eq!(hop.step(), Hop::Ready, "{:?}", hop.refusal());
        assert!(hop.facts().unwrap().verified());
        assert_eq!(wire.helo_name(), "c.test");
        assert!(!hop.offers().unwrap().start_tls && hop.offers().unwrap().pipelining);
        hop.quit();
        dialogue(&mut hop, &theirs(false), &mut wire, &ours());
        assert_eq!((hop.step(), wire.tally().end), (Hop::Closed, Some(End::Quit)));
    }
}

#[test]
fn a_client_that_asks_for_no_tls_does_not_begin_it() {
    let (mut hop, mut wire) = (dialling(Asked::None), listening(config()));
    dialogue(&mut hop, &theirs(false), &mut wire, &ours());
    assert_eq!((hop.step(), hop.facts().is_none()), (Hop::Ready, true));
}

/// Says these replies to a client one by one; its step, refusal, and whether to retry in clear.
fn told(asks: Asked, replies: &[&str]) -> (Hop, String, bool) {
    let mut hop = dialling(asks);
    for reply in replies {
        hop.receive(reply.as_bytes());
        hop.output();
    }
    let refusal = hop.refusal().map_or_else(String::new, |(_, reply)| reply.clone());
    (hop.step(), refusal, hop.retry_in_clear())
}

#[test]
fn without_tls_a_client_goes_on_or_defers_as_it_was_asked() {
    const PLAIN: &str = "250 hop\r\n";
    const OFFERS: &str = "250-hop\r\n250 STARTTLS\r\n";
    let hello = "220 hi\r\n";
    for replies in [&[hello, PLAIN][..], &[hello, "502 x\r\n", PLAIN], &[hello, OFFERS, "454 4.7.0 not now\r\n"]] {
        assert_eq!(told(Asked::May, replies), (Hop::Ready, String::new(), false));
        let (step, refusal, retry) = told(Asked::Encrypt, replies);
        assert!(step == Hop::Closed && refusal.starts_with("451 4.7.0 The next hop ") && !retry, "{refusal}");
        let (step, refusal, _) = told(Asked::Verify, replies);
        assert!(step == Hop::Closed && refusal.starts_with("451 4.7.5 The next hop "), "{refusal}");
    }
    // Octets behind the 220 came in clear.
    for asks in [Asked::May, Asked::Encrypt] {
        let (step, refusal, retry) = told(asks, &[hello, OFFERS, "220 go\r\n250 evil\r\n"]);
        assert_eq!((step, retry), (Hop::Closed, asks == Asked::May));
        assert!(refusal.contains("octets behind the reply to STARTTLS"), "{refusal}");
    }
    assert_eq!(told(Asked::May, &[hello, OFFERS, "220 go\r\n"]).0, Hop::StartTls);
}

#[test]
fn a_handshake_that_fails_is_retried_in_clear_only_where_tls_is_not_needed() {
    for (asks, code) in [(Asked::May, "4.7.0"), (Asked::Encrypt, "4.7.0"), (Asked::Verify, "4.7.5")] {
        let stray = setup(&[&authority().stray], &rules());
        let (mut hop, mut wire) = (dialling(asks), listening(config()));
        dialogue(&mut hop, &theirs(true), &mut wire, &stray);
        assert_eq!((hop.step(), hop.retry_in_clear()), (Hop::Closed, asks == Asked::May));
        let expected = format!("451 {code} The TLS handshake failed: certificate not verified: unknown issuer");
        assert_eq!(hop.refusal().unwrap().1, expected);
        assert_eq!(wire.fault().unwrap().to_string(), "alert 48 unknown_ca");
    }
    // A connection that is lost in the handshake.
    let mut hop = dialling(Asked::May);
    for reply in ["220 hi\r\n", "250-hop\r\n250 STARTTLS\r\n", "220 go\r\n"] {
        hop.receive(reply.as_bytes());
        hop.output();
    }
    hop.start_tls(theirs(false), ServerName::try_from(HOST).unwrap()).unwrap();
    assert_eq!((hop.timeout(), hop.output().first()), (Timeout::Handshake, Some(&22)));
    hop.end("Timed out");
    assert_eq!(hop.refusal().unwrap().1, "421 4.4.2 Timed out during the TLS handshake");
    assert!(hop.retry_in_clear() && hop.output().is_empty());
}

/// TLS 1.3: the client is done before the server has judged it.
#[test]
fn a_handshake_that_the_server_ends_before_it_says_anything_has_failed() {
    let client_certificates = ClientCertificates::Require;
    let asking = ServerRules { client_certificates, client_ca: authority().pem.as_bytes(), ..rules() };
    for asks in [Asked::May, Asked::Encrypt] {
        let (mut hop, mut wire) = (dialling(asks), listening(config()));
        dialogue(&mut hop, &theirs(false), &mut wire, &setup(&[&authority().ecdsa], &asking));
        assert!(hop.facts().is_some());
        let refusal = &hop.refusal().unwrap().1;
        assert_eq!(refusal, "451 4.7.0 The TLS handshake failed: alert 116 certificate_required");
        assert_eq!((hop.step(), hop.retry_in_clear()), (Hop::Closed, asks == Asked::May));
    }
    // Once it has said something the handshake is done.
    let (mut hop, mut wire) = (dialling(Asked::May), listening(config()));
    dialogue(&mut hop, &theirs(false), &mut wire, &ours());
    assert_eq!(hop.step(), Hop::Ready);
    hop.end("Connection lost");
    assert!(!hop.retry_in_clear());
}

/// Some servers wait for ours before they close the socket.
#[test]
fn a_next_hop_that_closes_its_side_of_tls_is_lost() {
    let (mut hop, mut wire) = (dialling(Asked::Encrypt), listening(config()));
    dialogue(&mut hop, &theirs(false), &mut wire, &ours());
    assert_eq!(hop.step(), Hop::Ready);
    let mut closing = Vec::new();
    wire.tls.as_mut().unwrap().layer.close(&mut closing);
    assert_eq!((hop.receive(&closing), hop.peer_closed()), (Hop::Closed, true));
}

#[test]
fn the_client_begins_with_implicit_tls_and_never_falls_back_from_it() {
    let mut wire = Wire::new(Session::new(Arc::new(config()), "s1", "192.0.2.1", false));
    wire.start_tls(ours());
    let mut hop = dialling(Asked::May);
    hop.start_tls(theirs(false), ServerName::try_from(HOST).unwrap()).unwrap();
    assert!(hop.start_tls(theirs(false), ServerName::try_from(HOST).unwrap()).is_err());
    let mut step = Step::NeedInput;
    while step != Step::Secured {
        step = wire.receive(&hop.output());
        hop.receive(&wire.take_output());
    }
    wire.connect();
    dialogue(&mut hop, &theirs(false), &mut wire, &ours());
    assert_eq!(hop.step(), Hop::Ready, "{:?}", hop.refusal());
    let mut hop = dialling(Asked::May);
    hop.start_tls(theirs(false), ServerName::try_from(HOST).unwrap()).unwrap();
    assert_eq!((hop.receive(b"220 in clear\r\n"), hop.retry_in_clear()), (Hop::Closed, false));
}

#[test]
fn versions_without_one_in_common_are_named() {
    let only = setup(&[&authority().ecdsa], &crate::machine::tls::ServerRules { minimum: Version::Tls13, ..rules() });
    let old = policy(&ClientRules { maximum: Version::Tls12, ..asked() });
    let (mut hop, mut wire) = (dialling(Asked::Encrypt), listening(config()));
    dialogue(&mut hop, &old, &mut wire, &only);
    assert!(matches!(wire.fault(), Some(Fault::NothingInCommon(_))), "{:?}", wire.fault());
    assert_eq!(hop.refusal().unwrap().1, "451 4.7.0 The TLS handshake failed: alert 70 protocol_version");
}
