//! How long the parts of an address may be.

/// Longest parts that are taken, in octets, as given and as normalised; 0 = no limit (RFC 5321 4.5.3.1).
/// The standard's own are 64, 255 and 256, which every server must take; it recommends no limits where possible, and bounce addresses
/// of large senders (SRS, VERP) are longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Local part, quotes included.
    pub local_part: usize,
    /// Domain, without a trailing dot.
    pub domain: usize,
    /// Whole path: angle brackets and source route included.
    pub path: usize,
}

impl Limits {
    /// Those in force unless the administrator says otherwise; a path of the longest parts fits.
    pub const USUAL: Self = Self { local_part: 256, domain: 255, path: 256 + 255 + "<@>".len() };
}

impl Default for Limits {
    fn default() -> Self {
        Self::USUAL
    }
}

/// Whether a part of so many octets is longer than `limit`.
pub const fn over(octets: usize, limit: usize) -> bool {
    limit != 0 && octets > limit
}
