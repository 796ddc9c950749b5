//! stdio servers: real children, shared by principals, and nothing left of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod upstream_support;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use portcullis_data_plane::upstream::{
    Call, Caller, Event, EventStream, Exchange, ExchangeBody, UpstreamConfig,
};
use portcullis_mcp::Era;
use portcullis_policy::Reason;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use upstream_support::child::{alive, transport};
use upstream_support::exchange::{json_body, streamed};
use upstream_support::world::{World, call, legacy_caller, listen, modern_caller, server, uid};
use upstream_support::{soon, until};

#[test]
fn child() {
    upstream_support::child::run();
}

struct Setup {
    world: World,
    log: tempfile::TempDir,
}

impl Setup {
    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path().join("log")).unwrap_or_default()
    }

    async fn logged(&self, text: &str) {
        until(text, || self.log().contains(text)).await;
    }
}

fn config() -> UpstreamConfig {
    let path = std::env::var("PATH").unwrap();
    UpstreamConfig {
        allow_stdio: true,
        stdio_env: [("PATH".to_owned(), path), ("HOME".to_owned(), "/nonexistent".to_owned())].into(),
        stdio_kill_grace: Duration::from_millis(400),
        ..UpstreamConfig::default()
    }
}

fn setup(kind: &str, instances: u16, more: &Value) -> Setup {
    let log = tempfile::tempdir().unwrap();
    let entry = server(&transport(kind, &log.path().join("log"), instances), more);
    Setup { world: World::with(&entry, config()), log }
}

fn how(caller: Caller, arguments: &Value) -> Call {
    call(caller, "tools/call", &json!({ "name": "echo", "arguments": arguments }))
}

fn answer(exchange: Exchange) -> Value {
    json_body(&exchange.body)["result"]["structuredContent"].take()
}

fn other(caller: Caller) -> Caller {
    Caller { principal: uid("other"), ..caller }
}

/// The resource that the next event is about, or that it is about a list.
async fn heard(stream: &mut EventStream) -> String {
    let Event::Notification { json } = soon("an event", stream.next()).await.unwrap().unwrap() else {
        panic!()
    };
    let value: Value = serde_json::from_slice(&json).unwrap();
    value["params"]["uri"].as_str().unwrap_or("list").to_owned()
}

async fn pid(setup: &Setup) -> u64 {
    answer(setup.world.request(how(legacy_caller(1), &json!({ "how": "pid" }))).await.unwrap())
        .as_u64()
        .unwrap()
}

async fn spawned(setup: &Setup) -> [u64; 2] {
    let exchange = setup.world.request(how(legacy_caller(1), &json!({ "how": "spawn" }))).await.unwrap();
    serde_json::from_value(answer(exchange)).unwrap()
}

#[tokio::test]
async fn a_legacy_child_is_greeted_once_and_offered_nothing_to_ask_for() {
    let setup = setup("legacy", 1, &json!({}));
    for session in [1, 2] {
        let exchange = setup.world.request(how(legacy_caller(session), &json!({ "a": 1.0 }))).await.unwrap();
        assert_eq!((exchange.era, exchange.http_status, &exchange.session), (Era::Legacy, None, &None));
        assert_eq!(answer(exchange)["arguments"], json!({ "a": 1.0 }));
    }
    let log = setup.log();
    assert_eq!(log.matches(r#""method":"initialize""#).count(), 1);
    assert_eq!(log.matches(r#""method":"notifications/initialized""#).count(), 1);
    assert!(log.contains(r#""capabilities":{}"#) && !log.contains("elicitation"), "{log}");
}

#[tokio::test]
async fn a_child_has_only_the_environment_that_it_was_given() {
    let setup = setup("legacy", 1, &json!({}));
    let env = answer(setup.world.request(how(legacy_caller(1), &json!({ "how": "env" }))).await.unwrap());
    let names: Vec<_> = env.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["EXTRA", "FAKE_CHILD", "HOME", "LOG", "PATH"]);
    assert_eq!((&env["HOME"], &env["EXTRA"]), (&json!("/nonexistent"), &json!("given")));
}

#[tokio::test]
async fn a_modern_child_is_told_who_calls_and_is_not_greeted() {
    let setup = setup("modern", 1, &json!({}));
    let exchange = setup.world.request(how(modern_caller(), &json!({}))).await.unwrap();
    assert_eq!((exchange.era, &*exchange.protocol_version), (Era::Modern, "2026-07-28"));
    let meta = answer(exchange)["_meta"].take();
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "client");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"]["elicitation"], json!({}));
    assert!(!setup.log().contains("initialize"));
}

#[tokio::test]
async fn children_that_end_or_keep_silent_when_asked_for_their_era_are_legacy() {
    for kind in ["strict", "silent"] {
        let setup = setup(kind, 1, &json!({}));
        let exchange = setup.world.request(how(legacy_caller(1), &json!({}))).await.unwrap();
        assert_eq!(exchange.era, Era::Legacy, "{kind}");
    }
}

#[tokio::test]
async fn a_message_with_line_breaks_goes_as_one_line() {
    let setup = setup("legacy", 1, &json!({}));
    let text = "{\n  \"name\": \"echo\",\r\n  \"arguments\": { \"text\": \"a\\nb\" }\n}";
    let mut call = how(legacy_caller(1), &json!({}));
    call.params = Some(RawValue::from_string(text.to_owned()).unwrap());
    assert_eq!(answer(setup.world.request(call).await.unwrap())["arguments"]["text"], "a\nb");
}

#[tokio::test]
async fn equal_progress_tokens_of_two_principals_are_kept_apart() {
    let setup = setup("legacy", 1, &json!({}));
    let params =
        json!({ "name": "echo", "arguments": { "how": "progress" }, "_meta": { "progressToken": "same" } });
    let ask = |caller: Caller| setup.world.request(call(caller, "tools/call", &params));
    let (first, second) = tokio::join!(ask(legacy_caller(1)), ask(other(legacy_caller(1))));
    for exchange in [first.unwrap(), second.unwrap()] {
        let mut stream = streamed(exchange);
        let Event::Notification { json } = soon("progress", stream.next()).await.unwrap().unwrap() else {
            panic!("no notification")
        };
        let value: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["params"]["progressToken"], "same");
        let last = soon("the response", stream.next()).await.unwrap().unwrap();
        assert!(matches!(last, Event::Response { .. }));
        assert!(soon("the end", stream.next()).await.is_none());
    }
}

#[tokio::test]
async fn log_messages_reach_the_only_principal_of_a_child_and_nobody_once_there_are_two() {
    let setup = setup("legacy", 1, &json!({}));
    let exchange = setup.world.request(how(legacy_caller(1), &json!({ "how": "log" }))).await.unwrap();
    let mut stream = streamed(exchange);
    assert!(matches!(soon("the message", stream.next()).await.unwrap().unwrap(), Event::Notification { .. }));
    drop(stream);
    setup.world.request(how(other(legacy_caller(1)), &json!({}))).await.unwrap();
    let exchange = setup.world.request(how(legacy_caller(1), &json!({ "how": "log" }))).await.unwrap();
    assert!(matches!(exchange.body, ExchangeBody::Json(_)), "the message is nobody's");
}

#[tokio::test]
async fn letting_go_of_a_call_cancels_it_and_a_timeout_does_too() {
    let setup = setup(
        "legacy",
        1,
        &json!({ "limits": { "timeout": "1s", "maxRequestBytes": "1MiB", "maxResponseBytes": "1MiB", "concurrency": 9 } }),
    );
    let id_of_last_call = |log: String| -> u64 {
        let line = log.lines().rfind(|line| line.contains("tools/call")).unwrap().to_owned();
        let value: Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        value["id"].as_u64().unwrap()
    };
    {
        let calling = setup.world.request(how(legacy_caller(1), &json!({ "how": "hang" })));
        tokio::pin!(calling);
        tokio::select! { _ = &mut calling => panic!("answered"), () = setup.logged("hang") => {} }
    }
    let id = id_of_last_call(setup.log());
    setup.logged(&format!(r#""params":{{"requestId":{id},"#)).await;
    let error = setup.world.request(how(legacy_caller(1), &json!({ "how": "hang" }))).await.unwrap_err();
    assert_eq!((error.reason, error.reached), (Reason::UpstreamTimeout, true));
    let id = id_of_last_call(setup.log());
    setup.logged(&format!(r#""params":{{"requestId":{id},"#)).await;
}

#[tokio::test]
async fn a_childs_requests_are_refused_its_pings_answered_and_its_noise_ignored() {
    let setup = setup("legacy", 1, &json!({}));
    setup.world.request(how(legacy_caller(1), &json!({ "how": "ask" }))).await.unwrap();
    setup.logged(r#""id":"q","error":{"code":-32601"#).await;
    setup.logged(r#""id":"p","result":{}"#).await;
    setup.world.request(how(legacy_caller(1), &json!({ "how": "noise" }))).await.unwrap();
    assert!(setup.world.upstreams.stats().messages_dropped_total.load(Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn an_answer_larger_than_allowed_fails_its_own_call_alone() {
    let setup = setup("legacy", 1, &json!({}));
    let big = |size: u64| setup.world.request(how(legacy_caller(1), &json!({ "how": "big", "size": size })));
    assert!(big(900_000).await.is_ok());
    let (allowed, too_big, far_too_big) = tokio::join!(big(1000), big(2 << 20), big(20 << 20));
    assert!(allowed.is_ok());
    for error in [too_big.unwrap_err(), far_too_big.unwrap_err()] {
        assert_eq!((error.reason, error.reached), (Reason::ResponseTooLarge, true));
    }
    let running = setup.world.upstreams.stats().children_started_total.load(Ordering::Relaxed);
    assert_eq!(running, 1, "the child lives on");
}

#[tokio::test]
async fn calls_in_a_child_that_ends_fail_and_the_next_call_has_a_new_one() {
    let setup = setup("legacy", 1, &json!({}));
    let before = pid(&setup).await;
    let (hanging, ending) = tokio::join!(
        setup.world.request(how(legacy_caller(1), &json!({ "how": "hang" }))),
        setup.world.request(how(legacy_caller(2), &json!({ "how": "exit" })))
    );
    for error in [hanging.unwrap_err(), ending.unwrap_err()] {
        assert_eq!((error.reason, error.reached), (Reason::UpstreamUnavailable, true));
    }
    let after = pid(&setup).await;
    assert_ne!(before, after);
    assert!(!alive(before));
    assert_eq!(setup.world.upstreams.stats().children_exited_total.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_command_that_cannot_work_fails_soon_and_is_not_started_again_at_once() {
    for command in ["/nonexistent/program", "false"] {
        let entry = server(&json!({ "stdio": { "command": command } }), &json!({}));
        let world = World::with(&entry, config());
        let started = Instant::now();
        let error = world.request(how(legacy_caller(1), &json!({}))).await.unwrap_err();
        assert_eq!((error.reason, error.reached), (Reason::UpstreamUnavailable, false));
        for _ in 0..20 {
            world.request(how(legacy_caller(1), &json!({}))).await.unwrap_err();
        }
        assert!(started.elapsed() < Duration::from_secs(4), "{command}: {:?}", started.elapsed());
        let starts = world.upstreams.stats().children_started_total.load(Ordering::Relaxed);
        assert!(starts <= 8, "{command}: started {starts} times");
    }
}

#[tokio::test]
async fn a_plane_that_may_not_start_children_says_so() {
    let log = tempfile::tempdir().unwrap();
    let entry = server(&transport("legacy", &log.path().join("log"), 1), &json!({}));
    let world = World::new(&entry);
    let error = world.request(how(legacy_caller(1), &json!({}))).await.unwrap_err();
    assert_eq!((error.reason, error.reached), (Reason::UpstreamUnavailable, false));
    assert!(error.message.contains("--allow-stdio"));
    assert!(world.listen(listen(legacy_caller(1))).await.is_err());
    assert_eq!(world.upstreams.stats().children_started_total.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn calls_go_to_the_least_loaded_of_several_children() {
    let setup = setup("legacy", 2, &json!({}));
    pid(&setup).await;
    let stats = setup.world.upstreams.stats();
    until("both run", || stats.children_running.load(Ordering::Relaxed) == 2).await;
    // Both must be greeted too: the second answers once calls are spread.
    let mut pids = std::collections::BTreeSet::new();
    soon("both answer", async {
        while pids.len() < 2 {
            let hanging = setup.world.request(how(legacy_caller(9), &json!({ "how": "hang" })));
            let both = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                pid(&setup).await
            };
            tokio::select! { _ = hanging => panic!("answered"), pid = both => { pids.insert(pid); } }
            pids.insert(pid(&setup).await);
        }
    })
    .await;
}

#[tokio::test]
async fn a_command_that_is_not_there_is_told_to_administrators_alone() {
    let entry = server(&json!({ "stdio": { "command": "/nowhere/at-all" } }), &json!({}));
    let world = World::with(&entry, config());
    let error = world.request(how(legacy_caller(1), &json!({}))).await.unwrap_err();
    assert_eq!(error.message, "The server's process could not be started.");
    let cause = error.cause.unwrap();
    assert!(cause.contains("/nowhere/at-all") && cause.contains("No such file or directory"), "{cause}");
}

#[tokio::test]
async fn listeners_hear_of_lists_and_only_subscribers_hear_of_resources() {
    let setup = setup("legacy", 1, &json!({}));
    let mine = legacy_caller(1);
    let theirs = other(legacy_caller(2));
    let mut my_stream = setup.world.listen(listen(mine.clone())).await.unwrap();
    let mut their_stream = setup.world.listen(listen(theirs.clone())).await.unwrap();
    let subscribe = |caller: &Caller, uri: &str| {
        setup.world.request(call(caller.clone(), "resources/subscribe", &json!({ "uri": uri })))
    };
    subscribe(&mine, "file:///a").await.unwrap();
    subscribe(&theirs, "file:///b").await.unwrap();
    setup.world.request(how(mine.clone(), &json!({ "how": "changed", "uri": "file:///a" }))).await.unwrap();
    setup.world.request(how(mine.clone(), &json!({ "how": "changed", "uri": "file:///b" }))).await.unwrap();
    let mut mine_heard = Vec::new();
    let mut theirs_heard = Vec::new();
    for _ in 0..3 {
        mine_heard.push(heard(&mut my_stream).await);
        theirs_heard.push(heard(&mut their_stream).await);
    }
    assert_eq!(mine_heard, ["list", "file:///a", "list"]);
    assert_eq!(theirs_heard, ["list", "list", "file:///b"]);

    // A resource that another still wants stays subscribed to in the child.
    subscribe(&theirs, "file:///a").await.unwrap();
    let unsubscribe = |caller: &Caller| {
        setup.world.request(call(caller.clone(), "resources/unsubscribe", &json!({ "uri": "file:///a" })))
    };
    let exchange = unsubscribe(&mine).await.unwrap();
    assert!(matches!(exchange.body, ExchangeBody::Json(_)));
    assert!(!setup.log().contains("resources/unsubscribe"));
    unsubscribe(&theirs).await.unwrap();
    setup.logged("resources/unsubscribe").await;
    // The end of a client's session ends its subscriptions.
    setup.world.upstreams.end_session(uid("other"), [2; 16]).await;
    setup.logged(r#""method":"resources/unsubscribe","params":{"uri":"file:///b"}"#).await;
    // Also when it ended elsewhere, and only its id is told.
    subscribe(&theirs, "file:///c").await.unwrap();
    setup.world.upstreams.end_client_session([2; 16]).await;
    setup.logged(r#""method":"resources/unsubscribe","params":{"uri":"file:///c"}"#).await;
}

#[tokio::test]
async fn subscriptions_and_listeners_survive_the_end_of_a_child() {
    let setup = setup("legacy", 1, &json!({}));
    let mut wanted = listen(modern_caller());
    wanted.prompts_list_changed = false;
    wanted.resources_list_changed = false;
    wanted.resource_subscriptions = vec!["file:///a".to_owned()];
    let mut stream = setup.world.listen(wanted).await.unwrap();
    let before = setup.log().matches("resources/subscribe").count();
    assert_eq!(before, 1);
    setup.world.request(how(modern_caller(), &json!({ "how": "exit" }))).await.unwrap_err();
    let Event::Notification { json } = soon("the gap is told", stream.next()).await.unwrap().unwrap() else {
        panic!()
    };
    assert!(String::from_utf8_lossy(&json).contains("tools/list_changed"));
    assert_eq!(setup.log().matches("resources/subscribe").count(), 2);
    setup
        .world
        .request(how(modern_caller(), &json!({ "how": "changed", "uri": "file:///a/part" })))
        .await
        .unwrap();
    for expected in ["tools/list_changed", "file:///a/part"] {
        let Event::Notification { json } = soon("an event", stream.next()).await.unwrap().unwrap() else {
            panic!()
        };
        assert!(String::from_utf8_lossy(&json).contains(expected));
    }
    drop(stream);
    setup.logged("resources/unsubscribe").await;
}

#[tokio::test]
async fn a_modern_child_is_listened_to_by_subscription_which_ends_with_its_listener() {
    let setup = setup("modern", 1, &json!({}));
    let mut stream = setup.world.listen(listen(modern_caller())).await.unwrap();
    for expected in ["subscriptions/acknowledged", "tools/list_changed"] {
        let Event::Notification { json } = soon("an event", stream.next()).await.unwrap().unwrap() else {
            panic!()
        };
        assert!(String::from_utf8_lossy(&json).contains(expected));
    }
    drop(stream);
    setup.logged("notifications/cancelled").await;
}

#[tokio::test]
async fn nothing_is_left_of_a_removed_server() {
    let mut setup = setup("legacy", 1, &json!({}));
    let pids = spawned(&setup).await;
    assert!(pids.iter().all(|pid| alive(*pid)));
    setup.world.swap(2, None);
    until("the group is gone", || !pids.iter().any(|pid| alive(*pid))).await;
    let stats = setup.world.upstreams.stats();
    until("it is counted", || stats.children_running.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test]
async fn nothing_is_left_after_shutdown_or_after_letting_go_of_everything() {
    let first = setup("legacy", 1, &json!({}));
    let pids = spawned(&first).await;
    first.world.upstreams.shutdown().await;
    until("the group is gone", || !pids.iter().any(|pid| alive(*pid))).await;

    let second = setup("legacy", 1, &json!({}));
    let pids = spawned(&second).await;
    drop(second);
    until("the group is gone", || !pids.iter().any(|pid| alive(*pid))).await;
}

#[tokio::test]
async fn what_a_child_started_does_not_outlive_it() {
    let setup = setup("legacy", 1, &json!({}));
    let pids = spawned(&setup).await;
    setup.world.request(how(legacy_caller(1), &json!({ "how": "exit" }))).await.unwrap_err();
    until("the grandchild is gone", || !alive(pids[1])).await;
}

#[test]
fn nothing_is_left_when_the_runtime_ends() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (pids, setup) = runtime.block_on(async {
        let setup = setup("legacy", 1, &json!({}));
        (spawned(&setup).await, setup)
    });
    drop(runtime);
    let deadline = Instant::now() + Duration::from_secs(5);
    while pids.iter().any(|pid| alive(*pid)) {
        assert!(Instant::now() < deadline, "{pids:?} live on");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(setup);
}

#[tokio::test]
async fn an_abort_kills_children_and_what_they_started_without_their_grace() {
    let log = tempfile::tempdir().unwrap();
    let entry = server(&transport("legacy", &log.path().join("log"), 1), &json!({}));
    let config = UpstreamConfig { stdio_kill_grace: Duration::from_secs(600), ..config() };
    let kill = config.kill.clone();
    let setup = Setup { world: World::with(&entry, config), log };
    let pids = spawned(&setup).await;
    kill.cancel();
    until("the group is gone", || !pids.iter().any(|pid| alive(*pid))).await;
}

fn pid_in(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[tokio::test]
async fn a_child_that_ignores_the_end_of_its_input_and_sigterm_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = r#"trap '' TERM; echo $$ > "$FILE"
        read line; echo '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}'
        read line; echo '{"jsonrpc":"2.0","id":2,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{}}}'
        read line; read line; echo '{"jsonrpc":"2.0","id":3,"result":{}}'
        while :; do sleep 1; done"#;
    let entry = server(
        &json!({ "stdio": { "command": "sh", "args": ["-c", script], "env": { "FILE": file } } }),
        &json!({}),
    );
    let world = World::with(&entry, config());
    world.request(how(legacy_caller(1), &json!({}))).await.unwrap();
    let pid = pid_in(&file).unwrap();
    let started = Instant::now();
    world.upstreams.shutdown().await;
    until("it is killed", || !alive(pid)).await;
    assert!(started.elapsed() >= Duration::from_millis(300), "it had its grace");
}
