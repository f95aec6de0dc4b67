//! One command line becomes one `Command`.
//!
//! Promises: total: a line that is no command is a [`Malformed`] value with its reply; no part of a line is ignored, but for the
//! argument of the verbs that take any. Order of commands and policy are the session machine's business.
//! Never panics, never echoes an octet of the peer but the letters, digits and hyphens of a parameter's keyword.
//! Expects a line without its CRLF, its length already checked.
//! RFC 5321 4.1.1 and 4.1.2, RFC 1870 4, RFC 3461 4, RFC 6152 2, RFC 6531 3.4, RFC 4405 4.

use super::chunking::ChunkSize;
use super::extensions::{self, Offers};
use super::parameters::{self, BadParameter, MailParameters, RcptParameters};
use super::reply::{self, Reply};
use crate::machine::ascii::is_printable;
use crate::machine::message::address::{Address, AddressError, Limits, Path, is_helo_name};

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
    Rcpt {
        address: Address,
        parameters: RcptParameters,
    },
    Data,
    StartTls,
    Bdat(ChunkSize),
    Rset,
    Noop,
    Quit,
    Vrfy,
    Expn,
    Help,
    /// What follows the verb: a mechanism, and maybe a response that is a secret.
    Auth(&'a [u8]),
    /// The attributes, unread: they are for servers in front of us alone.
    Xclient(&'a [u8]),
    /// As of XCLIENT.
    Xforward(&'a [u8]),
    /// A verb of the standards that this server does not have: 502 5.5.1.
    NotImplemented(&'static str),
}

impl Command<'_> {
    /// What a server that asks for authentication refuses before it (RFC 4954 6).
    pub fn needs_authentication(&self) -> bool {
        matches!(self, Self::Mail { .. } | Self::Rcpt { .. } | Self::Data | Self::Vrfy | Self::Expn)
    }
}

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
    /// BDAT without a number: nobody can say where its octets end.
    BadChunk,
    /// The path is no address.
    BadAddress(Party, AddressError),
    /// A parameter that cannot be taken.
    BadParameter(BadParameter),
}

impl Malformed {
    /// The reply to the peer.
    pub fn reply(&self) -> Reply {
        match self {
            Self::UnknownCommand => reply::UNKNOWN_COMMAND,
            Self::HttpOrTls => reply::NOT_SMTP,
            Self::NoArgument => reply::NO_ARGUMENT,
            Self::BadHelo => reply::BAD_HELO,
            Self::BadChunk => reply::BAD_CHUNK,
            Self::BadArgument(sentence) | Self::BadParameter(BadParameter::Value(sentence)) => {
                reply::bad_argument(sentence)
            }
            Self::BadParameter(BadParameter::Repeated(keyword)) => reply::repeated_parameter(keyword),
            Self::BadParameter(BadParameter::Unknown(keyword)) => reply::unknown_parameter(keyword),
            Self::BadAddress(Party::Sender, error) => reply::bad_sender(*error),
            Self::BadAddress(Party::Recipient, error) => reply::bad_recipient(*error),
        }
    }
}

impl From<BadParameter> for Malformed {
    fn from(error: BadParameter) -> Self {
        Self::BadParameter(error)
    }
}

enum Verb {
    Reads(for<'a, 'l> fn(&Argument<'a, 'l>) -> Result<Command<'a>, Malformed>),
    NotImplemented,
    Http,
}

/// Every verb but those of extensions that are known by name alone, the frequent ones first.
static VERBS: &[(&str, Verb)] = &[
    ("RCPT", Verb::Reads(|argument| argument.rcpt())),
    ("MAIL", Verb::Reads(|argument| argument.mail())),
    ("DATA", Verb::Reads(|argument| argument.none(Command::Data))),
    (extensions::BDAT, Verb::Reads(|argument| argument.chunk())),
    ("EHLO", Verb::Reads(|argument| argument.name(Command::Ehlo))),
    ("QUIT", Verb::Reads(|argument| argument.none(Command::Quit))),
    ("RSET", Verb::Reads(|argument| argument.none(Command::Rset))),
    ("HELO", Verb::Reads(|argument| argument.name(Command::Helo))),
    ("NOOP", Verb::Reads(|argument| argument.ignored(Command::Noop))),
    ("VRFY", Verb::Reads(|argument| argument.required(Command::Vrfy))),
    ("EXPN", Verb::Reads(|argument| argument.required(Command::Expn))),
    (extensions::STARTTLS, Verb::Reads(|argument| argument.none(Command::StartTls))),
    ("HELP", Verb::Reads(|argument| argument.ignored(Command::Help))),
    ("AUTH", Verb::Reads(|argument| Ok(Command::Auth(argument.octets)))),
    ("XCLIENT", Verb::Reads(|argument| Ok(Command::Xclient(argument.octets)))),
    ("XFORWARD", Verb::Reads(|argument| Ok(Command::Xforward(argument.octets)))),
    ("ETRN", Verb::NotImplemented), // RFC 1985
    ("TURN", Verb::NotImplemented), // RFC 5321 appendix F.1: never to be switched on
    ("SEND", Verb::NotImplemented), // RFC 5321 appendix F.6
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

/// Parses one line without its CRLF.
pub fn parse<'a>(line: &'a [u8], limits: &Limits, offers: Offers) -> Result<Command<'a>, Malformed> {
    // A TLS record of type handshake, or a version 2 hello.
    if matches!(line, [0x16, 0x03, ..] | [0x80, ..]) {
        return Err(Malformed::HttpOrTls);
    }
    let line = trim_end(line);
    let (verb, argument) = line.split_at(memchr::memchr(b' ', line).unwrap_or(line.len()));
    match VERBS.iter().find(|(name, _)| verb.eq_ignore_ascii_case(name.as_bytes())) {
        Some((_, Verb::Reads(read))) => read(&Argument { octets: trim_start(argument), limits, offers }),
        Some((name, Verb::NotImplemented)) => Ok(Command::NotImplemented(name)),
        Some((_, Verb::Http)) => Err(Malformed::HttpOrTls),
        None => extensions::verb(verb).map(Command::NotImplemented).ok_or(Malformed::UnknownCommand),
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
        if self.octets.iter().copied().all(is_printable) {
            Ok(command)
        } else {
            Err(Malformed::BadArgument("The argument is not printable ASCII"))
        }
    }

    /// The argument may be an address with the parameter of RFC 6531 3.7.4.2, so UTF-8 is let through, though nothing reads it.
    fn required(&self, command: Command<'a>) -> Result<Command<'a>, Malformed> {
        let last = self.octets.rsplit(|&octet| octet == b' ').next().unwrap_or_default();
        match str::from_utf8(self.octets) {
            Ok("") => Err(Malformed::NoArgument),
            Ok(_) if last.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"SMTPUTF8=")) => {
                Err(Malformed::BadArgument("SMTPUTF8 takes no value"))
            }
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
        Ok(Command::Mail { path, parameters: parameters::read(rest, &self.offers.mail())? })
    }

    fn rcpt(&self) -> Result<Command<'a>, Malformed> {
        let after = self.after(b"TO:", "The argument must be TO:<address>")?;
        let (address, rest) = match Path::read(after, self.limits) {
            Ok((Path::Null, _)) => Err(AddressError::Empty),
            Ok((Path::Mailbox(address), rest)) => Ok((address, rest)),
            Err(error) => Err(error),
        }
        .map_err(|error| Malformed::BadAddress(Party::Recipient, error))?;
        Ok(Command::Rcpt { address, parameters: parameters::read(rest, &self.offers.rcpt())? })
    }

    fn chunk(&self) -> Result<Command<'a>, Malformed> {
        ChunkSize::read(self.octets).map(Command::Bdat).ok_or(Malformed::BadChunk)
    }

    /// What is behind `keyword` and any spaces.
    fn after(&self, keyword: &[u8], sentence: &'static str) -> Result<&'a [u8], Malformed> {
        match self.octets.split_at_checked(keyword.len()) {
            Some((start, rest)) if start.eq_ignore_ascii_case(keyword) => Ok(trim_start(rest)),
            _ if self.octets.is_empty() => Err(Malformed::NoArgument),
            _ => Err(Malformed::BadArgument(sentence)),
        }
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
    use crate::machine::smtp::extensions::{Standing, kept_of_mail, kept_of_rcpt};
    use crate::machine::smtp::parameters::{Body, Return};
    use crate::machine::smtp::server::config::Config;
    use crate::machine::smtp::xtext;

    fn read(line: &[u8]) -> Result<Command<'_>, Malformed> {
        parse(line, &Limits::default(), Offers::of(&Config::example(), Standing::default()))
    }

    fn address(text: &str) -> Address {
        Address::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    fn mailbox(text: &str) -> Path {
        Path::Mailbox(address(text))
    }

    fn mail(path: Path) -> Command<'static> {
        Command::Mail { path, parameters: MailParameters::default() }
    }

    fn rcpt(text: &str) -> Command<'static> {
        Command::Rcpt { address: address(text), parameters: RcptParameters::default() }
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
            (b"starttls", Command::StartTls),
            (b"auth PLAIN AGEAYg==", Command::Auth(b"PLAIN AGEAYg==")),
            (b"AUTH", Command::Auth(b"")),
            (b"BDAT 10 LAST", Command::Bdat(ChunkSize { octets: 10, is_last: true })),
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
        let expected = MailParameters {
            size: Some(1000),
            body: Some(Body::EightBitMime),
            smtputf8: true,
            ..MailParameters::default()
        };
        assert_eq!(parameters(b"MAIL FROM:<a@b> SIZE=1000 BODY=8BITMIME SMTPUTF8"), expected);
        assert_eq!(parameters(b"mail from:<> smtputf8  body=8bitmime size=01000 "), expected);
        assert_eq!(parameters(b"MAIL FROM:a@b SIZE=3").size, Some(3));
        assert_eq!(parameters(b"MAIL FROM:<a@b> SIZE=99999999999999999999").size, Some(u64::MAX));
        assert_eq!(parameters(b"MAIL FROM:<a@b> SIZE=18446744073709551615").size, Some(u64::MAX));
        assert_eq!(parameters(b"MAIL FROM:<a@b> BODY=7bit").body, Some(Body::SevenBit));
    }

    fn refused(code: u16, enhanced: &str, lines: &[&[u8]]) {
        for line in lines {
            let reply = read(line).expect_err(&line.escape_ascii().to_string()).reply();
            assert_eq!((reply.code, &*reply.enhanced), (code, enhanced), "{}: {reply}", line.escape_ascii());
        }
    }

    #[test]
    #[rustfmt::skip] // a table
    fn malformed_lines_choose_their_reply() {
        refused(500, "5.5.1", &[
            b"", b" ", b"FOO", b" MAIL FROM:<a@b>", b"MAILFROM:<a@b>", b"MAIL\tFROM:<a@b>", b"DATA\r", b"\0DATA", b"QUIT\0",
            b"\xffQUIT", b"LHLO a", b"DATA.", b"EHLO\na",
        ]);
        refused(421, "4.7.0", &[b"\x16\x03\x01\x02", b"\x80\x2e\x01", b"GET / HTTP/1.1", b"post /"]);
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
            b"MAIL FROM:<a@b> NOTIFY=NEVER", b"MAIL FROM:<a@b> AUTH=<>", b"MAIL FROM:<a@b> REQUIRETLS", b"MAIL FROM:<a@b> garbage",
            b"RCPT TO:<a@b> RET=HDRS", b"RCPT TO:<a@b> SIZE=3", b"RCPT TO:<a@b> X-A", b"RCPT TO:a b", b"MAIL FROM:<a@b> X=\xc3\xa9",
        ]);
        refused(501, "5.5.4", &[
            b"MAIL FROM:<a@b> <c@d>", b"MAIL FROM:<a@b> SIZE", b"MAIL FROM:<a@b> SIZE=", b"MAIL FROM:<a@b> SIZE=+1",
            b"MAIL FROM:<a@b> SIZE=1k", b"MAIL FROM:<a@b> SIZE=-1", b"MAIL FROM:<a@b> SIZE=000000000000000000001",
            b"MAIL FROM:<a@b> SIZE=1=2", b"MAIL FROM:<a@b> SIZE = 1", b"MAIL FROM:<a@b> BODY",
            b"MAIL FROM:<a@b> SMTPUTF8=1", b"MAIL FROM:<a@b> =x", b"MAIL FROM:<a@b> -A", b"MAIL FROM:<a@b> SIZE=1 SIZE=1",
            b"MAIL FROM:<a@b> SMTPUTF8 smtputf8", b"MAIL FROM:<a@b> X=\xe9", b"MAIL FROM:<a@b> X\xc3\xa9", b"MAIL FROM:<a@b> X=\0",
            b"MAIL FROM:<a@b> X=\xc2\x85",
            b"MAIL FROM:<a@b> SIZE=1\tBODY=7BIT", b"RCPT TO:<a@b> ?",
        ]);
    }

    #[test]
    fn help_names_the_verbs_that_are_done() {
        let help = reply::HELP;
        let (_, named) = help.text.split_once(": ").unwrap();
        let mut named: Vec<&str> = named.split(' ').collect();
        let reads = |(name, verb): &(&'static str, Verb)| matches!(verb, Verb::Reads(_)).then_some(*name);
        // EXPN is read, and answered with 502; EHLO lists the extensions.
        let is_named = |name: &&str| *name != "EXPN" && extensions::verb(name.as_bytes()).is_none();
        let mut done: Vec<&str> = VERBS.iter().filter_map(reads).filter(is_named).collect();
        named.sort_unstable();
        done.sort_unstable();
        assert_eq!(named, done);
    }

    #[test]
    fn what_it_names() {
        assert_eq!(read(b"MAIL FROM:<a@b> size=1 Size=2"), Err(BadParameter::Repeated("SIZE").into()));
        assert_eq!(read(b"RCPT TO:<a@b> orcp=x"), Err(BadParameter::Unknown("orcp".into()).into()));
        assert_eq!(read(b"HEAD / HTTP/1.0"), Err(Malformed::HttpOrTls));
        assert_eq!(read(b"RCPT TO:<>"), Err(Malformed::BadAddress(Party::Recipient, AddressError::Empty)));
        let long = [b"RCPT TO:<a@b> ", &[b'x'; 400][..]].concat();
        assert_eq!(read(&long), Err(BadParameter::Unknown("x".repeat(40)).into()));
    }

    #[test]
    fn parameters_of_reports() {
        let mail = |value: &str| match read(format!("MAIL FROM:<a@b> {value}").as_bytes()) {
            Ok(Command::Mail { parameters, .. }) => Ok(kept_of_mail(&parameters).as_str().to_owned()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.reply().code),
        };
        let rcpt = |value: &str| match read(format!("RCPT TO:<a@b> {value}").as_bytes()) {
            Ok(Command::Rcpt { parameters, .. }) => Ok(kept_of_rcpt(&parameters).as_str().to_owned()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.reply().code),
        };
        let long = |octets: usize| "x".repeat(octets);
        for value in ["RET=FULL", "RET=HDRS", "ENVID=QQ314159", "ENVID=a+20b", "RET=HDRS ENVID=+7E"] {
            assert_eq!(mail(value).as_deref(), Ok(value));
        }
        assert_eq!(mail("ret=hdrs envid=q").as_deref(), Ok("RET=HDRS ENVID=q"));
        let envid = format!("ENVID={}", long(100));
        assert_eq!(mail(&envid).as_deref(), Ok(&*envid));
        for value in
            ["RET", "RET=", "RET=BODY", "ENVID", "ENVID=", "ENVID=a+", "ENVID=+0D+0A", "ENVID=+C3+A9", "ENVID=\u{e9}"]
        {
            assert_eq!(mail(value), Err(501), "{value}");
        }
        for value in ["RET=FULL RET=FULL", "ENVID=a ENVID=b", &format!("ENVID={}", long(101))] {
            assert_eq!(mail(value), Err(501), "{value}");
        }
        for value in [
            "NOTIFY=NEVER",
            "NOTIFY=never",
            "NOTIFY=SUCCESS,FAILURE,DELAY",
            "NOTIFY=delay,Success",
            "ORCPT=rfc822;a@b",
            "ORCPT=X400;/C=",
            "ORCPT=rfc822;a+2Bb+3Dc@d",
            "ORCPT=utf-8;j\u{f6}rg@b",
            r"ORCPT=UTF-8;j\x{F6}rg@b",
            "ORCPT=utf-8;+",
            "NOTIFY=DELAY ORCPT=x;y",
        ] {
            let expected = if value.contains("C=") { Err(501) } else { Ok(value) };
            assert_eq!(rcpt(value).as_deref(), expected.as_ref().map(|value| *value), "{value}");
        }
        let orcpt = format!("ORCPT=x;{}", long(498));
        assert_eq!(rcpt(&orcpt).as_deref(), Ok(&*orcpt));
        for value in [
            "NOTIFY",
            "NOTIFY=",
            "NOTIFY=NEVER,FAILURE",
            "NOTIFY=FAILURE,NEVER",
            "NOTIFY=ALWAYS",
            "NOTIFY=SUCCESS,",
            "NOTIFY=,",
            "NOTIFY=SUCCESS;DELAY",
            "NOTIFY=DELAY,DELAY,DELAY,DELAY,DELAY",
            "NOTIFY=NEVER NOTIFY=NEVER",
            "ORCPT",
            "ORCPT=",
            "ORCPT=a@b",
            "ORCPT=;a@b",
            "ORCPT=rfc822;",
            "ORCPT=rfc822;a+b",
            "ORCPT=rfc822;+0A",
            "ORCPT=rfc822;\u{e9}",
            "ORCPT=rfc(822);a",
            "ORCPT=x;y ORCPT=x;y",
            &format!("ORCPT=x;{}", long(499)),
        ] {
            assert_eq!(rcpt(value), Err(501), "{value}");
        }
    }

    #[test]
    fn without_ehlo_there_are_no_parameters() {
        let plain = |line| parse(line, &Limits::default(), Offers::NONE);
        assert!(matches!(plain(b"MAIL FROM:<a@b> SIZE=3"), Err(Malformed::BadParameter(BadParameter::Unknown(_)))));
        assert!(matches!(
            plain(b"MAIL FROM:<a@b> SUBMITTER=a@b"),
            Err(Malformed::BadParameter(BadParameter::Unknown(_)))
        ));
        assert_eq!(plain(b"MAIL FROM:<a@b> "), Ok(mail(mailbox("a@b"))));
    }

    #[test]
    fn a_submitter_is_a_mailbox_in_xtext() {
        let submitter = |value: &str| {
            let line = format!("MAIL FROM:<> SUBMITTER={value}");
            let offers = Offers::of(&Config { submitter: true, ..Config::example() }, Standing::default());
            match parse(line.as_bytes(), &Limits::default(), offers) {
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
        assert!(matches!(read(b"MAIL FROM:<> SUBMITTER=a@b"), Err(Malformed::BadParameter(BadParameter::Unknown(_)))));
    }

    proptest! {
        #[test]
        fn any_line_is_a_command_or_has_a_reply(
            verb in "(MAIL FROM:|RCPT TO:|EHLO |NOOP |VRFY )?", path in "(<[ -~é]{0,20}>)?", rest in any::<Vec<u8>>()
        ) {
            let line = [verb.as_bytes(), path.as_bytes(), &rest].concat();
            for line in [&line, &rest] {
                match read(line) {
                    Ok(_) => {}
                    Err(malformed) => {
                        let reply = malformed.reply();
                        prop_assert!(matches!(reply.code, 421 | 500 | 501 | 555));
                        prop_assert!(reply.text.len() < 120 && reply.text.bytes().all(is_printable));
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

        #[test]
        fn parameters_of_reports_read_back_as_they_are_kept(
            ret in prop::option::of(prop::sample::select(vec!["FULL", "HDRS"])), envid in prop::option::of("[ -~]{1,30}"),
            notify in prop::option::of(prop::sample::subsequence(vec!["SUCCESS", "failure", "DELAY"], 1..=3)),
            original in prop::option::of(("[A-Za-z0-9-]{1,9}", "[ -~]{1,60}"))
        ) {
            let mail = MailParameters {
                ret: ret.map(|ret| if ret == "FULL" { Return::Full } else { Return::Header }),
                envid: envid.map(|text| xtext::encode(&text).into()),
                ..MailParameters::default()
            };
            let line = format!("MAIL FROM:<> {}", kept_of_mail(&mail).as_str());
            prop_assert_eq!(read(line.as_bytes()), Ok(Command::Mail { path: Path::Null, parameters: mail }));
            let rcpt = RcptParameters {
                notify: notify.map(|events| events.join(",").into()),
                original: original.map(|(kind, text)| format!("{kind};{}", xtext::encode(&text)).into()),
            };
            let line = format!("RCPT TO:<a@b> {}", kept_of_rcpt(&rcpt).as_str());
            prop_assert_eq!(read(line.as_bytes()), Ok(Command::Rcpt { address: address("a@b"), parameters: rcpt }));
        }
    }
}
