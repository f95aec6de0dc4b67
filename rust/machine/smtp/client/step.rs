//! What a client and its caller say to each other.

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033.
    Lmtp,
}

/// What the caller has to do next, after it has written [`Client::output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Wait for input, at most as long as [`Client::timeout`] says.
    Wait = 0,
    /// The connection is set up: a transaction may begin.
    Ready = 1,
    /// The transaction has ended: take the outcomes. The next may begin.
    Done = 2,
    /// Close the connection. If a transaction was running, its outcomes are there.
    Closed = 3,
    /// Content from a file: take the output again whenever the transport has room.
    More = 4,
    /// The TLS handshake: [`crate::machine::wire::Wire::start_tls`].
    StartTls = 5,
}

/// Which time limit applies (RFC 5321 4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Timeout {
    /// Greeting and the reply to EHLO, HELO, LHLO, STARTTLS.
    Greeting = 0,
    /// Reply to MAIL or RSET.
    Mail = 1,
    /// Reply to RCPT.
    Rcpt = 2,
    /// Reply to DATA.
    Data = 3,
    /// Writing the next chunk of content.
    Block = 4,
    /// Reply to the end of data.
    EndOfData = 5,
    /// Between transactions, and for the reply to QUIT.
    Idle = 6,
    /// The TLS handshake, as a whole.
    Handshake = 7,
}

/// A call that the state of the connection does not allow, or an argument that no caller may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misuse(pub &'static str);
