//! From schema 1 or 2 to schema 3, in one transaction: after a crash the queue has the one or the other, whole.
//!
//! The trace moves from the message to its content. Of schema 1, due time and attempts of a message become those of each of its
//! recipients, and what it did not have is empty: parameters but SMTPUTF8, next hops, and authentication results, so that a bounce of such a
//! message gives back its header section alone. Messages of both have no checksum. Content files stay where they are; what is in the
//! database is written once more, into the log and from there into the database, so that the disk has to have room for it.
#![forbid(unsafe_code)]

use rusqlite::{Connection, TransactionBehavior};

use super::schema::{Schema, TABLES};

const OLD: &str = "
ALTER TABLE message RENAME TO message_old;
ALTER TABLE recipient RENAME TO recipient_old;
ALTER TABLE content RENAME TO content_old;
";

const ENVELOPES_1: &str = "
INSERT INTO message
  SELECT seq, arrival, reverse_path, iif(smtputf8, 'SMTPUTF8', ''),
    trim(iif(session_id='', '', 'SESSION='||session_id) || iif(client='', '', ' CLIENT='||client)),
    '', eight_bit, size, file, NULL, 0, 0 FROM message_old ORDER BY seq;
INSERT INTO recipient
  SELECT seq, n, address, '', state, reply, due, attempts, '', '', 0 FROM recipient_old JOIN message_old USING(seq)
  ORDER BY seq, n;
";

const ENVELOPES_2: &str = "
INSERT INTO message
  SELECT seq, arrival, reverse_path, parameters, origin, results, eight_bit, size, file, NULL, 0, 0 FROM message_old
  ORDER BY seq;
INSERT INTO recipient
  SELECT seq, n, address, parameters, state, reply, due, attempts, next_hop, '', 0 FROM recipient_old ORDER BY seq, n;
";

const CONTENTS: &str = "
INSERT INTO content SELECT seq, trace, octets FROM message_old LEFT JOIN content_old USING(seq) ORDER BY seq;
DROP TABLE content_old;
DROP TABLE recipient_old;
DROP TABLE message_old;
";

/// Turns the queue of an older schema behind `connection` into one of schema 3.
pub fn migrate(connection: &mut Connection, schema: Schema) -> rusqlite::Result<()> {
    let envelopes = match schema {
        Schema::One => ENVELOPES_1,
        Schema::Two => ENVELOPES_2,
        Schema::Three => return Ok(()),
    };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for part in [OLD, TABLES, envelopes, CONTENTS] {
        transaction.execute_batch(part)?;
    }
    transaction.commit()
}
