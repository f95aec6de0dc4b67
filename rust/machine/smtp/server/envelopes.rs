//! What the log says of the transactions of a session: the first and the last one, of each the first and the last recipients.
//!
//! Bounded, whatever the client does: the others are counted. A transaction is one from its first recipient on that policy was asked about.

use crate::machine::message::address::Address;

/// Recipients kept of one transaction: first ones, and as many last ones.
const RECIPIENTS: usize = 2;
/// Characters kept of an address; the lines of messages and refusals have it whole.
const SHOWN: usize = 192;

/// A transaction, as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its reverse-path; empty for the null reverse-path.
    pub mail_from: Box<str>,
    /// Recipients, and the codes of their replies.
    pub recipients: Vec<(Box<str>, u16)>,
    /// Recipients between the first and the last ones.
    pub left_out: u32,
    /// Empty when no message was accepted.
    pub queue_id: Box<str>,
    /// Size of the message.
    pub octets: u64,
}

/// The transactions of one session.
#[derive(Debug, Default)]
pub struct Envelopes {
    running: Option<Box<Logged>>,
    /// The number of the running one.
    number: u32,
    first: Option<Box<Logged>>,
    last: Option<Box<Logged>>,
    left_out: u32,
}

impl Envelopes {
    /// Records the code of the reply to a recipient of the transaction with this number, whose reverse-path is `sender`.
    pub fn judged(&mut self, number: u32, sender: Option<&Address>, recipient: &Address, code: u16) {
        if self.number != number {
            self.end("", 0);
            self.number = number;
        }
        let running = self.running.get_or_insert_with(|| {
            let mail_from = sender.map(shown).unwrap_or_default();
            Box::new(Logged { mail_from, recipients: Vec::new(), left_out: 0, queue_id: Box::default(), octets: 0 })
        });
        if running.recipients.len() == 2 * RECIPIENTS {
            running.recipients.remove(RECIPIENTS);
            running.left_out += 1;
        }
        running.recipients.push((shown(recipient), code));
    }

    /// The running transaction is over; `queue_id` and `octets` of its message, if it was accepted.
    pub fn end(&mut self, queue_id: &str, octets: u64) {
        let Some(mut ended) = self.running.take() else { return };
        (ended.queue_id, ended.octets) = (queue_id.into(), octets);
        if self.first.is_none() {
            self.first = Some(ended);
        } else if self.last.replace(ended).is_some() {
            self.left_out += 1;
        }
    }

    /// All that is kept, and how many transactions are not.
    pub fn take(&mut self) -> (impl Iterator<Item = Logged>, u32) {
        self.end("", 0);
        let kept = self.first.take().into_iter().chain(self.last.take()).map(|one| *one);
        (kept, std::mem::take(&mut self.left_out))
    }
}

fn shown(address: &Address) -> Box<str> {
    let text = address.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => text.get(..end).unwrap_or_default().into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::message::address::Limits;

    fn address(text: &str) -> Address {
        Address::parse(text.as_bytes(), &Limits { local_part: 0, domain: 0, path: 0 }).unwrap()
    }

    fn log(envelopes: &mut Envelopes) -> (Vec<Logged>, u32) {
        let (kept, left_out) = envelopes.take();
        (kept.collect(), left_out)
    }

    #[test]
    fn a_short_session_is_kept_whole() {
        let mut envelopes = Envelopes::default();
        let sender = address("s@remote.tld");
        envelopes.judged(1, Some(&sender), &address("a@x.test"), 250);
        envelopes.judged(1, Some(&sender), &address("b@x.test"), 550);
        envelopes.end("q1", 10);
        envelopes.judged(2, None, &address("c@x.test"), 250);
        let (kept, left_out) = log(&mut envelopes);
        let of = |one: &Logged| (one.mail_from.to_string(), one.queue_id.to_string(), one.octets, one.recipients.len());
        assert_eq!(
            kept.iter().map(of).collect::<Vec<_>>(),
            [("s@remote.tld".to_owned(), "q1".to_owned(), 10, 2), (String::new(), String::new(), 0, 1)]
        );
        assert_eq!(left_out, 0);
        assert_eq!(kept[0].recipients[1], ("b@x.test".into(), 550));
    }

    #[test]
    fn the_longest_session_is_below_2_kib() {
        let mut envelopes = Envelopes::default();
        let long = |letter: &str, number: usize| address(&format!("{}{number:04}@d.tld", letter.repeat(300)));
        for transaction in 1..50 {
            for number in 0..100 {
                envelopes.judged(transaction, Some(&long("m", 0)), &address(&format!("r{number:04}@d.tld")), 550);
            }
        }
        let (kept, left_out) = log(&mut envelopes);
        assert_eq!((kept.len(), left_out, kept[0].left_out), (2, 47, 96));
        let recipients: Vec<&str> = kept[0].recipients.iter().map(|(text, _)| &**text).collect();
        assert_eq!(recipients, ["r0000@d.tld", "r0001@d.tld", "r0098@d.tld", "r0099@d.tld"]);
        assert_eq!(kept[1].mail_from.len(), SHOWN);
    }
}
