//! Whatever comes in place of TLS, or in the middle of it: a connection or a fault, bounded output, and no word that was not said.

use std::sync::{Arc, OnceLock};

use mailmoat_native::machine::tls::certificate::Identity;
use mailmoat_native::machine::tls::{
    ClientCertificates, ClientRules, Clock, Fault, Progress, ServerRules, TicketSecret, TlsClient, TlsLayer, TlsServer,
    Version,
};

const NOW: u64 = 1_800_000_000;
const SAID: &[u8] = b"EHLO c.test\r\n";
/// More than a whole flight with its certificate and an alert.
const OUTPUT: usize = 16_384;

/// A server, and a policy for each version that it speaks.
struct Setup {
    server: Arc<TlsServer>,
    clients: [Arc<TlsClient>; 2],
}

fn setup() -> &'static Setup {
    static MADE: OnceLock<Setup> = OnceLock::new();
    MADE.get_or_init(|| {
        let (chain, key) = Identity::self_signed(&["mx.test".into()], 30, NOW.cast_signed()).unwrap();
        let identity = Arc::new(Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap());
        let rules = ServerRules {
            minimum: Version::Tls12,
            client_certificates: ClientCertificates::Record,
            client_ca: b"",
            tickets: 0,
            ticket_secret: TicketSecret { secret: [0; 32], epoch: 0, rotation: 3600 },
        };
        let clock = Arc::new(Clock::new(NOW));
        let client = |maximum| {
            let identity = Some(Arc::clone(&identity));
            let (minimum, tlsa) = (Version::Tls12, &[][..]);
            let asked =
                ClientRules { verify: false, authentic: true, tlsa, ca: b"", names: &[], identity, minimum, maximum };
            Arc::new(TlsClient::new(Arc::clone(&clock), &asked).unwrap())
        };
        let server = Arc::new(TlsServer::new(&[Arc::clone(&identity)], Arc::clone(&clock), &rules).unwrap());
        Setup { server, clients: [client(Version::Tls12), client(Version::Tls13)] }
    })
}

/// The first octet: its lowest bits say what the rest is put in place of. 0: all that the server gets; 1: all that the client gets;
/// else something between the octets of one flight of a handshake, or of the first words after it.
pub fn check(input: &[u8]) {
    let (choices, rest) = input.split_at(input.len().min(3));
    let [kind, seed, place] = std::array::from_fn(|index| choices.get(index).copied().unwrap_or_default());
    let mut pair = Pair::new(&setup().clients[usize::from(kind >> 2 & 1)]);
    match kind & 3 {
        0 => pair.server.take(rest, seed),
        1 => pair.client.take(rest, seed),
        _ => return pair.disturbed(usize::from(kind >> 3), usize::from(place), rest, seed),
    }
    pair.holds();
}

struct End {
    layer: TlsLayer,
    plaintext: Vec<u8>,
    output: Vec<u8>,
    progress: Result<Progress, Fault>,
}

impl End {
    fn new(layer: TlsLayer, output: Vec<u8>) -> Self {
        Self { layer, plaintext: Vec::new(), output, progress: Ok(Progress::Handshaking) }
    }

    fn take(&mut self, octets: &[u8], seed: u8) {
        for piece in super::cut(octets, seed) {
            let broken = self.progress.is_err();
            let (known, written) = (self.plaintext.len(), self.output.len());
            let plaintext = |octets: &[u8]| self.plaintext.extend(octets);
            let progress = self.layer.receive_ciphertext(piece, plaintext, &mut self.output);
            if broken {
                // Nothing comes of what follows a fault.
                assert_eq!((self.plaintext.len(), self.output.len()), (known, written));
            } else {
                self.progress = progress;
            }
        }
    }
}

struct Pair {
    server: End,
    client: End,
}

impl Pair {
    fn new(policy: &Arc<TlsClient>) -> Self {
        let mut output = Vec::new();
        let layer = TlsLayer::client(Arc::clone(policy), "mx.test".try_into().unwrap(), &mut output);
        let server = TlsLayer::server(Arc::clone(&setup().server));
        Self { server: End::new(server, Vec::new()), client: End::new(layer, output) }
    }

    /// Carries flights to and fro, with `rest` put into the one of this number.
    fn disturbed(&mut self, number: usize, place: usize, rest: &[u8], seed: u8) {
        let mut said = false;
        for count in 0.. {
            let to_server = count % 2 == 0;
            let (from, to) =
                if to_server { (&mut self.client, &mut self.server) } else { (&mut self.server, &mut self.client) };
            if to_server && !said && from.layer.facts().is_some() {
                said = true;
                from.layer.send_plaintext(SAID, &mut from.output);
            }
            let mut flight = std::mem::take(&mut from.output);
            if flight.is_empty() && count > 8 {
                break;
            }
            if count == number {
                let at = place.min(flight.len());
                flight.splice(at..at, rest.iter().copied());
            }
            to.take(&flight, seed);
            self.holds();
        }
        if rest.is_empty() {
            assert!(said && self.server.progress.is_ok() && self.client.progress.is_ok());
            assert_eq!(self.server.plaintext, SAID);
        }
    }

    fn holds(&self) {
        for end in [&self.server, &self.client] {
            assert!(end.output.len() < OUTPUT);
            assert!(end.plaintext.is_empty() || end.layer.facts().is_some());
        }
        assert!(SAID.starts_with(&self.server.plaintext) && self.client.plaintext.is_empty());
        if let (Some(ours), Some(theirs)) = (self.server.layer.facts(), self.client.layer.facts()) {
            assert_eq!((ours.exporter, ours.cipher_suite), (theirs.exporter, theirs.cipher_suite));
        }
    }
}
