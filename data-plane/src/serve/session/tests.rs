use portcullis_seal::SealKey;

use super::*;

fn sealer() -> Sealer {
    Sealer::new(vec![SealKey::new([1; 4], &[7; 32])])
}

fn uid(byte: u8) -> Uid {
    Uid(uuid::Uuid::from_bytes([byte; 16]))
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[test]
fn a_session_opens_only_for_its_principal_endpoint_and_time() {
    let sealer = sealer();
    let info = raw(r#"{"name":"probe","version":"1","icons":[{"src":"https://x"}]}"#);
    let capabilities = raw(r#"{"elicitation":{"form":{}},"x.y/z":{"a":1}}"#);
    let session =
        Session::begin("/mcp".into(), "2025-11-25", Some(&info), Some(&capabilities), 1000).unwrap();
    let token = session.seal(&sealer, uid(1)).unwrap();
    assert!(token.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
    let opened = Session::open(&sealer, uid(1), "/mcp", &token, 1001).unwrap();
    assert_eq!(opened.id, session.id);
    assert_eq!(opened.capabilities.get(), capabilities.get());
    assert_eq!(opened.info.unwrap().get(), r#"{"name":"probe","version":"1"}"#);
    assert!(Session::open(&sealer, uid(2), "/mcp", &token, 1001).is_none());
    assert!(Session::open(&sealer, uid(1), "/servers/a/mcp", &token, 1001).is_none());
    assert!(Session::open(&sealer, uid(1), "/mcp", &token, 1000 + LIFETIME_MS).is_none());
    assert!(Session::open(&sealer, uid(1), "/mcp", "forged", 1001).is_none());
    assert!(Session::open(&sealer, uid(1), "/mcp", &format!("{token}A"), 1001).is_none());
}

#[test]
fn capabilities_that_are_too_long_keep_what_servers_may_ask_for() {
    let padding = "x".repeat(5000);
    let long = raw(&format!(
        r#"{{"roots":{{"listChanged":true}},"elicitation":{{"url":{{"a":"{padding}"}}}},"experimental":{{"b":"{padding}"}}}}"#
    ));
    assert_eq!(carried(&long).get(), r#"{"roots":{"listChanged":true},"elicitation":{"url":{}}}"#);
}

#[test]
fn a_tombstone_is_forgotten_when_its_session_has_ended() {
    let tombstones = Tombstones::default();
    tombstones.bury([1; 16], 100);
    assert!(tombstones.holds(&[1; 16]) && !tombstones.holds(&[2; 16]));
    tombstones.sweep(99);
    assert!(tombstones.holds(&[1; 16]));
    tombstones.sweep(100);
    assert!(!tombstones.holds(&[1; 16]));
}
