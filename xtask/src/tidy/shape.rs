//! Figures of the code's shape, and the few of them that are law.
//!
//! Median, functions and comments inform a reviewer; the size of files, `unsafe` and unfinished
//! code are refused.

use std::fmt;

use super::scan::Source;

const FILE_LINES_MAX: usize = 800;
const FILE_LINES_AIM: usize = 500;
/// Share of files above the aim that is borne, in per mille.
const FILES_OVER_AIM_PER_MILLE_MAX: usize = 30;
const FUNCTION_LINES_AIM: usize = 70;
/// Files where `unsafe` may stand. At most two, each with its reason.
const UNSAFE_FILES: &[&str] = &[];
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

#[derive(Default)]
pub struct Shape {
    file_lines: Vec<(usize, String)>,
    functions: usize,
    functions_over_aim: Vec<(usize, String)>,
    lines_of_text: usize,
    lines_with_comment: usize,
    product_lines: usize,
    product_unwraps: usize,
    unwraps_of_files: Vec<(usize, String)>,
    /// Places, as `path:line`.
    unsafe_places: Vec<String>,
    unfinished: Vec<String>,
}

pub fn measure(sources: &[Source]) -> Shape {
    let mut shape = Shape::default();
    for source in sources {
        shape.count_file(source);
    }
    shape.file_lines.sort();
    shape.functions_over_aim.sort();
    shape.unwraps_of_files.sort();
    shape
}

impl Shape {
    fn count_file(&mut self, source: &Source) {
        self.file_lines.push((source.lines(), source.path.clone()));
        let unwraps_before = self.product_unwraps;
        for span in source.functions() {
            self.functions += 1;
            if span.lines() > FUNCTION_LINES_AIM {
                let place = format!("{}:{}", source.path, span.first + 1);
                self.functions_over_aim.push((span.lines(), place));
            }
        }
        for (index, code) in source.code.iter().enumerate() {
            let comment = source.has_comment[index];
            if code.trim().is_empty() && !comment {
                continue;
            }
            self.lines_of_text += 1;
            self.lines_with_comment += usize::from(comment);
            if !source.is_test[index] && is_product(&source.path) {
                self.product_lines += 1;
                self.product_unwraps += unwraps(code);
            }
            let place = || format!("{}:{}", source.path, index + 1);
            if has_word(code, "unsafe") && !UNSAFE_FILES.contains(&source.path.as_str()) {
                self.unsafe_places.push(place());
            }
            if UNFINISHED.iter().any(|name| has_word(code, name)) {
                self.unfinished.push(place());
            }
        }
        let unwraps = self.product_unwraps - unwraps_before;
        if unwraps > 0 {
            self.unwraps_of_files.push((unwraps, source.path.clone()));
        }
    }

    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = vec![];
        for (lines, path) in &self.file_lines {
            if *lines > FILE_LINES_MAX {
                complaints.push(format!("{path}: {lines} lines; split it, one idea a file"));
            }
        }
        let over = self.files_over_aim();
        if over * 1000 > self.file_lines.len() * FILES_OVER_AIM_PER_MILLE_MAX {
            let files = self.file_lines.len();
            complaints.push(format!("{over} of {files} files have over {FILE_LINES_AIM} lines"));
        }
        let unsafe_places = self.unsafe_places.iter();
        complaints
            .extend(unsafe_places.map(|place| format!("{place}: unsafe is not allowed here")));
        let unfinished = self.unfinished.iter();
        complaints.extend(unfinished.map(|place| format!("{place}: unfinished code")));
        complaints
    }

    fn files_over_aim(&self) -> usize {
        self.file_lines.iter().filter(|(lines, _)| *lines > FILE_LINES_AIM).count()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.file_lines.len();
        let median = self.file_lines.get(files / 2).map_or(0, |(lines, _)| *lines);
        let within = files - self.files_over_aim();
        writeln!(out, "files      {files}, median {median} lines (aim 150)")?;
        writeln!(
            out,
            "           {} have at most {FILE_LINES_AIM} (aim 97 %)",
            share(within, files)
        )?;
        for (lines, path) in self.file_lines.iter().rev().take(3) {
            writeln!(out, "           {lines} {path}")?;
        }
        let short = self.functions - self.functions_over_aim.len();
        let share_short = share(short, self.functions);
        let functions = self.functions;
        writeln!(
            out,
            "functions  {functions}, {share_short} have at most {FUNCTION_LINES_AIM} lines (aim 98.5 %)"
        )?;
        for (lines, place) in self.functions_over_aim.iter().rev().take(3) {
            writeln!(out, "           {lines} {place}")?;
        }
        let comments = share(self.lines_with_comment, self.lines_of_text);
        writeln!(out, "comments   {comments} of the lines (aim 10-20 %)")?;
        let (unwraps, lines) = (self.product_unwraps, self.product_lines);
        let rate = 1000.0 * unwraps as f64 / lines.max(1) as f64;
        writeln!(
            out,
            "unwraps    {unwraps} in {lines} lines of product code, {rate:.2} per 1,000 (aim 1)"
        )?;
        for (unwraps, path) in self.unwraps_of_files.iter().rev().take(3) {
            writeln!(out, "           {unwraps} {path}")?;
        }
        write!(out, "unsafe     {}", self.unsafe_places.len())
    }
}

/// Tools of the workshop and examples are not shipped.
fn is_product(path: &str) -> bool {
    !["xtask/", "fuzz/"].iter().any(|folder| path.starts_with(folder))
        && !path.contains("/examples/")
}

fn share(part: usize, whole: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

fn unwraps(code: &str) -> usize {
    code.matches(".unwrap()").count() + code.matches(".expect(").count()
}

/// Whether `word` stands in the code and is not the tail or head of a longer name.
fn has_word(code: &str, word: &str) -> bool {
    let part_of_name = |char: char| char.is_alphanumeric() || char == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part_of_name)
            && (word.ends_with('!') || !after.is_some_and(part_of_name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(body: &str) -> Shape {
        measure(&[Source::scan("core/a/src/lib.rs", body)])
    }

    #[test]
    fn unsafe_and_unfinished_code_are_refused() {
        let cases = [
            ("block", "fn a() { unsafe { b() } }", 1),
            ("attribute", "#![forbid(unsafe_code)]", 0),
            ("comment", "// unsafe, todo!()", 0),
            ("string", "let a = \"dbg!()\";", 0),
            ("todo", "fn a() { todo!() }", 1),
            ("own macro", "fn a() { my_todo!() }", 0),
        ];
        for (name, body, complaints) in cases {
            assert_eq!(measured(body).complaints().len(), complaints, "{name}");
        }
    }

    #[test]
    fn only_files_over_the_limit_are_refused_one_by_one() {
        let file = |lines: usize| Source::scan("core/a/src/lib.rs", &"a();\n".repeat(lines));
        let mut sources = vec![file(FILE_LINES_MAX)];
        sources.extend((0..99).map(|_| file(10)));
        assert_eq!(measure(&sources).complaints(), Vec::<String>::new());
        sources.push(file(FILE_LINES_MAX + 1));
        assert_eq!(measure(&sources).complaints().len(), 1);
    }

    #[test]
    fn too_many_long_files_are_refused_as_a_whole() {
        let file = |lines: usize| Source::scan("core/a/src/lib.rs", &"a();\n".repeat(lines));
        let sources: Vec<_> =
            (0..10).map(|index| file(if index == 0 { 501 } else { 10 })).collect();
        assert_eq!(measure(&sources).complaints(), ["1 of 10 files have over 500 lines"]);
    }

    #[test]
    fn unwraps_are_counted_in_product_code_alone() {
        let body =
            "fn a() { b().unwrap(); c.expect(\"d\"); }\n#[cfg(test)]\nmod t {\n e().unwrap(); }";
        assert_eq!(measured(body).product_unwraps, 2);
        let tool = Source::scan("xtask/src/main.rs", body);
        assert_eq!(measure(&[tool]).product_unwraps, 0);
    }
}
