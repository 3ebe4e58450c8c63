//! Lines of fields in YAML, from the events of a parser that knows where it is.

use saphyr_parser::{Event, Parser};

use super::{Step, Wanted};

/// Notes the line of every wanted field that stands before the first error.
///
/// In a file of several documents, `items[n]` also names the n-th document, because that is how
/// an object of such a file is addressed.
pub(super) fn locate(text: &str, wanted: &mut Wanted) {
    let mut walk = Walk { stack: Vec::new(), document: 0 };
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { return };
        let line = span.start.line() as u64;
        match event {
            Event::DocumentStart(_) => walk.stack.clear(),
            Event::DocumentEnd => walk.document += 1,
            Event::MappingStart(..) => walk.open(Kind::Mapping, line, wanted),
            Event::SequenceStart(..) => walk.open(Kind::Sequence, line, wanted),
            Event::MappingEnd | Event::SequenceEnd => walk.close(),
            Event::Scalar(text, ..) => walk.scalar(&text, line, wanted),
            Event::Alias(_) => walk.scalar("", line, wanted),
            Event::StreamStart | Event::StreamEnd | Event::Nothing => {}
        }
    }
}

enum Kind {
    Mapping,
    Sequence,
}

/// A mapping or a sequence that is open.
struct Frame {
    kind: Kind,
    /// The steps from the document's root to this container; `None` when nothing in it is wanted.
    path: Option<Vec<Step>>,
    /// Of a mapping: the key whose value comes next, if the key has been read.
    key: Option<Option<Step>>,
    /// Of a sequence: the position of the next item.
    index: usize,
}

struct Walk {
    stack: Vec<Frame>,
    document: usize,
}

impl Walk {
    /// The path of the node that begins now, if anything at or below it is wanted.
    fn path(&mut self) -> Option<Vec<Step>> {
        let Some(frame) = self.stack.last_mut() else { return Some(Vec::new()) };
        let mut path = frame.path.clone();
        let step = match frame.kind {
            Kind::Mapping => frame.key.take().flatten(),
            Kind::Sequence => {
                frame.index += 1;
                Some(Step::Index(frame.index - 1))
            }
        };
        path.as_mut()?.push(step?);
        path
    }

    /// The wanted nodes of a path: in the first document under the path itself, in any document
    /// also under `items[n]`.
    fn note(&self, path: &[Step], line: u64, wanted: &mut Wanted) -> bool {
        let mut any = false;
        if self.document == 0
            && let Some(node) = find(wanted, path)
        {
            node.line.get_or_insert(line);
            any |= !node.next.is_empty() || path.is_empty();
        }
        let document =
            wanted.next.get_mut(&Step::Key("items".to_owned())).and_then(|n| n.item(self.document));
        if let Some(node) = document.and_then(|node| find(node, path)) {
            node.document_line.get_or_insert(line);
            any |= !node.next.is_empty();
        }
        any
    }

    fn open(&mut self, kind: Kind, line: u64, wanted: &mut Wanted) {
        if self.expects_key() {
            // A container as a key: nothing wanted is named that way.
            self.set_key(None);
            self.stack.push(Frame { kind, path: None, key: None, index: 0 });
            return;
        }
        let path = self.path().filter(|path| self.note(path, line, wanted));
        self.stack.push(Frame { kind, path, key: None, index: 0 });
    }

    fn close(&mut self) {
        self.stack.pop();
    }

    fn scalar(&mut self, text: &str, line: u64, wanted: &mut Wanted) {
        if self.expects_key() {
            let inside = self.stack.last().is_some_and(|frame| frame.path.is_some());
            self.set_key(inside.then(|| Step::Key(text.to_owned())));
            if inside {
                // The key's line is the field's line, also when its value begins further down.
                let mut path = self.stack.last().and_then(|frame| frame.path.clone()).unwrap_or_default();
                path.push(Step::Key(text.to_owned()));
                self.note(&path, line, wanted);
            }
        } else if let Some(path) = self.path() {
            self.note(&path, line, wanted);
        }
    }

    fn expects_key(&self) -> bool {
        self.stack.last().is_some_and(|frame| matches!(frame.kind, Kind::Mapping) && frame.key.is_none())
    }

    fn set_key(&mut self, key: Option<Step>) {
        if let Some(frame) = self.stack.last_mut() {
            frame.key = Some(key);
        }
    }
}

fn find<'a>(wanted: &'a mut Wanted, path: &[Step]) -> Option<&'a mut Wanted> {
    let mut node = wanted;
    for step in path {
        node = match step {
            Step::Key(key) => node.child(key)?,
            Step::Index(index) => node.item(*index)?,
        };
    }
    Some(node)
}
