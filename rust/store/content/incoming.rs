//! A content file while it is received: written piece by piece, open between two writes only as long as there are few.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ContentFile;
use crate::store::budget::{Budget, FileShare};
use crate::store::shared::Source;

/// See the module. Removed when dropped unfinished.
#[derive(Debug)]
pub struct IncomingFile {
    file: ContentFile,
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
        let mut made = Self { file: ContentFile::incoming(path, 0), open, share };
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
        self.file.size += octets.len() as u64;
        self.open = self.share.stays_open().then_some(open);
        Ok(())
    }

    /// Takes away what lies behind `size` octets; nothing will be written for now.
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
    pub fn finish(self) -> ContentFile {
        self.file
    }
}
