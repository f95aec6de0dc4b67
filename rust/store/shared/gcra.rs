//! The generic cell rate algorithm (ITU-T I.371, Annex A), as arithmetic alone.
//!
//! A cell is one time: when everything spent so far is paid for (the theoretical arrival time). Spending moves it on by a fixed time for each
//! unit; it may be ahead of now by as much as a burst of units costs. A cell that is not ahead is at rest, and nothing of it need be kept.
//! Time passes for a client whatever it waits for, so a delay that we cause is to its advantage. Times are whole microseconds; what is
//! spent at once costs them rounded up. Of units that cost a millisecond or more, a burst of single ones fits exactly; octets cost less.

/// So much more than what is spent at once is never owed: a day.
const MOST_DEBT: u64 = 86_400_000_000;

/// Microseconds of a unit from which rounding changes a rate by less than a thousandth.
const COARSE: u64 = 1000;

/// Units in a time, and how many of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units in `period`, above 0.
    pub count: u64,
    /// Microseconds, above 0.
    pub period: u64,
    /// Units that may be spent at once by one at rest, above 0.
    pub burst: u64,
}

/// A rate as times.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    rate: Rate,
    /// Of one unit.
    each: u64,
    /// Whether `each` is too short to be rounded.
    is_fine: bool,
    /// How far ahead of now a cell may be.
    tolerance: u64,
}

impl Quota {
    /// The quota of a rate that is `factor` times as large.
    pub fn new(rate: Rate, factor: u64) -> Self {
        let rate = Rate {
            count: rate.count.max(1).saturating_mul(factor.max(1)),
            period: rate.period.max(1),
            burst: rate.burst.max(1).saturating_mul(factor.max(1)),
        };
        let each = time_of(1, rate);
        let is_fine = each < COARSE;
        let tolerance = if is_fine { time_of(rate.burst, rate) } else { each.saturating_mul(rate.burst) };
        Self { rate, each, is_fine, tolerance }
    }

    /// What so many units cost.
    pub fn cost(&self, units: u64) -> u64 {
        // Of one unit both are the same.
        if self.is_fine && units != 1 { time_of(units, self.rate) } else { self.each.saturating_mul(units) }
    }

    /// How long until this cost may be added to a debt; 0 when it may now. What costs more than a burst may when nothing is owed.
    pub fn wait(&self, debt: u64, cost: u64) -> u64 {
        debt.saturating_sub(self.tolerance.saturating_sub(cost))
    }

    /// Units that a debt is worth, rounded up.
    pub fn units(&self, debt: u64) -> u64 {
        if !self.is_fine {
            return debt.div_ceil(self.each);
        }
        let units = u128::from(debt) * u128::from(self.rate.count) / u128::from(self.rate.period);
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// The debt of one that has spent its burst.
    pub fn tolerance(&self) -> u64 {
        self.tolerance
    }

    /// The burst.
    pub fn burst(&self) -> u64 {
        self.rate.burst
    }
}

/// A debt after one more cost.
pub fn debt_after(debt: u64, cost: u64) -> u64 {
    debt.saturating_add(cost).min(MOST_DEBT)
}

fn time_of(units: u64, rate: Rate) -> u64 {
    if let Some(time) = units.checked_mul(rate.period) {
        return time.div_ceil(rate.count); // without the slow division of 128 bits
    }
    let time = (u128::from(units) * u128::from(rate.period)).div_ceil(u128::from(rate.count));
    u64::try_from(time).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is let through of arrivals at these times, in order.
    fn admitted(quota: &Quota, arrivals: &[u64]) -> Vec<u64> {
        let mut paid = 0_u64;
        let mut through = Vec::new();
        for now in arrivals {
            let debt = paid.saturating_sub(*now);
            if quota.wait(debt, quota.cost(1)) == 0 {
                paid = now + debt_after(debt, quota.cost(1));
                through.push(*now);
            }
        }
        through
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let quota = Quota::new(Rate { count: 600, period: 60_000_000, burst: 100 }, 1);
        let at_once = admitted(&quota, &vec![5; 1000]);
        assert_eq!(at_once.len(), 100);
        let steady: Vec<u64> = (0..1200).map(|number| number * 50_000).collect();
        // A minute at 20 a second, where 10 are allowed: the burst, and what the minute brings.
        assert_eq!(admitted(&quota, &steady).len(), 100 + 599);
        assert_eq!(Quota::new(Rate { count: 600, period: 60_000_000, burst: 100 }, 9).burst(), 900);
    }

    #[test]
    fn says_how_long_it_takes() {
        let quota = Quota::new(Rate { count: 6, period: 60_000_000, burst: 2 }, 1);
        assert_eq!(quota.wait(0, quota.cost(1)), 0);
        assert_eq!(quota.wait(20_000_000, quota.cost(1)), 10_000_000);
        assert_eq!(quota.units(20_000_000), 2);
        assert_eq!(quota.units(10_000_001), 2);
        // More than a burst: as soon as nothing is owed.
        assert_eq!(quota.wait(0, quota.cost(5)), 0);
        assert_eq!(quota.wait(1, quota.cost(5)), 1);
    }

    #[test]
    fn octets_cost_less_than_a_microsecond() {
        let quota = Quota::new(Rate { count: 1 << 30, period: 60_000_000, burst: 1 << 30 }, 1);
        assert_eq!(quota.cost(1 << 29), 30_000_000);
        assert_eq!(quota.wait(60_000_000, quota.cost(1)), 1);
        assert_eq!(quota.units(30_000_000), 1 << 29);
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_burst_and_rate(
            count in 1_u64..1000, period in 1_000_u64..100_000_000, burst in 1_u64..50,
            mut arrivals in prop::collection::vec(0_u64..200_000_000, 1..300),
        ) {
            arrivals.sort_unstable();
            let quota = Quota::new(Rate { count, period, burst }, 1);
            let through = admitted(&quota, &arrivals);
            for (first, from) in through.iter().enumerate() {
                for (last, until) in through.iter().enumerate().skip(first) {
                    let most = u128::from(burst) + u128::from(until - from) * u128::from(count) / u128::from(period);
                    prop_assert!(((last - first + 1) as u128) <= most);
                }
            }
        }
    }
}
