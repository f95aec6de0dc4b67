//! Which messages an operator means: one place for the list and for what is done to many of them.
#![forbid(unsafe_code)]

use rusqlite::Row;

use super::error::Error;
use super::held::Held;
use super::walk::{Recipients, message, recipient};
use crate::machine::message::address::{Address, Limits, normalise_domain};
use crate::machine::message::{Recipient, State};

/// What a message in the spool waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Its first attempt.
    Queued = 0,
    /// Another attempt.
    Deferred = 1,
    /// An operator, who held it.
    Held = 2,
    /// An operator, because its workers died.
    Crashed = 3,
    /// An operator, because it is damaged.
    Damaged = 4,
}

impl Status {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// Of a message that is held so, or of which a recipient was tried already.
    pub fn of(held: Held, tried: bool) -> Self {
        match held {
            Held::No if tried => Self::Deferred,
            Held::No => Self::Queued,
            Held::Operator => Self::Held,
            Held::Crashed => Self::Crashed,
            Held::Damaged => Self::Damaged,
        }
    }

    /// Of a message with these recipients.
    pub fn of_message(held: Held, recipients: &[Recipient]) -> Self {
        Self::of(held, recipients.iter().any(|one| one.state.is_open() && one.attempts > 0))
    }

    /// The status with this number.
    pub fn numbered(number: u8) -> Option<Self> {
        [Self::Queued, Self::Deferred, Self::Held, Self::Crashed, Self::Damaged]
            .into_iter()
            .find(|one| *one as u8 == number)
    }
}

/// A text in which `*` stands for any octets, or an address or a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// The null reverse-path: `<>`.
    Null,
    /// A whole address.
    Address(String),
    /// Every address of a domain.
    Domain(String),
    /// Every address below a domain: `.example.com`.
    Subdomains(String),
    /// Whatever has these parts in this order, the first at its beginning and the last at its end.
    Glob(Vec<String>),
}

impl Pattern {
    /// Reads a pattern for addresses; an address in angle brackets is one, too.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('<').and_then(|inner| inner.strip_suffix('>')).unwrap_or(text);
        if text.is_empty() {
            Self::Null
        } else if text.contains('*') {
            Self::glob(text)
        } else if text.contains('@') {
            let address = Address::parse(text.as_bytes(), &Limits::default());
            Self::Address(address.map_or_else(|_| text.to_owned(), |address| address.to_string()))
        } else if let Some(domain) = text.strip_prefix('.') {
            Self::Subdomains(format!(".{}", domain_of(domain)))
        } else {
            Self::Domain(domain_of(text))
        }
    }

    /// Reads a pattern for a next hop: the whole of it, or with `*`.
    pub fn glob(text: &str) -> Self {
        Self::Glob(text.split('*').map(str::to_owned).collect())
    }

    /// Whether `text` is meant, whatever the case of its ASCII letters.
    pub fn matches(&self, text: &str) -> bool {
        let domain = || text.rsplit_once('@').map_or("", |(_, domain)| domain);
        match self {
            Self::Null => text.is_empty(),
            Self::Address(address) => text.eq_ignore_ascii_case(address),
            Self::Domain(wanted) => domain().eq_ignore_ascii_case(wanted),
            Self::Subdomains(end) => ends_with(domain().as_bytes(), end.as_bytes()),
            Self::Glob(parts) => glob(parts, text.as_bytes()),
        }
    }
}

fn domain_of(text: &str) -> String {
    normalise_domain(text.as_bytes()).unwrap_or_else(|_| text.to_owned())
}

fn ends_with(text: &[u8], end: &[u8]) -> bool {
    let from = text.len().checked_sub(end.len());
    from.and_then(|from| text.get(from..)).is_some_and(|rest| rest.eq_ignore_ascii_case(end))
}

fn glob(parts: &[String], text: &[u8]) -> bool {
    let [first, inner @ .., last] = parts else {
        return parts.first().is_some_and(|whole| text.eq_ignore_ascii_case(whole.as_bytes()));
    };
    let begins = text.get(..first.len()).is_some_and(|start| start.eq_ignore_ascii_case(first.as_bytes()));
    let Some(mut rest) = text.get(first.len()..).filter(|_| begins) else { return false };
    for part in inner {
        let found = (0..=rest.len().saturating_sub(part.len())).find_map(|from| {
            rest.get(from..from + part.len()).filter(|at| at.eq_ignore_ascii_case(part.as_bytes())).map(|_| from)
        });
        let Some(after) = found.and_then(|from| rest.get(from + part.len()..)) else { return false };
        rest = after;
    }
    ends_with(rest, last.as_bytes())
}

/// Conditions that all hold for a message that is meant; an empty one means all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// An open recipient.
    pub to: Option<Pattern>,
    /// The reverse-path.
    pub sender: Option<Pattern>,
    /// Where an open recipient was tried last, or is to be tried because an operator said so.
    pub next_hop: Option<Pattern>,
    /// It came before this time, milliseconds since the epoch.
    pub arrived_before: Option<i64>,
    /// Its status is one of these; none: any.
    pub statuses: Vec<Status>,
}

impl Filter {
    /// Whether a message is meant, as `walk.rs` gives it.
    pub fn matches(&self, row: &Row<'_>, recipients: &mut Recipients<'_, '_>) -> Result<bool, Error> {
        if self.arrived_before.is_some_and(|time| row.get(message::ARRIVAL).is_ok_and(|came: i64| came >= time)) {
            return Ok(false);
        }
        if let Some(sender) = &self.sender
            && !sender.matches(text(row, message::REVERSE_PATH))
        {
            return Ok(false);
        }
        self.matches_recipients(Held::numbered(row.get(message::HELD)?), recipients)
    }

    fn matches_recipients(&self, held: Held, recipients: &mut Recipients<'_, '_>) -> Result<bool, Error> {
        if self.to.is_none() && self.next_hop.is_none() && self.statuses.is_empty() {
            return Ok(true);
        }
        let (mut tried, mut to, mut there) = (false, self.to.is_none(), self.next_hop.is_none());
        while let Some(one) = recipients.next()? {
            if !is_open(one)? {
                continue;
            }
            tried |= one.get::<_, i64>(recipient::ATTEMPTS)? > 0;
            to |= self.to.as_ref().is_some_and(|wanted| wanted.matches(text(one, recipient::ADDRESS)));
            there |= self.next_hop.as_ref().is_some_and(|wanted| wanted.matches(next_hop(one)));
        }
        let status = Status::of(held, tried);
        Ok(to && there && (self.statuses.is_empty() || self.statuses.contains(&status)))
    }
}

/// Whether something is still to be done for the recipient in `row`; of a damaged one it is.
pub fn is_open(row: &Row<'_>) -> Result<bool, Error> {
    Ok(State::numbered(row.get(recipient::STATE)?).is_none_or(State::is_open))
}

/// Where the recipient in `row` goes, as far as that is known.
pub fn next_hop<'row>(row: &'row Row<'_>) -> &'row str {
    let fixed = text(row, recipient::NEXT_HOP_FIXED);
    if fixed.is_empty() { text(row, recipient::NEXT_HOP) } else { fixed }
}

/// A column without a copy; a damaged one is empty.
pub fn text<'row>(row: &'row Row<'_>, column: usize) -> &'row str {
    row.get_ref(column).ok().and_then(|value| value.as_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched<'a>(pattern: &str, texts: &[&'a str]) -> Vec<&'a str> {
        let pattern = Pattern::parse(pattern);
        texts.iter().copied().filter(|text| pattern.matches(text)).collect()
    }

    #[test]
    fn a_pattern_is_an_address_a_domain_what_is_below_one_or_a_glob() {
        let texts = ["", "ann@example.com", "bob@sub.example.com", "ann@badexample.com", "x.example.com@other.test"];
        assert_eq!(matched("<>", &texts), [""]);
        assert_eq!(matched("", &texts), [""]);
        assert_eq!(matched("ann@EXAMPLE.com", &texts), ["ann@example.com"]);
        assert_eq!(matched("<Ann@example.com>", &texts), ["ann@example.com"]);
        assert_eq!(matched("Example.com", &texts), ["ann@example.com"]);
        assert_eq!(matched(".example.com", &texts), ["bob@sub.example.com"]);
        assert_eq!(matched("ann@*", &texts), ["ann@example.com", "ann@badexample.com"]);
        assert_eq!(matched("*@*.COM", &texts), ["ann@example.com", "bob@sub.example.com", "ann@badexample.com"]);
        assert_eq!(matched("*", &texts), texts);
        assert_eq!(matched("b\u{fc}cher.example", &["x@xn--bcher-kva.example"]), ["x@xn--bcher-kva.example"]);
    }

    #[test]
    fn the_parts_of_a_glob_do_not_overlap() {
        assert!(Pattern::glob("a*a").matches("aa") && !Pattern::glob("a*a").matches("a"));
        assert!(Pattern::glob("a*b*b").matches("aBxb") && !Pattern::glob("a*b*b").matches("ab"));
        assert!(Pattern::glob("smtp://hop:25").matches("SMTP://hop:25"));
        assert!(!Pattern::glob("smtp://hop:2").matches("smtp://hop:25"));
        assert!(Pattern::glob("**").matches(""));
    }
}
