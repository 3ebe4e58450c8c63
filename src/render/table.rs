//! A table for a terminal, in the manner of `oc get`.

use super::layout::{one_line, width, wrap};
use super::paint::{BOLD, TextOptions};

/// Columns side by side; the last one is wrapped into what remains of the width.
#[must_use]
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]], options: &TextOptions) -> String {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| one_line(cell))).collect();
    let mut widths = head.map(width);
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            widths[at] = widths[at].max(width(cell));
        }
    }
    let before: usize = widths[..N.saturating_sub(1)].iter().map(|columns| columns + 2).sum();
    let rest = options.width.saturating_sub(before).max(24);
    let mut out = String::new();
    let mut heading = String::new();
    for (at, name) in head.iter().enumerate() {
        heading.push_str(name);
        if at + 1 < N {
            heading.push_str(&" ".repeat(widths[at] - width(name) + 2));
        }
    }
    out.push_str(&options.paint(BOLD, &heading));
    out.push('\n');
    for row in &rows {
        let mut line = String::new();
        for (at, cell) in row[..N.saturating_sub(1)].iter().enumerate() {
            line.push_str(cell);
            line.push_str(&" ".repeat(widths[at] - width(cell) + 2));
        }
        for (at, words) in wrap(row.last().map_or("", String::as_str), rest).iter().enumerate() {
            if at > 0 {
                line = " ".repeat(before);
            }
            line.push_str(words);
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}
