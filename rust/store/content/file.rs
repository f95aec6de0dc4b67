//! Content files. One that is being received is written piece by piece and open between two writes only as long as there are few.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::machine::message::content::{Reader, StoredOctets};
use crate::store::budget::{Budget, FileShare};
use crate::store::checksum::Summing;
use crate::store::shared::Source;

/// Octets that are copied at once.
const PIECE: usize = 256 * 1024;

/// A content file. An *incoming* one is removed when the value is dropped; the spool links it to its lasting name
/// before that. A *kept* one stays.
#[derive(Debug)]
pub struct ContentFile {
    path: PathBuf,
    size: u64,
    /// None where it was not summed up.
    sum: Option<u64>,
    incoming: bool,
}

impl ContentFile {
    /// A file still being received: removed when dropped.
    pub fn incoming(path: PathBuf, size: u64) -> Self {
        Self { path, size, sum: None, incoming: true }
    }

    /// A committed file, owned by the spool.
    pub fn kept(path: PathBuf, size: u64) -> Self {
        Self { path, size, sum: None, incoming: false }
    }
}

impl ContentFile {
    /// A new incoming file in `directory` with the next `size` octets of `from`, or less when it has no more.
    pub fn copied(directory: &Path, from: &mut impl Read, size: u64) -> io::Result<Self> {
        let (mut left, mut piece) = (size, vec![0; PIECE]);
        let mut file = IncomingFile::create(directory, &Arc::default(), None, &[])?;
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
        Ok(Box::new(fs::File::open(&self.path)?))
    }
}

impl Drop for ContentFile {
    fn drop(&mut self) {
        if self.incoming {
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
    open: Option<fs::File>,
    share: FileShare,
}

impl IncomingFile {
    /// A new file in `directory` that begins with `first`.
    pub fn create(directory: &Path, budget: &Arc<Budget>, source: Option<Source>, first: &[u8]) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = directory.join(name);
        let share = FileShare::new(budget, source);
        let open = Some(fs::OpenOptions::new().append(true).create_new(true).open(&path)?);
        let mut made = Self { file: ContentFile::incoming(path, 0), summing: Summing::default(), open, share };
        made.write(first)?;
        Ok(made)
    }

    /// Appends; `StorageFull` when the budget has no room for it.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        if !self.share.take(octets.len() as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => fs::OpenOptions::new().append(true).open(&self.file.path)?,
        };
        open.write_all(octets)?;
        self.summing.add(octets);
        self.file.size += octets.len() as u64;
        self.open = self.share.stays_open().then_some(open);
        Ok(())
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
        self.file
    }
}
