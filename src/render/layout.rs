//! Words into lines: display width, wrapping, cutting, and making foreign text fit for one line.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr as _;

use crate::term;

/// The longest text that is printed on a terminal before it is cut, in columns.
pub(super) const TEXT_LIMIT: usize = 400;

/// The longest command line that is printed. Commands are not cut like text, because a part of one
/// is of no use; beyond this they are none.
pub(super) const COMMAND_LIMIT: usize = 8000;

/// How many columns a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Foreign text for one line: no control characters, no line breaks, no runs of spaces.
pub(super) fn one_line(text: &str) -> String {
    // A megabyte in a name is cut before anything else looks at each of its characters twice.
    let text = term::sanitize(head(text, TEXT_LIMIT * 16));
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// At most the first `bytes` bytes, ending at a character.
fn head(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Cuts a text in the middle to at most `limit` columns: both its beginning and its end tell
/// names apart.
pub(super) fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit || width(text) <= limit {
        return Cow::Borrowed(text);
    }
    let (front, back) = (limit.saturating_sub(1) * 2 / 3, limit.saturating_sub(1) / 3);
    let mut columns = 0;
    let mut start = 0;
    for (at, c) in text.char_indices() {
        columns += char_width(c);
        if columns > front {
            break;
        }
        start = at + c.len_utf8();
    }
    columns = 0;
    let mut end = text.len();
    for (at, c) in text.char_indices().rev() {
        columns += char_width(c);
        if columns > back || at < start {
            break;
        }
        end = at;
    }
    Cow::Owned(format!("{}…{}", &text[..start], &text[end..]))
}

/// Cuts a text at its end to at most `limit` columns.
pub(super) fn cut_end(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit || width(text) <= limit {
        return Cow::Borrowed(text);
    }
    let mut columns = 0;
    for (at, c) in text.char_indices() {
        columns += char_width(c);
        if columns > limit.saturating_sub(1) {
            return Cow::Owned(format!("{}…", &text[..at]));
        }
    }
    Cow::Borrowed(text)
}

fn char_width(c: char) -> usize {
    unicode_width::UnicodeWidthChar::width(c).unwrap_or(0)
}

/// Breaks a text between words into lines of at most `limit` columns. A word that is longer than a
/// line stays whole, so that a path or a name can be copied.
pub(super) fn wrap(text: &str, limit: usize) -> Vec<String> {
    let limit = limit.max(16);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut columns = 0;
    for word in text.split_whitespace() {
        let word_columns = width(word);
        if !line.is_empty() && columns + 1 + word_columns > limit {
            lines.push(std::mem::take(&mut line));
            columns = 0;
        }
        if !line.is_empty() {
            line.push(' ');
            columns += 1;
        }
        line.push_str(word);
        columns += word_columns;
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// `1 object`, `2 objects`.
pub(super) fn count(number: usize, singular: &str, plural: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { singular } else { plural })
}

/// `50,000`.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_long_words_stay_whole() {
        assert_eq!(
            wrap("the route names a listener that is not there", 20),
            ["the route names a", "listener that is not", "there"]
        );
        assert_eq!(
            wrap("see namespaces/team-a/core/pods.yaml:12 now", 20),
            ["see", "namespaces/team-a/core/pods.yaml:12", "now"]
        );
        assert_eq!(wrap("", 20), [""]);
        // Wide characters take two columns.
        assert_eq!(wrap("日本語日本語 日本語日本語", 16), ["日本語日本語", "日本語日本語"]);
    }

    #[test]
    fn cutting_keeps_both_ends() {
        assert_eq!(cut("short", 10), "short");
        assert_eq!(cut("abcdefghijklmnopqrstuvwxyz", 10), "abcdef…xyz");
        assert_eq!(cut_end("abcdefghijklmnopqrstuvwxyz", 10), "abcdefghi…");
        assert_eq!(width(&cut("日本語日本語日本語日本語", 10)), 9);
    }

    #[test]
    fn one_line_is_one_line() {
        assert_eq!(one_line(" a\n b\t\x1b[2Jc "), "a b \u{fffd}[2Jc");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([thousands(7), thousands(1000), thousands(1_234_567)], ["7", "1,000", "1,234,567"]);
    }
}
