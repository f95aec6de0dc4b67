//! The purported responsible address of a message: who says to have brought it here last (RFC 4407 2).
//!
//! Promises: the steps of the standard and nothing besides, in one pass over the header section; total and linear. Never looks
//! at the envelope: what is used when there is no such field is policy's.

use crate::machine::message::address::Address;
use crate::machine::message::header::{Field, fields};
use crate::machine::message::mailbox::{lone_mailbox, mailboxes};

/// What the header section says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Responsible {
    /// This mailbox, in the field of this name. Its domain is never empty, yet may be an address literal.
    Found(&'static str, Address),
    /// The same, in a field that breaks the grammar and that all programs read alike (`Ann: Sales <a@example.com>`).
    Lenient(&'static str, Address),
    /// None of the four fields is there, or those that are hold nothing.
    Absent,
    /// The fields are there and the message is ill-formed (RFC 4407 2 step 6); the name of the field that makes it so.
    IllFormed(&'static str),
}

const RESENT_SENDER: &str = "Resent-Sender";
const RESENT_FROM: &str = "Resent-From";
const SENDER: &str = "Sender";
const FROM: &str = "From";

/// The fields of one name, of which the first counts.
#[derive(Debug, Default)]
struct Seen<'a> {
    first: Option<&'a [u8]>,
    count: usize,
}

impl<'a> Seen<'a> {
    fn add(&mut self, field: &Field<'a>) {
        self.first = self.first.or(Some(field.value));
        self.count += 1;
    }
}

/// The purported responsible address of a header section; the body may follow it and is not read.
pub fn responsible_address(header: &[u8]) -> Responsible {
    let (mut resent_sender, mut resent_from) = (Seen::default(), Seen::default());
    let (mut sender, mut from) = (Seen::default(), Seen::default());
    // A trace field is below a Resent-From: what is below belongs to an older block.
    let (mut block_ended, mut of_older_block) = (false, false);
    // "Fields that contain only white space are treated as if they were not present."
    for field in fields(header).filter(|field| !field.value.trim_ascii().is_empty()) {
        if field.is(RESENT_SENDER) {
            of_older_block |= resent_sender.count == 0 && block_ended;
            resent_sender.add(&field);
        } else if field.is(RESENT_FROM) {
            resent_from.add(&field);
        } else if field.is("Received") || field.is("Return-Path") {
            block_ended |= resent_from.count > 0;
        } else if field.is(SENDER) {
            sender.add(&field);
        } else if field.is(FROM) {
            from.add(&field);
        }
    }
    // Steps 1 to 4.
    let (name, value) = match (resent_sender.first, resent_from.first, sender.first, from.first) {
        (Some(value), _, _, _) if !of_older_block => (RESENT_SENDER, value),
        (_, Some(value), _, _) => (RESENT_FROM, value),
        (_, _, Some(_), _) if sender.count > 1 => return Responsible::IllFormed(SENDER),
        (_, _, Some(value), _) => (SENDER, value),
        (_, _, _, Some(_)) if from.count > 1 => return Responsible::IllFormed(FROM),
        (_, _, _, Some(value)) => (FROM, value),
        _ => return Responsible::Absent,
    };
    // Step 5: exactly one mailbox.
    let mut found = mailboxes(value);
    match (found.next(), found.next()) {
        (Some(Ok(address)), None) => Responsible::Found(name, address),
        _ => lone_mailbox(value).map_or(Responsible::IllFormed(name), |address| Responsible::Lenient(name, address)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `Found` as `field: address`, `Lenient` as `field ~ address`, `IllFormed` as `field?`, `Absent` as nothing.
    fn read(header: &[u8]) -> String {
        match responsible_address(header) {
            Responsible::Found(field, address) => format!("{field}: {address}"),
            Responsible::Lenient(field, address) => format!("{field} ~ {address}"),
            Responsible::IllFormed(field) => format!("{field}?"),
            Responsible::Absent => String::new(),
        }
    }

    fn check(table: &[(&[&str], &str)]) {
        for (lines, expected) in table {
            assert_eq!(read((lines.join("\r\n") + "\r\n").as_bytes()), *expected, "{lines:?}");
        }
    }

    #[test]
    #[rustfmt::skip] // a table
    fn the_field_is_chosen_by_the_standard_steps() {
        check(&[
            (&[], ""),
            (&["Subject: x"], ""),
            (&["From: a@f"], "From: a@f"),
            (&["From: a@f", "Sender: a@s"], "Sender: a@s"),
            (&["Sender: a@s"], "Sender: a@s"),
            (&["From: a@f", "Sender: a@s", "Resent-From: a@rf"], "Resent-From: a@rf"),
            (&["From: a@f", "Sender: a@s", "Resent-From: a@rf", "Resent-Sender: a@rs"], "Resent-Sender: a@rs"),
            (&["Resent-Sender: a@rs", "From: a@f"], "Resent-Sender: a@rs"),
            (&["Reply-To: a@r", "Return-Path: <a@p>", "Errors-To: a@e"], ""),
            // Duplicates: of Resent-* the first, of the others none.
            (&["From: a@f", "From: b@f"], "From?"),
            (&["From: a@f", "From: a@f"], "From?"),
            (&["From: a@f", "From: b@f", "Sender: a@s"], "Sender: a@s"),
            (&["Sender: a@s", "Sender: b@s", "From: a@f"], "Sender?"),
            (&["Sender: a@s", "Sender: a@s"], "Sender?"),
            (&["Resent-From: a@x", "Resent-From: b@x"], "Resent-From: a@x"),
            (&["Resent-Sender: a@x", "Resent-Sender: b@x"], "Resent-Sender: a@x"),
            (&["Sender: a@s", "Sender: b@s", "Resent-From: a@rf"], "Resent-From: a@rf"),
            // Blank fields are as if they were not there.
            (&["Sender:", "From: a@f"], "From: a@f"),
            (&["Sender: \t", "From: a@f", "From:  ", "From:"], "From: a@f"),
            (&["Sender: ", "Sender: a@s", "Sender:\r\n\t"], "Sender: a@s"),
            (&["Resent-Sender: ", "Resent-From:", "From: a@f"], "From: a@f"),
            (&["Resent-From:\r\n ", "Resent-From: b@x"], "Resent-From: b@x"),
            (&["From:", "Sender:", "Resent-From: \r\n\t ", "Resent-Sender:"], ""),
            // Resent blocks (step 1): a Resent-Sender below a trace field below a Resent-From is another block's.
            (&["Resent-From: a@rf", "Received: by x", "Resent-Sender: a@rs"], "Resent-From: a@rf"),
            (&["Resent-From: a@rf", "Return-Path: <>", "Resent-Sender: a@rs"], "Resent-From: a@rf"),
            (&["Resent-From: a@rf", "Subject: x", "Resent-Sender: a@rs"], "Resent-Sender: a@rs"),
            (&["Received: by x", "Resent-From: a@rf", "Resent-Sender: a@rs"], "Resent-Sender: a@rs"),
            (&["Received: by x", "Resent-Sender: a@rs", "Resent-From: a@rf"], "Resent-Sender: a@rs"),
            (&["Resent-Sender: a@rs", "Resent-From: a@rf", "Received: by x", "Resent-Sender: b@rs"], "Resent-Sender: a@rs"),
            (&["Resent-From: a@rf", "Received: by x", "Resent-From: b@rf", "Resent-Sender: b@rs"], "Resent-From: a@rf"),
            (&["Resent-From:", "Received: by x", "Resent-Sender: a@rs"], "Resent-Sender: a@rs"),
            (&["Resent-From: a@rf", "Received:", "Resent-Sender: a@rs"], "Resent-Sender: a@rs"),
            (&["Resent-From: a@rf", "Received: by x", "Resent-Sender: a@rs", "Resent-Sender: b@rs"], "Resent-From: a@rf"),
            (&["Received: by x", "Resent-Sender: a@rs", "From: a@f"], "Resent-Sender: a@rs"),
            // Names: case, blanks before the colon.
            (&["FROM: a@f"], "From: a@f"),
            (&["from \t: a@f"], "From: a@f"),
            (&["rESENT-sENDER : a@rs", "From: a@f"], "Resent-Sender: a@rs"),
            (&["From\u{a0}: a@f"], ""),
            (&["X-From: a@f", "Fro: b@f", "From2: c@f"], ""),
        ]);
    }

    #[test]
    #[rustfmt::skip] // a table
    fn the_field_holds_one_mailbox_with_a_domain() {
        check(&[
            (&["From: Joe <a@f>"], "From: a@f"),
            (&["From: \"Public, Joe\" <a@f>"], "From: a@f"),
            (&["From: \"a,b\"@f"], "From: \"a,b\"@f"),
            (&["From: \"x@y\" <a@f>"], "From: a@f"),
            (&["From: (x@y) a(z)@f (Joe, him)"], "From: a@f"),
            (&["From:\r\n Joe\r\n\t<a@\r\n f>"], "From: a@f"),
            (&["From: <@x,@y:a@f>"], "From: a@f"),
            (&["From: a@[192.0.2.1]"], "From: a@[192.0.2.1]"),
            (&["From: a@b\u{fc}cher.example"], "From: a@xn--bcher-kva.example"),
            (&["From: J\u{fc}rgen <j\u{fc}@f>"], "From: j\u{fc}@f"),
            (&["From: a@f, ,"], "From: a@f"),
            (&["From: Friends: a@f;"], "From: a@f"),
            // No phrase by the grammar, and still one mailbox for everybody.
            (&["From: [JIRA] Ann <a@f>"], "From ~ a@f"),
            (&["From: Ann: Sales <a@f>"], "From ~ a@f"),
            (&["Sender: Re: [x]\r\n\t<a@f> (note)", "From: b@f"], "Sender ~ a@f"),
            (&["From: [x] b@f <a@f>"], "From?"),
            (&["From: [x], Ann <a@f>"], "From?"),
            // Several mailboxes, none, no domain, hopeless syntax.
            (&["From: a@f, b@f"], "From?"),
            (&["From: a@f, a@f"], "From?"),
            (&["From: Friends: a@f, b@f;"], "From?"),
            (&["From: a@f, undisclosed:;"], "From: a@f"),
            (&["From: undisclosed recipients:;"], "From?"),
            (&["From: (a@f)"], "From?"),
            (&["From: ,"], "From?"),
            (&["From: <>"], "From?"),
            (&["From: root"], "From?"),
            (&["From: Joe <root>"], "From?"),
            (&["From: Public, Joe <a@f>"], "From?"),
            (&["From: x@y <a@f>"], "From?"),
            (&["From: a@f b@f"], "From?"),
            (&["From: <a@f> <b@f>"], "From?"),
            (&["From: a@f;"], "From?"),
            (&["From: <a@f"], "From?"),
            (&["From: a@f (x"], "From?"),
            (&["From: a@f..g"], "From?"),
            // The field that was chosen counts: no better one is looked for.
            (&["Sender: root", "From: a@f"], "Sender?"),
            (&["Resent-From: a@f, b@f", "From: a@f"], "Resent-From?"),
            (&["Resent-Sender: x", "Resent-From: a@f"], "Resent-Sender?"),
        ]);
        assert_eq!(read(b"From: J\xfcrgen <a@f>\r\n"), "From: a@f");
        assert_eq!(read(b"From: a@\xfc.example\r\n"), "From?");
        assert_eq!(read(b"From: \xfc@f\r\n"), "From?");
    }

    #[test]
    fn the_header_section_ends_where_that_of_the_message_ends() {
        assert_eq!(read(b"Subject: x\r\n\r\nFrom: a@f\r\n"), "");
        assert_eq!(read(b"\r\nFrom: a@f\r\n"), "");
        // Before a line that is no field the message gets an empty line.
        assert_eq!(read(b"From x Thu Jan 1 00:00:00 1970\r\nFrom: a@f\r\n\r\n"), "From: a@f");
        assert_eq!(read(b"garbage\r\n folded\r\nFrom: a@f\r\n\r\n"), "");
        assert_eq!(read(b" folded\r\nFrom: a@f\r\n\r\n"), "");
        assert_eq!(read(b"From: a@f\r\ngarbage\r\nSender: b@f\r\n\r\n"), "From: a@f");
    }

    #[test]
    fn a_cut_header_section_is_read_as_far_as_it_goes() {
        let header = b"Received: from x\r\n\tby y\r\nFrom: Joe <a@f.test>";
        for end in 0..header.len() {
            let expected = if end < b"Received: from x\r\n\tby y\r\nFrom: J".len() { "" } else { "From?" };
            assert_eq!(read(&header[..end]), expected, "{:?}", header[..end].escape_ascii().to_string());
        }
        assert_eq!(read(header), "From: a@f.test");
    }

    #[test]
    fn hostile_length_costs_linear_time() {
        for field in
            ["From: a@b\r\n", "Resent-From: a@b\r\nReceived: x\r\n", "Resent-Sender:\r\n", "Sender: (\r\n", " \r\n"]
        {
            responsible_address(field.repeat(500_000 / field.len()).as_bytes());
        }
        responsible_address(&[b"From: ", "a@b, ".repeat(300_000).as_bytes()].concat());
    }

    proptest! {
        #[test]
        fn total(header in any::<Vec<u8>>()) {
            responsible_address(&header);
        }

        /// Fields of other names, wherever they are, change nothing, nor does the case of a name.
        #[test]
        fn other_fields_do_not_matter(picks in proptest::collection::vec(0..9_usize, 0..8), noise in 0..8_usize) {
            let known = [
                "From: a@f", "From: b@f, c@f", "From:", "Sender: a@s", "Sender: \t", "Resent-From: a@rf", "Resent-Sender: a@rs",
                "Received: by x", "Return-Path: <>",
            ];
            let lines: Vec<String> = picks.iter().map(|&pick| known[pick].to_owned()).collect();
            let mut other: Vec<String> = lines.iter().map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                format!("{} :{value}", name.to_uppercase())
            }).collect();
            other.insert(noise.min(other.len()), "X-Resent-From: From: z@z,\r\n\tSender: z@z".into());
            prop_assert_eq!(read((lines.join("\r\n") + "\r\n").as_bytes()), read((other.join("\r\n") + "\r\n").as_bytes()));
        }
    }
}
