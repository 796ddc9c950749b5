use proptest::prelude::*;

use super::*;

#[test]
fn patterns_match_as_the_table_says() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("*", "anything at all/é", true),
        ("get_issue", "get_issue", true),
        ("get_issue", "get_issues", false),
        ("get_issue", "Get_issue", false),
        ("get_*", "get_", true),
        ("get_*", "get_issue", true),
        ("get_*", "forget_issue", false),
        ("*_issue", "get_issue", true),
        ("*_issue", "get_issue_", false),
        ("g?t", "get", true),
        ("g?t", "gét", true),
        ("g?t", "gt", false),
        ("g?t", "geet", false),
        ("?*", "", false),
        ("?*", "é", true),
        ("*a*b*c*", "xxaxxbxxcxx", true),
        ("*a*b*c*", "xxcxxbxxaxx", false),
        ("a**b", "ab", true),
        ("*ab", "aab", true),
        ("*aab", "aaaab", true),
        ("file:///data/*", "file:///data/a/b.txt", true),
        ("file:///data/*", "file:///database", false),
    ] {
        let found = Pattern::parse(pattern).unwrap().matches(text);
        assert_eq!(found, expected, "{pattern:?} on {text:?}");
    }
}

#[test]
fn what_is_no_pattern_is_refused() {
    assert_eq!(Pattern::parse(""), Err(BadPattern::Empty));
    assert_eq!(Pattern::parse("a\nb"), Err(BadPattern::Control));
    assert_eq!(Pattern::parse(&"a".repeat(MAX_PATTERN_BYTES + 1)), Err(BadPattern::TooLong));
    assert!(Pattern::parse(&"a".repeat(MAX_PATTERN_BYTES)).is_ok());
}

#[test]
fn a_uri_that_could_mean_something_else_matches_nothing() {
    let all = Pattern::parse("*").unwrap();
    for uri in [
        "",
        "file:///data/../etc/passwd",
        "file:///data/./x",
        "file:///data/..",
        "file:///data/%2e%2e/x",
        "file:///data/.%2E/x",
        "file:///data/%2E",
        "file:///data%2fetc",
        "file:///data%2Fetc",
        "file:///data\\..\\etc",
        "file:///data%5c..",
        "file:../etc",
        "https://x/a/..?b",
        "https://x/a/..#b",
        "file:///data/a\0b",
        "file:///data/a\nb",
    ] {
        assert!(!all.matches_uri(uri), "{uri:?}");
    }
    for uri in ["file:///data/a..b/.hidden/...", "test://static/1", "https://x/a?b=c%20d", "urn:isbn:1", "x"]
    {
        assert!(all.matches_uri(uri), "{uri:?}");
    }
    // A literal pattern is no way around it.
    assert!(!Pattern::parse("file:///a/../b").unwrap().matches_uri("file:///a/../b"));
}

#[test]
fn a_hostile_pattern_costs_no_more_than_its_length_for_each_character() {
    // With a backtracking matcher this takes longer than the universe lasts.
    let pattern = Pattern::parse(&format!("{}b", "*a".repeat(200))).unwrap();
    assert!(!pattern.matches(&"a".repeat(100_000)));
}

/// The definition of a glob, without a thought for its cost.
fn slow(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|taken| slow(rest, &text[taken..])),
        Some(('?', rest)) => !text.is_empty() && slow(rest, &text[1..]),
        Some((c, rest)) => text.first() == Some(c) && slow(rest, &text[1..]),
    }
}

proptest! {
    #[test]
    fn every_match_is_the_one_of_the_definition(pattern in "[ab?*é]{1,8}", text in "[abé]{0,10}") {
        let found = Pattern::parse(&pattern).unwrap().matches(&text);
        let pattern: Vec<char> = pattern.chars().collect();
        let text: Vec<char> = text.chars().collect();
        prop_assert_eq!(found, slow(&pattern, &text));
    }

    #[test]
    fn a_set_matches_what_one_of_its_patterns_matches(patterns in proptest::collection::vec("[ab?*]{1,4}", 0..6), text in "[ab]{0,6}") {
        let (set, whole) = PatternSet::new(&patterns);
        prop_assert!(whole);
        let one = patterns.iter().any(|pattern| Pattern::parse(pattern).unwrap().matches(&text));
        prop_assert_eq!(set.matches(&text), one);
    }
}
