//! The wheel gives what a sorted list gives.

use std::collections::BTreeMap;

use mailmoat_native::machine::wheel::{Key, Wheel};

pub fn check(input: &[u8]) {
    let (choices, tail) = input.split_at(input.len().min(8));
    let mut start = [0; 8];
    start[..choices.len()].copy_from_slice(choices);
    let mut now = u64::from_le_bytes(start) >> 8; // beyond that no clock goes
    let mut wheel = Wheel::new(now);
    // By deadline and order of coming.
    let mut model: BTreeMap<(u64, u64), Key> = BTreeMap::new();
    let mut keys: Vec<(Key, (u64, u64))> = Vec::new();
    let mut due = Vec::new();
    for (order, step) in (0_u64..).zip(tail.chunks_exact(3)) {
        // 16 bits, moved up to 40: from milliseconds to years.
        let amount = u64::from(u16::from_le_bytes([step[1], step[2]])) << ((step[0] >> 2) % 41);
        match step[0] & 3 {
            0 | 1 => {
                let deadline = if step[0] & 1 == 0 { now + amount } else { now.saturating_sub(amount & 0xFF) };
                let key = wheel.schedule(deadline, (deadline, order));
                assert_ne!(u64::from(key), 0);
                model.insert((deadline, order), key);
                keys.push((key, (deadline, order)));
            }
            2 if !keys.is_empty() => {
                let (key, place) = keys[usize::from(step[1]) % keys.len()];
                let there = model.remove(&place);
                assert_eq!(wheel.cancel(Key::from(u64::from(key))), there.map(|_| place));
            }
            _ => {
                now += amount;
                due.clear();
                wheel.advance(now, &mut due);
                let later = model.split_off(&(now + 1, 0));
                let expected: Vec<_> = std::mem::replace(&mut model, later).into_keys().collect();
                assert_eq!(due, expected);
            }
        }
        assert_eq!(wheel.len(), model.len());
        assert_eq!(wheel.is_empty(), wheel.next_deadline().is_none());
        let first = model.keys().next().map(|(deadline, _)| *deadline);
        assert!(wheel.next_deadline().zip(first).is_none_or(|(told, true_one)| told <= true_one));
    }
    assert_eq!(wheel.values().count(), model.len());
}
