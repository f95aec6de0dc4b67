//! A recipient whose message goes to other addresses instead: what is reported of it, and what its sender asked for goes on with
//! the others (RFC 3461 5.2.7).

use crate::machine::message::{Parameters, Recipient, State};

impl Recipient {
    /// Its state from now on, and the recipients that take its place, due at `due` (milliseconds since the epoch).
    ///
    /// One address is an alias: all that was asked for goes on, and no report is made. Of several, each gets it without the wish for
    /// a report of success; where there was one, a report says that there are several now.
    pub fn redirected(&self, addresses: &[String], due: i64) -> (State, Vec<Self>) {
        let is_alias = addresses.len() == 1;
        let parameters = handed_on(&self.parameters, is_alias);
        let others =
            addresses.iter().map(|address| Self { parameters: parameters.clone(), ..Self::new(address.clone(), due) });
        let is_reported = !is_alias && self.reports_success();
        (if is_reported { State::Expanded } else { State::Closed }, others.collect())
    }
}

/// The parameters of those that take the place of a recipient that has these; without `success` none reports that.
pub fn handed_on(given: &Parameters, success: bool) -> Parameters {
    let mut parameters = Parameters::default();
    for (keyword, value) in given.iter() {
        let changed = value.filter(|_| keyword.eq_ignore_ascii_case("NOTIFY") && !success).map(without_success);
        parameters.push(keyword, changed.as_deref().or(value));
    }
    parameters
}

/// NEVER where nothing else was asked for.
fn without_success(notify: &str) -> String {
    let rest: Vec<&str> = notify.split(',').filter(|event| !event.eq_ignore_ascii_case("SUCCESS")).collect();
    if rest.is_empty() { "NEVER".to_owned() } else { rest.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(address: &str, parameters: &str) -> Recipient {
        Recipient { parameters: Parameters::parse(parameters).unwrap(), ..Recipient::new(address.to_owned(), 7) }
    }

    fn redirected(parameters: &str, addresses: &[&str]) -> (State, Vec<String>) {
        let addresses: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
        let (state, others) = recipient("a+b@c.test", parameters).redirected(&addresses, 9);
        let shown = |(other, address): (Recipient, &String)| {
            assert_eq!((&other.address, other.state, other.due, other.attempts), (address, State::Pending, 9, 0));
            other.parameters.as_str().to_owned()
        };
        (state, others.into_iter().zip(&addresses).map(shown).collect())
    }

    #[test]
    fn one_address_takes_over_all_that_was_asked_for() {
        let all = "NOTIFY=SUCCESS,DELAY ORCPT=x400;/C";
        assert_eq!(redirected(all, &["d@e.test"]), (State::Closed, vec![all.to_owned()]));
        assert_eq!(redirected("", &["d@e.test"]), (State::Closed, vec![String::new()]));
    }

    #[test]
    fn several_report_no_success_and_the_sender_is_told_so() {
        let two = ["d@e.test", "f@e.test"];
        let each = |parameters: &str| vec![format!("{parameters} ORCPT=x400;/C"); 2];
        assert_eq!(redirected("NOTIFY=success,DELAY ORCPT=x400;/C", &two), (State::Expanded, each("NOTIFY=DELAY")));
        assert_eq!(redirected("NOTIFY=SUCCESS ORCPT=x400;/C", &two), (State::Expanded, each("NOTIFY=NEVER")));
        assert_eq!(redirected("NOTIFY=FAILURE ORCPT=x400;/C", &two), (State::Closed, each("NOTIFY=FAILURE")));
    }
}
