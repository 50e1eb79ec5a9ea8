//! The library for each kind of program: one that is installed, or the one that this command
//! carries.

use super::elf::Elf;
use super::embedded::{self, Embedded};
use super::installed::{self, Installed};
use super::layout::{self, NAME, PreloadPath, common_preload_path};
use crate::output::{self, list};
use anyhow::{Context, Result, anyhow, bail};
use log::debug;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// The version of this command, which is that of the library that belongs to it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The library for one kind of program.
#[derive(Debug)]
pub(crate) struct Library {
    elf: Elf,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Installed(PathBuf),
    /// Carried by this command.
    Embedded(Embedded),
}

impl Library {
    /// Whether this command carries it.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.source, Source::Embedded(_))
    }

    /// Its file's ELF data.
    pub(crate) fn elf(&self) -> &Elf {
        &self.elf
    }
}

impl From<Installed> for Library {
    fn from(installed: Installed) -> Self {
        Self {
            elf: installed.elf,
            source: Source::Installed(installed.path),
        }
    }
}

/// The library for each kind of program that there is one for.
#[derive(Debug)]
pub(crate) struct Libraries {
    /// The one for this command's own kind first, if there is one. There is at least one.
    all: Vec<Library>,
    /// Why files of the library's name were ignored.
    complaints: Vec<String>,
    /// Where the embedded libraries were written, or why they could not be.
    put: OnceCell<Result<PathBuf, String>>,
}

impl Libraries {
    /// Takes the given library alone. Otherwise, for each kind of program: the first installed one
    /// of this command's version, else the embedded one, else the first installed one.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(path) = given {
            let path = std::path::absolute(path).with_context(|| {
                format!(
                    "{} can't be resolved: the current directory was removed",
                    path.display()
                )
            })?;
            let given = Installed::at(path)?;
            return Ok(Self::of(vec![given.into()], Vec::new()));
        }
        let (installed, complaints) = look();
        let all = choose(installed, embedded::all());
        if all.is_empty() && complaints.is_empty() {
            let places: Vec<String> = installed::places()
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            bail!(
                "{NAME} is not installed: it is none of {}. Install it beside this command or in \
                 ../lib, or say where it is with --library PATH",
                places.join(", ")
            );
        }
        if all.is_empty() {
            bail!("{}", complaints.join("\n"));
        }
        Ok(Self::of(all, complaints))
    }

    fn of(mut all: Vec<Library>, complaints: Vec<String>) -> Self {
        all.sort_by_key(|library| u32::from(library.elf.class) != usize::BITS);
        Self {
            all,
            complaints,
            put: OnceCell::new(),
        }
    }

    /// How LD_PRELOAD names them for what a program may start, which is of any kind; `None` if
    /// there is no place for them.
    pub(crate) fn for_children(&self) -> Option<PathBuf> {
        let preload_paths = self.preload_paths(self.all.first()?).ok()?;
        preload_paths
            .into_iter()
            .next()
            .map(|preload_path| preload_path.preload)
    }

    /// The class and machine of the programs that have a library.
    pub(crate) fn kinds(&self) -> Vec<(u8, String)> {
        self.all
            .iter()
            .map(|library| (library.elf.class, library.elf.machine.clone()))
            .collect()
    }

    /// The library for a program of this kind.
    pub(crate) fn fitting(&self, program: &Elf) -> Option<&Library> {
        self.all.iter().find(|library| library.elf.fits(program))
    }

    /// Describes the libraries, `64-bit x86-64 (/usr/lib/libreuse.so)`, and what was ignored.
    pub(crate) fn described(&self) -> String {
        let kinds: Vec<String> = self
            .all
            .iter()
            .map(|library| match &library.source {
                Source::Installed(path) => format!("{} ({})", library.elf.kind(), path.display()),
                Source::Embedded(_) => format!("{} (in this command)", library.elf.kind()),
            })
            .collect();
        let aside = self
            .complaints
            .iter()
            .map(|complaint| format!("; {complaint}"));
        list(&kinds) + &aside.collect::<String>()
    }

    /// How LD_PRELOAD may name one of them, the best way first: by a path in which each dynamic
    /// linker finds the one for its own kind, since the program may start others of another kind;
    /// and by its own. One that this command carries is put where a program can load it.
    ///
    /// # Errors
    ///
    /// There is no place for it.
    pub(crate) fn preload_paths(&self, library: &Library) -> Result<Vec<PreloadPath>> {
        let path = match &library.source {
            Source::Installed(path) => path,
            Source::Embedded(_) => {
                let embedded = self.embedded();
                let put = self.put.get_or_init(|| embedded::put(&embedded));
                let folder = put.as_ref().map_err(|why| anyhow!("{why}"))?;
                let alone = embedded.len() == 1;
                return Ok(layout::preload_paths(folder, library.elf.class, alone));
            }
        };
        let common = self.all.iter().find_map(|other| {
            let Source::Installed(other_path) = &other.source else {
                return None;
            };
            match (library.elf.class, other.elf.class) {
                (64, 32) => common_preload_path(path, other_path),
                (32, 64) => common_preload_path(other_path, path),
                _ => None,
            }
        });
        let common = common.map(|preload| PreloadPath {
            preload,
            files: vec![path.clone()],
        });
        let by_path = PreloadPath::plain(path.clone());
        Ok(common.into_iter().chain([by_path]).collect())
    }

    /// The file for this command's own kind of program: where it is installed, or would be if those
    /// that this command carries were put into this folder.
    pub(crate) fn for_any_program(&self, folder: &Path) -> Option<PathBuf> {
        let first = self.all.first()?;
        match &first.source {
            Source::Installed(path) => Some(path.clone()),
            Source::Embedded(_) => {
                let alone = self.embedded().len() == 1;
                let preload_paths = layout::preload_paths(folder, first.elf.class, alone);
                preload_paths
                    .last()
                    .map(|preload_path| preload_path.preload.clone())
            }
        }
    }

    /// Whether this command carries any of them.
    pub(crate) fn carried(&self) -> bool {
        self.all.iter().any(Library::is_embedded)
    }

    /// The path of an embedded library once it is installed into this folder; `None` for other
    /// paths.
    pub(crate) fn lasting(&self, path: &Path, folder: &Path) -> Option<PathBuf> {
        let put = self.put.get()?.as_ref().ok()?;
        Some(folder.join(path.strip_prefix(put).ok()?))
    }

    /// Installs the embedded libraries into this folder.
    pub(crate) fn put_to_stay(&self, folder: &Path) -> Result<()> {
        embedded::put_directly_in(folder, &self.embedded())
            .map_err(|why| anyhow!("{} {why}", folder.display()))
    }

    fn embedded(&self) -> Vec<Embedded> {
        let all = self.all.iter();
        all.filter_map(|library| match &library.source {
            Source::Embedded(embedded) => Some(*embedded),
            Source::Installed(_) => None,
        })
        .collect()
    }
}

/// The libraries that are installed, and why files of that name are none.
fn look() -> (Vec<Installed>, Vec<String>) {
    let mut installed: Vec<Installed> = Vec::new();
    let mut complaints = Vec::new();
    for found in installed::search() {
        let library = match found {
            Ok(library) => library,
            Err(error) => {
                complaints.push(format!("{error:#}"));
                continue;
            }
        };
        // A file that comes before it was meant to be taken. One behind it may be somebody else's.
        if installed.is_empty() {
            for complaint in &complaints {
                let taken = library.path.display();
                output::warn(&format!("{complaint}. {taken} is used"));
            }
        }
        installed.push(library);
    }
    (installed, complaints)
}

/// Chooses one library for each kind of program, and warns where the choice may surprise.
fn choose(
    installed: Vec<Installed>,
    embedded: impl Iterator<Item = (Embedded, Elf)>,
) -> Vec<Library> {
    let mut chosen: Vec<Library> = Vec::new();
    let has = |chosen: &[Library], elf: &Elf| chosen.iter().any(|library| library.elf.fits(elf));
    let is_ours = |library: &Installed| library.elf.version.as_deref() == Some(VERSION);
    let (ours, others): (Vec<_>, Vec<_>) = installed.into_iter().partition(is_ours);
    for library in ours {
        if !has(&chosen, &library.elf) {
            chosen.push(library.into());
        }
    }
    for (embedded, elf) in embedded {
        if has(&chosen, &elf) {
            continue;
        }
        if let Some(other) = others.iter().find(|other| other.elf.fits(&elf)) {
            output::warn(&format!(
                "{} {}, and this command is of version {VERSION}: the library that it carries is \
                 used",
                other.path.display(),
                other.version()
            ));
        }
        debug!(
            "the library that this command carries serves {}",
            elf.kind()
        );
        chosen.push(Library {
            elf,
            source: Source::Embedded(embedded),
        });
    }
    for library in others {
        if !has(&chosen, &library.elf) {
            output::warn(&format!(
                "{} {}, and this command is of version {VERSION}: it is used anyway",
                library.path.display(),
                library.version()
            ));
            chosen.push(library.into());
        }
    }
    chosen
}
