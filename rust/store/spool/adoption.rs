//! Taking over a partition that nobody owns.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use super::error::Error;
use super::partition_dir::{self, PartitionDir};
use super::read_only::count_any;
use super::store::Store;
use super::{Partition, tag};

/// A partition of a later version of this program. It is owned, so that no other worker tries it again and again, and kept as it is.
#[derive(Debug)]
pub struct Sealed {
    /// The number of messages in it, if known.
    pub messages: Option<i64>,
    /// Why it is not worked on.
    pub reason: String,
    /// Held for its lock.
    pub directory: PartitionDir,
}

/// What an adoption gives.
pub enum Adopted<W> {
    /// A partition to work on.
    Partition(Partition<W>),
    /// One that waits for a later version.
    Sealed(Sealed),
}

impl<W: Send + 'static> Partition<W> {
    /// Whether there is a partition that nobody owns, or it cannot be known: quick enough to be asked again and again.
    pub fn is_adoptable(spool: &Path) -> bool {
        let is_free = |name: &String| !PartitionDir::owned(spool, name).unwrap_or(false);
        PartitionDir::names(spool).map_or(true, |names| names.iter().any(is_free))
    }

    /// Takes over one partition whose owner is gone; None when there is none. `turn` says where to begin looking, so that
    /// several workers do not all try the same one.
    ///
    /// A failure of a partition is an error naming it. A damaged one has been set aside first, so calling again goes on with
    /// the next; one that cannot be opened now hides no other.
    pub fn adopt(spool: &Path, turn: usize) -> io::Result<Option<Adopted<W>>> {
        partition_dir::sweep(spool);
        let mut names = PartitionDir::names(spool)?;
        let start = turn.checked_rem(names.len()).unwrap_or_default();
        names.rotate_left(start);
        let mut failure = None;
        for name in names {
            match Self::claim(spool, &name) {
                Ok(Some(adopted)) => return Ok(Some(adopted)),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Takes over the partition `name`; None when it is owned or gone. Errors as those of [`Self::adopt`].
    pub fn claim(spool: &Path, name: &str) -> io::Result<Option<Adopted<W>>> {
        if !tag::is_tag(name) {
            return Ok(None);
        }
        let Some(directory) = PartitionDir::claim(spool, name)? else { return Ok(None) };
        let opened = Store::adopt(&directory.database());
        match opened {
            Ok(store) => {
                directory.tidy()?;
                Ok(Some(Adopted::Partition(Self::start(directory, store)?)))
            }
            Err(Error::Newer(text)) => {
                let messages = count_any(&directory.database());
                Ok(Some(Adopted::Sealed(Sealed { messages, reason: format!("partition {name}: {text}"), directory })))
            }
            Err(Error::Damaged(text)) => {
                let target = directory.set_aside()?;
                let text = format!("partition {name} is damaged and was moved to {}: {text}", target.display());
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
            Err(error) => Err(io::Error::other(format!("partition {name}: {error}"))),
        }
    }
}
