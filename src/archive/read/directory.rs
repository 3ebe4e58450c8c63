//! A bundle in a directory.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::root::{Root, clean};
use super::{Entry, ReadError, Source, Visit, limits};

/// The files of a directory tree, listed once; links are not followed.
pub(super) struct Directory {
    /// Path in the bundle, place on disk, size; sorted.
    files: Vec<(String, PathBuf, u64)>,
    problems: Vec<String>,
}

impl Directory {
    pub(super) fn open(base: &Path) -> Result<Self, ReadError> {
        let mut found = Vec::new();
        let mut problems = Vec::new();
        // Only the directory itself must be readable.
        fs::read_dir(base).map_err(|source| ReadError::Io { path: base.display().to_string(), source })?;
        let mut open = vec![(base.to_owned(), String::new(), 0)];
        while let Some((directory, path, depth)) = open.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(e) => {
                    problems.push(format!("{path}: cannot be read: {e}"));
                    continue;
                }
            };
            for entry in entries {
                let listed = entry.and_then(|entry| Ok((entry.metadata()?, entry)));
                let (metadata, entry) = match listed {
                    Ok(listed) => listed,
                    Err(e) => {
                        problems.push(format!("{path}: cannot be listed completely: {e}"));
                        continue;
                    }
                };
                let Some(name) = clean(entry.file_name().as_encoded_bytes()) else { continue };
                let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                if metadata.is_dir() {
                    if depth == limits::DEPTH {
                        problems.push(format!(
                            "{path}: lies deeper than {} levels and was not read",
                            limits::DEPTH
                        ));
                    } else {
                        open.push((entry.path(), path, depth + 1));
                    }
                } else if metadata.is_file() {
                    if found.len() == limits::MEMBERS {
                        problems.push(format!(
                            "{path}: more than {} files; the rest was not read",
                            limits::MEMBERS
                        ));
                        open.clear();
                        break;
                    }
                    found.push((path, entry.path(), metadata.len()));
                } else if metadata.is_symlink() {
                    problems.push(format!("{path}: is a link and was not followed"));
                } else {
                    problems.push(format!("{path}: is neither file nor folder and was not read"));
                }
            }
        }
        if found.is_empty() {
            let why = problems.first().map_or_else(|| "it holds no files".to_owned(), Clone::clone);
            return Err(ReadError::NotABundle { path: base.display().to_string(), why });
        }
        found.sort();
        let root = Root::of(found.iter().map(|(path, _, _)| path.as_str()));
        let mut files: Vec<_> = found
            .into_iter()
            .map(|(path, place, bytes)| (root.strip(&path).to_owned(), place, bytes))
            .collect();
        files.sort();
        problems.sort();
        Ok(Self { files, problems })
    }

    fn find(&self, path: &str) -> Option<&Path> {
        let at = self.files.binary_search_by(|(file, _, _)| file.as_str().cmp(path)).ok()?;
        Some(&self.files[at].1)
    }
}

fn open(path: &str, place: &Path) -> Result<File, ReadError> {
    File::open(place).map_err(|source| ReadError::Io { path: path.to_owned(), source })
}

impl Source for Directory {
    fn walk(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError> {
        let mut problems = self.problems.clone();
        for (path, place, bytes) in &self.files {
            let mut file = match File::open(place) {
                Ok(file) => file,
                Err(e) => {
                    problems.push(format!("{path}: cannot be read: {e}"));
                    continue;
                }
            };
            if visit(&Entry { path: path.clone(), bytes: *bytes }, &mut file) == Visit::Stop {
                break;
            }
        }
        Ok(problems)
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(place) = self.find(path) else { return Ok(None) };
        let mut content = Vec::new();
        open(path, place)?
            .take(limit)
            .read_to_end(&mut content)
            .map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Ok(Some(content))
    }

    fn stream(&self, path: &str, visit: &mut dyn FnMut(&mut dyn Read)) -> Result<bool, ReadError> {
        let Some(place) = self.find(path) else { return Ok(false) };
        visit(&mut open(path, place)?);
        Ok(true)
    }
}
