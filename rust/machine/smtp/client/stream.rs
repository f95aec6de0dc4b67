//! A content file being sent, a piece at a time: with dots stuffed and a lone dot at its end (RFC 5321 4.5.2), or in chunks whose
//! octets are counted (RFC 3030 2).

use std::io;

use super::stuffing::Stuffer;
use crate::machine::message::content::Reader;
use crate::machine::smtp::chunking::ChunkSize;

/// Octets read from a content file at a time: the memory one large message costs.
pub const PIECE: usize = 128 * 1024;
/// Octets of a chunk: after so many the next hop can refuse the rest. Pieces never cross its end.
pub const CHUNK: u64 = 8 * PIECE as u64;

/// How the end of the content is marked.
#[derive(Debug)]
pub enum Framing {
    /// By a lone dot; what goes in front of the file has been stuffed already.
    Dot(Stuffer),
    /// By counts: of so many octets of the file at most.
    Chunks(u64),
}

/// A content file being sent.
#[derive(Debug)]
pub struct Stream {
    file: Box<dyn Reader>,
    size: u64,
    left: u64,
    framing: Framing,
}

impl Stream {
    /// A file of this size.
    pub fn new(file: Box<dyn Reader>, size: u64, framing: Framing) -> Self {
        Self { file, size, left: size, framing }
    }

    /// Adds the next piece to `output`; gives itself back while there is more. A file that ends early is an error: half a
    /// message is never ended, by a dot or by its last octet.
    pub fn advance(mut self, output: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let mut piece = vec![0; usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE))];
        self.file.read_exact(&mut piece)?;
        match &mut self.framing {
            Framing::Dot(stuffer) => stuffer.push(&piece, output),
            Framing::Chunks(most) => {
                if self.left < self.size && (self.size - self.left).is_multiple_of(*most) {
                    ChunkSize { octets: self.left.min(*most), is_last: self.left <= *most }.write(output);
                }
                output.extend_from_slice(&piece);
            }
        }
        self.left -= piece.len() as u64;
        if self.left > 0 {
            return Ok(Some(self));
        }
        if let Framing::Dot(stuffer) = self.framing {
            stuffer.finish(output);
        }
        Ok(None)
    }

    /// Chunks that have not been sent to their last octet.
    pub fn chunks_left(&self) -> u64 {
        match self.framing {
            Framing::Chunks(most) => self.size.div_ceil(most) - (self.size - self.left) / most,
            Framing::Dot(_) => 0,
        }
    }
}
