//! Content on its way out: dot-stuffed, ended by a line end and the lone dot. RFC 5321 4.5.2.
//!
//! Octets are otherwise unchanged. A dot is doubled after *any* line feed: should a bare one ever be inside, no receiver can
//! read an end of data out of it (SMTP smuggling).

use memchr::memmem;

/// Stuffs pieces of one content, cut anywhere.
#[derive(Debug)]
pub struct Stuffer {
    last: [u8; 2],
}

impl Default for Stuffer {
    fn default() -> Self {
        Self { last: *b"\r\n" }
    }
}

impl Stuffer {
    /// Adds `piece` to `output`.
    pub fn push(&mut self, piece: &[u8], output: &mut Vec<u8>) {
        output.reserve(piece.len() + piece.len() / 64 + 8);
        if self.last[1] == b'\n' && piece.first() == Some(&b'.') {
            output.push(b'.');
        }
        let mut rest = piece;
        while let Some((line, next)) = memmem::find(rest, b"\n.").and_then(|at| rest.split_at_checked(at + 1)) {
            output.extend_from_slice(line);
            output.push(b'.');
            // The dot itself is the start of the next line and cannot begin another match.
            rest = next;
        }
        output.extend_from_slice(rest);
        match piece {
            [.., a, b] => self.last = [*a, *b],
            [b] => self.last = [self.last[1], *b],
            [] => {}
        }
    }

    /// Ends the content: a missing line end is completed, then the lone dot.
    pub fn finish(self, output: &mut Vec<u8>) {
        output.extend_from_slice(match self.last {
            [b'\r', b'\n'] => b".\r\n",
            [_, b'\r'] => b"\n.\r\n",
            _ => b"\r\n.\r\n",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuff(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut output) = (Stuffer::default(), Vec::new());
        for piece in pieces {
            stuffer.push(piece, &mut output);
        }
        stuffer.finish(&mut output);
        output
    }

    /// What a receiver makes of it: content, and whether the lone dot was the very end.
    fn unstuff(wire: &[u8]) -> (Vec<u8>, bool) {
        let mut content = Vec::new();
        let mut rest = wire;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, next) = rest.split_at(end);
            if line == b".\r\n" || line == b".\n" {
                return (content, next.is_empty());
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            rest = next;
        }
        (content, false)
    }

    #[test]
    fn examples() {
        assert_eq!(stuff(&[]), b".\r\n");
        assert_eq!(stuff(&[b".\r\n"]), b"..\r\n.\r\n");
        assert_eq!(stuff(&[b"a\r\n..b\r\nc.d\r\n"]), b"a\r\n...b\r\nc.d\r\n.\r\n");
        assert_eq!(stuff(&[b"a\r\n", b".b"]), b"a\r\n..b\r\n.\r\n");
        assert_eq!(stuff(&[b"a\r"]), b"a\r\n.\r\n");
        assert_eq!(stuff(&[b"a\n"]), b"a\n\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn unstuffed_is_what_was_meant(lines in prop::collection::vec("[.a\u{e4}]{0,5}", 0..20), cuts in prop::collection::vec(0usize..100, 0..4)) {
            let content: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(content.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&content[from..cut]);
                from = cut;
            }
            pieces.push(&content[from..]);
            prop_assert_eq!(unstuff(&stuff(&pieces)), (content, true));
        }

        #[test]
        fn no_content_ends_the_data_early(content in prop::collection::vec(prop::sample::select(b"\r\n.a".to_vec()), 0..40)) {
            prop_assert!(unstuff(&stuff(&[&content])).1);
        }
    }
}
