//! Answers of name servers: the octets of one message in, one value out (RFC 1035 4, RFC 2181 8, RFC 2308, RFC 8914).
//!
//! Promises: total, and bounded whatever the octets are. Every record is stepped over once; only those of the asked type and
//! the CNAMEs that lead to them are looked into. Names are what costs: all labels and compression pointers that are followed
//! for one message are counted together, and a message that needs more than `WORK` of them is not read.
//!
//! Of records that are names the first `MOST_NAMES` are taken: who checks a sender looks at ten (RFC 7208 4.6.4). Of others all
//! are, since a record is chosen from the whole set (RFC 7208 4.5); beyond `MOST_RECORDS` the message is not read.

mod names;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Labels and pointers followed for one message.
pub const WORK: usize = 16_384;
/// MX, PTR and CNAME records taken.
pub const MOST_NAMES: usize = 50;
/// A, AAAA, TXT and TLSA records taken.
pub const MOST_RECORDS: usize = 500;
/// CNAMEs followed one after the other.
const MOST_ALIASES: usize = 16;

const HEADER: usize = 12;
const NO_ERROR: u16 = 0;
const NAME_ERROR: u16 = 3;
/// Recursion available, or the server is the zone's own.
const RECURSES_OR_OWNS: u16 = 0x0480;

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const OPT: u16 = 41;
const TLSA: u16 = 52;

const EXTENDED_ERROR: u16 = 15;
/// DNSSEC Bogus to NSEC Missing (RFC 8914 4.7 to 4.13).
const BOGUS: std::ops::RangeInclusive<u16> = 6..=12;

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There are such records, true for so many seconds; none are listed of a type that is not read here. The name is the one at the end of
    /// the CNAMEs; None where there are none.
    Found(Vec<Record>, u32, Option<String>),
    /// NXDOMAIN, true for so many seconds.
    NoName(u32),
    /// The name has no such record, true for so many seconds; or its CNAMEs run in a circle.
    NoData(u32),
    /// Its validator says that signatures are wrong.
    Bogus,
    /// It failed, only refers to others, or is no message that can be read.
    Unreadable,
}

/// One record. Names are lower case without a final dot; an octet that is no printable ASCII, a dot in a label and a backslash
/// are written `\DDD` (RFC 1035 5.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// Of A and AAAA.
    Address(IpAddr),
    /// Of PTR and CNAME.
    Name(String),
    /// Of MX: preference and host.
    Exchange(u16, String),
    /// Of TXT: its strings, joined.
    Text(Vec<u8>),
    /// Of TLSA: certificate usage, selector, matching type, and what is to be matched (RFC 6698 2.1).
    Association(u8, u8, u8, Vec<u8>),
}

/// Reads a message whose question was compared with what was asked.
pub fn read(octets: &[u8]) -> Answer {
    Reader::new(octets).read().unwrap_or(Answer::Unreadable)
}

/// The records without repetitions, in their order; a search in those before each would cost the square of their number.
fn distinct(mut records: Vec<Record>) -> Vec<Record> {
    if records.len() > 1 {
        let mut seen = BTreeSet::new();
        records.retain(|record| seen.insert(record.clone()));
    }
    records
}

/// A record as it is in the message.
struct Entry {
    owner: usize,
    kind: u16,
    class: u16,
    ttl: u32,
    start: usize,
    end: usize,
}

/// What is in a message besides records that were not asked for.
struct Sections {
    rcode: u16,
    kind: u16,
    /// Of the asked type and CNAMEs.
    answers: Vec<Entry>,
    /// The least time of the zone's SOA, if there is one: without it nothing may be kept (RFC 2308 5).
    negative: Option<u32>,
    refers: bool,
    bogus: bool,
}

struct Reader<'a> {
    octets: &'a [u8],
    work: usize,
}

impl<'a> Reader<'a> {
    fn new(octets: &'a [u8]) -> Self {
        Self { octets, work: WORK }
    }

    fn read(&mut self) -> Option<Answer> {
        let found = self.sections()?;
        if found.rcode != NO_ERROR && found.rcode != NAME_ERROR {
            return Some(if found.bogus { Answer::Bogus } else { Answer::Unreadable });
        }
        if self.u16(4)? != 1 {
            return None;
        }
        let mut name = HEADER;
        let mut ttl = i32::MAX.unsigned_abs();
        for _ in 0..MOST_ALIASES {
            let (taken, records) = self.records(&found, name, &mut ttl)?;
            if taken > 0 {
                let alias = if name == HEADER { None } else { Some(self.name(name)?) };
                return (found.rcode == NO_ERROR).then_some(Answer::Found(records, ttl, alias));
            }
            if !self.follow(&found.answers, &mut name, &mut ttl)? {
                return self.void(&found, ttl);
            }
        }
        Some(Answer::NoData(ttl))
    }

    fn void(&self, found: &Sections, ttl: u32) -> Option<Answer> {
        let ttl = found.negative.map_or(0, |negative| negative.min(ttl));
        if found.rcode == NAME_ERROR {
            return Some(Answer::NoName(ttl));
        }
        let lame = found.refers && self.u16(2)? & RECURSES_OR_OWNS == 0;
        (!lame).then_some(Answer::NoData(ttl))
    }

    /// Steps over the whole message. None: it ends within a record.
    fn sections(&self) -> Option<Sections> {
        let (flags, questions) = (self.u16(2)?, self.u16(4)?);
        let (answers, authorities, others) = (self.u16(6)?, self.u16(8)?, self.u16(10)?);
        let mut at = HEADER;
        let (mut kind, mut class) = (0, 0);
        for _ in 0..questions {
            at = self.after_name(at)?;
            (kind, class) = (self.u16(at)?, self.u16(at + 2)?);
            at += 4;
        }
        let rcode = flags & 15;
        let mut found = Sections { rcode, kind, answers: Vec::new(), negative: None, refers: false, bogus: false };
        for _ in 0..answers {
            let entry = self.entry(&mut at)?;
            if entry.class == class && (entry.kind == kind || entry.kind == CNAME) {
                found.answers.push(entry);
            }
        }
        for _ in 0..authorities {
            let entry = self.entry(&mut at)?;
            if entry.kind == SOA && found.negative.is_none() {
                found.negative = Some(self.minimum(&entry)?);
            }
            found.refers |= entry.kind == NS;
        }
        let mut options = None;
        for _ in 0..others {
            let entry = self.entry(&mut at)?;
            if entry.kind == OPT {
                options = options.or(Some(entry));
            }
        }
        if let Some(entry) = options {
            // Where others have their time an OPT record has the upper bits of the response code (RFC 6891 6.1.3).
            found.rcode |= u16::from(*self.octets.get(entry.start.checked_sub(6)?)?) << 4;
            found.bogus = self.says_bogus(&entry)?;
        }
        Some(found)
    }

    fn entry(&self, at: &mut usize) -> Option<Entry> {
        let owner = *at;
        let fields = self.after_name(owner)?;
        let start = fields + 10;
        let end = start + usize::from(self.u16(fields + 8)?);
        self.octets.get(start..end)?;
        *at = end;
        let (kind, class) = (self.u16(fields)?, self.u16(fields + 2)?);
        Some(Entry { owner, kind, class, ttl: self.seconds(fields + 4)?, start, end })
    }

    /// How long the negative answer may be kept: the SOA's own time or its minimum, whichever is less (RFC 2308 5).
    fn minimum(&self, soa: &Entry) -> Option<u32> {
        let numbers = self.after_name(self.after_name(soa.start)?)?;
        if numbers + 20 != soa.end {
            return None;
        }
        Some(soa.ttl.min(self.seconds(numbers + 16)?))
    }

    fn says_bogus(&self, options: &Entry) -> Option<bool> {
        let mut at = options.start;
        let mut bogus = false;
        while at < options.end {
            let (code, length) = (self.u16(at)?, usize::from(self.u16(at + 2)?));
            bogus |= code == EXTENDED_ERROR && length >= 2 && BOGUS.contains(&self.u16(at + 4)?);
            at += 4 + length;
        }
        (at == options.end).then_some(bogus)
    }

    /// How many records of the asked type `name` has, and these, each once.
    fn records(&mut self, found: &Sections, name: usize, ttl: &mut u32) -> Option<(usize, Vec<Record>)> {
        let has_names = matches!(found.kind, CNAME | PTR | MX);
        let mut records = Vec::new();
        let mut taken = 0;
        for entry in found.answers.iter().filter(|entry| entry.kind == found.kind) {
            if has_names && taken == MOST_NAMES {
                break;
            }
            if !self.same(entry.owner, name)? {
                continue;
            }
            taken += 1;
            if taken > MOST_RECORDS {
                return None;
            }
            *ttl = (*ttl).min(entry.ttl);
            self.take(entry, &mut records)?;
        }
        Some((taken, distinct(records)))
    }

    /// Adds a record of a type that is read here.
    fn take(&mut self, entry: &Entry, records: &mut Vec<Record>) -> Option<()> {
        let octets = self.octets.get(entry.start..entry.end)?;
        let record = match entry.kind {
            A => Record::Address(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into()),
            AAAA => Record::Address(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into()),
            CNAME | PTR => Record::Name(self.text(entry.start, entry.end)?),
            MX => Record::Exchange(self.u16(entry.start)?, self.text(entry.start + 2, entry.end)?),
            TXT => Record::Text(joined(octets)?),
            TLSA => {
                let (&[usage, selector, matching], rest) = octets.split_first_chunk()?;
                Record::Association(usage, selector, matching, rest.to_vec())
            }
            _ => return Some(()),
        };
        records.push(record);
        Some(())
    }

    /// Goes on to the name that `name` is an alias of; false: it is none.
    fn follow(&mut self, answers: &[Entry], name: &mut usize, ttl: &mut u32) -> Option<bool> {
        for entry in answers.iter().filter(|entry| entry.kind == CNAME) {
            if self.same(entry.owner, *name)? {
                *ttl = (*ttl).min(entry.ttl);
                *name = self.whole_name(entry.start, entry.end)?;
                return Some(true);
            }
        }
        Some(false)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes(*self.octets.get(at..)?.first_chunk()?))
    }

    /// A time to live; one with its highest bit set is none (RFC 2181 8).
    fn seconds(&self, at: usize) -> Option<u32> {
        let seconds = u32::from_be_bytes(*self.octets.get(at..)?.first_chunk()?);
        Some(if seconds > i32::MAX.unsigned_abs() { 0 } else { seconds })
    }
}

/// The strings of a TXT record, without anything between (RFC 7208 3.3). None: the last one is cut.
fn joined(mut octets: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(octets.len());
    while let Some((&length, rest)) = octets.split_first() {
        let (string, after) = rest.split_at_checked(usize::from(length))?;
        text.extend_from_slice(string);
        octets = after;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The question `m.test IN kind` and, with this many answer records, what follows.
    fn message(kind: u16, count: u16, records: &[u8]) -> Vec<u8> {
        let mut octets = vec![0, 0, 0x81, 0x80, 0, 1];
        octets.extend(count.to_be_bytes());
        octets.extend([0; 4]);
        octets.extend(b"\x01m\x04test\x00");
        octets.extend(kind.to_be_bytes());
        octets.extend([0, 1]);
        octets.extend(records);
        octets
    }

    fn record(owner: &[u8], kind: u16, octets: &[u8]) -> Vec<u8> {
        let length = u16::try_from(octets.len()).unwrap();
        [owner, &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 9], &length.to_be_bytes(), octets].concat()
    }

    /// Its answer, and labels and pointers it took.
    fn counted(octets: &[u8]) -> (Answer, usize) {
        let mut reader = Reader::new(octets);
        let answer = reader.read().unwrap_or(Answer::Unreadable);
        (answer, WORK - reader.work)
    }

    const ASKED: &[u8] = b"\xC0\x0C";

    #[test]
    fn of_records_that_are_names_the_first_fifty_are_read() {
        let name = [&b"\x01x"[..].repeat(120), &b"\0"[..]].concat();
        let hosts: Vec<u8> =
            (0..300_u16).flat_map(|number| record(ASKED, MX, &[&number.to_be_bytes()[..], &name].concat())).collect();
        let (answer, work) = counted(&message(MX, 300, &hosts));
        assert!(matches!(answer, Answer::Found(records, 9, None) if records.len() == MOST_NAMES));
        assert!(work <= MOST_NAMES * (3 + 121), "{work}");
    }

    #[test]
    fn what_was_not_asked_for_costs_no_label() {
        let name = [&b"\x01x"[..].repeat(120), &b"\0"[..]].concat();
        let mut records = record(ASKED, A, &[192, 0, 2, 1]);
        let (_, alone) = counted(&message(A, 1, &records));
        records.extend((0..250).flat_map(|_| record(ASKED, NS, &name)));
        let (answer, work) = counted(&message(A, 251, &records));
        assert_eq!(answer, Answer::Found(vec![Record::Address([192, 0, 2, 1].into())], 9, None));
        assert_eq!(work, alone);
    }

    #[test]
    fn chains_of_pointers_use_the_work_up() {
        // A name that is a pointer to a pointer and so on, and owners that all begin at its end.
        let mut records = record(b"\0", NS, &[]);
        let first = message(A, 0, &records).len();
        let mut chain: Vec<u8> = b"\xC0\x0C".to_vec();
        for link in 0..4000 {
            let to = u16::try_from(first + 2 * link).unwrap();
            chain.extend((0xC000 | to).to_be_bytes());
        }
        let last = first + chain.len() - 2;
        records = record(b"\0", NS, &chain);
        let owner = (0xC000 | u16::try_from(last).unwrap()).to_be_bytes();
        records.extend((0..400).flat_map(|_| record(&owner, A, &[192, 0, 2, 1])));
        assert_eq!(counted(&message(A, 401, &records)), (Answer::Unreadable, WORK));
    }

    #[test]
    fn a_pointer_leads_backwards_only() {
        for owner in [b"\xC0\x18", b"\xC0\xFF", b"\xFF\xFF"] {
            assert_eq!(read(&message(A, 1, &record(owner, A, &[1, 2, 3, 4]))), Answer::Unreadable);
        }
    }

    #[test]
    fn a_set_too_large_to_choose_from_is_not_read() {
        let texts = |count: u16| -> Vec<u8> {
            (0..count).flat_map(|n| record(ASKED, TXT, &[2, n.to_be_bytes()[0], n.to_be_bytes()[1]])).collect()
        };
        assert!(
            matches!(read(&message(TXT, 500, &texts(500))), Answer::Found(records, 9, None) if records.len() == 500)
        );
        assert_eq!(read(&message(TXT, 501, &texts(501))), Answer::Unreadable);
    }

    #[test]
    fn a_record_that_comes_twice_is_one() {
        let twice = record(ASKED, TXT, b"\x02ab\x01c").repeat(2);
        assert_eq!(read(&message(TXT, 2, &twice)), Answer::Found(vec![Record::Text(b"abc".to_vec())], 9, None));
    }

    #[test]
    fn a_tlsa_record_has_three_numbers_before_what_is_matched() {
        let association = |octets: &[u8]| read(&message(TLSA, 1, &record(ASKED, TLSA, octets)));
        let expected = Record::Association(3, 1, 1, b"digest".to_vec());
        assert_eq!(association(b"\x03\x01\x01digest"), Answer::Found(vec![expected], 9, None));
        let empty = Record::Association(3, 1, 1, Vec::new());
        assert_eq!(association(&[3, 1, 1]), Answer::Found(vec![empty], 9, None));
        assert_eq!(association(&[3, 1]), Answer::Unreadable);
    }

    #[test]
    fn the_name_at_the_end_of_the_aliases_is_said() {
        let alias = record(ASKED, CNAME, b"\x01N\x04test\0");
        let records = [alias, record(b"\x01n\xC0\x0E", A, &[192, 0, 2, 1])].concat();
        let address = Record::Address([192, 0, 2, 1].into());
        assert_eq!(read(&message(A, 2, &records)), Answer::Found(vec![address], 9, Some("n.test".into())));
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let owner = prop_oneof![
            Just(ASKED.to_vec()),
            (12_u16..400).prop_map(|to| (0xC000 | to).to_be_bytes().to_vec()),
            Just(b"\x01M\x04TEST\0".to_vec()),
            prop::collection::vec(any::<u8>(), 0..6),
        ];
        let kind = prop::sample::select(vec![A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, OPT, TLSA]);
        let octets = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            (12_u16..400).prop_map(|to| (0xC000 | to).to_be_bytes().to_vec()),
            Just(vec![192, 0, 2, 1]),
        ];
        (owner, kind, octets).prop_map(|(owner, kind, octets)| record(&owner, kind, &octets))
    }

    proptest! {
        #[test]
        fn any_octets_are_read(octets: Vec<u8>) {
            read(&octets);
        }

        #[test]
        fn any_records_are_read(
            kind in prop::sample::select(vec![A, CNAME, SOA, PTR, MX, TXT, AAAA, TLSA]),
            pieces in prop::collection::vec(piece(), 0..30),
        ) {
            let count = u16::try_from(pieces.len()).unwrap();
            let (answer, work) = counted(&message(kind, count, &pieces.concat()));
            prop_assert!(work <= WORK);
            if let Answer::Found(records, ttl, _) = answer {
                prop_assert!(records.len() <= usize::from(count));
                prop_assert_eq!(ttl, 9);
            }
        }
    }
}
