//! Who probes what, and what planes tell each other: one prober per server, replaced when it is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod catalog_support;
mod stream_support;

use std::collections::BTreeSet;

use catalog_support::{report, tool};
use portcullis_proto::config::v1 as proto;
use portcullis_proto::config::v1::attach_request::Message as Said;
use portcullis_proto::config::v1::signal::Signal as SignalKind;
use serde_json::json;
use stream_support::{Control, hello};

fn ended(id: u8, forget_after_unix_ms: u64) -> proto::Signal {
    let session = vec![id; 16].into();
    proto::Signal {
        signal: Some(SignalKind::SessionEnded(proto::SessionEnded { session, forget_after_unix_ms })),
    }
}

#[tokio::test]
async fn every_server_has_one_prober_and_another_one_when_that_is_lost() {
    let control = Control::start().await;
    let names: Vec<String> = (0..12).map(|at| format!("s{at:02}")).collect();
    for name in &names {
        control.world.server(name, json!({})).await;
    }
    let mut planes = vec![control.plane("a").await, control.plane("b").await, control.plane("c").await];
    let probed = |control: &Control| -> Vec<String> {
        let state = control.world.store.state();
        let mut all: Vec<String> =
            control.planes.list(&state).into_iter().flat_map(|plane| plane.probes).collect();
        all.sort();
        all
    };
    assert_eq!(probed(&control), names, "each exactly once");
    let lost: BTreeSet<String> = control.info("b").probes.into_iter().collect();
    let kept = control.info("a").probes;
    assert!(!lost.is_empty() && lost.len() < names.len());
    drop(planes.remove(1));
    control.until("b", |plane| !plane.connected).await;
    assert_eq!(probed(&control), names);
    let now: BTreeSet<String> = control.info("a").probes.into_iter().collect();
    assert!(kept.iter().all(|name| now.contains(name)), "only the lost one's servers move");
    // The new probers are told, and to look at once.
    let mut told = BTreeSet::new();
    for plane in &mut planes {
        let mine = control.info(if told.is_empty() { "a" } else { "c" }).probes;
        plane
            .assigned(|probe| {
                probe.server_uids.len() == mine.len()
                    && probe.interval_seconds == 30
                    && probe.probe_now.iter().all(|uid| probe.server_uids.contains(uid))
            })
            .await;
        told.extend(mine);
    }
    assert_eq!(told.len(), names.len());
}

#[tokio::test]
async fn a_server_is_assigned_when_it_is_applied_probed_again_when_it_changes_and_let_go_when_it_is_deleted()
{
    let control = Control::start().await;
    let mut plane = control.plane("a").await;
    let crm = control.world.server("crm", json!({})).await.to_string();
    plane.assigned(|probe| probe.server_uids == [crm.clone()] && probe.probe_now == [crm.clone()]).await;
    control.world.server("crm", json!({ "newTools": "approve" })).await;
    plane.assigned(|probe| probe.probe_now == [crm.clone()]).await;
    control
        .world
        .commit(vec![portcullis_control_plane::store::Op::Delete {
            kind: "McpServer".into(),
            name: "crm".into(),
        }])
        .await;
    plane.assigned(|probe| probe.server_uids.is_empty()).await;
}

#[tokio::test]
async fn child_processes_are_probed_only_where_they_are_allowed() {
    let control = Control::start().await;
    let stdio = json!({ "stdio": { "command": "/bin/server" } });
    control.world.server_with("files", stdio, json!({})).await;
    let _plain = control.plane("a").await;
    assert!(control.info("a").probes.is_empty(), "nobody may");
    let token = control.token().await;
    let allowed = proto::Hello { allow_stdio: true, ..hello("b") };
    let mut plane = control.attach(&token.secret_text, allowed).await.unwrap();
    assert_eq!(plane.assignment().await.server_uids.len(), 1);
    assert_eq!(control.info("b").probes, ["files"]);
}

#[tokio::test]
async fn a_plane_that_drains_gives_its_servers_away() {
    let control = Control::start().await;
    control.world.server("crm", json!({})).await;
    let (a, b) = (control.plane("a").await, control.plane("b").await);
    let (prober, other) =
        if control.info("a").probes.is_empty() { (("b", &b), "a") } else { (("a", &a), "b") };
    prober.1.say(Said::Status(proto::PlaneStatus { draining: true, ..proto::PlaneStatus::default() })).await;
    control.until(other, |plane| plane.probes == ["crm"]).await;
    assert!(control.info(prober.0).probes.is_empty());
}

#[tokio::test]
async fn a_report_counts_from_the_prober_alone() {
    let control = Control::start().await;
    let crm = control.world.server("crm", json!({})).await;
    let (a, b) = (control.plane("a").await, control.plane("b").await);
    let (prober, bystander) = if control.info("a").probes.is_empty() { (&b, &a) } else { (&a, &b) };
    bystander.say(Said::ProbeReport(report(crm, &[tool("forged", "x")]))).await;
    bystander.say(Said::Status(proto::PlaneStatus { calls_total: 1, ..proto::PlaneStatus::default() })).await;
    let name = if control.info("a").probes.is_empty() { "a" } else { "b" };
    control.until(name, |plane| plane.calls_total == 1).await;
    assert!(control.world.states().is_empty(), "heard, and not believed");
    prober.say(Said::ProbeReport(report(crm, &[tool("search", "x")]))).await;
    prober.say(Said::Status(proto::PlaneStatus { calls_total: 1, ..proto::PlaneStatus::default() })).await;
    let name = if name == "a" { "b" } else { "a" };
    control.until(name, |plane| plane.calls_total == 1).await;
    assert_eq!(control.world.states(), ["tool/search: pending"]);
}

#[tokio::test]
async fn a_hint_of_any_plane_makes_the_prober_look_at_most_once_a_second() {
    let control = Control::start().await;
    let crm = control.world.server("crm", json!({})).await.to_string();
    let (mut a, mut b) = (control.plane("a").await, control.plane("b").await);
    let a_probes = !control.info("a").probes.is_empty();
    let (prober, other) = if a_probes { (&mut a, &mut b) } else { (&mut b, &mut a) };
    prober.assigned(|probe| probe.probe_now == [crm.clone()]).await;
    let hint = Said::DriftHint(proto::DriftHint { server_uid: crm.clone() });
    for _ in 0..5 {
        other.say(hint.clone()).await;
    }
    other.say(Said::DriftHint(proto::DriftHint { server_uid: "nonsense".to_owned() })).await;
    other.say(Said::DriftHint(proto::DriftHint { server_uid: uuid::Uuid::new_v4().to_string() })).await;
    prober.assigned(|probe| probe.probe_now == [crm.clone()]).await;
    other.say(Said::Status(proto::PlaneStatus { calls_total: 1, ..proto::PlaneStatus::default() })).await;
    control.until(if a_probes { "b" } else { "a" }, |plane| plane.calls_total == 1).await;
    // All five were taken in, and one was passed on: what comes next is the mark set after them.
    let mark = prober.messages;
    other.say(Said::Signal(ended(1, u64::MAX))).await;
    prober.signal().await;
    assert_eq!(prober.messages, mark + 1);
    control.world.pass(1_000);
    other.say(hint).await;
    prober.assigned(|probe| probe.probe_now == [crm.clone()]).await;
}

#[tokio::test]
async fn signals_reach_all_other_planes_and_ended_sessions_also_those_that_connect_later() {
    let control = Control::start().await;
    let now = control.world.clock.now_unix_ms();
    let (mut a, mut b, mut c) =
        (control.plane("a").await, control.plane("b").await, control.plane("c").await);
    a.say(Said::Signal(ended(1, now + 60_000))).await;
    let cancelled = proto::Signal {
        signal: Some(SignalKind::RequestCancelled(proto::RequestCancelled {
            session: vec![2; 16].into(),
            request_id_json: b"7".as_slice().into(),
            reason: "r".repeat(5_000),
        })),
    };
    a.say(Said::Signal(cancelled)).await;
    for plane in [&mut b, &mut c] {
        assert_eq!(plane.signal().await, ended(1, now + 60_000));
        let Some(SignalKind::RequestCancelled(cancelled)) = plane.signal().await.signal else { panic!() };
        assert_eq!(cancelled.reason.len(), 1_000, "bounded");
    }
    let wished = |level: String| proto::Signal {
        signal: Some(SignalKind::SessionWished(proto::SessionWished {
            session: vec![2; 16].into(),
            wish: Some(proto::session_wished::Wish::LogLevel(level)),
        })),
    };
    a.say(Said::Signal(wished("x".repeat(10_000)))).await;
    a.say(Said::Signal(wished("debug".to_owned()))).await;
    for plane in [&mut b, &mut c] {
        assert_eq!(plane.signal().await, wished("debug".to_owned()), "and not the one beyond every bound");
    }
    // Not to the one that sent it: what it hears next is what b sends.
    for malformed in [proto::Signal::default(), ended(9, 0)] {
        let malformed = match malformed.signal {
            Some(SignalKind::SessionEnded(mut short)) => {
                short.session = vec![9; 15].into();
                proto::Signal { signal: Some(SignalKind::SessionEnded(short)) }
            }
            other => proto::Signal { signal: other },
        };
        b.say(Said::Signal(malformed)).await;
    }
    b.say(Said::Signal(ended(3, now + 1))).await;
    assert_eq!(a.signal().await, ended(3, now + 1));
    let mut late = control.plane("d").await;
    assert_eq!(late.signal().await, ended(1, now + 60_000));
    assert_eq!(late.signal().await, ended(3, now + 1));
    control.world.pass(30_000);
    let mut later = control.plane("e").await;
    assert_eq!(later.signal().await, ended(1, now + 60_000));
    a.say(Said::Signal(ended(4, u64::MAX))).await;
    assert_eq!(later.signal().await, ended(4, u64::MAX), "what may be forgotten is");
}
