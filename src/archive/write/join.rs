//! Joining members into one archive: tar under gzip or Zstandard, zip.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use flate2::Crc;

use super::spool::{BLOCK, Block, Deflater, Spool, fill_block};
use super::{Body, Stored};

/// What is to be joined: members sorted by path, below one root folder.
pub(super) struct Contents<'a> {
    pub(super) root: &'a str,
    pub(super) time: DateTime<Utc>,
    pub(super) members: &'a [(String, std::sync::Arc<Stored>)],
    pub(super) spool: &'a Spool,
}

impl Contents<'_> {
    /// Calls back for every folder (before what is in it) and every member. Extractors that make
    /// no parents by themselves need an entry for each folder.
    fn each<E>(&self, mut visit: impl FnMut(&str, Option<&Stored>) -> Result<(), E>) -> Result<(), E> {
        let mut folders = BTreeSet::new();
        for (path, member) in self.members {
            let path = format!("{}/{path}", self.root);
            for (at, _) in path.match_indices('/') {
                let folder = &path[..=at];
                if !folders.contains(folder) {
                    visit(folder, None)?;
                    folders.insert(folder.to_owned());
                }
            }
            visit(&path, Some(member))?;
        }
        Ok(())
    }

    fn read<'b>(&'b self, member: &'b Stored) -> io::Result<Box<dyn Read + 'b>> {
        member.open(self.spool, None)
    }

    /// Writes a gzip-compressed tar archive of one gzip member. The deflated blocks of large
    /// members go in as they are; headers and small members between them are deflated here.
    pub(super) fn tar_gz(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut gzip = Gzip::begin(out)?;
        self.each(|path, member| {
            gzip.plain(&header(path, member, self.time)?)?;
            let Some(member) = member else { return Ok(()) };
            match &member.body {
                Body::Spooled(blocks) if member.bytes > SMALL => {
                    for block in blocks {
                        gzip.splice(self.spool, block)?;
                    }
                }
                _ => {
                    let mut content = self.read(member)?;
                    let mut buffer = vec![0; BLOCK];
                    loop {
                        match content.read(&mut buffer)? {
                            0 => break,
                            n => gzip.plain(&buffer[..n])?,
                        }
                    }
                }
            }
            gzip.plain(&padding(member.bytes))
        })?;
        gzip.plain(&[0; 2 * 512])?;
        gzip.end()
    }

    /// Writes a Zstandard-compressed tar archive.
    pub(super) fn tar_zst(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut zstd = zstd::stream::write::Encoder::new(out, 3)?;
        zstd.include_checksum(true)?;
        self.each(|path, member| {
            zstd.write_all(&header(path, member, self.time)?)?;
            let Some(member) = member else { return Ok(()) };
            io::copy(&mut self.read(member)?, &mut zstd)?;
            zstd.write_all(&padding(member.bytes))
        })?;
        zstd.write_all(&[0; 2 * 512])?;
        zstd.finish()?.flush()
    }

    /// Writes a zip archive, without going back in the output.
    pub(super) fn zip(&self, out: &mut dyn Write) -> io::Result<()> {
        let time = zip::DateTime::from_date_and_time(
            u16::try_from(self.time.year()).unwrap_or(1980),
            u8::try_from(self.time.month()).unwrap_or(1),
            u8::try_from(self.time.day()).unwrap_or(1),
            u8::try_from(self.time.hour()).unwrap_or(0),
            u8::try_from(self.time.minute()).unwrap_or(0),
            u8::try_from(self.time.second()).unwrap_or(0),
        )
        .unwrap_or_default();
        let mut zip = zip::ZipWriter::new_stream(out);
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .compression_level(Some(6))
            .last_modified_time(time);
        self.each(|path, member| {
            let Some(member) = member else {
                return zip.add_directory(path, options.unix_permissions(0o755)).map_err(io::Error::other);
            };
            // The sizes in a local header take 32 bits unless one says so beforehand; what does not
            // compress grows a little.
            let large = member.bytes > u64::from(u32::MAX) - (64 << 20);
            zip.start_file(path, options.unix_permissions(0o644).large_file(large)).map_err(unwrap_zip)?;
            io::copy(&mut self.read(member)?, &mut zip)?;
            Ok(())
        })?;
        zip.finish().map_err(unwrap_zip)?.into_inner().flush()
    }
}

/// Members up to this size are deflated together with their headers when the archive is joined.
pub(super) const SMALL: u64 = 64 * 1024;

fn unwrap_zip(error: zip::result::ZipError) -> io::Error {
    match error {
        zip::result::ZipError::Io(error) => error,
        error => io::Error::other(error),
    }
}

fn padding(bytes: u64) -> Vec<u8> {
    vec![0; (bytes.next_multiple_of(512) - bytes) as usize]
}

/// The tar header of a folder (`None`) or member: ustar, preceded by a PAX header when the path
/// or the size does not fit. Readers of must-gathers know no other extension.
fn header(path: &str, member: Option<&Stored>, time: DateTime<Utc>) -> io::Result<Vec<u8>> {
    /// What eleven octal digits hold.
    const USTAR_SIZE: u64 = 0o77_777_777_777;
    let bytes = member.map_or(0, |m| m.bytes);
    let mut header = tar::Header::new_ustar();
    let mut records = Vec::new();
    if !path.is_ascii() || header.set_path(path).is_err() {
        record("path", path, &mut records);
        let ascii: String = path.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect();
        let folder = if member.is_none() { "/" } else { "" };
        header.set_path(format!("{}{folder}", ascii[..ascii.len().min(90)].trim_end_matches('/')))?;
    }
    if bytes > USTAR_SIZE {
        record("size", &bytes.to_string(), &mut records);
    }
    let kind = if member.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory };
    fill(&mut header, kind, bytes.min(USTAR_SIZE), if member.is_some() { 0o644 } else { 0o755 }, time);
    let mut out = Vec::with_capacity(512);
    if !records.is_empty() {
        let mut extended = tar::Header::new_ustar();
        extended.set_path("PaxHeaders/entry")?;
        fill(&mut extended, tar::EntryType::XHeader, records.len() as u64, 0o644, time);
        out.extend_from_slice(extended.as_bytes());
        out.extend_from_slice(&records);
        out.extend_from_slice(&padding(records.len() as u64));
    }
    out.extend_from_slice(header.as_bytes());
    Ok(out)
}

fn fill(header: &mut tar::Header, kind: tar::EntryType, bytes: u64, mode: u32, time: DateTime<Utc>) {
    header.set_entry_type(kind);
    header.set_size(bytes);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(time.timestamp()).unwrap_or(0));
    header.set_cksum();
}

/// A PAX record: its own length in decimal, a space, `key=value`, a line break.
fn record(key: &str, value: &str, out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
}

/// One gzip member that is put together from blocks.
struct Gzip<'a> {
    out: &'a mut dyn Write,
    /// Plain bytes that wait to be a block.
    pending: Vec<u8>,
    deflater: Deflater,
    crc: Crc,
    scratch: Vec<u8>,
}

impl<'a> Gzip<'a> {
    fn begin(out: &'a mut dyn Write) -> io::Result<Self> {
        // Deflate, no flags, no time, no hint, unknown system: the same on every machine.
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])?;
        Ok(Self {
            out,
            pending: Vec::with_capacity(BLOCK),
            deflater: Deflater::default(),
            crc: Crc::new(),
            scratch: Vec::new(),
        })
    }

    fn plain(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if fill_block(&mut self.pending, &mut bytes) {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            let (compressed, crc) = self.deflater.block(&self.pending)?;
            self.out.write_all(compressed)?;
            self.crc.combine(&crc);
            self.pending.clear();
        }
        Ok(())
    }

    fn splice(&mut self, spool: &Spool, block: &Block) -> io::Result<()> {
        self.flush()?;
        spool.compressed(block, &mut self.scratch)?;
        self.out.write_all(&self.scratch)?;
        self.crc.combine(&block.crc);
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        self.flush()?;
        // An empty last block, then the checksum and the size modulo 2^32.
        self.out.write_all(&[0x03, 0x00])?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        self.out.flush()
    }
}
