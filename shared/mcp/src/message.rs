//! JSON-RPC messages put together around raw pieces, without parsing them again.

use serde_json::value::RawValue;

/// `{"jsonrpc":"2.0","id":…,"method":…,"params":…}`.
#[must_use]
pub fn request(id: &RawValue, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let _ = (id, method, params);
    todo!()
}

/// `{"jsonrpc":"2.0","method":…,"params":…}`.
#[must_use]
pub fn notification(method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let _ = (method, params);
    todo!()
}

/// `{"jsonrpc":"2.0","id":…,"result":…}`; `result` is the JSON text of an object.
#[must_use]
pub fn result(id: &RawValue, result: &str) -> Vec<u8> {
    let _ = (id, result);
    todo!()
}

/// `{"jsonrpc":"2.0","id":…,"error":…}`; `error` is the JSON text of an error object. The id is left out when there is none.
#[must_use]
pub fn raw_error(id: Option<&RawValue>, error: &str) -> Vec<u8> {
    let _ = (id, error);
    todo!()
}

/// An error object of these parts in a response; `data` is JSON text.
#[must_use]
pub fn error(id: Option<&RawValue>, code: i64, message: &str, data: Option<&str>) -> Vec<u8> {
    let _ = (id, code, message, data);
    todo!()
}
