use proptest::prelude::*;

use super::*;

fn whole(text: &str, trust: Trust) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text, 64, trust);
    scanner.value()?;
    scanner.end()
}

/// JSON-like text: valid JSON, near misses and noise.
fn jsonish() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?[0-9]{1,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
        "\"([a-z\"\\\\]|\\\\u00[0-9a-g]{2}|é|\\\\n){0,12}\"",
        "[\\[\\]{}:,\" \\\\a-z0-9]{0,6}",
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec(("[a-c]{0,2}", inner), 0..4).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("\"{name}\" :{value}")).collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_accepted_is_what_serde_json_accepts(text in jsonish()) {
        // serde_json is stricter in one thing only: surrogates without a partner, which these texts do not hold.
        let by_serde = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        prop_assert_eq!(whole(&text, Trust::Upstream).is_ok(), by_serde, "{}", text);
    }

    #[test]
    fn any_text_is_scanned_without_panic(text in any::<String>()) {
        for trust in [Trust::Caller, Trust::Upstream, Trust::Json] {
            let _ = whole(&text, trust);
        }
    }

    #[test]
    fn a_plain_run_ends_at_the_first_special_byte(
        plain in 0_usize..200,
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let bytes = [vec![b'x'; plain], bytes].concat();
        let expected = bytes.iter().position(|b| matches!(*b, b'"' | b'\\' | 0..=0x1f)).unwrap_or(bytes.len());
        prop_assert_eq!(plain_run(&bytes), expected);
    }

    #[test]
    fn repeated_names_are_found_however_many_there_are(count in 0_usize..60, repeated in any::<prop::sample::Index>(), twice: bool) {
        let mut names: Vec<String> = (0..count).map(|n| format!("\"n{n}\":0")).collect();
        if twice && count > 0 {
            let copy = names[repeated.index(count)].clone();
            names.push(copy);
        }
        let text = format!("[{{{}}}]", names.join(","));
        let expected = if twice && count > 0 { Err(Fault::Duplicate) } else { Ok(()) };
        prop_assert_eq!(whole(&text, Trust::Caller), expected);
    }
}

#[test]
fn names_are_compared_after_unescaping() {
    assert_eq!(whole(r#"{"a":1,"\u0061":2}"#, Trust::Caller), Err(Fault::Duplicate));
    assert_eq!(whole(r#"{"a":{"b":1,"b":2}}"#, Trust::Caller), Err(Fault::Duplicate));
    assert_eq!(whole(r#"{"a":{"b":1,"b":2}}"#, Trust::Upstream), Ok(()));
    assert_eq!(whole(r#"[{"a":1},{"a":1}]"#, Trust::Caller), Ok(()));
}

#[test]
fn sixty_four_levels_are_allowed_and_one_more_is_not() {
    for (levels, expected) in [(64, Ok(())), (65, Err(Fault::Depth)), (100_000, Err(Fault::Depth))] {
        let arrays = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let objects = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        for trust in [Trust::Caller, Trust::Upstream] {
            assert_eq!(whole(&arrays, trust), expected, "{levels} arrays");
            assert_eq!(whole(&objects, trust), expected, "{levels} objects");
        }
    }
}
