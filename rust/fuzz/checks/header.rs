//! Fields are in their order in the header section and hold what was between their names; the firewall takes out whole lines
//! and nothing else, and leaves no Authentication-Results that could be taken for ours; who is responsible is one mailbox that reads back, whatever other fields there are.

use mailmoat_native::machine::message::address::{Address, Limits};
use mailmoat_native::machine::message::firewall::Firewall;
use mailmoat_native::machine::message::header::{fields, received_sources};
use mailmoat_native::machine::message::mailbox::mailboxes;
use mailmoat_native::machine::message::pra::{Responsible, responsible_address};
use mailmoat_native::machine::message::section::Section;

pub fn check(input: &[u8]) {
    let (_, content) = super::split::<1>(input);
    let head = &content[..fields_end(&content)];
    let mut rest = head;
    for field in fields(&content) {
        assert!(!field.name.is_empty() && field.name.iter().all(u8::is_ascii_graphic), "{field:?}");
        assert!(!field.name.contains(&b':') && field.is(std::str::from_utf8(field.name).unwrap()));
        // What is passed over is an mbox line at the beginning.
        if rest.len() == head.len() && name(line(rest)) != Some(field.name) {
            assert!(rest.trim_ascii_start().starts_with(b"From ") || rest.starts_with(b">"));
            rest = &rest[line(rest).len()..];
        }
        rest = &rest[memchr::memchr(b':', rest).unwrap() + 1..];
        rest = rest.strip_prefix(field.value).unwrap();
        rest = rest.strip_prefix(b"\r").unwrap_or(rest);
        rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        // Every line after the first is folded.
        let mut lines = field.value.split_inclusive(|&octet| octet == b'\n').skip(1);
        assert!(lines.all(|line| matches!(line[0], b' ' | b'\t')), "{field:?}");
    }
    assert_eq!(received_sources(&content).len(), fields(&content).filter(|field| field.is("Received")).count());
    walled(&content, head.len());
    responsible(&content);
}

/// The first line with those folded under it.
fn line(octets: &[u8]) -> &[u8] {
    let mut end = 0;
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        if end > 0 && !matches!(line[0], b' ' | b'\t') {
            break;
        }
        end += line.len();
    }
    assert!(end > 0);
    &octets[..end]
}

fn name(line: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b':', line).map(|colon| line[..colon].trim_ascii_end())
}

fn walled(content: &[u8], head: usize) {
    // A firewall gets what the decoder has separated.
    let mut content = content.to_vec();
    if head == Section::length(&content) && head < content.len() {
        content.splice(head..head, *b"\r\n");
    }
    let content = content.as_slice();
    let firewall = Firewall::new("c.test", vec!["X".into(), "Sub".into()]);
    let cleaned = firewall.clean(content.to_vec());
    assert_eq!(firewall.clean(cleaned.clone()), cleaned);
    // The body is as it was, and what is left of the header section is lines of it in their order.
    let left = cleaned.len() - (content.len() - head);
    assert_eq!(cleaned[left..], content[head..]);
    let mut lines = content[..head].split_inclusive(|&octet| octet == b'\n');
    for line in cleaned[..left].split_inclusive(|&octet| octet == b'\n') {
        assert!(lines.any(|other| other == line));
    }
    let forbidden = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        name.starts_with(b"x") || name.starts_with(b"sub")
    };
    assert!(!fields(&cleaned).any(|field| forbidden(field.name)));
    for field in fields(&cleaned).filter(|field| field.is("Authentication-Results")) {
        let id = field.value.trim_ascii_start();
        assert!(id[0].is_ascii_graphic() && !id.to_ascii_lowercase().starts_with(b"c.test;"), "{field:?}");
    }
    if !fields(content).any(|field| forbidden(field.name) || field.is("Authentication-Results")) {
        assert_eq!(cleaned, content);
    }
}

fn responsible(content: &[u8]) {
    let limits = Limits { local_part: 0, domain: 0, path: 0 };
    for mailbox in fields(content).flat_map(|field| mailboxes(field.value)).flatten() {
        assert!(!mailbox.domain().is_empty());
        assert_eq!(Address::parse(mailbox.to_string().as_bytes(), &limits).as_ref(), Ok(&mailbox));
    }
    let found = responsible_address(content);
    let is_one = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        [&b"resent-sender"[..], b"resent-from", b"sender", b"from"].contains(&name.as_slice())
    };
    let said = fields(content).filter(|field| is_one(field.name) && !field.value.trim_ascii().is_empty());
    assert_eq!(found == Responsible::Absent, said.count() == 0);
    if let Responsible::Found(name, address) | Responsible::Lenient(name, address) = &found {
        let written = format!("{name}: {address}\r\n");
        assert_eq!(responsible_address(written.as_bytes()), Responsible::Found(name, address.clone()));
    }
    // A field in front changes nothing, unless what was in front needs to be there.
    if fields(content).next().is_some_and(|first| name(line(content)) == Some(first.name)) {
        assert_eq!(responsible_address(&[b"X: From:\r\n", content].concat()), found);
    }
}

/// Octets of the header section without its empty line.
fn fields_end(content: &[u8]) -> usize {
    let section = &content[..Section::length(content)];
    let mut at = 0;
    for line in section.split_inclusive(|&octet| octet == b'\n') {
        if matches!(line, b"\n" | b"\r\n") {
            break;
        }
        at += line.len();
    }
    at
}
