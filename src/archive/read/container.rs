//! A bundle in a tar archive, on disk or on standard input.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::limits::{self, Watch};
use super::root::Root;
use super::sniff::Form;
use super::tarball::{Member, Tar};
use super::{BREAKS_OFF, Entry, ReadError, Source, Visit};

/// Where the bytes of a container come from.
pub(super) enum Input {
    /// A file, which can be read again.
    File(PathBuf),
    /// A stream, which can be read once; then only what was kept of it is left.
    Stream(Mutex<Option<Box<dyn BufRead + Send>>>),
}

impl Input {
    /// A stream, which can be read once.
    pub(super) fn once(stream: Box<dyn BufRead + Send>) -> Self {
        Self::Stream(Mutex::new(Some(stream)))
    }

    fn is_used_up(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Stream(stream) => stream.lock().unwrap_or_else(PoisonError::into_inner).is_none(),
        }
    }
}

/// A tar archive, compressed or not.
pub(super) struct Container {
    /// How people call it.
    name: String,
    input: Input,
    compression: Form,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    root: Option<Root>,
    /// Small members that were read already, so that a second look costs no second pass.
    cache: BTreeMap<String, Vec<u8>>,
    cached: u64,
}

/// The inflated form of an input.
pub(super) fn inflate<'a>(
    input: Box<dyn BufRead + Send + 'a>,
    compression: Form,
    watch: &Watch,
) -> io::Result<Box<dyn Read + 'a>> {
    let counted = BufReader::with_capacity(256 << 10, watch.compressed(input));
    Ok(match compression {
        Form::Gzip => Box::new(watch.inflated(flate2::bufread::MultiGzDecoder::new(counted))),
        Form::Zstd => Box::new(watch.inflated(zstd::stream::read::Decoder::with_buffer(counted)?)),
        _ => Box::new(watch.inflated(counted)),
    })
}

impl Container {
    /// Opens an archive; its form is known from its first bytes.
    pub(super) fn open(name: String, input: Input, compression: Form) -> Result<Self, ReadError> {
        let container = Self { name, input, compression, state: Mutex::default() };
        if matches!(container.input, Input::File(_)) {
            // Members mostly stand in marker folders from the start. Only an archive of loose files
            // is gone through to its end.
            let mut root = None;
            let mut paths = Vec::new();
            container.scan(&mut |path, _, _| {
                root = Root::marked(path);
                if root.is_none() {
                    paths.push(path.to_owned());
                }
                if root.is_some() { Visit::Stop } else { Visit::Next }
            })?;
            let root = root.unwrap_or_else(|| Root::common(paths.iter().map(String::as_str)));
            container.state().root = Some(root);
        }
        Ok(container)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The cache is consistent after each insertion.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes through the archive as it is stored.
    fn scan(
        &self,
        visit: &mut dyn FnMut(&str, u64, &mut dyn Read) -> Visit,
    ) -> Result<Vec<String>, ReadError> {
        let input: Box<dyn BufRead + Send> = match &self.input {
            Input::File(path) => {
                let file = File::open(path)
                    .map_err(|source| ReadError::Io { path: path.display().to_string(), source })?;
                Box::new(BufReader::with_capacity(64 << 10, file))
            }
            Input::Stream(stream) => match stream.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(stream) => stream,
                None => return Ok(Vec::new()),
            },
        };
        let watch = Watch::default();
        let inflated = inflate(input, self.compression, &watch)
            .map_err(|source| ReadError::Io { path: self.name.clone(), source })?;
        let mut tar = Tar::new(inflated);
        let mut problems = Vec::new();
        let mut last = String::new();
        for number in 0.. {
            let member = match tar.next() {
                Ok(Some(member)) => member,
                Ok(None) => {
                    if let Err(error) = tar.rest() {
                        problems.push(format!("{}: is damaged at its end: {error}", self.name));
                    }
                    break;
                }
                Err(error) => {
                    if let Some(limit) = watch.limit() {
                        return Err(ReadError::Limit { path: format!("{} ({last})", self.name), limit });
                    }
                    problems.push(self.broken(&last, &error));
                    break;
                }
            };
            if number == limits::MEMBERS {
                problems.push(format!(
                    "{}: more than {} members; the rest was not read",
                    self.name,
                    limits::MEMBERS
                ));
                break;
            }
            match member {
                Member::Folder => {}
                Member::Skipped(why) => problems.push(why),
                Member::File { path, bytes } => {
                    last.clone_from(&path);
                    if visit(&path, bytes, &mut tar.content()) == Visit::Stop {
                        break;
                    }
                }
            }
        }
        Ok(problems)
    }

    fn broken(&self, last: &str, error: &io::Error) -> String {
        let place =
            if last.is_empty() { "at its beginning".to_owned() } else { format!("in or after {last}") };
        let error = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it is cut off".to_owned(),
            _ => error.to_string(),
        };
        format!("{}{BREAKS_OFF}{place}: {error}; what stands before that was read", self.name)
    }

    /// Goes through the files of the bundle, keeping the small ones.
    fn files(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError> {
        if self.input.is_used_up() {
            return Ok(self.kept(visit));
        }
        let mut pass = Pass {
            container: self,
            root: self.state().root.clone(),
            early: Vec::new(),
            hasher: RandomState::new(),
            seen: HashSet::new(),
            problems: Vec::new(),
            stopped: false,
            visit,
        };
        let mut problems = self.scan(&mut |path, bytes, content| pass.member(path, bytes, content))?;
        pass.settle(None);
        problems.append(&mut pass.problems);
        Ok(problems)
    }

    /// What is left of a stream that was read before.
    fn kept(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Vec<String> {
        let files = self.state().cache.clone();
        for (path, content) in files {
            let bytes = content.len() as u64;
            if visit(&Entry { path, bytes }, &mut content.as_slice()) == Visit::Stop {
                break;
            }
        }
        vec![format!("{}: can be read only once; its large files are not seen again", self.name)]
    }
}

/// One pass over a container.
struct Pass<'a> {
    container: &'a Container,
    /// Known beforehand for a file; a stream shows it with its first file in a marker folder.
    root: Option<Root>,
    /// The files before that.
    early: Vec<(String, Vec<u8>, Option<io::Error>)>,
    hasher: RandomState,
    seen: HashSet<u64>,
    problems: Vec<String>,
    stopped: bool,
    visit: &'a mut dyn FnMut(&Entry, &mut dyn Read) -> Visit,
}

impl Pass<'_> {
    fn member(&mut self, path: &str, bytes: u64, content: &mut dyn Read) -> Visit {
        if self.root.is_none() {
            let held: usize = self.early.iter().map(|(_, content, _)| content.len()).sum();
            if let Some(root) = Root::marked(path) {
                self.settle(Some(root));
            } else if bytes <= limits::CACHED_MEMBER && held as u64 + bytes <= limits::CACHE {
                let mut whole = Vec::new();
                let error = content.read_to_end(&mut whole).err();
                self.early.push((path.to_owned(), whole, error));
                return Visit::Next;
            } else {
                let paths = self.early.iter().map(|(path, _, _)| path.as_str()).chain([path]);
                let root = Root::common(paths);
                self.settle(Some(root));
            }
        }
        self.file(path, bytes, content);
        // What can be read only once is read to its end, so that all that is small is kept.
        if self.stopped && matches!(self.container.input, Input::File(_)) { Visit::Stop } else { Visit::Next }
    }

    /// Decides where the root is and hands over what came before that was known.
    fn settle(&mut self, root: Option<Root>) {
        if self.root.is_some() {
            return;
        }
        let early = std::mem::take(&mut self.early);
        let root = root.unwrap_or_else(|| Root::common(early.iter().map(|(path, _, _)| path.as_str())));
        self.container.state().root = Some(root.clone());
        self.root = Some(root);
        for (path, content, error) in early {
            let bytes = content.len() as u64;
            self.file(&path, bytes, &mut content.as_slice().chain(Broken(error)));
        }
    }

    fn file(&mut self, path: &str, bytes: u64, content: &mut dyn Read) {
        let path = self.root.as_ref().map_or(path, |root| root.strip(path));
        if !self.seen.insert(self.hasher.hash_one(path)) {
            self.problems.push(format!("{path}: stands in the archive more than once; the first is used"));
            return;
        }
        let entry = Entry { path: path.to_owned(), bytes };
        if bytes > limits::CACHED_MEMBER {
            if !self.stopped {
                self.stopped = (self.visit)(&entry, content) == Visit::Stop;
            }
            return;
        }
        let mut whole = Vec::with_capacity(bytes as usize);
        let error = content.read_to_end(&mut whole).err();
        if !self.stopped {
            // The visitor shall see where it breaks off.
            let mut content = whole.as_slice().chain(Broken(error));
            self.stopped = (self.visit)(&entry, &mut content) == Visit::Stop;
        }
        let mut state = self.container.state();
        if state.cached + bytes <= limits::CACHE && !state.cache.contains_key(path) {
            state.cached += bytes;
            state.cache.insert(path.to_owned(), whole);
        }
    }
}

/// Fails once, or ends at once when there is no error.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

impl Source for Container {
    fn walk(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError> {
        self.files(visit)
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let mut content = None;
        let mut failed = None;
        self.stream(path, &mut |file| {
            let mut bytes = Vec::new();
            if let Err(error) = file.take(limit).read_to_end(&mut bytes) {
                failed = Some(error);
            }
            content = Some(bytes);
        })?;
        match failed {
            Some(source) => Err(ReadError::Io { path: path.to_owned(), source }),
            None => Ok(content),
        }
    }

    fn stream(&self, path: &str, visit: &mut dyn FnMut(&mut dyn Read)) -> Result<bool, ReadError> {
        // Taken out of the lock: the visitor may come back here.
        let cached = self.state().cache.get(path).cloned();
        if let Some(content) = cached {
            visit(&mut content.as_slice());
            return Ok(true);
        }
        super::on_the_way(|each| self.files(each), path, visit)
    }
}
