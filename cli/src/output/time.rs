//! Times, as people and programs read them.

use chrono::{DateTime, SecondsFormat, Utc};

/// RFC 3339 in UTC; empty for 0.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    i64::try_from(unix_ms)
        .ok()
        .filter(|ms| *ms > 0)
        .and_then(DateTime::<Utc>::from_timestamp_millis)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        .unwrap_or_default()
}

/// An RFC 3339 time cut to milliseconds; what is none stays as it is.
pub(crate) fn to_millis(text: &str) -> String {
    DateTime::parse_from_rfc3339(text).map_or_else(
        |_| text.to_owned(),
        |time| time.with_timezone(&Utc).to_rfc3339_opts(SecondsFormat::Millis, true),
    )
}

/// How long ago: `5s`, `3m`, `2h`, `4d`; `-` for 0.
pub(crate) fn ago(unix_ms: u64) -> String {
    let now = u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0);
    let seconds = now.saturating_sub(unix_ms) / 1000;
    match (unix_ms, seconds) {
        (0, _) => "-".to_owned(),
        (_, 0..60) => format!("{seconds}s"),
        (_, 60..3600) => format!("{}m", seconds / 60),
        (_, 3600..86400) => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}
