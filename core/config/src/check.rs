//! Reading one value: whether it is of its key's kind and passes its check, and the text that
//! Kafka would print for it.

use std::collections::BTreeSet;

use crate::error::ConfigError;
use crate::key::{Check, ConfigKey, Kind};

impl ConfigKey {
    /// Checks a value as text and returns it as Kafka prints it: trimmed, numbers without a
    /// leading `+`, lists without blanks around the commas.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with what would pass.
    pub fn read(&self, text: &str) -> Result<String, ConfigError> {
        let text = text.trim();
        let canonical = self.read_kind(text).ok_or_else(|| self.refuse(text))?;
        if passes(&self.check, &canonical) { Ok(canonical) } else { Err(self.refuse(text)) }
    }

    /// The value as text of its kind, `None` if it is of another kind.
    fn read_kind(&self, text: &str) -> Option<String> {
        let whole = |least: i64, most: i64| {
            let number = text.parse::<i64>().ok()?;
            (least..=most).contains(&number).then(|| number.to_string())
        };
        match self.kind {
            Kind::Boolean => {
                let word = text.to_ascii_lowercase();
                matches!(word.as_str(), "true" | "false").then_some(word)
            }
            Kind::Short => whole(i16::MIN.into(), i16::MAX.into()),
            Kind::Int => whole(i32::MIN.into(), i32::MAX.into()),
            Kind::Long => whole(i64::MIN, i64::MAX),
            Kind::Double => {
                text.parse::<f64>().ok().filter(|number| number.is_finite()).map(double_text)
            }
            Kind::List => Some(entries(text).collect::<Vec<_>>().join(",")),
            Kind::String | Kind::Class | Kind::Password => Some(text.to_owned()),
        }
    }

    fn refuse(&self, text: &str) -> ConfigError {
        let value = if self.is_sensitive() { "[hidden]" } else { text };
        ConfigError::Value {
            key: self.name.to_owned(),
            value: value.to_owned(),
            allowed: self.allowed(),
        }
    }

    /// What may be set, in words; for errors and for the reference.
    pub fn allowed(&self) -> String {
        match self.check {
            Check::Any => self.kind.allowed().to_owned(),
            Check::Between(least, i64::MAX) => format!("a whole number of at least {least}"),
            Check::Between(least, most) => format!("a whole number from {least} to {most}"),
            Check::Fraction(least, most) => format!("a number from {least} to {most}"),
            Check::OneOf(words) | Check::OneOfAnyCase(words) => {
                format!("one of {}", words.join(", "))
            }
            Check::NonEmpty => "at least one character".to_owned(),
            Check::Entries { of: &[], none_allowed: true } => "distinct entries".to_owned(),
            Check::Entries { of: &[], none_allowed: false } => {
                "distinct entries, at least one".to_owned()
            }
            Check::Entries { of, none_allowed: true } => format!("any of {}", of.join(", ")),
            Check::Entries { of, none_allowed: false } => {
                format!("at least one of {}", of.join(", "))
            }
            Check::GzipLevel => "a level from 1 to 9, or -1".to_owned(),
            Check::Voters => "id@host:port entries".to_owned(),
            Check::Servers => "host:port entries".to_owned(),
            Check::ThrottledReplicas => "* or partition:broker entries".to_owned(),
            Check::OffsetReset => {
                "earliest, latest or by_duration: with an ISO 8601 duration".to_owned()
            }
            Check::ClientMatch => {
                let selectors = CLIENT_SELECTORS.join(", ");
                format!("selector=pattern entries, the selector one of {selectors}")
            }
            Check::OptionalAddress => "host:port, or nothing".to_owned(),
        }
    }
}

impl Kind {
    /// What a key of this kind takes when nothing else is asked of it.
    fn allowed(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Short => "a whole number of 16 bits",
            Self::Int => "a whole number of 32 bits",
            Self::Long => "a whole number of 64 bits",
            Self::Double => "a number",
            Self::List => "entries between commas",
            Self::Class => "a class name",
            Self::String | Self::Password => "any text",
        }
    }
}

/// What a client-metrics subscription may match a client by.
const CLIENT_SELECTORS: &[&str] = &[
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// The entries of a list value; an empty text has none.
pub fn entries(text: &str) -> impl Iterator<Item = &str> {
    let parts = if text.trim().is_empty() { None } else { Some(text.split(',')) };
    parts.into_iter().flatten().map(str::trim)
}

fn passes(check: &Check, text: &str) -> bool {
    match *check {
        Check::Any => true,
        Check::Between(least, most) => {
            text.parse::<i64>().is_ok_and(|number| (least..=most).contains(&number))
        }
        Check::Fraction(least, most) => {
            text.parse::<f64>().is_ok_and(|number| (least..=most).contains(&number))
        }
        Check::OneOf(words) => words.contains(&text),
        Check::OneOfAnyCase(words) => words.iter().any(|word| word.eq_ignore_ascii_case(text)),
        Check::NonEmpty => !text.is_empty(),
        Check::Entries { of, none_allowed } => entries_pass(text, of, none_allowed),
        Check::GzipLevel => text.parse().is_ok_and(|level: i32| matches!(level, -1 | 1..=9)),
        Check::Voters => entries(text).all(|entry| voter(entry).is_some()),
        Check::Servers => entries(text).all(|entry| host_and_port(entry).is_some()),
        Check::ThrottledReplicas => text == "*" || entries(text).all(is_partition_and_broker),
        Check::OffsetReset => offset_reset_passes(text),
        Check::ClientMatch => client_match_passes(text),
        Check::OptionalAddress => text.is_empty() || host_and_port(text).is_some(),
    }
}

fn entries_pass(text: &str, of: &[&str], none_allowed: bool) -> bool {
    let found: Vec<&str> = entries(text).collect();
    let distinct: BTreeSet<&str> = found.iter().copied().collect();
    (none_allowed || !found.is_empty())
        && found.iter().all(|entry| !entry.is_empty())
        && found.iter().all(|entry| of.is_empty() || of.contains(entry))
        && distinct.len() == found.len()
}

fn is_partition_and_broker(entry: &str) -> bool {
    let number = |text: &str| text.parse::<i32>().is_ok_and(|number| number >= 0);
    let parts = entry.split_once(':');
    // Kafka lets empty entries pass.
    entry.is_empty() || parts.is_some_and(|(partition, broker)| number(partition) && number(broker))
}

fn offset_reset_passes(text: &str) -> bool {
    match text.strip_prefix("by_duration:") {
        Some(duration) => iso_duration_ms(duration).is_some(),
        None => matches!(text, "earliest" | "latest"),
    }
}

fn client_match_passes(text: &str) -> bool {
    entries(text).all(|entry| {
        entry
            .split_once('=')
            .is_some_and(|(selector, _)| CLIENT_SELECTORS.contains(&selector.trim()))
    })
}

/// Splits `id@host:port`.
pub(crate) fn voter(entry: &str) -> Option<(i32, &str, u16)> {
    let (id, address) = entry.split_once('@')?;
    let (host, port) = host_and_port(address)?;
    Some((id.parse().ok().filter(|id| *id >= 0)?, host, port))
}

/// Splits `host:port`; an IPv6 address stands in brackets, which are taken off.
pub(crate) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // Without brackets, a colon would leave open where the port begins.
    if !is_host(bare.unwrap_or(host)) || (bare.is_none() && host.contains(':')) {
        return None;
    }
    Some((bare.unwrap_or(host), port.parse().ok()?))
}

/// Whether a text can be a host's name or address; Kafka's pattern.
pub(crate) fn is_host(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '%' | '.' | '_' | ':');
    !text.is_empty() && text.chars().all(allowed)
}

/// Milliseconds of an ISO 8601 duration of days, hours, minutes and seconds, such as `P7D` or
/// `PT1H30M`; `None` if it is not one or is negative.
pub(crate) fn iso_duration_ms(text: &str) -> Option<i64> {
    let text = text.strip_prefix(['P', 'p'])?.to_ascii_uppercase();
    let (days, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (text.as_str(), ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let days_ms = sum_of_parts(days, &[('D', 86_400_000)])?;
    let time_ms = sum_of_parts(time, &[('H', 3_600_000), ('M', 60_000), ('S', 1_000)])?;
    days_ms.checked_add(time_ms)
}

/// Sums `<number><unit>` parts whose units come in the given order, each once at most.
fn sum_of_parts(mut text: &str, units: &[(char, i64)]) -> Option<i64> {
    let mut sum = 0_i64;
    for (unit, unit_ms) in units {
        let Some((number, rest)) = text.split_once(*unit) else { continue };
        text = rest;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if !part.is_empty() && *unit != 'S' {
            return None;
        }
        let thousandths: i64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
        let part_ms = whole.parse::<u32>().ok().map(i64::from)?.checked_mul(*unit_ms)?;
        sum = sum.checked_add(part_ms)?.checked_add(thousandths)?;
    }
    text.is_empty().then_some(sum)
}

/// A double as Java prints it: plain between a thousandth and ten million, else with an exponent.
fn double_text(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;

    #[test]
    fn values_are_read_as_kafka_reads_them() {
        let refused = None;
        let cases = [
            ("num.partitions", " +5 ", Some("5")),
            ("num.partitions", "0x10", refused),
            ("num.partitions", "5L", refused),
            ("num.partitions", "", refused),
            ("num.partitions", "0", refused),
            ("num.partitions", "2147483648", refused),
            ("log.retention.bytes", "9223372036854775807", Some("9223372036854775807")),
            ("offsets.topic.replication.factor", "32768", refused),
            ("auto.create.topics.enable", "TRUE", Some("true")),
            ("auto.create.topics.enable", "yes", refused),
            ("compression.gzip.level", "0", refused),
            ("compression.gzip.level", "-1", Some("-1")),
            ("compression.type", "Producer", refused),
            ("group.consumer.migration.policy", "Upgrade", Some("Upgrade")),
            ("log.cleanup.policy", "", Some("")),
            ("log.cleanup.policy", " compact , delete ", Some("compact,delete")),
            ("log.cleanup.policy", "delete,delete", refused),
            ("log.cleanup.policy", "delete,,compact", refused),
            ("listeners", "", refused),
            ("log.cleaner.io.buffer.load.factor", "1e3", Some("1000.0")),
            ("log.cleaner.io.max.bytes.per.second", "1e10", Some("1.0E10")),
            ("log.cleaner.io.max.bytes.per.second", "0.0005", Some("5.0E-4")),
            ("log.cleaner.min.cleanable.ratio", "1.5", refused),
            ("log.cleaner.min.cleanable.ratio", "NaN", refused),
            ("controller.quorum.voters", "1@a:9093,2@[::1]:1", Some("1@a:9093,2@[::1]:1")),
            ("controller.quorum.voters", "1@a", refused),
            ("controller.quorum.voters", "x@a:1", refused),
            ("controller.quorum.bootstrap.servers", "a:1,b", refused),
            ("thalweg.metrics.listener", "", Some("")),
            ("thalweg.metrics.listener", "9404", refused),
            ("thalweg.metrics.listener", "0.0.0.0:9404", Some("0.0.0.0:9404")),
        ];
        for (name, text, expected) in cases {
            let read = keys::BROKER[name].read(text).ok();
            assert_eq!(read.as_deref(), expected, "{name}={text}");
        }
    }

    #[test]
    fn topic_group_and_client_values_have_checks_of_their_own() {
        let throttled = keys::TOPIC["leader.replication.throttled.replicas"];
        for (text, good) in
            [("*", true), ("", true), ("0:1,2:3", true), ("0", false), ("a:b", false)]
        {
            assert_eq!(throttled.read(text).is_ok(), good, "{text}");
        }
        let selectors = keys::CLIENT_METRICS["match"];
        for (text, good) in [("client_id=a.*,client_source_port=1", true), ("client=a", false)] {
            assert_eq!(selectors.read(text).is_ok(), good, "{text}");
        }
        let reset = keys::GROUP["share.auto.offset.reset"];
        for (text, good) in
            [("latest", true), ("by_duration:PT1H", true), ("by_duration:1h", false)]
        {
            assert_eq!(reset.read(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn durations_are_iso_8601() {
        let cases = [
            ("P7D", Some(604_800_000)),
            ("PT1H30M", Some(5_400_000)),
            ("P1DT2H3M4.5S", Some(93_784_500)),
            ("pt0.001s", Some(1)),
            ("PT0S", Some(0)),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("PT1M1H", None),
            ("PT1.5H", None),
            ("-PT1S", None),
            ("PT-1S", None),
            ("P99999999999999D", None),
            ("P\u{e9}D", None),
        ];
        for (text, expected) in cases {
            assert_eq!(iso_duration_ms(text), expected, "{text}");
        }
    }
}
