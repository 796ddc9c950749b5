//! JSON-RPC messages put together around raw pieces, without parsing them again.

use serde_json::value::RawValue;

use crate::object::push_quoted;

/// `{"jsonrpc":"2.0","id":…,"method":…,"params":…}`.
#[must_use]
pub fn request(id: &RawValue, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let mut out = opening(Some(id), method.len() + params.map_or(0, |params| params.get().len()));
    push_call(&mut out, method, params.map(RawValue::get));
    out.into_bytes()
}

/// Something that is the text of one JSON value.
pub trait JsonText {
    /// The text.
    fn json(&self) -> &str;
}

impl JsonText for str {
    fn json(&self) -> &str {
        self
    }
}

impl JsonText for RawValue {
    fn json(&self) -> &str {
        self.get()
    }
}

impl JsonText for Box<RawValue> {
    fn json(&self) -> &str {
        self.get()
    }
}

/// `{"jsonrpc":"2.0","method":…,"params":…}`; `params` is the JSON text of an object.
#[must_use]
pub fn notification<P: JsonText + ?Sized>(method: &str, params: Option<&P>) -> Vec<u8> {
    let params = params.map(JsonText::json);
    let mut out = opening(None, method.len() + params.map_or(0, str::len));
    push_call(&mut out, method, params);
    out.into_bytes()
}

/// `{"jsonrpc":"2.0","id":…,"result":…}`; `result` is the JSON text of an object.
#[must_use]
pub fn result(id: &RawValue, result: &str) -> Vec<u8> {
    let mut out = opening(Some(id), result.len());
    out.push_str(",\"result\":");
    out.push_str(result);
    out.push('}');
    out.into_bytes()
}

/// `{"jsonrpc":"2.0","id":…,"error":…}`; `error` is the JSON text of an error object.
///
/// Without an id the member is left out: revisions up to 2025-06-18 say so in their transport pages, later ones in their schemas
/// too. `null` is allowed by none.
#[must_use]
pub fn raw_error(id: Option<&RawValue>, error: &str) -> Vec<u8> {
    let mut out = opening(id, error.len());
    out.push_str(",\"error\":");
    out.push_str(error);
    out.push('}');
    out.into_bytes()
}

/// An error of these parts in a response; `data` is JSON text.
#[must_use]
pub fn error(id: Option<&RawValue>, code: i64, message: &str, data: Option<&str>) -> Vec<u8> {
    raw_error(id, &error_object(code, message, data))
}

/// The JSON text of an error object; `data` is JSON text.
#[must_use]
pub fn error_object(code: i64, message: &str, data: Option<&str>) -> String {
    let mut out = format!("{{\"code\":{code},\"message\":");
    push_quoted(&mut out, message);
    if let Some(data) = data {
        out.push_str(",\"data\":");
        out.push_str(data);
    }
    out.push('}');
    out
}

fn opening(id: Option<&RawValue>, more: usize) -> String {
    let mut out = String::with_capacity(more + id.map_or(0, |id| id.get().len()) + 64);
    out.push_str("{\"jsonrpc\":\"2.0\"");
    if let Some(id) = id {
        out.push_str(",\"id\":");
        out.push_str(id.get());
    }
    out
}

fn push_call(out: &mut String, method: &str, params: Option<&str>) {
    out.push_str(",\"method\":");
    push_quoted(out, method);
    if let Some(params) = params {
        out.push_str(",\"params\":");
        out.push_str(params);
    }
    out.push('}');
}

#[cfg(test)]
mod tests;
