//! The header section of a content: its fields in order, from the first octet to the blank line (RFC 5322 2.2).
//!
//! Total and without allocation: whatever stands there, a field is what begins with a name and a colon at the start of a line
//! and goes on over lines that begin with white space; the first line that is neither ends the section.
#![forbid(unsafe_code)]

/// One header field as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Name without the colon.
    pub name: &'a [u8],
    /// Everything after the colon, folding included, without the last CRLF.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// The field has this name, whatever the case (RFC 5322 1.2.2).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a header section, top first.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// The fields at the head of a content.
pub fn fields(head: &[u8]) -> Fields<'_> {
    Fields { rest: head }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (line, _) = split_line(self.rest);
        let colon = memchr::memchr(b':', line)?;
        let (name, _) = line.split_at_checked(colon)?;
        let name = name.trim_ascii_end();
        // RFC 5322 2.2: printable US-ASCII but the colon.
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut end = 0;
        loop {
            let (line, rest) = split_line(self.rest.get(end..)?);
            end += line.len();
            if !matches!(rest.first(), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let value = field.get(colon + 1..)?;
        Some(Field { name, value: value.strip_suffix(b"\r\n").unwrap_or(value) })
    }
}

/// The first line with its line end, and what follows.
fn split_line(octets: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
    octets.split_at_checked(end).unwrap_or((octets, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(head: &[u8]) -> Vec<String> {
        fields(head).map(|field| String::from_utf8_lossy(field.name).into_owned()).collect()
    }

    #[test]
    fn reads_fields_in_order() {
        let head = b"Received: from a\r\n\tby b\r\nSubject: x\r\n y\r\nFrom : a@b\r\n\r\nTo: body\r\n";
        assert_eq!(names(head), ["Received", "Subject", "From"]);
        assert_eq!(fields(head).next().unwrap().value, b" from a\r\n\tby b");
    }

    #[test]
    fn ends_where_no_field_is() {
        for head in [&b""[..], b"\r\nSubject: x\r\n", b"no colon here\r\nSubject: x\r\n", b": empty\r\n", b"a b: x\r\n"]
        {
            assert!(names(head).is_empty(), "{head:?}");
        }
        assert_eq!(names(b"Subject: cut"), ["Subject"]);
    }

    proptest! {
        #[test]
        fn total(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read: usize = fields(&head).map(|field| field.name.len() + field.value.len() + 1).sum();
            prop_assert!(read <= head.len());
        }
    }
}
