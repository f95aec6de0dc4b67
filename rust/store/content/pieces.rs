//! Bodies of large contents in memory: in buffers of one size, aligned for writes that go past the page cache.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::store::budget::Budget;
use crate::store::buffers::{Buffer, PIECE};

/// What a direct write wants of the address, the offset and the number of octets; a few systems want more, and get usual writes.
pub const BLOCK: usize = 4096;

/// A body in memory. All pieces but the last are full.
pub struct Pieces {
    budget: Arc<Budget>,
    buffers: Vec<Buffer>,
    size: usize,
    most: usize,
}

impl Pieces {
    /// An empty one that takes `most` octets, within the budget.
    pub fn new(budget: &Arc<Budget>, most: usize) -> Self {
        Self { budget: Arc::clone(budget), buffers: Vec::new(), size: 0, most }
    }

    /// Appends; false, and nothing is changed, when it does not take so many or the budget has no memory for them.
    pub fn write(&mut self, octets: &[u8]) -> bool {
        let size = self.size.saturating_add(octets.len());
        if size > self.most || !self.grow(size.div_ceil(PIECE)) {
            return false;
        }
        let (mut at, mut rest) = (self.size % PIECE, octets);
        for buffer in self.buffers.iter_mut().skip(self.size / PIECE) {
            let free = buffer.octets_mut().get_mut(at..).unwrap_or_default();
            let (now, later) = rest.split_at(rest.len().min(free.len()));
            if let Some(target) = free.get_mut(..now.len()) {
                target.copy_from_slice(now);
            }
            (at, rest) = (0, later);
        }
        self.size = size;
        true
    }

    fn grow(&mut self, pieces: usize) -> bool {
        let more = pieces.saturating_sub(self.buffers.len());
        if more > 0 && !self.budget.take_pieces(more * PIECE) {
            return false;
        }
        for missing in (1..=more).rev() {
            let Some(buffer) = self.budget.pool.take() else {
                self.budget.give_back_pieces(missing * PIECE);
                return false;
            };
            self.buffers.push(buffer);
        }
        true
    }

    /// Octets written.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The octets from `start` on, piece by piece.
    pub fn from(&self, start: usize) -> impl Iterator<Item = &[u8]> {
        let pieces = self.buffers.iter().enumerate().skip(start / PIECE);
        pieces.filter_map(move |(number, buffer)| {
            let first = number * PIECE;
            buffer.octets().get(start.saturating_sub(first)..PIECE.min(self.size.saturating_sub(first)))
        })
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.budget.give_back_pieces(self.buffers.len() * PIECE);
        for buffer in self.buffers.drain(..) {
            self.budget.pool.put(buffer);
        }
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pieces").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Reads a body in memory from its beginning.
#[derive(Debug)]
pub struct PiecesReader {
    pieces: Arc<Pieces>,
    at: u64,
}

impl PiecesReader {
    /// At its beginning.
    pub fn new(pieces: Arc<Pieces>) -> Self {
        Self { pieces, at: 0 }
    }
}

impl Read for PiecesReader {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(self.at).unwrap_or(usize::MAX);
        let mut read = 0;
        for octets in self.pieces.from(start) {
            let rest = target.get_mut(read..).unwrap_or_default();
            let now = rest.len().min(octets.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..now), octets.get(..now)) {
                to.copy_from_slice(from);
            }
            read += now;
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for PiecesReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(offset) => (self.at, offset),
            SeekFrom::End(offset) => (self.pieces.size() as u64, offset),
        };
        self.at = base.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(size: usize) -> Vec<u8> {
        (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    fn pieces(budget: &Arc<Budget>, octets: &[u8], cut: usize) -> Pieces {
        let mut pieces = Pieces::new(budget, octets.len());
        assert!(octets.chunks(cut).all(|chunk| pieces.write(chunk)));
        pieces
    }

    #[test]
    fn what_was_written_is_read_however_it_was_cut() {
        let budget = Arc::default();
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 700_000] {
            for cut in [1000, 131_072, PIECE, 1 << 20] {
                let all = octets(size);
                let kept = Arc::new(pieces(&budget, &all, cut));
                let mut reader = PiecesReader::new(Arc::clone(&kept));
                let mut read = Vec::new();
                reader.read_to_end(&mut read).unwrap();
                assert_eq!((kept.size(), read == all), (size, true), "{size} in {cut}");
                let (middle, back) = ((size / 2) as u64, i64::try_from(size).unwrap());
                assert_eq!(reader.seek(SeekFrom::Start(middle)).unwrap(), middle);
                read.clear();
                reader.read_to_end(&mut read).unwrap();
                assert!(read == all[size / 2..]);
                assert_eq!(reader.seek(SeekFrom::Current(-back)).unwrap(), 0);
                assert_eq!(reader.seek(SeekFrom::End(0)).unwrap(), size as u64);
                assert!(reader.seek(SeekFrom::Current(-1 - back)).is_err());
            }
        }
    }

    #[test]
    fn whole_pieces_are_aligned() {
        let kept = pieces(&Arc::default(), &octets(3 * PIECE), PIECE);
        assert!(kept.from(0).all(|piece| piece.len() == PIECE && piece.as_ptr().align_offset(BLOCK) == 0));
    }

    #[test]
    fn large_contents_have_half_of_the_memory_and_no_more_each_than_they_may() {
        let budget = Arc::new(Budget::new(8 * PIECE, None, 1));
        let mut first = Pieces::new(&budget, 10 * PIECE);
        assert!(first.write(&octets(3 * PIECE + 1)));
        assert_eq!((budget.in_memory(), first.write(&octets(PIECE)), first.size()), (4 * PIECE, false, 3 * PIECE + 1));
        assert!(!Pieces::new(&budget, 10).write(&[0]));
        drop(first);
        assert_eq!(budget.in_memory(), 0);
        assert!(!Pieces::new(&budget, 10).write(&octets(11)));
        assert!(Pieces::new(&budget, 10).write(&octets(10)));
    }
}
