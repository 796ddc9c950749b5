use serde_json::json;

use super::*;
use crate::fixture::{approved, definition, key_as, organisation, tool_as};

#[test]
fn every_entry_reads_back_as_it_was_written_and_is_canonical() {
    let mut entries = organisation();
    let secrets = json!([{ "hash": crate::fixture::hash("x"), "until": "2026-11-21T10:00:00Z" }]);
    entries.push(key_as(
        "k",
        "internal",
        &json!([{ "bundle": "support" }, { "server": "crm", "allow": ["*"], "resources": ["x"] }]),
        &json!({ "team": "support-team", "expiresAt": "2027-01-01T00:00:00Z", "revoked": true, "secrets": secrets }),
    ));
    entries.push(tool_as(
        "crm",
        "all \"members\"",
        &approved(&json!({ "name": "all \"members\"" })),
        &json!({ "alias": "all", "dataClasses": ["a", "b"], "zone": "internal", "approval": "per-call" }),
    ));
    for by in ["server", "tier"] {
        let state = approved(&json!({ "name": by }));
        entries.push(crate::fixture::tool_as("crm", by, &state, &json!({ "approval": by })));
    }
    for entry in entries {
        let body = entry.encode();
        let text = String::from_utf8(body.clone()).unwrap();
        assert_eq!(portcullis_seal::canonical_json(&body).unwrap(), text, "{entry:?}");
        let again = Entry::decode(entry.kind(), &body).unwrap();
        assert_eq!(again.encode(), body);
        assert_eq!(format!("{again:?}"), format!("{entry:?}"), "nothing is left out");
        assert_eq!(again.id(), entry.id());
    }
}

#[test]
fn a_definition_travels_byte_for_byte() {
    let raw = r#"{"big":9007199254740993,"name":"t","one":1.0}"#;
    let body = format!(
        r#"{{"name":"t","server":"{}","state":{{"approved":{{"definition":{raw},"pin":"{}"}}}}}}"#,
        crate::fixture::uid("s"),
        crate::fixture::hash("p")
    );
    let entry = Entry::decode("tool", body.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(entry.encode()).unwrap(), body);
}

#[test]
fn a_definition_as_deep_as_definitions_may_be_still_travels() {
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    let raw: serde_json::Value = serde_json::from_str(&format!(r#"{{"name":"t","x":{deep}}}"#)).unwrap();
    let entry = definition("tool", "s", "t", &approved(&raw), &json!({}));
    assert!(Entry::decode("tool", &entry.encode()).is_ok());
}

#[test]
fn what_is_no_entry_is_refused() {
    assert!(matches!(Entry::decode("guardrail", b"{}"), Err(EntryError::UnknownKind(_))));
    let zone = r#"{"uid":"00000000-0000-0000-0000-000000000000","name":"z","reachableFrom":[],"allowedDataClasses":[],"audit":"required"}"#;
    assert!(Entry::decode("zone", zone.as_bytes()).is_ok());
    for body in [
        "",
        "null",
        "[]",
        "{}",
        &zone.replace("}", r#","more":1}"#),
        &zone.replace(r#""z""#, r#""Z""#),
        &zone.replace("required", "durable"),
        &zone.replace(r#""name":"z""#, r#""name":"z","name":"y""#),
        &format!("{zone} x"),
    ] {
        assert!(matches!(Entry::decode("zone", body.as_bytes()), Err(EntryError::BadBody { .. })), "{body}");
    }
}

#[test]
fn encoded_entries_and_their_digest_do_not_depend_on_the_order() {
    let (encoded, digest) = encode_all(&organisation());
    let mut other = organisation();
    other.reverse();
    assert_eq!(encode_all(&other), (encoded.clone(), digest));
    let kinds: Vec<usize> = encoded.iter().map(|entry| kind_order(entry.kind).unwrap()).collect();
    assert!(kinds.is_sorted());
    other.pop();
    assert_ne!(encode_all(&other).1, digest);
}
