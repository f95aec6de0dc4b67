//! The machine of a wire, as the wire sees it.

use crate::machine::tls::{Facts, Fault};

/// What a machine is told of the layer under it.
pub trait Machine {
    /// What it asks of its caller.
    type Step;
    /// Takes octets of a content, and returns how many; none when something else comes next. [`Self::receive`] goes on behind them.
    fn feed(&mut self, plaintext: &[u8]) -> usize;
    /// Takes plaintext.
    fn receive(&mut self, plaintext: &[u8]) -> Self::Step;
    /// Takes what is to be written.
    fn take_output(&mut self) -> Vec<u8>;
    /// The handshake goes on: nothing is asked, unless the machine is over.
    fn handshaking(&self) -> Self::Step;
    /// The handshake is done; the plaintext came with its end.
    fn established(&mut self, facts: &Facts, plaintext: &[u8]) -> Self::Step;
    /// The handshake has failed, or the peer has broken TLS.
    fn broken(&mut self, fault: Fault) -> Self::Step;
    /// The peer has closed its side of TLS: nothing comes any more. What it asks now, and would ask otherwise.
    fn peer_closed(&mut self, step: Self::Step) -> Self::Step {
        step
    }
    /// Its last output has been made.
    fn is_over(&self) -> bool;
}
