//! `oc mcpgw redact`.

use std::io::{BufReader, Cursor, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::archive::load;
use crate::archive::read::{self, ReadError, Source, Visit};
use crate::archive::rewrite::{self, RewriteError, Rewritten};
use crate::archive::write::{self, Format, Target, WriteError, Writer};
use crate::archive::{path, second_look};
use crate::cli::Global;
use crate::commands::analyze;
use crate::commands::obfuscate::{self, Mapping, ObfuscateArgs};
use crate::error::{CommandError, CommandResult, Exit};
use crate::gather::units;
use crate::redact::obfuscate::Names;
use crate::redact::report::SecondLook;
use crate::redact::{Options, Redactor, UserRules};
use crate::term;

/// The most that is read from standard input; it is held in memory, because it is read twice and nothing
/// unredacted may touch the disk.
const STANDARD_INPUT: u64 = 2 << 30;

/// Arguments of `redact`.
#[derive(Debug, clap::Args)]
pub struct RedactArgs {
    /// What to redact: an archive (.tar.gz, .tgz, .tar, .tar.zst, .zip), a directory, the output of `oc
    /// adm must-gather` or `oc adm inspect`, or a single file; `-` reads standard input
    #[arg(value_name = "INPUT", required_unless_present = "test")]
    input: Option<PathBuf>,
    /// Where the redacted bundle goes: a new file or directory, or `-` for standard output; its ending
    /// chooses the form. A single file that is no archive stays a file: a log becomes a redacted log
    #[arg(short, long, value_name = "OUT", required_unless_present = "test")]
    output: Option<PathBuf>,
    /// The form of the output [default: what the ending of OUT says, or tar.gz; a single file stays one]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    rules: RulesArgs,
    #[command(flatten)]
    obfuscate: ObfuscateArgs,
    /// Show what redaction does to this file, on standard output, and write nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input", "output"])]
    test: Option<PathBuf>,
}

/// Options about rules, of every command that redacts.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RulesArgs {
    /// Rules of your own, in addition: patterns, fields, keys, files to drop, literals (YAML)
    ///
    /// A file with any of: `patterns` (a list of {name, regex, group}), `fields` ({kind, path}, such as
    /// {kind: ConfigMap, path: data.license}), `keys` (names whose values go), `drop` (globs of files), `literals`
    /// (exact strings). `redact --test SAMPLE --redact-rules FILE` shows what they do.
    #[arg(long, value_name = "FILE")]
    redact_rules: Option<PathBuf>,
}

impl RulesArgs {
    /// Reads and checks the rules, before anything else is done.
    ///
    /// # Errors
    /// The file cannot be read, or a rule in it is wrong.
    pub(crate) fn options(&self) -> Result<Options, CommandError> {
        let rules = match &self.redact_rules {
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    CommandError::usage(
                        anyhow::Error::new(error)
                            .context(format!("cannot read the rules {}", file.display())),
                    )
                })?;
                UserRules::parse(&text).map_err(|error| {
                    CommandError::usage_message(format!("{}: {error}", file.display()))
                        .hint("`redact --test SAMPLE --redact-rules FILE` shows what rules do")
                })?
            }
            None => UserRules::default(),
        };
        Ok(Options { rules, ..Options::default() })
    }
}

/// Runs the command.
pub(crate) fn run(args: RedactArgs, global: &Global) -> CommandResult {
    let redactor = Redactor::new(args.rules.options()?);
    let names = Some(args.obfuscate.what()).filter(|what| !what.is_empty()).map(Names::new);
    if let Some(sample) = &args.test {
        let mapping = args.obfuscate.mapping(&[])?;
        return test(redactor, names, mapping, sample);
    }
    let (Some(input), Some(output)) = (args.input, args.output) else {
        return Err(CommandError::usage_message("INPUT and --output are needed"));
    };
    let input = Input::new(input, global)?;
    let target = if output == Path::new("-") { Target::Stdout } else { Target::Path(output.clone()) };
    let format = args.format.unwrap_or_else(|| format_of(&output));
    let mapping = args.obfuscate.mapping(&[&output, &input.path])?;
    let single = match args.format {
        None if names_no_archive(&output) => input.single(global)?,
        _ => None,
    };
    if let Some((name, memory)) = single {
        return single_file(redactor, names, mapping, &name, &memory, target);
    }
    rewrite::learn(&*input.open(global)?, &redactor).map_err(|error| analyze::refused(error, global))?;
    let redactor = match names {
        Some(mut names) => {
            rewrite::learn_names(&*input.open(global)?, &mut names)
                .map_err(|error| analyze::refused(error, global))?;
            redactor.obfuscating(&names.obfuscator())
        }
        None => redactor,
    };
    let source = input.open(global)?;
    // The root folder may be named after the cluster.
    let root = redactor.path(&root(&output, &input.path)).as_str().to_owned();
    let options = write::Options { target, format, root, time: input.time() };
    let writer = Writer::create(options).map_err(unwritable)?;
    let outcome = rewrite::rewrite(&*source, &redactor, &writer).map_err(|error| match error {
        RewriteError::Read(error) => analyze::refused(error, global),
        RewriteError::Write(error) => unwritable(error),
    });
    let outcome = outcome.and_then(|done| Ok((done, look(&writer, &redactor)?)));
    let (rewritten, looked) = match outcome {
        Ok(done) => done,
        Err(error) => {
            writer.abandon();
            return Err(error);
        }
    };
    let finished = writer.finish().map_err(unwritable)?;
    summary(&redactor, &rewritten, finished.path.as_deref());
    eprintln_line(&told(&looked));
    if let Some(line) = obfuscate::finish(mapping, redactor.obfuscator())? {
        eprintln_line(&line);
    }
    Ok(if rewritten.left_out.is_empty() && rewritten.problems.is_empty() { Exit::Ok } else { Exit::Partial })
}

/// Looks through what is about to be published, and measures it.
fn look(writer: &Writer, redactor: &Redactor) -> Result<SecondLook, CommandError> {
    let begun = Instant::now();
    let looked = second_look::look(&*writer.source(), redactor)?;
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(SecondLook { files: looked.files, bytes: looked.bytes, milliseconds })
}

/// What the second look has cost, in a line.
pub(crate) fn told(looked: &SecondLook) -> String {
    format!(
        "  looked through again before publishing: {}, {} in {}.{} s, nothing found",
        units::count(looked.files, "file"),
        units::human_bytes(looked.bytes),
        looked.milliseconds / 1000,
        looked.milliseconds % 1000 / 100
    )
}

/// Redacts a single file into a single file.
fn single_file(
    redactor: Redactor,
    names: Option<Names>,
    mapping: Option<Mapping>,
    name: &str,
    memory: &read::Memory,
    target: Target,
) -> CommandResult {
    let redactor = match names {
        Some(mut names) => {
            rewrite::learn_names(memory, &mut names)?;
            redactor.obfuscating(&names.obfuscator())
        }
        None => redactor,
    };
    rewrite::learn(memory, &redactor)?;
    let writer = in_memory()?;
    let rewritten = rewrite::rewrite(memory, &redactor, &writer).map_err(|error| match error {
        RewriteError::Read(error) => CommandError::unusable(error),
        RewriteError::Write(error) => unwritable(error),
    })?;
    let looked = look(&writer, &redactor)?;
    let place = redactor.path(name);
    let redacted = writer.source().read(place.as_str(), u64::MAX)?;
    let output = match (&target, &redacted) {
        (_, None) => None,
        (Target::Path(path), Some(redacted)) => {
            new_file(path, redacted)?;
            Some(path.as_path())
        }
        (_, Some(redacted)) => {
            let mut out = std::io::stdout().lock();
            out.write_all(redacted)
                .and_then(|()| out.flush())
                .map_err(|error| unwritable(WriteError::io(Path::new("standard output"), error)))?;
            None
        }
    };
    summary(&redactor, &rewritten, output);
    eprintln_line(&told(&looked));
    if let Some(line) = obfuscate::finish(mapping, redactor.obfuscator())? {
        eprintln_line(&line);
    }
    Ok(if rewritten.left_out.is_empty() && rewritten.problems.is_empty() { Exit::Ok } else { Exit::Partial })
}

/// A writer whose files are read back and then forgotten.
fn in_memory() -> Result<Writer, CommandError> {
    let options = write::Options {
        target: Target::Memory,
        format: Format::Dir,
        root: "sample".to_owned(),
        time: chrono::Utc::now(),
    };
    Writer::create(options).map_err(unwritable)
}

/// Writes a file that was not there before; one that could not be written to its end is removed.
fn new_file(path: &Path, content: &[u8]) -> Result<(), CommandError> {
    let mut file = std::fs::File::create_new(path).map_err(|error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        unwritable(if exists {
            WriteError::Exists { path: path.display().to_string() }
        } else {
            WriteError::io(path, error)
        })
    })?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|error| {
        // It is ours, and half of it is of no use.
        let _ = std::fs::remove_file(path);
        unwritable(WriteError::io(path, error))
    })
}

/// Shows what redaction does to a sample: the redacted text, and counts on standard error.
fn test(redactor: Redactor, names: Option<Names>, mapping: Option<Mapping>, sample: &Path) -> CommandResult {
    let name = sample.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let bytes = std::fs::read(sample).map_err(|error| {
        CommandError::unusable(anyhow::Error::new(error).context(format!("cannot read {}", sample.display())))
    })?;
    let memory = read::Memory([(name.clone(), bytes)].into());
    let redactor = match names {
        Some(mut names) => {
            rewrite::learn_names(&memory, &mut names)?;
            redactor.obfuscating(&names.obfuscator())
        }
        None => redactor,
    };
    let place = redactor.path(&name);
    let text = if redactor.drops(&name) {
        String::new()
    } else {
        let unusable = |error: RewriteError| CommandError::unusable(error);
        rewrite::learn(&memory, &redactor)?;
        let writer = in_memory()?;
        rewrite::rewrite(&memory, &redactor, &writer).map_err(unusable)?;
        let shown = writer.source().read(place.as_str(), u64::MAX)?;
        String::from_utf8_lossy(&shown.unwrap_or_default()).into_owned()
    };
    term::print(&text)?;
    let report = redactor.report_counts();
    if redactor.drops(&name) {
        eprintln_line(&format!("{}: dropped by a rule", place.as_str()));
    }
    for (rule, count) in &report.totals {
        eprintln_line(&format!("{count:>6}  {rule}"));
    }
    eprintln_line(&format!("{:>6}  redactions", report.total()));
    if let Some(line) = obfuscate::finish(mapping, redactor.obfuscator())? {
        eprintln_line(&line);
    }
    Ok(Exit::Ok)
}

impl From<ReadError> for CommandError {
    fn from(error: ReadError) -> Self {
        Self::unusable(error)
    }
}

fn eprintln_line(line: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(anstream::stderr().lock(), "{}", term::sanitize(line));
}

fn summary(redactor: &Redactor, rewritten: &Rewritten, output: Option<&Path>) {
    let report = redactor.report_counts();
    for line in rewritten.left_out.iter().chain(&rewritten.problems).take(20) {
        eprintln_line(&format!("left out: {line}"));
    }
    let more = (rewritten.left_out.len() + rewritten.problems.len()).saturating_sub(20);
    if more > 0 {
        eprintln_line(&format!("left out: {more} more"));
    }
    let place = output.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
    eprintln_line(&format!(
        "{place}: {}, {} by {}, {} of Secrets searched for",
        term::counted(rewritten.files, "file"),
        term::counted(report.total(), "redaction"),
        term::counted(report.totals.len(), "rule"),
        term::counted(report.learned_values, "value")
    ));
}

fn unwritable(error: WriteError) -> CommandError {
    let hint = match &error {
        WriteError::Exists { .. } => "choose another --output; nothing is overwritten",
        WriteError::DirectoryToStdout => "name a --format",
        WriteError::Io { .. } => "check the path, its permissions and the free space",
    };
    CommandError::unusable(error).hint(hint)
}

/// Whether the ending of a path asks for an archive.
fn names_no_archive(output: &Path) -> bool {
    output == Path::new("-")
        || (format_of(output) == Format::Dir && !output.as_os_str().to_string_lossy().ends_with('/'))
}

/// What the ending of a path says.
fn format_of(output: &Path) -> Format {
    let name = output.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if name.ends_with(".tar.zst") || name.ends_with(".tzst") {
        Format::TarZst
    } else if name.ends_with(".zip") {
        Format::Zip
    } else if name.ends_with(".tar.gz") || name.ends_with(".tgz") || output == Path::new("-") {
        Format::TarGz
    } else {
        Format::Dir
    }
}

/// The root folder of the output: its own name without the ending.
fn root(output: &Path, input: &Path) -> String {
    let named = if output == Path::new("-") { input } else { output };
    let name = named.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = [".tar.gz", ".tgz", ".tar.zst", ".tzst", ".zip", ".tar"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(&name)
        .to_owned();
    if matches!(stem.as_str(), "" | "-") { "redacted".to_owned() } else { path::file_name(&stem) }
}

/// The input, which is opened twice.
struct Input {
    path: PathBuf,
    memory: Option<Arc<[u8]>>,
}

impl Input {
    fn new(path: PathBuf, global: &Global) -> Result<Self, CommandError> {
        let metadata = path.metadata();
        let once = path == Path::new("-") || metadata.is_ok_and(|m| !m.is_file() && !m.is_dir());
        if !once {
            return Ok(Self { path, memory: None });
        }
        let unreadable =
            |source| analyze::refused(ReadError::Io { path: path.display().to_string(), source }, global);
        let mut bytes = Vec::new();
        if path == Path::new("-") {
            std::io::stdin().lock().take(STANDARD_INPUT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        } else {
            std::fs::File::open(&path)
                .and_then(|file| file.take(STANDARD_INPUT + 1).read_to_end(&mut bytes))
                .map_err(unreadable)?;
        }
        if bytes.len() as u64 > STANDARD_INPUT {
            let error = ReadError::Limit {
                path: path.display().to_string(),
                limit: format!(
                    "{} GiB for what can be read only once; save it to a file first",
                    STANDARD_INPUT >> 30
                ),
            };
            return Err(analyze::refused(error, global));
        }
        Ok(Self { path, memory: Some(bytes.into()) })
    }

    fn open(&self, global: &Global) -> Result<Box<dyn Source>, CommandError> {
        let opened = match &self.memory {
            Some(bytes) => {
                read::stream("standard input", Box::new(BufReader::new(Cursor::new(Arc::clone(bytes)))))
            }
            None => read::open(&self.path),
        };
        opened.map_err(|error| analyze::refused(error, global))
    }

    /// The name and the content of an input that is one file and no archive.
    fn single(&self, global: &Global) -> Result<Option<(String, read::Memory)>, CommandError> {
        if self.path.is_dir() {
            return Ok(None);
        }
        let source = self.open(global)?;
        let own = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut only = None;
        source
            .walk(&mut |entry, _| {
                let of_stream = self.memory.is_some() && entry.path == "stdin.yaml";
                let of_file = [".gz", ".zst"]
                    .iter()
                    .filter_map(|ending| own.strip_suffix(ending))
                    .chain([own.as_str()])
                    .any(|name| name == entry.path);
                only = (of_stream || of_file).then(|| entry.path.clone());
                Visit::Stop
            })
            .map_err(|error| analyze::refused(error, global))?;
        let Some(path) = only else { return Ok(None) };
        let content = source.read(&path, STANDARD_INPUT).map_err(|error| analyze::refused(error, global))?;
        let content = content.unwrap_or_default();
        // What comes without a name is called by what it is.
        let name = if self.memory.is_some() && !load::looks_like_objects(&content) {
            "stdin.log".to_owned()
        } else {
            path
        };
        Ok(Some((name.clone(), read::Memory([(name, content)].into()))))
    }

    /// When the input was last changed, so that the same input gives the same archive.
    fn time(&self) -> chrono::DateTime<chrono::Utc> {
        let changed = self.path.metadata().and_then(|metadata| metadata.modified()).ok();
        changed.map_or_else(chrono::Utc::now, chrono::DateTime::from)
    }
}
