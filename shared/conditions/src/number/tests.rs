use super::*;

#[test]
fn whole_numbers_are_taken_however_they_are_written() {
    let cases = [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("-0.0e5", Some(0)),
        ("100", Some(100)),
        ("100.0", Some(100)),
        ("1e2", Some(100)),
        ("1.5E1", Some(15)),
        ("-12", Some(-12)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("9007199254740993.0", Some(9_007_199_254_740_993)),
        ("99.5", None),
        ("1e-1", None),
        ("0.99999999999999999999", None),
        ("1e999999999", None),
        ("1e99999999999999999999", None),
        ("\"5\"", None),
        ("true", None),
        ("null", None),
        ("[1]", None),
    ];
    for (json, expected) in cases {
        assert_eq!(whole(json), expected, "{json}");
    }
}

#[test]
fn decimals_have_four_places_at_most_and_are_never_rounded() {
    let cases = [
        ("0", Some("0.0")),
        ("5", Some("5.0")),
        ("-5.25", Some("-5.25")),
        ("0.0001", Some("0.0001")),
        ("1e-4", Some("0.0001")),
        ("12.50000", Some("12.5")),
        ("1e3", Some("1000.0")),
        ("0.00001", None),
        ("922337203685477.5807", Some("922337203685477.5807")),
        ("922337203685477.5808", None),
        ("9223372036854775807", None),
        ("\"1.0\"", None),
    ];
    for (json, expected) in cases {
        assert_eq!(decimal(json).as_deref(), expected, "{json}");
        if let Some(text) = decimal(json) {
            let value = cedar_policy::RestrictedExpression::new_decimal(text);
            assert!(cedar_policy::Context::from_pairs([(String::new(), value)]).is_ok(), "{json}");
        }
    }
}
