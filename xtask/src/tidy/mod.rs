//! The habits of the house as an ordinary test: what a compiler and clippy do not check.
//!
//! Each room of this module looks at one thing and returns its complaints as sentences that name
//! the file and the cure. Figures that only inform are printed. Generated code is exempt.

mod edges;
mod heads;
mod scan;
mod shape;
mod words;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use scan::Source;

/// One tracked text file, path relative to the root with `/` between folders.
pub struct Text {
    pub path: String,
    pub body: String,
}

/// Prints the figures and every complaint; an error when there is any complaint.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let report = check(root)?;
    println!("{}", report.figures);
    if report.complaints.is_empty() {
        println!("tidy: nothing to complain about");
        return Ok(());
    }
    for complaint in &report.complaints {
        println!("tidy: {complaint}");
    }
    bail!("tidy: {} complaints", report.complaints.len())
}

pub struct Report {
    pub figures: String,
    pub complaints: Vec<String>,
}

/// Looks at every file that git tracks or would track.
pub fn check(root: &Path) -> anyhow::Result<Report> {
    let texts = texts(root)?;
    let sources: Vec<Source> = texts
        .iter()
        .filter(|text| text.path.ends_with(".rs") && !heads::is_generated(&text.body))
        .map(|text| Source::scan(&text.path, &text.body))
        .collect();
    let shape = shape::measure(&sources);

    let mut complaints = edges::check(&edges::packages(root)?);
    complaints.extend(edges::check_node_roles(&sources));
    complaints.extend(heads::check(&texts));
    complaints.extend(shape.complaints());
    complaints.extend(words::check(&texts));
    Ok(Report { figures: shape.to_string(), complaints })
}

/// Text files, tracked or new but not ignored; whatever is not UTF-8 is no text.
fn texts(root: &Path) -> anyhow::Result<Vec<Text>> {
    let listing = Command::new("git")
        // A checkout may belong to another user, as in a container.
        .args(["-c", "safe.directory=*"])
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("start git, which lists the files to look at")?;
    ensure!(listing.status.success(), "{}", String::from_utf8_lossy(&listing.stderr));
    let listing = String::from_utf8(listing.stdout).context("a file name is not UTF-8")?;
    let texts = listing.split_terminator('\0').filter_map(|path| {
        let body = std::fs::read_to_string(root.join(path)).ok()?;
        Some(Text { path: path.to_string(), body })
    });
    Ok(texts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let report = check(&crate::root()).unwrap();
        println!("{}", report.figures);
        assert!(report.complaints.is_empty(), "{}", report.complaints.join("\n"));
    }
}
