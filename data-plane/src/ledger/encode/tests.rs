use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use portcullis_policy::Reason;
use portcullis_policy::resource::{PrincipalKind, Uid};

use super::super::{Decision, Outcome};
use super::*;

/// With every member, and texts that need each kind of escape.
fn full() -> AuditRecord {
    let odd: Arc<str> = Arc::from("a \"b\" \\ \n\r\t\u{8}\u{c}\u{1f}\u{7f} é 💣 \u{2028}");
    AuditRecord {
        request_id: Uuid::from_u128(0x0199_aaaa_bbbb_7ccc_8ddd_eeee_ffff_0001),
        time: "2026-11-21T09:43:07.120001Z".parse().unwrap(),
        method: Cow::Borrowed("tools/call"),
        endpoint: Cow::Owned(odd.to_string()),
        era: Cow::Borrowed("modern"),
        decision: Decision::Deny,
        reason: Some(Reason::PolicyDenied),
        rule: Some("VirtualKey/support-bot spec.grants[0]".to_owned()),
        shadow: vec![Arc::from("one"), Arc::from("two")],
        approval: Some(Box::new(ApprovalFacts { id: Arc::from("c-1"), by: Some(Arc::clone(&odd)) })),
        snapshot_version: u64::MAX,
        principal: PrincipalFacts { kind: PrincipalKind::Workload, subject: Arc::clone(&odd) },
        key: KeyFacts { name: "support-bot".parse().unwrap(), uid: Uid(Uuid::from_u128(1)) },
        team: Some("support-team".parse().unwrap()),
        customer: Some("acme".parse().unwrap()),
        server: Some("github".parse().unwrap()),
        zone: Some("vendor-saas".parse().unwrap()),
        tool: Some(Arc::clone(&odd)),
        prompt: Some(Arc::from("")),
        resource: Some(Arc::from("file:///x")),
        exposed_name: Some(Arc::from("github_search_issues")),
        client_hint: Some(odd),
        latency_micros: LatencySplit { total: 1_234_567_890, decide: 0, upstream: 10 },
        bytes: Sizes { request: 9, response: 100 },
        upstream: Some(UpstreamFacts { status: Some(200), era: Some(Cow::Borrowed("legacy")) }),
        outcome: Outcome::ToolError,
        cost_micro_usd: Some(250),
        spent: Some(Box::new(SpentFacts {
            plane: Uuid::from_u128(9),
            life: 3,
            accounts: [("team:calls:day:x", 7), ("key:micro-usd:month:y", u64::MAX)]
                .map(|(account, spent)| SpentLine { account: Arc::from(account), epoch: 2, spent })
                .into(),
        })),
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
        span_id: Some("00f067aa0ba902b7".to_owned()),
        truncated: vec![Cow::Borrowed("tool")],
    }
}

/// With no member that may be missing.
fn bare() -> AuditRecord {
    AuditRecord {
        time: DateTime::<Utc>::MAX_UTC,
        decision: Decision::Permit,
        reason: None,
        rule: None,
        shadow: Vec::new(),
        approval: None,
        team: None,
        customer: None,
        server: None,
        zone: None,
        tool: None,
        prompt: None,
        resource: None,
        exposed_name: None,
        client_hint: None,
        upstream: None,
        cost_micro_usd: None,
        spent: None,
        trace_id: None,
        span_id: None,
        truncated: Vec::new(),
        ..full()
    }
}

#[test]
fn the_text_says_what_serialize_says() {
    let empty = AuditRecord { upstream: Some(UpstreamFacts { status: None, era: None }), ..bare() };
    let held =
        AuditRecord { approval: Some(Box::new(ApprovalFacts { id: Arc::from("c-1"), by: None })), ..bare() };
    for record in [full(), bare(), empty, held] {
        let mut text = Vec::new();
        push(&record, &mut text);
        let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(read, serde_json::to_value(&record).unwrap());
        // The order too: people read records.
        let members = |text: &[u8]| {
            let map: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text).unwrap();
            map.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(members(&text), members(&serde_json::to_vec(&record).unwrap()));
    }
}

#[test]
fn what_was_written_is_read_back() {
    let mut text = Vec::new();
    push(&full(), &mut text);
    assert_eq!(serde_json::from_slice::<AuditRecord>(&text).unwrap(), full());
}
