//! W3C Trace Context (Recommendation of 2021, `traceparent`): where a call stands in a trace.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::str::FromStr;

/// A place in a trace: the `traceparent` header, version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Not all zero.
    pub trace_id: [u8; 16],
    /// The span that what follows is a child of; not all zero.
    pub span_id: [u8; 8],
    /// Whether the spans of this trace are recorded.
    pub sampled: bool,
}

/// The text is no `traceparent`. It is then left out, as the recommendation asks, and a new trace begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct BadTraceparent;

impl TraceContext {
    /// The beginning of a new trace.
    #[must_use]
    pub fn new_root(sampled: bool) -> Self {
        let [a, b] = [random().to_be_bytes(), random().to_be_bytes()];
        let mut trace_id = [0; 16];
        for (to, from) in trace_id.iter_mut().zip(a.into_iter().chain(b)) {
            *to = from;
        }
        Self { trace_id, span_id: random().to_be_bytes(), sampled }
    }

    /// A new span under this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: random().to_be_bytes(), ..*self }
    }

    /// The trace id as 32 hex digits.
    #[must_use]
    pub fn trace_id_hex(&self) -> String {
        hex(&self.trace_id)
    }

    /// The span id as 16 hex digits.
    #[must_use]
    pub fn span_id_hex(&self) -> String {
        hex(&self.span_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-0{}", self.trace_id_hex(), self.span_id_hex(), u8::from(self.sampled))
    }
}

impl FromStr for TraceContext {
    type Err = BadTraceparent;

    /// Versions above 00 are read as far as 00 goes, as the recommendation asks.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(5, '-');
        let mut next = || parts.next().ok_or(BadTraceparent);
        let [version] = unhex::<1>(next()?)?;
        let trace_id = unhex(next()?)?;
        let span_id = unhex(next()?)?;
        let [flags] = unhex::<1>(next()?)?;
        let more = parts.next().is_some();
        if version == 0xff || (version == 0 && more) || trace_id == [0; 16] || span_id == [0; 8] {
            return Err(BadTraceparent);
        }
        Ok(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex<const N: usize>(text: &str) -> Result<[u8; N], BadTraceparent> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(BadTraceparent),
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(BadTraceparent) };
    if pairs.len() != N {
        return Err(BadTraceparent);
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Ok(bytes)
}

/// Ids of traces need to be distinct, not secret: a counter per thread, mixed (SplitMix64), begun from the machine's randomness.
/// Never zero.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish());
    }
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).max(1)
}

#[cfg(test)]
mod tests {
    use super::{BadTraceparent, TraceContext};

    const SAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written_again() {
        let context: TraceContext = SAMPLE.parse().unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_string(), SAMPLE);
        assert_eq!(context.trace_id_hex(), "0af7651916cd43dd8448eb211c80319c");
        let child = context.child();
        assert_eq!((child.trace_id, child.sampled), (context.trace_id, true));
        assert_ne!(child.span_id, context.span_id);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_this_one_goes() {
        let later = SAMPLE.replacen("00", "01", 1) + "-more";
        assert_eq!(later.parse::<TraceContext>().unwrap().to_string(), SAMPLE);
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033311-01",
            "é0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(BadTraceparent), "{text}");
        }
    }

    #[test]
    fn roots_differ() {
        let ids: std::collections::HashSet<_> =
            (0..10_000).map(|_| TraceContext::new_root(false).trace_id).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
