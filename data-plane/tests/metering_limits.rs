//! Rates, calls at once and the loop breaker on a data plane.

mod common;
mod leases_fake;

use std::time::{Duration, Instant};

use leases_fake::soon;
use leases_fake::world::{Metered, decision, passed};
use portcullis_data_plane::ledger::Decision;
use portcullis_policy::Reason;
use serde_json::{Value, json};

fn key(said: &Value) -> impl FnOnce(common::Policy) -> common::Policy {
    let said = said.clone();
    move |policy| policy.metering("key", "bot", &said)
}

#[tokio::test]
async fn a_rate_lets_its_burst_pass_and_says_when_to_come_again() {
    let said = json!({"rateLimits": [{"requests": 5, "per": "1h", "tool": "crm_e*"}]});
    let metered = Metered::new(key(&said)).await;
    // The first call finds a limit that nobody was told of: one passes, and then the share comes.
    assert!(passed(&metered.call("echo", json!({})).await));
    let mut passing = 1;
    let mut denied = None;
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        let got = metered.call("echo", json!({})).await;
        if passed(&got) {
            passing += 1
        } else {
            denied = Some(got)
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!((5..=6).contains(&passing), "{passing} of 5, and one before the plane was known");
    let denied = denied.unwrap();
    let told = decision(&denied);
    assert_eq!(told["reason"], "rate_limited");
    let retry = told["retryAfterMs"].as_u64().unwrap();
    assert!((300_000..=720_000).contains(&retry), "one in twelve minutes: {told}");
    let text = denied.result()["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("The rate limit of your key is reached."), "{text}");
    let record = metered.world.records().pop().unwrap();
    assert_eq!((record.decision, record.reason), (Decision::Deny, Some(Reason::RateLimited)));
    assert_eq!(record.rule.as_deref(), Some("VirtualKey/bot spec.rateLimits[0]"));
    // Another tool is another matter.
    assert!(passed(&metered.call("fail", json!({})).await));
}

#[tokio::test]
async fn another_policy_does_not_fill_a_bucket() {
    let said = |requests: u64| json!({"rateLimits": [{"requests": requests, "per": "1h"}]});
    let mut metered = Metered::new(key(&said(3))).await;
    let mut passing = 0;
    for _ in 0..100 {
        passing += u32::from(passed(&metered.call("echo", json!({})).await));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!((3..=4).contains(&passing), "{passing}");
    metered.swap(metered.policy.clone().metering("key", "bot", &said(4)));
    for _ in 0..50 {
        assert!(!passed(&metered.call("echo", json!({})).await), "a larger rate starts with what was left");
    }
}

#[tokio::test]
async fn a_call_waits_for_a_token_as_long_as_its_limit_says() {
    let said = json!({"rateLimits": [{"requests": 10, "per": "1s", "burst": 1, "wait": "3s"}]});
    let metered = Metered::new(key(&said)).await;
    let began = Instant::now();
    for _ in 0..6 {
        assert!(passed(&metered.call("echo", json!({})).await));
    }
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn calls_at_once_are_denied_beyond_the_limit_and_let_in_when_one_ends() {
    let metered = Metered::new(key(&json!({"concurrency": [{"calls": 1, "tool": "crm_slow"}]}))).await;
    let slow =
        |bot: common::Caller| async move { bot.ask_modern("tools/call", json!({"name": "crm_slow"})).await };
    let first = tokio::spawn(slow(metered.bot()));
    metered.fake.saw("tools/call").await;
    let denied = slow(metered.bot()).await;
    assert_eq!(decision(&denied)["reason"], "concurrency_exceeded");
    assert_eq!(decision(&denied)["retryAfterMs"], 1000);
    let record = metered.world.records().pop().unwrap();
    assert_eq!(record.rule.as_deref(), Some("VirtualKey/bot spec.concurrency[0]"));
    metered.fake.open_gate();
    assert!(passed(&first.await.unwrap()));
    metered.fake.open_gate();
    assert!(passed(&slow(metered.bot()).await));
}

#[tokio::test]
async fn a_call_waits_for_another_to_end_as_long_as_its_limit_says() {
    let said = json!({"concurrency": [{"calls": 1, "tool": "crm_slow", "wait": "10s"}]});
    let metered = Metered::new(key(&said)).await;
    let slow =
        |bot: common::Caller| async move { bot.ask_modern("tools/call", json!({"name": "crm_slow"})).await };
    let (first, second) = (tokio::spawn(slow(metered.bot())), tokio::spawn(slow(metered.bot())));
    metered.fake.saw("tools/call").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let sent = || metered.fake.seen().iter().filter(|seen| seen.text.contains("tools/call")).count();
    assert_eq!(sent(), 1);
    metered.fake.open_gate();
    soon(|| sent() == 2).await;
    metered.fake.open_gate();
    assert!(passed(&first.await.unwrap()) && passed(&second.await.unwrap()));
}

#[tokio::test]
async fn the_same_call_again_and_again_is_denied_with_words_to_act_on() {
    let metered = Metered::new(key(&json!({"loopBreaker": {"calls": 3, "within": "1m"}}))).await;
    for _ in 0..3 {
        assert!(passed(&metered.call("echo", json!({"q": "same"})).await));
    }
    let got = metered.call("echo", json!({"q": "same"})).await;
    assert_eq!(decision(&got)["reason"], "rate_limited");
    assert!(decision(&got)["retryAfterMs"].as_u64().unwrap() > 40_000);
    let text = got.result()["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("You made this same call 3 times with the same arguments"), "{text}");
    assert!(text.contains("Change the arguments or stop"), "{text}");
    let record = metered.world.records().pop().unwrap();
    assert_eq!(record.rule.as_deref(), Some("VirtualKey/bot spec.loopBreaker"));
    assert!(passed(&metered.call("echo", json!({"q": "other"})).await));
    assert!(passed(&metered.call("fail", json!({"q": "same"})).await));
    // Another principal's is another call.
    let rival = metered.world.caller("rival", "/mcp");
    let params = json!({"name": "crm_echo", "arguments": {"q": "same"}});
    assert!(passed(&rival.ask_modern("tools/call", params).await));
    metered.known.pass(Duration::from_mins(1));
    assert!(passed(&metered.call("echo", json!({"q": "same"})).await));
}

#[tokio::test]
async fn what_a_budget_denies_takes_no_token_and_is_no_loop() {
    let said = json!({
        "budgets": [{"calls": 1, "period": "1d"}],
        "rateLimits": [{"requests": 3, "per": "1h"}],
        "loopBreaker": {"calls": 2, "within": "1h"},
    });
    let mut metered = Metered::new(key(&said)).await;
    assert!(passed(&metered.call("echo", json!({})).await));
    tokio::time::sleep(Duration::from_millis(600)).await;
    for _ in 0..20 {
        assert_eq!(decision(&metered.call("echo", json!({})).await)["reason"], "budget_exhausted");
    }
    let mut more = said.clone();
    more["budgets"][0]["calls"] = json!(100);
    metered.swap(metered.policy.clone().metering("key", "bot", &more));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(passed(&metered.call("echo", json!({})).await), "there are tokens, and it was made once");
}

#[tokio::test]
async fn without_a_control_plane_limits_do_what_on_outage_says() {
    for (on_outage, passes) in
        [(json!("deny"), 1..=1), (json!({"share": "20%"}), 2..=4), (json!("allow"), 30..=30)]
    {
        let said = json!({"rateLimits": [{"requests": 10, "per": "1h", "onOutage": on_outage}]});
        let metered = Metered::alone(key(&said)).await;
        let mut passing = u32::from(passed(&metered.call("echo", json!({})).await));
        // What nobody told is forgotten after a second.
        metered.known.pass(Duration::from_secs(2));
        for _ in 1..30 {
            passing += u32::from(passed(&metered.call("echo", json!({})).await));
        }
        assert!(passes.contains(&passing), "{on_outage}: {passing}");
    }
}
