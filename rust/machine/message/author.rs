//! Whom a header section says it is from: every mailbox of every `From` field (RFC 5322 3.6.2, RFC 6854).
//!
//! Total and linear. A field that breaks the grammar gives the mailboxes before the break, and its one mailbox where there is no other
//! reading; or else whatever can be read as an address: programs show one of them, and a list of unwanted senders is to find it.

use super::address::Address;
use super::header::fields;
use super::mailbox::{lone_mailbox, mailboxes};
use super::shown::shown_addresses;

/// Mailboxes that are given; a message from more people than this is from nobody in particular.
pub const MOST: usize = 256;
/// Readings of fields that break the grammar which are tried.
const MOST_TRIED: usize = 4 * MOST;

/// The mailboxes, in their order, at most [`MOST`].
pub fn authors(header: &[u8]) -> Vec<Address> {
    let (mut found, mut left) = (Vec::new(), MOST_TRIED);
    for field in fields(header).filter(|field| field.is("From")) {
        for mailbox in mailboxes(field.value) {
            match mailbox.ok().or_else(|| lone_mailbox(field.value)) {
                Some(address) => found.push(address),
                None => add_shown(field.value, &mut found, &mut left),
            }
            if found.len() >= MOST {
                return found;
            }
        }
    }
    found
}

fn add_shown(value: &[u8], found: &mut Vec<Address>, left: &mut usize) {
    for address in shown_addresses(value).take(*left) {
        *left -= 1;
        if let Some(address) = address.filter(|address| !found.contains(address))
            && found.len() < MOST
        {
            found.push(address);
        }
    }
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
            ("From: a@f, <b@g", "a@f b@g"),
            ("From: x <a@f> <b@g>\r\nFrom: \"c@h", "a@f b@g c@h"),
            ("From: Public, Ann <a@f>", "a@f"),
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
        let unread = (0..10 * MOST).fold(String::new(), |text, number| text + &format!("<a@f{number}"));
        assert_eq!(authors(format!("From: {unread}\r\n").as_bytes()).len(), MOST);
        let tried: String = "From: a@-\r\n".repeat(MOST_TRIED) + "From: <b@f\r\n";
        assert_eq!(authors(tried.as_bytes()).len(), 0);
    }

    proptest! {
        #[test]
        fn total(header in any::<Vec<u8>>()) {
            prop_assert!(authors(&header).len() <= MOST);
        }
    }
}
