//! From schema 1 to schema 2, in one transaction: after a crash the queue has the one or the other, whole.
//!
//! Due time and attempts of a message become those of each of its recipients. What schema 1 did not have is empty: parameters
//! but SMTPUTF8, next hops, and authentication results, so that a bounce of such a message gives back its header section alone.
//! Contents and content files stay where they are. While it runs the log takes the rows once more.
#![forbid(unsafe_code)]

use rusqlite::{Connection, TransactionBehavior};

use super::schema::TABLES;

const OLD: &str = "
ALTER TABLE message RENAME TO message_1;
ALTER TABLE recipient RENAME TO recipient_1;
";

const COPY: &str = "
INSERT INTO message
  SELECT seq, arrival, reverse_path, iif(smtputf8, 'SMTPUTF8', ''),
    trim(iif(session_id='', '', 'SESSION='||session_id) || iif(client='', '', ' CLIENT='||client)),
    '', eight_bit, size, trace, file FROM message_1 ORDER BY seq;
INSERT INTO recipient
  SELECT seq, n, address, '', state, reply, due, attempts, '' FROM recipient_1 JOIN message_1 USING(seq) ORDER BY seq, n;
DROP TABLE recipient_1;
DROP TABLE message_1;
";

/// Turns the queue of schema 1 behind `connection` into one of schema 2.
pub fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for part in [OLD, TABLES, COPY] {
        transaction.execute_batch(part)?;
    }
    transaction.commit()
}
