//! What is wrong with a document, each with its place and what would be right.

use super::*;

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
            server("  tools:\n    overrides:\n      - name: a\n      - name: b\n        approval: always"),
            10,
            "McpServer/x",
            "spec.tools.overrides[1].approval",
            "per-call",
        ),
        (
            server("  tools: { overrides: [ { name: a, costMicroUsd: -1 } ] }"),
            6,
            "McpServer/x",
            "spec.tools.overrides[0].costMicroUsd",
            "u64",
        ),
        (server("  tools: { costOnError: never }"), 6, "McpServer/x", "spec.tools.costOnError", "free"),
        (
            document("TierDefaults", "  tools: { approval: always }"),
            5,
            "TierDefaults/x",
            "spec.tools.approval",
            "per-call",
        ),
        (
            document("Client", "  match: { oauthClientIds: [] }"),
            5,
            "Client/x",
            "spec.match.oauthClientIds",
            "known but not enforced",
        ),
        (
            document("Client", "  match: { certificates: [] }"),
            5,
            "Client/x",
            "spec.match.certificates",
            "known but not enforced",
        ),
        (
            document("TrustZone", "  callerNetworks: [10.1.2.3/8]"),
            5,
            "TrustZone/x",
            "spec.callerNetworks[0]",
            "write 10.0.0.0/8",
        ),
        (
            document("ToolBundle", "  members: { teams: [a], groups: [b] }"),
            5,
            "ToolBundle/x",
            "spec.members.groups",
            "known but not enforced",
        ),
        (
            document("ApprovalRule", "  approvers: [ { role: approver } ]\n  autoApprove: { risk: high }"),
            6,
            "ApprovalRule/x",
            "spec.autoApprove.risk",
            "warn",
        ),
        (
            document("Customer", "  budgets: [ { calls: 1, period: 2d } ]"),
            5,
            "Customer/x",
            "spec.budgets[0].period",
            "1m 1h 1d 1w 1mo 3mo 1y",
        ),
        (
            document("Team", "  rateLimits: [ { requests: 1, per: second } ]"),
            5,
            "Team/x",
            "spec.rateLimits[0].per",
            "is no duration",
        ),
        (
            key("  budgets: [ { calls: 1, period: 1d, onOutage: pray } ]"),
            6,
            "VirtualKey/x",
            "spec.budgets[0].onOutage",
            "deny",
        ),
        (key("  concurrency: many"), 6, "VirtualKey/x", "spec.concurrency", "a number of calls such as 8"),
        (
            key("  concurrency: [ { calls: 1, each: zone } ]"),
            6,
            "VirtualKey/x",
            "spec.concurrency[0].each",
            "principal",
        ),
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
  budget: []
  grants:
    - bundle: x
      allow: [a]
    - { bundle: z, nope: 1 }
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
            "a.yaml:7 spec.budget",
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
        [
            "f.yaml:4: Team/x: spec.customers: no such field is known here; known are: customer, budgets, rateLimits, concurrency, loopBreaker"
        ]
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
fn json_that_is_no_resource_is_refused_with_its_fields() {
    let message = Resource::from_json(&json!({ "apiVersion": "portcullis/v1", "kind": "Team",
        "metadata": { "name": "x" }, "spec": { "customer": 1, "other": 2 } }))
    .unwrap_err();
    assert!(message.contains("spec.customer: this is 1, but it must be a text"), "{message}");
    assert!(message.contains("spec.other: no such field"), "{message}");
    assert!(Resource::from_json(&Value::Null).is_err());
}
