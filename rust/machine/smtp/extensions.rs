//! The SMTP service extensions of the server, in one table.
//!
//! From it come the lines of the reply to EHLO, the parameters that MAIL and RCPT take and those that an envelope keeps, the octets
//! by which they lengthen a line, and the verbs that are answered with 502. An extension is added by its row: nothing else lists keywords.
//!
//! What joins where, when an extension needs more than a parameter:
//! * a verb: its reader joins the table of verbs in `command`, its row the table of phases in `server/phase`;
//! * input that is no line (BDAT, the lines of AUTH): a variant of `Mode` in `server/mode`;
//! * an offer that depends on the session (STARTTLS, AUTH): a field of [`Standing`].

use super::attribute;
use super::chunking::Chunking;
use super::parameters::{ENVID, Kept, MailParameters, NOTIFY, ORCPT, Parameter, RcptParameters, check_auth};
use super::server::config::Config;
use crate::machine::message::Parameters;
use crate::machine::message::address::Limits;

/// One service extension (RFC 5321 2.2).
#[derive(Debug)]
pub struct Extension {
    /// In the reply to EHLO.
    pub keyword: &'static str,
    /// What follows the keyword there.
    pub argument: Argument,
    /// A verb that it adds.
    pub verb: Option<&'static str>,
    /// Parameters that it adds to MAIL.
    pub mail: &'static [Parameter<MailParameters>],
    /// Octets that these parameters may add to a MAIL line (RFC 5321 4.5.3.1.4).
    pub mail_line: u16,
    /// Parameters that it adds to RCPT.
    pub rcpt: &'static [Parameter<RcptParameters>],
    /// Octets that these parameters may add to an RCPT line.
    pub rcpt_line: u16,
    /// Whether a session offers it.
    pub offered: Offered,
}

/// What follows a keyword in the reply to EHLO.
#[derive(Debug)]
pub enum Argument {
    /// Nothing.
    None,
    /// What follows from the configuration.
    Config(fn(&Config) -> String),
    /// The mechanisms that the client may choose from (RFC 4954 3).
    Mechanisms,
}

/// What the offers of a session follow from, beside its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// There are mechanisms to authenticate by.
    pub auth: bool,
    /// TLS can be begun.
    pub start_tls: bool,
    /// TLS is on.
    pub secured: bool,
    /// The peer is a server in front of us.
    pub front: Front,
}

/// What a server in front of us may say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Front {
    /// That it speaks for another client.
    pub xclient: bool,
    /// Where its messages come from.
    pub xforward: bool,
}

/// The parameter of what may be sent over TLS alone.
pub const REQUIRETLS: &str = "REQUIRETLS";

/// The verb that begins TLS.
pub const STARTTLS: &str = "STARTTLS";
/// The verb of CHUNKING.
pub const BDAT: &str = "BDAT";

type Offered = fn(&Config, Standing) -> bool;

const ALWAYS: Offered = |_, _| true;

impl Extension {
    const fn new(keyword: &'static str, offered: Offered) -> Self {
        Self {
            keyword,
            argument: Argument::None,
            verb: None,
            mail: &[],
            mail_line: 0,
            rcpt: &[],
            rcpt_line: 0,
            offered,
        }
    }

    const fn verb(keyword: &'static str, verb: &'static str, offered: Offered) -> Self {
        Self { verb: Some(verb), ..Self::new(keyword, offered) }
    }
}

/// What SUBMITTER adds. RFC 4405 names no length: the keyword, and the longest mailbox with every octet written as three
/// (RFC 3461 4).
#[allow(clippy::cast_possible_truncation)] // 1547
const SUBMITTER_LINE: u16 = (" SUBMITTER=".len() + 3 * (Limits::USUAL.path - "<>".len())) as u16;

/// The greatest value of a limit: six digits (RFC 9422 4).
const LIMIT: usize = 999_999;

#[allow(clippy::cast_possible_truncation)] // 116
const DSN_MAIL_LINE: u16 = (" RET=FULL".len() + " ENVID=".len() + ENVID) as u16;
#[allow(clippy::cast_possible_truncation)] // 536
const DSN_RCPT_LINE: u16 = (" NOTIFY=".len() + NOTIFY + " ORCPT=".len() + ORCPT) as u16;

/// All of them, in the order of the reply to EHLO.
pub static EXTENSIONS: [Extension; 15] = [
    Extension::new("PIPELINING", ALWAYS), // RFC 2920
    // RFC 1870 3
    Extension {
        argument: Argument::Config(|config| config.content.message_size.to_string()),
        // Of this hop alone: the next one gets the size of what is sent to it.
        mail: &[Parameter { keyword: "SIZE", read: MailParameters::read_size, kept: |_| Kept::Nothing }],
        mail_line: 26,
        ..Extension::new("SIZE", ALWAYS)
    },
    // RFC 6152 2
    Extension {
        mail: &[Parameter { keyword: "BODY", read: MailParameters::read_body, kept: MailParameters::keep_body }],
        mail_line: 17,
        ..Extension::new("8BITMIME", |config, _| config.content.eight_bit)
    },
    Extension::new("ENHANCEDSTATUSCODES", ALWAYS), // RFC 2034
    Extension {
        argument: Argument::Config(|_| attribute::words(&attribute::XCLIENT)),
        ..Extension::verb("XCLIENT", "XCLIENT", |_, standing| standing.front.xclient)
    },
    Extension {
        argument: Argument::Config(|_| attribute::words(&attribute::XFORWARD)),
        ..Extension::verb("XFORWARD", "XFORWARD", |_, standing| standing.front.xforward)
    },
    // RFC 4405 4
    Extension {
        mail: &[Parameter {
            keyword: "SUBMITTER",
            read: MailParameters::read_submitter,
            kept: MailParameters::keep_submitter,
        }],
        mail_line: SUBMITTER_LINE,
        ..Extension::new("SUBMITTER", |config, _| config.submitter)
    },
    Extension::verb("CHUNKING", BDAT, |config, _| config.chunking != Chunking::Off), // RFC 3030 2
    // RFC 3030 3: BODY takes one more value.
    Extension { mail_line: 16, ..Extension::new("BINARYMIME", |config, _| config.offers_binary()) },
    // RFC 3461 2
    Extension {
        mail: &[
            Parameter { keyword: "RET", read: MailParameters::read_ret, kept: MailParameters::keep_ret },
            Parameter { keyword: "ENVID", read: MailParameters::read_envid, kept: MailParameters::keep_envid },
        ],
        mail_line: DSN_MAIL_LINE,
        rcpt: &[
            Parameter { keyword: "NOTIFY", read: RcptParameters::read_notify, kept: RcptParameters::keep_notify },
            Parameter { keyword: "ORCPT", read: RcptParameters::read_orcpt, kept: RcptParameters::keep_orcpt },
        ],
        rcpt_line: DSN_RCPT_LINE,
        ..Extension::new("DSN", ALWAYS)
    },
    // RFC 9422 3
    Extension {
        argument: Argument::Config(|config| format!("RCPTMAX={}", config.recipients)),
        ..Extension::new("LIMITS", |config, _| (1..=LIMIT).contains(&config.recipients))
    },
    // RFC 8689 2
    Extension {
        mail: &[Parameter {
            keyword: REQUIRETLS,
            read: MailParameters::read_requiretls,
            kept: MailParameters::keep_requiretls,
        }],
        mail_line: 11,
        ..Extension::new(REQUIRETLS, |_, standing| standing.secured)
    },
    // RFC 6531 3.1
    Extension {
        mail: &[Parameter {
            keyword: "SMTPUTF8",
            read: MailParameters::read_smtputf8,
            kept: MailParameters::keep_smtputf8,
        }],
        mail_line: 10,
        // Only with 8BITMIME (RFC 6531 3.1).
        ..Extension::new("SMTPUTF8", |config, _| config.smtputf8 && config.content.eight_bit)
    },
    // RFC 3207 4.2: not offered any more once TLS is on.
    Extension::verb("STARTTLS", STARTTLS, |_, standing| standing.start_tls && !standing.secured),
    // RFC 4954 3
    Extension {
        argument: Argument::Mechanisms,
        mail: &[Parameter { keyword: "AUTH", read: |_, value| check_auth(value), kept: |_| Kept::Nothing }],
        mail_line: 500,
        ..Extension::verb("AUTH", "AUTH", |_, standing| standing.auth)
    },
];

/// A set of extensions: those that a session may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// One bit a row of the table.
    rows: u16,
    mail_line: u16,
    rcpt_line: u16,
}

impl Offers {
    /// Before EHLO, and after HELO.
    pub const NONE: Self = Self { rows: 0, mail_line: 0, rcpt_line: 0 };

    /// What a session of a listener with this configuration offers.
    pub fn of(config: &Config, standing: Standing) -> Self {
        let mut offers = Self::NONE;
        for (index, row) in EXTENSIONS.iter().enumerate().filter(|(_, row)| (row.offered)(config, standing)) {
            offers.rows |= 1 << index;
            offers.mail_line += row.mail_line;
            offers.rcpt_line += row.rcpt_line;
        }
        offers
    }

    /// The extensions in the set, in their order.
    pub fn iter(self) -> impl Iterator<Item = &'static Extension> + Clone {
        EXTENSIONS.iter().zip(0_u32..).filter(move |(_, index)| self.rows >> index & 1 != 0).map(|(row, _)| row)
    }

    /// The parameters that MAIL takes.
    pub fn mail(self) -> impl Iterator<Item = &'static Parameter<MailParameters>> + Clone {
        self.iter().flat_map(|extension| extension.mail)
    }

    /// The parameters that RCPT takes.
    pub fn rcpt(self) -> impl Iterator<Item = &'static Parameter<RcptParameters>> + Clone {
        self.iter().flat_map(|extension| extension.rcpt)
    }

    /// Octets that a MAIL line may have above the limit of a command line.
    pub fn mail_line(self) -> usize {
        self.mail_line.into()
    }

    /// Octets that an RCPT line may have above it.
    pub fn rcpt_line(self) -> usize {
        self.rcpt_line.into()
    }
}

/// The parameters of MAIL that go with the message into its envelope.
pub fn kept_of_mail(given: &MailParameters) -> Parameters {
    kept(EXTENSIONS.iter().flat_map(|extension| extension.mail), given)
}

/// The parameters of RCPT that go with the message, for the recipient.
pub fn kept_of_rcpt(given: &RcptParameters) -> Parameters {
    kept(EXTENSIONS.iter().flat_map(|extension| extension.rcpt), given)
}

fn kept<P: 'static>(known: impl Iterator<Item = &'static Parameter<P>>, given: &P) -> Parameters {
    let mut kept = Parameters::default();
    for parameter in known {
        match (parameter.kept)(given) {
            Kept::Nothing => {}
            Kept::Keyword => _ = kept.push(parameter.keyword, None),
            Kept::Value(value) => _ = kept.push(parameter.keyword, Some(&value)),
        }
    }
    kept
}

/// The verb, when an extension has it.
pub fn verb(verb: &[u8]) -> Option<&'static str> {
    EXTENSIONS.iter().filter_map(|extension| extension.verb).find(|known| verb.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::machine::message::address::Address;
    use crate::machine::smtp::parameters::{Body, Return};
    use crate::machine::smtp::server::session::Session;

    /// Listeners that offer everything, nothing that can be off, and what the settings say.
    fn listeners() -> [Config; 3] {
        let all = Config { submitter: true, ..Config::example() };
        let mut none = Config { smtputf8: false, recipients: 0, ..Config::example() };
        none.content.eight_bit = false;
        [all, none, Config::example()]
    }

    fn said(config: &Config, input: &str) -> String {
        let mut session = Session::new(Arc::new(config.clone()), "s1", "192.0.2.1", false);
        session.connect();
        session.take_output();
        session.receive(input.as_bytes());
        String::from_utf8(session.take_output()).unwrap()
    }

    fn mail(config: &Config, parameter: &str) -> String {
        said(config, &format!("EHLO c\r\nMAIL FROM:<a@b.test> {parameter}\r\n")).lines().last().unwrap().to_owned()
    }

    /// A value that each parameter takes.
    fn example(keyword: &str) -> String {
        match keyword {
            "SIZE" => "SIZE=1".into(),
            "BODY" => "BODY=8BITMIME".into(),
            "SUBMITTER" => "SUBMITTER=a@b.test".into(),
            "AUTH" => "AUTH=<>".into(),
            "RET" => "RET=full".into(),
            "ENVID" => "ENVID=a+20b".into(),
            "NOTIFY" => "NOTIFY=DELAY,success".into(),
            "ORCPT" => "ORCPT=rfc822;a+2Bb@c.test".into(),
            other => other.into(),
        }
    }

    #[test]
    fn ehlo_says_what_the_table_offers_and_nothing_else() {
        for config in listeners() {
            let reply = said(&config, "EHLO c\r\n");
            let lines: Vec<&str> = reply.lines().skip(1).map(|line| &line[4..]).collect();
            let keywords: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
            let offered: Vec<&str> = EXTENSIONS
                .iter()
                .filter(|row| (row.offered)(&config, Standing::default()))
                .map(|row| row.keyword)
                .collect();
            assert_eq!(keywords, offered);
            assert_eq!(lines.contains(&"SIZE 2000"), offered.contains(&"SIZE"));
            assert_eq!(lines.contains(&"LIMITS RCPTMAX=3"), offered.contains(&"LIMITS"));
        }
    }

    #[test]
    fn mail_takes_the_parameters_of_what_is_offered_and_no_others() {
        for config in listeners() {
            for row in &EXTENSIONS {
                for parameter in row.mail {
                    let reply = mail(&config, &example(parameter.keyword));
                    let expected = if (row.offered)(&config, Standing::default()) { "250 2.1.0" } else { "555 5.5.4" };
                    assert!(reply.starts_with(expected), "{}: {reply}", parameter.keyword);
                }
            }
        }
    }

    #[test]
    fn rcpt_takes_the_parameters_of_what_is_offered_and_no_others() {
        for parameter in EXTENSIONS.iter().flat_map(|row| row.rcpt) {
            let said = |hello: &str| {
                let rcpt = format!("RCPT TO:<a@example.test> {}", example(parameter.keyword));
                let input = format!("{hello} c\r\nMAIL FROM:<>\r\n{rcpt}\r\n");
                said(&Config { asked: 0, ..Config::example() }, &input).lines().last().unwrap().to_owned()
            };
            assert!(said("EHLO").starts_with("250 2.1.5"), "{}", said("EHLO"));
            assert!(said("HELO").starts_with("555 5.5.4"), "{}", said("HELO"));
        }
    }

    #[test]
    fn smtputf8_is_offered_with_8bitmime_alone() {
        let mut config = Config::example();
        config.content.eight_bit = false;
        assert!(!said(&config, "EHLO c\r\n").contains("SMTPUTF8"));
    }

    #[test]
    fn a_limit_of_more_than_six_digits_is_not_announced() {
        let said = |recipients| said(&Config { recipients, ..Config::example() }, "EHLO c\r\n");
        assert!(said(999_999).contains("-LIMITS RCPTMAX=999999\r\n"));
        assert!(!said(1_000_000).contains("LIMITS"));
    }

    #[test]
    fn an_envelope_keeps_all_but_the_size() {
        let submitter = Address::parse(b"a+x=y@c.test", &Limits::default());
        let given = MailParameters {
            size: Some(7),
            body: Some(Body::EightBitMime),
            smtputf8: true,
            submitter: submitter.ok(),
            require_tls: true,
            ret: Some(Return::Header),
            envid: Some("q+20x".into()),
        };
        let kept = "BODY=8BITMIME SUBMITTER=a+2Bx+3Dy@c.test RET=HDRS ENVID=q+20x REQUIRETLS SMTPUTF8";
        assert_eq!(kept_of_mail(&given).as_str(), kept);
        assert_eq!(kept_of_mail(&MailParameters::default()), Parameters::default());
        let given = RcptParameters { notify: Some("delay".into()), original: Some("X;y".into()) };
        assert_eq!(kept_of_rcpt(&given).as_str(), "NOTIFY=delay ORCPT=X;y");
    }

    #[test]
    fn a_verb_of_an_extension_that_is_not_offered_is_not_implemented() {
        for row in EXTENSIONS.iter().filter(|row| !(row.offered)(&Config::example(), Standing::default())) {
            if let Some(verb) = row.verb {
                // These two are there, and not for everybody.
                let refusal = if ["XCLIENT", "XFORWARD"].contains(&verb) { "550 5.7.0" } else { "502 5.5.1" };
                let reply = said(&Config::example(), &format!("EHLO c\r\n{verb}\r\n"));
                assert!(reply.contains(&format!("\n{refusal} ")), "{reply}");
            }
        }
    }

    #[test]
    fn a_line_has_the_room_that_the_table_gives_it() {
        for config in listeners() {
            let sum = |room: fn(&Extension) -> u16| -> usize {
                let offered = EXTENSIONS.iter().filter(|row| (row.offered)(&config, Standing::default()));
                offered.map(|row| usize::from(room(row))).sum()
            };
            for (start, extra) in [
                ("MAIL FROM:<a@b.test> X=", sum(|row| row.mail_line)),
                ("RCPT TO:<a@b.test> X=", sum(|row| row.rcpt_line)),
            ] {
                let limit = config.command_line + config.addresses.path - 256 + extra;
                for (octets, code) in [(limit, "555"), (limit + 1, "500")] {
                    let line = format!("EHLO c\r\n{start}{}\r\n", "x".repeat(octets - start.len() - 2));
                    assert!(said(&config, &line).lines().last().unwrap().starts_with(code), "{start} {octets}");
                }
            }
        }
    }

    #[test]
    fn the_table_says_everything_once() {
        let keywords: BTreeSet<&str> = EXTENSIONS.iter().map(|row| row.keyword).collect();
        assert_eq!(keywords.len(), EXTENSIONS.len());
        let mail = EXTENSIONS.iter().flat_map(|row| row.mail).map(|row| row.keyword);
        let parameters: Vec<&str> =
            mail.chain(EXTENSIONS.iter().flat_map(|row| row.rcpt).map(|row| row.keyword)).collect();
        assert_eq!(parameters.iter().collect::<BTreeSet<_>>().len(), parameters.len());
        // A row of the set has a bit.
        assert!(EXTENSIONS.len() <= 16);
        // A parameter lengthens the line at least by itself.
        for row in &EXTENSIONS {
            let mail: usize = row.mail.iter().map(|row| row.keyword.len() + 1).sum();
            let rcpt: usize = row.rcpt.iter().map(|row| row.keyword.len() + 1).sum();
            assert!(usize::from(row.mail_line) >= mail && usize::from(row.rcpt_line) >= rcpt, "{}", row.keyword);
        }
    }

    proptest! {
        #[test]
        fn a_parameter_that_is_not_in_the_table_is_refused(keyword in "[A-Za-z0-9][A-Za-z0-9-]{0,12}", value in "(=[!-<>-~]{1,9})?") {
            let known = EXTENSIONS.iter().flat_map(|row| row.mail).any(|row| row.keyword.eq_ignore_ascii_case(&keyword));
            prop_assume!(!known);
            let config = Config { submitter: true, ..Config::example() };
            let reply = mail(&config, &format!("{keyword}{value}"));
            prop_assert_eq!(reply, format!("555 5.5.4 Parameter {} is not supported", keyword));
        }
    }
}
