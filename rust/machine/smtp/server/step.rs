//! What a session and its caller say to each other: steps, stages, verdicts.

use crate::machine::message::address::Address;
use crate::machine::smtp::reply::Reply;

/// Where policy can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The connection is there, nothing is said.
    Connect = 0,
    /// HELO or EHLO.
    Helo = 1,
    /// MAIL.
    Mail = 2,
    /// RCPT.
    Rcpt = 3,
    /// DATA, before 354.
    Data = 4,
    /// The header section is there. Asked once the content has ended: there is no reply before.
    EndOfHeaders = 5,
    /// The content is there.
    EndOfData = 6,
}

impl Stage {
    /// All of them, in the order of a session.
    pub const ALL: [Self; 7] =
        [Self::Connect, Self::Helo, Self::Mail, Self::Rcpt, Self::Data, Self::EndOfHeaders, Self::EndOfData];
}

/// What the session needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// More input.
    NeedInput,
    /// A verdict: [`super::session::Session::answer`].
    Ask(Stage),
    /// These milliseconds, then [`super::session::Session::release`].
    Hold(u64),
    /// The message on disk: [`super::session::Session::message`], then [`super::session::Session::committed`].
    Commit,
    /// The connection closed after the output is written.
    Close,
    /// Nothing new: what was asked before is still to be answered; input was kept.
    Wait,
    /// A turn of the others, then [`super::session::Session::proceed`]: there is more input than one turn takes, or the session
    /// makes no progress.
    Yield,
    /// The output written, then a TLS handshake: what was received in clear is thrown away (RFC 3207 4.2).
    StartTls,
    /// Nothing: the TLS handshake is done. With implicit TLS the session begins now.
    Secured,
    /// An answer to what the client says in a SASL exchange (RFC 4954 4).
    Authenticate,
    /// Another client in place of this one: [`super::session::Session::next_client`], then
    /// [`super::session::Session::replace_client`].
    ReplaceClient,
}

/// What policy says at a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// At RCPT: accept the recipient now and report it as failed with this reply afterwards.
    Report(Reply),
    /// At RCPT: accept the recipient; the message goes to these addresses instead, of which it may be one.
    Redirect(Vec<Address>),
    /// Refuse with this reply, 4xx or 5xx.
    Refuse(Reply),
    /// At content stages: say 250 and keep nothing.
    Discard,
}
