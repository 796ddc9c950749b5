//! Two callers with one key see and call what their network, their era and their program let them, and a change of these rules
//! reaches who is connected.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use portcullis_policy::Reason;
use portcullis_tests::admin::secret;
use portcullis_tests::planes::ControlOptions;
use portcullis_tests::{Caller, Portcullis, Upstream};
use serde_json::{Value, json};

const DOCUMENTS: &str = r#"
apiVersion: portcullis/v1
kind: TrustZone
metadata: { name: office }
spec: { reachableFrom: [default], callerNetworks: [10.0.0.0/8] }
---
apiVersion: portcullis/v1
kind: TrustZone
metadata: { name: new-only }
spec: { reachableFrom: [default], allowedEras: [modern], allowedHosting: [self] }
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: crm }
spec:
  transport: { streamableHttp: { url: "CRM" } }
  zone: office
  tools: { overrides: [ { name: erase, zone: new-only } ] }
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: wiki }
spec: { transport: { streamableHttp: { url: "WIKI" } } }
---
apiVersion: portcullis/v1
kind: Client
metadata: { name: ides }
spec:
  match: { clientInfo: [ { name: "ide-*" }, { name: shell, version: "2.*" } ] }
  allow: { zones: [office, new-only] }
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: { name: dev }
spec:
  principal: { kind: human, subject: dev }
  grants: [ { server: crm, allow: ["*"] }, { server: wiki, allow: ["*"] } ]
"#;

const OFFICE: &str = "10.1.2.3";
const STREET: &str = "198.51.100.7";

struct World {
    portcullis: Portcullis,
    crm: Upstream,
    wiki: Upstream,
    key: String,
}

async fn world() -> World {
    let (crm, wiki) = (Upstream::modern(&["lookup", "erase"]).await, Upstream::legacy(&["search"]).await);
    let text = DOCUMENTS.replace("CRM", &crm.url).replace("WIKI", &wiki.url);
    let portcullis = Portcullis::start_tuned(ControlOptions::default(), |plane| {
        plane.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let applied = portcullis.admit(&text, 3 + 4).await;
    let key = secret(&applied, "dev");
    World { portcullis, crm, wiki, key }
}

impl World {
    /// A caller of an era, from an address, that says it is this program.
    async fn caller(&self, modern: bool, address: &str, (name, version): (&str, &str)) -> Caller {
        let plane = &self.portcullis.plane;
        if modern {
            plane.modern("/mcp", &self.key).named(name, version).with("x-forwarded-for", address)
        } else {
            let caller = plane.legacy("/mcp", &self.key).named(name, version);
            caller.with("x-forwarded-for", address).open().await
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_opens_what_network_era_and_program_let_it() {
    let world = world().await;
    let (ide, new_shell, old_shell) = (("ide-x", "1"), ("shell", "2.4"), ("shell", "1.9"));
    let (zone, client) = (Some(Reason::ZoneDenied), Some(Reason::ClientDenied));
    for (modern, address, program, outcomes) in [
        // crm_lookup: office only; crm_erase: modern only; wiki_search: anybody but those whom the allow list means.
        (true, OFFICE, ide, [None, None, client]),
        (false, OFFICE, ide, [None, zone, client]),
        (true, STREET, ide, [zone, None, client]),
        (false, STREET, ide, [zone, zone, client]),
        (true, OFFICE, new_shell, [None, None, client]),
        (false, OFFICE, new_shell, [None, zone, client]),
        (true, OFFICE, old_shell, [client, client, None]),
        (false, OFFICE, old_shell, [client, zone, None]),
        (true, STREET, old_shell, [zone, client, None]),
    ] {
        let caller = world.caller(modern, address, program).await;
        let label = format!("modern {modern}, from {address}, {program:?}");
        let names = ["crm_lookup", "crm_erase", "wiki_search"];
        let open = |(_, outcome): &(&&str, &Option<Reason>)| outcome.is_none();
        let expected: Vec<&str> = names.iter().zip(&outcomes).filter(open).map(|(name, _)| *name).collect();
        let mut listed = caller.tools().await;
        listed.sort();
        let mut sorted = expected.clone();
        sorted.sort_unstable();
        assert_eq!(listed, sorted, "{label}");
        for (name, outcome) in names.iter().zip(outcomes) {
            let before = world.crm.calls() + world.wiki.calls();
            let answer = caller.call(name, json!({})).await;
            let reached = world.crm.calls() + world.wiki.calls() - before;
            let record = world.portcullis.plane.record(answer.request_id()).await;
            assert_eq!(record.reason, outcome, "{label}: {name}: {record:?}");
            assert_eq!(reached, usize::from(outcome.is_none()), "{label}: {name}");
            if let Some(reason) = outcome {
                assert_eq!(answer.reason(), reason.code(), "{label}: {name}");
            }
            // The version is part of who a program says it is; explain is asked where it makes no difference.
            if program == ide {
                let era = if modern { "modern" } else { "legacy" };
                let told = world.portcullis.admin.explain_from("dev", name, (address, era, "ide-x")).await;
                assert_eq!(told["reason"].as_str(), outcome.map(Reason::code), "{label}: {name}: {told}");
                if outcome.is_some() {
                    assert_eq!(told["rule"].as_str(), record.rule.as_deref(), "{label}: {name}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_of_itself_is_nobody_on_a_list() {
    let world = world().await;
    // A legacy client that returns no session id said nothing with this request.
    let silent = world.portcullis.plane.legacy("/mcp", &world.key).with("x-forwarded-for", OFFICE);
    assert_eq!(silent.tools().await, ["wiki_search"]);
    assert_eq!(silent.call("crm_lookup", json!({})).await.reason(), "client_denied");
    // A header that is no address tells nobody where the call comes from.
    let nowhere = world.caller(true, "nonsense", ("ide-x", "1")).await;
    assert_eq!(nowhere.call("crm_lookup", json!({})).await.reason(), "zone_denied");
    let told = world.portcullis.admin.explain("dev", "crm_lookup", "/mcp").await;
    assert_eq!(told["decision"], "permit", "{told}");
    let live: Vec<&Value> =
        told["steps"].as_array().unwrap().iter().filter(|step| step["outcome"] == "live").collect();
    for rule in ["TrustZone/office spec.callerNetworks", "Client/ides spec.match.clientInfo"] {
        assert!(live.iter().any(|step| step["rule"] == rule), "{rule}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_rule_for_clients_reaches_who_is_connected() {
    let world = world().await;
    let ide = world.caller(false, OFFICE, ("ide-x", "1")).await;
    let other = world.caller(false, OFFICE, ("editor", "1")).await;
    assert_eq!(ide.tools().await.len(), 1);
    assert_eq!(other.tools().await, ["wiki_search"]);
    let (mut ide_hears, mut other_hears) = (ide.listen().await, other.listen().await);
    let rule = "apiVersion: portcullis/v1\nkind: Client\nmetadata: { name: no-editors }\n\
                spec: { match: { clientInfo: [ { name: editor } ] }, deny: { servers: [wiki] } }\n";
    world.portcullis.apply(rule).await;
    other_hears.until(Some("notifications/tools/list_changed")).await;
    assert_eq!(other.tools().await, Vec::<String>::new());
    let denied = other.call("wiki_search", json!({})).await;
    assert_eq!(denied.reason(), "client_denied");
    let record = world.portcullis.plane.record(denied.request_id()).await;
    assert_eq!(record.rule.as_deref(), Some("Client/no-editors spec.deny"));
    // Nothing changed for the other program, and the next that it hears is the next change that concerns it.
    world.portcullis.admin.delete("Client", "ides").await;
    world.portcullis.settle().await;
    let heard = ide_hears.until(Some("notifications/tools/list_changed")).await;
    assert_eq!(heard["method"], "notifications/tools/list_changed");
    assert_eq!(ide.tools().await, ["crm_lookup", "wiki_search"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_forbids_a_host_and_a_client_that_names_nothing_are_refused_by_name() {
    let world = world().await;
    let admin = &world.portcullis.admin;
    for (text, words) in [
        (
            "kind: TrustZone\nmetadata: { name: office }\nspec: { reachableFrom: [default], allowedHosting: [vendor] }",
            "TrustZone/office spec.allowedHosting forbids it",
        ),
        (
            "kind: Client\nmetadata: { name: c }\nspec: { match: { keys: [nobody] }, allow: {} }",
            "there is no VirtualKey nobody",
        ),
        (
            "kind: Client\nmetadata: { name: c }\nspec: { match: { oauthClientIds: [x] }, allow: {} }",
            "known but not enforced",
        ),
    ] {
        let refused = admin.try_apply(&format!("apiVersion: portcullis/v1\n{text}\n")).await.unwrap_err();
        assert!(refused.message().contains(words), "{text}: {}", refused.message());
    }
    // What a Client names cannot be deleted under it.
    let request = portcullis_proto::admin::v1::DeleteRequest {
        kind: "TrustZone".to_owned(),
        name: "new-only".to_owned(),
        message: String::new(),
    };
    let refused = admin.resources().delete(request).await.unwrap_err();
    assert!(refused.message().contains("Client/ides"), "{}", refused.message());
}
