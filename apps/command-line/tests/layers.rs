//! The structure of the code: no circle among the files of the main job and its front ends, and arrows between crates go one way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Folders of crates, upper layers first: each may use those below its own row only.
const LAYERS: [&[&str]; 6] = [
    &["python"],
    &["apps/command-line"],
    &["apps/studies"],
    &["tallsbi"],
    &["simulators", "inference", "diagnostics", "files", "recordings"],
    &["network", "data", "ode"],
];

/// Crates whose files are held against circles.
const WITHOUT_CIRCLES: [&str; 3] = ["apps/command-line", "apps/studies", "tallsbi"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The code of a crate's files by module path ("" for the root), without tests and comments.
fn modules(folder: &Path) -> BTreeMap<Vec<String>, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        if next.is_dir() {
            waiting.extend(next.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if next.extension().is_some_and(|extension| extension == "rs") {
            let relative = next.strip_prefix(folder).expect("inside").with_extension("");
            let mut path: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if path.last().is_some_and(|last| last == "mod" || last == "lib") {
                path.pop();
            }
            if path.last().is_some_and(|last| last == "tests") {
                continue;
            }
            let text = std::fs::read_to_string(&next).expect("UTF-8");
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
            found.insert(path, lines.collect::<Vec<_>>().join("\n"));
        }
    }
    found
}

/// The paths of a use tree such as `a::{b, c::{d, e}}`.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((prefix, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()];
    };
    let inner = inner.trim_end().trim_end_matches('}');
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for c in inner.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    parts.push(if depth > 0 { part + &"}".repeat(depth as usize) } else { part });
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(&format!("{}{}", prefix.trim(), part.trim()))).collect()
}

/// Paths used by a file: (whether it passes them on, path).
fn uses(code: &str) -> Vec<(bool, Vec<String>)> {
    let statements = code.split(';').filter_map(|statement| {
        let at = statement.rfind("use ").filter(|&at| at == 0 || statement[..at].ends_with(['\n', ' ', ')']))?;
        let public =
            statement[..at].trim_end().rsplit('\n').next().is_some_and(|line| line.trim_start().starts_with("pub"));
        Some((public, statement[at + 4..].to_owned()))
    });
    statements.flat_map(|(public, tree)| expand(&tree).into_iter().map(move |path| (public, path))).collect()
}

/// A path of a use in module `here` from the crate's root; `None` where it is another crate's.
fn absolute(here: &[String], path: &[String], known: &BTreeMap<Vec<String>, String>) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([here, &path[1..]].concat()),
        "super" => Some([&here[..here.len().checked_sub(supers)?], &path[supers..]].concat()),
        _ => known.contains_key(&[here, &path[..1]].concat()).then(|| [here, path].concat()),
    }
}

/// Which file each file of a crate takes something from; names that a module passes on count as their origin's.
fn arrows(folder: &Path) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let known = modules(folder);
    let mut origin = BTreeMap::new();
    for (here, code) in &known {
        for (_, path) in uses(code).into_iter().filter(|(public, _)| *public) {
            if let (Some(target), Some(name)) = (absolute(here, &path, &known), path.last()) {
                origin.insert([here.as_slice(), std::slice::from_ref(name)].concat(), target);
            }
        }
    }
    let file = |path: &[String]| {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let end = (0..=path.len()).rev().find(|&end| known.contains_key(&path[..end]))?;
            match path.get(..=end).and_then(|name| origin.get(name)) {
                Some(target) => path = [target.as_slice(), &path[end + 1..]].concat(),
                None => return Some(path[..end].to_vec()),
            }
        }
        None
    };
    let mut arrows: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (here, code) in &known {
        for (_, path) in uses(code).into_iter().filter(|(public, _)| !public) {
            let target = absolute(here, &path, &known).and_then(|path| file(&path));
            arrows.entry(here.clone()).or_default().extend(target.filter(|target| target != here));
        }
    }
    arrows
}

/// A circle, if there is one.
fn circle(arrows: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Option<Vec<String>> {
    let mut left: BTreeMap<_, BTreeSet<_>> = arrows.clone();
    // What takes from nothing that is left is on no circle.
    loop {
        let free: Vec<_> = left
            .iter()
            .filter(|(_, to)| to.iter().all(|to| !left.contains_key(to)))
            .map(|(at, _)| at.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        free.iter().for_each(|at| drop(left.remove(at)));
    }
    let mut at = left.keys().next()?.clone();
    let mut seen: Vec<Vec<String>> = Vec::new();
    while !seen.contains(&at) {
        seen.push(at.clone());
        at = left[&at].iter().find(|to| left.contains_key(*to))?.clone();
    }
    Some(seen.iter().skip_while(|step| **step != at).map(|step| step.join("::")).collect())
}

#[test]
fn files_take_from_each_other_in_one_direction() {
    for name in WITHOUT_CIRCLES {
        let found = circle(&arrows(&root().join(name).join("src")));
        assert!(found.is_none(), "{name}: {}", found.unwrap_or_default().join(" -> "));
    }
}

#[test]
fn circles_are_found() {
    let step = |from: &str, to: &str| (vec![from.to_owned()], BTreeSet::from([vec![to.to_owned()]]));
    assert_eq!(circle(&BTreeMap::from([step("a", "b"), step("b", "c")])), None);
    let found = circle(&BTreeMap::from([step("a", "b"), step("b", "c"), step("c", "b"), step("d", "a")]));
    assert_eq!(found.map(|circle| circle.len()), Some(2));
    let paths = expand("a::{b, c::{d, e as f}}");
    assert_eq!(paths.iter().map(|path| path.join("::")).collect::<Vec<_>>(), ["a::b", "a::c::d", "a::c::e"]);
}

/// Options of a command line, such as `--force`, in the code's strings.
fn options(code: &str) -> Vec<&str> {
    let strings = code.split('"').skip(1).step_by(2);
    strings
        .flat_map(str::split_whitespace)
        .filter(|word| {
            let name = word.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '-').strip_prefix("--");
            name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        })
        .collect()
}

/// Errors of libraries carry data; what to do about them on a command line, the command line says.
#[test]
fn libraries_name_no_options() {
    assert_eq!(options(r#"f("give another name, or (--force)", x--y, "a -- b")"#), ["(--force)"]);
    for name in LAYERS[3..].iter().copied().flatten() {
        for (module, code) in modules(&root().join(name).join("src")) {
            let found = options(&code);
            assert!(found.is_empty(), "{name}, {}: {found:?}", module.join("::"));
        }
    }
}

#[test]
fn crates_use_those_below_only() {
    let package = |folder: &str| {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest");
        let (head, rest) = manifest.split_once("[dependencies]").expect("dependencies");
        let name = head.lines().find_map(|line| line.strip_prefix("name = \"")).expect("a name");
        let own = rest.split("\n[").next().unwrap_or_default();
        let used =
            own.lines().filter_map(|line| line.split(['.', ' ']).next()).filter(|name| name.starts_with("tallsbi"));
        (name.trim_end_matches('"').to_owned(), used.map(str::to_owned).collect::<Vec<_>>())
    };
    let layers: Vec<Vec<_>> = LAYERS.iter().map(|layer| layer.iter().map(|folder| package(folder)).collect()).collect();
    for (depth, layer) in layers.iter().enumerate() {
        let below: Vec<&str> = layers[depth + 1..].iter().flatten().map(|(name, _)| name.as_str()).collect();
        for (name, used) in layer {
            let wrong = used.iter().find(|used| !below.contains(&used.as_str()));
            assert!(wrong.is_none(), "{name} uses {wrong:?}, which is not below it");
        }
    }
}
