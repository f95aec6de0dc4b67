//! The conditions under which agents pass. Each is as narrow as it can be told in a few words; whatever is more is the agent's.

use super::{Case, CleanSenders, HeloNames, KnownRecipients, Names};
use crate::machine::message::address::Address;
use crate::store::shared::Source;

const MICROSECONDS: u64 = 1_000_000;

/// What has to hold.
#[derive(Debug)]
pub enum Condition {
    /// The server is short of nothing.
    NoPressure,
    /// The client has not spent its rates: sets of classes (bit `1 << class`) that are looked at, and those that are spent if so.
    WithinRates {
        /// Classes that are looked at.
        waits: u32,
        /// Classes of which one is spent.
        spends: u32,
        /// The same when the reverse-path is null.
        of_null_sender: u32,
    },
    /// Its source has had fewer unknown recipients, decayed, in parts of an event.
    FewUnknown(u64),
    /// It is on no list, not even by an entry that has ended.
    Unlisted,
    /// Its source is not blocked.
    NotBlocked,
    /// The level of its source is lower, or there is none.
    LevelBelow(u8),
    /// Its HELO name is an ordinary one of somebody else.
    OrdinaryHelo(HeloNames),
    /// Nobody objects to the reverse-path.
    CleanSender(CleanSenders),
    /// Nobody objects to a mailbox of From.
    CleanAuthors(CleanSenders),
    /// The reverse-path is null, or at none of these domains.
    SenderElsewhere(Names),
    /// The client names no submitter.
    NoSubmitter,
    /// The recipient is at one of these domains.
    RecipientAt(Names),
    /// The recipient exists.
    KnownRecipient(KnownRecipients),
}

impl Condition {
    /// Whether it holds whatever earlier agents say. They may refuse, then nothing is to be spent; or put another recipient in place of
    /// the one that is asked about, which the later ones judge.
    pub fn stands_alone(&self) -> bool {
        !matches!(self, Self::WithinRates { .. } | Self::RecipientAt(_) | Self::KnownRecipient(_))
    }

    /// Whether it holds.
    pub fn holds(&self, case: Case<'_>) -> bool {
        let Case { address, tables, .. } = case;
        match self {
            Self::NoPressure => !tables.is_pressed,
            Self::WithinRates { waits, spends, of_null_sender } => {
                let is_null = spends != of_null_sender && case.reverse_path().is_none();
                let spends = if is_null { *of_null_sender } else { *spends };
                let take = |waits, spends| {
                    tables.limits.take(tables.shared, waits, spends, address, tables.clock.now()).is_none()
                };
                // Of several either all are spent or none: the agent spends again.
                if spends.count_ones() > 1 { take(waits | spends, 0) && take(0, spends) } else { take(*waits, spends) }
            }
            Self::FewUnknown(parts) => tables.shared.reputation_unknown(case.source(), case.second()) < *parts,
            Self::Unlisted => tables.lists.is_none_or(|lists| lists.find(address, 0).is_none()),
            Self::NotBlocked => !tables.shared.reputation_blocks(case.source(), case.second()),
            Self::LevelBelow(least) => {
                let record = tables.shared.reputation_of(case.source(), case.second());
                record.and_then(|record| record.level()).is_none_or(|level| level < *least)
            }
            Self::OrdinaryHelo(names) => names.is_ordinary(case.session.helo_name()),
            Self::CleanSender(senders) => senders.sender(case),
            Self::CleanAuthors(senders) => senders.authors(case),
            Self::SenderElsewhere(domains) => case.reverse_path().is_none_or(|sender| !domains.has(sender.domain())),
            Self::NoSubmitter => {
                case.session.transaction().is_none_or(|transaction| transaction.parameters.submitter.is_none())
            }
            Self::RecipientAt(domains) => {
                case.session.recipient().is_some_and(|recipient| domains.has(recipient.domain()))
            }
            Self::KnownRecipient(recipients) => recipients.exists(case),
        }
    }
}

impl<'a> Case<'a> {
    /// None is the null reverse-path.
    pub fn reverse_path(self) -> Option<&'a Address> {
        self.session.transaction()?.reverse_path.as_ref()
    }

    /// The source that the client is.
    pub fn source(self) -> Source {
        Source::from(self.address)
    }

    /// The monotonic second.
    pub fn second(self) -> u64 {
        self.tables.clock.now() / MICROSECONDS
    }
}
