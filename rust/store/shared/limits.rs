//! Limits on what a source may do in a time: each class has a rate, and an address spends of it in every prefix that it is in.
//!
//! The smallest prefix has the rate itself, the next three times as much, the largest nine times: one client of many does not close its
//! network, and many in one network do not get their number times the rate. What is refused is not spent, so a client that goes on
//! asking waits no longer for it.

use std::cmp::Reverse;
use std::net::IpAddr;

use super::cells::{Cell, Key, Places};
use super::gcra::{Quota, Rate};
use super::region::Shared;
use crate::machine::prefix::{LEVELS, Prefix};

/// How many times the rate of one source each larger prefix has.
pub const FACTORS: [u64; LEVELS] = [1, 3, 9];

/// What is limited, by its number.
pub type Class = u8;

/// The rates of one process.
#[derive(Debug)]
pub struct Limits {
    quotas: Vec<Option<[Quota; LEVELS]>>,
}

/// What a prefix has spent of a class.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Of what.
    pub class: Class,
    /// Who.
    pub prefix: Prefix,
    /// Units spent now.
    pub used: u64,
    /// Units that may be.
    pub burst: u64,
    /// Microseconds until another unit may be spent; 0 when it may now.
    pub wait: u64,
    /// Microseconds until nothing is spent.
    pub rest: u64,
    /// Units spent since the prefix was last at rest and forgotten.
    pub spent: u64,
}

impl Limits {
    /// By the number of their class; None is off.
    pub fn new(rates: Vec<Option<Rate>>) -> Self {
        let quotas = |rate: Option<Rate>| rate.map(|rate| FACTORS.map(|factor| Quota::new(rate, factor)));
        Self { quotas: rates.into_iter().map(quotas).collect() }
    }

    /// Lowers debts that are above the burst, as those are that were made at a lower rate, to the burst.
    ///
    /// Once, when a process begins to use its rates, and not at each look: what is charged after it happened may come to more than a
    /// burst, and would otherwise be forgiven.
    pub fn lower_debts(&self, shared: &Shared, now: u64) {
        shared.lower_debts(now, |class, prefix| Some(self.of(class)?.get(prefix.level()?)?.tolerance()));
    }

    /// Spends so many units at a monotonic microsecond, if all prefixes of the address have them; else gives the microseconds until
    /// they do, and nothing is spent.
    pub fn spend(&self, shared: &Shared, class: Class, address: IpAddr, now: u64, units: u64) -> u64 {
        let Some(quotas) = self.of(class) else { return 0 };
        let levels = levels(shared, quotas, class, address, now);
        let seen = levels.each_ref().map(|level| level.as_ref().and_then(|(_, places)| places.find()));
        let spent = || levels.iter().zip(seen).filter_map(|(level, seen)| level.as_ref().map(|level| (level, seen)));
        let waits = spent().map(|((quota, places), seen)| quota.wait(places.debt_of(seen), quota.cost(units)));
        if let Some(wait) = waits.max().filter(|wait| *wait > 0) {
            return wait;
        }
        for (done, ((quota, places), seen)) in spent().enumerate() {
            let cost = quota.cost(units);
            if !places.charge_seen(seen, cost, units, |debt| quota.wait(debt, cost) == 0) {
                levels.iter().flatten().take(done).for_each(|(quota, places)| places.give_back(quota.cost(units)));
                return quota.wait(places.debt(), cost).max(1);
            }
        }
        0
    }

    /// Spends what has happened already, whether there is enough or not.
    pub fn charge(&self, shared: &Shared, class: Class, address: IpAddr, now: u64, units: u64) {
        let Some(quotas) = self.of(class) else { return };
        for (quota, places) in levels(shared, quotas, class, address, now).iter().flatten() {
            places.charge(quota.cost(units), units, |_| true);
        }
    }

    /// Microseconds until an address may spend one unit; 0 when it may now.
    pub fn wait(&self, shared: &Shared, class: Class, address: IpAddr, now: u64) -> u64 {
        let Some(quotas) = self.of(class) else { return 0 };
        let levels = levels(shared, quotas, class, address, now);
        levels.iter().flatten().map(|(quota, places)| quota.wait(places.debt(), quota.cost(1))).max().unwrap_or(0)
    }

    /// Looks at the classes of the set `waits` and spends one unit of each class of `spends` (bit `1 << class`), in their order; the first
    /// that an address has to wait for ends it, and is given with the microseconds.
    pub fn take(&self, shared: &Shared, waits: u32, spends: u32, address: IpAddr, now: u64) -> Option<(Class, u64)> {
        let classes = |set: u32| (0..32).filter(move |class: &Class| set & 1 << class != 0);
        let waiting = classes(waits).map(|class| (class, self.wait(shared, class, address, now)));
        let spending = classes(spends).map(|class| (class, self.spend(shared, class, address, now, 1)));
        waiting.chain(spending).find(|(_, wait)| *wait > 0)
    }

    /// Who is not at rest, in this prefix or around it: `most` of them, who waits longest first, and how many more there are.
    pub fn show(&self, shared: &Shared, of: Option<Prefix>, now: u64, most: usize) -> (Vec<Standing>, usize) {
        let wanted = |prefix: Prefix| of.is_none_or(|of| of.overlaps(prefix));
        let cells = shared.cells_in_debt(now);
        let found = cells.into_iter().filter(|cell| wanted(cell.prefix)).filter_map(|cell| self.standing(cell));
        let order = |one: &Standing| (Reverse((one.wait, one.rest)), one.class, one.prefix);
        first_by_key(found.collect(), most, order)
    }

    fn standing(&self, cell: Cell) -> Option<Standing> {
        let quota = self.of(cell.class)?.get(cell.prefix.level()?)?;
        Some(Standing {
            class: cell.class,
            prefix: cell.prefix,
            used: quota.units(cell.debt),
            burst: quota.burst(),
            wait: quota.wait(cell.debt, quota.cost(1)),
            rest: cell.debt,
            spent: cell.spent,
        })
    }

    fn of(&self, class: Class) -> Option<&[Quota; LEVELS]> {
        self.quotas.get(usize::from(class))?.as_ref()
    }
}

/// The first `most` by a key, in its order, and how many more there are: all of a full table are not worth sorting.
pub fn first_by_key<T, K: Ord>(mut all: Vec<T>, most: usize, key: impl Fn(&T) -> K) -> (Vec<T>, usize) {
    let left_out = all.len().saturating_sub(most);
    if left_out > 0 {
        all.select_nth_unstable_by_key(most, &key);
        all.truncate(most);
    }
    all.sort_unstable_by_key(key);
    (all, left_out)
}

/// The prefixes of an address, each with its quota, the smallest first.
fn levels<'a>(
    shared: &'a Shared,
    quotas: &'a [Quota; LEVELS],
    class: Class,
    address: IpAddr,
    now: u64,
) -> [Option<(&'a Quota, Places<'a>)>; LEVELS] {
    let mut prefixes = Prefix::of(address).nested();
    quotas.each_ref().map(|quota| {
        let prefix = prefixes.next()?;
        Some((quota, shared.cell_places(Key::new(class, prefix), now)))
    })
}
