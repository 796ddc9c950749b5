//! What is chosen of one server: by grants, or by the members of a bundle. Each choice knows the place that it was written at.

use std::sync::Arc;

use crate::pattern::{Pattern, PatternSet};

/// Chosen tools of one server.
#[derive(Debug)]
pub(crate) struct Selection {
    allow: PatternSet,
    except: PatternSet,
    /// An exception that cannot be read leaves out everything: a broken deny must never become an allow.
    broken: bool,
}

impl Selection {
    pub(crate) fn new(allow: &[String], except: &[String]) -> Self {
        let (allow, _) = PatternSet::new(allow);
        let (except, whole) = PatternSet::new(except);
        Self { allow, except, broken: !whole }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        !self.broken && self.allow.matches(name) && !self.except.matches(name)
    }

    /// Whether it can match anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.broken || self.allow.is_empty()
    }
}

/// Tools, prompts and resources of one server, each with the place that chose it: of a grant, or of a member. Those that come
/// first are found first.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    tools: Vec<(u32, Arc<Selection>)>,
    prompts: Vec<(u32, Arc<PatternSet>)>,
    resources: Vec<Pattern>,
    /// The places of the patterns, in the same order.
    resource_places: Vec<u32>,
}

impl Chosen {
    /// What one grant or member chooses. Patterns that cannot be read choose nothing.
    pub(crate) fn new(
        place: u32,
        allow: &[String],
        except: &[String],
        prompts: &[String],
        resources: &[String],
    ) -> Self {
        let tools = Selection::new(allow, except);
        let (prompts, _) = PatternSet::new(prompts);
        let resources: Vec<Pattern> = resources.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        Self {
            tools: if tools.is_empty() { Vec::new() } else { vec![(place, Arc::new(tools))] },
            prompts: if prompts.is_empty() { Vec::new() } else { vec![(place, Arc::new(prompts))] },
            resource_places: vec![place; resources.len()],
            resources,
        }
    }

    /// Whether it can choose anything.
    pub(crate) const fn is_empty(&self) -> bool {
        self.tools.is_empty() && self.prompts.is_empty() && self.resources.is_empty()
    }

    /// Adds what another chooses behind what is here.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.tools.append(&mut other.tools);
        self.prompts.append(&mut other.prompts);
        self.resources.append(&mut other.resources);
        self.resource_places.append(&mut other.resource_places);
    }

    /// The same choice, all of it made at one other place.
    pub(crate) fn at(&self, place: u32) -> Self {
        Self {
            tools: self.tools.iter().map(|(_, tools)| (place, Arc::clone(tools))).collect(),
            prompts: self.prompts.iter().map(|(_, prompts)| (place, Arc::clone(prompts))).collect(),
            resources: self.resources.clone(),
            resource_places: vec![place; self.resource_places.len()],
        }
    }

    /// The place that chose a tool.
    pub(crate) fn tool(&self, name: &str) -> Option<u32> {
        self.tools.iter().find(|(_, selection)| selection.matches(name)).map(|(at, _)| *at)
    }

    /// The place that chose a prompt.
    pub(crate) fn prompt(&self, name: &str) -> Option<u32> {
        self.prompts.iter().find(|(_, set)| set.matches(name)).map(|(at, _)| *at)
    }

    /// The place that chose a resource.
    pub(crate) fn resource(&self, uri: &str) -> Option<u32> {
        let at = self.resources.iter().position(|pattern| pattern.matches_uri(uri))?;
        self.resource_places.get(at).copied()
    }

    /// The patterns of resources.
    pub(crate) fn resources(&self) -> &[Pattern] {
        &self.resources
    }

    /// The patterns of resources, each with its place.
    pub(crate) fn placed_resources(&self) -> impl Iterator<Item = (&Pattern, u32)> {
        self.resources.iter().zip(self.resource_places.iter().copied())
    }

    /// Whether it can choose a prompt.
    pub(crate) const fn has_prompts(&self) -> bool {
        !self.prompts.is_empty()
    }
}
