//! What one configuration key is: its facts as plain data, so that a table row says all of it.
//!
//! The rows are in [`crate::keys`]; what a value may be is checked in [`crate::check`].

/// One configuration key and all that is known of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigKey {
    /// The key as it stands in a properties file.
    pub name: &'static str,
    /// How the value is read.
    pub kind: Kind,
    /// What holds when nobody sets the key.
    pub default: Default,
    /// What a value must fulfil beyond its kind.
    pub check: Check,
    /// How a broker key may change while the node runs; topic, group and client-metrics keys
    /// always may and leave this at its first value.
    pub mode: Mode,
    /// How much attention the key deserves from whoever sets up a node.
    pub importance: Importance,
    /// One sentence: what the key does, in which unit.
    pub doc: &'static str,
    /// Whether thalweg acts on the key; else it is only validated and reported.
    pub effect: Effect,
    /// Whether the key is left out of listings unless it is set, as Kafka hides it.
    pub internal: bool,
    /// Broker keys that give the value when a topic or group does not, first one first.
    pub synonyms: &'static [Synonym],
}

/// Type of a key's value, as `DescribeConfigs` names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(i8)]
pub enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    /// Text that is never shown.
    Password = 9,
}

/// What holds when nobody sets a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Default {
    /// Nothing: the node does not start without a value.
    Required,
    /// No value; Kafka's null.
    Unset,
    /// This text, which passes the key's own check.
    Text(&'static str),
}

/// What a value must fulfil beyond its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    /// Nothing.
    Any,
    /// A whole number from the first to the second, both allowed.
    Between(i64, i64),
    /// A fraction from the first to the second, both allowed.
    Fraction(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, in upper or lower case.
    OneOfAnyCase(&'static [&'static str]),
    /// At least one character.
    NonEmpty,
    /// Entries that differ and are not empty; `of` names the allowed ones, empty allows all.
    Entries { of: &'static [&'static str], none_allowed: bool },
    /// A gzip level: 1 to 9, or -1 for gzip's own choice.
    GzipLevel,
    /// `id@host:port` entries.
    Voters,
    /// `host:port` entries.
    Servers,
    /// `*`, or `partition:broker` entries.
    ThrottledReplicas,
    /// `earliest`, `latest` or `by_duration:` and an ISO 8601 duration.
    OffsetReset,
    /// `selector=pattern` entries of a client-metrics subscription.
    ClientMatch,
    /// `host:port`, or empty for none.
    OptionalAddress,
}

/// How a broker key may change while the node runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Only by a restart.
    ReadOnly,
    /// For one broker at a time.
    PerBroker,
    /// For one broker, or for all as the cluster's default.
    ClusterWide,
}

/// Whether thalweg acts on a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    Acts,
    /// What it is about is not there yet.
    NotYet,
    /// It never will: the key is about something that only Kafka is made of. Its sentence says why.
    Never,
}

/// How much attention a key deserves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// A broker key that stands in for a topic or group key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Synonym {
    /// Name of the broker key.
    pub name: &'static str,
    /// How many units of the topic key are one unit of the broker key: `log.retention.hours`
    /// counts hours of 3,600,000 ms.
    pub factor: i64,
}

impl Kind {
    /// The INT8 of `DescribeConfigs`.
    pub fn to_wire(self) -> i8 {
        self as i8
    }

    /// The name in messages and in the reference, Kafka's in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Short => "short",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
            Self::Class => "class",
            Self::Password => "password",
        }
    }
}

impl Mode {
    /// The name that Kafka's documentation uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::PerBroker => "per-broker",
            Self::ClusterWide => "cluster-wide",
        }
    }
}

impl Effect {
    /// The name in the reference.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acts => "yes",
            Self::NotYet => "not yet",
            Self::Never => "no",
        }
    }
}

impl Importance {
    /// The name in the reference.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// Rows of the tables: one of these functions, then what differs from the usual case (medium
/// importance, read-only, anything allowed, not acting).
impl ConfigKey {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: Default,
        check: Check,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            default,
            check,
            mode: Mode::ReadOnly,
            importance: Importance::Medium,
            doc,
            effect: Effect::NotYet,
            internal: false,
            synonyms: &[],
        }
    }

    /// The smallest whole number allowed.
    pub(crate) const fn min(mut self, least: i64) -> Self {
        self.check = Check::Between(least, i64::MAX);
        self
    }

    /// The smallest and largest whole number allowed.
    pub(crate) const fn range(mut self, least: i64, most: i64) -> Self {
        self.check = Check::Between(least, most);
        self
    }

    /// The smallest and largest fraction allowed.
    pub(crate) const fn fraction(mut self, least: f64, most: f64) -> Self {
        self.check = Check::Fraction(least, most);
        self
    }

    /// Any other check.
    pub(crate) const fn check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    /// A list that must have an entry; `of` names the allowed ones, empty allows all.
    pub(crate) const fn some_of(mut self, of: &'static [&'static str]) -> Self {
        self.check = Check::Entries { of, none_allowed: false };
        self
    }

    /// No value when nobody sets one.
    pub(crate) const fn unset(mut self) -> Self {
        self.default = Default::Unset;
        self
    }

    /// No start without a value.
    pub(crate) const fn required(mut self) -> Self {
        self.default = Default::Required;
        self
    }

    pub(crate) const fn high(mut self) -> Self {
        self.importance = Importance::High;
        self
    }

    pub(crate) const fn low(mut self) -> Self {
        self.importance = Importance::Low;
        self
    }

    pub(crate) const fn per_broker(mut self) -> Self {
        self.mode = Mode::PerBroker;
        self
    }

    pub(crate) const fn cluster_wide(mut self) -> Self {
        self.mode = Mode::ClusterWide;
        self
    }

    pub(crate) const fn acting(mut self) -> Self {
        self.effect = Effect::Acts;
        self
    }

    /// Without effect for good, as the sentence explains.
    pub(crate) const fn never(mut self) -> Self {
        self.effect = Effect::Never;
        self
    }

    pub(crate) const fn internal(mut self) -> Self {
        self.internal = true;
        self
    }

    /// Broker keys that stand in for this one.
    pub(crate) const fn from(mut self, synonyms: &'static [Synonym]) -> Self {
        self.synonyms = synonyms;
        self
    }

    /// Whether the value must never be shown.
    pub fn is_sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// The default as text, `None` where there is none.
    pub fn default_text(&self) -> Option<&'static str> {
        match self.default {
            Default::Required | Default::Unset => None,
            Default::Text(text) => Some(text),
        }
    }
}

/// A table of keys, two lines each: kind, name, default and what differs from the usual case; then
/// the sentence.
macro_rules! keys {
    ($(
        $kind:ident($name:literal, $default:literal) $(.$method:ident($($argument:tt)*))*:
        $doc:literal;
    )+) => {
        pub(super) const KEYS: &[ConfigKey] = &[
            $($crate::key::$kind($name, $default, $doc)$(.$method($($argument)*))*,)+
        ];
    };
}
pub(crate) use keys;

macro_rules! constructors {
    ($($function:ident, $kind:ident;)+) => {
        $(pub(crate) const fn $function(
            name: &'static str,
            default: &'static str,
            doc: &'static str,
        ) -> ConfigKey {
            ConfigKey::new(name, Kind::$kind, Default::Text(default), Check::Any, doc)
        })+
    };
}

constructors! {
    boolean, Boolean;
    string, String;
    int, Int;
    short, Short;
    long, Long;
    double, Double;
    class, Class;
    password, Password;
}

/// A list; empty is allowed unless [`ConfigKey::some_of`] says otherwise.
pub(crate) const fn list(
    name: &'static str,
    default: &'static str,
    doc: &'static str,
) -> ConfigKey {
    let check = Check::Entries { of: &[], none_allowed: true };
    ConfigKey::new(name, Kind::List, Default::Text(default), check, doc)
}

/// A synonym that counts in the same unit.
pub(crate) const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

/// A synonym that counts minutes where the key counts milliseconds.
pub(crate) const fn minutes(name: &'static str) -> Synonym {
    Synonym { name, factor: 60_000 }
}

/// A synonym that counts hours where the key counts milliseconds.
pub(crate) const fn hours(name: &'static str) -> Synonym {
    Synonym { name, factor: 3_600_000 }
}
