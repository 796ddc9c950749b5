use super::*;

#[test]
fn every_method_is_found_by_its_name_and_known_in_some_era() {
    for method in Method::ALL {
        assert_eq!(Method::parse(method.as_str()), Some(*method));
        assert!(method.known_in(Era::Modern) || method.known_in(Era::Legacy), "{method:?}");
    }
    assert_eq!(Method::parse("tools/Call"), None);
}

#[test]
fn methods_that_were_removed_or_added_are_known_in_one_era_only() {
    for (name, modern, legacy) in [
        ("initialize", false, true),
        ("ping", false, true),
        ("resources/subscribe", false, true),
        ("logging/setLevel", false, true),
        ("server/discover", true, false),
        ("subscriptions/listen", true, false),
        ("tools/call", true, true),
    ] {
        let method = Method::parse(name).unwrap();
        assert_eq!((method.known_in(Era::Modern), method.known_in(Era::Legacy)), (modern, legacy), "{name}");
    }
}

#[test]
fn only_what_the_caching_page_lists_is_cacheable() {
    let cacheable: Vec<_> = Method::ALL.iter().filter(|m| m.is_cacheable()).map(|m| m.as_str()).collect();
    assert_eq!(
        cacheable,
        [
            "server/discover",
            "tools/list",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
            "resources/read"
        ]
    );
}
