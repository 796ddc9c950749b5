use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::Reason;
use crate::compile::Snapshot;
use crate::explain::{Decision, Outcome, Question, explain};
use crate::fixture::{NOW, client, compile, hash, header, key_as, organisation, zone_as};
use crate::snapshot::Entry;
use crate::view::{EndpointRef, View};

const EVERYTHING: &str = r#"[{"server":"crm","allow":["*"],"prompts":["*"],"resources":["*"]},
    {"server":"github","allow":["*"],"resources":["*"]},{"bundle":"support"}]"#;

/// The organisation with keys `k` (label `app: ide`) and `other`, and with these entries in place of those of the same id.
fn with(entries: Vec<Entry>) -> Snapshot {
    compile(all(entries)).unwrap()
}

fn all(entries: Vec<Entry>) -> Vec<Entry> {
    let grants: Value = serde_json::from_str(EVERYTHING).unwrap();
    let keys = [
        key_as("k", "internal", &grants, &json!({ "labels": { "app": "ide", "team": "a" } })),
        key_as("other", "internal", &grants, &json!({})),
    ];
    let replaced =
        |entry: &Entry| entries.iter().any(|new| new.kind() == entry.kind() && new.id() == entry.id());
    let mut all: Vec<Entry> =
        organisation().into_iter().chain(keys).filter(|entry| !replaced(entry)).collect();
    all.extend(entries);
    all
}

/// A caller: its network, era, and program with version.
#[derive(Debug, Clone, Copy, Default)]
struct Caller {
    network: Option<&'static str>,
    era: Option<Era>,
    program: Option<(&'static str, Option<&'static str>)>,
}

impl Caller {
    fn circumstances(&self) -> Circumstances<'static> {
        Circumstances {
            network: self.network.map(|text| text.parse().unwrap()),
            era: self.era,
            client: self.program.map(|(name, version)| ClientHint { name, version }),
            ..Circumstances::at(NOW)
        }
    }
}

/// What a call comes to: `permit`, or the reason and the rule.
fn decided(snapshot: &Snapshot, key: &str, tool: &str, from: Caller) -> String {
    let principal = snapshot.authenticate(&hash(key), NOW).unwrap();
    let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
    match snapshot.decide_tool(&principal, &view, tool, &from.circumstances()) {
        Ok(_) => "permit".to_owned(),
        Err(denial) => format!("{} {}", denial.reason, denial.rule),
    }
}

fn at(network: &'static str) -> Caller {
    Caller { network: Some(network), ..Caller::default() }
}

fn by(era: Era) -> Caller {
    Caller { era: Some(era), ..Caller::default() }
}

fn says(name: &'static str) -> Caller {
    Caller { program: Some((name, None)), ..Caller::default() }
}

fn version(name: &'static str, version: &'static str) -> Caller {
    Caller { program: Some((name, Some(version))), ..Caller::default() }
}

#[test]
fn a_zone_is_called_from_its_networks_alone() {
    let networks = json!({ "callerNetworks": ["10.0.0.0/8", "2001:db8::/32"] });
    let snapshot = with(vec![zone_as("internal", &[], &["*"], &networks)]);
    let denied = "zone_denied TrustZone/internal spec.callerNetworks";
    for (from, expected) in [
        (at("10.2.3.4"), "permit"),
        (at("::ffff:10.2.3.4"), "permit"),
        (at("2001:db8::1"), "permit"),
        (at("11.0.0.1"), denied),
        (at("::1"), denied),
        (Caller::default(), denied),
    ] {
        assert_eq!(decided(&snapshot, "k", "crm_find", from), expected, "{from:?}");
        // Another zone's tools do not ask.
        assert_eq!(decided(&snapshot, "k", "github_search", from), "permit", "{from:?}");
    }
}

#[test]
fn a_zone_is_spoken_to_in_its_eras_alone() {
    let snapshot = with(vec![zone_as("internal", &[], &["*"], &json!({ "allowedEras": ["modern"] }))]);
    let denied = "zone_denied TrustZone/internal spec.allowedEras";
    for (from, expected) in
        [(by(Era::Modern), "permit"), (by(Era::Legacy), denied), (Caller::default(), denied)]
    {
        assert_eq!(decided(&snapshot, "k", "crm_find", from), expected, "{from:?}");
        assert_eq!(decided(&snapshot, "k", "github_search", from), "permit", "{from:?}");
    }
}

#[test]
fn a_zone_is_served_by_the_planes_that_it_names_and_nothing_of_it_is_anywhere_else() {
    let labels = |given: &[(&str, &str)]| -> PlaneLabels {
        given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let served_by = json!({ "servedBy": [{ "region": "eu" }, { "region": "us", "tier": "a" }] });
    let entries = || all(vec![zone_as("internal", &[], &["*"], &served_by)]);
    let asked = with(vec![zone_as("internal", &[], &["*"], &served_by)]);
    let denied = "zone_denied TrustZone/internal spec.servedBy";
    let question = Question::tool("k", EndpointRef::All, "crm_find", NOW);
    for (given, serves) in [
        (vec![("region", "eu")], true),
        (vec![("region", "eu"), ("tier", "b")], true),
        (vec![("region", "us"), ("tier", "a")], true),
        (vec![("region", "us")], false),
        (vec![("tier", "a")], false),
        (vec![], false),
    ] {
        let plane = labels(&given);
        let snapshot = Snapshot::compile_for(plane.clone(), header(7), entries()).unwrap();
        let expected = if serves { "permit" } else { denied };
        assert_eq!(decided(&snapshot, "k", "crm_find", Caller::default()), expected, "{given:?}");
        // Another zone's tools do not ask.
        assert_eq!(decided(&snapshot, "k", "github_search", Caller::default()), "permit", "{given:?}");
        let principal = snapshot.authenticate(&hash("k"), NOW).unwrap();
        let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
        let listed = |server: &str| view.tools().iter().any(|tool| tool.tool.server.name() == server);
        assert_eq!((listed("crm"), listed("github")), (serves, true), "{given:?}");
        assert_eq!(!view.resource_patterns("crm").is_empty(), serves, "{given:?}");
        assert_eq!(view.servers().iter().any(|server| server.name() == "crm"), serves, "{given:?}");
        // Who asks elsewhere says which plane it is about.
        let circumstances = Circumstances { plane: Some(&plane), ..Circumstances::at(NOW) };
        let told = explain(&asked, &Question { circumstances, ..question });
        assert_eq!(told.decision == Decision::Permit, serves, "{given:?}");
    }
    // Nobody knows which plane it is: a decision denies, an explanation says so, and somewhere it is reached.
    assert_eq!(decided(&asked, "k", "crm_find", Caller::default()), denied);
    let told = explain(&asked, &question);
    let step = told.steps.iter().find(|step| step.rule.to_string().contains("servedBy")).unwrap();
    assert!(step.outcome == Outcome::Live && step.detail.contains("not known"), "{step:?}");
    assert_eq!(asked.who_can(crate::DefinitionKind::Tool, "crm_find", NOW).unwrap().items.len(), 2);
}

#[test]
fn a_tool_may_be_in_a_zone_of_its_own() {
    let own = crate::fixture::tool_as(
        "crm",
        "refund",
        &crate::fixture::approved(&json!({ "name": "refund" })),
        &json!({ "zone": "island" }),
    );
    let snapshot = with(vec![own]);
    assert_eq!(
        decided(&snapshot, "k", "crm_refund", Caller::default()),
        "zone_denied TrustZone/island spec.reachableFrom"
    );
    assert_eq!(decided(&snapshot, "k", "crm_find", Caller::default()), "permit");
    let principal = snapshot.authenticate(&hash("k"), NOW).unwrap();
    let view = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
    let denial = snapshot.decide_tool(&principal, &view, "crm_refund", &Circumstances::at(NOW)).unwrap_err();
    assert_eq!(denial.zone.unwrap().as_str(), "island");
    assert!(!view.tools().iter().any(|tool| &*tool.name == "crm_refund"));
}

#[test]
fn an_allow_list_keeps_all_others_out_of_what_it_names_and_its_own_in() {
    let spec = json!({ "match": { "clientInfo": [{ "name": "ide-*" }, { "name": "term", "version": "2.*" }] },
        "allow": { "zones": ["internal"] } });
    let snapshot = with(vec![client("ides", &spec)]);
    let (stranger, beyond) =
        ("client_denied Client/ides spec.match.clientInfo", "client_denied Client/ides spec.allow");
    for (from, internal, vendor) in [
        (says("ide-x"), "permit", beyond),
        (version("ide-x", "1"), "permit", beyond),
        (version("term", "2.1"), "permit", beyond),
        (version("term", "3.0"), stranger, "permit"),
        (says("term"), stranger, "permit"),
        (says("other"), stranger, "permit"),
        (Caller::default(), stranger, "permit"),
    ] {
        assert_eq!(decided(&snapshot, "k", "crm_find", from), internal, "{from:?}");
        assert_eq!(decided(&snapshot, "k", "github_search", from), vendor, "{from:?}");
    }
}

#[test]
fn whoever_holds_a_named_key_cannot_leave_its_allow_list_by_another_name() {
    let spec = json!({ "match": { "keys": ["k"], "clientInfo": [{ "name": "ide" }] }, "allow": { "servers": ["crm"] } });
    let snapshot = with(vec![client("bot", &spec)]);
    let (stranger, beyond) =
        ("client_denied Client/bot spec.match.clientInfo", "client_denied Client/bot spec.allow");
    for (key, from, crm, github) in [
        ("k", says("ide"), "permit", beyond),
        ("k", says("other"), stranger, beyond),
        ("k", Caller::default(), stranger, beyond),
        ("other", says("ide"), "client_denied Client/bot spec.match.keys", "permit"),
    ] {
        assert_eq!(decided(&snapshot, key, "crm_find", from), crm, "{key} {from:?}");
        assert_eq!(decided(&snapshot, key, "github_search", from), github, "{key} {from:?}");
    }
}

#[test]
fn keys_are_known_by_their_labels_too() {
    for (labels, mine) in [
        (json!({ "app": "ide" }), true),
        (json!({ "app": "ide", "team": "a" }), true),
        (json!({ "app": "ide", "team": "b" }), false),
        (json!({ "region": "eu" }), false),
    ] {
        let spec = json!({ "match": { "keyLabels": labels }, "allow": { "zones": ["*"] } });
        let snapshot = with(vec![client("labelled", &spec)]);
        let denied = "client_denied Client/labelled spec.match.keyLabels";
        let expected = if mine { "permit" } else { denied };
        assert_eq!(decided(&snapshot, "k", "crm_find", Caller::default()), expected, "{labels}");
        assert_eq!(decided(&snapshot, "other", "crm_find", Caller::default()), denied, "{labels}");
    }
    // Names and labels together: both must fit.
    let both =
        json!({ "match": { "keys": ["other"], "keyLabels": { "app": "ide" } }, "deny": { "zones": ["*"] } });
    let snapshot = with(vec![client("both", &both)]);
    assert_eq!(decided(&snapshot, "k", "crm_find", Caller::default()), "permit");
    assert_eq!(decided(&snapshot, "other", "crm_find", Caller::default()), "permit");
}

#[test]
fn a_deny_list_keeps_out_whom_it_means_and_who_does_not_say_who_they_are() {
    let spec = json!({ "match": { "clientInfo": [{ "name": "old-*" }] }, "deny": { "servers": ["crm"] } });
    let snapshot = with(vec![client("old", &spec)]);
    for (from, crm) in [
        (says("old-ide"), "client_denied Client/old spec.deny"),
        (Caller::default(), "client_denied Client/old spec.match.clientInfo"),
        (says("new-ide"), "permit"),
    ] {
        assert_eq!(decided(&snapshot, "k", "crm_find", from), crm, "{from:?}");
        assert_eq!(decided(&snapshot, "k", "github_search", from), "permit", "{from:?}");
    }
}

#[test]
fn a_deny_list_wins_and_several_allow_lists_add_up() {
    let ide = |reach: Value| json!({ "match": { "clientInfo": [{ "name": "ide" }] }, "allow": reach });
    let snapshot = with(vec![
        client("a", &ide(json!({ "zones": ["internal"] }))),
        client("b", &ide(json!({ "servers": ["github"] }))),
        client("c", &json!({ "match": { "keys": ["other"] }, "deny": { "zones": ["*"] } })),
    ]);
    assert_eq!(decided(&snapshot, "k", "crm_find", says("ide")), "permit");
    assert_eq!(decided(&snapshot, "k", "github_search", says("ide")), "permit");
    assert_eq!(decided(&snapshot, "other", "crm_find", says("ide")), "client_denied Client/c spec.deny");
    let nothing = client("a", &ide(json!({})));
    assert_eq!(
        decided(&with(vec![nothing]), "k", "crm_find", says("ide")),
        "client_denied Client/a spec.allow"
    );
}

#[test]
fn everything_of_a_server_asks_and_not_its_tools_alone() {
    let spec = json!({ "match": { "keys": ["other"] }, "allow": { "servers": ["crm"] } });
    let snapshot = with(vec![client("one", &spec)]);
    for (key, ok) in [("k", false), ("other", true)] {
        let principal = snapshot.authenticate(&hash(key), NOW).unwrap();
        let base = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
        let circumstances = Circumstances::at(NOW);
        let view = snapshot.seen(&principal, &base, &circumstances);
        let prompt = snapshot.decide_prompt(&principal, &view, "crm_greet", &circumstances);
        let resource = snapshot.decide_resource(&principal, &view, "crm", "x://y", &circumstances);
        let server = snapshot.decide_server(&principal, &view, "crm", &circumstances);
        assert_eq!([prompt.is_ok(), resource.is_ok(), server.is_ok()], [ok; 3], "{key}");
        assert_eq!(view.servers().iter().any(|server| server.name() == "crm"), ok, "{key}");
        assert_eq!(!view.prompts().is_empty(), ok, "{key}");
        assert_eq!(!view.resource_patterns("crm").is_empty(), ok, "{key}");
    }
}

#[test]
fn what_explain_does_not_know_it_says_instead_of_judging() {
    let zone = json!({ "callerNetworks": ["10.0.0.0/8"], "allowedEras": ["modern"] });
    let ides = json!({ "match": { "clientInfo": [{ "name": "ide" }] }, "allow": { "zones": ["internal"] } });
    let snapshot = with(vec![zone_as("internal", &[], &["*"], &zone), client("ides", &ides)]);
    let told = |from: Caller| {
        let circumstances = from.circumstances();
        let question = Question { circumstances, ..Question::tool("k", EndpointRef::All, "crm_find", NOW) };
        let explained = explain(&snapshot, &question);
        let steps: Vec<String> = explained
            .steps
            .iter()
            .filter(|step| matches!(step.step, crate::decide::Step::Zone | crate::decide::Step::Client))
            .map(|step| format!("{:?} {}", step.outcome, step.rule))
            .collect();
        (explained.decision, explained.reason, steps.join(", "))
    };
    assert_eq!(
        told(Caller::default()),
        (
            Decision::Permit,
            None,
            "Live TrustZone/internal spec.callerNetworks, Live TrustZone/internal spec.allowedEras, \
             Live Client/ides spec.match.clientInfo"
                .to_owned()
        )
    );
    let known = Caller { network: Some("10.1.1.1"), era: Some(Era::Modern), program: Some(("ide", None)) };
    assert_eq!(
        told(known),
        (
            Decision::Permit,
            None,
            "Pass TrustZone/internal spec.reachableFrom, Pass Client/ides spec.allow".to_owned()
        )
    );
    let legacy = Caller { era: Some(Era::Legacy), ..Caller::default() };
    assert_eq!(
        told(legacy),
        (
            Decision::Deny,
            Some(Reason::ZoneDenied),
            "Live TrustZone/internal spec.callerNetworks, Deny TrustZone/internal spec.allowedEras"
                .to_owned()
        )
    );
    let stranger = Caller { program: Some(("other", None)), ..known };
    assert_eq!(told(stranger).1, Some(Reason::ClientDenied));
}

#[test]
fn callers_share_a_list_as_long_as_the_rules_come_out_the_same_for_them() {
    let view = |snapshot: &Snapshot, key: &str, from: Caller| {
        let principal = snapshot.authenticate(&hash(key), NOW).unwrap();
        let base = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
        (snapshot.seen(&principal, &base, &from.circumstances()), base)
    };
    let plain = with(vec![]);
    let (seen, base) = view(&plain, "k", at("10.0.0.1"));
    assert!(Arc::ptr_eq(&seen, &base), "nothing looks at callers");

    let snapshot = with(vec![zone_as("internal", &[], &["*"], &json!({ "callerNetworks": ["10.0.0.0/8"] }))]);
    let (one, _) = view(&snapshot, "k", at("10.0.0.1"));
    let (two, _) = view(&snapshot, "other", at("10.0.0.2"));
    let (out, _) = view(&snapshot, "k", at("11.0.0.1"));
    assert!(Arc::ptr_eq(&one, &two));
    assert!(!Arc::ptr_eq(&one, &out));
    assert_ne!(one.tools_tag(), out.tools_tag());
    // Era and program make no difference where nothing asks for them.
    let (same, _) = view(&snapshot, "k", Caller { era: Some(Era::Legacy), ..at("10.9.9.9") });
    assert!(Arc::ptr_eq(&one, &same));
}

#[test]
fn a_snapshot_whose_zone_forbids_a_host_does_not_compile() {
    let zone = zone_as("internal", &[], &["*"], &json!({ "allowedHosting": ["vendor"] }));
    let replaced = organisation().into_iter().filter(|entry| entry.id() != zone.id());
    let errors = compile(replaced.chain([zone.clone()]).collect()).unwrap_err();
    assert!(
        errors.iter().any(|error| error.to_string().contains("TrustZone/internal spec.allowedHosting")),
        "{errors:?}"
    );
}

#[test]
fn what_a_client_names_must_be_there() {
    for (spec, words) in [
        (json!({ "match": { "keys": ["nobody"] }, "allow": {} }), "nobody"),
        (json!({ "match": { "keys": ["k"] }, "allow": { "zones": ["nowhere"] } }), "nowhere"),
        (json!({ "match": { "keys": ["k"] }, "deny": { "servers": ["nothing"] } }), "nothing"),
        (json!({ "match": {}, "allow": {} }), "means nobody"),
        (json!({ "match": { "keys": ["k"] } }), "one of the two"),
    ] {
        let entries = organisation()
            .into_iter()
            .chain([key_as("k", "internal", &json!([]), &json!({})), client("c", &spec)]);
        let errors = compile(entries.collect()).unwrap_err();
        assert!(errors.iter().any(|error| error.to_string().contains(words)), "{spec}: {errors:?}");
    }
}

fn names(view: &View) -> Vec<String> {
    view.tools().iter().map(|tool| tool.name.to_string()).collect()
}

fn froms() -> impl Strategy<Value = Caller> {
    let network = select(vec![None, Some("10.1.2.3"), Some("192.168.1.1"), Some("::1")]);
    let era = select(vec![None, Some(Era::Modern), Some(Era::Legacy)]);
    let program = select(vec![
        None,
        Some(("ide", Some("1.0"))),
        Some(("ide", None)),
        Some(("term", Some("2.0"))),
        Some(("bot", None)),
    ]);
    (network, era, program).prop_map(|(network, era, program)| Caller { network, era, program })
}

fn zones() -> impl Strategy<Value = Vec<Entry>> {
    let networks = select(vec![json!([]), json!(["10.0.0.0/8"]), json!(["10.0.0.0/8", "::1/128"])]);
    let eras = select(vec![json!([]), json!(["modern"]), json!(["legacy"])]);
    (networks.clone(), eras.clone(), networks, eras).prop_map(|(a, b, c, d)| {
        vec![
            zone_as("internal", &[], &["*"], &json!({ "callerNetworks": a, "allowedEras": b })),
            zone_as("vendor", &["internal"], &["public"], &json!({ "callerNetworks": c, "allowedEras": d })),
        ]
    })
}

fn clients() -> impl Strategy<Value = Vec<Entry>> {
    let matched = select(vec![
        json!({ "keys": ["k"] }),
        json!({ "keyLabels": { "app": "ide" } }),
        json!({ "clientInfo": [{ "name": "ide" }] }),
        json!({ "clientInfo": [{ "name": "*", "version": "2.*" }] }),
        json!({ "keys": ["other"], "clientInfo": [{ "name": "i*" }, { "name": "bot" }] }),
    ]);
    let reach = select(vec![
        json!({}),
        json!({ "zones": ["internal"] }),
        json!({ "servers": ["github"] }),
        json!({ "zones": ["*"] }),
        json!({ "zones": ["vendor"], "servers": ["crm"] }),
    ]);
    let list = select(vec!["allow", "deny"]);
    proptest::collection::vec((matched, reach, list), 0..4).prop_map(|rules| {
        rules
            .into_iter()
            .enumerate()
            .map(|(at, (matched, reach, list))| {
                client(&format!("c{at}"), &json!({ "match": matched, list: reach }))
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_list_shows_exactly_what_may_be_called_from_there(zones in zones(), clients in clients(),
        key in select(vec!["k", "other"]), from in froms(), first in froms()) {
        let snapshot = with(zones.into_iter().chain(clients).collect());
        let principal = snapshot.authenticate(&hash(key), NOW).unwrap();
        for endpoint in [EndpointRef::All, EndpointRef::Bundle("support"), EndpointRef::Server("github")] {
            let base = snapshot.endpoint(&principal, endpoint).unwrap();
            // Whoever came first must not leave a list behind that is another's.
            let before = snapshot.authenticate(&hash("k"), NOW).unwrap();
            names(&snapshot.seen(&before, &base, &first.circumstances()));
            let circumstances = from.circumstances();
            let view = snapshot.seen(&principal, &base, &circumstances);
            let listed = names(&view);
            let whole = with(vec![]);
            let everybody = whole.authenticate(&hash(key), NOW).unwrap();
            let all = names(&whole.endpoint(&everybody, endpoint).unwrap());
            for name in &listed {
                prop_assert!(all.contains(name), "{} came from nowhere", name);
            }
            for name in all {
                let decided = snapshot.decide_tool(&principal, &base, &name, &circumstances);
                prop_assert_eq!(listed.contains(&name), decided.is_ok(), "{} at {:?} from {:?}", name, endpoint, from);
                let question = Question { circumstances, ..Question::tool(key, endpoint, &name, NOW) };
                let explained = explain(&snapshot, &question);
                // Where all is known, explain says what was decided; where not, it never denies what could be.
                let denied = explained.decision == Decision::Deny;
                let known = from.network.is_some() && from.era.is_some() && from.program.is_some();
                if known {
                    prop_assert_eq!(denied, decided.is_err());
                    if let Err(denial) = &decided {
                        prop_assert_eq!(explained.reason, Some(denial.reason));
                        prop_assert_eq!(&explained.rule, &denial.rule);
                    }
                } else {
                    prop_assert!(decided.is_err() || !denied, "{:?}", explained);
                }
                let live = explained.steps.iter().any(|step| step.outcome == Outcome::Live
                    && matches!(step.step, crate::decide::Step::Zone | crate::decide::Step::Client));
                prop_assert!(!(known && live));
            }
            for server in ["crm", "github"] {
                let shown = view.servers().iter().any(|shown| shown.name() == server);
                prop_assert_eq!(shown, snapshot.decide_server(&principal, &base, server, &circumstances).is_ok());
            }
        }
    }

    #[test]
    fn no_name_that_a_program_gives_itself_opens_more_than_the_key(clients in clients(), from in froms()) {
        let (plain, ruled) = (with(vec![]), with(clients));
        let see = |snapshot: &Snapshot| {
            let principal = snapshot.authenticate(&hash("k"), NOW).unwrap();
            let base = snapshot.endpoint(&principal, EndpointRef::All).unwrap();
            names(&snapshot.seen(&principal, &base, &from.circumstances()))
        };
        let all = see(&plain);
        for name in see(&ruled) {
            prop_assert!(all.contains(&name));
        }
    }
}
