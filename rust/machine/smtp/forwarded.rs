//! The attributes of XCLIENT and XFORWARD: what a server in front of us says about its client (Postfix's `XCLIENT_README` and
//! `XFORWARD_README`).
//!
//! Total: what cannot be read is a plain sentence. A value is `xtext` (RFC 3461 4), or as older versions write it, without; it has at
//! most [`LONGEST`] octets, all of them printable ASCII and none a space. An attribute that is not given is None, one that is
//! `[UNAVAILABLE]` is empty.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::attribute::Attribute;
use super::xtext;
use crate::machine::message::address::{Limits, is_helo_name};

/// Octets of a value.
const LONGEST: usize = 255;
/// Octets of the name of a protocol in XFORWARD.
const LONGEST_PROTOCOL: usize = 64;

type Read = Result<String, &'static str>;
type Row = (Attribute, &'static str, fn(&str) -> Read);

/// What XCLIENT says of the client that the session is of from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Name of the client, by reverse DNS.
    pub name: Option<String>,
    /// Address of the client, in its one spelling.
    pub address: Option<String>,
    /// Port of the client.
    pub port: Option<String>,
    /// Whether the client said EHLO.
    pub extended: Option<bool>,
    /// Name it gave with HELO or EHLO.
    pub helo_name: Option<String>,
    /// Account that it has authenticated as.
    pub login: Option<String>,
    /// Address it connected to.
    pub destination: Option<String>,
    /// Port it connected to.
    pub destination_port: Option<String>,
}

impl Client {
    /// Reads the argument of XCLIENT.
    pub fn read(argument: &[u8]) -> Result<Self, &'static str> {
        let mut client = Self::default();
        for (attribute, value) in attributes(argument)? {
            let (given, read): (&mut Option<String>, fn(&str) -> Read) = match attribute {
                Some(Attribute::Name) => (&mut client.name, read_name),
                Some(Attribute::Addr) => (&mut client.address, read_address),
                Some(Attribute::Port) => (&mut client.port, read_port),
                Some(Attribute::Helo) => (&mut client.helo_name, read_helo_name),
                Some(Attribute::Login) => (&mut client.login, read_any),
                Some(Attribute::DestAddr) => (&mut client.destination, read_address),
                Some(Attribute::DestPort) => (&mut client.destination_port, read_port),
                Some(Attribute::Proto) if client.extended.is_none() => {
                    client.extended = Some(read_protocol(&value)?);
                    continue;
                }
                Some(Attribute::Proto) => return Err(REPEATED),
                _ => return Err(UNKNOWN),
            };
            keep(given, &value, read)?;
        }
        Ok(client)
    }
}

/// The attributes of XFORWARD: which, name in the log, and what reads the value.
static ORIGIN: [Row; 7] = [
    (Attribute::Name, "name", read_any),
    (Attribute::Addr, "address", read_any), // which need not be of IP
    (Attribute::Port, "port", read_port),
    (Attribute::Proto, "protocol", read_protocol_name),
    (Attribute::Helo, "helo", read_any),
    (Attribute::Ident, "queue_id", read_any),
    (Attribute::Source, "source", read_source),
];

/// What XFORWARD says of where the message of the next transaction comes from. It is for the log alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    values: [Option<String>; ORIGIN.len()],
}

impl Origin {
    /// Takes the argument of XFORWARD; what it does not name stays. After an error nothing has changed.
    pub fn update(&mut self, argument: &[u8]) -> Result<(), &'static str> {
        let mut given = Self::default();
        for (attribute, value) in attributes(argument)? {
            let mut rows = given.values.iter_mut().zip(&ORIGIN);
            let (place, (_, _, read)) = rows.find(|(_, (known, ..))| attribute == Some(*known)).ok_or(UNKNOWN)?;
            keep(place, &value, *read)?;
        }
        for (kept, value) in self.values.iter_mut().zip(given.values).filter(|(_, value)| value.is_some()) {
            *kept = value;
        }
        Ok(())
    }

    /// The values that are there, by their names in the log.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let rows = ORIGIN.iter().zip(&self.values);
        rows.filter_map(|((_, name, _), value)| Some((*name, value.as_deref().filter(|value| !value.is_empty())?)))
    }
}

const FORM: &str = "The argument must be NAME=value ...";
const UNKNOWN: &str = "This attribute is not known";
const REPEATED: &str = "An attribute is given twice";

/// The attributes of a command, None for an unknown one, and their values, decoded.
fn attributes(argument: &[u8]) -> Result<Vec<(Option<Attribute>, String)>, &'static str> {
    let text = str::from_utf8(argument).map_err(|_| "A value is not printable ASCII")?;
    let given: Vec<_> = text.split(' ').filter(|attribute| !attribute.is_empty()).collect();
    if given.is_empty() {
        return Err(FORM);
    }
    given.into_iter().map(attribute).collect()
}

fn attribute(text: &str) -> Result<(Option<Attribute>, String), &'static str> {
    let (name, encoded) = text.split_once('=').ok_or(FORM)?;
    // Before Postfix 2.3 a `+` was itself.
    let decoded = xtext::decode(encoded.as_bytes()).unwrap_or_else(|| encoded.into());
    if decoded.len() > LONGEST {
        return Err("A value is longer than 255 octets");
    }
    let value = String::from_utf8(decoded).ok().filter(|value| value.bytes().all(|octet| octet.is_ascii_graphic()));
    Ok((Attribute::of(name.as_bytes()), value.ok_or("A value is not printable ASCII")?))
}

fn keep(given: &mut Option<String>, value: &str, read: fn(&str) -> Read) -> Result<(), &'static str> {
    if given.is_some() {
        return Err(REPEATED);
    }
    let missing = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|word| value.eq_ignore_ascii_case(word));
    *given = Some(if missing { String::new() } else { read(value)? });
    Ok(())
}

fn read_any(value: &str) -> Read {
    if value.is_empty() { Err("A value is empty") } else { Ok(value.to_owned()) }
}

/// The name of a host, not its address.
fn read_name(value: &str) -> Read {
    let last = value.rsplit('.').next().unwrap_or_default();
    let is_name = !value.starts_with('[') && !value.ends_with('.') && is_helo_name(value.as_bytes(), &Limits::USUAL);
    if is_name && !last.bytes().all(|octet| octet.is_ascii_digit()) {
        Ok(value.to_ascii_lowercase())
    } else {
        Err("NAME must be the name of a host")
    }
}

fn read_address(value: &str) -> Read {
    let address = match value.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPV6:") => address.parse().ok().map(|v6: Ipv6Addr| v6.into()),
        _ => value.parse().ok().map(|v4: Ipv4Addr| v4.into()),
    };
    let address: IpAddr = address.ok_or("ADDR must be an IPv4 address, or IPV6: and an IPv6 address")?;
    Ok(address.to_canonical().to_string())
}

fn read_port(value: &str) -> Read {
    let digits = value.bytes().all(|octet| octet.is_ascii_digit());
    value.parse::<u16>().ok().filter(|_| digits).map(|port| port.to_string()).ok_or("PORT must be a number below 65536")
}

fn read_protocol(value: &str) -> Result<bool, &'static str> {
    match value.to_ascii_uppercase().as_str() {
        "SMTP" => Ok(false),
        "ESMTP" => Ok(true),
        _ => Err("PROTO must be SMTP or ESMTP"),
    }
}

fn read_protocol_name(value: &str) -> Read {
    if (1..=LONGEST_PROTOCOL).contains(&value.len()) { Ok(value.to_owned()) } else { Err("PROTO has 1 to 64 octets") }
}

/// As HELO and EHLO take it: it becomes a part of `Received`.
fn read_helo_name(value: &str) -> Read {
    if is_helo_name(value.as_bytes(), &Limits::USUAL) {
        Ok(value.to_owned())
    } else {
        Err("HELO must be a domain or an address literal")
    }
}

fn read_source(value: &str) -> Read {
    match value.to_ascii_uppercase().as_str() {
        source @ ("LOCAL" | "REMOTE") => Ok(source.to_owned()),
        _ => Err("SOURCE must be LOCAL or REMOTE"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::attribute::{XCLIENT, XFORWARD};
    use super::*;

    fn client(argument: &str) -> Client {
        Client::read(argument.as_bytes()).unwrap_or_else(|sentence| panic!("{argument}: {sentence}"))
    }

    #[allow(clippy::unnecessary_wraps)] // as the fields are
    fn is(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn what_the_reply_to_ehlo_says_is_read() {
        let examples = [
            ("NAME", "a.test"),
            ("ADDR", "192.0.2.1"),
            ("PORT", "1"),
            ("PROTO", "smtp"),
            ("HELO", "a"),
            ("LOGIN", "a"),
            ("DESTADDR", "192.0.2.1"),
            ("DESTPORT", "25"),
            ("IDENT", "a"),
            ("SOURCE", "local"),
        ];
        for (keyword, value) in examples {
            let argument = format!("{keyword}={value}");
            let is_of = |list: &[Attribute]| list.iter().any(|known| known.name() == keyword);
            assert_eq!(Client::read(argument.as_bytes()).is_ok(), is_of(&XCLIENT), "XCLIENT {argument}");
            assert_eq!(Origin::default().update(argument.as_bytes()).is_ok(), is_of(&XFORWARD), "XFORWARD {argument}");
        }
        assert!(ORIGIN.iter().map(|(attribute, ..)| *attribute).eq(XFORWARD));
    }

    #[test]
    fn a_client_in_the_forms_that_proxies_write() {
        let expected = Client {
            name: is("spike.example.test"),
            address: is("2001:db8::2"),
            port: is("4711"),
            extended: Some(true),
            helo_name: is("[192.0.2.9]"),
            login: is("ann=x"),
            destination: is("192.0.2.25"),
            destination_port: is("25"),
        };
        let argument = "NAME=Spike.example.TEST  addr=ipv6:2001:DB8:0::2 PORT=4711 PROTO=ESMTP HELO=[192.0.2.9] \
                        LOGIN=ann+3Dx DESTADDR=192.0.2.25 DESTPORT=25";
        assert_eq!(client(argument), expected);
        let gone = client("NAME=[unavailable] ADDR=[Unavailable] HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]");
        assert_eq!((gone.name, gone.address, gone.helo_name, gone.login), (is(""), is(""), is(""), is("")));
        assert_eq!(client("NAME=[TEMPUNAVAIL]").name, is(""));
        assert_eq!(client("ADDR=IPV6:::ffff:192.0.2.1").address, is("192.0.2.1"));
        assert_eq!(client("LOGIN=a+zz").login, is("a+zz")); // as written before Postfix 2.3
    }

    #[test]
    fn what_is_no_attribute_is_refused() {
        for argument in [
            "",
            "NAME",
            "NAME=",
            "=a",
            "NAME=192.0.2.1",
            "NAME=a..b",
            "NAME=a+20b",
            "NAME=[192.0.2.1]",
            "NAME=a(b",
            "NAME=a.",
            "ADDR=2001:db8::1",
            "ADDR=[192.0.2.1]",
            "ADDR=192.0.2.256",
            "ADDR=IPV6:192.0.2.1",
            "ADDR=127.1",
            "ADDR=+5D",
            "PORT=65536",
            "PORT=+2B1",
            "PORT=-1",
            "PORT=",
            "PROTO=LMTP",
            "PROTO=[UNAVAILABLE]",
            "HELO=a+0D+0Ab",
            "HELO=a b",
            "HELO=a+29",
            "HELO=b\u{fc}cher.test",
            "LOGIN=a+0A",
            "LOGIN=a+C3+BC",
            "DESTADDR=x",
            "DESTPORT=x",
            "REVERSE_NAME=a.test",
            "NAME=a.test name=b.test",
            "ADDR=192.0.2.1 X",
            "PROTO=SMTP PROTO=SMTP",
            "IDENT=a",
        ] {
            assert!(Client::read(argument.as_bytes()).is_err(), "{argument}");
        }
        assert!(Client::read(format!("LOGIN={}", "x".repeat(255)).as_bytes()).is_ok());
        assert!(Client::read(format!("LOGIN={}", "x".repeat(256)).as_bytes()).is_err());
    }

    #[test]
    fn attributes_of_an_origin_add_up() {
        let mut origin = Origin::default();
        let given = |origin: &Origin| origin.given().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        origin.update(b"NAME=spike.test ADDR=192.0.2.7 PORT=[UNAVAILABLE]").unwrap();
        origin.update(b"HELO=any+28thing IDENT=4Xy SOURCE=remote NAME=b.test").unwrap();
        let expected = ["name=b.test", "address=192.0.2.7", "helo=any(thing", "queue_id=4Xy", "source=REMOTE"];
        assert_eq!(given(&origin), expected);
        origin.update(b"ADDR=[UNAVAILABLE] NAME=c.test NAME=d.test").unwrap_err();
        origin.update(b"SOURCE=elsewhere").unwrap_err();
        origin.update(b"LOGIN=a").unwrap_err();
        assert_eq!(given(&origin), expected);
        origin.update(b"ADDR=[UNAVAILABLE]").unwrap();
        assert_eq!(given(&origin).len(), 4);
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_can_break_a_header_field_or_a_line(argument in "(NAME|ADDR|HELO|LOGIN|IDENT)=[ -~\\r\\n+0-9A-F]{0,40}") {
            if let Ok(client) = Client::read(argument.as_bytes()) {
                for value in [client.name, client.address, client.helo_name, client.login].into_iter().flatten() {
                    prop_assert!(value.bytes().all(|octet| octet.is_ascii_graphic()));
                }
            }
            let mut origin = Origin::default();
            if origin.update(argument.as_bytes()).is_ok() {
                prop_assert!(origin.given().all(|(_, value)| value.bytes().all(|octet| octet.is_ascii_graphic())));
            }
        }
    }
}
