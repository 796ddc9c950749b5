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
fn several_members_are_picked_in_one_pass() {
    let object = raw(r#"{"c":[1],"a":{"b":"no"},"\u0062":"yes"}"#);
    let found = pick(&object, ["b", "d", "a"]).unwrap().map(|value| value.map(RawValue::get));
    assert_eq!(found, [Some("\"yes\""), None, Some(r#"{"b":"no"}"#)]);
    assert!(pick(&raw(r#"{"a":1,"a":2}"#), ["b"]).is_none());
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
