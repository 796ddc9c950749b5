use super::*;

#[test]
fn exposed_names_follow_the_contract() {
    let cases = [
        ("github", "get_issue", None, Some("github_get_issue")),
        ("github", "get_issue", Some("issue"), Some("issue")),
        ("github", "get.issue", None, None),
        ("github", "get.issue", Some("get-issue"), Some("get-issue")),
        ("github", "x", Some(""), None),
        ("github", "ä", None, None),
    ];
    for (server, tool, alias, exposed) in cases {
        assert_eq!(exposed_name(server, tool, alias).as_deref(), exposed, "{server} {tool} {alias:?}");
    }
    assert!(is_exposed_name(&"a".repeat(64)));
    assert!(!is_exposed_name(&"a".repeat(65)));
}
