//! `plan --replay`: recorded calls decided again by what would be in force.

use std::path::Path;
use std::time::Duration;

use portcullis_data_plane::ledger;
use portcullis_data_plane::recall::{Recalled, Window, recall};
use portcullis_data_plane::sync::kept_labels;
use portcullis_proto::admin::v1 as api;
use portcullis_proto::config::v1::RecordedCall;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, table::table, time};

/// Calls in one message.
const CHUNK: usize = 1_000;

/// What is replayed.
pub(crate) struct Start {
    pub(crate) files: Vec<api::SourceFile>,
    pub(crate) window: Duration,
    pub(crate) full: bool,
}

/// Asks the control plane, with the records that are in this directory where there are any. Gives the plan and what the calls
/// come to.
pub(crate) async fn ask(
    client: &Client,
    start: Start,
    data_dir: &Path,
) -> Result<(api::ApplyResponse, Value), Failure> {
    let now = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0);
    let ago = u64::try_from(start.window.as_millis()).unwrap_or(u64::MAX);
    let window = Window { since_unix_ms: now.saturating_sub(ago), until_unix_ms: now };
    let (say, messages) = mpsc::channel(4);
    let first =
        api::ReplayStart { files: start.files, since_unix_ms: window.since_unix_ms, full: start.full };
    let plane = data_dir.join("data");
    let reading = tokio::task::spawn_blocking(move || {
        let message = |message| api::ReplayRequest { message: Some(message) };
        let mut send = |one| say.blocking_send(message(one)).is_ok();
        let spool = plane.join(ledger::DIRECTORY);
        if send(api::replay_request::Message::Start(first)) && spool.is_dir() {
            local(&spool, known(&plane), window, &mut send);
        }
    });
    let replied = client.reach().replay(ReceiverStream::new(messages)).await;
    reading.await.map_err(|error| Failure::of("the records of this machine", error))?;
    let reply = replied?.into_inner();
    let replayed =
        serde_json::from_str(&reply.replay_json).map_err(|error| Failure::of("the answer", error))?;
    Ok((reply.plan.unwrap_or_default(), replayed))
}

/// What the data plane of this state was to zones last, where it kept that.
fn known(plane: &Path) -> Option<api::KnownPlane> {
    match kept_labels(plane) {
        Ok(labels) => labels.map(|labels| api::KnownPlane { labels: labels.into_iter().collect() }),
        Err(error) => {
            output::note(&format!("the labels of the data plane in {}: {error}", plane.display()));
            None
        }
    }
}

/// Sends what a spool on this machine holds of the window. What cannot be read is told and left out.
fn local(
    spool: &Path,
    plane: Option<api::KnownPlane>,
    window: Window,
    send: &mut impl FnMut(api::replay_request::Message) -> bool,
) {
    let found = match recall(spool, window) {
        Ok(found) => found,
        Err(error) => return output::note(&format!("{}: {error}", spool.display())),
    };
    let chunk = |calls| api::replay_request::Message::Calls(api::ReplayCalls { calls, plane: plane.clone() });
    let mut calls: Vec<RecordedCall> = Vec::with_capacity(CHUNK);
    for one in found {
        match one {
            Recalled::KeptSince(_) => {}
            Recalled::Call(call) => calls.push(*call),
            Recalled::Damaged(damage) => output::note(&format!("damaged: {damage}")),
        }
        if calls.len() == CHUNK && !send(chunk(std::mem::take(&mut calls))) {
            return;
        }
    }
    if !calls.is_empty() {
        send(chunk(calls));
    }
}

/// What the calls come to, for people.
pub(crate) fn told(replayed: &Value) -> String {
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let list = |name: &str| replayed.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines = vec![format!(
        "replay since {}: {} calls decided again, {} would be denied, {} would be permitted",
        time::rfc3339(number(replayed, "sinceUnixMs")),
        number(replayed, "calls"),
        number(replayed, "wouldBeDenied"),
        number(replayed, "wouldBePermitted"),
    )];
    if number(replayed, "already") > 0 {
        lines.push(format!(
            "of these, {} come out so by the policy in force already: an earlier change did it",
            number(replayed, "already")
        ));
    }
    if number(replayed, "undecidable") > 0 {
        let mut line = format!(
            "{} cannot be decided again: they depend on what no record keeps",
            number(replayed, "undecidable")
        );
        if number(replayed, "undecidableAlready") > 0 {
            line.push_str(&format!(
                "; {} of these by the policy in force already, in the same way",
                number(replayed, "undecidableAlready")
            ));
        }
        lines.push(line);
    }
    for source in list("sources") {
        let mut line = format!("  {}: {} calls", text(&source, "name"), number(&source, "calls"));
        if number(&source, "keptSinceUnixMs") > number(replayed, "sinceUnixMs") {
            let since = time::rfc3339(number(&source, "keptSinceUnixMs"));
            line.push_str(&format!(", its oldest record is of {since}"));
        }
        if number(&source, "damaged") > 0 {
            line.push_str(&format!(", {} records cannot be read", number(&source, "damaged")));
        }
        if !text(&source, "error").is_empty() {
            line.push_str(&format!(", not whole: {}", text(&source, "error")));
        }
        lines.push(line);
    }
    if number(replayed, "unreadable") > 0 {
        lines.push(format!(
            "  {} records are of another version and were left out",
            number(replayed, "unreadable")
        ));
    }
    let outcome = |item: &Value, name: &str| match text(item, name).as_str() {
        "" => "permit".to_owned(),
        reason => reason.to_owned(),
    };
    let already = |item: &Value| match item.get("already") {
        Some(Value::Bool(true)) => "already so".to_owned(),
        _ => String::new(),
    };
    let items = list("items");
    if !items.is_empty() {
        let rows = items.iter().map(|item| {
            [
                text(item, "key"),
                text(item, "name"),
                number(item, "calls").to_string(),
                outcome(item, "was"),
                outcome(item, "wouldBe"),
                text(item, "rule"),
                already(item),
            ]
        });
        lines.push(table(&["KEY", "NAME", "CALLS", "WAS", "WOULD-BE", "RULE", ""], rows));
    }
    match number(replayed, "moreCalls") {
        0 => {}
        more => lines.push(format!("and {more} more calls; --full names them")),
    }
    let undecided = list("undecided");
    if !undecided.is_empty() {
        let rows = undecided.iter().map(|item| {
            [
                text(item, "key"),
                text(item, "name"),
                number(item, "calls").to_string(),
                outcome(item, "was"),
                text(item, "rule"),
                text(item, "why"),
                already(item),
            ]
        });
        lines.push(table(&["KEY", "NAME", "CALLS", "WAS", "RULE", "CANNOT BE DECIDED", ""], rows));
    }
    match number(replayed, "moreUndecidable") {
        0 => {}
        more => lines.push(format!("and {more} more calls that cannot be decided; --full names them")),
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_says_what_changes_by_what_and_whose_records_are_missing() {
        let replayed = json!({
            "sinceUnixMs": 1_700_000_000_000_u64, "calls": 12, "wouldBeDenied": 3, "wouldBePermitted": 0, "already": 1,
            "items": [{ "key": "bot", "name": "crm_find", "calls": 3, "wouldBe": "zone_denied", "rule": "TrustZone/x spec.reachableFrom" }],
            "moreCalls": 0,
            "undecidable": 5, "undecidableAlready": 2, "moreUndecidable": 1,
            "undecided": [{ "key": "bot", "name": "crm_refund", "calls": 4, "rule": "AccessPolicy spec.cedar",
                "why": "big read what is not known of the call: arguments" }],
            "sources": [
                { "name": "plane eu-1", "calls": 12, "keptSinceUnixMs": 1_700_000_001_000_u64 },
                { "name": "plane eu-2", "calls": 0, "error": "it is not connected" },
            ],
        });
        let told = told(&replayed);
        for part in [
            "12 calls decided again, 3 would be denied, 0 would be permitted",
            "of these, 1 come out so",
            "plane eu-1: 12 calls, its oldest record is of 2023-11-14T22:13:21.000Z",
            "plane eu-2: 0 calls, not whole: it is not connected",
            "zone_denied",
            "5 cannot be decided again: they depend on what no record keeps; 2 of these by the policy in force already",
            "big read what is not known of the call: arguments",
            "and 1 more calls that cannot be decided",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
}
