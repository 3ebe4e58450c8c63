//! Commands for a person to paste: text of this program, with everything foreign in it quoted for the shell.
//!
//! What a bundle holds was written by strangers. A [`Command`] is therefore made in two ways only: from a constant,
//! or by [`shell!`], whose constant says where the foreign words go. Each word is quoted where it needs it; a place
//! for a word inside quotes, or a name captured from the surroundings, does not compile.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

/// A command, or several joined by pipes, that a POSIX shell takes apart as it was meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command(String);

impl Command {
    /// For [`shell!`] only: the constant with its words filled in.
    pub(crate) fn from_words(text: fmt::Arguments<'_>) -> Self {
        Self(text.to_string())
    }

    /// The command with a text on its standard input: as a here-string, or, where the text has quotes of its
    /// own or several lines, as a here-document, which stays readable.
    pub(crate) fn reading(self, input: &str) -> Self {
        if !input.contains(['\'', '\n']) {
            return Self(format!("{} <<<{}", self.0, Word(input)));
        }
        let input = input.trim_end_matches('\n');
        let mut end = "EOF".to_owned();
        while input.lines().any(|line| line == end) {
            end.push('_');
        }
        Self(format!("{} <<'{end}'\n{input}\n{end}", self.0))
    }

    /// The command with an object on its standard input, as YAML, which reads better than JSON.
    pub(crate) fn reading_yaml(self, object: &Value) -> Self {
        self.reading(&serde_yaml::to_string(object).unwrap_or_else(|_| object.to_string()))
    }

    /// The text to paste.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The text to paste.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

impl From<&'static str> for Command {
    fn from(constant: &'static str) -> Self {
        Self(constant.to_owned())
    }
}

/// What may stand in a command.
pub(crate) trait Shell {
    /// Writes it as the shell has to read it.
    ///
    /// # Errors
    /// Those of the formatter.
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result;
}

/// One argument of [`shell!`].
pub(crate) struct Argument<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: Shell + ?Sized> Display for Argument<'_, T> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.0.write(out)
    }
}

impl<T: Shell + ?Sized> Shell for &T {
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        (**self).write(out)
    }
}

impl Shell for str {
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&Word(self), out)
    }
}

impl Shell for String {
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.as_str().write(out)
    }
}

impl Shell for std::borrow::Cow<'_, str> {
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        (**self).write(out)
    }
}

impl Shell for Command {
    /// What is a command already is not quoted again.
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Shell for Value {
    /// As JSON in one word: a patch.
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&Word(&self.to_string()), out)
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl Shell for $number {
            fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
                Display::fmt(self, out)
            }
        })*
    };
}
numbers!(i64, u64, usize, u16);

/// Several words.
pub(crate) struct Words<'a, T>(pub(crate) &'a [T]);

impl<T: Shell> Shell for Words<'_, T> {
    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (at, word) in self.0.iter().enumerate() {
            if at > 0 {
                out.write_str(" ")?;
            }
            word.write(out)?;
        }
        Ok(())
    }
}

/// A text as one word: bare where no shell finds anything in it, else in single quotes.
struct Word<'a>(&'a str);

impl Display for Word<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0;
        // No name of Kubernetes begins so. Quotes do not help: the program, not the shell, would take it for an option.
        if text.starts_with('-') {
            return out.write_str("\"${VALUE}\"");
        }
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@%+,=".contains(letter);
        if !text.is_empty() && text.chars().all(plain) {
            return out.write_str(text);
        }
        if text.chars().any(|letter| letter.is_control()) {
            return controlled(text, out);
        }
        write!(out, "'{}'", text.replace('\'', r"'\''"))
    }
}

/// A text with control characters, in the quotes of bash that write them visibly: a terminal must not obey them.
fn controlled(text: &str, out: &mut Formatter<'_>) -> fmt::Result {
    out.write_str("$'")?;
    for letter in text.chars() {
        match letter {
            '\'' | '\\' => write!(out, "\\{letter}")?,
            '\n' => out.write_str("\\n")?,
            '\t' => out.write_str("\\t")?,
            letter if letter.is_control() => write!(out, "\\u{:04x}", u32::from(letter))?,
            letter => write!(out, "{letter}")?,
        }
    }
    out.write_str("'")
}

/// Whether every place for a word (`{}`, `{name}`) stands outside quotes, where the word's own quotes hold.
pub(crate) const fn places_are_bare(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut quote = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte == b'{' && at + 1 < bytes.len() && bytes[at + 1] == b'{' {
            at += 2;
            continue;
        }
        if byte == b'{' && quote != 0 {
            return false;
        }
        if quote == 0 && (byte == b'\'' || byte == b'"') {
            quote = byte;
        } else if byte == quote {
            quote = 0;
        }
        at += 1;
    }
    quote == 0
}

/// A [`Command`]: `shell!("oc -n {} get pod {}", namespace, name)`, or with names, `{ns}` and `ns = …`.
macro_rules! shell {
    ($text:literal $(, $name:ident = $named:expr)* $(,)?) => { $crate::shell::shell!($text; ; $($name = $named),*) };
    ($text:literal, $($word:expr),+ $(,)?) => { $crate::shell::shell!($text; $($word),+ ;) };
    ($text:literal; $($word:expr),* ; $($name:ident = $named:expr),*) => {{
        const { assert!($crate::shell::places_are_bare($text), "a word's place stands in quotes") };
        // `concat!` keeps `format_args!` from taking names out of the surroundings, which would not be quoted.
        $crate::shell::Command::from_words(format_args!(
            concat!($text)
            $(, $crate::shell::Argument(&$word))*
            $(, $name = $crate::shell::Argument(&$named))*
        ))
    }};
}
pub(crate) use shell;

/// What `oc` does and kubectl does not, or does otherwise.
const ONLY_OC: &[&str] =
    &["adm", "debug", "expose", "login", "new-project", "project", "rsh", "secrets", "set data", "whoami"];

/// A text with the commands for who has called this program by a name. Who has called `kubectl mcpgw` may have no `oc`:
/// its commands become those of kubectl, where kubectl has them.
pub(crate) fn for_program(program: &str, text: &str) -> String {
    if program.starts_with("kubectl") { with_kubectl(text) } else { text.to_owned() }
}

fn with_kubectl(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("oc ") {
        let (before, command) = rest.split_at(at);
        out.push_str(before);
        let words = &command["oc ".len()..];
        out.push_str(if begins_a_command(&out) && !is_only_oc(words) { "kubectl " } else { "oc " });
        rest = words;
    }
    out.push_str(rest);
    out
}

/// Whether the next word is the program of a command: at the start of a text or line, behind a pipe or the like, in
/// backticks or `$(`, or behind the `--` of `serve`.
fn begins_a_command(before: &str) -> bool {
    let line = before.trim_end_matches(' ');
    line.is_empty()
        || line.ends_with(['\n', '|', '&', ';', '`'])
        || line.ends_with("$(")
        || line.ends_with(" --")
}

/// Whether the words behind `oc` are of a command that kubectl lacks. Its flags may come first.
fn is_only_oc(words: &str) -> bool {
    let mut words = words.split([' ', '\n', '`']).filter(|word| !word.is_empty());
    let mut next = words.next();
    while let Some(flag) = next.filter(|word| word.starts_with('-')) {
        next = if matches!(flag, "-n" | "--namespace") { words.nth(1) } else { words.next() };
    }
    let (verb, object) = (next.unwrap_or_default(), words.next().unwrap_or_default());
    ONLY_OC.contains(&verb) || ONLY_OC.contains(&format!("{verb} {object}").as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kubectl_takes_the_place_of_oc_where_it_can() {
        for (oc, kubectl) in [
            ("oc get pods -A", "kubectl get pods -A"),
            ("oc mcpgw explain MG213", "kubectl mcpgw explain MG213"),
            ("oc -n team logs srv | grep x", "kubectl -n team logs srv | grep x"),
            ("oc get secret a -o yaml | oc apply -f -", "kubectl get secret a -o yaml | kubectl apply -f -"),
            ("oc patch x -p \"$(oc get y -o json)\"", "kubectl patch x -p \"$(kubectl get y -o json)\""),
            ("run `oc -n a set env deployment/b C=d`.", "run `kubectl -n a set env deployment/b C=d`."),
            ("oc mcpgw serve b.tgz -- oc get mcpsr", "kubectl mcpgw serve b.tgz -- kubectl get mcpsr"),
            // What only `oc` can stays.
            ("oc -n a set data secret/b c=d", "oc -n a set data secret/b c=d"),
            ("oc adm must-gather", "oc adm must-gather"),
            ("oc --insecure-skip-tls-verify login", "oc --insecure-skip-tls-verify login"),
            // No programs.
            ("the doc is here", "the doc is here"),
            ("oc -n a label pod oc x=y", "kubectl -n a label pod oc x=y"),
        ] {
            assert_eq!(with_kubectl(oc), kubectl);
        }
    }

    #[test]
    fn words_are_quoted_where_they_need_it() {
        for (word, expected) in [
            ("orders", "orders"),
            ("deployment/mcp-gateway", "deployment/mcp-gateway"),
            ("", "''"),
            ("two words", "'two words'"),
            ("*.example.com", "'*.example.com'"),
            ("it's", r"'it'\''s'"),
            ("$(reboot)`reboot`", "'$(reboot)`reboot`'"),
            ("a\nb'\u{1b}[2J\\", r"$'a\nb\'\u001b[2J\\'"),
            ("--all", "\"${VALUE}\""),
        ] {
            assert_eq!(shell!("oc get pod {}", word).into_text(), format!("oc get pod {expected}"));
        }
    }

    #[test]
    fn a_patch_is_one_word_and_a_command_stays_what_it_is() {
        let scope = shell!("oc -n {ns}", ns = "it's");
        let command = shell!("{} patch pod {} -p {}", scope, "p", json!({"a": "it's {}"}));
        assert_eq!(command.into_text(), r#"oc -n 'it'\''s' patch pod p -p '{"a":"it'\''s {}"}'"#);
    }

    #[test]
    fn input_stays_readable_and_cannot_end_early() {
        let command = || Command::from("oc apply -f -");
        assert_eq!(command().reading("{\"a\":1}").into_text(), "oc apply -f - <<<'{\"a\":1}'");
        assert_eq!(command().reading("it's\n").into_text(), "oc apply -f - <<'EOF'\nit's\nEOF");
        assert_eq!(
            command().reading("a\nEOF\nrm -rf /\n").into_text(),
            "oc apply -f - <<'EOF_'\na\nEOF\nrm -rf /\nEOF_"
        );
    }

    #[test]
    fn a_place_in_quotes_is_refused() {
        for (text, bare) in [
            ("oc get {}", true),
            ("oc get -o jsonpath='{{.spec}}' {}", true),
            ("oc get '{}'", false),
            ("oc get \"{name}\"", false),
            ("oc get 'open", false),
        ] {
            assert_eq!(places_are_bare(text), bare, "{text}");
        }
    }
}
