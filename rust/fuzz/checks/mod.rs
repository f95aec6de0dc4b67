//! What must hold for every input, one check a module; each panics where it does not.
//!
//! The same checks run in three ways. `make fuzz` feeds them to `libFuzzer`, each for `FUZZ_SECONDS`: on the stable toolchain, for
//! coverage is an LLVM pass that needs no nightly option (`../run` gives the flags; `cargo fuzz run -s none` works as well).
//! `AddressSanitizer` needs nightly and is left out: the modules under test forbid unsafe code. `libFuzzer` bounds the memory.
//! `cargo test` replays the corpus and its neighbours (`../replay.rs`). The PROXY header is Python's: `tests/fuzz/`.
//!
//! An input begins with octets that choose settings and cuts; the lowest bit of the first says whether the rest is taken as it
//! is or mapped to the SMTP alphabet: lower half to the octets that SMTP speaks in, upper half to its phrases. A DNS message, a ticket,
//! a certificate and what comes in TLS are their own octets and no more.

// A check may break: that is its news. Records are written as they read best.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::format_push_string)]

mod address;
mod certificate;
mod client;
mod command;
mod content;
mod dns;
mod header;
mod session;
mod tickets;
mod tls;
mod wheel;

/// Panics where something does not hold.
pub type Check = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: [(&str, Check); 11] = [
    ("address", address::check),
    ("certificate", certificate::check),
    ("client", client::check),
    ("command", command::check),
    ("content", content::check),
    ("dns", dns::check),
    ("header", header::check),
    ("session", session::check),
    ("tickets", tickets::check),
    ("tls", tls::check),
    ("wheel", wheel::check),
];

/// Runs the check of this name.
#[allow(dead_code)] // the tests run them all
pub fn run(name: &str, input: &[u8]) {
    let (_, check) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    check(input);
}

const OCTETS: &[u8; 128] = b"\r\n.<>:@ \t\"\\[]()=-+_,;/%!#\0\x7f\x80\xc3\xbc\xff\x16\x03\
    aaaabbccddeeefghiiklmmnoopqrrsstuuvwxyzABCDEFGHILMNOPQRSTUVX0011223456789................\r\n\r\n\r\n";

const PHRASES: [&[u8]; 64] = [
    b"EHLO c.test\r\n",
    b"HELO c.test\r\n",
    b"MAIL FROM:<a@b.test>\r\n",
    b"MAIL FROM:<>",
    b"MAIL FROM:",
    b" SIZE=100",
    b" SUBMITTER=a+2Bb@b.test",
    b" BODY=8BITMIME",
    b" SMTPUTF8",
    b"RCPT TO:<x@example.test>\r\n",
    b"From: Joe <a@b.test>\r\n",
    b"RCPT TO:<x@far.test>\r\n",
    b"RCPT TO:<",
    b"RCPT TO:",
    b"<@r.test,@s.test:\"a b\"@example.test>\r\n",
    b"<Postmaster>\r\n",
    b"DATA\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"VRFY a\r\n",
    b"Resent-From: ",
    b"Resent-Sender: ",
    b"STARTTLS\r\n",
    b"GET / HTTP/1.1\r\n",
    b"BDAT 3\r\nabc",
    b"Received: by x\r\n",
    b"Subject: s\r\n\r\n",
    b"body\r\n",
    b"..stuffed\r\n",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n..\r\n",
    b"220 hop ESMTP\r\n",
    b"250-hop\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
    b"250-hop\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250 CHUNKING\r\n",
    b"250 2.0.0 OK\r\n",
    b"250-",
    b"250 ",
    b"354 go\r\n",
    b"BDAT 10",
    b"421 4.3.2 bye\r\n",
    b"450 4.2.0 later\r\n",
    b"AGEAYg==\r\n",
    b"Received: from x (y [192.0.2.1]) by z\r\n",
    b"550 5.1.1 unknown\r\n",
    b"552 too many\r\n",
    b"554 5.7.1 no\r\n",
    b"AUTH X ",
    b"[192.0.2.1]",
    b"[IPv6:2001:db8::1]",
    b"xn--",
    b"xn--mnchen-3ya.test",
    "münchen.test".as_bytes(),
    "u\u{308}".as_bytes(),
    b" BODY=BINARYMIME",
    b"Sender: friends: a@b.test;\r\n",
    b"user%far.test@example.test",
    b"@example.test",
    b"BDAT 0 LAST\r\n",
    b"Authentication-Results: c.test; x\r\n",
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// What an input says: `N` octets of choices, and the stream.
fn split<const N: usize>(input: &[u8]) -> ([u8; N], Vec<u8>) {
    let mut choices = [0; N];
    let (chosen, rest) = input.split_at(N.min(input.len()));
    choices[..chosen.len()].copy_from_slice(chosen);
    let stream =
        if choices[0] & 1 == 0 { rest.to_vec() } else { rest.iter().copied().flat_map(phrase).copied().collect() };
    (choices, stream)
}

fn phrase(octet: u8) -> &'static [u8] {
    let at = usize::from(octet & 127);
    if octet < 128 { std::slice::from_ref(&OCTETS[at]) } else { PHRASES[at / 2] }
}

/// `stream` in pieces whose lengths follow from `seed`.
fn cut(stream: &[u8], seed: u8) -> Vec<&[u8]> {
    let (mut pieces, mut rest, mut state) = (Vec::new(), stream, u32::from(seed) | 1);
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, after) = rest.split_at(rest.len().min(1 + (state >> 27) as usize));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
