//! Handing the detail of a subaddress on: mail to `info+x`, where `info` is an alias of `ann`, is for `ann+x`.
//!
//! Promises: only an address at a domain of ours, without a detail of its own, gets one, and what comes out is read there as that address
//! with this detail. It never becomes a route to another server, and never longer than an address may be. Nobody says of other domains
//! that details mean something there.

use unicode_normalization::UnicodeNormalization;

use super::local_part::is_odd;
use super::routing::may_route;
use super::{Address, Limits, Normalisation, over};

impl Address {
    /// The detail with the delimiter before it; None where there is none, as in [`Address::without_detail`].
    fn detail(&self, delimiters: &str) -> Option<&str> {
        let user = self.without_detail(delimiters)?;
        self.local.get(user.local.len()..)
    }
}

impl Normalisation {
    /// `target` with the detail that `address` has by `delimiters`; None where `target` stays as it is. The delimiter is kept if it is one at the
    /// domain of the target; else it is the first one there.
    pub fn with_detail_of(&self, address: &Address, delimiters: &str, target: &Address) -> Option<Address> {
        let mut detail = address.detail(delimiters)?.chars();
        let (written, there) = (detail.next()?, self.delimiters(&target.domain));
        let delimiter = if there.contains(written) { written } else { there.chars().next()? };
        if !self.ours.contains(&target.domain) || target.local.contains(|letter| there.contains(letter)) {
            return None;
        }
        let local = format!("{}{delimiter}{}", target.local, detail.as_str());
        let local = if local.is_ascii() { local } else { local.nfc().collect() };
        let odd = (target.odd || address.odd) && is_odd(&local);
        let handed_on = Address { local: local.into(), domain: target.domain.clone(), odd };
        let is_whole = handed_on.without_detail(there).is_some_and(|user| user == *target);
        let is_long = over(handed_on.octets() - target.domain.len() - "@".len(), Limits::USUAL.local_part);
        (is_whole && !is_long && !may_route(&handed_on.local)).then_some(handed_on)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::machine::message::address::{Case, Dots, Options};

    const OFF: Limits = Limits { local_part: 0, domain: 0, path: 0 };

    fn parse(text: &str) -> Address {
        Address::parse(text.as_bytes(), &OFF).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    fn example() -> Normalisation {
        let options =
            |delimiters: &str| Options { dots: Dots::Keep, case: Case::Ignore, delimiters: delimiters.to_owned() };
        let domains = [("minus.test".into(), options("-=")), ("none.test".into(), options(""))];
        Normalisation::new("+".to_owned(), domains).with_ours([
            "ours.test".into(),
            "minus.test".into(),
            "none.test".into(),
        ])
    }

    fn handed_on(address: &str, target: &str) -> Option<String> {
        let (address, example) = (parse(address), example());
        let delimiters = example.delimiters(address.domain());
        example.with_detail_of(&address, delimiters, &parse(target)).map(|address| address.to_string())
    }

    #[test]
    fn a_detail_goes_on_to_those_who_have_none_at_our_domains() {
        for (address, target, expected) in [
            ("info+x@ours.test", "Ann@ours.test", Some("Ann+x@ours.test")),
            ("info+X.y+z@ours.test", "ann@ours.test", Some("ann+X.y+z@ours.test")),
            ("info+@ours.test", "ann@ours.test", Some("ann+@ours.test")),
            ("info+x@other.test", "ann@ours.test", Some("ann+x@ours.test")),
            ("info+x@ours.test", "ann@minus.test", Some("ann-x@minus.test")),
            ("info=x@minus.test", "ann@minus.test", Some("ann=x@minus.test")),
            ("info=x@minus.test", "ann@ours.test", Some("ann+x@ours.test")),
            ("\"in fo+x y\"@ours.test", "ann@ours.test", Some("\"ann+x y\"@ours.test")),
            ("info+x.@ours.test", "ann@ours.test", Some("ann+x.@ours.test")),
            ("info+x@ours.test", "a..nn@ours.test", Some("a..nn+x@ours.test")),
            ("info+x@ours.test", "\"a b\"@ours.test", Some("\"a b+x\"@ours.test")),
            ("info@ours.test", "ann@ours.test", None),
            ("info+x@none.test", "ann@ours.test", None),
            ("info+x@ours.test", "ann@none.test", None),
            ("info+x@ours.test", "ann@other.test", None),
            ("info+x@ours.test", "ann+own@ours.test", None),
            ("info+x@ours.test", "+ann@ours.test", None),
            ("info+x@ours.test", "a%b@ours.test", None),
            ("info+x@ours.test", "imceasmtp@ours.test", Some("imceasmtp+x@ours.test")),
            // With the hyphen of that domain it would be an address elsewhere.
            ("info+victim@ours.test", "imceasmtp@minus.test", None),
        ] {
            assert_eq!(handed_on(address, target).as_deref(), expected, "{address} {target}");
        }
    }

    #[test]
    fn an_address_that_would_be_too_long_stays_as_it_is() {
        let written = |detail: usize| format!("i+{}@ours.test", "x".repeat(detail));
        assert!(handed_on(&written(252), "ann@ours.test").is_some());
        assert_eq!(handed_on(&written(253), "ann@ours.test"), None);
    }

    proptest! {
        /// Whatever a stranger writes: the mail stays with the target.
        #[test]
        fn what_comes_out_is_a_subaddress_of_the_target(
            local in "[ -~\u{301}\u{338}\u{ff05}]{1,12}", target in "[a-z.=+ \u{e9}-]{1,6}", domain in "(ours|minus|none)\\.test"
        ) {
            let quoted: String = local.chars().filter(|letter| !letter.is_control()).flat_map(|letter| if matches!(letter, '"' | '\\') { vec!['\\', letter] } else { vec![letter] }).collect();
            let Ok(address) = Address::parse(format!("\"{quoted}\"@ours.test").as_bytes(), &OFF) else { return Ok(()) };
            let Ok(target) = Address::parse(format!("\"{target}\"@{domain}").as_bytes(), &OFF) else { return Ok(()) };
            let example = example();
            if let Some(handed_on) = example.with_detail_of(&address, example.delimiters("ours.test"), &target) {
                let there = example.delimiters(target.domain());
                prop_assert_eq!(handed_on.without_detail(there), Some(target));
                prop_assert!(!handed_on.may_route());
                prop_assert_eq!(Address::parse(handed_on.to_string().as_bytes(), &OFF), Ok(handed_on));
            }
        }
    }
}
