use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_proto::config::v1 as proto;
use portcullis_proto::config::v1::call_answer::Answer;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::governance::Actor;
use crate::store::{Change, JournalStore, Op};

const MINUTE: u64 = 60_000;

struct World {
    calls: Calls,
    store: Arc<dyn Store>,
    now: Arc<AtomicU64>,
    dir: Arc<tempfile::TempDir>,
    uses: AtomicU64,
}

fn uid(number: u128) -> Uid {
    Uid(Uuid::from_u128(number))
}

impl World {
    async fn new() -> Self {
        let world = Self::open(Arc::new(tempfile::tempdir().unwrap()), 1_800_000_000_000);
        let server = json!({ "apiVersion": "portcullis/v1", "kind": "McpServer", "metadata": { "name": "crm" },
            "spec": { "transport": { "streamableHttp": { "url": "http://crm.internal/mcp" } } } });
        for (kind, name, number) in [
            (Kind::McpServer, "crm", 1),
            (Kind::McpServer, "erp", 3),
            (Kind::VirtualKey, "bot", 2),
            (Kind::VirtualKey, "other", 4),
        ] {
            let body = if kind == Kind::McpServer { server.clone() } else { json!({}) };
            let op = Op::Put { kind: kind.as_str().into(), name: name.into(), uid: uid(number), body };
            let change =
                Change { author: "test".to_owned(), message: String::new(), unix_ms: 0, ops: vec![op] };
            world.store.commit(world.store.state().version, change).await.unwrap();
        }
        world
    }

    fn open(dir: Arc<tempfile::TempDir>, now: u64) -> Self {
        let store: Arc<dyn Store> = Arc::new(JournalStore::open(&dir.path().join("store")).unwrap());
        let now = Arc::new(AtomicU64::new(now));
        let clock = Clock::new({
            let now = Arc::clone(&now);
            move || now.load(Ordering::SeqCst)
        });
        let calls = Calls::new(Arc::clone(&store), clock, "https://p.example.com/");
        Self { calls, store, now, dir, uses: AtomicU64::new(1) }
    }

    fn question(&self) -> proto::CallAsk {
        let number = self.uses.fetch_add(1, Ordering::SeqCst);
        let mut use_id = [0; 16];
        use_id[..8].copy_from_slice(&number.to_be_bytes());
        proto::CallAsk {
            use_id: use_id.to_vec().into(),
            key: "bot".to_owned(),
            key_uid: uid(2).to_string(),
            principal_kind: "agent".to_owned(),
            principal_subject: "bot".to_owned(),
            server: "crm".to_owned(),
            server_uid: uid(1).to_string(),
            tool: "refund".to_owned(),
            pin: vec![7; 32].into(),
            input_sha256: vec![8; 32].into(),
            input_bytes: 12,
            input_json: "{\"arguments\":{}}".into(),
            arguments: vec![proto::CallArgument {
                name: "to".to_owned(),
                kind: "string".to_owned(),
                bytes: 4,
            }],
            more_arguments: 0,
            request_id: vec![9; 16].into(),
        }
    }

    async fn asks(&self, ask: proto::CallAsk) -> Answer {
        let use_id = ask.use_id.clone();
        let answer = self.calls.ask("eu-1", ask).await;
        assert_eq!(answer.use_id, use_id);
        answer.answer.unwrap()
    }

    /// The same call, asked for by another request.
    async fn ask(&self) -> Answer {
        self.asks(self.question()).await
    }

    async fn decide(&self, id: &str, approve: bool) -> Result<CallState, ApprovalError> {
        let ids = [id.to_owned()];
        let decided = self.calls.decide(&Actor::trusted("anna"), &ids, approve, " because ").await?;
        Ok(decided.0[0].state)
    }

    fn pass(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }
}

fn waits(answer: Answer) -> String {
    match answer {
        Answer::Waits(waits) => {
            assert_eq!(waits.url, format!("https://p.example.com/approvals/{}", waits.id));
            waits.id
        }
        other => panic!("it does not wait: {other:?}"),
    }
}

fn released(answer: &Answer) -> bool {
    matches!(answer, Answer::Released(released) if released.approved_by == "anna")
}

#[tokio::test]
async fn a_call_waits_once_however_often_it_is_asked_and_an_approval_lets_one_use_go() {
    let world = World::new().await;
    let id = waits(world.ask().await);
    let version = world.store.state().version;
    assert_eq!(waits(world.ask().await), id);
    assert_eq!(world.store.state().version, version, "asking again writes nothing");
    assert_eq!(world.decide(&id, true).await, Ok(CallState::Approved));
    assert_eq!(world.decide(&id, true).await, Ok(CallState::Approved), "twice is no change");
    let question = world.question();
    assert!(released(&world.asks(question.clone()).await));
    // The same request, after its connection was lost; and after a restart. No other.
    assert!(released(&world.asks(question.clone()).await));
    let again = waits(world.ask().await);
    assert_ne!(again, id);
    assert!(
        matches!(world.decide(&id, true).await, Err(ApprovalError::NotFound(message)) if message.contains("anew"))
    );
    let world = {
        let (dir, now) = (Arc::clone(&world.dir), world.now.load(Ordering::SeqCst));
        world.decide(&again, true).await.unwrap();
        assert!(released(&world.asks(world.question()).await));
        drop(world);
        World::open(dir, now)
    };
    world.uses.store(1_000, Ordering::SeqCst);
    assert_eq!(world.calls.get(&again, false).unwrap().call.state, CallState::Used);
    assert_ne!(waits(world.ask().await), again, "it is used up after a restart too");
}

#[tokio::test]
async fn another_key_principal_server_tool_pin_or_input_is_another_call() {
    let world = World::new().await;
    let id = waits(world.ask().await);
    world.decide(&id, true).await.unwrap();
    let base = world.question();
    let others: Vec<(&str, proto::CallAsk)> = vec![
        ("key", proto::CallAsk { key: "other".to_owned(), key_uid: uid(4).to_string(), ..base.clone() }),
        ("kind", proto::CallAsk { principal_kind: "human".to_owned(), ..base.clone() }),
        ("subject", proto::CallAsk { principal_subject: "bot2".to_owned(), ..base.clone() }),
        (
            "server",
            proto::CallAsk { server: "erp".to_owned(), server_uid: uid(3).to_string(), ..base.clone() },
        ),
        ("tool", proto::CallAsk { tool: "refunds".to_owned(), ..base.clone() }),
        ("pin", proto::CallAsk { pin: vec![1; 32].into(), ..base.clone() }),
        ("input", proto::CallAsk { input_sha256: vec![1; 32].into(), ..base.clone() }),
    ];
    for (what, ask) in others {
        assert_ne!(waits(world.asks(ask).await), id, "{what}");
    }
    // What only tells of it does not matter.
    let told =
        proto::CallAsk { input_bytes: 1, arguments: Vec::new(), request_id: vec![1; 16].into(), ..base };
    assert!(released(&world.asks(told).await));
}

#[tokio::test]
async fn decisions_and_what_waits_grow_old() {
    let world = World::new().await;
    let id = waits(world.ask().await);
    world.pass(60 * MINUTE - 1);
    assert_eq!(waits(world.ask().await), id);
    world.pass(1);
    assert!(matches!(world.decide(&id, true).await, Err(ApprovalError::Refused(_))));
    let id = waits(world.ask().await);
    world.pass(59 * MINUTE);
    assert_eq!(world.decide(&id, false).await, Ok(CallState::Denied));
    world.pass(59 * MINUTE);
    assert!(
        matches!(world.ask().await, Answer::Denied(denied) if denied.id == id),
        "a decision has its own hour"
    );
    assert_eq!(world.decide(&id, true).await, Ok(CallState::Approved));
    world.pass(60 * MINUTE);
    assert_ne!(waits(world.ask().await), id);
    let states: Vec<_> = world.calls.list(None, true).into_iter().map(|call| call.state).collect();
    assert_eq!(states, [CallState::Pending], "one call is kept once");
    assert_eq!(world.calls.list(Some("erp"), true), []);
}

#[tokio::test]
async fn what_makes_no_sense_or_is_not_known_here_is_refused() {
    let world = World::new().await;
    let base = world.question();
    for ask in [
        proto::CallAsk { use_id: vec![1; 15].into(), ..base.clone() },
        proto::CallAsk { key_uid: "nobody".to_owned(), ..base.clone() },
        proto::CallAsk { key_uid: uid(9).to_string(), ..base.clone() },
        proto::CallAsk { key: "nobody".to_owned(), ..base.clone() },
        proto::CallAsk { server_uid: uid(9).to_string(), ..base.clone() },
        proto::CallAsk { pin: vec![1; 31].into(), ..base.clone() },
        proto::CallAsk { input_sha256: vec![].into(), ..base.clone() },
        proto::CallAsk { request_id: vec![].into(), ..base.clone() },
        proto::CallAsk { tool: "x".repeat(2_000), ..base.clone() },
    ] {
        assert!(matches!(world.asks(ask.clone()).await, Answer::Refused(_)), "{ask:?}");
    }
    assert!(world.calls.list(None, true).is_empty());
    for id in ["", "c-", "c-0", "a-0000000000000000000000000000000000", "c-ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ"]
    {
        assert!(matches!(world.calls.get(id, true), Err(ApprovalError::NotFound(_))), "{id}");
    }
    let id = waits(world.ask().await);
    let guessed = format!("{}{}", &id[..14], "0".repeat(20));
    assert!(matches!(world.calls.get(&guessed, true), Err(ApprovalError::NotFound(_))));
    assert!(matches!(world.decide(&guessed, true).await, Err(ApprovalError::NotFound(_))));
    let both = [id.clone(), guessed];
    assert!(world.calls.decide(&Actor::trusted("anna"), &both, true, "").await.is_err());
    assert_eq!(world.calls.get(&id, false).unwrap().call.state, CallState::Pending, "all of them or none");
}

#[tokio::test]
async fn a_key_has_so_many_places_and_what_is_over_makes_room() {
    let world = World::new().await;
    let ask = |number: u64| {
        let mut input = [0; 32];
        input[..8].copy_from_slice(&number.to_be_bytes());
        proto::CallAsk { input_sha256: input.to_vec().into(), ..world.question() }
    };
    let mut ids = Vec::new();
    for number in 0..MAX_WAITING_OF_KEY as u64 {
        ids.push(waits(world.asks(ask(number)).await));
    }
    assert!(
        matches!(world.asks(ask(99)).await, Answer::Refused(why) if why.contains("20 calls of this key"))
    );
    world.decide(&ids[0], false).await.unwrap();
    waits(world.asks(ask(99)).await);
    assert!(matches!(world.asks(ask(100)).await, Answer::Refused(_)));
    world.pass(60 * MINUTE);
    waits(world.asks(ask(100)).await);
}

#[tokio::test]
async fn values_are_for_who_may_read_payloads_while_the_call_waits_and_never_on_disk() {
    let world = World::new().await;
    let secret =
        proto::CallAsk { input_json: "{\"arguments\":{\"to\":\"s3cr3t\"}}".into(), ..world.question() };
    let id = waits(world.asks(secret.clone()).await);
    let shown = |may| world.calls.get(&id, may).unwrap().input;
    assert!(shown(false).unwrap_err().contains("payloads:read"));
    assert_eq!(shown(true).unwrap(), "{\"arguments\":{\"to\":\"s3cr3t\"}}");
    assert!(!format!("{:?}", world.store.state().list(HELD_CALL).collect::<Vec<_>>()).contains("s3cr3t"));
    assert!(!format!("{secret:?} {:?}", world.calls).contains("s3cr3t"));
    world.decide(&id, true).await.unwrap();
    assert!(shown(true).unwrap_err().contains("only while"));
    assert!(world.calls.0.payloads.get(&id).is_none(), "it is forgotten with the decision");
}

#[tokio::test]
async fn a_use_that_did_not_happen_is_given_back_by_who_has_it_in_time_and_once() {
    let world = World::new().await;
    let id = waits(world.ask().await);
    world.decide(&id, true).await.unwrap();
    let use_id = |number: u64| [number.to_be_bytes(), [0; 8]].concat();
    let give = async |plane: &str, id: &str, number: u64| {
        let given = proto::CallGivenBack { id: id.to_owned(), use_id: use_id(number).into() };
        world.calls.take_back(plane, &given).await;
        world.calls.get(&id[..id.len().min(34)], false).map(|detail| detail.call.state)
    };
    let next = || world.uses.load(Ordering::SeqCst);
    assert_eq!(give("eu-1", &id, next()).await, Ok(CallState::Approved), "nothing was used");

    let (first, question) = (next(), world.question());
    assert!(released(&world.asks(question.clone()).await));
    assert_eq!(give("eu-2", &id, first).await, Ok(CallState::Used), "another plane's");
    assert_eq!(give("eu-1", &id, first + 1).await, Ok(CallState::Used), "another use");
    assert_eq!(give("eu-1", "c-000000000000000000000000000000000", first).await.ok(), None);
    assert_eq!(give("eu-1", &id, first).await, Ok(CallState::Approved));
    let version = world.store.state().version;
    assert_eq!(give("eu-1", &id, first).await, Ok(CallState::Approved));
    assert_eq!(world.store.state().version, version, "twice is no change");
    // The use that was given back is over: late, it lets nothing go and uses nothing up.
    assert!(matches!(world.asks(question).await, Answer::Refused(_)));
    assert_eq!(world.calls.get(&id, false).unwrap().call.state, CallState::Approved);

    // Another one goes, and what was said of the first says nothing of it.
    let second = next();
    assert!(released(&world.ask().await));
    assert_eq!(give("eu-1", &id, first).await, Ok(CallState::Used));
    assert_eq!(give("eu-1", &id, second).await, Ok(CallState::Approved));
    // Who changes their mind meanwhile is heard.
    world.decide(&id, false).await.unwrap();
    assert!(matches!(world.ask().await, Answer::Denied(_)));
    world.decide(&id, true).await.unwrap();

    // It does not live longer for it, and is not given back for ever; after a restart it is what it was.
    let third = next();
    assert!(released(&world.ask().await));
    world.pass(60 * MINUTE);
    assert_eq!(give("eu-1", &id, third).await, Ok(CallState::Used), "too old");
    let again = waits(world.ask().await);
    world.decide(&again, true).await.unwrap();
    for _ in 0..MAX_GIVEN_BACK {
        let number = next();
        assert!(released(&world.ask().await));
        assert_eq!(give("eu-1", &again, number).await, Ok(CallState::Approved));
    }
    let last = next();
    assert!(released(&world.ask().await));
    assert_eq!(give("eu-1", &again, last).await, Ok(CallState::Used), "too often");
    assert_ne!(waits(world.ask().await), again);
    assert_eq!(give("eu-1", &again, last).await.ok(), None, "it was asked for anew");
}

#[tokio::test]
async fn what_was_given_back_is_so_after_a_restart() {
    let world = World::new().await;
    let id = waits(world.ask().await);
    world.decide(&id, true).await.unwrap();
    let question = world.question();
    assert!(released(&world.asks(question.clone()).await));
    let given = proto::CallGivenBack { id: id.clone(), use_id: question.use_id.clone() };
    world.calls.take_back("eu-1", &given).await;
    let (dir, now) = (Arc::clone(&world.dir), world.now.load(Ordering::SeqCst));
    drop(world);
    let world = World::open(dir, now);
    world.uses.store(1_000, Ordering::SeqCst);
    assert!(matches!(world.asks(question).await, Answer::Refused(_)));
    assert!(released(&world.ask().await));
    assert_eq!(world.calls.get(&id, false).unwrap().call.state, CallState::Used);
}
