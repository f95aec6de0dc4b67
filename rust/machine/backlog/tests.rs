use super::*;
use proptest::prelude::*;

fn group(sequence: i64, due: u64, marks: Marks) -> Group {
    Group { sequence, partition: 0, marks, arrival: 100, due }
}

fn fresh(sequence: i64, due: u64) -> Group {
    group(sequence, due, Marks::FRESH)
}

fn old(sequence: i64, due: u64) -> Group {
    group(sequence, due, Marks::default())
}

fn stranded(sequence: i64, due: u64) -> Group {
    group(sequence, due, Marks::STRANDED)
}

fn taken(backlog: &mut Backlog, line: u32, now: u64, room: Room) -> Vec<i64> {
    std::iter::from_fn(|| backlog.take(line, now, room)).map(|group| group.sequence).collect()
}

#[test]
fn a_group_comes_out_when_it_is_due_and_a_line_sleeps_till_then() {
    let mut backlog = Backlog::new();
    let (line, other) = (backlog.line("a"), backlog.line("b"));
    assert!(!backlog.put(line, &old(1, 50), 10));
    assert!(!backlog.put(line, &old(2, 30), 10));
    assert!(!backlog.put(other, &old(3, 90), 10));
    assert_eq!(backlog.next_due(), Some(30));
    assert!(backlog.take(line, 29, Room::ANY).is_none());
    assert_eq!(backlog.advance(29).len(), 0);
    assert_eq!(backlog.advance(30), [line]);
    assert_eq!(backlog.advance(30).len(), 0, "it was said already");
    assert_eq!(taken(&mut backlog, line, 30, Room::ANY), [2]);
    assert_eq!(backlog.next_due(), Some(50));
    assert_eq!(backlog.advance(100), [line, other]);
    assert_eq!(taken(&mut backlog, line, 100, Room::ANY), [1]);
    assert_eq!(taken(&mut backlog, other, 100, Room::ANY), [3]);
    assert!(backlog.is_empty());
    assert_eq!(backlog.next_due(), None);
}

#[test]
fn fresh_and_old_take_turns_and_so_do_small_and_big() {
    let mut backlog = Backlog::new();
    let line = backlog.line("a");
    for sequence in 0..4 {
        backlog.put(line, &old(sequence, 1), 5);
        backlog.put(line, &fresh(10 + sequence, 2), 5);
        backlog.put(line, &group(20 + sequence, 1, Marks::BIG), 5);
    }
    let order = taken(&mut backlog, line, 5, Room::ANY);
    assert_eq!(order, [10, 0, 20, 11, 1, 21, 12, 2, 22, 13, 3, 23]);
}

#[test]
fn only_what_there_is_room_for_comes_out_and_the_rest_stays_due() {
    let mut backlog = Backlog::new();
    let line = backlog.line("a");
    backlog.put(line, &old(1, 1), 5);
    backlog.put(line, &fresh(2, 1), 5);
    backlog.put(line, &group(3, 1, Marks::BIG.and(Marks::FRESH)), 5);
    assert_eq!(taken(&mut backlog, line, 5, Room { fresh: true, old: false, big: false }), [2]);
    assert!(backlog.is_ready(line));
    assert_eq!(backlog.next_due(), None, "nothing to wait for but room");
    assert_eq!(taken(&mut backlog, line, 5, Room { fresh: true, old: false, big: true }), [3]);
    assert_eq!(taken(&mut backlog, line, 5, Room::ANY), [1]);
    assert!(!backlog.is_ready(line));
}

#[test]
fn what_is_stranded_is_released_at_once_and_before_the_others() {
    let mut backlog = Backlog::new();
    let line = backlog.line("a");
    for sequence in 0..5 {
        backlog.put(line, &stranded(sequence, 1000), 5);
    }
    backlog.put(line, &old(10, 1), 5);
    backlog.put(line, &old(11, 900), 5);
    assert!(backlog.release(line, 5));
    backlog.put(line, &stranded(20, 800), 5);
    assert_eq!(taken(&mut backlog, line, 5, Room::ANY), [0, 1, 2, 3, 4, 10]);
    assert_eq!(backlog.next_due(), Some(800));
    assert!(backlog.release(line, 6));
    backlog.put(line, &stranded(21, 700), 6);
    backlog.put(line, &stranded(22, 700), 6);
    assert!(backlog.release(line, 6));
    assert_eq!(taken(&mut backlog, line, 6, Room::ANY), [21, 22, 20]);
    assert_eq!(taken(&mut backlog, line, 900, Room::ANY), [11]);
}

#[test]
fn groups_of_a_message_are_found_forgotten_and_hurried() {
    let mut backlog = Backlog::new();
    let (line, other) = (backlog.line("a"), backlog.line("b"));
    backlog.put(line, &old(7, 500), 5);
    backlog.put(other, &old(7, 600), 5);
    backlog.put(other, &old(8, 600), 5);
    backlog.put(other, &Group { partition: 1, ..old(7, 600) }, 5);
    assert_eq!(backlog.lines_of(0, 7), [line, other]);
    assert_eq!(backlog.hurry(0, 7, 5), [line, other]);
    assert_eq!(taken(&mut backlog, line, 5, Room::ANY), [7]);
    assert_eq!(taken(&mut backlog, other, 5, Room::ANY), [7]);
    assert_eq!(backlog.lines_of(0, 7).len(), 0);
    assert_eq!(backlog.forget(0, 8, 5), [other]);
    assert_eq!(backlog.forget(0, 8, 5).len(), 0);
    assert_eq!(backlog.forget(1, 7, 5), [other]);
    assert!(backlog.is_empty());
}

#[test]
fn what_is_too_old_is_found_whether_it_is_due_or_not() {
    let mut backlog = Backlog::new();
    let line = backlog.line("a");
    for sequence in 0..100_u32 {
        let marks = Marks::STRANDED.and(Marks::DELAYED.when(sequence < 20));
        backlog.put(line, &Group { arrival: sequence, ..group(i64::from(sequence), 1 << 40, marks) }, 5);
    }
    assert_eq!(backlog.take_older(line, 5, (0, 0), 10).len(), 0);
    let mut found: Vec<u32> = Vec::new();
    loop {
        let part = backlog.take_older(line, 5, (10, 30), 7);
        if part.is_empty() {
            break;
        }
        assert!(part.len() <= 7);
        found.extend(part.iter().map(|group| group.arrival));
    }
    found.sort_unstable();
    let wanted: Vec<u32> = (0..10).chain(20..30).collect();
    assert_eq!(found, wanted);
    assert_eq!(backlog.waiting(line), 80);
    backlog.put(line, &Group { arrival: 1, ..old(200, 7) }, 5);
    assert_eq!(backlog.take_older(line, 5, (2, 0), 7).len(), 1);
}

#[test]
fn a_line_is_closed_when_it_is_empty_and_its_number_is_used_again() {
    let mut backlog = Backlog::new();
    let line = backlog.line("a");
    backlog.alias("", line);
    assert_eq!(backlog.known(""), Some(line));
    assert_eq!(backlog.name(line), Some("a"));
    backlog.put(line, &old(1, 9), 5);
    assert!(!backlog.close(line));
    assert_eq!(backlog.forget(0, 1, 5), [line]);
    assert!(backlog.close(line));
    assert_eq!((backlog.known("a"), backlog.known("")), (None, None));
    assert_eq!(backlog.advance(100).len(), 0);
    assert_eq!(backlog.line("b"), line);
    assert!(!backlog.put(99, &old(1, 1), 5), "no such line");
    assert_eq!(backlog.len(), 0);
}

#[test]
fn a_name_is_that_of_the_line_that_got_it_last() {
    let mut backlog = Backlog::new();
    let (line, other) = (backlog.line("a"), backlog.line("b"));
    backlog.alias("x", line);
    backlog.alias("x", line);
    backlog.alias("x", other);
    backlog.alias("a", other);
    assert!(backlog.close(line));
    assert_eq!((backlog.known("x"), backlog.known("a")), (Some(other), Some(other)));
    assert!(backlog.close(other));
    assert_eq!((backlog.known("x"), backlog.known("a"), backlog.known("b")), (None, None, None));
    assert!(backlog.close(other), "nothing is left of it");
    assert_ne!(backlog.line("c"), backlog.line("d"));
}

#[test]
fn a_group_costs_less_than_a_hundred_octets_however_many_there_are() {
    const NUMBER: usize = 200_000;
    let mut backlog = Backlog::new();
    let lines: Vec<u32> =
        (0..1000).map(|number| backlog.line(&format!("smtp://host{number}.example.test:25"))).collect();
    let mut most = 0;
    for (sequence, line) in (1..).zip(lines.iter().cycle()).take(NUMBER) {
        backlog.put(*line, &stranded(sequence, 1_000_000), 5);
        if sequence > 100_000 && sequence % 1000 == 0 {
            most = most.max(backlog.octets() / backlog.len());
        }
    }
    assert!(most < 100);
    for line in lines {
        assert!(backlog.release(line, 6));
        while backlog.take(line, 6, Room::ANY).is_some() {}
    }
    assert!(backlog.is_empty());
    assert!(backlog.octets() < 2_000_000, "{} are kept", backlog.octets());
}

#[derive(Debug, Clone)]
enum Act {
    Put(u32, i64, u64, u8),
    Take(u32, u8),
    Forget(i64),
    Hurry(i64),
    Release(u32),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u32..3, 0_i64..40, 0_u64..60, 0_u8..8).prop_map(|(a, b, c, d)| Act::Put(a, b, c, d)),
        3 => (0_u32..3, 0_u8..8).prop_map(|(a, b)| Act::Take(a, b)),
        1 => (0_i64..40).prop_map(Act::Forget),
        1 => (0_i64..40).prop_map(Act::Hurry),
        1 => (0_u32..3).prop_map(Act::Release),
        2 => (0_u64..30).prop_map(Act::Pass),
    ]
}

/// What waits, as a list: line, group, due at once.
type Model = Vec<(u32, Group, bool)>;

fn is_due(model: &Model, line: u32, now: u64) -> bool {
    model.iter().any(|(of, group, hurried)| *of == line && (*hurried || group.due <= now))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn equals_a_list(acts in prop::collection::vec(act(), 1..150)) {
        let mut backlog = Backlog::new();
        for name in ["a", "b", "c"] {
            backlog.line(name);
        }
        let (mut model, mut now): (Model, u64) = (Vec::new(), 0);
        for act in acts {
            match act {
                Act::Put(line, sequence, later, marks) => {
                    if model.iter().any(|(of, group, _)| (*of, group.sequence) == (line, sequence)) {
                        continue;
                    }
                    let marks = Marks::FRESH.when(marks & 1 > 0).and(Marks::BIG.when(marks & 2 > 0))
                        .and(Marks::STRANDED.when(marks & 5 == 4));
                    let put = group(sequence, now + later, marks);
                    model.push((line, put, false));
                    prop_assert_eq!(backlog.put(line, &put, now), is_due(&model, line, now));
                }
                Act::Take(line, bits) => {
                    let room = Room { fresh: bits & 1 > 0, old: bits & 2 > 0, big: bits & 4 > 0 };
                    let fits = |group: &Group| {
                        (if group.marks.has(Marks::FRESH) { room.fresh } else { room.old })
                            && (room.big || !group.marks.has(Marks::BIG))
                    };
                    let found = backlog.take(line, now, room);
                    let due = |(of, group, hurried): &(u32, Group, bool)| {
                        *of == line && (*hurried || group.due <= now) && fits(group)
                    };
                    match found {
                        None => prop_assert!(!model.iter().any(due)),
                        Some(found) => {
                            let place = model.iter().position(|one| one.1.sequence == found.sequence && due(one));
                            prop_assert!(place.is_some());
                            model.remove(place.unwrap());
                        }
                    }
                }
                Act::Forget(sequence) => {
                    let before = model.len();
                    model.retain(|(_, group, _)| group.sequence != sequence);
                    prop_assert_eq!(backlog.forget(0, sequence, now).len(), before - model.len());
                }
                Act::Hurry(sequence) => {
                    let lines = backlog.hurry(0, sequence, now);
                    let of = model.iter_mut().filter(|(_, group, _)| group.sequence == sequence);
                    prop_assert_eq!(of.map(|one| one.2 = true).count(), lines.len());
                }
                Act::Release(line) => {
                    for one in model.iter_mut().filter(|(of, group, _)| *of == line && group.marks.has(Marks::STRANDED)) {
                        one.2 = true;
                    }
                    prop_assert_eq!(backlog.release(line, now), is_due(&model, line, now));
                }
                Act::Pass(time) => {
                    now += time;
                    let ready: Vec<bool> = (0..3).map(|line| backlog.is_ready(line)).collect();
                    let awake = backlog.advance(now);
                    for line in 0..3 {
                        prop_assert_eq!(backlog.is_ready(line), is_due(&model, line, now));
                        prop_assert_eq!(awake.contains(&line), !ready[line as usize] && backlog.is_ready(line));
                    }
                }
            }
            prop_assert_eq!(backlog.len(), model.len());
            for line in 0..3 {
                prop_assert_eq!(backlog.waiting(line), model.iter().filter(|one| one.0 == line).count());
            }
            // A line that is not ready sleeps till its first group is due.
            let sleeping = model.iter().filter(|one| !backlog.is_ready(one.0)).map(|one| one.1.due).min();
            prop_assert_eq!(backlog.next_due(), sleeping);
        }
    }
}

#[test]
fn what_is_firm_is_not_taken_before_it_is_due_however_old_it_is() {
    let mut backlog = Backlog::new();
    let line = backlog.line("a");
    let group = |sequence, marks| Group { sequence, partition: 0, marks, arrival: 10, due: 100 };
    backlog.put(line, &group(1, Marks::FIRM), 0);
    assert_eq!(backlog.take_older(line, 0, (50, 50), 9), []);
    backlog.put(line, &group(2, Marks::default()), 0);
    assert_eq!(backlog.take_older(line, 0, (50, 50), 9), [group(2, Marks::default())]);
    assert_eq!(backlog.take(line, 100, Room::ANY), Some(group(1, Marks::FIRM)));
}
