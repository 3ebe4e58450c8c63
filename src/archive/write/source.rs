//! Reading back what a writer has so far.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use super::{Shared, Stored};
use crate::archive::read::{Entry, ReadError, Source, Visit};

/// The finished members of a writer, as a bundle to read.
pub(super) struct Written {
    pub(super) members: BTreeMap<String, Arc<Stored>>,
    pub(super) shared: Arc<Shared>,
}

impl Written {
    fn open<'a>(&'a self, path: &str, member: &'a Stored) -> Result<Box<dyn Read + 'a>, ReadError> {
        member
            .open(&self.shared.spool, self.shared.directory().as_deref())
            .map_err(|source| ReadError::Io { path: path.to_owned(), source })
    }
}

impl Source for Written {
    fn walk(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError> {
        for (path, member) in &self.members {
            let entry = Entry { path: path.clone(), bytes: member.bytes };
            if visit(&entry, &mut *self.open(path, member)?) == Visit::Stop {
                break;
            }
        }
        Ok(Vec::new())
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(member) = self.members.get(path) else { return Ok(None) };
        let mut content = Vec::new();
        self.open(path, member)?
            .take(limit)
            .read_to_end(&mut content)
            .map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Ok(Some(content))
    }

    fn stream(&self, path: &str, visit: &mut dyn FnMut(&mut dyn Read)) -> Result<bool, ReadError> {
        let Some(member) = self.members.get(path) else { return Ok(false) };
        visit(&mut *self.open(path, member)?);
        Ok(true)
    }
}
