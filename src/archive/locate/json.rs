//! Lines of fields in JSON: a scan over the bytes that looks only into what is wanted.

use super::Wanted;

/// Deeper nesting is not looked into.
const DEPTH: usize = 128;

/// Notes the line of every wanted field that stands before the first error.
pub(super) fn locate(text: &[u8], wanted: &mut Wanted) {
    let mut scan = Scan { text, at: 0, line: 1 };
    // An error only means that the rest has no lines.
    let _ = scan.value(wanted, DEPTH);
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Scan<'_> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                byte => return Some(byte),
            }
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// A value of which something is wanted.
    fn value(&mut self, wanted: &mut Wanted, depth: usize) -> Option<()> {
        let first = self.peek()?;
        wanted.line.get_or_insert(self.line);
        if wanted.next.is_empty() || depth == 0 {
            return self.skip();
        }
        match first {
            b'{' => self.object(wanted, depth),
            b'[' => self.array(wanted, depth),
            _ => self.skip(),
        }
    }

    fn object(&mut self, wanted: &mut Wanted, depth: usize) -> Option<()> {
        self.take(b'{')?;
        while self.peek()? != b'}' {
            self.peek()?;
            let line = self.line;
            let key = self.string()?;
            self.take(b':')?;
            match wanted.child(&key) {
                Some(next) => {
                    next.line.get_or_insert(line);
                    self.value(next, depth - 1)?;
                }
                None => self.skip()?,
            }
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        self.take(b'}')
    }

    fn array(&mut self, wanted: &mut Wanted, depth: usize) -> Option<()> {
        self.take(b'[')?;
        let mut index = 0;
        while self.peek()? != b']' {
            match wanted.item(index) {
                Some(next) => self.value(next, depth - 1)?,
                None => self.skip()?,
            }
            index += 1;
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        self.take(b']')
    }

    /// A string with its escapes resolved.
    fn string(&mut self) -> Option<String> {
        self.peek()?;
        let start = self.at;
        self.skip_string()?;
        serde_json::from_slice(&self.text[start..self.at]).ok()
    }

    fn skip_string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            match *self.text.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 1,
                b'\n' => self.line += 1,
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        Some(())
    }

    /// Goes past a value without looking into it, however deep it is.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => self.skip_string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    // A bracket that closes what this value did not open: there is no value here.
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b',' | b':' => return None,
                _ => {
                    while self.text.get(self.at).is_some_and(|b| {
                        !matches!(b, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"')
                            && !b.is_ascii_whitespace()
                    }) {
                        self.at += 1;
                    }
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}
