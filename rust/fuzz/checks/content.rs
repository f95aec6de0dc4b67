//! The decoder finds what a decoder finds that has the whole content before it, however the input is cut, and keeps no more in
//! memory than it may.

use std::fs;

use mailmoat_native::content::{BareNewline, ContentRules, Decoder, Fault, Octets};

pub fn check(input: &[u8]) {
    let ([choices, seed, size, line], stream) = super::split::<4>(input);
    let rules = ContentRules {
        size: u64::from(size) * 8,
        header: if choices & 8 == 0 { 0 } else { usize::from(line) * 2 },
        line: usize::from(line),
        // A file costs a hundred times the decoding: now and then.
        memory: if choices & 0xF2 == 0xF2 { 64 } else { 0 },
        bare: if choices & 4 == 0 { BareNewline::Refuse } else { BareNewline::Normalise },
        loose_dir: std::env::temp_dir(),
    };
    let whole = decode(&rules, &[&stream]);
    assert_eq!(decode(&rules, &stream.chunks(1).collect::<Vec<_>>()), whole, "by octet");
    assert_eq!(decode(&rules, &super::cut(&stream, seed)), whole, "cut");
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

fn decode(rules: &ContentRules, pieces: &[&[u8]]) -> Decoded {
    let mut decoder = Decoder::default();
    let mut taken = 0;
    for piece in pieces {
        let took = decoder.feed(rules, piece);
        taken += took;
        if rules.header > 0 {
            assert!(decoder.head().len() <= rules.header);
        }
        if took < piece.len() {
            break;
        }
    }
    let done = decoder.is_done();
    let head = decoder.head().to_vec();
    let content = decoder.finish().map(|taken| {
        let rest = match &taken.content.octets {
            Octets::Memory(octets) => {
                assert!(taken.head.is_empty());
                octets.clone()
            }
            Octets::File(file) => {
                assert!(taken.head == head && file.size() > 0);
                fs::read(file.path()).unwrap()
            }
        };
        assert_eq!((taken.content.size(), taken.content.eight_bit), (rest.len() as u64, !rest.is_ascii()));
        let all = [taken.head, rest].concat();
        assert!(!done || head == all[..header_section(&all)]);
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
            match rules.bare {
                BareNewline::Refuse => fault.push(Fault::BareNewline),
                BareNewline::Normalise => {
                    kept.extend_from_slice(b"\r\n");
                    fault.extend((rules.line > 0 && long + 2 > rules.line).then_some(Fault::LineTooLong));
                    long = 0;
                }
            }
        }
        kept.extend_from_slice(b"\r\n");
        fault.extend((rules.line > 0 && long + 2 > rules.line).then_some(Fault::LineTooLong));
    }
    fault.extend((rules.size > 0 && kept.len() as u64 > rules.size).then_some(Fault::TooLarge));
    // Told only where nothing before it in the list is wrong, for the octets on their own are not kept here.
    fault.extend((rules.header > 0 && header_section(&kept) > rules.header).then_some(Fault::HeaderTooLarge));
    Some((end + 3, fault.into_iter().min().map_or(Ok(kept), Err)))
}

/// Octets up to the end of the first empty line.
fn header_section(content: &[u8]) -> usize {
    (0..content.len())
        .find(|&at| content[at..].starts_with(b"\r\n") && (at == 0 || content[..at].ends_with(b"\r\n")))
        .map_or(content.len(), |at| at + 2)
}
