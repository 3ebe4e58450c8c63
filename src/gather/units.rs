//! Durations and sizes the way people type them: `24h`, `1h30m`, `32MiB`, `10Gi`.

use std::time::Duration;

/// Reads a duration as `kubectl` does (`90s`, `1h30m`, `500ms`, a bare number of seconds), and days.
///
/// # Errors
/// One line that says what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: write for example 90s, 15m or 24h");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit_len] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(wrong()),
        };
        rest = &rest[unit_len..];
        total = Duration::try_from_secs_f64(number * seconds)
            .ok()
            .and_then(|part| total.checked_add(part))
            .ok_or_else(wrong)?;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Reads a size in bytes: `1048576`, `32MiB`, `10Gi`, `5MB`, `64k`.
///
/// # Errors
/// One line that says what was expected.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: write for example 32MiB or 1GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let factor: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "ki" | "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mi" | "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gi" | "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Writes a size for people: `12.3 MiB`.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// Writes a duration the way [`duration`] reads it, to the second.
#[must_use]
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, 0, 0) => format!("{h}h"),
        (h, m, 0) => format!("{h}h{m}m"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

/// A number with its noun, in the plural where it takes one: `1 value`, `3 values`.
#[must_use]
pub fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_kubectl_reads_them() {
        for (text, seconds) in
            [("0", 0.0), ("90", 90.0), ("90s", 90.0), ("1h30m", 5400.0), ("500ms", 0.5), ("2d", 172_800.0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "h", "10x", "-5s", "1h-", "99999999999999999999d", "."] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_survive_a_round_trip() {
        for seconds in [0, 1, 59, 60, 61, 3600, 3660, 3661, 90_061] {
            let written = human_duration(Duration::from_secs(seconds));
            assert_eq!(duration(&written), Ok(Duration::from_secs(seconds)), "{written}");
        }
    }

    #[test]
    fn sizes_with_and_without_unit() {
        for (text, size) in
            [("0", 0), ("17", 17), ("32MiB", 32 << 20), ("1Gi", 1 << 30), ("5MB", 5_000_000), ("64k", 64_000)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "MiB", "1.5GiB", "-1", "99999999999GiB", "3 parsecs"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(32 << 20), "32.0 MiB");
    }
}
