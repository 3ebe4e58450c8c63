//! Whole archives: written, read back by us and by others, in every format.

use std::path::Path;

use chrono::{DateTime, Utc};
use oc_mcpgw::archive::load::load;
use oc_mcpgw::archive::read::{self, ReadError, Source, Visit};
use oc_mcpgw::archive::write::{Finished, Format, Options, Target, WriteError, Writer};
use oc_mcpgw::redact::{Redacted, Redactor};

fn time() -> DateTime<Utc> {
    "2026-11-22T10:20:30Z".parse().expect("a time")
}

fn options(target: Target, format: Format) -> Options {
    Options { target, format, root: "mcpgw-gather-test-20261122T102030Z".to_owned(), time: time() }
}

fn redacted(text: &[u8]) -> Redacted {
    let redactor = Redactor::new(oc_mcpgw::redact::Options::default());
    redactor.text(&redactor.path("x"), text)
}

/// A log of so many bytes, neither regular nor random, with nothing that is redacted in any cut.
pub fn log(bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "info", "warn", "request", "took", "some", "time", "route", "weather", "server", "tool", "list",
        "call", "broker", "ready", "again", "slow",
    ];
    let mut text = Vec::with_capacity(bytes + 100);
    let mut n = bytes as u64;
    while text.len() < bytes {
        n = n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        for shift in (8..64).step_by(4) {
            text.extend_from_slice(WORDS[(n >> shift) as usize % 16].as_bytes());
            text.push(if shift == 60 { b'\n' } else { b' ' });
        }
    }
    text.truncate(bytes);
    text
}

pub fn long(length: usize) -> String {
    "n".repeat(length)
}

/// Members that are awkward in one way or another.
pub fn members() -> Vec<(String, Vec<u8>)> {
    vec![
        ("version".into(), b"mcpgw-gather\n0.1.0\n".to_vec()),
        ("timestamp".into(), b"2026-11-22 10:20:30 +0000 UTC\n".to_vec()),
        ("mcpgw/empty.txt".into(), Vec::new()),
        ("namespaces/a/a.yaml".into(), b"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n".to_vec()),
        ("namespaces/a/pods/p/c/c/logs/current.log".into(), log(3 * 256 * 1024 + 17)),
        ("namespaces/a/pods/p/d/d/logs/current.log".into(), log(256 * 1024)),
        ("namespaces/a/pods/p/e/e/logs/current.log".into(), log(64 * 1024 + 1)),
        ("namespaces/a/pods/p/f/f/logs/current.log".into(), vec![0; 512]),
        (format!("namespaces/{}/core/{}.yaml", long(63), long(90)), b"items: []\n".to_vec()),
        (format!("namespaces/{}/x.io/xs/{}.yaml", long(63), long(200)), log(100_000)),
        ("namespaces/ä/x.yaml".into(), b"a: 1\n".to_vec()),
    ]
}

pub fn write(target: Target, format: Format, members: &[(String, Vec<u8>)], pieces: usize) -> Finished {
    let writer = Writer::create(options(target, format)).expect("a writer");
    let redactor = Redactor::new(oc_mcpgw::redact::Options::default());
    std::thread::scope(|scope| {
        for (path, content) in members {
            let (writer, redactor) = (writer.clone(), &redactor);
            scope.spawn(move || {
                let mut member = writer.member(redactor.path(path), "test".to_owned());
                for piece in content.chunks(pieces) {
                    member.write(&redacted(piece)).expect("a piece");
                }
                member.finish(false).expect("a member");
            });
        }
    });
    writer.finish().expect("an archive")
}

fn contents(source: &dyn Source) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let problems = source
        .walk(&mut |entry, content| {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(content, &mut bytes).expect("a whole file");
            assert_eq!(entry.bytes, bytes.len() as u64);
            all.push((entry.path.clone(), bytes));
            Visit::Next
        })
        .expect("a walk");
    assert_eq!(problems, Vec::<String>::new());
    all.sort();
    all
}

const FORMATS: [Format; 4] = [Format::TarGz, Format::TarZst, Format::Zip, Format::Dir];

#[test]
fn what_is_written_is_read_back_in_every_format() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut expected = members();
    expected.sort();
    for format in FORMATS {
        let path = folder.path().join(format!("{format:?}"));
        let finished = write(Target::Path(path.clone()), format, &members(), 1000);
        assert_eq!((finished.path.as_deref(), finished.files), (Some(path.as_path()), expected.len()));
        let source = read::open(&path).expect("a bundle");
        assert_eq!(contents(&*source), expected, "{format:?}");
        for (path, content) in &expected {
            assert_eq!(
                source.read(path, 10).expect("readable").as_deref(),
                Some(&content[..content.len().min(10)])
            );
        }
        assert_eq!(source.read("no/such/file", 10).expect("readable"), None);
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), FORMATS.len(), "{left:?}");
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut reversed = members();
    reversed.reverse();
    for format in [Format::TarGz, Format::TarZst, Format::Zip] {
        let bytes: Vec<Vec<u8>> = [(members(), 1000), (reversed.clone(), 1 << 20), (members(), 256 * 1024)]
            .iter()
            .enumerate()
            .map(|(n, (members, pieces))| {
                let path = folder.path().join(format!("{format:?}-{n}"));
                write(Target::Path(path.clone()), format, members, *pieces);
                std::fs::read(path).expect("an archive")
            })
            .collect();
        assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2], "{format:?}");
    }
}

#[test]
fn a_target_that_exists_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    for format in FORMATS {
        let path = folder.path().join(format!("{format:?}"));
        let writer = Writer::create(options(Target::Path(path.clone()), format)).expect("a writer");
        std::fs::write(&path, "mine").expect("a file");
        assert!(matches!(
            Writer::create(options(Target::Path(path.clone()), format)),
            Err(WriteError::Exists { .. })
        ));
        assert!(matches!(writer.finish(), Err(WriteError::Exists { .. })), "{format:?}");
        assert_eq!(std::fs::read(&path).expect("a file"), b"mine");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), FORMATS.len());
}

#[test]
fn nothing_is_left_of_an_archive_that_was_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let redactor = Redactor::new(oc_mcpgw::redact::Options::default());
    for format in FORMATS {
        for give_up in [Writer::abandon as fn(Writer), drop] {
            let writer =
                Writer::create(options(Target::Path(folder.path().join("x")), format)).expect("a writer");
            writer.add(redactor.path("a/b"), "test".into(), &redacted(&log(1 << 20))).expect("a member");
            let mut open = writer.member(redactor.path("c/d"), "test".into());
            open.write(&redacted(&log(1 << 20))).expect("a piece");
            drop(open);
            give_up(writer);
            assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "{format:?}");
        }
    }
}

#[test]
fn a_member_that_is_dropped_leaves_no_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let redactor = Redactor::new(oc_mcpgw::redact::Options::default());
    let target = Target::Into(folder.path().to_owned());
    let writer = Writer::create(options(target, Format::Dir)).expect("a writer");
    let mut member = writer.member(redactor.path("a/b"), "test".into());
    member.write(&redacted(&log(1 << 20))).expect("a piece");
    drop(member);
    assert_eq!(writer.entries(), []);
    assert_eq!(contents(&*writer.source()), []);
    writer.add(redactor.path("a/b"), "test".into(), &redacted(b"1")).expect("a member");
    writer.add(redactor.path("a/b"), "test".into(), &redacted(b"2")).expect("a member of the same name");
    writer.add(redactor.path("../../up"), "test".into(), &redacted(b"3")).expect("a member that wants out");
    writer.finish().expect("a directory");
    let found = contents(&*read::open(folder.path()).expect("a bundle"));
    let found: Vec<_> = found.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    assert_eq!(found, [("a/b", &b"1"[..]), ("a/b-2", b"2"), ("up", b"3")]);
}

#[test]
fn the_source_of_a_writer_is_what_is_finished() {
    for format in [Format::TarGz, Format::Zip] {
        let writer = Writer::create(options(Target::Memory, format)).expect("a writer");
        let redactor = Redactor::new(oc_mcpgw::redact::Options::default());
        let mut expected = members();
        for (path, content) in &expected {
            writer.add(redactor.path(path), "GET /x".into(), &redacted(content)).expect("a member");
        }
        expected.sort();
        assert_eq!(contents(&*writer.source()), expected);
        let entries = writer.entries();
        assert_eq!(entries.len(), expected.len());
        let empty = entries.iter().find(|entry| entry.path == "mcpgw/empty.txt").expect("an entry");
        assert_eq!(empty.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(writer.finish().expect("nothing").path, None);
    }
}

#[test]
fn other_programs_open_the_archives() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.tar.gz");
    write(Target::Path(path.clone()), Format::TarGz, &members(), 5000);
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).arg(&path).output().ok()?;
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // Each of these is on almost every machine; where one is missing, the others still speak.
    run("gzip", &["-t"]);
    let python = "import sys, tarfile, gzip, zlib\n\
        t = tarfile.open(sys.argv[1])\n\
        dirs = set()\n\
        for m in t:\n\
        \x20   assert m.isfile() or m.isdir(), m\n\
        \x20   parent = m.name.rpartition('/')[0]\n\
        \x20   assert parent == '' or parent in dirs, m\n\
        \x20   if m.isdir(): dirs.add(m.name)\n\
        \x20   assert m.mtime == 1795342830 and m.uid == 0 and m.mode == (0o755 if m.isdir() else 0o644), m\n\
        d = zlib.decompressobj(31)\n\
        d.decompress(open(sys.argv[1], 'rb').read())\n\
        assert d.eof and not d.unused_data\n\
        print(sum(m.isfile() for m in t))\n";
    if let Some(count) = run("python3", &["-c", python]) {
        assert_eq!(count.trim(), members().len().to_string());
    }
    if let Some(list) = run("tar", &["--warning=no-timestamp", "-tvzf"]) {
        assert!(list.contains(&long(200)), "{list}");
    }
    let mut whole = Vec::new();
    let file = std::fs::File::open(&path).expect("an archive");
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(file), &mut whole).expect("one gzip member");
    assert_eq!(whole.len() % 512, 0);
}

#[test]
fn what_is_no_bundle_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let why = |content: &[u8]| {
        let path = folder.path().join("input");
        std::fs::write(&path, content).expect("a file");
        match read::open(&path).and_then(|source| load(&*source)) {
            Ok(_) => panic!("must not be a bundle: {content:?}"),
            Err(error @ ReadError::NotABundle { .. }) => {
                error.to_string().replace(&path.display().to_string(), "F")
            }
            Err(error) => panic!("{error}"),
        }
    };
    let all: Vec<String> = [
        &b""[..],
        b"\x7fELF\x02\x01",
        b"<html><body>Log in</body></html>",
        b"hello world\n",
        b"PK\x03\x04 cut",
        b"\x1f\x8b\x08\0\0",
    ]
    .into_iter()
    .map(why)
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r"
    F is not a bundle: it is empty
    F is not a bundle: it is a program
    F is not a bundle: it is an HTML page, perhaps that of a login or an error
    the input is not a bundle: it holds no Kubernetes object, container log or file of a gather
    F is not a bundle: it begins like a zip archive, but has no table of contents at its end (invalid Zip archive: Could not find EOCD); it may be cut off
    F is not a bundle: it is compressed, but empty or damaged from its beginning
    ");
    assert!(matches!(read::open(&folder.path().join("missing")), Err(ReadError::Io { .. })));
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).expect("a folder");
    assert!(matches!(read::open(&empty), Err(ReadError::NotABundle { .. })));
    assert!(matches!(read::open(Path::new("/dev/null")), Err(ReadError::NotABundle { .. })));
}

#[test]
fn a_stream_is_read_once_and_small_files_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut expected = members();
    expected.push(("namespaces/a/pods/z/c/c/logs/current.log".into(), log(2 << 20)));
    expected.sort();
    for format in [Format::TarGz, Format::TarZst, Format::Zip] {
        let path = folder.path().join(format!("{format:?}"));
        write(Target::Path(path.clone()), format, &expected, 4096);
        let file = std::io::BufReader::new(std::fs::File::open(&path).expect("an archive"));
        let source = read::stream("input", Box::new(file)).expect("a bundle");
        assert_eq!(contents(&*source), expected, "{format:?}");
        assert_eq!(source.read("version", 5).expect("readable").as_deref(), Some(&b"mcpgw"[..]));
    }
    for text in [
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a}\n",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\",\"namespace\":\"a\"}}",
    ] {
        let source = read::stream("input", Box::new(text.as_bytes())).expect("a bundle");
        assert_eq!(load(&*source).expect("a bundle").objects().count(), 1);
    }
}

#[test]
fn loose_files_may_be_compressed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pods.yaml.gz");
    let mut gz =
        flate2::write::GzEncoder::new(std::fs::File::create(&path).expect("a file"), Default::default());
    std::io::Write::write_all(&mut gz, b"apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a}\n")
        .expect("a file");
    gz.finish().expect("a file");
    let bundle = load(&*read::open(&path).expect("a bundle")).expect("a bundle");
    assert_eq!(bundle.objects().next().map(|object| object.file().to_owned()).as_deref(), Some("pods.yaml"));
}

#[test]
fn an_archive_fits_by_leaving_out_logs() {
    let redactor = Redactor::new(oc_mcpgw::redact::Options::default());
    let log_path = |pod: &str, which: &str| format!("namespaces/a/pods/{pod}/c/c/logs/{which}.log");
    let members = [
        ("namespaces/a/core/pods.yaml".to_owned(), log(300_000)),
        (log_path("short", "current"), log(50_000)),
        (log_path("short", "previous"), log(200_000)),
        (log_path("long", "current"), log(3 << 20)),
        (log_path("longer", "current"), log(4 << 20)),
    ];
    for format in [Format::TarGz, Format::Dir] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let writer = Writer::create(options(Target::Path(path.clone()), format)).expect("a writer");
        for (path, content) in &members {
            writer.add(redactor.path(path), "test".into(), &redacted(content)).expect("a member");
        }
        assert_eq!(writer.fit(u64::MAX), []);
        let gone = |limit| writer.fit(limit).into_iter().map(|entry| entry.path).collect::<Vec<_>>();
        assert_eq!(gone(writer.size() - 1), [log_path("longer", "current")]);
        assert_eq!(gone(writer.size() - 1), [log_path("long", "current")]);
        assert_eq!(gone(writer.size() - 1), [log_path("short", "previous")]);
        let size = writer.size();
        assert_eq!(gone(0), [log_path("short", "current")]);
        assert!(writer.size() < size);
        let finished = writer.finish().expect("an archive");
        assert!(finished.files == 1 && finished.bytes < size, "{finished:?}");
        assert_eq!(contents(&*read::open(&path).expect("a bundle")).len(), 1);
    }
}

#[test]
fn a_target_that_cannot_be_written_is_said_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("no/such/folder/x.tar.gz");
    for format in FORMATS {
        let error = Writer::create(options(Target::Path(missing.clone()), format)).expect_err("no folder");
        let error = oc_mcpgw::error::CommandError::unusable(error).to_string();
        assert!(error.contains("no/such/folder") && error.contains("No such file"), "{error}");
    }
    assert!(Writer::create(options(Target::Into(missing), Format::Dir)).is_err());
    // The folder goes away while the archive is made.
    for format in [Format::TarGz, Format::TarZst, Format::Zip] {
        let gone = folder.path().join("gone");
        std::fs::create_dir(&gone).expect("a folder");
        let writer = Writer::create(options(Target::Path(gone.join("x")), format)).expect("a writer");
        let redactor = Redactor::new(oc_mcpgw::redact::Options::default());
        std::fs::remove_dir_all(&gone).expect("a folder");
        writer.add(redactor.path("a/b"), "test".into(), &redacted(b"1")).expect("the spool has no name");
        assert!(matches!(writer.finish(), Err(WriteError::Io { .. })), "{format:?}");
    }
}

#[test]
fn all_images_of_a_must_gather_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |path: &str, text: &str| {
        let path = folder.path().join("must-gather.local.1").join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    let pod = |name: &str| {
        format!("apiVersion: v1\nkind: PodList\nitems:\n- metadata: {{name: {name}, namespace: a}}\n")
    };
    put("must-gather.logs", "ClientVersion: 4.20\n");
    put("timestamp", "2026-04-22 10:00:00 +0000 UTC m=+0.1\n");
    put("quay-io-one/namespaces/a/core/pods.yaml", &pod("p"));
    put("quay-io-two/namespaces/a/core/pods.yaml", &pod("q"));
    put("quay-io-two/namespaces/a/pods/q/c/c/logs/current.log", "one\n");
    let source = read::open(folder.path()).expect("a bundle");
    let bundle = load(&*source).expect("a bundle");
    assert_eq!(bundle.meta.origin.as_str(), "must-gather");
    let pods: Vec<_> = bundle.objects().map(|pod| (pod.name().to_owned(), pod.file().to_owned())).collect();
    assert_eq!(
        pods,
        [
            ("p".to_owned(), "namespaces/a/core/pods.yaml".to_owned()),
            ("q".to_owned(), "must-gather.local.1/quay-io-two/namespaces/a/core/pods.yaml".to_owned()),
        ]
    );
    assert_eq!(bundle.logs_of("a", "q").count(), 1);
    assert!(bundle.meta.collected_at.is_some());
    for (_, file) in pods {
        assert!(source.read(&file, 10).expect("readable").is_some(), "{file}");
    }
}
