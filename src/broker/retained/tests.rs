//! Tests of the retained store: the matrix, replays against the naive matcher while messages come and go, versions.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::thread;

use stdx::Prng;

use crate::filter_tree::oracle::{MATRIX, TOPICS, is_match};

use super::{Retainable, Retained, RetainedCursor, RetainedLimits, RetainedVersion, Scan, SetOutcome};

const SEED: u64 = 20_240_229;

/// A message that counts how often the store looks at a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    topic: String,
    text: String,
    owner: u64,
    looks: Rc<Cell<usize>>,
}

impl Retainable for Note {
    fn topic_bytes(&self) -> &[u8] {
        self.looks.set(self.looks.get() + 1);
        self.topic.as_bytes()
    }

    fn cost_bytes(&self) -> usize {
        self.topic.len() + self.text.len()
    }

    fn owner(&self) -> u64 {
        self.owner
    }
}

fn note(topic: &str, text: &str) -> Note {
    note_of(1, topic, text)
}

fn note_of(owner: u64, topic: &str, text: &str) -> Note {
    Note { topic: topic.to_owned(), text: text.to_owned(), owner, looks: Rc::default() }
}

fn at(counter: u64, core: u16) -> RetainedVersion {
    RetainedVersion { counter, core }
}

fn empty() -> Retained<Note> {
    Retained::new(SEED, RetainedLimits::default())
}

fn holding<'a>(topics: impl IntoIterator<Item = &'a str>) -> Retained<Note> {
    let mut retained = empty();
    for topic in topics {
        assert_eq!(retained.set(note(topic, "x"), at(1, 0)), SetOutcome::Stored { was_new: true });
    }
    retained
}

/// A whole replay, and the number of calls it took.
fn replay(retained: &Retained<Note>, filter: &str, chunk: usize) -> (Vec<String>, usize) {
    let mut cursor = RetainedCursor::default();
    let mut visited = Vec::new();
    let mut calls = 1;
    while retained.scan(filter, &mut cursor, chunk, |note| visited.push(note.topic.clone())) == Scan::More {
        calls += 1;
    }
    (visited, calls)
}

fn draw_topic(prng: &mut Prng) -> String {
    let names = ["a", "b", "", "$x", "%", "0", "a-", "a0", "a\u{1}", "é"];
    let depth = 1 + prng.below(4);
    let level = |prng: &mut Prng| names[usize::try_from(prng.below(names.len() as u64)).unwrap()];
    let topic = (0..depth).map(|_| level(prng)).collect::<Vec<_>>().join("/");
    if topic.is_empty() { "/".to_owned() } else { topic }
}

fn draw_filter(prng: &mut Prng) -> String {
    let topic = draw_topic(prng);
    let mut levels: Vec<&str> = topic.split('/').collect();
    for level in &mut levels {
        if prng.one_in(2) {
            *level = "+";
        }
    }
    if prng.one_in(3) {
        levels.push("#");
    }
    if prng.one_in(20) { "#".to_owned() } else { levels.join("/") }
}

#[test]
fn replays_follow_the_same_matrix_as_live_messages() {
    let retained = holding(TOPICS);
    for (filter, matched) in MATRIX {
        for chunk in [1, 3, 1000] {
            let (visited, _) = replay(&retained, filter, chunk);
            let visited: BTreeSet<&str> = visited.iter().map(String::as_str).collect();
            assert_eq!(visited, matched.iter().copied().collect(), "{filter} by {chunk}");
        }
    }
}

#[test]
fn any_replay_visits_what_the_naive_matcher_says_in_the_order_of_levels() {
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        let topics: BTreeSet<String> = (0..200).map(|_| draw_topic(&mut prng)).collect();
        let retained = holding(topics.iter().map(String::as_str));
        for _ in 0..50 {
            let filter = draw_filter(&mut prng);
            let mut expected: Vec<&String> = topics.iter().filter(|topic| is_match(&filter, topic)).collect();
            expected.sort_by_key(|topic| topic.split('/').collect::<Vec<_>>());
            let chunk = 1 + usize::try_from(prng.below(9)).unwrap();
            let (visited, _) = replay(&retained, &filter, chunk);
            assert_eq!(visited.iter().collect::<Vec<_>>(), expected, "seed {seed}: {filter} by {chunk}");
        }
    }
}

#[test]
fn a_message_that_stays_is_visited_once_whatever_comes_and_goes() {
    for seed in 0..300 {
        let mut prng = Prng::new(seed);
        let mut retained = empty();
        let lasting: BTreeSet<String> = (0..60).map(|_| draw_topic(&mut prng)).collect();
        let mut counter = 0;
        let mut tick = || {
            counter += 1;
            at(counter, 0)
        };
        for topic in &lasting {
            retained.set(note(topic, "old"), tick());
        }
        let filter = draw_filter(&mut prng);
        let chunk = 1 + usize::try_from(prng.below(5)).unwrap();
        let mut cursor = RetainedCursor::default();
        let mut visited: BTreeMap<String, usize> = BTreeMap::new();
        let mut seen = |note: &Note| *visited.entry(note.topic.clone()).or_default() += 1;
        while retained.scan(&filter, &mut cursor, chunk, &mut seen) == Scan::More {
            for _ in 0..prng.below(20) {
                let topic = draw_topic(&mut prng);
                match (lasting.contains(&topic), prng.one_in(2)) {
                    (true, _) => drop(retained.set(note(&topic, "new"), tick())),
                    (false, true) => drop(retained.set(note(&topic, "brief"), tick())),
                    (false, false) => drop(retained.clear(&topic, tick())),
                }
            }
        }
        for topic in lasting.iter().filter(|topic| is_match(&filter, topic)) {
            assert_eq!(visited.get(topic), Some(&1), "seed {seed}: {topic} by {filter}");
        }
        for (topic, times) in visited {
            assert!(
                times == 1 && is_match(&filter, &topic),
                "seed {seed}: {topic} {times} times by {filter}"
            );
        }
    }
}

#[test]
fn the_messages_behind_the_cursor_may_be_replaced_and_those_before_it_are_seen_as_they_are() {
    let mut retained = holding(["a/1", "a/2", "a/3"]);
    let mut cursor = RetainedCursor::default();
    let mut texts = Vec::new();
    assert_eq!(retained.scan("a/#", &mut cursor, 2, |note| texts.push(note.text.clone())), Scan::More);
    for topic in ["a/1", "a/3"] {
        assert_eq!(retained.set(note(topic, "new"), at(2, 0)), SetOutcome::Stored { was_new: false });
    }
    while retained.scan("a/#", &mut cursor, 2, |note| texts.push(note.text.clone())) == Scan::More {}
    assert_eq!(texts, ["x", "x", "new"]);
    assert_eq!(retained.scan("a/#", &mut cursor, 2, |_| panic!("the replay is over")), Scan::Done);
}

#[test]
fn a_replay_steps_over_what_cannot_match() {
    let mut topics = Vec::new();
    for site in 0..50 {
        topics.extend((0..200).map(|leaf| format!("site/{site}/meter/{leaf}")));
        topics.push(format!("site/{site}/status"));
        topics.push(format!("$SYS/{site}"));
    }
    let retained = holding(topics.iter().map(String::as_str));
    for (filter, matched, steps_max) in [
        ("site/+/status", 50, 105),
        ("site/+/nothing", 0, 105),
        ("+/+/status", 50, 105),
        ("+/+/meter/7", 50, 105),
        ("site/7/meter/#", 200, 205),
        ("other/#", 0, 5),
        ("site/+", 0, 55),
        ("+", 0, 5),
        ("zzz/+", 0, 3),
        ("$SYS/+", 50, 55),
    ] {
        let (visited, calls) = replay(&retained, filter, 1);
        assert_eq!(visited.len(), matched, "{filter}");
        assert!(calls <= steps_max, "{filter} took {calls} steps");
    }
}

#[test]
fn one_call_looks_at_few_topics_even_if_nothing_matches() {
    let looks: Rc<Cell<usize>> = Rc::default();
    let mut retained = empty();
    for site in 0..20_000 {
        let note =
            Note { topic: format!("site/{site}/a"), text: String::new(), owner: 1, looks: looks.clone() };
        retained.set(note, at(1, 0));
    }
    let mut cursor = RetainedCursor::default();
    let mut calls = 0;
    loop {
        looks.set(0);
        let scan = retained.scan("site/+/b", &mut cursor, 10, |_| panic!("nothing matches"));
        assert!(looks.get() <= 11 * 25, "{} looks in one call", looks.get());
        calls += 1;
        if scan == Scan::Done {
            break;
        }
    }
    assert!(calls >= 2_000, "{calls} calls of at most 10 steps for 20,000 sites");
}

#[test]
fn an_exact_filter_finds_its_topic_in_one_step() {
    let retained = holding(["a/b", "a/b/c", "$SYS/x", "a"]);
    assert_eq!(replay(&retained, "a/b", 1), (vec!["a/b".to_owned()], 1));
    assert_eq!(replay(&retained, "$SYS/x", 1), (vec!["$SYS/x".to_owned()], 1));
    assert_eq!(replay(&retained, "a/c", 1), (vec![], 1));
}

#[test]
fn a_topic_keeps_its_last_message_only() {
    let mut retained = empty();
    assert_eq!(retained.set(note("a", "1"), at(1, 0)), SetOutcome::Stored { was_new: true });
    assert_eq!(retained.set(note("a", "22"), at(2, 0)), SetOutcome::Stored { was_new: false });
    assert_eq!(retained.get("a").map(|note| note.text.as_str()), Some("22"));
    assert_eq!((retained.len(), retained.bytes()), (1, 3));
    assert!(retained.clear("a", at(3, 0)));
    assert!(!retained.clear("a", at(4, 0)));
    assert_eq!((retained.get("a"), retained.len(), retained.bytes()), (None, 0, 0));
    assert!(retained.is_empty());
}

#[test]
fn an_older_write_loses_also_against_a_clear() {
    let mut retained = empty();
    retained.set(note("a", "new"), at(5, 1));
    for version in [at(4, 9), at(5, 0), at(5, 1)] {
        assert_eq!(retained.set(note("a", "old"), version), SetOutcome::Older);
        assert!(!retained.clear("a", version));
    }
    assert_eq!(retained.get("a").map(|note| note.text.as_str()), Some("new"));

    assert!(retained.clear("a", at(6, 0)));
    assert!(!retained.clear("b", at(6, 1)));
    for topic in ["a", "b"] {
        assert_eq!(retained.set(note(topic, "late"), at(5, 2)), SetOutcome::Older);
        assert_eq!(retained.replicate(note(topic, "late"), at(5, 2)), SetOutcome::Older);
        assert_eq!(retained.get(topic), None);
    }
    assert_eq!(retained.version_of("a"), Some(at(6, 0)));
    assert_eq!(retained.version_of("b"), Some(at(6, 1)));
    assert_eq!(replay(&retained, "#", 1).0, [""; 0]);
    assert_eq!(retained.set(note("a", "newer"), at(6, 1)), SetOutcome::Stored { was_new: true });
    assert_eq!(retained.tombstones(), 1);
}

#[test]
fn an_expired_message_goes_and_only_newer_ones_may_follow() {
    let mut retained = holding(["a"]);
    assert!(!retained.expire("b"));
    assert!(retained.expire("a"));
    assert!(!retained.expire("a"));
    assert_eq!((retained.get("a"), retained.len(), retained.bytes()), (None, 0, 0));
    assert_eq!(retained.set(note("a", "again"), at(1, 0)), SetOutcome::Older);
    assert_eq!(retained.set(note("a", "new"), at(1, 1)), SetOutcome::Stored { was_new: true });
}

#[test]
fn replicas_agree_in_whatever_order_writes_arrive() {
    for seed in 0..100 {
        let mut prng = Prng::new(seed);
        let mut writes: Vec<(String, Option<String>, RetainedVersion)> = Vec::new();
        for counter in 0..60 {
            let text = (!prng.one_in(3)).then(|| format!("{counter}"));
            let topic = ["a", "a/b", "b", "c"][usize::try_from(prng.below(4)).unwrap()];
            let core = u16::try_from(prng.below(2)).unwrap();
            writes.push((topic.to_owned(), text.clone(), at(counter / 2, core)));
        }
        writes.sort_by_key(|(topic, _, version)| (topic.clone(), *version));
        writes.dedup_by_key(|(topic, _, version)| (topic.clone(), *version));
        let mut last: BTreeMap<&str, (&Option<String>, RetainedVersion)> = BTreeMap::new();
        for (topic, text, version) in &writes {
            last.insert(topic, (text, *version));
        }
        let messages =
            last.iter().filter_map(|(topic, (text, version))| Some((*topic, (*text).as_ref()?, *version)));
        let expected: Vec<(Note, RetainedVersion)> =
            messages.map(|(topic, text, version)| (note(topic, text), version)).collect();

        for _ in 0..5 {
            let mut retained = empty();
            let mut rest: Vec<_> = writes.iter().collect();
            while !rest.is_empty() {
                let drawn = usize::try_from(prng.below(rest.len() as u64)).unwrap();
                match rest.swap_remove(drawn) {
                    (topic, Some(text), version) => drop(retained.replicate(note(topic, text), *version)),
                    (topic, None, version) => drop(retained.clear(topic, *version)),
                }
            }
            let kept = retained.iter().map(|(note, version)| (&note.topic, &note.text, version));
            let expected = expected.iter().map(|(note, version)| (&note.topic, &note.text, *version));
            assert!(kept.eq(expected), "seed {seed}");
            let bytes = retained.iter().map(|(note, _)| note.cost_bytes()).sum::<usize>();
            assert_eq!(retained.bytes(), bytes, "seed {seed}");
        }
    }
}

#[test]
fn tombstones_go_when_their_rivals_cannot_come_any_more() {
    let mut retained = empty();
    for counter in 1..=10 {
        retained.clear(&format!("t/{counter}"), at(counter, 0));
    }
    retained.forget_tombstones_before(4);
    assert_eq!(retained.tombstones(), 7);
    assert_eq!((retained.version_of("t/3"), retained.version_of("t/4")), (None, Some(at(4, 0))));
    assert_eq!(retained.set(note("t/4", "late"), at(2, 0)), SetOutcome::Older);
    assert_eq!(retained.set(note("t/3", "new"), at(2, 0)), SetOutcome::Stored { was_new: true });
    retained.forget_tombstones_before(u64::MAX);
    assert_eq!((retained.tombstones(), retained.len()), (0, 1));
}

#[test]
fn the_oldest_tombstones_go_first_when_there_are_too_many() {
    let limits = RetainedLimits { tombstones_max: 3, ..RetainedLimits::default() };
    let mut retained: Retained<Note> = Retained::new(SEED, limits);
    for counter in [5, 1, 4, 2, 3] {
        retained.clear(&format!("t/{counter}"), at(counter, 0));
    }
    let remembered = (1..=5).filter(|n| retained.version_of(&format!("t/{n}")).is_some());
    assert_eq!(remembered.collect::<Vec<_>>(), [3, 4, 5]);

    let limits = RetainedLimits { tombstone_bytes_max: 10_000, ..RetainedLimits::default() };
    let mut retained: Retained<Note> = Retained::new(SEED, limits);
    for counter in 1..=20 {
        retained.clear(&format!("{counter}/{}", "x".repeat(3_000)), at(counter, 0));
    }
    assert_eq!(retained.tombstones(), 3);
}

#[test]
fn a_full_store_takes_replacements_that_fit_and_nothing_new() {
    let limits = RetainedLimits { messages_max: 2, bytes_max: 20, ..RetainedLimits::default() };
    let mut retained: Retained<Note> = Retained::new(SEED, limits);
    retained.set(note("a", "123456789"), at(1, 0));
    retained.set(note("b", "1"), at(2, 0));
    assert_eq!(retained.set(note("c", ""), at(3, 0)), SetOutcome::Full);
    assert_eq!(retained.get("c"), None);
    assert_eq!(retained.set(note("b", "123456789"), at(4, 0)), SetOutcome::Stored { was_new: false });
    assert_eq!((retained.len(), retained.bytes()), (2, 20));
    assert_eq!(retained.set(note("b", "1234567890"), at(5, 0)), SetOutcome::Full);
    assert_eq!(retained.get("b").map(|note| note.text.as_str()), Some("123456789"));
    assert_eq!(retained.version_of("b"), Some(at(4, 0)));

    assert!(retained.clear("a", at(6, 0)));
    assert_eq!(retained.set(note("c", "123456789012345"), at(7, 0)), SetOutcome::Full);
    assert_eq!(retained.set(note("c", "1"), at(7, 0)), SetOutcome::Stored { was_new: true });
}

#[test]
fn one_owner_cannot_take_the_room_of_all_and_topics_change_their_owner() {
    let limits = RetainedLimits { owner_bytes_max: 10, ..RetainedLimits::default() };
    let mut retained: Retained<Note> = Retained::new(SEED, limits);
    assert_eq!(retained.set(note_of(7, "a", "12345"), at(1, 0)), SetOutcome::Stored { was_new: true });
    assert!(!retained.has_room("b", 5, 7));
    assert_eq!(retained.set(note_of(7, "b", "1234"), at(2, 0)), SetOutcome::Full);
    assert_eq!(retained.set(note_of(7, "b", "123"), at(3, 0)), SetOutcome::Stored { was_new: true });
    assert_eq!(retained.set(note_of(7, "a", "123456"), at(4, 0)), SetOutcome::Full);
    // Another one takes over a topic: its cost moves along, and the first has room again.
    assert_eq!(retained.set(note_of(8, "a", "123456"), at(5, 0)), SetOutcome::Stored { was_new: false });
    assert_eq!(retained.set(note_of(7, "c", "12345"), at(6, 0)), SetOutcome::Stored { was_new: true });
    assert_eq!(retained.set(note_of(7, "d", ""), at(7, 0)), SetOutcome::Full);
    // What is cleared or expires costs its owner nothing any more.
    assert!(retained.clear("c", at(8, 0)));
    assert!(retained.expire("b"));
    assert_eq!(retained.set(note_of(7, "d", "123456789"), at(9, 0)), SetOutcome::Stored { was_new: true });
    // The broker's own messages have no share to exceed.
    assert_eq!(
        retained.set(note_of(0, "$SYS/x", "1234567890"), at(10, 0)),
        SetOutcome::Stored { was_new: true }
    );
}

#[test]
fn what_another_core_accepted_is_kept_beyond_the_limit_and_can_be_replaced_by_less() {
    let limits = RetainedLimits { messages_max: 1, bytes_max: 10, ..RetainedLimits::default() };
    let mut retained: Retained<Note> = Retained::new(SEED, limits);
    retained.set(note("a", "123456789"), at(1, 0));
    assert_eq!(retained.replicate(note("b", "12345"), at(1, 1)), SetOutcome::Stored { was_new: true });
    assert_eq!((retained.len(), retained.bytes()), (2, 16));
    assert_eq!(retained.set(note("b", "123456"), at(2, 0)), SetOutcome::Full);
    assert_eq!(retained.set(note("b", "1234"), at(2, 0)), SetOutcome::Stored { was_new: false });
}

#[test]
fn the_order_holds_through_growth_and_shrinkage() {
    let mut prng = Prng::new(SEED);
    let mut retained = empty();
    let mut model: BTreeSet<String> = BTreeSet::new();
    for counter in 0..30_000 {
        let topic = format!("{:05}", prng.below(8_000));
        let is_growing = counter < 15_000;
        if prng.one_in(8) != is_growing {
            retained.set(note(&topic, ""), at(counter, 0));
            model.insert(topic);
        } else {
            assert_eq!(retained.clear(&topic, at(counter, 0)), model.remove(&topic));
        }
    }
    assert_eq!(retained.len(), model.len());
    assert!(retained.iter().map(|(note, _)| &note.topic).eq(model.iter()));
    assert_eq!(replay(&retained, "+", 7).0, Vec::from_iter(model));
}

#[test]
fn topics_of_65535_levels_are_replayed_on_a_small_stack() {
    let deep = || {
        let slashes = "/".repeat(65_534);
        let retained = holding([&*slashes, "/", "a"]);
        let plusses = vec!["+"; 65_535].join("/");
        for (filter, matched) in
            [("#", 3), ("/#", 2), (&*plusses, 1), (&*(slashes.clone() + "/#"), 1), ("+/+", 1)]
        {
            assert_eq!(replay(&retained, filter, 1).0.len(), matched);
        }
    };
    let small = thread::Builder::new().stack_size(64 * 1024).spawn(deep).unwrap();
    small.join().expect("no stack overflow and no wrong answer");
}
