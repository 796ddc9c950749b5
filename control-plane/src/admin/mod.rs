//! The administrators' API over gRPC: everything that the command line does.
//!
//! Each service is a thin coat over the room of its name: messages in, one call, messages out. Who asks is settled before a
//! handler runs, by one interceptor over all of them, and what they may ask by one table, [`rbac`]; how refusals are told is settled in one place, [`status`].

mod access;
mod approvals;
mod authn;
mod explained;
mod keys;
mod planes;
mod policy;
mod rbac;
mod reach;
mod replay;
mod resources;
mod secrets;
mod servers;
pub(crate) mod status;
mod tally;
mod usage;

use std::sync::Arc;

use portcullis_proto::admin::v1 as proto;
use proto::access_server::AccessServer;
use proto::keys_server::KeysServer;
use proto::policy_server::PolicyServer;
use proto::reach_server::ReachServer;
use proto::resources_server::ResourcesServer;
use proto::secrets_server::SecretsServer;
use proto::servers_server::ServersServer;
use proto::usage_server::UsageServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;

use self::rbac::Guarded;
use crate::approvals::Approvals;
use crate::approvals::calls::Calls;
use crate::clock::Clock;
use crate::governance::AdminTokens;
use crate::metering::Metering;
use crate::publish::Publisher;
use crate::registry::Registry;
use crate::rollout::Rollout;
use crate::store::{Store, Vault};
use crate::stream::{PlaneTokens, Planes};

pub use approvals::ApprovalsService;
pub use authn::Authn;
pub use planes::PlanesService;

/// The largest request with documents, in bytes.
pub const MAX_DOCUMENTS_BYTES: usize = 32 << 20;
/// The largest request without, in bytes.
pub const MAX_REQUEST_BYTES: usize = 256 << 10;
/// The largest question to `explain`, in bytes: its arguments are at most as large as any request that a data plane reads.
pub const MAX_ARGUMENTS_BYTES: usize = (16 << 20) + MAX_REQUEST_BYTES;
/// The largest answer, in bytes: a list of all resources of a kind.
pub const MAX_ANSWER_BYTES: usize = 256 << 20;

/// What the services stand on.
#[derive(Clone)]
pub struct Parts {
    /// What is true.
    pub store: Arc<dyn Store>,
    /// What is secret.
    pub vault: Arc<Vault>,
    /// What is published.
    pub publisher: Publisher,
    /// Resources.
    pub registry: Registry,
    /// Keys.
    pub keys: crate::keys::Keys,
    /// What waits for a person.
    pub approvals: Approvals,
    /// Single calls that do.
    pub calls: Calls,
    /// Who is connected.
    pub planes: Planes,
    /// With what they connect.
    pub tokens: PlaneTokens,
    /// With what administrators do.
    pub admin_tokens: AdminTokens,
    /// Budgets.
    pub(crate) metering: Metering,
    /// What time it is.
    pub clock: Clock,
    /// Ends watches.
    pub shutdown: CancellationToken,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// The names of the services, for health.
pub const SERVICES: &[&str] = &[
    proto::resources_server::SERVICE_NAME,
    proto::keys_server::SERVICE_NAME,
    proto::approvals_server::SERVICE_NAME,
    proto::policy_server::SERVICE_NAME,
    proto::reach_server::SERVICE_NAME,
    proto::planes_server::SERVICE_NAME,
    proto::secrets_server::SERVICE_NAME,
    proto::access_server::SERVICE_NAME,
    proto::servers_server::SERVICE_NAME,
    proto::usage_server::SERVICE_NAME,
];

/// All services of `portcullis.admin.v1`, behind the administrator's token and the table of rights.
#[must_use]
pub fn add_to(routes: Routes, parts: Parts) -> Routes {
    let authn = Authn::new(Arc::clone(&parts.store), parts.clock.clone(), parts.planes.refusals().clone());
    let access = AccessServer::new(access::AccessService(parts.admin_tokens));
    let access = access.max_decoding_message_size(MAX_REQUEST_BYTES);
    let reach = reach::ReachService::new(
        parts.publisher.clone(),
        parts.registry.clone(),
        parts.planes.clone(),
        parts.clock.clone(),
    );
    let reach = ReachServer::new(reach)
        .max_decoding_message_size(MAX_DOCUMENTS_BYTES)
        .max_encoding_message_size(MAX_ANSWER_BYTES);
    let resources = resources::ResourcesService::new(parts.registry.clone(), parts.shutdown);
    let resources = ResourcesServer::new(resources)
        .max_decoding_message_size(MAX_DOCUMENTS_BYTES)
        .max_encoding_message_size(MAX_ANSWER_BYTES);
    let keys = KeysServer::new(keys::KeysService(parts.keys)).max_decoding_message_size(MAX_REQUEST_BYTES);
    let approvals = ApprovalsService::new(
        parts.approvals,
        parts.calls.clone(),
        parts.registry.clone(),
        parts.publisher.clone(),
    )
    .into_server();
    let approvals =
        approvals.max_decoding_message_size(MAX_DOCUMENTS_BYTES).max_encoding_message_size(MAX_ANSWER_BYTES);
    let policy = policy::PolicyService::new(
        parts.publisher.clone(),
        Arc::clone(&parts.store),
        parts.clock.clone(),
        parts.planes.clone(),
        parts.calls,
    );
    let policy = PolicyServer::new(policy).max_decoding_message_size(MAX_ARGUMENTS_BYTES);
    let usage = usage::UsageService::new(
        parts.metering,
        parts.publisher.clone(),
        Arc::clone(&parts.store),
        parts.planes.clone(),
        parts.clock.clone(),
    );
    let usage = UsageServer::new(usage)
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(MAX_ANSWER_BYTES);
    let servers = Rollout::new(parts.publisher, Arc::clone(parts.planes.board()), parts.clock.clone());
    let servers = ServersServer::new(servers::ServersService(servers));
    let servers = servers.max_decoding_message_size(MAX_REQUEST_BYTES);
    let planes = PlanesService::new(Arc::clone(&parts.store), parts.planes, parts.tokens).into_server();
    let planes =
        planes.max_decoding_message_size(MAX_REQUEST_BYTES).max_encoding_message_size(MAX_ANSWER_BYTES);
    let secrets = secrets::SecretsService::new(parts.store, parts.vault, parts.clock);
    let secrets = SecretsServer::new(secrets).max_decoding_message_size(MAX_REQUEST_BYTES);
    routes
        .add_service(InterceptedService::new(Guarded(resources), authn.clone()))
        .add_service(InterceptedService::new(Guarded(keys), authn.clone()))
        .add_service(InterceptedService::new(Guarded(approvals), authn.clone()))
        .add_service(InterceptedService::new(Guarded(policy), authn.clone()))
        .add_service(InterceptedService::new(Guarded(reach), authn.clone()))
        .add_service(InterceptedService::new(Guarded(planes), authn.clone()))
        .add_service(InterceptedService::new(Guarded(servers), authn.clone()))
        .add_service(InterceptedService::new(Guarded(usage), authn.clone()))
        .add_service(InterceptedService::new(Guarded(secrets), authn.clone()))
        .add_service(InterceptedService::new(Guarded(access), authn))
}
