//! The compiled recipient directory: who exists at the local domains, in a file that all workers map.
//!
//! `compile` reads the operator's text file and writes an exact open-addressing hash table; `Directory` maps it read-only.
//! Promises: a snapshot is replaced whole (new file, fsync, rename, fsync of the directory) or not at all; a file that is torn
//! or hostile is refused at `open` or found `Damaged` in a lookup, never a crash and never taken for "does not exist".
//! Never decides: whether an unknown recipient is refused, and who is postmaster, is policy. Called by the process that
//! keeps the snapshot (`compile`) and by workers (`open`, `lookup`). May fail: `io::Error` of the file system.
//!
//! Source: UTF-8, one entry a line: `address`, `@domain` (every address there exists), `!address` (does not exist although its
//! domain is listed); `#` begins a comment at the start of a line or after white space. Every entry goes through
//! `crate::address`, like every address on the wire, so no spelling walks around the table.
//!
//! Snapshot, integers little-endian, all u64 unless said: header (magic, version, length of the default domain, entries,
//! source mtime in ns, size, inode, offset of the table, slots, checksum of these) · default domain · records (line u32,
//! length u16, kind u8, 0u8, octets of the key) · table of slots: 0 = free, else 24 bits of the hash above a 40 bit offset.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{Advice, Mmap};

use crate::address::{Address, Limits, normalise_domain};

const MAGIC: &[u8; 8] = b"MMDIRSNP";
const VERSION: u64 = 1;
/// Magic, eight words, checksum.
const HEADER: usize = 80;
/// Octets of a record before its key.
const RECORD: usize = 8;
const OFFSET_BITS: u32 = 40;
const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;
/// Longest line of the source: an address has at most 320 octets, the rest is for its comment.
const MAX_LINE: usize = 2048;
/// Compiling takes 16 octets of memory an entry and 12 to 24 for the table: this bounds it.
const MAX_ENTRIES: usize = 50_000_000;
const MAX_PROBLEMS: usize = 20;
/// Lengths are the session's business: an entry too long for its limits is never asked for.
const NO_LIMITS: Limits = Limits { local_part: 0, domain: 0, path: 0 };
const FORMS: &str = "Write user@domain, @domain or !user@domain, and comments after #";

/// What the directory says of an address; also the kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Found {
    /// Neither the address nor its domain is listed.
    Absent = 0,
    /// The address is listed.
    Address = 1,
    /// `@domain` is listed.
    Domain = 2,
    /// `!address` is listed.
    Excluded = 3,
    /// The snapshot contradicts itself: nothing is known.
    Damaged = 4,
}

/// The state of a source file: equal stamps mean an unchanged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Time of last change, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Octets.
    pub size: u64,
    /// Inode number: a file replaced by rename has another.
    pub inode: u64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { mtime_ns, size: metadata.size(), inode: metadata.ino() }
    }
}

/// FNV-1a with a finisher, so that its low and high bits are both usable; `domain` keeps the two name spaces apart.
fn hash(domain: bool, key: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(domain);
    for octet in key {
        hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

fn word(octets: &[u8], at: usize) -> Option<u64> {
    octets.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

struct Header {
    default_domain: u64,
    entries: u64,
    stamp: Stamp,
    table: u64,
    slots: u64,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let Stamp { mtime_ns, size, inode } = self.stamp;
        let words =
            [VERSION, self.default_domain, self.entries, mtime_ns.cast_unsigned(), size, inode, self.table, self.slots];
        let mut octets = MAGIC.to_vec();
        octets.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let sum = hash(false, &octets);
        octets.extend_from_slice(&sum.to_le_bytes());
        octets
    }

    /// `Err` says what is wrong with the file.
    fn decode(file: &[u8]) -> Result<Self, &'static str> {
        let body = file.get(..HEADER - 8).filter(|body| body.starts_with(MAGIC)).ok_or("not a recipient snapshot")?;
        let at = |index: usize| word(file, 8 + 8 * index).ok_or("cut short");
        if at(0)? != VERSION {
            return Err("written by another version");
        }
        if at(8)? != hash(false, body) {
            return Err("damaged header");
        }
        let stamp = Stamp { mtime_ns: at(3)?.cast_signed(), size: at(4)?, inode: at(5)? };
        let header = Self { default_domain: at(1)?, entries: at(2)?, stamp, table: at(6)?, slots: at(7)? };
        let end = header.slots.checked_mul(8).and_then(|octets| octets.checked_add(header.table));
        let records = (HEADER as u64).checked_add(header.default_domain);
        let whole = end == Some(file.len() as u64) && records.is_some_and(|records| records <= header.table);
        if !whole || !header.slots.is_power_of_two() || header.entries >= header.slots {
            return Err("cut short");
        }
        Ok(header)
    }
}

/// A compiled directory, mapped read-only.
pub struct Directory {
    map: Mmap,
    header: Header,
}

impl Directory {
    /// Maps the snapshot at `path`; `InvalidData` when it is none, of another version, or cut short.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: a snapshot is written under another name, never changed after its rename to this one and only ever
        // replaced by rename, so nobody writes to or truncates the mapped inode. It is read through bounds-checked slices only.
        let map = unsafe { Mmap::map(&file)? };
        let header = Header::decode(&map).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
        map.advise(Advice::WillNeed)?;
        Ok(Self { map, header })
    }

    /// Different entries in it.
    pub fn entries(&self) -> u64 {
        self.header.entries
    }

    /// The source it was compiled from.
    pub fn stamp(&self) -> Stamp {
        self.header.stamp
    }

    /// What was appended to entries without a domain, as it was given.
    pub fn default_domain(&self) -> &str {
        let length = usize::try_from(self.header.default_domain).unwrap_or(usize::MAX);
        let octets = self.map.get(HEADER..).and_then(|rest| rest.get(..length)).unwrap_or_default();
        std::str::from_utf8(octets).unwrap_or_default()
    }

    /// What is known of the address with this `Address::key` and domain, and the line of the source that says so (0 = none).
    pub fn lookup(&self, key: &str, domain: &str) -> (Found, u32) {
        let by_address = self.find(false, key.as_bytes());
        let found = by_address.and_then(|found| match found {
            None if !domain.is_empty() => self.find(true, domain.as_bytes()),
            found => Some(found),
        });
        match found {
            Some(Some(found)) => found,
            Some(None) => (Found::Absent, 0),
            None => (Found::Damaged, 0),
        }
    }

    /// `None`: the snapshot contradicts itself. `Some(None)`: no such record.
    #[allow(clippy::option_option)]
    fn find(&self, domain: bool, key: &[u8]) -> Option<Option<(Found, u32)>> {
        let hash = hash(domain, key);
        let (table, slots) = (usize::try_from(self.header.table).ok()?, self.header.slots);
        for step in 0..slots {
            let slot = hash.wrapping_add(step) & (slots - 1);
            match word(&self.map, table.checked_add(usize::try_from(slot).ok()?.checked_mul(8)?)?)? {
                0 => return Some(None),
                entry if entry >> OFFSET_BITS == hash >> OFFSET_BITS => {
                    let (kind, line, found) = self.record(usize::try_from(entry & OFFSET_MASK).ok()?)?;
                    if found == key && (kind == Found::Domain) == domain {
                        return Some(Some((kind, line)));
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn record(&self, at: usize) -> Option<(Found, u32, &[u8])> {
        let records = self.map.get(..usize::try_from(self.header.table).ok()?)?;
        read_record(records.get(at..)?)
    }
}

fn read_record(octets: &[u8]) -> Option<(Found, u32, &[u8])> {
    let (head, rest) = octets.split_first_chunk::<RECORD>()?;
    let [l0, l1, l2, l3, n0, n1, kind, 0] = *head else { return None };
    let kind = match kind {
        1 => Found::Address,
        2 => Found::Domain,
        3 => Found::Excluded,
        _ => return None,
    };
    Some((kind, u32::from_le_bytes([l0, l1, l2, l3]), rest.get(..usize::from(u16::from_le_bytes([n0, n1])))?))
}

/// What `compile` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Different entries of the source.
    pub entries: u64,
    /// What is wrong with the source, a sentence each; when there is any, no snapshot was written.
    pub problems: Vec<String>,
}

/// Compiles the text file `source` into the snapshot `target`; `default_domain` is appended to entries without a domain ("" =
/// there is none).
pub fn compile(source: &Path, target: &Path, default_domain: &str) -> io::Result<Compiled> {
    if !fs::metadata(source)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let source = File::open(source)?;
    let stamp = Stamp::of(&source.metadata()?);
    let mut problems = Problems::default();
    let mut draft = Draft::create(target, default_domain)?;
    let index = draft.read_source(&source, default_domain, &mut problems)?;
    draft.file.flush()?;
    let (table, entries) = draft.build_table(&index, &mut problems)?;
    if problems.total == 0 && entries == 0 {
        problems
            .add(format!("it lists nobody, so every recipient would be refused. {FORMS}, or set no recipient file"));
    }
    if Stamp::of(&source.metadata()?) != stamp {
        problems.add("it was changed while it was read. Write a new file beside it and rename it".to_owned());
    }
    if problems.total == 0 {
        draft.publish(target, &table, entries, stamp)?;
    }
    Ok(Compiled { entries, problems: problems.list() })
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
    default_domain: u64,
}

impl Draft {
    fn create(target: &Path, default_domain: &str) -> io::Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}-{}.tmp", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
        let path = PathBuf::from(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {} // what a killed process of the same number may have left
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&path)?;
        let mut draft = Self { path, file: BufWriter::new(file), at: 0, default_domain: default_domain.len() as u64 };
        draft.write(&[0; HEADER])?;
        draft.write(default_domain.as_bytes())?;
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
        default_domain: &str,
        problems: &mut Problems,
    ) -> io::Result<Vec<(u64, u64)>> {
        let mut reader = BufReader::with_capacity(1 << 16, source);
        let (mut index, mut line, mut number) = (Vec::new(), Vec::with_capacity(MAX_LINE), 0_u32);
        loop {
            line.clear();
            if reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)? == 0 {
                return Ok(index);
            }
            number = number.saturating_add(1);
            let too_long = line.len() == MAX_LINE && !line.ends_with(b"\n");
            let entry = if too_long {
                reader.skip_until(b'\n')?;
                Err(format!("the line is longer than {MAX_LINE} octets. Write one entry a line"))
            } else {
                parse_line(
                    if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line },
                    default_domain,
                )
            };
            match entry {
                Ok(None) => {}
                Ok(Some((kind, key))) if index.len() < MAX_ENTRIES && self.at < OFFSET_MASK => {
                    index.push((hash(kind == Found::Domain, key.as_bytes()), self.at));
                    self.write_record(kind, number, key.as_bytes())?;
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
        let (default_domain, slots) = (self.default_domain, table.len() as u64);
        let header = Header { default_domain, entries, stamp, table: self.at, slots };
        for slot in table {
            self.file.write_all(&slot.to_le_bytes())?;
        }
        self.file.flush()?;
        self.file.get_ref().write_all_at(&header.encode(), 0)?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.path, target)?;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // after `publish` there is none
    }
}

/// Kind and key of the entry on a line, if there is one; `Err` says what is wrong and how to mend it.
fn parse_line(line: &[u8], default_domain: &str) -> Result<Option<(Found, String)>, String> {
    let Ok(line) = std::str::from_utf8(line) else {
        return Err("it is not UTF-8. Save the file as UTF-8".to_owned());
    };
    let text = before_comment(line).trim();
    let entry = match text.as_bytes() {
        [] => return Ok(None),
        [b'@', domain @ ..] => (Found::Domain, normalise_domain(domain).map_err(mend)?),
        [b'!', ..] => (Found::Excluded, key_of(text.strip_prefix('!').unwrap_or(text).trim(), default_domain)?),
        _ => (Found::Address, key_of(text, default_domain)?),
    };
    if entry.1.len() > MAX_KEY {
        return Err(format!("the address is longer than {MAX_KEY} octets. Shorten or remove it"));
    }
    Ok(Some(entry))
}

/// Longest key: quoting and A-labels may lengthen a line that just fits.
const MAX_KEY: usize = 2 * MAX_LINE;

fn key_of(text: &str, default_domain: &str) -> Result<String, String> {
    if text.starts_with('@') {
        return Err("! takes an address, not a domain. Write !user@domain, or remove the @domain entry".to_owned());
    }
    let address = Address::parse(text.as_bytes(), &NO_LIMITS).map_err(mend)?.with_default_domain(default_domain);
    if address.domain().is_empty() {
        return Err("it has no domain and there is no default domain. Write user@domain".to_owned());
    }
    Ok(address.key())
}

#[allow(clippy::needless_pass_by_value)] // made for map_err
fn mend(reason: impl ToString) -> String {
    format!("{}. {FORMS}", reason.to_string().trim_end_matches('.'))
}

/// The line up to a `#` that stands at its start or after white space, and not between quotes.
fn before_comment(line: &str) -> &str {
    if memchr::memchr(b'#', line.as_bytes()).is_none() {
        return line;
    }
    let (mut quoted, mut escaped, mut blank) = (false, false, true);
    for (at, character) in line.char_indices() {
        match character {
            '#' if blank && !quoted => return line.get(..at).unwrap_or(line),
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && !escaped && character == '\\';
        blank = character.is_whitespace();
    }
    line
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            static SERIAL: AtomicU32 = AtomicU32::new(0);
            let name = format!("mailmoat-snapshot-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn source(&self, text: &[u8]) -> PathBuf {
            let path = self.0.join("recipients");
            fs::write(&path, text).unwrap();
            path
        }

        fn target(&self) -> PathBuf {
            self.0.join("directory.snapshot")
        }

        fn problems(&self, text: &[u8]) -> Vec<String> {
            let compiled = compile(&self.source(text), &self.target(), "local.test").unwrap();
            assert_eq!(self.target().exists(), compiled.problems.is_empty());
            assert_eq!(
                fs::read_dir(&self.0).unwrap().count(),
                1 + usize::from(self.target().exists()),
                "a draft is left"
            );
            compiled.problems
        }

        fn directory(&self, text: &[u8]) -> Directory {
            assert_eq!(self.problems(text), Vec::<String>::new());
            Directory::open(&self.target()).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn find(directory: &Directory, address: &str) -> (Found, u32) {
        let address = Address::parse(address.as_bytes(), &NO_LIMITS).unwrap();
        directory.lookup(&address.key(), address.domain())
    }

    #[test]
    fn every_form_is_found() {
        let scratch = Scratch::new();
        let text = "\u{feff}# all of us\r\n\r\nInfo@Local.TEST # the desk\nbare\n@whole.test\n  !gone@whole.test\t# left\n\
                    \"a #b\"@local.test\nx#y@local.test\nann@b\u{fc}cher.test\nann@local.test.\nINFO@local.test";
        let directory = scratch.directory(text.as_bytes());
        assert_eq!(find(&directory, "info@local.test"), (Found::Address, 3));
        assert_eq!(find(&directory, "BARE@local.test"), (Found::Address, 4));
        assert_eq!(find(&directory, "anybody@whole.test"), (Found::Domain, 5));
        assert_eq!(find(&directory, "Gone@WHOLE.test"), (Found::Excluded, 6));
        assert_eq!(find(&directory, "\"a #b\"@local.test"), (Found::Address, 7));
        assert_eq!(find(&directory, "x#y@local.test"), (Found::Address, 8));
        assert_eq!(find(&directory, "ann@xn--bcher-kva.test"), (Found::Address, 9));
        assert_eq!(find(&directory, "ann@local.test"), (Found::Address, 10));
        assert_eq!(find(&directory, "whole.test@local.test"), (Found::Absent, 0));
        assert_eq!(directory.lookup("whole.test", ""), (Found::Absent, 0));
        assert_eq!(directory.entries(), 8);
        assert_eq!(directory.default_domain(), "local.test");
        assert_eq!(directory.stamp(), Stamp::of(&fs::metadata(scratch.0.join("recipients")).unwrap()));
    }

    #[test]
    fn problems_name_line_content_and_mend() {
        let scratch = Scratch::new();
        let mut text = b"good@local.test\ntwo words@local.test\ncaf\xe9@local.test\n!@local.test\n@\n".to_vec();
        text.extend_from_slice(&[b'x'; MAX_LINE + 5]);
        text.extend_from_slice(b"\n!GOOD@local.test\n\x1b[31m@local.test\n");
        let problems = scratch.problems(&text);
        let expected = ["line 2: \"two words@", "line 3: \"caf", "line 4: \"!@local", "line 5: \"@\"", "line 6: \"xxx"];
        for (problem, beginning) in problems.iter().zip(expected) {
            assert!(problem.starts_with(beginning), "{problem}");
        }
        assert!(problems[1].contains("UTF-8"));
        assert!(problems[4].contains("longer than 2048") && problems[4].len() < 200);
        assert!(problems[5].starts_with("line 8: \"\\u{1b}[31m@local.test\""), "{}", problems[5]);
        assert_eq!(problems[6], "line 7: \"good@local.test\": line 1 says the opposite. Keep one of the two lines");
        assert_eq!(problems.len(), 7);
    }

    #[test]
    fn many_problems_are_cut_and_an_empty_file_is_one() {
        let scratch = Scratch::new();
        let problems = scratch.problems(&b"@\n".repeat(25));
        assert_eq!((problems.len(), problems[20].as_str()), (21, "... and 5 more"));
        assert!(scratch.problems(b"# nobody\n")[0].contains("lists nobody"));
        let compiled = compile(&scratch.source(b"bare\n"), &scratch.target(), "").unwrap();
        assert!(compiled.problems[0].starts_with("line 1: \"bare\": it has no domain"));
    }

    #[test]
    fn a_broken_source_leaves_the_snapshot() {
        let scratch = Scratch::new();
        let before = scratch.directory(b"a@local.test\n");
        compile(&scratch.source(b"a@@\n"), &scratch.target(), "local.test").unwrap();
        assert_eq!(find(&Directory::open(&scratch.target()).unwrap(), "a@local.test").0, Found::Address);
        assert!(compile(&scratch.0, &scratch.target(), "").is_err());
        assert!(compile(&scratch.0.join("none"), &scratch.target(), "").is_err());
        let after = scratch.0.join("new");
        compile(&scratch.source(b"b@local.test\n"), &after, "").unwrap();
        fs::rename(&after, scratch.target()).unwrap();
        assert_eq!(find(&before, "a@local.test").0, Found::Address, "a mapping outlives its file");
    }

    #[test]
    fn a_full_table_and_wild_offsets_are_damage() {
        let scratch = Scratch::new();
        drop(scratch.directory(b"a@local.test\nb@local.test\n@c.test\n"));
        let whole = fs::read(scratch.target()).unwrap();
        let table = usize::try_from(Header::decode(&whole).unwrap().table).unwrap();
        for octet in [0xff_u8, 0x01] {
            let mut hostile = whole.clone();
            hostile[table..].fill(octet);
            let path = scratch.0.join("hostile");
            fs::write(&path, &hostile).unwrap();
            let directory = Directory::open(&path).unwrap();
            assert_eq!(find(&directory, "a@local.test").0, Found::Damaged);
        }
        let mut hostile = whole.clone();
        hostile[HEADER + "local.test".len()..table].fill(0xff);
        fs::write(scratch.target(), &hostile).unwrap();
        assert_eq!(find(&Directory::open(&scratch.target()).unwrap(), "a@local.test").0, Found::Damaged);
        for length in 0..whole.len() {
            fs::write(scratch.target(), &whole[..length]).unwrap();
            assert!(Directory::open(&scratch.target()).is_err(), "{length} octets");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_equals_a_map(lines in prop::collection::vec((prop::bool::ANY, "[a-c]{1,3}", "[a-b]\\.test"), 1..200)) {
            let mut model = BTreeMap::new();
            let mut text = String::new();
            for (whole, local, domain) in lines {
                let (line, kind) = if whole { (format!("@{domain}"), Found::Domain) } else { (format!("{local}@{domain}"), Found::Address) };
                text.push_str(&line);
                text.push('\n');
                model.insert(line, kind);
            }
            let scratch = Scratch::new();
            let directory = scratch.directory(text.as_bytes());
            prop_assert_eq!(directory.entries(), model.len() as u64);
            for local in ["a", "b", "abc", "cc", "d"] {
                for domain in ["a.test", "b.test", "c.test"] {
                    let wanted = model.get(&format!("{local}@{domain}")).or_else(|| model.get(&format!("@{domain}")));
                    let found = find(&directory, &format!("{local}@{domain}")).0;
                    prop_assert_eq!(found, wanted.copied().unwrap_or(Found::Absent));
                }
            }
        }

        #[test]
        fn no_octets_crash_it(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), fix in any::<bool>()) {
            let scratch = Scratch::new();
            drop(scratch.directory(b"a@local.test\nb@local.test\n@c.test\n!d@c.test\n"));
            let mut octets = fs::read(scratch.target()).unwrap();
            for (index, octet) in flips {
                let at = index.index(octets.len());
                octets[at] = octet;
            }
            if fix {
                octets[..16].copy_from_slice(&[*MAGIC, VERSION.to_le_bytes()].concat());
                let sum = hash(false, &octets[..HEADER - 8]);
                octets[HEADER - 8..HEADER].copy_from_slice(&sum.to_le_bytes());
            }
            fs::write(scratch.target(), &octets).unwrap();
            if let Ok(directory) = Directory::open(&scratch.target()) {
                let _ = (find(&directory, "a@local.test"), find(&directory, "x@c.test"), directory.default_domain());
            }
        }

        #[test]
        fn any_source_is_answered(text in prop::collection::vec(any::<u8>(), 0..400)) {
            let scratch = Scratch::new();
            let _ = scratch.problems(&text);
        }
    }
}
