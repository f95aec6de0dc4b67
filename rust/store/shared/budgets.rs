//! Budgets of reports: how many go to one address, to one domain, and in all, in a time. One table for all workers of the host.
//!
//! What unknown senders cause, what verified senders cause and what clients inside cause are three sides with budgets of their own: none spends
//! those of another. A report is spent of all three budgets of its side, or of none. Of senders outside, a report costs its domain the more, the
//! less is free of all: when a half is, four times as much, up to all that it has. So the domains of a flood come to a rate that leaves
//! some of the total free for a domain that has used nothing, unless they are more than about a fifth of it. After a report, further ones
//! to its address can be held for the time of a fold. The cells of the totals have places of their own: no number of addresses displaces them.

use super::cells::{Key, Places, WAYS, WORDS};
use super::flood;
use super::gcra::{Quota, Rate};
use super::region::Shared;

/// Budgets of a side: of an address, of a domain, of all.
const SCOPES: usize = 3;
/// Sides: outside, verified, inside.
pub(super) const SIDES: usize = 3;
/// Those inside send from a few domains: there is nobody to keep something free for.
const INSIDE: usize = 2;
/// Budgets of all sides.
pub const BUDGETS: usize = SIDES * SCOPES;

/// Cells of addresses and domains.
const PLACES: usize = 16_384;
const TABLE: usize = (WAYS + PLACES) * WORDS;
/// Cells of all: those of the totals, the other budgets, and the floods.
pub const CELLS: usize = TABLE + flood::CELLS;

/// The class of the cells that hold further reports.
const FOLD: u8 = 9;
const _: () = assert!(FOLD as usize == BUDGETS);

/// A budget that a report spends.
struct Level<'a> {
    quota: &'a Quota,
    places: Places<'a>,
    cost: u64,
}

impl Level<'_> {
    fn wait(&self) -> u64 {
        self.quota.wait(self.places.debt(), self.cost)
    }
}

/// A report that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// 0: an unknown sender outside, 1: a verified one, 2: inside. Any other is as 2.
    pub side: usize,
    /// To whom, normalised.
    pub address: &'a str,
    /// Its domain.
    pub domain: &'a str,
}

/// The budgets of one process.
#[derive(Debug)]
pub struct Budgets {
    /// Side by side, the address first, then the domain, then all.
    quotas: [Option<Quota>; BUDGETS],
    fold: Option<Quota>,
}

impl Budgets {
    /// In the order of the sides, those of an address, of a domain, of all; None is off. `fold` in microseconds, 0 for off.
    pub fn new(rates: [Option<Rate>; BUDGETS], fold: u64) -> Self {
        let quota = |rate| Quota::new(rate, 1);
        let fold = (fold > 0).then(|| quota(Rate { count: 1, period: fold, burst: 1 }));
        Self { quotas: rates.map(|rate| rate.map(quota)), fold }
    }

    /// Lowers what was spent at other rates to the burst of these.
    pub fn lower_debts(&self, shared: &Shared, now: u64) {
        let table = shared.budget_cells().get(..TABLE).unwrap_or_default();
        let most = |class: u8, _| self.quota(class).map(Quota::tolerance);
        shared.lower_debts_in(table, now, most);
    }

    /// Spends a report at a monotonic microsecond, or gives the budget that has no room, counted from 0 for an address, and the
    /// microseconds until it has.
    pub fn spend(&self, shared: &Shared, report: Report<'_>, now: u64) -> Option<(usize, u64)> {
        if let Some(refused) = self.wait(shared, report, now) {
            return Some(refused);
        }
        let levels = self.levels(shared, report, now);
        for (scope, level) in levels.iter().enumerate() {
            let Some(level) = level else { continue };
            if !level.places.charge(level.cost, 1, |debt| level.quota.wait(debt, level.cost) == 0) {
                levels.iter().take(scope).flatten().for_each(|level| level.places.give_back(level.cost));
                return Some((scope, level.wait().max(1)));
            }
        }
        if let Some(quota) = &self.fold {
            fold_places(shared, report.address, now).charge(quota.cost(1), 1, |debt| debt == 0);
        }
        None
    }

    /// The budget without room that has it last, as `spend` gives it.
    pub fn wait(&self, shared: &Shared, report: Report<'_>, now: u64) -> Option<(usize, u64)> {
        let levels = self.levels(shared, report, now);
        let waits = levels.iter().enumerate().filter_map(|(scope, level)| Some((scope, level.as_ref()?.wait())));
        waits.filter(|(_, wait)| *wait > 0).max_by_key(|(_, wait)| *wait)
    }

    /// Microseconds for which further reports to an address are held; 0 when none went there lately.
    pub fn held(&self, shared: &Shared, address: &str, now: u64) -> u64 {
        if self.fold.is_some() { fold_places(shared, address, now).debt() } else { 0 }
    }

    fn quota(&self, class: u8) -> Option<&Quota> {
        if class == FOLD { self.fold.as_ref() } else { self.quotas.get(usize::from(class))?.as_ref() }
    }

    /// The budgets that a report spends; None for one that is off.
    fn levels<'a>(&'a self, shared: &'a Shared, report: Report<'_>, now: u64) -> [Option<Level<'a>>; SCOPES] {
        let first = report.side.min(SIDES - 1) * SCOPES;
        let of = |scope: usize, subject: &str, units: u64| {
            let class = u8::try_from(first + scope).ok()?;
            let quota = self.quota(class)?;
            let cost = quota.cost(units.min(quota.burst()));
            Some(Level { quota, places: places(shared, class, subject, now), cost })
        };
        let all = of(2, "", 1);
        let price = all.as_ref().filter(|_| report.side < INSIDE).map_or(1, price);
        [of(0, report.address, 1), of(1, report.domain, price), all]
    }
}

/// How many reports one costs its domain: the square of all by what is free of all, so that many domains cannot use up the rest.
fn price(all: &Level<'_>) -> u64 {
    let burst = all.quota.burst();
    let free = burst.saturating_sub(all.quota.units(all.places.debt())).max(1);
    (u128::from(burst) * u128::from(burst) / (u128::from(free) * u128::from(free))).try_into().unwrap_or(u64::MAX)
}

fn fold_places<'a>(shared: &'a Shared, address: &str, now: u64) -> Places<'a> {
    places(shared, FOLD, address, now)
}

/// The places of a budget; an empty subject is all.
fn places<'a>(shared: &'a Shared, class: u8, subject: &str, now: u64) -> Places<'a> {
    let (totals, others) =
        shared.budget_cells().get(..TABLE).unwrap_or_default().split_at_checked(WAYS * WORDS).unwrap_or_default();
    let table = if subject.is_empty() { totals } else { others };
    shared.places_in(table, Key::of_hash(class, shared.text_hash(subject)), now)
}

/// The cells of the floods.
pub(super) fn flood_cells(shared: &Shared) -> &[std::sync::atomic::AtomicU64] {
    shared.budget_cells().get(TABLE..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000;
    const MINUTE: u64 = 60_000_000;

    fn rate(count: u64) -> Rate {
        Rate { count, period: HOUR, burst: count }
    }

    /// Of senders outside, of none that is verified, of clients inside; 0 is off.
    fn rates(outside: [u64; 3], inside: [u64; 3]) -> [Option<Rate>; BUDGETS] {
        let rates = [outside, [0; 3], inside].concat();
        std::array::from_fn(|at| (rates[at] > 0).then(|| rate(rates[at])))
    }

    fn budgets() -> Budgets {
        Budgets::new(rates([2, 5, 8], [20, 0, 100]), 0)
    }

    fn to<'a>(address: &'a str, domain: &'a str) -> Report<'a> {
        Report { side: 0, address, domain }
    }

    #[test]
    fn a_report_is_spent_of_three_budgets_or_of_none() {
        let (shared, budgets) = (Shared::new(1, 1, vec![], 1).unwrap(), budgets());
        let spend = |address: &str, domain: &str| budgets.spend(&shared, to(address, domain), 7);
        assert_eq!([spend("a@x", "x"), spend("a@x", "x")], [None, None]);
        assert_eq!(spend("a@x", "x"), Some((0, HOUR / 2)));
        assert_eq!([spend("b@x", "x"), spend("c@x", "x")], [None, None]);
        assert_eq!(spend("d@x", "x").map(|(scope, _)| scope), Some(1), "its domain has paid double for the last");
        assert_eq!([spend("a@y", "y"), spend("a@z", "z"), spend("a@w", "w"), spend("a@v", "v")], [None; 4]);
        assert_eq!(spend("a@u", "u"), Some((2, HOUR / 8)));
        assert_eq!(budgets.wait(&shared, to("a@u", "u"), 7), Some((2, HOUR / 8)));
        assert_eq!(budgets.wait(&shared, to("a@u", "u"), 7 + HOUR / 8), None);
        // Those inside have theirs, and a domain without a limit.
        let inside = |number: usize| Report { side: 2, address: ["a@x", "b@x"][number % 2], domain: "x" };
        assert_eq!((0..100).filter(|number| budgets.spend(&shared, inside(*number), 7).is_none()).count(), 40);
        assert_eq!(budgets.spend(&shared, Report { side: 1, ..to("a@x", "x") }, 7), None);
    }

    #[test]
    fn some_of_the_total_is_left_for_another_domain() {
        let budgets = Budgets::new(rates([0, 100, 1000], [0; 3]), 0);
        for flooded in [1_usize, 50, 200] {
            let shared = Shared::new(1, 1, vec![], 1).unwrap();
            let domains: Vec<String> = (0..flooded).map(|number| format!("victim{number}")).collect();
            let mut sent = 0;
            for second in 0..3600_usize {
                let now = second as u64 * 1_000_000;
                let victim = |n: usize| to("a@", &domains[(second * 30 + n) % flooded]);
                sent += (0..30).filter(|n| budgets.spend(&shared, victim(*n), now).is_none()).count();
                let other = format!("good{second}");
                if second % 60 == 59 {
                    assert_eq!(budgets.spend(&shared, to("a@", &other), now), None, "{flooded} domains, {second} s");
                }
            }
            assert!(sent <= 2_000, "{sent}");
            assert!(sent >= if flooded == 1 { 150 } else { 1_200 }, "{flooded} domains: {sent}");
        }
    }

    #[test]
    fn an_hour_brings_a_budget_back() {
        let (shared, budgets) = (Shared::new(1, 1, vec![], 1).unwrap(), budgets());
        let minutes = (0..24 * 60).map(|minute| minute * MINUTE);
        let sent = minutes.filter(|now| budgets.spend(&shared, to("a@x", "x"), *now).is_none()).count();
        assert_eq!(sent, 2 + 2 * 24 - 1, "the burst, and two an hour; the last is due with the end of the day");
    }

    #[test]
    fn a_report_holds_those_that_follow() {
        let shared = Shared::new(1, 1, vec![], 1).unwrap();
        let budgets = Budgets::new([None; BUDGETS], MINUTE);
        assert_eq!(budgets.held(&shared, "a@x", 7), 0);
        assert_eq!(budgets.spend(&shared, to("a@x", "x"), 7), None);
        assert_eq!(budgets.held(&shared, "a@x", 7 + MINUTE / 3), MINUTE / 3 * 2);
        assert_eq!(budgets.held(&shared, "b@x", 7), 0);
        assert_eq!(budgets.held(&shared, "a@x", 7 + MINUTE), 0);
    }

    #[test]
    fn many_addresses_do_not_displace_the_total() {
        let shared = Shared::new(1, 1, vec![], 1).unwrap();
        let budgets = Budgets::new(rates([10, 10, 50_000], [0; 3]), MINUTE);
        let names: Vec<String> = (0..100_000).map(|number| format!("u{number}@x")).collect();
        let sent = names.iter().filter(|name| budgets.spend(&shared, to(name, name), 7).is_none()).count();
        assert_eq!(sent, 50_000);
    }

    #[test]
    fn a_debt_of_another_rate_is_lowered_to_the_burst() {
        let shared = Shared::new(1, 1, vec![], 1).unwrap();
        let mut rates = [None; BUDGETS];
        rates[0] = Some(Rate { count: 1, period: 24 * HOUR, burst: 1 });
        let slow = Budgets::new(rates, 0);
        assert_eq!(slow.spend(&shared, to("a@x", "x"), 7), None);
        let quick = budgets();
        assert_eq!(quick.wait(&shared, to("a@x", "x"), 7), Some((0, 24 * HOUR - HOUR / 2)));
        quick.lower_debts(&shared, 7);
        assert_eq!(quick.wait(&shared, to("a@x", "x"), 7), Some((0, HOUR / 2)));
    }
}
