//! From a path to an endpoint. Nothing is decoded: names are DNS labels, and any other spelling is another path.

use portcullis_policy::EndpointRef;

/// The endpoint that a path names, whether or not it exists.
pub(super) fn parse(path: &str) -> Option<EndpointRef<'_>> {
    if path == "/mcp" {
        return Some(EndpointRef::All);
    }
    let inner = path.strip_suffix("/mcp")?;
    let is_name = |name: &&str| !name.is_empty() && !name.contains('/');
    if let Some(name) = inner.strip_prefix("/bundles/") {
        return Some(name).filter(is_name).map(EndpointRef::Bundle);
    }
    inner.strip_prefix("/servers/").filter(is_name).map(EndpointRef::Server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_three_forms_are_endpoints() {
        assert!(matches!(parse("/mcp"), Some(EndpointRef::All)));
        assert!(matches!(parse("/bundles/support/mcp"), Some(EndpointRef::Bundle("support"))));
        assert!(matches!(parse("/servers/crm/mcp"), Some(EndpointRef::Server("crm"))));
        for path in
            ["/", "", "/mcp/", "/MCP", "//mcp", "/servers//mcp", "/servers/a/b/mcp", "/servers/a", "/x/a/mcp"]
        {
            assert!(parse(path).is_none(), "{path}");
        }
    }
}
