//! The name and password of an account at the next hop. The password is in no log, error or `Debug` output.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::OnceLock;

use unicode_normalization::UnicodeNormalization;

use super::keys::Keys;
use super::step::Misuse;

/// Most octets of a name and of a password.
const LONGEST: usize = 255;

/// A name and its password.
pub struct Credentials {
    name: String,
    password: String,
    prepared: (String, String),
    /// Keys for the first salt and number of iterations seen, which stay the same as long as the password does: deriving them
    /// takes some milliseconds.
    derived: OnceLock<(Vec<u8>, NonZeroU32, Keys)>,
}

impl Credentials {
    /// Neither may be empty, longer than 255 octets, or hold a control character.
    pub fn new(name: &str, password: &str) -> Result<Self, Misuse> {
        for (text, wrong) in [
            (name, "the name must have 1 to 255 octets and no control character"),
            (password, "the password must have 1 to 255 octets and no control character"),
        ] {
            if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
                return Err(Misuse(wrong));
            }
        }
        let prepared = (prepare(name), prepare(password));
        Ok(Self { name: name.to_owned(), password: password.to_owned(), prepared, derived: OnceLock::new() })
    }

    /// The name of the account.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as SCRAM takes it.
    pub fn prepared_name(&self) -> &str {
        &self.prepared.0
    }

    /// The password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The keys that SCRAM derives from the password.
    pub fn keys(&self, salt: &[u8], iterations: NonZeroU32) -> Keys {
        let derive = || Keys::derive(self.prepared.1.as_bytes(), salt, iterations);
        let (known, count, keys) = self.derived.get_or_init(|| (salt.to_vec(), iterations, derive()));
        if known == salt && *count == iterations { keys.clone() } else { derive() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The mapping and normalisation of RFC 4013 2.1 and 2.2. What 2.3 prohibits is left to the server.
fn prepare(text: &str) -> String {
    let mapped = text.chars().filter(|character| !is_dropped(*character));
    mapped.map(|character| if is_space(character) { ' ' } else { character }).nfkc().collect()
}

/// RFC 3454 B.1.
fn is_dropped(character: char) -> bool {
    matches!(character,
        '\u{AD}' | '\u{34F}' | '\u{1806}' | '\u{180B}'..='\u{180D}' | '\u{200B}'..='\u{200D}' | '\u{2060}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}')
}

/// RFC 3454 C.1.2.
fn is_space(character: char) -> bool {
    matches!(character, '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_the_password() {
        let credentials = Credentials::new("account", "very secret").unwrap();
        assert_eq!(format!("{credentials:?}"), "Credentials { name: \"account\", .. }");
    }

    #[test]
    fn bounds() {
        for (name, password) in [("", "x"), ("x", ""), ("a\r\nb", "x"), ("x", "a\0"), (&"x".repeat(256), "x")] {
            assert!(Credentials::new(name, password).is_err());
        }
    }

    /// RFC 4013 3.
    #[test]
    fn preparation() {
        for (text, prepared) in
            [("I\u{AD}X", "IX"), ("user", "user"), ("\u{AA}", "a"), ("\u{2168}", "IX"), ("a\u{A0}b", "a b")]
        {
            assert_eq!(prepare(text), prepared);
        }
    }

    #[test]
    fn keys_of_another_salt_are_derived_anew() {
        let credentials = Credentials::new("a", "b").unwrap();
        let few = NonZeroU32::MIN;
        assert!(credentials.keys(b"1", few) == credentials.keys(b"1", few));
        assert!(credentials.keys(b"1", few) != credentials.keys(b"2", few));
    }
}
