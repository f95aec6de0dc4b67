//! A recipient of a message: address, parameters, and how far its delivery is.
//!
//! Recipients of one message that are not at their end and have the same next hop, due time and number of attempts are a
//! *group*: they are tried together. A group is no thing of its own, so recipients leave and join by their values alone.

use super::parameters::Parameters;

/// What became of one recipient so far. The spool stores the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// Not tried, or every attempt ended in a temporary failure.
    Pending = 0,
    /// The next hop took it.
    Delivered = 1,
    /// It failed for good and is to be reported.
    Failed = 2,
    /// Nothing more is to be done: it failed for good and was reported, or no report is allowed; or others took its place.
    Closed = 3,
    /// The next hop took it and reports no success; its sender asked for a report, which is to be made.
    Relayed = 4,
    /// It is in its mailbox; its sender asked for a report, which is to be made.
    Placed = 5,
    /// Several others took its place; its sender asked for a report, which is to be made.
    Expanded = 6,
}

impl State {
    /// All of them, by their numbers.
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Delivered, Self::Failed, Self::Closed, Self::Relayed, Self::Placed, Self::Expanded];
    /// Those in which something is still to be done for the recipient.
    pub const OPEN: [Self; 5] = [Self::Pending, Self::Failed, Self::Relayed, Self::Placed, Self::Expanded];

    /// The state with this number.
    pub fn numbered(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i64 == number)
    }

    /// Whether something is still to be done for the recipient.
    pub fn is_open(self) -> bool {
        Self::OPEN.contains(&self)
    }
}

/// One recipient of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address in its normalised form, without angle brackets.
    pub address: String,
    /// Parameters of RCPT.
    pub parameters: Parameters,
    /// What became of it.
    pub state: State,
    /// The reply or reason behind the state, such as `550 5.1.1 User unknown`; empty when never tried.
    pub reply: String,
    /// Time of the next attempt, milliseconds since the epoch.
    pub due: i64,
    /// Delivery attempts made for it.
    pub attempts: u32,
    /// Key of the destination of the last attempt; empty before the first.
    pub next_hop: String,
    /// Next hop that an operator chose for it, in its written form; empty where the routes decide.
    pub next_hop_fixed: String,
    /// A delay report was made for it.
    pub reported: bool,
}

impl Recipient {
    /// One that was never tried.
    pub fn new(address: String, due: i64) -> Self {
        Self {
            address,
            parameters: Parameters::default(),
            state: State::Pending,
            reply: String::new(),
            due,
            attempts: 0,
            next_hop: String::new(),
            next_hop_fixed: String::new(),
            reported: false,
        }
    }

    /// Whether its sender asked to be told when it is delivered (RFC 3461 4.1).
    pub fn reports_success(&self) -> bool {
        asks_for_success(&self.parameters)
    }
}

/// Whether the parameters of a recipient ask for a report of success.
pub fn asks_for_success(parameters: &Parameters) -> bool {
    let asked = parameters.value("NOTIFY").unwrap_or_default();
    asked.split(',').any(|event| event.eq_ignore_ascii_case("SUCCESS"))
}

/// What an attempt made of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Place of the recipient in the envelope, from 0.
    pub index: u32,
    /// Its new state.
    pub state: State,
    /// The reply or reason behind it.
    pub reply: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_leads_back_to_its_state() {
        for (state, number) in State::ALL.into_iter().zip(0..) {
            assert_eq!((state as i64, State::numbered(number)), (number, Some(state)));
        }
        assert_eq!((State::numbered(7), State::numbered(-1)), (None, None));
    }

    #[test]
    fn only_delivered_and_closed_recipients_need_nothing_more() {
        let done: Vec<_> = State::ALL.into_iter().filter(|state| !state.is_open()).collect();
        assert_eq!(done, [State::Delivered, State::Closed]);
    }

    #[test]
    fn success_is_reported_where_it_was_asked_for() {
        let asked = |parameters: &str| {
            let parameters = Parameters::parse(parameters).unwrap();
            Recipient { parameters, ..Recipient::new("a@b.test".to_owned(), 0) }.reports_success()
        };
        assert!(asked("NOTIFY=SUCCESS") && asked("ORCPT=x;y NOTIFY=delay,success"));
        assert!(!asked("") && !asked("NOTIFY=NEVER") && !asked("NOTIFY=FAILURE,DELAY") && !asked("ORCPT=x;SUCCESS"));
    }
}
