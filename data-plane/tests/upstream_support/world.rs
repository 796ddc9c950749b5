//! A snapshot with one server and one key, and permits made by the policy itself.

use std::sync::Arc;

use portcullis_data_plane::sync::{SecretValue, Secrets, SecretsHandle};
use portcullis_data_plane::upstream::{
    Call, Caller, Exchange, Listen, Reply, UpstreamConfig, UpstreamError, Upstreams,
};
use portcullis_mcp::Era;
use portcullis_policy::resource::Uid;
use portcullis_policy::{
    Circumstances, EndpointRef, Entry, Permit, Snapshot, SnapshotHeader, SnapshotVersion,
};
use portcullis_seal::{Fingerprint, sha256};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A uid that is always the same for a label.
pub fn uid(label: &str) -> Uid {
    let digest = sha256(label.as_bytes());
    Uid(uuid::Uuid::from_slice(&digest[..16]).unwrap())
}

/// JSON kept as text.
pub fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap()
}

fn entry(kind: &str, body: &Value) -> Entry {
    Entry::decode(kind, body.to_string().as_bytes()).unwrap()
}

/// A server entry; `more` replaces members.
pub fn server(transport: &Value, more: &Value) -> Value {
    let mut body = json!({
        "uid": uid("server"), "name": "server", "zone": "default", "transport": transport,
        "hosting": "self", "environment": "prod", "tier": "bronze", "dataClasses": [], "auth": { "none": {} },
        "limits": { "timeout": "5s", "maxRequestBytes": "1MiB", "maxResponseBytes": "1MiB", "concurrency": 64 },
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A server over HTTP.
pub fn http(url: &str, more: &Value) -> Value {
    server(&json!({ "streamableHttp": { "url": url } }), more)
}

fn tool(name: &str, definition: &Value) -> Entry {
    let text = portcullis_seal::to_canonical_json(definition).unwrap();
    let pin = Fingerprint::from_bytes(sha256(text.as_bytes()));
    entry(
        "tool",
        &json!({ "server": uid("server"), "name": name,
            "state": { "approved": { "pin": pin, "definition": definition } } }),
    )
}

/// A snapshot with the server, the tools `echo` and `region` (which mirrors an argument into a header), and keys `k` and `other`.
pub fn snapshot(version: u64, server: Option<&Value>) -> Snapshot {
    let mut entries = Vec::new();
    let mut grants = json!([]);
    if let Some(body) = server {
        entries.push(entry("server", body));
        entries.push(tool("echo", &json!({ "name": "echo", "inputSchema": { "type": "object" } })));
        let schema = json!({ "type": "object", "properties": { "region": { "type": "string", "x-mcp-header": "Region" } } });
        entries.push(tool("region", &json!({ "name": "region", "inputSchema": schema })));
        grants = json!([{ "server": "server", "allow": ["*"], "prompts": ["*"], "resources": ["*"] }]);
    }
    for key in ["k", "other"] {
        let hash = Fingerprint::from_bytes(sha256(key.as_bytes()));
        entries.push(entry(
            "key",
            &json!({ "uid": uid(key), "name": key, "zone": "default", "grants": grants,
                "secrets": [{ "hash": hash }], "principal": { "kind": "agent", "subject": key } }),
        ));
    }
    let header = SnapshotHeader {
        version: SnapshotVersion(version),
        digest: Fingerprint::from_bytes([0; 32]),
        built_unix_ms: 0,
        entries: u32::try_from(entries.len()).unwrap(),
    };
    Snapshot::compile(header, entries).unwrap()
}

/// One data plane's upstreams with one server.
pub struct World {
    pub upstreams: Upstreams,
    pub snapshot: Arc<Snapshot>,
    pub secrets: SecretsHandle,
}

impl World {
    pub fn new(server: &Value) -> Self {
        Self::with(server, UpstreamConfig::default())
    }

    pub fn with(server: &Value, config: UpstreamConfig) -> Self {
        let secrets = SecretsHandle::default();
        let upstreams = Upstreams::new(config, secrets.clone());
        Self { upstreams, snapshot: Arc::new(snapshot(1, Some(server))), secrets }
    }

    /// The same with another server entry in a newer snapshot, as after a swap.
    pub fn swap(&mut self, version: u64, server: Option<&Value>) {
        self.snapshot = Arc::new(snapshot(version, server));
        self.upstreams.retain(&self.snapshot);
    }

    pub fn set_secret(&self, name: &str, value: &str) {
        let mut secrets = Secrets { generation: 1, ..Secrets::default() };
        secrets.values.insert(name.parse().unwrap(), SecretValue::new(value.as_bytes().to_vec()));
        self.secrets.swap(secrets);
    }

    fn permit_of(&self, key: &str, tool: Option<&str>) -> Permit {
        let hash = Fingerprint::from_bytes(sha256(key.as_bytes()));
        let principal = self.snapshot.authenticate(&hash, 0).unwrap();
        let view = self.snapshot.endpoint(&principal, EndpointRef::Server("server")).unwrap();
        match tool {
            Some(tool) => self.snapshot.decide_tool(&principal, &view, tool, &Circumstances::at(0)).unwrap(),
            None => self.snapshot.decide_server(&principal, &view, "server", &Circumstances::at(0)).unwrap(),
        }
    }

    /// A permit to speak to the server.
    pub fn permit(&self) -> Permit {
        self.permit_of("k", None)
    }

    /// A permit for the tool that the call names, or to speak to the server.
    fn permit_for(&self, call: &Call) -> Permit {
        let params: Option<Value> =
            call.params.as_deref().map(|raw| serde_json::from_str(raw.get()).unwrap());
        let name = params.as_ref().and_then(|params| params["name"].as_str());
        let key = if call.caller.principal == uid("other") { "other" } else { "k" };
        self.permit_of(key, name.filter(|_| call.method == "tools/call"))
    }

    pub async fn request(&self, call: Call) -> Result<Exchange, UpstreamError> {
        let permit = self.permit_for(&call);
        self.upstreams.request(permit.with(call)).await
    }

    pub async fn notify(&self, call: Call) -> Result<(), UpstreamError> {
        self.upstreams.notify(self.permit().with(call)).await
    }

    pub async fn reply(&self, reply: Reply) -> Result<(), UpstreamError> {
        self.upstreams.reply(self.permit().with(reply)).await
    }

    pub async fn listen(
        &self,
        listen: Listen,
    ) -> Result<portcullis_data_plane::upstream::EventStream, UpstreamError> {
        self.upstreams.listen(self.permit().with(listen)).await
    }
}

/// A legacy caller in a session.
pub fn legacy_caller(session: u8) -> Caller {
    Caller {
        principal: uid("k"),
        client_session: Some([session; 16]),
        era: Era::Legacy,
        protocol_version: "2025-11-25".to_owned(),
        client_info: Some(raw(&json!({ "name": "client", "version": "9" }))),
        capabilities: raw(&json!({ "elicitation": {}, "roots": { "listChanged": true } })),
        log_level: None,
        traceparent: None,
        tracestate: None,
    }
}

/// A modern caller.
pub fn modern_caller() -> Caller {
    Caller {
        client_session: None,
        era: Era::Modern,
        protocol_version: "2026-07-28".to_owned(),
        ..legacy_caller(0)
    }
}

/// A call.
pub fn call(caller: Caller, method: &'static str, params: &Value) -> Call {
    Call { method: method.into(), params: (!params.is_null()).then(|| raw(params)), told: false, caller }
}

/// A call of the tool `echo`.
pub fn echo(caller: Caller) -> Call {
    call(caller, "tools/call", &json!({ "name": "echo", "arguments": { "text": "hi" } }))
}

/// What listens to everything.
pub fn listen(caller: Caller) -> Listen {
    Listen {
        caller,
        tools_list_changed: true,
        prompts_list_changed: true,
        resources_list_changed: true,
        resource_subscriptions: Vec::new(),
    }
}
