//! Reading a kind page by page: `limit` and `continue`, a restart when the token expires, each
//! item handed on as soon as it is whole.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::client::{Api, Patience, Refusal, TOO_LARGE};
use super::discovery::JSON;
use super::split::{SplitError, Splitter};
use super::work::heavy;
use crate::archive::write::WriteError;

/// How many objects one page holds.
const PAGE: usize = 500;
/// After how many pages a list counts as one without an end: five million objects.
const PAGES: usize = 10_000;
/// How often a list is begun anew when it breaks off.
const RESTARTS: u32 = 2;
/// How much of an answer is gathered before it is worked on.
const BATCH: usize = 256 << 10;
/// Metadata of objects without their content.
pub(crate) const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// Takes the objects of a list.
pub(crate) trait Sink: Send {
    /// The list is begun anew: forget what was given so far.
    fn restart(&mut self);
    /// One object, with `apiVersion` and `kind` as the server gave them, often none.
    ///
    /// # Errors
    /// The archive cannot be written.
    fn item(&mut self, item: Value) -> Result<(), WriteError>;
}

/// A list that is kept in memory.
impl Sink for Vec<Value> {
    fn restart(&mut self) {
        self.clear();
    }

    fn item(&mut self, item: Value) -> Result<(), WriteError> {
        self.push(item);
        Ok(())
    }
}

/// Why a list ended early.
#[derive(Debug)]
pub(crate) enum ListError {
    /// The server did not give it, or not all of it.
    Refused(Refusal),
    /// The archive cannot be written.
    Write(WriteError),
}

/// A list that came to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// How many objects it has.
    pub(crate) items: usize,
    /// Its `resourceVersion`.
    pub(crate) resource_version: String,
    /// What a reader should know: that it was begun anew, and why.
    pub(crate) note: Option<String>,
}

/// Lists everything under a path, in pages.
pub(crate) async fn list(
    api: &Api,
    path: &str,
    accept: Option<&str>,
    sink: &mut dyn Sink,
) -> Result<Listed, ListError> {
    let accept = accept.unwrap_or(JSON);
    let mut limit = Some(PAGE);
    let mut restarts = 0;
    let mut note: Option<String> = None;
    'anew: loop {
        let mut token = String::new();
        let mut tokens = Tokens::default();
        let mut total = 0;
        loop {
            let url = page_url(path, limit, &token);
            match page(api, &url, accept, sink, &mut total).await {
                Ok(envelope) => {
                    let metadata = &envelope["metadata"];
                    token = metadata["continue"].as_str().unwrap_or_default().to_owned();
                    if token.is_empty() {
                        let resource_version =
                            metadata["resourceVersion"].as_str().unwrap_or_default().to_owned();
                        return Ok(Listed { items: total, resource_version, note });
                    }
                    if let Some(endless) = tokens.endless(&token) {
                        return Err(ListError::Refused(Refusal::local("EndlessList", endless)));
                    }
                }
                Err(PageError::Write(error)) => return Err(ListError::Write(error)),
                Err(PageError::Refused(refusal)) => {
                    let expired = refusal.code == Some(410) && !token.is_empty();
                    // An answer that broke off, or that is garbled, may come whole the second time. So may
                    // one that never came, where a connection was forgotten on the way; but whoever keeps
                    // silent twice costs minutes.
                    let broke = refusal.code.is_none() && !refusal.is_cut() && refusal.reason != TOO_LARGE;
                    if (!expired && !broke) || restarts >= RESTARTS {
                        return Err(ListError::Refused(refusal));
                    }
                    restarts += if refusal.reason == "Timeout" { RESTARTS } else { 1 };
                    api.stats().retries.fetch_add(1, Ordering::Relaxed);
                    if expired {
                        // The server has forgotten the state that the token refers to; in one piece
                        // the list cannot expire again.
                        limit = None;
                        note = Some(
                            "the continue token expired (410); the list was read again in one piece"
                                .to_owned(),
                        );
                    } else {
                        note = Some(format!("read again after {}", refusal.line()));
                    }
                    sink.restart();
                    continue 'anew;
                }
            }
        }
    }
}

/// The tokens of the pages of a list so far. A server may make them as long as it likes, so what is kept
/// of each is a number.
#[derive(Default)]
struct Tokens {
    seen: HashSet<u64>,
    hasher: RandomState,
}

impl Tokens {
    /// Notes where the list goes on; why it will not end, if that shows.
    fn endless(&mut self, token: &str) -> Option<String> {
        if self.seen.len() >= PAGES {
            Some(format!("the list did not end after {PAGES} pages"))
        } else if !self.seen.insert(self.hasher.hash_one(token)) {
            Some("the list leads back to a page that it gave before".to_owned())
        } else {
            None
        }
    }
}

enum PageError {
    Refused(Refusal),
    Write(WriteError),
}

/// Reads one page and gives its envelope.
async fn page(
    api: &Api,
    url: &str,
    accept: &str,
    sink: &mut dyn Sink,
    total: &mut usize,
) -> Result<Value, PageError> {
    let mut answer = api.open(url, accept, Patience::Whole).await.map_err(PageError::Refused)?;
    if !answer.content_type().is_empty() && !answer.content_type().contains("json") {
        let message =
            format!("the answer is {}, not JSON", super::client::one_line(answer.content_type(), 80));
        return Err(PageError::Refused(Refusal::local("InvalidAnswer", message)));
    }
    let mut splitter = Splitter::new();
    let mut batch: Vec<u8> = Vec::new();
    loop {
        let piece = answer.chunk().await.map_err(PageError::Refused)?;
        let end = piece.is_none();
        batch.extend_from_slice(&piece.unwrap_or_default());
        if batch.len() < BATCH && !end {
            continue;
        }
        let mut write_error = None;
        let split = heavy(|| {
            splitter.push(&batch, &mut |item| {
                *total += 1;
                if write_error.is_none()
                    && let Err(error) = sink.item(item)
                {
                    write_error = Some(error);
                }
                Ok(())
            })
        })
        .await;
        if let Some(error) = write_error {
            return Err(PageError::Write(error));
        }
        split.map_err(|error| PageError::Refused(refused(&error)))?;
        batch.clear();
        answer.hold(splitter.held()).await.map_err(PageError::Refused)?;
        if end {
            return splitter.finish().map_err(|error| PageError::Refused(refused(&error)));
        }
    }
}

/// Why an answer cannot be taken apart.
fn refused(error: &SplitError) -> Refusal {
    let too_large = matches!(error, SplitError::TooLarge | SplitError::TooHeavy);
    let reason = if too_large { TOO_LARGE } else { "InvalidAnswer" };
    Refusal::local(reason, error.to_string())
}

fn page_url(path: &str, limit: Option<usize>, token: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let mut url = path.to_owned();
    let mut separator = if path.contains('?') { '&' } else { '?' };
    if let Some(limit) = limit {
        url.push_str(&format!("{separator}limit={limit}"));
        separator = '&';
    }
    if !token.is_empty() {
        url.push_str(&format!("{separator}continue={}", utf8_percent_encode(token, NON_ALPHANUMERIC)));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::{PAGES, Tokens, page_url};

    #[test]
    fn a_list_of_ever_new_pages_ends() {
        let mut tokens = Tokens::default();
        assert!((0..PAGES).all(|page| tokens.endless(&page.to_string()).is_none()));
        let why = tokens.endless("one more").expect("an end");
        assert!(why.contains("10000 pages"), "{why}");
        let mut tokens = Tokens::default();
        assert_eq!((tokens.endless("a"), tokens.endless("b")), (None, None));
        assert!(tokens.endless("a").is_some_and(|why| why.contains("leads back")));
    }

    #[test]
    fn tokens_are_escaped() {
        assert_eq!(
            page_url("/api/v1/pods", Some(500), "a+b/c="),
            "/api/v1/pods?limit=500&continue=a%2Bb%2Fc%3D"
        );
        assert_eq!(page_url("/api/v1/pods?x=1", None, ""), "/api/v1/pods?x=1");
    }
}
