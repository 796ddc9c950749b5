use portcullis_proto::config::v1::ProbeReport;

use super::*;

fn report(tools: &[&str], prompts: &[&str]) -> ProbeReport {
    ProbeReport {
        server_uid: uuid::Uuid::from_u128(7).to_string(),
        reachable: true,
        era: "modern".to_owned(),
        protocol_version: "2026-07-28".to_owned(),
        server_info_json: br#"{"name":"s","version":"1"}"#.as_slice().into(),
        instructions: "Be kind.".to_owned(),
        capabilities_json: br#"{"tools":{}}"#.as_slice().into(),
        tools_json: tools.iter().map(|json| json.as_bytes().to_vec().into()).collect(),
        prompts_json: prompts.iter().map(|json| json.as_bytes().to_vec().into()).collect(),
        ..ProbeReport::default()
    }
}

fn names(offer: &Offer, kind: DefinitionKind) -> Vec<&str> {
    offer.definitions.keys().filter(|(of, _)| *of == kind).map(|(_, name)| name.as_str()).collect()
}

fn tool(name: &str, more: &str) -> String {
    format!("{{\"name\":{name:?},\"inputSchema\":{{\"type\":\"object\"}}{more}}}")
}

#[test]
fn a_malformed_definition_is_refused_alone_and_named() {
    let deep = format!(
        "{{\"name\":\"deep\",\"inputSchema\":{{\"type\":\"object\"}},\"x\":{}1{}}}",
        "[".repeat(70),
        "]".repeat(70)
    );
    let large = tool("large", &format!(",\"description\":{:?}", "x".repeat(MAX_DEFINITION_BYTES)));
    let long = tool(&"n".repeat(257), "");
    let bad = [
        "",
        "null",
        "[]",
        "7",
        "\"tool\"",
        "{",
        "{}",
        r#"{"name":7,"inputSchema":{"type":"object"}}"#,
        r#"{"name":"","inputSchema":{"type":"object"}}"#,
        r#"{"name":"a\u0000b","inputSchema":{"type":"object"}}"#,
        r#"{"name":"a\nb","inputSchema":{"type":"object"}}"#,
        r#"{"name":"no-schema"}"#,
        r#"{"name":"t","inputSchema":{}}"#,
        r#"{"name":"t","inputSchema":{"type":"string"}}"#,
        r#"{"name":"t","inputSchema":true}"#,
        r#"{"name":"t","inputSchema":{"type":"object","required":"x"}}"#,
        r#"{"name":"t","description":null,"inputSchema":{"type":"object"}}"#,
        r#"{"name":"t","description":7,"inputSchema":{"type":"object"}}"#,
        r#"{"name":"t","annotations":{"readOnlyHint":"yes"},"inputSchema":{"type":"object"}}"#,
        r#"{"name":"t","icons":{},"inputSchema":{"type":"object"}}"#,
        r#"{"name":"t","outputSchema":[],"inputSchema":{"type":"object"}}"#,
        r#"{"name":"t","name":"u","inputSchema":{"type":"object"}}"#,
        r#"{"name":"t","inputSchema":{"type":"object","a":1,"a":2}}"#,
        r#"{"name":"\ud800","inputSchema":{"type":"object"}}"#,
        deep.as_str(),
        large.as_str(),
        long.as_str(),
    ];
    let good = tool("good", ",\"x-unknown\":[1.0,null],\"annotations\":{\"readOnlyHint\":true,\"x\":1}");
    let mut listed = bad.to_vec();
    listed.insert(3, &good);
    let offer = judge(&report(
        &listed,
        &[r#"{"name":"p"}"#, r#"{"title":"no name"}"#, r#"{"name":"q","arguments":[{}]}"#],
    ))
    .unwrap();
    assert_eq!(names(&offer, DefinitionKind::Tool), ["good"]);
    assert_eq!(names(&offer, DefinitionKind::Prompt), ["p"]);
    assert_eq!(offer.problems.messages.len() + offer.problems.more, bad.len() + 2);
    assert!(
        offer.problems.messages[3].starts_with("tool 5 of the list: "),
        "{:?}",
        offer.problems.messages[3]
    );
    assert!(offer.problems.messages.iter().all(|message| message.len() < 1_000));
}

#[test]
fn two_definitions_that_claim_one_name_are_both_refused_but_the_same_twice_is_one() {
    let (a, b) = (tool("t", ""), tool("t", ",\"description\":\"other\""));
    let offer = judge(&report(&[&a, &b], &[])).unwrap();
    assert!(names(&offer, DefinitionKind::Tool).is_empty());
    assert_eq!(offer.problems.messages, ["tool \"t\": two definitions claim this name, both are refused"]);
    let offer = judge(&report(&[&a, &b, &a], &[])).unwrap();
    assert!(names(&offer, DefinitionKind::Tool).is_empty(), "a third one does not bring the first back");
    let again = r#"{"inputSchema": {"type": "object"}, "name": "t"}"#;
    let offer = judge(&report(&[&a, again], &[r#"{"name":"t"}"#])).unwrap();
    assert_eq!(names(&offer, DefinitionKind::Tool), ["t"]);
    assert_eq!(names(&offer, DefinitionKind::Prompt), ["t"], "a prompt may have a tool's name");
    assert!(offer.problems.messages.is_empty());
}

#[test]
fn members_in_another_order_are_the_same_and_every_other_difference_is_another_definition() {
    let fingerprint = |json: &str| {
        let offer = judge(&report(&[json], &[])).unwrap();
        offer.definitions.get(&(DefinitionKind::Tool, "t".to_owned())).map(|sighting| sighting.fingerprint)
    };
    let base = fingerprint(
        r#"{"name":"t","description":"d","inputSchema":{"type":"object","properties":{"a":{"default":1}}},"annotations":{"readOnlyHint":true},"_meta":{"v":1}}"#,
    );
    assert!(base.is_some());
    let same = r#" { "_meta" : {"v":1}, "annotations":{"readOnlyHint":true}, "inputSchema":{"properties":{"a":{"default":1}},"type":"object"}, "description":"\u0064", "name":"t" } "#;
    assert_eq!(fingerprint(same), base);
    for other in [
        r#"{"name":"t","description":"D","inputSchema":{"type":"object","properties":{"a":{"default":1}}},"annotations":{"readOnlyHint":true},"_meta":{"v":1}}"#,
        r#"{"name":"t","description":"d","inputSchema":{"type":"object","properties":{"a":{"default":1.0}}},"annotations":{"readOnlyHint":true},"_meta":{"v":1}}"#,
        r#"{"name":"t","description":"d","inputSchema":{"type":"object","properties":{"a":{"default":1}}},"_meta":{"v":1}}"#,
        r#"{"name":"t","description":"d","inputSchema":{"type":"object","properties":{"a":{"default":1}}},"annotations":{"readOnlyHint":true},"_meta":{"v":2}}"#,
        r#"{"name":"t","description":"d","inputSchema":{"type":"object","properties":{"a":{"default":1}}},"annotations":{"readOnlyHint":true},"_meta":{"v":1},"x":0}"#,
    ] {
        let other = fingerprint(other);
        assert!(other.is_some() && other != base);
    }
}

#[test]
fn the_identity_is_one_thing_that_instructions_and_server_info_make() {
    let identity = |report: &ProbeReport| {
        judge(report).unwrap().definitions.remove(&(DefinitionKind::Identity, IDENTITY_NAME.to_owned()))
    };
    let base = report(&[], &[]);
    assert_eq!(
        identity(&base).unwrap().definition,
        r#"{"instructions":"Be kind.","serverInfo":{"name":"s","version":"1"}}"#
    );
    let silent =
        ProbeReport { instructions: String::new(), server_info_json: Vec::new().into(), ..base.clone() };
    assert_eq!(identity(&silent).unwrap().definition, r#"{"instructions":null,"serverInfo":null}"#);
    let other = ProbeReport { instructions: "Be kind!".to_owned(), ..base.clone() };
    assert_ne!(identity(&other), identity(&base));
    for malformed in ["[]", "{", "7", r#"{"a":1,"a":2}"#] {
        let bad = ProbeReport { server_info_json: malformed.as_bytes().to_vec().into(), ..base.clone() };
        assert_eq!(identity(&bad), None, "{malformed}");
        assert_eq!(judge(&bad).unwrap().problems.messages.len(), 1);
    }
}

#[test]
fn a_report_that_makes_no_sense_is_refused_whole() {
    let base = report(&[], &[]);
    for bad in [
        ProbeReport { server_uid: "crm".to_owned(), ..base.clone() },
        ProbeReport { era: "Modern".to_owned(), ..base.clone() },
        ProbeReport { era: String::new(), ..base.clone() },
        ProbeReport { protocol_version: "latest".to_owned(), ..base.clone() },
        ProbeReport { protocol_version: "2026-07-281".to_owned(), ..base.clone() },
        ProbeReport { protocol_version: "2026/07/28".to_owned(), ..base.clone() },
    ] {
        assert!(judge(&bad).is_err(), "{bad:?}");
    }
    let bad = ProbeReport { capabilities_json: b"[]".as_slice().into(), ..base };
    let offer = judge(&bad).unwrap();
    assert_eq!((offer.observation.capabilities.as_str(), offer.problems.messages.len()), ("{}", 1));
}

#[test]
fn no_server_offers_more_than_the_bound_and_the_rest_is_counted() {
    let tools: Vec<String> = (0..MAX_DEFINITIONS + 5).map(|at| tool(&format!("t{at:05}"), "")).collect();
    let tools: Vec<&str> = tools.iter().map(String::as_str).collect();
    let offer = judge(&report(&tools, &[r#"{"name":"p"}"#])).unwrap();
    assert_eq!(names(&offer, DefinitionKind::Tool).len(), MAX_DEFINITIONS);
    assert!(names(&offer, DefinitionKind::Prompt).is_empty());
    assert_eq!(offer.problems.messages.len(), 2, "{:?}", offer.problems);
}

#[test]
fn a_definition_that_grows_too_large_where_it_is_stored_is_refused() {
    let quotes = |count: usize| tool("t", &format!(",\"description\":{:?}", "\"".repeat(count)));
    let fits = quotes(100_000);
    let grows = quotes((MAX_DEFINITION_BYTES - 100) / 2);
    assert!(grows.len() <= MAX_DEFINITION_BYTES);
    let offer = judge(&report(&[&fits], &[])).unwrap();
    assert!(offer.problems.messages.is_empty(), "{:?}", offer.problems);
    let (_, sighting) = offer.definitions.last_key_value().unwrap();
    assert_eq!(
        escaped_bytes(&sighting.definition) + 2,
        serde_json::to_string(&sighting.definition).unwrap().len()
    );
    let offer = judge(&report(&[&grows], &[])).unwrap();
    assert_eq!(offer.problems.messages, ["tool 1 of the list: larger than 491520 bytes where it is stored"]);
}
