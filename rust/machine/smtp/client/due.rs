//! Whether a reply may come now: only to a command that has left, and a refusal to a content that is being sent.

use super::{Awaited, Client};

impl Client {
    /// Not all of a content has left: a refusal may come all the same, see (e).
    pub(super) fn sends_content(&self) -> bool {
        matches!(self.awaited.front(), Some(Awaited::Chunk | Awaited::Dot(_))) && !self.is_sent()
    }

    /// After the running transaction nothing can be relied on: the connection closes.
    pub(super) fn distrust(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.last = true;
        }
    }

    /// Everything written so far has left: a reply now cannot be older than its command.
    pub(super) fn is_sent(&self) -> bool {
        self.output.is_empty() && self.stream.is_none()
    }

    /// The reply to the command at the front may come: the command has left, and with a chunk all its octets.
    pub(super) fn is_due(&self) -> bool {
        self.is_sent() || (self.output.is_empty() && self.chunk_is_sent())
    }

    fn chunk_is_sent(&self) -> bool {
        let chunks = self.awaited.iter().take_while(|awaited| **awaited == Awaited::Chunk).count() as u64;
        // As many as these and the last one have not been answered.
        chunks > 0 && self.stream.as_ref().is_some_and(|stream| stream.chunks_left() <= chunks)
    }
}
