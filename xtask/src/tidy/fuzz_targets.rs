//! The folder of fuzz targets and their workspace's manifest name the same targets.
//!
//! That each is a registered body with seeds is a test of `hedgerow-fuzz-bodies`.

use crate::workspace::Workspace;

/// Compares `fuzz/fuzz_targets/*.rs` with the `[[bin]]` entries of `fuzz/Cargo.toml`.
pub(super) fn agree(workspace: &Workspace) -> Result<Vec<String>, String> {
    let files = workspace.files()?;
    let manifest = workspace.read("fuzz/Cargo.toml").unwrap_or_default();
    Ok(differences(&files, &manifest))
}

/// Names the targets of a fuzz workspace, as its manifest declares them.
pub(crate) fn declared(manifest: &str) -> impl Iterator<Item = &str> {
    manifest.lines().filter_map(|line| {
        let path = line.trim().strip_prefix("path = \"fuzz_targets/")?;
        path.strip_suffix(".rs\"")
    })
}

fn differences(files: &[String], manifest: &str) -> Vec<String> {
    let in_folder: Vec<&str> = files
        .iter()
        .filter_map(|path| path.strip_prefix("fuzz/fuzz_targets/")?.strip_suffix(".rs"))
        .collect();
    let declared: Vec<&str> = declared(manifest).collect();
    let mut found = Vec::new();
    for target in &in_folder {
        if !declared.contains(target) {
            found.push(format!("fuzz/Cargo.toml has no [[bin]] for {target}"));
        }
    }
    for target in &declared {
        if !in_folder.contains(target) {
            found.push(format!("fuzz/fuzz_targets/{target}.rs doesn't exist"));
        }
        if !manifest.contains(&format!("name = \"{target}\"")) {
            found.push(format!(
                "fuzz/Cargo.toml: the [[bin]] of {target} has another name"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::differences;

    const MANIFEST: &str = "[[bin]]\nname = \"cursor\"\npath = \"fuzz_targets/cursor.rs\"\n";

    #[test]
    fn target_that_only_one_side_has_is_found() {
        let cursor = "fuzz/fuzz_targets/cursor.rs".to_owned();
        let record = "fuzz/fuzz_targets/record.rs".to_owned();
        assert_eq!(differences(from_ref(&cursor), MANIFEST), [""; 0]);
        assert_eq!(differences(&[], MANIFEST).len(), 1);
        assert_eq!(differences(&[cursor.clone(), record], MANIFEST).len(), 1);
        let renamed = MANIFEST.replace("\"cursor\"", "\"reader\"");
        assert_eq!(differences(&[cursor], &renamed).len(), 1);
    }
}
