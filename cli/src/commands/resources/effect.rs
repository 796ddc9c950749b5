//! Who gains and who loses what, as people read it: counts first, then names, and how many more there are.

use serde_json::Value;

/// The lines; none where nobody gains or loses anything.
pub(super) fn lines(effect: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (list, verb) in [("gains", ["gains", "gain"]), ("losses", ["loses", "lose"])] {
        let count = |name| number(effect.pointer(&format!("/{list}/{name}")));
        if count("keys") > 0 {
            lines.push(format!(
                "{} {} {}: {} in all",
                plural(count("keys"), "key"),
                agreed(verb, count("keys")),
                plural(count("things"), "tool, prompt or resource pattern"),
                plural(count("pairs"), "pair"),
            ));
        }
    }
    for shift in items(effect, "keys") {
        let keys: Vec<String> = items(shift, "keys").filter_map(Value::as_str).map(str::to_owned).collect();
        let who = more(keys, number(shift.get("keyCount")));
        for (list, all, verb) in
            [("gains", "gainCount", ["gains", "gain"]), ("losses", "lossCount", ["loses", "lose"])]
        {
            let names: Vec<String> = items(shift, list).map(named).collect();
            let all = number(shift.get(all));
            if all > 0 {
                let verb = agreed(verb, number(shift.get("keyCount")));
                lines.push(format!("  {who} {verb} {}", more(names, all)));
            }
        }
    }
    match number(effect.get("moreKeys")) {
        0 => {}
        rest => lines
            .push(format!("  and {} with other differences; --full names them", plural(rest, "more key"))),
    }
    lines.extend(items(effect, "states").map(state));
    match number(effect.get("moreStates")) {
        0 => {}
        rest => lines.push(format!("and {} that stand otherwise; --full names them", plural(rest, "more"))),
    }
    lines.extend(
        items(effect, "unserved").filter_map(Value::as_str).map(|text| format!("cannot be served: {text}")),
    );
    lines
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn number(value: Option<&Value>) -> u64 {
    value.and_then(Value::as_u64).unwrap_or(0)
}

/// The verb for one, or for several.
fn agreed([one, several]: [&'static str; 2], count: u64) -> &'static str {
    if count == 1 { one } else { several }
}

fn plural(count: u64, what: &str) -> String {
    match (count, what) {
        (1, _) | (_, "more") => format!("{count} {what}"),
        (_, "tool, prompt or resource pattern") => format!("{count} tools, prompts or resource patterns"),
        _ => format!("{count} {what}s"),
    }
}

/// Names, and how many more there are.
fn more(names: Vec<String>, all: u64) -> String {
    let rest = all.saturating_sub(names.len() as u64);
    let names = names.join(", ");
    match (names.is_empty(), rest) {
        (_, 0) => names,
        (true, rest) => format!("{rest} not named"),
        (false, rest) => format!("{names} and {rest} more"),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

/// `crm/find`, of what is no tool with its kind, and of a loss with its reason.
fn named(thing: &Value) -> String {
    let mut name = match text(thing, "kind") {
        "tool" => format!("{}/{}", text(thing, "server"), text(thing, "name")),
        kind => format!("{kind} {}/{}", text(thing, "server"), text(thing, "name")),
    };
    match (text(thing, "reason"), text(thing, "rule")) {
        ("", _) => {}
        (reason, "") => name.push_str(&format!(" ({reason})")),
        (reason, rule) => name.push_str(&format!(" ({reason} by {rule})")),
    }
    name
}

fn state(change: &Value) -> String {
    let or = |name, without: &'static str| match text(change, name) {
        "" => without.to_owned(),
        state => state.to_owned(),
    };
    let thing = named(change);
    let mut line = format!("{thing}: {} -> {}", or("before", "not there"), or("after", "gone"));
    if !text(change, "wasExposed").is_empty() {
        line =
            format!("{line}, named {} instead of {}", or("exposed", "nothing"), text(change, "wasExposed"));
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_come_first_then_names_then_what_stands_otherwise() {
        let thing = |name: &str| json!({ "kind": "tool", "server": "crm", "name": name, "exposed": format!("crm_{name}") });
        let mut lost = thing("find");
        lost["reason"] = "zone_denied".into();
        lost["rule"] = "TrustZone/island spec.reachableFrom".into();
        let effect = json!({
            "gains": { "keys": 12, "things": 3, "pairs": 36 },
            "losses": { "keys": 1, "things": 1, "pairs": 1 },
            "keys": [
                { "keys": ["a", "b"], "keyCount": 12, "gains": [thing("x"), thing("y")], "gainCount": 3, "losses": [], "lossCount": 0 },
                { "keys": ["c"], "keyCount": 1, "gains": [], "gainCount": 0, "losses": [lost], "lossCount": 1 },
            ],
            "moreKeys": 4,
            "states": [{ "kind": "tool", "server": "crm", "name": "refund", "before": "approved", "after": "pending" }],
            "moreStates": 2,
            "unserved": ["tool x of crm is left out"],
        });
        assert_eq!(
            lines(&effect),
            [
                "12 keys gain 3 tools, prompts or resource patterns: 36 pairs in all",
                "1 key loses 1 tool, prompt or resource pattern: 1 pair in all",
                "  a, b and 10 more gain crm/x, crm/y and 1 more",
                "  c loses crm/find (zone_denied by TrustZone/island spec.reachableFrom)",
                "  and 4 more keys with other differences; --full names them",
                "crm/refund: approved -> pending",
                "and 2 more that stand otherwise; --full names them",
                "cannot be served: tool x of crm is left out",
            ]
        );
        assert!(lines(&json!({ "gains": { "keys": 0 }, "keys": [] })).is_empty());
    }
}
