//! Reads the text file of entries, line by line.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::draft::Draft;
use super::entry::Entry;
use super::line::{is_alias, read_line};
use super::notes::{Notes, printable};
use super::strangers::Strangers;
use super::{Failure, MAX_ALIAS, MAX_ENTRIES, MAX_LINE};
use crate::store::snapshot::format::Record;
use crate::store::snapshot::{Form, Scope, Stamp};

/// A text file that is read, and its stamp when that began.
pub(super) struct Text {
    path: PathBuf,
    file: File,
    /// When it was opened.
    pub stamp: Stamp,
}

impl Text {
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::Source(path.to_owned(), error);
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let file = File::open(path).map_err(failed)?;
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        Ok(Self { path: path.to_owned(), file, stamp })
    }

    fn failed(&self, error: io::Error) -> Failure {
        Failure::Source(self.path.clone(), error)
    }

    /// Whether it is another file than the one that was opened.
    pub fn has_changed(&self) -> Result<bool, Failure> {
        Ok(Stamp::of(&self.file.metadata().map_err(|error| self.failed(error))?) != self.stamp)
    }

    /// Adds a record for each entry.
    pub fn read(
        &self,
        draft: &mut Draft,
        scope: &Scope,
        problems: &mut Notes,
        strangers: &mut Strangers,
    ) -> Result<(), Failure> {
        let mut reader = BufReader::with_capacity(1 << 16, &self.file);
        let (mut line, mut number) = (Vec::with_capacity(MAX_LINE), 0_u32);
        loop {
            line.clear();
            if reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line).map_err(|error| self.failed(error))?
                == 0
            {
                return Ok(());
            }
            number = number.saturating_add(1);
            if number == 1 && is_utf16(&line) {
                problems.add(0, "it is UTF-16, as PowerShell may write it. Save the file as UTF-8".to_owned());
                return Ok(());
            }
            let mut longest = MAX_LINE;
            if line.len() == MAX_LINE && !line.ends_with(b"\n") && scope.form == Form::Recipients && is_alias(&line) {
                longest = MAX_ALIAS;
                let rest = (MAX_ALIAS - MAX_LINE) as u64;
                reader.by_ref().take(rest).read_until(b'\n', &mut line).map_err(|error| self.failed(error))?;
            }
            let too_long = line.len() == longest && !line.ends_with(b"\n");
            let entry = if too_long {
                reader.skip_until(b'\n').map_err(|error| self.failed(error))?;
                Err(format!("the line is longer than {longest} octets. Write one entry a line"))
            } else {
                let start = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
                read_line(start, scope)
            };
            match entry {
                Ok(None) => {}
                Ok(Some(Entry { kind, key, domain, targets })) if !draft.is_full() => {
                    let (key, targets) = (key.as_bytes(), targets.as_bytes());
                    draft.add(Record { kind, source: 0, line: number, key, targets })?;
                    if scope.form == Form::Recipients {
                        strangers.see(&domain, number, scope);
                    }
                }
                Ok(Some(_)) => {
                    problems.add(0, format!("line {number}: more than {MAX_ENTRIES} entries. Use @domain entries"));
                    return Ok(());
                }
                Err(reason) => problems.add(0, format!("line {number}: \"{}\": {reason}", printable(&line))),
            }
        }
    }
}

/// Whether a file that begins with this line is UTF-16, with a byte order mark or without.
fn is_utf16(line: &[u8]) -> bool {
    line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff") || line.contains(&0)
}
