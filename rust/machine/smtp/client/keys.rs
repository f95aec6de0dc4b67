//! The keys of SCRAM-SHA-256 that a password is turned into (RFC 5802 3, RFC 7677).

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};

/// What is derived from the password for one salt and number of iterations.
#[derive(Clone, PartialEq)]
pub struct Keys {
    /// What a client proves to have.
    pub client: [u8; digest::SHA256_OUTPUT_LEN],
    /// What a server proves to have.
    pub server: [u8; digest::SHA256_OUTPUT_LEN],
}

impl Keys {
    /// The keys of a password, prepared (RFC 4013).
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut salted);
        Self { client: sign(&salted, b"Client Key"), server: sign(&salted, b"Server Key") }
    }
}

/// HMAC of a text.
pub fn sign(key: &[u8], text: &[u8]) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let mut octets = [0; digest::SHA256_OUTPUT_LEN];
    octets.copy_from_slice(tag.as_ref());
    octets
}
