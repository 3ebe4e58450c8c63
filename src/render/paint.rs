//! Colours, symbols and links of the terminal, and what the caller knows about it.

use anstyle::{AnsiColor, Style};

use crate::report::Severity;

/// How to print for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextOptions {
    /// The columns of the terminal.
    pub width: usize,
    /// Whether to use colour.
    pub color: bool,
    /// Whether the terminal shows more than ASCII.
    pub unicode: bool,
    /// The address of the bundle's directory (`file:///…/`), when the terminal follows links and
    /// the bundle is a directory.
    pub links: Option<String>,
    /// What the user types to run this program: `oc mcpgw`.
    pub program: String,
    /// The bundle as the user named it, for the commands that come next.
    pub bundle: Option<String>,
    /// Whether to print everything, however much it is.
    pub full: bool,
}

impl Default for TextOptions {
    /// For a file or a pipe.
    fn default() -> Self {
        Self {
            width: 100,
            color: false,
            unicode: true,
            links: None,
            program: "oc mcpgw".to_owned(),
            bundle: None,
            full: false,
        }
    }
}

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const RED: Style = AnsiColor::Red.on_default().bold();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const BLUE: Style = AnsiColor::Blue.on_default().bold();
pub(super) const GREEN: Style = AnsiColor::Green.on_default().bold();
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();

impl TextOptions {
    /// A text in a style, or as it is without colour.
    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        if self.color && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// The text, linked to a file of the bundle where that is possible.
    pub(super) fn link(&self, file: &str, text: String) -> String {
        let Some(base) = &self.links else { return text };
        format!("\x1b]8;;{base}{}\x1b\\{text}\x1b]8;;\x1b\\", address(file))
    }

    /// The mark of a severity.
    pub(super) fn mark(&self, severity: Severity) -> String {
        match severity {
            Severity::Error => self.paint(RED, self.symbol("✗", "x")),
            Severity::Warning => self.paint(YELLOW, "!"),
            Severity::Info => self.paint(BLUE, "i"),
        }
    }

    pub(super) fn symbol(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }

    /// ` · ` between the parts of a line.
    pub(super) fn dot(&self) -> &'static str {
        self.symbol(" · ", " - ")
    }
}

/// A line in bold.
#[must_use]
pub fn heading(text: &str, options: &TextOptions) -> String {
    options.paint(BOLD, text)
}

/// Text that stands back, wrapped.
#[must_use]
pub fn dim(text: &str, options: &TextOptions) -> String {
    let lines: Vec<String> = super::layout::wrap(text, options.width.min(100))
        .iter()
        .map(|line| options.paint(DIM, line))
        .collect();
    lines.join("\n")
}

/// A path as it stands in a `file:` address.
#[must_use]
pub fn address(path: &str) -> String {
    percent_encoding::utf8_percent_encode(path, PATH).to_string()
}

/// What must be encoded in the path of a `file:` address.
const PATH: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'`')
    .add(b'{')
    .add(b'}');
