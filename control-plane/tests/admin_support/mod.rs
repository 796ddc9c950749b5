//! A whole control plane in a throwaway directory, spoken to over a real gRPC connection.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_control_plane::{Clock, Config, Running, start};
use portcullis_proto::admin::v1 as proto;
use prost::Message as _;
use proto::keys_client::KeysClient;
use proto::policy_client::PolicyClient;
use proto::resources_client::ResourcesClient;
use proto::secrets_client::SecretsClient;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Adds the administrator's token.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub type Authorised = InterceptedService<Channel, Bearer>;

pub struct ControlPlane {
    pub running: Option<Running>,
    pub dir: Arc<tempfile::TempDir>,
    pub channel: Channel,
    pub now: Arc<AtomicU64>,
    shutdown: CancellationToken,
}

/// 2027-01-15T08:00:00Z
pub const START: u64 = 1_800_000_000_000;

impl ControlPlane {
    pub async fn start() -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), START).await
    }

    /// One that was started with settings of its own.
    pub fn of(
        running: Running,
        dir: Arc<tempfile::TempDir>,
        channel: Channel,
        now: Arc<AtomicU64>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { running: Some(running), dir, channel, now, shutdown }
    }

    pub async fn start_in(dir: Arc<tempfile::TempDir>, now: u64) -> Self {
        let shutdown = CancellationToken::new();
        let now = Arc::new(AtomicU64::new(now));
        let mut config = config(dir.path());
        config.clock = Clock::new({
            let now = Arc::clone(&now);
            move || now.load(Ordering::SeqCst)
        });
        let running = start(config, shutdown.clone()).await.unwrap();
        let channel = channel(&running).await;
        Self { running: Some(running), dir, channel, now, shutdown }
    }

    /// Stops it and starts it again over the same directory, an hour later.
    pub async fn restart(mut self) -> Self {
        self.stop().await;
        let now = self.now.load(Ordering::SeqCst) + 3_600_000;
        let dir = Arc::clone(&self.dir);
        drop(self);
        Self::start_in(dir, now).await
    }

    pub async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            running.wait().await.unwrap();
        }
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn token(&self) -> String {
        std::fs::read_to_string(self.admin_token_file()).unwrap().trim().to_owned()
    }

    pub fn admin_token_file(&self) -> PathBuf {
        self.dir.path().join("admin.token")
    }

    pub fn bearer(&self) -> Bearer {
        Bearer(format!("Bearer {}", self.token()).parse().unwrap())
    }

    pub fn resources(&self) -> ResourcesClient<Authorised> {
        ResourcesClient::with_interceptor(self.channel.clone(), self.bearer())
    }

    pub fn keys(&self) -> KeysClient<Authorised> {
        KeysClient::with_interceptor(self.channel.clone(), self.bearer())
    }

    pub fn secrets(&self) -> SecretsClient<Authorised> {
        SecretsClient::with_interceptor(self.channel.clone(), self.bearer())
    }

    pub fn policy(&self) -> PolicyClient<Authorised> {
        PolicyClient::with_interceptor(self.channel.clone(), self.bearer())
    }

    pub async fn try_apply(&self, text: &str) -> Result<proto::ApplyResponse, Status> {
        let request = apply_request(text);
        self.resources().apply(request).await.map(tonic::Response::into_inner)
    }

    pub async fn apply(&self, text: &str) -> proto::ApplyResponse {
        self.try_apply(text).await.unwrap()
    }

    pub async fn dry_run(&self, text: &str) -> proto::ApplyResponse {
        let request = proto::ApplyRequest { dry_run: true, ..apply_request(text) };
        self.resources().apply(request).await.unwrap().into_inner()
    }

    /// The problems that an apply is refused with.
    pub async fn refused(&self, text: &str) -> Vec<proto::Problem> {
        let status = self.try_apply(text).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        problems(&status)
    }

    pub async fn try_get(&self, kind: &str, name: &str) -> Result<proto::Resource, Status> {
        let request = proto::GetRequest { kind: kind.to_owned(), name: name.to_owned() };
        Ok(self.resources().get(request).await?.into_inner().resource.unwrap())
    }

    pub async fn get(&self, kind: &str, name: &str) -> proto::Resource {
        self.try_get(kind, name).await.unwrap()
    }

    pub async fn list(&self, kind: &str) -> proto::ListResponse {
        let request = proto::ListRequest { kind: kind.to_owned() };
        self.resources().list(request).await.unwrap().into_inner()
    }

    pub async fn names(&self, kind: &str) -> Vec<String> {
        self.list(kind).await.resources.into_iter().map(|resource| resource.name).collect()
    }

    pub async fn delete(&self, kind: &str, name: &str) -> Result<u64, Status> {
        let request = proto::DeleteRequest {
            kind: kind.to_owned(),
            name: name.to_owned(),
            message: "no longer needed".to_owned(),
        };
        Ok(self.resources().delete(request).await?.into_inner().version)
    }

    pub async fn history(&self, kind: &str, name: &str) -> Vec<proto::HistoryEntry> {
        let request = proto::HistoryRequest {
            kind: kind.to_owned(),
            name: name.to_owned(),
            ..proto::HistoryRequest::default()
        };
        self.resources().history(request).await.unwrap().into_inner().entries
    }

    pub async fn snapshot(&self) -> proto::GetSnapshotResponse {
        self.policy().get_snapshot(proto::GetSnapshotRequest {}).await.unwrap().into_inner()
    }

    pub async fn explain(&self, key: &str, tool: &str, endpoint: &str) -> Value {
        let request = proto::ExplainRequest {
            key: key.to_owned(),
            tool: tool.to_owned(),
            endpoint: endpoint.to_owned(),
            ..proto::ExplainRequest::default()
        };
        let response = self.policy().explain(request).await.unwrap().into_inner();
        serde_json::from_str(&response.json).unwrap()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir);
    config.grpc_listen = "127.0.0.1:0".parse().unwrap();
    config.http_listen = "127.0.0.1:0".parse().unwrap();
    config
}

pub async fn channel(running: &Running) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", running.grpc_addr)).unwrap();
    endpoint.connect().await.unwrap()
}

pub fn apply_request(text: &str) -> proto::ApplyRequest {
    proto::ApplyRequest {
        files: vec![proto::SourceFile { name: "test.yaml".to_owned(), text: text.to_owned() }],
        dry_run: false,
        message: "because".to_owned(),
        full: false,
    }
}

pub fn problems(status: &Status) -> Vec<proto::Problem> {
    proto::Problems::decode(status.details()).unwrap().problems
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// `Kind/name: what` of changes.
pub fn told(changes: &[proto::Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| {
            let what = change.change().as_str_name().trim_start_matches("CHANGE_KIND_").to_lowercase();
            format!("{}/{}: {what}", change.kind, change.name)
        })
        .collect()
}

/// Every file under a directory, with what it holds.
pub fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

/// The files that hold these bytes.
pub fn files_with(dir: &Path, needle: &str) -> Vec<PathBuf> {
    let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    files(dir).into_iter().filter(|(_, bytes)| holds(bytes)).map(|(path, _)| path).collect()
}

pub const ZONES: &str = r#"
apiVersion: portcullis/v1
kind: TrustZone
metadata: { name: internal }
spec: {}
---
apiVersion: portcullis/v1
kind: TrustZone
metadata: { name: vendor-saas }
spec: { reachableFrom: [internal], allowedDataClasses: [source-code] }
"#;

/// Ten documents that refer to one another.
pub const TEN: &str = r#"
apiVersion: portcullis/v1
kind: TrustZone
metadata: { name: internal }
spec: { allowedDataClasses: [source-code] }
---
apiVersion: portcullis/v1
kind: TrustZone
metadata: { name: vendor-saas }
spec: { reachableFrom: [internal], allowedDataClasses: [source-code] }
---
apiVersion: portcullis/v1
kind: Customer
metadata: { name: acme }
spec: {}
---
apiVersion: portcullis/v1
kind: Team
metadata: { name: support-team }
spec: { customer: acme }
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: crm, labels: { region: eu } }
spec: { transport: { streamableHttp: { url: "http://127.0.0.1:1/mcp" } }, zone: internal }
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: github }
spec:
  transport: { streamableHttp: { url: "https://mcp.example.com/mcp" } }
  hosting: vendor
  zone: vendor-saas
  dataClasses: [source-code]
---
apiVersion: portcullis/v1
kind: ToolBundle
metadata: { name: support }
spec: { tools: [ { server: github, allow: [search_issues] }, { server: crm, allow: ["*"], except: [delete_customer] } ] }
---
apiVersion: portcullis/v1
kind: ToolBundle
metadata: { name: code }
spec: { tools: [ { server: github, allow: ["*"] } ] }
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: { name: support-bot }
spec: { principal: { kind: agent, subject: support-bot }, team: support-team, zone: internal, grants: [ { bundle: support } ] }
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: { name: ci }
spec: { principal: { kind: workload, subject: ci }, zone: internal, grants: [ { server: crm, allow: [lookup] } ] }
"#;
