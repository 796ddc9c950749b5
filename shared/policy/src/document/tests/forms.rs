//! The forms that documents come in: YAML and JSON, lists of `get`, anchors, and the bounds of all of them.

use super::*;

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
