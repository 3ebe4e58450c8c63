//! Addresses in a text: credentials and sensitive values in URLs, e-mail addresses.

use super::matcher::Matcher;
use super::placeholder::{self, Kind, Style};

impl Matcher<'_> {
    pub(super) fn url(&mut self) -> usize {
        let text = self.text;
        let from = self.end;
        let limit = text.len().min(from + 4096);
        let known = from.max(self.looked.end).min(limit);
        let stop = text[known..limit]
            .iter()
            .position(|b| {
                b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`' | b'\\' | b'>' | b'{' | b'|')
            })
            .map_or(limit, |n| known + n);
        self.looked.end = stop;
        let url = &text[from..stop];
        let authority = url.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(url.len());
        let mut at_sign = memchr::memrchr(b'@', &url[..authority]);
        if at_sign.is_none()
            && let Some(colon) = memchr::memchr(b':', &url[..authority])
            && !url[colon + 1..authority].iter().all(u8::is_ascii_digit)
            && url[0] != b'['
        {
            // A password with `/`, `?` or `#` in it that nobody encoded.
            at_sign = memchr::memchr(b',', url)
                .map_or_else(|| memchr::memrchr(b'@', url), |comma| memchr::memrchr(b'@', &url[..comma]));
        }
        let mut go_on = from;
        if let Some(at_sign) = at_sign {
            let user = &url[..at_sign];
            // `https://<redacted…>@host` and `https://redacted.userinfo…@host` are ours.
            let colon = memchr::memchr(b':', user);
            let secret = colon.map_or(0, |colon| colon + 1);
            let done = placeholder::recognise(&user[secret..]).is_some_and(|len| len == user.len() - secret);
            if !done && secret < user.len() {
                self.push(from + secret, from + at_sign, Kind::Userinfo, Style::Url);
            }
            if let Some(colon) = colon
                && memchr::memchr(b'@', &user[..colon]).is_some()
            {
                self.push(from, from + colon, Kind::Userinfo, Style::Url);
            }
            go_on = from + at_sign + 1;
        }
        if let Some(question) = memchr::memchr(b'?', &url[go_on - from..]) {
            self.query_values(go_on + question + 1, stop);
        }
        go_on
    }

    /// Values of query parameters that are secrets only in a query.
    fn query_values(&mut self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let stop = memchr::memchr2(b'&', b';', &self.text[at..end]).map_or(end, |n| at + n);
            let pair = &self.text[at..stop];
            if let Some(equals) = memchr::memchr(b'=', pair) {
                // No name that is looked for is longer.
                let name = pair[..equals.min(20)].to_ascii_lowercase();
                let sensitive = matches!(
                    name.as_slice(),
                    b"sig"
                        | b"signature"
                        | b"code"
                        | b"key"
                        | b"auth"
                        | b"assertion"
                        | b"x-amz-signature"
                        | b"x-amz-credential"
                        | b"x-goog-signature"
                        | b"x-goog-credential"
                        | b"awsaccesskeyid"
                        | b"pass"
                        | b"pw"
                        | b"session"
                        | b"jwt"
                        | b"id_token_hint"
                        | b"code_verifier"
                        | b"nonce"
                        | b"state"
                        | b"sv_sig"
                        | b"samlresponse"
                        | b"samlrequest"
                        | b"login_hint"
                        | b"email"
                        | b"user"
                );
                let value = at + equals + 1;
                if sensitive && value < stop && placeholder::recognise(&self.text[value..]).is_none() {
                    self.push(value, stop, Kind::Query, Style::Url);
                }
            }
            // An address within the query of another one shares all but its first value with it.
            at = (stop + 1).max(self.looked.parts);
        }
        self.looked.parts = self.looked.parts.max(end);
    }

    pub(super) fn email(&mut self) -> usize {
        let text = self.text;
        let low = self.floor.max(self.start.saturating_sub(64));
        let mut left = self.start;
        while left > low
            && (text[left - 1].is_ascii_alphanumeric() || matches!(text[left - 1], b'.' | b'_' | b'+' | b'-'))
        {
            left -= 1;
        }
        while left < self.start && matches!(text[left], b'.' | b'-') {
            left += 1;
        }
        let high = text.len().min(self.end + 253);
        let mut right = self.end;
        while right < high && (text[right].is_ascii_alphanumeric() || matches!(text[right], b'.' | b'-')) {
            right += 1;
        }
        while right > self.end && matches!(text[right - 1], b'.' | b'-') {
            right -= 1;
        }
        // `user:password@tcp(host:3306)/db`, as Go's driver for MySQL has it.
        if text[self.end..].starts_with(b"tcp(") || text[self.end..].starts_with(b"unix(") {
            let low = self.floor.max(self.start.saturating_sub(256)).min(self.start);
            let word = text[low..self.start]
                .iter()
                .rposition(|b| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'=' | b'<' | b'>'))
                .map_or(low, |n| low + n + 1);
            if let Some(colon) = memchr::memchr(b':', &text[word..self.start]) {
                self.push(word + colon + 1, self.start, Kind::Userinfo, Style::Url);
            }
            return self.end;
        }
        let domain = &text[self.end..right];
        let Some(dot) = memchr::memrchr(b'.', domain) else { return self.end };
        let top = &domain[dot + 1..];
        let unit = matches!(
            top,
            b"service"
                | b"socket"
                | b"timer"
                | b"mount"
                | b"target"
                | b"slice"
                | b"scope"
                | b"device"
                | b"path"
        );
        if left == self.start || top.len() < 2 || unit || !top.iter().all(u8::is_ascii_alphabetic) || dot == 0
        {
            return self.end;
        }
        // `git@github.com:org/repo` is an address of a repository, not of a person.
        if &text[left..self.start] == b"git" {
            return self.end;
        }
        self.push(left, right, Kind::Email, Style::Plain);
        right
    }
}
