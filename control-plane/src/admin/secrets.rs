//! `Secrets`: values are set and never shown again.

use std::sync::Arc;

use portcullis_policy::resource::Name;
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::secrets_server::Secrets;
use tonic::{Request, Response, Status};

use super::authn::author;
use crate::clock::Clock;
use crate::registry::{RegistryError, listing, secret_users};
use crate::store::{Store, Vault, VaultError};

/// The service.
pub(super) struct SecretsService {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    clock: Clock,
}

impl std::fmt::Debug for SecretsService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretsService").finish_non_exhaustive()
    }
}

impl SecretsService {
    /// Keeps values in a vault; the store knows who refers to them.
    #[must_use]
    pub(super) fn new(store: Arc<dyn Store>, vault: Arc<Vault>, clock: Clock) -> Self {
        Self { store, vault, clock }
    }
}

#[tonic::async_trait]
impl Secrets for SecretsService {
    async fn set_secret(
        &self,
        request: Request<proto::SetSecretRequest>,
    ) -> Result<Response<proto::SetSecretResponse>, Status> {
        let author = author(&request)?;
        let request = request.into_inner();
        let name = name(&request.name)?;
        if request.value.is_empty() {
            let message = format!("the value of secret {name} is empty: give at least one byte");
            return Err(RegistryError::invalid("", message).into());
        }
        self.vault.set_secret(&name, &request.value, self.clock.now_unix_ms()).await.map_err(refused)?;
        // No history knows of it, since history is kept where no secret may come near.
        tracing::info!(secret = %name, %author, "a secret was set");
        Ok(Response::new(proto::SetSecretResponse {}))
    }

    async fn list_secrets(
        &self,
        request: Request<proto::ListSecretsRequest>,
    ) -> Result<Response<proto::ListSecretsResponse>, Status> {
        author(&request)?;
        let mut users = secret_users(&self.store.state());
        let secrets = self.vault.secrets().into_iter().map(|secret| proto::SecretInfo {
            used_by: users.remove(&secret.name).unwrap_or_default(),
            name: secret.name.as_str().to_owned(),
            set_unix_ms: secret.set_unix_ms,
        });
        Ok(Response::new(proto::ListSecretsResponse { secrets: secrets.collect() }))
    }

    async fn delete_secret(
        &self,
        request: Request<proto::DeleteSecretRequest>,
    ) -> Result<Response<proto::DeleteSecretResponse>, Status> {
        let author = author(&request)?;
        let name = name(&request.into_inner().name)?;
        // Nobody may begin to refer to it between the look and the deed.
        let _turn = self.store.write_turn().await;
        if let Some(users) = secret_users(&self.store.state()).remove(&name) {
            return Err(RegistryError::Refused(format!(
                "secret {name} is referred to by McpServer {}; change or delete these first",
                listing(&users)
            ))
            .into());
        }
        if !self.vault.delete_secret(&name).await.map_err(refused)? {
            return Err(RegistryError::NotFound(format!("secret {name}")).into());
        }
        tracing::info!(secret = %name, %author, "a secret was deleted");
        Ok(Response::new(proto::DeleteSecretResponse {}))
    }
}

fn name(text: &str) -> Result<Name, Status> {
    text.parse().map_err(|error: portcullis_policy::resource::BadName| {
        RegistryError::invalid("NAME", error.to_string()).into()
    })
}

fn refused(error: VaultError) -> Status {
    let message = error.to_string();
    match error {
        VaultError::TooLarge(_) => RegistryError::invalid("", message).into(),
        VaultError::TooMany | VaultError::Full => Status::resource_exhausted(message),
        VaultError::Io { .. } => Status::unavailable(message),
        VaultError::Exposed { .. }
        | VaultError::Damaged { .. }
        | VaultError::Lost { .. }
        | VaultError::Present { .. }
        | VaultError::NoRandomness => Status::internal(message),
    }
}
