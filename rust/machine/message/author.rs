//! Whom a header section says it is from: every mailbox of every `From` field (RFC 5322 3.6.2, RFC 6854).
//!
//! Total and linear. A field that breaks the grammar gives the mailboxes before the break, or its one mailbox where there is no other reading.

use super::address::Address;
use super::header::fields;
use super::mailbox::{lone_mailbox, mailboxes};

/// Mailboxes that are given; a message from more people than this is from nobody in particular.
pub const MOST: usize = 256;

/// The mailboxes, in their order, at most [`MOST`].
pub fn authors(header: &[u8]) -> Vec<Address> {
    let mut found = Vec::new();
    for field in fields(header).filter(|field| field.is("From")) {
        for mailbox in mailboxes(field.value) {
            match mailbox {
                Ok(address) => found.push(address),
                Err(_) => found.extend(lone_mailbox(field.value)),
            }
            if found.len() >= MOST {
                return found;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(header: &[u8]) -> String {
        authors(header).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_mailbox_of_every_field_is_given() {
        for (header, expected) in [
            ("", ""),
            ("Subject: a@f", ""),
            ("From: a@f", "a@f"),
            ("from : \"a@x\" <A@F.>, b@g (c@h), Friends: d@i, e@j;", "A@f b@g d@i e@j"),
            ("From: a@f\r\nSender: b@s\r\nFrom: c@g", "a@f c@g"),
            ("From: a@f,\r\n\tb@g", "a@f b@g"),
            ("From: [JIRA] Ann <a@f>", "a@f"),
            ("From: a@f, b c d", "a@f"),
            ("From: root", ""),
            ("From: a@b\u{fc}cher.example", "a@xn--bcher-kva.example"),
            ("Subject: x\r\n\r\nFrom: a@f", ""),
        ] {
            assert_eq!(read(format!("{header}\r\n").as_bytes()), expected, "{header:?}");
        }
    }

    #[test]
    fn their_number_is_bounded() {
        let many = format!("From: {}\r\n", vec!["a@f"; 10 * MOST].join(","));
        assert_eq!(authors(many.as_bytes()).len(), MOST);
    }

    proptest! {
        #[test]
        fn total(header in any::<Vec<u8>>()) {
            prop_assert!(authors(&header).len() <= MOST);
        }
    }
}
