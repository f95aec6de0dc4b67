//! Names that never come twice: partition tags and queue ids.
//!
//! A queue id is a tag of fixed length followed by the sequence number of the message in its partition, both in base32 without
//! the letters that are misread (i, l, o, u). A tag is the time, the node and the process that made the partition, so that
//! queue ids of several nodes differ and name the node that accepted the message by the three
//! characters after the first nine.
#![forbid(unsafe_code)]

/// Characters of a tag: nine of time (good until the year 3084), three of the node, two of the process. Those of schema 1 had
/// five of the process, and are as long.
pub const LENGTH: usize = TIME + NODE + PROCESS;
const TIME: usize = 9;
const NODE: usize = 3;
/// Processes of one host that share these in the same millisecond find each other's directory.
const PROCESS: usize = 2;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The tag of a partition that process `pid` of the host named `node` makes at `now_ms` (milliseconds since the epoch).
pub fn make(now_ms: u64, node: &[u8], pid: u32) -> String {
    let mut tag = String::with_capacity(LENGTH);
    push(&mut tag, now_ms, TIME);
    push(&mut tag, node_id(node), NODE);
    push(&mut tag, u64::from(pid), PROCESS);
    tag
}

/// A number of `NODE` characters for a host name: FNV-1a, its upper half folded in.
fn node_id(name: &[u8]) -> u64 {
    let mix = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    hash ^ hash >> 32
}

/// The queue id of message `sequence` of partition `tag`.
pub fn queue_id(tag: &str, sequence: i64) -> String {
    let sequence = sequence.unsigned_abs();
    let digits = (u64::BITS - sequence.leading_zeros()).div_ceil(5).max(1);
    let mut id = String::with_capacity(tag.len() + digits as usize);
    id.push_str(tag);
    push(&mut id, sequence, digits as usize);
    id
}

/// The sequence number in `queue_id` when it belongs to partition `tag`.
pub fn sequence(tag: &str, queue_id: &str) -> Option<i64> {
    let digits = queue_id.strip_prefix(tag).filter(|digits| !digits.is_empty())?;
    digits.bytes().try_fold(0_i64, |value, digit| {
        let place = ALPHABET.iter().position(|&known| known == digit)?;
        value.checked_mul(32)?.checked_add(i64::try_from(place).ok()?)
    })
}

/// Whether `name` can be the name of a partition.
pub fn is_tag(name: &str) -> bool {
    name.len() == LENGTH && name.bytes().all(|octet| ALPHABET.contains(&octet))
}

fn push(target: &mut String, value: u64, width: usize) {
    for place in (0..width).rev() {
        let index = (value >> (5 * place)) & 31;
        target.extend(ALPHABET.get(usize::try_from(index).unwrap_or_default()).map(|&octet| char::from(octet)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tag_has_a_fixed_length_and_no_misread_letters() {
        for (now, pid) in [(0, 0), (1_790_000_000_000, 4_194_304), (u64::MAX, u32::MAX)] {
            let tag = make(now, b"mx1.example.test", pid);
            assert!(is_tag(&tag), "{tag}");
        }
        assert!(!is_tag("lost+found"));
        assert_ne!(make(1, b"a", 2), make(2, b"a", 1));
    }

    #[test]
    fn a_tag_names_its_node() {
        let node = |name: &[u8], now, pid| make(now, name, pid)[TIME..TIME + NODE].to_owned();
        assert_eq!(node(b"mx1.example.test", 1, 2), node(b"mx1.example.test", 1_790_000_000_000, 77));
        let names: std::collections::HashSet<String> =
            (0..20).map(|number| node(format!("mx{number}.example.test").as_bytes(), 1, 2)).collect();
        assert_eq!(names.len(), 20);
    }

    proptest! {
        #[test]
        fn a_queue_id_gives_its_sequence_back(sequence_ in 0..=i64::MAX, now: u64, node: Vec<u8>, pid: u32) {
            let tag = make(now, &node, pid);
            let id = queue_id(&tag, sequence_);
            prop_assert_eq!(sequence(&tag, &id), Some(sequence_));
        }

        #[test]
        fn any_text_is_a_value(text in ".{0,40}") {
            let _ = sequence("", &text);
        }
    }
}
