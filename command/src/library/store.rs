//! A folder for files that others load: nobody but its owner can change what is in it, and no link
//! leads out of it.

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, StatVfsMountFlags, Timespec,
    Timestamps, fchmod, fstat, fstatvfs, futimens, linkat, mkdirat, open, openat, openat2,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A folder of ours, open.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const FOR_ALL_TO_READ: u32 = 0o644;
const FOR_ALL_TO_START: u32 = 0o755;
const FOR_ALL_TO_SEARCH: u32 = 0o755;
const FOR_US_ALONE: u32 = 0o700;
/// Group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

impl Folder {
    /// Opens a folder for programs to load from, and creates it and its parents if they are
    /// missing. The last part of the path may not be a link; links before it are resolved once, and
    /// the result may have none.
    ///
    /// # Errors
    ///
    /// Why it won't do, in words that go on from the folder's name.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let mut missing = vec![path.file_name().ok_or("has no name")?];
        let mut above = path.parent().unwrap_or(path);
        let mut folder = loop {
            // Mostly it exists, without a link in its path.
            if let Ok(folder) = Self::reach(above) {
                break folder;
            }
            match above.canonicalize() {
                Ok(existing) => break Self::reach(&existing)?,
                Err(error) => match (above.file_name(), above.parent()) {
                    (Some(name), Some(parent)) if error.kind() == std::io::ErrorKind::NotFound => {
                        missing.push(name);
                        above = parent;
                    }
                    _ => return Err(format!("can't be reached: {error}")),
                },
            }
        };
        while let Some(name) = missing.pop() {
            // As the XDG base directory specification has it for the folders of users.
            let mode = if missing.is_empty() || own_uid() == 0 {
                FOR_ALL_TO_SEARCH
            } else {
                FOR_US_ALONE
            };
            folder = folder.own_as(name, mode)?;
        }
        let mount = fstatvfs(&folder.fd).map_err(|error| format!("can't be looked at: {error}"))?;
        if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            return Err("is mounted noexec".into());
        }
        Ok(folder)
    }

    /// Opens an existing folder from the root on, so that nobody can replace a part of the path.
    /// Links and `..` are refused.
    fn reach(path: &Path) -> Result<Self, String> {
        let cannot = |error: Errno| format!("can't be reached: {error}");
        if !path.is_absolute() {
            return Err(cannot(Errno::INVAL));
        }
        let mut fd = open("/", FOLDER | OFlags::PATH, Mode::empty()).map_err(cannot)?;
        // Root's, ours, and in a user namespace that of the owner of everything, whose number may
        // be another there.
        let root = fstat(&fd).map_err(cannot)?;
        let trusted = [0, own_uid(), root.st_uid];
        let mut reached = PathBuf::from("/");
        for part in path.components() {
            let name = match part {
                Component::RootDir => continue,
                Component::Normal(name) => name,
                _ => return Err(cannot(Errno::INVAL)),
            };
            fd = openat(&fd, name, FOLDER | OFlags::PATH, Mode::empty()).map_err(cannot)?;
            reached.push(name);
            let stat = fstat(&fd).map_err(cannot)?;
            // With an access control list the group's bits are the most that any entry of it gives
            // (acl(5)).
            let shared = Mode::from_raw_mode(stat.st_mode).intersects(Mode::WOTH | Mode::WGRP)
                && !Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX);
            if shared || !trusted.contains(&stat.st_uid) {
                return Err(format!(
                    "is not safe, since others may change {}",
                    reached.display()
                ));
            }
        }
        Ok(Self { fd, path: reached })
    }

    /// Opens a subfolder that has to be ours, and creates it if it is missing.
    pub(super) fn own(&self, name: &OsStr) -> Result<Self, String> {
        self.own_as(name, FOR_ALL_TO_SEARCH)
    }

    fn own_as(&self, name: &OsStr, mode: u32) -> Result<Self, String> {
        let open = || openat(&self.fd, name, FOLDER | OFlags::RDONLY, Mode::empty());
        // Mostly it is there.
        let mut opened = open();
        let mut mkdir = Ok(());
        if matches!(opened, Err(Errno::NOENT)) {
            mkdir = mkdirat(&self.fd, name, Mode::from_raw_mode(mode));
            opened = open();
        }
        let fd = match (opened, mkdir) {
            (Ok(fd), _) => fd,
            (Err(Errno::NOTDIR | Errno::LOOP), _) => return Err("is a link, or no folder".into()),
            // The error of mkdirat(2) says more than ENOENT.
            (Err(Errno::NOENT), Err(error)) | (Err(error), _) => {
                return Err(format!("can't be written: {error}"));
            }
        };
        let stat = fstat(&fd).map_err(|error| format!("can't be looked at: {error}"))?;
        if stat.st_uid != own_uid() {
            return Err(format!("belongs to uid {}", stat.st_uid));
        }
        allow(&fd, &stat, mode)?;
        let path = self.path.join(name);
        Ok(Self { fd, path })
    }

    /// Opens a subfolder, if it exists.
    pub(super) fn existing(&self, name: &OsStr) -> rustix::io::Result<Self> {
        let fd = openat(&self.fd, name, FOLDER | OFlags::RDONLY, Mode::empty())?;
        let path = self.path.join(name);
        Ok(Self { fd, path })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that these files below the folder have these bytes. They are links to the first,
    /// on a file system that has such (link(2)): then that is read, and of the others nothing but
    /// their inode.
    pub(super) fn put(&self, files: &[PathBuf], bytes: &[u8]) -> Result<(), String> {
        let Some((first, others)) = files.split_first() else {
            return Ok(());
        };
        let stat = |file: &Path| statat(&self.fd, file, AtFlags::SYMLINK_NOFOLLOW).ok();
        let mut of_first = self.holds(first, bytes);
        if of_first.is_none() {
            self.write(first, bytes)?;
            of_first = stat(first);
        }
        let is_first = |stat: Stat| {
            of_first.is_some_and(|it| (it.st_dev, it.st_ino) == (stat.st_dev, stat.st_ino))
        };
        let mut has_links = true;
        for other in others {
            if stat(other).is_some_and(is_first) {
                continue;
            }
            has_links = has_links && self.link(first, other).is_ok();
            if !has_links && self.holds(other, bytes).is_none() {
                self.write(other, bytes)?;
            }
        }
        Ok(())
    }

    /// Writes a file below the folder, and creates the folders in between if they are missing.
    fn write(&self, file: &Path, bytes: &[u8]) -> Result<(), String> {
        self.within_folder_of(file, |folder, name| {
            folder.replace(name, bytes, FOR_ALL_TO_READ)
        })
    }

    /// Makes a file below the folder a link to another one.
    fn link(&self, to: &Path, file: &Path) -> Result<(), String> {
        self.within_folder_of(file, |folder, name| {
            let temporary = temporary(name);
            linkat(&self.fd, to, &folder.fd, &temporary, AtFlags::empty())?;
            let renamed = renameat(&folder.fd, &temporary, &folder.fd, name);
            // It is still there if another process was as fast: rename(2) does nothing where both
            // names are links to one file.
            let _ = unlinkat(&folder.fd, &temporary, AtFlags::empty());
            Ok(renamed?)
        })
    }

    fn within_folder_of(
        &self,
        file: &Path,
        make: impl FnOnce(&Self, &OsStr) -> std::io::Result<()>,
    ) -> Result<(), String> {
        let (Some(above), Some(name)) = (file.parent(), file.file_name()) else {
            return Err("has no such file".into());
        };
        let mut folder = None;
        for part in above {
            folder = Some(folder.as_ref().unwrap_or(self).own(part)?);
        }
        make(folder.as_ref().unwrap_or(self), name)
            .map_err(|error| format!("can't be written: {error}"))
    }

    /// Returns the status of a file below if it is ours, has these bytes, and nobody else can
    /// change it; `None` also if that can't be found out.
    fn holds(&self, file: &Path, bytes: &[u8]) -> Option<Stat> {
        let fd = self.open_below(file).ok()?;
        let stat = fstat(&fd).ok()?;
        let ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_uid == own_uid()
            && stat.st_mode & WRITABLE_BY_OTHERS == 0
            && u64::try_from(stat.st_size) == u64::try_from(bytes.len());
        if !ours || allow(&fd, &stat, FOR_ALL_TO_READ).is_err() {
            return None;
        }
        let mut found = vec![0; bytes.len()];
        File::from(fd).read_exact(&mut found).ok()?;
        (found == bytes).then_some(stat)
    }

    /// Opens a file below, without following links.
    fn open_below(&self, file: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&self.fd, file, flags, Mode::empty(), within) {
            // Before Linux 5.6, or by a filter that does not know it: step by step.
            Err(Errno::NOSYS | Errno::PERM) => {}
            result => return result,
        }
        let mut folder = None;
        for part in file.parent().into_iter().flatten() {
            let within = folder.as_ref().unwrap_or(&self.fd);
            folder = Some(openat(within, part, FOLDER | OFlags::PATH, Mode::empty())?);
        }
        let name = file.file_name().unwrap_or_default();
        openat(
            folder.as_ref().unwrap_or(&self.fd),
            name,
            flags,
            Mode::empty(),
        )
    }

    /// Replaces a file by rename(2): a process that has the old one open keeps it, and a link is
    /// replaced, not followed.
    fn replace(&self, name: &OsStr, bytes: &[u8], mode: u32) -> Result<(), std::io::Error> {
        let temporary = temporary(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let written = (|| {
            let mut file = File::from(fd);
            file.write_all(bytes)?;
            fchmod(&file, Mode::from_raw_mode(mode))?;
            renameat(&self.fd, &temporary, &self.fd, name)?;
            Ok(())
        })();
        if written.is_err() {
            // A part of it may be there.
            let _ = unlinkat(&self.fd, &temporary, AtFlags::empty());
        }
        written
    }

    /// Records in its times that it is in use.
    pub(super) fn touch(&self) {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        };
        // A file system that has no times keeps what is old.
        let _ = futimens(
            &self.fd,
            &Timestamps {
                last_access: now,
                last_modification: now,
            },
        );
    }

    /// How long ago it was used, if that is known.
    pub(super) fn unused_for(&self) -> Option<Duration> {
        let seconds = u64::try_from(fstat(&self.fd).ok()?.st_mtime).ok()?;
        let then = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
        SystemTime::now().duration_since(then).ok()
    }

    /// Whether it may hold more than one subfolder: its link count is 2 more than their number,
    /// except on file systems that do not count them.
    pub(super) fn may_have_others(&self) -> bool {
        fstat(&self.fd).map_or(true, |stat| stat.st_nlink != 3)
    }

    /// The names of what is in it.
    pub(super) fn names(&self) -> Vec<OsString> {
        let Ok(entries) = Dir::read_from(&self.fd) else {
            return Vec::new();
        };
        entries
            .flatten()
            .map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec()))
            .filter(|name| name != "." && name != "..")
            .collect()
    }

    /// Removes a folder in it, with the files of this name below. What else is there stays, and the
    /// folder with it.
    pub(super) fn remove(&self, name: &OsStr, file: &OsStr) -> rustix::io::Result<()> {
        let folder = self.existing(name)?;
        let temporary = temporary_prefix(file);
        for name in folder.names() {
            let of_ours = name == file
                || name
                    .as_encoded_bytes()
                    .starts_with(temporary.as_encoded_bytes());
            // If this fails, removing the folder fails too, and reports why.
            let _ = if of_ours {
                unlinkat(&folder.fd, &name, AtFlags::empty())
            } else {
                folder.remove(&name, file)
            };
        }
        unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
    }
}

/// The name of the command's copy that units start.
pub(crate) const COMMAND: &str = "reuseaddr";

/// Copies the command into a folder for everybody to start, and creates the folder if it is
/// missing.
///
/// # Errors
///
/// Why it can't be, in words that go on from the folder's name.
pub(crate) fn put_command(folder: &Path, bytes: &[u8]) -> Result<(), String> {
    Folder::open(folder)?
        .replace(COMMAND.as_ref(), bytes, FOR_ALL_TO_START)
        .map_err(|error| format!("can't be written: {error}"))
}

/// The user that this process is, and stays.
fn own_uid() -> u32 {
    static UID: OnceLock<u32> = OnceLock::new();
    *UID.get_or_init(|| geteuid().as_raw())
}

/// A name that nothing has yet.
fn temporary(name: &OsStr) -> OsString {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut temporary = temporary_prefix(name);
    temporary.push(format!("{}.{}", std::process::id(), now.subsec_nanos()));
    temporary
}

/// The prefix of temporary names.
fn temporary_prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    prefix
}

/// Sets these permissions on what is ours, whatever the umask was.
fn allow(fd: impl AsFd, stat: &Stat, mode: u32) -> Result<(), String> {
    if stat.st_mode & 0o7777 == mode {
        return Ok(());
    }
    fchmod(fd, Mode::from_raw_mode(mode)).map_err(|error| format!("can't be changed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    const BYTES: &[u8] = b"a library";

    type Change<'a> = &'a dyn Fn(&Path);

    #[test]
    fn puts_one_file_under_all_names_and_mends_each() {
        let place = std::env::temp_dir().join(format!("reuseaddr-store.{}", std::process::id()));
        let files = ["a/x/it", "a/y/it", "b/it"].map(PathBuf::from);
        let folder = Folder::open(&place).expect("the folder is ours");
        folder.put(&files, BYTES).expect("it is writable");
        let paths = files.each_ref().map(|file| place.join(file));
        let inodes = || {
            paths.each_ref().map(|path| {
                let found = fs::symlink_metadata(path).expect("it is there");
                assert!(found.is_file() && found.mode() & 0o7777 == FOR_ALL_TO_READ);
                assert_eq!(fs::read(path).expect("it is ours"), BYTES);
                found.ino()
            })
        };
        let [first, second, third] = inodes();
        assert!(first == second && first == third);
        let replace = |path: &Path, bytes: &[u8]| {
            fs::remove_file(path).expect("it is ours");
            fs::write(path, bytes).expect("it is ours");
        };
        let changes: [Change<'_>; 5] = [
            // Of all of them.
            &|path| fs::write(path, "another").expect("it is ours"),
            &|path| {
                let anybodys = fs::Permissions::from_mode(0o666);
                fs::set_permissions(path, anybodys).expect("it is ours");
            },
            // Of one.
            &|path| replace(path, b"another"),
            &|path| fs::remove_file(path).expect("it is ours"),
            &|path| {
                fs::remove_file(path).expect("it is ours");
                std::os::unix::fs::symlink("/dev/null", path).expect("it is ours");
            },
        ];
        for change in changes {
            for path in &paths {
                change(path);
                folder.put(&files, BYTES).expect("it is writable");
                let [first, second, third] = inodes();
                assert!(first == second && first == third, "{}", path.display());
            }
        }
        // What is whole stays.
        let before = inodes();
        folder.put(&files, BYTES).expect("it is writable");
        assert_eq!(inodes(), before);
        let names = |folder: &str| folder_names(&place.join(folder));
        assert_eq!([names("a/x"), names("a/y"), names("b")], ["it"; 3]);
        fs::remove_dir_all(&place).expect("it is ours");
    }

    fn folder_names(folder: &Path) -> String {
        let entries = fs::read_dir(folder).expect("it is there");
        let names = entries.flatten().map(|entry| entry.file_name());
        names
            .collect::<Vec<_>>()
            .join(OsStr::new(" "))
            .to_string_lossy()
            .into_owned()
    }
}
