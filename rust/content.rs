//! The content of a message as stored octets: in memory while small, in a file of its own when large.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// Where the octets of a content are. Lines end in CRLF and dots are not stuffed: this is what was meant, not what was sent.
#[derive(Debug)]
pub enum Octets {
    /// Small content, whole.
    Memory(Vec<u8>),
    /// Large content, in a file that this value may own.
    File(ContentFile),
}

/// A content file. While it is *loose* (received, not yet committed) dropping the value removes the file; the spool ends that
/// by [`ContentFile::keep`] after it has moved the file to its lasting name.
#[derive(Debug)]
pub struct ContentFile {
    path: PathBuf,
    size: u64,
    loose: bool,
}

impl ContentFile {
    /// A file still being received: removed when dropped.
    pub fn loose(path: PathBuf, size: u64) -> Self {
        Self { path, size, loose: true }
    }

    /// A committed file, owned by the spool.
    pub fn kept(path: PathBuf, size: u64) -> Self {
        Self { path, size, loose: false }
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in octets.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for ContentFile {
    fn drop(&mut self) {
        if self.loose {
            // Nothing to report to: the partition clears its directory of loose files when it is opened.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Header section and body of one message, as received, without the trace fields added here.
#[derive(Debug)]
pub struct Content {
    /// The octets.
    pub octets: Octets,
    /// An octet above 127 occurs: the next hop must offer 8BITMIME (RFC 6152).
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
