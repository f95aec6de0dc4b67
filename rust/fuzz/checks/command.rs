//! Every line is a command or a reply to be sent; what a command holds is normal.

use mailmoat_native::machine::message::address::{Address, Limits, Path};
use mailmoat_native::machine::smtp::command::{Command, parse};
use mailmoat_native::machine::smtp::extensions::{Offers, Standing, kept_of_rcpt};

use super::address::{is_normal, is_sentence};

pub fn check(input: &[u8]) {
    let ([choices], stream) = super::split::<1>(input);
    let limits = if choices & 4 == 0 { Limits::default() } else { Limits { local_part: 0, domain: 0, path: 0 } };
    let offers = Offers::of(&super::session::config(64, 0), Standing::default());
    for line in stream.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let plain = parse(line, &limits, Offers::NONE);
        let extended = parse(line, &limits, offers);
        // What is a command without extensions is the same with them.
        if plain.is_ok() {
            assert_eq!(plain, extended);
        }
        for parsed in [plain, extended] {
            match parsed {
                Ok(Command::Mail { path, parameters }) => {
                    if let Path::Mailbox(address) = path {
                        round(&address, "MAIL FROM", &limits);
                    }
                    if let Some(submitter) = parameters.submitter {
                        assert!(!submitter.domain().is_empty());
                        is_normal(&submitter, &Limits::default());
                    }
                }
                Ok(Command::Rcpt { address, parameters }) => {
                    round(&address, "RCPT TO", &limits);
                    let kept = kept_of_rcpt(&parameters);
                    let line = format!("RCPT TO:<a@b> {}", kept.as_str());
                    match parse(line.as_bytes(), &limits, offers) {
                        Ok(Command::Rcpt { parameters: again, .. }) => assert_eq!(again, parameters),
                        other => panic!("{line:?} became {other:?}"),
                    }
                }
                Ok(Command::Helo(name) | Command::Ehlo(name)) => is_sentence(name),
                Ok(_) => {}
                Err(malformed) => {
                    let reply = malformed.reply();
                    assert!(reply.code == 421 || reply.class() == 5 && reply.enhanced.starts_with("5."), "{reply}");
                    is_sentence(&reply.text);
                }
            }
        }
    }
}

fn round(address: &Address, verb: &str, limits: &Limits) {
    is_normal(address, limits);
    let line = format!("{verb}:<{address}>");
    match parse(line.as_bytes(), limits, Offers::NONE) {
        Ok(Command::Mail { path: Path::Mailbox(again), .. } | Command::Rcpt { address: again, .. }) => {
            assert_eq!(&again, address);
        }
        other => panic!("{line:?} became {other:?}"),
    }
}
