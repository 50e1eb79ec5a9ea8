//! The systems that the tests run programs on, with the release installed there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{env, fs};
use support::Program;
pub(crate) use support::succeed;

/// A processor and a libc.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum System {
    /// This machine.
    Here,
    /// Its 32-bit programs.
    Here32,
    /// The oldest Debian to be had. Before glibc 2.34, `dlsym` was in a library that not every
    /// program loads.
    Old,
    /// Its 32-bit programs.
    Old32,
    /// Debian 13, with glibc 2.41.
    Trixie,
    /// Debian's next, with the newest glibc to be had.
    Sid,
    /// This machine with musl, as Debian has it.
    Musl,
    /// Another processor, by way of qemu.
    Foreign(Processor),
}

/// Another processor than this machine's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Processor {
    Aarch64,
    /// 32-bit ARM.
    Armv7,
    /// Big-endian.
    S390x,
    Ppc64le,
    Riscv64,
}

impl Processor {
    /// As the release is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::Armv7 => "armv7",
            Self::S390x => "s390x",
            Self::Ppc64le => "ppc64le",
            Self::Riscv64 => "riscv64",
        }
    }

    fn triplet(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-linux-gnu",
            Self::Armv7 => "arm-linux-gnueabihf",
            Self::S390x => "s390x-linux-gnu",
            Self::Ppc64le => "powerpc64le-linux-gnu",
            Self::Riscv64 => "riscv64-linux-gnu",
        }
    }

    fn compiler(self) -> PathBuf {
        toolchains().join(self.name())
    }

    /// A program under qemu, with these variables. qemu gets them too, and as a static program
    /// ignores `LD_PRELOAD`; its option to set them would split each at commas.
    fn program(self, variables: impl IntoIterator<Item = String>) -> Program {
        let emulator = match self {
            Self::Armv7 => "arm",
            other => other.name(),
        };
        // Where libgcc_s is, which libc loads for pthread_cancel.
        let folder = self
            .compiler()
            .join(format!("usr/lib/gcc-cross/{}/12", self.triplet()));
        Program::new("/usr/bin/env")
            .arguments(variables)
            .argument(format!("LD_LIBRARY_PATH={}", folder.display()))
            .argument(format!("/usr/bin/qemu-{emulator}-static"))
            .arguments(["-L", &format!("/usr/{}", self.triplet())])
    }
}

/// The processors that are always tried. Those with large compilers and few users are tried where
/// `LIBREUSE_TEST_EVERY_PROCESSOR` is set, and `scripts/build/release` has built for them.
pub(crate) fn processors() -> Vec<Processor> {
    let mut all = vec![Processor::Aarch64, Processor::Armv7, Processor::S390x];
    if env::var_os("LIBREUSE_TEST_EVERY_PROCESSOR").is_some() {
        all.extend([Processor::Ppc64le, Processor::Riscv64]);
    }
    all
}

/// All of them.
pub(crate) fn systems() -> Vec<System> {
    let mut all = SYSTEMS.to_vec();
    all.extend(processors().into_iter().map(System::Foreign));
    all
}

const SYSTEMS: [System; 7] = [
    System::Here,
    System::Here32,
    System::Old,
    System::Old32,
    System::Trixie,
    System::Sid,
    System::Musl,
];

/// What `LD_PRELOAD` is set to: the dynamic linker puts the folder for the program's own kind in
/// the place of `$LIB`.
pub(crate) const LIBRARY: &str = "/usr/$LIB/libreuse.so";

impl System {
    /// A C program, compiled for this system from its text on first use of its name.
    pub(crate) fn compile(self, name: &str, text: &str, flags: &[&str]) -> PathBuf {
        static DONE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        // A program that failed to compile is not in it.
        let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
        let system = match self {
            Self::Foreign(processor) => format!("{processor:?}"),
            other => format!("{other:?}"),
        };
        let binary = temporary().join(format!("{name}.{system}.{}", std::process::id()));
        if done.contains(&binary) {
            return binary;
        }
        let source = binary.with_extension("c");
        fs::write(&source, text).expect("the folder for temporary files is writable");
        let mut command = match self {
            Self::Foreign(processor) => Command::new(processor.compiler().join("cc")),
            Self::Musl => {
                let mut compiler = support::musl_gcc();
                // glibc's headers need no asking.
                compiler.arg("-D_GNU_SOURCE");
                compiler
            }
            _ => Command::new("cc"),
        };
        if let Self::Here32 | Self::Old32 = self {
            command.arg("-m32");
        }
        if let Some(root) = self.root() {
            let triplet = if self == Self::Old32 {
                "i386-linux-gnu"
            } else {
                "x86_64-linux-gnu"
            };
            // Without -B and -L, gcc would take this machine's libc first.
            let root = root.display().to_string();
            command.arg(format!("--sysroot={root}"));
            for option in ["-B", "-L"] {
                command.arg(format!("{option}{root}/usr/lib/{triplet}"));
            }
        }
        succeed(
            command
                .args(["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
                .args([&binary, &source])
                .args(flags),
        );
        done.insert(binary.clone());
        binary
    }

    /// A compiled program, to be run on this system with these variables.
    pub(crate) fn program(self, binary: &Path, variables: &[(&str, &str)]) -> Program {
        let library = match self {
            Self::Here | Self::Here32 => format!("{}{LIBRARY}", installed_here().display()),
            Self::Old | Self::Old32 | Self::Trixie | Self::Sid => LIBRARY.into(),
            // musl knows no $LIB.
            Self::Musl => format!("{}/lib/libreuse.so", release("x86_64").display()),
            Self::Foreign(processor) => {
                format!("{}/lib/libreuse.so", release(processor.name()).display())
            }
        };
        let assignments = variables
            .iter()
            .map(|(name, value)| format!("{name}={}", value.replace(LIBRARY, &library)));
        match self {
            Self::Here | Self::Here32 | Self::Musl => {
                Program::new("/usr/bin/env").arguments(assignments)
            }
            Self::Old | Self::Old32 | Self::Trixie | Self::Sid => {
                self.installed().program("env").arguments(assignments)
            }
            Self::Foreign(processor) => processor.program(assignments),
        }
        .argument(binary)
    }

    /// The root file system of a system that is not this machine's.
    fn root(self) -> Option<PathBuf> {
        let name = match self {
            Self::Here | Self::Here32 | Self::Musl | Self::Foreign(_) => return None,
            Self::Old | Self::Old32 => "old",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        };
        Some(toolchains().join(name))
    }

    /// That root file system with the Debian packages installed.
    pub(crate) fn installed(self) -> &'static Layer {
        static OLD: OnceLock<Layer> = OnceLock::new();
        static TRIXIE: OnceLock<Layer> = OnceLock::new();
        static SID: OnceLock<Layer> = OnceLock::new();
        let (layer, name, architectures) = match self {
            Self::Trixie => (&TRIXIE, "trixie", &["amd64"][..]),
            Self::Sid => (&SID, "sid", &["amd64"][..]),
            _ => (&OLD, "old", &["amd64", "i386"][..]),
        };
        layer.get_or_init(|| {
            let packages: Vec<_> = architectures
                .iter()
                .map(|architecture| package(architecture).display().to_string())
                .collect();
            Layer::over(
                self,
                name,
                &format!("dpkg --install {}", packages.join(" ")),
            )
        })
    }
}

/// A root file system with changes of its own (an overlay).
pub(crate) struct Layer {
    root: PathBuf,
    folder: PathBuf,
}

impl Layer {
    /// Makes changes to the old one by a shell's commands, which see the project's folder as well.
    pub(crate) fn new(name: &str, commands: &str) -> Self {
        Self::over(System::Old, name, commands)
    }

    fn over(system: System, name: &str, commands: &str) -> Self {
        let layer = Self {
            root: system.root().expect("another system than this machine's"),
            folder: temporary().join(name),
        };
        if layer.folder.exists() {
            fs::remove_dir_all(&layer.folder).expect("the folder for temporary files is writable");
        }
        for part in ["changes", "work", "root"] {
            fs::create_dir_all(layer.folder.join(part))
                .expect("the folder for temporary files is writable");
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            layer.root.display(),
            layer.folder.join("changes").display(),
            layer.folder.join("work").display()
        );
        layer
            .mounted(&options, "sh")
            .arguments(["-exc", commands])
            .run()
            .succeeded();
        layer
    }

    /// Makes changes to the same root by this machine's own tools, to which it is the folder `$1`.
    pub(crate) fn changed_from_outside(&self, commands: &str) {
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.root.display(),
            self.folder.join("changes").display(),
            self.folder.join("work").display()
        );
        Program::new("/usr/bin/unshare")
            .arguments(["--mount", "sh", "-exc"])
            .argument(format!(
                "mount -t overlay -o \"$2\" overlay \"$1\"\n{commands}"
            ))
            .argument("sh")
            .arguments([self.folder.join("root").as_os_str(), options.as_ref()])
            .run()
            .succeeded();
    }

    /// The root file system that it changes.
    pub(crate) fn below(&self) -> &Path {
        &self.root
    }

    /// A program that runs there, and can change nothing.
    pub(crate) fn program(&self, name: impl AsRef<OsStr>) -> Program {
        let changes = self.folder.join("changes");
        let options = format!("lowerdir={}:{}", changes.display(), self.root.display());
        self.mounted(&options, name)
    }

    fn mounted(&self, options: &str, program: impl AsRef<OsStr>) -> Program {
        const SCRIPT: &str = r#"
            root=$1 options=$2 project=$3
            shift 3
            mount -t overlay -o "$options" overlay "$root"
            # First, since the project may be in it.
            mount -t tmpfs tmpfs "$root/tmp"
            mkdir -p "$root$project"
            mount --bind "$project" "$root$project"
            mount --bind /dev/null "$root/dev/null"
            mount --rbind /proc "$root/proc"
            exec chroot "$root" "$@"
        "#;
        Program::new("/usr/bin/unshare")
            .arguments(["--mount", "sh", "-ec", SCRIPT, "sh"])
            .arguments([self.folder.join("root").as_os_str(), options.as_ref()])
            .argument(project())
            .argument(program)
    }
}

/// A folder in which `scripts/build/install` has put everything for this machine.
fn installed_here() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        release("x86_64");
        let folder = temporary().join("here");
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("the folder for temporary files is writable");
        }
        succeed(Command::new(project().join("scripts/build/install")).env("DESTDIR", &folder));
        folder
    })
}

/// The unpacked release for a processor.
pub(crate) fn release(machine: &str) -> PathBuf {
    dist().join(format!("libreuse-{}-{machine}", env!("CARGO_PKG_VERSION")))
}

/// The library's Debian package for an architecture.
pub(crate) fn package(architecture: &str) -> PathBuf {
    package_of("libreuse", architecture)
}

/// The command's.
pub(crate) fn command_package(architecture: &str) -> PathBuf {
    package_of("reuseaddr", architecture)
}

fn package_of(name: &str, architecture: &str) -> PathBuf {
    dist().join(format!(
        "{name}_{}_{architecture}.deb",
        env!("CARGO_PKG_VERSION")
    ))
}

/// What `scripts/build/release` makes, or has made where `LIBREUSE_TEST_DIST` says.
pub(crate) fn dist() -> &'static Path {
    static DIST: OnceLock<PathBuf> = OnceLock::new();
    DIST.get_or_init(|| {
        if let Some(made) = env::var_os("LIBREUSE_TEST_DIST") {
            return made.into();
        }
        toolchains();
        succeed(&mut Command::new(project().join("scripts/build/release")));
        project().join("target/dist")
    })
}

/// What `scripts/build/toolchains` makes.
pub(crate) fn toolchains() -> &'static Path {
    static TOOLCHAINS: OnceLock<PathBuf> = OnceLock::new();
    TOOLCHAINS.get_or_init(|| {
        succeed(&mut Command::new(
            project().join("scripts/build/toolchains"),
        ));
        project().join("target/toolchains")
    })
}

pub(crate) fn project() -> &'static Path {
    support::project()
}

pub(crate) fn temporary() -> &'static Path {
    support::scratch()
}
