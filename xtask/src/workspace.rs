//! What `cargo metadata` and git say about the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The main workspace.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The root of the repository.
    pub root: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
    /// Its members, sorted by name.
    pub members: Vec<Member>,
    /// All packages that its lock file resolves to, members included.
    pub resolved: Vec<Resolved>,
}

/// A member of the workspace.
#[derive(Clone, Debug)]
pub struct Member {
    /// The package's name.
    pub name: String,
    /// Its folder, as [`Room::folder`](crate::floors::Room::folder) writes it.
    pub folder: String,
    /// Its path from the root of the repository.
    pub path: String,
    /// Its feature names, `default` included where it is declared, with what each turns on.
    pub features: BTreeMap<String, Vec<String>>,
    /// What it depends on, as its manifest declares it.
    pub dependencies: Vec<Dependency>,
}

/// One dependency that a manifest declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// Which of the manifest's tables it stands in.
    pub kind: Kind,
}

/// Which table of a manifest a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `[dependencies]`.
    Normal,
    /// `[dev-dependencies]`.
    Dev,
    /// `[build-dependencies]`.
    Build,
}

/// One package of the dependency graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its id, unique in the graph.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Ids of what it needs outside its tests.
    pub needs: Vec<String>,
}

impl Workspace {
    /// Asks cargo about the workspace that `xtask` belongs to.
    ///
    /// # Errors
    ///
    /// A message if cargo can't be run or fails.
    pub fn load() -> Result<Self, String> {
        let root = root()?;
        let metadata = metadata(&root, &["--all-features"])?;
        Ok(Self::from_metadata(root, &metadata))
    }

    /// Asks cargo which features each member has when the whole workspace is built and tested with its
    /// defaults, where they ask for each other's. By name, without `default`.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn turned_on(&self) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
        let with_defaults = metadata(&self.root, &[])?;
        let features_of = |id: &str| {
            let resolve = with_defaults.get("resolve").unwrap_or(&Value::Null);
            list(resolve, "nodes")
                .filter(|node| text(node, "id") == id)
                .flat_map(|node| list(node, "features"))
                .filter_map(Value::as_str)
                .filter(|feature| *feature != "default")
                .map(str::to_owned)
                .collect()
        };
        let members: BTreeSet<&str> = list(&with_defaults, "workspace_members")
            .filter_map(Value::as_str)
            .collect();
        Ok(list(&with_defaults, "packages")
            .filter(|package| members.contains(text(package, "id")))
            .map(|package| {
                let name = text(package, "name").to_owned();
                (name, features_of(text(package, "id")))
            })
            .collect())
    }

    fn from_metadata(root: PathBuf, metadata: &Value) -> Self {
        let member_ids: Vec<&str> = list(metadata, "workspace_members")
            .filter_map(Value::as_str)
            .collect();
        let packages: BTreeMap<&str, &Value> = list(metadata, "packages")
            .map(|package| (text(package, "id"), package))
            .collect();
        let mut members: Vec<Member> = member_ids
            .iter()
            .filter_map(|id| packages.get(id))
            .map(|package| member(&root, package))
            .collect();
        members.sort_by(|left, right| left.name.cmp(&right.name));
        let resolved = list(metadata.get("resolve").unwrap_or(&Value::Null), "nodes")
            .map(|node| {
                let id = text(node, "id");
                let package = packages.get(id).copied().unwrap_or(&Value::Null);
                Resolved {
                    id: id.to_owned(),
                    name: text(package, "name").to_owned(),
                    version: text(package, "version").to_owned(),
                    needs: needs(node, package, &packages),
                }
            })
            .collect();
        let target = PathBuf::from(text(metadata, "target_directory"));
        Self {
            root,
            target,
            members,
            resolved,
        }
    }

    /// Finds the member in a folder.
    pub fn member(&self, folder: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.folder == folder)
    }

    /// Lists the paths of the repository's files from its root, sorted: those that git follows, and
    /// new ones that it doesn't ignore.
    ///
    /// # Errors
    ///
    /// A message if git can't be run or fails.
    pub fn files(&self) -> Result<Vec<String>, String> {
        let output = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(&self.root)
            .output()
            .map_err(|error| format!("git ls-files: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let listed = String::from_utf8_lossy(&output.stdout);
        let mut files: Vec<String> = listed
            .split('\0')
            .filter(|path| !path.is_empty() && self.root.join(path).is_file())
            .map(str::to_owned)
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Reads a file of the repository.
    ///
    /// # Errors
    ///
    /// A message that names the file.
    pub fn read(&self, path: &str) -> Result<String, String> {
        fs::read_to_string(self.root.join(path)).map_err(|error| format!("{path}: {error}"))
    }

    /// Reads all files of the repository whose name ends with one of `endings` and that are text.
    ///
    /// # Errors
    ///
    /// As [`Self::files`].
    pub fn texts(&self, endings: &[&str]) -> Result<Vec<(String, String)>, String> {
        let files = self.files()?;
        Ok(files
            .into_iter()
            .filter(|path| endings.iter().any(|ending| path.ends_with(ending)))
            .filter_map(|path| self.read(&path).ok().map(|text| (path, text)))
            .collect())
    }
}

fn metadata(root: &Path, args: &[&str]) -> Result<Value, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1"])
        .args(args)
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn root() -> Result<PathBuf, String> {
    // cargo sets this for `cargo run` and `cargo test`; the value at build time would be wrong after
    // the repository has moved.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").ok_or("run this as `cargo xtask`")?;
    Path::new(&manifest)
        .parent()
        .map(Path::to_path_buf)
        .ok_or_else(|| "xtask has no parent folder".to_owned())
}

fn member(root: &Path, package: &Value) -> Member {
    let manifest = Path::new(text(package, "manifest_path"));
    let folder = manifest.parent().unwrap_or(manifest);
    let path = folder
        .strip_prefix(root)
        .unwrap_or(folder)
        .to_string_lossy()
        .replace('\\', "/");
    let features = package
        .get("features")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(feature, turns_on)| {
            let turns_on = turns_on.as_array().into_iter().flatten();
            let names = turns_on.filter_map(Value::as_str).map(str::to_owned);
            (feature.clone(), names.collect())
        })
        .collect();
    let dependencies = list(package, "dependencies")
        .map(|dependency| Dependency {
            name: text(dependency, "name").to_owned(),
            kind: match text(dependency, "kind") {
                "dev" => Kind::Dev,
                "build" => Kind::Build,
                _ => Kind::Normal,
            },
        })
        .collect();
    Member {
        name: text(package, "name").to_owned(),
        folder: path.strip_prefix("crates/").unwrap_or(&path).to_owned(),
        path,
        features,
        dependencies,
    }
}

/// Lists what a package needs outside its tests.
fn needs(node: &Value, package: &Value, packages: &BTreeMap<&str, &Value>) -> Vec<String> {
    list(node, "deps")
        .filter(|dependency| list(dependency, "dep_kinds").any(|kind| text(kind, "kind") != "dev"))
        .map(|dependency| text(dependency, "pkg"))
        .filter(|id| {
            let name = packages.get(id).map_or("", |needed| text(needed, "name"));
            is_built(node, package, name)
        })
        .map(str::to_owned)
        .collect()
}

/// Says whether a dependency is built: cargo also resolves an optional one of which nothing but a weak feature
/// (`name?/feature`) speaks, and that one turns nothing on.
fn is_built(node: &Value, package: &Value, name: &str) -> bool {
    let mut declared = list(package, "dependencies")
        .filter(|dependency| text(dependency, "name") == name)
        .peekable();
    if declared.peek().is_none() {
        return true;
    }
    declared.any(|dependency| {
        let is_optional = dependency.get("optional").and_then(Value::as_bool) == Some(true);
        let key = match text(dependency, "rename") {
            "" => name,
            renamed => renamed,
        };
        !is_optional || is_turned_on(node, package, key)
    })
}

fn is_turned_on(node: &Value, package: &Value, key: &str) -> bool {
    let (named, with_feature) = (format!("dep:{key}"), format!("{key}/"));
    list(node, "features")
        .filter_map(Value::as_str)
        .any(|feature| {
            let features = package.get("features").unwrap_or(&Value::Null);
            list(features, feature)
                .filter_map(Value::as_str)
                .any(|value| value == named || value.starts_with(&with_feature))
        })
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_has_core_and_xtask() {
        let workspace = Workspace::load().unwrap();
        assert_eq!(workspace.member("core").unwrap().name, "hedgerow-core");
        let xtask = workspace.member("xtask").unwrap();
        assert_eq!(xtask.path, "xtask");
        let serde_json = Dependency {
            name: "serde_json".to_owned(),
            kind: Kind::Normal,
        };
        assert!(xtask.dependencies.contains(&serde_json));
        let files = workspace.files().unwrap();
        assert!(files.contains(&"crates/core/src/lib.rs".to_owned()));
    }

    /// The endpoint asks for the exchange's `alloc`, and nothing in the workspace for the soft backend's
    /// `default` to be off.
    #[test]
    fn members_turn_on_each_others_features() {
        let turned_on = Workspace::load().unwrap().turned_on().unwrap();
        let of = |name: &str| {
            turned_on[name]
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("hedgerow-exchange"), ["alloc"]);
        assert!(of("hedgerow-core").is_empty());
        assert!(!of("hedgerow-crypto-soft").contains(&"default"));
    }

    #[test]
    fn dev_dependencies_are_no_needs() {
        let node = serde_json::json!({ "deps": [
            { "pkg": "a", "dep_kinds": [{ "kind": null }] },
            { "pkg": "b", "dep_kinds": [{ "kind": "dev" }] },
            { "pkg": "c", "dep_kinds": [{ "kind": "dev" }, { "kind": "build" }] },
        ]});
        let nothing_said = BTreeMap::new();
        assert_eq!(needs(&node, &Value::Null, &nothing_said), ["a", "c"]);
    }

    /// As of `rcgen`, whose feature `ring` has `x509-parser?/verify`.
    #[test]
    fn optional_dependencies_that_nothing_turns_on_are_no_needs() {
        let package = serde_json::json!({
            "features": {
                "ring": ["dep:ring", "x509-parser?/verify", "renamed/std", "named"],
                "named": ["dep:named"],
                "x509-parser": ["dep:x509-parser"],
            },
            "dependencies": [
                { "name": "plain", "optional": false },
                { "name": "ring", "optional": true },
                { "name": "named", "optional": true },
                { "name": "other", "rename": "renamed", "optional": true },
                { "name": "x509-parser", "optional": true },
            ],
        });
        let names = ["plain", "ring", "named", "other", "x509-parser"];
        let described = names.map(|name| serde_json::json!({ "name": name }));
        let packages = names.into_iter().zip(&described).collect();
        let needed = |features: &[&str]| {
            let deps = names
                .map(|name| serde_json::json!({ "pkg": name, "dep_kinds": [{ "kind": null }] }));
            let node = serde_json::json!({ "features": features, "deps": deps });
            needs(&node, &package, &packages)
        };
        assert_eq!(
            needed(&["ring", "named"]),
            ["plain", "ring", "named", "other"]
        );
        assert_eq!(needed(&["x509-parser"]), ["plain", "x509-parser"]);
        assert_eq!(needed(&[]), ["plain"]);
    }
}
