//! XCLIENT and XFORWARD: what a server in front of us says of its client, and of where a message comes from.
//!
//! Only sessions whose caller said so before [`Session::connect`] have them; others get 550. After XCLIENT the session is that of
//! another client: everything that was said is forgotten, and the client is greeted anew. What XCLIENT says of HELO and of the protocol
//! holds for the rest of the session, whatever the server in front says for itself, and what XFORWARD says for one transaction.

use super::policy::Question;
use super::{Dialect, Flow, Pending, Session};
use crate::machine::smtp::extensions::{Front, Offers, Standing};
use crate::machine::smtp::forwarded::{Client, Origin};
use crate::machine::smtp::reply;
use crate::machine::smtp::server::phase::Phase;
use crate::machine::smtp::server::step::Step;

/// What has been said so far.
#[derive(Debug, Default)]
pub(super) struct Proxied {
    /// The name that the client gave; the server in front may give its own.
    helo_name: Option<Box<str>>,
    /// Whether the client said EHLO.
    extended: Option<bool>,
    origin: Origin,
}

impl Session {
    /// Offers XCLIENT and XFORWARD to a server in front of us, or one of them.
    pub fn offer_proxied(&mut self, xclient: bool, xforward: bool) {
        self.standing = Standing { front: Front { xclient, xforward }, ..self.standing };
        self.offers = Offers::of(&self.config, self.standing);
    }

    pub(super) fn xclient(&mut self, argument: &[u8]) -> Flow {
        if !self.standing.front.xclient {
            return self.say(reply::NOT_AUTHORIZED);
        }
        match Client::read(argument) {
            Ok(client) => {
                self.pending = Pending::Client(Box::new(client));
                Flow::Stop(Step::ReplaceClient)
            }
            Err(sentence) => self.say(reply::bad_argument(sentence)),
        }
    }

    pub(super) fn xforward(&mut self, argument: &[u8]) -> Flow {
        if !self.standing.front.xforward {
            return self.say(reply::NOT_AUTHORIZED);
        }
        match self.proxied.get_or_insert_default().origin.update(argument) {
            Ok(()) => self.say(reply::OK),
            Err(sentence) => self.say(reply::bad_argument(sentence)),
        }
    }

    /// What XCLIENT says of the client that replaces this one, from `ReplaceClient` until [`Session::replace_client`].
    pub fn next_client(&self) -> Option<&Client> {
        match &self.pending {
            Pending::Client(client) => Some(client),
            _ => None,
        }
    }

    /// Makes the session that of the client at this address, `exempt` from the tarpit or not, and greets it.
    pub fn replace_client(&mut self, peer: &str, exempt: bool) -> Step {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Client(client) => {
                let same = *self.peer == *peer; // then what is not said stays
                if client.name.is_some() || !same {
                    self.peer_name = client.name.as_deref().unwrap_or_default().into();
                }
                self.peer = peer.into();
                if !same || client.login.is_some() {
                    self.auth.forget();
                }
                if client.login.as_deref().is_some_and(|login| !login.is_empty()) {
                    self.identify();
                }
                self.begin_anew(*client);
                self.tarpit.begin_anew(exempt);
                let flow = self.ask(Question::Connect);
                self.drive(flow)
            }
            pending => {
                self.pending = pending;
                Step::Wait
            }
        }
    }

    /// Where the server in front says that the message comes from, by names in the log.
    pub fn origin(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.proxied.as_ref().into_iter().flat_map(|proxied| proxied.origin.given())
    }

    pub(super) fn forget_origin(&mut self) {
        if let Some(proxied) = &mut self.proxied {
            proxied.origin = Origin::default();
        }
    }

    /// The name of the client: the one that it gave to the server in front, or the one in its HELO or EHLO.
    pub(super) fn claimed<'a>(&'a self, name: &'a str) -> &'a str {
        self.proxied.as_ref().and_then(|proxied| proxied.helo_name.as_deref()).unwrap_or(name)
    }

    /// Whether the client said EHLO.
    pub(super) fn extended(&self) -> bool {
        let said = self.proxied.as_ref().and_then(|proxied| proxied.extended);
        said.unwrap_or(self.dialect == Dialect::Esmtp)
    }

    fn begin_anew(&mut self, client: Client) {
        self.reset();
        self.phase = Phase::Fresh;
        self.dialect = Dialect::Smtp;
        self.helo_name = "".into();
        self.idle = 0;
        self.errors = 0;
        self.auth.failures = 0;
        let proxied = self.proxied.get_or_insert_default();
        proxied.extended = client.extended.or(proxied.extended);
        if let Some(name) = client.helo_name {
            proxied.helo_name = if name.is_empty() { None } else { Some(name.into()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::machine::smtp::server::config::Config;

    const HELLO: &[u8] = b"EHLO proxy.test\r\n";

    fn session(config: Config) -> Session {
        let mut session = Session::new(Arc::new(config), "s1", "192.0.2.1", true);
        session.offer_proxied(true, true);
        session.connect();
        session.receive(HELLO);
        session.take_output();
        session
    }

    fn said(session: &mut Session) -> String {
        String::from_utf8(session.take_output()).unwrap()
    }

    fn replace(session: &mut Session, command: &str, peer: &str) -> String {
        assert_eq!(session.receive(format!("{command}\r\n").as_bytes()), Step::ReplaceClient, "{command}");
        session.replace_client(peer, false);
        said(session)
    }

    fn received(session: &mut Session) -> String {
        session.receive(b"MAIL FROM:<>\r\nRCPT TO:<x@example.test>\r\nDATA\r\n");
        assert_eq!(session.receive(b".\r\n"), Step::Commit);
        let trace = session.message("q1", 0, "DATE", b"", None).unwrap().trace;
        String::from_utf8(trace).unwrap()
    }

    fn config() -> Config {
        Config { asked: 0, ..Config::example() }
    }

    #[test]
    fn only_who_is_listed_is_offered_it_and_may_use_it() {
        for (xclient, xforward) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut session = Session::new(Arc::new(config()), "s1", "192.0.2.1", false);
            session.offer_proxied(xclient, xforward);
            session.connect();
            session.receive(HELLO);
            let hello = said(&mut session);
            assert_eq!(hello.contains("-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n"), xclient);
            assert_eq!(hello.contains("-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n"), xforward);
            session.receive(b"XFORWARD NAME=a.test\r\n");
            assert!(said(&mut session).starts_with(if xforward { "250 2.0.0 " } else { "550 5.7.0 " }));
            let step = session.receive(b"XCLIENT NAME=a.test\r\n");
            assert_eq!(step == Step::ReplaceClient, xclient);
            assert_eq!(said(&mut session).is_empty(), xclient);
        }
    }

    #[test]
    fn a_new_client_is_greeted_and_has_to_say_hello() {
        let mut session = session(Config { errors: 2, ..config() });
        session.receive(b"FOO\r\n");
        assert!(
            replace(&mut session, "XCLIENT ADDR=198.51.100.7 NAME=c.test", "198.51.100.7")
                .ends_with("220 mx.example.test ESMTP mailmoat\r\n")
        );
        session.receive(b"MAIL FROM:<>\r\nEHLO c.test\r\n");
        let reply = said(&mut session);
        assert!(
            reply.starts_with("503 5.5.1 Send hello first\r\n250-mx.example.test Hello [198.51.100.7]\r\n"),
            "{reply}"
        );
        assert_eq!((session.errors, session.tarpit().exempt), (1, false));
        assert!(received(&mut session).starts_with("Received: from c.test (c.test [198.51.100.7])\r\n"));
    }

    #[test]
    fn what_is_said_of_hello_and_protocol_holds_for_the_session() {
        let mut session = session(config());
        replace(&mut session, "XCLIENT HELO=[IPv6:::1] PROTO=SMTP ADDR=[UNAVAILABLE]", "");
        session.receive(HELLO);
        assert!(said(&mut session).starts_with("250-mx.example.test Hello [unknown]\r\n"));
        assert_eq!(session.helo_name(), "[IPv6:::1]");
        assert!(
            received(&mut session)
                .starts_with("Received: from [IPv6:::1] (unknown)\r\n\tby mx.example.test with SMTP id q1\r\n")
        );
        session.committed(None);
        replace(&mut session, "XCLIENT HELO=[UNAVAILABLE] PROTO=ESMTP NAME=b.test", "2001:db8::1");
        session.receive(HELLO);
        assert!(received(&mut session).starts_with(
            "Received: from proxy.test (b.test [IPv6:2001:db8::1])\r\n\tby mx.example.test with ESMTP id q1\r\n"
        ));
    }

    #[test]
    fn name_and_authentication_of_the_client_before_are_forgotten() {
        let mut session = session(config());
        session.set_peer_name("proxy.test");
        session.require_auth();
        session.identify();
        replace(&mut session, "XCLIENT PORT=4711", "192.0.2.1");
        assert_eq!((&*session.peer_name, session.auth.is_lacking()), ("proxy.test", false));
        replace(&mut session, "XCLIENT ADDR=192.0.2.2", "192.0.2.2");
        assert_eq!((&*session.peer_name, session.auth.is_lacking()), ("", true));
        replace(&mut session, "XCLIENT ADDR=192.0.2.3 LOGIN=ann", "192.0.2.3");
        assert!(!session.auth.is_lacking());
        replace(&mut session, "XCLIENT LOGIN=[UNAVAILABLE]", "192.0.2.3");
        assert!(session.auth.is_lacking());
    }

    #[test]
    fn neither_has_a_place_in_a_transaction() {
        let mut session = session(config());
        session.receive(b"MAIL FROM:<>\r\n");
        said(&mut session);
        for verb in ["XCLIENT", "XFORWARD"] {
            session.receive(format!("{verb} NAME=a.test\r\nXCLIENT\r\n").as_bytes());
            assert!(said(&mut session).starts_with("503 5.5.1 Mail transaction in progress\r\n503 "), "{verb}");
        }
        session.receive(b"RSET\r\nXFORWARD\r\nXCLIENT FOO=1\r\n");
        let reply = said(&mut session);
        assert_eq!(reply.matches("501 5.5.4 ").count(), 2, "{reply}");
    }

    #[test]
    fn an_origin_is_of_one_transaction() {
        let mut session = session(config());
        let origin =
            |session: &Session| session.origin().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        session.receive(b"XFORWARD NAME=a.test ADDR=198.51.100.7\r\nXFORWARD HELO=h IDENT=X1\r\n");
        received(&mut session);
        assert_eq!(origin(&session), ["name=a.test", "address=198.51.100.7", "helo=h", "queue_id=X1"]);
        session.committed(None);
        assert!(origin(&session).is_empty());
    }

    #[test]
    fn each_client_has_its_own_time_in_the_tarpit() {
        let mut session = session(Config { tarpit_time: 5, tarpit_max_session: 10, ..config() });
        for _ in 0..2 {
            replace(&mut session, "XCLIENT ADDR=198.51.100.7", "198.51.100.7");
            for _ in 0..2 {
                assert_eq!(session.receive(b"FOO\r\n"), Step::Hold(5));
                session.release();
            }
        }
        assert_eq!((session.tarpit().holds, session.tarpit().held), (4, 20));
        assert_eq!(session.receive(b"FOO\r\n"), Step::Close);
    }
}
