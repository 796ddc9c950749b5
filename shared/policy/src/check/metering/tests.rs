use serde_json::{Value, json};

use crate::check::{ResourceSet, check};
use crate::resource::Resource;

fn resource(kind: &str, name: &str, spec: &Value) -> Resource {
    Resource::from_json(
        &json!({ "apiVersion": "portcullis/v1", "kind": kind, "metadata": { "name": name }, "spec": spec }),
    )
    .unwrap()
}

/// What is wrong with one resource beside a server `crm`.
fn findings(kind: &str, spec: &Value) -> Vec<(String, String)> {
    let crm = resource(
        "McpServer",
        "crm",
        &json!({ "transport": { "streamableHttp": { "url": "http://crm/mcp" } } }),
    );
    let set: ResourceSet = [crm, resource(kind, "it", spec)].into_iter().collect();
    check(&set).into_iter().map(|finding| (finding.field, finding.message)).collect()
}

fn key(more: Value) -> (&'static str, Value) {
    let mut spec = json!({ "principal": { "kind": "agent", "subject": "bot" } });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ("VirtualKey", spec)
}

fn server(more: Value) -> (&'static str, Value) {
    let mut spec = json!({ "transport": { "streamableHttp": { "url": "http://it/mcp" } } });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ("McpServer", spec)
}

fn tool(more: Value) -> (&'static str, Value) {
    let mut of_one = json!({ "name": "t" });
    of_one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server(json!({ "tools": { "overrides": [of_one] } }))
}

fn customer(spec: Value) -> (&'static str, Value) {
    ("Customer", spec)
}

#[test]
fn each_mistake_is_found_at_its_field() {
    let day = |more: Value| {
        let mut budget = json!({ "period": "1d" });
        budget.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "budgets": [budget] })
    };
    let rate = |more: Value| {
        let mut limit = json!({ "requests": 1, "per": "1s" });
        limit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "rateLimits": [limit] })
    };
    let five = ["1m", "1h", "1d", "1w", "1y"].map(|period| json!({ "calls": 1, "period": period }));
    let table: Vec<((&str, Value), &str, &str)> = vec![
        (customer(day(json!({}))), "spec.budgets[0]", "exactly one"),
        (customer(day(json!({ "calls": 1, "amountMicroUsd": 1 }))), "spec.budgets[0]", "exactly one"),
        (customer(day(json!({ "calls": 0 }))), "spec.budgets[0]", "revoke the key"),
        (
            customer(day(json!({ "calls": 1, "fiscalYearStart": 13 }))),
            "spec.budgets[0].fiscalYearStart",
            "1 to 12",
        ),
        (
            customer(day(json!({ "calls": 1, "rolling": true, "fiscalYearStart": 4 }))),
            "spec.budgets[0].fiscalYearStart",
            "rolling",
        ),
        (customer(day(json!({ "calls": 1, "warnAt": "0.05%" }))), "spec.budgets[0].warnAt", "0.1%"),
        (
            customer(day(
                json!({ "calls": 1, "override": { "amountMicroUsd": 1, "until": "2027-01-01T00:00:00Z" } }),
            )),
            "spec.budgets[0].override",
            "unit",
        ),
        (
            customer(day(json!({ "calls": 1, "onOutage": { "share": "0.01%" } }))),
            "spec.budgets[0].onOutage",
            "deny",
        ),
        (
            customer(json!({ "budgets": [{ "calls": 1, "period": "1d" }, { "calls": 2, "period": "1d" }] })),
            "spec.budgets[1]",
            "place 0",
        ),
        (customer(json!({ "budgets": five })), "spec.budgets", "at most 4"),
        (key(rate(json!({ "requests": 0 }))), "spec.rateLimits[0].requests", "1 to"),
        (key(rate(json!({ "burst": 0 }))), "spec.rateLimits[0].burst", "1 to"),
        (key(rate(json!({ "per": "1ms" }))), "spec.rateLimits[0].per", "between 1s and 1d"),
        (key(rate(json!({ "server": "nobody" }))), "spec.rateLimits[0].server", "no McpServer nobody"),
        (key(rate(json!({ "tool": "" }))), "spec.rateLimits[0].tool", "empty"),
        (key(rate(json!({ "each": "principal" }))), "spec.rateLimits[0].each", "server, tool"),
        (key(rate(json!({ "wait": "11s" }))), "spec.rateLimits[0].wait", "10s"),
        (server(rate(json!({ "server": "crm" }))), "spec.rateLimits[0].server", "this server"),
        (tool(rate(json!({ "tool": "a" }))), "spec.tools.overrides[0].rateLimits[0].tool", "this tool"),
        (
            tool(rate(json!({ "each": "tool" }))),
            "spec.tools.overrides[0].rateLimits[0].each",
            "customer, team",
        ),
        (
            key(json!({ "rateLimits": [{ "requests": 1, "per": "1s" }, { "requests": 2, "per": "1s" }] })),
            "spec.rateLimits[1]",
            "the same as spec.rateLimits[0]",
        ),
        (key(json!({ "concurrency": 0 })), "spec.concurrency[0]", "1 to"),
        (
            key(json!({ "concurrency": [{ "calls": 1, "tool": "a" }, { "calls": 2, "tool": "a" }] })),
            "spec.concurrency[1]",
            "the same as",
        ),
        (key(json!({ "loopBreaker": { "calls": 1, "within": "1m" } })), "spec.loopBreaker.calls", "2 to"),
        (key(json!({ "loopBreaker": { "calls": 3, "within": "2h" } })), "spec.loopBreaker.within", "1h"),
        (
            tool(json!({ "costMicroUsd": 9, "maxCostMicroUsd": 5 })),
            "spec.tools.overrides[0].maxCostMicroUsd",
            "less than",
        ),
        (
            tool(json!({ "costFrom": "example.com/cost" })),
            "spec.tools.overrides[0].maxCostMicroUsd",
            "needs a maximum",
        ),
        (
            server(json!({ "tools": { "costFrom": "a b", "maxCostMicroUsd": 5 } })),
            "spec.tools.costFrom",
            "visible ASCII",
        ),
        (
            server(
                json!({ "tools": { "maxCostMicroUsd": 5, "overrides": [{ "name": "t", "costMicroUsd": 9 }] } }),
            ),
            "spec.tools.overrides[0].maxCostMicroUsd",
            "less than",
        ),
    ];
    for ((kind, spec), field, word) in table {
        let found = findings(kind, &spec);
        let [(at, message)] = found.as_slice() else { panic!("{spec}: {found:?}") };
        assert_eq!(at, field, "{spec}: {message}");
        assert!(message.contains(word), "{spec}: {message} lacks {word:?}");
    }
}

#[test]
fn what_fits_has_no_findings() {
    for (kind, spec) in [
        customer(json!({
            "budgets": [{ "calls": 1, "period": "1d" }, { "calls": 1, "period": "1d", "rolling": true },
                { "amountMicroUsd": 1, "period": "1d" }, { "calls": 5, "period": "3mo", "fiscalYearStart": 4,
                    "override": { "calls": 9, "until": "2027-01-01T00:00:00Z" } }],
            "rateLimits": [{ "requests": 1, "per": "1s" }, { "requests": 1, "per": "1s", "each": "team" },
                { "requests": 1, "per": "1s", "server": "crm" }, { "requests": 1, "per": "1m" }],
            "concurrency": 4, "loopBreaker": { "calls": 2, "within": "1s" },
        })),
        tool(json!({ "costMicroUsd": 5, "maxCostMicroUsd": 5, "budgets": [{ "calls": 1, "period": "1m" }] })),
        server(
            json!({ "tools": { "maxCostMicroUsd": 5, "costFrom": "c", "overrides": [{ "name": "t", "costMicroUsd": 5 }] } }),
        ),
    ] {
        assert_eq!(findings(kind, &spec), [], "{spec}");
    }
}
