//! A machine and, under it, maybe a TLS layer: octets of a socket in, steps out.
//!
//! A wire is its machine, spoken to through the socket: it dereferences to the machine, and has what comes from and goes to the socket for
//! itself. So no plaintext, no order of calls and no half-done upgrade is ever left to the caller. Without TLS it costs the machine one
//! pointer.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::smtp::client::{self, Client, Misuse};
use super::smtp::server::session::Session;
use super::smtp::server::step::Step;
use super::tls::{Facts, Fault, Progress, TlsClient, TlsLayer, TlsServer};

pub mod machine;

use machine::Machine;

thread_local! {
    /// Where the connections of a thread gather what is decrypted and no content, one at a time: large reads would each take memory from
    /// the system and give it back.
    static PLAINTEXT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A machine with its layer.
#[derive(Debug)]
pub struct Wire<M> {
    machine: M,
    tls: Option<Box<Tls>>,
}

#[derive(Debug)]
struct Tls {
    layer: TlsLayer,
    /// What is to be written, before all that the machine says from now on.
    output: Vec<u8>,
    fault: Option<Fault>,
}

impl<M: Machine> Wire<M> {
    /// In clear.
    pub fn new(machine: M) -> Self {
        Self { machine, tls: None }
    }

    /// Takes what the socket gave.
    pub fn receive(&mut self, octets: &[u8]) -> M::Step {
        let Self { machine, tls: Some(tls) } = self else { return self.machine.receive(octets) };
        if let Some(fault) = tls.fault {
            return machine.broken(fault);
        }
        let (mut plaintext, mut has_come) = (PLAINTEXT.take(), false);
        let gather = |octets: &[u8]| {
            has_come = true;
            let fed = if plaintext.is_empty() { machine.feed(octets) } else { 0 };
            plaintext.extend_from_slice(octets.get(fed..).unwrap_or_default());
        };
        let progress = tls.layer.receive_ciphertext(octets, gather, &mut tls.output);
        tls.fault = progress.err();
        let step = match (progress, tls.layer.facts()) {
            (Ok(Progress::Established), Some(facts)) => machine.established(facts, &plaintext),
            (Ok(Progress::Open | Progress::PeerClosed), _) => machine.receive(&plaintext),
            (Ok(_), _) => machine.handshaking(),
            (Err(fault), facts) => {
                if facts.is_some() && has_come {
                    machine.receive(&plaintext); // what came before a fault is as good as ever
                }
                machine.broken(fault)
            }
        };
        plaintext.clear();
        PLAINTEXT.set(plaintext);
        if tls.layer.peer_closed() { machine.peer_closed(step) } else { step }
    }

    /// What is known of TLS; None in clear and before the handshake is done.
    pub fn facts(&self) -> Option<&Facts> {
        self.tls.as_ref()?.layer.facts()
    }

    /// The certificates that the peer has shown, DER, its own first.
    pub fn peer_chain(&self) -> impl Iterator<Item = &[u8]> {
        self.tls.iter().flat_map(|tls| tls.layer.peer_chain()).map(AsRef::as_ref)
    }

    /// A handshake has begun, and is neither done nor failed.
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.fault.is_none() && tls.layer.facts().is_none())
    }

    /// Why TLS has failed.
    pub fn fault(&self) -> Option<Fault> {
        self.tls.as_ref()?.fault
    }

    /// The peer has closed its side of TLS.
    pub fn peer_closed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.layer.peer_closed())
    }

    /// Takes what the socket is to get: in clear what was said before TLS, after it ciphertext.
    fn take(&mut self) -> Vec<u8> {
        let said = self.machine.take_output();
        let Some(tls) = &mut self.tls else { return said };
        if !said.is_empty() {
            tls.layer.send_plaintext(&said, &mut tls.output);
        }
        if self.machine.is_over() {
            tls.layer.close(&mut tls.output);
        }
        std::mem::take(&mut tls.output)
    }

    /// Begins TLS: what the machine has said so far leaves in clear before it.
    fn begin(&mut self, layer: impl FnOnce(&mut Vec<u8>) -> TlsLayer) {
        let mut output = self.machine.take_output();
        let layer = layer(&mut output);
        self.tls = Some(Box::new(Tls { layer, output, fault: None }));
    }
}

impl Wire<Session> {
    /// Begins TLS as a server: after `StartTls`, or before the session has begun. `Wait`: not now.
    pub fn start_tls(&mut self, setup: Arc<TlsServer>) -> Step {
        let step = self.machine.accept_tls();
        if step == Step::NeedInput {
            self.begin(|_| TlsLayer::server(setup));
        }
        step
    }

    /// Takes what is to be written.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.take()
    }
}

impl Wire<Client> {
    /// Begins TLS as a client of `host`: after `StartTls`, or before anything was read.
    pub fn start_tls(&mut self, policy: Arc<TlsClient>, host: ServerName<'static>) -> Result<client::Step, Misuse> {
        self.machine.accept_tls()?;
        self.begin(|output| TlsLayer::client(policy, host, output));
        Ok(self.machine.step())
    }

    /// Takes what is to be written now.
    pub fn output(&mut self) -> Vec<u8> {
        self.take()
    }
}

impl<M> Deref for Wire<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.machine
    }
}

impl<M> DerefMut for Wire<M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.machine
    }
}

#[cfg(test)]
mod tests;
