//! The demo server: a few harmless tools, a prompt and a resource, over stdio or Streamable HTTP, in both eras.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, GetPromptRequestParams,
    GetPromptResponse, GetPromptResult, Implementation, ListPromptsResult, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, Prompt, PromptArgument,
    PromptMessage, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource,
    ResourceContents, Role, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, ServiceExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::args::DemoServerArgs;
use crate::failure::Failure;
use crate::output;
use crate::run::{ready, refuse_plain};

const ABOUT: &str = "demo://about";
const MAX_COUNT: i64 = 100;

#[derive(Debug, Clone, Default)]
pub(crate) struct DemoServer;

pub(crate) async fn run(args: DemoServerArgs) -> Result<(), Failure> {
    match args.listen {
        None => {
            let service = DemoServer
                .serve(rmcp::transport::stdio())
                .await
                .map_err(|error| Failure::of("demo server over stdio", error))?;
            service.waiting().await.map_err(|error| Failure::of("demo server over stdio", error))?;
            Ok(())
        }
        Some(address) => {
            refuse_plain("--listen", address, "")?;
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| Failure::of(format!("--listen {address}"), error))?;
            let url = format!("http://{}/mcp", listener.local_addr()?);
            let content = json!({ "mcpUrl": url });
            let _ready = args.ready_file.as_deref().map(|file| ready::write(file, &content)).transpose()?;
            output::note(&format!("demo server at {url}"));
            serve_http(listener).await
        }
    }
}

async fn serve_http(listener: TcpListener) -> Result<(), Failure> {
    let service = StreamableHttpService::new(
        || Ok(DemoServer),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            // A connection that breaks concerns nobody else.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn tools() -> Vec<Tool> {
    let schema = |value: Value| match value {
        Value::Object(object) => object,
        _ => serde_json::Map::new(),
    };
    let read_only = || ToolAnnotations::new().read_only(true).open_world(false);
    vec![
        Tool::new(
            "add",
            "Adds two numbers.",
            schema(json!({
                "type": "object",
                "properties": { "a": { "type": "number" }, "b": { "type": "number" } },
                "required": ["a", "b"],
            })),
        )
        .annotate(read_only()),
        Tool::new(
            "count",
            "Counts to a number, a step each tenth of a second, and reports progress.",
            schema(json!({
                "type": "object",
                "properties": { "to": { "type": "integer", "minimum": 1, "maximum": MAX_COUNT } },
                "required": ["to"],
            })),
        )
        .annotate(read_only()),
        Tool::new(
            "echo",
            "Says back what it is told.",
            schema(json!({
                "type": "object",
                "properties": { "text": { "type": "string" } },
                "required": ["text"],
            })),
        )
        .annotate(read_only()),
        Tool::new(
            "wipe",
            "Pretends to delete everything. The demo key does not grant it.",
            schema(json!({ "type": "object", "properties": {} })),
        )
        .annotate(ToolAnnotations::new().read_only(false).destructive(true)),
    ]
}

fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn invalid(message: &'static str) -> ErrorData {
    ErrorData::invalid_params(message, None)
}

async fn count(to: i64, context: &RequestContext<RoleServer>) -> Result<CallToolResult, ErrorData> {
    for step in 1..=to {
        tokio::select! {
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("cancelled", None)),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        if let Some(token) = context.meta.get_progress_token() {
            #[allow(clippy::cast_precision_loss, reason = "at most MAX_COUNT")]
            let progress = ProgressNotificationParam::new(token, step as f64).with_total(to as f64);
            // A caller that no longer listens still gets its result.
            let _ = context.peer.notify_progress(progress).await;
        }
    }
    Ok(text(format!("counted to {to}")))
}

impl ServerHandler for DemoServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder().enable_tools().enable_prompts().enable_resources().build(),
        )
        .with_server_info(Implementation::new("portcullis-demo", env!("CARGO_PKG_VERSION")))
        .with_instructions("A demonstration: nothing here touches anything real.")
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let result = match request.name.as_ref() {
            "add" => {
                let number = |name| arguments.get(name).and_then(Value::as_f64);
                let (Some(a), Some(b)) = (number("a"), number("b")) else {
                    return Err(invalid("add takes two numbers, a and b"));
                };
                text((a + b).to_string())
            }
            "echo" => text(
                arguments.get("text").and_then(Value::as_str).ok_or_else(|| invalid("echo takes a text"))?,
            ),
            "count" => {
                let to =
                    arguments.get("to").and_then(Value::as_i64).filter(|to| (1..=MAX_COUNT).contains(to));
                count(to.ok_or_else(|| invalid("count takes a whole number from 1 to 100"))?, &context)
                    .await?
            }
            "wipe" => text("nothing was deleted: this is a demonstration"),
            _ => return Err(ErrorData::invalid_params(format!("Unknown tool: {}", request.name), None)),
        };
        Ok(result.into())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let name = PromptArgument::new("name").with_description("Whom to greet.").with_required(true);
        Ok(ListPromptsResult::with_all_items(vec![Prompt::new(
            "greet",
            Some("Greets somebody."),
            Some(vec![name]),
        )]))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let name =
            request.arguments.as_ref().and_then(|arguments| arguments.get("name")).and_then(Value::as_str);
        match (request.name.as_str(), name) {
            ("greet", Some(name)) => Ok(GetPromptResult::new(vec![PromptMessage::new_text(
                Role::User,
                format!("Greet {name} warmly."),
            )])
            .into()),
            ("greet", None) => Err(invalid("greet takes a name")),
            _ => Err(ErrorData::invalid_params(format!("Unknown prompt: {}", request.name), None)),
        }
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(vec![Resource::new(ABOUT, "about")]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != ABOUT {
            return Err(ErrorData::resource_not_found(
                "Resource not found",
                Some(json!({ "uri": request.uri })),
            ));
        }
        let about = ResourceContents::text("The demo server of Portcullis.", ABOUT);
        Ok(ReadResourceResult::new(vec![about]).into())
    }
}
