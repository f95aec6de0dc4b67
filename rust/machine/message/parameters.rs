//! Parameters of an envelope: keywords and values as ESMTP writes them behind a path (RFC 5321 4.1.2, RFC 6531 3.3).
//!
//! One notation for those of MAIL, those of RCPT and the facts about a session, in memory, in the spool and on the wire, so that
//! a new one needs neither a field nor a column. Promises: only what the notation can hold gets in, so `parse(p.as_str()) == p`.
//! Keywords are compared without regard to case. Never decides what a parameter means.

/// A list of `KEYWORD` and `KEYWORD=value`, in their order, in one string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(String);

impl Parameters {
    /// Reads a list; None when a part of it is not a parameter.
    pub fn parse(text: &str) -> Option<Self> {
        let mut list = Self::default();
        text.split(' ').filter(|part| !part.is_empty()).all(|part| list.push_part(part)).then_some(list)
    }

    /// Whether this is an `esmtp-keyword`.
    pub fn is_keyword(text: &str) -> bool {
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
    }

    /// Appends a parameter, and returns whether the notation can hold it.
    pub fn push(&mut self, keyword: &str, value: Option<&str>) -> bool {
        let holds = Self::is_keyword(keyword) && value.is_none_or(is_value);
        if holds {
            if !self.0.is_empty() {
                self.0.push(' ');
            }
            self.0.push_str(keyword);
            if let Some(value) = value {
                self.0.push('=');
                self.0.push_str(value);
            }
        }
        holds
    }

    /// Whether the keyword is there, with a value or without.
    pub fn has(&self, keyword: &str) -> bool {
        self.iter().any(|(known, _)| known.eq_ignore_ascii_case(keyword))
    }

    /// The value of a keyword; None when it has none or is not there.
    pub fn value(&self, keyword: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(keyword))?.1
    }

    /// Keywords and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.split(' ').filter(|part| !part.is_empty()).map(split)
    }

    /// The list as it is written: parameters parted by a space.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn push_part(&mut self, part: &str) -> bool {
        let (keyword, value) = split(part);
        self.push(keyword, value)
    }
}

fn split(part: &str) -> (&str, Option<&str>) {
    part.split_once('=').map_or((part, None), |(keyword, value)| (keyword, Some(value)))
}

fn is_value(text: &str) -> bool {
    !text.is_empty() && !text.contains(|character: char| character == '=' || character == ' ' || character.is_control())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_is_read_and_asked() {
        let list = Parameters::parse("BODY=8BITMIME SMTPUTF8 ORCPT=utf-8;j\u{f6}rg@b\u{fc}cher.test").unwrap();
        assert_eq!(list.value("body"), Some("8BITMIME"));
        assert!(list.has("smtputf8") && list.value("SMTPUTF8").is_none());
        assert!(!list.has("RET"));
        assert_eq!(list.iter().count(), 3);
        assert_eq!(list.as_str(), "BODY=8BITMIME SMTPUTF8 ORCPT=utf-8;j\u{f6}rg@b\u{fc}cher.test");
    }

    #[test]
    fn what_the_notation_cannot_hold_is_refused() {
        let mut list = Parameters::default();
        for (keyword, value) in [
            ("", None),
            ("-A", None),
            ("A B", None),
            ("A=B", None),
            ("A", Some("")),
            ("A", Some("b c")),
            ("A", Some("=")),
            ("A", Some("\u{85}")),
        ] {
            assert!(!list.push(keyword, value), "{keyword:?} {value:?}");
        }
        assert_eq!(list, Parameters::default());
        assert_eq!(Parameters::parse("A=b =c"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in prop::collection::vec(("[A-Z0-9][A-Z0-9-]{0,9}", prop::option::of("[!-<>-~\u{e9}]{1,9}")), 0..6)) {
            let mut list = Parameters::default();
            for (keyword, value) in &pairs {
                prop_assert!(list.push(keyword, value.as_deref()));
            }
            prop_assert_eq!(Parameters::parse(list.as_str()), Some(list.clone()));
            let read: Vec<_> = list.iter().map(|(keyword, value)| (keyword.to_owned(), value.map(str::to_owned))).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn any_text_is_a_value(text in ".{0,40}") {
            let _ = Parameters::parse(&text);
        }
    }
}
