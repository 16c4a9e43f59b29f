//! The slow truth about topic filters, for tests of everything that matches.
//!
//! Why a second matcher in this crate: it shares no code with the indexes that are tested against it, and the table
//! below checks the matcher itself.

/// Whether `filter` matches `topic`, by comparing lists of levels. Source: section 4.7.
pub(crate) fn is_match(filter: &str, topic: &str) -> bool {
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    if ["+", "#"].contains(&filter[0]) && topic[0].starts_with('$') {
        return false;
    }
    let fits = |filter: &[&str], topic: &[&str]| {
        filter.len() == topic.len()
            && filter.iter().zip(topic).all(|(&level, &name)| level == "+" || level == name)
    };
    match filter.split_last() {
        Some((&"#", parent)) => topic.len() >= parent.len() && fits(parent, &topic[..parent.len()]),
        _ => fits(&filter, &topic),
    }
}

/// Filters, and by hand which of the topics they match: the places where brokers have been wrong.
/// Source: sections 4.7.1.2, 4.7.1.3 and 4.7.2, and the non-normative examples there.
pub(crate) const MATRIX: [(&str, &[&str]); 26] = [
    (
        "#",
        &[
            "/", "//", "/finance", "/x", "a", "a/", "a/$b", "a//b", "a/b", "a/b/c", "a-b", "a-b/c",
            "finance", "foo", "é",
        ],
    ),
    ("+", &["a", "a-b", "finance", "foo", "é"]),
    ("+/+", &["/", "/finance", "/x", "a/", "a/$b", "a/b", "a-b/c"]),
    ("/+", &["/", "/finance", "/x"]),
    ("/#", &["/", "//", "/finance", "/x"]),
    ("//#", &["/", "//"]),
    ("+/x", &["/x"]),
    (
        "+/#",
        &[
            "/", "//", "/finance", "/x", "a", "a/", "a/$b", "a//b", "a/b", "a/b/c", "a-b", "a-b/c",
            "finance", "foo", "é",
        ],
    ),
    ("+/b/#", &["a/b", "a/b/c"]),
    ("+/+/+", &["//", "a//b", "a/b/c"]),
    ("a", &["a"]),
    ("a/", &["a/"]),
    ("a/#", &["a", "a/", "a/$b", "a//b", "a/b", "a/b/c"]),
    ("a/+", &["a/", "a/$b", "a/b"]),
    ("a/+/b", &["a//b"]),
    ("a/+/#", &["a/", "a/$b", "a//b", "a/b", "a/b/c"]),
    ("a/b/#", &["a/b", "a/b/c"]),
    ("a/b/c/#", &["a/b/c"]),
    ("a-b/#", &["a-b", "a-b/c"]),
    ("foo/#", &["foo"]),
    ("foo/+", &[]),
    ("$SYS/#", &["$SYS", "$SYS/x", "$SYS/x/y"]),
    ("$SYS/+", &["$SYS/x"]),
    ("$SYS/+/+", &["$SYS/x/y"]),
    ("$abc/x", &["$abc/x"]),
    ("A", &[]),
];

/// The topics of the matrix.
pub(crate) const TOPICS: [&str; 20] = [
    "$", "$SYS", "$SYS/x", "$SYS/x/y", "$abc/x", "/", "//", "/finance", "/x", "a", "a/", "a/$b", "a//b",
    "a/b", "a/b/c", "a-b", "a-b/c", "finance", "foo", "é",
];

mod tests {
    use super::*;

    #[test]
    fn the_oracle_agrees_with_the_matrix_written_by_hand() {
        for (filter, matched) in MATRIX {
            for topic in TOPICS {
                assert_eq!(is_match(filter, topic), matched.contains(&topic), "{filter} against {topic}");
            }
        }
    }
}
