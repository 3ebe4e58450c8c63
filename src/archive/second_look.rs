//! The second look at an archive before it is published: with the engine that shares nothing with the
//! redactor's patterns, and for every value that was read from a Secret, also in what was written before
//! the value was known. What is found keeps the archive from getting its final name.

use super::read::{Source, Visit};
use crate::error::CommandError;
use crate::redact::Redactor;
use crate::redact::obfuscate::{Remains, What};
use crate::redact::verify::{Certainty, Scanner};

/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// What was looked through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// How many files.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// Looks through everything that is about to be published.
///
/// # Errors
/// Something secret is still in it (exit code 4, naming file, line and rule, never the value), or it
/// cannot be read back.
pub fn look(source: &dyn Source, redactor: &Redactor) -> Result<Looked, CommandError> {
    look_at(source, redactor, &|_| true)
}

/// Looks through some of it: what was written since the first look.
///
/// # Errors
/// As [`look`].
pub fn look_at(
    source: &dyn Source,
    redactor: &Redactor,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Looked, CommandError> {
    let mut looked = Looked::default();
    let mut hits: Vec<(String, u64, &'static str)> = Vec::new();
    let mut broken = None;
    let names = redactor.obfuscator().map(crate::redact::obfuscate::Obfuscator::remains);
    let walked = source.walk(&mut |entry, content| {
        if !wanted(&entry.path) {
            return Visit::Next;
        }
        looked.files += 1;
        let mut scanner = Scanner::new(Certainty::Certain);
        let mut learned = redactor.learned_scanner();
        scanner.push(entry.path.as_bytes());
        let in_path = !scanner.finish().is_empty();
        if in_path {
            hits.push((entry.path.clone(), 0, "path"));
        }
        let mut originals = names.as_ref().map(Remains::fresh);
        if let Some(mut originals) = names.as_ref().map(Remains::fresh) {
            originals.push(entry.path.as_bytes());
            hits.extend(originals.finish().map(|(_, what)| (entry.path.clone(), 0, name_of(what))));
        }
        let mut scanner = Scanner::new(Certainty::Certain);
        let mut piece = vec![0u8; PIECE];
        loop {
            match content.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => {
                    looked.bytes += read as u64;
                    scanner.push(&piece[..read]);
                    learned.push(&piece[..read]);
                    if let Some(originals) = &mut originals {
                        originals.push(&piece[..read]);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    broken = Some(error);
                    return Visit::Stop;
                }
            }
        }
        hits.extend(scanner.finish().into_iter().map(|leak| (entry.path.clone(), leak.line, leak.kind)));
        hits.extend(learned.finish().map(|line| (entry.path.clone(), line, "value of a Secret")));
        if let Some((line, what)) = originals.and_then(Remains::finish) {
            hits.push((entry.path.clone(), line, name_of(what)));
        }
        Visit::Next
    });
    walked.map_err(CommandError::unusable)?;
    if let Some(error) = broken {
        return Err(CommandError::unusable(error));
    }
    let Some((file, line, kind)) = hits.first() else { return Ok(looked) };
    let more = if hits.len() > 1 { format!(", and {} more", hits.len() - 1) } else { String::new() };
    let place = if *line == 0 { String::new() } else { format!(" line {line}") };
    let file = redactor.without_names().path(file);
    Err(CommandError::unpublished(format!(
        "the archive was not published: {}{place} still holds what looks like a {kind}{more}",
        file.as_str()
    ))
    .hint("name the value or the file in a --redact-rules file, and report this as a bug"))
}

/// What remained, in words.
fn name_of(what: What) -> &'static str {
    match what {
        What::Ip => "network address that has a pseudonym",
        What::Host => "host that has a pseudonym",
        What::Email => "mail address that has a pseudonym",
        What::Namespace => "namespace that has a pseudonym",
        What::Node => "node that has a pseudonym",
        What::Cluster => "cluster that has a pseudonym",
    }
}
