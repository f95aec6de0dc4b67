//! BDAT: a content in chunks (RFC 3030).
//!
//! Each chunk gets its reply when its octets are there, whatever the reply is. A refused one ends the transaction: what is pipelined
//! behind it is read and refused as a BDAT without MAIL, and nothing of a content with a hole is ever taken.

use super::content::refusal;
use super::policy::Question;
use super::{Flow, Session};
use crate::machine::smtp::chunking::ChunkSize;
use crate::machine::smtp::extensions::BDAT;
use crate::machine::smtp::parameters::Body;
use crate::machine::smtp::reply::{self, Reply};
use crate::machine::smtp::server::chunk::{Chunk, ChunkedContent};
use crate::machine::smtp::server::mode::{Input, Mode};
use crate::machine::smtp::server::phase::Phase;

impl Session {
    /// Done in its phase: policy is asked before the first chunk, as before 354.
    pub(super) fn bdat(&mut self, size: ChunkSize) -> Flow {
        if self.phase == Phase::Chunks {
            return self.take_chunk(size);
        }
        self.ask(Question::FirstChunk(size))
    }

    /// Policy lets the content come.
    pub(super) fn begin_chunks(&mut self, size: ChunkSize) -> Flow {
        if let Some(transaction) = &mut self.transaction {
            let body = transaction.parameters.body;
            let chunks = ChunkedContent::new(&*self.config.storage, &self.peer, body);
            transaction.chunks = Some(Box::new(chunks));
            self.phase = Phase::Chunks;
        }
        self.take_chunk(size)
    }

    fn take_chunk(&mut self, size: ChunkSize) -> Flow {
        let chunks = self.transaction.as_mut().and_then(|transaction| transaction.chunks.take());
        let Some(mut content) = chunks else { return self.drop_chunk(reply::MAIL_FIRST, size) };
        self.idle += u32::from(!content.announce(&self.config.content, size));
        self.mode = Mode::Chunk(Box::new(Chunk::of(content, size)));
        Flow::Next
    }

    /// Reads the octets of a refused chunk, then says why.
    pub(super) fn drop_chunk(&mut self, reply: Reply, size: ChunkSize) -> Flow {
        self.mode = Mode::Chunk(Box::new(Chunk::refused(reply, size)));
        Flow::Next
    }

    /// BDAT without a number: after its reply the session ends.
    pub(super) fn bad_chunk(&mut self) -> Flow {
        self.mode = Mode::Lost;
        self.say(reply::BAD_CHUNK)
    }

    /// Feeds a chunk; at its end, answers it. None: more input is needed.
    pub(super) fn chunk(&mut self, input: &mut Input) -> Option<Flow> {
        let Mode::Chunk(chunk) = &mut self.mode else { return None };
        let taken = chunk.feed(&self.config.content, input.rest());
        self.tally.content += taken as u64;
        input.take(taken);
        if !chunk.is_done() {
            return None;
        }
        let size = chunk.size();
        if size.is_last && chunk.content().is_some() {
            chunk.end(&self.config.content);
            return Some(self.judge_content());
        }
        let Mode::Chunk(chunk) = std::mem::take(&mut self.mode) else { return None };
        Some(match chunk.into_target() {
            Ok(content) => self.end_chunk(content, size),
            Err(reply) => self.refuse_chunk(reply),
        })
    }

    /// A chunk is there, and others follow.
    fn end_chunk(&mut self, content: Box<ChunkedContent>, size: ChunkSize) -> Flow {
        if let Some(fault) = content.fault() {
            return self.refuse_content(refusal(fault));
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.chunks = Some(content);
        }
        self.say(reply::chunk_received(size.octets))
    }

    fn refuse_chunk(&mut self, reply: Reply) -> Flow {
        let known = self.refused.len();
        let flow = self.refuse_content(reply);
        self.refused.get_mut(known..).unwrap_or_default().iter_mut().for_each(|refusal| refusal.name(BDAT.as_bytes()));
        flow
    }

    /// The content was declared to be octets, which only BDAT can carry (RFC 3030 3).
    pub(super) fn is_binary(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.parameters.body == Some(Body::Binary))
    }
}
