use serde_json::{Value, json};

use super::*;

fn resource(kind: &str, name: &str, spec: &Value) -> Resource {
    Resource::from_json(
        &json!({ "apiVersion": "portcullis/v1", "kind": kind, "metadata": { "name": name }, "spec": spec }),
    )
    .unwrap()
}

/// A set in which everything fits.
fn base() -> ResourceSet {
    [
        resource("TrustZone", "internal", &json!({})),
        resource(
            "TrustZone",
            "vendor",
            &json!({ "reachableFrom": ["internal"], "allowedDataClasses": ["public"] }),
        ),
        resource("Customer", "acme", &json!({})),
        resource("Team", "support-team", &json!({ "customer": "acme" })),
        resource("McpServer", "crm", &http("http://crm.internal:8080/mcp", &json!({ "zone": "internal" }))),
        resource("ToolBundle", "support", &json!({ "tools": [{ "server": "crm", "allow": ["*"] }] })),
        resource(
            "VirtualKey",
            "bot",
            &key(&json!({ "team": "support-team", "grants": [{ "bundle": "support" }] })),
        ),
    ]
    .into_iter()
    .collect()
}

fn http(url: &str, more: &Value) -> Value {
    merged(json!({ "transport": { "streamableHttp": { "url": url } } }), more)
}

fn stdio(stdio: &Value, more: &Value) -> Value {
    merged(json!({ "transport": { "stdio": stdio } }), more)
}

fn key(more: &Value) -> Value {
    merged(json!({ "principal": { "kind": "agent", "subject": "bot" }, "zone": "internal" }), more)
}

fn merged(mut value: Value, more: &Value) -> Value {
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

fn findings(set: &ResourceSet) -> Vec<String> {
    check(set).iter().map(ToString::to_string).collect()
}

#[test]
fn a_set_that_fits_has_no_findings() {
    assert_eq!(findings(&base()), Vec::<String>::new());
    assert_eq!(findings(&ResourceSet::new()), Vec::<String>::new());
}

/// One resource put into the set that fits, and the one finding that it must cause: its field, and a word of the sentence.
#[test]
fn each_rule_is_found_with_its_field() {
    let ok = "https://mcp.example.com/mcp";
    let server = |more: Value| ("McpServer", "s", http(ok, &more));
    let overrides = |list: Value| server(json!({ "tools": { "overrides": list } }));
    let table: Vec<((&str, &str, Value), &str, &str)> = vec![
        // References.
        (
            ("TrustZone", "z", json!({ "reachableFrom": ["internal", "nowhere"] })),
            "spec.reachableFrom[1]",
            "no TrustZone nowhere",
        ),
        (("Team", "t", json!({ "customer": "nobody" })), "spec.customer", "no Customer nobody"),
        (server(json!({ "zone": "nowhere" })), "spec.zone", "no TrustZone nowhere"),
        (
            ("ToolBundle", "b", json!({ "tools": [{ "server": "nobody", "allow": ["*"] }] })),
            "spec.tools[0].server",
            "no McpServer nobody",
        ),
        (("VirtualKey", "k", key(&json!({ "team": "nobody" }))), "spec.team", "no Team nobody"),
        (("VirtualKey", "k", key(&json!({ "zone": "nowhere" }))), "spec.zone", "no TrustZone nowhere"),
        (
            ("VirtualKey", "k", key(&json!({ "grants": [{ "bundle": "none" }] }))),
            "spec.grants[0].bundle",
            "no ToolBundle none",
        ),
        (
            (
                "VirtualKey",
                "k",
                key(&json!({ "grants": [{ "bundle": "support" }, { "server": "none", "allow": ["*"] }] })),
            ),
            "spec.grants[1].server",
            "no McpServer none",
        ),
        // Patterns, subjects, labels of data.
        (
            ("VirtualKey", "k", key(&json!({ "grants": [{ "server": "crm", "allow": ["a", ""] }] }))),
            "spec.grants[0].allow[1]",
            "empty pattern",
        ),
        (
            ("VirtualKey", "k", key(&json!({ "grants": [{ "server": "crm", "except": ["\n"] }] }))),
            "spec.grants[0].except[0]",
            "control",
        ),
        (
            ("VirtualKey", "k", key(&json!({ "grants": [{ "server": "crm", "prompts": [""] }] }))),
            "spec.grants[0].prompts[0]",
            "empty pattern",
        ),
        (
            (
                "VirtualKey",
                "k",
                key(&json!({ "grants": [{ "server": "crm", "resources": ["x".repeat(600)] }] })),
            ),
            "spec.grants[0].resources[0]",
            "at most",
        ),
        (
            ("ToolBundle", "b", json!({ "tools": [{ "server": "crm", "allow": [""] }] })),
            "spec.tools[0].allow[0]",
            "empty pattern",
        ),
        (
            ("VirtualKey", "k", key(&json!({ "principal": { "kind": "human", "subject": "" } }))),
            "spec.principal.subject",
            "1 to 256",
        ),
        (
            ("VirtualKey", "k", key(&json!({ "principal": { "kind": "human", "subject": "a\u{7}" } }))),
            "spec.principal.subject",
            "1 to 256",
        ),
        (
            ("TrustZone", "z", json!({ "allowedDataClasses": ["*", "public"] })),
            "spec.allowedDataClasses[0]",
            "alone",
        ),
        (
            ("TrustZone", "z", json!({ "allowedDataClasses": ["Source Code"] })),
            "spec.allowedDataClasses[0]",
            "no data class",
        ),
        (
            server(json!({ "zone": "vendor", "dataClasses": ["public", "source-code"] })),
            "spec.dataClasses[1]",
            "does not allow source-code",
        ),
        (
            server(json!({ "zone": "internal", "dataClasses": ["public"] })),
            "spec.dataClasses[0]",
            "does not allow public",
        ),
        (server(json!({ "dataClasses": ["*"] })), "spec.dataClasses[0]", "name each class"),
        (
            server(
                json!({ "zone": "vendor", "tools": { "overrides": [{ "name": "t", "dataClasses": ["source-code"] }] } }),
            ),
            "spec.tools.overrides[0].dataClasses[0]",
            "does not allow source-code",
        ),
        // Overrides and aliases.
        (overrides(json!([{ "name": "t" }, { "name": "t" }])), "spec.tools.overrides[1].name", "twice"),
        (
            overrides(json!([{ "name": "t", "alias": "not valid" }])),
            "spec.tools.overrides[0].alias",
            "no exposed name",
        ),
        (
            overrides(json!([{ "name": "t", "alias": "" }])),
            "spec.tools.overrides[0].alias",
            "no exposed name",
        ),
        (
            overrides(json!([{ "name": "t", "alias": "x".repeat(65) }])),
            "spec.tools.overrides[0].alias",
            "no exposed name",
        ),
        (
            overrides(json!([{ "name": "t", "alias": "a" }, { "name": "u", "alias": "a" }])),
            "spec.tools.overrides[1].alias",
            "too",
        ),
        (
            overrides(json!([{ "name": "t", "alias": "crm_find" }])),
            "spec.tools.overrides[0].alias",
            "begins with crm_",
        ),
        (
            overrides(json!([{ "name": "t", "alias": "s_t" }])),
            "spec.tools.overrides[0].alias",
            "begins with s_",
        ),
        // Credentials.
        (
            server(json!({ "auth": { "header": { "name": "X Key", "valueFrom": { "secret": "k" } } } })),
            "spec.auth.header.name",
            "letters",
        ),
        (
            server(
                json!({ "auth": { "header": { "name": "Content-Length", "valueFrom": { "secret": "k" } } } }),
            ),
            "spec.auth.header.name",
            "set by",
        ),
        (
            server(
                json!({ "auth": { "header": { "name": "MCP-Protocol-Version", "valueFrom": { "secret": "k" } } } }),
            ),
            "spec.auth.header.name",
            "set by",
        ),
        // Bounds.
        (server(json!({ "limits": { "timeout": "0s" } })), "spec.limits.timeout", "at most 1h"),
        (server(json!({ "limits": { "timeout": "2h" } })), "spec.limits.timeout", "at most 1h"),
        (server(json!({ "limits": { "maxRequestBytes": 0 } })), "spec.limits.maxRequestBytes", "1GiB"),
        (server(json!({ "limits": { "maxResponseBytes": "2GiB" } })), "spec.limits.maxResponseBytes", "1GiB"),
        (server(json!({ "limits": { "concurrency": 0 } })), "spec.limits.concurrency", "1 to"),
        (server(json!({ "owner": { "team": "" } })), "spec.owner.team", "1 to 256"),
        // Child processes.
        (
            ("McpServer", "s", stdio(&json!({ "command": " " }), &json!({}))),
            "spec.transport.stdio.command",
            "PATH",
        ),
        (
            ("McpServer", "s", stdio(&json!({ "command": "x", "args": ["a", "b\u{0}"] }), &json!({}))),
            "spec.transport.stdio.args[1]",
            "zero byte",
        ),
        (
            ("McpServer", "s", stdio(&json!({ "command": "x", "env": { "1A": "b" } }), &json!({}))),
            "spec.transport.stdio.env",
            "no name of a variable",
        ),
        (
            ("McpServer", "s", stdio(&json!({ "command": "x", "env": { "A=B": "b" } }), &json!({}))),
            "spec.transport.stdio.env",
            "no name of a variable",
        ),
        (
            ("McpServer", "s", stdio(&json!({ "command": "x", "instances": 0 }), &json!({}))),
            "spec.transport.stdio.instances",
            "1 to 16",
        ),
        (
            ("McpServer", "s", stdio(&json!({ "command": "x", "instances": 17 }), &json!({}))),
            "spec.transport.stdio.instances",
            "1 to 16",
        ),
        (
            ("McpServer", "s", stdio(&json!({ "command": "x" }), &json!({ "hosting": "vendor" }))),
            "spec.hosting",
            "self",
        ),
        (
            (
                "McpServer",
                "s",
                stdio(
                    &json!({ "command": "x" }),
                    &json!({ "auth": { "header": { "name": "X-Key", "valueFrom": { "secret": "k" } } } }),
                ),
            ),
            "spec.auth",
            "no headers",
        ),
    ];
    for ((kind, name, spec), field, word) in table {
        let mut set = base();
        set.insert(resource(kind, name, &spec));
        let found = check(&set);
        let [finding] = found.as_slice() else { panic!("{kind} {spec}: {found:?}") };
        assert_eq!(
            (finding.kind.as_str(), finding.name.as_str(), finding.field.as_str()),
            (kind, name, field),
            "{finding}"
        );
        assert!(finding.message.contains(word), "{finding} lacks {word:?}");
    }
}

#[test]
fn urls_are_judged_by_hosting() {
    for (url, for_self, for_vendor) in [
        ("https://mcp.example.com/mcp", true, true),
        ("https://mcp.example.com", true, true),
        ("https://mcp.example.com:8443/mcp?x=y", true, true),
        ("https://8.8.8.8/mcp", true, true),
        ("http://mcp.example.com/mcp", true, false),
        ("http://127.0.0.1:8080/mcp", true, false),
        ("http://localhost:8080/mcp", true, false),
        ("https://localhost/mcp", true, false),
        ("https://a.localhost/mcp", true, false),
        ("https://crm/mcp", true, false),
        ("https://crm.internal/mcp", true, false),
        ("https://10.0.0.1/mcp", true, false),
        ("https://[::1]/mcp", true, false),
        ("https://[fd00::1]/mcp", true, false),
        ("https://[2606:4700::1111]/mcp", true, true),
        ("https://[::ffff:10.0.0.1]/mcp", false, false),
        ("http://169.254.169.254/latest", false, false),
        ("https://[fe80::1]/mcp", false, false),
        ("http://0.0.0.0:80/mcp", false, false),
        // Spellings that different readers read differently.
        ("http://0x7f.1/mcp", false, false),
        ("http://2130706433/mcp", false, false),
        ("http://0251.0376.0251.0376/mcp", false, false),
        ("https://MCP.example.com/mcp", false, false),
        ("https://mcp.example.com\\@evil.example.com/", false, false),
        ("https://user:secret@mcp.example.com/mcp", false, false),
        ("https://user@mcp.example.com/mcp", false, false),
        ("https://mcp.example.com/mcp#x", false, false),
        ("https://mcp.example.com:0/mcp", false, false),
        ("ftp://mcp.example.com/mcp", false, false),
        ("file:///etc/passwd", false, false),
        ("unix:/run/x", false, false),
        ("/mcp", false, false),
        ("mcp.example.com/mcp", false, false),
        ("", false, false),
        (" https://mcp.example.com/mcp", false, false),
        ("https:///mcp", false, false),
    ] {
        for (hosting, expected) in [("self", for_self), ("vendor", for_vendor)] {
            let mut set = base();
            set.insert(resource("McpServer", "s", &http(url, &json!({ "hosting": hosting }))));
            let found = check(&set);
            assert_eq!(found.is_empty(), expected, "{url} for {hosting}: {found:?}");
            assert!(found.iter().all(|finding| finding.field == "spec.transport.streamableHttp.url"));
        }
    }
}

#[test]
fn a_server_whose_default_names_would_meet_an_alias_is_refused() {
    let mut set = base();
    let aliased = json!({ "tools": { "overrides": [{ "name": "t", "alias": "jira_find" }] } });
    set.insert(resource("McpServer", "s", &http("https://mcp.example.com/mcp", &aliased)));
    assert_eq!(findings(&set), Vec::<String>::new());
    set.insert(resource("McpServer", "jira", &http("https://jira.example.com/mcp", &json!({}))));
    let [finding] = check(&set).try_into().unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!((finding.name.as_str(), finding.field.as_str()), ("s", "spec.tools.overrides[0].alias"));
}

#[test]
fn one_alias_of_two_servers_is_refused() {
    let mut set = base();
    for name in ["one", "two"] {
        let aliased = json!({ "tools": { "overrides": [{ "name": "t", "alias": "same" }] } });
        set.insert(resource("McpServer", name, &http("https://mcp.example.com/mcp", &aliased)));
    }
    let [finding] = check(&set).try_into().unwrap_or_else(|found| panic!("{found:?}"));
    assert!(finding.message.contains("McpServer/one spec.tools.overrides[0]"), "{finding}");
}

#[test]
fn the_built_in_zone_is_there_until_it_is_defined_and_again_after() {
    let mut set = base();
    let name = default_zone_name();
    let on_default = http("https://mcp.example.com/mcp", &json!({ "dataClasses": ["anything"] }));
    set.insert(resource("McpServer", "s", &on_default));
    assert_eq!(findings(&set), Vec::<String>::new());
    set.insert(resource("TrustZone", "default", &json!({})));
    assert_eq!(check(&set).len(), 1, "the zone that is written allows no data class");
    set.remove(Kind::TrustZone, &name);
    assert_eq!(findings(&set), Vec::<String>::new());
    assert!(set.contains(Kind::TrustZone, &name));
}

#[test]
fn removing_what_is_referenced_is_found_where_it_is_referenced() {
    for (kind, name, expected) in [
        (Kind::Customer, "acme", "Team/support-team: spec.customer"),
        (Kind::Team, "support-team", "VirtualKey/bot: spec.team"),
        (Kind::McpServer, "crm", "ToolBundle/support: spec.tools[0].server"),
        (Kind::ToolBundle, "support", "VirtualKey/bot: spec.grants[0].bundle"),
    ] {
        let mut set = base();
        set.remove(kind, &name.parse().unwrap());
        let found = findings(&set);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn labels_are_short_and_visible() {
    for (labels, field) in [
        (json!({ "": "x" }), "metadata.labels"),
        (json!({ "a b": "x" }), "metadata.labels"),
        (json!({ "a": "x\n" }), "metadata.labels.a"),
        (json!({ "a": "x".repeat(300) }), "metadata.labels.a"),
    ] {
        let resource = Resource::from_json(&json!({ "apiVersion": "portcullis/v1", "kind": "Customer",
            "metadata": { "name": "c", "labels": labels }, "spec": {} }))
        .unwrap();
        let mut set = base();
        set.insert(resource);
        let found = check(&set);
        assert!(found.len() == 1 && found[0].field == field, "{found:?}");
    }
}

#[test]
fn what_grants_nothing_is_warned_about() {
    let known =
        |server: &Name| (server.as_str() == "crm").then(|| vec!["find".to_owned(), "refund".to_owned()]);
    let warned = |set: &ResourceSet| -> Vec<String> {
        warnings(set, &known).iter().map(ToString::to_string).collect()
    };
    assert_eq!(warned(&base()), Vec::<String>::new());
    for (grants, field, word) in [
        (json!([{ "server": "crm", "allow": ["find", "serach"] }]), "spec.grants[0].allow", "no serach"),
        (json!([{ "server": "crm" }]), "spec.grants[0]", "grants nothing"),
        (
            json!([{ "server": "crm", "except": ["find"], "prompts": ["*"] }]),
            "spec.grants[0].except",
            "allow is empty",
        ),
        (json!([{ "server": "far", "allow": ["x"] }]), "spec.grants[0].allow", "nobody has seen yet"),
        (
            json!([{ "server": "lone", "allow": ["*"] }]),
            "spec.grants[0].server",
            "not reachable from internal",
        ),
        (json!([{ "bundle": "lonely" }]), "spec.grants[0].bundle", "not reachable from internal"),
    ] {
        let mut set = base();
        set.insert(resource("TrustZone", "island", &json!({})));
        let url = "https://mcp.example.com/mcp";
        set.insert(resource("McpServer", "far", &http(url, &json!({ "zone": "vendor" }))));
        set.insert(resource("McpServer", "lone", &http(url, &json!({ "zone": "island" }))));
        set.insert(resource(
            "ToolBundle",
            "lonely",
            &json!({ "tools": [{ "server": "lone", "allow": ["*"] }] }),
        ));
        set.insert(resource("VirtualKey", "k", &key(&json!({ "grants": grants }))));
        assert_eq!(findings(&set), Vec::<String>::new());
        let found = warnings(&set, &known);
        let [warning] = found.as_slice() else { panic!("{grants}: {found:?}") };
        assert_eq!(warning.field, field);
        assert!(warning.message.contains(word), "{warning}");
    }
    let mut set = base();
    set.insert(resource(
        "ToolBundle",
        "b",
        &json!({ "tools": [{ "server": "crm", "allow": ["nope", "f*", "find"] }] }),
    ));
    assert_eq!(
        warned(&set),
        ["ToolBundle/b: spec.tools[0].allow: crm has no nope: until it does, this grants nothing"]
    );
}

#[test]
fn brackets_in_a_pattern_are_told_to_make_no_class() {
    let known = |_: &Name| Some(vec!["find".to_owned()]);
    let mut set = base();
    let tools = json!([{ "server": "crm", "allow": ["find", "f[ai]*"], "except": ["x[*"] }]);
    set.insert(resource("ToolBundle", "b", &json!({ "tools": tools })));
    let found: Vec<String> = warnings(&set, &known).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("ToolBundle/b: spec.tools[0].allow[1]: ") && found[0].contains("no class"));
    assert!(found[1].starts_with("ToolBundle/b: spec.tools[0].except[0]: "), "{found:?}");
}

#[test]
fn a_client_says_whom_it_means_and_what_they_reach() {
    let means = json!({ "clientInfo": [{ "name": "ide" }] });
    for (spec, field, words) in [
        (json!({ "match": {}, "allow": {} }), "spec.match", "it means nobody"),
        (json!({ "match": means }), "spec", "it says nothing"),
        (json!({ "match": means, "allow": {}, "deny": { "zones": ["*"] } }), "spec.deny", "not both"),
        (json!({ "match": means, "deny": {} }), "spec.deny", "it denies nothing"),
        (
            json!({ "match": { "keys": ["gone"] }, "allow": {} }),
            "spec.match.keys[0]",
            "there is no VirtualKey gone",
        ),
        (
            json!({ "match": means, "allow": { "zones": ["nowhere"] } }),
            "spec.allow.zones[0]",
            "there is no TrustZone nowhere",
        ),
        (
            json!({ "match": means, "deny": { "servers": ["crm", "*"] } }),
            "spec.deny.servers[1]",
            "write [\"*\"] alone",
        ),
        (
            json!({ "match": { "clientInfo": [{ "name": "" }] }, "allow": {} }),
            "spec.match.clientInfo[0].name",
            "an empty pattern",
        ),
        (
            json!({ "match": { "clientInfo": [{ "name": "x", "version": "" }] }, "allow": {} }),
            "spec.match.clientInfo[0].version",
            "an empty pattern",
        ),
    ] {
        let mut set = base();
        set.insert(resource("Client", "c", &spec));
        let found = findings(&set);
        let begins = format!("Client/c: {field}: ");
        assert!(
            found.iter().any(|text| text.starts_with(&begins) && text.contains(words)),
            "{spec}: {found:?}"
        );
    }
    let mut set = base();
    let spec = json!({ "match": { "keys": ["bot"] }, "allow": { "zones": ["*"], "servers": ["crm"] } });
    set.insert(resource("Client", "c", &spec));
    assert_eq!(findings(&set), Vec::<String>::new());
}

#[test]
fn a_thousand_clients_are_enough() {
    let mut set = base();
    for at in 0..1_001 {
        let spec = json!({ "match": { "keys": ["bot"] }, "deny": { "servers": ["crm"] } });
        set.insert(resource("Client", &format!("c{at:04}"), &spec));
    }
    assert_eq!(
        findings(&set),
        [
            "Client/c1000: metadata.name: there are more than 1000 Clients: put programs that reach the same into one"
        ]
    );
}

#[test]
fn a_zone_takes_no_server_whose_host_it_forbids_whichever_of_the_two_changes() {
    let forbids = "TrustZone/closed spec.allowedHosting forbids it: a server with hosting: vendor";
    let saas = |zone: &str, more: &Value| {
        let spec = merged(json!({ "zone": zone, "hosting": "vendor" }), more);
        resource("McpServer", "saas", &http("https://mcp.example.com/mcp", &spec))
    };
    let closed = |hosting: Value| resource("TrustZone", "closed", &json!({ "allowedHosting": hosting }));
    let judged = |zone: Resource, server: Resource| {
        let mut set = base();
        set.insert(zone);
        set.insert(server);
        findings(&set)
    };
    assert_eq!(judged(closed(json!([])), saas("closed", &json!({}))), Vec::<String>::new());
    assert_eq!(judged(closed(json!(["vendor", "self"])), saas("closed", &json!({}))), Vec::<String>::new());
    let found = judged(closed(json!(["self"])), saas("closed", &json!({})));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("McpServer/saas: spec.zone: ") && found[0].contains(forbids), "{found:?}");
    // One tool of it is as much in the zone as all of them.
    let own = json!({ "tools": { "overrides": [{ "name": "t", "zone": "closed" }] } });
    let found = judged(closed(json!(["self"])), saas("internal", &own));
    assert!(found[0].starts_with("McpServer/saas: spec.tools.overrides[0].zone: "), "{found:?}");
}

#[test]
fn the_zone_of_a_single_tool_takes_what_the_server_and_the_tool_handle() {
    let zone = resource("TrustZone", "narrow", &json!({ "allowedDataClasses": ["public"] }));
    let of_one = |zone: &str, classes: Value| json!([{ "name": "t", "zone": zone, "dataClasses": classes }]);
    let server = |overrides: Value| {
        let wide = json!({ "zone": "default", "dataClasses": ["mail"], "tools": { "overrides": overrides } });
        resource("McpServer", "crm", &http("http://crm.internal/mcp", &wide))
    };
    for (overrides, field, words) in [
        (of_one("nowhere", json!([])), "spec.tools.overrides[0].zone", "there is no TrustZone nowhere"),
        (
            of_one("narrow", json!([])),
            "spec.tools.overrides[0].zone",
            "does not allow mail, which the server handles",
        ),
        (of_one("narrow", json!(["code"])), "spec.tools.overrides[0].dataClasses[0]", "does not allow code"),
    ] {
        let mut set = base();
        set.insert(zone.clone());
        set.insert(server(overrides));
        let found = findings(&set);
        let begins = format!("McpServer/crm: {field}: ");
        assert!(found.iter().any(|text| text.starts_with(&begins) && text.contains(words)), "{found:?}");
    }
}

#[test]
fn a_policy_that_cannot_be_meant_is_named_with_its_line_and_column() {
    let with = |cedar: &str| {
        let mut set = base();
        set.insert(resource("AccessPolicy", "p", &json!({ "mode": "enforce", "cedar": cedar })));
        findings(&set)
    };
    let fits = "forbid(principal, action == Action::\"call\", resource == Tool::\"crm/refund\") unless { principal in Team::\"support-team\" };";
    assert_eq!(with(fits), Vec::<String>::new());
    for (cedar, says) in [
        (
            "forbid(principal, action, resource);\npermit(principal, action, resource);",
            "line 2, column 1 of the text: permit is not",
        ),
        (
            "forbid(principal, action, resource) when { context.hour > \"8\" };",
            "line 1, column 59 of the text: ",
        ),
        ("forbid(principal in Team::\"suport-team\", action, resource);", "there is no Team suport-team"),
        ("forbid(principal, action, resource == Tool::\"crn/refund\");", "there is no McpServer crn"),
        (
            "forbid(principal, action, resource in Zone::\"in ternal\");",
            "spec.cedar: TrustZone::\"in ternal\"",
        ),
    ] {
        let found = with(cedar);
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with("AccessPolicy/p: spec.cedar: ") && one.contains(says)),
            "{cedar}: {found:?}"
        );
    }
}

#[test]
fn stages_tiers_and_sandboxes_that_cannot_be_meant_are_refused() {
    let http = |more: &Value| http("http://a.internal/mcp", more);
    let transport = json!({ "streamableHttp": { "url": "http://a.internal/mcp" } });
    for (kind, name, spec, field, word) in [
        ("RolloutPolicy", "p", json!({}), "spec", "sandbox, limited or both"),
        ("RolloutPolicy", "p", json!({ "limited": {} }), "spec.limited", "lets nobody in"),
        ("RolloutPolicy", "p", json!({ "limited": { "percent": 0 } }), "spec.limited.percent", "1 to 100"),
        ("RolloutPolicy", "p", json!({ "limited": { "percent": 101 } }), "spec.limited.percent", "1 to 100"),
        (
            "RolloutPolicy",
            "p",
            json!({ "limited": { "teams": ["x"] } }),
            "spec.limited.teams[0]",
            "no Team x",
        ),
        (
            "RolloutPolicy",
            "p",
            json!({ "limited": { "keys": ["x"] } }),
            "spec.limited.keys[0]",
            "no VirtualKey x",
        ),
        (
            "RolloutPolicy",
            "p",
            json!({ "sandbox": { "checks": { "window": "2d" } } }),
            "spec.sandbox.checks.window",
            "1s to 1d",
        ),
        ("TierDefaults", "platinum", json!({}), "metadata.name", "gold, silver or bronze"),
        (
            "TierDefaults",
            "gold",
            json!({ "limits": { "timeout": "0s" } }),
            "spec.limits.timeout",
            "at most 1h",
        ),
        (
            "TierDefaults",
            "gold",
            json!({ "rollout": { "policy": "x" } }),
            "spec.rollout.policy",
            "RolloutPolicy x",
        ),
        (
            "McpServer",
            "a",
            http(&json!({ "rollout": { "policy": "x" } })),
            "spec.rollout.policy",
            "RolloutPolicy x",
        ),
        (
            "McpServer",
            "a",
            http(&json!({ "sandbox": { "transport": transport } })),
            "spec.sandbox.transport",
            "twin",
        ),
        (
            "McpServer",
            "a",
            http(&json!({ "sandbox": { "transport": { "streamableHttp": { "url": "nonsense" } } } })),
            "spec.sandbox.transport.streamableHttp.url",
            "no URL",
        ),
    ] {
        let mut set = base();
        set.insert(resource(kind, name, &spec));
        let found = check(&set);
        assert_eq!(found.len(), 1, "{spec}: {found:?}");
        assert_eq!(found[0].field, field, "{spec}");
        assert!(found[0].message.contains(word), "{spec}: {}", found[0].message);
    }
}

#[test]
fn a_rule_that_approves_by_itself_says_by_which_condition() {
    let with = |auto: Value| {
        let mut set = base();
        let spec = json!({ "approvers": [{ "role": "approver" }], "autoApprove": auto });
        set.insert(resource("ApprovalRule", "r", &spec));
        findings(&set)
    };
    for auto in [
        json!({ "readOnlyHint": true }),
        json!({ "risk": "none" }),
        json!({ "risk": "info" }),
        json!({ "risk": "warn", "readOnlyHint": true }),
    ] {
        assert_eq!(with(auto.clone()), Vec::<String>::new(), "{auto}");
    }
    for auto in [json!({}), json!({ "readOnlyHint": false })] {
        let found = with(auto.clone());
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with("ApprovalRule/r: spec.autoApprove: ") && one.contains("risk: none")),
            "{auto}: {found:?}"
        );
    }
}
