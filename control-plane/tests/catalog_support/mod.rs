//! A control plane's lower half on a throwaway disk: store, catalog and approvals, with a clock that the test owns.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_control_plane::approvals::{
    Approval, ApprovalError, ApprovalFilter, Approvals, Decision, Selection,
};
use portcullis_control_plane::catalog::{self, Catalog};
use portcullis_control_plane::clock::Clock;
use portcullis_control_plane::governance::Actor;
use portcullis_control_plane::store::{Change, JournalStore, Op, Store};
use portcullis_policy::resource::Uid;
use portcullis_policy::snapshot::{DefinitionEntry, DefinitionState, Entry};
use portcullis_proto::config::v1::ProbeReport;
use serde_json::{Value, json};

pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Catalog,
    pub(crate) approvals: Approvals,
    pub(crate) now: Arc<AtomicU64>,
    pub(crate) clock: Clock,
    _dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::made(Catalog::new)
    }

    /// One whose servers may write so much at once.
    pub(crate) fn with_allowance(bytes: u64) -> Self {
        Self::made(|store, clock| Catalog::with_allowance(store, clock, bytes))
    }

    fn made(catalog: impl FnOnce(Arc<dyn Store>, Clock) -> Catalog) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(JournalStore::open(&dir.path().join("store")).unwrap());
        let now = Arc::new(AtomicU64::new(1_800_000_000_000));
        let clock = Clock::new({
            let now = Arc::clone(&now);
            move || now.load(Ordering::SeqCst)
        });
        Self {
            catalog: catalog(Arc::clone(&store), clock.clone()),
            approvals: Approvals::new(Arc::clone(&store), clock.clone()),
            store,
            now,
            clock,
            _dir: dir,
        }
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn version(&self) -> u64 {
        self.store.state().version
    }

    pub(crate) async fn commit(&self, ops: Vec<Op>) {
        let change = Change {
            author: "test".to_owned(),
            message: String::new(),
            unix_ms: self.now.load(Ordering::SeqCst),
            ops,
        };
        self.store.commit(self.version(), change).await.unwrap();
    }

    /// Registers or changes a server; `tools` is `spec.tools`.
    pub(crate) async fn server(&self, name: &str, tools: Value) -> Uid {
        self.server_with(name, json!({ "streamableHttp": { "url": "http://127.0.0.1:1/mcp" } }), tools).await
    }

    pub(crate) async fn server_with(&self, name: &str, transport: Value, tools: Value) -> Uid {
        let state = self.store.state();
        let uid = state.get("McpServer", name).map_or_else(|| Uid(uuid::Uuid::new_v4()), |object| object.uid);
        let body = json!({
            "apiVersion": "portcullis/v1",
            "kind": "McpServer",
            "metadata": { "name": name },
            "spec": { "transport": transport, "zone": "default", "tools": tools },
        });
        self.commit(vec![Op::Put { kind: "McpServer".into(), name: name.into(), uid, body }]).await;
        uid
    }

    pub(crate) async fn report(&self, report: ProbeReport) {
        self.catalog.report("plane-1", report).await.unwrap();
    }

    /// What snapshots say of the tools and prompts: `tool/NAME` with its state.
    pub(crate) fn entries(&self) -> Vec<(String, DefinitionEntry)> {
        catalog::entries(&self.store.state())
            .into_iter()
            .map(|entry| match entry {
                Entry::Tool(entry) => (format!("tool/{}", entry.name), Arc::unwrap_or_clone(entry)),
                Entry::Prompt(entry) => (format!("prompt/{}", entry.name), Arc::unwrap_or_clone(entry)),
                other => panic!("the catalog makes no {}", other.kind()),
            })
            .collect()
    }

    /// `tool/NAME: approved DESCRIPTION`, `…: pending`, `…: quarantined`.
    pub(crate) fn states(&self) -> Vec<String> {
        let state = |entry: &DefinitionEntry| match &entry.state {
            DefinitionState::Approved { definition, .. } => {
                let definition: Value = serde_json::from_str(definition.get()).unwrap();
                format!("approved {}", definition["description"].as_str().unwrap_or_default())
            }
            DefinitionState::Pending => "pending".to_owned(),
            DefinitionState::Quarantined => "quarantined".to_owned(),
        };
        self.entries().iter().map(|(name, entry)| format!("{name}: {}", state(entry))).collect()
    }

    pub(crate) fn list(&self, all: bool) -> Vec<Approval> {
        self.approvals.list(&ApprovalFilter { server: None, all }).unwrap()
    }

    /// `KIND NAME CHANGE STATE` of the approvals.
    pub(crate) fn listed(&self, all: bool) -> Vec<String> {
        self.list(all)
            .iter()
            .map(|approval| {
                let Approval { kind, name, change, state, .. } = approval;
                format!("{} {name} {} {}", kind.as_str(), change.as_str(), state.as_str())
            })
            .collect()
    }

    /// The id of what waits under this name.
    pub(crate) fn waiting(&self, name: &str) -> String {
        self.list(false).into_iter().find(|approval| approval.name == name).unwrap().id
    }

    pub(crate) async fn decide(
        &self,
        ids: &[&str],
        approve: bool,
    ) -> Result<(Vec<Approval>, u64), ApprovalError> {
        self.pass(1);
        let selection = Selection::Ids(ids.iter().map(|id| (*id).to_owned()).collect());
        let decision = Decision { selection, approve, message: "because".to_owned() };
        self.approvals.decide(&Actor::trusted("admin"), &decision).await
    }

    pub(crate) async fn decide_all(&self, server: Option<&str>, approve: bool) -> Vec<Approval> {
        self.pass(1);
        let selection = Selection::AllPending { server: server.map(str::to_owned) };
        let decision = Decision { selection, approve, message: String::new() };
        self.approvals.decide(&Actor::trusted("admin"), &decision).await.unwrap().0
    }
}

/// What a healthy legacy server reports.
pub(crate) fn report(server: Uid, tools: &[Value]) -> ProbeReport {
    let texts: Vec<String> = tools.iter().map(Value::to_string).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    report_of(server, &texts)
}

/// The same, of definitions as texts.
pub(crate) fn report_of(server: Uid, tools: &[&str]) -> ProbeReport {
    ProbeReport {
        server_uid: server.to_string(),
        reachable: true,
        era: "legacy".to_owned(),
        protocol_version: "2025-11-25".to_owned(),
        server_info_json: br#"{"name":"upstream","version":"1.2.3"}"#.as_slice().into(),
        instructions: "Use me well.".to_owned(),
        capabilities_json: br#"{"tools":{"listChanged":true}}"#.as_slice().into(),
        tools_json: tools.iter().map(|json| json.as_bytes().to_vec().into()).collect(),
        took_micros: 1_500,
        ..ProbeReport::default()
    }
}

/// A tool with a schema, an annotation and this description.
pub(crate) fn tool(name: &str, description: &str) -> Value {
    json!({
        "name": name,
        "description": description,
        "inputSchema": { "type": "object", "properties": { "q": { "type": "string" } }, "required": ["q"] },
        "annotations": { "readOnlyHint": true },
    })
}
