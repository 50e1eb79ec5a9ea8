//! The packages of Debian, Red Hat and Arch, and the tarball, in a root file system of their own.

use super::{Row, Tried, file, it_becomes_the_program, shell, size, timed};
use crate::restart::LEGACY;
use crate::systems::{Layer, System, command_package, package, release, succeed};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use support::{Folder, Program, port_after_crash};

/// Nothing of ours is there any more, but for what the system's own tool keeps of its own.
const FIND: &str = "find / -xdev -name '*reuse*' -not -path '/var/lib/*' -not -path '/var/log/*'";

/// Changes a root file system by this machine's own tools, of which it is `$1`, and back.
fn try_out(
    name: &str,
    channel: &'static str,
    typed: &'static str,
    files: &[PathBuf],
    [install, remove]: [&str; 2],
    library: &str,
) -> Row {
    let layer = Layer::new(&format!("channel-{name}"), ":");
    let before = layer.program("sh").arguments(["-c", FIND]).output();
    let took = timed(|| layer.changed_from_outside(install));
    let legacy = System::Old.compile("legacy", LEGACY, &[]);
    let port =
        |words: &[&str]| port_after_crash(&layer.program("env").arguments(words).argument(&legacy));
    assert_eq!(port(&[]), "port 49201", "the control");
    assert_eq!(port(&["reuseaddr", "run"]), "port 49200", "{name}");
    assert_eq!(
        port(&[&format!("LD_PRELOAD={library}")]),
        "port 49200",
        "{name}"
    );
    it_becomes_the_program(&layer.program("reuseaddr"));
    layer.changed_from_outside(remove);
    let after = layer.program("sh").arguments(["-c", FIND]).output();
    assert_eq!(before, after, "{name} leaves behind");
    Row {
        channel,
        typed,
        bytes: files.iter().map(|file| size(file)).sum(),
        took,
    }
}

fn listed(files: &[PathBuf]) -> String {
    files
        .iter()
        .map(|file| file.display().to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

pub(super) fn debian() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        let files = [package("amd64"), command_package("amd64")];
        try_out(
            "debian",
            "Debian, Ubuntu",
            "apt install ./libreuse.deb ./reuseaddr.deb",
            &files,
            [
                &format!("dpkg --root \"$1\" --install {}", listed(&files)),
                "dpkg --root \"$1\" --purge reuseaddr libreuse",
            ],
            "libreuse.so",
        )
    })
}

fn rpms() -> [PathBuf; 2] {
    ["libreuse-", "reuseaddr-"].map(|name| file(name, ".x86_64.rpm"))
}

pub(super) fn rpm() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        let files = rpms();
        let folder = Folder::new("rpm-glibc");
        let rpm = "rpm --root \"$1\" --dbpath /var/lib/rpm";
        // What a system of this kind has, and this root, which is Debian's, has by another name.
        fs::write(
            folder.join("glibc.spec"),
            "Name: glibc\nVersion: 2.31\nRelease: 1\nSummary: stands for glibc\nLicense: none\n\
             Provides: libc.so.6()(64bit) libc.so.6(GLIBC_2.2.5)(64bit) \
             libc.so.6(GLIBC_2.14)(64bit)\n\
             Provides: libc.so.6(GLIBC_2.16)(64bit) rtld(GNU_HASH)\n%description\nIt.\n%files\n",
        )
        .expect("ours");
        succeed(
            Command::new("rpmbuild")
                .args(["--quiet", "-bb", "--define"])
                .arg(format!("_topdir {}", folder.path().display()))
                .args(["--define", "_rpmfilename glibc.rpm"])
                .arg(folder.join("glibc.spec")),
        );
        let glibc = folder.join("RPMS/glibc.rpm");
        try_out(
            "rpm",
            "Fedora, Red Hat, SUSE",
            "dnf install ./libreuse.rpm ./reuseaddr.rpm",
            &files,
            [
                // It refuses where there is no libc, and says so.
                &format!(
                    "! {rpm} --install {files} 2>missing || exit 1; grep -q 'libc.so.6.* is needed \
                     by libreuse' missing\n\
                     rm missing; {rpm} --install {glibc} {files}",
                    files = listed(&files),
                    glibc = glibc.display()
                ),
                &format!("{rpm} --erase reuseaddr libreuse glibc"),
            ],
            "/usr/lib64/libreuse.so",
        )
    })
}

pub(super) fn arch() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        let folder = Folder::for_other_users("arch");
        let tarball = PathBuf::from(format!("{}.tar.gz", release("x86_64").display()));
        folder.copy(file("PKGBUILD", ""), "PKGBUILD");
        folder.copy(
            &tarball,
            tarball
                .file_name()
                .expect("a name")
                .to_str()
                .expect("UTF-8"),
        );
        fs::write(folder.join("pacman.conf"), "[options]\nSigLevel = Never\n").expect("ours");
        // makepkg is for ordinary users.
        let recipe = shell(
            folder.path(),
            "chown -R 65534:65534 .\n\
             setpriv --reuid=65534 --regid=65534 --clear-groups makepkg --nodeps --noconfirm >&2\n\
             setpriv --reuid=65534 --regid=65534 --clear-groups makepkg --printsrcinfo | grep -q \
             'pkgname = reuseaddr-bin'\n\
             echo $PWD/reuseaddr-bin-*.pkg.tar.*",
        );
        let mut made = String::new();
        let making = timed(|| made = recipe.output());
        let pacman = format!(
            "pacman --root \"$1\" --dbpath \"$1/var/lib/pacman\" --cachedir {0} --logfile {0}/log \
             --config {0}/pacman.conf --hookdir {0} --noconfirm",
            folder.path().display()
        );
        let row = try_out(
            "arch",
            "Arch",
            "makepkg -si",
            &[tarball],
            [
                &format!(
                    "mkdir -p \"$1/var/lib/pacman\"; {pacman} --upgrade --assume-installed glibc \
                     {}",
                    made.trim()
                ),
                &format!("{pacman} --remove reuseaddr-bin"),
            ],
            "libreuse.so",
        );
        Row {
            took: making + row.took,
            ..row
        }
    })
}

pub(super) fn tarball() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        let folder = Folder::new("channel-tarball");
        let archive = PathBuf::from(format!("{}.tar.gz", release("x86_64").display()));
        let install = format!(
            "tar -C {} -xf {}\nDESTDIR=\"$1\" {0}/libreuse-*/install",
            folder.path().display(),
            archive.display()
        );
        try_out(
            "tarball",
            "the tarball",
            "tar -xf libreuse.tar.gz && libreuse/install",
            &[archive],
            [
                &install,
                &format!(
                    "DESTDIR=\"$1\" {}/libreuse-*/install --uninstall",
                    folder.path().display()
                ),
            ],
            "libreuse.so",
        )
    })
}

#[test]
fn debians_packages_are_installed_used_and_removed() {
    debian();
}

#[test]
fn rpms_are_installed_used_and_removed() {
    rpm();
}

#[test]
fn an_arch_package_is_built_installed_used_and_removed() {
    arch();
}

#[test]
fn a_tarball_is_installed_used_and_removed() {
    tarball();
}

/// Whatever asks for a `libreuse.so` to link against does not mean this one.
#[test]
fn no_rpm_provides_the_library() {
    for file in rpms() {
        let provides = succeed(
            Command::new("rpm")
                .args(["--query", "--provides", "--package"])
                .arg(&file),
        );
        assert!(provides.contains(" = 0.2"), "{provides}");
        assert!(!provides.contains("libreuse.so"), "{provides}");
    }
}

#[test]
fn rpmlint_finds_nothing_in_them() {
    let mut files: Vec<PathBuf> = ["x86_64", "i686", "aarch64"]
        .iter()
        .map(|machine| file("libreuse-", &format!(".{machine}.rpm")))
        .collect();
    files.extend(
        ["x86_64", "aarch64"].map(|machine| file("reuseaddr-", &format!(".{machine}.rpm"))),
    );
    let report = succeed(
        Command::new("rpmlint")
            .arg("--config")
            .arg(support::project().join("packaging/rpm/rpmlint.toml"))
            .args(files),
    );
    assert!(report.contains("0 errors, 0 warnings"), "{report}");
}

/// Both kinds lie beside each other, as in Fedora for 32-bit programs.
#[test]
fn rpms_of_both_kinds_share_what_they_both_have() {
    let [wide, _] = rpms();
    let narrow = file("libreuse-", ".i686.rpm");
    let layer = Layer::new("channel-rpm-both", ":");
    layer.changed_from_outside(&format!(
        "rpm --root \"$1\" --dbpath /var/lib/rpm --nodeps --install {} {}",
        wide.display(),
        narrow.display()
    ));
    for place in ["/usr/lib64/libreuse.so", "/usr/lib/libreuse.so"] {
        Program::run(&layer.program("test").arguments(["-s", place])).succeeded();
    }
}
