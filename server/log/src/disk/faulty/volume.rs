//! A file system in memory that knows what of it would outlive a power cut.
//!
//! Each file and each directory is there twice: `cached` is what programs see, `stable` is what the
//! platters hold. Syncing copies from the first to the second, and so does write-back, which picks
//! at random what it copies and when. Names become stable apart from content, and in any order as
//! far as they do not concern the same name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Component, Path};

use types::{Millis, Rng};

/// What a device writes whole.
pub(super) const SECTOR_BYTES: usize = 512;

pub(super) type FileId = u64;
type DirId = u64;

/// What a name stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    File(FileId),
    Dir(DirId),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub cached: Vec<u8>,
    pub stable: Vec<u8>,
    /// How much of `stable` a power cut leaves: what was written behind that shows once the length
    /// follows.
    stable_bytes: usize,
    /// Sectors of `cached` that are not in `stable`.
    dirty: BTreeSet<usize>,
    /// Up to here room is taken, whether the file is as long or not.
    pub reserved: usize,
    pub modified: Millis,
}

#[derive(Clone, Debug, Default)]
struct Names {
    cached: BTreeMap<String, Entry>,
    stable: BTreeMap<String, Entry>,
}

/// One creation, rename or removal: all of its names change on the platters, or none.
#[derive(Clone, Debug)]
struct Change(Vec<(DirId, String, Option<Entry>)>);

/// The root directory has id 0.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    files: BTreeMap<FileId, Content>,
    dirs: BTreeMap<DirId, Names>,
    next_id: u64,
    /// Changes of names that are not stable, oldest first.
    pending: Vec<Change>,
}

impl Content {
    pub fn write(&mut self, bytes: &[u8], at: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if self.cached.len() < end {
            self.cached.resize(end, 0);
        }
        self.cached[at..end].copy_from_slice(bytes);
        self.dirty.extend(at / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
    }

    pub fn set_len(&mut self, bytes: usize) {
        // What is cut reads as zeros when the file grows again.
        self.dirty.extend(bytes / SECTOR_BYTES..self.cached.len().div_ceil(SECTOR_BYTES));
        self.cached.resize(bytes, 0);
    }

    pub fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.copy(sector);
        }
        self.stable.resize(self.cached.len(), 0);
        self.stable_bytes = self.stable.len();
    }

    /// Reads anew from the platters what is not to be written, in all sectors that hold some of it.
    pub fn drop_clean(&mut self, bytes: Range<u64>) {
        let inside = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.cached.len());
        let sectors = inside(bytes.start) / SECTOR_BYTES..inside(bytes.end).div_ceil(SECTOR_BYTES);
        for sector in sectors.filter(|sector| !self.dirty.contains(sector)) {
            let begin = sector * SECTOR_BYTES;
            let end = (begin + SECTOR_BYTES).min(self.cached.len());
            for at in begin..end {
                self.cached[at] = self.stable.get(at).copied().unwrap_or(0);
            }
        }
    }

    /// What a failed sync leaves: pages that count as clean although they were not written.
    pub fn forget_dirty(&mut self) {
        self.dirty.clear();
    }

    /// Copies a random part onto the platters, in blocks of so many sectors. The length may be the
    /// old one, the new one, or one between them where a sector ends.
    pub fn write_back(&mut self, rng: &mut Rng, block_sectors: usize) {
        let (old, new) = (self.stable_bytes, self.cached.len());
        let span = u32::try_from(old.abs_diff(new)).unwrap_or(u32::MAX - 1);
        let between = old.min(new) + rng.below(span + 1) as usize;
        let between = (between - between % SECTOR_BYTES).max(old.min(new));
        let bytes = [old, new, between][rng.below(3) as usize];
        let blocks: BTreeSet<usize> = self.dirty.iter().map(|s| s / block_sectors).collect();
        for block in blocks {
            if rng.below(2) == 0 {
                let sectors = block * block_sectors..(block + 1) * block_sectors;
                for sector in self.dirty.extract_if(sectors, |_| true).collect::<Vec<_>>() {
                    self.copy(sector);
                    // What lies behind the length that is stable is still to be written.
                    if (sector + 1) * SECTOR_BYTES > bytes {
                        self.dirty.insert(sector);
                    }
                }
            }
        }
        if bytes < old || bytes > self.stable.len() {
            self.stable.resize(bytes, 0);
        }
        self.stable_bytes = bytes;
    }

    fn copy(&mut self, sector: usize) {
        let begin = sector * SECTOR_BYTES;
        let end = (begin + SECTOR_BYTES).min(self.cached.len());
        if begin < end {
            if self.stable.len() < end {
                self.stable.resize(end, 0);
            }
            self.stable[begin..end].copy_from_slice(&self.cached[begin..end]);
        }
        // Zeros stand where the file was cut.
        let cut = begin.max(end)..(begin + SECTOR_BYTES).min(self.stable.len());
        self.stable.get_mut(cut).unwrap_or_default().fill(0);
    }
}

impl Volume {
    pub fn new() -> Self {
        let dirs = BTreeMap::from([(0, Names::default())]);
        Self { files: BTreeMap::new(), dirs, next_id: 1, pending: Vec::new() }
    }

    pub fn file(&mut self, id: FileId) -> &mut Content {
        self.files.get_mut(&id).expect("a file stays as long as this process has it open")
    }

    /// What the path stands for.
    pub fn find(&self, path: &Path) -> Option<Entry> {
        names_of(path).try_fold(Entry::Dir(0), |at, name| match at {
            Entry::Dir(dir) => self.dirs[&dir].cached.get(name).copied(),
            Entry::File(_) => None,
        })
    }

    fn dir(&self, path: &Path) -> io::Result<DirId> {
        match self.find(path) {
            Some(Entry::Dir(dir)) => Ok(dir),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Directory and last name of a path.
    fn place(&self, path: &Path) -> io::Result<(DirId, String)> {
        let name = names_of(path).last().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok((self.dir(parent)?, name.to_owned()))
    }

    fn change(&mut self, edits: Vec<(DirId, String, Option<Entry>)>) {
        for (dir, name, entry) in &edits {
            apply(&mut self.dirs, *dir, name, *entry, |names| &mut names.cached);
        }
        self.pending.push(Change(edits));
    }

    pub fn create_file(&mut self, path: &Path) -> io::Result<FileId> {
        let (dir, name) = self.place(path)?;
        let id = self.new_id();
        self.files.insert(id, Content::default());
        self.change(vec![(dir, name, Some(Entry::File(id)))]);
        Ok(id)
    }

    pub fn create_dirs(&mut self, path: &Path) -> io::Result<()> {
        let mut at = 0;
        for name in names_of(path) {
            at = match self.dirs[&at].cached.get(name) {
                Some(Entry::Dir(dir)) => *dir,
                Some(Entry::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                None => {
                    let id = self.new_id();
                    self.dirs.insert(id, Names::default());
                    self.change(vec![(at, name.to_owned(), Some(Entry::Dir(id)))]);
                    id
                }
            };
        }
        Ok(())
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let entry = self.find(from).ok_or(io::ErrorKind::NotFound)?;
        match (entry, self.find(to)) {
            (Entry::Dir(_), Some(Entry::File(_))) => Err(io::ErrorKind::NotADirectory)?,
            (Entry::File(_), Some(Entry::Dir(_))) => Err(io::ErrorKind::IsADirectory)?,
            (_, Some(Entry::Dir(dir))) if !self.dirs[&dir].cached.is_empty() => {
                Err(io::ErrorKind::DirectoryNotEmpty)?;
            }
            _ => {}
        }
        let ((from_dir, from_name), (to_dir, to_name)) = (self.place(from)?, self.place(to)?);
        self.change(vec![(from_dir, from_name, None), (to_dir, to_name, Some(entry))]);
        Ok(())
    }

    pub fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        match self.find(path).ok_or(io::ErrorKind::NotFound)? {
            Entry::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
            Entry::File(_) => {
                let (dir, name) = self.place(path)?;
                self.change(vec![(dir, name, None)]);
                Ok(())
            }
        }
    }

    pub fn remove_dirs(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir(path)?;
        for (name, entry) in self.dirs[&dir].cached.clone() {
            match entry {
                Entry::File(_) => self.change(vec![(dir, name, None)]),
                Entry::Dir(_) => self.remove_dirs(&path.join(name))?,
            }
        }
        let (parent, name) = self.place(path)?;
        self.change(vec![(parent, name, None)]);
        Ok(())
    }

    pub fn list(&self, path: &Path) -> io::Result<Vec<(String, Entry)>> {
        let names = &self.dirs[&self.dir(path)?];
        Ok(names.cached.iter().map(|(name, entry)| (name.clone(), *entry)).collect())
    }

    /// Bytes and time of change of what an entry stands for.
    pub fn facts(&self, entry: Entry) -> (u64, Millis) {
        match entry {
            Entry::File(id) => {
                let content = &self.files[&id];
                (content.cached.len() as u64, content.modified)
            }
            Entry::Dir(_) => (0, Millis::ZERO),
        }
    }

    pub fn sync_all(&mut self) {
        for Change(edits) in std::mem::take(&mut self.pending) {
            self.settle(&edits);
        }
        self.files.values_mut().for_each(Content::sync);
    }

    pub fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let wanted = self.dir(path)?;
        let changes = std::mem::take(&mut self.pending);
        for Change(edits) in changes {
            if edits.iter().any(|(dir, ..)| *dir == wanted) {
                self.settle(&edits);
            } else {
                self.pending.push(Change(edits));
            }
        }
        Ok(())
    }

    /// Makes some of what is pending stable, picked at random. A change waits for those before it
    /// that concern one of its names.
    pub fn write_back(&mut self, rng: &mut Rng, block_sectors: usize) {
        for content in self.files.values_mut() {
            if rng.below(2) == 0 {
                content.write_back(rng, block_sectors);
            }
        }
        let is_ordered = rng.below(4) == 0;
        let changes = std::mem::take(&mut self.pending);
        for Change(edits) in changes {
            let waits = !self.pending.is_empty() && is_ordered
                || self.pending.iter().any(|former| former.concerns(&edits));
            if waits || rng.below(2) == 0 {
                self.pending.push(Change(edits));
            } else {
                self.settle(&edits);
            }
        }
    }

    fn settle(&mut self, edits: &[(DirId, String, Option<Entry>)]) {
        for (dir, name, entry) in edits {
            apply(&mut self.dirs, *dir, name, *entry, |names| &mut names.stable);
        }
    }

    /// What is not stable is gone.
    pub fn lose_cached(&mut self) {
        self.pending.clear();
        for content in self.files.values_mut() {
            content.stable.truncate(content.stable_bytes);
            content.cached.clone_from(&content.stable);
            content.dirty.clear();
        }
        for names in self.dirs.values_mut() {
            names.cached.clone_from(&names.stable);
        }
        let named: BTreeSet<FileId> = self.dirs.values().flat_map(Names::files).collect();
        self.files.retain(|id, _| named.contains(id));
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Names {
    fn files(&self) -> impl Iterator<Item = FileId> {
        self.stable.values().filter_map(|entry| match entry {
            Entry::File(id) => Some(*id),
            Entry::Dir(_) => None,
        })
    }
}

impl Change {
    fn concerns(&self, edits: &[(DirId, String, Option<Entry>)]) -> bool {
        let is_named = |dir, name| edits.iter().any(|(d, n, _)| (*d, n) == (dir, name));
        self.0.iter().any(|(dir, name, _)| is_named(*dir, name))
    }
}

fn apply(
    dirs: &mut BTreeMap<DirId, Names>,
    dir: DirId,
    name: &str,
    entry: Option<Entry>,
    side: impl Fn(&mut Names) -> &mut BTreeMap<String, Entry>,
) {
    let names = side(dirs.get_mut(&dir).expect("directories are never forgotten"));
    match entry {
        Some(entry) => _ = names.insert(name.to_owned(), entry),
        None => _ = names.remove(name),
    }
}

fn names_of(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}
