//! Leases over a real gRPC connection, to purses as data planes have them, and what people see and correct of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a step that fails fails the test"
)]

mod admin_support;
mod metering_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use admin_support::{ControlPlane, START, channel, config};
use metering_support::{Plane, Wire, account, birth, budget, token};
use portcullis_control_plane::{Clock, start};
use portcullis_metering::purse::Why;
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::lease::v1 as wire;
use proto::access_client::AccessClient;
use proto::usage_client::UsageClient;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};
use uuid::Uuid;

const PLANE: Uuid = Uuid::from_u128(77);

async fn usage(control: &ControlPlane, with_past: bool) -> Vec<proto::BudgetUsage> {
    let mut client = UsageClient::with_interceptor(control.channel.clone(), control.bearer());
    let request = proto::ListUsageRequest { budgets: None, with_past };
    let budgets = client.list_usage(request).await.unwrap().into_inner().budgets;
    for budget in &budgets {
        let parts = budget.spent + budget.held + budget.returned + budget.written_off;
        assert_eq!(budget.granted, parts, "{budget:?}");
    }
    budgets
}

fn ask(of: portcullis_metering::AccountId, seq: u64, want: u64) -> wire::Batch {
    let ask = wire::Ask { account: Some(account(of)), seq, want, need: 1, ..wire::Ask::default() };
    wire::Batch { asks: vec![ask], ..wire::Batch::default() }
}

/// A conversation of a plane in this life, and which of its lives are unsettled.
async fn speak(
    control: &ControlPlane,
    name: &str,
    life: u32,
    nonce: u128,
) -> Result<(Wire, Vec<u32>), Status> {
    let mut wire = Wire::open(control, Some(&token(control, name).await)).await?;
    wire.say(birth(PLANE, life, nonce)).await;
    let unsettled = wire.known().await?;
    Ok((wire, unsettled))
}

/// Asks until the account is there: what was applied reaches the bank a moment later.
async fn granted(
    wire: &mut Wire,
    of: portcullis_metering::AccountId,
    seq: &mut u64,
    want: u64,
) -> wire::Answer {
    loop {
        *seq += 1;
        let answers = wire.batch(ask(of, *seq, want)).await.unwrap();
        if let [answer] = answers.answers.as_slice() {
            return answer.clone();
        }
        assert_eq!(answers.refused.len(), 1);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn three_purses_spend_a_budget_of_a_thousand_calls_exactly() {
    let control = ControlPlane::start().await;
    let of = budget(&control, "budgets: [ { calls: 1000, period: 1d } ]").await;
    let mut planes = Vec::new();
    for number in 1..=3 {
        planes.push(Plane::born(&control, number, of, 1_000).await);
    }
    for _ in 0..2_000 {
        for plane in &mut planes {
            plane.call(7);
            plane.beat().await;
        }
        let paid: u64 = planes.iter().map(|plane| plane.paid).sum();
        assert!(paid <= 1_000, "{paid}");
        if paid == 1_000 {
            break;
        }
    }
    let paid: Vec<u64> = planes.iter().map(|plane| plane.paid).collect();
    assert_eq!(paid.iter().sum::<u64>(), 1_000, "{paid:?}");
    assert!(paid.iter().all(|paid| *paid > 200), "{paid:?}");
    // All is reported within a second, and whoever asks now is told that nothing is left.
    for _ in 0..8 {
        for plane in &mut planes {
            plane.call(1);
            plane.beat().await;
            plane.call(1);
            assert_eq!(plane.last, Some(Why::Exhausted));
        }
    }
    let budgets = usage(&control, false).await;
    let [only] = budgets.as_slice() else { panic!("{budgets:?}") };
    assert_eq!((only.level.as_str(), only.name.as_str(), only.period.as_str()), ("team", "sales", "1d"));
    assert_eq!((only.limit, only.used, only.left, only.spent, only.held), (1_000, 1_000, 0, 1_000, 0));
}

#[tokio::test]
async fn a_plane_is_believed_only_as_who_it_was_first() {
    let mut control = ControlPlane::start().await;
    assert_eq!(Wire::open(&control, None).await.err().unwrap().code(), Code::Unauthenticated);
    drop(speak(&control, "eu-1", 2, 5).await.unwrap());
    for restarted in [false, true] {
        if restarted {
            control = control.restart().await;
        }
        for (name, life, nonce, code, says) in [
            ("eu-2", 3, 5, Code::PermissionDenied, "another name"),
            ("eu-1", 1, 5, Code::FailedPrecondition, "older life"),
            ("eu-1", 2, 6, Code::FailedPrecondition, "other nonce"),
            ("eu-1", 0, 5, Code::InvalidArgument, "counted from 1"),
        ] {
            let status = speak(&control, name, life, nonce).await.err().unwrap();
            assert_eq!(status.code(), code, "{status:?}");
            assert!(status.message().contains(says), "{status:?}");
        }
        let (_, unsettled) = speak(&control, "eu-1", 2, 5).await.unwrap();
        assert!(unsettled.is_empty());
    }
    let (mut wire, unsettled) = speak(&control, "eu-1", 4, 9).await.unwrap();
    assert_eq!(unsettled, [2]);
    let part = |more| wire::OverPart { life: 2, more, ..wire::OverPart::default() };
    wire.say(wire::meter_request::Message::Over(part(true))).await;
    assert_eq!(wire.settle(part(false)).await, 2);
    assert!(speak(&control, "eu-1", 4, 9).await.unwrap().1.is_empty());
}

#[tokio::test]
async fn a_newer_conversation_ends_the_older_one_and_nonsense_ends_its_own() {
    let control = ControlPlane::start().await;
    let of = budget(&control, "budgets: [ { calls: 1000, period: 1d } ]").await;
    let (mut first, _) = speak(&control, "eu-1", 1, 5).await.unwrap();
    let (mut second, _) = speak(&control, "eu-1", 1, 5).await.unwrap();
    assert_eq!(first.next().await.unwrap_err().code(), Code::Aborted);
    let mut batch = ask(of, 1, 1);
    batch.asks[0].account.as_mut().unwrap().owner = vec![1, 2].into();
    assert_eq!(second.batch(batch).await.unwrap_err().code(), Code::InvalidArgument);
    let (mut third, _) = speak(&control, "eu-1", 1, 5).await.unwrap();
    let batch = wire::Batch { shares: vec![wire::ShareAsk::default(); 4_097], ..wire::Batch::default() };
    assert_eq!(third.batch(batch).await.unwrap_err().code(), Code::InvalidArgument);
    let (mut fourth, _) = speak(&control, "eu-1", 1, 5).await.unwrap();
    let own = wire::OverPart { life: 1, ..wire::OverPart::default() };
    fourth.say(wire::meter_request::Message::Over(own)).await;
    assert_eq!(fourth.next().await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_restart_forgets_nothing_that_was_answered() {
    let control = ControlPlane::start().await;
    let of = budget(
        &control,
        "budgets: [ { calls: 1000, period: 1d, override: { calls: 640, until: 2027-02-01T00:00:00Z } } ]",
    )
    .await;
    let (mut wire, _) = speak(&control, "eu-1", 1, 5).await.unwrap();
    let mut seq = 0;
    while usage(&control, false).await[0].limit != 640 {
        tokio::task::yield_now().await;
    }
    assert_eq!(granted(&mut wire, of, &mut seq, 5).await.granted, 5);
    drop(wire);
    let control = control.restart().await;
    let now = usage(&control, false).await;
    assert_eq!((now[0].limit, now[0].held, now[0].left), (640, 5, 635));
    let (mut wire, _) = speak(&control, "eu-1", 1, 5).await.unwrap();
    // The plane has these five already, and asks to have five.
    assert_eq!(granted(&mut wire, of, &mut seq, 5).await.granted, 5);
}

#[tokio::test]
async fn what_a_plane_holds_that_is_gone_is_written_off_until_it_comes_back() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let shutdown = CancellationToken::new();
    let mut config = config(dir.path());
    config.lease_grace = Duration::ZERO;
    let now = Arc::new(AtomicU64::new(START));
    config.clock = Clock::new({
        let now = Arc::clone(&now);
        move || now.load(Ordering::SeqCst)
    });
    let running = start(config, shutdown.clone()).await.unwrap();
    let channel = channel(&running).await;
    let control = ControlPlane::of(running, dir, channel, now, shutdown);
    let of = budget(&control, "budgets: [ { calls: 1000, period: 1d } ]").await;
    let (mut wire, _) = speak(&control, "eu-1", 1, 5).await.unwrap();
    let mut seq = 0;
    assert_eq!(granted(&mut wire, of, &mut seq, 5).await.granted, 5);
    drop(wire);
    let gone = async {
        while usage(&control, false).await[0].written_off != 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    let (mut wire, _) = speak(&control, "eu-1", 1, 5).await.unwrap();
    seq += 1;
    let mut batch = ask(of, seq, 5);
    batch.asks[0].epoch = 1;
    assert_eq!(wire.batch(batch).await.unwrap().answers[0].granted, 5);
    let now = usage(&control, false).await;
    assert_eq!((now[0].held, now[0].written_off), (5, 0));
}

#[tokio::test]
async fn corrections_need_a_reason_and_the_right_and_one_budget_and_stand_in_the_history() {
    let control = ControlPlane::start().await;
    let of = budget(
        &control,
        "budgets: [ { calls: 1000, period: 1d }, { calls: 90, period: 1d, rolling: true } ]",
    )
    .await;
    let (mut wire, _) = speak(&control, "eu-1", 1, 5).await.unwrap();
    let mut seq = 0;
    granted(&mut wire, of, &mut seq, 5).await;
    seq += 1;
    let mut batch = ask(of, seq, 0);
    batch.asks[0].epoch = 1;
    batch.asks[0].need = 0;
    batch.asks[0].used = Some(wire::Used { spent: 5, lost: 0, returned: 0 });
    wire.batch(batch).await.unwrap();

    let mut admin = UsageClient::with_interceptor(control.channel.clone(), control.bearer());
    let select = |level: &str, name: &str, period: &str| {
        let (level, name, period) = (level.to_owned(), name.to_owned(), period.to_owned());
        Some(proto::BudgetSelector { level, name, unit: String::new(), period })
    };
    let adjust = |budget, credit, reason: &str| {
        let reason = reason.to_owned();
        proto::AdjustUsageRequest { budget, credit, reason }
    };
    // Both budgets of the team fit; what must be said is said.
    let status = admin.adjust_usage(adjust(select("team", "sales", ""), 5, "why")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("2 budgets fit") && status.message().contains("rolling"), "{status:?}");
    let status = admin.adjust_usage(adjust(select("team", "nobody", ""), 5, "why")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);

    // One budget is left of the two: no choice.
    let of_one = budget(&control, "budgets: [ { calls: 1000, period: 1d } ]").await;
    assert_eq!(of_one, of);
    for (credit, reason) in [(5, ""), (5, "  "), (0, "why")] {
        let request = adjust(select("team", "sales", ""), credit, reason);
        assert_eq!(admin.adjust_usage(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let adjusted = admin.adjust_usage(adjust(select("team", "sales", "1d"), 50, "a launch")).await.unwrap();
    let adjusted = adjusted.into_inner().budget.unwrap();
    assert_eq!((adjusted.spent, adjusted.adjusted, adjusted.used, adjusted.left), (5, 50, -45, 1_045));
    let reset =
        proto::ResetUsageRequest { budget: select("team", "sales", ""), reason: "an incident".to_owned() };
    let reset = admin.reset_usage(reset).await.unwrap().into_inner().budget.unwrap();
    assert_eq!((reset.used, reset.left), (0, 1_000));
    let history = control.history("", "").await;
    assert!(
        history.iter().any(|entry| entry.author == "admin" && entry.message.contains("a launch")),
        "{history:?}"
    );
    assert!(history.iter().any(|entry| entry.message.contains("an incident")), "{history:?}");

    // A viewer sees, and corrects nothing.
    let mut access = AccessClient::with_interceptor(control.channel.clone(), control.bearer());
    let request = proto::CreateAdminTokenRequest {
        name: "reader".to_owned(),
        roles: vec!["viewer".to_owned()],
        ..proto::CreateAdminTokenRequest::default()
    };
    let secret = access.create_admin_token(request).await.unwrap().into_inner().token;
    let with = |mut request: Request<()>| -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
        Ok(request)
    };
    let mut viewer = UsageClient::with_interceptor(control.channel.clone(), with);
    assert_eq!(
        viewer.list_usage(proto::ListUsageRequest::default()).await.unwrap().into_inner().budgets.len(),
        1
    );
    let status = viewer.adjust_usage(adjust(select("team", "sales", ""), 1, "why")).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("usage:write"), "{status:?}");
}

#[tokio::test]
async fn an_ended_period_is_shown_as_past_before_anybody_asks_in_the_new_one() {
    let control = ControlPlane::start().await;
    let of = budget(&control, "budgets: [ { calls: 1000, period: 1d } ]").await;
    let (mut wire, _) = speak(&control, "eu-1", 1, 5).await.unwrap();
    let mut seq = 0;
    granted(&mut wire, of, &mut seq, 5).await;
    control.now.fetch_add(24 * 3_600_000, Ordering::SeqCst);
    let shown = usage(&control, true).await;
    let [present, past] = shown.as_slice() else { panic!("{shown:?}") };
    assert_eq!(
        (present.current, present.limit, present.used, present.left, present.held),
        (true, 1_000, 0, 1_000, 0)
    );
    assert_eq!((past.current, past.held, past.end_unix_ms), (false, 5, present.start_unix_ms));
    assert_eq!(usage(&control, false).await.len(), 1);
}

#[tokio::test]
async fn a_limit_is_lent_in_shares_and_one_that_does_not_exist_is_not() {
    let control = ControlPlane::start().await;
    control
        .apply("apiVersion: portcullis/v1\nkind: Team\nmetadata: { name: sales }\nspec: { rateLimits: [ { requests: 100, per: 1s } ] }\n")
        .await;
    let published = control.running().publisher().current().unwrap();
    let limit = published.snapshot.limits().next().unwrap().1.id.0;
    let (mut wire, _) = speak(&control, "eu-1", 1, 5).await.unwrap();
    let share = |limit: Uuid, seq| wire::ShareAsk {
        limit: limit.as_bytes().to_vec().into(),
        seq,
        demand: 200_000,
        ..wire::ShareAsk::default()
    };
    let lent = async {
        for seq in 1.. {
            let batch =
                wire::Batch { shares: vec![share(limit, seq), share(PLANE, seq)], ..wire::Batch::default() };
            let assignments = wire.batch(batch).await.unwrap().assignments;
            let [known, unknown] = assignments.as_slice() else { panic!("{assignments:?}") };
            assert_eq!((unknown.share, unknown.term_ms), (0, 0));
            // For a term after the start nobody gets more than it says that it holds.
            if known.share > 0 {
                assert_eq!((known.seq, known.share, known.term_ms), (seq, 100_000, 3_000));
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), lent).await.unwrap();
}
