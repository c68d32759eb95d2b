//! A disk that is full: one line says so and names the file, nothing is left over, and what was there before can be gone on with.
//!
//! Each case is a small file system in memory, in a namespace of its own, where the machine allows that.

mod common;

use common::Place;
use std::process::Command;

/// Mounts a disk of $KIB kilobytes, runs the program on it with $FIRST, makes room and runs it with $AGAIN. What was said and what is there
/// is left in $SAID.
const SCRIPT: &str = r#"
mount -t tmpfs -o size="$KIB"k tmpfs "$DISK" || exit 125
cd "$DISK"
"$PROGRAM" $FIRST >/dev/null 2>"$SAID/first"
echo $? >"$SAID/code"
find . -type f | sort >"$SAID/left"
mount -o remount,size=256m "$DISK" || exit 125
"$PROGRAM" $AGAIN >/dev/null 2>&1
echo $? >"$SAID/code-again"
find . -type f | sort >"$SAID/left-again"
cp -r . "$SAID/disk"
"#;

/// What happened on one disk.
#[derive(Debug)]
struct Outcome {
    code: String,
    said: Vec<String>,
    left: Vec<String>,
    code_again: String,
    left_again: Vec<String>,
}

/// Whether disks of a test's own can be made here; says why if not.
fn namespaces() -> bool {
    let script = "mount -t tmpfs -o size=16k tmpfs /mnt || mount -t tmpfs -o size=16k tmpfs /tmp";
    let made = Command::new("unshare").args(["-rm", "sh", "-c", script]).output();
    let possible = made.as_ref().is_ok_and(|output| output.status.success());
    if !possible {
        println!("skipped: this machine lets no test mount a file system of its own (unshare -rm): {made:?}");
    }
    possible
}

/// Runs `first` on a disk of `kib` kilobytes, and `again` when it has room. Files of `place` are in `..`.
fn on_a_disk(place: &Place, kib: u64, first: &str, again: &str) -> Outcome {
    let (disk, said) = (place.at("disk"), place.at("said"));
    for folder in [&disk, &said] {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir(folder).expect("created");
    }
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", SCRIPT]);
    command.env("KIB", kib.to_string()).env("DISK", &disk).env("SAID", &said);
    command.env("PROGRAM", env!("CARGO_BIN_EXE_tallsbi")).env("FIRST", format!("-q {first}")).env("AGAIN", again);
    command.env("HDF5_USE_FILE_LOCKING", "FALSE").env("SOURCE_DATE_EPOCH", "0").env("RAYON_NUM_THREADS", "2");
    let status = command.status().expect("started");
    assert!(status.success(), "{status}");
    let lines = |name: &str| -> Vec<String> {
        std::fs::read_to_string(said.join(name)).expect("said").lines().map(str::to_owned).collect()
    };
    Outcome {
        code: lines("code").concat(),
        said: lines("first"),
        left: lines("left"),
        code_again: lines("code-again").concat(),
        left_again: lines("left-again"),
    }
}

/// A command, how it is gone on with, its output, and what may stay of it where the disk is full.
struct Case {
    first: &'static str,
    again: &'static str,
    output: &'static str,
    kept: &'static [&'static str],
}

/// On disks of all these sizes, KiB, the last of which is large enough.
fn check(place: &Place, case: &Case, sizes: &[u64]) {
    let Case { first, again, output, kept } = case;
    let mut full = 0;
    for &kib in sizes {
        let outcome = on_a_disk(place, kib, first, again);
        let written = outcome.code == "0";
        if !written {
            full += 1;
            assert_eq!(outcome.code, "1", "{kib} KiB: {outcome:?}");
            let [line] = &outcome.said[..] else { panic!("{kib} KiB: {outcome:?}") };
            let named = line.starts_with("error: ") && line.contains(output) && line.contains("the disk is full");
            assert!(named && line.contains("make room"), "{kib} KiB: {line}");
            let own = |file: &str| kept.iter().any(|kept| file.starts_with(kept)) && !file.contains(".tmp");
            let stray = outcome.left.iter().find(|file| !own(file));
            assert!(stray.is_none(), "{kib} KiB: {stray:?} is left over: {outcome:?}");
            assert_eq!(outcome.code_again, "0", "{kib} KiB: {outcome:?}");
        }
        let partial =
            |file: &&String| file.contains(".tmp") || file.contains(".partial") || file.contains(".checkpoint");
        assert!(outcome.left_again.iter().find(partial).is_none(), "{kib} KiB: {outcome:?}");
    }
    assert!(full + 2 >= sizes.len(), "{full} of the disks were full");
}

/// The last disk is large enough; what the others hold in the end is the same.
fn same(place: &Place, case: &Case, kib: u64, digest: impl Fn(&str) -> String) {
    let there = format!("said/disk/{}", case.output);
    on_a_disk(place, 200_000, case.first, "tasks");
    let whole = digest(&there);
    on_a_disk(place, kib, case.first, case.again);
    assert_eq!(digest(&there), whole, "{kib} KiB");
}

#[test]
fn simulate() {
    if !namespaces() {
        return;
    }
    let place = Place::new();
    let case = Case {
        first: "simulate gaussian_linear -n 20000 -o t.h5",
        again: "simulate gaussian_linear -n 20000 -o t.h5 --resume",
        output: "t.h5",
        kept: &["./t.h5.partial"],
    };
    check(&place, &case, &[4, 64, 700, 1500, 2500, 200_000]);
    same(&place, &case, 1500, |file| place.digest(file));
}

#[test]
fn train() {
    if !namespaces() {
        return;
    }
    let place = Place::new();
    place.run("simulate gaussian_toy -n 600 -o t.h5");
    place.write("small.toml", "[likelihood]\nhidden = [64, 64]\nmembers = 1\n[likelihood.optimizer]\nepochs = 3\n");
    let case = Case {
        first: "train ../t.h5 -o m.safetensors --config ../small.toml",
        again: "train ../t.h5 -o m.safetensors --config ../small.toml --resume",
        output: "m.safetensors",
        kept: &["./m.safetensors.checkpoint"],
    };
    check(&place, &case, &[4, 8, 200_000]);
}

/// Interrupts a training on a disk with room, on one that is full, and on one with room again; digests of its checkpoint after each.
const CHECKPOINTS: &str = r#"
mount -t tmpfs -o size=64m tmpfs "$DISK" || exit 125
cd "$DISK"
interrupted() {
    "$PROGRAM" $FIRST $1 >/dev/null 2>"$SAID/error" & child=$!
    while [ ! -e m.safetensors.lock ] && kill -0 $child; do sleep 0.1; done
    sleep 4
    kill -INT $child
    wait $child
    echo $?
    tail -n 1 "$SAID/error"
    sha256sum m.safetensors.checkpoint
    ls -A
}
interrupted "" >"$SAID/first"
head -c 100000000 /dev/zero >room 2>/dev/null
interrupted --resume >"$SAID/full"
rm room
interrupted --resume >"$SAID/again"
"#;

/// A checkpoint that cannot be replaced since the disk is full stays as it was, and is gone on from later.
#[test]
fn checkpoints_survive() {
    if !namespaces() {
        return;
    }
    let place = Place::new();
    place.run("simulate slcp -n 20000 -o t.h5");
    let (disk, said) = (place.at("disk"), place.at("said"));
    [&disk, &said].into_iter().for_each(|folder| std::fs::create_dir(folder).expect("created"));
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", CHECKPOINTS]).env("DISK", &disk).env("SAID", &said);
    command.env("PROGRAM", env!("CARGO_BIN_EXE_tallsbi")).env("HDF5_USE_FILE_LOCKING", "FALSE");
    command.env("FIRST", "train ../t.h5 -o m.safetensors --epochs 100000 --patience 100000");
    assert!(command.status().expect("started").success());
    let lines = |name: &str| -> Vec<String> {
        std::fs::read_to_string(said.join(name)).expect("said").lines().map(str::to_owned).collect()
    };
    let (first, full, again) = (lines("first"), lines("full"), lines("again"));
    assert_eq!((first[0].as_str(), again[0].as_str()), ("130", "130"), "{first:?} {full:?} {again:?}");
    let said = &full[1];
    assert!(
        full[0] == "1" && said.contains("m.safetensors.checkpoint") && said.contains("the disk is full"),
        "{full:?}"
    );
    assert_eq!(full[2], first[2], "the checkpoint is another");
    assert_ne!(again[2], first[2], "nothing was done in four seconds");
    assert_eq!(full[3..], ["m.safetensors.checkpoint", "room"], "{full:?}");
}

#[test]
fn sample() {
    if !namespaces() {
        return;
    }
    let place = Place::new();
    place.run("simulate gaussian_toy -n 600 -o t.h5");
    place.write("small.toml", "[likelihood]\nhidden = [16]\nmembers = 1\n[likelihood.optimizer]\nepochs = 2\n");
    place.run("train t.h5 -o m.safetensors --config small.toml");
    place.run("observe gaussian_toy --from-prior -n 3 -o obs.h5");
    let case = Case {
        first: "sample ../m.safetensors --observations ../obs.h5 --samples 4000 -o p.nc",
        again: "sample ../m.safetensors --observations ../obs.h5 --samples 4000 -o p.nc",
        output: "p.nc",
        kept: &[],
    };
    check(&place, &case, &[4, 8, 48, 100, 250, 200_000]);
    same(&place, &case, 100, |file| place.digest(file));
    // What an output replaces stays until the new one is whole.
    let said = on_a_disk(&place, 300, "sample ../m.safetensors --observations ../obs.h5 -o p.nc", "tasks");
    assert_eq!(said.code, "0", "{said:?}");
    let script = "sample ../m.safetensors --observations ../obs.h5 --samples 20 -o p.nc";
    assert_eq!(on_a_disk(&place, 300, script, case.first).code_again, "1", "it is not replaced without being asked");
}

const STUDY: &str = r#"
title = "Two numbers from a few"
n_obs = [1, 4]
simulations = 600
posterior_samples = 2000
[local_c2st]
pairs = 0
[coverage]
pairs = 0
[predictive]
draws = 0
[[runs]]
name = "toy"
task = "gaussian_toy"
theta_true = [0.5, -0.5]
[runs.options]
dimension = 2
[train.likelihood]
hidden = [16]
members = 1
[train.likelihood.optimizer]
epochs = 2
"#;

/// Steps that were done before the disk was full are not done again, and what comes of all of them is the same.
#[test]
fn study() {
    if !namespaces() {
        return;
    }
    let place = Place::new();
    place.write("s.toml", STUDY);
    let case = Case {
        first: "study ../s.toml -o out",
        again: "study ../s.toml -o out --resume",
        output: "out",
        kept: &["./out/"],
    };
    let marginals = || common::results(&place.at("said/disk/out"))["runs"][0]["posteriors"][1]["marginals"].clone();
    on_a_disk(&place, 200_000, case.first, "tasks");
    let whole = marginals();
    for kib in [20, 60, 100, 150, 250, 400, 700] {
        check(&place, &case, &[kib]);
        assert_eq!(marginals(), whole, "{kib} KiB");
    }
}
