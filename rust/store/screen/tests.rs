//! Screens: what holds and what does not, and that nothing is spent behind an agent that is asked.

use std::sync::Arc;

use super::*;
use crate::machine::smtp::server::config::Config;
use crate::store::shared::Rate;

const MINUTE: u64 = 60_000_000;

struct World {
    shared: Shared,
    limits: Limits,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let shared = Shared::new(1, 1, vec![], 16).unwrap();
        let rate = Some(Rate { count: 2, period: MINUTE, burst: 2 });
        let clock = Clock::default();
        clock.set(1_000_000_000);
        Self { shared, limits: Limits::new(vec![rate; 3]), clock }
    }

    fn asked(&self, stages: &[&[Check]], session: &Session, stage: Stage) -> Agents {
        let stages = Stage::ALL.map(|each| if each == stage { stages.concat() } else { Vec::new() });
        let tables = Tables {
            shared: &self.shared,
            limits: &self.limits,
            clock: &self.clock,
            lists: None,
            senders: None,
            recipients: None,
            is_pressed: false,
        };
        let case = Case { session, address: "192.0.2.1".parse().unwrap(), tables };
        Screen::new(stages.into()).unwrap().asked(stage, case)
    }

    fn left(&self, class: u8) -> usize {
        let address = "192.0.2.1".parse().unwrap();
        (0..9).take_while(|_| self.limits.spend(&self.shared, class, address, self.clock.now(), 1) == 0).count()
    }
}

fn unless(condition: Condition) -> Vec<Check> {
    vec![Check::Unless(vec![Arc::new(condition)])]
}

fn rates(spends: u32) -> Condition {
    Condition::WithinRates { waits: 0, spends, of_null_sender: spends }
}

/// A session at RCPT, with this MAIL.
fn at_rcpt(mail: &str) -> Session {
    let mut session = Session::new(Arc::new(Config::example()), "s-1", "192.0.2.1", false);
    session.connect();
    session.receive(format!("EHLO c.example\r\nMAIL FROM:<{mail}>\r\nRCPT TO:<bob@example.test>\r\n").as_bytes());
    assert_eq!(session.recipient().map(ToString::to_string).as_deref(), Some("bob@example.test"));
    session
}

#[test]
fn each_agent_has_its_place() {
    let (world, session) = (World::new(), at_rcpt("a@b.example"));
    let nobody = Check::Unless(Vec::new());
    let never = unless(Condition::RecipientAt(Names::default()));
    let all = [&[Check::Always, nobody.clone()], never.as_slice(), &[nobody], &[Check::Always]];
    assert_eq!(world.asked(&all, &session, Stage::Rcpt), 0b10101);
    assert_eq!(world.asked(&[], &session, Stage::Rcpt), 0);
    let many = vec![Check::Always; 65];
    assert!(Screen::new(vec![many, vec![], vec![], vec![], vec![], vec![], vec![]]).is_none());
    assert!(Screen::new(vec![]).is_none());
}

#[test]
fn nothing_is_spent_behind_an_agent_that_is_asked() {
    let (world, session) = (World::new(), at_rcpt("a@b.example"));
    let rate = unless(rates(1 << 1));
    assert_eq!(world.asked(&[&rate, &[Check::Always]], &session, Stage::Rcpt), 0b10);
    assert_eq!(world.asked(&[&[Check::Always], &rate], &session, Stage::Rcpt), 0b11);
    assert_eq!(world.left(1), 1, "once for the first of the two");
    assert_eq!(world.asked(&[&rate], &session, Stage::Rcpt), 1);
}

#[test]
fn a_recipient_is_not_judged_behind_an_agent_that_may_redirect_it() {
    let (world, session) = (World::new(), at_rcpt("a@b.example"));
    let ours = unless(Condition::RecipientAt(Names::new(vec!["example.test".into()])));
    assert_eq!(world.asked(&[&ours, &[Check::Always], &ours], &session, Stage::Rcpt), 0b110);
}

#[test]
fn of_several_rates_all_are_spent_or_none() {
    let (world, session) = (World::new(), at_rcpt(""));
    let both = unless(Condition::WithinRates { waits: 0, spends: 1 << 1, of_null_sender: 1 << 1 | 1 << 2 });
    assert_eq!(world.asked(&[&both], &session, Stage::Rcpt), 0);
    assert_eq!(world.left(2), 1);
    assert_eq!(world.asked(&[&both], &session, Stage::Rcpt), 1);
    assert_eq!(world.left(1), 1, "the other one is not spent");
}

#[test]
fn a_helo_name_is_ordinary() {
    let names = HeloNames(Names::new(vec!["mx.example.test".into(), "example.test".into()]));
    for name in ["c.example", "Mail-1.Some_Host.example", "a.b.c.d.e", "1.2.3.4.dsl.example", "a..example"] {
        assert!(names.is_ordinary(name), "{name}");
    }
    for name in [
        "",
        "c",
        "localhost",
        "mx.example.test",
        "MX.Example.TEST",
        "mx.example.test.",
        "192.0.2.1",
        "[192.0.2.1]",
        "::1",
        ".c",
        "c.",
        "xn--bcher-kva.example",
        "b\u{fc}cher.example",
        "a b.example",
        "a.123",
    ] {
        assert!(!names.is_ordinary(name), "{name}");
    }
}

#[test]
fn a_sender_is_clean() {
    let senders = |reserved: &[&str]| {
        let blocked = Names::new(["spam@a.example", "bad.example", ".worse.example"].map(str::to_owned).into());
        let reserved = Names::new(reserved.iter().map(|name| (*name).to_owned()).collect());
        Condition::CleanSender(CleanSenders { blocked, delimiters: "+".into(), reserved, takes_null: false })
    };
    let holds = |mail: &str, reserved: &[&str]| {
        World::new().asked(&[&unless(senders(reserved))], &at_rcpt(mail), Stage::Rcpt) == 0
    };
    for mail in ["a@a.example", "a@sub.bad.example", "a@notworse.example", "spam@b.example", "a@c"] {
        assert!(holds(mail, &[]), "{mail}");
    }
    for mail in [
        "",
        "Spam@a.example",
        "spam+1@a.example",
        "x+1@y.example",
        "a@bad.example",
        "a@worse.example",
        "a@x.worse.example",
    ] {
        assert!(!holds(mail, &[]), "{mail}");
    }
    assert!(holds("a@b.org", &["test", "example.com"]));
    assert!(holds("a@bexample.com", &["test", "example.com"]));
    for mail in ["a@b.test", "a@test", "a@c", "a@x.example.com", "a@example.com"] {
        assert!(!holds(mail, &["test", "example.com"]), "{mail}");
    }
}
