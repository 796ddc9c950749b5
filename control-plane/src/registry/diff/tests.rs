use serde_json::json;

use super::*;

fn paths(changes: &[FieldChange]) -> Vec<(&str, Option<&str>, Option<&str>)> {
    changes
        .iter()
        .map(|change| (change.path.as_str(), change.before.as_deref(), change.after.as_deref()))
        .collect()
}

#[test]
fn a_change_names_the_smallest_field_that_holds_it() {
    let before = json!({"kind": "K", "metadata": {"name": "a"}, "spec": {"zone": "x", "grants": [{"bundle": "b"}], "n": 1}});
    let after = json!({"kind": "K", "metadata": {"name": "a", "labels": {"x.y/z": "1"}},
        "spec": {"zone": "y", "grants": [{"bundle": "c"}, {"bundle": "d"}], "n": 1}});
    assert_eq!(
        paths(&documents(Some(&before), Some(&after))),
        [
            ("metadata.labels", None, Some(r#"{"x.y/z":"1"}"#)),
            ("spec.grants[0].bundle", Some("\"b\""), Some("\"c\"")),
            ("spec.grants[1]", None, Some(r#"{"bundle":"d"}"#)),
            ("spec.zone", Some("\"x\""), Some("\"y\"")),
        ]
    );
}

#[test]
fn a_label_with_dots_stays_one_path_element() {
    let before = json!({"metadata": {"labels": {"a.b/c": "1"}}});
    let after = json!({"metadata": {"labels": {"a.b/c": "2"}}});
    assert_eq!(
        paths(&documents(Some(&before), Some(&after))),
        [("metadata.labels[\"a.b/c\"]", Some("\"1\""), Some("\"2\""))]
    );
}

#[test]
fn equal_documents_differ_in_nothing_and_new_ones_show_their_members() {
    let document = json!({"metadata": {"name": "a"}, "spec": {"zone": "x", "allow": ["*"]}});
    assert!(documents(Some(&document), Some(&document)).is_empty());
    let created = documents(None, Some(&document));
    assert_eq!(paths(&created), [("spec.allow", None, Some(r#"["*"]"#)), ("spec.zone", None, Some("\"x\""))]);
    let deleted = documents(Some(&document), None);
    assert_eq!(paths(&deleted), [("spec.allow", Some(r#"["*"]"#), None), ("spec.zone", Some("\"x\""), None)]);
}
