//! Archives that are hostile, cut or damaged: the rest is read, and what is wrong is said.

use oc_mcpgw::archive::load::load;
use oc_mcpgw::archive::read::{self, ReadError, Source, Visit};
use oc_mcpgw::archive::write::{Format, Target};

use crate::archive::{log, long, members, write};

/// A tar archive of members that our writer would never make.
fn hostile_tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &[u8], kind: tar::EntryType, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.set_link_name("/etc/passwd").expect("a short name");
        }
        header.set_cksum();
        tar.append(&header, content).expect("memory");
    };
    let object = b"apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a}\n";
    use tar::EntryType as T;
    add(b"x/namespaces/", T::Directory, b"");
    add(b"x/namespaces/a/pods/p/p.yaml", T::Regular, object);
    add(b"x/namespaces/a/pods/p/p.yaml", T::Regular, b"kind: Other\n");
    add(b"x/../../../etc/cron.d/evil", T::Regular, b"evil");
    add(b"/x/namespaces/a/core/services.yaml", T::Regular, b"items: []\n");
    add(b"x/namespaces/a/core/link.yaml", T::Symlink, b"");
    add(b"x/namespaces/a/core/hard.yaml", T::Link, b"");
    add(b"x/namespaces/a/core/fifo", T::Fifo, b"");
    add(b"x/namespaces/a/core/disk", T::Block, b"");
    add(b"x/namespaces/a/core/\xff\xfe.yaml", T::Regular, object);
    add(b"x/namespaces/a/core/sparse.yaml", T::GNUSparse, b"");
    tar.into_inner().expect("memory")
}

fn walked(source: &dyn Source) -> (Vec<String>, Vec<String>) {
    let mut paths = Vec::new();
    let problems = source
        .walk(&mut |entry, _| {
            paths.push(entry.path.clone());
            Visit::Next
        })
        .expect("a walk");
    (paths, problems)
}

#[test]
fn hostile_members_are_noted_and_nothing_else_suffers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.tar");
    std::fs::write(&path, hostile_tar()).expect("a file");
    let (paths, problems) = walked(&*read::open(&path).expect("a bundle"));
    insta::assert_snapshot!(format!("{}\n---\n{}", paths.join("\n"), problems.join("\n")), @r"
    namespaces/a/pods/p/p.yaml
    namespaces/a/core/services.yaml
    namespaces/a/core/%FF%FE.yaml
    ---
    x/../../../etc/cron.d/evil: leads out of the archive and was not read
    x/namespaces/a/core/link.yaml: is a link and was not followed
    x/namespaces/a/core/hard.yaml: is a link and was not followed
    x/namespaces/a/core/fifo: is neither file nor folder and was not read
    x/namespaces/a/core/disk: is neither file nor folder and was not read
    x/namespaces/a/core/sparse.yaml: is stored as a sparse file, which is not supported
    namespaces/a/pods/p/p.yaml: stands in the archive more than once; the first is used
    ");
    // The same through a pipe, where the root shows late.
    let source = read::stream("input", Box::new(std::io::Cursor::new(hostile_tar()))).expect("a bundle");
    assert_eq!(walked(&*source), (paths, problems));
}

#[cfg(unix)]
#[test]
fn links_loops_and_devices_in_a_directory_are_noted() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    std::fs::create_dir_all(root.join("namespaces/a/core")).expect("a folder");
    std::fs::write(root.join("namespaces/a/core/pods.yaml"), "kind: PodList\nitems: []\n").expect("a file");
    std::os::unix::fs::symlink(root, root.join("namespaces/loop")).expect("a link");
    std::os::unix::fs::symlink("/etc/passwd", root.join("namespaces/a/core/secrets.yaml")).expect("a link");
    std::os::unix::net::UnixListener::bind(root.join("namespaces/a/socket")).expect("a socket");
    let (paths, problems) = walked(&*read::open(root).expect("a bundle"));
    assert_eq!(paths, ["namespaces/a/core/pods.yaml"]);
    assert_eq!(
        problems,
        [
            "namespaces/a/core/secrets.yaml: is a link and was not followed",
            "namespaces/a/socket: is neither file nor folder and was not read",
            "namespaces/loop: is a link and was not followed",
        ]
    );
}

#[test]
fn a_bomb_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut header = tar::Header::new_ustar();
    header.set_path("namespaces/a/pods/p/c/c/logs/current.log").expect("a short path");
    header.set_size(3 << 30);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let zeros = vec![0_u8; 1 << 20];
    for name in ["bomb.tar.gz", "bomb.tar.zst"] {
        let path = folder.path().join(name);
        let file = std::fs::File::create(&path).expect("a file");
        let mut out: Box<dyn std::io::Write> = if name.ends_with("gz") {
            Box::new(flate2::write::GzEncoder::new(file, flate2::Compression::best()))
        } else {
            Box::new(zstd::Encoder::new(file, 1).expect("an encoder").auto_finish())
        };
        out.write_all(header.as_bytes()).expect("a header");
        for _ in 0..(1 << 10) + 100 {
            out.write_all(&zeros).expect("zeros");
        }
        drop(out);
        let source = read::open(&path).expect("it begins well");
        let error = source.walk(&mut |_, content| {
            let _ = std::io::copy(content, &mut std::io::sink());
            Visit::Next
        });
        assert!(matches!(error, Err(ReadError::Limit { .. })), "{name}: {error:?}");
    }
}

#[test]
fn a_cut_archive_gives_what_stands_before_the_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut expected = members();
    // Nothing that the walk itself would have to skip.
    expected.retain(|(path, _)| path.is_ascii());
    for format in [Format::TarGz, Format::TarZst] {
        let path = folder.path().join(format!("{format:?}"));
        write(Target::Path(path.clone()), format, &expected, 4096);
        let whole = std::fs::read(&path).expect("an archive");
        let cut = folder.path().join("cut");
        let mut most = 0;
        for n in 0..60 {
            let length = whole.len() * n / 60 + n % 3;
            std::fs::write(&cut, &whole[..length]).expect("a file");
            let Ok(source) = read::open(&cut) else {
                assert!(n < 20, "{format:?}: a cut at {length} of {} must be readable", whole.len());
                continue;
            };
            let mut files = 0;
            let problems = source
                .walk(&mut |entry, content| {
                    let mut bytes = Vec::new();
                    let outcome = std::io::Read::read_to_end(content, &mut bytes);
                    let (_, original) =
                        expected.iter().find(|(path, _)| *path == entry.path).expect("one of ours");
                    assert!(original.starts_with(&bytes));
                    assert_eq!(outcome.is_ok(), bytes.len() == original.len());
                    files += usize::from(outcome.is_ok());
                    Visit::Next
                })
                .expect("a walk");
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(read::breaks_off(&problems[0]), "{problems:?}");
            assert!(files >= most, "a longer part holds no less");
            most = files;
            // The loader takes any of it.
            let _ = load(&*source);
        }
        assert!(most * 2 > expected.len(), "{format:?}: {most}");
    }
}

#[test]
fn a_wrong_checksum_of_the_compression_is_a_problem() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.tar.gz");
    write(Target::Path(path.clone()), Format::TarGz, &members(), 5000);
    let whole = std::fs::read(&path).expect("an archive");
    let problems = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).expect("a file");
        walked(&*read::open(&path).expect("a bundle")).1
    };
    assert_eq!(problems(&|_| {}), Vec::<String>::new());
    assert_eq!(problems(&|bytes| bytes.extend_from_slice(b"a signature behind it")), Vec::<String>::new());
    for change in [
        &(|bytes: &mut Vec<u8>| {
            let at = bytes.len() - 6;
            bytes[at] ^= 1;
        }) as &dyn Fn(&mut Vec<u8>),
        &|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1),
    ] {
        let problems = problems(change);
        assert!(problems.len() == 1 && problems[0].contains("is damaged at its end"), "{problems:?}");
    }
}

/// Small archives in every form, for the tests that damage them.
fn small_archives() -> Vec<Vec<u8>> {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  namespace: a\n";
    let members: Vec<(String, Vec<u8>)> = vec![
        ("mcpgw/manifest.json".into(), b"{\"schemaVersion\": \"mcpgw.manifest/v1\"}".to_vec()),
        (
            "namespaces/a/core/pods.yaml".into(),
            format!("apiVersion: v1\nitems:\n- {}", pod.replace('\n', "\n  ")).into_bytes(),
        ),
        (format!("namespaces/{}/x.io/xs/{}.yaml", long(63), long(200)), pod.as_bytes().to_vec()),
        ("namespaces/a/pods/p/c/c/logs/current.log".into(), log(3000)),
        ("timestamp".into(), b"2026-11-22 10:20:30 +0000 UTC\n".to_vec()),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let mut archives: Vec<Vec<u8>> = [Format::TarGz, Format::TarZst, Format::Zip]
        .into_iter()
        .map(|format| {
            let path = folder.path().join(format!("{format:?}"));
            write(Target::Path(path.clone()), format, &members, 4096);
            std::fs::read(path).expect("an archive")
        })
        .collect();
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(archives[0].as_slice()), &mut tar)
        .expect("a tar");
    archives.push(tar);
    archives.push(hostile_tar());
    archives.push(pod.as_bytes().to_vec());
    archives
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    /// Whatever is done to an archive: an answer or one clear error, never a panic.
    #[test]
    fn damaged_archives_never_panic(
        archive in proptest::sample::select(small_archives()),
        damage in proptest::collection::vec(
            (proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 0..12),
        cut in proptest::option::of(proptest::prelude::any::<proptest::sample::Index>()),
        twice in proptest::prelude::any::<bool>(),
    ) {
        let mut bytes = archive;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if twice {
            bytes.extend_from_within(..);
        }
        match read::stream("input", Box::new(std::io::Cursor::new(bytes))).and_then(|source| load(&*source)) {
            Ok(bundle) => for problem in &bundle.problems {
                proptest::prop_assert!(!problem.contains("bug:"), "{}", problem);
            },
            Err(error) => proptest::prop_assert!(!error.to_string().is_empty()),
        }
    }
}
