//! The way back from audit records to calls that can be decided again: for the control plane's replay of a window of time.
//!
//! It stands on the ledger and knows the form in which calls travel; who asks, and over what, it does not know.

use std::io;
use std::path::Path;

use chrono::{DateTime, Utc};
use portcullis_proto::config::v1::RecordedCall;

use crate::ledger::{self, AuditRecord, Filter, Outcome, ReadError, Records};

/// A window of time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Not before.
    pub since_unix_ms: u64,
    /// Before.
    pub until_unix_ms: u64,
}

/// One finding of a spool.
#[derive(Debug)]
pub enum Recalled {
    /// The time of the oldest record there is; comes first where there is any.
    KeptSince(u64),
    /// A call of the window.
    Call(Box<RecordedCall>),
    /// Something that is no whole record.
    Damaged(ReadError),
}

/// Reads the calls of a window from a spool, which may be in use. Only calls that name something: lists, pings and the like
/// are left out.
///
/// # Errors
/// When the directory cannot be read.
pub fn recall(spool: &Path, window: Window) -> io::Result<Recall> {
    let filter = Filter { until: time(window.until_unix_ms), ..Filter::default() };
    Ok(Recall { records: ledger::read(spool, filter)?, window, begun: false, held: None })
}

/// See [`recall`].
#[derive(Debug)]
pub struct Recall {
    records: Records,
    window: Window,
    begun: bool,
    held: Option<AuditRecord>,
}

impl Iterator for Recall {
    type Item = Recalled;

    fn next(&mut self) -> Option<Recalled> {
        loop {
            let record = match self.held.take() {
                Some(record) => record,
                None => match self.records.next()? {
                    Ok(record) => record,
                    Err(damage) => return Some(Recalled::Damaged(damage)),
                },
            };
            let unix_ms = unix_ms(record.time);
            if !self.begun {
                self.begun = true;
                self.held = Some(record);
                return Some(Recalled::KeptSince(unix_ms));
            }
            if unix_ms >= self.window.since_unix_ms
                && let Some(call) = call(&record, unix_ms)
            {
                return Some(Recalled::Call(Box::new(call)));
            }
        }
    }
}

fn call(record: &AuditRecord, unix_ms: u64) -> Option<RecordedCall> {
    let own = match &*record.method {
        "tools/call" => &record.tool,
        "prompts/get" => &record.prompt,
        "resources/read" => &record.resource,
        _ => return None,
    };
    let name = record.exposed_name.as_ref().or(own.as_ref())?;
    Some(RecordedCall {
        request_id: record.request_id.as_bytes().to_vec().into(),
        unix_ms,
        key: record.key.name.as_str().to_owned(),
        key_uid: record.key.uid.to_string(),
        endpoint: record.endpoint.to_string(),
        method: record.method.to_string(),
        name: name.to_string(),
        server: record.server.as_ref().map(|server| server.as_str().to_owned()).unwrap_or_default(),
        era: record.era.to_string(),
        reason: record.reason.map(|reason| reason.code().to_owned()).unwrap_or_default(),
        approved: record.approval.as_ref().is_some_and(|approval| approval.by.is_some()),
        own_name: own.as_deref().unwrap_or_default().to_owned(),
        tool_error: record.outcome == Outcome::ToolError,
        cost_micro_usd: record.cost_micro_usd.unwrap_or(0),
    })
}

fn time(unix_ms: u64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(unix_ms).ok()?)
}

fn unix_ms(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_millis()).unwrap_or(0)
}
