//! Local parts that a server behind us may read as an address elsewhere, a program or a file.
//!
//! This server routes by the domain alone (RFC 5321 2.3.11), but what it passes on others read, and some rewrite: Postfix takes
//! `%` and `!` (`allow_percent_hack`, `swap_bangpath`) and an `@` inside quotes (`resolve_dequoted_address`) for a route, Sendmail
//! `%`, `!` and the `:` of `DECnet`, X.400 gateways `/`, Exchange an encapsulated `IMCEASMTP-`; `-`, `|`, `/` and `:` begin an option,
//! a program, a file and a list where a local part reaches a command line or an alias. Linear in the input, never fails.

use unicode_normalization::UnicodeNormalization;

/// Whether the unquoted local part holds `@ % ! : /`, begins with `-` or `|`, or encapsulates an address; full-width and other
/// compatibility forms of these characters count as the characters (NFKC), as a server that folds them would read them.
pub(super) fn may_route(local: &str) -> bool {
    if local.is_ascii() { holds_route(local) } else { holds_route(&local.nfkc().collect::<String>()) }
}

fn holds_route(local: &str) -> bool {
    // Quotes and blanks in front may be gone when the next server reads it.
    let bare = local.trim_start_matches([' ', '"', '\\']);
    local.bytes().any(|octet| matches!(octet, b'@' | b'%' | b'!' | b':' | b'/'))
        || bare.starts_with(['-', '|'])
        || is_encapsulated(bare)
}

/// `IMCEA`, a kind of address, a hyphen. The kind `EX` names a mailbox of the organisation itself and leads nowhere else.
fn is_encapsulated(local: &str) -> bool {
    let Some((prefix, rest)) = local.split_at_checked("IMCEA".len()) else { return false };
    let kind = rest.split_once('-').map(|(kind, _)| kind).unwrap_or_default();
    prefix.eq_ignore_ascii_case("IMCEA")
        && !kind.is_empty()
        && kind.bytes().all(|octet| octet.is_ascii_alphanumeric())
        && !kind.eq_ignore_ascii_case("EX")
}

#[cfg(test)]
mod tests {
    use super::may_route;

    #[test]
    #[rustfmt::skip] // a table
    fn what_a_next_hop_may_read_as_a_way_out() {
        for local in [
            "victim%evil.example", "evil.example!victim", "victim@evil.example", "\"victim@evil.example\"", "evil::victim", "victim:evil",
            "/S=victim/ADMD=evil/C=us", "%", "-oQ/tmp", "-", "|/bin/sh", " |sh", "\"-x", "\\|sh", "alice+x%evil.example", "postmaster%evil.example",
            "IMCEASMTP-victim+40evil+2Eexample", "imceafax-123", "IMCEAX400-c+3DUS", "victim\u{ff05}evil", "victim\u{ff20}evil",
            "victim\u{fe6b}evil", "evil\u{ff01}victim", "evil\u{fe55}victim", "\u{ff0f}etc", "\u{ff5c}sh", "\u{ff0d}x", "a\u{2100}b",
            "\u{ff29}\u{ff2d}\u{ff23}\u{ff25}\u{ff21}SMTP-victim+40evil",
        ] {
            assert!(may_route(local), "{local:?}");
        }
        for local in [
            "alice", "alice+tag", "a-b", "a|b", "first.last", "front desk", "o'brien", "SRS0=HHH=TT=example.org=user", "SRS1=HHH=a.test==HHH=TT=b.test=user",
            "prvs=0123456789=user", "bounce+user=example.org", "IMCEAEX-_O=ORG_OU=FIRST_CN=RECIPIENTS_CN=USER", "imcea", "IMCEA-x", "imceasmtp",
            "j\u{f6}rg", "\u{4f8b}", "#user", "user#1", "a&b", "{a}", "~a", "try..this",
        ] {
            assert!(!may_route(local), "{local:?}");
        }
    }
}
