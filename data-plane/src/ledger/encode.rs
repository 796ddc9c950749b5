//! The JSON text of a record, put together by hand: the same members as by its `Serialize`, for a third of the work. It is done
//! for every call.

use portcullis_mcp::object::push_quoted;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::record::{
    ApprovalFacts, AuditRecord, KeyFacts, LatencySplit, PrincipalFacts, Sizes, SpentFacts, SpentLine,
    UpstreamFacts, text,
};

/// Appends the record as one JSON object.
pub(super) fn push(record: &AuditRecord, out: &mut Vec<u8>) {
    // Named one by one, so that a member that is added cannot be forgotten here.
    let AuditRecord {
        request_id,
        time,
        method,
        endpoint,
        era,
        decision,
        reason,
        rule,
        shadow,
        approval,
        snapshot_version,
        principal: PrincipalFacts { kind, subject },
        key: KeyFacts { name: key_name, uid: key_uid },
        team,
        customer,
        server,
        zone,
        tool,
        prompt,
        resource,
        exposed_name,
        client_hint,
        latency_micros: LatencySplit { total, decide, upstream: waited },
        bytes: Sizes { request, response },
        upstream,
        outcome,
        cost_micro_usd,
        spent,
        trace_id,
        span_id,
        truncated,
    } = record;
    let mut object = Object::open(out);
    object.uuid("requestId", request_id);
    match text::rfc3339(time) {
        Some(digits) => object.bare_text("time", &digits),
        None => object.text("time", &time.format("%+").to_string()),
    }
    object.text("method", method);
    object.text("endpoint", endpoint);
    object.text("era", era);
    object.text("decision", decision.as_str());
    object.maybe("reason", reason.map(portcullis_policy::Reason::code));
    object.maybe("rule", rule.as_deref());
    object.texts("shadow", shadow);
    if let Some(approval) = approval {
        let ApprovalFacts { id, by } = &**approval;
        object.object("approval", |object| {
            object.text("id", id);
            object.maybe("by", by.as_ref());
        });
    }
    object.number("snapshotVersion", *snapshot_version);
    object.object("principal", |object| {
        object.text("kind", kind.as_str());
        object.text("subject", subject);
    });
    object.object("key", |object| {
        object.text("name", key_name.as_str());
        object.uuid("uid", &key_uid.0);
    });
    object.maybe("team", team.as_ref());
    object.maybe("customer", customer.as_ref());
    object.maybe("server", server.as_ref());
    object.maybe("zone", zone.as_ref());
    object.maybe("tool", tool.as_ref());
    object.maybe("prompt", prompt.as_ref());
    object.maybe("resource", resource.as_ref());
    object.maybe("exposedName", exposed_name.as_ref());
    object.maybe("clientHint", client_hint.as_ref());
    object.object("latencyMicros", |object| {
        object.number("total", *total);
        object.number("decide", *decide);
        object.number("upstream", *waited);
    });
    object.object("bytes", |object| {
        object.number("request", *request);
        object.number("response", *response);
    });
    if let Some(UpstreamFacts { status, era }) = upstream {
        object.object("upstream", |object| {
            if let Some(status) = status {
                object.number("status", u64::from(*status));
            }
            object.maybe("era", era.as_ref());
        });
    }
    object.text("outcome", outcome.as_str());
    if let Some(cost) = cost_micro_usd {
        object.number("costMicroUsd", *cost);
    }
    if let Some(spent) = spent {
        let SpentFacts { plane, life, accounts } = &**spent;
        object.object("spent", |object| {
            object.uuid("plane", plane);
            object.number("life", u64::from(*life));
            object.objects("accounts", accounts, |object, SpentLine { account, epoch, spent }| {
                object.text("account", account);
                object.number("epoch", u64::from(*epoch));
                object.number("spent", *spent);
            });
        });
    }
    object.maybe("traceId", trace_id.as_ref());
    object.maybe("spanId", span_id.as_ref());
    object.texts("truncated", truncated);
    object.close();
}

/// An object that is being written. Names are plain: nothing in them is escaped.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    before: u8,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        Self { out, before: b'{' }
    }

    fn close(self) {
        if self.before == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }

    fn name(&mut self, name: &'static str) {
        self.out.extend_from_slice(&[self.before, b'"']);
        self.before = b',';
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        push_quoted(self.out, text);
    }

    fn maybe(&mut self, name: &'static str, text: Option<impl AsRef<str>>) {
        if let Some(text) = text {
            self.text(name, text.as_ref());
        }
    }

    /// Text in which nothing needs an escape.
    fn bare_text(&mut self, name: &'static str, text: &[u8]) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
    }

    fn uuid(&mut self, name: &'static str, uuid: &Uuid) {
        let mut text = [0; Hyphenated::LENGTH];
        let text = uuid.as_hyphenated().encode_lower(&mut text);
        self.bare_text(name, text.as_bytes());
    }

    /// Nothing where there are none.
    fn texts(&mut self, name: &'static str, texts: &[impl AsRef<str>]) {
        let Some((first, rest)) = texts.split_first() else { return };
        self.name(name);
        self.out.push(b'[');
        push_quoted(self.out, first.as_ref());
        for text in rest {
            self.out.push(b',');
            push_quoted(self.out, text.as_ref());
        }
        self.out.push(b']');
    }

    fn number(&mut self, name: &'static str, mut number: u64) {
        self.name(name);
        let mut digits = [b'0'; 20];
        let mut length = 1;
        for (at, digit) in digits.iter_mut().rev().enumerate() {
            if number == 0 {
                break;
            }
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            length = at + 1;
        }
        self.out.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
    }

    fn objects<T>(&mut self, name: &'static str, all: &[T], members: impl Fn(&mut Object<'_>, &T)) {
        self.name(name);
        self.out.push(b'[');
        for (at, one) in all.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            let mut object = Object::open(self.out);
            members(&mut object, one);
            object.close();
        }
        self.out.push(b']');
    }

    fn object(&mut self, name: &'static str, members: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        let mut object = Object::open(self.out);
        members(&mut object);
        object.close();
    }
}

#[cfg(test)]
mod tests;
