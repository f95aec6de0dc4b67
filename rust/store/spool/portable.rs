//! A message in a file of its own: to be kept, looked at, or moved to another host.
//!
//! ```text
//! mailmoat message 1          the format and its version
//! key: value                  a line each; in a value `\\` is a backslash, `\n` and `\r` are line ends
//! recipient: address          begins a recipient; what follows, up to the next one, is its
//!                             an empty line
//! octets                      trace and content, as the keys `trace` and `content` say; whatever mail program can read them
//! ```
//! Has the envelope whole, with what became of each recipient, and the checksum; not why the message was held, nor its attempts. What
//! comes back has a queue id of its own. A file is input from anywhere: what no server can have stored, such as a line end in an
//! address, is refused with a sentence, and the memory that it takes is bounded.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::content_files::ROW;
use super::rows::Stored;
use super::show::find;
use crate::machine::message::address::{Address, Limits};
use crate::machine::message::content::{Content, Octets};
use crate::machine::message::{Envelope, Message, Parameters, Recipient, State};
use crate::store::checksum;
use crate::store::content::ContentFile;

const FORMAT: &str = "mailmoat message 1";
/// Octets of a line at most.
const LINE: u64 = 1024 * 1024;
/// Recipients at most: no server takes so many for one message.
const RECIPIENTS: usize = 100_000;
/// Times in milliseconds since the epoch: the years that a date can name (RFC 5322 3.3).
const TIMES: std::ops::Range<i64> = 0..253_402_300_800_000;

/// Writes message `queue_id` to a new file at `path`, and returns whether there is one. The message stays where it is.
pub fn export(spool: &Path, queue_id: &str, path: &Path) -> io::Result<bool> {
    let Some((stored, _)) = find(spool, queue_id)? else { return Ok(false) };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = write(&stored, file);
    if written.is_err() {
        // Best effort: the error says what is wrong.
        let _ = fs::remove_file(path);
    }
    written.map(|()| true)
}

fn write(stored: &Stored, file: File) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    file.write_all(envelope(stored).as_bytes())?;
    file.write_all(&stored.message.trace)?;
    match &stored.message.content.octets {
        Octets::Memory(octets) => file.write_all(octets)?,
        Octets::File(content) => _ = io::copy(&mut content.open()?, &mut file)?,
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn envelope(stored: &Stored) -> String {
    let Stored { message, checksum, .. } = stored;
    let envelope = &message.envelope;
    let mut text = format!("{FORMAT}\n");
    let mut line = |key: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key}: {}", escaped(value));
    };
    line("queue-id", &message.queue_id);
    line("arrival", &message.arrival.to_string());
    line("reverse-path", &envelope.reverse_path);
    line("parameters", envelope.parameters.as_str());
    line("origin", envelope.origin.as_str());
    line("results", &envelope.results);
    line("eight-bit", if message.content.eight_bit { "1" } else { "0" });
    line("trace", &message.trace.len().to_string());
    line("content", &message.content.size().to_string());
    if let Some(checksum) = checksum {
        line("checksum", &format!("{checksum:016x}"));
    }
    for recipient in &envelope.recipients {
        line("recipient", &recipient.address);
        line("parameters", recipient.parameters.as_str());
        line("state", &(recipient.state as u8).to_string());
        line("reply", &recipient.reply);
        line("due", &recipient.due.to_string());
        line("attempts", &recipient.attempts.to_string());
        line("next-hop", &recipient.next_hop);
        line("next-hop-fixed", &recipient.next_hop_fixed);
        line("reported", if recipient.reported { "1" } else { "0" });
    }
    text.push('\n');
    text
}

/// The message in the file at `path`, with the queue id it is to have; large content becomes a file in `incoming`.
///
/// `InvalidData` when it is no such file, or is damaged.
pub fn import(path: &Path, queue_id: String, incoming: &Path) -> io::Result<Message> {
    let mut file = BufReader::new(File::open(path)?);
    if next_line(&mut file)? != FORMAT {
        return Err(invalid("it is not a message exported by mailmoat, or one of a later version"));
    }
    let mut read = Keys::default();
    loop {
        let line = next_line(&mut file)?;
        if line.is_empty() {
            break;
        }
        let (key, value) = line.split_once(": ").ok_or_else(|| invalid(&format!("{line:?} is no key with a value")))?;
        read.take(key, plain(value)).ok_or_else(|| invalid(&format!("the value of {key} is wrong: {value:?}")))?;
        if read.envelope.recipients.len() > RECIPIENTS {
            return Err(invalid(&format!("it has more than {RECIPIENTS} recipients")));
        }
    }
    if read.envelope.recipients.is_empty() {
        return Err(invalid("it has no recipients"));
    }
    let mut trace = Vec::new();
    file.by_ref().take(read.trace).read_to_end(&mut trace)?;
    let (octets, sum) = content(&mut file, read.content, incoming)?;
    let content = Content { octets, eight_bit: read.eight_bit };
    if trace.len() as u64 != read.trace || content.size() != read.content || !file.fill_buf()?.is_empty() {
        return Err(invalid("it is shorter or longer than it says"));
    }
    if read.checksum.is_some_and(|checksum| checksum != checksum::of_message(&trace, sum)) {
        return Err(invalid("its octets have changed: they do not have its checksum"));
    }
    Ok(Message { queue_id, arrival: read.arrival, envelope: read.envelope, trace, content, share: None })
}

/// The content in memory or, a large one, in a file, and its sum.
fn content(from: &mut impl Read, size: u64, incoming: &Path) -> io::Result<(Octets, u64)> {
    if size > ROW as u64 {
        let file: Box<dyn crate::machine::message::content::StoredOctets> =
            Box::new(ContentFile::copied(incoming, from, size)?);
        let sum = file.sum().unwrap_or_default();
        return Ok((Octets::File(file), sum));
    }
    let mut octets = Vec::new();
    from.take(size).read_to_end(&mut octets)?;
    let sum = checksum::of_content(&octets);
    Ok((Octets::Memory(octets), sum))
}

/// What the keys of a file said so far.
#[derive(Default)]
struct Keys {
    arrival: i64,
    envelope: Envelope,
    eight_bit: bool,
    trace: u64,
    content: u64,
    checksum: Option<u64>,
}

impl Keys {
    /// Takes a key; None when its value cannot be. One that is not known is of a later version, and left out.
    fn take(&mut self, key: &str, value: String) -> Option<()> {
        if key == "recipient" {
            self.envelope.recipients.push(Recipient::new(address(&value)?, self.arrival));
            return Some(());
        }
        if let Some(recipient) = self.envelope.recipients.last_mut() {
            return of_recipient(recipient, key, value);
        }
        match key {
            "arrival" => self.arrival = time(&value)?,
            "reverse-path" if value.is_empty() => self.envelope.reverse_path = value,
            "reverse-path" => self.envelope.reverse_path = address(&value)?,
            "parameters" => self.envelope.parameters = Parameters::parse(&value)?,
            "origin" => self.envelope.origin = Parameters::parse(&value)?,
            "results" => self.envelope.results = value,
            "eight-bit" => self.eight_bit = flag(&value)?,
            "trace" => self.trace = value.parse().ok()?,
            "content" => self.content = value.parse().ok()?,
            "checksum" => self.checksum = Some(u64::from_str_radix(&value, 16).ok()?),
            _ => {}
        }
        Some(())
    }
}

fn of_recipient(recipient: &mut Recipient, key: &str, value: String) -> Option<()> {
    match key {
        "parameters" => recipient.parameters = Parameters::parse(&value)?,
        "state" => recipient.state = State::numbered(value.parse().ok()?)?,
        "reply" => recipient.reply = value,
        "due" => recipient.due = time(&value)?,
        "attempts" => recipient.attempts = value.parse().ok()?,
        "next-hop" => recipient.next_hop = value,
        "next-hop-fixed" => recipient.next_hop_fixed = value,
        "reported" => recipient.reported = flag(&value)?,
        _ => {}
    }
    Some(())
}

/// The address in its normal form, which goes between the angle brackets of a command as it is. Of any length, as by setting.
fn address(value: &str) -> Option<String> {
    let limits = Limits { local_part: 0, domain: 0, path: 0 };
    Address::parse(value.as_bytes(), &limits).ok().map(|address| address.to_string())
}

fn time(value: &str) -> Option<i64> {
    value.parse().ok().filter(|time| TIMES.contains(time))
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// The next line without its end.
fn next_line(file: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    file.take(LINE).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(invalid("its envelope does not end"));
    }
    String::from_utf8(line).map_err(|_| invalid("its envelope is no text"))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn plain(value: &str) -> String {
    let (mut plain, mut letters) = (String::with_capacity(value.len()), value.chars());
    while let Some(letter) = letters.next() {
        let escaped = if letter == '\\' { letters.next() } else { Some(letter) };
        plain.push(match (letter, escaped) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            (_, letter) => letter.unwrap_or('\\'),
        });
    }
    plain
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}
