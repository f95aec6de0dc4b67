//! Everything about one message, for the operator.
#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::attempts::{self, StoredAttempt};
use super::error::Error;
use super::filter::Status;
use super::partition_dir::{PartitionDir, content, path_of};
use super::read_only;
use super::rows::{self, Stored};
use super::schema::Schema;
use super::tag;
use crate::machine::message::Message;
use crate::machine::message::content::Octets;
use crate::machine::message::section::Section;

/// Octets of a content file in which the header section is looked for: those of older versions have it there.
const HEADER: u64 = 1024 * 1024;

/// What is known of a message besides itself.
pub struct Shown {
    /// What it waits for.
    pub status: Status,
    /// Workers that died while they were busy with it.
    pub crashes: u32,
    /// Attempts that deferred a recipient, oldest first.
    pub attempts: Vec<StoredAttempt>,
    /// The header section with our trace, as far as it can be read.
    pub header: Vec<u8>,
    /// What is damaged, for people; None when nothing is.
    pub damage: Option<String>,
    /// A process owns the partition now.
    pub owned: bool,
}

/// The message `queue_id`; None when there is none. Its content is verified.
pub fn show(spool: &Path, queue_id: &str) -> io::Result<Option<(Arc<Message>, Shown)>> {
    let Some((stored, attempts)) = find(spool, queue_id)? else { return Ok(None) };
    let owned = partition_of(queue_id).map_or(Ok(false), |tag| PartitionDir::owned(spool, tag))?;
    let damage = stored.verify().and_then(|()| stored.verify_file()).err().map(|error| error.to_string());
    let header = header(&stored).unwrap_or_default();
    let status = Status::of_message(stored.held, &stored.message.envelope.recipients);
    let shown = Shown { status, crashes: stored.crashes, attempts, header, damage, owned };
    Ok(Some((Arc::new(stored.message), shown)))
}

/// The message `queue_id` and its attempts; None when there is none.
pub fn find(spool: &Path, queue_id: &str) -> io::Result<Option<(Stored, Vec<StoredAttempt>)>> {
    let Some(tag) = partition_of(queue_id) else { return Ok(None) };
    let Some(sequence) = tag::sequence(tag, queue_id) else { return Ok(None) };
    if !path_of(spool, tag).is_dir() {
        return Ok(None);
    }
    let found = read_only::read(spool, tag, |partition| {
        let (transaction, schema) = partition.begin()?;
        let file = content(&partition.path).join(sequence.to_string());
        let stored = match rows::stored(&transaction, schema, sequence, queue_id.to_owned(), &file) {
            Err(Error::Message(_)) => return Ok(None),
            stored => stored?,
        };
        let attempts = if schema == Schema::Three { attempts::read(&transaction, sequence)? } else { Vec::new() };
        Ok(Some((stored, attempts)))
    })?;
    Ok(found.flatten())
}

/// Tag of the partition that a queue id is of.
fn partition_of(queue_id: &str) -> Option<&str> {
    queue_id.get(..tag::LENGTH).filter(|tag| tag::is_tag(tag))
}

/// Trace and header section with the empty line behind it.
fn header(stored: &Stored) -> io::Result<Vec<u8>> {
    let mut header = stored.message.trace.clone();
    match &stored.message.content.octets {
        Octets::Memory(octets) => header.extend(octets),
        Octets::File(file) => _ = file.open()?.take(HEADER).read_to_end(&mut header)?,
    }
    header.truncate(Section::length(&header));
    Ok(header)
}
