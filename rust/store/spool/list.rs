//! Lists messages of the spool for the operator, page by page, so that a million of them need no memory.
#![forbid(unsafe_code)]

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::{Row, Transaction};

use super::error::Error;
use super::filter::{Filter, Status};
use super::held::Held;
use super::partition_dir::PartitionDir;
use super::read_only::{self, Partition};
use super::rows;
use super::schema::Schema;
use super::tag;
use super::walk::{Span, message, walk};
use crate::machine::message::Recipient;

/// Messages that are looked at in one transaction.
const LOOKED_AT: i64 = 5_000;
/// Messages of a page at most.
const PAGE: usize = 500;

/// One message of the spool, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Queue id.
    pub queue_id: String,
    /// Time of acceptance, milliseconds since the epoch.
    pub arrival: i64,
    /// Reverse-path without angle brackets.
    pub reverse_path: String,
    /// Octets of trace fields and content.
    pub size: i64,
    /// Recipients in the order of their RCPT commands; none when one of them is damaged.
    pub recipients: Vec<Recipient>,
    /// What it waits for.
    pub status: Status,
    /// Workers that died while they were busy with it.
    pub crashes: u32,
    /// Tag of the partition.
    pub partition: String,
    /// A process owns the partition now.
    pub owned: bool,
}

/// Some of the messages that are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// By partition and order of coming.
    pub entries: Vec<Listed>,
    /// Where the next page begins; None after the last one.
    pub after: Option<String>,
    /// How many messages were looked at.
    pub examined: usize,
}

/// The messages that `filter` means among the next few after `after`, which the page before gave; empty at the beginning.
///
/// Looks at a bounded number of messages, so that a page may be empty and not the last one.
pub fn page(spool: &Path, filter: &Filter, after: &str) -> io::Result<Page> {
    let (last, sequence) = position(after);
    for tag in read_only::tags(spool)? {
        let from = match tag.as_str().cmp(last) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Equal => sequence,
            std::cmp::Ordering::Greater => -1,
        };
        let owned = || PartitionDir::owned(spool, &tag);
        let page = read_only::read(spool, &tag, |partition| of_partition(partition, owned()?, filter, from))?;
        if let Some(page) = page.filter(|page| page.examined > 0) {
            return Ok(page);
        }
    }
    Ok(Page::default())
}

/// Tag and sequence in a position that a page gave.
fn position(after: &str) -> (&str, i64) {
    let tag = after.get(..tag::LENGTH).unwrap_or(after);
    (tag, tag::sequence(tag, after).unwrap_or(i64::MAX))
}

fn of_partition(partition: &Partition, owned: bool, filter: &Filter, from: i64) -> Result<Page, Error> {
    let (transaction, schema) = partition.begin()?;
    let mut page = Page::default();
    let last = walk(&transaction, schema, Span::after(from), LOOKED_AT, |row, recipients| {
        page.examined += 1;
        if filter.matches(row, recipients)? {
            page.entries.push(listed(&transaction, schema, &partition.tag, owned, row)?);
        }
        Ok(if page.entries.len() < PAGE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    page.after = last.map(|sequence| tag::queue_id(&partition.tag, sequence));
    Ok(page)
}

fn listed(
    transaction: &Transaction<'_>,
    schema: Schema,
    tag: &str,
    owned: bool,
    row: &Row<'_>,
) -> Result<Listed, Error> {
    let sequence = row.get(message::SEQUENCE)?;
    let recipients = match rows::recipients(transaction, schema, sequence).map_err(Error::from) {
        Err(Error::DamagedMessage(_)) => Vec::new(),
        recipients => recipients?,
    };
    Ok(Listed {
        queue_id: tag::queue_id(tag, sequence),
        arrival: row.get(message::ARRIVAL)?,
        reverse_path: rows::text(row, message::REVERSE_PATH)?,
        size: row.get(message::SIZE)?,
        status: Status::of_message(Held::numbered(row.get(message::HELD)?), &recipients),
        recipients,
        crashes: rows::small(row, message::CRASHES)?,
        partition: tag.to_owned(),
        owned,
    })
}
