//! Makes every record fit its place: texts that callers or upstreams chose are cut, and named as cut.

use std::borrow::Cow;
use std::sync::Arc;

use super::record::AuditRecord;
use super::{encode, frame};

/// Bytes that each text may keep, tried in turn. With the last, the worst text (every byte escaped sixfold) fits.
const KEEP: [usize; 4] = [2048, 512, 128, 32];
/// What stands at the end of a text that was cut.
const MARK: &str = "…";

/// No place holds the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is too long")]
pub struct TooLong;

/// Writes the frame of a record into the buffer.
///
/// # Errors
/// When it is too long however it is cut; no record of valid names is.
pub(super) fn encode(record: &AuditRecord, buffer: &mut Vec<u8>) -> Result<(), TooLong> {
    let mut fits = |record: &AuditRecord| {
        frame::begin(buffer);
        encode::push(record, buffer);
        frame::finish(buffer).is_some()
    };
    if fits(record) || KEEP.into_iter().any(|keep| fits(&shorten(record.clone(), keep))) {
        return Ok(());
    }
    Err(TooLong)
}

fn shorten(mut record: AuditRecord, keep: usize) -> AuditRecord {
    let mut cut = Vec::new();
    let mut text = |name: &'static str, value: &mut dyn Text| {
        if let Some(short) = short(value.get(), keep) {
            value.set(short);
            cut.push(Cow::Borrowed(name));
        }
    };
    text("method", &mut record.method);
    text("endpoint", &mut record.endpoint);
    text("era", &mut record.era);
    text("principal.subject", &mut record.principal.subject);
    for (name, value) in [
        ("tool", &mut record.tool),
        ("prompt", &mut record.prompt),
        ("resource", &mut record.resource),
        ("exposedName", &mut record.exposed_name),
        ("clientHint", &mut record.client_hint),
    ] {
        if let Some(value) = value {
            text(name, value);
        }
    }
    for (name, value) in
        [("rule", &mut record.rule), ("traceId", &mut record.trace_id), ("spanId", &mut record.span_id)]
    {
        if let Some(value) = value {
            text(name, value);
        }
    }
    if let Some(era) = record.upstream.as_mut().and_then(|upstream| upstream.era.as_mut()) {
        text("upstream.era", era);
    }
    // A policy's name has 63 bytes at most.
    if record.shadow.len() > keep / 64 {
        record.shadow.truncate(keep / 64);
        cut.push(Cow::Borrowed("shadow"));
    }
    record.truncated = cut;
    record
}

fn short(text: &str, keep: usize) -> Option<String> {
    (text.len() > keep).then(|| {
        let end = text.floor_char_boundary(keep);
        format!("{}{MARK}", text.get(..end).unwrap_or_default())
    })
}

trait Text {
    fn get(&self) -> &str;
    fn set(&mut self, text: String);
}

impl Text for String {
    fn get(&self) -> &str {
        self
    }
    fn set(&mut self, text: String) {
        *self = text;
    }
}

impl Text for Arc<str> {
    fn get(&self) -> &str {
        self
    }
    fn set(&mut self, text: String) {
        *self = text.into();
    }
}

impl Text for Cow<'static, str> {
    fn get(&self) -> &str {
        self
    }
    fn set(&mut self, text: String) {
        *self = Cow::Owned(text);
    }
}
