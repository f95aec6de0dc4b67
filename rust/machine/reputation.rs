//! The level of a source, 0 (good) to 9 (bad), from counted evidence; and how counts decay.
//!
//! Each event has a weight, and is bad to some tenths of it. The level is the mean of these tenths over all events, rounded down, at most
//! 9. It needs [`ENOUGH`] events. Counts are in parts of an event (1/64) and halve every [`HALVING`] ticks, all alike: so time alone
//! makes a source unknown, never bad. Values only.

/// What a source did, by its place in a row of counts.
pub const KINDS: usize = 9;
/// Parts that make one event.
pub const EVENT: u64 = 64;
/// Seconds of a tick, in which decay is counted.
pub const TICK: u64 = 64;
/// Ticks in which a count halves: 12 hours.
pub const HALVING: u64 = 12 * 3600 / TICK;
/// Events before there is a level.
pub const ENOUGH: u64 = 20;
/// The worst level.
pub const WORST: u64 = 9;

/// Kinds of evidence that are named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(usize);

impl Kind {
    /// Recipients of accepted messages.
    pub const ACCEPTED: Self = Self(0);
    /// Unknown recipients.
    pub const UNKNOWN: Self = Self(1);
    /// Unknown recipients in a harvest attack, beside `UNKNOWN`.
    pub const HARVEST: Self = Self(8);

    /// The kind with this number; None when there is none.
    pub fn numbered(number: usize) -> Option<Self> {
        (number < KINDS).then_some(Self(number))
    }

    /// Its place in a row of counts.
    pub fn place(self) -> usize {
        self.0
    }
}

/// How much an event of a kind weighs, to how many tenths it is bad, and whether it is an event of its own.
struct Weight {
    of_event: u64,
    tenths: u64,
    counts: bool,
}

const fn weight(of_event: u64, tenths: u64) -> Weight {
    Weight { of_event, tenths, counts: true }
}

/// By kind: accepted-message, unknown-recipient, listed, sender-id-fail, blocked-sender, helo-mismatch, malformed, auth-failure, harvest.
/// What happens to good sources is bad to few tenths: forwarders fail SPF, an office has one wrong password.
const WEIGHTS: [Weight; KINDS] = [
    weight(1, 0),
    weight(1, 10),
    weight(2, 10),
    weight(1, 5),
    weight(1, 10),
    weight(1, 5),
    weight(1, 10),
    weight(1, 6),
    Weight { of_event: 2, tenths: 10, counts: false },
];

/// The level by counts in parts of an event; None when there are too few events.
pub fn level(counts: &[u64; KINDS]) -> Option<u8> {
    let (mut events, mut weights, mut tenths) = (0_u64, 0_u64, 0_u64);
    for (count, kind) in counts.iter().zip(&WEIGHTS) {
        events += if kind.counts { *count } else { 0 };
        weights += count * kind.of_event;
        tenths += count * kind.of_event * kind.tenths;
    }
    let mean = tenths.checked_div(weights)?.min(WORST);
    if events < ENOUGH * EVENT { None } else { u8::try_from(mean).ok() }
}

/// What is left of a count after so many ticks; never more than before, and never more than of a shorter time.
pub fn decayed(count: u64, ticks: u64) -> u64 {
    let (halvings, rest) = (ticks / HALVING, ticks % HALVING);
    if halvings >= 63 {
        return 0;
    }
    ((count * left(rest)) >> FACTOR_BITS) >> halvings
}

const FACTOR_BITS: u32 = 16;
const STEPS: u64 = 16;
/// 2^(-step/16) in 1/65536.
const FACTORS: [u64; 17] = [
    65536, 62757, 60097, 57549, 55109, 52772, 50535, 48393, 46341, 44376, 42495, 40693, 38968, 37316, 35734, 34219,
    32768,
];

/// 2^(-ticks/HALVING) for less than one half-life, in 1/65536: a line between two steps of the table.
fn left(ticks: u64) -> u64 {
    let (step, between) = (ticks * STEPS / HALVING, ticks * STEPS % HALVING);
    let at = |step: u64| {
        usize::try_from(step).ok().and_then(|step| FACTORS.get(step)).copied().unwrap_or(1 << (FACTOR_BITS - 1))
    };
    let (high, low) = (at(step), at(step + 1));
    high - (high - low) * between / HALVING
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(counts: [u64; KINDS]) -> Option<u8> {
        level(&counts.map(|count| count * EVENT))
    }

    /// The worked examples of the manual: accepted, unknown, listed, Sender ID fail, blocked sender, HELO, malformed, AUTH failure, harvest.
    #[test]
    fn worked_examples() {
        assert_eq!(events([0, 0, 0, 0, 0, 0, 0, 0, 0]), None); // nothing seen
        assert_eq!(events([0, 19, 0, 0, 0, 0, 0, 0, 19]), None); // 19 guesses in a harvest attack
        assert_eq!(events([0, 20, 0, 0, 0, 0, 0, 0, 0]), Some(9)); // 20 guesses
        assert_eq!(events([950, 50, 0, 0, 0, 0, 0, 0, 0]), Some(0)); // a mailing list with 5 % dead addresses
        assert_eq!(events([700, 300, 0, 0, 0, 0, 0, 0, 0]), Some(3)); // an old newsletter, 30 % dead
        assert_eq!(events([100, 5, 0, 95, 0, 0, 0, 0, 0]), Some(2)); // a forwarder whose mail fails SPF
        assert_eq!(events([5, 0, 0, 95, 0, 0, 0, 0, 0]), Some(4)); // the same where a Fail is refused
        assert_eq!(events([0, 0, 0, 100, 0, 100, 0, 0, 0]), Some(5)); // only what happens to good sources
        assert_eq!(events([0, 0, 0, 0, 0, 0, 0, 200, 0]), Some(6)); // an office with one wrong password
        assert_eq!(events([100, 0, 100, 0, 0, 0, 0, 0, 0]), Some(6)); // listed in every session, and all is accepted
        assert_eq!(events([10, 90, 0, 0, 0, 0, 0, 0, 0]), Some(9)); // bought addresses, 90 % dead
        assert_eq!(events([30, 70, 0, 0, 0, 0, 0, 0, 0]), Some(7)); // 70 % dead
        assert_eq!(events([31, 69, 0, 0, 0, 0, 0, 0, 0]), Some(6));
        assert_eq!(events([50, 50, 0, 0, 0, 0, 0, 0, 50]), Some(7)); // half of it guessed in a harvest attack
    }

    #[test]
    fn a_count_halves_every_half_life() {
        assert_eq!(decayed(1 << 20, HALVING), 1 << 19);
        assert_eq!(decayed(1 << 20, 3 * HALVING), 1 << 17);
        assert_eq!(decayed(1 << 20, 100 * HALVING), 0);
        assert_eq!(decayed(6400, 0), 6400);
    }

    proptest! {
        #[test]
        fn decay_is_monotone_and_close_to_the_power(count in 0_u64..1 << 30, ticks in 0_u64..50_000, more in 0_u64..50_000) {
            prop_assert!(decayed(count, ticks) <= count);
            prop_assert!(decayed(count, ticks + more) <= decayed(count, ticks));
            #[allow(clippy::cast_precision_loss)]
            let (exact, found) = (count as f64 * 0.5_f64.powf(ticks as f64 / HALVING as f64), decayed(count, ticks) as f64);
            prop_assert!((exact - found).abs() <= 1.0 + exact / 2000.0, "{exact} {found}");
        }

        #[test]
        fn a_level_is_0_to_9_and_no_good_event_raises_it(counts in prop::array::uniform9(0_u64..1 << 30), more in 0_u64..1 << 20) {
            let before = level(&counts);
            prop_assert!(before.is_none_or(|level| level <= 9));
            let mut better = counts;
            better[Kind::ACCEPTED.place()] += more;
            if let (Some(before), Some(after)) = (before, level(&better)) {
                prop_assert!(after <= before);
            }
        }

        /// All counts halve alike: later, the level is the same or unknown, to within what rounding can be.
        #[test]
        fn time_makes_no_source_worse(counts in prop::array::uniform9(0_u64..1 << 16), ticks in 0_u64..5000) {
            let mut worse = counts;
            worse[Kind::ACCEPTED.place()] -= (counts[0] / 50 + EVENT).min(counts[0]);
            if let (Some(rounded), Some(later)) = (level(&worse), level(&counts.map(|count| decayed(count, ticks)))) {
                prop_assert!(later <= rounded);
            }
        }
    }
}
