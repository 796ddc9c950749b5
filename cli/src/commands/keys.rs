//! `key create`, `key rotate`, `key revoke`.

use portcullis_control_plane::keys::MAX_GRACE_SECONDS;
use portcullis_proto::admin::v1 as api;
use serde_json::json;

use crate::args::{AskArgs, Format, KeyCommand};
use crate::client::Client;
use crate::commands::resources::key_json;
use crate::commands::sources;
use crate::failure::Failure;
use crate::output::{self, time};

pub(crate) async fn run(command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Create { name, file, ask: AskArgs { output, server } } => {
            let file = match file {
                Some(path) => sources::read(&[path])?.pop(),
                None => None,
            };
            let client = Client::connect(&server).await?;
            let reply = client.keys().create_key(api::CreateKeyRequest { name, file }).await?.into_inner();
            print_key(&reply.key.unwrap_or_default(), None, output.output)
        }
        KeyCommand::Rotate { name, grace, ask: AskArgs { output, server } } => {
            if grace.0.as_secs() > MAX_GRACE_SECONDS {
                return Err(Failure::usage(format!(
                    "--grace {grace}: a grace is at most {}d",
                    MAX_GRACE_SECONDS / 86_400
                )));
            }
            let client = Client::connect(&server).await?;
            let request = api::RotateKeyRequest { name, grace_seconds: grace.0.as_secs() };
            let reply = client.keys().rotate_key(request).await?.into_inner();
            print_key(&reply.key.unwrap_or_default(), Some(reply.old_until_unix_ms), output.output)
        }
        KeyCommand::Revoke { name, why, server } => {
            let client = Client::connect(&server).await?;
            let line = format!("key {name} revoked");
            client.keys().revoke_key(api::RevokeKeyRequest { name, message: why.message }).await?;
            output::line(&line)
        }
    }
}

fn print_key(key: &api::NewKey, old_until_unix_ms: Option<u64>, format: Format) -> Result<(), Failure> {
    let mut value = json!({ "keys": [key_json(key)] });
    if let (Some(until), Some(value)) = (old_until_unix_ms, value.as_object_mut()) {
        value.insert("oldSecretUntil".to_owned(), time::rfc3339(until).into());
    }
    output::print(format, &value, || {
        let mut text = format!("{}\n", key.secret);
        output::note("shown once, kept nowhere: store it now");
        if let Some(until) = old_until_unix_ms {
            output::note(&format!("the old secret ends {}", time::rfc3339(until)));
        }
        text.truncate(text.trim_end().len());
        text
    })
}
