//! `audit query`: reads the spool of a data plane on this machine.

use chrono::{DateTime, Utc};
use portcullis_data_plane::ledger::{self, Filter};
use portcullis_policy::Reason;
use portcullis_policy::resource::HumanDuration;
use serde_json::{Value, json};

use crate::args::AuditQueryArgs;
use crate::failure::Failure;
use crate::output::{self, table::table, time};

pub(crate) fn query(args: AuditQueryArgs) -> Result<(), Failure> {
    let directory = args.data_dir.join("data").join(ledger::DIRECTORY);
    let filter = Filter {
        since: args.since.as_deref().map(since).transpose()?,
        key: args.key,
        tool: args.tool,
        server: args.server,
        reason: args.reason.as_deref().map(reason).transpose()?,
        request_id: args.request,
        ..Filter::default()
    };
    let records =
        ledger::read(&directory, filter).map_err(|error| Failure::of(directory.display(), error))?;
    let mut kept = std::collections::VecDeque::new();
    for record in records {
        match record {
            Ok(record) => {
                kept.push_back(record);
                if args
                    .limit
                    .is_some_and(|limit| u32::try_from(kept.len()).is_ok_and(|length| length > limit))
                {
                    kept.pop_front();
                }
            }
            Err(damage) => output::note(&format!("damaged: {damage}")),
        }
    }
    let items: Vec<Value> = kept
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::of("JSON", error))?;
    output::print(args.output.output, &json!({ "items": items }), || records_table(&items))
}

/// One of the closed list.
fn reason(code: &str) -> Result<Reason, Failure> {
    Reason::ALL.iter().copied().find(|reason| reason.code() == code).ok_or_else(|| {
        let known: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        Failure::usage(format!("--reason {code:?} is no reason; reasons are {}", known.join(" ")))
    })
}

/// A time, or how long ago.
fn since(text: &str) -> Result<DateTime<Utc>, Failure> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.with_timezone(&Utc));
    }
    text.parse::<HumanDuration>()
        .ok()
        .and_then(|ago| chrono::TimeDelta::from_std(ago.0).ok())
        .and_then(|ago| Utc::now().checked_sub_signed(ago))
        .ok_or_else(|| {
            Failure::usage(format!("--since {text:?}: write a time such as 2026-11-21T08:00:00Z, or 1h"))
        })
}

fn records_table(items: &[Value]) -> String {
    let text = |item: &Value, pointer: &str| match item.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    // What was asked for: a tool, a prompt or a resource; where it is none that exists, the name that was used.
    let target = |item: &Value| {
        ["/tool", "/prompt", "/resource", "/exposedName"]
            .into_iter()
            .map(|pointer| text(item, pointer))
            .find(|found| found != "-")
            .unwrap_or_else(|| "-".to_owned())
    };
    let rows = items.iter().map(|item| {
        let [key, method, server, decision, reason, outcome, micros, request] = [
            "/key/name",
            "/method",
            "/server",
            "/decision",
            "/reason",
            "/outcome",
            "/latencyMicros/total",
            "/requestId",
        ]
        .map(|pointer| text(item, pointer));
        let time = time::to_millis(&text(item, "/time"));
        [time, key, method, server, target(item), decision, reason, outcome, micros, request]
    });
    table(
        &["TIME", "KEY", "METHOD", "SERVER", "TOOL", "DECISION", "REASON", "OUTCOME", "MICROS", "REQUEST"],
        rows,
    )
}
