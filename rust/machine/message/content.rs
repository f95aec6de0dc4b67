//! The content of a message: its octets, in memory or kept elsewhere, and what a store of contents must do.
//!
//! The machines use a store only through these traits, so that they touch no file themselves. Lines of a content end in CRLF and
//! dots are not stuffed: this is what was meant, not what was sent.

use std::fmt::Debug;
use std::io;
use std::path::Path;

use super::section::Insertion;

/// Where the octets of a content are.
#[derive(Debug)]
pub enum Octets {
    /// Small content, whole.
    Memory(Vec<u8>),
    /// Large content, in a file.
    File(Box<dyn StoredOctets>),
}

/// Octets that a store keeps in a file, or is about to keep there.
pub trait StoredOctets: Debug + Send + Sync {
    /// Where the file is; there is none while all octets are in memory.
    fn path(&self) -> &Path;

    /// Its size in octets.
    fn size(&self) -> u64;

    /// Its sum, if it was summed up while it was written.
    fn sum(&self) -> Option<u64>;

    /// Octets that are still in memory and not in the file.
    fn unwritten(&self) -> u64;

    /// Makes all octets durable in a file at `path`, where none may be yet, but not its name.
    fn keep_at(&self, path: &Path) -> io::Result<()>;

    /// Opens it at its beginning, in memory if they are there.
    fn open(&self) -> io::Result<Box<dyn Reader>>;
}

/// What an open file of a store can do.
pub trait Reader: io::Read + io::Seek + Debug + Send + Sync {}

impl<T: io::Read + io::Seek + Debug + Send + Sync> Reader for T {}

/// What of one message follows its trace: header section and body as received, or of a large one the body alone.
#[derive(Debug)]
pub struct Content {
    /// The octets.
    pub octets: Octets,
    /// An octet above 127 occurs in them: the next hop must offer 8BITMIME (RFC 6152).
    pub eight_bit: bool,
}

impl Content {
    /// Size in octets.
    pub fn size(&self) -> u64 {
        match &self.octets {
            Octets::Memory(octets) => octets.len() as u64,
            Octets::File(file) => file.size(),
        }
    }
}

/// What a message takes out of a budget while it is in memory; given back when dropped. None takes nothing.
pub type Share = Option<Box<dyn AnyShare>>;

/// Any value that gives something back when it is dropped.
pub trait AnyShare: Debug + Send + Sync {}

/// Where contents go while they come.
pub trait Storage: Debug + Send + Sync {
    /// Whether a content of so many octets from this client, an IP address, has room now (RFC 1870 6.1).
    fn has_room(&self, client: &str, octets: u64) -> bool;

    /// Begins a content from this client.
    fn begin(&self, client: &str) -> Box<dyn Incoming>;
}

/// There is no room for a content, or it cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// One content while it comes. After an error it is of no more use.
pub trait Incoming: Debug + Send + Sync {
    /// Appends octets.
    fn write(&mut self, octets: &[u8]) -> Result<(), Full>;

    /// Puts a text into the header section, of which all octets before it have been written.
    fn insert(&mut self, insertion: Insertion);

    /// Note that the header section ends after so many octets, others put in not counted. What follows is body.
    fn end_header(&mut self, octets: usize) -> Result<(), Full>;

    /// Note that all is written. The header section is in memory then.
    fn end(&mut self) -> Result<(), Full>;

    /// The header section with the empty line that ends it, once all is written.
    fn header(&self) -> &[u8];

    /// What was taken.
    fn finish(self: Box<Self>) -> Taken;
}

/// A content that has been taken: `header` and `content` in this order are the whole.
#[derive(Debug)]
pub struct Taken {
    /// The header section with its empty line, when the content is in a file, which begins after it; else nothing.
    pub header: Vec<u8>,
    /// The rest.
    pub content: Content,
    /// What both take out of the budget; to be dropped with them.
    pub share: Share,
}
