//! How many steps lead from alias to alias. Who may edit one input neither holds up the others nor fills the disk.
#![forbid(unsafe_code)]

use std::collections::HashMap;

/// Most of them from the aliases of one input to those of one input. A few hundred aliases that each lead to all others make millions.
pub(super) const MOST_STEPS: u64 = if cfg!(test) { 50_000 } else { 5_000_000 };

/// The targets of aliases that were followed because others lead to them: each is a look-up, and may be one more target in the snapshot.
#[derive(Default)]
pub(super) struct Steps {
    /// By the input of the first alias and that of the followed one: so an input spends what is its own, whichever others it leads to or is led to by.
    taken: HashMap<(u8, u8), u64>,
}

impl Steps {
    /// Takes so many of them; whether there were as many.
    pub fn take(&mut self, from: u8, to: u8, targets: usize) -> bool {
        let taken = self.taken.entry((from, to)).or_default();
        *taken = taken.saturating_add(targets as u64);
        *taken <= MOST_STEPS
    }

    /// Whether at least half is left of all. Where it is of a snapshot and of the changes upon it, none could have been missing in both together.
    pub fn leave_half(&self) -> bool {
        self.taken.values().all(|taken| *taken <= MOST_STEPS / 2)
    }
}
