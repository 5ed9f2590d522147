//! The interfaces under `wit/`: vendored files are as they came, and everything resolves and is described.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use martello_vocab::Digest;
use wit_parser::{Docs, Resolve, TypeDef, TypeDefKind, UnresolvedPackageGroup, WorldItem};

use crate::architecture::metadata;

const OURS: &str = "martello:pipeline@0.1.0";

/// Packages that the host's own crates carry, with the folder inside the crate.
const LINKED: &[(&str, &str, &[&str])] = &[
    (
        "wasmtime-wasi",
        "src/p2/wit/deps",
        &["wasi-cli", "wasi-io", "wasi-clocks", "wasi-random", "wasi-sockets", "wasi-filesystem"],
    ),
    ("wasmtime-wasi-http", "wit/deps", &["wasi-http"]),
    ("wasmtime-wasi-config", "wit/deps/config", &["wasi-config"]),
];

fn wit() -> PathBuf {
    martello_tests::root().join("wit")
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Every file below a folder, by its path from there.
fn files(of: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(of).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

/// All packages under `wit/`, resolved together, and what they are called.
fn resolved() -> (Resolve, BTreeSet<String>) {
    let parse = |folder: &PathBuf| UnresolvedPackageGroup::parse_dir(folder).unwrap();
    let vendored: Vec<_> = folders(&wit().join("deps")).iter().map(parse).collect();
    let ours = parse(&wit().join("pipeline"));
    let names = vendored.iter().chain([&ours]).map(|group| group.main.name.to_string()).collect();
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    resolve.push_groups(ours, vendored).unwrap();
    (resolve, names)
}

#[test]
fn vendored_files_are_those_of_the_lock_and_no_others() {
    let lock = std::fs::read_to_string(wit().join("deps.lock")).unwrap();
    let locked: BTreeMap<String, String> = lock
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once("  deps/").unwrap())
        .map(|(digest, path)| (path.to_owned(), format!("sha256:{digest}")))
        .collect();
    let found: BTreeMap<String, String> = files(&wit().join("deps"))
        .into_iter()
        .map(|(path, bytes)| (path, Digest::of(&bytes).to_string()))
        .collect();
    assert_eq!(found, locked);
}

#[test]
fn packages_that_the_host_links_are_those_that_its_crates_carry() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    for (name, inside, folders) in LINKED {
        let package = packages.iter().find(|package| package["name"] == *name).unwrap();
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).with_file_name(inside);
        for ours in *folders {
            for (file, bytes) in files(&wit().join("deps").join(ours)) {
                let theirs = std::fs::read(folder.join(&file)).unwrap_or_default();
                assert!(bytes == theirs, "{ours}/{file} is not the one in {name}: see wit/README.md");
            }
        }
    }
}

#[test]
fn every_package_resolves_and_stands_in_the_readme() {
    let (resolve, names) = resolved();
    let readme = std::fs::read_to_string(wit().join("README.md")).unwrap();
    for name in &names {
        assert!(resolve.packages.iter().any(|(_, package)| package.name.to_string() == *name), "{name}");
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in wit/README.md");
    }
    assert!(names.contains(OURS) && names.contains("wasi:otel@0.2.0-rc.2"), "{names:?}");
}

#[test]
fn every_item_of_our_package_says_what_it_is() {
    let (resolve, _) = resolved();
    let package = resolve.packages.iter().find(|(_, package)| package.name.to_string() == OURS).unwrap().1;
    let mut items: Vec<(String, &Docs)> = vec![(OURS.to_owned(), &package.docs)];
    for (name, id) in &package.worlds {
        let world = &resolve.worlds[*id];
        items.push((name.clone(), &world.docs));
        for item in world.imports.values().chain(world.exports.values()) {
            if let WorldItem::Function(function) = item {
                items.push((format!("{name}.{}", function.name), &function.docs));
            }
        }
    }
    for (name, id) in &package.interfaces {
        let interface = &resolve.interfaces[*id];
        items.push((name.clone(), &interface.docs));
        for (function, it) in &interface.functions {
            items.push((format!("{name}.{function}"), &it.docs));
        }
        for (type_name, id) in &interface.types {
            items.extend(of_type(&format!("{name}.{type_name}"), &resolve.types[*id]));
        }
    }
    assert!(items.len() > 50, "only {} items were looked at", items.len());
    let silent: Vec<&str> =
        items.iter().filter(|(_, docs)| docs.is_empty()).map(|(name, _)| name.as_str()).collect();
    assert!(silent.is_empty(), "without a description: {silent:#?}");
}

/// A type and its parts. A type that is used from another interface is described there.
fn of_type<'a>(name: &str, it: &'a TypeDef) -> Vec<(String, &'a Docs)> {
    let part = |part: &str| format!("{name}.{part}");
    let mut items = match &it.kind {
        TypeDefKind::Type(wit_parser::Type::Id(_)) => return Vec::new(),
        TypeDefKind::Record(record) => record.fields.iter().map(|it| (part(&it.name), &it.docs)).collect(),
        TypeDefKind::Variant(variant) => variant.cases.iter().map(|it| (part(&it.name), &it.docs)).collect(),
        TypeDefKind::Enum(it) => it.cases.iter().map(|it| (part(&it.name), &it.docs)).collect(),
        TypeDefKind::Flags(flags) => flags.flags.iter().map(|it| (part(&it.name), &it.docs)).collect(),
        _ => Vec::new(),
    };
    items.push((name.to_owned(), &it.docs));
    items
}
