//! Reading the source and writing the snapshot; the contract is the parent's.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Form, Found, HEADER, Header, OFFSET_BITS, OFFSET_MASK, RECORD, Scope, Stamp, hash, read_record};
use crate::machine::message::address::Limits;
use crate::store::disk::sync_directory;

mod line;
mod sender;
mod strangers;

use line::{Entry, read_line};
pub use sender::read_sender;
use strangers::Strangers;

/// Longest line of the source: an address has at most 320 octets, the rest is for its comment.
pub(super) const MAX_LINE: usize = 2048;
/// Compiling takes 16 octets of memory an entry and 12 to 24 for the table: this bounds it.
const MAX_ENTRIES: usize = 50_000_000;
/// Longest key: quoting and A-labels may lengthen a line that just fits.
const MAX_KEY: usize = 2 * MAX_LINE;
const MAX_PROBLEMS: usize = 20;
/// Lengths are the session's business: an entry too long for its limits is never asked for.
pub(super) const NO_LIMITS: Limits = Limits { local_part: 0, domain: 0, path: 0 };
const FORMS: &str = "Write user@domain, @domain or !user@domain, and comments after #";

/// What `compile` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Different entries of the source.
    pub entries: u64,
    /// What is wrong with the source, a sentence each; when there is any, no snapshot was written.
    pub problems: Vec<String>,
    /// What is in it and does nothing, a sentence each.
    pub warnings: Vec<String>,
}

/// What could not be read or written, and why.
#[derive(Debug)]
pub enum Failure {
    /// The source.
    Source(io::Error),
    /// The snapshot, or what becomes one.
    Snapshot(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Snapshot(error)
    }
}

/// Compiles the text file `source` into the snapshot `target`.
pub fn compile(source: &Path, target: &Path, scope: &Scope) -> Result<Compiled, Failure> {
    if !fs::metadata(source).map_err(Failure::Source)?.is_file() {
        return Err(Failure::Source(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let file = File::open(source).map_err(Failure::Source)?;
    let stamp = Stamp::of(&file.metadata().map_err(Failure::Source)?);
    let (mut problems, mut strangers) = (Problems::default(), Strangers::default());
    let mut draft = Draft::create(target, &scope.text(source))?;
    let index = draft.read_source(&file, scope, &mut problems, &mut strangers)?;
    draft.file.flush()?;
    let (table, entries) = draft.build_table(&index, &mut problems)?;
    if problems.total == 0 {
        if scope.form == Form::Senders {
            // An empty list blocks nobody, and every domain is somebody else's.
        } else if entries == 0 {
            problems.add(format!(
                "it lists no recipient, so every recipient would be refused. {FORMS}, or set no recipient file"
            ));
        } else if let Some(sentence) = strangers.all(scope) {
            problems.add(sentence);
        }
    }
    if Stamp::of(&file.metadata().map_err(Failure::Source)?) != stamp {
        problems.add("it was changed while it was read. Write a new file beside it and rename it".to_owned());
    }
    let warnings = if problems.total == 0 { strangers.list() } else { Vec::new() };
    if problems.total == 0 {
        draft.publish(target, &table, entries, stamp)?;
    }
    Ok(Compiled { entries, problems: problems.list(), warnings })
}

/// Whether a file that begins with this line is UTF-16, with a byte order mark or without.
fn is_utf16(line: &[u8]) -> bool {
    line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff") || line.contains(&0)
}

#[derive(Default)]
struct Problems {
    first: Vec<String>,
    total: usize,
}

impl Problems {
    fn add(&mut self, sentence: String) {
        self.total += 1;
        if self.first.len() < MAX_PROBLEMS {
            self.first.push(sentence);
        }
    }

    fn list(mut self) -> Vec<String> {
        if self.total > self.first.len() {
            self.first.push(format!("... and {} more", self.total - self.first.len()));
        }
        self.first
    }
}

/// A snapshot being written, under a name of its own; gone when it is dropped unpublished.
struct Draft {
    path: PathBuf,
    file: BufWriter<File>,
    at: u64,
    scope: u64,
}

impl Draft {
    fn create(target: &Path, scope: &str) -> io::Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}-{}.tmp", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
        let path = PathBuf::from(name);
        sweep(target);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&path)?;
        let mut draft = Self { path, file: BufWriter::new(file), at: 0, scope: scope.len() as u64 };
        draft.write(&[0; HEADER])?;
        draft.write(scope.as_bytes())?;
        Ok(draft)
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.at += octets.len() as u64;
        self.file.write_all(octets)
    }

    /// Writes a record for each entry; gives their hashes and offsets.
    fn read_source(
        &mut self,
        source: &File,
        scope: &Scope,
        problems: &mut Problems,
        strangers: &mut Strangers,
    ) -> Result<Vec<(u64, u64)>, Failure> {
        let mut reader = BufReader::with_capacity(1 << 16, source);
        let (mut index, mut line, mut number) = (Vec::new(), Vec::with_capacity(MAX_LINE), 0_u32);
        loop {
            line.clear();
            if reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line).map_err(Failure::Source)? == 0 {
                return Ok(index);
            }
            number = number.saturating_add(1);
            if number == 1 && is_utf16(&line) {
                problems.add("it is UTF-16, as PowerShell may write it. Save the file as UTF-8".to_owned());
                return Ok(index);
            }
            let too_long = line.len() == MAX_LINE && !line.ends_with(b"\n");
            let entry = if too_long {
                reader.skip_until(b'\n').map_err(Failure::Source)?;
                Err(format!("the line is longer than {MAX_LINE} octets. Write one entry a line"))
            } else {
                let start = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
                read_line(start, scope)
            };
            match entry {
                Ok(None) => {}
                Ok(Some(Entry { kind, key, domain })) if index.len() < MAX_ENTRIES && self.at < OFFSET_MASK => {
                    index.push((hash(kind == Found::Domain, key.as_bytes()), self.at));
                    self.write_record(kind, number, key.as_bytes())?;
                    if scope.form == Form::Recipients {
                        strangers.see(&domain, number, scope);
                    }
                }
                Ok(Some(_)) => {
                    problems.add(format!("line {number}: more than {MAX_ENTRIES} entries. Use @domain entries"));
                    return Ok(index);
                }
                Err(reason) => problems.add(format!("line {number}: \"{}\": {reason}", printable(&line))),
            }
        }
    }

    fn write_record(&mut self, kind: Found, line: u32, key: &[u8]) -> io::Result<()> {
        let length = u16::try_from(key.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let ([l0, l1, l2, l3], [n0, n1]) = (line.to_le_bytes(), length.to_le_bytes());
        self.write(&[l0, l1, l2, l3, n0, n1, kind as u8, 0])?;
        self.write(key)
    }

    /// Gives the table and the number of different entries; what is both listed and excluded is a problem.
    fn build_table(&self, index: &[(u64, u64)], problems: &mut Problems) -> io::Result<(Vec<u64>, u64)> {
        let slots = (index.len() + index.len() / 2 + 1).next_power_of_two();
        let mut table = vec![0_u64; slots];
        let mut entries = 0;
        for &(hash, at) in index {
            let home = usize::try_from(hash & (slots as u64 - 1)).unwrap_or_default();
            for step in 0..slots {
                let Some(slot) = table.get_mut((home + step) & (slots - 1)) else { break };
                if *slot == 0 {
                    *slot = hash >> OFFSET_BITS << OFFSET_BITS | at;
                    entries += 1;
                    break;
                }
                if *slot >> OFFSET_BITS == hash >> OFFSET_BITS && self.is_repeated(*slot & OFFSET_MASK, at, problems)? {
                    break;
                }
            }
        }
        Ok((table, entries))
    }

    /// Whether both records have the same key; read back from the draft, which only likely duplicates cost.
    fn is_repeated(&self, first: u64, second: u64, problems: &mut Problems) -> io::Result<bool> {
        let (mut one, mut other) = ([0; RECORD + MAX_KEY], [0; RECORD + MAX_KEY]);
        let (one, other) = (self.read_back(first, &mut one)?, self.read_back(second, &mut other)?);
        let (Some((kind, line, key)), Some((other_kind, other_line, other_key))) =
            (read_record(one), read_record(other))
        else {
            return Ok(false);
        };
        if key != other_key || (kind == Found::Domain) != (other_kind == Found::Domain) {
            return Ok(false);
        }
        if kind != other_kind {
            let key = printable(key);
            problems
                .add(format!("line {other_line}: \"{key}\": line {line} says the opposite. Keep one of the two lines"));
        }
        Ok(true)
    }

    fn read_back<'a>(&self, at: u64, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let mut filled = 0;
        while let Some(rest @ [_, ..]) = buffer.get_mut(filled..) {
            match self.file.get_ref().read_at(rest, at + filled as u64)? {
                0 => break,
                octets => filled += octets,
            }
        }
        Ok(buffer.get(..filled).unwrap_or_default())
    }

    fn publish(mut self, target: &Path, table: &[u64], entries: u64, stamp: Stamp) -> io::Result<()> {
        let (scope, slots) = (self.scope, table.len() as u64);
        let header = Header { scope, entries, stamp, table: self.at, slots };
        for slot in table {
            self.file.write_all(&slot.to_le_bytes())?;
        }
        self.file.flush()?;
        self.file.get_ref().write_all_at(&header.encode(), 0)?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.path, target)?;
        sync_directory(parent_of(target))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // after `publish` there is none
    }
}

fn parent_of(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes drafts that killed processes left. A draft that still lives then fails at its rename: lost work, never a torn snapshot.
fn sweep(target: &Path) {
    let name = target.file_name().unwrap_or_default().as_encoded_bytes();
    for entry in fs::read_dir(parent_of(target)).into_iter().flatten().flatten() {
        let rest = entry.file_name().as_encoded_bytes().strip_prefix(name).map(<[u8]>::to_vec);
        if rest.is_some_and(|rest| rest.starts_with(b".") && rest.ends_with(b".tmp")) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What a terminal and a log can show of foreign octets, cut to 60 characters.
fn printable(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let mut characters = text.trim().chars();
    let mut shown: String = characters.by_ref().take(60).flat_map(char::escape_debug).collect();
    if characters.next().is_some() {
        shown.push_str("...");
    }
    shown
}
