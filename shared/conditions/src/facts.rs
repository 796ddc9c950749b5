//! What the caller of this crate knows of a call: who asks, for what, and how. Borrowed, plain, and complete.

use std::net::IpAddr;

/// Who asks. Everything here is known when the key is known, and does not change within a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct PrincipalFacts<'a> {
    /// `human`, `agent` or `workload`.
    pub kind: &'a str,
    /// Who, in the organisation's words. The entity is `Principal::"KIND/SUBJECT"`.
    pub subject: &'a str,
    /// The name of the key: `Key::"support-bot"`.
    pub key: &'a str,
    /// The key's team.
    pub team: Option<&'a str>,
    /// The customer: the team's, or the key's own.
    pub customer: Option<&'a str>,
    /// The principal's zone.
    pub zone: &'a str,
    /// Groups that an identity provider names.
    pub groups: &'a [&'a str],
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// A tool, asked for with `Action::"call"`.
    Tool,
    /// A prompt, asked for with `Action::"get_prompt"`.
    Prompt,
    /// A resource, asked for with `Action::"read_resource"`.
    Resource,
}

/// The thing that is asked for. Everything here is known when the snapshot is compiled, except the URI of a resource.
#[derive(Debug, Clone, Copy)]
pub struct TargetFacts<'a> {
    /// What it is.
    pub kind: TargetKind,
    /// The name of its server.
    pub server: &'a str,
    /// The upstream's name of the tool or prompt, or the URI of the resource. The entity is `Tool::"SERVER/NAME"`.
    pub name: &'a str,
    /// The zone that it is in: its own, else its server's.
    pub zone: &'a str,
    /// The data classes of it and of its server.
    pub data_classes: &'a [&'a str],
    /// The server's environment: `dev`, `stage` or `prod`.
    pub environment: &'a str,
    /// The server's hosting: `self` or `vendor`.
    pub hosting: &'a str,
    /// The server's tier: `gold`, `silver` or `bronze`.
    pub tier: &'a str,
    /// The hints of a tool, as approved.
    pub annotations: Annotations,
}

/// The hints of a tool's definition. What is absent reads as MCP says (schema, `ToolAnnotations`): not read-only,
/// destructive, not idempotent, open to the world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Annotations {
    /// `readOnlyHint`.
    pub read_only: Option<bool>,
    /// `destructiveHint`.
    pub destructive: Option<bool>,
    /// `idempotentHint`.
    pub idempotent: Option<bool>,
    /// `openWorldHint`.
    pub open_world: Option<bool>,
}

/// What is known of one request.
#[derive(Debug, Clone, Copy)]
pub struct CallFacts<'a> {
    /// Milliseconds since the Unix epoch.
    pub now_unix_ms: u64,
    /// The caller's address. A policy that reads it denies when it is not known.
    pub network: Option<IpAddr>,
    /// `modern` or `legacy`. A policy that reads it denies when it is not known.
    pub era: Option<&'a str>,
    /// The names of the `Client` resources that the caller's application matches.
    pub clients: &'a [&'a str],
    /// The JSON object that was sent as arguments; `{}` when the request has none. A policy that reads it denies when it is not
    /// known. It is not looked at when no policy of the slice reads it.
    pub arguments: Option<&'a str>,
}
