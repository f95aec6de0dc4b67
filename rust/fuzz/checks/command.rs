//! Every line is a command or a reply to be sent; what a command holds is normal.

use mailmoat_native::machine::message::address::{Limits, Path};
use mailmoat_native::machine::smtp::command::{Command, Offers, parse};

use super::address::{is_normal, is_sentence};

const OFFERS: Offers = Offers { extended: true, submitter: true, eight_bit: true, smtputf8: true };

pub fn check(input: &[u8]) {
    let ([choices], stream) = super::split::<1>(input);
    let limits = if choices & 4 == 0 { Limits::default() } else { Limits { local_part: 0, domain: 0, path: 0 } };
    for line in stream.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let plain =
            parse(line, &limits, Offers { extended: false, submitter: false, eight_bit: false, smtputf8: false });
        let extended = parse(line, &limits, OFFERS);
        // What is a command without extensions is the same with them.
        if plain.is_ok() {
            assert_eq!(plain, extended);
        }
        for parsed in [plain, extended] {
            match parsed {
                Ok(Command::Mail { path, parameters }) => {
                    round(&path, "MAIL FROM", &limits);
                    if let Some(submitter) = parameters.submitter {
                        assert!(!submitter.domain().is_empty());
                        is_normal(&submitter, &Limits::default());
                    }
                }
                Ok(Command::Rcpt { path, .. }) => {
                    assert_ne!(path, Path::Null);
                    round(&path, "RCPT TO", &limits);
                }
                Ok(Command::Helo(name) | Command::Ehlo(name)) => is_sentence(name),
                Ok(_) => {}
                Err(malformed) => {
                    let (code, enhanced, text) = malformed.reply();
                    assert!((500..=555).contains(&code) && enhanced.starts_with("5."), "{code} {enhanced}");
                    is_sentence(&text);
                }
            }
        }
    }
}

fn round(path: &Path, verb: &str, limits: &Limits) {
    let Path::Mailbox(address) = path else { return };
    is_normal(address, limits);
    let line = format!("{verb}:<{address}>");
    match parse(line.as_bytes(), limits, OFFERS) {
        Ok(Command::Mail { path: again, .. } | Command::Rcpt { path: again, .. }) => assert_eq!(&again, path),
        other => panic!("{line:?} became {other:?}"),
    }
}
