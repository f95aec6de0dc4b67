//! How the octets that come are read.
//!
//! A session reads command lines until a command changes that: DATA and BDAT begin a content or a piece of one (RFC 3030 2), AUTH the
//! lines of an exchange (RFC 4954 4). Each begins with a command and ends in [`Mode::Line`].

use std::hint::black_box;

use super::checked_content::CheckedContent;
use super::chunk::Chunk;
use super::content_rules::ContentRules;
use super::data::Decoder;

/// What comes next.
#[derive(Debug)]
pub enum Mode {
    /// Command lines.
    Line(LineState),
    /// A content, up to its end of data.
    Data(Box<Decoder>),
    /// A line of a SASL exchange (RFC 4954 4).
    Sasl(LineState),
    /// A chunk of a content, as many octets as were announced.
    Chunk(Box<Chunk>),
    /// Nobody can say: after a BDAT without a number, octets and commands cannot be told apart.
    Lost,
}

impl Mode {
    /// Takes octets of a content without a copy, and returns how many; none when command lines come next.
    pub fn feed(&mut self, rules: &ContentRules, octets: &[u8]) -> usize {
        match self {
            Self::Data(decoder) => decoder.feed(rules, octets),
            Self::Chunk(chunk) => chunk.feed(rules, octets),
            Self::Line(_) | Self::Sasl(_) | Self::Lost => 0,
        }
    }

    /// The content that is being received, or has just been.
    pub fn content(&self) -> Option<&CheckedContent> {
        match self {
            Self::Data(decoder) => Some(decoder.content()),
            Self::Chunk(chunk) => chunk.content(),
            Self::Line(_) | Self::Sasl(_) | Self::Lost => None,
        }
    }

    /// The same, to be finished.
    pub fn into_content(self) -> Option<CheckedContent> {
        match self {
            Self::Data(decoder) => Some(decoder.into_content()),
            Self::Chunk(chunk) => chunk.into_content(),
            Self::Line(_) | Self::Sasl(_) | Self::Lost => None,
        }
    }
}

impl Default for Mode {
    fn default() -> Self {
        Self::Line(LineState::default())
    }
}

/// What has to be known of the lines before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineState {
    /// A command line over the limit is being thrown away up to its end.
    pub overlong: bool,
    /// That line is an AUTH.
    pub of_auth: bool,
    /// A bare LF stood before what comes next: that is still the same line (RFC 5321 2.3.8) and no command.
    pub broken: bool,
}

/// What stands at the front of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A line without its end; it may be over the limit already, and then these octets of it are of no use.
    Part { useless: usize, after: LineState },
    /// A line of this length, which takes so many octets with its end.
    Line { length: usize, taken: usize, fault: Option<Fault>, after: LineState },
}

/// What is wrong with a line, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is over the limit.
    TooLong,
    /// It ends in a bare LF, or a bare LF was before it.
    Broken,
}

impl LineState {
    /// Looks for the end of the line, which may have `limit` octets with its CRLF. `refuses_bare`: LF alone is no end.
    pub fn cut(self, rest: &[u8], limit: usize, refuses_bare: bool) -> Cut {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            let overlong = self.overlong || rest.len() > limit;
            // The last octet may be the CR of the line's end.
            let useless = if overlong { rest.len().saturating_sub(1) } else { 0 };
            return Cut::Part { useless, after: Self { overlong, ..self } };
        };
        let line = rest.get(..end).unwrap_or_default();
        let (length, bare) = line.strip_suffix(b"\r").map_or((end, true), |line| (line.len(), false));
        let refused = bare && refuses_bare;
        let fault = if self.overlong || length + 2 > limit {
            Some(Fault::TooLong)
        } else {
            (refused || self.broken).then_some(Fault::Broken)
        };
        Cut::Line { length, taken: end + 1, fault, after: Self { broken: refused, ..Self::default() } }
    }
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

    /// The same, and overwrites them.
    pub fn wipe(&mut self, octets: usize) {
        let used = self.octets.get_mut(self.taken..self.taken + octets).unwrap_or_default();
        used.fill(0);
        black_box(used); // else nobody would read the zeros, and they need not be written
        self.take(octets);
    }

    /// Lets a used buffer go, for idle sessions are many.
    pub fn shrink(&mut self) {
        self.octets.drain(..std::mem::take(&mut self.taken));
        self.octets.shrink_to_fit();
    }
}
