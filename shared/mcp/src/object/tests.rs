use proptest::prelude::*;

use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[test]
fn members_keep_their_order_and_bytes() {
    let object = raw(r#"{ "b" : [1, {"x":"}"}] , "a":"\u0041", "c":{} }"#);
    let found: Vec<_> =
        members(&object).unwrap().into_iter().map(|(n, v)| (n.into_owned(), v.get())).collect();
    assert_eq!(
        found,
        [("b".to_owned(), r#"[1, {"x":"}"}]"#), ("a".to_owned(), r#""\u0041""#), ("c".to_owned(), "{}")]
    );
    assert_eq!(member(&object, "a").and_then(string).as_deref(), Some("A"));
    assert!(member(&object, "d").is_none());
}

#[test]
fn an_object_that_repeats_a_name_has_no_members() {
    let object = raw(r#"{"a":1,"b":2,"a":3}"#);
    assert!(members(&object).is_none());
    assert!(member(&object, "b").is_none());
}

#[test]
fn a_known_object_is_read_up_to_the_member() {
    let object = raw(r#"{"a":{"b":"no"},"b":"\u0079es","c":[1]}"#);
    assert_eq!(text_of_known(&object, "b").as_deref(), Some("yes"));
    assert_eq!(text_of_known(&object, "c"), None);
    assert_eq!(text_of_known(&object, "d"), None);
}

#[test]
fn what_is_no_object_has_no_members() {
    for text in ["[]", "1", "null", "\"{}\""] {
        assert!(members(&raw(text)).is_none(), "{text}");
    }
}

proptest! {
    #[test]
    fn quoting_is_undone_by_reading(text in any::<String>()) {
        prop_assert_eq!(&serde_json::from_str::<String>(&quoted(&text)).unwrap(), &text);
        let as_raw = raw_string(&text);
        prop_assert_eq!(string(&as_raw).unwrap(), text);
    }
}
