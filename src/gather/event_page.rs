//! `event-filter.html`: the events of all namespaces as one page that needs no network, because
//! the page of `oc adm inspect` loads its scripts from elsewhere.

use std::fmt::Write as _;

use crate::model::{Bundle, Object, kinds};

/// The most rows; beyond it the page says so.
const ROWS: usize = 20_000;

/// Makes the page.
pub(crate) fn page(bundle: &Bundle) -> String {
    let mut events: Vec<&Object> = bundle.list(&kinds::EVENT).collect();
    events.sort_by_cached_key(|event| (last_seen(event).to_owned(), event.full_name()));
    let total = events.len();
    let mut page = String::from(HEAD);
    if total > ROWS {
        let _ = writeln!(page, "<p>The newest {ROWS} of {total} events.</p>");
    }
    page.push_str(TABLE);
    for event in events.iter().rev().take(ROWS) {
        let kind = event.str("/involvedObject/kind");
        let object = format!("{kind}/{}", event.str("/involvedObject/name"));
        let source = match event.str("/source/component") {
            "" => event.str("/reportingComponent"),
            component => component,
        };
        let count = event.int("/count").unwrap_or(1).to_string();
        let class = if event.str("/type") == "Warning" { " class=w" } else { "" };
        let _ = write!(page, "<tr{class}>");
        for cell in [
            last_seen(event),
            event.str("/type"),
            event.namespace(),
            &object,
            event.str("/reason"),
            &count,
            source,
            event.str("/message"),
        ] {
            page.push_str("<td>");
            escape(cell, &mut page);
        }
        page.push('\n');
    }
    page.push_str(TAIL);
    page
}

/// When an event happened last, whichever of its fields says so.
fn last_seen(event: &Object) -> &str {
    ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"]
        .iter()
        .map(|field| event.str(field))
        .find(|time| !time.is_empty())
        .unwrap_or_default()
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
}

const HEAD: &str = "<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">
<title>Events</title>
<style>
body { font: 14px system-ui, sans-serif; margin: 1em; }
input { width: 40em; max-width: 95%; padding: .4em; }
table { border-collapse: collapse; margin-top: 1em; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2em .6em; border-bottom: 1px solid #ddd; }
th { position: sticky; top: 0; background: #fff; }
td:first-child { white-space: nowrap; }
.w td:nth-child(2) { color: #b00; font-weight: bold; }
@media (prefers-color-scheme: dark) { body, th { background: #181818; color: #ddd; } th, td { border-color: #444; } .w td:nth-child(2) { color: #f77; } }
</style>
<h1>Events</h1>
<p><input id=f placeholder=\"Show only rows with all of these words\" autofocus></p>
";

const TABLE: &str = "<table><thead><tr><th>Last seen<th>Type<th>Namespace<th>Object<th>Reason<th>Count<th>Source<th>Message</thead><tbody>
";

const TAIL: &str = "</tbody></table>
<script>
document.getElementById('f').addEventListener('input', function () {
  var words = this.value.toLowerCase().split(/\\s+/).filter(Boolean);
  document.querySelectorAll('tbody tr').forEach(function (row) {
    var text = row.textContent.toLowerCase();
    row.hidden = !words.every(function (word) { return text.includes(word); });
  });
});
</script>
</html>
";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn foreign_text_cannot_become_markup() {
        let mut bundle = Bundle::default();
        let value = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "n", "name": "e"},
            "type": "Warning", "reason": "Failed", "message": "<script>alert('x')</script>",
            "lastTimestamp": "2026-01-01T00:00:00Z", "involvedObject": {"kind": "Pod", "name": "p"}});
        bundle.add_object(Object::new(value, "f".into(), None).expect("an object"));
        let page = page(&bundle);
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
        assert!(!page.contains("<script>alert"));
        assert!(page.contains("Pod/p"));
        assert!(!page.contains("http://") && !page.contains("https://"));
    }
}
