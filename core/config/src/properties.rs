//! Java's `.properties` syntax, whole: comments, `=`, `:` or blanks between key and value,
//! escapes, `\uXXXX`, lines that go on after a backslash.

/// The entries of a properties file in their order; a later entry of the same key wins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Properties {
    entries: Vec<(String, String)>,
}

/// Why a text is not a properties file; lines count from 1.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {escape:?} is not \\u and four hexadecimal digits")]
pub struct PropertiesError {
    /// Where the entry begins that holds the mistake.
    pub line: usize,
    /// The escape as it stands.
    pub escape: String,
}

impl Properties {
    /// Reads a properties file.
    ///
    /// # Errors
    /// Only a broken `\u` escape; every other text means something in this syntax.
    pub fn parse(text: &str) -> Result<Self, PropertiesError> {
        let mut entries = Vec::new();
        for (line, logical) in logical_lines(text) {
            let (key, value) = split_entry(&logical);
            let unescape =
                |part: &str| unescape(part).map_err(|escape| PropertiesError { line, escape });
            entries.push((unescape(key)?, unescape(value)?));
        }
        Ok(Self { entries })
    }

    /// All entries in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Joins natural lines into logical ones; drops blank lines and comments. Each comes with the
/// number of its first natural line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    // A carriage return alone ends a line too, so "\r\n" leaves an empty line that numbering
    // must not count: it is folded first.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n').enumerate().peekable();
    while let Some((index, natural)) = lines.next() {
        let natural = natural.trim_start_matches(is_blank);
        let fresh = open.is_none();
        if fresh && (natural.is_empty() || natural.starts_with(['#', '!'])) {
            continue;
        }
        let (start, mut logical) = open.take().unwrap_or((index + 1, String::new()));
        let backslashes = natural.chars().rev().take_while(|c| *c == '\\').count();
        if backslashes % 2 == 1 {
            logical.push_str(&natural[..natural.len() - 1]);
            // A line of nothing but a backslash continues nothing: a comment may follow.
            let continues = !logical.is_empty() || lines.peek().is_none();
            open = continues.then_some((start, logical));
        } else {
            logical.push_str(natural);
            found.push((start, logical));
        }
    }
    found.extend(open);
    found
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Splits a logical line at the first separator that no backslash escapes.
fn split_entry(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && (is_blank(*c) || matches!(c, '=' | ':'));
        escaped = !escaped && *c == '\\';
        ends
    });
    let Some((end, _)) = end else { return (line, "") };
    let rest = line[end..].trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(is_blank))
}

/// Resolves escapes; the error is the broken one.
fn unescape(text: &str) -> Result<String, String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    let mut buffer = [0; 2];
    while let Some(c) = rest.next() {
        let c = match (c, rest.as_str().chars().next()) {
            ('\\', Some('u')) => {
                let escape = rest.as_str();
                // The number's own parser would take a sign too.
                let digits =
                    escape.get(1..5).filter(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
                let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
                let Some(unit) = unit else {
                    return Err(format!("\\{}", escape.chars().take(5).collect::<String>()));
                };
                units.push(unit);
                rest = escape[5..].chars();
                continue;
            }
            ('\\', Some(next)) => {
                rest.next();
                match next {
                    't' => '\t',
                    'n' => '\n',
                    'r' => '\r',
                    'f' => '\u{c}',
                    other => other,
                }
            }
            // Java drops a backslash that nothing follows.
            ('\\', None) => continue,
            (plain, _) => plain,
        };
        units.extend_from_slice(c.encode_utf16(&mut buffer));
    }
    // Escapes are UTF-16 units, so a pair of them may be one character.
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn syntax_is_javas() {
        let cases: [(&str, &[(&str, &str)]); 39] = [
            ("a=b", &[("a", "b")]),
            ("a:b", &[("a", "b")]),
            ("a b", &[("a", "b")]),
            ("a = b", &[("a", "b")]),
            ("a\t:\tb", &[("a", "b")]),
            ("a", &[("a", "")]),
            ("a=", &[("a", "")]),
            ("=b", &[("", "b")]),
            (" # c\n!d\na=1", &[("a", "1")]),
            ("a=b\\\n   c", &[("a", "bc")]),
            ("a=b\\\\\nc=d", &[("a", "b\\"), ("c", "d")]),
            ("a=b\\\r\n c", &[("a", "bc")]),
            ("a=b\\\\\\\n c", &[("a", "b\\c")]),
            ("a\\=b=c", &[("a=b", "c")]),
            ("a\\ b c", &[("a b", "c")]),
            ("a\\:b:c", &[("a:b", "c")]),
            ("a=\\u0041\\u00e9", &[("a", "A\u{e9}")]),
            ("a=\\uD83D\\uDE00", &[("a", "\u{1f600}")]),
            ("a=\\t\\n\\q", &[("a", "\t\nq")]),
            ("a=b  ", &[("a", "b  ")]),
            ("a==b", &[("a", "=b")]),
            ("a= =b", &[("a", "=b")]),
            ("a:=b", &[("a", "=b")]),
            ("a=1\na=2", &[("a", "1"), ("a", "2")]),
            ("a=b\\", &[("a", "b")]),
            ("a\\\n=b", &[("a", "b")]),
            ("\n\n  \na=1", &[("a", "1")]),
            ("a=b\\\n# not comment", &[("a", "b# not comment")]),
            ("a=b\rc=d", &[("a", "b"), ("c", "d")]),
            ("a=x\\\n\nc=d", &[("a", "x"), ("c", "d")]),
            ("a=\\\\u0041", &[("a", "\\u0041")]),
            ("a=#b", &[("a", "#b")]),
            ("\u{c}a=b", &[("a", "b")]),
            ("a  b=c", &[("a", "b=c")]),
            ("#c\\\na=b", &[("a", "b")]),
            ("a=\u{e9}", &[("a", "\u{e9}")]),
            ("\\", &[("", "")]),
            ("\\\n ", &[]),
            ("\\\n# c\n\\\na", &[("a", "")]),
        ];
        for (text, expected) in cases {
            let parsed = Properties::parse(text).unwrap();
            assert_eq!(parsed.iter().collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn broken_escapes_are_named_with_their_line() {
        let cases = [
            ("a=\\u00g1", 1, "\\u00g1"),
            ("x=y\n\n# c\nb=\\u12", 4, "\\u12"),
            ("x=y\r\nb=1\\\r\n2\\u+123", 2, "\\u+123"),
        ];
        for (text, line, escape) in cases {
            let expected = PropertiesError { line, escape: escape.to_owned() };
            assert_eq!(Properties::parse(text), Err(expected), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_text_survives_being_escaped(key in ".*", value in ".*") {
            let escape = |text: &str| -> String {
                text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
            };
            let parsed = Properties::parse(&format!("{}={}", escape(&key), escape(&value))).unwrap();
            prop_assert_eq!(parsed.iter().collect::<Vec<_>>(), [(key.as_str(), value.as_str())]);
        }

        #[test]
        fn no_text_panics(text in "[a\\\\u0 =:#!\r\n\t\u{e9}]*") {
            let _ = Properties::parse(&text);
        }
    }
}
