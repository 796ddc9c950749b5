//! Whether a URI can come from a URI template (RFC 6570): enough to tell which server offers it, and no more.

/// Whether expanding the template can give the URI. An expression stands for any run of characters without `/`, or with it
/// where its operator or modifier allows (`+`, `#`, `/`, `*`, `?`, `&`). A template that cannot be read gives nothing.
#[must_use]
pub fn matches(template: &str, uri: &str) -> bool {
    let Some(pieces) = pieces(template) else { return false };
    // Which positions of the URI can be reached after each piece: bounded by pieces × length.
    let mut reached = vec![false; uri.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for piece in pieces {
        reached = match piece {
            Piece::Literal(text) => after_literal(&reached, uri, text),
            Piece::Variable { slashes } => after_variable(&reached, uri, slashes),
        };
    }
    reached.last().copied().unwrap_or(false)
}

enum Piece<'a> {
    Literal(&'a str),
    Variable { slashes: bool },
}

fn pieces(template: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((literal, tail)) = rest.split_once('{') {
        let (expression, after) = tail.split_once('}')?;
        if literal.contains('}') || expression.is_empty() || expression.contains('{') || pieces.len() > 64 {
            return None;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        let slashes = expression.starts_with(['+', '#', '/', '?', '&']) || expression.contains('*');
        pieces.push(Piece::Variable { slashes });
        rest = after;
    }
    if rest.contains('}') {
        return None;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    Some(pieces)
}

fn after_literal(reached: &[bool], uri: &str, text: &str) -> Vec<bool> {
    let mut next = vec![false; reached.len()];
    for (at, _) in reached.iter().enumerate().filter(|(_, reached)| **reached) {
        let fits = uri.as_bytes().get(at..).is_some_and(|rest| rest.starts_with(text.as_bytes()));
        if let (true, Some(slot)) = (fits, next.get_mut(at + text.len())) {
            *slot = true;
        }
    }
    next
}

fn after_variable(reached: &[bool], uri: &str, slashes: bool) -> Vec<bool> {
    let mut next = vec![false; reached.len()];
    let mut open = false;
    for (at, slot) in next.iter_mut().enumerate() {
        // The character before this position ends a run that may not hold it.
        let before = at.checked_sub(1).and_then(|at| uri.as_bytes().get(at));
        if before == Some(&b'/') && !slashes {
            open = false;
        }
        open = open || reached.get(at).copied().unwrap_or(false);
        *slot = open;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_fits_the_templates_that_can_give_it() {
        for (template, uri) in [
            ("demo://text/{id}", "demo://text/7"),
            ("demo://text/{id}", "demo://text/"),
            ("demo://{kind}/{id}/raw", "demo://a/b/raw"),
            ("file:///{+path}", "file:///a/b/c"),
            ("file://{/path*}", "file:///a/b"),
            ("x://a{?q}", "x://a?q=1"),
            ("x://fixed", "x://fixed"),
            ("x://{a}-{b}", "x://1-2-3"),
        ] {
            assert!(matches(template, uri), "{template} {uri}");
        }
        for (template, uri) in [
            ("demo://text/{id}", "demo://text/7/8"),
            ("demo://text/{id}", "other://text/7"),
            ("demo://{id}/raw", "demo://a/rawer"),
            ("x://fixed", "x://fixed2"),
            ("x://{open", "x://open"),
            ("x://a}", "x://a}"),
            ("x://{}", "x://a"),
        ] {
            assert!(!matches(template, uri), "{template} {uri}");
        }
    }

    #[test]
    fn a_hostile_template_costs_no_more_than_its_size() {
        let template = "{a}x".repeat(30);
        let uri = "x".repeat(4000);
        assert!(matches(&template, &uri));
        assert!(!matches(&template, &"y".repeat(4000)));
    }
}
