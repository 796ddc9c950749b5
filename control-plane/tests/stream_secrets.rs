//! A plane is handed the secrets of servers that it serves, by its labels, and no others; and what it is handed follows what changes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod catalog_support;
mod stream_support;

use portcullis_policy::resource::{Limits, Uid};
use portcullis_policy::snapshot::{DefinitionEntry, DefinitionState, Entry, ZoneEntry};
use portcullis_proto::config::v1 as proto;
use portcullis_proto::config::v1::attach_response::Message;
use serde_json::{Value, json};
use std::sync::Arc;
use stream_support::{Control, FakePlane, hello};

fn uid(name: &str) -> Uid {
    let mut bytes = [1; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(byte, letter)| *byte = letter);
    Uid(uuid::Uuid::from_bytes(bytes))
}

/// A zone that planes of these regions serve; all planes where none is named.
fn zone(name: &str, regions: &[&str]) -> Entry {
    let label = |region: &&str| [("region".to_owned(), (*region).to_owned())].into();
    Entry::Zone(ZoneEntry {
        uid: uid(name),
        name: name.parse().unwrap(),
        served_by: regions.iter().map(label).collect(),
        ..ZoneEntry::built_in()
    })
}

fn auth(secret: &str) -> Value {
    match secret {
        "" => json!({ "none": {} }),
        secret => json!({ "header": { "name": "Authorization", "valueFrom": { "secret": secret } } }),
    }
}

/// A server with what it is presented, and its sandbox.
fn server(name: &str, zone: &str, secret: &str, sandbox: &str) -> Entry {
    let transport = json!({ "streamableHttp": { "url": format!("http://{name}.internal/mcp") } });
    let mut body = json!({
        "uid": uid(name), "name": name, "zone": zone, "transport": transport, "hosting": "self", "environment": "prod",
        "tier": "bronze", "dataClasses": [], "auth": auth(secret), "limits": Limits::default(),
    });
    if !sandbox.is_empty() {
        body["sandbox"] = json!({ "transport": transport, "auth": auth(sandbox) });
    }
    Entry::Server(Arc::new(serde_json::from_value(body).unwrap()))
}

fn tool(server: &str, name: &str, zone: &str) -> Entry {
    Entry::Tool(Arc::new(DefinitionEntry {
        server: uid(server),
        name: name.to_owned(),
        alias: None,
        data_classes: Vec::new(),
        zone: Some(zone.parse().unwrap()),
        approval: Default::default(),
        state: DefinitionState::Pending,
    }))
}

/// What there is, with the planes that serve the zone `european`, and the secret of `crm`.
fn policy(regions: &[&str], crm: &str) -> Vec<Entry> {
    vec![
        zone("default", &[]),
        zone("european", regions),
        zone("american", &["us"]),
        server("crm", "european", crm, "crm-sandbox"),
        server("wiki", "default", "wiki", ""),
        // One tool of it is served elsewhere too.
        server("mixed", "american", "mixed", ""),
        tool("mixed", "look", "european"),
        server("ledger", "american", "ledger", ""),
        tool("ledger", "look", "american"),
        server("open", "european", "", ""),
    ]
}

fn names(part: &proto::SecretPart) -> Vec<&str> {
    let mut names: Vec<&str> = part.values.keys().map(String::as_str).collect();
    names.sort_unstable();
    for (name, value) in &part.values {
        assert_eq!(value.as_ref(), format!("value of {name}").as_bytes());
    }
    names
}

async fn control() -> Control {
    let control = Control::start().await;
    for name in ["crm", "crm-sandbox", "crm-next", "wiki", "mixed", "ledger", "idle"] {
        let value = format!("value of {name}");
        control.vault.set_secret(&name.parse().unwrap(), value.as_bytes(), 1).await.unwrap();
    }
    control
}

async fn plane(control: &Control, name: &str, region: &str) -> FakePlane {
    let token = control.token().await;
    let labels = [("region".to_owned(), region.to_owned())].into();
    let hello = proto::Hello { labels, ..hello(name) };
    control.attach(&token.secret_text, hello).await.unwrap().welcomed().await
}

#[tokio::test]
async fn a_plane_is_handed_the_secrets_of_servers_that_it_serves_something_of() {
    let control = control().await;
    control.publish_policy(1, policy(&["eu"], "crm"));
    for (region, expected) in [
        ("eu", vec!["crm", "crm-sandbox", "mixed", "wiki"]),
        ("us", vec!["ledger", "mixed", "wiki"]),
        ("asia", vec!["wiki"]),
    ] {
        let part = plane(&control, region, region).await.secrets().await;
        assert_eq!(names(&part), expected, "{region}");
        assert!(!part.sealing_keys.is_empty(), "any plane opens what any other sealed");
    }
    // The same plane with other labels.
    let part = plane(&control, "eu", "us").await.secrets().await;
    assert_eq!(names(&part), ["ledger", "mixed", "wiki"]);
}

#[tokio::test]
async fn what_it_is_handed_grows_before_a_snapshot_and_shrinks_after_it() {
    let control = control().await;
    control.publish_policy(1, policy(&["eu"], "crm"));
    let mut eu = plane(&control, "eu", "eu").await;
    let mut us = plane(&control, "us", "us").await;
    for plane in [&mut eu, &mut us] {
        plane.secrets().await;
        plane.snapshot(&control).await;
    }
    // The zone takes planes of the other region in: their secrets come first.
    control.publish_policy(2, policy(&["eu", "us"], "crm"));
    assert_eq!(names(&us.secrets().await), ["crm", "crm-sandbox", "ledger", "mixed", "wiki"]);
    assert_eq!(us.snapshot(&control).await.version, 2);
    // To the other plane it is a snapshot and nothing else.
    let next = eu.until(|message| match message {
        Message::Probe(_) => None,
        other => Some(other),
    });
    assert!(matches!(next.await, Message::Snapshot(_)));
    // A server presents another secret: both for as long as either may be in force.
    control.publish_policy(3, policy(&["eu", "us"], "crm-next"));
    assert_eq!(names(&eu.secrets().await), ["crm", "crm-next", "crm-sandbox", "mixed", "wiki"]);
    assert_eq!(names(&eu.secrets().await), ["crm-next", "crm-sandbox", "mixed", "wiki"]);
    us.secrets().await;
    assert_eq!(us.snapshot(&control).await.version, 3);
    us.secrets().await;
    // And closes again: what is needed no longer goes after the snapshot.
    control.publish_policy(4, policy(&["eu"], "crm-next"));
    assert_eq!(us.snapshot(&control).await.version, 4);
    assert_eq!(names(&us.secrets().await), ["ledger", "mixed", "wiki"]);
    // Without the servers there is nothing to present.
    control.publish_policy(5, vec![zone("default", &[])]);
    assert_eq!(us.snapshot(&control).await.version, 5);
    assert_eq!(names(&us.secrets().await), Vec::<&str>::new());
    // A secret that is set later comes by itself, to who needs it.
    control.publish_policy(6, policy(&["eu"], "crm-late"));
    assert_eq!(names(&us.secrets().await), ["ledger", "mixed", "wiki"]);
    control.vault.set_secret(&"crm-late".parse().unwrap(), b"value of crm-late", 2).await.unwrap();
    let late = eu.until(|message| match message {
        Message::Secrets(part) => part.values.contains_key("crm-late").then_some(part),
        _ => None,
    });
    assert_eq!(names(&late.await), ["crm-late", "crm-sandbox", "mixed", "wiki"]);
    assert_eq!(names(&us.secrets().await), ["ledger", "mixed", "wiki"]);
}
