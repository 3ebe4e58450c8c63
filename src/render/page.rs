//! A page of the catalogue (Markdown in a doc comment): its parts, and how a terminal shows them.

use super::layout::{width, wrap};
use super::paint::{BOLD, CYAN, DIM, TextOptions};

/// One part of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    /// A heading, without its marks.
    Heading(String),
    /// Running text.
    Paragraph(String),
    /// An item of a list: its marker (`- `, `2. `, indented) and its text.
    Item(String, String),
    /// Lines as they stand.
    Code(Vec<String>),
    /// The rows of a table as they stand.
    Table(Vec<String>),
}

/// Reads a page. A doc comment has one space between its slashes and its text, which goes.
pub(super) fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut fence = false;
    let mut open = false;
    for line in markdown.lines() {
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        if line.trim_start().starts_with("```") {
            fence = !fence;
            open = false;
            if fence {
                blocks.push(Block::Code(Vec::new()));
            }
        } else if fence {
            if let Some(Block::Code(lines)) = blocks.last_mut() {
                lines.push(line.to_owned());
            }
        } else if line.is_empty() {
            open = false;
        } else if let Some(heading) = line.strip_prefix('#') {
            blocks.push(Block::Heading(heading.trim_start_matches('#').trim().to_owned()));
            open = false;
        } else if line.starts_with('|') {
            match blocks.last_mut() {
                Some(Block::Table(rows)) if open => rows.push(line.to_owned()),
                _ => blocks.push(Block::Table(vec![line.to_owned()])),
            }
            open = true;
        } else if line.starts_with("    ") && !open {
            match blocks.last_mut() {
                Some(Block::Code(lines)) => lines.push(line[4..].to_owned()),
                _ => blocks.push(Block::Code(vec![line[4..].to_owned()])),
            }
        } else if let Some(marker) = list_marker(line) {
            blocks.push(Block::Item(line[..marker].to_owned(), line[marker..].to_owned()));
            open = true;
        } else {
            match blocks.last_mut() {
                Some(Block::Paragraph(text) | Block::Item(_, text)) if open => {
                    text.push(' ');
                    text.push_str(line.trim());
                }
                _ => blocks.push(Block::Paragraph(line.trim().to_owned())),
            }
            open = true;
        }
    }
    blocks
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

/// Prints a Markdown page: headings in bold, paragraphs and lists wrapped, code as it stands.
#[must_use]
pub fn page(markdown: &str, options: &TextOptions) -> String {
    let mut out = String::new();
    let mut before: Option<Block> = None;
    for block in blocks(markdown) {
        let joined = matches!(
            (&before, &block),
            (None | Some(Block::Heading(_)), _) | (Some(Block::Item(..)), Block::Item(..))
        );
        if !joined {
            out.push('\n');
        }
        match &block {
            Block::Heading(text) => out.push_str(&format!("{}\n", options.paint(BOLD, text))),
            Block::Paragraph(text) => lines("", text, options, &mut out),
            Block::Item(marker, text) => {
                lines(&marker.replace(['-', '*'], options.symbol("•", "-")), text, options, &mut out);
            }
            Block::Code(lines) => {
                for line in lines {
                    out.push_str(format!("    {}", options.paint(CYAN, line)).trim_end());
                    out.push('\n');
                }
            }
            Block::Table(rows) => {
                for row in rows {
                    out.push_str(&format!("{}\n", options.paint(DIM, row)));
                }
            }
        }
        before = Some(block);
    }
    out
}

/// Wrapped text behind a marker.
fn lines(marker: &str, text: &str, options: &TextOptions, out: &mut String) {
    let indent = width(marker);
    for (at, line) in wrap(text, options.width.min(100).saturating_sub(indent)).iter().enumerate() {
        let lead = if at == 0 { marker.to_owned() } else { " ".repeat(indent) };
        out.push_str(&format!("{lead}{}\n", code_spans(line, options)));
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
        let page_text = " A route names a listener that does not exist\n\n ## What it means\n The route is\n attached to `nothing`.\n\n - first item that\n   goes on\n - second\n 1. third\n\n ```\n oc get httproute\n ```\n After it.\n";
        let options = TextOptions { width: 30, ..TextOptions::default() };
        insta::assert_snapshot!(page(page_text, &options), @r"
        A route names a listener that
        does not exist

        What it means
        The route is attached to
        `nothing`.

        • first item that goes on
        • second
        1. third

            oc get httproute

        After it.
        ");
    }
}
