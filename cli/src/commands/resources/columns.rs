//! What people see of a resource in a list: the same columns whatever is in it.

use chrono::DateTime;
use portcullis_policy::resource::Kind;
use serde_json::Value;

use crate::output::{table::table, time};

type Column = (&'static str, &'static str);

const NAME: Column = ("NAME", "/metadata/name");
const VERSION: Column = ("VERSION", "/metadata/version");

/// The head of each column, and where its value stands in a document.
const fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::McpServer => &[
            NAME,
            ("OWNER", "/spec/owner/team"),
            ("ZONE", "/spec/zone"),
            ("TIER", "/spec/tier"),
            ("LIFECYCLE", "/status/lifecycle"),
            ("STAGE", "/status/stage"),
            ("HEALTH", "/status/health"),
            ("ERA", "/status/era"),
            ("TOOLS", "/status/tools"),
            ("PENDING", "/status/pending"),
            ("QUARANTINED", "/status/quarantined"),
            ("DRIFT", "/status/drift"),
            ("LAST-USE", "/status/lastUse"),
            VERSION,
        ],
        Kind::VirtualKey => &[
            NAME,
            ("PRINCIPAL", "/spec/principal"),
            ("TEAM", "/spec/team"),
            ("ZONE", "/spec/zone"),
            ("STATE", "/status/state"),
            ("EXPIRES", "/spec/expiresAt"),
            VERSION,
        ],
        Kind::TrustZone => &[
            NAME,
            ("REACHABLE-FROM", "/spec/reachableFrom"),
            ("DATA-CLASSES", "/spec/allowedDataClasses"),
            ("AUDIT", "/spec/audit"),
        ],
        Kind::ToolBundle => &[NAME, ("SERVERS", "/spec/tools"), ("TEAMS", "/spec/members/teams")],
        Kind::Team => &[NAME, ("CUSTOMER", "/spec/customer")],
        Kind::RolloutPolicy => &[
            NAME,
            ("TEAMS", "/spec/limited/teams"),
            ("KEYS", "/spec/limited/keys"),
            ("PERCENT", "/spec/limited/percent"),
            VERSION,
        ],
        Kind::TierDefaults => &[
            NAME,
            ("NEW-TOOLS", "/spec/tools/newTools"),
            ("CHANGED-TOOLS", "/spec/tools/changedTools"),
            ("TIMEOUT", "/spec/limits/timeout"),
            ("ROLLOUT", "/spec/rollout/policy"),
            VERSION,
        ],
        Kind::Customer => &[NAME],
        Kind::Role => &[NAME, ("RULES", "/spec/rules"), VERSION],
        Kind::RoleBinding => &[NAME, ("SUBJECTS", "/spec/subjects"), ("ROLES", "/spec/roles")],
        Kind::ApprovalRule => &[
            NAME,
            ("CHANGES", "/spec/match/changes"),
            ("APPROVERS", "/spec/approvers"),
            ("REQUIRED", "/spec/required"),
            ("EXPIRES-AFTER", "/spec/expiresAfter"),
        ],
        Kind::Client => &[
            NAME,
            ("PROGRAMS", "/spec/match/clientInfo"),
            ("KEYS", "/spec/match/keys"),
            ("ALLOW-ZONES", "/spec/allow/zones"),
            ("ALLOW-SERVERS", "/spec/allow/servers"),
            ("DENY-ZONES", "/spec/deny/zones"),
            ("DENY-SERVERS", "/spec/deny/servers"),
        ],
        Kind::AccessPolicy => &[NAME, ("MODE", "/spec/mode")],
    }
}

/// The table of documents of one kind.
pub(super) fn table_of(kind: Kind, documents: &[Value]) -> String {
    let columns = columns(kind);
    let heads: Vec<_> = columns.iter().map(|(head, _)| *head).collect();
    let rows = documents.iter().map(|document| {
        columns.iter().map(|(_, pointer)| document.pointer(pointer).map_or_else(|| "-".to_owned(), cell))
    });
    table(&heads, rows)
}

/// One value in one cell.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        // A principal is its kind and subject, a bundle's member its server, a program its name and version.
        Value::Object(members) => {
            let member = |name| members.get(name);
            match (member("kind"), member("subject"), member("server"), member("name")) {
                (Some(kind), Some(subject), ..) => format!("{}:{}", cell(kind), cell(subject)),
                (_, _, Some(server), _) => cell(server),
                (_, _, _, Some(name)) => match member("version") {
                    Some(version) => format!("{}/{}", cell(name), cell(version)),
                    None => cell(name),
                },
                // A rule of a role is its rights; a subject or an approver is whom it names.
                _ => match (member("rights"), members.len(), members.values().next()) {
                    (Some(rights), _, _) => cell(rights),
                    (None, 1, Some(only)) => cell(only),
                    _ => value.to_string(),
                },
            }
        }
        other => other.to_string(),
    };
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Writes times as people read them: a member `…UnixMs` becomes the member without these letters, and the `until` of a
/// key's secret becomes a time.
pub(super) fn times(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(times),
        Value::Object(members) => {
            for (name, mut value) in std::mem::take(members) {
                let stem = name.strip_suffix("UnixMs");
                let written = (stem.is_some() || name == "until")
                    .then(|| {
                        value
                            .as_u64()
                            .map(time::rfc3339)
                            .filter(|text| DateTime::parse_from_rfc3339(text).is_ok())
                    })
                    .flatten();
                match written {
                    Some(text) => members.insert(stem.unwrap_or(&name).to_owned(), text.into()),
                    None => {
                        times(&mut value);
                        members.insert(name, value)
                    }
                };
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_stay_whatever_is_known() {
        let unprobed = json!({ "metadata": { "name": "crm", "version": 4 }, "spec": { "zone": "internal" } });
        let shown = table_of(Kind::McpServer, std::slice::from_ref(&unprobed));
        let words =
            |line: Option<&str>| line.unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut lines = shown.lines();
        assert_eq!(
            words(lines.next()),
            [
                "NAME",
                "OWNER",
                "ZONE",
                "TIER",
                "LIFECYCLE",
                "STAGE",
                "HEALTH",
                "ERA",
                "TOOLS",
                "PENDING",
                "QUARANTINED",
                "DRIFT",
                "LAST-USE",
                "VERSION"
            ]
        );
        assert_eq!(
            words(lines.next()),
            ["crm", "-", "internal", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "4"]
        );
    }

    #[test]
    fn cells_say_what_lists_and_principals_hold() {
        assert_eq!(cell(&json!({ "kind": "agent", "subject": "bot" })), "agent:bot");
        assert_eq!(cell(&json!([{ "server": "a", "allow": ["*"] }, { "server": "b" }])), "a,b");
        assert_eq!(cell(&json!([])), "-");
    }

    #[test]
    fn times_are_written_for_people() {
        let mut value = json!({ "a": [{ "lastProbeUnixMs": 1_700_000_000_000_u64, "until": null }], "n": 5 });
        times(&mut value);
        assert_eq!(
            value,
            json!({ "a": [{ "lastProbe": "2023-11-14T22:13:20.000Z", "until": null }], "n": 5 })
        );
    }
}
