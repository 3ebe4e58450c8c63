//! `--obfuscate` and `--mapping-out`, of every command that redacts.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::CommandError;
use crate::gather::units;
use crate::redact::obfuscate::{Obfuscator, What};

/// Options about names.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ObfuscateArgs {
    /// Replace what is no secret, but says whose cluster it is, by pseudonyms that keep their relations:
    /// ip, host, email, namespace, node, cluster (several with commas), or all
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS")]
    obfuscate: Vec<Kind>,
    /// Write what the pseudonyms stand for to this new file, for your eyes only (mode 0600, JSON);
    /// without it nobody can tell afterwards
    #[arg(long, value_name = "FILE", requires = "obfuscate")]
    mapping_out: Option<PathBuf>,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// IPv4 and IPv6 addresses and networks.
    Ip,
    /// Host names outside the cluster.
    Host,
    /// E-mail addresses.
    Email,
    /// Namespaces, but those that every installation has.
    Namespace,
    /// Nodes.
    Node,
    /// The name and the identifiers of the cluster.
    Cluster,
    /// All of these.
    All,
}

impl ObfuscateArgs {
    /// What gets pseudonyms.
    pub(crate) fn what(&self) -> BTreeSet<What> {
        let mut what = BTreeSet::new();
        for kind in &self.obfuscate {
            match kind {
                Kind::Ip => what.insert(What::Ip),
                Kind::Host => what.insert(What::Host),
                Kind::Email => what.insert(What::Email),
                Kind::Namespace => what.insert(What::Namespace),
                Kind::Node => what.insert(What::Node),
                Kind::Cluster => what.insert(What::Cluster),
                Kind::All => {
                    what.extend(What::ALL);
                    true
                }
            };
        }
        what
    }

    /// Makes the file of the mapping, if one is wanted; it may not stand in any of these directories.
    ///
    /// # Errors
    /// It exists, cannot be written, or would be given away with the bundle.
    pub(crate) fn mapping(&self, not_in: &[&Path]) -> Result<Option<Mapping>, CommandError> {
        self.mapping_out.as_deref().map(|path| Mapping::create(path, not_in)).transpose()
    }
}

/// The file of the mapping; it vanishes unless it is finished.
#[derive(Debug)]
pub(crate) struct Mapping {
    path: PathBuf,
    file: Option<std::fs::File>,
}

impl Mapping {
    fn create(path: &Path, not_in: &[&Path]) -> Result<Self, CommandError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
        let parent = real(parent);
        for directory in not_in {
            if let (Some(parent), Some(directory)) = (&parent, real(directory))
                && directory.is_dir()
                && parent.starts_with(&directory)
            {
                return Err(CommandError::usage_message(format!(
                    "--mapping-out {}: it would be given away with {}",
                    path.display(),
                    directory.display()
                ))
                .hint("choose a place outside of it"));
            }
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| {
            let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
            let hint = if exists {
                "choose another --mapping-out; nothing is overwritten"
            } else {
                "check the path and its permissions"
            };
            let what = anyhow::Error::new(error).context(format!("cannot write {}", path.display()));
            CommandError::unusable(what).hint(hint)
        })?;
        Ok(Self { path: path.to_owned(), file: Some(file) })
    }

    /// Writes the mapping.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn finish(mut self, obfuscator: &Obfuscator) -> Result<PathBuf, CommandError> {
        let failed = |error: std::io::Error, path: &Path| {
            CommandError::unusable(
                anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
            )
        };
        let mut text = serde_json::to_vec_pretty(&obfuscator.mapping()).unwrap_or_default();
        text.push(b'\n');
        if let Some(file) = &mut self.file {
            file.write_all(&text)
                .and_then(|()| file.sync_all())
                .map_err(|error| failed(error, &self.path))?;
        }
        self.file = None;
        Ok(std::mem::take(&mut self.path))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Empty or half written, it is of no use to anybody.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Ends the mapping and says in a line which names a person is going to read.
///
/// # Errors
/// The mapping cannot be written.
pub(crate) fn finish(
    mapping: Option<Mapping>,
    obfuscator: Option<&Obfuscator>,
) -> Result<Option<String>, CommandError> {
    let Some(obfuscator) = obfuscator else { return Ok(None) };
    let counts: Vec<String> =
        obfuscator.counts().iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let counts = if counts.is_empty() { "nothing was found".to_owned() } else { counts.join(", ") };
    let total = obfuscator.counts().values().sum::<u64>();
    let names = units::count(total, "pseudonym");
    Ok(Some(match mapping {
        Some(mapping) => {
            let path = mapping.finish(obfuscator)?;
            format!("{names} ({counts}); what they stand for is in {}, which stays with you", path.display())
        }
        None => format!("{names} ({counts}); what they stand for was not kept (no --mapping-out)"),
    }))
}
