//! Builds the library, and has the command carry it: a release build for each kind of program that
//! this machine's compilers know, a debug build for its own kind.
//!
//! * `REUSEADDR_LIBRARIES` names libraries that were built before, with colons between them: these
//!   are embedded, and nothing is built. `scripts/build/release` embeds the files that it ships.
//! * The feature `external-library` embeds none: the command then needs one that is installed, as
//!   distributions have it.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::error::Error;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// When the source was last changed, in seconds since 1970
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
const DATE: &str = "SOURCE_DATE_EPOCH";
const LIBRARIES: &str = "REUSEADDR_LIBRARIES";
const NAME: &str = "libreuse.so";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={LIBRARIES}");
    println!("cargo::rerun-if-env-changed={DATE}");
    println!("cargo::rustc-env=REUSEADDR_DATE={}", date());
    if let Err(error) = embed() {
        println!("cargo::error={}", error.to_string().replace('\n', " "));
    }
}

/// The date of the manual pages: that of the source, where a release is made, and otherwise today.
fn date() -> String {
    let given = env::var(DATE).ok().and_then(|seconds| seconds.parse().ok());
    let seconds = given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs())
    });
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

/// The date so many days after 1970-01-01, by the Gregorian calendar: years begin in March here, so
/// that a leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    const FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    const OF_400_YEARS: u64 = 146_097;
    let days = days + FROM_MARCH_OF_YEAR_0;
    let (centuries, day) = (days / OF_400_YEARS, days % OF_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = year + 400 * centuries;
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
}

fn embed() -> Result<(), Box<dyn Error>> {
    let libraries = match env::var(LIBRARIES) {
        _ if env::var_os("CARGO_FEATURE_EXTERNAL_LIBRARY").is_some() => Vec::new(),
        Ok(paths) => named(&paths),
        Err(_) => build()?,
    };
    let mut hasher = DefaultHasher::new();
    let mut embedded = Vec::new();
    let mut kinds = BTreeSet::new();
    for path in libraries {
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if !is_of_this_version(&bytes) {
            return Err(format!(
                "{} is no {NAME} of version {}",
                path.display(),
                env!("CARGO_PKG_VERSION")
            )
            .into());
        }
        // Class and processor (elf(5)).
        if !kinds.insert([&bytes[4..5], &bytes[18..20]].concat()) {
            return Err(format!("{} is not the first for its kind", path.display()).into());
        }
        bytes.hash(&mut hasher);
        let path = path.canonicalize()?;
        // What was built here goes where this folder goes, and the text beside it.
        let path = path
            .strip_prefix(out().canonicalize()?)
            .unwrap_or(&path)
            .to_str()
            .ok_or("Rust wants its sources' paths to be UTF-8")?;
        embedded.push(format!("    include_bytes!({path:?}),"));
    }
    let text = format!(
        "/// The library for each kind of program that the command was built with.\n\
         const LIBRARIES: &[&[u8]] = &[\n{}\n];\n\
         /// What tells them from those of another build.\n\
         const BUILD: &str = \"{:016x}\";\n",
        embedded.join("\n"),
        hasher.finish()
    );
    fs::write(out().join("embedded.rs"), text)?;
    Ok(())
}

/// Libraries that were built before.
fn named(paths: &str) -> Vec<PathBuf> {
    let paths: Vec<PathBuf> = paths.split(':').map(PathBuf::from).collect();
    for path in &paths {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    paths
}

/// Whether the file has the note that src/copies.rs of the library puts there.
fn is_of_this_version(library: &[u8]) -> bool {
    let note = [
        b"libreuse\0\0\0\0",
        env!("CARGO_PKG_VERSION").as_bytes(),
        b"\0",
    ]
    .concat();
    library.starts_with(b"\x7fELF") && library.windows(note.len()).any(|window| window == note)
}

/// Builds the library that ships, from its sources.
fn build() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let sources = sources()?;
    let architecture = env::var("CARGO_CFG_TARGET_ARCH")?;
    // Whatever the command itself is linked with, programs have a dynamic linker.
    let mut targets = vec![format!("{architecture}-unknown-linux-gnu")];
    // The tests are the same where rustc has the second target and where it has not.
    let ships = env::var("PROFILE")? == "release";
    if architecture == "x86_64" && ships && serves_32_bit_programs() {
        targets.push(NARROW.into());
    }
    targets
        .iter()
        .map(|target| build_for(target, &sources))
        .collect()
}

/// Where the library's sources are, and whether its `Cargo.lock` is for these packages alone.
struct Sources {
    manifest: PathBuf,
    locked: bool,
}

/// Finds the library's sources. In the project's tree they are beside this package, and `shipped`
/// holds links to them; in a package made by cargo `shipped` holds the files themselves.
fn sources() -> Result<Sources, Box<dyn Error>> {
    // Asked now: a checkout may have been moved since this was compiled.
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let shipped = package.join("shipped");
    if !shipped.join("src").is_symlink() {
        let unpacked = out().join("source");
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked)?;
        }
        unpack(&shipped, &unpacked)?;
        println!("cargo::rerun-if-changed=shipped");
        return Ok(Sources {
            manifest: unpacked.join("Cargo.toml"),
            locked: false,
        });
    }
    for source in [
        "Cargo.lock",
        "Cargo.toml",
        "build.rs",
        "src",
        "rules/Cargo.toml",
        "rules/src",
    ] {
        println!("cargo::rerun-if-changed=../{source}");
    }
    Ok(Sources {
        manifest: package.join("../Cargo.toml"),
        locked: true,
    })
}

/// Copies the library's sources out of a package. A folder with a `Cargo.toml` would be a package
/// of its own and no part of this one, so the manifests travel under another name.
fn unpack(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().ok_or("a name that is not UTF-8")?;
        let place = to.join(name.strip_suffix(".shipped").unwrap_or(name));
        if entry.file_type()?.is_dir() {
            unpack(&entry.path(), &place)?;
        } else if name == "Cargo.toml.shipped" {
            fs::write(place, for_users(&fs::read_to_string(entry.path())?))?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

/// A manifest without what only developers need: the tests, and the packages that they and the
/// benchmarks ask for.
fn for_users(manifest: &str) -> String {
    let mut kept = String::new();
    let mut is_kept = true;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_kept = !["[dev-dependencies]", "[[bench]]"].contains(&line);
        }
        if is_kept {
            kept += &line.replace("\"rules\", \"tests\"", "\"rules\"");
            kept.push('\n');
        }
    }
    kept
}

const NARROW: &str = "i686-unknown-linux-gnu";

/// Whether the library can be built for 32-bit programs: rustc has `core` for them, and the C
/// compiler links them.
fn serves_32_bit_programs() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let has_core = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", NARROW])
        .output()
        .is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir());
    let links = || {
        Command::new("cc")
            .args(["-m32", "-shared", "-x", "c", "/dev/null", "-o"])
            .arg(out().join("links-32-bit.so"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    has_core && links()
}

/// Builds it for one kind of program, with none of the flags that are meant for the command.
fn build_for(target: &str, sources: &Sources) -> Result<PathBuf, Box<dyn Error>> {
    let folder = out().join("library");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--release", "--package", "libreuse"])
        .args(["--target", target])
        .arg("--manifest-path")
        .arg(&sources.manifest)
        .arg("--target-dir")
        .arg(&folder);
    // A lock file that names the packages of the tests as well has to lose them first; the versions
    // that it names stay.
    if sources.locked {
        cargo.arg("--locked");
    }
    for (name, _) in env::vars_os() {
        if is_of_the_outer_build(&name.to_string_lossy()) {
            cargo.env_remove(name);
        }
    }
    // Where this names another folder, the outer build holds the lock on it.
    cargo.env("CARGO_BUILD_BUILD_DIR", &folder);
    // As scripts/build/release has it: what is carried about has no use for a table of symbols.
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    let output = cargo
        .output()
        .map_err(|error| format!("{cargo:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "the library can't be built for {target}. Where rustc has no such target, `rustup \
             target add {target}` adds it; or set {LIBRARIES} to a {NAME} that was built before, \
             or build with --features external-library. Cargo said: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )
        .into());
    }
    Ok(folder.join(target).join("release").join(NAME))
}

/// Whether a variable tells how the command is built, and would change the library as well. What
/// tells where crates and linkers are stays.
fn is_of_the_outer_build(name: &str) -> bool {
    const FLAGS: [&str; 6] = [
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        // clippy, where it lints the command.
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
    ];
    FLAGS.contains(&name)
        || ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PROFILE_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        || (name.starts_with("CARGO_TARGET_") && name.ends_with("_RUSTFLAGS"))
}

fn out() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"))
}
