//! The committed reference pages say what the tables say.
//!
//! `UPDATE_REFERENCE=1 cargo test -p thalweg-config` rewrites them.

use std::fs;
use std::path::Path;

#[test]
fn reference_pages_are_those_of_the_tables() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let update = std::env::var_os("UPDATE_REFERENCE").is_some();
    for page in thalweg_config::reference::pages() {
        let path = folder.join(page.file_name);
        if update {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &page.text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == page.text, "{} is stale: set UPDATE_REFERENCE=1", page.file_name);
    }
}
