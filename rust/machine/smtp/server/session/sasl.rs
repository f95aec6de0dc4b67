//! AUTH, and the lines of its exchange (RFC 4954 4).

use super::{Flow, Pending, Session};
use crate::machine::smtp::extensions::Offers;
use crate::machine::smtp::reply::{self, Reply};
use crate::machine::smtp::server::auth::{self, Exchange, Known};
use crate::machine::smtp::server::mode::{Cut, Fault, Input, LineState, Mode};
use crate::machine::smtp::server::step::Step;
use crate::machine::smtp::server::tally::End;

const VERB: &str = "AUTH";
/// Ends an exchange from the client's side.
const CANCEL: &[u8] = b"*";
/// What the log shows of a line that may be the rest of an exchange.
const HIDDEN: &str = "a line after AUTH";

impl Session {
    /// Lists these mechanisms from the next EHLO on; those that SASL has no form for are left out. Without any, AUTH is known and
    /// waits for TLS. To be called again when TLS is on.
    pub fn offer_auth(&mut self, mechanisms: &[String]) {
        let listed: Vec<&str> = mechanisms.iter().map(String::as_str).filter(|name| auth::is_mechanism(name)).collect();
        self.auth.mechanisms = Some(listed.join(" ").into());
        self.standing.auth = self.auth.is_offered();
        self.offers = Offers::of(&self.config, self.standing);
    }

    /// Accepts no mail from a client that has not authenticated (RFC 6409 4.3).
    pub fn require_auth(&mut self) {
        self.auth.required = true;
    }

    /// The client is known otherwise than by AUTH: it is authenticated from now on, and may still say AUTH.
    pub fn identify(&mut self) {
        self.auth.known = Known::Otherwise;
    }

    /// What the exchange is at, while an answer to it is awaited.
    pub fn exchange(&self) -> Option<&Exchange> {
        self.auth.exchange.as_deref().filter(|_| matches!(self.pending, Pending::Authenticate))
    }

    /// The exchange goes on: the client is to answer this.
    pub fn challenge(&mut self, octets: &[u8]) -> Step {
        if !self.take_authenticate() {
            return Step::Wait;
        }
        let challenge = reply::challenge(octets);
        self.tally.count(&challenge);
        challenge.write_lines(std::iter::empty(), &mut self.output); // longer than other replies may be
        self.mode = Mode::Sasl(LineState::default());
        self.drive(Flow::Next)
    }

    /// The client is who it says: nothing is held any more.
    pub fn authenticated(&mut self) -> Step {
        if !self.take_authenticate() {
            return Step::Wait;
        }
        self.end_exchange();
        (self.auth.known, self.auth.failed_last) = (Known::ByAuth, false);
        let flow = self.say(reply::AUTHENTICATED);
        self.drive(flow)
    }

    /// The client is not who it says, or that cannot be found out now: a 5xx reply is held for the time of a failed
    /// authentication. The caller logs it: there is no [`super::Refusal`] of it.
    pub fn not_authenticated(&mut self, reply: Reply) -> Step {
        if !self.take_authenticate() {
            return Step::Wait;
        }
        self.end_exchange();
        self.auth.failures += u32::from(reply.class() == 5);
        self.tally.refused += 1;
        let flow = self.hold(reply, self.config.auth_time);
        self.drive(flow)
    }

    /// Begins an exchange.
    pub(super) fn auth(&mut self, argument: &[u8]) -> Flow {
        match self.auth.begin(argument, self.standing.secured) {
            Ok(exchange) => self.authenticate(exchange),
            Err(reply) => {
                self.auth.failed_last = true;
                self.say(reply)
            }
        }
    }

    /// Takes one line of the exchange. None: its end is not there yet.
    pub(super) fn sasl(&mut self, state: LineState, input: &mut Input) -> Option<Flow> {
        let (length, taken, fault, after) = match state.cut(input.rest(), auth::LINE, self.refuses_bare()) {
            Cut::Part { useless, after } => {
                self.mode = Mode::Sasl(after);
                input.wipe(useless);
                return None;
            }
            Cut::Line { .. } if self.turn == 0 => return Some(Flow::Stop(Step::Yield)),
            Cut::Line { length, taken, fault, after } => (length, taken, fault, after),
        };
        self.turn -= 1;
        self.idle += 1;
        self.mode = Mode::Sasl(after);
        let line = input.rest().get(..length).unwrap_or_default();
        let response = match fault {
            Some(Fault::TooLong) => Err(reply::LONG_RESPONSE),
            Some(Fault::Broken) => Err(reply::BARE_COMMAND),
            None if line == CANCEL => Err(reply::AUTH_CANCELLED),
            None => auth::read(line),
        };
        input.wipe(taken);
        if self.config.idle_commands > 0 && self.idle > self.config.idle_commands {
            return Some(self.close(&reply::NO_PROGRESS, End::NoProgress));
        }
        let mechanism = self.auth.exchange.take().map(|exchange| exchange.mechanism).unwrap_or_default();
        Some(match response {
            Ok(response) => self.authenticate(Exchange { mechanism, response: Some(response), begins: false }),
            Err(reply) => self.broken_off(reply, &mechanism),
        })
    }

    /// Ends the exchange for what its client has sent.
    fn broken_off(&mut self, reply: Reply, mechanism: &str) -> Flow {
        self.end_exchange();
        let known = self.refused.len();
        let flow = self.say(reply);
        for refusal in self.refused.get_mut(known..).unwrap_or_default() {
            refusal.command = format!("{VERB} {mechanism}");
        }
        flow
    }

    /// What the log may show of a command line that may hold a secret: of AUTH the mechanism, and nothing of the line after an AUTH
    /// that came to nothing.
    pub(super) fn shown(&self, line: &[u8], of_auth: bool) -> Vec<u8> {
        if !of_auth {
            return HIDDEN.into();
        }
        let argument = line.get(VERB.len()..).unwrap_or_default();
        format!("{VERB} {}", self.auth.shown(argument.trim_ascii_start())).trim_end().into()
    }

    fn authenticate(&mut self, exchange: Exchange) -> Flow {
        self.auth.exchange = Some(Box::new(exchange));
        self.pending = Pending::Authenticate;
        Flow::Stop(Step::Authenticate)
    }

    /// Whether an answer to the client is awaited; it is no more.
    fn take_authenticate(&mut self) -> bool {
        let awaited = matches!(self.pending, Pending::Authenticate);
        if awaited {
            self.pending = Pending::Nothing;
            if let Some(exchange) = &mut self.auth.exchange {
                exchange.response = None;
            }
        }
        awaited
    }

    /// The exchange has come to nothing, unless the caller says otherwise. A broken line goes on as one.
    fn end_exchange(&mut self) {
        self.auth.exchange = None;
        self.auth.failed_last = true;
        self.mode = match self.mode {
            Mode::Sasl(state) => Mode::Line(state),
            _ => Mode::default(),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::machine::smtp::server::config::Config;
    use crate::machine::smtp::server::step::{Stage, Verdict};

    const NO: Reply = Reply::fixed(535, "5.7.8", "Authentication credentials invalid");
    const LATER: Reply = Reply::fixed(454, "4.7.0", "Temporary authentication failure");

    /// A session that has said EHLO to a server with these mechanisms.
    fn session(config: Config, mechanisms: &str) -> Session {
        let mut session = Session::new(Arc::new(config), "s1", "192.0.2.1", false);
        let mechanisms: Vec<String> = mechanisms.split_ascii_whitespace().map(str::to_owned).collect();
        session.offer_auth(&mechanisms);
        session.connect();
        session.receive(b"EHLO c.test\r\n");
        session
    }

    fn secured(config: Config, mechanisms: &str) -> Session {
        let mut session = session(config, mechanisms);
        session.standing.secured = true;
        session.take_output();
        session
    }

    fn said(session: &mut Session) -> String {
        String::from_utf8(session.take_output()).unwrap()
    }

    fn asked(session: &Session) -> (&str, Option<&[u8]>, bool) {
        let exchange = session.exchange().unwrap();
        (&exchange.mechanism, exchange.response.as_ref().map(auth::Secret::octets), exchange.begins)
    }

    #[test]
    fn ehlo_lists_what_is_offered() {
        let mut listing = session(Config::example(), "SCRAM-SHA-256 PLAIN not-one");
        assert!(said(&mut listing).contains("\r\n250 AUTH SCRAM-SHA-256 PLAIN\r\n"));
        assert!(!said(&mut session(Config::example(), "")).contains("AUTH"));
        listing.offer_auth(&[]);
        listing.receive(b"EHLO c.test\r\n");
        assert!(!said(&mut listing).contains("AUTH"));
    }

    #[test]
    fn an_initial_response_comes_with_the_question() {
        let mut session = secured(Config::example(), "PLAIN");
        assert_eq!(session.receive(b"AUTH plain AGEAYg==\r\n"), Step::Authenticate);
        assert_eq!(asked(&session), ("PLAIN", Some(&b"\0a\0b"[..]), true));
        assert_eq!(session.authenticated(), Step::NeedInput);
        assert_eq!(said(&mut session), "235 2.7.0 Authentication successful\r\n");
        assert!(session.exchange().is_none());
    }

    #[test]
    fn challenges_are_answered_until_it_is_over() {
        let mut session = secured(Config::example(), "LOGIN");
        assert_eq!(session.receive(b"AUTH LOGIN\r\n"), Step::Authenticate);
        assert_eq!(asked(&session), ("LOGIN", None, true));
        assert_eq!(session.challenge(b"User Name\0"), Step::NeedInput);
        assert_eq!(said(&mut session), "334 VXNlciBOYW1lAA==\r\n");
        assert_eq!(session.receive(b"YQ==\r\n"), Step::Authenticate);
        assert_eq!(asked(&session), ("LOGIN", Some(&b"a"[..]), false));
        assert_eq!(session.challenge(b""), Step::NeedInput);
        assert_eq!(said(&mut session), "334 \r\n"); // with the space (RFC 4954 4)
        assert_eq!(session.receive(b"\r\n"), Step::Authenticate);
        assert_eq!(asked(&session), ("LOGIN", Some(&b""[..]), false));
        assert_eq!(session.not_authenticated(NO), Step::NeedInput);
        assert_eq!(said(&mut session), format!("{NO}\r\n"));
        // What comes next is a command again.
        session.receive(b"NOOP\r\n");
        assert_eq!(said(&mut session), "250 2.0.0 OK\r\n");
    }

    #[test]
    fn a_long_challenge_is_written_whole() {
        let mut session = secured(Config::example(), "X");
        session.receive(b"AUTH X\r\n");
        session.challenge(&[b'x'; 3000]);
        assert_eq!(said(&mut session).len(), 4 + 4000 + 2);
    }

    #[test]
    fn what_breaks_an_exchange_off_has_its_reply_and_ends_it() {
        let long = [b"eHh4".repeat(3072), b"\r\n".to_vec()].concat();
        for (line, reply) in [
            (&b"*\r\n"[..], reply::AUTH_CANCELLED),
            (b"=\r\n", reply::BAD_BASE64),
            (b"AAA\r\n", reply::BAD_BASE64),
            (b"QUIT now\r\n", reply::BAD_BASE64),
            (b"AGEAYg==\n\r\n", reply::BARE_COMMAND),
            (&long, reply::LONG_RESPONSE),
        ] {
            let mut session = secured(Config::example(), "PLAIN");
            session.receive(b"AUTH PLAIN\r\n");
            session.challenge(b"");
            said(&mut session);
            session.receive(line);
            assert!(said(&mut session).starts_with(&format!("{reply}\r\n")), "{}", line.escape_ascii());
            assert_eq!(session.take_refused()[0].command, "AUTH PLAIN");
            session.receive(b"NOOP\r\n");
            assert_eq!(said(&mut session), "250 2.0.0 OK\r\n");
        }
    }

    #[test]
    fn a_line_of_12288_octets_is_taken_in_an_exchange_and_by_the_command() {
        let mut session = secured(Config::example(), "PLAIN X");
        let longest = [b"eHh4".repeat(3071), b"\r\n".to_vec()].concat(); // 12,284 and 2
        session.receive(b"AUTH PLAIN\r\n");
        session.challenge(b"");
        assert_eq!(session.receive(&longest), Step::Authenticate);
        session.not_authenticated(LATER);
        assert_eq!(session.receive(&[b"AUTH X ", &longest[8..]].concat()), Step::Authenticate);
        session.not_authenticated(LATER);
        said(&mut session);
        session.receive(&[b"AUTH X ", &longest[..]].concat());
        assert_eq!(said(&mut session), format!("{}\r\n", reply::LONG_RESPONSE));
        // Where nobody can authenticate AUTH is as long as any other command.
        let mut other = Session::new(Arc::new(Config::example()), "s1", "192.0.2.1", false);
        other.connect();
        said(&mut other);
        other.receive(&[b"AUTH X ", &longest[8..]].concat());
        assert!(said(&mut other).starts_with("500 "));
    }

    #[test]
    fn where_a_long_line_is_cut_changes_nothing() {
        let line = format!("AUTH X {}\r\n", "c2VjcmV0".repeat(1540));
        for at in [1, 4, 5, 100, 12_288, 12_289, 12_300, line.len() - 1] {
            let mut session = secured(Config::example(), "X");
            let (first, rest) = line.as_bytes().split_at(at);
            session.receive(first);
            session.receive(rest);
            assert_eq!(said(&mut session), format!("{}\r\n", reply::LONG_RESPONSE), "{at}");
            assert_eq!(session.take_refused()[0].command, "AUTH");
        }
    }

    #[test]
    fn what_is_kept_of_an_unfinished_line_is_bounded() {
        let mut session = secured(Config::example(), "PLAIN");
        for start in [&b"AUTH PLAIN "[..], b""] {
            session.receive(start);
            for _ in 0..100 {
                session.receive(&[b'x'; 1000]);
                assert!(session.buffered() <= auth::LINE);
            }
            session.receive(b"\r\n");
            session.receive(b"AUTH PLAIN\r\n");
            session.challenge(b"");
        }
    }

    #[test]
    fn auth_is_refused_where_it_cannot_be() {
        let mut session = secured(Config::example(), "PLAIN");
        session.receive(b"MAIL FROM:<a@b.test>\r\nAUTH PLAIN AGEAYg==\r\n");
        assert!(said(&mut session).ends_with(&format!("{}\r\n", reply::AUTH_IN_TRANSACTION)));
        session.receive(b"RSET\r\nAUTH PLAIN AGEAYg==\r\n");
        session.authenticated();
        said(&mut session);
        // It outlasts RSET and EHLO (RFC 4954 4).
        for line in [&b"AUTH PLAIN AGEAYg==\r\n"[..], b"RSET\r\nAUTH PLAIN\r\n", b"EHLO c.test\r\nAUTH PLAIN =\r\n"] {
            session.receive(line);
            assert!(said(&mut session).ends_with(&format!("{}\r\n", reply::AUTHENTICATED_BEFORE)));
        }
        let mut fresh = Session::new(Arc::new(Config::example()), "s1", "192.0.2.1", false);
        fresh.offer_auth(&["PLAIN".into()]);
        fresh.connect();
        said(&mut fresh);
        fresh.receive(b"AUTH PLAIN AGEAYg==\r\n");
        assert_eq!(said(&mut fresh), format!("{}\r\n", reply::HELLO_FIRST));
    }

    #[test]
    fn no_answer_is_taken_that_is_not_awaited() {
        let mut session = secured(Config::example(), "PLAIN");
        assert_eq!(session.challenge(b"x"), Step::Wait);
        assert_eq!(session.authenticated(), Step::Wait);
        assert_eq!(session.not_authenticated(NO), Step::Wait);
        assert!(said(&mut session).is_empty() && !session.auth.is_done());
        session.receive(b"AUTH PLAIN AGEAYg==\r\n");
        assert_eq!(session.receive(b"NOOP\r\n"), Step::Wait);
        session.stop(&Reply::fixed(421, "4.4.2", "Timeout"), End::Timeout);
        assert_eq!(session.authenticated(), Step::Wait);
        assert!(session.exchange().is_none() && !session.auth.is_done());
    }

    #[test]
    fn a_failure_is_held_and_a_client_that_has_authenticated_is_not() {
        let config = || Config { tarpit_time: 2, auth_time: 7, asked: 1 << Stage::Mail as u8, ..Config::example() };
        let mut session = secured(config(), "PLAIN");
        session.receive(b"AUTH PLAIN AGEAYg==\r\n");
        assert_eq!(session.not_authenticated(NO), Step::Hold(7));
        session.release();
        session.receive(b"AUTH PLAIN AGEAYg==\r\n");
        assert_eq!(session.not_authenticated(LATER), Step::NeedInput);
        assert_eq!(session.receive(b"XYZZY\r\n"), Step::Hold(2));
        session.release();
        session.receive(b"AUTH PLAIN AGEAYg==\r\n");
        assert_eq!(session.authenticated(), Step::NeedInput);
        assert_eq!(session.receive(b"XYZZY\r\n"), Step::NeedInput);
        assert_eq!(session.receive(b"MAIL FROM:<a@b.test>\r\n"), Step::Ask(Stage::Mail));
        assert_eq!(session.answer(Verdict::Refuse(Reply::fixed(550, "5.7.1", "No"))), Step::NeedInput);
        let mut identified = secured(config(), "PLAIN");
        identified.identify();
        assert_eq!(identified.receive(b"XYZZY\r\n"), Step::NeedInput);
        assert_eq!(identified.receive(b"AUTH PLAIN AGEAYg==\r\n"), Step::Authenticate);
        // A shorter time of its own does not shorten the tarpit's.
        let mut slow = secured(Config { auth_time: 1, ..config() }, "PLAIN");
        slow.receive(b"AUTH PLAIN AGEAYg==\r\n");
        assert_eq!(slow.not_authenticated(NO), Step::Hold(2));
    }

    #[test]
    fn after_so_many_failures_the_session_is_closed() {
        let mut session = secured(Config { auth_failures: 2, ..Config::example() }, "PLAIN");
        for reply in [NO, LATER, LATER] {
            session.receive(b"AUTH PLAIN AGEAYg==\r\n");
            assert_eq!(session.not_authenticated(reply), Step::NeedInput);
        }
        session.receive(b"AUTH PLAIN AGEAYg==\r\nNOOP\r\n");
        said(&mut session);
        assert_eq!(session.not_authenticated(NO), Step::Close);
        assert_eq!(
            said(&mut session),
            format!("{NO}\r\n421 4.7.0 mx.example.test Too many failed authentications; closing\r\n")
        );
        assert_eq!(session.tally().end, Some(End::AuthFailures));
        assert!(!session.has_refused()); // the caller logs them with their cause
    }

    #[test]
    fn lines_of_an_exchange_count_as_commands_that_achieve_nothing() {
        let mut session = secured(Config { idle_commands: 5, ..Config::example() }, "X");
        session.receive(b"AUTH X\r\n");
        for _ in 0..3 {
            session.challenge(b"");
            assert_eq!(session.receive(b"\r\n"), Step::Authenticate);
        }
        session.challenge(b"");
        assert_eq!(session.receive(b"\r\n"), Step::Close);
        assert_eq!(session.tally().end, Some(End::NoProgress));
    }

    #[test]
    fn where_it_is_required_no_mail_is_taken_before() {
        let mut session = secured(Config { asked: 0, ..Config::example() }, "PLAIN");
        session.require_auth();
        let refused = ["MAIL FROM:<a@b.test>", "RCPT TO:<a@example.test>", "DATA", "VRFY a", "EXPN a"];
        for line in refused {
            session.receive(format!("{line}\r\n").as_bytes());
            assert_eq!(said(&mut session), format!("{}\r\n", reply::AUTH_REQUIRED), "{line}");
        }
        for line in ["NOOP", "RSET", "HELP", "EHLO c.test", "HELO c.test"] {
            session.receive(format!("{line}\r\n").as_bytes());
            assert!(said(&mut session).starts_with('2'), "{line}");
        }
        session.standing.secured = false;
        session.offer_auth(&[]);
        session.receive(b"MAIL FROM:<a@b.test>\r\n");
        assert_eq!(said(&mut session), format!("{}\r\n", reply::TLS_FIRST));
        session.offer_auth(&["X".into()]);
        session.receive(b"AUTH X\r\n");
        session.authenticated();
        said(&mut session);
        session.receive(b"MAIL FROM:<a@b.test>\r\n");
        session.proceed(); // it has made no progress for long, so others came first
        assert!(said(&mut session).starts_with("250 "));
    }

    #[test]
    fn no_secret_is_in_what_is_noted_for_the_log() {
        let mut session = session(Config::example(), "X");
        said(&mut session);
        session.receive(b"AUTH PLAIN c2VjcmV0\r\nc2VjcmV0\r\nc2VjcmV0\r\nNOOP \0\r\nXYZZY\r\n");
        session.receive(b"AUTH c2VjcmV0\r\nNOOP\r\nXYZZY\r\n");
        let long = "c2VjcmV0".repeat(2000);
        session.receive(format!("AUTH X {long}\r\n{long}\r\nMAIL FROM:<@\r\nXYZZY\r\n").as_bytes());
        let noted: Vec<String> = session.take_refused().into_iter().map(|refusal| refusal.command).collect();
        assert_eq!(
            noted,
            [
                "AUTH PLAIN",
                HIDDEN,
                HIDDEN,
                "NOOP \0",
                "XYZZY",
                "AUTH",
                "XYZZY",
                "AUTH",
                HIDDEN,
                "MAIL FROM:<@",
                "XYZZY"
            ]
        );
        // Nor in what is kept of the input.
        assert!(!session.input.octets.windows(4).any(|octets| octets == b"c2Vj"));
    }

    #[test]
    fn what_an_exchange_said_is_wiped_from_the_input() {
        let mut session = secured(Config::example(), "PLAIN");
        session.receive(b"AUTH PLAIN\r\n");
        session.receive(b"c2VjcmV0\r\nMAIL FROM:<a@b.test>");
        assert_eq!(session.challenge(b""), Step::Authenticate);
        assert!(!session.input.octets.windows(4).any(|octets| octets == b"c2Vj"));
        assert_eq!(session.buffered(), 20);
    }

    #[test]
    fn received_says_that_the_client_has_authenticated() {
        let mut session = secured(Config { asked: 0, ..Config::example() }, "PLAIN");
        session.receive(b"AUTH PLAIN AGEAYg==\r\n");
        session.authenticated();
        session.receive(b"MAIL FROM:<>\r\nRCPT TO:<a@example.test>\r\nDATA\r\nA: b\r\n.\r\n");
        let message = session.message("q1", 7, "DATE", b"", None).unwrap();
        assert!(String::from_utf8(message.trace).unwrap().contains(" with ESMTPA id q1"));
    }
}
