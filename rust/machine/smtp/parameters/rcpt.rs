//! Parameters of RCPT: when a report about the recipient is wanted, and which recipient the sender meant (RFC 3461 4.1, 4.2,
//! RFC 6533 3).
//!
//! Values are kept as they were given, because they are handed on so (RFC 3461 5.2.1).

use super::{Kept, keep};
use crate::machine::message::address::is_atext;
use crate::machine::smtp::xtext;

/// The longest value of NOTIFY: `SUCCESS,FAILURE,DELAY`.
pub const NOTIFY: usize = 21;
/// The longest value of ORCPT (RFC 3461 4.2).
pub const ORCPT: usize = 500;

/// Parameters of RCPT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RcptParameters {
    /// `NEVER`, or some of `SUCCESS`, `FAILURE` and `DELAY`, separated by commas, in any case.
    pub notify: Option<Box<str>>,
    /// Type of the address, `;`, the address: in `xtext`, or of the type `utf-8`.
    pub original: Option<Box<str>>,
}

impl RcptParameters {
    pub(in crate::machine::smtp) fn read_notify(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        let text = value.and_then(|value| str::from_utf8(value).ok()).filter(|text| text.len() <= NOTIFY);
        self.notify = text.filter(|text| is_notify(text)).map(Box::from);
        if self.notify.is_some() {
            Ok(())
        } else {
            Err("NOTIFY must be NEVER, or a list of SUCCESS, FAILURE and DELAY")
        }
    }

    pub(in crate::machine::smtp) fn keep_notify(&self) -> Kept {
        keep(self.notify.as_deref())
    }

    pub(in crate::machine::smtp) fn read_orcpt(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        let text = value.and_then(|value| str::from_utf8(value).ok()).filter(|text| text.len() <= ORCPT);
        self.original = text.filter(|text| is_original(text)).map(Box::from);
        if self.original.is_some() {
            Ok(())
        } else {
            Err("ORCPT needs the type of an address, a semicolon and the address in xtext")
        }
    }

    pub(in crate::machine::smtp) fn keep_orcpt(&self) -> Kept {
        keep(self.original.as_deref())
    }
}

fn is_notify(text: &str) -> bool {
    let is_event = |word: &str| ["SUCCESS", "FAILURE", "DELAY"].iter().any(|event| word.eq_ignore_ascii_case(event));
    text.eq_ignore_ascii_case("NEVER") || text.split(',').all(is_event)
}

/// An address of the type `utf-8` that does not have the form of one is taken as it is (RFC 6533 3).
fn is_original(text: &str) -> bool {
    let Some((kind, address)) = text.split_once(';') else { return false };
    !kind.is_empty()
        && kind.bytes().all(is_atext)
        && !address.is_empty()
        && (kind.eq_ignore_ascii_case("utf-8") || xtext::decode_printable(address.as_bytes()).is_some())
}
