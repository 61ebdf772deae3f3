//! Whether all replicas of a partition have the same bytes, from their files.
//!
//! The nodes must be down. Segments end elsewhere on each replica, so what is compared is the row of
//! batches, from where the last replica begins to where the first one ends. Not here: whether they
//! are the right bytes (`verdict`).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use records::{BatchHeader, split_batches};

/// How two replicas are not the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Difference {
    /// The batches that hold this offset, or that should, differ.
    At { offset: i64, nodes: (u8, u8) },
    /// One has less than all replicas acknowledged: it ends here.
    Short { node: u8, end: i64 },
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

/// The batches of one replica, in order.
struct Replica {
    node: u8,
    batches: Vec<(BatchHeader, Vec<u8>)>,
}

/// Compares replicas, given by their node and folder, with each other up to `end`.
///
/// # Errors
/// If a folder cannot be read.
pub fn compare(replicas: &[(u8, PathBuf)], end: i64) -> anyhow::Result<Vec<Difference>> {
    let read = replicas
        .iter()
        .map(|(node, folder)| anyhow::Ok(Replica { node: *node, batches: read_batches(folder)? }));
    let read: Vec<_> = read.collect::<anyhow::Result<_>>()?;
    let short = read.iter().filter(|replica| replica.end() < end);
    let mut differences: Vec<_> =
        short.map(|one| Difference::Short { node: one.node, end: one.end() }).collect();
    if let Some((first, others)) = read.split_first() {
        differences.extend(others.iter().filter_map(|other| difference(first, other, end)));
    }
    Ok(differences)
}

/// All batches of a folder. What cannot be one ends a file: room kept ahead, or a torn write.
fn read_batches(folder: &Path) -> anyhow::Result<Vec<(BatchHeader, Vec<u8>)>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files: Vec<_> = entries.collect::<anyhow::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    // Named by their first offset, with leading zeros.
    files.sort();
    let mut batches = Vec::new();
    for file in files {
        let bytes = fs::read(file)?;
        let whole = split_batches(&bytes).map_while(Result::ok);
        batches.extend(whole.map(|(range, header)| (header, bytes[range].to_vec())));
    }
    Ok(batches)
}

/// The first one, if any. Only its own front may be missing in a replica.
fn difference(one: &Replica, other: &Replica, end: i64) -> Option<Difference> {
    let start = one.start().max(other.start());
    let (mut left, mut right) = (one.from(start, end), other.from(start, end));
    loop {
        let offset = match (left.next(), right.next()) {
            (None, None) => return None,
            (Some(left), Some(right)) if left.1 == right.1 => continue,
            (Some((header, _)), Some((other, _))) => header.base_offset.min(other.base_offset),
            // That one is short is told by itself.
            (Some(_), None) | (None, Some(_)) => return None,
        };
        return Some(Difference::At { offset, nodes: (one.node, other.node) });
    }
}

impl Replica {
    fn start(&self) -> i64 {
        self.batches.first().map_or(0, |(header, _)| header.base_offset)
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |(header, _)| header.next_offset().get())
    }

    fn from(&self, start: i64, end: i64) -> impl Iterator<Item = &(BatchHeader, Vec<u8>)> {
        let within = move |header: &BatchHeader| (start..end).contains(&header.base_offset);
        self.batches.iter().filter(move |(header, _)| within(header))
    }
}

#[cfg(test)]
mod tests {
    use records::{BatchBuilder, Compression, stamp};
    use types::{LeaderEpoch, Offset};

    use super::*;

    /// A folder of files, each a row of batches of two records with these values.
    fn folder(root: &Path, node: u8, files: &[&[u8]]) -> (u8, PathBuf) {
        let folder = root.join(node.to_string());
        fs::create_dir(&folder).unwrap();
        let mut offset = 0;
        for values in files {
            let mut bytes = Vec::new();
            let name = format!("{offset:020}.log");
            for value in *values {
                let mut builder = BatchBuilder::new(Compression::None);
                builder.append(0, None, Some(&[*value]), &[]);
                builder.append(0, None, Some(&[*value]), &[]);
                let mut batch = builder.build().to_vec();
                stamp(&mut batch, Offset::new(offset), LeaderEpoch(0));
                bytes.extend(batch);
                offset += 2;
            }
            // Room that is kept ahead.
            bytes.extend([0; 100]);
            fs::write(folder.join(name), bytes).unwrap();
        }
        (node, folder)
    }

    #[test]
    fn planted_differences_between_replicas_are_found() {
        type Files = &'static [&'static [u8]];
        let cases: [(&str, Files, Vec<Difference>); 5] = [
            ("the same in other segments", &[&[1, 2], &[3, 4]], vec![]),
            ("more than all acknowledged", &[&[1, 2, 3, 4, 5]], vec![]),
            (
                "other bytes at one offset",
                &[&[1, 2, 9, 4]],
                vec![Difference::At { offset: 4, nodes: (1, 2) }],
            ),
            ("an end cut off", &[&[1, 2, 3]], vec![Difference::Short { node: 2, end: 6 }]),
            ("nothing at all", &[&[]], vec![Difference::Short { node: 2, end: 0 }]),
        ];
        for (name, files, expected) in cases {
            let root = tempfile::tempdir().unwrap();
            let good = folder(root.path(), 1, &[&[1], &[2, 3, 4]]);
            let other = folder(root.path(), 2, files);
            assert_eq!(compare(&[good, other], 8).unwrap(), expected, "{name}");
        }
    }
}
