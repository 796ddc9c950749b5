use serde_json::Value;

use super::*;

/// What of CONTRACT.md's sample is accepted now: every kind, with every field that is enforced or descriptive.
const SAMPLE: &str = r#"# A zone, servers, a bundle, tenants and a key.
apiVersion: portcullis/v1
kind: TrustZone
metadata: { name: internal }
spec: {}
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: crm }
spec: { transport: { streamableHttp: { url: "http://crm.internal:8080/mcp" } }, hosting: self, zone: internal }
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: files }
spec:
  transport:
    stdio: { command: npx, args: ["-y", "@modelcontextprotocol/server-filesystem", "/data"], env: { A: b }, instances: 1 }
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: github, labels: { region: eu } }
spec:
  transport:
    streamableHttp: { url: "https://mcp.example.com/mcp" }
  hosting: vendor
  environment: prod
  owner: { team: platform, contact: "platform-oncall@example.com" }
  tier: silver
  zone: vendor-saas
  dataClasses: [source-code]
  auth: { header: { name: Authorization, valueFrom: { secret: github-token } } }
  tools:
    newTools: require-approval
    changedTools: quarantine
    overrides: [ { name: create_issue, alias: new-issue, dataClasses: [source-code] } ]
  limits: { timeout: 30s, maxRequestBytes: 1MiB, maxResponseBytes: 4MiB, concurrency: 64 }
---
kind: TrustZone
apiVersion: portcullis/v1
metadata: { name: vendor-saas }
spec:
  reachableFrom: [internal]
  allowedDataClasses: [source-code, public]
  audit: required
---
kind: ToolBundle
apiVersion: portcullis/v1
metadata: { name: support }
spec:
  tools:
    - { server: github, allow: [search_issues, get_issue] }
    - { server: crm, allow: ["*"], except: [delete_customer] }
---
kind: Customer
apiVersion: portcullis/v1
metadata: { name: acme }
---
kind: Team
apiVersion: portcullis/v1
metadata: { name: support-team }
spec: { customer: acme }
---
kind: VirtualKey
apiVersion: portcullis/v1
metadata: { name: support-bot }
spec:
  principal: { kind: agent, subject: support-bot }
  team: support-team
  zone: internal
  grants: [ { bundle: support }, { server: crm, allow: [a], except: [b], prompts: [c], resources: ["crm://*"] } ]
  expiresAt: "2027-01-01T00:00:00Z"
"#;

fn read(text: &str) -> Result<Vec<Located>, Vec<Problem>> {
    parse(&[SourceFile { name: "f.yaml", text }])
}

fn problems(text: &str) -> Vec<String> {
    read(text).map(|_| ()).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn every_kind_reads_from_yaml_and_reads_back_from_its_json() {
    let found = read(SAMPLE).unwrap();
    assert_eq!(found.len(), 9);
    for located in &found {
        let json = located.resource.to_json();
        assert_eq!(Resource::from_json(&json).unwrap(), located.resource);
        // JSON is a document too, on one line or on many.
        for text in [json.to_string(), serde_json::to_string_pretty(&json).unwrap()] {
            let again = parse(&[SourceFile { name: "f.json", text: &text }]).unwrap();
            assert_eq!(again.len(), 1);
            assert_eq!(again[0].resource, located.resource);
        }
        // And so is YAML as it is printed.
        let yaml = serde_saphyr::to_string(&json).unwrap();
        assert_eq!(read(&yaml).unwrap()[0].resource, located.resource, "{yaml}");
    }
    let kinds: std::collections::BTreeSet<Kind> =
        found.iter().map(|located| located.resource.kind()).collect();
    assert_eq!(kinds.len(), Kind::ALL.len(), "the sample has every kind");
    let set: crate::ResourceSet = found.into_iter().map(|located| located.resource).collect();
    assert_eq!(crate::check::check(&set), []);
}

#[test]
fn what_is_not_written_has_the_defaults_of_the_contract() {
    let spec = |kind: &str, spec: Value| {
        let document =
            json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": { "name": "x" }, "spec": spec });
        Resource::from_json(&document).unwrap().to_json()["spec"].clone()
    };
    assert_eq!(
        spec("McpServer", json!({ "transport": { "stdio": { "command": "x" } } })),
        json!({ "transport": { "stdio": { "command": "x", "instances": 1 } }, "hosting": "self", "environment": "prod",
            "tier": "bronze", "zone": "default", "auth": { "none": {} },
            "tools": { "newTools": "require-approval", "changedTools": "quarantine" },
            "limits": { "timeout": "30s", "maxRequestBytes": "1MiB", "maxResponseBytes": "4MiB", "concurrency": 64 } })
    );
    assert_eq!(spec("TrustZone", json!({})), json!({ "audit": "required" }));
    let principal = json!({ "kind": "human", "subject": "a" });
    assert_eq!(
        spec("VirtualKey", json!({ "principal": principal })),
        json!({ "principal": principal, "zone": "default" })
    );
}

/// A document with one thing wrong, and the one problem that it must be: line, resource, field and a word of the sentence.
#[test]
fn each_problem_names_line_resource_field_and_what_would_be_right() {
    let document = |kind: &str, spec: &str| {
        format!("apiVersion: portcullis/v1\nkind: {kind}\nmetadata: {{ name: x }}\nspec:\n{spec}")
    };
    let server = |more: &str| {
        document(
            "McpServer",
            &format!("  transport: {{ streamableHttp: {{ url: \"https://a.example/\" }} }}\n{more}"),
        )
    };
    let key =
        |more: &str| document("VirtualKey", &format!("  principal: {{ kind: agent, subject: a }}\n{more}"));
    for (text, line, resource, field, word) in [
        // The envelope.
        (
            "kind: Team\nmetadata: { name: x }\nspec: {}".to_owned(),
            1,
            "Team/x",
            "apiVersion",
            "portcullis/v1",
        ),
        (
            "apiVersion: v2\nkind: Team\nmetadata: { name: x }".to_owned(),
            1,
            "Team/x",
            "apiVersion",
            "portcullis/v1",
        ),
        ("apiVersion: portcullis/v1\nmetadata: { name: x }".to_owned(), 1, "x", "kind", "one of TrustZone"),
        (
            "apiVersion: portcullis/v1\n\nkind: Teem\nmetadata: { name: x }".to_owned(),
            3,
            "Teem/x",
            "kind",
            "one of TrustZone",
        ),
        (
            "apiVersion: portcullis/v1\nkind: Guardrail\nmetadata: { name: x }".to_owned(),
            2,
            "Guardrail/x",
            "kind",
            "known but not enforced",
        ),
        (
            "apiVersion: portcullis/v1\nkind: Team\nmetadata: { name: x }\nstates: {}".to_owned(),
            4,
            "Team/x",
            "states",
            "known are: apiVersion",
        ),
        (
            "apiVersion: portcullis/v1\nkind: Team\nspec: {}".to_owned(),
            1,
            "Team",
            "metadata.name",
            "required",
        ),
        (
            "apiVersion: portcullis/v1\nkind: Team\nmetadata:\n  name: Bad_Name".to_owned(),
            4,
            "Team/Bad_Name",
            "metadata.name",
            "a-z, 0-9",
        ),
        (
            "apiVersion: portcullis/v1\nkind: Team\nmetadata:\n  name: x\n  uids: y".to_owned(),
            5,
            "Team/x",
            "metadata.uids",
            "known are: name, labels",
        ),
        ("- a".to_owned(), 1, "", "", "a document is a mapping"),
        ("just words".to_owned(), 1, "", "", "a document is a mapping"),
        // Types and values.
        (document("McpServer", "  zone: a"), 4, "McpServer/x", "spec.transport", "streamableHttp"),
        (
            document("McpServer", "  transport: {}"),
            5,
            "McpServer/x",
            "spec.transport",
            "exactly one of: streamableHttp, stdio",
        ),
        (
            document("McpServer", "  transport:\n    stdio: { command: x }\n    streamableHttp: { url: y }"),
            5,
            "McpServer/x",
            "spec.transport",
            "exactly one of",
        ),
        (
            document("McpServer", "  transport:\n    smoke: {}"),
            5,
            "McpServer/x",
            "spec.transport",
            "\"smoke\" is not known here",
        ),
        (
            document("McpServer", "  transport:\n    stdio:\n      command: 5"),
            7,
            "McpServer/x",
            "spec.transport.stdio.command",
            "write \"5\" with quotes",
        ),
        (
            document("McpServer", "  transport:\n    stdio: {}"),
            6,
            "McpServer/x",
            "spec.transport.stdio.command",
            "required",
        ),
        (server("  hosting: them"), 6, "McpServer/x", "spec.hosting", "one of: self, vendor"),
        (server("  hostnig: self"), 6, "McpServer/x", "spec.hostnig", "known are: transport, hosting"),
        (server("  zone: Not A Name"), 6, "McpServer/x", "spec.zone", "a-z, 0-9"),
        (server("  dataClasses: public"), 6, "McpServer/x", "spec.dataClasses", "it must be a list"),
        (
            server("  dataClasses:\n    - ok\n    - 1"),
            8,
            "McpServer/x",
            "spec.dataClasses[1]",
            "write \"1\" with quotes",
        ),
        (
            server("  dataClasses:"),
            6,
            "McpServer/x",
            "spec.dataClasses",
            "this is empty, but it must be a list",
        ),
        (server("  limits: { timeout: 30 }"), 6, "McpServer/x", "spec.limits.timeout", "30s"),
        (server("  limits: { timeout: soon }"), 6, "McpServer/x", "spec.limits.timeout", "30s"),
        (
            server("  limits: { maxRequestBytes: 1MB }"),
            6,
            "McpServer/x",
            "spec.limits.maxRequestBytes",
            "KiB",
        ),
        (server("  limits: { concurrency: -1 }"), 6, "McpServer/x", "spec.limits.concurrency", "-1"),
        (
            server("  limits: { concurrency: many }"),
            6,
            "McpServer/x",
            "spec.limits.concurrency",
            "a whole number",
        ),
        (server("  auth: none"), 6, "McpServer/x", "spec.auth", "write { none: "),
        (
            server("  tools: { overrides: [ { alias: a } ] }"),
            6,
            "McpServer/x",
            "spec.tools.overrides[0].name",
            "required",
        ),
        (
            document("TrustZone", "  audit: sometimes"),
            5,
            "TrustZone/x",
            "spec.audit",
            "one of: best-effort, required",
        ),
        (key("  expiresAt: tomorrow"), 6, "VirtualKey/x", "spec.expiresAt", "2027-01-01T00:00:00Z"),
        (key("  grants: [ {} ]"), 6, "VirtualKey/x", "spec.grants[0]", "{ bundle: NAME } or { server: NAME"),
        (key("  grants:\n    - { bundle: a, server: b }"), 7, "VirtualKey/x", "spec.grants[0]", "not both"),
        (
            key("  grants:\n    - bundle: a\n    - bundle: b\n      allow: [c]"),
            8,
            "VirtualKey/x",
            "spec.grants[1]",
            "leave out allow",
        ),
        (
            key("  grants:\n    - server: b\n      alow: [c]"),
            8,
            "VirtualKey/x",
            "spec.grants[0].alow",
            "known are: bundle, server, allow",
        ),
        (key("  grants:\n    - server: B_"), 7, "VirtualKey/x", "spec.grants[0].server", "a-z, 0-9"),
        (document("VirtualKey", "  zone: a"), 4, "VirtualKey/x", "spec.principal", "human|agent|workload"),
        (
            document("VirtualKey", "  principal: { kind: robot, subject: a }"),
            5,
            "VirtualKey/x",
            "spec.principal.kind",
            "human, agent, workload",
        ),
        // Known, and not enforced.
        (
            document("McpServer", "  transport:\n    sse: { url: x }"),
            6,
            "McpServer/x",
            "spec.transport.sse",
            "known but not enforced",
        ),
        (
            document("McpServer", "  transport:\n    openapi: {}"),
            6,
            "McpServer/x",
            "spec.transport.openapi",
            "known but not enforced",
        ),
        (server("  auth: { mtls: {} }"), 6, "McpServer/x", "spec.auth.mtls", "known but not enforced"),
        (
            server("  auth: { perUserOAuth: {} }"),
            6,
            "McpServer/x",
            "spec.auth.perUserOAuth",
            "known but not enforced",
        ),
        (
            server("  auth: { tokenExchange: {} }"),
            6,
            "McpServer/x",
            "spec.auth.tokenExchange",
            "known but not enforced",
        ),
        (
            server("  auth: { oauthClientCredentials: {} }"),
            6,
            "McpServer/x",
            "spec.auth.oauthClientCredentials",
            "known but not enforced",
        ),
        (
            server("  tools:\n    overrides:\n      - name: a\n      - name: b\n        approval: per-call"),
            10,
            "McpServer/x",
            "spec.tools.overrides[1].approval",
            "known but not enforced",
        ),
        (
            server("  tools: { overrides: [ { name: a, costMicroUsd: 1 } ] }"),
            6,
            "McpServer/x",
            "spec.tools.overrides[0].costMicroUsd",
            "known but not enforced",
        ),
        (
            server("  tools: { overrides: [ { name: a, maxCostMicroUsd: 1 } ] }"),
            6,
            "McpServer/x",
            "spec.tools.overrides[0].maxCostMicroUsd",
            "known but not enforced",
        ),
        (document("Customer", "  budgets: []"), 5, "Customer/x", "spec.budgets", "known but not enforced"),
        (document("Team", "  rateLimits: []"), 5, "Team/x", "spec.rateLimits", "known but not enforced"),
        (key("  budgets: []"), 6, "VirtualKey/x", "spec.budgets", "known but not enforced"),
        (key("  rateLimits: []"), 6, "VirtualKey/x", "spec.rateLimits", "known but not enforced"),
        (key("  concurrency: 8"), 6, "VirtualKey/x", "spec.concurrency", "known but not enforced"),
        (document("TrustZone", "  audit: durable"), 5, "TrustZone/x", "spec.audit", "known but not enforced"),
        // The language itself.
        ("a: b: c".to_owned(), 1, "", "", "not readable as YAML or JSON"),
        ("a:\n  - [".to_owned(), 2, "", "", "not readable as YAML or JSON"),
        ("a: 1\nb: 2\na: 3".to_owned(), 3, "", "", "\"a\" stands twice"),
        ("{\"a\":\n 1, \"a\": 2}".to_owned(), 2, "", "", "\"a\" stands twice"),
        ("a: *nothing".to_owned(), 1, "", "", "not readable as YAML or JSON"),
        ("a: !!binary x".to_owned(), 1, "", "", "not readable as YAML or JSON"),
    ] {
        let found = read(&text).map(|_| ()).unwrap_err();
        let [problem] = found.as_slice() else { panic!("{text}\n{found:#?}") };
        let place = (problem.file.as_str(), problem.line, problem.resource.as_str(), problem.field.as_str());
        assert_eq!(place, ("f.yaml", line, resource, field), "{text}\n{problem}");
        assert!(problem.message.contains(word), "{text}\n{problem}\nlacks {word:?}");
    }
}

#[test]
fn one_run_names_all_problems_of_all_documents_of_all_files() {
    let first = "apiVersion: portcullis/v1
kind: VirtualKey
metadata: { name: a }
spec:
  principal: { kind: agent, subject: 5 }
  zone: Foo
  budgets: []
  grants:
    - bundle: x
      allow: [a]
    - nope: 1
    - server: y
---
apiVersion: portcullis/v1
kind: TrustZone
metadata: { name: fine }
---
apiVersion: portcullis/v1
kind: TrustZone
metadata: { name: z, labels: { a: 1 } }
spec: { audit: durable, foo: 1 }
";
    let second =
        "apiVersion: portcullis/v1\nkind: McpServer\nmetadata: { name: s }\nspec: { transport: { sse: {} } }";
    let files = [
        SourceFile { name: "a.yaml", text: first },
        SourceFile { name: "b.yaml", text: "- [" },
        SourceFile { name: "c.yaml", text: second },
    ];
    let found: Vec<String> = parse(&files)
        .unwrap_err()
        .iter()
        .map(|problem| format!("{}:{} {}", problem.file, problem.line, problem.field))
        .collect();
    assert_eq!(
        found,
        [
            "a.yaml:5 spec.principal.subject",
            "a.yaml:6 spec.zone",
            "a.yaml:7 spec.budgets",
            "a.yaml:9 spec.grants[0]",
            "a.yaml:11 spec.grants[1].nope",
            "a.yaml:20 metadata.labels.a",
            "a.yaml:21 spec.audit",
            "a.yaml:21 spec.foo",
            "b.yaml:1 ",
            "c.yaml:4 spec.transport.sse",
        ]
    );
}

#[test]
fn a_problem_prints_with_file_line_resource_and_field() {
    assert_eq!(
        problems("apiVersion: portcullis/v1\nkind: Team\nmetadata: { name: x }\nspec: { customers: a }"),
        ["f.yaml:4: Team/x: spec.customers: no such field is known here; known are: customer"]
    );
}

#[test]
fn a_resource_written_twice_is_refused_with_both_places() {
    let zone = "apiVersion: portcullis/v1\nkind: TrustZone\nmetadata:\n  name: z\n";
    let files = [SourceFile { name: "a.yaml", text: zone }, SourceFile { name: "b.yaml", text: zone }];
    let found = parse(&files).unwrap_err();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "b.yaml:4: TrustZone/z: metadata.name: this resource is written twice; the other one is at a.yaml:4"
    );
    // Another kind of that name is another resource.
    let customer = zone.replace("TrustZone", "Customer");
    let files = [SourceFile { name: "a.yaml", text: zone }, SourceFile { name: "b.yaml", text: &customer }];
    assert_eq!(parse(&files).unwrap().len(), 2);
}

#[test]
fn findings_find_their_line_or_the_nearest_one() {
    let found = read(SAMPLE).unwrap();
    let key = found.iter().find(|located| located.resource.kind() == Kind::VirtualKey).unwrap();
    let line_of =
        |text: &str| u32::try_from(SAMPLE.lines().position(|line| line.contains(text)).unwrap() + 1).unwrap();
    assert_eq!(key.line_of("spec.team"), line_of("team: support-team"));
    assert_eq!(key.line_of("spec.grants[1].resources[0]"), line_of("grants:"));
    assert_eq!(key.line_of("spec.grants[7].allow[3]"), line_of("grants:"));
    assert_eq!(key.line_of("spec.nothing"), line_of("principal:") - 1);
    let problem = key.problem("spec.team", "there is no such team");
    assert_eq!(problem.line, line_of("team: support-team"));
    assert_eq!(problem.resource, "VirtualKey/support-bot");
}

#[test]
fn empty_files_and_documents_hold_nothing() {
    for text in ["", "\n", "---\n---\n", "# nothing\n", "~\n---\nnull\n"] {
        assert_eq!(read(text).unwrap().len(), 0, "{text:?}");
    }
}

#[test]
fn a_yes_or_a_no_is_a_text_where_a_text_is_meant() {
    let text = "apiVersion: portcullis/v1\nkind: Customer\nmetadata: { name: no, labels: { a: yes, b: on, c: 'true' } }";
    let found = read(text).unwrap();
    assert_eq!(found[0].resource.name().as_str(), "no");
    assert_eq!(found[0].resource.metadata.labels["a"], "yes");
}

#[test]
fn anchors_work_and_bombs_do_not() {
    let shared = "apiVersion: portcullis/v1
kind: ToolBundle
metadata: { name: b }
spec:
  tools:
    - { server: a, allow: &tools [x, y] }
    - { server: b, allow: *tools }
";
    let found = read(shared).unwrap();
    let Spec::ToolBundle(bundle) = &found[0].resource.spec else { panic!("not a bundle") };
    assert_eq!(bundle.tools[1].allow, ["x", "y"]);
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ('b'..='j').zip('a'..='i') {
        let uses = vec![format!("*{before}"); 9].join(", ");
        bomb.push_str(&format!("{name}: &{name} [{uses}]\n"));
    }
    assert!(problems(&bomb)[0].contains("not readable"));
    let deep = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(problems(&deep)[0].contains("not readable"));
}

#[test]
fn sizes_are_bounded() {
    let large = format!("# {}\n", "x".repeat(MAX_FILE_BYTES));
    assert_eq!(problems(&large), ["f.yaml: the file is larger than 8 MiB: divide it"]);
    let many = "---\na: 1\n".repeat(MAX_DOCUMENTS + 1);
    let found = problems(&many);
    assert_eq!(found.len(), 1, "{found:?}");
    let half = "---\na: 1\n".repeat(MAX_DOCUMENTS / 2 + 1);
    let files = [SourceFile { name: "a", text: &half }, SourceFile { name: "b", text: &half }];
    let found = parse(&files).unwrap_err();
    assert!(found.last().unwrap().message.contains("apply them in parts") || found.len() == MAX_PROBLEMS);
}

#[test]
fn json_that_is_no_resource_is_refused_with_its_fields() {
    let message = Resource::from_json(&json!({ "apiVersion": "portcullis/v1", "kind": "Team",
        "metadata": { "name": "x" }, "spec": { "customer": 1, "other": 2 } }))
    .unwrap_err();
    assert!(message.contains("spec.customer: this is 1, but it must be a text"), "{message}");
    assert!(message.contains("spec.other: no such field"), "{message}");
    assert!(Resource::from_json(&Value::Null).is_err());
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-z:{}\\[\\]\"'&*!|>\\-# \n\t0-9,]{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn no_damage_to_the_sample_makes_the_reader_panic(at in 0..SAMPLE.len(), byte in "[\\x20-\\x7e\n]") {
            let mut text = SAMPLE.to_owned();
            text.replace_range(at..=at, &byte);
            if let Err(problems) = read(&text) {
                prop_assert!(problems.iter().all(|problem| !problem.message.is_empty()));
            }
        }
    }
}

#[test]
fn what_get_shows_can_be_read_again() {
    let uid = "6d3c6f0e-6f0b-4a52-9f0e-0c5d3a1b2c3d";
    let text = format!(
        "items:\n- apiVersion: portcullis/v1\n  kind: TrustZone\n  metadata:\n    name: a\n    uid: {uid}\n    version: 7\n  spec: {{}}\n  status:\n    builtIn: true\n- apiVersion: portcullis/v1\n  kind: TrustZone\n  metadata: {{ name: b }}\n"
    );
    let read = read(&text).unwrap();
    let [first, second] = read.as_slice() else { panic!("{read:?}") };
    assert_eq!(first.given_uid, Some(uid.parse().unwrap()));
    assert_eq!(first.given_version, Some(7));
    assert_eq!(first.line_of("metadata.uid"), 6);
    assert_eq!((second.given_uid, second.given_version), (None, None));
    assert!(!first.resource.to_json().to_string().contains("uid"), "it is no part of the resource");
    assert_eq!((first.line, second.line), (2, 11));
}

#[test]
fn what_get_shows_is_judged_and_nothing_else_is_taken() {
    let zone =
        |more: &str| format!("apiVersion: portcullis/v1\nkind: TrustZone\nmetadata:\n  name: a\n{more}");
    for (text, expected) in [
        (zone("  uid: x\n"), "f.yaml:5: TrustZone/a: metadata.uid: this is no uid"),
        (zone("  version: -1\n"), "f.yaml:5: TrustZone/a: metadata.version: this is no version"),
        (zone("  version: '7'\n"), "f.yaml:5: TrustZone/a: metadata.version: this is no version"),
        (zone("status: up\n"), "f.yaml:5: TrustZone/a: status: a status is a mapping"),
        (zone("  created: 1\n"), "f.yaml:5: TrustZone/a: metadata.created: no such field"),
        ("items: 1\n".to_owned(), "f.yaml:1: items: it must be a list"),
        ("items: []\nnext: x\n".to_owned(), "f.yaml:2: next: a list has items and nothing else"),
        ("items:\n- 1\n".to_owned(), "f.yaml:2: a document is a mapping"),
        ("items:\n- items: []\n".to_owned(), "f.yaml:2: items: no such field"),
    ] {
        let problems = read(&text).unwrap_err();
        let first = problems.first().unwrap().to_string();
        assert!(first.starts_with(expected), "{first}");
    }
    let stored = serde_json::json!({
        "apiVersion": "portcullis/v1", "kind": "TrustZone", "metadata": { "name": "a", "version": 1 },
    });
    assert!(Resource::from_json(&stored).is_err(), "what is stored holds none of it");
}

#[test]
fn a_file_named_json_is_json() {
    let json = |text: &str| parse(&[SourceFile { name: "f.json", text }]);
    let zone = r#"{"apiVersion": "portcullis/v1", "kind": "TrustZone", "metadata": {"name": "a", "labels": {"x": "\ud83d\ude00 \u00e9\t"}}}"#;
    let read = json(zone).unwrap();
    assert_eq!(read[0].resource.metadata.labels["x"], "\u{1f600} \u{e9}\t");
    assert_eq!(json(&format!("{{\"items\": [{zone}]}}")).unwrap().len(), 1);
    for (text, line) in [
        ("{\"items\": [\n],\n}", 3),
        ("{\"items\": [{},]}", 1),
        ("items: []", 1),
        ("# nothing\n{}", 1),
        ("{}\n---\n{}", 2),
        ("", 1),
    ] {
        let problems = json(text).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.starts_with("not readable as JSON"), "{text}: {}", problems[0]);
        assert!(problems[0].line <= line, "{text}: {}", problems[0]);
        assert!(!problems[0].message.contains(" at line "), "{}", problems[0]);
    }
    assert!(
        parse(&[SourceFile { name: "-", text: "{\"items\": [],}" }]).unwrap().is_empty(),
        "elsewhere it is YAML"
    );
}
