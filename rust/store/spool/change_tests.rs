//! What is found damaged, and what an operator changes.

use std::fs;
use std::sync::Arc;

use super::partition_dir::path_of;
use super::tests::{empty, insert, load, message, message_with, news, next, outcome, settled, tamper, with_message};
use super::*;
use crate::machine::message::content::Octets;
use crate::machine::message::{Outcome, State};

fn change(partition: &Partition<u64>, queue_id: &str, change: Change) -> Result<(), Failure> {
    partition.change(Some(3), queue_id, change).unwrap();
    news(partition, 1).remove(0).result.map(|_| ())
}

fn due(partition: &Partition<u64>) -> Vec<(i64, i64)> {
    partition.schedule_page(-1, 100).unwrap().into_iter().map(|group| (group.sequence, group.next.due)).collect()
}

fn damaged(result: Result<Option<Arc<Message>>, Failure>) -> String {
    let Err(Failure::Damaged(text)) = result else { panic!("{result:?}") };
    text
}

#[test]
fn changed_octets_are_found_in_each_place_they_can_be() {
    let (spool, partition) = empty();
    let sent: Vec<_> = (0..5).map(|_| message(&partition)).collect();
    let file = message_with(partition.next_queue_id(), Octets::Memory(vec![b'x'; 300_000]));
    for one in sent.iter().chain([&file]) {
        insert(&partition, one);
    }
    let tag = partition.tag().to_owned();
    drop(partition);
    tamper(
        &spool,
        &tag,
        "UPDATE content SET octets=CAST('Subject: y' || substr(octets, 11) AS BLOB) WHERE seq=1;
         UPDATE content SET trace=CAST('Received: hera' || x'0d0a' AS BLOB) WHERE seq=2;
         DELETE FROM content WHERE seq=3;
         UPDATE message SET checksum=checksum+1 WHERE seq=4;",
    );
    let path = path_of(&spool.0, &tag).join("content/6");
    let adopted = spool.adopt().unwrap().unwrap();
    for one in sent.iter().take(4) {
        damaged(load(&adopted, &one.queue_id));
    }
    assert!(load(&adopted, &sent[4].queue_id).unwrap().is_some());
    assert!(load(&adopted, &file.queue_id).unwrap().is_some());
    for (octets, why) in [(vec![b'y'; 300_000], "changed"), (vec![b'x'; 299_999], "299999 octets in place of 300000")] {
        fs::write(&path, octets).unwrap();
        let text = damaged(load(&adopted, &file.queue_id));
        assert!(text.contains(why), "{text}");
    }
    fs::remove_file(&path).unwrap();
    assert!(damaged(load(&adopted, &file.queue_id)).contains("cannot be read"));
    assert!(adopted.healthy());
    assert_eq!(adopted.len(), 6, "nothing is removed for it");
}

#[test]
fn a_received_file_is_verified_by_the_sum_that_was_made_while_it_came() {
    let (spool, partition) = empty();
    let mut body = &vec![b'z'; 400_000][..];
    let file = crate::store::content::ContentFile::copied(partition.incoming(), &mut body, 400_000).unwrap();
    let sent = message_with(partition.next_queue_id(), Octets::File(Box::new(file)));
    insert(&partition, &sent);
    assert!(load(&partition, &sent.queue_id).unwrap().is_some());
    let path = path_of(&spool.0, partition.tag()).join("content/1");
    let mut octets = fs::read(&path).unwrap();
    octets[200_000] ^= 1;
    fs::write(&path, octets).unwrap();
    damaged(load(&partition, &sent.queue_id));
}

#[test]
fn a_held_message_is_in_no_schedule_until_it_is_released() {
    let (spool, partition) = empty();
    let (one, other) = (message(&partition), message(&partition));
    insert(&partition, &one);
    insert(&partition, &other);
    change(&partition, &one.queue_id, Change::Hold(Held::Operator)).unwrap();
    assert_eq!(due(&partition).iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [2]);
    // Who learned of it before it was held gets none to deliver.
    let refused = load(&partition, &one.queue_id).unwrap_err();
    assert_eq!(refused.to_string(), "no such message to deliver: it is held");
    drop(partition);
    let adopted = spool.adopt().unwrap().unwrap();
    assert_eq!((due(&adopted).len(), adopted.len()), (1, 2));
    change(&adopted, &one.queue_id, Change::Release).unwrap();
    assert_eq!(due(&adopted).len(), 2);
    assert!(load(&adopted, &one.queue_id).unwrap().is_some());
}

#[test]
fn a_message_goes_with_the_last_of_its_open_recipients_and_not_before() {
    let (_spool, partition) = empty();
    let (sent, other) = (message(&partition), message(&partition));
    insert(&partition, &sent);
    insert(&partition, &other);
    let end = |places: &[u32]| {
        let delivered = |index: &u32| Outcome { index: *index, state: State::Delivered, reply: "250 ok".to_owned() };
        let next = Next { due: 7, attempts: 1, next_hop: String::new() };
        let outcomes = places.iter().map(delivered).collect();
        let settlement = Settlement { outcomes, next, attempt: None, reported: Vec::new() };
        partition.end(&sent.queue_id, settlement).unwrap();
        load(&partition, &sent.queue_id)
    };
    assert_eq!(end(&[]).unwrap().unwrap().envelope.recipients, sent.envelope.recipients);
    let left = end(&[1]).unwrap().unwrap();
    let states = left.envelope.recipients.iter().map(|one| one.state).collect::<Vec<_>>();
    assert_eq!(states, [State::Pending, State::Delivered]);
    assert_eq!(partition.len(), 2);
    assert!(end(&[0]).is_err());
    assert_eq!(partition.len(), 1);
    assert!(end(&[0]).is_err(), "once more it is nothing");
    assert_eq!(partition.len(), 1);
}

#[test]
fn a_message_is_set_aside_at_the_second_crash_and_starts_anew_when_released() {
    let (spool, partition, sent) = with_message();
    assert_eq!(partition.crashed(&sent.queue_id).unwrap(), 1);
    assert_eq!(partition.schedule_page(-1, 9).unwrap()[0].crashes, 1);
    assert_eq!(partition.crashed(&sent.queue_id).unwrap(), 2);
    assert!(due(&partition).is_empty());
    let (_, shown) = show(&spool.0, &sent.queue_id).unwrap().unwrap();
    assert_eq!((shown.status, shown.crashes), (Status::Crashed, 2));
    change(&partition, &sent.queue_id, Change::Release).unwrap();
    assert_eq!(partition.crashed(&sent.queue_id).unwrap(), 1);
    assert_eq!(due(&partition).len(), 1);
    assert_eq!(partition.crashed(&partition.next_queue_id()).unwrap(), 0);
}

#[test]
fn what_an_operator_held_stays_held_by_the_operator() {
    let (spool, partition, sent) = with_message();
    change(&partition, &sent.queue_id, Change::Hold(Held::Operator)).unwrap();
    for _ in 0..3 {
        partition.crashed(&sent.queue_id).unwrap();
    }
    let (_, shown) = show(&spool.0, &sent.queue_id).unwrap().unwrap();
    assert_eq!((shown.status, shown.crashes), (Status::Held, 3));
}

#[test]
fn retry_changes_the_time_of_open_recipients_and_fail_the_state_of_pending_ones() {
    let (_spool, partition, sent) = with_message();
    let delivered = settled(vec![outcome(0, State::Delivered, "250 ok")], next(5, 1, "hop"));
    partition.settle(None, &sent.queue_id, delivered).unwrap();
    change(&partition, &sent.queue_id, Change::Retry { due: 77 }).unwrap();
    assert_eq!(due(&partition), [(1, 77)]);
    change(&partition, &sent.queue_id, Change::Fail { reply: "554 5.7.1 no".to_owned(), due: 78 }).unwrap();
    let got = load(&partition, &sent.queue_id).unwrap().unwrap();
    let fates: Vec<_> =
        got.envelope.recipients.iter().map(|one| (one.state, one.reply.as_str(), one.due, one.attempts)).collect();
    assert_eq!(fates, [(State::Delivered, "250 ok", 5, 1), (State::Failed, "554 5.7.1 no", 78, 0)]);
}

#[test]
fn a_held_message_that_fails_is_reported() {
    let (_spool, partition, sent) = with_message();
    change(&partition, &sent.queue_id, Change::Hold(Held::Operator)).unwrap();
    assert_eq!(due(&partition), []);
    change(&partition, &sent.queue_id, Change::Fail { reply: "554 5.7.1 no".to_owned(), due: 78 }).unwrap();
    assert_eq!(due(&partition), [(1, 78)], "in one change, so that nothing can come between");
}

#[test]
fn a_redirected_message_goes_to_others_and_what_was_delivered_is_not_sent_again() {
    let (_spool, partition, sent) = with_message();
    let delivered = settled(vec![outcome(0, State::Delivered, "250 ok")], next(5, 1, "hop"));
    partition.settle(None, &sent.queue_id, delivered).unwrap();
    let to = |to| Change::Redirect { to, due: 9 };
    let others = ["new@else.test".to_owned(), "newer@else.test".to_owned()];
    change(&partition, &sent.queue_id, to(Redirection::Recipients(others.to_vec()))).unwrap();
    let got = load(&partition, &sent.queue_id).unwrap().unwrap();
    let open: Vec<_> = got.envelope.recipients.iter().filter(|one| one.state == State::Pending).collect();
    assert_eq!(open.iter().map(|one| one.address.as_str()).collect::<Vec<_>>(), others);
    assert!(open.iter().all(|one| one.due == 9 && one.attempts == 0));
    assert_eq!(got.envelope.recipients.len(), 4);
    assert_eq!(got.envelope.recipients[0].reply, "250 ok");
    change(&partition, &sent.queue_id, to(Redirection::NextHop("smtp://other:25".to_owned()))).unwrap();
    let got = load(&partition, &sent.queue_id).unwrap().unwrap();
    let fixed: Vec<_> = got.envelope.recipients.iter().map(|one| one.next_hop_fixed.as_str()).collect();
    assert_eq!(fixed, ["", "", "smtp://other:25", "smtp://other:25"]);
}

#[test]
fn changes_of_a_message_that_is_not_there_are_refused_by_name() {
    let (_spool, partition) = empty();
    let gone = partition.next_queue_id();
    let to = Redirection::NextHop(String::new());
    for one in [
        Change::Hold(Held::Operator),
        Change::Release,
        Change::Retry { due: 1 },
        Change::Fail { reply: String::new(), due: 1 },
        Change::Redirect { to, due: 1 },
        Change::Redirect { to: Redirection::Recipients(vec!["a@b.test".to_owned()]), due: 1 },
    ] {
        let refused = change(&partition, &gone, one).unwrap_err();
        assert!(refused.to_string().starts_with("no such message"), "{refused}");
    }
    partition.remove(Some(4), &gone).unwrap();
    assert!(matches!(news(&partition, 1).remove(0).result, Err(Failure::Refused(_))));
}

#[test]
fn the_latest_attempts_are_kept_and_go_with_their_message() {
    let (spool, partition) = empty();
    let (sent, gone) = (message(&partition), message(&partition));
    insert(&partition, &sent);
    let defer = |queue_id: &str, number: i64| {
        let attempt =
            Some(AttemptRow { at: number, next_hop: "smtp://hop:25".to_owned(), peer: "192.0.2.1:25".to_owned() });
        let outcomes = vec![outcome(0, State::Pending, "451 a"), outcome(1, State::Pending, &format!("450 {number}"))];
        let settlement =
            Settlement { attempt, reported: vec![1], ..settled(outcomes, next(number, 1, "smtp://hop:25")) };
        partition.settle(None, queue_id, settlement).unwrap();
    };
    for number in 1..=25 {
        defer(&sent.queue_id, number);
    }
    defer(&gone.queue_id, 1);
    let loaded = load(&partition, &sent.queue_id).unwrap().unwrap();
    let reported: Vec<bool> = loaded.envelope.recipients.iter().map(|one| one.reported).collect();
    assert_eq!(reported, [false, true]);
    let (_, shown) = show(&spool.0, &sent.queue_id).unwrap().unwrap();
    let numbers: Vec<i64> = shown.attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (6..=25).collect::<Vec<_>>());
    let last = shown.attempts.last().unwrap();
    assert_eq!((last.row.at, last.row.peer.as_str()), (25, "192.0.2.1:25"));
    assert_eq!(last.outcomes, [outcome(0, State::Pending, "451 a"), outcome(1, State::Pending, "450 25")]);
    let tag = partition.tag().to_owned();
    let rows = || {
        let path = path_of(&spool.0, &tag).join("queue.db");
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.query_row("SELECT count(*) FROM attempt", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(rows(), 20, "a message that is gone has none");
    drop(partition);
    let adopted = spool.adopt().unwrap().unwrap();
    adopted.remove(Some(1), &sent.queue_id).unwrap();
    news(&adopted, 1);
    assert_eq!(rows(), 0);
}

#[test]
fn a_message_goes_although_its_octets_cannot_be_deleted() {
    let (spool, partition) = empty();
    let sent: Vec<_> = (0..3).map(|_| message(&partition)).collect();
    for one in &sent {
        insert(&partition, one);
    }
    let path = path_of(&spool.0, partition.tag()).join("queue.db");
    drop(partition);
    let root: u64 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name='content'", [], |row| row.get::<_, i64>(0))
        .unwrap()
        .cast_unsigned();
    let mut database = fs::read(&path).unwrap();
    let page = usize::try_from(root - 1).unwrap() * 4096;
    database[page..page + 4096].fill(0xff);
    fs::write(&path, database).unwrap();
    let adopted = spool.adopt().unwrap().unwrap();
    damaged(load(&adopted, &sent[0].queue_id));
    for one in &sent {
        adopted.remove(Some(5), &one.queue_id).unwrap();
    }
    assert!(news(&adopted, 3).iter().all(|one| one.result.is_ok()));
    assert!(adopted.is_empty());
    adopted.close().unwrap();
    assert_eq!(spool.entries("partitions"), [""; 0]);
}
