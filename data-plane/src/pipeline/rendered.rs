//! Lists of definitions as one era's callers get them, made once for each list and era.

use std::sync::Arc;

use portcullis_mcp::{Era, translate};
use portcullis_policy::View;
use portcullis_seal::Fingerprint;
use serde_json::value::RawValue;

use super::shards::Shards;

/// Lists that are kept for legacy callers; most of them are the very buffer of the view.
const KEPT: usize = 512;

/// The lists of tools that were made for legacy callers.
#[derive(Debug)]
pub struct Rendered {
    legacy_tools: Shards<Fingerprint, Arc<str>>,
}

impl Default for Rendered {
    fn default() -> Self {
        Self { legacy_tools: Shards::new(KEPT) }
    }
}

impl Rendered {
    /// The array of a view's tools for callers of an era.
    #[must_use]
    pub fn tools(&self, view: &View, era: Era) -> Arc<str> {
        let whole = view.tools_json();
        if era == Era::Modern {
            return Arc::clone(whole);
        }
        let tag = view.tools_tag();
        if let Some(found) = self.legacy_tools.get(&tag) {
            return found;
        }
        let made = for_legacy(whole).unwrap_or_else(|| Arc::clone(whole));
        self.legacy_tools.put(&tag, &made, |_| 0);
        made
    }
}

fn for_legacy(whole: &Arc<str>) -> Option<Arc<str>> {
    let tools: Vec<&RawValue> = serde_json::from_str(whole).ok()?;
    let tools: Vec<_> = tools
        .iter()
        .map(|tool| translate::tool_definition(tool.get(), Era::Legacy))
        .collect::<Result<_, _>>()
        .ok()?;
    let text = format!("[{}]", tools.join(","));
    Some(if text == **whole { Arc::clone(whole) } else { text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_callers_get_the_same_buffer_unless_a_schema_must_go() {
        let same: Arc<str> = r#"[{"name":"a","outputSchema":{"type":"object"}}]"#.into();
        assert!(Arc::ptr_eq(&for_legacy(&same).unwrap(), &same));
        let other: Arc<str> = r#"[{"name":"a"},{"name":"b","outputSchema":{"type":"array"},"x":1}]"#.into();
        assert_eq!(&*for_legacy(&other).unwrap(), r#"[{"name":"a"},{"name":"b","x":1}]"#);
    }
}
