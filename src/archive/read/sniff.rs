//! What an input is, by its first bytes; its name does not matter.

use super::tarball::is_header;

/// How many bytes are looked at.
pub(super) const LOOK: usize = 1024;

/// A form of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing at all.
    Empty,
    /// Compressed with gzip.
    Gzip,
    /// Compressed with Zstandard.
    Zstd,
    /// A zip archive.
    Zip,
    /// A tar archive.
    Tar,
    /// Text, perhaps YAML or JSON.
    Text,
    /// Something that we do not read; what it is.
    Other(&'static str),
}

/// Tells the form of an input from its beginning (up to [`LOOK`] bytes).
pub(super) fn form(start: &[u8]) -> Form {
    const OTHERS: [(&[u8], &str); 12] = [
        (b"\xfd7zXZ\0", "it is compressed with xz; unpack it first with 'xz -d'"),
        (b"BZh", "it is compressed with bzip2; unpack it first with 'bzip2 -d'"),
        (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive; unpack it first"),
        (b"Rar!", "it is a rar archive; unpack it first"),
        (b"\x7fELF", "it is a program"),
        (b"MZ", "it is a program"),
        (b"\x89PNG", "it is an image"),
        (b"\xff\xd8\xff", "it is an image"),
        (b"GIF8", "it is an image"),
        (b"%PDF", "it is a PDF document"),
        (b"-----BEGIN", "it is a certificate, key or signature"),
        (b"SQLite format 3\0", "it is a database"),
    ];
    if start.is_empty() {
        return Form::Empty;
    }
    if start.starts_with(&[0x1f, 0x8b]) {
        return Form::Gzip;
    }
    // A frame, or a skippable frame in front of one.
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || (start.len() >= 4 && (0x50..=0x5f).contains(&start[0]) && start[1..4] == [0x2a, 0x4d, 0x18])
    {
        return Form::Zstd;
    }
    if [&b"PK\x03\x04"[..], b"PK\x05\x06", b"PK\x07\x08"].iter().any(|magic| start.starts_with(magic)) {
        return Form::Zip;
    }
    if is_header(start) {
        return Form::Tar;
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Form::Other(what);
    }
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let lower: Vec<u8> = text.iter().take(16).map(u8::to_ascii_lowercase).collect();
    if lower.starts_with(b"<!doctype html") || lower.starts_with(b"<html") {
        return Form::Other("it is an HTML page, perhaps that of a login or an error");
    }
    if start.iter().all(|b| *b == 0) {
        return Form::Other("it holds nothing but zeros");
    }
    // As PowerShell writes what is redirected into a file.
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        return Form::Text;
    }
    let binary = start.iter().any(|b| *b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r' | 0x1b | 0x0c));
    if binary { Form::Other("it is neither an archive that we know nor text") } else { Form::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_it_is() {
        for (start, expected) in [
            (&b""[..], Form::Empty),
            (b"\x1f\x8b\x08", Form::Gzip),
            (b"\x28\xb5\x2f\xfd\x00", Form::Zstd),
            (b"PK\x03\x04..", Form::Zip),
            (b"apiVersion: v1\nkind: List\n", Form::Text),
            (b"\xef\xbb\xbf{\"kind\": \"List\"}", Form::Text),
            (b"\xff\xfea\0", Form::Text),
        ] {
            assert_eq!(form(start), expected);
        }
        for start in [&b"\xfd7zXZ\0\0"[..], b"\x7fELF\x02", b"  <!DOCTYPE HTML>", &[0; 600], b"a\0b"] {
            assert!(matches!(form(start), Form::Other(_)), "{start:?}");
        }
        let mut header = tar::Header::new_ustar();
        header.set_path("a").expect("a short path");
        header.set_size(0);
        header.set_cksum();
        assert_eq!(form(header.as_bytes()), Form::Tar);
    }
}
