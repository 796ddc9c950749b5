//! The judgement that comes before any method: door, credential, path, and the form of the HTTP request.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, StatusCode, header, request};
use portcullis_mcp::headers::{METHOD, PROTOCOL_VERSION};
use portcullis_mcp::{Era, Method, era_of_request, respond};
use portcullis_policy::{Denial, Reason, Rule, Snapshot, View};
use serde_json::value::RawValue;

use super::answer::{self, HttpAnswer};
use super::{Gateway, route};
use crate::authn::{self, Authenticated};
use crate::pipeline::{Admitted, Arrival, Refused, Standpoint, Trace};

/// Bytes of all header names and values together.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// A request that somebody known sent to an endpoint that they reach.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) arrival: Arrival,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) caller: Authenticated,
    /// The endpoint, whoever looks at it: what this caller sees of it is known with its body.
    pub(super) view: Arc<View>,
    pub(super) headers: HeaderMap,
    /// The address that the request comes from, if it can be told.
    pub(super) network: Option<IpAddr>,
}

impl Entered {
    /// The request as the pipeline knows it, when its body was read and said how, and by which program, it was made.
    pub(super) fn admitted(
        &self,
        request_bytes: usize,
        era: Era,
        client_info: Option<&RawValue>,
    ) -> Arc<Admitted> {
        let text = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let standpoint = Standpoint::new(self.network, era, client_info);
        let circumstances = standpoint.circumstances(self.arrival.unix_ms, None);
        let view = self.snapshot.seen(&self.caller.principal, &self.view, &circumstances);
        Arc::new(Admitted {
            arrival: self.arrival,
            snapshot: Arc::clone(&self.snapshot),
            principal: Arc::clone(&self.caller.principal),
            credential: self.caller.credential,
            view,
            standpoint,
            request_bytes: request_bytes as u64,
            trace: Trace::new(text("traceparent"), text("tracestate")),
        })
    }
}

impl Entered {
    /// The request as far as its head says what it is, for the record of its refusal. `method` is that of HTTP.
    pub(super) fn refused(&self, method: &http::Method) -> Refused<'_> {
        let text = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        Refused {
            arrival: self.arrival,
            principal: &self.caller.principal,
            snapshot: self.snapshot.version(),
            method: method_of(&self.headers, method).into(),
            path: self.view.endpoint().to_string().into(),
            era: era_of_request(text(PROTOCOL_VERSION.as_str()), None),
            trace: Trace::new(text("traceparent"), text("tracestate")),
            bytes: 0,
        }
    }
}

impl Gateway {
    /// Who sends this, and where to. Nobody unknown makes us read a body.
    pub(super) fn enter(
        &self,
        arrival: Arrival,
        head: request::Parts,
        network: Option<IpAddr>,
    ) -> Result<Entered, Box<HttpAnswer>> {
        let metrics = self.pipeline().metrics();
        let away = |reason, answer| {
            metrics.turned_away(reason);
            Err(Box::new(answer))
        };
        if !self.doors().admits(&head.uri, &head.headers) {
            return away(Reason::MalformedRequest, answer::status(StatusCode::FORBIDDEN));
        }
        let Some(snapshot) = self.pipeline().live().load() else {
            let asked = respond::Asked {
                era: portcullis_mcp::Era::Legacy,
                id: None,
                subject: respond::Subject::Other,
                request_id: "",
            };
            let answer = respond::deny(Reason::SnapshotStale, &asked, &respond::Detail::default());
            return away(Reason::SnapshotStale, answer::of(answer));
        };
        let caller = match authn::authenticate(&snapshot, &head.headers, arrival.unix_ms) {
            Ok(caller) => caller,
            Err(reason) => return away(reason, answer::of(respond::unauthenticated(None))),
        };
        let view = match route::parse(head.uri.path()) {
            Some(endpoint) => snapshot.endpoint(&caller.principal, endpoint),
            None => Err(nowhere(&snapshot)),
        };
        let view = match view {
            Ok(view) => view,
            Err(denial) => {
                let answer = self.unreached(arrival, &caller, &head, &denial);
                return away(denial.reason, answer);
            }
        };
        let size: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let entered = Entered { arrival, snapshot, caller, view, headers: head.headers, network };
        if size > MAX_HEADER_BYTES {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Box::new(self.misshapen(&entered.refused(&head.method), status)));
        }
        Ok(entered)
    }
}

impl Gateway {
    /// Answers somebody known who asked for what their key does not reach: on record, since a key that feels its way around is
    /// worth knowing. What the answer says is the same for all of these.
    fn unreached(
        &self,
        arrival: Arrival,
        caller: &Authenticated,
        head: &request::Parts,
        denial: &Denial,
    ) -> HttpAnswer {
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let asked = Refused {
            arrival,
            principal: &caller.principal,
            snapshot: denial.snapshot,
            method: method_of(&head.headers, &head.method).into(),
            path: head.uri.path().into(),
            era: era_of_request(text(PROTOCOL_VERSION.as_str()), None),
            trace: Trace::new(text("traceparent"), text("tracestate")),
            bytes: 0,
        };
        let asked_of =
            respond::Asked { era: asked.era, id: None, subject: respond::Subject::Other, request_id: "" };
        match self.pipeline().record_refused(&asked, denial) {
            Ok(()) => answer::status(StatusCode::NOT_FOUND),
            Err(_) => {
                self.metrics().records_lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                answer::of(respond::deny(Reason::AuditUnavailable, &asked_of, &respond::Detail::default()))
            }
        }
    }
}

/// A path that is no endpoint at all.
fn nowhere(snapshot: &Snapshot) -> Denial {
    Denial {
        reason: Reason::UnknownEndpoint,
        rule: Rule::closed(),
        snapshot: snapshot.version(),
        server: None,
        tool: None,
        zone: None,
        shadow: portcullis_policy::Shadow::default(),
    }
}

/// The method that a head names: MCP's where it is one, else HTTP's.
fn method_of(headers: &HeaderMap, method: &http::Method) -> &'static str {
    let named = headers.get(METHOD).and_then(|value| value.to_str().ok()).and_then(Method::parse);
    named.map_or_else(|| http_method(method), Method::as_str)
}

/// HTTP's method, where it is one that a caller of MCP has.
const fn http_method(method: &http::Method) -> &'static str {
    match *method {
        http::Method::POST => "POST",
        http::Method::GET => "GET",
        http::Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// What a POST must look like before its body is read: 415 and 406.
pub(super) fn check_post(headers: &HeaderMap) -> Result<(), StatusCode> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let encoded = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity");
    if !kind.eq_ignore_ascii_case("application/json") || encoded {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let both = || accepts(headers, "application", "json") && accepts(headers, "text", "event-stream");
    if says_both(headers) || both() { Ok(()) } else { Err(StatusCode::NOT_ACCEPTABLE) }
}

/// The one line that nearly every client sends: recognised without being taken apart.
fn says_both(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter();
    matches!((values.next(), values.next()), (Some(value), None) if value == "application/json, text/event-stream")
}

/// Whether a GET wants what a GET gives.
pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    accepts(headers, "text", "event-stream")
}

/// RFC 9110, Accept: a range that fits and is not weighted zero. No header accepts everything.
fn accepts(headers: &HeaderMap, kind: &str, sub: &str) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let (of, subs) = parts.next().and_then(|name| name.split_once('/')).unwrap_or_default();
        let fits =
            (of == "*" || of.eq_ignore_ascii_case(kind)) && (subs == "*" || subs.eq_ignore_ascii_case(sub));
        let refused = parts.any(|parameter| {
            parameter
                .strip_prefix("q=")
                .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
        });
        fits && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> Result<(), StatusCode> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        headers.insert(header::ACCEPT, value.parse().unwrap());
        check_post(&headers)
    }

    #[test]
    fn both_kinds_of_answer_must_be_acceptable() {
        for value in [
            "application/json, text/event-stream",
            "text/event-stream;q=0.5,APPLICATION/JSON",
            "*/*",
            "application/*, text/*;q=0.1",
        ] {
            assert_eq!(accept(value), Ok(()), "{value}");
        }
        for value in
            ["application/json", "text/event-stream", "text/html", "application/json, text/event-stream;q=0"]
        {
            assert_eq!(accept(value), Err(StatusCode::NOT_ACCEPTABLE), "{value}");
        }
    }

    #[test]
    fn only_plain_json_is_a_body() {
        for (name, value, ok) in [
            ("content-type", "application/json; charset=utf-8", true),
            ("content-type", "APPLICATION/JSON", true),
            ("content-type", "text/plain", false),
            ("content-type", "application/jsonp", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(check_post(&headers).is_ok(), ok, "{value}");
        }
        let mut headers = HeaderMap::new();
        assert!(check_post(&headers).is_err());
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert("content-encoding", "gzip".parse().unwrap());
        assert_eq!(check_post(&headers), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
}
