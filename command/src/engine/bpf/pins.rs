//! Pins the maps that outlive a control group, in the file system of type bpf below [`FOLDER`].
//!
//! The folder has the maps' version in its name. Two versions that lay their maps out in different
//! ways do not meet.

use super::instance::{not_made, refused};
use super::maps::{BoundMaps, Ports};
use super::sys;
use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, StatFs, mkdir, statfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the file system is.
const BPFFS: &str = "/sys/fs/bpf";

/// Our directory in it.
pub(crate) const FOLDER: &str = "/sys/fs/bpf/libreuse";

const VERSION: &str = "v1";

/// Opens the maps that all instances share, or creates and pins them.
pub(super) fn bound() -> Result<BoundMaps> {
    if let Some(bound) = bound_if_there() {
        return Ok(bound);
    }
    let bound = BoundMaps::create().map_err(|error| refused(&error))?;
    let folder = folder()?;
    // One of the two may be there alone, after somebody was killed between the two lines, or what
    // is there is not ours: then both are new.
    for (map, name) in [
        (&bound.by_address, BY_ADDRESS),
        (&bound.by_socket, BY_SOCKET),
    ] {
        let path = folder.join(name);
        let _ = fs::remove_file(&path);
        sys::pin(map.as_fd(), &path).with_context(|| format!("can't create {}", path.display()))?;
    }
    Ok(bound)
}

const BY_ADDRESS: &str = "bound";
const BY_SOCKET: &str = "holder";

/// Opens the shared maps, if they are pinned.
pub(super) fn bound_if_there() -> Option<BoundMaps> {
    let open = |name| sys::open_pinned(&Path::new(FOLDER).join(VERSION).join(name)).ok();
    BoundMaps::open(open(BY_ADDRESS)?, open(BY_SOCKET)?)
}

/// Opens the map of an instance's ports, if it is pinned.
pub(super) fn ports(group: &str) -> Result<Option<Ports>> {
    let path = path_of(group);
    match sys::open_pinned(&path) {
        Ok(map) => Ports::open(map).map(Some).with_context(|| {
            format!(
                "{} is of another version; `reuseaddr bpf detach --all` removes it",
                path.display()
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(&error).context(format!("{} can't be opened", path.display()))),
    }
}

/// Pins the map of an instance's ports, unless it is pinned.
pub(super) fn pin_ports(group: &str, ports: &Ports) -> Result<()> {
    folder()?;
    let path = path_of(group);
    match sys::pin(ports.as_fd(), &path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("can't create {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes the pin of an instance.
pub(crate) fn remove(group: &str) -> Result<()> {
    let path = path_of(group);
    removed(fs::remove_file(&path), &path)
}

/// Removes all pins.
pub(crate) fn remove_all() -> Result<()> {
    if fs::symlink_metadata(FOLDER).is_ok_and(|found| !is_roots(&found)) {
        return Ok(());
    }
    removed(fs::remove_dir_all(FOLDER), Path::new(FOLDER))
}

/// The result of removing something, which is no failure where it is gone.
pub(super) fn removed(result: io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} can't be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// The control groups whose ports are pinned, as far as the names of the pins tell them.
pub(crate) fn groups() -> Vec<String> {
    fs::read_dir(Path::new(FOLDER).join(VERSION))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| name_to_group(entry.file_name().to_str()?))
        .collect()
}

/// Whether no instance is pinned.
pub(super) fn is_empty() -> bool {
    let mut names = fs::read_dir(Path::new(FOLDER).join(VERSION))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    !names.any(|name| name.as_encoded_bytes().starts_with(ROOT.as_bytes()))
}

fn path_of(group: &str) -> PathBuf {
    Path::new(FOLDER).join(VERSION).join(group_to_name(group))
}

/// How the name of every group begins.
const ROOT: &str = "_2f";

/// A file's name for a group: bpffs takes no dots, and no file system a slash, or a name of more
/// than 255 bytes, as a group in a container of a container has. Such a one ends in a number
/// instead, and does not lead back to the group.
pub(super) fn group_to_name(group: &str) -> String {
    const LONGEST: usize = 255;
    const NUMBER: usize = 18;
    let mut name = String::new();
    for byte in group.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            name.push(byte.into());
        } else {
            name.push_str(&format!("_{byte:02x}"));
        }
    }
    if name.len() > LONGEST {
        name.truncate(LONGEST - NUMBER);
        name.push_str(&format!("_x{:016x}", fnv(group.as_bytes())));
    }
    name
}

/// FNV-1a, which is the same in every version.
fn fnv(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    })
}

fn name_to_group(name: &str) -> Option<String> {
    let mut group = Vec::new();
    let mut rest = name.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        if *first == b'_' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            group.push(u8::from_str_radix(digits, 16).ok()?);
            rest = rest.get(2..)?;
        } else {
            group.push(*first);
        }
    }
    let group = String::from_utf8(group).ok()?;
    group.starts_with('/').then_some(group)
}

/// Creates our folder, and mounts the file system, where they are not there.
// Its type differs between machines.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn folder() -> Result<PathBuf> {
    const BPF_FS_MAGIC: u32 = 0xcafe_4a11;
    let is_bpffs = || statfs(BPFFS).is_ok_and(|found: StatFs| found.f_type as u32 == BPF_FS_MAGIC);
    if !is_bpffs() {
        mount(
            "bpf",
            BPFFS,
            "bpf",
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
            Some(c"mode=700"),
        )
        .with_context(|| {
            format!(
                "{BPFFS} is no file system of type bpf, and none can be mounted: `mount -t bpf bpf \
                 {BPFFS}`"
            )
        })?;
    }
    let versioned = Path::new(FOLDER).join(VERSION);
    for folder in [Path::new(FOLDER), &versioned] {
        match mkdir(folder, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(not_made(error.into(), &folder.display().to_string())),
        }
        if !is_roots(&fs::symlink_metadata(folder)?) {
            bail!("{} is not root's, and is left alone", folder.display());
        }
    }
    Ok(versioned)
}

/// Whether it is a folder that root has made: anybody may make one where the file system is mounted
/// as the kernel does by default.
fn is_roots(found: &fs::Metadata) -> bool {
    found.is_dir() && found.uid() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_groups() {
        for group in ["/", "/system.slice/my_app@1.service", "/a-b/\\x2d"] {
            let name = group_to_name(group);
            assert!(!name.contains(['.', '/']), "{name}");
            assert_eq!(name_to_group(&name).as_deref(), Some(group));
        }
        assert_eq!(name_to_group("bound"), None);
        let long = |end: &str| group_to_name(&format!("/{}{end}", "a.b".repeat(100)));
        assert_eq!(long("").len(), 255);
        assert_ne!(long(""), long("c"));
        assert_eq!(name_to_group(&long("")), None);
    }
}
