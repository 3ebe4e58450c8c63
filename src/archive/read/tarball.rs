//! Tar archives, plain, gzip- or Zstandard-compressed, read as a stream.

use std::io::{self, Read};

use super::limits;
use super::root::clean;

const BLOCK: usize = 512;

/// What stands in a tar archive at some place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// A file; its content is read through [`Tar::content`].
    File {
        /// Its path.
        path: String,
        /// Its size.
        bytes: u64,
    },
    /// A folder, or something that only tells about others.
    Folder,
    /// Something that a bundle has no use for; why it is not read, starting with its name.
    Skipped(String),
}

/// A tar archive that is read from its beginning to its end.
///
/// The extension headers of a member (PAX, GNU long names) are bounded, which is what readers
/// made for trusted archives lack.
pub(super) struct Tar<R> {
    inner: R,
    /// What is left of the current member, and the padding after it.
    left: u64,
    padding: u64,
    /// The content broke off; there is nothing after it.
    broken: Option<io::Error>,
}

impl<R: Read> Tar<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0, broken: None }
    }

    /// Goes to the next member; `None` at the archive's end.
    pub(super) fn next(&mut self) -> io::Result<Option<Member>> {
        self.skip()?;
        let mut path: Option<Vec<u8>> = None;
        let mut size: Option<u64> = None;
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let stored = header.entry_size()?;
            let kind = header.entry_type();
            match kind {
                tar::EntryType::XHeader => {
                    for (key, value) in pax_records(&self.extension(stored)?) {
                        match key {
                            b"path" => path = Some(value.to_vec()),
                            b"size" => {
                                size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                            }
                            _ => {}
                        }
                    }
                    continue;
                }
                tar::EntryType::GNULongName => {
                    let mut name = self.extension(stored)?;
                    name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
                    path = Some(name);
                    continue;
                }
                tar::EntryType::GNULongLink | tar::EntryType::XGlobalHeader => {
                    self.extension(stored)?;
                    continue;
                }
                _ => {}
            }
            let name = path.take().unwrap_or_else(|| header.path_bytes().into_owned());
            let shown = String::from_utf8_lossy(&name).into_owned();
            if kind.is_gnu_sparse() {
                let mut more = header.as_gnu().is_some_and(tar::GnuHeader::is_extended);
                while more {
                    let mut extended = tar::GnuExtSparseHeader::new();
                    self.inner.read_exact(extended.as_mut_bytes())?;
                    more = extended.is_extended();
                }
            }
            let bytes = size.take().unwrap_or(stored);
            self.left = bytes;
            self.padding = bytes.next_multiple_of(BLOCK as u64) - bytes;
            return Ok(Some(match kind {
                tar::EntryType::Regular | tar::EntryType::Continuous => match clean(&name) {
                    // Archives from before POSIX mark folders by a slash alone.
                    Some(_) if name.ends_with(b"/") => Member::Folder,
                    Some(path) => Member::File { path, bytes },
                    None => Member::Skipped(format!("{shown}: leads out of the archive and was not read")),
                },
                tar::EntryType::Directory => Member::Folder,
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    Member::Skipped(format!("{shown}: is a link and was not followed"))
                }
                tar::EntryType::GNUSparse => {
                    Member::Skipped(format!("{shown}: is stored as a sparse file, which is not supported"))
                }
                _ => Member::Skipped(format!("{shown}: is neither file nor folder and was not read")),
            }));
        }
    }

    /// Reads what stands behind the end of the archive, so that the checksum of what it is
    /// compressed with is compared. Foreign bytes there are none of our business.
    pub(super) fn rest(&mut self) -> io::Result<()> {
        /// Tape blocks are smaller.
        const MOST: u64 = 64 << 20;
        match io::copy(&mut self.inner.by_ref().take(MOST), &mut io::sink()) {
            Err(error) if error.to_string().contains("invalid gzip header") => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// The content of the current member.
    pub(super) fn content(&mut self) -> Content<'_, R> {
        Content { tar: self }
    }

    /// Goes over what is left of the current member. Fails if its content broke off, now or when
    /// someone else read it.
    pub(super) fn skip(&mut self) -> io::Result<()> {
        if self.broken.is_none() && self.left > 0 {
            // An error is kept in `broken`.
            let _ = io::copy(&mut self.content(), &mut io::sink());
        }
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let mut padding = [0; BLOCK];
        let n = std::mem::take(&mut self.padding) as usize;
        self.inner.read_exact(&mut padding[..n])
    }

    /// Reads a header; `None` for the zeros at the end.
    fn header(&mut self) -> io::Result<Option<tar::Header>> {
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        self.inner.read_exact(block)?;
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        if !is_header(block) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what follows is no tar header"));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, bytes: u64) -> io::Result<Vec<u8>> {
        if bytes > limits::TAR_EXTENSION {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an extension header is far too large"));
        }
        let mut content = vec![0; bytes.next_multiple_of(BLOCK as u64) as usize];
        self.inner.read_exact(&mut content)?;
        content.truncate(bytes as usize);
        Ok(content)
    }
}

/// See [`Tar::content`].
pub(super) struct Content<'a, R> {
    tar: &'a mut Tar<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.tar.broken {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        let most = usize::try_from(self.tar.left).map_or(into.len(), |left| left.min(into.len()));
        if most == 0 {
            return Ok(0);
        }
        let outcome = match self.tar.inner.read(&mut into[..most]) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected end of file")),
            outcome => outcome,
        };
        match outcome {
            Ok(n) => {
                self.tar.left -= n as u64;
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                self.tar.broken = Some(error);
                Err(copy)
            }
        }
    }
}

/// Whether these bytes are a tar header, by its checksum.
pub(super) fn is_header(block: &[u8]) -> bool {
    if block.len() < BLOCK {
        return false;
    }
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(&block[..BLOCK]);
    let sum: u32 = block[..BLOCK]
        .iter()
        .enumerate()
        .map(|(n, b)| if (148..156).contains(&n) { 32 } else { u32::from(*b) })
        .sum();
    // A block of zeros has a sum too, but it is no header.
    sum > 256 && header.cksum().is_ok_and(|stored| stored == sum)
}

/// The records of a PAX header that are well-formed.
fn pax_records(mut bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut records = Vec::new();
    while let Some(space) = bytes.iter().position(|b| *b == b' ') {
        let length = std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse::<usize>().ok());
        let Some(length) = length.filter(|length| *length > space + 1 && *length <= bytes.len()) else {
            break;
        };
        let record = &bytes[space + 1..length - 1];
        if let Some(equals) = record.iter().position(|b| *b == b'=') {
            records.push((&record[..equals], &record[equals + 1..]));
        }
        bytes = &bytes[length..];
    }
    records
}
