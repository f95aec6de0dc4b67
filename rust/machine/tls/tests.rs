//! Two layers back to back.

use std::sync::OnceLock;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::ServerName;

use super::certificate::Identity;
use super::*;

/// The time of the tests, in which the certificates are valid.
pub const NOW: u64 = 1_800_000_000;

/// A CA, and what it has signed.
pub struct Authority {
    pub pem: String,
    /// For `mx.example.test`, ECDSA and RSA; for `*.other.test`; of a client.
    pub ecdsa: Arc<Identity>,
    pub rsa: Arc<Identity>,
    pub other: Arc<Identity>,
    pub client: Arc<Identity>,
    /// Of nobody.
    pub stray: Arc<Identity>,
}

pub fn authority() -> &'static Authority {
    static MADE: OnceLock<Authority> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let signed = |name: &str, key: KeyPair| {
            let certificate = CertificateParams::new(vec![name.into()]).unwrap().signed_by(&key, &issuer).unwrap();
            let chain = format!("{}{}", certificate.pem(), issuer.pem());
            Arc::new(Identity::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap())
        };
        let key = KeyPair::generate().unwrap();
        let stray = CertificateParams::new(vec!["stray.test".into()]).unwrap().self_signed(&key).unwrap().pem();
        Authority {
            ecdsa: signed("mx.example.test", KeyPair::generate().unwrap()),
            rsa: signed("mx.example.test", KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap()),
            other: signed("*.other.test", KeyPair::generate().unwrap()),
            client: signed("client.test", KeyPair::generate().unwrap()),
            stray: Arc::new(Identity::from_pem(stray.as_bytes(), key.serialize_pem().as_bytes()).unwrap()),
            pem: issuer.pem(),
        }
    })
}

fn clock() -> Arc<Clock> {
    Arc::new(Clock::new(NOW))
}

pub fn rules() -> ServerRules<'static> {
    ServerRules {
        minimum: Version::Tls12,
        client_certificates: ClientCertificates::Off,
        client_ca: b"",
        tickets: 2,
        ticket_secret: TicketSecret { secret: [7; 32], epoch: NOW / 3600, rotation: 3600 },
    }
}

pub fn asked() -> ClientRules<'static> {
    ClientRules {
        verify: false,
        authentic: true,
        tlsa: &[],
        names: &[],
        ca: b"",
        identity: None,
        minimum: Version::Tls12,
        maximum: Version::Tls13,
    }
}

pub fn server(identities: &[&Arc<Identity>], rules: &ServerRules<'_>) -> Arc<TlsServer> {
    let identities: Vec<_> = identities.iter().map(|identity| Arc::clone(identity)).collect();
    Arc::new(TlsServer::new(&identities, clock(), rules).unwrap())
}

pub fn client(asked: &ClientRules<'_>) -> Arc<TlsClient> {
    Arc::new(TlsClient::new(clock(), asked).unwrap())
}

/// One end of a pair.
struct End {
    layer: TlsLayer,
    plaintext: Vec<u8>,
    output: Vec<u8>,
    progress: Result<Progress, Fault>,
}

impl End {
    fn take(&mut self, octets: &[u8], cut: usize) {
        for piece in octets.chunks(cut) {
            if self.progress.is_ok() {
                let plaintext = |octets: &[u8]| self.plaintext.extend(octets);
                self.progress = self.layer.receive_ciphertext(piece, plaintext, &mut self.output);
            }
        }
    }

    fn say(&mut self, text: &[u8]) {
        self.layer.send_plaintext(text, &mut self.output);
    }

    fn facts(&self) -> &Facts {
        self.layer.facts().unwrap()
    }
}

struct Pair {
    server: End,
    client: End,
}

impl Pair {
    fn new(setup: &Arc<TlsServer>, policy: &Arc<TlsClient>, host: &str) -> Self {
        let end = |layer, output| End { layer, plaintext: Vec::new(), output, progress: Ok(Progress::Handshaking) };
        let mut output = Vec::new();
        let host = ServerName::try_from(host.to_owned()).unwrap();
        let layer = TlsLayer::client(Arc::clone(policy), host, &mut output);
        Self { client: end(layer, output), server: end(TlsLayer::server(Arc::clone(setup)), Vec::new()) }
    }

    /// Carries what is there to and fro until nobody has anything to say.
    fn carry(&mut self, cut: usize) {
        loop {
            let said = std::mem::take(&mut self.client.output);
            let answered = std::mem::take(&mut self.server.output);
            if said.is_empty() && answered.is_empty() {
                return;
            }
            self.server.take(&said, cut);
            self.client.take(&answered, cut);
        }
    }

    fn shaken(setup: &Arc<TlsServer>, policy: &Arc<TlsClient>, host: &str) -> Self {
        let mut pair = Self::new(setup, policy, host);
        pair.carry(usize::MAX);
        pair
    }
}

pub const HOST: &str = "mx.example.test";

#[test]
fn both_versions_carry_text_both_ways_and_know_their_facts() {
    let setup = server(&[&authority().ecdsa], &rules());
    for (maximum, version, suite) in [
        (Version::Tls13, "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (Version::Tls12, "TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ] {
        let verify = ClientRules { verify: true, ca: authority().pem.as_bytes(), maximum, ..asked() };
        let mut pair = Pair::shaken(&setup, &client(&verify), HOST);
        pair.client.say(b"EHLO c\r\n");
        pair.server.say(b"250 hello\r\n");
        pair.carry(usize::MAX);
        assert_eq!((&*pair.server.plaintext, &*pair.client.plaintext), (&b"EHLO c\r\n"[..], &b"250 hello\r\n"[..]));
        let (ours, theirs) = (pair.server.facts(), pair.client.facts());
        for facts in [ours, theirs] {
            assert_eq!((facts.version, facts.cipher_suite, facts.group), (version, suite, "X25519"));
            assert!(!facts.resumed);
        }
        assert_eq!((&*ours.server_name, ours.verdict, ours.verified()), (HOST, None, false));
        assert_eq!(ours.end_point, theirs.end_point);
        assert_eq!(ours.exporter, theirs.exporter);
        assert_eq!(ours.exporter.is_some(), maximum == Version::Tls13);
        assert!(theirs.verified());
        assert_eq!(theirs.peer.as_ref().unwrap().names, [HOST]);
        assert_eq!(pair.client.layer.peer_chain().len(), 2);
    }
}

#[test]
fn one_of_the_names_asked_for_is_enough() {
    let setup = server(&[&authority().ecdsa], &rules());
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let good = names(&["other.test", HOST]);
    let verify = ClientRules { verify: true, ca: authority().pem.as_bytes(), names: &good, ..asked() };
    assert!(Pair::shaken(&setup, &client(&verify), "elsewhere.test").client.facts().verified());
    let bad = names(&["other.test"]);
    let mut pair = Pair::new(&setup, &client(&ClientRules { names: &bad, ..verify }), HOST);
    pair.carry(usize::MAX);
    assert_eq!(pair.client.progress, Err(Fault::Unverified(Why::Name)));
    let odd = names(&["no name"]);
    assert!(TlsClient::new(clock(), &ClientRules { names: &odd, verify: true, ..asked() }).is_err());
}

#[test]
fn tlsa_records_take_the_place_of_the_ca_and_no_session_is_resumed() {
    let setup = server(&[&authority().stray], &rules());
    let leaf = authority().stray.certified_key().cert[0].to_vec();
    let good = [Association { usage: 3, selector: 0, matching: 0, octets: leaf }];
    let policy = client(&ClientRules { verify: true, tlsa: &good, ca: b"no CA", ..asked() });
    for _ in 0..2 {
        let mut pair = Pair::shaken(&setup, &policy, HOST);
        pair.server.say(b"220 hello\r\n");
        pair.carry(usize::MAX);
        let facts = pair.client.facts();
        assert!(facts.verified() && !facts.resumed);
    }
    let mut pair = Pair::new(&server(&[&authority().ecdsa], &rules()), &policy, HOST);
    pair.carry(usize::MAX);
    assert_eq!(pair.client.progress, Err(Fault::Unverified(Why::Association)));
}

#[test]
fn a_server_with_a_name_that_is_not_authentic_is_judged_and_does_not_count_as_verified() {
    let setup = server(&[&authority().ecdsa], &rules());
    let asked = ClientRules { verify: true, authentic: false, ca: authority().pem.as_bytes(), ..asked() };
    let facts_of = |host: &str| {
        let mut pair = Pair::new(&setup, &client(&asked), host);
        pair.carry(usize::MAX);
        pair.client
    };
    assert_eq!(facts_of(HOST).facts().verdict, Some(Err(Why::InsecureName)));
    assert!(!facts_of(HOST).facts().verified());
    assert_eq!(facts_of("elsewhere.test").progress, Err(Fault::Unverified(Why::Name)));
}

#[test]
fn the_end_of_a_handshake_is_said_once() {
    let setup = server(&[&authority().ecdsa], &rules());
    let mut pair = Pair::new(&setup, &client(&asked()), HOST);
    let hello = std::mem::take(&mut pair.client.output);
    pair.server.take(&hello, usize::MAX);
    assert_eq!(pair.server.progress, Ok(Progress::Handshaking));
    let flight = std::mem::take(&mut pair.server.output);
    pair.client.take(&flight, usize::MAX);
    assert_eq!(pair.client.progress, Ok(Progress::Established));
    pair.client.say(b"EHLO c\r\n");
    // Finished and the first command in one write.
    let finished = std::mem::take(&mut pair.client.output);
    assert!(pair.server.output.is_empty()); // session tickets wait for Finished: senders have lost mail over earlier ones
    pair.server.take(&finished, usize::MAX);
    assert_eq!((pair.server.progress, &*pair.server.plaintext), (Ok(Progress::Established), &b"EHLO c\r\n"[..]));
    assert!(!pair.server.output.is_empty());
    pair.carry(usize::MAX);
    pair.client.say(b"NOOP\r\n");
    pair.client.layer.close(&mut pair.client.output);
    pair.carry(usize::MAX);
    assert_eq!((pair.server.progress, &*pair.server.plaintext), (Ok(Progress::PeerClosed), &b"EHLO c\r\nNOOP\r\n"[..]));
}

#[test]
fn clear_text_in_place_of_a_hello_ends_the_handshake_with_an_alert() {
    for text in [&b"MAIL FROM:<a@b.test>\r\n"[..], b"\r\n", b"QUIT\r\n.....", &[0x80, 0x2e, 1, 0, 2], &[0; 7000]] {
        let mut end = Pair::new(&server(&[&authority().ecdsa], &rules()), &client(&asked()), HOST).server;
        end.take(&[text, &[b'x'; 20]].concat(), usize::MAX);
        assert!(matches!(end.progress, Err(Fault::Garbled | Fault::TooLong)), "{text:?} {:?}", end.progress);
        assert!(end.plaintext.is_empty());
        // An alert is a record of type 21.
        assert_eq!(end.output.first(), Some(&21), "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cuts_and_sizes_change_nothing(
        newest: bool,
        cut in 1_usize..3000,
        said in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40_000), 1..4),
    ) {
        let maximum = if newest { Version::Tls13 } else { Version::Tls12 };
        let mut pair = Pair::new(&server(&[&authority().ecdsa], &rules()), &client(&ClientRules { maximum, ..asked() }), HOST);
        pair.carry(cut);
        for text in &said {
            pair.client.say(text);
            pair.server.say(text);
            pair.carry(cut);
        }
        prop_assert_eq!(&pair.server.plaintext, &said.concat());
        prop_assert_eq!(&pair.client.plaintext, &said.concat());
    }
}

/// The leaf that a client of this host sees.
fn served(setup: &Arc<TlsServer>, host: &str) -> String {
    let pair = Pair::shaken(setup, &client(&asked()), host);
    pair.client.facts().peer.as_ref().unwrap().fingerprint.clone()
}

#[test]
fn the_chain_is_chosen_by_name_and_by_what_the_client_can_verify() {
    let made = authority();
    let setup = server(&[&made.rsa, &made.other, &made.ecdsa], &rules());
    assert_eq!(served(&setup, HOST), made.ecdsa.facts().fingerprint);
    assert_eq!(served(&setup, "A.Other.Test"), made.other.facts().fingerprint);
    // No name and an unknown one get the default chain, or the better one for the same names.
    for host in ["unknown.test", "192.0.2.1", "a.b.other.test"] {
        assert_eq!(served(&setup, host), made.ecdsa.facts().fingerprint, "{host}");
    }
    assert_eq!(served(&server(&[&made.rsa, &made.other], &rules()), "192.0.2.1"), made.rsa.facts().fingerprint);
}

#[test]
fn certificates_of_clients_are_ignored_recorded_or_demanded() {
    let made = authority();
    let ca = made.pem.as_bytes();
    let shaken = |client_certificates, client_ca, identity: Option<&Arc<Identity>>| {
        let setup = server(&[&made.ecdsa], &ServerRules { client_certificates, client_ca, ..rules() });
        let pair = Pair::shaken(&setup, &client(&ClientRules { identity: identity.cloned(), ..asked() }), HOST);
        (pair.server.progress, pair.server.layer.facts().map(|facts| (facts.verdict, facts.peer.is_some())))
    };
    let (good, stray) = (Some(&made.client), Some(&made.stray));
    let open = |verdict, peer| (Ok(Progress::Established), Some((verdict, peer)));
    assert_eq!(shaken(ClientCertificates::Off, b"", good), open(None, false));
    assert_eq!(shaken(ClientCertificates::Record, ca, None), open(None, false));
    assert_eq!(shaken(ClientCertificates::Record, ca, good), open(Some(Ok(())), true));
    assert_eq!(shaken(ClientCertificates::Record, ca, stray), open(Some(Err(Why::UnknownIssuer)), true));
    assert_eq!(shaken(ClientCertificates::Record, b"", good), open(Some(Err(Why::NoAuthority)), true));
    assert_eq!(shaken(ClientCertificates::Verify, ca, None), open(None, false));
    for demanded in [ClientCertificates::Verify, ClientCertificates::Require] {
        assert_eq!(shaken(demanded, ca, good), open(Some(Ok(())), true));
        assert_eq!(shaken(demanded, ca, stray), (Err(Fault::Unverified(Why::UnknownIssuer)), None));
    }
    assert_eq!(shaken(ClientCertificates::Require, ca, None), (Err(Fault::Unverified(Why::Missing)), None));
}

#[test]
fn what_cannot_be_set_up_is_said() {
    let made = |identities: &[Arc<Identity>], rules: &ServerRules<'_>| {
        TlsServer::new(identities, clock(), rules).map(|_| ()).map_err(|error| error.to_string())
    };
    let own = [Arc::clone(&authority().ecdsa)];
    assert_eq!(made(&[], &rules()), Err("there is no certificate".into()));
    let verify = ServerRules { client_certificates: ClientCertificates::Verify, ..rules() };
    assert_eq!(made(&own, &verify), Err("there is no certificate of a CA".into()));
    let client = TlsClient::new(clock(), &ClientRules { verify: true, ..asked() });
    assert_eq!(client.map(|_| ()), Err(Unusable("there is no certificate of a CA".into())));
    assert!(Version::numbered("1.1").is_err() && ClientCertificates::named("some").is_err());
}

/// One handshake after the other with one policy, each with a server made anew; whether it was resumed.
fn resumed(policy: &Arc<TlsClient>, setup: &Arc<TlsServer>) -> bool {
    let mut pair = Pair::shaken(setup, policy, HOST);
    pair.server.say(b"250 for the tickets\r\n");
    pair.carry(usize::MAX);
    assert_eq!(pair.server.facts().resumed, pair.client.facts().resumed);
    assert_eq!(pair.server.facts().end_point, pair.client.facts().end_point);
    pair.client.facts().resumed
}

#[test]
fn a_ticket_of_one_worker_is_good_at_another_for_one_epoch_more() {
    const HOUR: u64 = 3600;
    for maximum in [Version::Tls12, Version::Tls13] {
        let worker = |clock: &Arc<Clock>, rules: &ServerRules<'_>| {
            Arc::new(TlsServer::new(&[Arc::clone(&authority().ecdsa)], Arc::clone(clock), rules).unwrap())
        };
        let time = clock();
        // All are forked with the same secret, and step on by themselves.
        let (first, second) = (worker(&time, &rules()), worker(&time, &rules()));
        let policy = Arc::new(TlsClient::new(Arc::clone(&time), &ClientRules { maximum, ..asked() }).unwrap());
        assert!(!resumed(&policy, &first));
        assert!(resumed(&policy, &second));
        time.set(NOW + HOUR);
        assert!(resumed(&policy, &first));
        // One that is made later begins with the secret of the epoch before.
        let late = TicketSecret { epoch: NOW / HOUR, ..rules().ticket_secret };
        assert!(resumed(&policy, &worker(&time, &ServerRules { ticket_secret: late, ..rules() })));
        time.set(NOW + 4 * HOUR);
        assert!(!resumed(&policy, &second));
        assert!(resumed(&policy, &first));
        // Never where it would keep an identity unchecked, under other rules, with another secret, or switched off.
        let record = ServerRules { client_certificates: ClientCertificates::Record, ..rules() };
        let foreign = TicketSecret { secret: [8; 32], ..rules().ticket_secret };
        for other in [record, ServerRules { ticket_secret: foreign, ..rules() }, ServerRules { tickets: 0, ..rules() }]
        {
            assert!(resumed(&policy, &first));
            assert!(!resumed(&policy, &worker(&time, &other)));
            resumed(&policy, &first);
        }
    }
}

#[test]
fn policies_do_not_share_tickets() {
    let policy = client(&asked());
    assert!(!resumed(&policy, &server(&[&authority().ecdsa], &rules())));
    let strict = ServerRules { minimum: Version::Tls13, ..rules() };
    assert!(!resumed(&policy, &server(&[&authority().ecdsa], &strict)));
}

#[test]
fn what_a_client_may_send_before_its_handshake_is_done_is_bounded() {
    // A hello in good faith but for its length: one record after the other of a message of 60,000 octets.
    let mut endless = vec![22, 3, 1, 0x40, 0, 1, 0, 0xea, 0x60];
    endless.resize(5 + 0x4000, 3);
    let record = ServerRules { client_certificates: ClientCertificates::Record, ..rules() };
    for (rules, limit) in [(rules(), 12 * 1024), (record, 28 * 1024)] {
        let mut end = Pair::new(&server(&[&authority().ecdsa], &rules), &client(&asked()), HOST).server;
        let mut sent = 0;
        while end.progress.is_ok() {
            let piece = &endless[sent % endless.len()..][..1];
            end.take(piece, 1);
            sent += 1;
            assert!(sent <= limit + 1);
        }
        assert_eq!((end.progress, sent), (Err(Fault::TooLong), limit + 1));
    }
}

#[test]
fn alerts_and_faults_have_their_names() {
    let made = authority();
    let verify = ClientRules { verify: true, ca: made.pem.as_bytes(), ..asked() };
    let pair = Pair::shaken(&server(&[&made.stray], &rules()), &client(&verify), "stray.test");
    assert_eq!(pair.client.progress.unwrap_err().to_string(), "certificate not verified: unknown issuer");
    assert_eq!(pair.server.progress.unwrap_err().to_string(), "alert 48 unknown_ca");
    let pair = Pair::shaken(&server(&[&made.ecdsa], &rules()), &client(&verify), "other.test");
    assert_eq!(pair.client.progress, Err(Fault::Unverified(Why::Name)));
    // A hello of TLS 1.0, as an old client sends it: no supported_versions, suites of CBC.
    let hello: &[u8] = &[
        22, 3, 1, 0, 47, 1, 0, 0, 43, 3, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
        22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 0, 0, 4, 0xc0, 0x0a, 0, 0x35, 1, 0,
    ];
    let mut end = Pair::new(&server(&[&made.ecdsa], &rules()), &client(&asked()), HOST).server;
    end.take(hello, usize::MAX);
    assert!(matches!(end.progress, Err(Fault::NothingInCommon(_))), "{:?}", end.progress);
    assert_eq!(end.output.first(), Some(&21));
}

#[test]
fn with_a_ca_and_without_demand_the_verdict_is_for_the_record() {
    let made = authority();
    let verdict = |ca: &[u8], served: &Arc<Identity>, host| {
        let policy = client(&ClientRules { ca, ..asked() });
        Pair::shaken(&server(&[served], &rules()), &policy, host).client.facts().verdict
    };
    let ca = made.pem.as_bytes();
    assert_eq!(verdict(b"", &made.ecdsa, HOST), None);
    assert_eq!(verdict(ca, &made.rsa, HOST), Some(Ok(())));
    assert_eq!(verdict(ca, &made.ecdsa, "x.test"), Some(Err(Why::Name)));
    assert_eq!(verdict(ca, &made.stray, "stray.test"), Some(Err(Why::UnknownIssuer)));
}

#[test]
fn keys_are_changed_when_either_side_asks() {
    let mut pair = Pair::shaken(&server(&[&authority().ecdsa], &rules()), &client(&asked()), HOST);
    for _ in 0..3 {
        pair.client.layer.update_keys(&mut pair.client.output);
        pair.carry(usize::MAX);
        pair.server.layer.update_keys(&mut pair.server.output);
        pair.carry(usize::MAX);
        pair.client.say(b"a");
        pair.server.say(b"b");
        pair.carry(usize::MAX);
    }
    assert_eq!((&*pair.server.plaintext, &*pair.client.plaintext), (&b"aaa"[..], &b"bbb"[..]));
}

#[test]
fn a_long_output_is_written_whole() {
    let mut pair = Pair::shaken(&server(&[&authority().ecdsa], &rules()), &client(&asked()), HOST);
    let long: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    pair.client.say(&long);
    assert!(pair.client.output.len() > long.len());
    pair.carry(usize::MAX);
    assert!(pair.server.plaintext == long);
}

/// Newer clients name raw public keys beside X.509 (RFC 7250), and get X.509.
#[test]
fn a_client_that_also_takes_raw_public_keys_is_not_refused() {
    let mut pair = Pair::new(&server(&[&authority().ecdsa], &rules()), &client(&asked()), HOST);
    let mut hello = std::mem::take(&mut pair.client.output);
    // Record 5, message 4, version and random 34, session id, suites, compression; then the extensions, whose length is written anew.
    let mut at = 5 + 4 + 34;
    at += 1 + usize::from(hello[at]);
    at += 2 + usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    at += 1 + usize::from(hello[at]);
    let extension = [0, 20, 0, 3, 2, 2, 0];
    hello.splice(at + 2..at + 2, extension);
    for place in [at, 3, 7] {
        let length = u16::from_be_bytes([hello[place], hello[place + 1]]) + 7;
        hello[place..place + 2].copy_from_slice(&length.to_be_bytes());
    }
    pair.server.take(&hello, usize::MAX);
    assert_eq!((pair.server.progress, pair.server.output.first()), (Ok(Progress::Handshaking), Some(&22)));
}
