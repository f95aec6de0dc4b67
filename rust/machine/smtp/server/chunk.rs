//! Chunks (RFC 3030 2): octets that are counted and not searched for an end.
//!
//! A chunk goes to the content of its transaction, or nowhere when it was refused: its octets are taken in either case, so that
//! none of them is ever read as a command.

use super::checked_content::CheckedContent;
use super::content_rules::{ContentRules, Fault};
use crate::machine::message::content::Storage;
use crate::machine::smtp::chunking::ChunkSize;
use crate::machine::smtp::parameters::Body;
use crate::machine::smtp::reply::Reply;

/// Octets of a chunk that is small: a client gains nothing by such chunks.
const SMALL: u64 = 1024;
/// Small chunks of one content before each further one counts as a command that achieves nothing.
const SMALL_CHUNKS: u32 = 1000;

/// What the chunks of a transaction have brought so far.
#[derive(Debug)]
pub struct ChunkedContent {
    content: CheckedContent,
    /// It is not lines (BODY=BINARYMIME, RFC 3030 3).
    is_binary: bool,
    small: u32,
}

impl ChunkedContent {
    /// Of a content that comes from this client, is declared as `body`, and goes to `storage`.
    pub fn new(storage: &dyn Storage, client: &str, body: Option<Body>) -> Self {
        Self { content: CheckedContent::new(storage, client), is_binary: body == Some(Body::Binary), small: 0 }
    }

    /// Counts a chunk that is announced, and returns whether it achieves something. Of a content that is too large nothing more
    /// is kept.
    pub fn announce(&mut self, rules: &ContentRules, size: ChunkSize) -> bool {
        if rules.message_size > 0 && self.content.size().saturating_add(size.octets) > rules.message_size {
            self.content.fail(Fault::TooLarge);
        }
        if size.is_last || size.octets >= SMALL {
            return true;
        }
        self.small += 1;
        size.octets > 0 && self.small <= SMALL_CHUNKS
    }

    fn feed(&mut self, rules: &ContentRules, octets: &[u8]) {
        if self.is_binary {
            self.content.binary(rules, octets);
        } else {
            self.content.text(rules, octets, None);
        }
    }

    fn end(&mut self, rules: &ContentRules) {
        if self.is_binary {
            self.content.end_binary(rules);
        } else {
            self.content.end_text(rules);
        }
        self.content.end();
    }

    /// Why it cannot be taken, as far as it is known.
    pub fn fault(&self) -> Option<Fault> {
        self.content.fault()
    }
}

/// A chunk that is being received.
#[derive(Debug)]
pub struct Chunk {
    size: ChunkSize,
    left: u64,
    /// Where it goes; or the reply that refuses it once it is there.
    target: Result<Box<ChunkedContent>, Reply>,
}

impl Chunk {
    /// A chunk whose octets go to this content.
    pub fn of(content: Box<ChunkedContent>, size: ChunkSize) -> Self {
        Self { size, left: size.octets, target: Ok(content) }
    }

    /// A chunk that gets this reply; its octets go nowhere.
    pub fn refused(reply: Reply, size: ChunkSize) -> Self {
        Self { size, left: size.octets, target: Err(reply) }
    }

    /// Takes input up to the end of the chunk and returns how many octets it took; fewer than given only at the end.
    pub fn feed(&mut self, rules: &ContentRules, input: &[u8]) -> usize {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let octets = input.get(..most).unwrap_or(input);
        if let Ok(content) = &mut self.target {
            content.feed(rules, octets);
        }
        self.left -= octets.len() as u64;
        octets.len()
    }

    /// All its octets have come.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// As it was announced.
    pub fn size(&self) -> ChunkSize {
        self.size
    }

    /// Ends the content with this chunk.
    pub fn end(&mut self, rules: &ContentRules) {
        if let Ok(content) = &mut self.target {
            content.end(rules);
        }
    }

    /// Where it went; or the reply that refuses it.
    pub fn into_target(self) -> Result<Box<ChunkedContent>, Reply> {
        self.target
    }

    /// The content, as far as it has come; None when the chunk was refused.
    pub fn content(&self) -> Option<&CheckedContent> {
        self.target.as_ref().ok().map(|chunked| &chunked.content)
    }

    /// The same, to be finished.
    pub fn into_content(self) -> Option<CheckedContent> {
        self.target.ok().map(|chunked| chunked.content)
    }
}
