mod forms;
mod problems;

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
    approval: none
    overrides: [ { name: create_issue, alias: new-issue, dataClasses: [source-code], zone: vendor-saas, approval: per-call, costMicroUsd: 250, maxCostMicroUsd: 250, budgets: [ { calls: 10, period: 1h } ], rateLimits: [ { requests: 1, per: 1m, each: key } ], concurrency: 1 } ]
    costMicroUsd: 10
    maxCostMicroUsd: 500
    costFrom: example.com/cost
    costOnError: free
  limits: { timeout: 30s, maxRequestBytes: 1MiB, maxResponseBytes: 4MiB, concurrency: 64 }
  budgets: [ { calls: 100000, period: 1d } ]
  rateLimits: [ { requests: 100, per: 1s, tool: "create_*", each: customer } ]
  concurrency: [ { calls: 64 }, { calls: 4, each: key, wait: 50ms } ]
  rollout: { policy: careful }
  sandbox: { transport: { streamableHttp: { url: "https://sandbox.example.com/mcp" } } }
---
apiVersion: portcullis/v1
kind: RolloutPolicy
metadata: { name: careful }
spec:
  sandbox: { checks: { window: 5m, minCalls: 20 } }
  limited:
    teams: [support-team]
    keys: [support-bot]
    percent: 10
    checks: { window: 1h, minCalls: 100, maxErrorRate: 0.5%, maxDenials: 3, noDrift: true }
---
apiVersion: portcullis/v1
kind: TierDefaults
metadata: { name: gold }
spec: { tools: { newTools: ignore, approval: per-call }, limits: { timeout: 5s }, rollout: { policy: careful } }
---
kind: TrustZone
apiVersion: portcullis/v1
metadata: { name: vendor-saas }
spec:
  reachableFrom: [internal]
  allowedDataClasses: [source-code, public]
  callerNetworks: ["10.0.0.0/8", "2001:db8::/32"]
  allowedEras: [modern, legacy]
  allowedHosting: [vendor]
  servedBy: [ { region: eu }, { region: us, tier: regulated } ]
  audit: required
---
kind: ToolBundle
apiVersion: portcullis/v1
metadata: { name: support }
spec:
  tools:
    - server: github
      allow: [search_issues, get_issue]
      prompts: [triage]
      resources: ["repo://acme/*"]
      rewrite: [ { name: search_issues, alias: find-issue, title: Find an issue, description: Finds issues by their words. } ]
    - { server: crm, allow: ["*"], except: [delete_customer] }
  members: { teams: [support-team] }
---
kind: Customer
apiVersion: portcullis/v1
metadata: { name: acme }
spec: { budgets: [ { amountMicroUsd: 50000000, period: 1mo, warnAt: 80%, onOutage: { share: 5% } } ], rateLimits: [ { requests: 1000, per: 1s, onOutage: allow } ], concurrency: 100, loopBreaker: { calls: 20, within: 1m } }
---
kind: Team
apiVersion: portcullis/v1
metadata: { name: support-team }
spec: { customer: acme, budgets: [ { calls: 100000, period: 1d, rolling: true, override: { calls: 200000, until: "2027-01-01T00:00:00Z" } } ], rateLimits: [ { requests: 10, per: 1s, server: crm, each: principal } ], concurrency: 50, loopBreaker: { calls: 10, within: 30s } }
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
  sandbox: true
  budgets: [ { amountMicroUsd: 1000000, period: 3mo, fiscalYearStart: 4, onOutage: deny } ]
  rateLimits: [ { requests: 50, per: 1s, burst: 100 }, { tool: "crm_*", requests: 5, per: 1s } ]
  concurrency: 8
  loopBreaker: { calls: 5, within: 10s }
---
kind: Client
apiVersion: portcullis/v1
metadata: { name: ides }
spec:
  match:
    keys: [support-bot]
    keyLabels: { app: ide }
    clientInfo: [ { name: "claude-*" }, { name: cursor, version: "1.*" } ]
  allow: { zones: [internal], servers: [github] }
---
kind: Client
apiVersion: portcullis/v1
metadata: { name: no-old-ones }
spec: { match: { clientInfo: [ { name: "old-*" } ] }, deny: { zones: ["*"] } }
---
kind: AccessPolicy
apiVersion: portcullis/v1
metadata: { name: refunds-only-for-support }
spec: { mode: enforce, cedar: "forbid(principal, action == Action::\"call\", resource == Tool::\"crm/refund\") unless { principal in Team::\"support-team\" };" }
---
apiVersion: portcullis/v1
kind: Role
metadata: { name: vendor-operator }
spec: { rules: [ { rights: [resources:write], kinds: [McpServer, ToolBundle], servers: [crm] }, { rights: [resources:read] } ] }
---
apiVersion: portcullis/v1
kind: RoleBinding
metadata: { name: ada }
spec: { subjects: [ { identity: ada@example.com }, { token: ci } ], roles: [viewer, vendor-operator] }
---
apiVersion: portcullis/v1
kind: ApprovalRule
metadata: { name: vendor-tools }
spec:
  match: { zones: [vendor-saas], tiers: [gold], changes: [new, changed] }
  approvers: [ { role: approver }, { identity: ada@example.com } ]
  required: 2
  expiresAfter: 7d
  autoApprove: { risk: info, readOnlyHint: true }
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
    assert_eq!(found.len(), 17);
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
            "tier": "bronze", "zone": "default", "auth": { "none": {} } }),
        "what a tier may give is kept as it was written: not at all"
    );
    let filled = json!({ "newTools": "require-approval", "changedTools": "quarantine" });
    let earlier = json!({ "transport": { "stdio": { "command": "x" } }, "tools": filled,
        "limits": { "timeout": "30s", "maxRequestBytes": "1MiB", "maxResponseBytes": "4MiB", "concurrency": 64 } });
    assert_eq!(spec("McpServer", earlier)["tools"], filled, "what was stored with every field still reads");
    assert_eq!(spec("TierDefaults", json!({})), json!({}));
    assert_eq!(
        spec("RolloutPolicy", json!({ "sandbox": {} })),
        json!({ "sandbox": { "checks": { "window": "10m", "noDrift": true } } })
    );
    assert_eq!(spec("TrustZone", json!({})), json!({ "audit": "required" }));
    let principal = json!({ "kind": "human", "subject": "a" });
    assert_eq!(
        spec("VirtualKey", json!({ "principal": principal })),
        json!({ "principal": principal, "zone": "default" })
    );
}
