//! Drives the official Rust SDK against one endpoint: lists, calls, and prints one JSON object with what it got.
//!
//! `rmcp-client URL KEY legacy|modern CALLS`, where CALLS is a JSON list of `[tool, arguments]`.

use std::error::Error;

use rmcp::model::{CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation, ProtocolVersion};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientLifecycleMode, ClientServiceExt as _};
use serde_json::{Map, Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "a TLS provider is installed")?;
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| args.next().ok_or(format!("missing argument: {what}"));
    let (url, key, era, calls) = (next("URL")?, next("KEY")?, next("era")?, next("CALLS")?);
    let calls: Vec<(String, Map<String, Value>)> = serde_json::from_str(&calls)?;
    let lifecycle = match era.as_str() {
        "legacy" => ClientLifecycleMode::Initialize,
        _ => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
    };
    let mut config = StreamableHttpClientTransportConfig::with_uri(url);
    config.auth_header = Some(key);
    let transport = StreamableHttpClientTransport::from_config(config);
    let identity = ClientConfig::new(ClientCapabilities::default(), Implementation::new("interop", "1.0.0"));
    let client = identity.serve_with_lifecycle(transport, lifecycle).await?;
    let tools: Vec<_> = client.list_all_tools().await?.into_iter().map(|tool| tool.name).collect();
    let mut results = Vec::new();
    for (name, arguments) in calls {
        let result = client.call_tool(CallToolRequestParams::new(name).with_arguments(arguments)).await;
        results.push(match result {
            Ok(result) => {
                let text =
                    result.content.iter().find_map(|part| part.as_text()).map(|text| text.text.clone());
                json!({ "error": result.is_error.unwrap_or(false), "text": text.unwrap_or_default() })
            }
            Err(error) => json!({ "code": 1, "text": error.to_string() }),
        });
    }
    #[allow(clippy::print_stdout, reason = "this program's output")]
    {
        println!("{}", json!({ "tools": tools, "results": results }));
    }
    client.cancel().await?;
    Ok(())
}
