//! Content files. One that is being received is gathered in memory as far as it may be, and written when it is to last; a larger one
//! is written as it comes, and open between two writes only as long as there are few.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::direct;
use super::pieces::{Pieces, PiecesReader};
use crate::machine::message::content::{Reader, StoredOctets};
use crate::store::budget::{Budget, FileShare};
use crate::store::buffers::PIECE;
use crate::store::checksum::Summing;
use crate::store::shared::Source;

/// A content file. An *incoming* one is removed when the value is dropped; the spool gives it a lasting name before that. One whose octets are
/// in memory has none before. A *kept* one stays.
#[derive(Debug)]
pub struct ContentFile {
    path: PathBuf,
    size: u64,
    /// None where it was not summed up.
    sum: Option<u64>,
    incoming: bool,
    /// All its octets, while they are in memory and in no file of its own.
    pieces: Option<Arc<Pieces>>,
}

impl ContentFile {
    /// A file still being received: removed when dropped.
    pub fn incoming(path: PathBuf, size: u64) -> Self {
        Self { path, size, sum: None, incoming: true, pieces: None }
    }

    /// A committed file, owned by the spool.
    pub fn kept(path: PathBuf, size: u64) -> Self {
        Self { path, size, sum: None, incoming: false, pieces: None }
    }
}

impl ContentFile {
    /// A new incoming file in `directory` with the next `size` octets of `from`, or less when it has no more.
    pub fn copied(directory: &Path, from: &mut impl Read, size: u64) -> io::Result<Self> {
        let (mut left, mut piece) = (size, vec![0; PIECE]);
        let mut file = IncomingFile::create(directory, &Arc::default(), None, 0);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let read = from.read(piece.get_mut(..most).unwrap_or_default())?;
            if read == 0 {
                break;
            }
            file.write(piece.get(..read).unwrap_or_default())?;
            left -= read as u64;
        }
        Ok(file.finish())
    }
}

impl StoredOctets for ContentFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn sum(&self) -> Option<u64> {
        self.sum
    }

    fn open(&self) -> io::Result<Box<dyn Reader>> {
        Ok(match &self.pieces {
            Some(pieces) => Box::new(PiecesReader::new(Arc::clone(pieces))),
            None => Box::new(fs::File::open(&self.path)?),
        })
    }

    fn unwritten(&self) -> u64 {
        self.pieces.as_ref().map_or(0, |pieces| pieces.size() as u64)
    }

    fn keep_at(&self, path: &Path) -> io::Result<()> {
        match &self.pieces {
            Some(pieces) => direct::write(path, pieces),
            None => fs::File::open(&self.path)?.sync_data().and_then(|()| fs::hard_link(&self.path, path)),
        }
    }
}

impl Drop for ContentFile {
    fn drop(&mut self) {
        if self.incoming && self.pieces.is_none() {
            // Nothing to report to: the partition clears its directory of incoming files when it is opened.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A content file being received: removed when dropped unfinished.
#[derive(Debug)]
pub struct IncomingFile {
    file: ContentFile,
    summing: Summing,
    /// Where its octets go while there is memory for them.
    pieces: Option<Pieces>,
    open: Option<fs::File>,
    created: bool,
    share: FileShare,
}

impl IncomingFile {
    /// A new file in `directory`; up to `memory` octets of it are gathered in memory within the budget.
    pub fn create(directory: &Path, budget: &Arc<Budget>, source: Option<Source>, memory: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self {
            file: ContentFile::incoming(directory.join(name), 0),
            summing: Summing::default(),
            pieces: (memory > 0).then(|| Pieces::new(budget, memory)),
            open: None,
            created: false,
            share: FileShare::new(budget, source),
        }
    }

    /// Appends; `StorageFull` when the budget has no room for it.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        if !self.share.take(octets.len() as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let gathered = self.pieces.as_mut().is_some_and(|pieces| pieces.write(octets));
        if !gathered {
            let mut open = self.open()?;
            if let Some(pieces) = self.pieces.take() {
                pieces.from(0).try_for_each(|piece| open.write_all(piece))?;
            }
            open.write_all(octets)?;
            self.open = self.share.stays_open().then_some(open);
        }
        self.summing.add(octets);
        self.file.size += octets.len() as u64;
        Ok(())
    }

    fn open(&mut self) -> io::Result<fs::File> {
        if let Some(open) = self.open.take() {
            return Ok(open);
        }
        let open = fs::OpenOptions::new().append(true).create_new(!self.created).open(&self.file.path)?;
        self.created = true;
        Ok(open)
    }

    /// Takes away what is behind `size` octets; what stays will be read back, and nothing more be written.
    pub fn split_off(&mut self, size: u64) -> io::Result<Vec<u8>> {
        self.open = None;
        let mut file = fs::OpenOptions::new().read(true).write(true).open(&self.file.path)?;
        let mut rest = Vec::new();
        file.seek(SeekFrom::Start(size))?;
        file.read_to_end(&mut rest)?;
        file.set_len(size)?;
        self.file.size = size;
        Ok(rest)
    }

    /// Octets written.
    pub fn size(&self) -> u64 {
        self.file.size
    }

    /// All that was written.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.file.path)
    }

    /// The file, whole; still incoming.
    pub fn finish(mut self) -> ContentFile {
        self.file.sum = Some(self.summing.sum());
        self.file.pieces = self.pieces.map(Arc::new);
        self.file
    }
}
