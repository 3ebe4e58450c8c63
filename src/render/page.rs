//! A page of the catalogue (Markdown in a doc comment) for a terminal.

use super::layout::wrap;
use super::paint::{BOLD, CYAN, DIM, TextOptions};

/// Prints a Markdown page: headings in bold, paragraphs and lists wrapped, code as it stands.
#[must_use]
pub fn page(markdown: &str, options: &TextOptions) -> String {
    let mut out = String::new();
    let mut paragraph = Paragraph::default();
    let mut fence = false;
    for line in markdown.lines() {
        // A doc comment has one space between its slashes and its text.
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        if line.trim_start().starts_with("```") {
            paragraph.end(options, &mut out);
            fence = !fence;
        } else if fence {
            out.push_str(&format!("    {}\n", options.paint(CYAN, line)));
        } else if line.is_empty() {
            paragraph.end(options, &mut out);
            if !out.is_empty() && !out.ends_with("\n\n") {
                out.push('\n');
            }
        } else if let Some(heading) = line.strip_prefix('#') {
            paragraph.end(options, &mut out);
            let heading = heading.trim_start_matches('#').trim();
            out.push_str(&format!("{}\n", options.paint(BOLD, heading)));
        } else if line.starts_with("    ") && paragraph.is_empty() {
            out.push_str(&format!("{}\n", options.paint(CYAN, line)));
        } else if line.starts_with('|') {
            paragraph.end(options, &mut out);
            out.push_str(&format!("{}\n", options.paint(DIM, line)));
        } else if let Some(marker) = list_marker(line) {
            paragraph.end(options, &mut out);
            paragraph.begin(&line[..marker], &line[marker..]);
        } else {
            paragraph.add(line);
        }
    }
    paragraph.end(options, &mut out);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// How wide the marker of a list item is (`- `, `* `, `12. `), with the indentation before it.
fn list_marker(line: &str) -> Option<usize> {
    let text = line.trim_start();
    let indent = line.len() - text.len();
    if text.starts_with("- ") || text.starts_with("* ") {
        return Some(indent + 2);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0 && digits < 4 && text[digits..].starts_with(". ")).then_some(indent + digits + 2)
}

/// A paragraph or a list item in the making.
#[derive(Default)]
struct Paragraph {
    marker: String,
    text: String,
}

impl Paragraph {
    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn begin(&mut self, marker: &str, text: &str) {
        self.marker = marker.to_owned();
        self.text = text.to_owned();
    }

    fn add(&mut self, line: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(line.trim());
    }

    fn end(&mut self, options: &TextOptions, out: &mut String) {
        if self.text.is_empty() {
            return;
        }
        let marker = self.marker.replace(['-', '*'], options.symbol("•", "-"));
        let indent = super::layout::width(&marker);
        for (at, line) in wrap(&self.text, options.width.min(100).saturating_sub(indent)).iter().enumerate() {
            let lead = if at == 0 { marker.clone() } else { " ".repeat(indent) };
            out.push_str(&format!("{lead}{}\n", code_spans(line, options)));
        }
        *self = Self::default();
    }
}

/// Colours `code`; without colour the backticks stay, because they are what tells code from text.
fn code_spans(line: &str, options: &TextOptions) -> String {
    if !options.color || !line.matches('`').count().is_multiple_of(2) {
        return line.to_owned();
    }
    line.split('`')
        .enumerate()
        .map(|(at, part)| if at % 2 == 1 { options.paint(CYAN, part) } else { part.to_owned() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_well_without_colour() {
        let page_text = " A route names a listener that does not exist\n\n ## What it means\n The route is\n attached to `nothing`.\n\n - first item that\n   goes on\n - second\n\n ```\n oc get httproute\n ```\n";
        let options = TextOptions { width: 30, ..TextOptions::default() };
        insta::assert_snapshot!(page(page_text, &options), @r"
        A route names a listener that
        does not exist

        What it means
        The route is attached to
        `nothing`.

        • first item that goes on
        • second

            oc get httproute
        ");
    }
}
