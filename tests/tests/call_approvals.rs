//! Calls that a person has to approve, one by one: on two data planes, with retries, denials, expiry, a control plane that is gone,
//! links that modern clients open, and the page behind them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use portcullis_control_plane::Clock;
use portcullis_policy::Reason;
use portcullis_proto::admin::v1 as api;
use portcullis_tests::admin::{Admin, secret};
use portcullis_tests::binary::Process;
use portcullis_tests::client::{Answer, form, page_with_headers};
use portcullis_tests::patience::eventually;
use portcullis_tests::planes::{ControlOptions, ControlPlane, DataPlane, PlaneOptions};
use portcullis_tests::{Caller, Portcullis, Upstream};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_hours(1);
const RULE: &str = "McpServer/crm spec.tools.overrides[refund].approval";

fn documents(url: &str) -> String {
    format!(
        r#"
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: crm }}
spec:
  transport: {{ streamableHttp: {{ url: "{url}" }} }}
  tools: {{ overrides: [ {{ name: refund, approval: per-call }}, {{ name: broken, approval: per-call }} ] }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: bot }}
spec: {{ principal: {{ kind: agent, subject: bot }}, grants: [ {{ server: crm, allow: ["*"] }} ] }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: other }}
spec: {{ principal: {{ kind: agent, subject: other }}, grants: [ {{ server: crm, allow: ["*"] }} ] }}
"#
    )
}

/// A control plane with two data planes before one server, of which one tool needs a person for each call.
struct World {
    portcullis: Portcullis,
    second: DataPlane,
    crm: Upstream,
    keys: api::ApplyResponse,
    /// How much later it is to the control plane than to everybody else.
    later_ms: Arc<AtomicU64>,
}

impl World {
    async fn start(crm: Upstream) -> Self {
        Self::start_with(crm, 4).await
    }

    /// With a server that has so many definitions.
    async fn start_with(crm: Upstream, definitions: usize) -> Self {
        let later_ms = Arc::new(AtomicU64::new(0));
        let later = Arc::clone(&later_ms);
        let clock = Clock::new(move || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            u64::try_from(now.as_millis()).unwrap() + later.load(Ordering::SeqCst)
        });
        let portcullis = Portcullis::start_with(ControlOptions { clock, ..ControlOptions::default() }).await;
        let (_, token) = portcullis.admin.plane_token().await;
        let second = DataPlane::start(PlaneOptions::new("plane-b", &portcullis.control.url, &token)).await;
        let keys = portcullis.admit(&documents(&crm.url), definitions).await;
        let world = Self { portcullis, second, crm, keys, later_ms };
        world.settle().await;
        world
    }

    async fn settle(&self) {
        self.portcullis.settle().await;
        self.second.enforces(self.admin().snapshot().await.version).await;
    }

    fn admin(&self) -> &Admin {
        &self.portcullis.admin
    }

    fn caller(&self, key: &str) -> Caller {
        self.portcullis.plane.modern("/mcp", &secret(&self.keys, key))
    }

    fn at_second(&self, key: &str) -> Caller {
        self.second.modern("/mcp", &secret(&self.keys, key))
    }

    fn pass(&self, time: Duration) {
        self.later_ms.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The calls that wait.
    async fn waiting(&self) -> Vec<api::Approval> {
        let waiting = self.admin().waiting().await;
        waiting.into_iter().filter(|one| one.kind == "call").collect()
    }

    async fn decide(&self, id: &str, approve: bool) -> Result<api::Approval, tonic::Status> {
        let request =
            api::DecideRequest { ids: vec![id.to_owned()], approve, ..api::DecideRequest::default() };
        let decided = self.admin().approvals().decide(request).await?.into_inner();
        Ok(decided.approvals.into_iter().next().unwrap())
    }

    async fn get(&self, id: &str) -> api::GetApprovalResponse {
        let request = api::GetApprovalRequest { id: id.to_owned() };
        self.admin().approvals().get_approval(request).await.unwrap().into_inner()
    }
}

/// The id of the approval that a held call waits for.
fn held(answer: &Answer) -> String {
    let result = answer.result();
    assert_eq!(
        (answer.reason().as_str(), &result["isError"]),
        ("approval_required", &json!(true)),
        "{result}"
    );
    let url = result["_meta"]["portcullis/decision"]["approvalUrl"].as_str().unwrap().to_owned();
    assert!(answer.content().contains(&url), "the model reads the link: {result}");
    url.rsplit('/').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_held_back_until_a_person_approved_it_and_then_goes_through_once() {
    let world = World::start(Upstream::legacy(&["lookup", "refund"]).await).await;
    let (bot, sibling) = (world.caller("bot"), world.at_second("bot"));
    assert_eq!(bot.tools().await, ["crm_lookup", "crm_refund"], "its tool is listed");
    assert!(bot.call("crm_lookup", json!({})).await.succeeded(), "others need nobody");
    let calls = world.crm.calls();

    let first = bot.call("crm_refund", json!({"amount": 10, "to": "anna"})).await;
    let id = held(&first);
    let record = world.portcullis.plane.record(first.request_id()).await;
    assert_eq!((record.reason, record.rule.as_deref()), (Some(Reason::ApprovalRequired), Some(RULE)));
    assert_eq!(record.approval.as_ref().map(|approval| (&*approval.id, &approval.by)), Some((&*id, &None)));
    let told = world.admin().explain("bot", "crm_refund", "/mcp").await;
    assert_eq!(
        (&told["decision"], &told["reason"], &told["rule"]),
        (&json!("deny"), &json!("approval_required"), &json!(RULE))
    );

    // Exactly this call, however it is written, waits already; another is not known.
    let same = json!({"to": "anna", "amount": 10});
    let told = world.admin().explain_call("bot", "crm_refund", "/mcp", Some(&same), &[]).await;
    assert_eq!(
        (&told["approval"]["id"], &told["approval"]["state"]),
        (&json!(id), &json!("pending")),
        "{told}"
    );
    let other = json!({"to": "anna", "amount": 11});
    let told = world.admin().explain_call("bot", "crm_refund", "/mcp", Some(&other), &[]).await;
    assert_eq!((&told["reason"], &told["approval"]), (&json!("approval_required"), &Value::Null));

    // Asked again, in another order, on another plane, in another era, it is the same.
    let legacy = world.second.legacy("/mcp", &secret(&world.keys, "bot")).open().await;
    assert_eq!(held(&sibling.call("crm_refund", json!({"to": "anna", "amount": 10})).await), id);
    assert_eq!(held(&legacy.call("crm_refund", json!({"amount": 10, "to": "anna"})).await), id);
    let waiting = world.waiting().await;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!((&*waiting[0].id, &*waiting[0].name, &*waiting[0].state), (&*id, "refund", "pending"));
    assert_eq!(waiting[0].proposed_by, "VirtualKey/bot (agent bot)");
    let call = world.get(&id).await.call.unwrap();
    let arguments: Vec<_> = call.arguments.iter().map(|one| (&*one.name, &*one.kind, one.bytes)).collect();
    assert_eq!(arguments, [("amount", "number", 2), ("to", "string", 6)]);
    assert_eq!(call.input_json, "", "an admin may not read payloads");
    assert!(call.withheld.contains("payloads:read"), "{}", call.withheld);

    // Everything that waits at once is no call.
    assert!(world.admin().approve_all().await.is_empty());
    held(&bot.call("crm_refund", json!({"amount": 10, "to": "anna"})).await);

    // Approved, it goes through once: other arguments and other callers do not.
    assert_eq!(world.decide(&id, true).await.unwrap().state, "approved");
    let told = world.admin().explain_call("bot", "crm_refund", "/mcp", Some(&same), &[]).await;
    assert_eq!(
        (&told["decision"], &told["approval"]["state"]),
        (&json!("permit"), &json!("approved")),
        "{told}"
    );
    let others = [
        bot.call("crm_refund", json!({"amount": 11, "to": "anna"})).await,
        world.caller("other").call("crm_refund", json!({"amount": 10, "to": "anna"})).await,
    ];
    assert!(others.iter().all(|answer| held(answer) != id));
    assert_eq!(world.crm.calls(), calls);
    let done = sibling.call("crm_refund", json!({"amount": 10, "to": "anna"})).await;
    assert!(done.succeeded(), "{done:?}");
    assert_eq!(world.crm.calls(), calls + 1);
    let record = world.second.record(done.request_id()).await;
    let approval = record.approval.unwrap();
    assert_eq!((&*approval.id, approval.by.as_deref()), (&*id, Some("admin")));
    assert_eq!((record.reason, record.rule.as_deref()), (None, Some("VirtualKey/bot spec.grants[0]")));
    let used = world.get(&id).await;
    assert_eq!(used.approval.unwrap().state, "used");
    assert_eq!(used.call.unwrap().used_by, "plane-b");
    assert!(world.decide(&id, false).await.unwrap_err().message().contains("went through already"));

    // Again, it is another call.
    let told = world.admin().explain_call("bot", "crm_refund", "/mcp", Some(&same), &[]).await;
    assert_eq!((&told["reason"], &told["approval"]), (&json!("approval_required"), &Value::Null));
    let again = held(&bot.call("crm_refund", json!({"amount": 10, "to": "anna"})).await);
    assert_ne!(again, id);
    assert_eq!(world.crm.calls(), calls + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_retries_on_two_planes_one_goes_through() {
    let world = World::start(Upstream::modern(&["lookup", "refund"]).await).await;
    let id = held(&world.caller("bot").call("crm_refund", json!({"amount": 1})).await);
    world.decide(&id, true).await.unwrap();
    let calls = world.crm.calls();
    let retries = (0..16).map(|at| {
        let caller = if at % 2 == 0 { world.caller("bot") } else { world.at_second("bot") };
        tokio::spawn(async move { caller.call("crm_refund", json!({"amount": 1})).await })
    });
    let (mut through, mut waits) = (0, Vec::new());
    for retry in retries.collect::<Vec<_>>() {
        let answer = retry.await.unwrap();
        if answer.succeeded() { through += 1 } else { waits.push(held(&answer)) }
    }
    assert_eq!((through, world.crm.calls() - calls), (1, 1));
    waits.sort();
    waits.dedup();
    assert_eq!(waits.len(), 1, "all others wait for the same one: {waits:?}");
    assert_ne!(waits[0], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_says_so_until_it_is_old_and_what_waited_for_too_long_has_to_be_asked_again() {
    let world = World::start(Upstream::modern(&["lookup", "refund"]).await).await;
    let bot = world.caller("bot");
    let ask = async || bot.call("crm_refund", json!({"amount": 5})).await;
    let id = held(&ask().await);
    assert_eq!(world.decide(&id, false).await.unwrap().state, "denied");
    for caller in [bot.clone(), world.at_second("bot")] {
        let answer = caller.call("crm_refund", json!({"amount": 5})).await;
        assert_eq!(answer.reason(), "approval_denied", "{answer:?}");
        assert!(answer.content().contains("A person denied this call."), "{answer:?}");
    }
    let denied = ask().await;
    let record = world.portcullis.plane.record(denied.request_id()).await;
    let told = world.admin().explain_call("bot", "crm_refund", "/mcp", None, &["approval_denied"]).await;
    for (name, value) in
        [("decision", json!("deny")), ("reason", json!("approval_denied")), ("rule", json!(RULE))]
    {
        assert_eq!(told[name], value, "{told}");
        assert_eq!(serde_json::to_value(&record).unwrap()[name], value, "{record:?}");
    }
    // Old, it may be asked again.
    world.pass(HOUR);
    let second = held(&ask().await);
    assert_ne!(second, id);
    // Waited for too long, nobody can approve it any more.
    world.pass(HOUR);
    assert_eq!(world.get(&second).await.approval.unwrap().state, "expired");
    assert!(world.decide(&second, true).await.unwrap_err().message().contains("waited for too long"));
    let third = held(&ask().await);
    assert_ne!(third, second);
    // An approval that was not used in time is none.
    world.decide(&third, true).await.unwrap();
    world.pass(HOUR);
    assert_ne!(held(&ask().await), third);
    assert_eq!(world.crm.calls(), 0);
    // Who changes their mind in time is heard.
    let last = held(&ask().await);
    world.decide(&last, true).await.unwrap();
    world.decide(&last, false).await.unwrap();
    assert_eq!(ask().await.reason(), "approval_denied");
    world.decide(&last, true).await.unwrap();
    assert!(ask().await.succeeded());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_control_plane_nothing_goes_through_and_another_definition_is_another_call() {
    let mut world = World::start(Upstream::modern(&["lookup", "refund"]).await).await;
    let bot = world.caller("bot");
    let id = held(&bot.call("crm_refund", json!({})).await);
    world.decide(&id, true).await.unwrap();
    // The tool becomes another one, and is approved as that.
    let mut changed = portcullis_tests::tool("refund");
    changed["description"] = json!("Does refund, at once.");
    world.crm.set_tools(vec![portcullis_tests::tool("lookup"), changed]);
    world.crm.listened_to(1).await;
    world.crm.announce("tools");
    world.admin().awaits(1).await;
    world.admin().approve_all().await;
    world.settle().await;
    let other = held(&bot.call("crm_refund", json!({})).await);
    assert_ne!(other, id);
    world.decide(&other, true).await.unwrap();
    world.portcullis.control.stop().await;
    let answer = bot.call("crm_refund", json!({})).await;
    assert_eq!(answer.reason(), "approval_required", "{answer:?}");
    let decision = &answer.result()["_meta"]["portcullis/decision"];
    assert_eq!(
        (decision["retryAfterMs"].as_u64(), &decision["approvalUrl"]),
        (Some(5000), &Value::Null),
        "{decision}"
    );
    assert!(answer.content().contains("nobody can be asked"), "{answer:?}");
    assert!(bot.call("crm_lookup", json!({})).await.succeeded(), "what needs nobody goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_whose_call_never_reached_its_server_is_good_for_the_next_one() {
    let world = World::start_with(Upstream::modern(&["lookup", "refund", "broken"]).await, 5).await;
    let (bot, sibling) = (world.caller("bot"), world.at_second("bot"));
    let id = held(&bot.call("crm_refund", json!({"amount": 3})).await);
    world.decide(&id, true).await.unwrap();
    world.crm.go_down();
    // Whatever was open to it is closed by now: from here on nothing can be written.
    eventually("nobody is connected", async || {
        let mut gone = true;
        for caller in [&bot, &sibling] {
            gone &= caller.call("crm_lookup", json!({})).await.content().contains("cannot be connected to");
        }
        gone.then_some(())
    })
    .await;
    let calls = world.crm.calls();
    for caller in [&bot, &bot, &sibling] {
        let failed = caller.call("crm_refund", json!({"amount": 3})).await;
        assert_eq!(failed.reason(), "upstream_unavailable", "{failed:?}");
        eventually("it is given back", async || {
            (world.get(&id).await.approval.unwrap().state == "approved").then_some(())
        })
        .await;
    }
    assert_eq!(world.waiting().await, [], "nobody is asked again");
    world.crm.come_back().await;
    assert!(sibling.call("crm_refund", json!({"amount": 3})).await.succeeded());
    assert_eq!(world.crm.calls(), calls + 1);
    assert_ne!(held(&bot.call("crm_refund", json!({"amount": 3})).await), id, "it went through, once");

    // What the server may have seen is used up, however it ended.
    let id = held(&bot.call("crm_broken", json!({})).await);
    world.decide(&id, true).await.unwrap();
    assert_eq!(bot.call("crm_broken", json!({})).await.reason(), "upstream_error");
    assert_eq!(world.crm.calls(), calls + 2);
    assert_eq!(world.get(&id).await.approval.unwrap().state, "used");
    assert_ne!(held(&bot.call("crm_broken", json!({})).await), id);
    assert_eq!(world.crm.calls(), calls + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plane_killed_between_the_use_of_an_approval_and_its_call_never_makes_it_twice() {
    let dir = tempfile::tempdir().unwrap();
    let control = ControlPlane::start(ControlOptions::default()).await;
    let admin = &control.admin;
    let (_, token) = admin.plane_token().await;
    let token_file = dir.path().join("plane.token");
    std::fs::write(&token_file, &token).unwrap();
    let data = dir.path().join("state");
    let arguments = [
        "data-plane",
        "--data-dir",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--ops-listen",
        "127.0.0.1:0",
        "--control-plane",
        &control.url,
        "--plane-token-file",
        token_file.to_str().unwrap(),
        "--name",
        "eu-1",
    ];
    let mut plane = Process::start(dir.path(), "plane", &arguments);
    let crm = Upstream::legacy(&["lookup", "refund"]).await;
    let keys = admin.apply(&documents(&crm.url)).await;
    admin.awaits(4).await;
    admin.approve_all().await;
    let at = |plane: &Process| Caller::modern(plane.address("mcpUrl"), &secret(&keys, "bot"));
    let ask = async |caller: &Caller| {
        let asked = eventually("the tool is there", async || {
            let answer =
                caller.try_ask("tools/call", json!({"name": "crm_refund", "arguments": {"amount": 1}}));
            let asks = |message: &Value| {
                message["result"]["_meta"]["portcullis/decision"]["approvalUrl"].is_string()
            };
            answer.await.ok().filter(|answer| answer.messages.iter().any(asks))
        });
        held(&asked.await.0)
    };
    let decide = async |id: &str| {
        let request =
            api::DecideRequest { ids: vec![id.to_owned()], approve: true, ..api::DecideRequest::default() };
        admin.approvals().decide(request).await.unwrap();
    };
    let state = async |id: &str| {
        let request = api::GetApprovalRequest { id: id.to_owned() };
        admin.approvals().get_approval(request).await.unwrap().into_inner().approval.unwrap().state
    };
    let bot = at(&plane);
    let id = ask(&bot).await;
    decide(&id).await;
    // The call needs a session of its caller first: there it is stopped, with its approval used up and nothing of it sent.
    crm.hold_handshakes(true);
    let cut = tokio::spawn(async move {
        bot.try_ask("tools/call", json!({"name": "crm_refund", "arguments": {"amount": 1}})).await
    });
    eventually("the approval is used up", async || (state(&id).await == "used").then_some(())).await;
    plane.kill();
    assert!(cut.await.unwrap().is_err(), "there is nobody to answer");
    crm.hold_handshakes(false);
    assert_eq!((crm.calls(), state(&id).await.as_str()), (0, "used"));

    let plane = Process::start(dir.path(), "plane", &arguments);
    let bot = at(&plane);
    let again = ask(&bot).await;
    assert_ne!(again, id, "it has to be approved again");
    assert_eq!(crm.calls(), 0);
    decide(&again).await;
    assert!(bot.call("crm_refund", json!({"amount": 1})).await.succeeded());
    assert_eq!(crm.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_fills_the_desk() {
    let world = World::start(Upstream::modern(&["lookup", "refund"]).await).await;
    let bot = world.caller("bot");
    for amount in 0..20 {
        held(&bot.call("crm_refund", json!({"amount": amount})).await);
    }
    let refused = bot.call("crm_refund", json!({"amount": 20})).await;
    assert_eq!(refused.reason(), "approval_required");
    assert!(refused.content().contains("20 calls of this key wait"), "{refused:?}");
    held(&bot.call("crm_refund", json!({"amount": 0})).await);
    held(&world.caller("other").call("crm_refund", json!({"amount": 20})).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_that_opens_links_is_asked_to_and_its_retry_waits_for_the_decision() {
    let world = World::start(Upstream::modern(&["lookup", "refund"]).await).await;
    let able = json!({"elicitation": {"url": {}}});
    let bot = world.caller("bot").able_to(able.clone());
    let call = json!({"name": "crm_refund", "arguments": {"amount": 7}});
    let asked = bot.ask("tools/call", call.clone()).await;
    let result = asked.result();
    assert_eq!(result["resultType"], "input_required", "{result}");
    let request = &result["inputRequests"]["approval"];
    assert_eq!(
        (&request["method"], &request["params"]["mode"]),
        (&json!("elicitation/create"), &json!("url"))
    );
    let url = request["params"]["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{}/approvals/c-", world.portcullis.control.http)), "{url}");
    let id = url.rsplit('/').next().unwrap().to_owned();
    assert_eq!(
        world.portcullis.plane.record(asked.request_id()).await.reason,
        Some(Reason::ApprovalRequired)
    );
    let retry = |action: &str| {
        let mut retry = call.clone();
        retry["requestState"] = result["requestState"].clone();
        retry["inputResponses"] = json!({"approval": {"action": action}});
        retry
    };
    // The user did not want to: nobody is asked twice.
    let declined = bot.ask("tools/call", retry("decline")).await;
    assert_eq!(held(&declined), id);
    assert_eq!(world.waiting().await.len(), 1);
    // Somebody else's state is nothing.
    let stolen = world.caller("other").able_to(able.clone()).ask("tools/call", retry("accept")).await;
    assert_eq!((stolen.status.as_u16(), stolen.code()), (400, -32602), "{stolen:?}");
    // The link is open, on another plane, and somebody decides meanwhile.
    let waiting = tokio::spawn({
        let (bot, retry) = (world.at_second("bot").able_to(able), retry("accept"));
        async move { bot.ask("tools/call", retry).await }
    });
    world.decide(&id, true).await.unwrap();
    let done = waiting.await.unwrap();
    assert!(done.succeeded() && done.result()["resultType"] == "complete", "{done:?}");
    let sent = world.crm.saw("tools/call").await.message;
    assert_eq!(sent["params"]["arguments"], json!({"amount": 7}));
    for ours in ["requestState", "inputResponses"] {
        assert_eq!(sent["params"].get(ours), None, "{sent}");
    }
    // A key that is revoked while its call waits gets nothing, and the approval is not used for it.
    let other = world.caller("other").able_to(json!({"elicitation": {"url": {}}}));
    let result = other.ask("tools/call", call.clone()).await.result();
    let mut retry = call.clone();
    retry["requestState"] = result["requestState"].clone();
    retry["inputResponses"] = json!({"approval": {"action": "accept"}});
    let waiting = tokio::spawn(async move { other.ask("tools/call", retry).await });
    let request = api::RevokeKeyRequest { name: "other".to_owned(), message: String::new() };
    world.admin().keys().revoke_key(request).await.unwrap();
    let refused = waiting.await.unwrap();
    assert_eq!(refused.status.as_u16(), 401, "{refused:?}");
    let url = result["inputRequests"]["approval"]["params"]["url"].as_str().unwrap();
    assert_eq!(world.get(url.rsplit('/').next().unwrap()).await.approval.unwrap().state, "pending");
    // A client that opens no links is told in words.
    held(&world.caller("bot").able_to(json!({"elicitation": {"form": {}}})).ask("tools/call", call).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_is_asked_and_decides_with_a_token_alone() {
    let world = World::start(Upstream::modern(&["lookup", "refund"]).await).await;
    let bot = world.caller("bot");
    let arguments =
        json!({"<script>alert(1)</script>": "<img src=x onerror=alert(2)>", "to\u{200b}": "anna"});
    let id = held(&bot.call("crm_refund", arguments.clone()).await);
    let url = format!("{}/approvals/{id}", world.portcullis.control.http);
    let shown = page_with_headers(&url).await;
    assert_eq!(shown.status, 200);
    for wanted in [
        "A call waits for approval",
        "refund of server crm",
        "VirtualKey/bot (agent bot)",
        &format!("portcullis approve {id}"),
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "⟨U+200B",
    ] {
        assert!(shown.text.contains(wanted), "{wanted}: {}", shown.text);
    }
    for hidden in ["<script", "<img", "anna", "pca_", "onerror"] {
        assert!(!shown.text.contains(hidden), "{hidden}: {}", shown.text);
    }
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(shown.header(name), value);
    }
    for nothing in ["c-0", "", "../healthz", &format!("{id}0"), &id.replace("c-", "a-")] {
        let url = format!("{}/approvals/{nothing}", world.portcullis.control.http);
        assert_eq!(page_with_headers(&url).await.status, 404, "{nothing}");
    }

    // Only a token decides, sent by this page's own form.
    let token = std::fs::read_to_string(world.portcullis.control.dir.path().join("admin.token")).unwrap();
    let token = token.trim();
    for (fields, header, status) in [
        (vec![("decision", "approve")], None, 403),
        (vec![("decision", "approve"), ("token", "pca_wrong")], None, 403),
        (vec![("decision", "approve"), ("token", token)], Some(("origin", "https://evil.example")), 403),
        (vec![("decision", "approve"), ("token", token)], Some(("origin", "null")), 403),
        (vec![("decision", "approve"), ("token", token)], Some(("sec-fetch-site", "cross-site")), 403),
        (vec![("decision", "approve"), ("token", token)], Some(("content-type", "text/plain")), 415),
        (vec![("decision", "maybe"), ("token", token)], None, 400),
    ] {
        let answer = form(&url, &fields, header).await;
        assert_eq!(answer.status, status, "{fields:?} {header:?}: {}", answer.text);
        assert!(!answer.text.contains(token), "the token never comes back");
    }
    assert_eq!(world.get(&id).await.approval.unwrap().state, "pending");

    // What was sent is for who may read it: an admin gives that right to others.
    let detail = form(&url, &[("decision", "show"), ("token", token)], None).await;
    assert!(detail.text.contains("payloads:read") && !detail.text.contains("anna"), "{}", detail.text);
    let reader = world.reader().await;
    let detail = form(&url, &[("decision", "show"), ("token", &reader)], None).await;
    assert!(
        detail.text.contains("&lt;img src=x onerror=alert(2)&gt;") && detail.text.contains("anna"),
        "{}",
        detail.text
    );
    assert!(!detail.text.contains("<img"), "{}", detail.text);
    let refused = form(&url, &[("decision", "approve"), ("token", &reader)], None).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(refused.text.contains("approvals:decide"), "{}", refused.text);

    let own = world.portcullis.control.http.clone();
    let decided =
        form(&url, &[("decision", "approve"), ("token", token), ("message", "fine")], Some(("origin", &own)))
            .await;
    assert_eq!((decided.status.as_u16(), decided.header("location")), (303, id.as_str()), "{}", decided.text);
    let shown = page_with_headers(&url).await.text;
    assert!(shown.contains("This call is approved") && !shown.contains("fine"), "{shown}");
    assert_eq!(world.get(&id).await.approval.unwrap().message, "fine");
    assert!(bot.call("crm_refund", arguments).await.succeeded());
    let shown = page_with_headers(&url).await.text;
    assert!(shown.contains("This call went through") && !shown.contains("<form"), "{shown}");

    // Guessing is slow.
    let mut refused = 0;
    while form(&url, &[("token", "pca_guess")], None).await.status == 403 {
        refused += 1;
        assert!(refused < 20, "tokens can be guessed as fast as one likes");
    }
    let limited = form(&url, &[("decision", "deny"), ("token", token)], None).await;
    assert_eq!(limited.status, 429);
    assert!(!limited.header("retry-after").is_empty());
}

impl World {
    /// Another administrator.
    async fn second_admin(&self) -> Admin {
        let request = api::CreateAdminTokenRequest {
            name: "second".to_owned(),
            roles: vec!["admin".to_owned()],
            ..api::CreateAdminTokenRequest::default()
        };
        let token = self.admin().access().create_admin_token(request).await.unwrap().into_inner().token;
        Admin::new(&self.portcullis.control.url, &token, None)
    }

    /// The token of somebody who reads payloads and decides nothing.
    async fn reader(&self) -> String {
        let role = r#"
apiVersion: portcullis/v1
kind: Role
metadata: { name: reader }
spec: { rules: [ { rights: ["payloads:read", "approvals:read"] } ] }
"#;
        self.admin().apply(role).await;
        let request = api::CreateAdminTokenRequest {
            name: "reader".to_owned(),
            roles: vec!["reader".to_owned()],
            ..api::CreateAdminTokenRequest::default()
        };
        self.admin().access().create_admin_token(request).await.unwrap().into_inner().token
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_sandbox_is_approved_for_the_sandbox_alone() {
    let world = World::start(Upstream::modern(&["lookup", "refund"]).await).await;
    let twin = Upstream::modern(&["lookup", "refund"]).await;
    let sandbox = format!("  sandbox: {{ transport: {{ streamableHttp: {{ url: \"{}\" }} }} }}\n", twin.url);
    let tools = "  tools: { overrides";
    let documents = documents(&world.crm.url).replacen(tools, &format!("{sandbox}{tools}"), 1);
    let lab = |sandbox: bool| {
        format!(
            "---\napiVersion: portcullis/v1\nkind: VirtualKey\nmetadata: {{ name: lab }}\n\
             spec: {{ principal: {{ kind: agent, subject: lab }}, sandbox: {sandbox}, \
             grants: [ {{ server: crm, allow: [\"*\"] }} ] }}\n"
        )
    };
    let applied = world.portcullis.apply(&format!("{documents}{}", lab(true))).await;
    let caller = world.portcullis.plane.modern("/mcp", &secret(&applied, "lab"));
    let arguments = json!({"amount": 10});
    let id = held(&caller.call("crm_refund", arguments.clone()).await);
    let told = world.admin().explain_call("lab", "crm_refund", "/mcp", Some(&arguments), &[]).await;
    assert_eq!(told["approval"]["id"], json!(id), "{told}");
    world.decide(&id, true).await.unwrap();
    assert!(caller.call("crm_refund", arguments.clone()).await.succeeded());
    assert_eq!((twin.calls(), world.crm.calls()), (1, 0));

    // What was approved for the sandbox does not go to the server itself.
    let id = held(&caller.call("crm_refund", arguments.clone()).await);
    world.decide(&id, true).await.unwrap();
    world.portcullis.apply(&lab(false)).await;
    assert_ne!(held(&caller.call("crm_refund", arguments).await), id);
    assert_eq!(world.crm.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_holds_back_the_calls_of_its_servers_but_of_tools_that_say_otherwise() {
    let world = World::start(Upstream::modern(&["lookup", "refund", "list"]).await).await;
    let bronze = |word: &str| {
        format!(
            "apiVersion: portcullis/v1\nkind: TierDefaults\nmetadata: {{ name: bronze }}\n\
             spec: {{ tools: {{ approval: {word} }} }}\n"
        )
    };
    let rule = r#"
apiVersion: portcullis/v1
kind: ApprovalRule
metadata: { name: openings }
spec: { match: { changes: [approval-mode] }, approvers: [ { role: admin } ] }
---
"#;
    let bot = world.caller("bot");
    assert!(bot.call("crm_lookup", json!({})).await.succeeded());
    world.portcullis.apply(&format!("{rule}{}", bronze("per-call"))).await;
    let tier = "TierDefaults/bronze spec.tools.approval";
    for (tool, expected) in [("lookup", tier), ("refund", RULE)] {
        let name = format!("crm_{tool}");
        let answer = bot.call(&name, json!({})).await;
        let id = held(&answer);
        let record = world.portcullis.plane.record(answer.request_id()).await;
        assert_eq!(record.rule.as_deref(), Some(expected), "{tool}");
        let told = world.admin().explain("bot", &name, "/mcp").await;
        assert_eq!((&told["rule"], told["resource"]["version"].is_u64()), (&json!(expected), true), "{told}");
        world.decide(&id, true).await.unwrap();
        assert!(bot.call(&name, json!({})).await.succeeded(), "approved, it goes through: {tool}");
        held(&bot.call(&name, json!({})).await);
    }

    // One tool says otherwise: an opening like that of the tier itself, and none of them is in force unasked.
    let lifted = "{ name: refund, approval: per-call }, { name: lookup, approval: none }";
    let lifted = documents(&world.crm.url).replace("{ name: refund, approval: per-call }", lifted);
    assert!(world.admin().apply(&bronze("none")).await.proposal.is_some());
    let proposal = world.admin().apply(&lifted).await.proposal.unwrap().id;
    held(&bot.call("crm_lookup", json!({"again": 1})).await);
    let second = world.second_admin().await;
    let request = api::DecideRequest { ids: vec![proposal], approve: true, ..api::DecideRequest::default() };
    second.decide(request).await;
    world.settle().await;
    assert!(bot.call("crm_lookup", json!({"again": 2})).await.succeeded());
    held(&bot.call("crm_list", json!({})).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_says_who_approves_calls_and_to_let_them_go_freely_is_a_proposal() {
    let world = World::start(Upstream::modern(&["lookup", "refund"]).await).await;
    let rules = r#"
apiVersion: portcullis/v1
kind: ApprovalRule
metadata: { name: calls }
spec: { match: { changes: [call] }, approvers: [ { role: admin } ], required: 2, expiresAfter: 10m }
---
apiVersion: portcullis/v1
kind: ApprovalRule
metadata: { name: openings }
spec: { match: { changes: [approval-mode] }, approvers: [ { role: approver } ] }
"#;
    world.portcullis.apply(rules).await;
    let bot = world.caller("bot");
    let id = held(&bot.call("crm_refund", json!({})).await);
    let one = world.decide(&id, true).await.unwrap();
    assert_eq!((&*one.state, &*one.rule, one.required), ("pending", "calls", 2));
    assert_eq!(one.approved_by, ["admin"]);
    assert!(world.decide(&id, true).await.unwrap_err().message().contains("has approved this already"));
    assert_eq!(held(&bot.call("crm_refund", json!({})).await), id);
    let second = world.second_admin().await;
    let request =
        api::DecideRequest { ids: vec![id.clone()], approve: true, ..api::DecideRequest::default() };
    assert_eq!(second.decide(request).await[0].decided_by, "admin, second");
    assert!(bot.call("crm_refund", json!({})).await.succeeded());
    // Who may decide about other servers alone may not decide this.
    let id = held(&bot.call("crm_refund", json!({"limited": 1})).await);
    world
        .admin()
        .apply(
            r#"
apiVersion: portcullis/v1
kind: Role
metadata: { name: of-github }
spec: { rules: [ { rights: ["approvals:decide"], servers: [github] }, { rights: ["approvals:read"] } ] }
"#,
        )
        .await;
    let request = api::CreateAdminTokenRequest {
        name: "elsewhere".to_owned(),
        roles: vec!["of-github".to_owned()],
        ..api::CreateAdminTokenRequest::default()
    };
    let elsewhere = world.admin().access().create_admin_token(request).await.unwrap().into_inner().token;
    let elsewhere = Admin::new(&world.portcullis.control.url, &elsewhere, None);
    for approve in [true, false] {
        let request = api::DecideRequest { ids: vec![id.clone()], approve, ..api::DecideRequest::default() };
        let refused = elsewhere.approvals().decide(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    }
    // The rule's time counts.
    let id = held(&bot.call("crm_refund", json!({})).await);
    world.pass(Duration::from_mins(10));
    assert_ne!(held(&bot.call("crm_refund", json!({})).await), id);

    // To take the approval away needs one.
    let free = documents(&world.crm.url).replace(", approval: per-call", "");
    let applied = world.admin().apply(&free).await;
    assert!(applied.proposal.is_some(), "{applied:?}");
    held(&bot.call("crm_refund", json!({})).await);
}

/// What else limits the call: waiting debits nothing, and no approval is used up for a call that a budget denies.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_debits_nothing_and_an_empty_budget_wastes_no_approval() {
    let world = World::start(Upstream::legacy(&["lookup", "refund"]).await).await;
    let document = |calls: u32| {
        format!(
            r#"
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: frugal }}
spec:
  principal: {{ kind: agent, subject: frugal }}
  grants: [ {{ server: crm, allow: ["*"] }} ]
  budgets: [ {{ calls: {calls}, period: 1y }} ]
  loopBreaker: {{ calls: 2, within: 1h }}
"#
        )
    };
    let applied = world.admin().apply(&document(1)).await;
    world.settle().await;
    let frugal = world.portcullis.plane.modern("/mcp", &secret(&applied, "frugal"));
    // A lease that is not there within milliseconds denies; it comes.
    let refund = async |reason: &str| {
        let told = async || {
            let answer = frugal.call("crm_refund", json!({"amount": 10})).await;
            let met = if answer.succeeded() { String::new() } else { answer.reason() };
            (met == reason).then_some(answer)
        };
        eventually(&format!("a refund that meets {reason:?}"), told).await.0
    };
    let id = held(&refund("approval_required").await);
    for _ in 0..5 {
        assert_eq!(held(&refund("approval_required").await), id, "it waits, and is no loop");
    }
    assert_eq!(world.decide(&id, true).await.unwrap().state, "approved");
    eventually("the only call of the budget", async || {
        frugal.call("crm_lookup", json!({})).await.succeeded().then_some(())
    })
    .await;
    let calls = world.crm.calls();
    refund("budget_exhausted").await;
    assert_eq!(world.get(&id).await.approval.unwrap().state, "approved", "it is good yet");
    world.admin().apply(&document(2)).await;
    world.settle().await;
    refund("").await;
    assert_eq!(world.crm.calls(), calls + 1);
}
