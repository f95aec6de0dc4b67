//! A mark before the local part of the reverse-path: by it a report that comes back is known as one about a message of ours.

use super::transaction::has_control;
use super::{Client, Misuse};

impl Client {
    /// What is put before the reverse-path of each transaction from now on, such as `prvs=4787a1b2c3=`; empty for nothing.
    pub fn mark(&mut self, mark: &str) -> Result<(), Misuse> {
        if has_control(mark) || !mark.is_ascii() || mark.contains(['<', '>', ' ', '@']) {
            return Err(Misuse("not the beginning of a local part"));
        }
        mark.clone_into(&mut self.mark);
        Ok(())
    }

    /// The reverse-path of a message as it is said: a null one has no mark.
    pub(super) fn marked(&self, reverse_path: &str) -> String {
        if reverse_path.is_empty() { String::new() } else { format!("{}{reverse_path}", self.mark) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{Dialogue, message};

    #[test]
    fn a_reverse_path_has_the_mark_and_a_null_one_has_none() {
        let mut dialogue = Dialogue::smtp("250 hop\r\n");
        let sent = message(b"x\r\n", &["x@b.example"]);
        dialogue.client.mark("prvs=4787a1b2c3=").unwrap();
        dialogue.begin(&sent);
        assert!(dialogue.written.concat().starts_with("MAIL FROM:<prvs=4787a1b2c3=s@a.example>\r\n"));
        let mut null = Dialogue::smtp("250 hop\r\n");
        null.client.mark("prvs=4787a1b2c3=").unwrap();
        let mut report = Arc::into_inner(message(b"x\r\n", &["x@b.example"])).unwrap();
        report.envelope.reverse_path.clear();
        null.begin(&Arc::new(report));
        assert!(null.written.concat().starts_with("MAIL FROM:<>\r\n"));
        for wrong in ["a\r\n", "a>", "a b", "a@"] {
            assert!(null.client.mark(wrong).is_err(), "{wrong:?}");
        }
    }
}
