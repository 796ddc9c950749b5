//! The methods of MCP: which era knows them, which parameter `Mcp-Name` mirrors, which results may be cached.

use crate::revision::Era;

/// Which member of `params` the `Mcp-Name` header mirrors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameSource {
    /// `params.name`.
    Name,
    /// `params.uri`.
    Uri,
}

const BOTH: (bool, bool) = (true, true);
const LEGACY: (bool, bool) = (false, true);
const MODERN: (bool, bool) = (true, false);

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $eras:expr,)+) => {
        /// A request or notification that a client may send in some era.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* $variant,)+
        }

        impl Method {
            /// Every method.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The method of this name, if some era knows it.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }

            /// Its name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Whether clients of the era may send it.
            #[must_use]
            pub const fn known_in(self, era: Era) -> bool {
                let (modern, legacy): (bool, bool) = match self { $(Self::$variant => $eras,)+ };
                match era { Era::Modern => modern, Era::Legacy => legacy }
            }
        }
    };
}

methods! {
    /// Opens a legacy session.
    Initialize = "initialize" LEGACY,
    /// Liveness of a legacy peer.
    Ping = "ping" LEGACY,
    /// What a modern server is.
    ServerDiscover = "server/discover" MODERN,
    /// Opens a modern notification stream.
    SubscriptionsListen = "subscriptions/listen" MODERN,
    /// The tools.
    ToolsList = "tools/list" BOTH,
    /// One call.
    ToolsCall = "tools/call" BOTH,
    /// The prompts.
    PromptsList = "prompts/list" BOTH,
    /// One prompt.
    PromptsGet = "prompts/get" BOTH,
    /// The resources.
    ResourcesList = "resources/list" BOTH,
    /// The resource templates.
    ResourcesTemplatesList = "resources/templates/list" BOTH,
    /// One resource.
    ResourcesRead = "resources/read" BOTH,
    /// Begin `notifications/resources/updated` for a URI.
    ResourcesSubscribe = "resources/subscribe" LEGACY,
    /// End it.
    ResourcesUnsubscribe = "resources/unsubscribe" LEGACY,
    /// Completion of an argument.
    CompletionComplete = "completion/complete" BOTH,
    /// Least severe log level of a session.
    LoggingSetLevel = "logging/setLevel" LEGACY,
    /// The handshake is over.
    NotificationsInitialized = "notifications/initialized" LEGACY,
    /// The sender no longer wants an answer (modern: on stdio only).
    NotificationsCancelled = "notifications/cancelled" BOTH,
    /// Progress of a request that the server sent.
    NotificationsProgress = "notifications/progress" LEGACY,
    /// The client's roots changed.
    NotificationsRootsListChanged = "notifications/roots/list_changed" LEGACY,
}

impl Method {
    /// Whether it is a notification.
    #[must_use]
    pub fn is_notification(self) -> bool {
        self.as_str().starts_with("notifications/")
    }

    /// What `Mcp-Name` mirrors, for the methods that require it (2026-07-28, streamable HTTP, standard request headers).
    #[must_use]
    pub const fn name_source(self) -> Option<NameSource> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some(NameSource::Name),
            Self::ResourcesRead => Some(NameSource::Uri),
            _ => None,
        }
    }

    /// Whether its complete results carry `ttlMs` and `cacheScope` (2026-07-28, caching page).
    #[must_use]
    pub const fn is_cacheable(self) -> bool {
        matches!(
            self,
            Self::ServerDiscover
                | Self::ToolsList
                | Self::PromptsList
                | Self::ResourcesList
                | Self::ResourcesTemplatesList
                | Self::ResourcesRead
        )
    }

    /// Whether a modern server may answer it with `input_required` (2026-07-28, multi round-trip requests).
    #[must_use]
    pub const fn may_require_input(self) -> bool {
        matches!(self, Self::ToolsCall | Self::PromptsGet | Self::ResourcesRead)
    }
}

#[cfg(test)]
mod tests;
