//! A source of entries: the text file of one list.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{EntryList, List};
use crate::store::snapshot::Stamp;

/// Largest source, in octets.
const MAX_SIZE: u64 = 512 * 1024 * 1024;
/// Read at once.
const PIECE: usize = 1 << 20;

/// A file to be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub path: PathBuf,
    /// The list that its entries are on.
    pub list: List,
    /// Whether our commands write it: then it may be missing, and has prefixes of any length, because they have asked.
    pub ours: bool,
    /// Whether it may be read now; if not, what it said before stays.
    pub settled: bool,
}

/// A source as it was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// Its name.
    pub path: PathBuf,
    /// The list that its entries are on.
    pub list: List,
    /// The state of the file; all 0 when there was none.
    pub stamp: Stamp,
    /// Entries that come from it.
    pub entries: u32,
}

impl Source {
    /// The state of the file now; all 0 when there is none.
    pub fn stamp(&self) -> Stamp {
        fs::metadata(&self.path).map(|metadata| Stamp::of(&metadata)).unwrap_or_default()
    }

    /// The file's entries, and its state; `Err`: what is wrong with it, a sentence each.
    pub fn read(&self) -> Result<(EntryList, Stamp), Vec<String>> {
        match read(&self.path, self.empty()) {
            Ok((list, stamp)) => match list.problems() {
                problems if problems.is_empty() => Ok((list, stamp)),
                problems => Err(problems),
            },
            Err(error) if self.ours && error.kind() == io::ErrorKind::NotFound => Ok(Default::default()),
            Err(error) => Err(vec![format!("it cannot be read: {}", plain(&error))]),
        }
    }

    fn empty(&self) -> EntryList {
        match self.list {
            _ if self.ours => EntryList::default(),
            List::Block => EntryList::without_wide("If it is meant, use mailmoat block add --wide"),
            List::Allow => EntryList::without_wide("If it is meant, use mailmoat allow add --wide"),
        }
    }
}

fn read(path: &Path, mut list: EntryList) -> io::Result<(EntryList, Stamp)> {
    let other = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    if !fs::metadata(path)?.is_file() {
        return Err(other("not a regular file"));
    }
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > MAX_SIZE {
        return Err(other("it has more than 512 MiB"));
    }
    let (stamp, mut text) = (Stamp::of(&metadata), Vec::new());
    while file.by_ref().take(PIECE as u64).read_to_end(&mut text)? > 0 {
        let lines = memchr::memrchr(b'\n', &text).map_or(0, |at| at + 1);
        if let Some(lines) = text.get(..lines) {
            list.read(lines, 0, 0);
        }
        text.drain(..lines);
        if text.len() > PIECE {
            return Err(other("it has a line of more than 1 MiB"));
        }
    }
    list.read(&text, 0, 0);
    if Stamp::of(&file.metadata()?) != stamp {
        return Err(other("it was changed while it was read. Write a new file beside it and rename it"));
    }
    Ok((list, stamp))
}

/// What the system says, without Rust's note of the number.
fn plain(error: &io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}
