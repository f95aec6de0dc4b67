//! The memory all processes of one server share: metrics, held sessions, connections per source, limits, incidents, records of
//! sources, budgets of reports.
//!
//! Made before fork, inherited by every child, gone with the last of them. There is one *slot* per worker and one more, the
//! last, for the supervisor. Promises: everything is an atomic cell, so no process waits for another and none can leave a lock
//! behind when it dies; every access is checked against the bounds; a dead worker's share can be given back by a living process.
//!
//! What one slot writes another reads at any moment: a sum over slots is a snapshot that may be one off, never torn in a cell.

mod budgets;
mod cells;
mod connections;
mod flood;
mod gcra;
mod harvest;
mod holds;
mod incidents;
mod keyed_hash;
#[cfg(test)]
mod limit_tests;
mod limits;
mod metrics;
mod next_hops;
mod notes;
#[allow(unsafe_code)] // memory shared between processes
mod region;
mod reputation;
#[cfg(test)]
mod reputation_tests;
mod source;
#[cfg(test)]
mod tests;

pub use budgets::{BUDGETS, Budgets, Report};
pub use connections::{Counts, PROBES};
pub use flood::Flood;
pub use gcra::Rate;
pub use harvest::{Guess, Guessed, Harvest, Scope};
pub use incidents::Incident;
pub use limits::{Class, Limits, Standing, first_by_key};
pub use next_hops::AtNextHop;
pub use notes::Suspicion;
pub use region::{OutOfRange, Shared};
pub use reputation::Record;
pub use source::Source;
