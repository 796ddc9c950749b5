//! `admin token create|list|revoke`, `admin whoami`.

use portcullis_proto::admin::v1 as api;
use serde_json::{Value, json};

use crate::args::admin::{AdminCommand, AdminTokenCommand, AdminTokenCreateArgs};
use crate::args::{AskArgs, Format};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, table::table, time};

pub(crate) async fn run(command: AdminCommand) -> Result<(), Failure> {
    match command {
        AdminCommand::Token(AdminTokenCommand::Create(args)) => create(args).await,
        AdminCommand::Token(AdminTokenCommand::List(AskArgs { output, server })) => {
            let client = Client::connect(&server).await?;
            let request = api::ListAdminTokensRequest {};
            let tokens = client.access().list_admin_tokens(request).await?.into_inner().tokens;
            let value = json!({ "items": tokens.iter().map(token_json).collect::<Vec<_>>() });
            output::print(output.output, &value, || {
                let rows = tokens.iter().map(|token| {
                    [
                        token.name.clone(),
                        or_dash(&token.person),
                        or_dash(&[token.roles.as_slice(), &token.bound_roles].concat().join(",")),
                        token.state.clone(),
                        time::ago(token.created_unix_ms),
                        or_dash(&time::rfc3339(token.expires_unix_ms)),
                    ]
                });
                table(&["NAME", "PERSON", "ROLES", "STATE", "AGE", "EXPIRES"], rows)
            })
        }
        AdminCommand::Token(AdminTokenCommand::Revoke { name, server }) => {
            let client = Client::connect(&server).await?;
            let line = format!("admin token {name} revoked");
            client.access().revoke_admin_token(api::RevokeAdminTokenRequest { name }).await?;
            output::line(&line)
        }
        AdminCommand::Whoami(AskArgs { output, server }) => {
            let client = Client::connect(&server).await?;
            let who = client.access().who_am_i(api::WhoAmIRequest {}).await?.into_inner();
            who_am_i(&who, output.output)
        }
    }
}

async fn create(args: AdminTokenCreateArgs) -> Result<(), Failure> {
    let AdminTokenCreateArgs { name, roles, expires, person, ask: AskArgs { output, server } } = args;
    let lives_seconds = expires.map_or(0, |lives| lives.0.as_secs());
    if expires.is_some() && lives_seconds == 0 {
        return Err(Failure::usage("--expires: a token lives 1m at least"));
    }
    let client = Client::connect(&server).await?;
    let request = api::CreateAdminTokenRequest { name, roles, lives_seconds, person };
    let reply = client.access().create_admin_token(request).await?.into_inner();
    let mut value = token_json(&reply.info.unwrap_or_default());
    if let Some(members) = value.as_object_mut() {
        members.insert("token".to_owned(), reply.token.clone().into());
    }
    output::print(output.output, &value, || {
        output::note("shown once, kept nowhere: store it now");
        reply.token.clone()
    })
}

fn who_am_i(who: &api::WhoAmIResponse, format: Format) -> Result<(), Failure> {
    let value = json!({
        "name": who.name,
        "person": who.person,
        "author": who.author,
        "roles": who.roles,
        "rights": who.rights,
        "expires": time::rfc3339(who.expires_unix_ms),
    });
    output::print(format, &value, || {
        let expires = time::rfc3339(who.expires_unix_ms);
        [
            format!("name     {}", who.name),
            format!("person   {}", who.person),
            format!("roles    {}", or_dash(&who.roles.join(", "))),
            format!("rights   {}", or_dash(&who.rights.join(", "))),
            format!("expires  {}", if expires.is_empty() { "never" } else { &expires }),
        ]
        .join("\n")
    })
}

fn token_json(token: &api::AdminToken) -> Value {
    json!({
        "name": token.name,
        "person": token.person,
        "roles": token.roles,
        "boundRoles": token.bound_roles,
        "state": token.state,
        "created": time::rfc3339(token.created_unix_ms),
        "expires": time::rfc3339(token.expires_unix_ms),
    })
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
