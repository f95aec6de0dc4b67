//! One TLS connection: the only file that uses the connections of rustls.
//!
//! # Notes on rustls 0.23
//! * Its input buffer grows to 20 KiB with content and stays so. A read that finds nothing to read (`WouldBlock`, never an empty one:
//!   that is the end of the file) makes it shrink to 4 KiB, unless a part of a record is in it: done after each input, for a large one
//!   may leave such a part.
//! * A read takes what the buffer has room for: it is repeated until the input is used up. What is to be sent is taken out after each,
//!   also without plaintext: answers to key updates, session tickets, and the alert after an error.
//! * The limit of its output is switched off, for the output is taken at once; with a limit a long write takes a part only.
//! * A server reads the client's first message before it chooses its certificate, so that it knows what was served.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::Acceptor;
use rustls::{ClientConnection, Connection, ProtocolVersion};

use super::certificate::CertificateFacts;
use super::client::{self, TlsClient};
use super::facts::{EXPORTER, Facts};
use super::fault::Fault;
use super::server::TlsServer;

/// The label of `tls-exporter` (RFC 9266 2).
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The handshake goes on.
    Handshaking,
    /// The handshake is done: said once.
    Established,
    /// Plaintext may be exchanged.
    Open,
    /// The peer has closed its side (`close_notify`): nothing follows.
    PeerClosed,
}

/// One connection.
pub struct TlsLayer {
    side: Side,
    stage: Stage,
    /// Octets received before the handshake was done.
    handshake: usize,
    facts: Option<Box<Facts>>,
    peer_closed: bool,
}

enum Side {
    Server { setup: Arc<TlsServer>, end_point: Arc<[u8]> },
    Client { policy: Arc<TlsClient>, host: ServerName<'static> },
}

enum Stage {
    Accepting(Acceptor),
    Open(Connection),
    Over,
}

impl TlsLayer {
    /// The server's side of a connection.
    pub fn server(setup: Arc<TlsServer>) -> Self {
        Self::new(Side::Server { setup, end_point: Arc::from([]) }, Stage::Accepting(Acceptor::default()))
    }

    /// The client's side of a connection to `host`; appends its first message.
    pub fn client(policy: Arc<TlsClient>, host: ServerName<'static>, output: &mut Vec<u8>) -> Self {
        let stage = match ClientConnection::new(Arc::clone(&policy.config), host.clone()) {
            Ok(connection) => Stage::open(Connection::Client(connection), output),
            Err(_) => Stage::Over,
        };
        Self::new(Side::Client { policy, host }, stage)
    }

    fn new(side: Side, stage: Stage) -> Self {
        Self { side, stage, handshake: 0, facts: None, peer_closed: false }
    }

    /// Takes what the socket gave; hands over plaintext, of each record for itself, and appends what must be sent: on a fault the alert, if
    /// there is one. After a fault nothing is taken any more.
    pub fn receive_ciphertext(
        &mut self,
        octets: &[u8],
        mut plaintext: impl FnMut(&[u8]),
        output: &mut Vec<u8>,
    ) -> Result<Progress, Fault> {
        let was_established = self.facts.is_some();
        if let Err(fault) = self.take(octets, &mut plaintext, output) {
            self.stage = Stage::Over;
            return Err(fault);
        }
        let is_established = self.facts.is_some();
        if is_established {
            self.stage.shrink();
        }
        Ok(match (was_established, is_established) {
            (false, true) => Progress::Established,
            (false, false) => Progress::Handshaking,
            _ if self.peer_closed => Progress::PeerClosed,
            _ => Progress::Open,
        })
    }

    /// Appends what the peer is to read. Nothing before the handshake is done.
    pub fn send_plaintext(&mut self, plaintext: &[u8], output: &mut Vec<u8>) {
        if let (Stage::Open(connection), Some(_)) = (&mut self.stage, &self.facts) {
            // Without a limit all is taken; it fails only after an error, and then the stage is over.
            let _ = connection.writer().write_all(plaintext);
            drain(connection, output);
        }
    }

    /// Ends our side (`close_notify`); the peer's is not waited for. Again: nothing.
    pub fn close(&mut self, output: &mut Vec<u8>) {
        if let (Stage::Open(connection), Some(_)) = (&mut self.stage, &self.facts) {
            connection.send_close_notify();
            drain(connection, output);
        }
        self.stage = Stage::Over;
    }

    /// What is known, once the handshake is done.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_deref()
    }

    /// The certificates that the peer has shown, its own first.
    pub fn peer_chain(&self) -> &[CertificateDer<'static>] {
        match &self.stage {
            Stage::Open(connection) => connection.peer_certificates().unwrap_or_default(),
            _ => &[],
        }
    }

    /// The peer has closed its side.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Changes our keys, and asks the peer to change its own (RFC 8446 4.6.3).
    #[cfg(test)]
    pub(super) fn update_keys(&mut self, output: &mut Vec<u8>) {
        if let Stage::Open(connection) = &mut self.stage {
            connection.refresh_traffic_keys().unwrap();
            drain(connection, output);
        }
    }

    fn take(&mut self, octets: &[u8], plaintext: &mut impl FnMut(&[u8]), output: &mut Vec<u8>) -> Result<(), Fault> {
        let mut rest = octets;
        while !rest.is_empty() && !self.peer_closed {
            let before = rest.len();
            match &mut self.stage {
                Stage::Accepting(acceptor) => {
                    acceptor.read_tls(&mut rest).map_err(|_| Fault::TooLong)?;
                    self.accept(output)?;
                }
                Stage::Open(connection) => {
                    connection.read_tls(&mut rest).map_err(|_| Fault::TooLong)?;
                }
                Stage::Over => return Ok(()),
            }
            self.process(plaintext, output)?;
            if self.facts.is_none() {
                self.handshake += before - rest.len();
                if self.handshake > self.side.handshake_limit() {
                    return Err(Fault::TooLong);
                }
            }
        }
        Ok(())
    }

    /// Goes on to the connection proper when the client's first message is whole.
    fn accept(&mut self, output: &mut Vec<u8>) -> Result<(), Fault> {
        let (Stage::Accepting(acceptor), Side::Server { setup, end_point }) = (&mut self.stage, &mut self.side) else {
            return Ok(());
        };
        let accepted = match acceptor.accept() {
            Ok(None) => return Ok(()),
            Ok(Some(accepted)) => accepted,
            Err((error, mut alert)) => {
                // Writing to a Vec cannot fail.
                let _ = alert.write_all(output);
                return Err(Fault::from(&error));
            }
        };
        let Some(chain) = setup.choose(&accepted.client_hello()) else { return Err(Fault::Garbled) };
        match accepted.into_connection(Arc::clone(&chain.config)) {
            Ok(connection) => {
                *end_point = Arc::clone(&chain.end_point);
                self.stage = Stage::open(Connection::Server(connection), output);
                Ok(())
            }
            Err((error, mut alert)) => {
                let _ = alert.write_all(output);
                Err(Fault::from(&error))
            }
        }
    }

    /// Works on what was read.
    fn process(&mut self, plaintext: &mut impl FnMut(&[u8]), output: &mut Vec<u8>) -> Result<(), Fault> {
        let Stage::Open(connection) = &mut self.stage else { return Ok(()) };
        let state = connection.process_new_packets();
        let mut reader = connection.reader();
        while let Ok(chunk @ [_, ..]) = reader.fill_buf() {
            plaintext(chunk);
            let read = chunk.len();
            reader.consume(read);
        }
        drain(connection, output);
        let state = state.map_err(|error| Fault::from(&error))?;
        self.peer_closed = state.peer_has_closed();
        if self.facts.is_none() && !connection.is_handshaking() {
            self.facts = Some(Box::new(self.side.facts(connection)));
        }
        if self.peer_closed && self.facts.is_none() {
            return Err(Fault::PeerAlert(0));
        }
        Ok(())
    }
}

impl Stage {
    fn open(mut connection: Connection, output: &mut Vec<u8>) -> Self {
        connection.set_buffer_limit(None);
        drain(&mut connection, output);
        Self::Open(connection)
    }

    fn shrink(&mut self) {
        if let Self::Open(connection) = self {
            let _ = connection.read_tls(&mut Nothing);
        }
    }
}

impl Side {
    fn handshake_limit(&self) -> usize {
        match self {
            Self::Server { setup, .. } => setup.handshake_limit(),
            Self::Client { .. } => client::HANDSHAKE,
        }
    }

    fn facts(&self, connection: &Connection) -> Facts {
        let mut facts = Facts::agreed(connection);
        let chain = connection.peer_certificates().unwrap_or_default();
        facts.peer = chain.first().and_then(|leaf| CertificateFacts::read(leaf)).map(Box::new);
        if connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            facts.exporter = connection.export_keying_material([0; EXPORTER], LABEL, Some(&[])).ok();
        }
        match self {
            Self::Server { setup, end_point } => {
                facts.verdict = setup.verdict(chain);
                facts.end_point = Arc::clone(end_point);
            }
            Self::Client { policy, host } => {
                facts.verdict = policy.verdict(chain, host);
                facts.end_point = facts.peer.as_ref().map_or_else(|| Arc::from([]), |peer| Arc::from(&*peer.end_point));
            }
        }
        if let Connection::Server(server) = connection {
            facts.server_name = server.server_name().unwrap_or_default().into();
        }
        facts
    }
}

fn drain(connection: &mut Connection, output: &mut Vec<u8>) {
    while connection.wants_write() {
        // Writing to a Vec cannot fail.
        let _ = connection.write_tls(output);
    }
}

/// A socket from which nothing is to be read now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl std::fmt::Debug for TlsLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsLayer").field("facts", &self.facts).finish_non_exhaustive()
    }
}
