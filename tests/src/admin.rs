//! An administrator: speaks to a control plane over gRPC as the command line does.

use std::path::Path;

use portcullis_proto::admin::v1 as api;
use prost::Message as _;
use serde_json::Value;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use api::access_client::AccessClient;
use api::approvals_client::ApprovalsClient;
use api::keys_client::KeysClient;
use api::planes_client::PlanesClient;
use api::policy_client::PolicyClient;
use api::resources_client::ResourcesClient;
use api::secrets_client::SecretsClient;
use api::servers_client::ServersClient;
use api::usage_client::UsageClient;

/// Adds the administrator's token.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authorised = InterceptedService<Channel, Bearer>;

/// An administrator with a connection.
#[derive(Clone)]
pub struct Admin {
    channel: Channel,
    bearer: Bearer,
}

impl Admin {
    /// Speaks to a control plane; connects when something is asked, and again after it was away.
    #[must_use]
    pub fn new(url: &str, token: &str, ca_file: Option<&Path>) -> Self {
        let mut endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
        if let Some(file) = ca_file {
            let ca = Certificate::from_pem(std::fs::read(file).unwrap());
            let tls = ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
            endpoint = endpoint.tls_config(tls).unwrap();
        }
        let bearer = Bearer(format!("Bearer {token}").parse().unwrap());
        Self { channel: endpoint.connect_lazy(), bearer }
    }

    /// The resources.
    #[must_use]
    pub fn resources(&self) -> ResourcesClient<Authorised> {
        ResourcesClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> KeysClient<Authorised> {
        KeysClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The secrets.
    #[must_use]
    pub fn secrets(&self) -> SecretsClient<Authorised> {
        SecretsClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The servers' lives.
    #[must_use]
    pub fn servers(&self) -> ServersClient<Authorised> {
        ServersClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// How budgets stand.
    #[must_use]
    pub fn usage(&self) -> UsageClient<Authorised> {
        UsageClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Suspends, resumes or retires a server.
    ///
    /// # Errors
    /// The refusal.
    pub async fn go(&self, server: &str, go: api::ServerMove) -> Result<String, Status> {
        let request =
            api::MoveServerRequest { server: server.to_owned(), r#move: go.into(), message: String::new() };
        Ok(self.servers().move_server(request).await?.into_inner().lifecycle)
    }

    /// Asks to open a server to its next stage.
    ///
    /// # Errors
    /// The refusal; a check that fails is none.
    pub async fn promote(&self, server: &str) -> Result<api::PromoteServerResponse, Status> {
        let request = api::PromoteServerRequest { server: server.to_owned(), ..Default::default() };
        Ok(self.servers().promote_server(request).await?.into_inner())
    }

    /// What is known of a resource beside its document.
    pub async fn status_of(&self, kind: &str, name: &str) -> Value {
        let request = api::GetRequest { kind: kind.to_owned(), name: name.to_owned() };
        let resource = self.resources().get(request).await.unwrap().into_inner().resource.unwrap();
        serde_json::from_str(&resource.status_json).unwrap()
    }

    /// The decisions.
    #[must_use]
    pub fn policy(&self) -> PolicyClient<Authorised> {
        PolicyClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The approvals.
    #[must_use]
    pub fn approvals(&self) -> ApprovalsClient<Authorised> {
        ApprovalsClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Who administers.
    #[must_use]
    pub fn access(&self) -> AccessClient<Authorised> {
        AccessClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The planes.
    #[must_use]
    pub fn planes(&self) -> PlanesClient<Authorised> {
        PlanesClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Applies documents.
    ///
    /// # Errors
    /// The refusal.
    pub async fn try_apply(&self, text: &str) -> Result<api::ApplyResponse, Status> {
        let file = api::SourceFile { name: "story.yaml".to_owned(), text: text.to_owned() };
        let request = api::ApplyRequest {
            files: vec![file],
            dry_run: false,
            message: "the story wants it".to_owned(),
            full: false,
        };
        Ok(self.resources().apply(request).await?.into_inner())
    }

    /// Applies documents that are right.
    pub async fn apply(&self, text: &str) -> api::ApplyResponse {
        match self.try_apply(text).await {
            Ok(response) => response,
            Err(status) => {
                let problems = api::Problems::decode(status.details()).unwrap_or_default();
                panic!("apply was refused: {} {problems:#?}", status.message());
            }
        }
    }

    /// Applies documents with new keys, and gives the secret of one.
    pub async fn apply_key(&self, name: &str, text: &str) -> String {
        let response = self.apply(text).await;
        secret(&response, name)
    }

    /// What waits for a person.
    pub async fn waiting(&self) -> Vec<api::Approval> {
        let request = api::ListApprovalsRequest::default();
        self.approvals().list_approvals(request).await.unwrap().into_inner().approvals
    }

    /// Waits until so much waits for a person.
    pub async fn awaits(&self, count: usize) -> Vec<api::Approval> {
        let what = format!("{count} approvals that wait");
        let found = crate::patience::eventually(&what, async || {
            let waiting = self.waiting().await;
            (waiting.len() >= count).then_some(waiting)
        });
        found.await.0
    }

    /// Approves everything that waits.
    pub async fn approve_all(&self) -> Vec<api::Approval> {
        self.decide(api::DecideRequest { all_pending: true, approve: true, ..api::DecideRequest::default() })
            .await
    }

    /// Approves or denies.
    pub async fn decide(&self, request: api::DecideRequest) -> Vec<api::Approval> {
        self.approvals().decide(request).await.unwrap().into_inner().approvals
    }

    /// Deletes a resource.
    pub async fn delete(&self, kind: &str, name: &str) {
        let request =
            api::DeleteRequest { kind: kind.to_owned(), name: name.to_owned(), message: String::new() };
        self.resources().delete(request).await.unwrap();
    }

    /// Why a tool is or is not callable.
    pub async fn explain(&self, key: &str, tool: &str, endpoint: &str) -> Value {
        self.explain_call(key, tool, endpoint, None, &[]).await
    }

    /// What a call with these arguments comes to when the data plane meets these reasons.
    pub async fn explain_call(
        &self,
        key: &str,
        tool: &str,
        endpoint: &str,
        arguments: Option<&Value>,
        assume: &[&str],
    ) -> Value {
        let request = api::ExplainRequest {
            key: key.to_owned(),
            tool: tool.to_owned(),
            endpoint: endpoint.to_owned(),
            arguments_json: arguments.map(Value::to_string).unwrap_or_default(),
            assume: assume.iter().map(|reason| (*reason).to_owned()).collect(),
            ..api::ExplainRequest::default()
        };
        let response = self.policy().explain(request).await.unwrap().into_inner();
        serde_json::from_str(&response.json).unwrap()
    }

    /// What a call of a program from a network in an era comes to, at `/mcp`.
    pub async fn explain_from(
        &self,
        key: &str,
        tool: &str,
        (network, era, program): (&str, &str, &str),
    ) -> Value {
        let request = api::ExplainRequest {
            key: key.to_owned(),
            tool: tool.to_owned(),
            endpoint: "/mcp".to_owned(),
            network: network.to_owned(),
            era: era.to_owned(),
            client_name: program.to_owned(),
            ..api::ExplainRequest::default()
        };
        let response = self.policy().explain(request).await.unwrap().into_inner();
        serde_json::from_str(&response.json).unwrap()
    }

    /// The snapshot that is published.
    pub async fn snapshot(&self) -> api::GetSnapshotResponse {
        self.policy().get_snapshot(api::GetSnapshotRequest {}).await.unwrap().into_inner()
    }

    /// Makes a token for any data plane: its id and its text.
    pub async fn plane_token(&self) -> (String, String) {
        let response =
            self.planes().create_plane_token(api::CreatePlaneTokenRequest::default()).await.unwrap();
        let response = response.into_inner();
        (response.id, response.token)
    }

    /// Sets a secret.
    pub async fn set_secret(&self, name: &str, value: &str) {
        let request =
            api::SetSecretRequest { name: name.to_owned(), value: value.as_bytes().to_vec().into() };
        self.secrets().set_secret(request).await.unwrap();
    }
}

/// The secret of a key that came into being.
#[must_use]
pub fn secret(response: &api::ApplyResponse, name: &str) -> String {
    let key = response.keys.iter().find(|key| key.name == name);
    key.unwrap_or_else(|| panic!("{name} is no new key")).secret.clone()
}
