//! The connection to a control plane's admin API: address, TLS, and the administrator's token.

mod address;
mod speech;

use std::path::Path;
use std::time::Duration;

use portcullis_proto::admin::v1 as api;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::args::ServerArgs;
use crate::failure::Failure;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Replies hold whole lists.
const MAX_REPLY_BYTES: usize = 256 << 20;

/// Puts the token on every request.
#[derive(Clone)]
pub(crate) struct WithToken(MetadataValue<Ascii>);

impl Interceptor for WithToken {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authenticated = InterceptedService<Channel, WithToken>;

/// An authenticated connection.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    token: WithToken,
}

impl Client {
    /// Connects, with the token given or found.
    pub(crate) async fn connect(args: &ServerArgs) -> Result<Self, Failure> {
        // An empty variable says nothing.
        let token = match args.access.token.as_deref().map(str::trim) {
            Some(token) if !token.is_empty() => token.to_owned(),
            _ => read_token(&args.access.data_dir.join("admin.token"))?,
        };
        Self::open(&args.server, &token, args.access.ca.as_deref()).await
    }

    /// Connects to an address with a token.
    pub(crate) async fn open(url: &str, token: &str, ca: Option<&Path>) -> Result<Self, Failure> {
        let uri = address::parse(url, ca)?;
        let mut endpoint = Endpoint::from(uri.clone()).connect_timeout(CONNECT_TIMEOUT);
        if uri.scheme_str() == Some("https") {
            let mut tls = ClientTlsConfig::new();
            tls = match ca {
                Some(ca) => tls.ca_certificate(Certificate::from_pem(address::certificates(ca)?)),
                None => tls.trust_anchors(address::machine_roots().roots),
            };
            endpoint = endpoint.tls_config(tls).map_err(|error| Failure::of("TLS", error))?;
        } else {
            // A plain connection that nobody understands is not noticed before the first call; then it is too late to say why.
            speech::check_plain(&uri).await?;
        }
        let channel = match endpoint.connect().await {
            Ok(channel) => channel,
            Err(error) => {
                let failure = Failure::of(format!("cannot reach the control plane at {url}"), error);
                let failure = speech::with_advice(failure);
                return Err(speech::why_no_tls(&uri).await.unwrap_or(failure));
            }
        };
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
            .parse()
            .map_err(|_| Failure::new("the token holds characters that no token has"))?;
        value.set_sensitive(true);
        Ok(Self { channel, token: WithToken(value) })
    }

    fn authenticated(&self) -> Authenticated {
        InterceptedService::new(self.channel.clone(), self.token.clone())
    }

    pub(crate) fn resources(&self) -> api::resources_client::ResourcesClient<Authenticated> {
        api::resources_client::ResourcesClient::new(self.authenticated())
            .max_decoding_message_size(MAX_REPLY_BYTES)
    }

    pub(crate) fn access(&self) -> api::access_client::AccessClient<Authenticated> {
        api::access_client::AccessClient::new(self.authenticated())
    }

    pub(crate) fn keys(&self) -> api::keys_client::KeysClient<Authenticated> {
        api::keys_client::KeysClient::new(self.authenticated())
    }

    pub(crate) fn approvals(&self) -> api::approvals_client::ApprovalsClient<Authenticated> {
        api::approvals_client::ApprovalsClient::new(self.authenticated())
            .max_decoding_message_size(MAX_REPLY_BYTES)
    }

    pub(crate) fn policy(&self) -> api::policy_client::PolicyClient<Authenticated> {
        api::policy_client::PolicyClient::new(self.authenticated())
    }

    pub(crate) fn reach(&self) -> api::reach_client::ReachClient<Authenticated> {
        api::reach_client::ReachClient::new(self.authenticated()).max_decoding_message_size(MAX_REPLY_BYTES)
    }

    pub(crate) fn servers(&self) -> api::servers_client::ServersClient<Authenticated> {
        api::servers_client::ServersClient::new(self.authenticated())
    }

    pub(crate) fn planes(&self) -> api::planes_client::PlanesClient<Authenticated> {
        api::planes_client::PlanesClient::new(self.authenticated())
    }

    pub(crate) fn usage(&self) -> api::usage_client::UsageClient<Authenticated> {
        api::usage_client::UsageClient::new(self.authenticated()).max_decoding_message_size(MAX_REPLY_BYTES)
    }

    pub(crate) fn secrets(&self) -> api::secrets_client::SecretsClient<Authenticated> {
        api::secrets_client::SecretsClient::new(self.authenticated())
    }
}

/// Reads a token file.
pub(crate) fn read_token(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(|error| {
        Failure::new(format!(
            "no administrator's token: {}: {error}; give --token, PORTCULLIS_TOKEN, or --data-dir",
            path.display()
        ))
    })
}
