//! The SMTP service extensions of the server, in one table.
//!
//! From it come the lines of the reply to EHLO, the parameters that MAIL takes, the octets by which they lengthen a MAIL line, and
//! the verbs that are answered with 502. An extension is added by its row: nothing else lists keywords.
//!
//! What joins where, when an extension needs more than a parameter:
//! * a verb: its reader joins the table of verbs in `command`, its row the table of phases in `server/phase`;
//! * parameters of RCPT (DSN): a field `rcpt` beside `mail`, taken in `command` as those of MAIL are;
//! * input that is no line (BDAT, the lines of AUTH): a variant of `Mode` in `server/mode`;
//! * an offer that depends on the session (STARTTLS, AUTH): [`Offers::of`] is asked at each EHLO.

use super::parameters::{MailParameters, Parameter};
use super::server::config::Config;
use crate::machine::message::address::Limits;

/// One service extension (RFC 5321 2.2).
#[derive(Debug)]
pub struct Extension {
    /// In the reply to EHLO.
    pub keyword: &'static str,
    /// What follows the keyword there.
    pub argument: Option<fn(&Config) -> String>,
    /// A verb that it adds.
    pub verb: Option<&'static str>,
    /// Parameters that it adds to MAIL.
    pub mail: &'static [Parameter<MailParameters>],
    /// Octets that these parameters may add to a MAIL line (RFC 5321 4.5.3.1.4).
    pub mail_line: usize,
    /// Whether a listener offers it.
    pub offered: fn(&Config) -> bool,
}

const ALWAYS: fn(&Config) -> bool = |_| true;
/// Known, so that its verb is answered with 502 and not with 500 (RFC 5321 4.2.4).
const NOT_YET: fn(&Config) -> bool = |_| false;

impl Extension {
    const fn new(keyword: &'static str, offered: fn(&Config) -> bool) -> Self {
        Self { keyword, argument: None, verb: None, mail: &[], mail_line: 0, offered }
    }

    const fn verb(keyword: &'static str, verb: &'static str, offered: fn(&Config) -> bool) -> Self {
        Self { verb: Some(verb), ..Self::new(keyword, offered) }
    }
}

/// What SUBMITTER adds. RFC 4405 names no length: the keyword, and the longest mailbox with every octet written as three
/// (RFC 3461 4).
const SUBMITTER_LINE: usize = " SUBMITTER=".len() + 3 * (Limits::USUAL.path - "<>".len());

/// All of them, in the order of the reply to EHLO.
pub static EXTENSIONS: [Extension; 9] = [
    Extension::new("PIPELINING", ALWAYS), // RFC 2920
    // RFC 1870 3
    Extension {
        argument: Some(|config| config.content.message_size.to_string()),
        mail: &[Parameter { keyword: "SIZE", read: MailParameters::read_size }],
        mail_line: 26,
        ..Extension::new("SIZE", ALWAYS)
    },
    // RFC 6152 2
    Extension {
        mail: &[Parameter { keyword: "BODY", read: MailParameters::read_body }],
        mail_line: 17,
        ..Extension::new("8BITMIME", |config| config.content.eight_bit)
    },
    Extension::new("ENHANCEDSTATUSCODES", ALWAYS), // RFC 2034
    // RFC 4405 4
    Extension {
        mail: &[Parameter { keyword: "SUBMITTER", read: MailParameters::read_submitter }],
        mail_line: SUBMITTER_LINE,
        ..Extension::new("SUBMITTER", |config| config.submitter)
    },
    // RFC 6531 3.1
    Extension {
        mail: &[Parameter { keyword: "SMTPUTF8", read: MailParameters::read_smtputf8 }],
        mail_line: 10,
        ..Extension::new("SMTPUTF8", |config| config.smtputf8)
    },
    Extension::verb("STARTTLS", "STARTTLS", NOT_YET), // RFC 3207
    Extension::verb("AUTH", "AUTH", NOT_YET),         // RFC 4954
    Extension::verb("CHUNKING", "BDAT", NOT_YET),     // RFC 3030
];

/// A set of extensions: those that a session may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers(u16);

impl Offers {
    /// Before EHLO, and after HELO.
    pub const NONE: Self = Self(0);

    /// What a listener with this configuration offers.
    pub fn of(config: &Config) -> Self {
        Self(EXTENSIONS.iter().rev().fold(0, |set, extension| set << 1 | u16::from((extension.offered)(config))))
    }

    /// The extensions in the set, in their order.
    pub fn iter(self) -> impl Iterator<Item = &'static Extension> + Clone {
        EXTENSIONS.iter().zip(0_u32..).filter(move |(_, index)| self.0 >> index & 1 != 0).map(|(row, _)| row)
    }

    /// The parameters that MAIL takes.
    pub fn mail(self) -> impl Iterator<Item = &'static Parameter<MailParameters>> + Clone {
        self.iter().flat_map(|extension| extension.mail)
    }

    /// Octets that a MAIL line may have above the limit of a command line.
    pub fn mail_line(self) -> usize {
        self.iter().map(|extension| extension.mail_line).sum()
    }
}

/// The verb, when an extension has it.
pub fn verb(verb: &[u8]) -> Option<&'static str> {
    EXTENSIONS.iter().filter_map(|extension| extension.verb).find(|known| verb.eq_ignore_ascii_case(known.as_bytes()))
}
