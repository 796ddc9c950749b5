use super::*;

#[test]
fn what_is_written_is_read_again() {
    let capabilities = r#"{"tools":{"listChanged":true}}"#;
    let info = r#"{"name":"x","version":"1"}"#;
    let legacy = initialize_result(Revision::V2025_06_18, capabilities, info, Some("say \"hi\""));
    let modern = discover_result(crate::MODERN_OFFERED, capabilities, info, Some("say \"hi\""), 5);
    let legacy = RawValue::from_string(legacy).unwrap();
    let modern = RawValue::from_string(modern).unwrap();
    for (facts, version) in
        [(read_initialize_result(&legacy), "2025-06-18"), (read_discover_result(&modern), "2026-07-28")]
    {
        let facts = facts.unwrap();
        assert_eq!(facts.versions, [version]);
        assert_eq!(facts.capabilities.unwrap().get(), capabilities);
        assert_eq!(facts.server_info.unwrap().get(), info);
        assert_eq!(facts.instructions.as_deref(), Some("say \"hi\""));
    }
    assert!(read_discover_result(&legacy).is_none());
    assert!(read_initialize_result(&modern).is_none());
}
