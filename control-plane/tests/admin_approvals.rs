//! From a report of a data plane to a call that is permitted: what an administrator sees and does on the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a step that fails fails the test")]

mod admin_support;

use admin_support::{ControlPlane, TEN, json};
use portcullis_proto::admin::v1 as admin;
use portcullis_proto::config::v1 as config;
use serde_json::json as value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

/// A data plane that says what the test tells it to say.
struct Fake {
    say: mpsc::Sender<config::AttachRequest>,
    heard: Streaming<config::AttachResponse>,
}

impl Fake {
    async fn attach(plane: &ControlPlane) -> Self {
        let token = plane.running().plane_token(&"fake".parse().unwrap()).await.unwrap();
        let (say, queue) = mpsc::channel(8);
        let mut request = Request::new(ReceiverStream::new(queue));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let mut client = config::distribution_client::DistributionClient::new(plane.channel.clone())
            .max_decoding_message_size(16 << 20);
        let hello = config::Hello {
            name: "fake".to_owned(),
            software_version: "0".to_owned(),
            ..config::Hello::default()
        };
        let fake = async {
            let heard = client.attach(request).await.unwrap().into_inner();
            Self { say: say.clone(), heard }
        };
        let message = config::attach_request::Message::Hello(hello);
        let (fake, ()) = tokio::join!(fake, async {
            say.send(config::AttachRequest { message: Some(message) }).await.unwrap();
        });
        fake
    }

    async fn say(&self, message: config::attach_request::Message) {
        self.say.send(config::AttachRequest { message: Some(message) }).await.unwrap();
    }

    /// Hears until a message of the wanted sort comes.
    async fn hear<T>(&mut self, mut wanted: impl FnMut(config::attach_response::Message) -> Option<T>) -> T {
        loop {
            let message = self.heard.message().await.unwrap().unwrap();
            if let Some(found) = message.message.and_then(&mut wanted) {
                return found;
            }
        }
    }

    async fn hear_snapshot(&mut self, version: u64) {
        use config::attach_response::Message::Snapshot;
        self.hear(|message| match message {
            Snapshot(chunk) if chunk.last && chunk.version >= version => Some(()),
            _ => None,
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reported_tool_waits_is_approved_and_is_callable_at_once() {
    use config::attach_response::Message;

    let plane = ControlPlane::start().await;
    let applied = plane.apply(TEN).await;
    let uid = plane.get("servers", "crm").await.uid;
    let mut fake = Fake::attach(&plane).await;
    fake.hear_snapshot(applied.version).await;
    fake.hear(|message| match message {
        Message::Probe(probe) if probe.server_uids.contains(&uid) => Some(()),
        _ => None,
    })
    .await;

    let tool = |name: &str| {
        value!({"name": name, "inputSchema": {"type": "object"}}).to_string().into_bytes().into()
    };
    fake.say(config::attach_request::Message::ProbeReport(config::ProbeReport {
        server_uid: uid.clone(),
        reachable: true,
        era: "legacy".to_owned(),
        protocol_version: "2025-11-25".to_owned(),
        server_info_json: br#"{"name":"crm","version":"1"}"#.as_slice().into(),
        capabilities_json: br#"{"tools":{}}"#.as_slice().into(),
        tools_json: vec![tool("lookup"), tool("delete_customer")],
        ..config::ProbeReport::default()
    }))
    .await;
    // What the report changes is a new snapshot.
    fake.hear_snapshot(applied.version + 1).await;

    let status = json(&plane.get("servers", "crm").await.status_json);
    assert_eq!(status["health"], "up", "{status}");
    assert_eq!(status["era"], "legacy");
    assert_eq!((&status["tools"], &status["details"]["tools"]["pending"]), (&value!(0), &value!(2)));
    // Two tools and what the server says of itself.
    assert_eq!((&status["pending"], &status["quarantined"]), (&value!(3), &value!(0)));
    assert_eq!(status["lastProbe"], "2027-01-15T08:00:00.000Z", "{status}");

    let denied = plane.explain("ci", "crm_lookup", "/mcp").await;
    assert_eq!((&denied["decision"], &denied["reason"]), (&value!("deny"), &value!("tool_not_approved")));

    let mut approvals =
        admin::approvals_client::ApprovalsClient::with_interceptor(plane.channel.clone(), plane.bearer());
    let waiting = approvals.list_approvals(admin::ListApprovalsRequest::default()).await.unwrap();
    let waiting = waiting.into_inner().approvals;
    let lookup = waiting.iter().find(|approval| approval.name == "lookup").unwrap();
    let decided = approvals
        .decide(admin::DecideRequest {
            ids: vec![lookup.id.clone()],
            approve: true,
            message: "looks fine".to_owned(),
            ..admin::DecideRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(decided.approvals[0].state, "approved");
    let permitted = plane.explain("ci", "crm_lookup", "/mcp").await;
    assert_eq!(permitted["decision"], "permit", "{permitted}");
    assert_eq!(permitted["snapshotVersion"], decided.version);
    assert!(!permitted["steps"].as_array().unwrap().is_empty());
    fake.hear_snapshot(decided.version).await;

    for (key, tool, endpoint, reason) in [
        ("ci", "crm_delete_customer", "/mcp", "tool_not_granted"),
        ("ci", "crm_nothing", "/mcp", "tool_unknown"),
        ("ci", "lookup", "/servers/github/mcp", "unknown_endpoint"),
        ("nobody", "crm_lookup", "/mcp", "unauthenticated"),
    ] {
        let denied = plane.explain(key, tool, endpoint).await;
        assert_eq!(denied["decision"], "deny");
        assert_eq!(denied["reason"], reason, "{key} {tool} {endpoint}: {denied}");
    }
    assert_eq!(plane.explain("ci", "lookup", "/servers/crm/mcp").await["decision"], "permit");

    let history = plane.history("", "").await;
    let entry = history.iter().find(|entry| entry.message == "looks fine").unwrap();
    assert_eq!(entry.author, "admin");
    assert_eq!(entry.changes[0].name, "crm/tool/lookup");

    // The server goes, and all that is known of it.
    plane
        .apply(
            &TEN.replace(
                "server: crm, allow: [\"*\"], except: [delete_customer]",
                "server: github, allow: [a]",
            ),
        )
        .await;
    plane.delete("keys", "ci").await.unwrap();
    let version = plane.delete("servers", "crm").await.unwrap();
    assert!(!plane.snapshot().await.entries.contains_key("tool"));
    let waiting =
        approvals.list_approvals(admin::ListApprovalsRequest::default()).await.unwrap().into_inner();
    assert!(waiting.approvals.iter().all(|approval| approval.server != "crm"));
    let told = admin_support::told(&plane.history("", "").await[0].changes);
    assert_eq!(told, ["McpServer/crm: deleted"], "at version {version}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_whose_tool_was_approved_anew_stays_and_a_warning_says_so() {
    let server = "apiVersion: portcullis/v1\nkind: McpServer\nmetadata: { name: desk }\nspec:\n  transport: { streamableHttp: { url: \"http://127.0.0.1:9/mcp\" } }\n  tools: { newTools: approve, changedTools: approve }\n";
    let team = "---\napiVersion: portcullis/v1\nkind: Team\nmetadata: { name: helpers }\nspec: {}\n";
    let key = "---\napiVersion: portcullis/v1\nkind: VirtualKey\nmetadata: { name: helper }\nspec: { principal: { kind: agent, subject: helper }, team: helpers }\n";
    let bundle = |words: &str| {
        format!(
            "---\napiVersion: portcullis/v1\nkind: ToolBundle\nmetadata: {{ name: words }}\nspec:\n  members: {{ teams: [helpers] }}\n  tools:\n    - {{ server: desk, allow: [\"*\"], rewrite: [ {{ name: lookup, alias: find, description: \"{words}\" }} ] }}\n"
        )
    };
    let plane = ControlPlane::start().await;
    let applied = plane.apply(&format!("{server}{team}{key}")).await;
    let uid = plane.get("servers", "desk").await.uid;
    let mut fake = Fake::attach(&plane).await;
    fake.hear_snapshot(applied.version).await;
    let report = |description: &str| {
        let tool = value!({"name": "lookup", "description": description, "inputSchema": {"type": "object"}});
        config::attach_request::Message::ProbeReport(config::ProbeReport {
            server_uid: uid.clone(),
            reachable: true,
            era: "legacy".to_owned(),
            protocol_version: "2025-11-25".to_owned(),
            server_info_json: br#"{"name":"desk","version":"1"}"#.as_slice().into(),
            capabilities_json: br#"{"tools":{}}"#.as_slice().into(),
            tools_json: vec![tool.to_string().into_bytes().into()],
            ..config::ProbeReport::default()
        })
    };
    fake.say(report("looks up")).await;
    fake.hear_snapshot(applied.version + 1).await;

    // What is told when it is planned: who has it because of a team, and nothing of the rewrite, which fits.
    let planned = plane.dry_run(&bundle("Finds.")).await;
    let fields: Vec<&str> = planned.warnings.iter().map(|warning| warning.field.as_str()).collect();
    assert_eq!(fields, ["spec.members.teams[0]"]);
    let written = plane.apply(&bundle("Finds.")).await;
    let status = json(&plane.get("bundles", "words").await.status_json);
    let rewrite = &status["rewrites"][0];
    assert_eq!((&rewrite["tool"], &rewrite["alias"]), (&value!("lookup"), &value!("find")), "{status}");
    assert_eq!(rewrite["writtenFor"], rewrite["approved"], "{status}");
    assert_eq!(rewrite["warning"], value!(null), "{status}");
    let of_key = json(&plane.get("keys", "helper").await.status_json);
    assert_eq!(
        of_key["bundlesOfTeam"],
        value!([{"bundle": "words", "rule": "ToolBundle/words spec.members.teams[0]"}])
    );
    let permitted = plane.explain("helper", "find", "/bundles/words/mcp").await;
    assert_eq!(permitted["rule"], "ToolBundle/words spec.members.teams[0]", "{permitted}");
    assert_eq!(permitted["tool"], "lookup");
    assert_eq!(plane.explain("helper", "desk_lookup", "/bundles/words/mcp").await["reason"], "tool_unknown");
    assert!(plane.delete("teams", "helpers").await.is_err(), "the bundle names it");

    // The tool is approved with other words: the rewrite stays, and the doubt is told.
    fake.say(report("deletes what it looks up")).await;
    fake.hear_snapshot(written.version + 1).await;
    assert_eq!(plane.explain("helper", "find", "/bundles/words/mcp").await["decision"], "permit");
    let status = json(&plane.get("bundles", "words").await.status_json);
    let warning = status["rewrites"][0]["warning"].as_str().unwrap_or_default();
    assert!(warning.contains("lookup of desk was approved anew"), "{status}");
    let relabelled = bundle("Finds.").replace("{ name: words }", "{ name: words, labels: { a: b } }");
    for text in [bundle("Finds."), relabelled.clone()] {
        let planned = plane.dry_run(&text).await;
        let told = planned.warnings.iter().find(|warning| warning.field == "spec.tools[0].rewrite[0]");
        assert!(told.is_some_and(|told| told.message.contains("approved anew")), "{:?}", planned.warnings);
    }
    // Another change of the bundle is no new look at the rewrite; other words are.
    plane.apply(&relabelled).await;
    let status = json(&plane.get("bundles", "words").await.status_json);
    assert!(status["rewrites"][0]["warning"].is_string(), "{status}");
    plane.apply(&bundle("Finds, and deletes.")).await;
    let status = json(&plane.get("bundles", "words").await.status_json);
    assert_eq!(status["rewrites"][0]["warning"], value!(null), "{status}");
    let told = admin_support::told(&plane.history("", "").await[0].changes);
    assert_eq!(told.len(), 1, "{told:?}");
    plane.delete("bundles", "words").await.unwrap();
}
