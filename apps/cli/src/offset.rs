//! Places in a partition as people write them: `start`, `end`, `42`, `-10`, `@1700000000000`,
//! `@-1h`, `@2026-01-31T12:00:00Z`.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use client::OffsetSpec;

/// A place in a partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// The first record.
    Start,
    /// Behind the last record.
    End,
    /// This offset.
    At(i64),
    /// This many records before the end.
    Last(i64),
    /// The first record at or after this many milliseconds since 1970.
    Time(i64),
    /// The first record of the last so many milliseconds.
    Ago(i64),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no place: start, end, 42, -10 (before the end), @1700000000000 (ms), \
                 @2026-01-31T12:00:00Z or @-1h are"
            )
        };
        match text {
            "start" | "beginning" | "earliest" => return Ok(Self::Start),
            "end" | "latest" => return Ok(Self::End),
            _ => {}
        }
        if let Some(ago) = text.strip_prefix("@-") {
            return duration_ms(ago).map(Self::Ago).ok_or_else(wrong);
        }
        if let Some(time) = text.strip_prefix('@') {
            return time_ms(time).map(Self::Time).ok_or_else(wrong);
        }
        match text.parse::<i64>() {
            // "-0" is zero records before the end.
            Ok(number) if text.starts_with('-') => Ok(Self::Last(number.saturating_neg())),
            Ok(number) => Ok(Self::At(number)),
            Err(_) => Err(wrong()),
        }
    }
}

impl Place {
    /// What the broker must be asked for to know the offset.
    pub(crate) fn spec(self) -> OffsetSpec {
        match self {
            Self::Start => OffsetSpec::Earliest,
            Self::End | Self::Last(_) | Self::At(_) => OffsetSpec::Latest,
            Self::Time(ms) => OffsetSpec::Timestamp(ms),
            Self::Ago(ms) => OffsetSpec::Timestamp(now_ms().saturating_sub(ms)),
        }
    }

    /// The offset, once the broker said where `spec` is, and where the partition begins and ends.
    pub(crate) fn resolve(self, found: Option<i64>, start: i64, end: i64) -> i64 {
        match self {
            Self::At(offset) => offset,
            Self::Last(count) => end.saturating_sub(count).max(start),
            // No record is that late.
            Self::Start | Self::End | Self::Time(_) | Self::Ago(_) => found.unwrap_or(end),
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `90s`, `1h`, `500ms`, `2d`.
fn duration_ms(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ms)
}

/// Milliseconds, or a date with or without time, in UTC.
fn time_ms(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = match time.matches(':').count() {
        1 => {
            let [hour, minute] = numbers(time, ':')?;
            [hour, minute, 0]
        }
        _ => numbers(time, ':')?,
    };
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    in_range.then_some(seconds * 1000)
}

fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Option<Vec<i64>> =
        text.split(separator).map(|part| part.parse().ok().filter(|_| is_number(part))).collect();
    parts?.try_into().ok()
}

/// Days of the Gregorian calendar; years are counted from March, so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        let cases = [
            ("start", Some(Place::Start)),
            ("beginning", Some(Place::Start)),
            ("end", Some(Place::End)),
            ("latest", Some(Place::End)),
            ("0", Some(Place::At(0))),
            ("42", Some(Place::At(42))),
            ("-10", Some(Place::Last(10))),
            ("-0", Some(Place::Last(0))),
            ("@1700000000000", Some(Place::Time(1_700_000_000_000))),
            ("@-1h", Some(Place::Ago(3_600_000))),
            ("@-90s", Some(Place::Ago(90_000))),
            ("@-5ms", Some(Place::Ago(5))),
            ("@1970-01-02", Some(Place::Time(86_400_000))),
            ("@2024-02-29T00:00:01Z", Some(Place::Time(1_709_164_801_000))),
            ("@2026-01-31T12:00", Some(Place::Time(1_769_860_800_000))),
            ("", None),
            ("begin", None),
            ("1.5", None),
            ("@", None),
            ("@-1", None),
            ("@-1w", None),
            ("@2026-13-01", None),
            ("@2026-01-01T25:00:00", None),
            ("@2026-1-+1", None),
            ("@yesterday", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn places_become_offsets() {
        let cases = [
            (Place::Start, Some(5), 5),
            (Place::End, Some(50), 50),
            (Place::At(70), Some(50), 70),
            (Place::Last(10), Some(50), 40),
            (Place::Last(100), Some(50), 5),
            (Place::Time(1), Some(20), 20),
            (Place::Time(1), None, 50),
        ];
        for (place, found, expected) in cases {
            assert_eq!(place.resolve(found, 5, 50), expected, "{place:?}");
        }
    }
}
