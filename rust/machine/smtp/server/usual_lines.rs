//! Lines as nearly all of a content is made of, found many at once: whole ones, each with its CRLF, that need no change.
//!
//! A search for the end of each line costs most where lines are short. So blocks are looked at as a whole, without a branch an octet, which
//! the compiler makes a few instructions for 16 octets. What is not usual is left to the code that reads line by line.

/// Octets of a block.
const BLOCK: usize = 256;
/// No line in a run has so many octets, its CRLF counted.
pub const LONGER: usize = 2 * BLOCK;

/// Octets at the front, which is the start of a line, that are whole lines without a CR or LF on its own, none of which begins with `stop`.
/// There may be more of them.
pub fn run(octets: &[u8], stop: Option<u8>) -> usize {
    let mut end = 0;
    if octets.starts_with(b"\n") || octets.first().copied() == stop {
        return end;
    }
    while octets.get(end..).and_then(<[u8]>::first_chunk).is_some_and(|block| is_usual(block, stop)) {
        end += BLOCK;
    }
    octets.get(..end).and_then(|run| memchr::memrchr(b'\n', run)).map_or(0, |last| last + 1)
}

/// A line ends in the block, and no CR, LF or start of a line in it is special. Of the next block two octets are needed.
fn is_usual(block: &[u8; BLOCK + 2], stop: Option<u8>) -> bool {
    let (stop, stops) = (stop.unwrap_or_default(), u8::from(stop.is_some()));
    let (mut ends, mut special) = (0, 0);
    for ((first, second), third) in block.iter().zip(&block[1..=BLOCK]).zip(&block[2..]) {
        let end = u8::from(*second == b'\n');
        ends |= end;
        special |= (u8::from(*first == b'\r') ^ end) | (end & stops & u8::from(*third == stop));
    }
    ends != 0 && special == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, line by line: as far as lines are usual.
    fn usual(octets: &[u8], stop: Option<u8>) -> usize {
        let mut end = 0;
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            let special = line.iter().filter(|octet| matches!(octet, b'\r' | b'\n')).count() != 2;
            if special || !line.ends_with(b"\r\n") || line.first().copied() == stop {
                break;
            }
            end += line.len();
        }
        end
    }

    proptest! {
        #[test]
        fn a_run_is_usual_lines_and_ends_only_before_what_is_special_or_long(
            lines in prop::collection::vec(("[ab\r\n.\0]{0,3}", 0..80usize, 0..40u8), 0..30), stops: bool
        ) {
            let mut octets = Vec::new();
            for (odd, length, kind) in lines {
                match kind {
                    0 => octets.extend(odd.bytes()),
                    1 => octets.extend([b'x'; LONGER]),
                    2 => octets.push(b'.'),
                    _ => octets.extend(std::iter::repeat_n(b'x', length)),
                }
                octets.extend(b"\r\n");
            }
            let stop = stops.then_some(b'.');
            let (found, most) = (run(&octets, stop), usual(&octets, stop));
            prop_assert!(found <= most);
            let run = &octets[..found];
            prop_assert!(run.is_empty() || run.ends_with(b"\r\n"));
            prop_assert!(run.split_inclusive(|octet| *octet == b'\n').all(|line| line.len() < LONGER));
            let rest = octets[found..most].split_inclusive(|octet| *octet == b'\n');
            prop_assert!(most - found < 2 * BLOCK + 2 || rest.clone().any(|line| line.len() > BLOCK), "{found} of {most}");
        }
    }

    #[test]
    fn each_place_of_a_block_is_looked_at() {
        let lines = b"0123456789\r\n".repeat(80);
        assert!(run(&lines, Some(b'.')) > 3 * BLOCK - 12);
        for (at, octet) in (0..3 * BLOCK).flat_map(|at| [(at, b'\r'), (at, b'\n'), (at, b'.')]) {
            let mut special = lines.clone();
            special[at] = octet;
            for stop in [None, Some(b'.')] {
                let (found, most) = (run(&special, stop), usual(&special, stop));
                assert!(found <= most, "{octet} at {at}: {found} of {most}");
            }
        }
    }
}
