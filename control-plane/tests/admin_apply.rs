//! Applying, reading, deleting, history: over a real gRPC connection to a control plane that was started for it.

mod admin_support;

use admin_support::{ControlPlane, TEN, ZONES, json, problems, told};
use portcullis_proto::admin::v1 as proto;
use serde_json::Value;
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_documents_apply_in_one_version_and_again_change_nothing() {
    let plane = ControlPlane::start().await;
    let before = plane.list("zones").await.version;
    let applied = plane.apply(TEN).await;
    assert_eq!(applied.version, before + 1);
    assert_eq!(applied.changes.len(), 10);
    assert!(applied.changes.iter().all(|change| change.change() == proto::ChangeKind::Created));
    let mut names: Vec<_> = applied.keys.iter().map(|key| key.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ci", "support-bot"]);

    let again = plane.apply(TEN).await;
    assert_eq!(again.version, applied.version, "unchanged documents make no version");
    assert!(again.changes.iter().all(|change| change.change() == proto::ChangeKind::Unchanged));
    assert!(again.keys.is_empty(), "a key that exists keeps its secret");
    for (first, second) in applied.changes.iter().zip(&again.changes) {
        assert_eq!(first.uid, second.uid);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_document_among_ten_changes_nothing() {
    let plane = ControlPlane::start().await;
    let before = plane.list("zones").await.version;
    let snapshot = plane.snapshot().await;
    let bad = TEN.replace("team: support-team", "team: nobody");
    let problems = plane.refused(&bad).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problem = &problems[0];
    assert_eq!(problem.file, "test.yaml");
    assert_eq!(problem.resource, "VirtualKey/support-bot");
    assert_eq!(problem.field, "spec.team");
    let line = bad.lines().position(|line| line.contains("team: nobody")).unwrap() + 1;
    assert_eq!(problem.line as usize, line);
    assert!(problem.message.contains("nobody"), "{}", problem.message);
    assert_eq!(plane.list("servers").await.version, before);
    assert!(plane.names("servers").await.is_empty());
    assert_eq!(plane.snapshot().await, snapshot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_is_refused_by_the_field_that_it_is_in() {
    let plane = ControlPlane::start().await;
    plane.apply(TEN).await;
    let version = plane.list("zones").await.version;
    let server = |spec: &str| {
        format!("{{apiVersion: portcullis/v1, kind: McpServer, metadata: {{name: new}}, spec: {{{spec}}}}}")
    };
    let key = |spec: &str| {
        format!(
            "{{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {{name: new}}, spec: {{principal: {{kind: agent, subject: s}}, {spec}}}}}"
        )
    };
    let url = "transport: {streamableHttp: {url: \"https://a.example/mcp\"}}";
    for (document, field, word) in [
        (server(&format!("{url}, zone: nowhere")), "spec.zone", "nowhere"),
        (server(&format!("{url}, zone: vendor-saas, dataClasses: [pii]")), "spec.dataClasses", "pii"),
        (server(&format!("{url}, colour: red")), "spec.colour", "no such field"),
        (server("zone: internal"), "spec.transport", "required"),
        (
            server("transport: {streamableHttp: {url: \"http://a.example/mcp\"}}, hosting: vendor"),
            "spec.transport",
            "https",
        ),
        (
            server(&format!("{url}, auth: {{oauthClientCredentials: {{}}}}")),
            "spec.auth.oauthClientCredentials",
            "not enforced",
        ),
        (key("zone: internal, grants: [{bundle: nothing}]"), "spec.grants[0]", "nothing"),
        (key("zone: internal, grants: [{server: nothing, allow: [a]}]"), "spec.grants[0]", "nothing"),
        (
            key("zone: internal, budgets: [{calls: 1, amountMicroUsd: 1, period: 1d}]"),
            "spec.budgets[0]",
            "exactly one of them",
        ),
        (key("zone: internal, expiresAt: tomorrow"), "spec.expiresAt", ""),
    ] {
        let problems = plane.refused(&document).await;
        let found =
            problems.iter().any(|problem| problem.field.starts_with(field) && problem.message.contains(word));
        assert!(found, "{document}\nwants {field}: …{word}…\ngot {problems:?}");
    }
    for (document, word) in [
        ("{apiVersion: portcullis/v1, kind: Gadget, metadata: {name: a}, spec: {}}", "Gadget"),
        ("{apiVersion: portcullis/v9, kind: Customer, metadata: {name: a}, spec: {}}", "portcullis/v1"),
        ("{apiVersion: portcullis/v1, kind: Customer, metadata: {name: A_B}, spec: {}}", "A_B"),
        ("{apiVersion: portcullis/v1, kind: Guardrail, metadata: {name: a}, spec: {}}", "Guardrail"),
        ("key: [unclosed", ""),
    ] {
        let problems = plane.refused(document).await;
        assert!(problems.iter().any(|problem| problem.message.contains(word)), "{document}: {problems:?}");
    }
    assert_eq!(plane.list("zones").await.version, version, "none of it changed anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_tells_all_and_changes_nothing() {
    let plane = ControlPlane::start().await;
    plane.apply(ZONES).await;
    let before = plane.snapshot().await;
    let planned = plane.dry_run(TEN).await;
    assert_eq!(
        told(&planned.changes)[..3],
        ["TrustZone/internal: changed", "TrustZone/vendor-saas: unchanged", "Customer/acme: created"]
    );
    assert!(planned.keys.is_empty(), "a dry run makes no secret");
    assert!(planned.changes[2].uid.is_empty());
    assert_eq!(planned.version, plane.list("zones").await.version);
    assert!(plane.names("customers").await.is_empty());
    assert_eq!(plane.snapshot().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_told_field_by_field_in_the_reply_and_in_history() {
    let plane = ControlPlane::start().await;
    plane.apply(TEN).await;
    let changed =
        TEN.replace("allow: [lookup]", "allow: [lookup, search]").replace("region: eu", "region: us");
    let applied = plane.apply(&changed).await;
    let of = |changes: &[proto::Change], name: &str| -> Vec<(String, String, String)> {
        let change = changes.iter().find(|change| change.name == name).unwrap();
        let fields = change.fields.iter();
        fields.map(|field| (field.path.clone(), field.before.clone(), field.after.clone())).collect()
    };
    let owned =
        |path: &str, before: &str, after: &str| (path.to_owned(), before.to_owned(), after.to_owned());
    assert_eq!(of(&applied.changes, "crm"), [owned("metadata.labels.region", "\"eu\"", "\"us\"")]);
    assert_eq!(of(&applied.changes, "ci"), [owned("spec.grants[0].allow[1]", "", "\"search\"")]);

    let history = plane.history("", "").await;
    let newest = &history[0];
    assert_eq!(
        (newest.version, newest.author.as_str(), newest.message.as_str()),
        (applied.version, "admin", "because")
    );
    assert_eq!(newest.unix_ms, admin_support::START);
    assert_eq!(newest.changes.len(), 2, "unchanged documents are no history");
    assert_eq!(of(&newest.changes, "ci"), [owned("spec.grants[0].allow[1]", "", "\"search\"")]);

    let of_one = plane.history("keys", "ci").await;
    let told: Vec<_> = of_one.iter().map(|entry| told(&entry.changes)).collect();
    assert_eq!(told, [["VirtualKey/ci: changed"], ["VirtualKey/ci: created"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_read_in_pages_from_the_newest() {
    let plane = ControlPlane::start().await;
    for number in 0..7 {
        plane
            .apply(&format!(
                "{{apiVersion: portcullis/v1, kind: Customer, metadata: {{name: c{number}}}, spec: {{}}}}"
            ))
            .await;
    }
    let page = |limit, before_version| proto::HistoryRequest {
        kind: "customers".to_owned(),
        limit,
        before_version,
        ..proto::HistoryRequest::default()
    };
    let first = plane.resources().history(page(3, 0)).await.unwrap().into_inner().entries;
    let names = |entries: &[proto::HistoryEntry]| -> Vec<String> {
        entries.iter().map(|entry| entry.changes[0].name.clone()).collect()
    };
    assert_eq!(names(&first), ["c6", "c5", "c4"]);
    let second = plane.resources().history(page(100, first[2].version)).await.unwrap().into_inner().entries;
    assert_eq!(names(&second), ["c3", "c2", "c1", "c0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_referred_to_is_not_deleted_and_the_refusal_names_who_refers() {
    let plane = ControlPlane::start().await;
    plane.apply(TEN).await;
    for (kind, name, referrers) in [
        ("zones", "internal", &["McpServer/crm", "VirtualKey/support-bot", "TrustZone/vendor-saas"][..]),
        ("customers", "acme", &["Team/support-team"]),
        ("teams", "support-team", &["VirtualKey/support-bot"]),
        ("servers", "github", &["ToolBundle/support", "ToolBundle/code"]),
        ("bundles", "support", &["VirtualKey/support-bot"]),
    ] {
        let status = plane.delete(kind, name).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        for referrer in referrers {
            assert!(status.message().contains(referrer), "{kind} {name}: {}", status.message());
        }
        assert_eq!(problems(&status).len(), 1);
        let status = json(&plane.get(kind, name).await.status_json);
        let listed = status["referredBy"].as_array().unwrap();
        assert!(referrers.iter().all(|referrer| listed.iter().any(|known| known == referrer)), "{status}");
    }
    // From the leaves to the root everything goes.
    for (kind, name) in [
        ("keys", "ci"),
        ("keys", "support-bot"),
        ("bundles", "support"),
        ("bundles", "code"),
        ("servers", "crm"),
        ("servers", "github"),
        ("teams", "support-team"),
        ("customers", "acme"),
        ("zones", "vendor-saas"),
        ("zones", "internal"),
    ] {
        plane.delete(kind, name).await.unwrap();
        assert_eq!(plane.try_get(kind, name).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(plane.delete(kind, name).await.unwrap_err().code(), Code::NotFound);
    }
    let history = plane.history("zones", "internal").await;
    assert_eq!(told(&history[0].changes), ["TrustZone/internal: deleted"]);
    assert_eq!(history[0].message, "no longer needed");
    let entries = plane.snapshot().await.entries;
    assert_eq!(
        entries.into_iter().collect::<Vec<_>>(),
        [("zone".to_owned(), 1)],
        "the built-in zone is left"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_comes_back_is_another_thing() {
    let plane = ControlPlane::start().await;
    let document = "{apiVersion: portcullis/v1, kind: Customer, metadata: {name: acme}, spec: {}}";
    let first = plane.apply(document).await.changes[0].uid.clone();
    plane.delete("customers", "acme").await.unwrap();
    let second = plane.apply(document).await.changes[0].uid.clone();
    assert_ne!(first, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_zone_default_is_built_in_can_be_defined_and_comes_back() {
    let plane = ControlPlane::start().await;
    assert_eq!(plane.names("zones").await, ["default"]);
    assert_eq!(json(&plane.get("zones", "default").await.status_json)["builtIn"], true);
    assert_eq!(plane.delete("zones", "default").await.unwrap_err().code(), Code::FailedPrecondition);
    plane
        .apply("{apiVersion: portcullis/v1, kind: TrustZone, metadata: {name: default}, spec: {allowedDataClasses: [public]}}")
        .await;
    let zone = plane.get("zones", "default").await;
    assert_eq!(json(&zone.json)["spec"]["allowedDataClasses"][0], "public");
    plane
        .apply("{apiVersion: portcullis/v1, kind: McpServer, metadata: {name: a}, spec: {transport: {streamableHttp: {url: \"http://127.0.0.1:1/mcp\"}}}}")
        .await;
    plane.delete("zones", "default").await.unwrap();
    let refused = plane.delete("zones", "default").await.unwrap_err();
    assert!(refused.message().contains("brings the built-in zone back"), "{refused}");
    assert_eq!(json(&plane.get("zones", "default").await.status_json)["builtIn"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_nobody_has_seen_is_granted_with_a_warning() {
    let plane = ControlPlane::start().await;
    plane.apply(TEN).await;
    let applied = plane
        .apply("{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {name: new}, spec: {principal: {kind: agent, subject: s}, zone: internal, grants: [{server: crm, allow: [no_such_tool]}]}}")
        .await;
    let warning = applied.warnings.iter().find(|warning| warning.message.contains("no_such_tool"));
    let warning = warning.unwrap_or_else(|| panic!("{:?}", applied.warnings));
    assert_eq!(warning.resource, "VirtualKey/new");
    assert_eq!(warning.file, "test.yaml");
    assert!(warning.field.starts_with("spec.grants[0].allow"), "{}", warning.field);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_what_is_there_and_then_what_changes() {
    let plane = ControlPlane::start().await;
    let customer = |name: &str, label: &str| {
        format!(
            "{{apiVersion: portcullis/v1, kind: Customer, metadata: {{name: {name}, labels: {{a: \"{label}\"}}}}, spec: {{}}}}"
        )
    };
    plane.apply(&customer("one", "1")).await;
    let request = proto::WatchRequest { kind: "customers".to_owned(), name: String::new() };
    let mut watch = plane.resources().watch(request).await.unwrap().into_inner();
    let mut next = async || {
        let message = watch.message().await.unwrap().unwrap();
        (message.change(), message.resource.unwrap().name)
    };
    assert_eq!(next().await, (proto::ChangeKind::Created, "one".to_owned()));
    plane.apply(&customer("two", "1")).await;
    assert_eq!(next().await, (proto::ChangeKind::Created, "two".to_owned()));
    plane.apply(&customer("one", "2")).await;
    assert_eq!(next().await, (proto::ChangeKind::Changed, "one".to_owned()));
    plane.delete("customers", "two").await.unwrap();
    assert_eq!(next().await, (proto::ChangeKind::Deleted, "two".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_authors_at_once_all_get_their_change() {
    let plane = std::sync::Arc::new(ControlPlane::start().await);
    let before = plane.list("zones").await.version;
    let mut tasks = Vec::new();
    for number in 0..24 {
        let plane = std::sync::Arc::clone(&plane);
        tasks.push(tokio::spawn(async move {
            plane
                .apply(&format!(
                    "{{apiVersion: portcullis/v1, kind: Customer, metadata: {{name: c{number}}}, spec: {{}}}}"
                ))
                .await
                .version
        }));
    }
    let mut versions = Vec::new();
    for task in tasks {
        versions.push(task.await.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (before + 1..=before + 24).collect::<Vec<_>>());
    assert_eq!(plane.snapshot().await.version, before + 24, "each answer came after its snapshot");
}

/// What `get -o json` prints.
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a step that fails fails the test")]
fn shown(resource: &proto::Resource) -> Value {
    let mut document: Value = serde_json::from_str(&resource.json).unwrap();
    document["metadata"]["uid"] = resource.uid.clone().into();
    document["metadata"]["version"] = resource.version.into();
    document["status"] = serde_json::from_str(&resource.status_json).unwrap();
    document
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_get_shows_can_be_applied_again_and_changes_nothing() {
    let plane = ControlPlane::start().await;
    plane.apply(TEN).await;
    for kind in ["zones", "servers", "bundles", "keys"] {
        let items: Vec<Value> = plane.list(kind).await.resources.iter().map(shown).collect();
        let applied = plane.apply(&serde_json::json!({ "items": items }).to_string()).await;
        assert!(
            applied.changes.iter().all(|change| change.change() == proto::ChangeKind::Unchanged),
            "{applied:?}"
        );
        assert_eq!(applied.changes.len(), items.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_was_got_meets_the_same_resource_at_the_same_version_or_nothing() {
    let plane = ControlPlane::start().await;
    plane.apply(TEN).await;
    let mut mine = shown(&plane.get("servers", "crm").await);
    let old = mine["metadata"]["version"].clone();
    plane.apply(&TEN.replace("} }, zone: internal", "} }, tier: gold, zone: internal")).await;

    let problems = plane.refused(&mine.to_string()).await;
    assert_eq!(problems[0].field, "metadata.version");
    assert!(problems[0].message.contains(&format!("changed since version {old}")), "{problems:?}");

    mine["metadata"].as_object_mut().unwrap().remove("version");
    plane.apply(&mine.to_string()).await;
    mine["metadata"]["version"] = old;
    let again = plane.apply(&mine.to_string()).await;
    assert_eq!(
        again.changes[0].change(),
        proto::ChangeKind::Unchanged,
        "what is as it should be undoes nothing"
    );

    mine["metadata"]["version"] = u32::MAX.into();
    mine["spec"]["tier"] = "gold".into();
    let problems = plane.refused(&mine.to_string()).await;
    assert!(problems[0].message.contains("never was"), "{problems:?}");

    mine["metadata"].as_object_mut().unwrap().remove("version");
    mine["metadata"]["uid"] = "6d3c6f0e-6f0b-4a52-9f0e-0c5d3a1b2c3d".into();
    let problems = plane.refused(&mine.to_string()).await;
    assert_eq!(problems[0].field, "metadata.uid");
    assert!(problems[0].message.contains("another uid"), "{problems:?}");

    mine["metadata"]["name"] = "fresh".into();
    let problems = plane.refused(&mine.to_string()).await;
    assert!(problems[0].message.contains("does not exist"), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_of_nothing_is_refused_by_the_name_of_the_file() {
    let plane = ControlPlane::start().await;
    for text in ["", "# later\n", "---\n---\n", "{items: []}"] {
        let problems = plane.refused(text).await;
        assert_eq!(problems[0].message, "no documents in test.yaml");
    }
    let request = proto::CreateKeyRequest {
        name: "k".to_owned(),
        file: Some(proto::SourceFile { name: "empty.yaml".to_owned(), text: String::new() }),
    };
    let status = plane.keys().create_key(request).await.unwrap_err();
    assert!(status.message().contains("no documents in empty.yaml"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_dead_already_is_warned_about() {
    let plane = ControlPlane::start().await;
    let key = |end: &str| {
        format!(
            "{{apiVersion: portcullis/v1, kind: VirtualKey, metadata: {{name: k}}, spec: {{principal: {{kind: agent, subject: s}}, expiresAt: \"{end}\"}}}}"
        )
    };
    let warned = plane.dry_run(&key("2027-01-15T08:00:00Z")).await.warnings;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert_eq!(warned[0].field, "spec.expiresAt");
    assert!(warned[0].message.contains("in the past"));
    assert!(plane.dry_run(&key("2027-01-15T08:00:01Z")).await.warnings.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_says_first_what_people_look_at() {
    let plane = ControlPlane::start().await;
    plane
        .apply(
            &TEN.replace("team: support-team,", "team: support-team, expiresAt: \"2027-01-15T08:00:00Z\","),
        )
        .await;
    let status = async |kind, name| json(&plane.get(kind, name).await.status_json);
    let key = status("keys", "support-bot").await;
    assert_eq!(key["state"], "expired");
    assert_eq!((&key["principal"], &key["team"]), (&"agent/support-bot".into(), &"support-team".into()));
    assert_eq!(key["expiresAt"], "2027-01-15T08:00:00Z");
    let server = status("servers", "crm").await;
    assert_eq!((&server["health"], &server["tools"]), (&"unknown".into(), &0.into()));
    assert!(server.get("error").is_none() && server.get("lastProbe").is_none(), "{server}");
    assert_eq!(status("zones", "vendor-saas").await["reachableFrom"], "internal");
    for (kind, name) in [("keys", "ci"), ("servers", "crm"), ("zones", "internal"), ("teams", "support-team")]
    {
        assert!(status(kind, name).await["details"]["createdVersion"].is_u64());
    }
}
