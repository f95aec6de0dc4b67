//! The content files of a partition: contents too large for the database, each in a file named by its sequence.
//!
//! A file becomes durable before the row that names it is committed, and is unlinked after the row's removal is committed. What
//! a crash leaves between the two belongs to no row and is deleted when the partition is opened.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::error::Error;
use crate::machine::message::content::Octets;
use crate::store::disk::sync_directory;

/// Octets above which content in memory still gets a file of its own: large rows bloat the write-ahead log.
pub const ROW: usize = 256 * 1024;

/// The directory and what is known to be in it.
#[derive(Debug)]
pub struct ContentFiles {
    directory: PathBuf,
    /// Sequences with a file, so that removing a message without one costs no system call.
    present: HashSet<i64>,
    /// A name was added since the directory was last made durable.
    unsynced: bool,
}

impl ContentFiles {
    /// Opens the directory and deletes every file that is not in `named`.
    pub fn open(directory: PathBuf, named: &HashSet<i64>) -> io::Result<Self> {
        let mut present = HashSet::new();
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let sequence = entry.file_name().to_str().and_then(|name| name.parse().ok());
            match sequence.filter(|sequence| named.contains(sequence)) {
                Some(sequence) => _ = present.insert(sequence),
                None => fs::remove_file(entry.path())?,
            }
        }
        Ok(Self { directory, present, unsynced: false })
    }

    /// The file of message `sequence`.
    pub fn path(&self, sequence: i64) -> PathBuf {
        self.directory.join(sequence.to_string())
    }

    /// Gives a large content its lasting file, durable but for its name (see [`Self::sync`]); returns the name, or None for
    /// content that belongs into the database.
    ///
    /// A received file is linked, not moved: its name in `incoming` stays good as long as the message is held, and goes with it. Octets
    /// in memory get this one name, and are read there.
    pub fn store(&mut self, sequence: i64, octets: &Octets) -> Result<Option<String>, Error> {
        let path = self.path(sequence);
        let stored = match octets {
            Octets::Memory(octets) if octets.len() <= ROW => return Ok(None),
            Octets::Memory(octets) => write(&path, octets),
            Octets::File(file) => file.keep_at(&path),
        };
        stored.map_err(|error| match error.kind() {
            // Lost or stored before: a fault of this message, not of the disk.
            ErrorKind::NotFound | ErrorKind::AlreadyExists => Error::Message(format!("{}: {error}", path.display())),
            _ => Error::Queue(format!("{}: {error}", path.display())),
        })?;
        self.present.insert(sequence);
        self.unsynced = true;
        Ok(Some(sequence.to_string()))
    }

    /// Makes the names of the files stored so far durable.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            sync_directory(&self.directory)?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Deletes the file of message `sequence` when it has one. A failure leaves it to the next opening.
    pub fn discard(&mut self, sequence: i64) {
        if self.present.remove(&sequence) {
            let _ = fs::remove_file(self.path(sequence));
        }
    }
}

fn write(path: &std::path::Path, octets: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(octets).and_then(|()| file.sync_data());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}
