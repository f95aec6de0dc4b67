//! The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677).
//!
//! Promises that the server has proved to hold the password's keys before [`Scram::finish`] says so, and that a server which asks for
//! too little or too much work gets no proof. The nonce comes from the caller: the same input gives the same octets.

use std::num::NonZeroU32;

use aws_lc_rs::digest;

use super::credentials::Credentials;
use super::keys::sign;
use crate::machine::base64;

/// Fewest iterations taken (RFC 7677 4): below it a server that is not the right one could search for the password cheaply.
const FEWEST: u32 = 4096;
/// Most iterations taken: a worker computes nothing else meanwhile (about 0.05 s), and any server may name them.
const MOST: u32 = 250_000;

/// How the exchange is tied to the TLS connection it runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// There is nothing to tie it to.
    Impossible,
    /// It could be, and the server does not offer it (RFC 5802 6): a server that did, and whose offer was changed on the way, ends it.
    NotOffered,
    /// By this type, with these octets (RFC 5929 4, RFC 9266).
    To(&'static str, Vec<u8>),
}

impl Binding {
    fn header(&self) -> String {
        match self {
            Self::Impossible => "n,,".to_owned(),
            Self::NotOffered => "y,,".to_owned(),
            Self::To(kind, _) => format!("p={kind},,"),
        }
    }

    /// The header with the octets of the connection (RFC 5802 7, cbind-input).
    fn input(&self) -> String {
        let mut input = self.header().into_bytes();
        if let Self::To(_, octets) = self {
            input.extend_from_slice(octets);
        }
        base64::encode(&input)
    }
}

/// One exchange.
#[derive(Debug)]
pub struct Scram {
    binding: Binding,
    nonce: String,
    first: String,
    signature: Option<[u8; digest::SHA256_OUTPUT_LEN]>,
    proven: bool,
}

impl Scram {
    /// Begins an exchange. `nonce`: printable and without a comma, never used before.
    pub fn new(credentials: &Credentials, binding: Binding, nonce: &str) -> Self {
        let name = credentials.prepared_name().replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={name},r={nonce}");
        Self { binding, nonce: nonce.to_owned(), first, signature: None, proven: false }
    }

    /// The first message.
    pub fn begin(&self) -> String {
        format!("{}{}", self.binding.header(), self.first)
    }

    /// The answer to a message of the server; a plain sentence when it is not to be answered.
    pub fn answer(&mut self, challenge: &[u8], credentials: &Credentials) -> Result<String, &'static str> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| "it is not UTF-8")?;
        match self.signature {
            None => self.prove(challenge, credentials),
            Some(signature) if !self.proven => {
                let said = challenge.split(',').next().and_then(|part| part.strip_prefix("v="));
                let said = said.and_then(|part| base64::decode(part.as_bytes()));
                // No time of ours depends on a secret here: whoever sees it has the server's answer already.
                if said.as_deref() != Some(signature.as_slice()) {
                    return Err("the server does not hold the keys of this password");
                }
                self.proven = true;
                Ok(String::new())
            }
            Some(_) => Err("it comes after the last one"),
        }
    }

    /// Whether the server has proved that it holds the keys: only then its success counts (RFC 5802 5).
    pub fn finish(&self) -> bool {
        self.proven
    }

    fn prove(&mut self, challenge: &str, credentials: &Credentials) -> Result<String, &'static str> {
        let mut parts = challenge.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let nonce = part("r=").ok_or("its nonce is missing")?;
        let salt = part("s=").and_then(|text| base64::decode(text.as_bytes())).ok_or("its salt is missing")?;
        let iterations =
            part("i=").and_then(|text| text.parse::<NonZeroU32>().ok()).ok_or("its iterations are missing")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("its nonce is not made for this exchange");
        }
        if !(FEWEST..=MOST).contains(&iterations.get()) {
            return Err("its number of iterations is out of range");
        }
        let keys = credentials.keys(&salt, iterations);
        let bare = format!("c={},r={nonce}", self.binding.input());
        let authenticated = format!("{},{challenge},{bare}", self.first);
        let stored = digest::digest(&digest::SHA256, &keys.client);
        let signature = sign(stored.as_ref(), authenticated.as_bytes());
        let proof: Vec<u8> = keys.client.iter().zip(signature).map(|(key, octet)| key ^ octet).collect();
        self.signature = Some(sign(&keys.server, authenticated.as_bytes()));
        Ok(format!("{bare},p={}", base64::encode(&proof)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[u8] = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn exchange(binding: Binding) -> (Scram, Credentials) {
        let credentials = Credentials::new("user", "pencil").unwrap();
        (Scram::new(&credentials, binding, "rOprNGfwEbeRWgbNEkqO"), credentials)
    }

    /// RFC 7677 3.
    #[test]
    fn the_example_of_the_standard() {
        let (mut scram, credentials) = exchange(Binding::Impossible);
        assert_eq!(scram.begin(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(
            scram.answer(FIRST, &credentials).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(!scram.finish());
        assert_eq!(scram.answer(FINAL, &credentials), Ok(String::new()));
        assert!(scram.finish());
        assert!(scram.answer(FINAL, &credentials).is_err());
    }

    #[test]
    fn a_server_without_the_keys_is_not_believed() {
        for last in [b"v=AAAA".as_slice(), b"e=other-error", b"", b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="] {
            let (mut scram, credentials) = exchange(Binding::Impossible);
            scram.answer(FIRST, &credentials).unwrap();
            assert!(scram.answer(last, &credentials).is_err());
            assert!(!scram.finish());
        }
    }

    #[test]
    fn no_proof_is_given_for_a_challenge_that_is_wrong() {
        for first in [
            "",
            "\u{fc}",
            "r=other,s=W22Z,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W2,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=0",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4095",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=250001",
            "m=ext,r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4096",
        ] {
            let (mut scram, credentials) = exchange(Binding::Impossible);
            assert!(scram.answer(first.as_bytes(), &credentials).is_err(), "{first}");
            assert!(!scram.finish());
        }
        let (mut scram, credentials) = exchange(Binding::Impossible);
        assert!(scram.answer(b"\xff", &credentials).is_err());
    }

    #[test]
    fn the_exchange_says_how_it_is_bound() {
        for (binding, header, input) in [
            (Binding::NotOffered, "y,,", "c=eSws,"),
            (Binding::To("tls-exporter", vec![1, 2]), "p=tls-exporter,,", "c=cD10bHMtZXhwb3J0ZXIsLAEC,"),
        ] {
            let (mut scram, credentials) = exchange(binding);
            assert!(scram.begin().starts_with(header));
            assert!(scram.answer(FIRST, &credentials).unwrap().starts_with(input));
        }
    }

    #[test]
    fn a_name_with_the_separators_is_escaped() {
        let credentials = Credentials::new("a=b,c", "x").unwrap();
        assert_eq!(Scram::new(&credentials, Binding::Impossible, "r").begin(), "n,,n=a=3Db=2Cc,r=r");
    }
}
