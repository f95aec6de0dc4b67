//! A ticket is one that was sealed here, to the last octet, or none.

use std::sync::Arc;

use mailmoat_native::machine::tls::{Clock, TicketSecret, Tickets};

const ROTATION: u64 = 3600;

pub fn check(input: &[u8]) {
    let (choices, octets) = input.split_at(input.len().min(4));
    let [at, mask, later, policy] = std::array::from_fn(|index| choices.get(index).copied().unwrap_or_default());
    let clock = Arc::new(Clock::new(100 * ROTATION));
    let first = TicketSecret { secret: [policy; 32], epoch: 99, rotation: ROTATION };
    let tickets = Tickets::new(Arc::clone(&clock), &first, &[policy]);
    assert_eq!(tickets.open(octets), None);
    let Some(mut ticket) = tickets.seal(octets) else { return assert!(octets.len() > 4096) };
    assert_eq!(tickets.open(&ticket).as_deref(), Some(octets));
    let others = Tickets::new(Arc::clone(&clock), &first, b"another policy");
    assert_eq!(others.open(&ticket), None);
    clock.set((100 + u64::from(later)) * ROTATION);
    assert_eq!(tickets.open(&ticket).is_some(), later < 2);
    clock.set(100 * ROTATION);
    let same = Tickets::new(clock, &first, &[policy]);
    assert_eq!(same.open(&ticket).as_deref(), Some(octets));
    let place = usize::from(at) % ticket.len();
    ticket[place] ^= mask;
    assert_eq!(same.open(&ticket).is_some(), mask == 0);
}
