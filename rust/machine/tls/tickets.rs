//! Session tickets that every worker can open: keys that follow from one secret and the time.
//!
//! Time is cut into epochs of one rotation each, numbered from 1970 on. `K(e + 1) = HMAC-SHA-256(K(e), "next")`, and tickets of epoch
//! `e` are sealed with `HMAC-SHA-256(K(e), "ticket" | policy)`. Whoever has the secret of one epoch steps on by itself, so processes
//! that were forked share nothing and ask nobody. The current epoch seals; it and the one before open. Older secrets are overwritten: tickets
//! of these epochs stay closed to whoever gets hold of the process later. The policy is in the key, so a ticket of one listener is nothing to
//! another with other rules.
//!
//! A ticket is epoch (8 octets) | nonce (12) | AES-256-GCM, with the epoch as associated data (RFC 5077 4, RFC 8446 4.6.1).
//!
//! rustls asks for keys through a shared reference, and here there are no locks: a reader that meets a step in progress goes without a
//! key, which costs that client one full handshake.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use rustls::server::ProducesTickets;

use super::clock::Clock;

const KEY: usize = 32;
const EPOCH: usize = 8;
const PREFIX: usize = EPOCH + NONCE_LEN;
/// A ticket holds a client's certificates at most, and those of clients that have some are not resumed.
const LONGEST: usize = 4096;
/// Epochs that are stepped through one by one. After a longer gap no ticket is valid any more, and the chain jumps.
const GAP: u64 = 4096;
/// The longest lifetime that may be said (RFC 8446 4.6.1), seconds.
const LIFETIME: u64 = 604_800;

type Secret = [u8; KEY];

/// A secret and the epoch that it is of.
#[derive(Clone)]
pub struct TicketSecret {
    /// `K(epoch)`.
    pub secret: [u8; 32],
    /// Number of the epoch.
    pub epoch: u64,
    /// Seconds of an epoch.
    pub rotation: u64,
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketSecret")
            .field("epoch", &self.epoch)
            .field("rotation", &self.rotation)
            .finish_non_exhaustive()
    }
}

/// Seals and opens tickets.
pub struct Tickets {
    clock: Arc<Clock>,
    rotation: u64,
    policy: Box<[u8]>,
    /// Odd while a step is in progress.
    turn: AtomicU64,
    epoch: AtomicU64,
    secret: Kept,
    current: Kept,
    previous: Kept,
}

impl Tickets {
    /// Of a listener with this policy.
    pub fn new(clock: Arc<Clock>, first: &TicketSecret, policy: &[u8]) -> Self {
        let tickets = Self {
            clock,
            rotation: first.rotation.max(1),
            policy: policy.into(),
            turn: AtomicU64::new(0),
            epoch: AtomicU64::new(first.epoch),
            secret: Kept::default(),
            current: Kept::default(),
            previous: Kept::default(),
        };
        tickets.secret.set(&first.secret);
        tickets.current.set(&tickets.sealing(&first.secret));
        // Nobody has the key of the epoch before: it is no secret of ours, but a random one.
        let mut unknown = [0; KEY];
        if rand::fill(&mut unknown).is_ok() {
            tickets.previous.set(&unknown);
        }
        tickets.step();
        tickets
    }

    /// Steps on to the epoch of the time.
    fn step(&self) {
        let (due, known) = (self.clock.now() / self.rotation, self.epoch.load(Ordering::Acquire));
        if due <= known {
            return;
        }
        let turn = self.turn.load(Ordering::Acquire);
        let begun = self.turn.compare_exchange(turn & !1, turn | 1, Ordering::AcqRel, Ordering::Relaxed);
        if begun.is_err() {
            return;
        }
        fence(Ordering::Release);
        let mut secret = self.secret.get();
        if due - known > GAP {
            secret = derived(&secret, &[b"jump", &due.to_be_bytes()]);
            self.previous.set(&derived(&secret, &[b"none"]));
        } else {
            for _ in known..due {
                self.previous.set(&self.sealing(&secret));
                secret = derived(&secret, &[b"next"]);
            }
        }
        self.secret.set(&secret);
        self.current.set(&self.sealing(&secret));
        wipe(&mut secret);
        self.epoch.store(due, Ordering::Release);
        self.turn.store((turn | 1).wrapping_add(1), Ordering::Release);
    }

    fn sealing(&self, secret: &Secret) -> Secret {
        derived(secret, &[b"ticket", &self.policy])
    }

    /// The current epoch, and the key of `wanted` or, without one, of the current epoch.
    fn key(&self, wanted: Option<u64>) -> Option<(u64, LessSafeKey)> {
        self.step();
        let turn = self.turn.load(Ordering::Acquire);
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut key = match wanted {
            None => self.current.get(),
            Some(wanted) if wanted == epoch => self.current.get(),
            Some(wanted) if Some(wanted) == epoch.checked_sub(1) => self.previous.get(),
            Some(_) => return None,
        };
        fence(Ordering::Acquire);
        let whole = turn & 1 == 0 && self.turn.load(Ordering::Relaxed) == turn;
        let made = UnboundKey::new(&AES_256_GCM, &key).ok().map(LessSafeKey::new);
        wipe(&mut key);
        made.filter(|_| whole).map(|made| (epoch, made))
    }
}

impl Tickets {
    /// Makes a ticket of what is to be kept; None when it is too long.
    pub fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.len() > LONGEST {
            return None;
        }
        let (epoch, key) = self.key(None)?;
        let epoch = epoch.to_be_bytes();
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(epoch), &mut sealed).ok()?;
        Some([&epoch[..], &nonce, &sealed].concat())
    }

    /// What a ticket holds; None when it is none of ours, or its time is over.
    pub fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > LONGEST + PREFIX + AES_256_GCM.tag_len() {
            return None;
        }
        let (epoch, rest) = ticket.split_first_chunk::<EPOCH>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (_, key) = self.key(Some(u64::from_be_bytes(*epoch)))?;
        let mut octets = sealed.to_vec();
        let plain = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(*epoch), &mut octets).ok()?.len();
        octets.truncate(plain);
        Some(octets)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.rotation.min(LIFETIME)).unwrap_or_default()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

fn derived(secret: &Secret, parts: &[&[u8]]) -> Secret {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    for part in parts {
        context.update(part);
    }
    let mut next = [0; KEY];
    next.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
    next
}

fn wipe(secret: &mut Secret) {
    secret.fill(0);
    black_box(secret);
}

/// A secret that is replaced in place.
#[derive(Default)]
struct Kept([AtomicU64; KEY / 8]);

impl Kept {
    fn set(&self, secret: &Secret) {
        let words = secret.chunks_exact(8).filter_map(|word| word.first_chunk());
        for (kept, word) in self.0.iter().zip(words) {
            kept.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
    }

    fn get(&self) -> Secret {
        let mut secret = [0; KEY];
        for (kept, word) in self.0.iter().zip(secret.chunks_exact_mut(8)) {
            word.copy_from_slice(&kept.load(Ordering::Relaxed).to_ne_bytes());
        }
        secret
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.set(&[0; KEY]);
    }
}
