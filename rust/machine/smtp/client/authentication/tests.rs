//! AUTH as the next hop sees it: what it offers and replies, and what was written to it.

use super::super::{Protocol, Step, Timeout};
use super::*;

const FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn verified() -> Channel {
    Channel { verified: true, binding: Some(("tls-exporter", vec![7; 32])) }
}

/// Greeted, and told these mechanisms over this channel.
fn offered(mechanisms: &str, channel: Option<Channel>, password: &str) -> Client {
    let credentials = Arc::new(Credentials::new("user", password).unwrap());
    let client = Client::new(Protocol::Smtp, "me.example").unwrap();
    let mut client = client.authenticating(credentials, "rOprNGfwEbeRWgbNEkqO");
    if let Some(channel) = channel {
        client.bind(channel);
    }
    client.receive(b"220 hop\r\n");
    client.output();
    client.receive(format!("250-hop\r\n250-SIZE\r\n250 {mechanisms}\r\n").as_bytes());
    client
}

fn written(client: &mut Client) -> String {
    String::from_utf8(client.output()).unwrap()
}

fn challenge(client: &mut Client, text: &str) -> Step {
    client.receive(format!("334 {}\r\n", base64::encode(text.as_bytes())).as_bytes())
}

fn refusal(client: &Client) -> &str {
    let (state, reason) = client.refusal().unwrap();
    assert_eq!((client.step(), *state, client.authentication_refused()), (Step::Closed, State::Pending, true));
    reason
}

#[test]
fn scram_in_clear_ends_with_the_proof_of_the_server() {
    let mut client = offered("AUTH PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-256", None, "pencil");
    assert_eq!(client.timeout(), Timeout::Greeting);
    assert_eq!(written(&mut client), "AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=\r\n");
    assert_eq!(challenge(&mut client, FIRST), Step::Wait);
    let response = written(&mut client);
    let response = base64::decode(response.trim().as_bytes()).unwrap();
    assert!(response.ends_with(b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
    assert_eq!(challenge(&mut client, FINAL), Step::Wait);
    assert_eq!(written(&mut client), "\r\n");
    assert_eq!(client.receive(b"235 2.7.0 in\r\n"), Step::Ready);
    assert!(client.offers().is_some() && !client.authentication_refused());
}

#[test]
fn a_success_without_proof_is_none() {
    let mut client = offered("AUTH SCRAM-SHA-256", None, "pencil");
    client.output();
    assert_eq!(client.receive(b"235 2.7.0 in\r\n"), Step::Closed);
    assert_eq!(refusal(&client), NOT_PROVEN);
    let mut client = offered("AUTH SCRAM-SHA-256", None, "pencil");
    client.output();
    challenge(&mut client, FIRST);
    client.output();
    assert_eq!(client.receive(b"235 2.7.0 in\r\n"), Step::Closed);
    assert_eq!(refusal(&client), NOT_PROVEN);
}

#[test]
fn the_first_message_is_said_once() {
    let mut client = offered("AUTH SCRAM-SHA-256", None, "pencil");
    client.output();
    assert_eq!(challenge(&mut client, ""), Step::Closed);
    assert!(refusal(&client).ends_with("it asks again for the first message"));
    assert_eq!(written(&mut client), "*\r\n");
}

#[test]
fn the_exchange_is_bound_to_the_connection_where_that_is_offered() {
    for (mechanisms, channel, first) in [
        ("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN", Some(verified()), "AUTH SCRAM-SHA-256-PLUS p=tls-exporter,,"),
        ("AUTH SCRAM-SHA-256 PLAIN", Some(verified()), "AUTH SCRAM-SHA-256 y,,"),
        ("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256", None, "AUTH SCRAM-SHA-256 n,,"),
        ("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256", Some(Channel::default()), "AUTH SCRAM-SHA-256 n,,"),
    ] {
        let mut client = offered(mechanisms, channel, "pencil");
        let line = written(&mut client);
        let (command, response) = line.trim_end().rsplit_once(' ').unwrap();
        let said = String::from_utf8(base64::decode(response.as_bytes()).unwrap()).unwrap();
        assert_eq!(format!("{command} {said}"), format!("{first}n=user,r=rOprNGfwEbeRWgbNEkqO"));
    }
}

#[test]
fn the_password_itself_goes_to_a_verified_server_only() {
    for channel in [None, Some(Channel::default())] {
        let mut client = offered("AUTH PLAIN LOGIN", channel, "pencil");
        assert_eq!(written(&mut client), "QUIT\r\n");
        assert_eq!(refusal(&client), NOT_VERIFIED);
    }
    let mut client = offered("AUTH=LOGIN PLAIN", Some(verified()), "pencil");
    assert_eq!(written(&mut client), "AUTH PLAIN AHVzZXIAcGVuY2ls\r\n");
    assert_eq!(client.receive(b"235 2.7.0 in\r\n"), Step::Ready);
    let mut client = offered("auth login", Some(verified()), "pencil");
    assert_eq!(written(&mut client), "AUTH LOGIN\r\n");
    client.receive(b"334 Username:\r\n");
    assert_eq!(written(&mut client), "dXNlcg==\r\n");
    client.receive(b"334 UGFzc3dvcmQ6\r\n");
    assert_eq!(written(&mut client), "cGVuY2ls\r\n");
    assert_eq!(client.receive(b"235 in\r\n"), Step::Ready);
}

#[test]
fn nothing_is_sent_where_no_mechanism_is_usable() {
    for mechanisms in ["AUTH", "AUTH GSSAPI NTLM CRAM-MD5", "XAUTH PLAIN", "8BITMIME", "AUTH SCRAM-SHA-256-PLUS"] {
        let client = offered(mechanisms, None, "pencil");
        assert_eq!(refusal(&client), NONE_USABLE);
    }
    // HELO offers nothing.
    let credentials = Arc::new(Credentials::new("user", "pencil").unwrap());
    let mut client = Client::new(Protocol::Smtp, "me.example").unwrap().authenticating(credentials, "r");
    for reply in [b"220 hop\r\n".as_slice(), b"500 what\r\n", b"250 hop\r\n"] {
        client.receive(reply);
        client.output();
    }
    assert_eq!(refusal(&client), NONE_USABLE);
}

#[test]
fn a_refusal_defers_and_repeats_no_secret() {
    for (reply, shown) in [
        ("535 5.7.8 Error: authentication failed", "535 5.7.8 Error: authentication failed"),
        ("454 4.7.0 Later", "454 4.7.0 Later"),
        ("500 5.5.1 Unknown: AUTH PLAIN AHVzZXIAcGVuY2ls", "500"),
        ("500 5.5.1 Unknown: auth plain AHVZZXIAcGVuY2LS", "500"),
        ("535 wrong password pencil", "535"),
        ("535 wrong cGVuY2ls", "535"),
    ] {
        let mut client = offered("AUTH PLAIN", Some(verified()), "pencil");
        client.output();
        assert_eq!(client.receive(format!("{reply}\r\n").as_bytes()), Step::Closed);
        assert_eq!(refusal(&client), format!("454 4.7.8 Not authenticated: {shown}"));
        assert_eq!(written(&mut client), "QUIT\r\n");
    }
    // 421 and a lost connection are what they are anywhere.
    let mut client = offered("AUTH PLAIN", Some(verified()), "pencil");
    client.output();
    assert_eq!(client.receive(b"421 4.3.2 Bye\r\n"), Step::Closed);
    assert_eq!(client.refusal().unwrap(), &(State::Pending, "421 4.3.2 Bye".to_owned()));
    assert!(!client.authentication_refused());
    let mut client = offered("AUTH PLAIN", Some(verified()), "pencil");
    client.output();
    client.end("Connection lost");
    assert_eq!(client.refusal().unwrap().1, "421 4.4.2 Connection lost waiting for the reply to AUTH");
}

#[test]
fn no_reply_that_repeats_a_part_of_the_password_is_kept() {
    let password = "correct horse battery staple";
    for (code, kept) in [
        (535, "454 4.7.8 Not authenticated: 535"),
        (421, "421"),
        (354, "451 4.5.0 The next hop broke the protocol: 354"),
    ] {
        for part in [&password[8..], "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5", "ZSBiYXR0ZXJ5IHN0YXBsZQ=="] {
            let mut client = offered("AUTH PLAIN", Some(verified()), password);
            assert!(written(&mut client).ends_with("AHVzZXIAY29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==\r\n"));
            assert_eq!(client.receive(format!("{code} What is {part}\r\n").as_bytes()), Step::Closed);
            assert_eq!(client.refusal().unwrap(), &(State::Pending, kept.to_owned()), "{part}");
        }
    }
}

#[test]
fn a_server_that_breaks_the_exchange_is_left() {
    for said in ["334 not base64\r\n", "334 \r\n334 \r\n", "334 cj1vdGhlcg==\r\n"] {
        let mut client = offered("AUTH SCRAM-SHA-256", None, "pencil");
        client.output();
        assert_eq!(client.receive(said.as_bytes()), Step::Closed, "{said}");
        assert_eq!(client.refusal().unwrap().0, State::Pending);
    }
    // It asks for more than there is.
    let mut client = offered("AUTH PLAIN", Some(verified()), "pencil");
    client.output();
    assert_eq!(client.receive(b"334 \r\n"), Step::Closed);
    assert!(refusal(&client).ends_with("it asks for more than the mechanism has"));
    assert_eq!(written(&mut client), "*\r\n");
    // It is content with less.
    let mut client = offered("AUTH LOGIN", Some(verified()), "pencil");
    client.output();
    client.receive(b"334 VXNlcm5hbWU6\r\n");
    client.output();
    assert_eq!(client.receive(b"235 in\r\n"), Step::Closed);
    // 354 belongs nowhere here.
    let mut client = offered("AUTH LOGIN", Some(verified()), "pencil");
    client.output();
    assert_eq!(client.receive(b"354 go\r\n"), Step::Closed);
    assert!(!client.authentication_refused());
}

#[test]
fn a_long_response_waits_for_its_challenge() {
    let password = "p".repeat(255);
    let mut client = offered("AUTH PLAIN", Some(verified()), &password);
    let name = "n".repeat(250);
    client.authentication =
        Some(Box::new(Authentication::new(Arc::new(Credentials::new(&name, &password).unwrap()), "r")));
    client.bind(verified());
    let authentication = client.authentication.as_mut().unwrap();
    authentication.offered.push(Mechanism::Plain);
    assert_eq!(authentication.begin(), Ok("AUTH PLAIN".to_owned()));
    assert_eq!(authentication.answer(b""), Ok(format!("\0{name}\0{password}")));
    assert!(authentication.succeeds());
}

#[test]
fn one_exchange_of_a_connection_has_its_exporter() {
    let credentials = Arc::new(Credentials::new("user", "pencil").unwrap());
    for (kind, again) in [(EXPORTER, "AUTH SCRAM-SHA-256 "), ("tls-server-end-point", "AUTH SCRAM-SHA-256-PLUS ")] {
        let mut authentication = Authentication::new(Arc::clone(&credentials), "r");
        authentication.channel = Some(Channel { verified: true, binding: Some((kind, vec![7; 32])) });
        authentication.offered = vec![Mechanism::ScramPlus, Mechanism::Scram];
        assert!(authentication.begin().unwrap().starts_with("AUTH SCRAM-SHA-256-PLUS "));
        authentication.forget();
        assert!(authentication.begin().unwrap().starts_with(again), "{kind}");
    }
}
