//! Tests of the filter tree against the matrix, against the naive matcher, and on topics of extreme depth.

use std::collections::BTreeMap;
use std::thread;

use stdx::Prng;

use super::FilterTree;
use super::oracle::{MATRIX, TOPICS, is_match};

const SEED: u64 = 20_240_229;

fn visited<T: Copy>(tree: &FilterTree<T>, topic: &str) -> Vec<T> {
    let mut visited = Vec::new();
    tree.matches(topic, |&value| visited.push(value));
    visited
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values
}

fn pick<'a>(prng: &mut Prng, choices: &[&'a str]) -> &'a str {
    choices[usize::try_from(prng.below(choices.len() as u64)).unwrap()]
}

/// One to five levels of `names`, never empty as a whole, ending with `#` at times if the names have a `+`.
fn draw(prng: &mut Prng, names: &[&str]) -> String {
    let depth = 1 + prng.below(5);
    let mut levels: Vec<&str> = (0..depth).map(|_| pick(prng, names)).collect();
    if names.contains(&"+") && prng.one_in(3) {
        levels.pop();
        levels.push("#");
    }
    let drawn = levels.join("/");
    if drawn.is_empty() { "/".to_owned() } else { drawn }
}

fn draw_filter(prng: &mut Prng) -> String {
    draw(prng, &["a", "b", "", "$x", "+", "+"])
}

fn draw_topic(prng: &mut Prng) -> String {
    draw(prng, &["a", "b", "", "$x", "c"])
}

#[test]
fn filters_match_the_topics_of_the_matrix_and_no_others() {
    let mut tree = FilterTree::new(SEED);
    for (index, (filter, _)) in MATRIX.iter().enumerate() {
        *tree.entry(filter) = index;
    }
    for topic in TOPICS {
        let rows = MATRIX.iter().enumerate().filter(|(_, (_, matched))| matched.contains(&topic));
        let expected: Vec<usize> = rows.map(|(index, _)| index).collect();
        assert_eq!(sorted(visited(&tree, topic)), expected, "{topic}");
    }
}

#[test]
fn any_set_of_filters_matches_as_the_naive_matcher_says() {
    for seed in 0..40 {
        let mut prng = Prng::new(seed);
        let mut tree: FilterTree<u64> = FilterTree::new(seed);
        let mut model: BTreeMap<String, u64> = BTreeMap::new();
        for round in 0..600 {
            let filter = draw_filter(&mut prng);
            if prng.one_in(2) {
                assert_eq!(tree.remove(&filter), model.remove(&filter), "seed {seed}: remove {filter}");
            } else {
                *tree.entry(&filter) = round;
                model.insert(filter, round);
            }
            let asked = draw_filter(&mut prng);
            assert_eq!(tree.get(&asked), model.get(&asked), "seed {seed}: get {asked}");
            assert_eq!(tree.get_mut(&asked).copied(), model.get(&asked).copied());
            assert_eq!((tree.len(), tree.is_empty()), (model.len(), model.is_empty()));

            let topic = draw_topic(&mut prng);
            let matching = model.iter().filter(|(filter, _)| is_match(filter, &topic));
            let expected = sorted(matching.map(|(_, &value)| value).collect());
            assert_eq!(sorted(visited(&tree, &topic)), expected, "seed {seed}, round {round}: {topic}");
        }
        let dumped: Vec<(String, u64)> = tree.iter().map(|(filter, &value)| (filter, value)).collect();
        assert_eq!(dumped, model.into_iter().collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn removing_every_filter_frees_every_slot() {
    let mut prng = Prng::new(SEED);
    let mut tree: FilterTree<u64> = FilterTree::new(SEED);
    for _ in 0..2000 {
        *tree.entry(&draw_filter(&mut prng)) += 1;
    }
    assert!(tree.slots_in_use() > tree.len());
    let filters: Vec<String> = tree.iter().map(|(filter, _)| filter).collect();
    for filter in filters {
        assert!(tree.remove(&filter).is_some_and(|times| times > 0));
        assert_eq!(tree.remove(&filter), None);
    }
    assert_eq!(tree.slots_in_use(), 0);
}

#[test]
fn asking_for_filters_that_are_not_there_adds_nothing() {
    let mut tree: FilterTree<u64> = FilterTree::new(SEED);
    *tree.entry("a/+/b") = 1;
    let before = tree.slots_in_use();
    for filter in ["a/+", "a/+/b/c", "a/#", "a/+/#", "+/+/b", "x/+", "a"] {
        assert_eq!(tree.get(filter), None, "{filter}");
        assert_eq!(tree.remove(filter), None, "{filter}");
    }
    assert_eq!(tree.slots_in_use(), before);
    assert_eq!(visited(&tree, "a/x/b"), [1]);
}

#[test]
fn the_order_of_visits_depends_on_the_filters_alone() {
    let filters = ["#", "+/#", "+/b", "a/#", "a/+", "a/b", "a/b/#", "+/+", "a/+/#", "+/b/#"];
    let mut forth = FilterTree::new(1);
    let mut back = FilterTree::new(2);
    *back.entry("a/b/c/+") = "gone";
    for index in 0..filters.len() {
        *forth.entry(filters[index]) = filters[index];
        *back.entry(filters[filters.len() - 1 - index]) = filters[filters.len() - 1 - index];
    }
    back.remove("a/b/c/+");
    let expected = ["a/b", "#", "a/#", "a/b/#", "a/+/#", "a/+", "+/#", "+/b/#", "+/b", "+/+/#", "+/+"];
    let expected: Vec<&str> = expected.into_iter().filter(|filter| filters.contains(filter)).collect();
    assert_eq!(visited(&forth, "a/b"), expected);
    assert_eq!(visited(&back, "a/b"), expected);
}

#[test]
fn topics_of_65535_levels_fit_a_small_stack() {
    let deep = || {
        let slashes = "/".repeat(65_534);
        let words = vec!["a"; 32_768].join("/");
        let mut plus_or_literal: FilterTree<u64> = FilterTree::new(SEED);
        for filter in [
            format!("{slashes}#"),
            vec!["+"; 65_535].join("/"),
            vec!["+"; 65_536].join("/"),
            vec!["a"; 32_767].join("/") + "/+",
            vec!["a"; 32_767].join("/") + "/b/#",
            "+/#".to_owned(),
            slashes.clone(),
        ] {
            *plus_or_literal.entry(&filter) = filter.len() as u64;
        }
        assert_eq!(sorted(visited(&plus_or_literal, &slashes)), [3, 65_534, 65_535, 131_069]);
        assert_eq!(sorted(visited(&plus_or_literal, &words)), [3, 65_535]);
        let filters: Vec<String> = plus_or_literal.iter().map(|(filter, _)| filter).collect();
        assert!(filters.iter().all(|filter| plus_or_literal.remove(filter).is_some()));
        assert_eq!(plus_or_literal.slots_in_use(), 0);
    };
    let small = thread::Builder::new().stack_size(64 * 1024).spawn(deep).unwrap();
    small.join().expect("no stack overflow and no wrong answer");
}
