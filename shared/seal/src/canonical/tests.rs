use super::*;

#[test]
fn order_and_space_do_not_matter_and_everything_else_does() {
    let canonical = |text: &str| canonical_json(text.as_bytes()).unwrap();
    assert_eq!(
        canonical(r#" { "b" : [1, 2.50] , "a" : {"y":null,"x":"A\n"} } "#),
        r#"{"a":{"x":"A\n","y":null},"b":[1,2.50]}"#
    );
    assert_ne!(canonical("9007199254740993"), canonical("9007199254740992"));
    assert_ne!(canonical("1.0"), canonical("1"));
    assert_eq!(canonical(r#""\u00e9\/""#), "\"é/\"");
    // UTF-16 order: U+10000 (d800 dc00) comes before U+FFFF.
    assert_eq!(canonical("{\"\u{ffff}\":1,\"\u{10000}\":2}"), "{\"\u{10000}\":2,\"\u{ffff}\":1}");
}

#[test]
fn what_has_no_one_meaning_has_no_canonical_form() {
    for text in ["", "{", "[1,]", r#"{"a":1,"a":2}"#, r#"[{"a":1,"\u0061":2}]"#, "1 2"] {
        assert!(canonical_json(text.as_bytes()).is_err(), "{text}");
    }
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    assert!(canonical_json(deep.as_bytes()).is_err());
    let fits = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    assert!(canonical_json(fits.as_bytes()).is_ok());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_answered_and_a_canonical_form_is_its_own(bytes: Vec<u8>, text in r#"[\[\]{}:,"a-c0-9 ]{0,24}"#) {
        for input in [bytes.as_slice(), text.as_bytes()] {
            if let Ok(canonical) = canonical_json(input) {
                proptest::prop_assert_eq!(canonical_json(canonical.as_bytes()).unwrap(), canonical);
            }
        }
    }
}
