//! A Rust file cut into lines of code and comment, with the contents of literals blanked.
//!
//! Enough of a lexer to count and to search without being fooled by strings and comments; not a
//! parser: it never fails, and on broken code its figures are broken too.

/// One Rust file; the vectors hold one entry a line.
pub struct Source {
    pub path: String,
    /// Code alone: comments gone, literals empty.
    pub code: Vec<String>,
    pub has_comment: Vec<bool>,
    /// Inside `#[cfg(test)]`, or in a file of tests.
    pub is_test: Vec<bool>,
}

/// First and last line of a function, counted from 0.
pub struct Span {
    pub first: usize,
    pub last: usize,
}

impl Span {
    pub fn lines(&self) -> usize {
        self.last - self.first + 1
    }
}

impl Source {
    pub fn scan(path: &str, body: &str) -> Self {
        let lines = body.lines().count();
        let mut lexer = Lexer { rest: body, code: vec![], has_comment: vec![] };
        lexer.run();
        lexer.code.truncate(lines);
        lexer.has_comment.truncate(lines);
        let mut source = Self {
            path: path.to_string(),
            code: lexer.code,
            has_comment: lexer.has_comment,
            is_test: vec![is_test_file(path); lines],
        };
        source.mark_test_items();
        source
    }

    pub fn lines(&self) -> usize {
        self.code.len()
    }

    /// Functions with a body, nested ones too.
    pub fn functions(&self) -> Vec<Span> {
        let mut spans = vec![];
        for (first, line) in self.code.iter().enumerate() {
            if let Some(column) = function_name(line)
                && let Some(last) = self.item_end(first, column)
            {
                spans.push(Span { first, last });
            }
        }
        spans
    }

    fn mark_test_items(&mut self) {
        for first in 0..self.lines() {
            if !self.code[first].contains("#[cfg(test)]") {
                continue;
            }
            let column = self.code[first].find(']').map_or(0, |at| at + 1);
            let last = self.item_end(first, column).unwrap_or(first + 1);
            let last = last.min(self.lines() - 1);
            self.is_test[first..=last].fill(true);
        }
    }

    /// Line where the first brace that opens after this place is closed; `None` when a `;` ends
    /// the item before any brace.
    fn item_end(&self, line: usize, column: usize) -> Option<usize> {
        let (mut braces, mut brackets) = (0_usize, 0_i32);
        for (at, code) in self.code.iter().enumerate().skip(line) {
            let code = if at == line { &code[column..] } else { code };
            for char in code.chars() {
                match char {
                    '(' | '[' => brackets += 1,
                    ')' | ']' => brackets -= 1,
                    ';' if braces == 0 && brackets == 0 => return None,
                    '{' => braces += 1,
                    '}' if braces <= 1 => return Some(at),
                    '}' => braces -= 1,
                    _ => {}
                }
            }
        }
        None
    }
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("testing/")
        || path.contains("/tests/")
        || path.contains("/benches/")
        || path.ends_with("tests.rs")
        // What the tests of a crate share.
        || path.ends_with("/testing.rs")
}

/// Column behind `fn name`, if the line declares a function.
fn function_name(code: &str) -> Option<usize> {
    let at = code.match_indices("fn ").map(|(at, _)| at).find(|at| {
        let before = code[..*at].chars().next_back();
        !before.is_some_and(|char| char.is_alphanumeric() || char == '_')
    })?;
    let name = code[at + 3..].chars().next()?;
    (name.is_alphabetic() || name == '_').then_some(at + 3)
}

struct Lexer<'a> {
    rest: &'a str,
    code: Vec<String>,
    has_comment: Vec<bool>,
}

impl Lexer<'_> {
    fn run(&mut self) {
        self.new_line();
        while let Some(char) = self.rest.chars().next() {
            let rest = self.rest;
            match char {
                '/' if rest.starts_with("//") => {
                    self.comment(rest.find('\n').unwrap_or(rest.len()))
                }
                '/' if rest.starts_with("/*") => self.comment(block_comment(rest)),
                '"' => self.literal(1 + string_end(&rest[1..])),
                'r' | 'b' | 'c' if self.at_word_start() && raw_string(rest).is_some() => {
                    self.literal(raw_string(rest).unwrap_or(1));
                }
                '\'' => match char_literal(rest) {
                    Some(bytes) => self.literal(bytes),
                    None => self.keep(char),
                },
                _ => self.keep(char),
            }
        }
    }

    fn new_line(&mut self) {
        self.code.push(String::new());
        self.has_comment.push(false);
    }

    fn keep(&mut self, char: char) {
        self.rest = &self.rest[char.len_utf8()..];
        match char {
            '\n' => self.new_line(),
            _ => self.code.last_mut().expect("run pushes the first line").push(char),
        }
    }

    /// A letter inside an identifier begins no raw string.
    fn at_word_start(&self) -> bool {
        let before = self.code.last().and_then(|line| line.chars().next_back());
        !before.is_some_and(|char| char.is_alphanumeric() || char == '_')
    }

    fn literal(&mut self, bytes: usize) {
        let (literal, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.rest = rest;
        for _ in literal.matches('\n') {
            self.code.last_mut().expect("run pushes the first line").push('"');
            self.new_line();
        }
        self.code.last_mut().expect("run pushes the first line").push_str("\"\"");
    }

    fn comment(&mut self, bytes: usize) {
        let (comment, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.rest = rest;
        for (index, _) in comment.split('\n').enumerate() {
            if index > 0 {
                self.new_line();
            }
            *self.has_comment.last_mut().expect("run pushes the first line") = true;
        }
    }
}

/// Bytes up to the end of a string whose opening quote is already passed.
fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return at + 1,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    rest.len()
}

/// Length of `r"…"`, `br#"…"#`, `b"…"` and their like at the start of `rest`.
fn raw_string(rest: &str) -> Option<usize> {
    let prefix = rest.find(|char| !matches!(char, 'r' | 'b' | 'c')).unwrap_or(rest.len());
    let after = &rest[prefix..];
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    let body = after[hashes..].strip_prefix('"')?;
    let start = prefix + hashes + 1;
    if !rest[..prefix].contains('r') {
        return (hashes == 0).then(|| start + string_end(body));
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(start + end)
}

/// Length of a char literal at the start of `rest`; a lifetime is none.
fn char_literal(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        let end = rest[3..].find('\'')?;
        return Some(3 + end + 1);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}

/// Length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let cases = [
            ("plain", "let a = b;", "let a = b;"),
            ("line comment", "a(); // todo!()", "a(); "),
            ("string", "a(\"dbg!()\")", "a(\"\")"),
            ("escaped quote", r#"a("x\"y", b)"#, "a(\"\", b)"),
            ("raw string", "a(r#\"x\"y\"#, b)", "a(\"\", b)"),
            ("byte string", "a(b\"unsafe\")", "a(\"\")"),
            ("name that ends in r", "for \"x\"", "for \"\""),
            ("char quote", "a('\"', '\\'', b)", "a(\"\", \"\", b)"),
            ("lifetime", "fn a<'a>(b: &'a str)", "fn a<'a>(b: &'a str)"),
            ("nested block comment", "a /* b /* c */ d */ e", "a  e"),
        ];
        for (name, body, code) in cases {
            assert_eq!(Source::scan("a.rs", body).code, [code], "{name}");
        }
    }

    #[test]
    fn comment_lines_are_counted_with_trailing_ones() {
        let source = Source::scan("a.rs", "//! A.\nfn a() {} // b\n/* c\nd */\nlet s = \"//\";\n");
        assert_eq!(source.has_comment, [true, true, true, true, false]);
    }

    #[test]
    fn functions_span_from_their_name_to_the_closing_brace() {
        let body = "trait T {\n  fn declared(a: u8);\n  fn a(b: [u8; 4]\n  ) {\n    if b {\n    }\n  }\n}\n";
        let spans = Source::scan("a.rs", body).functions();
        let spans: Vec<_> = spans.iter().map(|span| (span.first, span.last)).collect();
        assert_eq!(spans, [(2, 6)]);
    }

    #[test]
    fn test_code_is_told_from_product_code() {
        let body = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n";
        let source = Source::scan("core/a/src/lib.rs", body);
        assert_eq!(source.is_test, [false, true, true, true, true, false]);
        for path in ["core/a/tests/a.rs", "core/a/src/b/tests.rs", "core/a/src/testing.rs"] {
            assert_eq!(Source::scan(path, "fn a() {}\n").is_test, [true], "{path}");
        }
    }
}
