//! What an operator sees of the spool, and takes out of it or puts into it.

use std::collections::HashMap;
use std::fs;

use super::tests::{Spool, insert, listed, load, message, message_with, news, next, outcome, settled};
use super::*;
use crate::machine::message::State;
use crate::machine::message::content::Octets;

/// A spool with two partitions: messages 1 to 3 of the first, 1 of the second; the first is deferred, the second held.
fn filled(spool: &Spool) -> (Vec<String>, [Partition<u64>; 2]) {
    let (one, two) = (spool.create(), spool.create());
    let sent = [message(&one), message(&one), message(&one), message(&two)];
    for (partition, message) in [&one, &one, &one, &two].into_iter().zip(&sent) {
        insert(partition, message);
    }
    let deferred = settled(vec![outcome(0, State::Pending, "451 no")], next(5, 2, "smtp://hop:25"));
    one.settle(Some(1), &sent[0].queue_id, deferred).unwrap();
    one.change(Some(1), &sent[1].queue_id, Change::Hold(Held::Operator)).unwrap();
    news(&one, 2);
    (sent.iter().map(|message| message.queue_id.clone()).collect(), [one, two])
}

fn ids(spool: &Spool, filter: &Filter) -> Vec<String> {
    listed(spool, filter).into_iter().map(|entry| entry.queue_id).collect()
}

#[test]
fn a_filter_finds_messages_in_all_partitions() {
    let spool = Spool::new();
    let (sent, _partitions) = filled(&spool);
    let found = |filter: Filter| -> Vec<usize> {
        let found = ids(&spool, &filter);
        found.iter().map(|id| sent.iter().position(|one| one == id).unwrap()).collect()
    };
    let mut all = found(Filter::default());
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    let any = Filter::default;
    assert_eq!(found(Filter { to: Some(Pattern::parse("two@here.test")), ..any() }).len(), 4);
    assert_eq!(found(Filter { to: Some(Pattern::parse("there.test")), ..any() }).len(), 0);
    assert_eq!(found(Filter { sender: Some(Pattern::parse("there.test")), ..any() }).len(), 4);
    assert_eq!(found(Filter { sender: Some(Pattern::Null), ..any() }).len(), 0);
    assert_eq!(found(Filter { next_hop: Some(Pattern::glob("smtp://hop*")), ..any() }), [0]);
    assert_eq!(found(Filter { arrived_before: Some(1_790_000_000_000), ..any() }).len(), 0);
    assert_eq!(found(Filter { arrived_before: Some(1_790_000_000_001), ..any() }).len(), 4);
    assert_eq!(found(Filter { statuses: vec![Status::Deferred], ..any() }), [0]);
    assert_eq!(found(Filter { statuses: vec![Status::Held], ..any() }), [1]);
    assert_eq!(found(Filter { statuses: vec![Status::Held, Status::Queued], ..any() }).len(), 3);
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition() {
    let spool = Spool::new();
    let partition = spool.create();
    let sent: Vec<_> = (0..1203).map(|_| message(&partition)).collect();
    for one in &sent {
        partition.insert(1, one.clone()).unwrap();
    }
    news(&partition, sent.len());
    let expected: Vec<String> = sent.iter().map(|one| one.queue_id.clone()).collect();
    assert_eq!(ids(&spool, &Filter::default()), expected);
    assert_eq!(ids(&spool, &Filter { sender: Some(Pattern::Null), ..Filter::default() }), [""; 0]);
    let scheduled: Vec<i64> = {
        let (mut all, mut after) = (Vec::new(), -1);
        while let Some(last) = {
            let page = partition.schedule_page(after, 100).unwrap();
            all.extend(page.iter().map(|group| group.sequence));
            page.last().map(|group| group.sequence)
        } {
            after = last;
        }
        all
    };
    assert_eq!(scheduled, (1..=1203).collect::<Vec<_>>());
}

#[test]
fn a_damaged_row_does_not_hide_the_list() {
    let spool = Spool::new();
    let (sent, partitions) = filled(&spool);
    let tag = partitions[0].tag().to_owned();
    drop(partitions);
    super::tests::tamper(
        &spool,
        &tag,
        "UPDATE recipient SET address=CAST(x'ff' AS TEXT) WHERE seq=1; UPDATE recipient SET state=99 WHERE seq=3;
         UPDATE message SET reverse_path=CAST(x'c3' AS TEXT) WHERE seq=3;",
    );
    assert_eq!(ids(&spool, &Filter::default()).len(), sent.len());
    assert_eq!(stats(&spool.0).unwrap().messages, 4);
}

#[test]
fn statistics_count_by_status_next_hop_and_domain() {
    let spool = Spool::new();
    let (_, _partitions) = filled(&spool);
    let stats = stats(&spool.0).unwrap();
    let size = 4 * (16 + 18);
    assert_eq!((stats.messages, stats.recipients, stats.octets, stats.oldest), (4, 8, size, Some(1_790_000_000_000)));
    assert_eq!(stats.statuses, [2, 1, 1, 0, 0]);
    let tally = |recipients, deferred| Tally { recipients, deferred, oldest: 1_790_000_000_000 };
    let next_hops = [("smtp://hop:25".to_owned(), tally(1, 1)), (String::new(), tally(7, 0))];
    assert_eq!(stats.next_hops, HashMap::from(next_hops));
    assert_eq!(stats.domains, HashMap::from([("here.test".to_owned(), tally(8, 1))]));
    assert_eq!(super::stats(&Spool::new().0).unwrap(), Stats::default());
}

#[test]
fn statistics_count_a_partition_in_pieces() {
    let spool = Spool::new();
    let partition = spool.create();
    for _ in 0..30 {
        insert(&partition, &message(&partition));
    }
    let tag = partition.tag().to_owned();
    drop(partition);
    let whole = stats(&spool.0).unwrap();
    // So far from each other that there are several pieces, whose ends are messages.
    super::tests::tamper(&spool, &tag, "UPDATE message SET seq=seq*2500; UPDATE recipient SET seq=seq*2500;");
    assert_eq!(stats(&spool.0).unwrap(), whole);
    assert_eq!((whole.messages, whole.recipients), (30, 60));
}

#[test]
fn a_message_is_shown_with_its_header_and_its_damage() {
    let spool = Spool::new();
    let (sent, partitions) = filled(&spool);
    let (message, shown) = show(&spool.0, &sent[0]).unwrap().unwrap();
    assert_eq!(message.envelope.recipients[0].reply, "451 no");
    assert_eq!(shown.header, b"Received: here\r\nSubject: x\r\n\r\n");
    assert_eq!((shown.damage, shown.owned), (None, true));
    for absent in [partitions[0].next_queue_id(), format!("{}1", "0".repeat(tag::LENGTH)), "nonsense".to_owned()] {
        assert!(show(&spool.0, &absent).unwrap().is_none());
        assert!(!export(&spool.0, &absent, &spool.0.join("never")).unwrap());
    }
    assert!(!spool.0.join("never").exists());
    let tag = partitions[0].tag().to_owned();
    drop(partitions);
    super::tests::tamper(&spool, &tag, "UPDATE content SET octets=x'00' WHERE seq=1");
    let (_, shown) = show(&spool.0, &sent[0]).unwrap().unwrap();
    assert!(shown.damage.is_some() && !shown.owned);
}

#[test]
fn an_exported_message_comes_back_whole_on_another_host() {
    let (here, there) = (Spool::new(), Spool::new());
    let (source, target) = (here.create(), there.create());
    for octets in [Octets::Memory(b"Subject: x\r\n\r\ny\xff\r\n".to_vec()), Octets::Memory(vec![b'x'; 300_000])] {
        let sent = message_with(source.next_queue_id(), octets);
        insert(&source, &sent);
        let reply = "451 4.2.1 a\\nb";
        let deferred = settled(vec![outcome(0, State::Pending, reply)], next(5, 2, "smtp://hop:25"));
        source.settle(Some(1), &sent.queue_id, deferred).unwrap();
        news(&source, 1);
        let file = here.0.join("exported");
        assert!(export(&here.0, &sent.queue_id, &file).unwrap());
        assert!(export(&here.0, &sent.queue_id, &file).is_err(), "no file is written over");
        let came = Arc::new(import(&file, target.next_queue_id(), target.incoming()).unwrap());
        insert(&target, &came);
        let (before, after) =
            (load(&source, &sent.queue_id).unwrap().unwrap(), load(&target, &came.queue_id).unwrap().unwrap());
        assert_eq!(before.envelope, after.envelope);
        assert_eq!((&before.trace, before.arrival, before.size()), (&after.trace, after.arrival, after.size()));
        assert_eq!(after.envelope.recipients[0].reply, reply);
        drop(came);
        damage_every_part(&file, target.incoming());
        fs::remove_file(file).unwrap();
    }
}

/// A file that was cut, lengthened, or whose octets have changed is refused.
fn damage_every_part(file: &Path, incoming: &Path) {
    let whole = fs::read(file).unwrap();
    let refused = |octets: &[u8]| {
        fs::write(file, octets).unwrap();
        import(file, "x".to_owned(), incoming).is_err_and(|error| error.kind() == io::ErrorKind::InvalidData)
    };
    assert!(!refused(&whole));
    for length in [0, 10, 100, whole.len() / 2, whole.len() - 1] {
        assert!(refused(&whole[..length]), "cut at {length}");
    }
    assert!(refused(&[&whole[..], b"x"].concat()));
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(refused(&changed));
    assert!(
        refused(b"mailmoat message 2\n\n") && refused(b"\xff\xfe\n") && refused(b"mailmoat message 1\nnonsense\n\n")
    );
    assert!(refused(b"mailmoat message 1\ntrace: 18446744073709551615\ncontent: 18446744073709551615\n\n"));
    assert!(fs::read_dir(incoming).unwrap().next().is_none(), "nothing is left behind");
}

/// What no server can have stored is refused: an address that would be two commands at the next hop, times beyond any date, no recipients.
#[test]
fn a_file_with_an_envelope_that_cannot_be_is_refused() {
    let spool = Spool::new();
    let partition = spool.create();
    let file = spool.0.join("made up");
    let import_ = |envelope: &str| {
        fs::write(&file, format!("mailmoat message 1\n{envelope}trace: 0\ncontent: 0\nrecipient: a@b.test\n\n"))
            .unwrap();
        import(&file, "x".to_owned(), partition.incoming())
    };
    assert_eq!(import_("reverse-path: Ann@B.Test\n").unwrap().envelope.reverse_path, "Ann@b.test");
    assert_eq!(import_("reverse-path: \n").unwrap().envelope.reverse_path, "");
    for envelope in [
        "reverse-path: a@b.test>\\r\\nRCPT TO:<victim@c.test\n",
        "reverse-path: a@b.test> BODY=8BITMIME\n",
        "arrival: -1\n",
        "arrival: 9223372036854775807\n",
        "recipient: a@b.test\\r\\nDATA\n",
        "recipient: \n",
        "recipient: a@b.test\ndue: 9223372036854775807\n",
    ] {
        assert!(import_(envelope).is_err_and(|error| error.kind() == io::ErrorKind::InvalidData), "{envelope}");
    }
    fs::write(&file, "mailmoat message 1\ntrace: 0\ncontent: 0\n\n").unwrap();
    assert!(import(&file, "x".to_owned(), partition.incoming()).is_err(), "no recipients");
    fs::write(&file, format!("mailmoat message 1\n{}\n", "recipient: a@b\n".repeat(100_001))).unwrap();
    assert!(import(&file, "x".to_owned(), partition.incoming()).is_err(), "too many recipients");
}

#[test]
fn a_clock_that_was_set_back_hides_no_message_and_repeats_no_name() {
    const DAY: u64 = 86_400_000;
    let spool = Spool::new();
    let times = [1_790_000_000_000, 1_790_000_000_000 - DAY, 1_790_000_000_000 + DAY, 1_790_000_000_000];
    let partitions = times.map(|now| Partition::<u64>::create(&spool.0, now).unwrap());
    let sent = partitions.each_ref().map(|partition| {
        let sent = message(partition);
        insert(partition, &sent);
        sent.queue_id.clone()
    });
    let mut found = ids(&spool, &Filter::default());
    let mut expected = sent.to_vec();
    found.sort();
    expected.sort();
    expected.dedup();
    assert_eq!((found.len(), found), (times.len(), expected));
    drop(partitions);
    while let Some(adopted) = spool.adopt().unwrap() {
        assert_eq!(adopted.len(), 1);
        let tag = adopted.tag().to_owned();
        let queue_id = sent.iter().find(|queue_id| queue_id.starts_with(&tag)).unwrap();
        adopted.remove(None, queue_id).unwrap();
        adopted.close().unwrap();
    }
    assert_eq!(count(&spool.0).unwrap(), 0);
}
