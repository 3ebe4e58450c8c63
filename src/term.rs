//! The terminal: whether to use colour, how wide it is, and making foreign text safe to print.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};

use crate::render::TextOptions;

/// When to use colour (`--color`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// Colour on a terminal, subject to `NO_COLOR` and `CLICOLOR_FORCE`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Makes this the choice for everything that the program prints from now on.
    pub fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// How to print for people on this standard output; `program` is what they type to run this program.
#[must_use]
pub fn text_options(program: &str) -> TextOptions {
    let stdout = std::io::stdout();
    let terminal = stdout.is_terminal();
    let color = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
    TextOptions {
        width: width(terminal),
        color,
        unicode: unicode(|name| std::env::var(name).ok()),
        links: (terminal && color && follows_links(|name| std::env::var(name).ok())).then(String::new),
        program: program.to_owned(),
        ..TextOptions::default()
    }
}

/// `COLUMNS`, the terminal's width up to what reads well, or a width for pipes and files.
fn width(terminal: bool) -> usize {
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|c| *c > 0);
    let measured = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    match set.or_else(|| measured().filter(|_| terminal)) {
        Some(width) => width.clamp(40, 140),
        None => TextOptions::default().width,
    }
}

/// Whether the locale speaks against anything but ASCII. An unset locale does not: containers
/// have none, and their terminals are elsewhere.
fn unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| variable(name).filter(|v| !v.is_empty()));
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Whether the terminal is one that makes links (OSC 8) of addresses. `FORCE_HYPERLINK` decides
/// where it is set; everything else is known by what it sets itself.
fn follows_links(variable: impl Fn(&str) -> Option<String>) -> bool {
    if let Some(forced) = variable("FORCE_HYPERLINK") {
        return forced != "0";
    }
    let program = variable("TERM_PROGRAM").unwrap_or_default();
    ["iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper"].contains(&program.as_str())
        || variable("VTE_VERSION").and_then(|v| v.parse::<u32>().ok()).is_some_and(|v| v >= 5000)
        || ["KITTY_WINDOW_ID", "WT_SESSION", "KONSOLE_VERSION", "DOMTERM"]
            .into_iter()
            .any(|name| variable(name).is_some())
}

/// Prints a result to standard output, with colour as chosen.
///
/// # Errors
/// The reader went away, or the disk behind the output is full.
pub fn print(text: &str) -> std::io::Result<()> {
    // Without an escape there is nothing to translate or to strip, which is slow for megabytes.
    if memchr::memchr(0x1b, text.as_bytes()).is_none() {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        return stdout.flush();
    }
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Replaces control characters, so that text from a cluster cannot steer the terminal.
///
/// Line breaks and tabs survive; everything else below U+0020, DEL, the C1 controls and the
/// bidirectional overrides and the two noncharacters that XML forbids become U+FFFD.
#[must_use]
pub fn sanitize(text: &str) -> Cow<'_, str> {
    let hostile = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
    };
    if !text.contains(hostile) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if hostile(c) { '\u{fffd}' } else { c }).collect())
}

/// A count with its noun: `1 file`, `2 files`.
#[must_use]
pub fn counted<N: std::fmt::Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(sanitize("a\x1b[31mb\nc\td"), "a\u{fffd}[31mb\nc\td");
        assert_eq!(sanitize("plain – ✓"), "plain – ✓");
        assert_eq!(sanitize("x\u{202e}y\u{9b}z"), "x\u{fffd}y\u{fffd}z");
    }

    #[test]
    fn the_locale_and_the_terminal_decide_what_is_printed() {
        let set = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
        };
        assert!(unicode(set(&[])));
        assert!(unicode(set(&[("LANG", "de_DE.UTF-8")])));
        assert!(!unicode(set(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")])));
        assert!(follows_links(set(&[("VTE_VERSION", "7600")])));
        assert!(!follows_links(set(&[("VTE_VERSION", "7600"), ("FORCE_HYPERLINK", "0")])));
        assert!(!follows_links(set(&[("TERM_PROGRAM", "Apple_Terminal")])));
    }
}
