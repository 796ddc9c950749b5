//! What is known of one request before its method matters: who, where, when, and what the caller's program says of itself.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use portcullis_mcp::{Era, Method, Params, Span, object};
use portcullis_policy::{Circumstances, ClientHint, Principal, Snapshot, View};
use portcullis_seal::Fingerprint;
use serde_json::value::RawValue;
use uuid::{NoContext, Timestamp, Uuid};

/// Milliseconds since the Unix epoch, as a thing that tests own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Clock {
    /// A clock that asks this function for milliseconds since the Unix epoch.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// Now.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        (self.0)()
    }
}

/// When a request arrived, and the id under which it is answered and recorded.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// `X-Request-Id`: a UUIDv7.
    pub request_id: Uuid,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The same moment, for durations.
    pub at: Instant,
}

impl Arrival {
    /// A request arrives now.
    #[must_use]
    pub fn now(clock: &Clock) -> Self {
        let unix_ms = clock.unix_ms();
        let nanos = u32::try_from(unix_ms % 1000 * 1_000_000).unwrap_or(0);
        // No shared counter: order within a millisecond is not worth a lock between requests.
        let request_id = Uuid::new_v7(Timestamp::from_unix(NoContext, unix_ms / 1000, nanos));
        Self { request_id, unix_ms, at: Instant::now() }
    }
}

/// A request whose sender is known and whose endpoint it reaches.
#[derive(Debug)]
pub struct Admitted {
    /// When, and under which id.
    pub arrival: Arrival,
    /// The snapshot that serves the whole request.
    pub snapshot: Arc<Snapshot>,
    /// Who calls.
    pub principal: Arc<Principal>,
    /// The hash of the credential.
    pub credential: Fingerprint,
    /// What the caller sees at this endpoint.
    pub view: Arc<View>,
    /// From where and how it calls.
    pub standpoint: Standpoint,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// W3C trace context of the request's headers.
    pub trace: Trace,
}

impl Admitted {
    /// What a decision about this request knows, at a time and with arguments.
    #[must_use]
    pub fn circumstances<'a>(
        &'a self,
        now_unix_ms: u64,
        arguments: Option<&'a RawValue>,
    ) -> Circumstances<'a> {
        self.standpoint.circumstances(now_unix_ms, arguments)
    }
}

/// What is known of a caller beside its key. It stays the same for as long as what was asked for goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standpoint {
    /// The address that it calls from, if it can be told.
    pub network: Option<IpAddr>,
    /// The era of its request.
    pub era: Era,
    /// What its program says of itself.
    pub program: Option<Program>,
}

/// `clientInfo`, as far as rules read it. Nobody proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
}

/// The longest name or version of a program that is believed to be one, in bytes.
const MAX_PROGRAM_TEXT: usize = 512;

impl Program {
    fn named(info: &RawValue) -> Option<Self> {
        let [name, version] = object::pick(info, ["name", "version"])?;
        let text = |value| object::string(value).filter(|text| text.len() <= MAX_PROGRAM_TEXT);
        let name = text(name?)?.into_owned();
        let version = match version.filter(|version| version.get() != "null") {
            Some(version) => Some(text(version)?.into_owned()),
            None => None,
        };
        Some(Self { name, version })
    }
}

impl Standpoint {
    /// With the program that `clientInfo` names. One without a name, or with texts too long to be a name or a version, names
    /// none.
    #[must_use]
    pub fn new(network: Option<IpAddr>, era: Era, client_info: Option<&RawValue>) -> Self {
        Self { network, era, program: client_info.and_then(Program::named) }
    }

    /// What a decision knows of a call from here.
    #[must_use]
    pub fn circumstances<'a>(
        &'a self,
        now_unix_ms: u64,
        arguments: Option<&'a RawValue>,
    ) -> Circumstances<'a> {
        let hint =
            |program: &'a Program| ClientHint { name: &program.name, version: program.version.as_deref() };
        Circumstances {
            now_unix_ms,
            network: self.network,
            era: Some(self.era),
            client: self.program.as_ref().map(hint),
            arguments,
        }
    }
}

/// W3C trace context, passed on and recorded. Anything that has not its form is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// `traceparent`.
    pub parent: Option<String>,
    /// `tracestate`; only ever beside a `traceparent`.
    pub state: Option<String>,
}

impl Trace {
    /// From the values of a carrier.
    #[must_use]
    pub fn new(parent: Option<&str>, state: Option<&str>) -> Self {
        let parent = parent.filter(|text| is_traceparent(text)).map(str::to_owned);
        let state = state.filter(|text| parent.is_some() && text.len() <= 512).map(str::to_owned);
        Self { parent, state }
    }

    /// The trace id, 32 hex digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.parent.as_deref()?.get(3..35)
    }

    /// The id of the caller's span, 16 hex digits.
    #[must_use]
    pub fn span_id(&self) -> Option<&str> {
        self.parent.as_deref()?.get(36..52)
    }
}

/// `00-{32 hex}-{16 hex}-{2 hex}`, lower case, neither id all zero (W3C Trace Context, traceparent).
fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut hex = |length: usize, zero_ok: bool| {
        parts.next().is_some_and(|part| {
            part.len() == length
                && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                && (zero_ok || part.bytes().any(|byte| byte != b'0'))
        })
    };
    text.len() == 55
        && !text.starts_with("ff")
        && hex(2, true)
        && hex(32, false)
        && hex(16, false)
        && hex(2, true)
}

/// The program that calls, in its own words. None of it decides anything.
#[derive(Debug, Clone)]
pub struct Client {
    /// The era of its request.
    pub era: Era,
    /// The revision of its request.
    pub version: String,
    /// The inner id of its legacy session.
    pub session: Option<[u8; 16]>,
    /// Its `clientInfo`.
    pub info: Option<Box<RawValue>>,
    /// Its capabilities.
    pub capabilities: Box<RawValue>,
    /// The least severe log level that it wants.
    pub log_level: Option<String>,
    /// Trace context to pass on.
    pub trace: Trace,
    /// Whether `_meta` of its request says all this in the words of its revision, so that it may be passed on as it is.
    pub says_so: bool,
}

/// One request of a caller, taken out of the buffer it came in.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its id, as it came.
    pub id: Box<RawValue>,
    /// `params.name`.
    pub name: Option<String>,
    /// `params.uri`.
    pub uri: Option<String>,
    /// `params.cursor`.
    pub cursor: Option<String>,
    /// `params.requestState`.
    pub request_state: Option<String>,
    /// `params`, as they came.
    pub params: Option<Box<RawValue>>,
    name_span: Option<Span>,
    arguments_span: Option<Span>,
}

impl Request {
    /// Takes a request out of its buffer.
    #[must_use]
    pub fn new(method: Method, id: &RawValue, params: &Params<'_>) -> Self {
        let owned = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let span = |member: Option<&RawValue>| Span::of(member?, params.raw?);
        Self {
            method,
            id: id.to_owned(),
            name: owned(&params.name),
            uri: owned(&params.uri),
            cursor: owned(&params.cursor),
            request_state: owned(&params.request_state),
            params: params.raw.map(ToOwned::to_owned),
            name_span: span(params.raw_name),
            arguments_span: span(params.arguments),
        }
    }

    /// `params` with another name.
    pub(super) fn renamed(&self, name: &str) -> Option<Box<RawValue>> {
        self.name_span?.with_string(self.params.as_deref()?, name)
    }

    /// `params.arguments`, as they came. A call of a tool or a prompt that has none is one with no members: what is not sent is
    /// known to be nothing.
    #[must_use]
    pub fn arguments(&self) -> Option<&RawValue> {
        let sent = self.arguments_span.and_then(|span| span.value(self.params.as_deref()?));
        let known = matches!(self.method, Method::ToolsCall | Method::PromptsGet);
        sent.or_else(|| known.then(|| &**NO_ARGUMENTS))
    }
}

static NO_ARGUMENTS: LazyLock<Box<RawValue>> = LazyLock::new(empty_object);

/// `{}` as a raw value.
#[must_use]
pub fn empty_object() -> Box<RawValue> {
    // Two bytes of valid JSON; the other arm cannot be reached.
    RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standpoint_knows_the_program_that_names_itself_and_no_other() {
        let of = |text: &str| {
            let info = RawValue::from_string(text.to_owned()).unwrap();
            Standpoint::new(None, Era::Modern, Some(&info)).program
        };
        let program = |name: &str, version: Option<&str>| {
            Some(Program { name: name.to_owned(), version: version.map(str::to_owned) })
        };
        assert_eq!(of(r#"{"name":"ide","version":"1.2"}"#), program("ide", Some("1.2")));
        assert_eq!(of(r#"{"name":"\u0069de"}"#), program("ide", None));
        let long = "x".repeat(513);
        for nobody in ["{}", "[]", r#"{"name":1}"#, r#"{"version":"1"}"#, &format!("{{\"name\":\"{long}\"}}")]
        {
            assert_eq!(of(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn only_well_formed_trace_context_is_passed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
        let trace = Trace::new(Some(good), Some("a=b"));
        assert_eq!(trace.trace_id(), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(trace.span_id(), Some("00f067aa0ba902b7"));
        assert_eq!(trace.state.as_deref(), Some("a=b"));
        for bad in [
            "",
            "00-0AF7651916CD43DD8448EB211C80319C-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
            "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(Trace::new(Some(bad), Some("a=b")), Trace::default(), "{bad}");
        }
    }

    #[test]
    fn request_ids_are_version_7_and_carry_the_time() {
        let arrival = Arrival::now(&Clock::new(|| 1_700_000_000_123));
        assert_eq!(arrival.request_id.get_version_num(), 7);
        let (seconds, nanos) = arrival.request_id.get_timestamp().unwrap().to_unix();
        assert_eq!(seconds * 1000 + u64::from(nanos) / 1_000_000, 1_700_000_000_123);
    }
}
