//! Contents while they are received: in one buffer while small, the body in pieces when large, and in a file of its own when larger.
//!
//! Implements what the machines ask of a store ([`Storage`], [`Incoming`], [`StoredOctets`]). What is in memory stays within the
//! [`Budget`] of the worker; a content that finds no memory goes to files at once, and its header section is read back at the end.
//! A body in pieces is a file as well, whose octets are written when it is stored, and read from memory until then.
#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

mod direct;
mod file;
mod pieces;

pub use file::ContentFile;
use file::IncomingFile;

use crate::machine::message::content::{Content, Full, Incoming, Octets, Storage, Taken};
use crate::machine::message::section::Insertion;
use crate::store::budget::{ALWAYS, Budget, Memory};
use crate::store::buffers::PIECE;
use crate::store::shared::Source;

/// Octets by which a buffer that is no longer small grows, so that little of it is unused.
const STEP: usize = 16 * 1024;
/// Octets up to which a content is in one buffer.
const SMALL: usize = 128 * 1024;

/// Where the contents of one worker go.
#[derive(Debug, Clone)]
pub struct ContentStorage(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    memory: usize,
    budget: Arc<Budget>,
    directory: PathBuf,
}

impl ContentStorage {
    /// Up to `memory` octets of a content stay in memory until it is stored (0: all), within `budget`; the body of a larger one goes
    /// to a file in `directory`.
    pub fn new(memory: usize, budget: Arc<Budget>, directory: PathBuf) -> Self {
        Self(Arc::new(Rules { memory, budget, directory }))
    }

    fn content(&self, client: &str) -> IncomingContent {
        IncomingContent {
            rules: Arc::clone(&self.0),
            source: Source::of(client),
            memory: Vec::new(),
            share: Memory::default(),
            header: None,
            inserted: 0,
            header_file: None,
            to_insert: Vec::new(),
            body_file: None,
            eight_bit: false,
        }
    }
}

impl Storage for ContentStorage {
    fn has_room(&self, client: &str, octets: u64) -> bool {
        // What fits into memory takes its room when it is committed.
        octets <= self.0.memory as u64 || self.0.budget.has_room(Source::of(client), octets)
    }

    fn begin(&self, client: &str) -> Box<dyn Incoming> {
        Box::new(self.content(client))
    }
}

#[derive(Debug)]
struct IncomingContent {
    rules: Arc<Rules>,
    /// Where it comes from, if that is known.
    source: Option<Source>,
    /// Content so far; once there is a body file, the header section alone; nothing while that is in a file, too.
    memory: Vec<u8>,
    /// What `memory` takes out of the budget.
    share: Memory,
    /// Octets of the header section as received, once it has ended.
    header: Option<usize>,
    /// Octets put into the header section that were not received.
    inserted: usize,
    /// The header section of a content that found no memory, until the content has ended, and what is to be put into it then.
    header_file: Option<IncomingFile>,
    to_insert: Vec<Insertion>,
    /// The body of a content that is too large for memory.
    body_file: Option<IncomingFile>,
    eight_bit: bool,
}

impl Incoming for IncomingContent {
    fn write(&mut self, octets: &[u8]) -> Result<(), Full> {
        self.limit_memory(octets.len())?;
        Ok(self.store(octets)?)
    }

    fn insert(&mut self, insertion: Insertion) {
        if self.header_file.is_some() {
            self.to_insert.push(insertion);
            return;
        }
        let at = insertion.at + self.inserted;
        self.memory.splice(at..at, insertion.text.iter().copied());
        self.inserted += insertion.text.len();
    }

    fn end_header(&mut self, octets: usize) -> Result<(), Full> {
        self.header = Some(octets);
        self.split_header_file()?;
        self.limit_memory(0)
    }

    fn end(&mut self) -> Result<(), Full> {
        self.gather()
    }

    fn header(&self) -> &[u8] {
        self.memory.get(..self.header_length().unwrap_or_default()).unwrap_or_default()
    }

    fn finish(self: Box<Self>) -> Taken {
        let (header, octets) = match self.body_file {
            None => (Vec::new(), Octets::Memory(self.memory)),
            Some(file) => (self.memory, Octets::File(Box::new(file.finish()))),
        };
        Taken { header, content: Content { octets, eight_bit: self.eight_bit }, share: self.share.into_share() }
    }
}

impl IncomingContent {
    /// Octets of the header section as it is kept, once it has ended.
    fn header_length(&self) -> Option<usize> {
        self.header.map(|octets| octets + self.inserted)
    }

    /// Puts octets where they belong: into the file of the body or of the header section, if there is one, else into memory.
    fn store(&mut self, octets: &[u8]) -> io::Result<()> {
        if octets.is_empty() {
            return Ok(());
        }
        if let Some(file) = &mut self.body_file {
            self.eight_bit |= !octets.is_ascii();
            return file.write(octets);
        }
        if let Some(header) = &mut self.header_file {
            return if self.header.is_some() { self.open_body(octets) } else { header.write(octets) };
        }
        if !self.grow(octets.len()) {
            self.spill()?;
            return self.store(octets);
        }
        self.eight_bit |= !octets.is_ascii();
        self.memory.extend_from_slice(octets);
        Ok(())
    }

    /// Moves the body to a file when so many octets more make it too large for memory: they are never in it then.
    fn limit_memory(&mut self, octets: usize) -> Result<(), Full> {
        let (Some(header), None, None) = (self.header_length(), &self.header_file, &self.body_file) else {
            return Ok(());
        };
        let most = self.rules.memory.min(SMALL);
        if most > 0 && self.memory.len() + octets > most.max(header) {
            self.spill()?;
        }
        Ok(())
    }

    /// Makes room in memory for so many octets more; false when the budget has none.
    fn grow(&mut self, octets: usize) -> bool {
        let (has, wanted) = (self.memory.capacity(), self.memory.len() + octets);
        if wanted <= has {
            return true;
        }
        let capacity = wanted.max(has + has.min(STEP).max(has / 8));
        if !self.share.resize(&self.rules.budget, capacity, false) {
            return false;
        }
        self.memory.reserve_exact(capacity - self.memory.len());
        true
    }

    /// Moves what is in memory to a file: the body, or a header section that has not ended.
    fn spill(&mut self) -> io::Result<()> {
        if let Some(header) = self.header_length() {
            let memory = std::mem::take(&mut self.memory);
            let (header, body) = memory.split_at(header);
            self.memory = header.to_vec();
            self.open_body(body)?;
        } else {
            let header = std::mem::take(&mut self.memory);
            self.header_file = Some(self.create(&header, 0)?);
        }
        self.share.resize(&self.rules.budget, self.memory.capacity(), false);
        Ok(())
    }

    /// The header section has ended in its file: what follows there is body. A short one has room in memory in any case.
    fn split_header_file(&mut self) -> Result<(), Full> {
        let end = self.header_length().unwrap_or_default() as u64;
        let Some(header) = &mut self.header_file else { return Ok(()) };
        let body = header.split_off(end)?;
        if !body.is_empty() {
            self.open_body(&body)?;
        }
        if end <= ALWAYS as u64 { self.gather() } else { Ok(()) }
    }

    /// Takes the header section back into memory: a check of the content needs all of it.
    fn gather(&mut self) -> Result<(), Full> {
        let Some(header) = self.header_file.take() else { return Ok(()) };
        let size = usize::try_from(header.size()).unwrap_or(usize::MAX);
        if !self.share.resize(&self.rules.budget, size, true) {
            return Err(Full);
        }
        self.memory = header.read()?;
        self.eight_bit |= self.body_file.is_none() && !self.memory.is_ascii();
        for insertion in std::mem::take(&mut self.to_insert) {
            self.insert(insertion);
        }
        Ok(())
    }

    fn open_body(&mut self, first: &[u8]) -> io::Result<()> {
        self.eight_bit = !first.is_ascii();
        let header = self.header_length().unwrap_or_default();
        let whole_pieces = self.rules.memory.saturating_sub(header) / PIECE * PIECE;
        self.body_file = Some(self.create(first, whole_pieces)?);
        Ok(())
    }

    fn create(&self, first: &[u8], memory: usize) -> io::Result<IncomingFile> {
        let mut file = IncomingFile::create(&self.rules.directory, &self.rules.budget, self.source, memory);
        file.write(first)?;
        Ok(file)
    }
}

impl From<io::Error> for Full {
    /// Whatever the cause, the client is asked to try again later.
    fn from(_: io::Error) -> Self {
        Self
    }
}
