//! The compiled directory as it is read; the contract is the parent's.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use super::format::{Record, hash};
use super::layer::{Layer, base_path};
use super::{Answer, Found, Input, LONGEST_CHAIN, MOST_TARGETS, Scope, Stamp};
use crate::machine::message::address::{Address, Limits, Normalisation};

/// How often a base that is not there is looked for: between the two looks the snapshot was replaced.
const LOOKS: usize = 5;

/// A compiled directory, mapped read-only: a whole one, and what changed since.
pub struct Directory {
    pub(super) base: Layer,
    pub(super) changes: Option<Layer>,
}

impl Directory {
    /// Maps the snapshot at `path`; `InvalidData` when it is none, of another version, cut short, or without its base.
    pub fn open(path: &Path) -> io::Result<Self> {
        for _ in 0..LOOKS {
            let front = Layer::open(path)?;
            let mark = front.header.base;
            if mark == 0 {
                return Ok(Self { base: front, changes: None });
            }
            match Layer::open(&base_path(path, mark)) {
                Ok(base) if base.mark() == mark => return Ok(Self { base, changes: Some(front) }),
                Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "its base is another one")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "its base is missing"))
    }

    /// What changes can be compiled upon.
    pub(super) fn into_base(self) -> Layer {
        self.base
    }

    fn newest(&self) -> &Layer {
        self.changes.as_ref().unwrap_or(&self.base)
    }

    /// Different entries in it.
    pub fn entries(&self) -> u64 {
        self.newest().header.entries
    }

    /// The text file it was compiled from; zeros without one.
    pub fn stamp(&self) -> Stamp {
        self.newest().header.stamp
    }

    /// Whether it was made from the inputs of these names for this scope.
    pub fn is_for(&self, inputs: &[Input], scope: &Scope) -> bool {
        self.newest().is_for(inputs, scope)
    }

    /// The tables it was compiled from: their numbers, each with what `table_state` said then.
    pub fn tables(&self) -> Vec<(u8, String)> {
        self.newest().tables()
    }

    /// The number of the table `input` then, and what `table_state` said of it; None where it was no input, or not read whole yet.
    pub(super) fn state_of(&self, input: &Input) -> Option<(u8, String)> {
        let then = self.newest().number_of(input)?;
        self.tables().into_iter().find(|(number, state)| *number == then && !state.is_empty())
    }

    /// Whether it has all that this scope would find in its inputs: spellings are as they were, and no record was left out for another one.
    pub(super) fn has_all_for(&self, scope: &Scope) -> bool {
        self.newest().is_spelt_as(scope) && (self.base.header.ours > 0 || self.base.header.entries == 0)
    }

    /// What is known of `address`, or of the one that it is a subaddress of, and who gets its mail. At each domain its options say what is
    /// looked up, also where one is another name of the next.
    pub fn resolve(&self, address: &Address, normalisation: &Normalisation) -> Resolution {
        let user_at = |domain: &str| address.without_detail(normalisation.delimiters(domain));
        let own = self.walk(address.domain(), |domain| Some(Cow::Owned(normalisation.key_at(address, domain))));
        if !own.answer.found.is_own() && (own.domain != address.domain() || user_at(own.domain).is_some()) {
            let key_at = |domain: &str| Some(Cow::Owned(normalisation.key_at(&user_at(domain)?, domain)));
            let by_user = self.walk(address.domain(), key_at);
            if by_user.answer.found.is_own() {
                let user = user_at(by_user.domain).map(|user| normalisation.without_dots(&user).unwrap_or(user));
                let mut found = Resolution { listed: user, ..by_user.resolution(address) };
                if !by_user.targets.is_empty() {
                    let delimiters = normalisation.delimiters(by_user.domain);
                    found.targets = self.with_details(found.targets, address, delimiters, normalisation);
                }
                return found;
            }
        }
        if own.answer.found.is_domain() && address.may_route() {
            let answer = Answer { found: Found::OtherRoute, ..own.answer };
            return Resolution { answer, listed: None, targets: Vec::new() };
        }
        let listed = if own.answer.found.is_own() { normalisation.without_dots(address) } else { None };
        Resolution { listed, ..own.resolution(address) }
    }

    /// The targets of the one that `address` is a subaddress of, with its detail. An entry of its own says more of a subaddress: one that is
    /// excluded is not used, and one that is an alias has targets itself, as long as they are not too many.
    fn with_details(
        &self,
        targets: Vec<Address>,
        address: &Address,
        delimiters: &str,
        normalisation: &Normalisation,
    ) -> Vec<Address> {
        let mut all = Vec::with_capacity(targets.len());
        let mut room = MOST_TARGETS.saturating_sub(targets.len());
        for target in targets {
            let Some(handed_on) = normalisation.with_detail_of(address, delimiters, &target) else {
                all.push(target);
                continue;
            };
            match self.find(false, normalisation.key(&handed_on).as_bytes()) {
                Some(None) => all.push(handed_on),
                Some(Some(record)) if record.kind == Found::Address => all.push(handed_on),
                Some(Some(record)) if record.kind == Found::Alias => {
                    let own = read_targets(record.targets);
                    if own.len() > room {
                        all.push(target);
                    } else {
                        room -= own.len();
                        all.extend(own);
                    }
                }
                _ => all.push(target),
            }
        }
        all
    }

    /// What is known of the address with this key, by the normalisation that the snapshot was made for, and this domain.
    pub fn lookup(&self, key: &str, domain: &str) -> Answer {
        let local = key.strip_suffix(domain).unwrap_or(key);
        let key_at =
            |at: &str| Some(if at == domain { Cow::Borrowed(key) } else { Cow::Owned(format!("{local}{at}")) });
        self.walk(domain, key_at).answer
    }

    /// Looks at the address, by its key at a domain if it has one there, then at the domain, and goes on to the domain of which that is another name.
    fn walk<'a, 'k>(&'a self, mut domain: &'a str, key_at: impl Fn(&str) -> Option<Cow<'k, str>>) -> Walk<'a> {
        let (mut renamed, mut domains) = (None, Vec::new());
        for _ in 0..=LONGEST_CHAIN {
            let key = key_at(domain);
            let Some(by_address) = key.map_or(Some(None), |key| self.find(false, key.as_bytes())) else { break };
            if let Some(record) = by_address {
                let is_alias = record.kind == Found::Address && renamed.is_some();
                let found = if is_alias { Found::Alias } else { record.kind };
                return Walk { answer: record.answer(found), domain, domains, targets: record.targets };
            }
            let by_domain = if domain.is_empty() { Some(None) } else { self.find(true, domain.as_bytes()) };
            match by_domain {
                None => break,
                Some(None) => {
                    let answer = renamed.unwrap_or(Answer::of_none(Found::Absent));
                    return Walk { answer, domain, domains, targets: &[] };
                }
                Some(Some(record)) if record.kind == Found::AliasDomain => {
                    renamed.get_or_insert(record.answer(Found::Absent));
                    let Ok(other) = std::str::from_utf8(record.targets) else { break };
                    domain = other;
                    domains.push(other);
                }
                Some(Some(record)) if record.kind == Found::CatchAll => {
                    return Walk { answer: record.answer(record.kind), domain, domains, targets: record.targets };
                }
                Some(Some(record)) => {
                    let found = if renamed.is_some() { Found::AliasDomain } else { record.kind };
                    return Walk { answer: record.answer(found), domain, domains, targets: &[] };
                }
            }
        }
        Walk { answer: Answer::of_none(Found::Damaged), domain, domains, targets: &[] }
    }

    /// The same in a list of senders, where an entry for a domain may be for those below it, too. The nearest entry decides.
    pub fn lookup_sender(&self, key: &str, domain: &str) -> Answer {
        let found = self.lookup(key, domain);
        if found.found != Found::Absent || domain.is_empty() || domain.starts_with('[') {
            return found;
        }
        let below = format!(".{domain}");
        let mut rest = below.as_str();
        loop {
            match self.find(true, rest.as_bytes()) {
                None => return Answer::of_none(Found::Damaged),
                Some(Some(record)) => return record.answer(record.kind),
                Some(None) => {}
            }
            let Some(next) = rest.get(1..).and_then(|name| name.find('.')).and_then(|dot| rest.get(1 + dot..)) else {
                return Answer::of_none(Found::Absent);
            };
            rest = next;
        }
    }

    /// `None`: the snapshot contradicts itself. `Some(None)`: no such record.
    #[allow(clippy::option_option)]
    fn find(&self, domain: bool, key: &[u8]) -> Option<Option<Record<'_>>> {
        let hash = hash(domain, key);
        let changes = self.changes.as_ref().filter(|_| !domain);
        match changes.map_or(Some(None), |changes| changes.find(domain, key, hash))? {
            Some(record) => Some(Some(record).filter(|record| record.kind != Found::Absent)),
            None => self.base.find(domain, key, hash),
        }
    }
}

/// Where a walk over a directory ended.
struct Walk<'a> {
    answer: Answer,
    /// The domain at which it ended; another one than that of the address when that is another name of it.
    domain: &'a str,
    /// Those after that of the address, each another name of the one before.
    domains: Vec<&'a str>,
    /// Of the record that was found; empty unless that is an alias.
    targets: &'a [u8],
}

impl Walk<'_> {
    /// What it says of `address`, or of the one that it is a subaddress of: what was listed by a name of its domain goes to the address itself.
    fn resolution(&self, address: &Address) -> Resolution {
        let targets = match self.answer.found {
            Found::Alias | Found::CatchAll if !self.targets.is_empty() => read_targets(self.targets),
            Found::Alias | Found::AliasDomain => vec![address.at_domain(self.domain)],
            Found::Absent => self.domains.iter().map(|domain| address.at_domain(domain)).collect(),
            _ => Vec::new(),
        };
        Resolution { answer: self.answer, listed: None, targets }
    }
}

/// What a directory says of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// What it says.
    pub answer: Answer,
    /// The address that is listed in its place: the one that it is a subaddress of, or the same without dots.
    pub listed: Option<Address>,
    /// The addresses that get its mail instead; none: it is delivered to itself, or does not exist. Of one that is absent, at a domain that is
    /// another name: the address at each of the other domains, of which the last one decides.
    pub targets: Vec<Address>,
}

fn read_targets(lines: &[u8]) -> Vec<Address> {
    lines.split(|octet| *octet == b'\n').filter_map(|line| Address::parse(line, &Limits::default()).ok()).collect()
}
