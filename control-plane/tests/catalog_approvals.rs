//! Decisions: a person approves exactly what they saw, all of it or nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod catalog_support;

use catalog_support::{World, report, tool};
use portcullis_control_plane::approvals::{ApprovalError, ApprovalFilter, Decision, Refusal, Selection};
use portcullis_control_plane::governance::Actor;
use portcullis_control_plane::store::HistoryFilter;
use serde_json::json;

fn refusals(error: ApprovalError) -> Vec<Refusal> {
    match error {
        ApprovalError::Refused(refusals) => refusals,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_definition_that_changes_between_list_and_approve_is_not_approved_and_the_error_says_what_to_look_at()
 {
    let world = World::new();
    let crm = world.server("crm", json!({})).await;
    world.report(report(crm, &[tool("search", "a"), tool("other", "o")])).await;
    let (seen, other) = (world.waiting("search"), world.waiting("other"));
    world.report(report(crm, &[tool("search", "evil"), tool("other", "o")])).await;
    let version = world.version();
    let now = world.waiting("search");
    assert_ne!(seen, now);
    let refused = refusals(world.decide(&[&other, &seen], true).await.unwrap_err());
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].id, seen);
    assert_eq!(
        refused[0].message,
        format!(
            "tool \"search\" of server crm changed since; what it is now is {now}: look at it with `approvals show {now}`"
        )
    );
    assert_eq!(world.version(), version, "nothing was decided, of the other one neither");
    assert_eq!(world.states(), ["tool/other: pending", "tool/search: pending"]);
    let shown = world.approvals.get(&seen).unwrap_err();
    assert!(matches!(&shown, ApprovalError::NotFound(message) if message.contains(&now)), "{shown:?}");
    world.report(report(crm, &[tool("other", "o")])).await;
    let refused = refusals(world.decide(&[&seen], true).await.unwrap_err());
    // Nothing of it is kept once it is gone and nobody decided anything: the id means nothing any more.
    assert!(refused[0].message.starts_with("there is no approval"), "{refused:?}");
}

#[tokio::test]
async fn many_are_decided_in_one_transaction_that_history_keeps_with_author_and_reason() {
    let world = World::new();
    let crm = world.server("crm", json!({})).await;
    let tools: Vec<_> = (0..50).map(|at| tool(&format!("t{at:02}"), "d")).collect();
    world.report(report(crm, &tools)).await;
    let version = world.version();
    let ids: Vec<String> = world.list(false).into_iter().map(|approval| approval.id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (decided, after) = world.decide(&ids, true).await.unwrap();
    assert_eq!((decided.len(), after, world.version()), (51, version + 1, version + 1));
    assert!(decided.iter().all(|approval| {
        approval.verdict.as_ref().is_some_and(|verdict| verdict.by == "admin" && verdict.message == "because")
    }));
    let newest =
        world.store.history(HistoryFilter { limit: 1, ..HistoryFilter::default() }).await.unwrap().remove(0);
    assert_eq!(
        (newest.author.as_str(), newest.message.as_str(), newest.changes.len()),
        // Each definition, and that the server came from pending to approved by it.
        ("admin", "because", 52)
    );
    // The same again is done already.
    let (decided, after) = world.decide(&ids, true).await.unwrap();
    assert_eq!((decided.len(), after), (51, version + 1));
}

#[tokio::test]
async fn all_that_wait_are_decided_of_one_server_or_of_every_server() {
    let world = World::new();
    let crm = world.server("crm", json!({})).await;
    let git = world.server("git", json!({})).await;
    world.report(report(crm, &[tool("a", "1"), tool("b", "1")])).await;
    world.report(report(git, &[tool("c", "1")])).await;
    world.decide(&[&world.waiting("b")], false).await.unwrap();
    assert_eq!(
        world.decide_all(Some("crm"), true).await.len(),
        2,
        "a and the identity; b was denied and waits no more"
    );
    assert_eq!(world.states().iter().filter(|state| state.ends_with("pending")).count(), 2);
    assert_eq!(world.decide_all(None, true).await.len(), 2);
    let version = world.version();
    assert!(world.decide_all(None, true).await.is_empty());
    assert_eq!(world.version(), version);
    let decision = Decision {
        selection: Selection::AllPending { server: Some("gone".to_owned()) },
        approve: true,
        message: String::new(),
    };
    let missing = world.approvals.decide(&Actor::trusted("admin"), &decision).await.unwrap_err();
    assert_eq!(missing, ApprovalError::NotFound("there is no McpServer/gone".to_owned()));
    let filter = ApprovalFilter { server: Some("gone".to_owned()), all: false };
    assert_eq!(world.approvals.list(&filter).unwrap_err(), missing);
}

#[tokio::test]
async fn a_denied_change_stays_quarantined_and_can_be_approved_after_all() {
    let world = World::new();
    let crm = world.server("crm", json!({})).await;
    world.report(report(crm, &[tool("search", "a")])).await;
    world.decide_all(None, true).await;
    world.report(report(crm, &[tool("search", "b")])).await;
    let id = world.waiting("search");
    let detail = world.approvals.get(&id).unwrap();
    assert!(detail.definition.unwrap().contains("\"b\""));
    assert!(detail.approved_definition.unwrap().contains("\"a\""));
    let (denied, _) = world.decide(&[&id], false).await.unwrap();
    assert_eq!((denied.len(), denied[0].state.as_str()), (1, "denied"));
    assert_eq!(world.states(), ["tool/search: quarantined"]);
    assert!(world.listed(false).is_empty());
    for _ in 0..3 {
        world.pass(30_000);
        world.report(report(crm, &[tool("search", "b")])).await;
    }
    assert_eq!(world.states(), ["tool/search: quarantined"]);
    assert_eq!(
        world.listed(true),
        ["tool search new approved", "identity crm new approved", "tool search changed denied"]
    );
    world.decide(&[&id], true).await.unwrap();
    assert_eq!(world.states(), ["tool/search: approved b"]);
}

#[tokio::test]
async fn a_kept_pin_is_served_while_the_change_waits_and_after_it_was_denied() {
    let world = World::new();
    let crm = world.server("crm", json!({ "changedTools": "keep-pinned" })).await;
    world.report(report(crm, &[tool("search", "a")])).await;
    world.decide_all(None, true).await;
    world.report(report(crm, &[tool("search", "b")])).await;
    assert_eq!(
        (world.states(), world.listed(false)),
        (vec!["tool/search: approved a".to_owned()], vec!["tool search changed pending".to_owned()])
    );
    world.decide(&[&world.waiting("search")], false).await.unwrap();
    assert_eq!(world.states(), ["tool/search: approved a"]);
}

#[tokio::test]
async fn an_approval_can_be_taken_back_even_of_what_is_gone() {
    let world = World::new();
    let crm = world.server("crm", json!({ "newTools": "approve" })).await;
    world.report(report(crm, &[tool("search", "a")])).await;
    let id = world.list(true).into_iter().find(|approval| approval.name == "search").unwrap().id;
    world.report(report(crm, &[])).await;
    world.decide(&[&id], false).await.unwrap();
    world.report(report(crm, &[tool("search", "a")])).await;
    assert_eq!(world.states(), ["tool/search: pending"]);
    // What is gone cannot be approved.
    world.report(report(crm, &[])).await;
    let refused = refusals(world.decide(&[&id], true).await.unwrap_err());
    assert_eq!(refused[0].message, "tool \"search\" of server crm is no longer offered");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_reason() {
    let world = World::new();
    let decide = |selection, message: &str| {
        let decision = Decision { selection, approve: true, message: message.to_owned() };
        let approvals = world.approvals.clone();
        async move { approvals.decide(&Actor::trusted("admin"), &decision).await.unwrap_err() }
    };
    let refused = refusals(decide(Selection::Ids(vec!["a-0".to_owned()]), "").await);
    assert_eq!(refused[0].message, "there is no approval \"a-0\"; `approvals list` shows those that wait");
    assert!(matches!(decide(Selection::Ids(Vec::new()), "").await, ApprovalError::Invalid(_)));
    let many = vec!["a-0".to_owned(); 30_001];
    assert!(matches!(decide(Selection::Ids(many), "").await, ApprovalError::Invalid(_)));
    let long = "x".repeat(4_001);
    assert!(matches!(decide(Selection::AllPending { server: None }, &long).await, ApprovalError::Invalid(_)));
    assert_eq!(world.version(), 0);
}
