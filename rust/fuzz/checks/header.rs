//! Fields stand one after the other from the first octet on, and hold what was between their names.

use mailmoat_native::header::fields;

pub fn check(input: &[u8]) {
    let (_, head) = super::split::<1>(input);
    let mut rest = head.as_slice();
    for field in fields(&head) {
        assert!(!field.name.is_empty() && field.name.iter().all(u8::is_ascii_graphic), "{field:?}");
        assert!(!field.name.contains(&b':') && field.is(std::str::from_utf8(field.name).unwrap()));
        rest = rest.strip_prefix(field.name).unwrap().trim_ascii_start().strip_prefix(b":").unwrap();
        rest = rest.strip_prefix(field.value).unwrap();
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        // Every line after the first is folded; the last one may end in a bare LF, which is left to it.
        let mut lines = field.value.split_inclusive(|&octet| octet == b'\n').skip(1);
        assert!(lines.all(|line| matches!(line[0], b' ' | b'\t')), "{field:?}");
        assert!(!matches!(rest.first(), Some(b' ' | b'\t')) || !head.is_empty());
    }
    assert!(rest.len() <= head.len());
}
