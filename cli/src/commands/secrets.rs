//! `secret set`, `secret list`, `secret delete`.

use std::io::Read as _;

use portcullis_proto::admin::v1 as api;
use serde_json::json;

use crate::args::{AskArgs, SecretCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, table::table, time};

pub(crate) async fn run(command: SecretCommand) -> Result<(), Failure> {
    match command {
        SecretCommand::Set { name, from_file, server } => {
            let mut value = match from_file {
                Some(path) => std::fs::read(&path).map_err(|error| Failure::of(path.display(), error))?,
                None => {
                    let mut value = Vec::new();
                    std::io::stdin()
                        .read_to_end(&mut value)
                        .map_err(|error| Failure::of("standard input", error))?;
                    value
                }
            };
            if value.last() == Some(&b'\n') {
                value.pop();
                if value.last() == Some(&b'\r') {
                    value.pop();
                }
            }
            let client = Client::connect(&server).await?;
            let line = format!("secret {name} set");
            client.secrets().set_secret(api::SetSecretRequest { name, value: value.into() }).await?;
            output::line(&line)
        }
        SecretCommand::List(AskArgs { output, server }) => {
            let client = Client::connect(&server).await?;
            let secrets =
                client.secrets().list_secrets(api::ListSecretsRequest {}).await?.into_inner().secrets;
            let items: Vec<_> = secrets
                .iter()
                .map(|secret| {
                    json!({ "name": secret.name, "set": time::rfc3339(secret.set_unix_ms), "usedBy": secret.used_by })
                })
                .collect();
            output::print(output.output, &json!({ "items": items }), || {
                let rows = secrets.iter().map(|secret| {
                    [secret.name.clone(), time::ago(secret.set_unix_ms), secret.used_by.join(", ")]
                });
                table(&["NAME", "AGE", "USED BY"], rows)
            })
        }
        SecretCommand::Delete { name, server } => {
            let client = Client::connect(&server).await?;
            let line = format!("secret {name} deleted");
            client.secrets().delete_secret(api::DeleteSecretRequest { name }).await?;
            output::line(&line)
        }
    }
}
