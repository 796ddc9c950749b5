use http::StatusCode;
use serde_json::Value;

use super::*;
use crate::envelope::{Message, parse};

const FULL: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
const FUTURE: &str = r#"{"io.modelcontextprotocol/protocolVersion":"v999.0.0","io.modelcontextprotocol/clientCapabilities":{}}"#;

fn outcome(headers: &[(&'static str, &str)], params: &str) -> Result<Revision, (StatusCode, i64)> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#);
    let Ok(Message::Request { id, method, params }) = parse(body.as_bytes()) else { panic!("{body}") };
    check_modern(&map, id, &method, &params).map_err(|answer| {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["id"], 7);
        (answer.status, body["error"]["code"].as_i64().unwrap())
    })
}

#[test]
fn each_fault_has_its_code_and_the_first_in_order_is_told() {
    let good = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "t")];
    let bad = |code| Err((StatusCode::BAD_REQUEST, code));
    let with = |meta: &str| format!(r#"{{"name":"t","_meta":{meta}}}"#);
    let no_capabilities = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    let no_version = r#"{"io.modelcontextprotocol/clientCapabilities":{}}"#;

    assert_eq!(outcome(&good, &with(FULL)), Ok(Revision::V2026_07_28));
    assert_eq!(outcome(&good, r#"{"name":"t"}"#), bad(-32602));
    assert_eq!(outcome(&good, &with(no_version)), bad(-32602));
    assert_eq!(outcome(&good, &with(no_capabilities)), bad(-32602));
    assert_eq!(outcome(&[], &with(no_capabilities)), bad(-32602));
    assert_eq!(outcome(&good[1..], &with(FULL)), bad(-32020));
    assert_eq!(outcome(&good, &with(FUTURE)), bad(-32020));
    assert_eq!(outcome(&[("mcp-protocol-version", "v999.0.0")], &with(FUTURE)), bad(-32022));
    assert_eq!(outcome(&good[..2], &with(FULL)), bad(-32020));
    assert_eq!(outcome(&[good[0], ("mcp-method", "tools/list"), good[2]], &with(FULL)), bad(-32020));
}
