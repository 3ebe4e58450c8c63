//! Writing an archive: members arrive in any order from many tasks, already redacted, and leave
//! sorted by path, so that the same input gives the same bytes.
//!
//! Each member is compressed while it arrives, in blocks of its own, and waits in one unlinked
//! temporary file beside the target (redacted and compressed, never plain) or in memory when it is
//! small. At the end the blocks are joined into one ordinary archive under a temporary name, which
//! is renamed when whole.

//!
//! Memory: one block (256 KiB) and its deflated form per open member, 4 MiB of small members,
//! and some hundred bytes per member, whatever the size of the archive.

mod directory;
mod fit;
mod join;
mod leftover;
mod member;
mod source;
mod spool;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use self::directory::{Directory, sync_directory};
pub(crate) use self::fit::LONG;
pub use self::fit::Turn;
use self::join::Contents;
use self::leftover::Leftover;
pub use self::leftover::remove_leftovers;
pub use self::member::Member;
use self::source::Written;
use self::spool::{Block, BlockReader, Spool};
use super::manifest::{FileEntry, hex_of};
use super::read::Source;
use crate::redact::{Redacted, RedactedPath};

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// A gzip-compressed tar archive.
    #[default]
    #[value(name = "tar.gz", alias = "tgz")]
    TarGz,
    /// A Zstandard-compressed tar archive; smaller and faster, but some readers do not open it.
    #[value(name = "tar.zst", alias = "tzst")]
    TarZst,
    /// A zip archive.
    #[value(name = "zip")]
    Zip,
    /// A directory.
    #[value(name = "dir")]
    Dir,
}

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A new file, or a new directory for [`Format::Dir`]. A pipe or device that exists is written to
    /// as it is.
    Path(PathBuf),
    /// An existing directory that is filled file by file (the must-gather image).
    Into(PathBuf),
    /// Standard output.
    Stdout,
    /// Nowhere: only [`Writer::source`] is wanted (`check`).
    Memory,
}

/// Why an archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The target exists.
    #[error("{path} already exists")]
    Exists {
        /// The target.
        path: String,
    },
    /// The file system said no.
    #[error("cannot write {path}")]
    Io {
        /// What was to be written.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A directory cannot go to standard output.
    #[error("a directory cannot be written to standard output; choose tar.gz, tar.zst or zip")]
    DirectoryToStdout,
}

impl WriteError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.display().to_string();
        if source.kind() == io::ErrorKind::AlreadyExists {
            Self::Exists { path }
        } else {
            Self::Io { path, source }
        }
    }
}

/// How to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to.
    pub target: Target,
    /// In which form.
    pub format: Format,
    /// The root folder of the archive.
    pub root: String,
    /// The modification time of every member: when the collection began.
    pub time: DateTime<Utc>,
}

/// How many bytes of small members are held in memory before further ones go to the spool.
const MEMORY: usize = 4 << 20;

/// An archive in the making. Clones write to the same archive, from any thread.
#[derive(Debug, Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    spool: Spool,
    /// What the members that are being written take in the spool or directory so far.
    open: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: Vec<Arc<Stored>>,
    /// What the members add to the archive.
    weight: u64,
    /// Bytes of [`Body::Memory`].
    in_memory: usize,
    /// The directory that is filled: the staging directory, later the target itself.
    directory: Option<Directory>,
}

/// A finished member.
#[derive(Debug)]
struct Stored {
    path: Box<str>,
    source: Box<str>,
    bytes: u64,
    sha256: [u8; 32],
    truncated: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// The plain bytes.
    Memory(Vec<u8>),
    /// Blocks in the spool.
    Spooled(Vec<Block>),
    /// A file of its own, under the member's path in the directory that is filled.
    File,
}

impl Stored {
    fn entry(&self, path: String) -> FileEntry {
        FileEntry {
            path,
            bytes: self.bytes,
            sha256: hex_of(&self.sha256),
            source: self.source.to_string(),
            truncated: self.truncated,
        }
    }

    /// Opens the content; `directory` is needed for [`Body::File`].
    fn open<'a>(&'a self, spool: &'a Spool, directory: Option<&Path>) -> io::Result<Box<dyn Read + 'a>> {
        match (&self.body, directory) {
            (Body::Memory(bytes), _) => Ok(Box::new(bytes.as_slice())),
            (Body::Spooled(blocks), _) => Ok(Box::new(BlockReader::new(spool, blocks))),
            (Body::File, Some(directory)) => Ok(Box::new(File::open(directory.join(&*self.path))?)),
            (Body::File, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the list of members as it was: it is only ever appended to.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self) -> Option<PathBuf> {
        self.state().directory.as_ref().map(|d| d.path().to_owned())
    }

    fn spool_error(&self, source: io::Error) -> WriteError {
        WriteError::Io { path: format!("a temporary file in {}", self.spool.directory().display()), source }
    }

    /// The finished members, sorted, each under the path that it has in the archive. Two names of
    /// the cluster can give the same safe file name; the second becomes `name-2.yaml`.
    fn sorted(&self) -> Vec<(String, Arc<Stored>)> {
        let mut members = self.state().members.clone();
        members.sort_by(|a, b| (&a.path, &a.sha256, &a.source).cmp(&(&b.path, &b.sha256, &b.source)));
        let mut sorted: BTreeMap<String, Arc<Stored>> = BTreeMap::new();
        for member in members {
            let path = free_name(&member.path, |path| sorted.contains_key(path));
            sorted.insert(path, member);
        }
        sorted.into_iter().collect()
    }
}

/// The path itself, or the first of `name-2.ext`, `name-3.ext`, … that is not taken.
fn free_name(path: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(path) {
        return path.to_owned();
    }
    let name_at = path.rfind('/').map_or(0, |at| at + 1);
    let dot = path[name_at..].rfind('.').filter(|at| *at > 0).map_or(path.len(), |at| name_at + at);
    let mut n = 2_u32;
    loop {
        let other = format!("{}-{n}{}", &path[..dot], &path[dot..]);
        if !taken(&other) {
            return other;
        }
        n += 1;
    }
}

/// Makes sure that a path stays below the root, whoever made it.
fn inside(path: &str) -> String {
    let parts: Vec<&str> =
        path.split(['/', '\\', '\0']).filter(|part| !matches!(*part, "" | "." | "..")).collect();
    if parts.is_empty() { "unnamed".to_owned() } else { parts.join("/") }
}

/// Whether an archive can be written to this path as it is: a pipe, or a device such as /dev/stdout.
fn is_stream(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        fs::metadata(path).is_ok_and(|metadata| {
            let kind = metadata.file_type();
            kind.is_fifo() || kind.is_char_device()
        })
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// Makes the folders of a path below a directory that must be there: one that was taken away is not
/// made again, because what was in it is gone.
fn make_folders(directory: &Path, path: &str) -> io::Result<()> {
    for (at, _) in path.match_indices('/') {
        match fs::create_dir(directory.join(&path[..at])) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The directory that a path stands in.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A builder of temporary files and directories `.<name>.partial-<random>`, with the permissions
/// that the user's umask gives to new files rather than those of a private temporary file.
fn partial<T>(target: &Path, mode: u32, make: impl FnOnce(&mut tempfile::Builder<'_, '_>) -> T) -> T {
    let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let prefix = format!(".{}.partial-", name.chars().take(100).collect::<String>());
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    make(builder.prefix(&prefix))
}

impl Writer {
    /// Prepares the target; nothing stands under its final name until [`Writer::finish`].
    ///
    /// # Errors
    /// The target exists or cannot be written.
    pub fn create(options: Options) -> Result<Self, WriteError> {
        let mut state = State::default();
        let spool = match (&options.target, options.format) {
            (Target::Path(path), format) if format != Format::Dir && is_stream(path) => {
                Spool::new(std::env::temp_dir())
            }
            (Target::Path(path), format) => {
                if path.symlink_metadata().is_ok() {
                    return Err(WriteError::Exists { path: path.display().to_string() });
                }
                let parent = parent(path);
                let spool = Spool::new(parent.clone());
                if format == Format::Dir {
                    let staging = partial(path, 0o777, |builder| builder.tempdir_in(&parent));
                    let staging = staging.map_err(|e| WriteError::io(&parent, e))?;
                    let leftover = Leftover::new(staging.path());
                    state.directory = Some(Directory::Staging(staging, leftover));
                } else {
                    spool.open().map_err(|e| WriteError::io(path, e))?;
                }
                spool
            }
            (Target::Into(path), _) => {
                let is_directory = fs::metadata(path).map_err(|e| WriteError::io(path, e))?.is_dir();
                if !is_directory {
                    return Err(WriteError::io(path, io::ErrorKind::NotADirectory.into()));
                }
                state.directory = Some(Directory::Final(path.clone()));
                Spool::new(path.clone())
            }
            (Target::Stdout, Format::Dir) => return Err(WriteError::DirectoryToStdout),
            (Target::Stdout | Target::Memory, _) => Spool::new(std::env::temp_dir()),
        };
        Ok(Self {
            shared: Arc::new(Shared { options, spool, open: AtomicU64::new(0), state: Mutex::new(state) }),
        })
    }

    /// Begins a member. `source` is the request that it comes from.
    #[must_use]
    pub fn member(&self, path: RedactedPath, source: String) -> Member {
        Member {
            path: inside(path.as_str()),
            source,
            shared: Arc::clone(&self.shared),
            sha256: sha2::Sha256::default(),
            bytes: 0,
            pending: self.shared.spool.block(),
            blocks: Vec::new(),
            file: None,
            leftover: None,
            counted: 0,
        }
    }

    /// Writes a member that is whole in memory.
    ///
    /// # Errors
    /// The spool cannot be written.
    pub fn add(&self, path: RedactedPath, source: String, content: &Redacted) -> Result<(), WriteError> {
        let mut member = self.member(path, source);
        member.write(content)?;
        member.finish(false)
    }

    /// The entries of the members that are finished, sorted by path: the manifest's `files`.
    #[must_use]
    pub fn entries(&self) -> Vec<FileEntry> {
        self.shared.sorted().into_iter().map(|(path, member)| member.entry(path)).collect()
    }

    /// Lets go of the memory that only writing many members side by side needs: nearly all is written.
    pub(crate) fn settle(&self) {
        self.shared.spool.settle();
    }

    /// Reads back what was written so far, to analyze it before the archive is closed.
    #[must_use]
    pub fn source(&self) -> Box<dyn Source> {
        Box::new(Written {
            members: self.shared.sorted().into_iter().collect(),
            shared: Arc::clone(&self.shared),
        })
    }

    /// Joins the members, sorted by path, and gives the archive its final name.
    ///
    /// # Errors
    /// The target cannot be written; nothing is left under its final name then.
    pub fn finish(self) -> Result<Finished, WriteError> {
        let shared = &*self.shared;
        let members = shared.sorted();
        let contents = Contents {
            root: &shared.options.root,
            time: shared.options.time,
            members: &members,
            spool: &shared.spool,
        };
        let files = members.len();
        let (path, bytes) = match &shared.options.target {
            Target::Memory => (None, 0),
            Target::Stdout => {
                let mut out = Counting { inner: BufWriter::new(io::stdout().lock()), bytes: 0 };
                contents
                    .join(shared.options.format, &mut out)
                    .map_err(|e| WriteError::io(Path::new("standard output"), e))?;
                (None, out.bytes)
            }
            Target::Path(path) if shared.options.format != Format::Dir && is_stream(path) => {
                let fail = |e| WriteError::io(path, e);
                let file = File::options().write(true).open(path).map_err(fail)?;
                let mut out = Counting { inner: BufWriter::new(file), bytes: 0 };
                contents.join(shared.options.format, &mut out).map_err(fail)?;
                (Some(path.clone()), out.bytes)
            }
            Target::Path(path) if shared.options.format != Format::Dir => {
                (Some(path.clone()), to_file(&contents, shared.options.format, path)?)
            }
            Target::Path(path) | Target::Into(path) => {
                shared.settle_directory(path, &members)?;
                (Some(path.clone()), members.iter().map(|(_, m)| m.bytes).sum())
            }
        };
        Ok(Finished { path, bytes, files })
    }

    /// Gives up: removes whatever stands under a temporary name.
    pub fn abandon(self) {
        // The spool has no name, and the staging directory is removed when its last holder goes;
        // clones may live on in tasks that were cancelled, so it is taken from them here.
        let mut state = self.shared.state();
        if let Some(Directory::Staging(directory, _)) = state.directory.take() {
            // What cannot be removed is left to the user under its telling name.
            let _ = directory.close();
        }
        state.members.clear();
    }
}

fn to_file(contents: &Contents<'_>, format: Format, path: &Path) -> Result<u64, WriteError> {
    let fail = |e| WriteError::io(path, e);
    let mut file = partial(path, 0o666, |builder| builder.tempfile_in(parent(path))).map_err(fail)?;
    let _leftover = Leftover::new(file.path());
    let mut out = Counting { inner: BufWriter::with_capacity(1 << 20, file.as_file_mut()), bytes: 0 };
    contents.join(format, &mut out).map_err(fail)?;
    let bytes = out.bytes;
    drop(out);
    file.as_file().sync_all().map_err(fail)?;
    file.persist_noclobber(path).map_err(|e| fail(e.error))?;
    sync_directory(&parent(path));
    Ok(bytes)
}

impl Contents<'_> {
    fn join(&self, format: Format, out: &mut dyn io::Write) -> io::Result<()> {
        match format {
            Format::TarGz => self.tar_gz(out),
            Format::TarZst => self.tar_zst(out),
            Format::Zip => self.zip(out),
            Format::Dir => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

struct Counting<W> {
    inner: W,
    bytes: u64,
}

impl<W: io::Write> io::Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A finished archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Where it stands, unless it went to standard output or nowhere.
    pub path: Option<PathBuf>,
    /// Its size.
    pub bytes: u64,
    /// How many files it holds.
    pub files: usize,
}
