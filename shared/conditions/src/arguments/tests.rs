use super::*;
use crate::shape::Shape;

fn shape() -> Shape {
    let mut shape = Shape::default();
    let scalar = |of| Node::Scalar(of);
    for (path, node) in [
        (&["there"][..], Node::Present),
        (&["n"], scalar(Scalar::Long)),
        (&["t"], scalar(Scalar::Text)),
        (&["b"], scalar(Scalar::Bool)),
        (&["d"], scalar(Scalar::Decimal)),
        (&["ip"], scalar(Scalar::Ip)),
        (&["at"], scalar(Scalar::Datetime)),
        (&["for"], scalar(Scalar::Duration)),
        (&["list"], Node::Set(Some(Scalar::Text))),
        (&["any"], Node::Set(None)),
        (&["o", "x"], scalar(Scalar::Long)),
    ] {
        shape.note(path, node).unwrap();
    }
    shape
}

#[test]
fn members_become_what_policies_expect_and_the_rest_is_left_where_it_is() {
    let json = r#"{ "n": 1e2, "t": "x", "b": true, "d": 12.5, "ip": "10.0.0.0/8", "at": "2026-11-21T10:00:00Z", "for": "1h",
        "list": ["a", "b"], "any": [1, "two", {}], "o": { "x": 3, "ignored": { "n": 1, "n": 2 } }, "there": null,
        "big": [[[[1e999]]]] }"#;
    let found = read(json, &shape()).unwrap();
    assert_eq!(found.mismatches, []);
    let names: Vec<&str> = found.members.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["n", "t", "b", "d", "ip", "at", "for", "list", "any", "o", "there"]);
    cedar_policy::Context::from_pairs(found.members).unwrap();
}

#[test]
fn what_comes_in_another_form_stays_there_and_is_told() {
    let cases = [
        (r#"{"n": "1"}"#, "the argument n must be a whole number of 64 bits"),
        (r#"{"n": null}"#, "the argument n must be a whole number of 64 bits"),
        (r#"{"t": 1}"#, "the argument t must be a text"),
        (r#"{"b": "true"}"#, "the argument b must be true or false"),
        (r#"{"d": 0.00001}"#, "the argument d must be a number with at most four decimal places"),
        (r#"{"ip": "everywhere"}"#, "the argument ip must be an IP address or range as a text"),
        (r#"{"at": "yesterday"}"#, "the argument at must be a date or time (RFC 3339) as a text"),
        (r#"{"for": "long"}"#, "the argument for must be a duration such as \"1h30m\" as a text"),
        (r#"{"list": "a"}"#, "the argument list must be a list in which each item is a text"),
        (r#"{"list": ["a", 1]}"#, "the argument list must be a list in which each item is a text"),
        (r#"{"any": {}}"#, "the argument any must be a list"),
        (r#"{"o": 1}"#, "the argument o must be an object"),
        (r#"{"o": {"x": 1, "x": 2}}"#, "the argument o must be an object"),
        (r#"{"o": {"x": []}}"#, "the argument o.x must be a whole number of 64 bits"),
    ];
    for (json, says) in cases {
        let found = read(json, &shape()).unwrap();
        assert_eq!(found.members.len(), 1, "{json}");
        let told: Vec<String> = found.mismatches.iter().map(ToString::to_string).collect();
        assert_eq!(told, [says], "{json}");
    }
}

#[test]
fn what_is_no_object_or_names_a_member_twice_cannot_be_read() {
    for json in ["", "[]", "1", "{", r#"{"n":1}{}"#, r#"{"n":1,"n":2}"#, "{\"n\":1,\"\\u006e\":2}"] {
        assert!(read(json, &shape()).is_err(), "{json}");
    }
}

#[test]
fn long_texts_and_lists_are_not_looked_at() {
    let long = format!(r#"{{"t": "{}"}}"#, "x".repeat(MAX_TEXT));
    assert_eq!(read(&long, &shape()).unwrap().mismatches.len(), 1);
    let many = format!(r#"{{"any": [{}1]}}"#, "1,".repeat(MAX_ITEMS));
    assert_eq!(read(&many, &shape()).unwrap().mismatches.len(), 1);
}
