//! Whatever a name server says is one answer: names as they are written in questions, no more records than are taken, and
//! nothing behind the message makes a difference.

use mailmoat_native::machine::dns::{Answer, MOST_NAMES, MOST_RECORDS, Record, read};

pub fn check(input: &[u8]) {
    let answer = read(input);
    assert_eq!(read(input), answer);
    // A message says how long it is by its counts.
    let followed = [input, b"\0\0\x05\0\x01\0\0\0\0\0\0"].concat();
    if answer != Answer::Unreadable {
        assert_eq!(read(&followed), answer);
    }
    let Answer::Found(records, ttl, alias) = answer else { return };
    assert!(records.len() <= MOST_RECORDS && i32::try_from(ttl).is_ok());
    assert!(alias.is_none_or(|name| name.len() < 4 * 255 && name.bytes().all(|octet| octet.is_ascii_graphic())));
    for (at, record) in records.iter().enumerate() {
        assert!(!records[..at].contains(record), "{record:?} twice");
        match record {
            Record::Name(name) | Record::Exchange(_, name) => {
                assert!(records.len() <= MOST_NAMES);
                assert!(name.len() < 4 * 255 && !name.ends_with('.'), "{name}");
                assert!(name.bytes().all(|octet| octet.is_ascii_graphic() && !octet.is_ascii_uppercase()), "{name}");
            }
            Record::Text(octets) | Record::Association(_, _, _, octets) => assert!(octets.len() < input.len()),
            Record::Address(_) => {}
        }
    }
}
