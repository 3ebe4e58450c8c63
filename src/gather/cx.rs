//! What every collector has at hand.

use std::sync::{Arc, Mutex, PoisonError};

use super::Options;
use super::client::Api;
use super::discovery::Served;
use super::journal::Journal;
use super::out::Out;
use super::probe::Known;
use super::progress::Progress;
use super::stop::Stop;
use super::work::Crew;
use crate::archive::write::WriteError;

/// The context of one collection.
#[derive(Debug)]
pub(crate) struct Cx {
    pub(crate) api: Api,
    pub(crate) served: Served,
    pub(crate) out: Out,
    pub(crate) journal: Journal,
    pub(crate) progress: Progress,
    pub(crate) stop: Stop,
    pub(crate) options: Arc<Options>,
    pub(crate) known: Known,
    fatal: Mutex<Option<WriteError>>,
}

impl Cx {
    pub(crate) fn new(
        api: Api,
        served: Served,
        out: Out,
        journal: Journal,
        stop: Stop,
        options: Arc<Options>,
    ) -> Self {
        let progress = out.progress.clone();
        Self {
            api,
            served,
            out,
            journal,
            progress,
            stop,
            options,
            known: Known::default(),
            fatal: Mutex::new(None),
        }
    }

    /// Room for twice as many tasks as requests may be under way: while the ones wait for the network, the
    /// others are worked on.
    pub(crate) fn crew<T: Send + 'static>(&self) -> Crew<T> {
        Crew::new(self.options.concurrency.saturating_mul(2))
    }

    /// Notes that the archive cannot be written, which ends the collection.
    pub(crate) fn check(&self, result: Result<(), WriteError>) {
        if let Err(error) = result {
            self.stop.cut("the archive cannot be written");
            self.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    /// Why the archive cannot be written, if it cannot.
    pub(crate) fn fatal(&self) -> Option<WriteError> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
