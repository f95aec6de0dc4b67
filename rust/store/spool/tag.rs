//! Names that never come twice: partition tags and queue ids.
//!
//! A queue id is a tag of fixed length followed by the sequence number of the message in its partition, both in base32 without
//! the letters that are misread (i, l, o, u).
#![forbid(unsafe_code)]

/// Characters of a tag: nine of time (good until the year 3084) and five of process id.
pub const LENGTH: usize = TIME + PROCESS;
const TIME: usize = 9;
const PROCESS: usize = 5;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The tag of a partition that process `pid` makes at `now_ms` (milliseconds since the epoch).
pub fn make(now_ms: u64, pid: u32) -> String {
    let mut tag = String::with_capacity(LENGTH);
    push(&mut tag, now_ms, TIME);
    push(&mut tag, u64::from(pid), PROCESS);
    tag
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
            let tag = make(now, pid);
            assert!(is_tag(&tag), "{tag}");
        }
        assert!(!is_tag("lost+found"));
        assert_ne!(make(1, 2), make(2, 1));
    }

    proptest! {
        #[test]
        fn a_queue_id_gives_its_sequence_back(sequence_ in 0..=i64::MAX, now: u64, pid: u32) {
            let tag = make(now, pid);
            let id = queue_id(&tag, sequence_);
            prop_assert_eq!(sequence(&tag, &id), Some(sequence_));
        }

        #[test]
        fn any_text_is_a_value(text in ".{0,40}") {
            let _ = sequence("", &text);
        }
    }
}
