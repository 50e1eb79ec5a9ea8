//! Reads from an ELF file (elf(5)) whether a library can be preloaded into it.

mod sections;

use self::sections::{Functions, Sections};
use super::blocks::Blocks;
use super::ld_preload;
use anyhow::{Context, Result, bail};
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The functions that the library interposes.
pub(crate) const HOOKED: [&str; 5] = ["bind", "listen", "connect", "setsockopt", "close"];

/// Libraries by which their users start programs: those of execline and s6.
const STARTING: [&str; 2] = ["libexecline.", "libskarnet."];

/// glibc's C library.
const LIBC: &str = "libc.so.6";

/// An ELF file.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // Independent findings, each asked for by name.
pub(crate) struct Elf {
    pub(crate) class: u8,
    pub(crate) machine: String,
    /// The dynamic linker that it asks for; without one it is static, or a library.
    pub(crate) interpreter: Option<PathBuf>,
    /// The libraries that it asks for.
    needed: BTreeSet<String>,
    /// The highest version of libc.so.6 that it asks for, 2.34 as (2, 34); the dynamic linker of an
    /// older one does not start it.
    glibc: Option<(u32, u32)>,
    /// Whether it needs a feature of libc that has no version number: `GLIBC_ABI_DT_RELR`.
    asks_by_name: bool,
    /// Whether it names auditing libraries, which may keep others out (rtld-audit(7)).
    pub(crate) audited: bool,
    /// Whether it is a part of glibc: nothing else defines `GLIBC_PRIVATE`.
    pub(crate) of_glibc: bool,
    /// Whether the Go toolchain made it.
    pub(crate) go: bool,
    /// The interposed functions that it imports.
    pub(crate) imports: BTreeSet<&'static str>,
    /// Whether it calls dlopen(3) or dlsym(3).
    pub(crate) loads: bool,
    /// Whether it starts programs.
    pub(crate) starts: bool,
    /// The interposed functions that it defines.
    pub(crate) exports: BTreeSet<&'static str>,
    /// The version in libreuse's own note, if it is libreuse (src/copies.rs).
    pub(crate) version: Option<String>,
}

impl Elf {
    /// Reads a file; `None` if it is no ELF file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
        Self::of(file, path)
    }

    /// Reads an open file, found at this path.
    pub(crate) fn of(file: File, path: &Path) -> Result<Option<Self>> {
        let blocks =
            Blocks::of(file).with_context(|| format!("{} can't be read", path.display()))?;
        Self::parse(&ReadCache::new(blocks))
            .with_context(|| format!("{} is a damaged ELF file", path.display()))
    }

    /// Reads a file's contents; `None` if it is no ELF file.
    pub(crate) fn parse<'data>(data: impl ReadRef<'data>) -> Result<Option<Self>> {
        let parsed = match FileKind::parse(data) {
            Ok(FileKind::Elf32) => parse::<FileHeader32<Endianness>, _>(data),
            Ok(FileKind::Elf64) => parse::<FileHeader64<Endianness>, _>(data),
            _ if data.read_bytes_at(0, elf::ELFMAG.len() as u64) == Ok(&elf::ELFMAG) => {
                bail!("it is cut short")
            }
            _ => return Ok(None),
        };
        Ok(Some(parsed?))
    }

    /// `64-bit x86-64`.
    pub(crate) fn kind(&self) -> String {
        format!("{}-bit {}", self.class, self.machine)
    }

    /// Whether it loads AddressSanitizer's shared runtime (gcc's `-fsanitize=address`).
    pub(crate) fn needs_asan_runtime(&self) -> bool {
        self.needed
            .iter()
            .any(|name| ld_preload::is_asan_runtime(Path::new(name)))
    }

    /// Whether nothing in its process can call libc's `bind`, by this file alone: neither it nor
    /// what it needs calls it, and it loads and starts nothing.
    pub(crate) fn cannot_call_bind(&self) -> bool {
        self.does_not_call_bind() && !self.loads && !self.starts
    }

    /// Whether only what it loads later can call libc's `bind`, by this file alone.
    pub(crate) fn loads_what_calls_bind(&self) -> bool {
        self.does_not_call_bind() && self.loads
    }

    /// Whether it does not import `bind`, and needs no library but libc's own.
    fn does_not_call_bind(&self) -> bool {
        // glibc's and musl's. A program may have a `libutil.so` of its own.
        const OF_C: [&str; 8] = [
            "libc.so",
            "libc.so.6",
            "libdl.so.2",
            "libgcc_s.so.1",
            "libm.so.6",
            "libpthread.so.0",
            "librt.so.1",
            "libutil.so.1",
        ];
        const BEGINNINGS: [&str; 4] = ["ld-linux", "ld-musl-", "ld64.so", "libc.musl-"];
        let is_of_c = |name: &String| {
            OF_C.contains(&name.as_str()) || BEGINNINGS.iter().any(|it| name.starts_with(it))
        };
        !self.imports.contains("bind") && self.needed.iter().all(is_of_c)
    }

    /// Whether it starts programs, and leaves it to others to call `bind`.
    pub(crate) fn starts_and_binds_nothing(&self) -> bool {
        self.starts && !self.imports.contains("bind")
    }

    /// Whether both fit into one process: class and machine are equal.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        self.class == other.class && self.machine == other.machine
    }

    /// Whether the libc that the program needs also suffices for this library: it needs libc.so.6
    /// alone, of no later version.
    pub(crate) fn asks_no_more_than(&self, program: &Self) -> bool {
        let of_libc_alone = self.needed.iter().all(|name| name == LIBC);
        of_libc_alone
            && !self.asks_by_name
            && program.glibc.is_some()
            && self.glibc <= program.glibc
    }

    /// Which C library its dynamic linker belongs to.
    pub(crate) fn libc(&self) -> Option<&'static str> {
        let name = self
            .interpreter
            .as_ref()?
            .file_name()?
            .to_string_lossy()
            .into_owned();
        Some(if name.starts_with("ld-musl") {
            "musl"
        } else if name.starts_with("ld-linux")
            || name.starts_with("ld64")
            || name.starts_with("ld-2.")
            || name == "ld.so.1"
        {
            "glibc"
        } else {
            "unknown"
        })
    }
}

fn parse<'data, Header, R>(data: R) -> Result<Elf>
where
    Header: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = Header::parse(data)?;
    let endian = header.endian()?;
    let mut interpreter = None;
    for segment in header.program_headers(endian, data)? {
        if let Some(path) = segment.interpreter(endian, data)? {
            interpreter = Some(PathBuf::from(OsString::from_vec(path.to_vec())));
        }
        whole(segment, endian, data)?;
    }
    // The kernel and ld.so read no sections, so packers and strippers may leave none, or wrong
    // ones.
    let table = header.sections(endian, data).unwrap_or_default();
    let go = [&b".go.buildinfo"[..], b".note.go.buildid"]
        .iter()
        .any(|name| table.section_by_name(endian, name).is_some());
    let sections = Sections {
        table,
        endian,
        data,
    };
    let (needed, audited) = sections.dynamic()?;
    let (glibc, asks_by_name) = sections.needed_versions()?;
    let of_glibc = sections.defines_private_versions()?;
    let version = sections.libreuse_version()?;
    let Functions {
        imports,
        exports,
        loads,
        starts,
    } = sections.functions()?;
    let is_starting = |name: &String| STARTING.iter().any(|begin| name.starts_with(begin));
    let starts = starts || needed.iter().any(is_starting);
    Ok(Elf {
        class: if header.is_class_64() { 64 } else { 32 },
        machine: machine(header.e_machine(endian)),
        interpreter,
        needed,
        glibc,
        asks_by_name,
        audited,
        of_glibc,
        go,
        imports,
        loads,
        starts,
        exports,
        version,
    })
}

/// Checks that the file has every page of a segment: the kernel maps missing ones too, and the
/// program dies of SIGBUS.
fn whole<'data, Segment, R>(segment: &Segment, endian: Endianness, data: R) -> Result<()>
where
    Segment: ProgramHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    const PAGE: u64 = 4096;
    let (from, size) = segment.file_range(endian);
    let is_loaded = segment.p_type(endian) == elf::PT_LOAD;
    let length = data.len().ok().context("its length is not known")?;
    if is_loaded && from.saturating_add(size) > length.next_multiple_of(PAGE) {
        bail!("it ends before its segments do");
    }
    Ok(())
}

fn machine(machine: elf::Machine) -> String {
    match machine {
        elf::EM_X86_64 => "x86-64".into(),
        elf::EM_386 => "i386".into(),
        elf::EM_AARCH64 => "arm64".into(),
        elf::EM_ARM => "arm".into(),
        elf::EM_RISCV => "RISC-V".into(),
        elf::EM_PPC64 => "ppc64".into(),
        elf::EM_S390 => "s390".into(),
        other => format!("machine {}", other.0),
    }
}
