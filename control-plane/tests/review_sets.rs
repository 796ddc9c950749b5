//! The review against definitions of our own: a poisoned set, of which each has to be found out where its poison stands, and a
//! benign one in the style of popular servers, of which none may be held up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use portcullis_control_plane::review::{
    Definition, Names, Review, Severity, Subject, is_visible, review, text,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// What one honest server offers.
#[derive(Deserialize)]
struct Benign {
    instructions: String,
    tools: Vec<Value>,
    prompts: Vec<Value>,
}

#[derive(Deserialize)]
struct Poisoned {
    what: String,
    code: String,
    at: String,
    severity: Severity,
    definition: Value,
    approved: Option<Value>,
    subject: Option<String>,
}

fn sets() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/review")
}

fn benign() -> Vec<(String, Benign)> {
    let files = std::fs::read_dir(sets().join("benign")).unwrap().map(|entry| entry.unwrap().path());
    let read = files.map(|path| {
        let server = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (server, serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    });
    read.collect()
}

fn poisoned() -> Vec<Poisoned> {
    serde_json::from_str(&std::fs::read_to_string(sets().join("poisoned.json")).unwrap()).unwrap()
}

/// The tools of all honest servers, as a registry with all of them knows them.
fn names() -> Names {
    let mut names = Names::new();
    for (server, offers) in benign() {
        for tool in offers.tools {
            let tool = tool["name"].as_str().unwrap();
            names.add(&server, tool, &format!("{server}_{tool}"));
        }
    }
    names
}

fn reviewed(
    server: &str,
    subject: Subject,
    offered: &Value,
    approved: Option<&Value>,
    names: &Names,
) -> Review {
    let (offered_text, approved) = (offered.to_string(), approved.map(Value::to_string));
    let definition = Definition {
        subject,
        server,
        name: offered["name"].as_str().unwrap_or(server),
        offered: &offered_text,
        approved: approved.as_deref(),
    };
    review(&definition, names)
}

#[test]
fn each_poisoned_definition_is_found_out_at_the_place_of_its_poison() {
    let mut names = names();
    names.add("helper", "add_numbers", "helper_add_numbers");
    let mut wrong = Vec::new();
    let set = poisoned();
    assert!(set.len() > 90, "{}", set.len());
    for case in &set {
        let subject = match case.subject.as_deref() {
            None => Subject::Tool,
            Some("prompt") => Subject::Prompt,
            Some("identity") => Subject::Identity,
            Some(other) => panic!("{other}"),
        };
        let review = reviewed("helper", subject, &case.definition, case.approved.as_ref(), &names);
        // A place is shown as its characters are: what is invisible in a name is visible in its path.
        let place = portcullis_control_plane::review::visible_line(&case.at, 300);
        let found = review.findings.iter().any(|finding| {
            json!(finding.code) == case.code.as_str()
                && finding.path == place
                && finding.severity == case.severity
                && !finding.text.is_empty()
        });
        if !found {
            wrong.push(format!("{}: {:#?}", case.what, review.findings));
        }
        assert!(is_visible(&text(&review)), "{}", case.what);
        assert!(!review.changes.is_empty(), "{}", case.what);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), set.len(), wrong.join("\n"));
}

#[test]
fn no_benign_definition_is_held_up() {
    let names = names();
    let mut count = 0;
    let mut wrong = Vec::new();
    for (server, offers) in benign() {
        let identity = json!({ "instructions": offers.instructions, "serverInfo": { "name": server, "version": "1.4.2" } });
        let all = offers.tools.iter().map(|tool| (Subject::Tool, tool));
        let all = all.chain(offers.prompts.iter().map(|prompt| (Subject::Prompt, prompt)));
        for (subject, definition) in all.chain([(Subject::Identity, &identity)]) {
            count += 1;
            let review = reviewed(&server, subject, definition, None, &names);
            for finding in review.findings.iter().filter(|finding| finding.severity > Severity::Info) {
                wrong.push(format!("{server} {}: {finding:#?}", definition["name"]));
            }
        }
    }
    assert!(count > 75, "{count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_honest_server_that_becomes_more_precise_is_not_held_up() {
    let names = names();
    for (server, offers) in benign() {
        for tool in &offers.tools {
            let mut changed = tool.clone();
            let description = tool["description"].as_str().unwrap();
            changed["description"] = json!(format!("{description} Answers in JSON."));
            changed["inputSchema"]["properties"]["verbose"] = json!({ "type": "boolean", "default": false });
            let review = reviewed(&server, Subject::Tool, &changed, Some(tool), &names);
            let worst = review.risk.highest.unwrap_or(Severity::Info);
            assert_eq!(worst, Severity::Info, "{}: {:#?}", tool["name"], review.findings);
            assert_eq!(review.changes.iter().filter(|change| change.path == "/description").count(), 1);
        }
    }
}
