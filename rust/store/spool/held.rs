//! Why a message is held: it is in no schedule until an operator releases it.
#![forbid(unsafe_code)]

/// Who set a message aside. The spool stores the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Held {
    /// Nobody: it is delivered.
    No = 0,
    /// An operator.
    Operator = 1,
    /// The server: its workers died twice while they were busy with it.
    Crashed = 2,
    /// The server: what is stored of it is damaged.
    Damaged = 3,
}

impl Held {
    /// The reason with this number; one that is not known, of a damaged row, is damage.
    pub fn numbered(number: i64) -> Self {
        match number {
            0 => Self::No,
            1 => Self::Operator,
            2 => Self::Crashed,
            _ => Self::Damaged,
        }
    }
}
