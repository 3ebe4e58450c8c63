//! What can be told by its form alone: addresses, e-mail addresses, and text wrapped in base64.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A value in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<T> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) value: T,
}

/// An address, with the length of its network where one is written behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) network: Option<u32>,
    /// The character between the numbers of a version 4 address.
    pub(super) separator: u8,
}

/// Whether nothing before `at` belongs to the word that begins there: escapes of JSON, Go, URLs and terminals
/// end in letters and digits, and are no part of it.
pub(super) fn begins(text: &[u8], at: usize) -> bool {
    let Some(last) = at.checked_sub(1) else { return true };
    !text[last].is_ascii_alphanumeric() || escape_ends(text, at)
}

/// Whether an escape ends at `at`.
fn escape_ends(text: &[u8], at: usize) -> bool {
    let back = |n: usize| at.checked_sub(n).map(|from| &text[from..at]);
    let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    matches!(back(2), Some([b'\\', b'n' | b't' | b'r' | b'b' | b'f' | b'v']))
        || matches!(back(3), Some([b'%', digits @ ..]) if hex(digits))
        || matches!(back(4), Some([b'\\', b'x', digits @ ..]) if hex(digits))
        || matches!(back(6), Some([b'\\', b'u', digits @ ..]) if hex(digits))
        // `ESC [ 3 6 m`
        || (text[at - 1] == b'm' && {
            let run = text[..at - 1].iter().rev().take(8).take_while(|b| b.is_ascii_digit() || **b == b';').count();
            at >= run + 2 && text[at - 2 - run] == b'['
        })
}

/// Where the word of these characters begins that ends at `end`, without an escape before it.
pub(super) fn word_start(text: &[u8], end: usize, limit: usize, is_part: impl Fn(u8) -> bool) -> usize {
    let run = text[..end].iter().rev().take(limit).take_while(|b| is_part(**b)).count();
    let start = end - run;
    if start > 0 {
        // The first characters may belong to an escape that begins before them.
        for at in start + 1..=start + run.min(5) {
            if escape_ends(text, at) {
                return at;
            }
        }
    }
    start
}

/// Finds IPv4 addresses, in dots or (as parts of names that are made of them) in hyphens.
pub(super) fn ipv4(text: &[u8], each: &mut dyn FnMut(Token<Address>)) {
    let mut from = 0;
    while let Some(n) = memchr::memchr2(b'.', b'-', &text[from..]) {
        let dot = from + n;
        from = dot + 1;
        let separator = text[dot];
        if dot == 0 || !text[dot - 1].is_ascii_digit() || !text.get(dot + 1).is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let start = word_start(text, dot, 12, |b| b.is_ascii_digit());
        if dot - start > 3 || !begins(text, start) {
            continue;
        }
        let of_cloud = text[..start].ends_with(b"ec2-");
        if start > 1 && text[start - 1] == separator && text[start - 2].is_ascii_digit() && !of_cloud {
            // The middle of a longer number: an object identifier, a date.
            continue;
        }
        let Some((octets, end)) = quad(text, start, separator) else { continue };
        let after = text.get(end).copied();
        let next = text.get(end + 1).copied();
        if after.is_some_and(|b| b.is_ascii_alphanumeric())
            || (after == Some(separator) && next.is_some_and(|b| b.is_ascii_digit()))
        {
            continue;
        }
        let ip = Ipv4Addr::from(octets);
        if separator == b'-' {
            let before = &text[..start];
            let rest = &text[end..];
            let named = before.ends_with(b"ip-")
                || of_cloud
                || [&b".sslip.io"[..], b".nip.io", b".pod", b".xip.io", b".compute", b".ec2"]
                    .iter()
                    .any(|suffix| rest.starts_with(suffix));
            if !named {
                continue;
            }
        } else if start > 1
            && text[start - 1] == b'/'
            && text[start - 2].is_ascii_alphabetic()
            && octets[2..] == [0, 0]
            && octets[1] == 0
            && octets[0] != 10
        {
            // `Chrome/120.0.0.0` is a version.
            continue;
        }
        let (network, end) = if separator == b'.' { network(text, end, 32) } else { (None, end) };
        each(Token { start, end, value: Address { ip: ip.into(), network, separator } });
        from = end;
    }
}

fn quad(text: &[u8], start: usize, separator: u8) -> Option<([u8; 4], usize)> {
    let mut octets = [0u8; 4];
    let mut at = start;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            if text.get(at) != Some(&separator) {
                return None;
            }
            at += 1;
        }
        let digits = text[at..].iter().take(4).take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 || digits > 3 || (digits > 1 && text[at] == b'0') {
            return None;
        }
        *octet = std::str::from_utf8(&text[at..at + digits]).ok()?.parse().ok()?;
        at += digits;
    }
    Some((octets, at))
}

/// The length of a network behind an address, and where it ends.
fn network(text: &[u8], end: usize, most: u32) -> (Option<u32>, usize) {
    // JSON may escape the slash.
    let slash = if text[end..].starts_with(b"\\/") { 2 } else { usize::from(text.get(end) == Some(&b'/')) };
    let at = end + slash;
    let digits = text[at.min(text.len())..].iter().take(4).take_while(|b| b.is_ascii_digit()).count();
    if slash == 0 || digits == 0 || digits > 3 {
        return (None, end);
    }
    let after = text.get(at + digits);
    let len = std::str::from_utf8(&text[at..at + digits]).ok().and_then(|len| len.parse().ok());
    match len {
        Some(len) if len <= most && !after.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'/') => {
            (Some(len), at + digits)
        }
        _ => (None, end),
    }
}

/// Finds IPv6 addresses.
pub(super) fn ipv6(text: &[u8], each: &mut dyn FnMut(Token<Address>)) {
    let is_part = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
    let mut from = 0;
    while let Some(n) = memchr::memchr(b':', &text[from..]) {
        let colon = from + n;
        from = colon + 1;
        // Cheap first: a second colon must follow within a group.
        let near = &text[colon + 1..text.len().min(colon + 6)];
        if !near.contains(&b':') || !near.iter().take_while(|b| **b != b':').all(u8::is_ascii_hexdigit) {
            continue;
        }
        let mut start = word_start(text, colon, 40, is_part);
        let mut end = colon + text[colon..].iter().take(46).take_while(|b| is_part(**b)).count();
        from = end.max(from);
        while end > start && matches!(text[end - 1], b'.') {
            end -= 1;
        }
        if end - start > 45 || text.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
            continue;
        }
        // `address:::1`, `ip:fd00::1`: what stands before the address may end in a colon.
        let mut found = None;
        loop {
            let word = std::str::from_utf8(&text[start..end]).unwrap_or_default();
            let trimmed = word.strip_suffix(':').filter(|w| !w.ends_with(':')).unwrap_or(word);
            if let Ok(ip) = trimmed.parse::<Ipv6Addr>() {
                found = Some((ip, start + trimmed.len()));
                break;
            }
            match memchr::memchr(b':', &text[start..end]) {
                Some(at) if start + at + 1 < end => start += at + 1,
                _ => break,
            }
        }
        let Some((ip, end)) = found else { continue };
        let word = &text[start..end];
        let digits = word.iter().filter(|b| b.is_ascii_digit()).count();
        let colons = word.iter().filter(|b| **b == b':').count();
        if !begins(text, start) || word.len() < 4 || (digits == 0 && colons < 4) {
            continue;
        }
        if start > 0 && matches!(text[start - 1], b'_' | b'-') {
            continue;
        }
        let (network, end) = network(text, end, 128);
        each(Token { start, end, value: Address { ip: ip.into(), network, separator: b':' } });
    }
}

/// Finds e-mail addresses: the local part, and where the domain begins.
pub(super) fn emails(text: &[u8], each: &mut dyn FnMut(Token<usize>)) {
    let is_local = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'');
    let is_domain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let mut from = 0;
    while let Some(n) = memchr::memchr2(b'@', b'%', &text[from..]) {
        let at = from + n;
        from = at + 1;
        let domain = match text[at] {
            b'@' => at + 1,
            _ if text[at..].starts_with(b"%40") => at + 3,
            _ => continue,
        };
        let mut start = word_start(text, at, 64, is_local);
        // Encoded before: `user%3Deve@…`.
        if let Some(percent) = memchr::memrchr(b'%', &text[start..at])
            && text[start + percent..at].len() > 3
        {
            start += percent + 3;
        }
        while start < at && !text[start].is_ascii_alphanumeric() {
            start += 1;
        }
        let mut end = domain + text[domain..].iter().take(253).take_while(|b| is_domain(**b)).count();
        while end > domain && !text[end - 1].is_ascii_alphanumeric() {
            end -= 1;
        }
        if start == at || text[start..at].starts_with(b"redacted.") {
            continue;
        }
        let host = &text[domain..end];
        let labels: Vec<&[u8]> = host.split(|b| *b == b'.').collect();
        let Some(top) = labels.last().filter(|_| labels.len() >= 2) else { continue };
        let is_version = labels[0].first() == Some(&b'v') && labels[0].get(1).is_some_and(u8::is_ascii_digit);
        if top.len() < 2
            || !top.iter().all(u8::is_ascii_alphabetic)
            || is_version
            || matches!(*top, b"service" | b"svc" | b"target" | b"socket" | b"timer")
            || labels.iter().any(|label| label.is_empty())
        {
            continue;
        }
        each(Token { start, end, value: domain });
        from = end;
    }
}

/// Finds runs of base64 that may hold text or a certificate.
pub(super) fn base64(text: &[u8], each: &mut dyn FnMut(usize, usize)) {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
    let mut at = 0;
    while at < text.len() {
        // Jump: no run is shorter than this.
        let Some(probe) = text.get(at + RUN - 1) else { return };
        if !is_part(*probe) {
            at += RUN;
            continue;
        }
        let end_of_probe = at + RUN;
        let before = text[at..end_of_probe].iter().rev().take_while(|b| is_part(**b)).count();
        let start = end_of_probe - before;
        let end = start + text[start..].iter().take_while(|b| is_part(**b)).count();
        if end - start >= RUN {
            let padding = text[end..].iter().take(2).take_while(|b| **b == b'=').count();
            each(start, end + padding);
        }
        at = end.max(at + 1);
    }
}

/// The shortest run of base64 that is looked into.
const RUN: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut each = |token: Token<Address>| found.push(text[token.start..token.end].to_owned());
        ipv4(text.as_bytes(), &mut each);
        ipv6(text.as_bytes(), &mut each);
        found
    }

    #[test]
    fn addresses_are_told_from_versions_and_times() {
        for (text, expected) in [
            ("10.1.2.3", &["10.1.2.3"][..]),
            ("dial tcp 10.1.2.3:8080: refused.", &["10.1.2.3"]),
            ("net 10.1.0.0/16, 10.2.0.0/15.", &["10.1.0.0/16", "10.2.0.0/15"]),
            (r"a\n10.1.2.3\u0022, \u002210.9.9.9", &["10.1.2.3", "10.9.9.9"]),
            ("http%3A%2F%2F10.1.2.3%2Fx %2210.1.2.4%22", &["10.1.2.3", "10.1.2.4"]),
            ("cluster.10.1.2.3_8080.upstream", &["10.1.2.3"]),
            ("ip-10-1-2-3.ec2.internal 10-1-2-3.ns.pod x.10-1-2-4.sslip.io", &["10-1-2-3", "10-1-2-4"]),
            ("1.3.6.1.5.5.7.3.1 v1.2.3.4 1.2.3 256.1.1.1 Chrome/120.0.0.0 01.2.3.4", &[]),
            ("ec2-52-17-3-9.eu-west-1.compute.amazonaws.com", &["52-17-3-9"]),
            ("2026-11-22-10 10-1-2-3", &[]),
            ("10:24:31 0a:58:0a:80:00:05 std::vector a::b ::", &[]),
            ("[fd00:1::5]:8080 fe80::1%eth0 2001:db8::/32", &["fd00:1::5", "fe80::1", "2001:db8::/32"]),
            ("addr=fd00::1, ::ffff:10.1.2.3.", &["10.1.2.3", "fd00::1", "::ffff:10.1.2.3"]),
            ("h1:abcdefg/12 1:2:3:4:5:6:7:8", &["1:2:3:4:5:6:7:8"]),
        ] {
            assert_eq!(addresses(text), expected, "{text}");
        }
    }

    #[test]
    fn emails_are_told_from_references() {
        for (text, expected) in [
            ("eve.m+x@mail.example.com.", &["eve.m+x@mail.example.com"][..]),
            (r#""\neve@example.com""#, &["eve@example.com"]),
            ("login%3Deve%40example.com", &["eve%40example.com"]),
            ("image@sha256:aa github.com/a/b@v1.2.3 b@v0.0.1-rc.alpha user@host", &[]),
            ("redis://redacted.userinfo.len-7.h-01234567@redis.example.com", &[]),
        ] {
            let mut found = Vec::new();
            emails(text.as_bytes(), &mut |token| found.push(&text[token.start..token.end]));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn runs_of_base64_are_found_whole() {
        let text = "x: YWNtZS1wcm9kLXdpdGgtYS1uYW1l= y ab/cd";
        let mut found = Vec::new();
        base64(text.as_bytes(), &mut |start, end| found.push(&text[start..end]));
        assert_eq!(found, ["YWNtZS1wcm9kLXdpdGgtYS1uYW1l="]);
    }
}
