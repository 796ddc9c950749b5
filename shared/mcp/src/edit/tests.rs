use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

type Edits<'a> = &'a [(&'a str, Edit<'a>)];

#[test]
fn only_the_edited_members_change() {
    const fn set(value: &str) -> Edit<'_> {
        Edit::Set(value)
    }
    let cases: &[(&str, Edits<'_>, &str)] = &[
        (r#"{ "a" : 1.0 , "b":"\u0041" }"#, &[("a", set("2"))], r#"{ "a" : 2 , "b":"\u0041" }"#),
        (r#"{ "a" : 1 , "b":2 }"#, &[("b", Edit::Remove)], r#"{ "a" : 1 }"#),
        (r#"{ "a" : 1 , "b":2 }"#, &[("a", Edit::Remove)], r#"{ "b":2 }"#),
        (r#"{"a":1, "b":2,  "c":3}"#, &[("b", Edit::Remove)], r#"{"a":1,  "c":3}"#),
        (r#"{"a":1, "b":2,  "c":3}"#, &[("a", Edit::Remove), ("b", Edit::Remove)], r#"{"c":3}"#),
        (r#"{"a":1 }"#, &[("a", Edit::Remove)], r#"{ }"#),
        (r#"{"a":1 }"#, &[("a", Edit::Remove), ("z", set("0"))], r#"{"z":0 }"#),
        ("{}", &[("z", set("[ ]"))], r#"{"z":[ ]}"#),
        (" { } ", &[("z", set("0"))], r#" {"z":0 } "#),
        (r#"{"a":1}"#, &[("q\"", set("0")), ("z", set("1"))], r#"{"a":1,"q\"":0,"z":1}"#),
        (r#"{"\u0061":1}"#, &[("a", set("2"))], r#"{"\u0061":2}"#),
        (r#"{"a":1}"#, &[("a", set("2")), ("a", set("3"))], r#"{"a":2}"#),
        (r#"{"a":1}"#, &[("b", set("2")), ("b", set("3"))], r#"{"a":1,"b":2}"#),
        (r#"{"a":1}"#, &[("b", Edit::Remove)], r#"{"a":1}"#),
    ];
    for (before, edits, after) in cases {
        assert_eq!(edit_object(before, edits).as_deref(), Ok(*after), "{before} {edits:?}");
        let trimmed = before.trim();
        assert_eq!(edit_raw(&raw(trimmed), edits).unwrap().get(), after.trim(), "{before} {edits:?}");
    }
}

#[test]
fn what_cannot_be_rewritten_without_doubt_is_refused() {
    let set = [("a", Edit::Set("1"))];
    for text in ["", "[]", "null", "{", "{}x", "{\"a\":}", "{\"a\":01}"] {
        assert_eq!(edit_object(text, &set), Err(EditError::NotAnObject), "{text}");
    }
    assert_eq!(edit_object(r#"{"b":1,"b":2}"#, &set), Err(EditError::DuplicateName));
    for value in ["", "1,2", "}", "{\"b\":1", "x"] {
        assert_eq!(edit_object("{}", &[("a", Edit::Set(value))]), Err(EditError::BadValue), "{value}");
        assert!(edit_raw(&raw("{}"), &[("a", Edit::Set(value))]).is_err(), "{value}");
    }
}

#[test]
fn params_and_meta_are_edited_together() {
    let meta = [("k", Edit::Set("1")), ("gone", Edit::Remove)];
    let cases = [
        (
            Some(r#"{"name":"x","_meta":{"gone":1,"kept":2}}"#),
            Some(r#"{"name":"y","_meta":{"kept":2,"k":1}}"#),
        ),
        (Some(r#"{"name":"x"}"#), Some(r#"{"name":"y","_meta":{"k":1}}"#)),
        (Some(r#"{"_meta":null,"name":"x"}"#), Some(r#"{"_meta":{"k":1},"name":"y"}"#)),
        (None, Some(r#"{"name":"y","_meta":{"k":1}}"#)),
    ];
    for (before, after) in cases {
        let before = before.map(raw);
        let edited = edit_params(before.as_deref(), &[("name", Edit::Set("\"y\""))], &meta).unwrap();
        assert_eq!(edited.as_deref().map(RawValue::get), after);
    }
}

#[test]
fn a_meta_that_was_emptied_goes_and_nothing_is_made_of_nothing() {
    let remove = [("k", Edit::Remove)];
    let edited = |text: Option<&str>| {
        let text = text.map(raw);
        edit_params(text.as_deref(), &[], &remove).unwrap().map(|raw| raw.get().to_owned())
    };
    assert_eq!(edited(Some(r#"{"a":1,"_meta":{"k":1}}"#)).as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(edited(Some(r#"{"a":1,"_meta":{}}"#)).as_deref(), Some(r#"{"a":1,"_meta":{}}"#));
    assert_eq!(edited(Some("{}")).as_deref(), Some("{}"));
    assert_eq!(edited(None), None);
    assert!(edit_params(Some(&raw(r#"{"_meta":[]}"#)), &[], &remove).is_err());
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z\"\\\\é{}\\[\\],:]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-d\"]{0,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::hash_map("[a-e]", json(), 0..6).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn edits_do_to_the_text_what_they_do_to_the_tree(
        before in object(),
        changes in prop::collection::hash_map("[a-g]", prop::option::of(json()), 0..5),
        pretty: bool,
    ) {
        let text = if pretty {
            serde_json::to_string_pretty(&before).unwrap()
        } else {
            serde_json::to_string(&before).unwrap()
        };
        let values: Vec<(String, Option<String>)> =
            changes.iter().map(|(name, value)| (name.clone(), value.as_ref().map(Value::to_string))).collect();
        let edits: Vec<(&str, Edit<'_>)> = values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref().map_or(Edit::Remove, Edit::Set)))
            .collect();
        let mut expected = before.clone();
        for (name, value) in &changes {
            match value {
                Some(value) => expected.insert(name.clone(), value.clone()),
                None => expected.remove(name),
            };
        }
        let edited = edit_object(&text, &edits).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&edited).unwrap(), Value::Object(expected));
        let as_raw = edit_raw(&raw(&text), &edits).unwrap();
        prop_assert_eq!(as_raw.get(), &edited);
        // Members that no edit names are there byte for byte.
        for (name, value) in crate::object::members(&raw(&text)).unwrap() {
            if !changes.contains_key(name.as_ref()) {
                let kept = crate::object::member(&as_raw, &name).map(RawValue::get);
                prop_assert_eq!(kept, Some(value.get()));
            }
        }
        if changes.is_empty() {
            prop_assert_eq!(edited, text);
        }
    }

    #[test]
    fn any_text_is_answered_without_panic(text in any::<String>(), name in any::<String>(), value in any::<String>()) {
        let _ = edit_object(&text, &[(&name, Edit::Set(&value)), ("a", Edit::Remove)]);
    }
}
