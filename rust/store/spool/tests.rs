use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::partition_dir::path_of;
use super::*;
use crate::machine::message::content::{Content, Octets};
use crate::machine::message::{Envelope, Origin, Outcome, Parameters, Recipient, State};
use crate::store::content::ContentFile;

/// A spool with a partition.
pub fn empty() -> (Spool, Partition<u64>) {
    let spool = Spool::new();
    let partition = spool.create();
    (spool, partition)
}

/// A spool with a partition that has one message.
pub fn with_message() -> (Spool, Partition<u64>, Arc<Message>) {
    let (spool, partition) = empty();
    let sent = message(&partition);
    insert(&partition, &sent);
    (spool, partition, sent)
}

/// A spool directory that goes with the test.
pub struct Spool(pub PathBuf);

impl Spool {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("mailmoat-spool-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn create(&self) -> Partition<u64> {
        Partition::create(&self.0, 1_790_000_000_000).unwrap()
    }

    pub fn adopt(&self) -> io::Result<Option<Partition<u64>>> {
        match self.adopt_any()? {
            Some(Adopted::Sealed(sealed)) => panic!("{}", sealed.reason),
            Some(Adopted::Partition(partition)) => Ok(Some(partition)),
            None => Ok(None),
        }
    }

    fn adopt_any(&self) -> io::Result<Option<Adopted<u64>>> {
        Partition::adopt(&self.0, 7)
    }

    pub fn entries(&self, below: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.join(below))
            .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        names.sort();
        names
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The messages that `filter` means, of all pages.
pub fn listed(spool: &Spool, filter: &Filter) -> Vec<Listed> {
    let (mut all, mut after) = (Vec::new(), Some(String::new()));
    while let Some(last) = after {
        let page = page(&spool.0, filter, &last).unwrap();
        all.extend(page.entries);
        after = page.after;
    }
    all
}

pub fn message_with(queue_id: String, octets: Octets) -> Arc<Message> {
    let parameters = |text| Parameters::parse(text).unwrap();
    let recipients = ["one@here.test", "two@here.test"].map(|address| Recipient {
        parameters: parameters("NOTIFY=NEVER ORCPT=rfc822;x@y.test"),
        ..Recipient::new(address.to_owned(), 1_790_000_000_001)
    });
    Arc::new(Message {
        queue_id,
        arrival: 1_790_000_000_000,
        envelope: Envelope {
            reverse_path: "sender@there.test".to_owned(),
            recipients: recipients.into(),
            parameters: parameters("SMTPUTF8 RET=HDRS"),
            origin: Envelope::origin(&Origin { session_id: "s1", client: "192.0.2.1", ..Origin::default() }),
            results: "spf=pass".to_owned(),
        },
        trace: b"Received: here\r\n".to_vec(),
        content: Content { octets, eight_bit: true },
        share: None,
    })
}

pub fn message(partition: &Partition<u64>) -> Arc<Message> {
    message_with(partition.next_queue_id(), Octets::Memory(b"Subject: x\r\n\r\ny\xff\r\n".to_vec()))
}

/// Waits on the descriptor until `number` completions have come.
pub fn news(partition: &Partition<u64>, number: usize) -> Vec<Completion<u64>> {
    let mut all = Vec::new();
    while all.len() < number {
        let descriptor = partition.descriptor();
        assert_eq!(poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&limit())).unwrap(), 1, "no completion");
        all.extend(partition.completions());
    }
    all
}

fn limit() -> rustix::event::Timespec {
    rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 }
}

pub fn insert(partition: &Partition<u64>, message: &Arc<Message>) {
    partition.insert(1, Arc::clone(message)).unwrap();
    assert!(news(partition, 1)[0].result.as_ref().unwrap().is_none());
}

pub fn load(partition: &Partition<u64>, queue_id: &str) -> Result<Option<Arc<Message>>, Failure> {
    partition.load(2, queue_id).unwrap();
    news(partition, 1).remove(0).result
}

#[test]
fn a_message_comes_back_as_it_was() {
    let (_spool, partition, sent) = with_message();
    let got = load(&partition, &sent.queue_id).unwrap().unwrap();
    assert_eq!(format!("{got:?}"), format!("{sent:?}"));
    assert_eq!(partition.len(), 1);
}

pub fn next(due: i64, attempts: u32, next_hop: &str) -> Next {
    Next { due, attempts, next_hop: next_hop.to_owned() }
}

pub fn settled(outcomes: Vec<Outcome>, next: Next) -> Settlement {
    Settlement { outcomes, next, attempt: None, reported: Vec::new() }
}

pub fn outcome(index: u32, state: State, reply: &str) -> Outcome {
    Outcome { index, state, reply: reply.to_owned() }
}

#[test]
fn each_group_has_its_outcomes_and_its_due_time() {
    let (_spool, partition, sent) = with_message();
    let scheduled = |next| Scheduled { queue_id: sent.queue_id.clone(), arrival: sent.arrival, next };
    let (fresh, tried) = (next(1_790_000_000_001, 0, ""), next(5, 3, "smtp://hop.test:25"));
    assert_eq!(partition.schedule().unwrap(), [scheduled(fresh.clone())], "both recipients are one group");
    let outcomes = vec![outcome(1, State::Pending, "451 later")];
    partition.settle(Some(9), &sent.queue_id, settled(outcomes, tried.clone())).unwrap();
    assert_eq!(news(&partition, 1)[0].waiter, 9);
    assert_eq!(partition.schedule().unwrap(), [scheduled(fresh.clone()), scheduled(tried.clone())]);
    partition
        .settle(Some(9), &sent.queue_id, settled(vec![outcome(0, State::Delivered, "250 ok")], next(7, 1, "lmtp")))
        .unwrap();
    assert_eq!(partition.schedule().unwrap(), [scheduled(tried.clone())], "who is at the end is of no group");
    news(&partition, 1);
    let got = load(&partition, &sent.queue_id).unwrap().unwrap();
    let [one, two] = got.envelope.recipients.as_slice() else { panic!("two recipients") };
    assert_eq!((one.state, one.reply.as_str(), one.due, one.attempts), (State::Delivered, "250 ok", 7, 1));
    assert_eq!((two.state, two.due, two.attempts, two.next_hop.as_str()), (State::Pending, 5, 3, "smtp://hop.test:25"));
    partition.settle(None, &sent.queue_id, settled(vec![outcome(1, State::Closed, "550")], tried)).unwrap();
    assert_eq!(partition.schedule().unwrap(), [scheduled(next(sent.arrival, 0, ""))], "it is looked at and removed");
}

#[test]
fn an_abandoned_partition_is_adopted_whole_and_an_owned_one_is_not() {
    let (spool, partition, sent) = with_message();
    fs::write(partition.incoming().join("x"), "half").unwrap();
    assert!(spool.adopt().unwrap().is_none());
    drop(partition);
    let adopted = spool.adopt().unwrap().unwrap();
    assert!(fs::read_dir(adopted.incoming()).unwrap().next().is_none());
    assert_eq!(adopted.len(), 1);
    assert!(load(&adopted, &sent.queue_id).unwrap().is_some());
    assert_ne!(adopted.next_queue_id(), sent.queue_id);
    adopted.remove(None, &sent.queue_id).unwrap();
    adopted.close().unwrap();
    assert!(spool.entries("partitions").is_empty());
    assert_eq!(spool.entries("."), ["partitions"]);
}

#[test]
fn a_closed_partition_refuses_work_and_a_full_one_stays() {
    let (spool, partition) = empty();
    let sent = message(&partition);
    partition.insert(1, Arc::clone(&sent)).unwrap();
    partition.close().unwrap();
    partition.close().unwrap();
    assert_eq!(partition.completions().len(), 1, "what waited was committed");
    assert!(partition.remove(None, &sent.queue_id).is_err());
    assert_eq!(spool.entries("partitions"), [partition.tag()]);
    assert_eq!(count(&spool.0).unwrap(), 1);
}

#[test]
fn strange_or_absent_queue_ids_are_errors() {
    let (_spool, partition) = empty();
    assert!(partition.remove(None, "nonsense").is_err());
    assert!(partition.remove(None, partition.tag()).is_err());
    assert!(load(&partition, &partition.next_queue_id()).is_err());
    assert!(partition.healthy());
}

#[test]
fn a_second_message_of_the_same_id_is_refused_alone() {
    let (_spool, partition) = empty();
    let (first, second) = (message(&partition), message(&partition));
    insert(&partition, &first);
    partition.insert(1, Arc::clone(&first)).unwrap();
    partition.insert(2, second).unwrap();
    let results: HashMap<u64, bool> = news(&partition, 2).iter().map(|n| (n.waiter, n.result.is_ok())).collect();
    assert_eq!(results, HashMap::from([(1, false), (2, true)]));
    assert!(load(&partition, &first.queue_id).unwrap().is_some());
    assert_eq!(partition.len(), 2);
    assert!(partition.healthy());
}

#[test]
fn a_large_content_lives_in_a_file_and_goes_with_its_message() {
    let (spool, partition) = empty();
    let incoming = partition.incoming().join("a");
    fs::write(&incoming, b"large\r\n").unwrap();
    let file = Octets::File(Box::new(ContentFile::incoming(incoming.clone(), 7)));
    let sent = message_with(partition.next_queue_id(), file);
    let memory = message_with(partition.next_queue_id(), Octets::Memory(vec![b'x'; 300_000]));
    insert(&partition, &sent);
    insert(&partition, &memory);
    assert!(incoming.exists(), "good as long as somebody holds the message");
    let id = sent.queue_id.clone();
    drop(sent);
    for (id, expected) in [(&id, 7), (&memory.queue_id, 300_000)] {
        let got = load(&partition, id).unwrap().unwrap();
        let Octets::File(kept) = &got.content.octets else { panic!("in memory") };
        assert_eq!((kept.size(), fs::read(kept.path()).unwrap().len() as u64), (expected, expected));
    }
    assert!(!incoming.exists());
    let content = format!("partitions/{}/content", partition.tag());
    assert_eq!(spool.entries(&content), ["1", "2"]);
    fs::write(spool.0.join(&content).join("17"), "of no message").unwrap();
    partition.remove(None, &id).unwrap();
    drop(partition);
    assert_eq!(spool.entries(&content), ["17", "2"]);
    let _adopted = spool.adopt().unwrap().unwrap();
    assert_eq!(spool.entries(&content), ["2"]);
}

#[test]
fn a_lost_content_file_fails_its_message_alone() {
    let (_spool, partition) = empty();
    let lost = ContentFile::kept(partition.incoming().join("lost"), 7);
    partition.insert(1, message_with(partition.next_queue_id(), Octets::File(Box::new(lost)))).unwrap();
    assert!(news(&partition, 1)[0].result.is_err());
    assert!(partition.healthy());
}

#[test]
fn damaged_partitions_are_set_aside_one_error_each() {
    let spool = Spool::new();
    let mut tags = Vec::new();
    for damage in [&b"this is no database, whatever its name says"[..], b""] {
        let partition = spool.create();
        insert(&partition, &message(&partition));
        tags.push(partition.tag().to_owned());
        drop(partition);
        fs::write(path_of(&spool.0, tags.last().unwrap()).join("queue.db"), damage).unwrap();
    }
    // A flipped bit in the name of a column, which no check of SQLite's finds.
    let renamed = spool.create();
    insert(&renamed, &message(&renamed));
    tags.push(renamed.tag().to_owned());
    drop(renamed);
    tamper(&spool, tags.last().unwrap(), "ALTER TABLE recipient RENAME COLUMN due TO dud");
    let well = spool.create();
    insert(&well, &message(&well));
    drop(well);
    let mut errors = Vec::new();
    let adopted = loop {
        match spool.adopt() {
            Ok(adopted) => break adopted,
            Err(error) => errors.push(error.to_string()),
        }
    };
    assert!(adopted.is_some() || errors.len() < 3);
    while let Err(error) = spool.adopt() {
        errors.push(error.to_string());
    }
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(tags.iter().all(|tag| errors.iter().any(|error| error.contains(tag))));
    tags.sort();
    assert_eq!(spool.entries("damaged"), tags);
}

#[test]
fn a_later_schema_is_told_once_counted_and_left_alone() {
    let (spool, partition) = empty();
    insert(&partition, &message(&partition));
    insert(&partition, &message(&partition));
    let tag = partition.tag().to_owned();
    drop(partition);
    tamper(&spool, &tag, "PRAGMA user_version = 99");
    let Some(Adopted::Sealed(sealed)) = spool.adopt_any().unwrap() else { panic!("not sealed") };
    assert!(sealed.reason.contains("schema version 99"), "{}", sealed.reason);
    assert_eq!(sealed.messages, Some(2));
    assert!(spool.adopt().unwrap().is_none(), "it is owned: nobody tries it again");
    assert_eq!(newer(&spool.0).unwrap(), [(tag.clone(), Some(2))]);
    assert_eq!(count(&spool.0).unwrap(), 2);
    assert_eq!(listed(&spool, &Filter::default()), []);
    tamper(&spool, &tag, "DROP TABLE message");
    assert_eq!(newer(&spool.0).unwrap(), [(tag.clone(), None)]);
    assert_eq!(count(&spool.0).unwrap(), 0);
    drop(sealed);
    assert_eq!(spool.entries("partitions"), [tag]);
}

#[test]
fn a_partition_that_was_moved_takes_nothing_until_it_is_back() {
    let (spool, partition) = empty();
    insert(&partition, &message(&partition));
    let (here, away) = (spool.0.join("partitions"), spool.0.join("away"));
    fs::rename(&here, &away).unwrap();
    assert!(!partition.healthy());
    partition.insert(7, message(&partition)).unwrap();
    let refused = news(&partition, 1).remove(0).result.unwrap_err();
    assert_eq!(refused.to_string(), "the spool directory was moved or deleted");
    fs::rename(&away, &here).unwrap();
    assert!(partition.in_place());
    while !partition.healthy() {
        std::thread::yield_now(); // it looks once a second
    }
    insert(&partition, &message(&partition));
    assert_eq!(partition.len(), 2);
}

#[test]
fn a_partition_that_was_deleted_takes_nothing() {
    let (spool, partition) = empty();
    fs::remove_dir_all(spool.0.join("partitions")).unwrap();
    assert!(!partition.healthy());
    partition.insert(7, message(&partition)).unwrap();
    assert!(news(&partition, 1).remove(0).result.is_err());
}

#[test]
fn a_spool_directory_that_is_gone_is_not_made_again() {
    let spool = Spool::new();
    fs::remove_dir(&spool.0).unwrap();
    let refused = Partition::<u64>::create(&spool.0, 1).err().unwrap();
    assert!(refused.to_string().contains(&spool.0.display().to_string()), "{refused}");
    assert!(!spool.0.exists());
}

#[test]
fn removing_beside_a_sweep_is_no_error() {
    let spool = Spool::new();
    let sweeping = AtomicU32::new(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while sweeping.load(Relaxed) == 1 {
                partition_dir::sweep(&spool.0);
            }
        });
        let closed: Vec<_> = (0..100).map(|_| spool.create().close()).collect();
        sweeping.store(0, Relaxed);
        assert!(closed.iter().all(Result::is_ok), "{closed:?}");
    });
    partition_dir::sweep(&spool.0);
    assert_eq!(spool.entries("."), ["partitions"]);
}

#[test]
fn each_partition_has_a_place_of_its_own_on_the_disk_where_the_file_system_can() {
    let spool = Spool::new();
    let directory = fs::File::open(&spool.0).unwrap();
    let Ok(flags) = ioctl_getflags(&directory) else { return };
    if ioctl_setflags(&directory, flags | IFlags::TOPDIR).is_ok() {
        ioctl_setflags(&directory, flags - IFlags::TOPDIR).unwrap();
        spool.create();
        assert!(ioctl_getflags(&directory).unwrap().contains(IFlags::TOPDIR));
    }
}

#[test]
fn leavings_of_dead_makers_and_removers_are_swept() {
    let spool = Spool::new();
    let tag = tag::make(1, b"a", 1);
    fs::create_dir_all(spool.0.join(format!("removed-{tag}/content"))).unwrap();
    fs::create_dir_all(spool.0.join(format!("new-{tag}"))).unwrap();
    let other = spool.0.join(format!("new-{}", tag::make(1, b"a", 2)));
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("lock"), "").unwrap();
    fs::create_dir(spool.0.join("new-and-not-ours")).unwrap();
    assert!(spool.adopt().unwrap().is_none());
    assert_eq!(spool.entries("."), ["new-and-not-ours"]);
}

#[test]
fn listing_shows_owned_and_orphaned_partitions() {
    let spool = Spool::new();
    assert_eq!(listed(&spool, &Filter::default()), []);
    assert!(page(Path::new("/nowhere/at/all"), &Filter::default(), "").is_err());
    let (owned, orphan) = (spool.create(), spool.create());
    let ids = [&owned, &orphan].map(|partition| {
        let sent = message(partition);
        insert(partition, &sent);
        sent.queue_id.clone()
    });
    let tag = orphan.tag().to_owned();
    drop(orphan);
    let listed = listed(&spool, &Filter::default());
    assert_eq!(listed.len(), 2);
    for entry in &listed {
        assert!(ids.contains(&entry.queue_id));
        assert_eq!(entry.owned, entry.partition != tag);
        assert_eq!(entry.recipients[1].address, "two@here.test");
    }
    assert_eq!(count(&spool.0).unwrap(), 2);
}

#[test]
fn failed_writes_fail_inserts_keep_the_rest_and_recover() {
    let (spool, partition) = empty();
    let (gone, stays, late) = (message(&partition), message(&partition), message(&partition));
    insert(&partition, &gone);
    insert(&partition, &stays);
    let path = path_of(&spool.0, partition.tag());
    // A table that is gone is an error of the queue, and one that can be mended from outside.
    let operator = rusqlite::Connection::open(path.join("queue.db")).unwrap();
    operator.execute_batch("ALTER TABLE recipient RENAME TO away").unwrap();
    partition.remove(None, &gone.queue_id).unwrap();
    let failed = settled(vec![outcome(0, State::Failed, "550")], next(8, 1, ""));
    partition.settle(Some(5), &stays.queue_id, failed).unwrap();
    partition.insert(4, late).unwrap();
    let failed = news(&partition, 1);
    assert_eq!((failed.len(), failed[0].waiter), (1, 4));
    assert!(failed[0].result.is_err());
    operator.execute_batch("ALTER TABLE away RENAME TO recipient").unwrap();
    drop(operator);
    assert_eq!(news(&partition, 1)[0].waiter, 5, "the settlement was tried again by itself");
    assert!(partition.healthy());
    assert_eq!(partition.len(), 1);
    insert(&partition, &message(&partition));
    assert_eq!(load(&partition, &stays.queue_id).unwrap().unwrap().envelope.recipients[0].reply, "550");
}

/// Measures life cycles of 4 KiB messages, with a backlog, in batches:
/// `cargo test --release --no-default-features life_cycles -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn life_cycles() {
    let number = 100_000_usize;
    for (batch, backlog) in [(1, 0), (16, 0), (64, 0), (16, 2_000), (64, 20_000)] {
        let number = if batch == 1 { number / 10 } else { number };
        let spool = Spool::new();
        let partition = spool.create();
        let sent =
            |partition: &Partition<u64>| message_with(partition.next_queue_id(), Octets::Memory(vec![b'x'; 4096]));
        let mut queue = std::collections::VecDeque::new();
        let before = cpu();
        let start = Instant::now();
        for _ in 0..number / batch {
            for _ in 0..batch {
                let sent = sent(&partition);
                queue.push_back(sent.queue_id.clone());
                partition.insert(0, sent).unwrap();
            }
            while queue.len() > backlog + batch {
                partition.remove(None, &queue.pop_front().unwrap()).unwrap();
            }
            news(&partition, batch);
        }
        let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu() - before);
        #[allow(clippy::cast_precision_loss)]
        let rate = |seconds: f64| number as f64 / seconds;
        println!("batch {batch:3} backlog {backlog:6}: {:8.0}/s wall {:8.0}/s of processor", rate(wall), rate(cpu));
    }
}

/// Seconds of processor time this process has used, user and system.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<f64>().unwrap() / 100.0 + fields[12].parse::<f64>().unwrap() / 100.0
}

/// What `sql` does to the queue of a partition nobody has.
pub fn tamper(spool: &Spool, tag: &str, sql: &str) {
    let path = path_of(&spool.0, tag).join("queue.db");
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_damaged_row_costs_no_other_message() {
    let (spool, partition) = empty();
    let sent: Vec<_> = (0..4).map(|_| message(&partition)).collect();
    for one in &sent {
        insert(&partition, one);
    }
    let tag = partition.tag().to_owned();
    drop(partition);
    tamper(
        &spool,
        &tag,
        "UPDATE recipient SET address=CAST(x'ff' AS TEXT) WHERE seq=1; UPDATE recipient SET state=9 WHERE seq=2;
         UPDATE recipient SET attempts=-5, next_hop=CAST(x'ff' AS TEXT) WHERE seq=3;
         UPDATE message SET reverse_path=CAST(x'c3' AS TEXT) WHERE seq=3;",
    );
    let adopted = spool.adopt().unwrap().unwrap();
    assert_eq!(adopted.schedule().unwrap().len(), 4);
    for one in &sent {
        adopted.load(2, &one.queue_id).unwrap();
    }
    let loaded: Vec<bool> = news(&adopted, 4).iter().map(|news| news.result.is_ok()).collect();
    assert_eq!(loaded, [false, false, false, true]);
    assert!(adopted.healthy());
}

#[test]
fn a_partition_without_its_lock_or_directories_is_adopted() {
    let (spool, partition, sent) = with_message();
    let path = path_of(&spool.0, partition.tag());
    drop(partition);
    fs::remove_file(path.join("lock")).unwrap();
    fs::remove_dir(path.join("content")).unwrap();
    fs::remove_dir(path.join("incoming")).unwrap();
    let adopted = spool.adopt().unwrap().unwrap();
    assert!(load(&adopted, &sent.queue_id).is_ok());
    assert!(spool.adopt().unwrap().is_none());
    insert(&adopted, &message_with(adopted.next_queue_id(), Octets::Memory(vec![b'x'; 300_000])));
}
