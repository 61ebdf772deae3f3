//! The schema as data: what `parse` reads and the emitters print.

/// A range of versions, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Versions {
    pub first: i16,
    pub last: i16,
}

/// Type of a field, or of the elements of an array.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Base {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    String,
    Bytes,
    Records,
    Uuid,
    Struct(String),
}

/// One line of the schema.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub base: Base,
    pub array: bool,
    pub versions: Versions,
    /// Where null is allowed.
    pub nullable: Option<Versions>,
    pub tag: Option<u32>,
    /// Default, where it is not the zero of the type (null for nullable types).
    pub default: Option<String>,
    /// May be dropped in versions that do not have the field, whatever its value.
    pub ignorable: bool,
    /// Keeps the layout without varints in flexible versions.
    pub fixed: bool,
}

/// A message, or a struct inside one.
#[derive(Clone, Debug)]
pub struct Struct {
    pub name: String,
    pub versions: Versions,
    pub fields: Vec<Field>,
}

/// A message: a body of a request or response, a header, or a record.
#[derive(Clone, Debug)]
pub struct Message {
    /// First the message itself, then its structs in the order of their appearance.
    pub structs: Vec<Struct>,
    pub flexible: Option<i16>,
    /// Number of the record type, for records that have one.
    pub record_type: Option<i16>,
}

/// One API: a request and its response.
#[derive(Clone, Debug)]
pub struct Api {
    pub key: i16,
    pub name: String,
    pub versions: Versions,
    pub flexible: Option<i16>,
    /// First version that is not offered to clients yet.
    pub unstable: Option<i16>,
    pub broker: bool,
    pub controller: bool,
    pub request: Message,
    pub response: Message,
}

/// One file of the schema.
#[derive(Debug)]
pub struct File {
    /// Such as `produce_fetch`.
    pub stem: String,
    pub apis: Vec<Api>,
    /// Headers and records.
    pub messages: Vec<Message>,
}

impl Versions {
    pub fn contains(self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

impl Message {
    pub fn name(&self) -> &str {
        &self.structs[0].name
    }

    pub fn versions(&self) -> Versions {
        self.structs[0].versions
    }

    pub fn find(&self, name: &str) -> Option<&Struct> {
        self.structs.iter().find(|one| one.name == name)
    }
}

impl Field {
    pub fn is_nullable(&self) -> bool {
        self.nullable.is_some()
    }
}
