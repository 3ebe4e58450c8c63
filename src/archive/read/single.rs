//! One file of YAML or JSON that is a bundle by itself, compressed or not.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::container::inflate;
use super::limits::Watch;
use super::sniff::Form;
use super::{Entry, ReadError, Source, Visit};

/// What holds the bytes.
pub(super) enum Bytes {
    OnDisk(PathBuf),
    InMemory(Arc<[u8]>),
}

/// A bundle of one file.
pub(super) struct Single {
    /// What the file is called in the bundle.
    pub(super) name: String,
    pub(super) bytes: Bytes,
    pub(super) compression: Form,
}

impl Single {
    fn visit(&self, visit: &mut dyn FnMut(u64, &mut dyn Read)) -> Result<(), ReadError> {
        let io = |source| ReadError::Io { path: self.name.clone(), source };
        let (input, size): (Box<dyn BufRead + Send>, u64) = match &self.bytes {
            Bytes::OnDisk(path) => {
                let file = File::open(path).map_err(io)?;
                let size = file.metadata().map_err(io)?.len();
                (Box::new(BufReader::new(file)), size)
            }
            Bytes::InMemory(bytes) => (Box::new(Cursor::new(Arc::clone(bytes))), bytes.len() as u64),
        };
        let watch = Watch::default();
        visit(size, &mut inflate(input, self.compression, &watch).map_err(io)?);
        match watch.limit() {
            Some(limit) => Err(ReadError::Limit { path: self.name.clone(), limit }),
            None => Ok(()),
        }
    }
}

impl Source for Single {
    fn walk(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError> {
        self.visit(&mut |bytes, content| {
            visit(&Entry { path: self.name.clone(), bytes }, content);
        })?;
        Ok(Vec::new())
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        if path != self.name {
            return Ok(None);
        }
        let mut content = Vec::new();
        let mut outcome = Ok(0);
        self.visit(&mut |_, file| outcome = file.take(limit).read_to_end(&mut content))?;
        outcome.map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Ok(Some(content))
    }

    fn stream(&self, path: &str, visit: &mut dyn FnMut(&mut dyn Read)) -> Result<bool, ReadError> {
        if path == self.name {
            self.visit(&mut |_, content| visit(content))?;
        }
        Ok(path == self.name)
    }
}
