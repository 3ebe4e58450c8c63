//! A bundle in a zip archive.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::sync::Arc;

use super::limits::{self, Watch};
use super::root::{Root, clean};
use super::single::Bytes;
use super::{Entry, ReadError, Source, Visit};

trait Input: Read + Seek {}
impl<T: Read + Seek> Input for T {}

/// A zip archive; its table of contents is read when it is opened.
pub(super) struct Zipped {
    name: String,
    bytes: Bytes,
    /// Path in the bundle, position in the archive, size; in stored order.
    files: Vec<(String, usize, u64)>,
    problems: Vec<String>,
}

impl Zipped {
    pub(super) fn open(name: String, bytes: Bytes) -> Result<Self, ReadError> {
        let mut zipped = Self { name, bytes, files: Vec::new(), problems: Vec::new() };
        let mut problems = Vec::new();
        let mut archive = zipped.archive()?;
        let mut found = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for at in 0..archive.len().min(limits::MEMBERS) {
            let member = match archive.by_index_raw(at) {
                Ok(member) => member,
                Err(error) => {
                    problems.push(format!("{}: member {}: {error}", zipped.name, at + 1));
                    continue;
                }
            };
            if member.is_dir() {
                continue;
            }
            let shown = String::from_utf8_lossy(member.name_raw()).into_owned();
            // Some programs on Windows write their own separator.
            let name = if shown.contains('/') { shown.clone() } else { shown.replace('\\', "/") };
            let skipped = if member.is_symlink() {
                Some("is a link and was not followed")
            } else if member.encrypted() {
                Some("is encrypted and was not read")
            } else {
                None
            };
            match (clean(name.as_bytes()), skipped) {
                (_, Some(why)) => problems.push(format!("{shown}: {why}")),
                (None, None) => {
                    problems.push(format!("{shown}: leads out of the archive and was not read"));
                }
                (Some(path), None) if seen.contains(&path) => {
                    problems.push(format!("{path}: stands in the archive more than once; the first is used"));
                }
                (Some(path), None) => {
                    seen.insert(path.clone());
                    found.push((path, at, member.size()));
                }
            }
        }
        if archive.len() > limits::MEMBERS {
            problems.push(format!(
                "{}: more than {} members; the rest was not read",
                zipped.name,
                limits::MEMBERS
            ));
        }
        drop(archive);
        zipped.problems = problems;
        let root = Root::of(found.iter().map(|(path, _, _)| path.as_str()));
        zipped.files =
            found.into_iter().map(|(path, at, bytes)| (root.strip(&path).to_owned(), at, bytes)).collect();
        Ok(zipped)
    }

    fn archive(&self) -> Result<zip::ZipArchive<Box<dyn Input + '_>>, ReadError> {
        let input: Box<dyn Input + '_> = match &self.bytes {
            Bytes::OnDisk(path) => {
                let io = |source| ReadError::Io { path: self.name.clone(), source };
                Box::new(BufReader::new(File::open(path).map_err(io)?))
            }
            Bytes::InMemory(bytes) => Box::new(Cursor::new(Arc::clone(bytes))),
        };
        zip::ZipArchive::new(input).map_err(|error| match error {
            zip::result::ZipError::Io(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
                ReadError::Io { path: self.name.clone(), source }
            }
            error => ReadError::NotABundle {
                path: self.name.clone(),
                why: format!("it begins like a zip archive, but has no table of contents at its end ({error}); it may be cut off"),
            },
        })
    }

    /// Hands over these members; every one is inflated from its own beginning.
    fn visit<'a>(
        &self,
        files: impl Iterator<Item = &'a (String, usize, u64)>,
        visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit,
    ) -> Result<Vec<String>, ReadError> {
        let mut archive = self.archive()?;
        let mut problems = Vec::new();
        let watch = Watch::default();
        for (path, at, bytes) in files {
            let member = match archive.by_index(*at) {
                Ok(member) => member,
                Err(error) => {
                    problems.push(format!("{path}: cannot be read: {error}"));
                    continue;
                }
            };
            watch.add_compressed(member.compressed_size());
            let done = visit(&Entry { path: path.clone(), bytes: *bytes }, &mut watch.inflated(member));
            if let Some(limit) = watch.limit() {
                return Err(ReadError::Limit { path: format!("{} ({path})", self.name), limit });
            }
            if done == Visit::Stop {
                break;
            }
        }
        Ok(problems)
    }
}

impl Source for Zipped {
    fn walk(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError> {
        let mut problems = self.problems.clone();
        problems.append(&mut self.visit(self.files.iter(), visit)?);
        Ok(problems)
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let mut content = None;
        let mut outcome = Ok(0);
        self.stream(path, &mut |file| {
            let mut bytes = Vec::new();
            outcome = file.take(limit).read_to_end(&mut bytes);
            content = Some(bytes);
        })?;
        outcome.map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Ok(content)
    }

    fn stream(&self, path: &str, visit: &mut dyn FnMut(&mut dyn Read)) -> Result<bool, ReadError> {
        let mut found = false;
        let problems =
            self.visit(self.files.iter().filter(|file| file.0 == path).take(1), &mut |_, content| {
                found = true;
                visit(content);
                Visit::Stop
            })?;
        match problems.first() {
            Some(problem) => {
                Err(ReadError::Io { path: path.to_owned(), source: io::Error::other(problem.clone()) })
            }
            None => Ok(found),
        }
    }
}
