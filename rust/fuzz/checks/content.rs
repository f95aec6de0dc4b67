//! The decoder finds what a decoder finds that has the whole content before it, however the input is cut, and keeps no more in
//! memory than it may.

use std::fs;
use std::sync::Arc;

use mailmoat_native::machine::message::content::Octets;
use mailmoat_native::machine::smtp::server::content_rules::{BareNewline, ContentRules, Fault, NulInHeader};
use mailmoat_native::machine::smtp::server::data::Decoder;
use mailmoat_native::store::budget::Budget;
use mailmoat_native::store::content::ContentStorage;

pub fn check(input: &[u8]) {
    let ([choices, seed, size, line], stream) = super::split::<4>(input);
    let rules = ContentRules {
        message_size: u64::from(size) * 8,
        header_size: if choices & 8 == 0 { 0 } else { usize::from(line) * 2 },
        text_line: usize::from(line),
        bare_newline: if choices & 4 == 0 { BareNewline::Refuse } else { BareNewline::Normalise },
        nul_in_header: if choices & 16 == 0 { NulInHeader::Refuse } else { NulInHeader::Accept },
        eight_bit: true,
    };
    let storage = ContentStorage::new(
        // A file costs a hundred times the decoding: now and then.
        if choices & 0xF2 == 0xF2 { 64 } else { 0 },
        // One octet: what does not fit into the first 8 KiB goes to files.
        Arc::new(Budget::new(usize::from(choices & 0x70 == 0x70), None, 1)),
        std::env::temp_dir(),
    );
    let decode = |pieces: &[&[u8]]| decode(&rules, &storage, pieces);
    let whole = decode(&[&stream]);
    assert_eq!(decode(&stream.chunks(1).collect::<Vec<_>>()), whole, "by octet");
    assert_eq!(decode(&super::cut(&stream, seed)), whole, "cut");
    if let Some((end, expected)) = model(&rules, &stream) {
        assert_eq!((whole.taken, whole.done, whole.content), (end, true, expected));
    } else {
        assert_eq!((whole.taken, whole.done), (stream.len(), false));
    }
}

/// The content, or why it cannot be taken.
type Kept = Result<Vec<u8>, Fault>;

#[derive(Debug, PartialEq)]
struct Decoded {
    taken: usize,
    done: bool,
    content: Kept,
}

fn decode(rules: &ContentRules, storage: &ContentStorage, pieces: &[&[u8]]) -> Decoded {
    let mut decoder = Decoder::new(storage, "192.0.2.1");
    let mut taken = 0;
    for piece in pieces {
        let took = decoder.feed(rules, piece);
        taken += took;
        if rules.header_size > 0 {
            assert!(decoder.content().header().len() <= rules.header_size + INSERTED);
        }
        if took < piece.len() {
            break;
        }
    }
    let done = decoder.is_done();
    let header = decoder.content().header().to_vec();
    let content = decoder.into_content().finish().map(|taken| {
        let rest = match &taken.content.octets {
            Octets::Memory(octets) => {
                assert!(taken.header.is_empty());
                octets.clone()
            }
            Octets::File(file) => {
                assert!((!done || taken.header == header) && file.size() > 0);
                fs::read(file.path()).unwrap()
            }
        };
        assert_eq!((taken.content.size(), taken.content.eight_bit), (rest.len() as u64, !rest.is_ascii()));
        let all = [taken.header, rest].concat();
        assert!(!done || header == all[..header_section(&all)]);
        assert!(!done || separated(&all) == all, "a second time: {all:?}");
        all
    });
    Decoded { taken, done, content }
}

/// RFC 5321 4.5.2 the slow way: the end, the lines, their dots. None when the end of data is not there.
fn model(rules: &ContentRules, stream: &[u8]) -> Option<(usize, Kept)> {
    let end = (0..stream.len())
        .find(|&at| stream[at..].starts_with(b".\r\n") && (at == 0 || stream[..at].ends_with(b"\r\n")))?;
    let (mut kept, mut fault) = (Vec::new(), Vec::new());
    let mut rest = &stream[..end];
    while !rest.is_empty() {
        let length = memchr::memmem::find(rest, b"\r\n").unwrap();
        let line = rest[..length].strip_prefix(b".").unwrap_or(&rest[..length]);
        rest = &rest[length + 2..];
        let mut long = 0;
        for &octet in line {
            if !matches!(octet, b'\r' | b'\n') {
                long += 1;
                kept.push(octet);
                continue;
            }
            match rules.bare_newline {
                BareNewline::Refuse => fault.push(Fault::BareNewline),
                BareNewline::Normalise => {
                    kept.extend_from_slice(b"\r\n");
                    fault.extend((rules.text_line > 0 && long + 2 > rules.text_line).then_some(Fault::LineTooLong));
                    long = 0;
                }
            }
        }
        kept.extend_from_slice(b"\r\n");
        fault.extend((rules.text_line > 0 && long + 2 > rules.text_line).then_some(Fault::LineTooLong));
    }
    let fields = fields(&kept);
    fault.extend((rules.message_size > 0 && kept.len() as u64 > rules.message_size).then_some(Fault::TooLarge));
    // Found only where nothing before it in the list is wrong, for the octets on their own are not kept here.
    let read = if kept[fields..].starts_with(b"\r\n") { fields + 2 } else { fields };
    fault.extend((rules.header_size > 0 && read > rules.header_size).then_some(Fault::HeaderTooLarge));
    let nul = kept[..fields].contains(&0) || place_of_colon(&kept[fields..]) == Some(&0);
    fault.extend((rules.nul_in_header == NulInHeader::Refuse && nul).then_some(Fault::NulInHeader));
    Some((end + 3, fault.into_iter().min().map_or_else(|| Ok(separated(&kept)), Err)))
}

/// Octets that are put in at most: the name of an mbox line's field and an empty line.
const INSERTED: usize = 18;

/// Octets of the fields and of an mbox line at the beginning.
fn fields(content: &[u8]) -> usize {
    let mut at = 0;
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        let folded = at > 0 && matches!(line[0], b' ' | b'\t');
        if !(folded || is_field(line) || (at == 0 && is_mbox(line))) {
            break;
        }
        at += line.len();
    }
    at
}

/// What follows a name and its blanks.
fn place_of_colon(line: &[u8]) -> Option<&u8> {
    let name = line.iter().take_while(|octet| octet.is_ascii_graphic() && **octet != b':').count();
    let blanks = line[name..].iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    line.get(if name > 0 { name + blanks } else { 0 }).filter(|_| name + blanks < 998)
}

fn is_field(line: &[u8]) -> bool {
    let name = line.split(|&octet| octet == b':').next().unwrap();
    let end = name.iter().rposition(|octet| !matches!(octet, b' ' | b'\t')).map_or(0, |at| at + 1);
    name.len() < line.len() && end > 0 && name[..end].iter().all(u8::is_ascii_graphic) && name.len() < 998
}

fn is_mbox(line: &[u8]) -> bool {
    let quoted = line.iter().take_while(|&&octet| octet == b'>').count();
    line[quoted..].starts_with(b"From ")
}

/// The content as every program reads it the same way.
fn separated(content: &[u8]) -> Vec<u8> {
    let (fields, body) = content.split_at(fields(content));
    let mbox: &[u8] = if !fields.is_empty() && !is_field(fields) { b"X-Mailbox-Line: " } else { b"" };
    let empty: &[u8] = if body.is_empty() || body.starts_with(b"\r\n") { b"" } else { b"\r\n" };
    [mbox, fields, empty, body].concat()
}

/// Octets up to the end of the first empty line.
fn header_section(content: &[u8]) -> usize {
    (0..content.len())
        .find(|&at| content[at..].starts_with(b"\r\n") && (at == 0 || content[..at].ends_with(b"\r\n")))
        .map_or(content.len(), |at| at + 2)
}
