use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::compare::{Bounds, compare};
use super::*;
use crate::circumstances::Circumstances;
use crate::compile::Snapshot;
use crate::fixture::{
    NOW, approved, client, compile as compiled, entry, key, key_as, organisation, prompt, server, tool,
    tool_as, uid, with_keys, zone,
};
use crate::snapshot::Entry;
use crate::view::EndpointRef;

fn names(list: &[WhoReaches]) -> Vec<String> {
    let line = |one: &WhoReaches| {
        let why = one.reason.map_or_else(|| one.via.clone().unwrap_or_default(), |reason| reason.to_string());
        format!("{}: {why} by {}", one.caller.key, one.rule)
    };
    list.iter().map(line).collect()
}

#[test]
fn every_key_that_reaches_a_tool_is_named_with_its_grant_and_others_with_what_denies_them() {
    let snapshot = with_keys(vec![
        key("by-name", "internal", &json!([{ "server": "crm", "allow": ["refund"] }])),
        key(
            "by-bundle",
            "internal",
            &json!([{ "server": "github", "allow": ["*"] }, { "bundle": "support" }]),
        ),
        key("elsewhere", "island", &json!([{ "bundle": "support" }])),
        key("nothing", "internal", &json!([])),
        key_as(
            "over",
            "internal",
            &json!([{ "bundle": "support" }]),
            &json!({ "expiresAt": "2020-01-01T00:00:00Z" }),
        ),
        key_as("revoked", "internal", &json!([{ "bundle": "support" }]), &json!({ "revoked": true })),
    ]);
    for name in ["crm_refund", "crm/refund"] {
        let reach = snapshot.who_can(DefinitionKind::Tool, name, NOW).unwrap();
        assert_eq!((reach.thing.server.as_str(), &*reach.thing.name), ("crm", "refund"));
        assert_eq!(
            names(&reach.items),
            [
                "by-bundle: bundle support by VirtualKey/by-bundle spec.grants[1]",
                "by-name: server crm by VirtualKey/by-name spec.grants[0]",
            ]
        );
        assert_eq!(
            names(&reach.denied),
            [
                "elsewhere: zone_denied by TrustZone/internal spec.reachableFrom",
                "over: key_expired by VirtualKey/over spec.expiresAt",
                "revoked: key_revoked by VirtualKey/revoked status.revoked",
            ]
        );
        assert_eq!(reach.not_granted, 1);
    }
    let waiting = snapshot.who_can(DefinitionKind::Tool, "crm_waiting", NOW).unwrap();
    assert_eq!(waiting.state, DefinitionStanding::Pending);
    assert!(waiting.items.is_empty());
    let unknown = snapshot.who_can(DefinitionKind::Tool, "crm_nothing", NOW).unwrap_err();
    assert!(unknown.to_string().starts_with("no tool is named \"crm_nothing\""), "{unknown}");
    assert!(snapshot.who_can(DefinitionKind::Tool, "nowhere/refund", NOW).is_err());
}

#[test]
fn what_is_reached_only_with_a_person_for_each_call_says_so() {
    let mut entries = organisation();
    let definition = approved(&json!({ "name": "pay" }));
    entries.push(tool_as("crm", "pay", &definition, &json!({ "approval": "tier" })));
    entries.push(key("k", "internal", &json!([{ "server": "crm", "allow": ["pay", "find"] }])));
    entries.push(key("far", "island", &json!([{ "server": "crm", "allow": ["pay"] }])));
    let snapshot = compiled(entries).unwrap();
    for (name, held) in [("crm_pay", Some("per-call")), ("crm_find", None)] {
        let reach = snapshot.who_can(DefinitionKind::Tool, name, NOW).unwrap();
        assert_eq!((reach.items.len(), json!(reach)["approval"].as_str()), (1, held), "{name}");
    }
    let told = |list: &[Reached]| -> Vec<(String, Option<String>)> {
        let approval = |one: &Reached| json!(one)["approval"].as_str().map(str::to_owned);
        list.iter().map(|one| (one.thing.name.to_string(), approval(one))).collect()
    };
    let held = ("pay".to_owned(), Some("per-call".to_owned()));
    let reach = snapshot.what_can("k", NOW).unwrap();
    assert_eq!(told(&reach.items), [("find".to_owned(), None), held.clone()]);
    assert_eq!(told(&snapshot.what_can("far", NOW).unwrap().denied), [held]);
}

#[test]
fn a_key_is_told_what_it_reaches_under_which_names_and_what_stands_in_the_way() {
    let grants = json!([
        { "bundle": "support" },
        { "server": "github", "allow": ["odd*", "secret_source"], "resources": ["repo://*"] },
        { "server": "crm", "prompts": ["*"] },
        { "server": "vault", "resources": ["safe://*"] },
    ]);
    let snapshot = with_keys(vec![key("k", "internal", &grants)]);
    let reach = snapshot.what_can("k", NOW).unwrap();
    let line = |one: &Reached| {
        let at: Vec<String> = one.endpoints.iter().map(|(path, name)| format!("{path}={name}")).collect();
        format!(
            "{:?} {}/{} {} [{}]",
            one.thing.kind,
            one.thing.server,
            one.thing.name,
            one.rule,
            at.join(" ")
        )
    };
    assert_eq!(
        reach.items.iter().map(line).collect::<Vec<_>>(),
        [
            "Tool crm/find VirtualKey/k spec.grants[0] [/bundles/support/mcp=crm_find /mcp=crm_find /servers/crm/mcp=find]",
            "Tool crm/refund VirtualKey/k spec.grants[0] [/bundles/support/mcp=crm_refund /mcp=crm_refund /servers/crm/mcp=refund]",
            "Tool github/create_issue VirtualKey/k spec.grants[0] [/bundles/support/mcp=new-issue /mcp=new-issue /servers/github/mcp=create_issue]",
            "Tool github/odd name/with slash VirtualKey/k spec.grants[1] [/servers/github/mcp=odd name/with slash]",
            "Tool github/search VirtualKey/k spec.grants[0] [/bundles/support/mcp=github_search /mcp=github_search /servers/github/mcp=search]",
            "Prompt crm/greet VirtualKey/k spec.grants[2] [/mcp=crm_greet /servers/crm/mcp=greet]",
            "Resources github/repo://* VirtualKey/k spec.grants[1] [/mcp=repo://* /servers/github/mcp=repo://*]",
        ]
    );
    let denied = |one: &Reached| format!("{} {}/{}", one.reason.unwrap(), one.thing.server, one.thing.name);
    assert_eq!(
        reach.denied.iter().map(denied).collect::<Vec<_>>(),
        [
            "tool_quarantined crm/drifted",
            "tool_not_approved crm/waiting",
            "zone_denied github/secret_source",
            "tool_not_approved crm/draft",
            "zone_denied vault/safe://*",
        ]
    );
    assert!(snapshot.what_can("nobody", NOW).is_none());
}

#[test]
fn a_key_that_opens_nothing_reaches_nothing() {
    let over = json!({ "expiresAt": "2020-01-01T00:00:00Z" });
    let snapshot = with_keys(vec![key_as("k", "internal", &json!([{ "bundle": "support" }]), &over)]);
    let reach = snapshot.what_can("k", NOW).unwrap();
    assert!(reach.items.is_empty());
    assert_eq!(reach.closed.unwrap().reason, Reason::KeyExpired);
    assert!(reach.denied.iter().all(|one| one.reason == Some(Reason::KeyExpired)));
    assert_eq!(reach.denied.len(), 6, "all that the bundle holds");
}

fn told(difference: &Difference) -> Vec<String> {
    let line = |shift: &Shift| {
        let keys: Vec<&str> = shift.keys.iter().map(Name::as_str).collect();
        let gains = shift.gains.iter().map(|thing| format!("+{}/{}", thing.server, thing.name));
        let losses = shift
            .losses
            .iter()
            .map(|lost| format!("-{}/{} {}", lost.thing.server, lost.thing.name, lost.reason));
        format!("{}: {}", keys.join(","), gains.chain(losses).collect::<Vec<_>>().join(" "))
    };
    difference.keys.iter().map(line).collect()
}

/// The organisation, with something of it replaced or added by kind and id.
fn changed(keys: &[Entry], change: Vec<Entry>) -> Snapshot {
    let same = |a: &Entry, b: &Entry| a.kind() == b.kind() && a.id() == b.id();
    let kept = organisation().into_iter().chain(keys.iter().cloned());
    let kept = kept.filter(|entry| !change.iter().any(|new| same(entry, new))).collect::<Vec<_>>();
    compiled(kept.into_iter().chain(change).collect()).unwrap()
}

#[test]
fn moving_a_server_says_who_loses_and_who_gains_it() {
    let grants = json!([{ "server": "crm", "allow": ["find", "refund"] }]);
    let keys = ["a", "b"]
        .map(|name| key(name, "internal", &grants))
        .into_iter()
        .chain([key("c", "island", &grants)]);
    let keys: Vec<Entry> = keys.collect();
    let (old, new) = (changed(&keys, vec![]), changed(&keys, vec![server("crm", "island", &[])]));
    let difference = compare(&old, &new, NOW, Bounds::SHORT);
    assert_eq!(
        told(&difference),
        ["a,b: -crm/find zone_denied -crm/refund zone_denied", "c: +crm/find +crm/refund"]
    );
    let rule = difference.keys[0].losses[0].rule.as_ref().unwrap();
    assert_eq!(rule.to_string(), "TrustZone/island spec.reachableFrom");
    assert_eq!(difference.losses, Counts { keys: 2, things: 2, pairs: 4 });
    assert_eq!(difference.gains, Counts { keys: 1, things: 2, pairs: 2 });
    assert!(compare(&old, &old, NOW, Bounds::SHORT).is_empty());
}

#[test]
fn what_stands_otherwise_and_what_cannot_be_served_is_told() {
    let broken = approved(&json!({ "name": "find", "inputSchema": { "type": "object", "properties": {
        "a": { "type": "string", "x-mcp-header": "not a header" } } } }));
    let old = changed(&[], vec![]);
    let new = changed(
        &[],
        vec![
            tool_as("crm", "find", &broken, &json!({})),
            tool_as("crm", "refund", &json!("pending"), &json!({})),
            tool_as("github", "search", &approved(&json!({ "name": "search" })), &json!({ "alias": "look" })),
            tool_as("crm", "fresh", &json!("pending"), &json!({})),
        ],
    );
    let difference = compare(&old, &new, NOW, Bounds::SHORT);
    let line = |one: &StateChange| {
        format!("{} {:?}->{:?} {:?}", one.thing.name, one.before, one.after, one.was_exposed)
    };
    assert_eq!(
        difference.states.iter().map(line).collect::<Vec<_>>(),
        [
            "find Some(Approved)->Some(Invalid) None",
            "fresh None->Some(Pending) None",
            "refund Some(Approved)->Some(Pending) None",
            "search Some(Approved)->Some(Approved) Some(\"github_search\")",
        ]
    );
    assert_eq!(difference.unserved.len(), 1);
    assert!(difference.unserved[0].contains("tool find of crm is left out"), "{:?}", difference.unserved);
}

#[test]
fn names_are_bounded_and_counts_are_not() {
    let tools: Vec<Entry> = (0..50).map(|at| tool("crm", &format!("more-{at:02}"))).collect();
    let keys: Vec<Entry> = (0..30)
        .map(|at| key(&format!("k-{at:02}"), "internal", &json!([{ "server": "crm", "allow": ["more-*"] }])))
        .collect();
    let (old, new) = (changed(&keys, vec![]), changed(&keys, tools));
    let difference = compare(&old, &new, NOW, Bounds { each: 3, total: 8 });
    assert_eq!(difference.gains, Counts { keys: 30, things: 50, pairs: 1500 });
    let shift = &difference.keys[0];
    assert_eq!((shift.key_count, shift.keys.len(), shift.gain_count, shift.gains.len()), (30, 3, 50, 3));
    assert_eq!((difference.states.len(), difference.more_states), (2, 48));
}

/// A server that is open for some.
fn opened(name: &str, zone: &str, opening: &Value) -> Entry {
    let mut body: Value = serde_json::from_slice(&server(name, zone, &[]).encode()).unwrap();
    body["opening"] = opening.clone();
    entry("server", &body)
}

#[test]
fn a_stage_says_who_gains_and_who_loses_and_who_is_kept_out_by_it() {
    let grants = json!([{ "server": "crm", "allow": ["find"] }]);
    let keys =
        [key("all", "internal", &grants), key_as("lab", "internal", &grants, &json!({ "sandbox": true }))];
    let general = changed(&keys, vec![]);
    let sandbox = changed(&keys, vec![opened("crm", "internal", &json!("sandbox"))]);
    let limited = json!({ "limited": { "keys": ["all"] } });
    let limited = changed(&keys, vec![opened("crm", "internal", &limited)]);
    let lost = compare(&general, &sandbox, NOW, Bounds::SHORT);
    assert_eq!(told(&lost), ["all: -crm/find tool_not_approved"]);
    assert_eq!(lost.keys[0].losses[0].rule.as_ref().unwrap().to_string(), "McpServer/crm status.stage");
    assert_eq!(told(&compare(&sandbox, &limited, NOW, Bounds::SHORT)), ["all: +crm/find"]);
    // The same grants, and another way to ask for them.
    let asks = key_as("all", "internal", &grants, &json!({ "sandbox": true }));
    let asks = changed(&[asks, keys[1].clone()], vec![opened("crm", "internal", &json!("sandbox"))]);
    assert_eq!(told(&compare(&sandbox, &asks, NOW, Bounds::SHORT)), ["all: +crm/find"]);

    let reach = sandbox.who_can(DefinitionKind::Tool, "crm_find", NOW).unwrap();
    assert_eq!(names(&reach.items), ["lab: server crm by VirtualKey/lab spec.grants[0]"]);
    assert_eq!(names(&reach.denied), ["all: tool_not_approved by McpServer/crm status.stage"]);
    let what = sandbox.what_can("all", NOW).unwrap();
    assert_eq!((what.items.len(), what.denied[0].reason), (0, Some(Reason::ToolNotApproved)));
    assert_eq!(what.denied[0].rule.to_string(), "McpServer/crm status.stage");
}

const ZONES: &[&str] = &["internal", "vendor", "island"];
const SERVERS: &[&str] = &["crm", "github", "vault"];
const TEAMS: &[&str] = &["support", "sales"];

/// An organisation of a few servers, zones, bundles and keys, drawn at random.
fn any_organisation() -> impl Strategy<Value = Vec<Entry>> {
    let tools = ["find", "refund", "search", "open"];
    let state = prop_oneof![
        4 => Just("approved"), 1 => Just("pending"), 1 => Just("quarantined"), 1 => Just("absent")
    ];
    let opening = prop_oneof![
        4 => Just(json!("general")), 1 => Just(json!("sandbox")), 1 => Just(json!("suspended")),
        2 => (any::<bool>(), prop::sample::select(&[0, 30, 70][..])).prop_map(|(teams, percent)| {
            let teams = if teams { json!(["support"]) } else { json!([]) };
            json!({ "limited": { "teams": teams, "percent": percent } })
        })
    ];
    let servers = prop::collection::vec(
        (prop::sample::select(ZONES), prop::collection::vec(state, tools.len()), any::<bool>(), opening),
        3,
    );
    let reach = prop::collection::vec(prop::sample::subsequence(ZONES, 0..=2), ZONES.len());
    let pattern = prop::sample::select(&["*", "find", "re*", "search", "open", "?pen"][..]);
    let patterns = move || prop::collection::vec(pattern.clone(), 0..3);
    let member = (prop::sample::select(SERVERS), patterns(), patterns());
    let held = (member.clone(), any::<bool>(), any::<bool>());
    let bundles = prop::collection::vec(
        (prop::collection::vec(held, 0..3), prop::sample::subsequence(TEAMS, 0..=2)),
        2,
    );
    let grant = prop_oneof![
        prop::sample::select(&["first", "second"][..]).prop_map(|name| json!({ "bundle": name })),
        (member, any::<bool>()).prop_map(|((name, allow, except), more)| {
            let more = if more { json!(["*"]) } else { json!([]) };
            json!({ "server": name, "allow": allow, "except": except, "prompts": more, "resources": more })
        }),
    ];
    let keys = prop::collection::vec(
        prop::option::weighted(
            0.8,
            (
                prop::sample::select(ZONES),
                prop::collection::vec(grant, 0..3),
                prop::bool::weighted(0.1),
                prop::option::of(prop::sample::select(TEAMS)),
                prop::bool::weighted(0.3),
            ),
        ),
        4,
    );
    (servers, reach, bundles, keys).prop_map(move |(servers, reach, bundles, keys)| {
        let mut entries: Vec<Entry> =
            ZONES.iter().zip(&reach).map(|(name, from)| zone(name, from, &["*"])).collect();
        for (name, (zone, states, prompts, opening)) in SERVERS.iter().zip(servers) {
            entries.push(opened(name, zone, &opening));
            for (tool_name, state) in tools.iter().zip(states) {
                match state {
                    "absent" => {}
                    "approved" => entries.push(tool(name, tool_name)),
                    state => entries.push(tool_as(name, tool_name, &json!(state), &json!({}))),
                }
            }
            if prompts {
                entries.push(prompt(name, "greet"));
            }
        }
        entries.extend(TEAMS.iter().map(|name| entry("team", &json!({ "uid": uid(name), "name": name }))));
        for (name, (members, teams)) in ["first", "second"].iter().zip(bundles) {
            let mut renamed = false;
            let members: Vec<_> = members
                .into_iter()
                .map(|((server, allow, except), more, alias)| {
                    let alias = alias && !std::mem::replace(&mut renamed, true);
                    let rewrite =
                        if alias { json!([{ "name": "find", "alias": "look-up" }]) } else { json!([]) };
                    let more = if more { json!(["*"]) } else { json!([]) };
                    json!({
                        "server": server, "allow": allow, "except": except, "prompts": more, "resources": more,
                        "rewrite": rewrite
                    })
                })
                .collect();
            let members = json!({ "uid": uid(name), "name": name, "tools": members, "members": { "teams": teams } });
            entries.push(entry("bundle", &members));
        }
        for (at, drawn) in keys.into_iter().enumerate() {
            if let Some((zone, grants, revoked, team, sandbox)) = drawn {
                let mut more = json!({ "revoked": revoked, "sandbox": sandbox });
                if let Some(team) = team {
                    more["team"] = json!(team);
                }
                entries.push(key_as(&format!("key-{at}"), zone, &json!(grants), &more));
            }
        }
        entries
    })
}

/// Everything that decisions permit: each key at each server's endpoint, for each name that either snapshot knows.
fn brute_force(snapshot: &Snapshot) -> BTreeSet<String> {
    let mut permitted = BTreeSet::new();
    for principal in snapshot.keys() {
        for server in SERVERS.iter() {
            let Ok(view) = snapshot.endpoint(principal, EndpointRef::Server(server)) else { continue };
            let key = &principal.key_name;
            for name in ["find", "refund", "search", "open"] {
                if snapshot.decide_tool(principal, &view, name, &Circumstances::at(NOW)).is_ok() {
                    permitted.insert(format!("{key} {server}/{name}"));
                }
            }
            if snapshot.decide_prompt(principal, &view, "greet", &Circumstances::at(NOW)).is_ok() {
                permitted.insert(format!("{key} {server}/greet"));
            }
            if snapshot
                .decide_resource(principal, &view, server, "any://thing", &Circumstances::at(NOW))
                .is_ok()
            {
                permitted.insert(format!("{key} {server}/*"));
            }
        }
    }
    permitted
}

proptest! {
    #[test]
    fn gains_and_losses_are_the_difference_of_all_decisions(
        before in any_organisation(), after in any_organisation(), mix in any::<u8>(),
    ) {
        // Often only some kinds change, so that most of what is compared stays.
        let place = |entry: &Entry| 1_u8 << (crate::snapshot::kind_order(entry.kind()).unwrap() % 8);
        let taken = |entry: &Entry| mix & place(entry) != 0;
        // Tools belong to their servers by uid, which both have; a kind is taken whole from one of them.
        let mixed: Vec<Entry> = after.iter().filter(|e| taken(e)).chain(before.iter().filter(|e| !taken(e))).cloned().collect();
        let (old, new) = (compiled(before).unwrap(), compiled(mixed).unwrap());
        let difference = compare(&old, &new, NOW, Bounds::FULL);
        let mut gains = BTreeSet::new();
        let mut losses = BTreeSet::new();
        for shift in &difference.keys {
            for key in &shift.keys {
                gains.extend(shift.gains.iter().map(|thing| format!("{key} {}/{}", thing.server, thing.name)));
                losses.extend(shift.losses.iter().map(|lost| format!("{key} {}/{}", lost.thing.server, lost.thing.name)));
            }
        }
        let (had, has) = (brute_force(&old), brute_force(&new));
        prop_assert_eq!(&gains, &has.difference(&had).cloned().collect::<BTreeSet<_>>());
        prop_assert_eq!(&losses, &had.difference(&has).cloned().collect::<BTreeSet<_>>());
        prop_assert_eq!(difference.gains.pairs, gains.len());
        prop_assert_eq!(difference.losses.pairs, losses.len());
        prop_assert_eq!(difference.more_keys, 0);
    }

    #[test]
    fn who_and_what_name_exactly_what_is_permitted(entries in any_organisation()) {
        let snapshot = compiled(entries).unwrap();
        let permitted = brute_force(&snapshot);
        let mut by_key = BTreeSet::new();
        for principal in snapshot.keys() {
            let key = &principal.key_name;
            let reach = snapshot.what_can(key.as_str(), NOW).unwrap();
            by_key.extend(reach.items.iter().map(|one| format!("{key} {}/{}", one.thing.server, one.thing.name)));
            // At each endpoint it is found under the name that is told, and at no other bundle under any.
            for one in &reach.items {
                for bundle in ["first", "second"] {
                    let path = format!("/bundles/{bundle}/mcp");
                    let told = one.endpoints.get(&path);
                    let Ok(view) = snapshot.endpoint(principal, EndpointRef::Bundle(bundle)) else {
                        prop_assert_eq!(told, None);
                        continue;
                    };
                    let server = &one.thing.server;
                    let mut listed = view.tools().iter().map(|found| (&found.name, &found.tool));
                    let found = match one.thing.kind {
                        ReachKind::Tool => listed.find(|(_, tool)| tool.server.name() == server && tool.name == one.thing.name).map(|(name, _)| name.clone()),
                        ReachKind::Prompt => view.prompts().iter().find(|found| found.prompt.server.name() == server).map(|found| found.name.clone()),
                        ReachKind::Resources => view.resource_patterns(server.as_str()).iter().any(|pattern| pattern.as_str() == &*one.thing.name).then(|| one.thing.name.clone()),
                    };
                    prop_assert_eq!(told, found.as_ref(), "{:?} at {}", one.thing, path);
                }
            }
        }
        prop_assert_eq!(&by_key, &permitted);
        let mut by_tool = BTreeSet::new();
        for server in SERVERS.iter() {
            for (kind, name) in [
                (DefinitionKind::Tool, "find"), (DefinitionKind::Tool, "refund"), (DefinitionKind::Tool, "search"),
                (DefinitionKind::Tool, "open"), (DefinitionKind::Prompt, "greet"),
            ] {
                let Ok(reach) = snapshot.who_can(kind, &format!("{server}/{name}"), NOW) else { continue };
                let told = reach.items.len() + reach.denied.len() + reach.not_granted;
                prop_assert_eq!(told, snapshot.keys().count(), "every key is told of or counted");
                by_tool.extend(reach.items.iter().map(|one| format!("{} {server}/{name}", one.caller.key)));
            }
        }
        let definitions: BTreeSet<String> = permitted.into_iter().filter(|line| !line.ends_with("/*")).collect();
        prop_assert_eq!(by_tool, definitions);
    }
}

#[test]
fn who_reaches_something_reaches_it_from_somewhere_with_some_program_that_the_clients_let_in() {
    let grants = json!([{ "server": "crm", "allow": ["*"] }, { "server": "github", "allow": ["*"] }]);
    let keys = || {
        vec![
            key_as("mine", "internal", &grants, &json!({ "labels": { "app": "ide" } })),
            key("other", "internal", &grants),
        ]
    };
    let with = |clients: Vec<Entry>| {
        compiled(organisation().into_iter().chain(keys()).chain(clients).collect()).unwrap()
    };
    let plain = with(vec![]);
    let by_program = json!({ "match": { "clientInfo": [{ "name": "ide" }] }, "allow": { "zones": ["*"] } });
    let by_label = json!({ "match": { "keyLabels": { "app": "ide" } }, "allow": { "servers": ["crm"] } });
    let reach = |snapshot: &Snapshot| {
        let found = snapshot.who_can(DefinitionKind::Tool, "crm_find", NOW).unwrap();
        (names(&found.items).len(), names(&found.denied))
    };
    assert_eq!(reach(&plain), (2, vec![]));
    // Anybody can say that they are any program.
    assert_eq!(reach(&with(vec![client("c", &by_program)])), (2, vec![]));
    let labelled = with(vec![client("c", &by_label)]);
    let denied = "other: client_denied by Client/c spec.match.keyLabels".to_owned();
    assert_eq!(reach(&labelled), (1, vec![denied]));
    // An allow list takes from its own what it does not name, and from others what it names.
    let lost = compare(&plain, &labelled, NOW, Bounds::FULL);
    assert_eq!((lost.gains.pairs, lost.losses.keys), (0, 2));
    let of = |key: &str| lost.keys.iter().find(|shift| shift.keys[0].as_str() == key).unwrap();
    assert!(of("mine").losses.iter().all(|lost| lost.thing.server.as_str() == "github"), "{lost:?}");
    assert!(of("other").losses.iter().all(|lost| lost.thing.server.as_str() == "crm"), "{lost:?}");
    assert!(compare(&labelled, &with(vec![client("c", &by_label)]), NOW, Bounds::FULL).is_empty());
    let what = labelled.what_can("mine", NOW).unwrap();
    assert!(
        what.items.iter().all(|one| one.thing.server.as_str() == "crm" && !one.endpoints.is_empty()),
        "{what:?}"
    );
}

/// `cargo test -p portcullis-policy --release hundred_thousand_keys -- --ignored --nocapture` prints the figures.
#[test]
#[ignore = "figures: they are measured in a release build"]
fn questions_over_a_hundred_thousand_keys_and_thirty_thousand_tools_are_answered_at_once() {
    let of = |moved: &str| {
        let mut entries = organisation();
        for at in 0..1_000 {
            let name = format!("s{at}");
            entries.push(server(&name, if at == 7 { moved } else { "internal" }, &[]));
            entries.extend((0..30).map(|number| tool(&name, &format!("t{number}"))));
        }
        // Each key has grants of its own: nothing is shared.
        entries.extend((0..100_000).map(|at| {
            let grants: Vec<_> = (0..5)
                .map(|grant| json!({ "server": format!("s{}", (at + grant * 3) % 1_000), "allow": ["t1*", format!("x{at}")] }))
                .collect();
            key(&format!("k{at}"), "internal", &json!(grants))
        }));
        compiled(entries).unwrap()
    };
    let (old, new, other) = (of("internal"), of("island"), of("vendor"));
    let timed = |what: &str, work: &mut dyn FnMut() -> usize| {
        let begun = std::time::Instant::now();
        let count = work();
        println!("{what}: {count} in {:?}", begun.elapsed());
        begun.elapsed()
    };
    let who = timed("who-can", &mut || old.who_can(DefinitionKind::Tool, "s7_t1", NOW).unwrap().items.len());
    let what = timed("what-can", &mut || old.what_can("k4711", NOW).unwrap().items.len());
    let moved = timed("plan, one server", &mut || compare(&old, &new, NOW, Bounds::SHORT).losses.pairs);
    let none = Snapshot::compile(other.header().clone(), organisation()).unwrap();
    let all = timed("plan, everything", &mut || compare(&old, &none, NOW, Bounds::SHORT).losses.pairs);
    assert!(who.as_millis() < 500 && what.as_millis() < 50 && moved.as_secs() < 2 && all.as_secs() < 10);
}
