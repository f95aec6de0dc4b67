//! One command line becomes one `Command`.
//!
//! Promises: total: a line that is no command is a `Malformed` value that knows its reply; no part of a line is ignored, but for
//! the argument of the verbs that take any. Order of commands, policy and offered extensions are the session machine's business.
//! Never panics, never echoes an octet of the peer but the letters, digits and hyphens of a parameter's keyword.
//! Called by `session`, with the line cut at CRLF and its length already checked.
//! RFC 5321 4.1.1 and 4.1.2, RFC 1870 4, RFC 6152 2, RFC 6531 3.4, RFC 4405 4.
#![forbid(unsafe_code)]

use crate::machine::message::address::{Address, AddressError, Limits, Path, is_helo_name};

/// Longest piece of a peer's input that a reply repeats.
const ECHO: usize = 40;

/// A well-formed command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the verbs are their own description
pub enum Command<'a> {
    /// The name as given, checked to be a domain or a literal.
    Helo(&'a str),
    /// The name as given, checked to be a domain or a literal.
    Ehlo(&'a str),
    Mail {
        path: Path,
        parameters: MailParameters,
    },
    /// The path is never `Path::Null`.
    Rcpt {
        path: Path,
        parameters: RcptParameters,
    },
    Data,
    Rset,
    Noop,
    Quit,
    Vrfy,
    Expn,
    Help,
    /// A verb of the standards that this server does not have: 502 5.5.1.
    NotImplemented(&'static str),
}

/// Declared kind of content (RFC 6152 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
}

/// Parameters of MAIL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// Declared octets of the message; a number beyond 64 bits is the greatest one (RFC 1870 4).
    pub size: Option<u64>,
    /// Declared kind of content.
    pub body: Option<Body>,
    /// The envelope or the header section may hold UTF-8 (RFC 6531 3.4).
    pub smtputf8: bool,
    /// Who says to be responsible for sending the message (RFC 4405 4); its domain is never empty.
    pub submitter: Option<Address>,
}

/// Which parameters may be used.
#[allow(clippy::struct_excessive_bools)] // one for each extension that can be off
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// EHLO was said, so there are extensions at all.
    pub extended: bool,
    /// SUBMITTER is one of them.
    pub submitter: bool,
    /// 8BITMIME is.
    pub eight_bit: bool,
    /// SMTPUTF8 is.
    pub smtputf8: bool,
}

impl Offers {
    fn has(self, keyword: &str) -> bool {
        self.extended
            && match keyword {
                SUBMITTER => self.submitter,
                BODY => self.eight_bit,
                SMTPUTF8 => self.smtputf8,
                _ => true,
            }
    }
}

/// Parameters of RCPT: none is offered yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RcptParameters {}

/// Whose address is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The path of MAIL.
    Sender,
    /// The path of RCPT.
    Recipient,
}

/// Why a line is not a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// Not a verb of SMTP.
    UnknownCommand,
    /// A web client or a TLS handshake: nothing that follows will be SMTP either.
    HttpOrTls,
    /// The verb needs an argument.
    NoArgument,
    /// The argument is not what the verb takes; a plain sentence.
    BadArgument(&'static str),
    /// HELO or EHLO with something that is neither domain nor literal.
    BadHelo,
    /// The path is no address.
    BadAddress(Party, AddressError),
    /// A parameter of an extension that is not offered; its keyword, cut to what may be echoed.
    UnknownParameter(String),
    /// A parameter without the form or the value it must have; a plain sentence.
    BadParameter(&'static str),
    /// A parameter given twice; its keyword.
    RepeatedParameter(&'static str),
}

impl Malformed {
    /// Reply code, enhanced status code (RFC 3463) and text; the text is printable ASCII.
    pub fn reply(&self) -> (u16, &'static str, String) {
        match self {
            Self::UnknownCommand => (500, "5.5.1", "Unrecognized command".into()),
            Self::HttpOrTls => (500, "5.5.1", "This is an SMTP server".into()),
            Self::NoArgument => (501, "5.5.4", "The argument is missing".into()),
            Self::BadHelo => (501, "5.5.4", "Invalid domain name".into()),
            Self::BadArgument(sentence) | Self::BadParameter(sentence) => (501, "5.5.4", (*sentence).into()),
            Self::RepeatedParameter(keyword) => (501, "5.5.4", format!("Parameter {keyword} is given twice")),
            Self::UnknownParameter(keyword) => (555, "5.5.4", format!("Parameter {keyword} is not supported")),
            Self::BadAddress(Party::Sender, error) => (501, "5.1.7", format!("Invalid address. {error}")),
            Self::BadAddress(Party::Recipient, error) => (501, "5.1.3", format!("Invalid address. {error}")),
        }
    }
}

enum Verb {
    Reads(for<'a, 'l> fn(&Argument<'a, 'l>) -> Result<Command<'a>, Malformed>),
    NotImplemented,
    Http,
}

/// Every verb we know, the frequent ones first. An extension is switched on by giving its row a reader.
static VERBS: &[(&str, Verb)] = &[
    ("RCPT", Verb::Reads(|argument| argument.rcpt())),
    ("MAIL", Verb::Reads(|argument| argument.mail())),
    ("DATA", Verb::Reads(|argument| argument.none(Command::Data))),
    ("EHLO", Verb::Reads(|argument| argument.name(Command::Ehlo))),
    ("QUIT", Verb::Reads(|argument| argument.none(Command::Quit))),
    ("RSET", Verb::Reads(|argument| argument.none(Command::Rset))),
    ("HELO", Verb::Reads(|argument| argument.name(Command::Helo))),
    ("NOOP", Verb::Reads(|argument| argument.ignored(Command::Noop))),
    ("VRFY", Verb::Reads(|argument| argument.required(Command::Vrfy))),
    ("EXPN", Verb::Reads(|argument| argument.required(Command::Expn))),
    ("HELP", Verb::Reads(|argument| argument.ignored(Command::Help))),
    ("STARTTLS", Verb::NotImplemented), // RFC 3207
    ("AUTH", Verb::NotImplemented),     // RFC 4954
    ("BDAT", Verb::NotImplemented),     // RFC 3030
    ("ETRN", Verb::NotImplemented),     // RFC 1985
    ("TURN", Verb::NotImplemented),     // RFC 5321 appendix F.1: never to be switched on
    ("SEND", Verb::NotImplemented),     // RFC 5321 appendix F.6
    ("SOML", Verb::NotImplemented),
    ("SAML", Verb::NotImplemented),
    ("GET", Verb::Http),
    ("POST", Verb::Http),
    ("CONNECT", Verb::Http),
    ("PUT", Verb::Http),
    ("HEAD", Verb::Http),
    ("OPTIONS", Verb::Http),
    ("DELETE", Verb::Http),
];

/// A parameter's keyword and what reads its value into the parameters; without a reader it is known and not offered.
type Row<P> = (&'static str, Option<fn(&mut P, Option<&[u8]>) -> Result<(), &'static str>>);

const BODY: &str = "BODY";
const SMTPUTF8: &str = "SMTPUTF8";
const SUBMITTER: &str = "SUBMITTER";

/// Parameters of MAIL. An extension is switched on by giving its row a reader.
static MAIL_PARAMETERS: &[Row<MailParameters>] = &[
    ("SIZE", Some(MailParameters::read_size)),
    (BODY, Some(MailParameters::read_body)),
    (SMTPUTF8, Some(MailParameters::read_smtputf8)),
    (SUBMITTER, Some(MailParameters::read_submitter)),
    ("RET", None),         // DSN, RFC 3461 4.3
    ("ENVID", None),       // DSN, RFC 3461 4.4
    ("AUTH", None),        // AUTH, RFC 4954 5
    ("REQUIRETLS", None),  // REQUIRETLS, RFC 8689 3
    ("BY", None),          // DELIVERBY, RFC 2852 4
    ("MT-PRIORITY", None), // MT-PRIORITY, RFC 6710 4
    ("HOLDFOR", None),     // FUTURERELEASE, RFC 4865 5
    ("HOLDUNTIL", None),
];

/// Parameters of RCPT.
static RCPT_PARAMETERS: &[Row<RcptParameters>] = &[
    ("NOTIFY", None), // DSN, RFC 3461 4.1
    ("ORCPT", None),  // DSN, RFC 3461 4.2
    ("RRVS", None),   // RRVS, RFC 7293 3
];

/// Parses one line without its CRLF.
pub fn parse<'a>(line: &'a [u8], limits: &Limits, offers: Offers) -> Result<Command<'a>, Malformed> {
    // A TLS record of type handshake, or a version 2 hello.
    if matches!(line, [0x16, 0x03, ..] | [0x80, ..]) {
        return Err(Malformed::HttpOrTls);
    }
    let line = trim_end(line);
    let (verb, argument) = line.split_at(memchr::memchr(b' ', line).unwrap_or(line.len()));
    let row = VERBS.iter().find(|(name, _)| verb.eq_ignore_ascii_case(name.as_bytes()));
    match row {
        Some((_, Verb::Reads(read))) => read(&Argument { octets: trim_start(argument), limits, offers }),
        Some((name, Verb::NotImplemented)) => Ok(Command::NotImplemented(name)),
        Some((_, Verb::Http)) => Err(Malformed::HttpOrTls),
        None => Err(Malformed::UnknownCommand),
    }
}

/// What follows the verb, without spaces at its ends.
struct Argument<'a, 'l> {
    octets: &'a [u8],
    limits: &'l Limits,
    offers: Offers,
}

impl<'a> Argument<'a, '_> {
    fn none(&self, command: Command<'a>) -> Result<Command<'a>, Malformed> {
        if self.octets.is_empty() { Ok(command) } else { Err(Malformed::BadArgument("No argument is allowed")) }
    }

    fn ignored(&self, command: Command<'a>) -> Result<Command<'a>, Malformed> {
        if self.octets.iter().all(|octet| matches!(octet, b' '..=b'~')) {
            Ok(command)
        } else {
            Err(Malformed::BadArgument("The argument is not printable ASCII"))
        }
    }

    /// The argument may be an address of RFC 6531 3.7.4, so UTF-8 is let through, though nothing reads it.
    fn required(&self, command: Command<'a>) -> Result<Command<'a>, Malformed> {
        match str::from_utf8(self.octets) {
            Ok("") => Err(Malformed::NoArgument),
            Ok(text) if !text.contains(char::is_control) => Ok(command),
            _ => Err(Malformed::BadArgument("The argument is not printable text")),
        }
    }

    fn name(&self, command: fn(&'a str) -> Command<'a>) -> Result<Command<'a>, Malformed> {
        match str::from_utf8(self.octets) {
            Ok("") => Err(Malformed::NoArgument),
            Ok(name) if is_helo_name(self.octets, self.limits) => Ok(command(name)),
            _ => Err(Malformed::BadHelo),
        }
    }

    fn mail(&self) -> Result<Command<'a>, Malformed> {
        let after = self.after(b"FROM:", "The argument must be FROM:<address>")?;
        let (path, rest) =
            Path::read(after, self.limits).map_err(|error| Malformed::BadAddress(Party::Sender, error))?;
        Ok(Command::Mail { path, parameters: read_parameters(rest, MAIL_PARAMETERS, self.offers)? })
    }

    fn rcpt(&self) -> Result<Command<'a>, Malformed> {
        let after = self.after(b"TO:", "The argument must be TO:<address>")?;
        let (path, rest) = match Path::read(after, self.limits) {
            Ok((Path::Null, _)) => Err(AddressError::Empty),
            read => read,
        }
        .map_err(|error| Malformed::BadAddress(Party::Recipient, error))?;
        Ok(Command::Rcpt { path, parameters: read_parameters(rest, RCPT_PARAMETERS, self.offers)? })
    }

    /// What stands behind `keyword` and any spaces.
    fn after(&self, keyword: &[u8], sentence: &'static str) -> Result<&'a [u8], Malformed> {
        match self.octets.split_at_checked(keyword.len()) {
            Some((start, rest)) if start.eq_ignore_ascii_case(keyword) => Ok(trim_start(rest)),
            _ if self.octets.is_empty() => Err(Malformed::NoArgument),
            _ => Err(Malformed::BadArgument(sentence)),
        }
    }
}

fn read_parameters<P: Default>(input: &[u8], rows: &[Row<P>], offers: Offers) -> Result<P, Malformed> {
    let mut parameters = P::default();
    let mut seen = 0_u64; // one bit a row
    for parameter in input.split(|&octet| octet == b' ').filter(|parameter| !parameter.is_empty()) {
        let (keyword, value) = split_parameter(parameter)?;
        let row = rows.iter().zip(0_u32..).find(|((name, _), _)| keyword.eq_ignore_ascii_case(name));
        let Some(((name, Some(read)), index)) = row.filter(|((name, _), _)| offers.has(name)) else {
            return Err(Malformed::UnknownParameter(keyword.chars().take(ECHO).collect()));
        };
        let bit = 1 << index;
        if seen & bit != 0 {
            return Err(Malformed::RepeatedParameter(name));
        }
        seen |= bit;
        read(&mut parameters, value).map_err(Malformed::BadParameter)?;
    }
    Ok(parameters)
}

/// Keyword and value of an `esmtp-param` (RFC 5321 4.1.2).
fn split_parameter(parameter: &[u8]) -> Result<(&str, Option<&[u8]>), Malformed> {
    let mut parts = parameter.splitn(2, |&octet| octet == b'=');
    let keyword = parts.next().and_then(|keyword| str::from_utf8(keyword).ok()).unwrap_or_default();
    let value = parts.next();
    let keyword_is_good = keyword.starts_with(|first: char| first.is_ascii_alphanumeric())
        && keyword.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    let value_is_good = value
        .is_none_or(|value| !value.is_empty() && value.iter().all(|octet| octet.is_ascii_graphic() && *octet != b'='));
    if keyword_is_good && value_is_good {
        Ok((keyword, value))
    } else {
        Err(Malformed::BadParameter("What follows the address is not KEYWORD or KEYWORD=value"))
    }
}

impl MailParameters {
    /// `1*20DIGIT` (RFC 1870 4).
    fn read_size(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        let digits = value.unwrap_or_default();
        if !(1..=20).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
            return Err("SIZE needs a number of octets");
        }
        let fold = |size: u64, digit: &u8| size.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        self.size = Some(digits.iter().fold(0, fold));
        Ok(())
    }

    /// BINARYMIME is refused with the rest: it needs CHUNKING (RFC 3030 3).
    fn read_body(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        self.body = Some(match value {
            Some(value) if value.eq_ignore_ascii_case(b"7BIT") => Body::SevenBit,
            Some(value) if value.eq_ignore_ascii_case(b"8BITMIME") => Body::EightBitMime,
            _ => return Err("BODY must be 7BIT or 8BITMIME"),
        });
        Ok(())
    }

    fn read_smtputf8(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        self.smtputf8 = true;
        if value.is_none() { Ok(()) } else { Err("SMTPUTF8 takes no value") }
    }

    /// A mailbox in xtext (RFC 4405 4). It has the usual limits, whatever those of a path are.
    fn read_submitter(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        let mailbox = value.and_then(decode_xtext).and_then(|text| Address::parse(&text, &Limits::default()).ok());
        self.submitter = mailbox.filter(|address| !address.domain().is_empty());
        if self.submitter.is_some() { Ok(()) } else { Err("SUBMITTER needs a mailbox with a domain") }
    }
}

/// What an `xtext` stands for (RFC 3461 4); None when a `+` is not followed by two hexadecimal digits.
fn decode_xtext(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut octets, mut rest) = (Vec::new(), text);
    loop {
        rest = match rest {
            [] => return Some(octets),
            [b'+', high, low, rest @ ..] => {
                octets.push(digit(*high)? << 4 | digit(*low)?);
                rest
            }
            [b'+', ..] => return None,
            [octet, rest @ ..] => {
                octets.push(*octet);
                rest
            }
        };
    }
}

fn trim_start(octets: &[u8]) -> &[u8] {
    octets.split_at(octets.iter().position(|&octet| octet != b' ').unwrap_or(octets.len())).1
}

/// Spaces only: a stray CR or tab must stay visible to the checks.
fn trim_end(octets: &[u8]) -> &[u8] {
    octets.split_at(octets.iter().rposition(|&octet| octet != b' ').map_or(0, |last| last + 1)).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::machine::message::address::Address;

    const OFFERS: Offers = Offers { extended: true, submitter: false, eight_bit: true, smtputf8: true };

    fn read(line: &[u8]) -> Result<Command<'_>, Malformed> {
        parse(line, &Limits::default(), OFFERS)
    }

    fn mailbox(text: &str) -> Path {
        Path::Mailbox(Address::parse(text.as_bytes(), &Limits::default()).unwrap())
    }

    fn mail(path: Path) -> Command<'static> {
        Command::Mail { path, parameters: MailParameters::default() }
    }

    fn rcpt(text: &str) -> Command<'static> {
        Command::Rcpt { path: mailbox(text), parameters: RcptParameters::default() }
    }

    #[test]
    fn verbs() {
        for (line, command) in [
            (&b"EHLO relay_1.example"[..], Command::Ehlo("relay_1.example")),
            (b"helo  Pc ", Command::Helo("Pc")),
            (b"EHLO [IPv6:2001:db8::1]", Command::Ehlo("[IPv6:2001:db8::1]")),
            (b"data", Command::Data),
            (b"DATA  ", Command::Data),
            (b"RSET", Command::Rset),
            (b"QuIt", Command::Quit),
            (b"NOOP", Command::Noop),
            (b"NOOP whatever <it> is", Command::Noop),
            (b"HELP", Command::Help),
            (b"HELP MAIL", Command::Help),
            (b"VRFY jos\xc3\xa9 SMTPUTF8", Command::Vrfy),
            (b"EXPN list", Command::Expn),
            (b"starttls", Command::NotImplemented("STARTTLS")),
            (b"AUTH PLAIN AGEAYg==", Command::NotImplemented("AUTH")),
            (b"BDAT 10 LAST", Command::NotImplemented("BDAT")),
            (b"TURN", Command::NotImplemented("TURN")),
            (b"SAML FROM:<a@b>", Command::NotImplemented("SAML")),
        ] {
            assert_eq!(read(line), Ok(command), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn paths_as_old_clients_write_them() {
        for (line, command) in [
            (&b"MAIL FROM:<a@b>"[..], mail(mailbox("a@b"))),
            (b"mail from:<a@b> ", mail(mailbox("a@b"))),
            (b"MAIL  FROM:   <a@b>  ", mail(mailbox("a@b"))),
            (b"MAIL FROM:a@B.", mail(mailbox("a@b"))),
            (b"MAIL FROM:<>", mail(Path::Null)),
            (b"MAIL FROM: <> ", mail(Path::Null)),
            (b"MAIL FROM:localuser", mail(mailbox("localuser"))),
            (b"RCPT TO:<Postmaster>", rcpt("Postmaster")),
            (b"RCPT TO:<@a,@b:c@d>", rcpt("c@d")),
            (b"RCPT TO:@a,@b:c@d", rcpt("c@d")),
            (b"RCPT TO:<\"a> SIZE=3 <b\"@c>", rcpt("\"a> SIZE=3 <b\"@c")),
            (b"RCPT TO:\"someone@remote.tld\"", rcpt("\"someone@remote.tld\"")),
            (b"rcpt to: someone%remote.tld", rcpt("someone%remote.tld")),
            (b"RCPT TO:<a@[192.0.2.1]>", rcpt("a@[192.0.2.1]")),
            ("RCPT TO:<josé@bücher.example>".as_bytes(), rcpt("josé@xn--bcher-kva.example")),
        ] {
            assert_eq!(read(line), Ok(command), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn mail_parameters() {
        let parameters = |line: &'static [u8]| match read(line) {
            Ok(Command::Mail { parameters, .. }) => parameters,
            other => panic!("{}: {other:?}", line.escape_ascii()),
        };
        let expected =
            MailParameters { size: Some(1000), body: Some(Body::EightBitMime), smtputf8: true, submitter: None };
        assert_eq!(parameters(b"MAIL FROM:<a@b> SIZE=1000 BODY=8BITMIME SMTPUTF8"), expected);
        assert_eq!(parameters(b"mail from:<> smtputf8  body=8bitmime size=01000 "), expected);
        assert_eq!(parameters(b"MAIL FROM:a@b SIZE=3").size, Some(3));
        assert_eq!(parameters(b"MAIL FROM:<a@b> SIZE=99999999999999999999").size, Some(u64::MAX));
        assert_eq!(parameters(b"MAIL FROM:<a@b> SIZE=18446744073709551615").size, Some(u64::MAX));
        assert_eq!(parameters(b"MAIL FROM:<a@b> BODY=7bit").body, Some(Body::SevenBit));
    }

    fn refused(code: u16, enhanced: &str, lines: &[&[u8]]) {
        for line in lines {
            let (got, status, text) = read(line).expect_err(&line.escape_ascii().to_string()).reply();
            assert_eq!((got, status), (code, enhanced), "{}: {text}", line.escape_ascii());
        }
    }

    #[test]
    #[rustfmt::skip] // a table
    fn malformed_lines_choose_their_reply() {
        refused(500, "5.5.1", &[
            b"", b" ", b"FOO", b" MAIL FROM:<a@b>", b"MAILFROM:<a@b>", b"MAIL\tFROM:<a@b>", b"DATA\r", b"\0DATA", b"QUIT\0",
            b"\xffQUIT", b"LHLO a", b"DATA.", b"EHLO\na", b"\x16\x03\x01\x02", b"\x80\x2e\x01", b"GET / HTTP/1.1", b"post /",
        ]);
        refused(501, "5.5.4", &[
            b"HELO", b"EHLO ", b"MAIL", b"RCPT  ", b"VRFY", b"EXPN ",
            b"HELO a b", b"EHLO a..b", b"EHLO [1.2.3]", b"HELO <a>", b"EHLO a\0", b"EHLO b\xc3\xbccher.example", b"HELO \xff",
            b"DATA now", b"RSET a", b"QUIT please", b"NOOP a\0", b"NOOP a\r", b"HELP \xc3\xa9", b"VRFY a\x7f", b"EXPN \xff",
            b"MAIL TO:<a@b>", b"MAIL FROM <a@b>", b"MAIL FROM :<a@b>", b"MAIL <a@b>", b"MAIL FR", b"RCPT FROM:<a@b>",
            b"RCPT T\xc3\xb6:<a@b>",
        ]);
        refused(501, "5.1.7", &[
            b"MAIL FROM:", b"MAIL FROM: ", b"MAIL FROM:<", b"MAIL FROM:<a@b", b"MAIL FROM:a@b>", b"MAIL FROM:<a@b>c", b"MAIL FROM:<a@b>>",
            b"MAIL FROM:<<a@b>>", b"MAIL FROM:<a@b>SIZE=3", b"MAIL FROM:<>SIZE=3", b"MAIL FROM:< >", b"MAIL FROM:<a @b>",
            b"MAIL FROM:<a@b >", b"MAIL FROM:<a@b\0>", b"MAIL FROM:<a@b@c>", b"MAIL FROM:<a@b>\tSIZE=3", b"MAIL FROM:<a@b>\r",
            b"MAIL FROM:<a\xff@b>", b"MAIL FROM:<a@b;c@d>",
        ]);
        refused(501, "5.1.3", &[
            b"RCPT TO:<>", b"RCPT TO:", b"RCPT TO:<a@b", b"RCPT TO:<a@local.tld@remote.tld>", b"RCPT TO:<a@b>c@d", b"RCPT TO:<a>@b",
            b"RCPT TO:<a@b>,<c@d>", b"RCPT TO:<\"a\"b@c>", b"RCPT TO:<@a:b>", b"RCPT TO:a@b>c", b"RCPT TO:Joe<a@b>",
        ]);
        refused(555, "5.5.4", &[
            b"MAIL FROM:<a@b> RET=HDRS", b"MAIL FROM:<a@b> AUTH=<>", b"MAIL FROM:<a@b> REQUIRETLS", b"MAIL FROM:<a@b> garbage",
            b"RCPT TO:<a@b> NOTIFY=NEVER", b"RCPT TO:<a@b> SIZE=3", b"RCPT TO:<a@b> X-A", b"RCPT TO:a b",
        ]);
        refused(501, "5.5.4", &[
            b"MAIL FROM:<a@b> <c@d>", b"MAIL FROM:<a@b> SIZE", b"MAIL FROM:<a@b> SIZE=", b"MAIL FROM:<a@b> SIZE=+1",
            b"MAIL FROM:<a@b> SIZE=1k", b"MAIL FROM:<a@b> SIZE=-1", b"MAIL FROM:<a@b> SIZE=000000000000000000001",
            b"MAIL FROM:<a@b> SIZE=1=2", b"MAIL FROM:<a@b> SIZE = 1", b"MAIL FROM:<a@b> BODY=BINARYMIME", b"MAIL FROM:<a@b> BODY",
            b"MAIL FROM:<a@b> SMTPUTF8=1", b"MAIL FROM:<a@b> =x", b"MAIL FROM:<a@b> -A", b"MAIL FROM:<a@b> SIZE=1 SIZE=1",
            b"MAIL FROM:<a@b> SMTPUTF8 smtputf8", b"MAIL FROM:<a@b> X=\xc3\xa9", b"MAIL FROM:<a@b> X\xc3\xa9", b"MAIL FROM:<a@b> X=\0",
            b"MAIL FROM:<a@b> SIZE=1\tBODY=7BIT", b"RCPT TO:<a@b> ?",
        ]);
    }

    #[test]
    fn what_it_names() {
        assert_eq!(read(b"MAIL FROM:<a@b> size=1 Size=2"), Err(Malformed::RepeatedParameter("SIZE")));
        assert_eq!(read(b"RCPT TO:<a@b> orcpt=x"), Err(Malformed::UnknownParameter("orcpt".into())));
        assert_eq!(read(b"HEAD / HTTP/1.0"), Err(Malformed::HttpOrTls));
        assert_eq!(read(b"RCPT TO:<>"), Err(Malformed::BadAddress(Party::Recipient, AddressError::Empty)));
        let long = [b"RCPT TO:<a@b> ", &[b'x'; 400][..]].concat();
        assert_eq!(read(&long), Err(Malformed::UnknownParameter("x".repeat(40))));
    }

    #[test]
    fn without_ehlo_there_are_no_parameters() {
        let plain = |line| parse(line, &Limits::default(), Offers { extended: false, submitter: true, ..OFFERS });
        assert!(matches!(plain(b"MAIL FROM:<a@b> SIZE=3"), Err(Malformed::UnknownParameter(_))));
        assert!(matches!(plain(b"MAIL FROM:<a@b> SUBMITTER=a@b"), Err(Malformed::UnknownParameter(_))));
        assert_eq!(plain(b"MAIL FROM:<a@b> "), Ok(mail(mailbox("a@b"))));
    }

    #[test]
    fn a_submitter_is_a_mailbox_in_xtext() {
        let submitter = |value: &str| {
            let line = format!("MAIL FROM:<> SUBMITTER={value}");
            match parse(line.as_bytes(), &Limits::default(), Offers { submitter: true, ..OFFERS }) {
                Ok(Command::Mail { parameters, .. }) => Ok(parameters.submitter.unwrap().to_string()),
                other => Err(format!("{other:?}")),
            }
        };
        for (value, address) in [
            ("a@b", "a@b"),
            ("bob+2Btag@B.Example.", "bob+tag@b.example"),
            ("a+3Db@c", "a=b@c"),
            ("+22a+20b+22+40c", "\"a b\"@c"),
            ("a@[192.0.2.1]", "a@[192.0.2.1]"),
            ("j+C3+BC@b+c3+bccher.example", "j\u{fc}@xn--bcher-kva.example"),
        ] {
            assert_eq!(submitter(value).as_deref(), Ok(address), "{value}");
        }
        for value in
            ["a", "", "<a@b>", "a+b@c", "a+2@c", "a+2", "+", "a@b+0D+0AX", "a+00@b", "+FF@b", "a@", "a@b,c@d", "+3C+3E"]
        {
            assert!(submitter(value).is_err(), "{value}: {:?}", submitter(value));
        }
        assert!(matches!(read(b"MAIL FROM:<> SUBMITTER=a@b"), Err(Malformed::UnknownParameter(_))));
    }

    proptest! {
        #[test]
        fn any_line_is_a_command_or_has_a_reply(
            verb in "(MAIL FROM:|RCPT TO:|EHLO |NOOP |VRFY )?", path in "(<[ -~é]{0,20}>)?", rest in any::<Vec<u8>>()
        ) {
            let line = [verb.as_bytes(), path.as_bytes(), &rest].concat();
            for line in [&line, &rest] {
                match read(line) {
                    Ok(command) => {
                        let null = matches!(command, Command::Rcpt { path: Path::Null, .. });
                        prop_assert!(!null, "a null forward-path");
                    }
                    Err(malformed) => {
                        let (code, _, text) = malformed.reply();
                        prop_assert!(matches!(code, 500 | 501 | 555));
                        prop_assert!(text.len() < 120 && text.bytes().all(|octet| matches!(octet, b' '..=b'~')));
                    }
                }
            }
        }

        #[test]
        fn reads_back_what_was_written(local in "[ -~]{1,20}", domain in "[a-z]{1,9}(\\.[a-z]{1,5}){0,2}", size in any::<Option<u64>>()) {
            let quoted: String = local.chars().flat_map(|character| ['\\', character]).collect();
            let address = Address::parse(format!("\"{quoted}\"@{domain}").as_bytes(), &Limits::default()).unwrap();
            let parameter = size.map(|size| format!(" SIZE={size}")).unwrap_or_default();
            let line = format!("MAIL FROM:<{address}>{parameter}");
            let parameters = MailParameters { size, ..MailParameters::default() };
            prop_assert_eq!(read(line.as_bytes()), Ok(Command::Mail { path: Path::Mailbox(address), parameters }));
        }
    }
}
