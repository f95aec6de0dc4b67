//! How the octets that come are read.
//!
//! A session reads command lines until a command changes that. BDAT joins as a mode that counts octets and feeds the same store of
//! contents (RFC 3030 2), the lines of a SASL exchange as one that gives a line to the mechanism (RFC 4954 4): both begin with a
//! command and end in [`Mode::Line`].

use super::data::Decoder;

/// What comes next.
#[derive(Debug)]
pub enum Mode {
    /// Command lines.
    Line(LineState),
    /// A content, up to its end of data.
    Data(Box<Decoder>),
}

impl Default for Mode {
    fn default() -> Self {
        Self::Line(LineState::default())
    }
}

/// What has to be known of the lines before.
#[derive(Debug, Clone, Copy, Default)]
pub struct LineState {
    /// A command line over the limit is being thrown away up to its end.
    pub overlong: bool,
    /// A bare LF stood before what comes next: that is still the same line (RFC 5321 2.3.8) and no command.
    pub broken: bool,
}

/// Octets received and not yet worked on.
#[derive(Debug, Default)]
pub struct Input {
    pub(super) octets: Vec<u8>,
    /// Octets at the front that are done with.
    taken: usize,
}

impl Input {
    /// Adds what was received.
    pub fn push(&mut self, octets: &[u8]) {
        self.octets.drain(..std::mem::take(&mut self.taken));
        self.octets.reserve_exact(octets.len());
        self.octets.extend_from_slice(octets);
    }

    /// What is to be worked on.
    pub fn rest(&self) -> &[u8] {
        self.octets.get(self.taken..).unwrap_or_default()
    }

    /// Marks octets at the front as done with.
    pub fn take(&mut self, octets: usize) {
        self.taken += octets;
    }

    /// Lets a used buffer go, for idle sessions are many.
    pub fn shrink(&mut self) {
        self.octets.drain(..std::mem::take(&mut self.taken));
        self.octets.shrink_to_fit();
    }
}
