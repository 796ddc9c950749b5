//! A gateway whose calls are metered by the fake.

use std::fs;
use std::path::Path;

use portcullis_data_plane::ledger::SpoolConfig;
use portcullis_data_plane::sync::SecretsHandle;
use portcullis_metering::AccountId;
use portcullis_policy::metering::Owner;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{FakeLeases, Known, Plane};
use crate::common::{Caller, Fake, Policy, World, client::Got, secrets};

pub(crate) struct Metered {
    pub(crate) world: World,
    pub(crate) fake: Fake,
    pub(crate) known: Known,
    pub(crate) leases: Option<FakeLeases>,
    pub(crate) plane: Plane,
    pub(crate) policy: Policy,
    pub(crate) dir: TempDir,
    version: u64,
    addr: std::net::SocketAddr,
}

/// One server with tools, one team and two keys, and what is said of their metering.
pub(crate) fn policy(url: &str) -> Policy {
    let grants = json!([{"server": "crm", "allow": ["*"], "prompts": ["*"], "resources": ["file:///*"]},
        {"server": "down", "allow": ["*"]}]);
    let mut policy = Policy::new()
        .team("sales")
        .server("crm", url, true, &Fake::capabilities())
        .server("down", "http://127.0.0.1:9/mcp", true, &Fake::capabilities())
        .tool("down", "echo")
        .prompt("crm", "hello")
        .key_with("bot", &grants, &json!({"team": "sales"}))
        .key_with("rival", &grants, &json!({"team": "sales"}));
    for tool in ["echo", "fail", "priced", "rpc_error", "broken", "slow", "progress"] {
        policy = policy.tool("crm", tool);
    }
    policy
}

impl Metered {
    /// With a control plane.
    pub(crate) async fn new(say: impl FnOnce(Policy) -> Policy) -> Self {
        let known = Known::new();
        let leases = FakeLeases::start(&known).await;
        let metered = Self::with(say, known, leases).await;
        metered.plane.linked().await;
        metered
    }

    /// With one that is not there yet.
    pub(crate) async fn alone(say: impl FnOnce(Policy) -> Policy) -> Self {
        let known = Known::new();
        let leases = FakeLeases::start(&known).await;
        let mut metered = Self::with(say, known, leases).await;
        metered.leases = None;
        metered
    }

    async fn with(say: impl FnOnce(Policy) -> Policy, known: Known, leases: FakeLeases) -> Self {
        let fake = Fake::start(true).await;
        let policy = say(policy(&fake.url));
        let (dir, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        known.take(&policy.compile(1));
        let plane = Plane::start(dir.path(), spool.path(), &known, leases.addr);
        let config = SpoolConfig { shards: 1, ..SpoolConfig::default() };
        let world =
            World::metered(spool, config, SecretsHandle::new(secrets()), plane.metering.clone()).await;
        world.live.swap(policy.compile(1));
        let addr = leases.addr;
        Self { world, fake, known, leases: Some(leases), plane, policy, dir, version: 1, addr }
    }

    /// Another policy is in force, here and there.
    pub(crate) fn swap(&mut self, policy: Policy) {
        self.version += 1;
        self.known.take(&policy.compile(self.version));
        self.world.live.swap(policy.compile(self.version));
        self.policy = policy;
    }

    /// Where the plane looks for its control plane.
    pub(crate) fn plane_addr(&self) -> std::net::SocketAddr {
        self.addr
    }

    pub(crate) fn bot(&self) -> Caller {
        self.world.caller("bot", "/mcp")
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Got {
        let params = json!({"name": format!("crm_{tool}"), "arguments": arguments});
        self.bot().ask_modern("tools/call", params).await
    }

    /// The budgets of the policy, in their order.
    pub(crate) fn accounts(&self) -> Vec<(Owner, AccountId)> {
        let snapshot = self.policy.compile(self.version);
        snapshot.budgets().map(|(owner, budget)| (owner.clone(), budget.account)).collect()
    }

    pub(crate) fn account(&self) -> AccountId {
        self.accounts()[0].1
    }

    /// The ledger as a crash in this moment would leave it.
    pub(crate) fn crashed(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(self.dir.path().join("ledger"), copy.path().join("ledger")).unwrap();
        copy
    }

    /// A plane that begins with this ledger.
    pub(crate) fn restart(&self, ledger: &Path, spool: &Path) -> Plane {
        Plane::start(ledger, spool, &self.known, self.leases.as_ref().unwrap().addr)
    }
}

/// What the answer says of the decision; null where the call was let through.
pub(crate) fn decision(got: &Got) -> Value {
    got.result().pointer("/_meta/portcullis~1decision").cloned().unwrap_or(Value::Null)
}

pub(crate) fn passed(got: &Got) -> bool {
    decision(got).is_null()
}
